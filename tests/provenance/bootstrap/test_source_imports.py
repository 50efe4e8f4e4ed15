"""Steps run from the text of their modules, whatever bytecode lies beside it."""

import importlib.util
import marshal
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from provenance.record.code import CodeError, closure, unchanged
from tests.support.project import ROOT, environment
from tests.support.small_project import FIRST, lay_out

OLD, NEW = 'WORD = "old"\n', 'WORD = "new"\n'


@pytest.fixture
def project(tmp_path) -> Path:
    """A step that prints a word of another module, and has a process of its own print it, too."""
    lay_out(tmp_path)
    (tmp_path / "requirements.lock").write_text("--require-hashes\n")
    (tmp_path / "taxi").mkdir()
    (tmp_path / "taxi" / "__init__.py").write_text("")
    (tmp_path / "taxi" / "word.py").write_text(NEW)
    (tmp_path / "steps" / "say.py").write_text(
        FIRST + "import subprocess, sys\nfrom taxi.word import WORD\nprint(WORD, flush=True)\n"
        'subprocess.run([sys.executable, "-c", "from taxi.word import WORD; print(WORD)"], check=True)\n'
    )
    return tmp_path


def said(project: Path, **variables: str) -> str:
    command = [sys.executable, "-m", "steps.say"]
    done = subprocess.run(command, cwd=project, env=environment(variables), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def leave(file: Path, other: str, kind: str, bytecode: Path | None = None) -> None:
    """Bytecode of the text `other`, as Python would take it for the file's."""
    head = importlib.util.MAGIC_NUMBER
    if kind == "same size and time":
        stat = file.stat()
        head += bytes(4) + int(stat.st_mtime).to_bytes(4, "little") + stat.st_size.to_bytes(4, "little")
    else:
        head += (0b01).to_bytes(4, "little") + bytes(8)
    bytecode = bytecode or Path(importlib.util.cache_from_source(str(file)))
    bytecode.parent.mkdir(parents=True, exist_ok=True)
    bytecode.write_bytes(head + marshal.dumps(compile(other, str(file), "exec")))


@pytest.mark.parametrize("kind", ["same size and time", "by a digest that nobody checks"])
def test_stale_bytecode_is_not_run(project, kind):
    """Neither by the step nor by a process that it starts."""
    leave(project / "taxi" / "word.py", OLD, kind)
    assert said(project) == "new\nnew\n"
    assert said(project) == "new\nnew\n"


@pytest.mark.parametrize(
    "name",
    [
        "steps/__init__.py",
        "steps/say.py",
        "provenance/__init__.py",
        "provenance/bootstrap/start.py",
        "provenance/bootstrap/source_imports.py",
    ],
)
def test_not_of_what_is_imported_first_either(project, name):
    """It is seen, removed, and the step starts again."""
    file = project / name
    text = file.read_text()
    leave(file, text + '\nprint("stale")\n', "same size and time")
    assert said(project) in ("stale\nnew\nnew\n", "new\nnew\n")
    assert said(project) == "new\nnew\n"


def test_an_engine_in_another_folder_is_imported_from_source_too(project):
    """The project lies below it, as an example does, and has its own `steps`."""
    inner = project / "examples" / "mine"
    inner.mkdir(parents=True)
    for name in ("steps", "conda.yaml", "requirements.lock"):
        shutil.move(project / name, inner)
    leave(project / "taxi" / "word.py", OLD, "same size and time")
    leave(inner / "steps" / "say.py", (inner / "steps" / "say.py").read_text() + "print('stale')\n", "unchecked")
    assert said(inner, PYTHONPATH="../..").endswith("new\nnew\n")
    assert said(inner, PYTHONPATH="../..") == "new\nnew\n"


def test_bytecode_elsewhere_is_not_run(project, tmp_path):
    """PYTHONPYCACHEPREFIX names another place for it."""
    file, elsewhere = project / "taxi" / "word.py", tmp_path / "elsewhere"
    place = elsewhere.joinpath(*file.parts[1:-1], f"word.{sys.implementation.cache_tag}.pyc")
    leave(file, OLD, "same size and time", place)
    assert said(project, PYTHONPYCACHEPREFIX=str(elsewhere)) == "new\nnew\n"


def test_a_compiled_module_beside_the_text_is_not_taken(project):
    """Python prefers it; the digest is of the text."""
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    (project / "taxi" / f"word{suffix}").write_bytes(b"no library")
    command = [sys.executable, "-m", "steps.say"]
    done = subprocess.run(command, cwd=project, env=environment(), capture_output=True, text=True)
    assert done.stdout == "new\n"  # the process of its own takes it, and fails


def test_an_edit_is_run_although_size_and_time_are_the_same(project):
    """As an editor or `git` may leave it within a second."""
    file = project / "taxi" / "word.py"
    assert said(project) == "new\nnew\n"
    stat = file.stat()
    file.write_text(OLD)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert said(project) == "old\nold\n"


def test_code_that_was_edited_since_it_was_recorded_is_named(tmp_path):
    """In the folder, or between its import and the record."""
    (tmp_path / "steps").mkdir()
    (tmp_path / "steps" / "train.py").write_text("import word\n")
    (tmp_path / "word.py").write_text(NEW)
    before = closure(tmp_path, "steps.train")
    unchanged(tmp_path, "steps.train", before)
    (tmp_path / "word.py").write_text(f"# a comment\n{NEW}")
    unchanged(tmp_path, "steps.train", before)
    (tmp_path / "word.py").write_text(OLD)
    with pytest.raises(
        CodeError, match=r"changed while this run worked or waited: word.py\n Nothing of it can be used"
    ):
        unchanged(tmp_path, "steps.train", before)


def test_what_was_imported_is_compared_with_what_was_recorded(monkeypatch):
    """An edit after the import and before the record."""
    from provenance.bootstrap import source_imports

    now = closure(ROOT, "steps.train")
    unchanged(ROOT, "steps.train", now)
    monkeypatch.setitem(source_imports.imported, "taxi/months/month.py", b"MONTHS = 12\n")
    with pytest.raises(CodeError, match=r"while this run worked or waited: taxi/months/month\.py"):
        unchanged(ROOT, "steps.train", now)
