"""The first words of a run's page: links that lead along the chain."""

from dataclasses import replace

from provenance.record import run_page
from provenance.record.lineage import Input, Output
from tests.support.records import RECORD, A

UP, SELF, MAIN = "1" * 32, "2" * 32, "3" * 32


def head(**links) -> list[str]:
    return run_page.page(RECORD, "7", **links).split("\n\n")


def test_a_step_links_to_what_started_it_what_it_read_and_what_it_made():
    """The dataset leads to the run that made it, a logged model to its own page."""
    model = "models:/m-" + "4" * 32
    step = replace(RECORD, outputs=(Output("model", model, A), Output("version", "models:/nyc-taxi/3", A)))
    lines = run_page.page(step, "7", parent=MAIN).split("\n\n")
    assert lines[:3] == [
        f"**train**, started by [run 33333333](#/runs/{MAIN})",
        f"from: [dataset](#/runs/{UP})",
        f"made: [model](#/experiments/7/models/m-{'4' * 32}) · [nyc-taxi version 3](#/models/nyc-taxi/versions/3)",
    ]
    assert lines[3].startswith("| lineage&emsp; | |\n| --- | --- |\n")


def test_a_chain_links_to_its_steps_and_a_reused_run_to_the_one_it_stands_for():
    """Instead of a long list of everything that the steps made."""
    lines = head(steps={"preprocess": UP, "train": SELF})
    assert lines[1] == f"steps: [preprocess](#/runs/{UP}) · [train](#/runs/{SELF})"
    assert not [line for line in lines if line.startswith("made: ")]
    assert head(reused=UP)[0] == f"**train**, reused [run 11111111](#/runs/{UP})"


def test_what_has_no_page_is_named_without_a_link():
    """Raw months lie on a disk or a server, and nobody's URI becomes markup."""
    hostile = Input("2023-01", "javascript:alert(1)", A), Input("2023-02", "runs:/../x](http://evil)", A)
    assert run_page.page(replace(RECORD, inputs=hostile), "7").split("\n\n")[1] == "from: 2023-01 · 2023-02"


def test_tables_have_a_gap_between_their_columns_and_nothing_else_changes():
    """A pipe inside a cell ends none."""
    table = "a | b\n\n| x | | y |\n| --- | ---: | --- |\n| 1 | `2\\|3` | - |"
    gaps = "a | b\n\n| x&emsp; | | y |\n| --- | ---: | --- |\n| 1&emsp; | `2\\|3`&emsp; | - |"
    assert run_page.spaced(table) == gaps


def test_of_months_of_the_sample_the_page_says_first_that_the_city_is_made_up():
    """The run that made them, and the chain whose inputs they are."""
    for source, made_up in (("sample", True), ("sample:500", True), ("tlc", False), ("/data/sample", False)):
        months = replace(RECORD, inputs=(Input("2023-01", source, A),))
        assert run_page.page(months, "7").startswith("**The city is made up**") is made_up
