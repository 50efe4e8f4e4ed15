"""A bundle is a Workflow Run RO-Crate that roc-validator accepts, and its description is never read again."""

import hashlib
import json
import re
import zipfile
from dataclasses import replace
from types import SimpleNamespace

import pytest

from provenance.git import source
from provenance.record.digest import Listing, list_file, sha256_file
from provenance.record.lineage import Input, Output
from provenance.reproduce import bundle, bundle_writer
from provenance.reproduce.recorded_run import RecordedRun, upstream
from provenance.reproduce.verdict import Made
from steps.pipeline import PIPELINE
from tests.support import records, repository
from tests.support.research_object import issues, serve_contexts

FIRST, LAST = "1" * 32, "2" * 32
CRATE = "ro-crate-metadata.json"
FILES = {
    "MLproject": b"name: trips\n",
    "steps/train.py": b"x = 1\n",
    "requirements.lock": b"lock\n",
    "conda.yaml": b"c\n",
    "LICENSE": b"\n  MIT License\n\nCopyright\n",
}


def listed(content: bytes) -> Listing:
    """An output of one file."""
    return list_file("data", len(content), hashlib.sha256(content).hexdigest())


@pytest.fixture
def chain(tmp_path):
    """preprocess and train of a checkout with uncommitted changes, with the raw month that the first read."""
    project = tmp_path / "project"
    commit = repository.commit(project, FILES)
    repository.run(project, "remote", "add", "origin", "https://example.org/trips.git")
    (project / "steps/train.py").write_bytes(b"x = 2\n")
    state, patch = source.read(project).to_dict(), source.make_patch(project)
    month = tmp_path / "green_tripdata_2023-01.parquet"
    month.write_bytes(b"PAR1 trips PAR1")
    read = Input("2023-01", "/home/ada/months", sha256_file(month))
    first = replace(records.RECORD, step="preprocess", source=state, inputs=(read,),
                    outputs=(Output.of("dataset", f"runs:/{FIRST}/dataset", listed(b"rows")),))  # fmt: skip
    last = replace(records.RECORD, source=state, outputs=(Output.of("model", "models:/m-1", listed(b"trees")),))
    originals = [
        RecordedRun(Made(run_id, record, measured), {"source": "'/home/ada'"}, patch, upstream=upstream(record),
                    external=record.inputs[:1] if record is first else (), started=started, ended=started + 5_000)
        for run_id, record, measured, started in (
            (FIRST, first, {"rows": 10.0}, 10_000),
            (LAST, last, {"val_rmse": 0.1 + 0.2, "rounds/val_rmse": 1.0}, 20_000))
    ]  # fmt: skip
    projects = dict.fromkeys((FIRST, LAST), project)
    return SimpleNamespace(folder=tmp_path, project=project, projects=projects, originals=originals, commit=commit,
                           months={f"months/{month.name}": month})  # fmt: skip


def written(chain, name: str = "run.zip", months: bool = True):
    external = chain.months if months else {}
    return bundle_writer.write(chain.folder / name, [FIRST, LAST], chain.originals, chain.projects, external)


def described(path) -> dict[str, dict]:
    """The entities of a bundle's description, by their ids."""
    with zipfile.ZipFile(path) as archive:
        graph = json.loads(archive.read(CRATE))["@graph"]
    found = {entity["@id"]: entity for entity in graph}
    assert len(found) == len(graph)
    return found


@pytest.mark.parametrize("months", [True, False])
def test_the_validator_accepts_it(chain, monkeypatch, months):
    """roc-validator 0.13, profile workflow-run-crate 0.5 and those it inherits; the network is not asked."""
    refused = serve_contexts(monkeypatch)
    folder = chain.folder / "unpacked"
    zipfile.ZipFile(written(chain, months=months)).extractall(folder)
    assert issues(folder) == []
    assert refused == []


def test_what_it_should_have_and_has_not_are_people(chain, monkeypatch):
    """An agent, an author, a publisher: they are nobody's business but the depositor's. And a README.md."""
    serve_contexts(monkeypatch)
    folder = chain.folder / "unpacked"
    zipfile.ZipFile(written(chain)).extractall(folder)
    found = {issue.partition(" (")[0].partition(": ")[2] for issue in issues(folder, "RECOMMENDED")}
    assert {line for line in found if not re.search("agent|author|publisher|README|absolute URI", line)} == set()


