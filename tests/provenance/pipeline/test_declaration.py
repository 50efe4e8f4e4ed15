"""What follows from a declared pipeline."""

from dataclasses import replace

import click

from provenance.commands.project import project_commands
from provenance.pipeline.declaration import Need, Pipeline, Step
from provenance.pipeline.graph import parameters_for
from provenance.pipeline.options import POSITIVE, option
from steps.pipeline import PIPELINE

MADE = Step("make", params=("a",), placement=("workers",))
JOINED = Step("join", params=("b", "a"), needs=(Need("left", "make", "out"), Need("right", "make", "out")))


def test_parameters_are_those_of_all_steps_upstream_each_once(tmp_path):
    """A step that needs two outputs of one step, with a parameter of the same name."""
    pipeline = Pipeline(root=tmp_path, steps=(MADE, JOINED), headline=(), keyed=())
    assert pipeline.parameters_of(JOINED) == ("b", "a", "workers")
    given = {"a": 1, "b": True, "workers": 2, "reuse": False, "other": 3}
    assert parameters_for(pipeline, JOINED, given) == {"a": "1", "b": "true", "workers": "2", "reuse": "false"}
    register = PIPELINE.parameters_of(PIPELINE.step("register"))
    assert {"top_n", "max_evals", "train_months", "source"} <= set(register) and "params" not in register


def test_a_project_that_reads_nothing_from_outside_has_its_entry_points(tmp_path):
    """Such as one whose first step makes its data."""
    steps = (MADE, replace(JOINED, needs=(Need("left", "make", "out"),)))
    pipeline = Pipeline(root=tmp_path, steps=steps, headline=(), keyed=())
    own = {name: option(name, 1, POSITIVE, "A number.") for name in ("a", "b", "left")}
    group = project_commands(pipeline, [print, print], own)
    assert isinstance(group, click.Group)
    assert {"make", "join", "main", "plan", "reproduce", "compare", "bundle", "verify"} <= group.commands.keys()
