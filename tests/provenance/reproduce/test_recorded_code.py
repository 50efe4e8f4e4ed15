"""Whose code is fetched for a recorded run; every field of the record may be hostile."""

import hashlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from provenance.git import source
from provenance.git.source import CodeSourceError
from provenance.record import code
from provenance.reproduce.recorded_code import CodeRefused, RecordedCode, inside
from provenance.reproduce.recorded_run import RecordedRun
from provenance.reproduce.replay import ReplayError, manager, parameters, unquoted
from steps.pipeline import PIPELINE
from tests.support import repository
from tests.support.records import made

FILES = {
    "MLproject": b"entry_points: {train: {parameters: {seed: {}, source: {}, engine: {}, reuse: {}, params: {}}}}\n",
    "steps/__init__.py": b"",
    "steps/train.py": b"x = 1\n",
}


@pytest.fixture
def mine(tmp_path):
    """The user's own checkout, with one commit; `commit` is its id."""
    folder = tmp_path / "mine"
    commit = repository.commit(folder, FILES)
    said = []
    session = SimpleNamespace(pipeline=PIPELINE, root=folder, source=source.read(folder), say=said.append, said=said)
    return SimpleNamespace(folder=folder, commit=commit, session=session)


def original(content: bytes | None = None, **recorded) -> RecordedRun:
    record = {"commit": None, "remote": None, "branch": None, "folder": "", "dirty": False, "patch": None,
              "tree": None, "note": None}  # fmt: skip
    return RecordedRun(made(source={**record, **recorded}), {}, content)


def test_a_commit_of_this_checkout_is_used(mine, tmp_path):
    """No recorded remote: a commit id is its content, wherever it comes from."""
    project = RecordedCode(mine.session, tmp_path / "code").project(original(commit=mine.commit))
    assert (project / "steps/train.py").read_bytes() == b"x = 1\n"
    assert project != mine.folder


def test_a_commit_that_is_no_branch_head_any_more_is_found(mine, tmp_path):
    """The branch moved on, and then forgot it."""
    repository.commit(mine.folder, {"steps/train.py": b"x = 2\n"})
    repository.run(mine.folder, "commit", "-q", "--amend", "-m", "Another")
    project = RecordedCode(mine.session, tmp_path / "code").project(original(commit=mine.commit))
    assert (project / "steps/train.py").read_bytes() == b"x = 1\n"


def test_one_checkout_serves_all_steps_of_a_commit(mine, tmp_path):
    """The same commit is fetched once."""
    recorded = RecordedCode(mine.session, tmp_path / "code")
    assert recorded.project(original(commit=mine.commit)) == recorded.project(original(commit=mine.commit))


HOSTILE = {
    "a foreign remote": ({"remote": "https://example.org/evil.git"}, "not this project's repository"),
    "an option as the remote": ({"remote": "--upload-pack=touch pwned"}, "is an option or a command"),
    "a command as the remote": ({"remote": "ext::sh -c touch% pwned"}, "is an option or a command"),
    "a remote of two lines": ({"remote": "https://a\nb"}, "unprintable"),
    "an option as the commit": ({"commit": "--upload-pack=touch pwned"}, "no whole commit id"),
    "a branch as the commit": ({"commit": "main"}, "no whole commit id"),
    "a commit of two lines": ({"commit": "0" * 40 + "\n"}, "no whole commit id"),
    "a number as the commit": ({"commit": 7}, "Not a source record"),
    "a folder outside": ({"folder": "../../etc"}, "no plain relative path"),
    "an absolute folder": ({"folder": "/etc"}, "no plain relative path"),
    "a folder without a project": ({"folder": "steps"}, "no MLproject"),
    "a commit that nobody has": ({"commit": "0" * 40}, "not on a branch of this checkout"),
}


@pytest.mark.parametrize("attack", HOSTILE)
def test_a_hostile_record_is_refused_in_one_clear_line(mine, tmp_path, attack):
    """Nothing is fetched from elsewhere, nothing is run, nothing is written outside."""
    changes, words = HOSTILE[attack]
    with pytest.raises((CodeRefused, CodeSourceError), match=words) as refusal:
        RecordedCode(mine.session, tmp_path / "code").project(original(**{"commit": mine.commit, **changes}))
    assert not list(Path.cwd().glob("pwned*"))
    assert all(line.isprintable() for line in str(refusal.value).split("\n"))


def test_a_named_repository_is_used_although_the_record_names_another(mine, tmp_path):
    """`-P repo=` says whom the user trusts; the commit id says what is fetched."""
    other = tmp_path / "other"
    commit = repository.commit(other, {**FILES, "steps/train.py": b"x = 3\n"})
    recorded = RecordedCode(mine.session, tmp_path / "code", repo=str(other))
    project = recorded.project(original(commit=commit, remote="https://example.org/evil.git"))
    assert (project / "steps/train.py").read_bytes() == b"x = 3\n"


