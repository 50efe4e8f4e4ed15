"""Somebody else's finished chain, judged from another clone and another HOME through a tracking server."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import mlflow
import numpy
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from provenance.record import names, run_tags
from tests.support import repository
from tests.support.colleagues import checkout, colleague, tracking_server
from tests.support.conda_standin import conda_home
from tests.support.processes import git_daemon
from tests.support.project import LAUNCHER, REAL_MONTHS, Result
from tests.support.records import recorded

pytestmark = pytest.mark.slow
STEPS = ("preprocess", "train", "hpo", "register")
SMALL = {"source": "sample:3000", "model": "linear", "quiet": "true"}
ROWS = itertools.count(3001)
OLDER_NUMPY = "2.3.5"
LINE = ("taxi/evaluation/metrics.py", "np.mean(error**2)", "np.mean(error**2) * 1.5")  # of a step: what the RMSE is


@pytest.fixture(scope="module")
def office(tmp_path_factory, migrated_store) -> Iterator[SimpleNamespace]:
    """A server, a repository, and two newcomers: Ada makes runs, Grace doubts them."""
    base = tmp_path_factory.mktemp("office")
    origin = checkout(base / "repositories" / "project")
    with tracking_server(base / "server", migrated_store) as url:
        client = MlflowClient(url, registry_uri=url)
        ada, grace = (colleague(base / name, origin, url) for name in ("ada", "grace"))
        yield SimpleNamespace(base=base, origin=origin, url=url, client=client, ada=ada, grace=grace)


@pytest.fixture(scope="module", params=["uv", "conda"])
def chain(office, request) -> SimpleNamespace:
    """A `main` of Ada's, on real months where there are any; its steps' runs by name."""
    conda = {"MLFLOW_CONDA_HOME": str(conda_home())} if request.param == "conda" else {}
    source = REAL_MONTHS if REAL_MONTHS.is_dir() else "sample:20000"
    made = office.ada.run("main", request.param, env=conda, source=source, max_evals=4, quiet="true", reuse="false")
    assert made.exit_code == 0, made.stderr
    runs = steps_of(office, made.run_id)
    if conda:
        folder = office.client.get_run(runs["train"]).data.tags[names.ENVIRONMENT_FOLDER]
        assert Path(folder).parent == conda_home() / "envs"
    return SimpleNamespace(manager=request.param, env=conda, run_id=made.run_id, runs=runs, source=source)


def steps_of(office, run_id: str) -> dict[str, str]:
    tags = office.client.get_run(run_id).data.tags
    return {step: run_tags.steps(tags)[step] for step in STEPS}


def line(result: Result, start: str = "grade ") -> str:
    return next((text for text in result.stdout.splitlines() if text.startswith(start)), result.errors())


@pytest.mark.parametrize("depth", ["step", "all"])
@pytest.mark.parametrize("step", ["train", "hpo", "register"])
def test_a_run_of_another_machine_is_identical(office, chain, step, depth):
    """From its id, in the environment it was made in; the team's registry does not move.

    Raw months of a folder are read where the reader says: a record on a server sends nobody to one.
    """
    versions = office.client.search_model_versions()
    months = {"source": chain.source} if depth == "all" else {}
    result = office.grace.run(
        "reproduce", chain.manager, env=chain.env, run_id=chain.runs[step], depth=depth, quiet="true", **months
    )
    assert result.exit_code == 0, result.stderr
    assert line(result) == "grade identical"
    judged = [text.split()[0] for text in result.stdout.splitlines() if "  of run " in text]
    upstream = {"train": ["preprocess"], "hpo": ["preprocess"], "register": ["preprocess", "hpo"]}
    assert judged == [*(upstream[step] if depth == "all" else []), step]
    assert office.client.search_model_versions() == versions
    report = mlflow.artifacts.download_artifacts(
        run_id=result.run_id, artifact_path=names.VERDICT_FILE, tracking_uri=office.url
    )
    assert {item["grade"] for item in json.loads(Path(report).read_text())["steps"]} == {"identical"}


def apart() -> dict[str, str]:
    """Small parameters that no other test has, so that nothing of theirs is reused."""
    return {**SMALL, "source": f"sample:{next(ROWS)}"}


def reproduced(office, run_id: str, who=None, **params) -> Result:
    return (who or office.grace).run("reproduce", run_id=run_id, quiet="true", **params)


def edit(project: Path) -> None:
    name, old, new = LINE
    text = (project / name).read_text()
    assert old in text
    (project / name).write_text(text.replace(old, new))


def test_a_dirty_colleague(office, tmp_path):
    """The patch is shown and refused; with `patch=true` it is applied, and the result is the dirty tree's."""
    dirty = colleague(tmp_path / "dirty", office.origin, office.url)
    edit(dirty.project)
    made = dirty.run("train", **apart())
    refused = reproduced(office, made.run_id)
    assert refused.exit_code == 1
    assert f"  {LINE[0]}  modified  +1 -1" in refused.errors()
    for depth in ("step", "all"):
        allowed = reproduced(office, made.run_id, patch="true", depth=depth)
        assert line(allowed) == "grade identical", allowed.stderr