def test_the_validator_would_refuse_a_wrong_one(chain, monkeypatch):
    """The check above looks at the profile: an action without its tool, and no parameter's type."""
    serve_contexts(monkeypatch)
    folder = chain.folder / "unpacked"
    zipfile.ZipFile(written(chain)).extractall(folder)
    content = json.loads((folder / CRATE).read_text())
    for entity in content["@graph"]:
        entity.pop("instrument", None), entity.pop("additionalType", None)
    (folder / CRATE).write_text(json.dumps(content))
    found = "\n".join(issues(folder))
    assert "MUST have an instrument" in found and "MUST have an additionalType" in found


def test_it_says_what_ran_when_from_what_and_what_came_of_it(chain):
    found = described(written(chain))
    root, workflow = found["./"], found["code/MLproject"]
    assert root["mainEntity"] == {"@id": "code/MLproject"} and root["name"] == "trips: preprocess, train"
    assert root["datePublished"] == "1970-01-01T00:00:25+00:00"
    assert found[root["license"]["@id"]]["name"] == "MIT License"
    assert "File" in workflow["@type"] and "ComputationalWorkflow" in workflow["@type"]
    train = found[f"#run-{LAST}"]
    assert (train["startTime"], train["endTime"]) == ("1970-01-01T00:00:20+00:00", "1970-01-01T00:00:25+00:00")
    values = {found[item["@id"]]["name"]: found[item["@id"]]["value"] for item in (*train["object"], *train["result"])}
    dataset, model = (f"sha256:{listed(content).digest}" for content in (b"rows", b"trees"))
    assert values.pop("model") == model  # of two: a parameter has the same name, and comes before
    assert values == {"params": "default", "seed": "42", "dataset": dataset, "val_rmse": "0.30000000000000004"}
    assert {"@id": "months/green_tripdata_2023-01.parquet"} in found[f"#run-{FIRST}"]["object"]
    tool = found[train["instrument"]["@id"]]
    assert tool["softwareVersion"].startswith(f"commit {chain.commit}")
    assert found[tool["softwareRequirements"]["@id"]]["@id"] == f"locks/{LAST}/requirements.lock"


def test_it_names_no_user_and_no_folder(chain):
    """A bundle may be deposited where everybody can read it."""
    with zipfile.ZipFile(written(chain, months=False)) as archive:
        text = archive.read(CRATE).decode()
    assert "home/ada" not in text and str(chain.folder) not in text and "Ada" not in text


def test_every_member_is_described_with_its_digest(chain):
    path = written(chain)
    found = described(path)
    with zipfile.ZipFile(path) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    assert {name: [int(found[name]["contentSize"]), found[name]["sha256"]] for name in manifest["members"]} == (
        manifest["members"]
    )
    assert {item["@id"] for item in found["./"]["hasPart"]} == {"manifest.json", *manifest["members"]}


def test_the_same_runs_give_the_same_bytes(chain):
    assert written(chain, "1.zip").read_bytes() == written(chain, "2.zip").read_bytes()


def test_a_project_without_a_licence_says_so(chain):
    repository.run(chain.project, "rm", "-q", "-f", "LICENSE")
    assert described(written(chain))["./"]["license"] == "none recorded: ask the authors"


def rewritten(path, replaced: dict[str, bytes | None]):
    """The bundle with some members replaced, or left out where None."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()} | replaced
    target = path.with_name("rewritten.zip")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            if content is not None:
                archive.writestr(name, content)
    return target


@pytest.mark.parametrize(
    "content", [None, b"", b"[" * 100_000, b"x" * 300_000_000, b'{"@graph": [{"@id": "../../x"}]}'],
    ids=["none", "empty", "deep", "huge", "hostile"],
)  # fmt: skip
def test_an_altered_description_changes_nothing(chain, content):
    """People may add their names to it; nobody can do harm by it. An HTML preview of it may lie beside it."""
    path = rewritten(written(chain), {CRATE: content, "ro-crate-preview.html": b"<script>"})
    with bundle.open_bundle(path, PIPELINE) as found:
        assert found.wanted == (FIRST, LAST)
        assert found.original(LAST).made == chain.originals[1].made
        assert not (found.folder / CRATE).exists()


def test_a_bundle_of_earlier_code_is_read(chain):
    """Version 1 has no description, no MLproject and no licence beside the code."""
    path = written(chain)
    with zipfile.ZipFile(path) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    for name in ("code/MLproject", "code/LICENSE"):
        del manifest["members"][name]
    manifest["schema"] = 1
    left_out = dict.fromkeys((CRATE, "code/MLproject", "code/LICENSE"))
    earlier = rewritten(path, {**left_out, "manifest.json": json.dumps(manifest).encode()})
    with bundle.open_bundle(earlier, PIPELINE) as found:
        assert found.original(FIRST).made == chain.originals[0].made
