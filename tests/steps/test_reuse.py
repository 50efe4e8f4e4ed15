"""What a change of one thing makes run again, and what it leaves alone: the real steps on the real store.

The steps run in this process, in place of `mlflow run`'s, so that a table of changes takes seconds; keys are those of
a copy of the project that each test edits.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from provenance.pipeline import session
from provenance.record import artifacts
from provenance.record.digest import digest_json
from provenance.version import ENGINE_VERSION
from tests.support import edited_project
from tests.support.edited_project import CHAIN, EVERYTHING, Project

OUTPUTS = Path(__file__).parent / "engine_outputs.json"

prepared, project = edited_project.prepared, edited_project.project


CHANGES: dict[str, tuple[Callable[[Project], object] | None, dict[str, str], set[str]]] = {
    # nothing that matters
    "nothing": (None, {}, set()),
    "a comment in a step": (lambda p: p.append("steps/train.py", "\n# later\n"), {}, set()),
    "a docstring": (lambda p: p.edit("taxi/evaluation/metrics.py", '"""', '"""Now: '), {}, set()),
    "formatting": (lambda p: p.append("taxi/features/fitting.py", "\n\n\n"), {}, set()),
    "the README": (lambda p: p.append("README.md", "\nMore.\n"), {}, set()),
    "a test": (lambda p: p.append("tests/provenance/record/test_lineage.py", "\nx = 1\n"), {}, set()),
    "another entry point": (lambda p: p.append("steps/gc.py", "\nX = 1\n"), {}, set()),
    "workers": (None, {"workers": "2"}, set()),
    "a number's spelling": (None, {"trial_timeout": "0.00"}, set()),
    "months' spelling": (None, {"train_months": "2023-01:2023-01"}, set()),
    # parameters
    "training months": (None, {"train_months": "2022-12"}, EVERYTHING),
    "test months": (None, {"test_months": "2023-04"}, EVERYTHING),
    "rows of the sample": (None, {"source": "sample:601"}, EVERYTHING),
    "taxi": (None, {"taxi": "yellow"}, EVERYTHING),
    "feature set": (None, {"features": "pickup"}, EVERYTHING),
    "seed": (None, {"seed": "43"}, {"train", "hpo", "register"}),
    "the baseline's parameters": (None, {"params": '{"alpha": 3.0}'}, {"train"}),
    "trials": (None, {"max_evals": "3"}, {"hpo", "register"}),
    "candidates kept": (None, {"top_n": "1"}, {"hpo", "register"}),
    "how the candidate is chosen": (None, {"select": "test"}, {"register"}),
    "the last fit": (None, {"refit": "train"}, {"register"}),
    "model name": (None, {"model_name": "other"}, {"register"}),
    "reuse=false": (None, {"reuse": "false"}, EVERYTHING),
    # code
    "code of the features": (lambda p: p.append("taxi/features/fitting.py", "\nX = 1\n"), {}, EVERYTHING),
    "code of the first step": (lambda p: p.append("steps/preprocess.py", "\nX = 1\n"), {}, {"preprocess"}),
    "code of the search": (lambda p: p.append("search/tpe.py", "\nX = 1\n"), {}, {"hpo"}),
    "code of one step": (lambda p: p.append("steps/train.py", "\nX = 1\n"), {}, {"train"}),
    "code of the metrics": (
        lambda p: p.append("taxi/evaluation/metrics.py", "\nX = 1\n"),
        {},
        {"train", "hpo", "register"},
    ),
    "code of the models": (
        lambda p: p.append("taxi/models/predictor.py", "\nX = 1\n"),
        {},
        {"train", "hpo", "register"},
    ),
    "how a model is logged": (
        lambda p: p.append("steps/models/logged_model.py", "\nX = 1\n"),
        {},
        {"train", "hpo", "register"},
    ),
    "the promotion rule": (lambda p: p.append("steps/models/promotion.py", "\nX = 1\n"), {}, {"register"}),
    # what only talks about results
    "a message of the engine": (
        lambda p: p.edit("provenance/pipeline/graph.py", "cannot reuse", "can not reuse"),
        {},
        set(),
    ),
    "the model card": (lambda p: p.append("steps/pages/card.py", "\nX = 1\n"), {}, set()),
    "a plot": (lambda p: p.append("steps/pages/model_plots.py", "\nX = 1\n"), {}, set()),
    "a lock of the engine": (lambda p: p.append("provenance/reuse/single_flight.py", "\nX = 1\n"), {}, set()),
    "the registry's history": (lambda p: p.append("provenance/registry/promotions.py", "\nX = 1\n"), {}, set()),
    "retries": (lambda p: p.append("runtime/server_errors.py", "\nX = 1\n"), {}, set()),
    "progress": (lambda p: p.append("runtime/progress.py", "\nX = 1\n"), {}, set()),
    "the declaration's names": (lambda p: p.append("steps/names.py", "\nX = 1\n"), {}, set()),
    # environment
    "the lock": (lambda p: p.append("requirements.lock", "# renewed\n"), {}, EVERYTHING),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_one_thing_runs_just_what_depends_on_it(project, change):
    """A step whose key changed runs; one whose inputs came out the same again is reused, also behind it."""
    edit, params, expected = CHANGES[change]
    if edit:
        edit(project)
    assert project.chain(**params) == expected


def test_a_new_version_of_the_engine_runs_everything(project, monkeypatch):
    """It says that the engine writes otherwise than before."""
    monkeypatch.setattr(session, "ENGINE_VERSION", 1_000)
    assert project.chain() == EVERYTHING


def test_outputs_move_only_with_code_that_keys_cover(prepared):
    """Else a run of the old code would be taken for one of the new: raise ENGINE_VERSION, which is in every key.

    To renew engine_outputs.json: RENEW=1 .venv/bin/python -m pytest tests/steps/test_reuse.py -k outputs_move
    """
    runs = {step: prepared.newest(step) for step in CHAIN}
    now = {
        "engine": ENGINE_VERSION,
        "lock": runs["train"].environment_key,
        "cpu": runs["train"].environment["cpu"],
        "code": {step: digest_json(lineage.keyed_code) for step, lineage in runs.items()},
        "outputs": {step: {item.name: item.digest for item in run.outputs if item.name != "version"}
                    for step, run in runs.items()},
    }  # fmt: skip
    before = json.loads(OUTPUTS.read_text()) if OUTPUTS.is_file() else now | {"outputs": None}
    if before["cpu"] != now["cpu"]:  # another processor may round a fit in another way, but no dataset
        now["outputs"] = {"preprocess": now["outputs"]["preprocess"]}
        before["outputs"] = {"preprocess": before["outputs"]["preprocess"]}
    if before["outputs"] == now["outputs"]:
        return
    explained = [part for part in ("engine", "lock", "code") if before[part] != now[part]]
    assert explained or before["outputs"] is None, (
        "outputs moved, and no code that keys cover did: what provenance/ or runtime/ changed is taken for the same. "
        "Undo that, or raise ENGINE_VERSION in provenance/version.py"
    )
    if os.environ.get("RENEW"):
        OUTPUTS.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n")
        return
    pytest.fail(f"outputs moved, as {', '.join(explained)} did. If that is meant, renew {OUTPUTS.name}: see above")


DAMAGES: dict[str, tuple[str, str, str, set[str]]] = {
    # what: (step, artifact, file of it, steps that run again)
    "a dataset file deleted": ("preprocess", "dataset", "manifest.json", {"preprocess"}),
    "the trials deleted": ("hpo", "search", "trials.parquet", {"hpo"}),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_output_that_is_gone_is_made_again(project, damage):
    """The step that made it runs; what comes behind finds the same content and is reused."""
    step, artifact, name, expected = DAMAGES[damage]
    path = project.output(step, artifact) / name
    content = path.read_bytes()
    path.unlink()
    try:
        assert project.chain() == expected
    finally:
        path.write_bytes(content)


def test_the_chain_runs_where_every_artifact_is_a_temporary_copy(project, monkeypatch):
    """A server hands artifacts out as copies, which are gone as soon as they are closed."""
    monkeypatch.setattr(artifacts, "_local_folder", lambda uri: None)
    assert project.chain(reuse="false") == EVERYTHING


def test_a_deleted_version_is_registered_again(project):
    """The registry is an output like any other."""
    project.place.client.delete_model_version("nyc-taxi-duration-sample", "1")
    assert project.chain() == {"register"}


def test_a_candidate_alias_that_moved_is_set_again(project):
    """`candidate` always means the chain run last."""
    assert project.chain(select="test") == {"register"}
    assert project.chain() == {"register"}


def test_a_version_made_since_the_chain_was_asked_for_is_what_it_asked_for(project):
    """Of many equal chains at once one registers, although another kind of chain moved the alias between."""
    assert project.chain(select="test") == {"register"}
    assert project.chain(asked=1) == set()


FIRST = ["preprocess runs first, and its output decides"]
SEARCH_FIRST = ["hpo runs first, and its output decides"]
BEHIND = {"train": FIRST, "hpo": FIRST, "register": SEARCH_FIRST}
REASONS: dict[str, tuple[Callable[[Project], object] | None, dict[str, str], dict[str, list[str]]]] = {
    "nothing": (None, {}, {}),
    "months": (
        None,
        {"train_months": "2022-12"},
        {"preprocess": ["train_months 2023-01 -> 2022-12", "input 2022-12 absent -> {2022-12}",
                        "input 2023-01 {2023-01} -> absent"], **BEHIND},
    ),
    "a parameter": (None, {"seed": "43"}, {"train": ["seed 42 -> 43"], "hpo": ["seed 42 -> 43"],
                                           "register": SEARCH_FIRST}),
    "code": (
        lambda p: p.append("search/tpe.py", "\nX = 1\n"),
        {},
        {"hpo": ["code of search/tpe.py"], "register": SEARCH_FIRST},
    ),
    "the lock": (
        lambda p: p.edit("requirements.lock", "numpy==2.4.6", "numpy==2.4.5"),
        {},
        {"preprocess": ["lock: numpy 2.4.6 -> 2.4.5"], **BEHIND},
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", REASONS)
def test_plan_names_what_changed_from_what_to_what(project, change):
    """The component, and both values; a step behind one that runs cannot know yet."""
    from taxi.city.sample import spec_digest

    edit, params, expected = REASONS[change]
    if edit:
        edit(project)
    short = {month: spec_digest("green", month, 600)[:12] for month in ("2022-12", "2023-01")}
    told = {step: [line.format_map(short) for line in lines] for step, lines in expected.items()}
    assert project.plan(**params) == told


def test_plan_names_the_output_that_is_gone(project):
    """What changed may be what a run left."""
    path = project.output("hpo", "search") / "trials.parquet"
    content = path.read_bytes()
    path.unlink()
    try:
        assert project.plan()["hpo"] == ["output search: trials.parquet missing"]
    finally:
        path.write_bytes(content)