def test_a_commit_that_is_no_branch_head_any_more(office, tmp_path):
    """Pushed, run, and then the branch was thrown away, here and at the origin: whoever trusts the author says so."""
    author = colleague(tmp_path / "author", office.origin, office.url)
    repository.run(author.project, "checkout", "-q", "-b", "idea")
    edit(author.project)
    commit = repository.commit(author.project)
    repository.run(author.project, "push", "-q", "origin", "idea")
    made = author.run("train", **apart())
    repository.run(author.project, "push", "-q", "origin", ":idea")
    assert office.client.get_run(made.run_id).data.tags[names.COMMIT] == commit
    assert "is on no branch or tag of" in reproduced(office, made.run_id, depth="all").errors()
    assert line(reproduced(office, made.run_id, depth="all", repo=office.origin)) == "grade identical"


def test_another_count_of_workers(office):
    """One trial at a time there, two here."""
    made = office.ada.run("hpo", max_evals=4, workers=1, **apart())
    assert line(reproduced(office, made.run_id, workers=2)) == "grade identical"


def test_a_run_made_from_a_git_url(office, tmp_path):
    """Neither of the two ever had the other's folder: the URL is what they share."""
    with git_daemon(office.origin.parent) as prefix:
        url = f"{prefix}/{office.origin.name}"
        made = office.ada.run("train", uri=url, **apart())
        assert recorded(office.client, made.run_id).source["remote"] == url
        doubter = colleague(tmp_path / "doubter", url, office.url)
        assert line(reproduced(office, made.run_id, doubter, depth="all")) == "grade identical"


def raw_months(folder: Path, tlc: Path) -> Path:
    folder.mkdir()
    for month in ("2023-01", "2023-02", "2023-03"):
        shutil.copy(tlc / f"green_tripdata_{month}.parquet", folder)
    return folder


