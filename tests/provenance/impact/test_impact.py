"""What came of what, on a store whose truth is known."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from provenance.impact.answer import Answer, answer
from provenance.impact.graph import Graph
from provenance.impact.recorded import read_runs
from provenance.impact.subject import ImpactError, subjects
from provenance.impact.versions import read_versions
from provenance.pipeline.session import Session
from provenance.record import names
from provenance.record.environment import Environment
from provenance.record.lineage import Input
from steps.pipeline import PIPELINE
from tests.support.bulk_store import PROJECT, BulkStore, packages, sha
from tests.support.finished_runs import TRAIN, left
from tests.support.impact_store import COMMITS, MONTHS, NAME, NUMPY, ImpactStore, Truth, month_digest

EXPERIMENTS = {"1": "trips", "2": "colleagues"}


@dataclass(frozen=True)
class Asked:
    """A store that can be asked, and what came of what in it."""

    graph: Graph
    truth: Truth

    def answers(self, of: str) -> list[Answer]:
        found = subjects(self.graph, PIPELINE, of, Path)
        return [answer(self.graph, PIPELINE, one, EXPERIMENTS) for one in found]

    def one(self, of: str) -> Answer:
        [found] = self.answers(of)
        return found

    def items(self, of: str) -> dict[str, set[str]]:
        return by_kind(self.one(of))


def by_kind(found: Answer) -> dict[str, set[str]]:
    kinds: dict[str, set[str]] = {}
    for item in found.items:
        kinds.setdefault(item.kind, set()).add(item.id)
    assert {kind: len(ids) for kind, ids in kinds.items()} == found.counts
    return kinds


def session_of(client: MlflowClient) -> Session:
    session = Session(PIPELINE, client, None, quiet=True)
    session.__dict__["project"] = PROJECT
    return session


def graph_of(client: MlflowClient) -> Graph:
    return Graph(read_runs(session_of(client)), read_versions(client))


@pytest.fixture(scope="module")
def asked(migrated_store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("impact")
    shutil.copy(migrated_store, folder / "mlflow.db")
    truth = ImpactStore(BulkStore(folder / "mlflow.db", folder / "artifacts")).fill(chains=30)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    yield Asked(graph_of(MlflowClient()), truth)
    mlflow.set_tracking_uri(before)


def test_the_store_has_all_that_is_asked_for(asked):
    """Else an empty answer would be right."""
    assert len(asked.graph.runs) > 300
    assert set(asked.truth.kinds.values()) == {
        "dataset",
        "search",
        "model",
        "version",
        "predictions",
        "trial",
        "report",
    }
    assert asked.truth.gone and any(run.reused for run in asked.graph.runs.values())
    assert {month_digest("2023-01", 1), month_digest("2023-01", 2)} <= asked.graph.files.keys()


@pytest.mark.parametrize("month", MONTHS)
def test_of_a_month_by_name_each_content_is_answered(asked, month):
    """TLC published January again: its name stands for two contents."""
    found = {one.subject.digest: by_kind(one) for one in asked.answers(month)}
    editions = (1, 2) if month == "2023-01" else (1,)
    assert found == {
        digest: asked.truth.of(f"file:{digest}") for edition in editions for digest in [month_digest(month, edition)]
    }
    assert all(found.values())


def test_of_a_digest_or_its_beginning_or_the_file_itself(asked, tmp_path):
    digest = month_digest("2023-01", 1)
    expected = asked.truth.of(f"file:{digest}")
    assert asked.items(digest) == asked.items(digest[:8]) == expected
    file = tmp_path / "mine.parquet"
    file.write_text("green 2023-01 edition 1")
    assert asked.items(str(file)) == expected
    assert asked.one(digest).subject.name == "green_tripdata_2023-01.parquet"
    assert len(asked.answers("green_tripdata_2023-01.parquet")) == 2


def test_of_every_run(asked):
    """Of a search, a trial, a register; a run that reused another stands for it, and a chain for its steps."""
    for run_id, run in asked.graph.runs.items():
        if run.step in ("preprocess", "train", "hpo", "register", "predict", "drift", "main") or run.trial:
            ids = asked.truth.stands_for.get(run_id, (run_id,))
            assert asked.items(run_id) == asked.truth.of(*(f"run:{one}" for one in ids)), (run.step, run_id)


@pytest.mark.parametrize("prefix", ["models:/", "runs:/"])
def test_of_every_model_version_and_output(asked, prefix):
    for uri in asked.truth.labels(prefix):
        assert asked.items(uri) == asked.truth.of(uri), uri
    assert asked.items(f"models:/{NAME}@champion") == asked.items(champion(asked))


def champion(asked) -> str:
    return next(uri for uri, aliases in asked.truth.aliases.items() if "champion" in aliases)


@pytest.mark.parametrize("commit", COMMITS)
def test_of_a_commit(asked, commit):
    """What a run reused was made by another commit."""
    own = [run for run in asked.graph.runs.values() if run.commit == commit and run.step and not run.reused]
    assert asked.one(commit).subject.about == f"{len(own)} runs worked with it"
    assert asked.items(commit) == asked.items(commit[:9]) == asked.truth.of(f"commit:{commit}")


@pytest.mark.parametrize("version", NUMPY)
def test_of_a_package(asked, version):
    """From one record of each environment."""
    assert asked.items(f"numpy=={version}") == asked.truth.of(f"numpy:{version}")
    assert [one.subject.name for one in asked.answers("NumPy")] == [f"numpy=={one}" for one in NUMPY]


def test_served_is_what_holds_the_alias_champion(asked):
    found = asked.one(asked.graph.runs[asked.graph.versions[champion(asked)].run_id].run_id)
    assert [item.location for item in found.served] == [champion(asked)]
    shadow = next(uri for uri, aliases in asked.truth.aliases.items() if "shadow" in aliases)
    assert asked.graph.versions[shadow].aliases == ("candidate", "shadow") and not asked.graph.versions[shadow].served


@pytest.mark.parametrize(
    ("of", "said"),
    [
        ("2031-07", "of=2031-07 names nothing that a run of this project made or read (files that they read: 2023-01,"),
        ("0" * 40, "names nothing"),
        ("models:/other/1", "is no model or version that you may read"),
        ("runs:/" + "0" * 32, "is no run or output"),
        ("numpy==1.0", "no run of this project used numpy==1.0: they used 2.4.5, 2.4.6"),
        ("nonsense==1.0", "no lock that they used names it"),
    ],
)
def test_what_is_not_there_is_said_in_a_line(asked, of, said):
    with pytest.raises(ImpactError) as error:
        asked.answers(of)
    first, remedy = str(error.value).split("\n")
    assert said in first and remedy.startswith(" Give ")


def test_a_beginning_of_several_is_refused(client, tmp_path):
    store = BulkStore(tmp_path / "mlflow.db", tmp_path / "artifacts")
    first = store.run("hpo", outputs={"search": sha("x")}, commit="abcdef01" + "2" * 32)
    store.run("hpo", outputs={"search": sha("y")}, commit="abcdef01" + "3" * 32)
    store.write()
    asked = Asked(graph_of(client), Truth())
    with pytest.raises(ImpactError, match=r"of=abcdef01 is the beginning of 2 names: commit abcdef012.*; commit "):
        asked.answers("abcdef01")
    assert asked.items("abcdef012") == {"search": {f"runs:/{first}/search"}}


def test_a_run_that_is_gone_is_spoken_for_by_those_that_reused_it(client, tmp_path):
    """`mlflow gc` removes deleted runs for good; what was made from them is still there."""
    store = BulkStore(tmp_path / "mlflow.db", tmp_path / "artifacts")
    gone, month = "e" * 32, Input("2023-01", "tlc", sha("month"))
    lost = {"dataset": (sha("dataset"), f"runs:/{gone}/dataset")}
    store.run("preprocess", [month], lost, reused=gone)
    dataset = Input("dataset", f"runs:/{gone}/dataset", sha("dataset"))
    train = store.run("train", [dataset], models=[model := store.model()])
    orphan = store.run("train", [Input("dataset", f"runs:/{'f' * 32}/dataset", sha("other"))])
    store.write()
    found = Asked(graph_of(client), Truth()).one("2023-01")
    assert by_kind(found) == {"dataset": {f"runs:/{gone}/dataset"}, "model": {f"models:/{model}"}}
    assert found.unknown == (orphan,) and [item.run_id for item in found.of_kind("model")] == [train]


def test_what_tags_do_not_say_the_record_does(client):
    """Fewer tags leave the answer as it is."""
    run = left(client, replace(TRAIN, step="preprocess", inputs=(Input("2023-01", "tlc", sha("month")),)))
    client.set_tag(run, names.PROJECT, PROJECT)
    for name in client.get_run(run).data.tags:
        if name in (names.INPUTS, names.MADE):
            client.delete_tag(run, name)
    assert Asked(graph_of(client), Truth()).items("2023-01") == {"dataset": {f"runs:/{run}/dataset"}}


def test_tags_of_earlier_code_say_the_same(client):
    """One for each parameter, input and output."""
    record = replace(TRAIN, step="preprocess", inputs=(Input("2023-01", "tlc", sha("month")),))
    run = left(client, record)
    made = client.get_run(run).data.tags[names.MADE]
    for name in (names.INPUTS, names.MADE):
        client.delete_tag(run, name)
    uri, digest = json.loads(made)["dataset"].split()
    earlier = {"input.2023-01": sha("month"), "input.2023-01.uri": "tlc", "output.dataset": digest,
               "output.dataset.uri": uri, "param.taxi": "green", "project": PROJECT}  # fmt: skip
    for name, text in earlier.items():
        client.set_tag(run, names.PREFIX + name, text)
    assert Asked(graph_of(client), Truth()).items("green_tripdata_2023-01.parquet") == {"dataset": {uri}}


def test_a_forged_environment_is_not_taken_for_another(client, tmp_path):
    """A record whose environment is not that of its tag says nothing about other runs with this tag."""
    store = BulkStore(tmp_path / "mlflow.db", tmp_path / "artifacts")
    honest = store.run("train", outputs={"x": sha("x")}, environment=packages(numpy="2.4.5"))
    key = Environment.from_dict(packages(numpy="2.4.5")).key_part
    store.run("train", outputs={"y": sha("y")}, environment=packages(numpy="9.9"), tags={names.ENVIRONMENT: key})
    store.write()
    asked = Asked(graph_of(client), Truth())
    assert [one.subject.name for one in asked.answers("numpy")] == ["numpy==2.4.5"]
    assert f"runs:/{honest}/x" in asked.items("numpy==2.4.5")["x"]
