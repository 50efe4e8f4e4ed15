"""A store full of junk by other people: everything that this project offers works there as if it were alone."""

import json
import os
import sqlite3

import pytest
from click.testing import CliRunner, Result

from provenance.pipeline.session import Session
from provenance.record import names, run_tags
from provenance.store.paging import every
from provenance.store.project_identity import identity
from steps.pipeline import PIPELINE
from tests.support.in_process import chain, command, words, working_in
from tests.support.malformed_runs import TEXTS, fill
from tests.support.project import Result as Launched
from tests.support.project import Workplace, workplace

SMALL = {"source": "sample:600", "model": "linear", "max_evals": "2", "batch": "1", "workers": "1", "top_n": "2"}
COUNT = 600
SEED = int(os.environ.get("JUNK_SEED", "15"))  # the same junk at each run; another one by hand
NAME = "nyc-taxi-duration-sample"


@pytest.fixture(scope="module")
def place(tmp_path_factory, migrated_store):
    """A store in which the chain ran twice, with two champions, and then 600 junk runs and junk in the registry."""
    made = workplace(tmp_path_factory.mktemp("junk"), migrated_store)
    with working_in(made):
        chain(made.client, SMALL)
        done = invoke("main", SMALL)
        assert done.exit_code == 0, done.output
        promote_another(made)
        real = made.client.search_runs(["0"], max_results=1000)
        fill(made.folder / "mlflow.db", real, identity(PIPELINE.root), COUNT, SEED)
        spoil_registry(made)
        yield made


def promote_another(place: Workplace) -> None:
    """A second champion, so that there is one to go back to."""
    from provenance.registry.promotions import promote

    run = place.client.create_run("0")
    client = place.client
    first = client.get_model_version_by_alias(NAME, names.CHAMPION)
    second = client.create_model_version(NAME, first.source, first.run_id, tags=first.tags)
    promote(Session(PIPELINE, client, run, quiet=True), NAME, str(second.version), "for the test")
    client.set_registered_model_alias(NAME, names.CANDIDATE, first.version)
    client.set_terminated(run.info.run_id)


def spoil_registry(place: Workplace) -> None:
    client = place.client
    odd = {"number": [], "version": {}, "over": [], "at": 1, "by": 2, "run_id": 3, "why": 4}
    text = {"number": 1e99, "version": "1", "over": None, "at": "", "by": "", "run_id": "", "why": ""}
    for number, value in enumerate(
        [*TEXTS, json.dumps(odd), json.dumps(text), json.dumps({**odd, **text, "number": 7})]
    ):
        client.set_registered_model_tag(NAME, f"{names.PROMOTION}{number}.x", value[:5000])
    client.create_registered_model("junk")
    for text in filter(str.strip, TEXTS):
        client.create_model_version("junk", "file:///nowhere", tags={"run_id": text, "search_run_id": text})


def invoke(entry_point: str, params: dict[str, str]) -> Result:
    os.environ.pop("MLFLOW_RUN_ID", None)
    return CliRunner().invoke(command(entry_point), words(params))


def step_run(place: Workplace, step: str) -> str:
    """The real run of a step: the oldest with outputs."""
    with sqlite3.connect(place.folder / "mlflow.db") as database:
        query = (
            "SELECT run_uuid FROM runs JOIN tags USING (run_uuid)"
            " WHERE runs.name IS NOT 'junk' AND key = ? AND value = ? ORDER BY start_time"
        )
        return database.execute(query, [names.STEP, step]).fetchone()[0]


def worked(result: Result) -> Result:
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 0, result.output[-3000:]
    assert "Traceback" not in result.output
    return result


def test_the_chain_is_reused(place):
    """Whatever stands beside the runs with its keys, the good ones are found."""
    result = worked(invoke("main", SMALL))
    for step in PIPELINE.names:
        assert f"{step}: reused run " in result.output


@pytest.mark.parametrize(("step", "params"), [
    ("preprocess", {"reuse": "false"}),
    ("train", {"seed": "43"}),
    ("hpo", {"max_evals": "3"}),
    ("register", {"select": "test"}),
])  # fmt: skip
def test_a_step_does_its_work(step, params, place):
    """With other parameters than before: what it needs is reused, what it makes is made."""
    taken = set(command(step).make_context(step, []).params)
    worked(invoke(step, {name: text for name, text in {**SMALL, **params}.items() if name in taken}))


@pytest.mark.parametrize("params", [SMALL, {**SMALL, "seed": "44"}, {**SMALL, "features": "pickup"}])
def test_plan_says_what_would_run(params, place):
    """Also where the nearest records, by which it explains, are junk."""
    result = worked(invoke("plan", params))
    assert ("reuse run" in result.output) == ("features" not in params)


def test_runs_are_compared_bundled_and_rolled_back(place, tmp_path):
    """What is asked about real runs is answered."""
    train = step_run(place, "train")
    worked(invoke("compare", {"a": train, "b": train}))
    worked(invoke("bundle", {"run_id": step_run(place, "main"), "out": str(tmp_path / "run.zip")}))
    worked(invoke("rollback", {"model_name": NAME}))


def test_a_model_answers_and_its_drift_is_measured(place, tmp_path):
    """Neither is disturbed by other people's versions and runs."""
    from taxi.sources.locate import locate

    month = locate("sample:600", "green", ["2023-04"], scratch=tmp_path)[0]
    model = f"models:/{NAME}/1"
    worked(invoke("predict", {"model": model, "trips": str(month.path), "out": str(tmp_path / "minutes.parquet")}))
    worked(invoke("drift", {"model": model, "source": "sample:600", "months": "2023-04"}))


def test_gc_lists_and_deletes_nothing_of_others(place):
    """With everything old enough to go, junk that says it is ours included."""
    before = {
        run.info.run_id: run.data.tags.get(names.PROJECT) for run in place.client.search_runs(["0"], max_results=5000)
    }
    worked(invoke("gc", {"keep_days": "0"}))
    result = invoke("gc", {"keep_days": "0", "delete": "true"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    after = {run.info.run_id for run in every(place.client.search_runs, ["0"])}
    ours = identity(PIPELINE.root)
    assert {before[gone] for gone in before.keys() - after} <= {ours}
    assert "runs without the tag lineage.project" in result.output
    assert {step_run(place, "preprocess"), step_run(place, "hpo")} <= after


@pytest.mark.slow
def test_real_launches_work(place):
    """Through `mlflow run`: a chain that runs in part, a repetition, the expected outputs, gc."""
    main = launched(place, "main", {**SMALL, "seed": "45"})
    train = run_tags.steps(place.client.get_run(main.run_id).data.tags)["train"]
    launched(place, "reproduce", {"run_id": train, "patch": "true"})
    launched(place, "verify", {"require": "close"})
    launched(place, "gc", {"keep_days": "0"})
    launched(place, "plan", SMALL)


def launched(place: Workplace, entry_point: str, params: dict[str, str]) -> Launched:
    result = place.run(entry_point, **params)
    assert result.exit_code == 0, f"{entry_point}: {result.stderr[-3000:]}"
    assert "Traceback" not in result.stderr, result.stderr
    return result
