"""A bundle holds all that a repetition needs, and an altered one is refused before any of it is used."""

import hashlib
import json
import zipfile
from dataclasses import replace
from types import SimpleNamespace

import pytest

from provenance.git import source
from provenance.record.lineage import Input
from provenance.reproduce import bundle, bundle_writer
from provenance.reproduce.bundle import BundleError
from provenance.reproduce.recorded_code import RecordedCode
from provenance.reproduce.recorded_run import RecordedRun
from provenance.reproduce.verdict import Made
from steps.pipeline import PIPELINE
from tests.support import records, repository

A = records.A
RECORD = replace(records.RECORD, outputs=())
RUN = "1" * 32
FILES = {"MLproject": b"name: x\n", "steps/train.py": b"x = 1\n", "requirements.lock": b"lock\n", "conda.yaml": b"c\n"}


@pytest.fixture
def recorded(tmp_path):
    """A preprocess run of a dirty checkout: its record, the checkout as it ran, and a raw month."""
    project = tmp_path / "project"
    commit = repository.commit(project, FILES)
    (project / "steps/train.py").write_bytes(b"x = 2\n")
    state, patch = source.read(project), source.make_patch(project)
    lineage = replace(
        RECORD, step="preprocess", source=state.to_dict(), inputs=(Input("2023-01", "/other/machine", A),)
    )
    original = RecordedRun(Made(RUN, lineage, {"val_rmse": 0.1 + 0.2}), {"source": "'a b'"}, patch)
    month = tmp_path / "green_tripdata_2023-01.parquet"
    month.write_bytes(b"PAR1 trips PAR1")
    return SimpleNamespace(project=project, commit=commit, original=original, months={f"months/{month.name}": month})


@pytest.fixture
def path(recorded, tmp_path):
    return bundle_writer.write(tmp_path / "b.zip", [RUN], [recorded.original], {RUN: recorded.project}, recorded.months)


def test_what_goes_in_comes_out(recorded, path):
    """The record, metrics to the last bit, the patch and the raw months."""
    with bundle.open_bundle(path, PIPELINE) as found:
        assert found.wanted == (RUN,)
        assert found.original(RUN).made == recorded.original.made
        assert found.original(RUN).logged == {"source": "'a b'"}
        assert found.original(RUN).patch == recorded.original.patch
        assert (found.external / "green_tripdata_2023-01.parquet").read_bytes() == b"PAR1 trips PAR1"
        assert (found.folder / "locks" / RUN / "requirements.lock").read_bytes() == b"lock\n"


def test_the_code_comes_out_as_it_ran(recorded, path, tmp_path):
    """Commit and patch, in a place that never saw the repository."""
    session = SimpleNamespace(pipeline=PIPELINE, root=tmp_path / "elsewhere", source=None, say=lambda line: None)
    with bundle.open_bundle(path, PIPELINE) as found:
        code = RecordedCode(session, tmp_path / "code", patch=True, bundle=found)
        project = code.project(found.original(RUN))
    assert (project / "steps/train.py").read_bytes() == b"x = 2\n"


def test_a_shallow_checkout_can_be_bundled(recorded, tmp_path):
    """`mlflow run <git URL>` leaves only shallow clones."""
    repository.commit(recorded.project, {"more": b"y"})
    commit = repository.run(recorded.project, "rev-parse", "HEAD")
    shallow = source.fetch(str(recorded.project), commit, tmp_path / "shallow")
    clean = {**source.read(shallow).to_dict(), "remote": None}
    original = RecordedRun(Made(RUN, replace(RECORD, source=clean), {}), {})
    path = bundle_writer.write(tmp_path / "s.zip", [RUN], [original], {RUN: shallow}, {})
    with bundle.open_bundle(path, PIPELINE) as found:
        assert (found.code(commit, tmp_path / "out") / "more").read_bytes() == b"y"


def test_the_same_content_is_the_same_file(recorded, tmp_path):
    """Two colleagues can compare the digests of their bundles."""
    first, second = (
        bundle_writer.write(tmp_path / name, [RUN], [recorded.original], {RUN: recorded.project}, recorded.months)
        for name in ("1.zip", "2.zip")
    )
    assert first.read_bytes() == second.read_bytes()


