"""Ten pairs of runs that differ in one known thing: `compare` names it first, and nothing beside it.

The steps and `compare` run in this process, in place of `mlflow run`'s; stores, artifacts and records are real.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from provenance.pipeline import step_run
from provenance.record import environment, names
from steps.compare import compare
from taxi.city import sample
from taxi.months.month import file_name
from tests.support import edited_project
from tests.support.edited_project import Project

prepared, project = edited_project.prepared, edited_project.project  # the chain run once, and a copy of it to change
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def steps_record_the_copy(project, monkeypatch):
    """Steps started in this process say what code and lock they have: those of the copy that a test edits."""
    real = step_run.open_session

    def session_for(pipeline, params, run):
        return real(replace(pipeline, root=project.root), params, run)

    monkeypatch.setattr(step_run, "open_session", session_for)


def newest(project: Project, step: str) -> str:
    """The run that made the latest outputs of `step`."""
    query = f"tags.`{names.STEP}` = '{step}' and tags.`{names.OUTPUTS}` != ''"
    return project.place.client.search_runs(["0"], query, max_results=1)[0].info.run_id


def months(folder: Path) -> Path:
    """Three raw months as files."""
    folder.mkdir()
    for month in ("2023-01", "2023-02", "2023-03"):
        sample.write_month(folder / file_name("green", month), "green", month, 600)
    return folder


def one_trip_changed(project: Project, monkeypatch) -> dict[str, str]:
    """The same months as files; one trip of February is a tenth of a mile longer."""
    path = months(project.root.parent / "other") / file_name("green", "2023-02")
    trips = pq.read_table(path)
    miles = trips["trip_distance"].to_pylist()
    miles[300] += 0.1
    pq.write_table(trips.set_column(trips.column_names.index("trip_distance"), "trip_distance", [miles]), path)
    return {"source": str(path.parent)}


def edited(project: Project, monkeypatch) -> dict[str, str]:
    project.edit("steps/train.py", "fitting {family.name} on", "now fitting {family.name} on")
    return {}


def another_numpy(project: Project, monkeypatch) -> dict[str, str]:
    there = environment.installed()
    monkeypatch.setattr(environment, "installed", lambda: {**there, "numpy": "2.4.5"})
    return {}


def another_lock(project: Project, monkeypatch) -> dict[str, str]:
    project.edit("requirements.lock", "scipy==1.17.1", "scipy==1.17.0")
    return {}


def one_thread(project: Project, monkeypatch) -> dict[str, str]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return {"reuse": "false"}


def given(**params: str) -> Callable:
    return lambda project, monkeypatch: params


# what: (what b does otherwise, the step whose runs are compared, how the first cause reads)
PAIRS: dict[str, tuple[Callable, str, str]] = {
    "a trip of a raw month": (one_trip_changed, "train", "data: raw month 2023-02 sha256 "),
    "the months": (given(train_months="2022-12"), "train", "parameters: train_months 2023-01 -> 2022-12 (preprocess)"),
    "the features": (given(features="pickup"), "train", "parameters: features full -> pickup (preprocess)"),
    "the seed": (given(seed="43"), "train", "parameters: seed 42 -> 43 (train)"),
    "a hyperparameter": (given(params='{"alpha": 3.0}'), "train", "parameters: params default -> {"),
    "the trials": (given(max_evals="3"), "hpo", "parameters: max_evals 2 -> 3 (hpo)"),
    "how the candidate is chosen": (given(select="test"), "register", "parameters: select val -> test (register)"),
    "a line of a step": (edited, "train", "code: steps/train.py (train)"),
    "an installed package": (another_numpy, "train", "packages: installed: numpy 2.4.6 -> 2.4.5 (preprocess, train)"),
    "the lock": (another_lock, "train", "packages: lock: scipy 1.17.1 -> 1.17.0 (preprocess, train)"),
    "a thread variable": (one_thread, "train", "threads: variable: OMP_NUM_THREADS absent -> 1 (train)"),
}  # fmt: skip


@pytest.mark.parametrize("difference", PAIRS)
def test_the_one_difference_is_named_first_and_alone(project, monkeypatch, difference):
    """What follows from it (the dataset's bytes, metrics, models) is shown, and not blamed."""
    change, step, cause = PAIRS[difference]
    a = newest(project, step)
    params = change(project, monkeypatch)
    assert step in project.chain((step,), **params)
    b = newest(project, step)
    assert b != a
    causes = compared(project, a, b)
    assert len(causes) == 1, causes
    assert causes[0].startswith(cause)


def test_a_changed_artifact_is_named_first(project):
    """The same run twice; afterwards one byte of the second one's dataset was changed."""
    a = newest(project, "train")
    project.chain(("preprocess", "train"), reuse="false")
    file = next((project.output("preprocess", names.DATASET) / "train").glob("*.parquet"))
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    causes = compared(project, a, newest(project, "train"))
    assert len(causes) == 1, causes
    assert causes[0].startswith(f"data: b: recorded output dataset: train/{file.name} altered")


def test_the_same_run_twice_differs_in_nothing(project):
    """What repeats, repeats to the last bit: no cause, no metric, no output."""
    a = newest(project, "register")
    project.chain(reuse="false")
    result = CliRunner().invoke(compare, ["--a", a, "--b", newest(project, "register"), "--quiet", "true"])
    assert result.stdout.startswith("no difference in "), result.output


def compared(project: Project, a: str, b: str) -> list[str]:
    """The causes as `compare` prints them, in order, after checking that its report says the same."""
    result = CliRunner().invoke(compare, ["--a", a, "--b", b, "--quiet", "true"])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    causes = [line.partition(". ")[2] for line in lines if line.partition(". ")[0].isdigit()]
    run_id = lines[-1].removeprefix("run ")
    told = json.loads(Path(project.place.client.download_artifacts(run_id, names.VERDICT_FILE)).read_text())
    assert [f"{item['kind']}: {item['text']} ({', '.join(item['steps'])})" for item in told["causes"]] == causes
    return causes
