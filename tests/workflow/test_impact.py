"""What came of a real chain, and of a known store behind a real server."""

from __future__ import annotations

import json
import shlex

import mlflow
import pytest

from provenance.record import names, run_tags
from provenance.store.project_identity import identity
from taxi.city.sample import write_month
from tests.support.bulk_store import BulkStore
from tests.support.colleagues import tracking_server
from tests.support.impact_store import COMMITS, ImpactStore, month_digest
from tests.support.project import LAUNCHER, ROOT, SMALL, Workplace, environment, finished, mlflow_run, workplace

pytestmark = pytest.mark.slow
MONTH = "2023-01"


def answer(place: Workplace, of: str) -> dict:
    """What `mlflow run -e impact` prints as JSON; the launcher's own lines are on stderr."""
    done = place.run("impact", of=of, json="true")
    assert done.exit_code == 0, done.errors()
    return json.loads(done.stdout[done.stdout.index("{") :])


def test_of_a_month_of_a_real_chain(tmp_path, migrated_store):
    """A chain, the same again in another experiment, and a prediction; then the month is published again."""
    place = workplace(tmp_path / "place", migrated_store)
    months = tmp_path / "months"
    months.mkdir()
    for number in (1, 2, 3):
        write_month(months / f"green_tripdata_2023-{number:02}.parquet", "green", f"2023-{number:02}", 3000)
    given = {**SMALL, "source": months}
    made = place.run("main", **given)
    assert made.exit_code == 0, made.errors()
    again = place.run("main", experiment="another", **given)
    assert again.stderr.count(": reused run") == 4, again.stderr
    trips = months / f"green_tripdata_{MONTH}.parquet"
    predicted = place.run("predict", trips=trips, out=tmp_path / "minutes.parquet")
    assert predicted.exit_code == 0, predicted.errors()

    [subject] = answer(place, MONTH)["subjects"]
    assert subject["name"] == f"green_tripdata_{MONTH}.parquet"
    [version] = subject["served"]
    counts = {"dataset": 1, "search": 1, "version": 1, "predictions": 1, "trial": 4}
    assert counts.items() <= subject["counts"].items() and subject["unfinished_runs"] == []
    # The baseline, one for each kept trial, and the registered one.
    kept = len(place.client.search_logged_models(["0"]))
    assert subject["counts"] == {**counts, "model": kept}
    assert answer(place, str(trips))["subjects"] == [subject]

    [of_version] = answer(place, f"{version.rpartition('/')[0]}@champion")["subjects"]
    assert of_version["counts"] == {"predictions": 1}
    register = run_tags.steps(place.client.get_run(made.run_id).data.tags)["register"]
    [of_register] = answer(place, register)["subjects"]
    assert of_register["counts"] == {"model": 1, "version": 1, "predictions": 1}
    [of_commit] = answer(place, place.client.get_run(register).data.tags[names.COMMIT][:12])["subjects"]
    assert of_commit["counts"] == subject["counts"]

    write_month(trips, "green", MONTH, 3001)
    asked = place.run("impact", of=MONTH)
    *_, last = asked.stdout.splitlines()
    plan = shlex.split(last.removeprefix("what must be made anew: "))
    assert plan[:5] == ["mlflow", "run", str(ROOT), "-e", "plan"], asked.stdout  # as impact itself was started
    planned = finished([str(LAUNCHER), *plan[1:]], place.folder, environment())
    assert f"input {MONTH}" in planned.stdout and "reuse run" not in planned.stdout, planned.stdout + planned.stderr


def test_through_a_server_the_answer_is_the_truth(tmp_path, migrated_store):
    """Pages of runs, aliases and records come by HTTP."""
    folder = tmp_path / "server"
    with tracking_server(folder, migrated_store) as uri:
        store = BulkStore(folder / "mlflow.db", folder / "artifacts", identity(ROOT), "mlflow-artifacts:")
        truth = ImpactStore(store, trials=15).fill(chains=60)
        assert store.count > 1000  # more than a page
        champion = next(version for version, held in truth.aliases.items() if "champion" in held)
        questions = {
            MONTH: [f"file:{month_digest(MONTH, edition)}" for edition in (1, 2)],
            champion: [champion],
            COMMITS[1]: [f"commit:{COMMITS[1]}"],
            "numpy==2.4.5": ["numpy:2.4.5"],
        }
        for of, labels in questions.items():
            command = mlflow_run("impact", of=of, json="true")
            done = finished(command, tmp_path, environment({"MLFLOW_TRACKING_URI": uri}))
            assert done.exit_code == 0, done.errors()
            found, _ = json.JSONDecoder().raw_decode(done.stdout[done.stdout.index("{") :])
            ids = {item["id"] for subject in found["subjects"] for item in subject["came_of_it"]}
            assert ids == {thing for things in truth.of(*labels).values() for thing in things}, of
        run = mlflow.MlflowClient(uri).get_run(found["run_id"])
        assert run.info.status == "FINISHED" and run.data.tags[names.IMPACT_OF] == "numpy==2.4.5"