def test_a_month_of_a_run_with_an_unrecorded_input_is_refused(recorded):
    """A dataset from a folder that no run made cannot be made again."""
    run = RecordedRun(Made(RUN, replace(RECORD, inputs=(Input("dataset", "/some/folder", A),)), {}), {})
    with pytest.raises(BundleError, match="read its dataset from a folder that no run made"):
        bundle_writer.verify_whole([run])


def altered(path, tmp_path, change) -> object:
    """The bundle with `change(members, manifest)` applied to its members, name -> bytes."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(members.pop("manifest.json"))
    change(members, manifest)
    target = tmp_path / "altered.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("manifest.json", json.dumps(manifest))
        for name, content in members.items():
            archive.writestr(name, content)
    return target


def change_month(members, manifest):
    members["months/green_tripdata_2023-01.parquet"] = b"PAR1 tripz PAR1"


def grow_month(members, manifest):
    members["months/green_tripdata_2023-01.parquet"] += b"x"


def add_file(members, manifest):
    members["extra"] = b"x"


def climb_out(members, manifest):
    members["../pwned"] = b"x"
    manifest["members"]["../pwned"] = [1, "0" * 64]


def absolute(members, manifest):
    members["/tmp/pwned-by-a-bundle"] = b"x"
    manifest["members"]["/tmp/pwned-by-a-bundle"] = [1, "0" * 64]


def unknown_run(members, manifest):
    manifest["wanted"] = ["2" * 32]


def other_schema(members, manifest):
    manifest["schema"] = 3


def add(members, manifest, name, content):
    members[name] = content
    manifest["members"][name] = [len(content), hashlib.sha256(content).hexdigest()]


def fill_the_disk(members, manifest):
    add(members, manifest, f"code/{'1' * 40}.bundle", bytes(250_000_000))


def claim_the_disk(members, manifest):
    manifest["members"]["months/green_tripdata_2023-01.parquet"][0] = 10**12


def deep_record(members, manifest):
    add(members, manifest, f"records/{RUN}.json", b"[" * 100_000)


def metric_that_is_none(members, manifest):
    record = json.loads(members[f"records/{RUN}.json"])
    add(members, manifest, f"records/{RUN}.json", json.dumps({**record, "metrics": {"val_rmse": "x"}}).encode())


def output_elsewhere(members, manifest):
    record = json.loads(members[f"records/{RUN}.json"])
    lineage = json.loads(record["lineage"])
    lineage["outputs"] = [{"name": "x", "uri": "/etc/passwd", "digest": hashlib.sha256().hexdigest(), "files": {},
                           "volatile": []}]  # fmt: skip
    add(members, manifest, f"records/{RUN}.json", json.dumps({**record, "lineage": json.dumps(lineage)}).encode())


ALTERED = {
    fill_the_disk: "which no bundle of its size does",
    claim_the_disk: "which no bundle of its size does",
    deep_record: "has a record that cannot be read",
    metric_that_is_none: "has a record that cannot be read",
    output_elsewhere: "not in the tracking store",
    change_month: "is not what its manifest says",
    grow_month: "is not what its manifest says",
    add_file: "other files than its manifest lists",
    climb_out: "no plain relative path",
    absolute: "no plain relative path",
    unknown_run: "lists runs that it does not hold",
    other_schema: "of another version",
}


@pytest.mark.parametrize("change", ALTERED, ids=lambda change: change.__name__)
def test_an_altered_bundle_is_refused(path, tmp_path, change):
    """Every byte is under a digest, every name is checked, before anything is used."""
    with (
        pytest.raises(BundleError, match=ALTERED[change]),
        bundle.open_bundle(altered(path, tmp_path, change), PIPELINE),
    ):
        pass
    assert not list(tmp_path.rglob("pwned*"))


def test_a_truncated_bundle_is_refused(path):
    """A download that broke off."""
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BundleError, match="no bundle, or is damaged"), bundle.open_bundle(path, PIPELINE):
        pass


def test_a_missing_bundle_is_refused(tmp_path):
    """A misspelt path."""
    with pytest.raises(BundleError, match="cannot be read"), bundle.open_bundle(tmp_path / "none.zip", PIPELINE):
        pass


def test_a_failed_bundle_leaves_no_file(recorded, tmp_path):
    """Written whole or not at all."""
    with pytest.raises(FileNotFoundError):
        bundle_writer.write(tmp_path / "no.zip", [RUN], [recorded.original], {RUN: tmp_path / "nowhere"}, {})
    assert not (tmp_path / "no.zip").exists()
