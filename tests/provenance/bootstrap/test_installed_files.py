"""Installed packages: each file is the one that was installed, and each bytecode of its source."""

import importlib.util
import marshal
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from provenance.bootstrap import installed_files
from provenance.bootstrap.installed_files import altered
from tests.support.project import ROOT, environment
from tests.support.wheels import digest

FILES = {"first/__init__.py": "from first.word import WORD\n", "first/word.py": 'WORD = "first"\n'}


@pytest.fixture
def site(tmp_path, monkeypatch) -> Path:
    """A folder with one installed package."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    site = tmp_path / "site-packages"
    for name, text in FILES.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    write_record(site, FILES)
    return site


def write_record(site: Path, files: dict[str, str]) -> None:
    info = site / "first-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "RECORD").write_text("".join(f"{name},sha256={digest(text)},{len(text)}\n" for name, text in files.items()))


def edit(file: Path, text: str) -> None:
    """Another text, with the times of the one before."""
    stat = file.stat()
    file.write_text(text)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def bytecode(file: Path, text: str) -> Path:
    """Bytecode of `text` that says it is of `file`."""
    stat, place = file.stat(), Path(importlib.util.cache_from_source(str(file)))
    place.parent.mkdir(exist_ok=True)
    head = importlib.util.MAGIC_NUMBER + bytes(4) + int(stat.st_mtime).to_bytes(4, "little")
    code = marshal.dumps(compile(text, str(file), "exec"))
    place.write_bytes(head + stat.st_size.to_bytes(4, "little") + code)
    return place


@pytest.mark.parametrize("looked", [False, True])
def test_an_edited_file_is_named(site, looked):
    """Of the same size and with its old times; seen at the first look and at a later one. Undone, it is whole again."""
    assert not looked or altered([str(site)]) == {}
    edit(site / "first" / "word.py", 'WORD = "other"\n')
    found = altered([str(site)])
    assert list(found) == ["first"]
    assert found["first"].startswith("changed: first/word.py, sha256 ")
    assert altered([str(site)]) == found
    edit(site / "first" / "word.py", 'WORD = "third"\n')
    assert altered([str(site)]) != found
    edit(site / "first" / "word.py", FILES["first/word.py"])
    assert altered([str(site)]) == {}


def test_a_record_that_is_edited_later_is_not_believed(site):
    """What a file was when its package was seen first counts; another version is another package."""
    assert altered([str(site)]) == {}
    edit(site / "first" / "word.py", 'WORD = "other"\n')
    write_record(site, {**FILES, "first/word.py": 'WORD = "other"\n'})
    assert "first/word.py" in altered([str(site)])["first"]
    (site / "first-1.0.dist-info").rename(site / "first-1.1.dist-info")
    assert altered([str(site)]) == {}


@pytest.mark.parametrize("looked", [False, True])
def test_bytecode_that_is_not_of_its_source_is_named(site, looked):
    """Python would run it: size and time agree."""
    assert not looked or altered([str(site)]) == {}
    file = site / "first" / "word.py"
    bytecode(file, FILES["first/word.py"])
    assert altered([str(site)]) == {}
    place = bytecode(file, 'WORD = "other"\n')
    assert altered([str(site)])["first"].startswith(f"changed: {place.relative_to(site)}, sha256 ")


@pytest.mark.parametrize("name", ["first/__init__.abi3.so", "first/word/__init__.py", "first/word.pyc"])
def test_a_file_that_would_be_imported_and_that_no_package_brought_is_named(site, name):
    """Python prefers a compiled module and a folder to a module's text."""
    assert altered([str(site)]) == {}
    (site / name).parent.mkdir(exist_ok=True)
    (site / name).write_text('WORD = "other"\n')
    assert altered([str(site)])["first"].startswith(f"changed: {name}, sha256 ")


def test_a_file_that_is_gone_is_named(site):
    """And several are counted."""
    (site / "first" / "word.py").unlink()
    assert altered([str(site)]) == {"first": "changed: first/word.py, absent"}
    (site / "first" / "__init__.py").unlink()
    assert altered([str(site)])["first"].startswith("2 files changed, digest ")


@pytest.mark.parametrize("looked", [False, True])
def test_a_company_adds_its_authority_to_the_certificates(site, looked):
    """Whom a connection trusts is no part of a result: keys stay the same, also while a run works."""
    write_record(site, {**FILES, "first/cacert.pem": "public\n"})
    (site / "first" / "cacert.pem").write_text("public\n")
    assert not looked or altered([str(site)]) == {}
    (site / "first" / "cacert.pem").write_text("public\nof the company\n")
    assert altered([str(site)]) == {}
    (site / "first" / "cacert.pem").unlink()
    assert altered([str(site)]) == {"first": "changed: first/cacert.pem, absent"}


def test_what_runs_when_python_starts_is_named(site):
    """A .pth file with code, which no package brought; one that names folders is none."""
    (site / "folders.pth").write_text("/somewhere\n")
    assert altered([str(site)]) == {}
    (site / "code.pth").write_text("import first; first.WORD = 'other'\n")
    assert list(altered([str(site)])) == ["code.pth"]


def test_sitecustomize_is_named(tmp_path):
    """Wherever Python found it."""
    (tmp_path / "sitecustomize.py").write_text("import os\n")
    program = "from provenance.bootstrap.installed_files import altered; print(altered([]))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment({"PYTHONPATH": str(tmp_path)}),
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert "'sitecustomize.py': 'runs at start, sha256 " in done.stdout


def test_a_new_environment_is_compiled_whatever_the_shell_says(site, monkeypatch):
    """Once, and stale bytecode is replaced."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    stale = bytecode(site / "first" / "word.py", 'WORD = "other"\n')
    assert altered([str(site)], cure=True) == {}
    program = "import first, sys; print(first.WORD, first.__cached__)"
    done = subprocess.run([sys.executable, "-c", program], env=environment({"PYTHONPATH": str(site)}),
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout.split()[0] == "first"
    assert Path(done.stdout.split()[1]).is_file() and stale.is_file()


def test_many_files_are_compared_by_several_processes(site, capsys, monkeypatch):
    """With the same result, and one line that says so."""
    edit(site / "first" / "word.py", 'WORD = "other"\n')
    wanted = altered([str(site)])
    shutil.rmtree(Path(os.environ["XDG_CACHE_HOME"]))
    monkeypatch.setattr(installed_files, "FEW", 0)
    assert altered([str(site)]) == wanted
    assert capsys.readouterr().err == f"checking 2 files of the packages in {site}\n"


def test_of_two_folders_with_a_package_the_first_counts(site, tmp_path):
    """It is the one that is imported."""
    other = tmp_path / "other"
    shutil.copytree(site, other)
    (other / "first" / "word.py").write_text("")
    assert altered([str(site), str(other)]) == {}
    assert list(altered([str(other), str(site)])) == ["first"]