def dirty(mine) -> RecordedRun:
    """A run with one changed line."""
    (mine.folder / "steps/train.py").write_bytes(b"x = 9\n")
    state = source.read(mine.folder)
    patch = source.make_patch(mine.folder)
    (mine.folder / "steps/train.py").write_bytes(b"x = 1\n")
    return original(patch, **{**state.to_dict(), "remote": None})


def test_a_patch_is_shown_and_refused_until_allowed(mine, tmp_path):
    """Uncommitted changes are code of whoever made them."""
    with pytest.raises(CodeRefused, match="-P patch=true") as refusal:
        RecordedCode(mine.session, tmp_path / "code").project(dirty(mine))
    assert "  steps/train.py  modified  +1 -1" in str(refusal.value)


def test_an_allowed_patch_is_applied_to_the_clone_alone(mine, tmp_path):
    """The clone becomes the recorded tree; the user's checkout stays."""
    project = RecordedCode(mine.session, tmp_path / "code", patch=True).project(dirty(mine))
    assert (project / "steps/train.py").read_bytes() == b"x = 9\n"
    assert (mine.folder / "steps/train.py").read_bytes() == b"x = 1\n"
    assert mine.session.said[-1] == "  steps/train.py  modified  +1 -1"


def test_a_patch_that_is_not_the_recorded_one_is_refused(mine, tmp_path):
    """The artifact was exchanged after the run."""
    run = dirty(mine)
    swapped = RecordedRun(run.made, {}, run.patch.replace(b"x = 9", b"x = 7"))
    with pytest.raises(CodeRefused, match="not the one recorded"):
        RecordedCode(mine.session, tmp_path / "code", patch=True).project(swapped)


def test_a_patch_that_leaves_the_clone_is_refused(mine, tmp_path):
    """Digest and all are the attacker's; the path is what gives it away."""
    patch = (
        b"diff --git a/../pwned b/../pwned\nnew file mode 100644\n--- /dev/null\n+++ b/../pwned\n@@ -0,0 +1 @@\n+x\n"
    )
    run = original(patch, commit=mine.commit, dirty=True, patch=hashlib.sha256(patch).hexdigest(), tree="0" * 40)
    with pytest.raises(CodeSourceError):
        RecordedCode(mine.session, tmp_path / "code", patch=True).project(run)
    assert not list(tmp_path.rglob("pwned"))


def original_of(digest: str) -> RecordedRun:
    run = original()
    object.__setattr__(run.lineage, "code_digest", digest)
    return run


def test_a_run_of_a_plain_folder_needs_the_same_code_here(mine, tmp_path):
    """Without a commit, only the digest of the code says that this checkout is it."""
    here = code.digest(code.closure(mine.folder, "steps.train"))
    assert RecordedCode(mine.session, tmp_path / "code").project(original_of(here)) == mine.folder
    with pytest.raises(CodeRefused, match="plain folder"):
        RecordedCode(mine.session, tmp_path / "code").project(original_of("0" * 64))


def test_a_link_out_of_the_clone_is_no_project(tmp_path):
    """A commit may hold links; the project is a folder of the clone itself."""
    (tmp_path / "clone").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/MLproject").touch()
    (tmp_path / "clone/link").symlink_to("../elsewhere")
    with pytest.raises(CodeRefused):
        inside(tmp_path / "clone", "link")


def test_only_declared_parameters_are_replayed_without_their_quotes(mine):
    """What else stands on the run was logged by the step, or put there."""
    logged = {"seed": "42", "source": "'a b'", "max_depth": "6", "import-module": "os", "engine": "dask://evil:1"}
    run = RecordedRun(made(), logged)
    given = parameters(mine.folder, run, {"source": "c d"})
    assert given == {"seed": "42", "source": "c d", "engine": "local", "reuse": "false"}


def test_a_parameter_file_is_replayed_by_its_recorded_content(mine):
    """Its URI may hold something else by now."""
    run = RecordedRun(made(params={"params": '{"alpha":1}'}), {"params": "runs:/x/search/best_params.json"})
    assert parameters(mine.folder, run, {})["params"] == '{"alpha":1}'


@pytest.mark.parametrize("logged", ["two words", "'open", "", "x" * 6000, "a\0b"])
def test_a_parameter_that_mlflow_never_logs_is_refused(logged):
    """MLflow quotes every value and cuts long ones."""
    with pytest.raises(ReplayError):
        unquoted("source", logged)


def test_an_unknown_environment_manager_is_refused():
    """It goes into `mlflow run`."""
    run = RecordedRun(made(environment={"manager": "--evil"}), {})
    with pytest.raises(ReplayError, match="is none of uv, conda"):
        manager(run, "auto")
    assert manager(run, "uv") == "uv"