def test_raw_months_that_lay_on_the_other_machine(office, tlc, tmp_path):
    """The recorded path leads nowhere here and the error says what to pass; digests decide, byte by byte."""
    theirs, mine = (raw_months(tmp_path / name, tlc) for name in ("theirs", "mine"))
    made = office.ada.run("preprocess", source=theirs, reuse="false", quiet="true")
    shutil.rmtree(theirs)
    lost = reproduced(office, made.run_id, depth="all")
    assert lost.exit_code == 1
    assert "-P source=FOLDER" in lost.errors()
    assert line(reproduced(office, made.run_id, depth="all", source=mine)) == "grade identical"
    month = mine / "green_tripdata_2023-02.parquet"
    content = bytearray(month.read_bytes())
    content[len(content) // 3] ^= 1
    month.write_bytes(content)
    changed = reproduced(office, made.run_id, depth="all", source=mine)
    assert changed.exit_code == 1
    assert line(changed).startswith("grade diverged  first at preprocess: data: raw month 2023-02 sha256 ")


def file_of(office, run_id: str, artifact: str) -> Path:
    """A file of the server's own disk, as who owns the server may change it."""
    return office.base / "server" / "artifacts" / "0" / run_id / "artifacts" / artifact


def test_one_changed_trip_of_the_dataset(office, tmp_path):
    """The trip is a mile longer and the file is a whole Parquet file; whoever trains on it is told."""
    made = office.ada.run("train", **apart())
    dataset = recorded(office.client, made.run_id).inputs[0].uri.split("/")[1]
    folder = file_of(office, dataset, names.DATASET) / "train"
    path = next(folder.glob("*.parquet"))
    before, trips = path.read_bytes(), pq.read_table(path)
    miles = trips["trip_distance"].to_pylist()
    miles[10] += 1
    column = trips.column_names.index("trip_distance")
    pq.write_table(trips.set_column(column, trips.field("trip_distance"), [miles]), path)
    try:
        result = reproduced(office, made.run_id)
    finally:
        path.write_bytes(before)
    assert result.exit_code == 1
    assert line(result).startswith("grade diverged  first at train: data: input dataset was changed after it was made")
    assert line(reproduced(office, made.run_id)) == "grade identical"


def test_another_seed(office):
    """The parameter was changed on the server afterwards: what was really run is in the record."""
    made = office.ada.run("train", **{**apart(), "model": "random_forest", "params": '{"n_estimators": 10}'})
    with sqlite3.connect(office.base / "server" / "mlflow.db", timeout=30) as store:
        store.execute("update params set value = '43' where run_uuid = ? and key = 'seed'", (made.run_id,))
    result = reproduced(office, made.run_id)
    assert result.exit_code == 1
    assert line(result) == "grade diverged  first at train: parameters: seed 42 -> 43"


def test_one_line_of_a_step_changed_behind_the_record(office, tmp_path):
    """Who ran other code than the recorded commit's and hid it is found: the code's own digests tell the file."""
    liar = colleague(tmp_path / "liar", office.origin, office.url)
    edit(liar.project)
    made = liar.run("train", **apart())
    path = file_of(office, made.run_id, names.LINEAGE_FILE)
    record = json.loads(path.read_text())
    record["source"] |= {"dirty": False, "patch": None}
    path.write_text(json.dumps(record))
    office.client.set_tag(made.run_id, names.DIRTY, "false")
    result = reproduced(office, made.run_id)
    assert result.exit_code == 1
    assert line(result) == f"grade diverged  first at train: code: {LINE[0]}"


def test_another_numpy(office, tmp_path):
    """It was imported before the locked one. Where it changed the result it is blamed; `compare` names it anyway."""
    install = [LAUNCHER.parent / "uv", "pip", "install", "--python", sys.executable, "--target", tmp_path / "older"]
    done = subprocess.run([*install, f"numpy=={OLDER_NUMPY}"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"left out: a run on numpy {OLDER_NUMPY}, which cannot be had: {done.stderr[-200:]}")
    params = apart()
    made = office.ada.run("train", env={"PYTHONPATH": str(tmp_path / "older")}, **params)
    assert made.exit_code == 0, made.stderr
    cause = f"packages: installed: numpy {OLDER_NUMPY} -> {numpy.__version__}"
    result = reproduced(office, made.run_id)
    assert line(result) == "grade identical" or line(result).endswith(f"  first at train: {cause}")
    locked = office.ada.run("train", reuse="false", **params)
    told = office.grace.run("compare", a=made.run_id, b=locked.run_id, quiet="true")
    assert told.stdout.startswith(f"1. {cause} (")


def test_a_changed_model(office):
    """One byte of the logged model: its metrics are of another one."""
    made = office.ada.run("train", **apart())
    model = recorded(office.client, made.run_id).outputs[0].uri.removeprefix("models:/")
    folder = next((office.base / "server" / "artifacts").rglob(model))
    path = next(file for file in sorted(folder.rglob("*")) if file.is_file() and "predictor" in file.parts)
    before = path.read_bytes()
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    try:
        result = reproduced(office, made.run_id)
    finally:
        path.write_bytes(before)
    assert result.exit_code == 1
    assert line(result).startswith("grade diverged  first at train: data: recorded output model: ")
    assert path.name in line(result)


def test_a_reproduction_that_is_killed_leaves_the_registry_alone(office):
    """`kill -9` of everything while the step registers; no version, no alias, nothing that can be reused."""
    made = office.ada.run("register", max_evals=2, **apart())
    before = [(version.name, version.version, version.aliases) for version in office.client.search_model_versions()]
    killed = office.grace.start("reproduce", run_id=made.run_id, quiet="true")
    query = f"tags.`{names.STEP}` = 'register' and attributes.status = 'RUNNING'"
    until(lambda: any(names.INPUTS in run.data.tags for run in office.client.search_runs(["0"], query)))
    time.sleep(2)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    after = [(version.name, version.version, version.aliases) for version in office.client.search_model_versions()]
    assert after == before
    assert line(reproduced(office, made.run_id)) == "grade identical"  # and buries what was killed
    query = f"tags.`{names.ENTRY_POINT}` = 'reproduce' and attributes.status = 'KILLED'"
    (check,) = office.client.search_runs(["0"], query)
    query = f"tags.`{names.PARENT}` = '{check.info.run_id}' and tags.`{names.OUTPUTS}` != ''"
    assert office.client.search_runs(["0"], query) == []


def test_a_run_whose_registered_model_was_deleted(office):
    """Its record still says what has to come out; what can no longer be looked at is named."""
    made = office.ada.run("register", max_evals=2, model_name="forgotten", **apart())
    office.client.delete_registered_model("forgotten")
    result = office.grace.run("reproduce", run_id=made.run_id)
    assert line(result) == "grade identical", result.stderr
    assert "no longer there to be checked: output version: " in result.stderr
    assert office.client.search_model_versions("name = 'forgotten'") == []


def until(holds, seconds: int = 180) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_commit_verifies_itself_in_a_strangers_hands(office, tmp_path):
    """expected.json is written and committed; a stranger gives the URL alone and gets the same, bit for bit."""
    author = colleague(tmp_path / "author", office.origin, office.url)
    repository.run(author.project, "checkout", "-q", "-b", "expected")
    written = author.run("verify", write="true", quiet="true")
    assert written.exit_code == 0, written.stderr
    commit = repository.commit(author.project)
    repository.run(author.project, "push", "-q", "origin", "expected")
    versions = office.client.search_model_versions()
    with git_daemon(office.origin.parent) as prefix:
        url = f"{prefix}/{office.origin.name}"
        result = office.grace.run("verify", uri=url, version=commit, quiet="true")
    assert result.exit_code == 0, result.stderr
    assert line(result) == "grade identical"
    assert office.client.search_model_versions() == versions
    assert subprocess.run(["git", "status", "--porcelain"], cwd=author.project, capture_output=True).stdout == b""
