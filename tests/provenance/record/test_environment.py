"""The environment as it is: lock, what is installed, Python, machine."""

import hashlib
import json
import platform
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from provenance.record import hardware
from provenance.record.difference import Difference, DifferenceKind
from provenance.record.environment import Environment, LockError, current, environment_differences
from provenance.record.packages import installed, locked, same_version
from tests.support import wheels
from tests.support.project import ROOT

LOCK = """--require-hashes
Foo_Bar==1.0 \\
    --hash=sha256:aaaa \\
    --hash=sha256:bbbb
# a comment
numpy[extra]==2.4.6 ; python_version >= '3' \\
    --hash=sha256:cccc
pywin32==312 ; sys_platform == 'nowhere' \\
    --hash=sha256:dddd
twice==1.0 ; python_full_version < '3' \\
    --hash=sha256:eeee
twice==2.0 ; python_full_version >= '3' \\
    --hash=sha256:ffff
"""


def package(folder: Path, name: str, version: str, origin: object = None) -> Path:
    """Metadata as an installer leaves it; `origin` is the content of direct_url.json."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text("")
    if origin is not None:
        (info / "direct_url.json").write_text(origin if isinstance(origin, str) else json.dumps(origin))
    return info


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project locked to three packages, of which just these are installed; returns its folder."""
    root, site = tmp_path / "project", tmp_path / "site"
    root.mkdir()
    (root / "requirements.lock").write_text(LOCK)
    (root / "conda.yaml").write_text(f"dependencies:\n  - python={platform.python_version()}\n  - pip=1\n")
    package(site, "foo_bar", "1.0")
    package(site, "numpy", "2.4.6")
    package(site, "twice", "2.0")
    import joblib  # noqa: F401  before sys.path is replaced, as those below
    import packaging.markers
    import packaging.version  # noqa: F401

    monkeypatch.setattr(sys, "path", [str(site)])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return root


def test_what_is_installed_as_locked_has_no_differences(project):
    """Names compare as PyPI compares them; lines for other platforms and Pythons do not count."""
    found = current(project, "uv")
    assert found.packages == found.locked == {"foo-bar": "1.0", "numpy": "2.4.6", "twice": "2.0"}
    assert found.differences == ()
    assert found.extras == {}
    assert found.lock_digest == hashlib.sha256(LOCK.encode()).hexdigest()
    assert (found.python, found.manager, found.machine) == (platform.python_version(), "uv", platform.machine())


def test_what_differs_from_the_lock_is_named_and_changes_the_key(project, tmp_path):
    """Another version, a missing package and another Python are differences; a package beside the lock is not."""
    before = current(project, "uv")
    package(tmp_path / "site", "pytest", "9.0")
    beside = current(project, "uv")
    assert (beside.extras, beside.key_part) == ({"pytest": "9.0"}, before.key_part)
    (tmp_path / "site" / "numpy-2.4.6.dist-info").rename(tmp_path / "site" / "numpy-2.4.5.dist-info")
    (tmp_path / "site" / "twice-2.0.dist-info" / "METADATA").unlink()
    (project / "conda.yaml").write_text("  - python=3.0.1\n")
    found = current(project, "uv")
    assert found.differences == (
        ("python", "3.0.1", platform.python_version()),
        ("numpy", "2.4.6", "2.4.5"),
        ("twice", "2.0", "absent"),
    )
    assert found.packages == {"foo-bar": "1.0", "numpy": "2.4.5", "twice": "absent"}
    assert found.locked == before.packages
    assert found.key_part != before.key_part


def test_an_edited_file_of_a_package_changes_the_key(project, tmp_path):
    """The version says nothing of it: the file is named, and two edits give two keys."""
    site, text = tmp_path / "site", "def mean(values): return 0\n"
    record = f"numpy/core.py,sha256={wheels.digest(text)},{len(text)}\n"
    (site / "numpy").mkdir()
    (site / "numpy-2.4.6.dist-info" / "RECORD").write_text(record)
    keys = set()
    for value in (0, 1, 2):
        (site / "numpy" / "core.py").write_text(text.replace("0", str(value)))
        found = current(project, "uv")
        keys.add(found.key_part)
        assert found.locked["numpy"] == "2.4.6"
        if value:
            ((name, wanted, there),) = found.differences
            assert (name, wanted) == ("numpy", "2.4.6")
            assert there.startswith("2.4.6 (changed: numpy/core.py, sha256 ")
            assert found.packages["numpy"] == there
    assert len(keys) == 3


def test_the_key_is_the_same_on_another_machine(project, monkeypatch):
    """Neither machine, cores, manager, folder nor thread variables are part of it; lock and Python are."""
    here = current(project, "uv")
    there = replace(here, machine="arm64", cpu="M9", cores=64, manager="conda", platform="macOS", threads={"A": "1"})
    assert there.key_part == here.key_part
    assert replace(here, lock_digest="0").key_part != here.key_part
    assert replace(here, python="3.12.0").key_part != here.key_part


ORIGINS = [
    ({"url": "file:///home/ada/numpy", "dir_info": {"editable": True}}, "2.4.6 (editable)"),
    ({"url": "file:///home/ada/numpy", "dir_info": {}}, "2.4.6 (from elsewhere)"),
    ({"url": "https://x/y.whl", "archive_info": {"hashes": {"sha256": "ab" * 32}}}, "2.4.6 (file abababababab)"),
    ({"url": "https://x/y", "vcs_info": {"vcs": "git", "commit_id": "cd" * 20}}, "2.4.6 (commit cdcdcdcdcdcd)"),
    ("damaged", "2.4.6 (from elsewhere)"),
    ("[]", "2.4.6 (from elsewhere)"),
    ('{"vcs_info": 1}', "2.4.6 (from elsewhere)"),
]


@pytest.mark.parametrize(("origin", "shown"), ORIGINS)
def test_a_package_that_is_no_release_differs_although_its_version_agrees(project, tmp_path, origin, shown):
    """Somebody's own numpy calls itself 2.4.6 too; no folder of theirs is recorded."""
    (tmp_path / "site" / "numpy-2.4.6.dist-info" / "METADATA").unlink()
    package(tmp_path / "other", "numpy", "2.4.6", origin)
    sys.path.append(str(tmp_path / "other"))
    assert current(project, "uv").differences == (("numpy", "2.4.6", shown),)


def test_the_first_folder_on_the_path_wins(tmp_path):
    """As it does for import; two versions in one folder are both named, remains of a removal are none."""
    package(tmp_path / "a", "numpy", "2")
    package(tmp_path / "b", "numpy", "1")
    package(tmp_path / "b", "scipy", "1.1")
    package(tmp_path / "b", "scipy", "1.0")
    package(tmp_path / "b", "~andas", "3")
    (tmp_path / "b" / "pandas-3.dist-info").mkdir()
    (tmp_path / "b" / "notes.dist-info").write_text("")
    folders = [str(tmp_path / name) for name in ("nowhere", "a", "b", "a")]
    assert installed(folders) == {"numpy": "2", "scipy": "1.0 and 1.1"}


def test_older_metadata_is_read(tmp_path):
    """What `setup.py develop` and Debian leave: a folder or a file named .egg-info."""
    (tmp_path / "Foo.Bar.egg-info").mkdir()
    (tmp_path / "Foo.Bar.egg-info" / "PKG-INFO").write_text("Metadata-Version: 1.0\nName: Foo.Bar\nVersion: 1.5\n")
    (tmp_path / "old-2.0-py3.11.egg-info").write_text("Name: old\nVersion: 2.0\n")
    (tmp_path / "empty.egg-info").mkdir()
    assert installed([str(tmp_path)]) == {"foo-bar": "1.5 (in development)", "old": "2.0 (in development)"}


def test_it_agrees_with_importlib_about_this_interpreter():
    """Reading folder names is faster than reading 120 files, and gives the same versions."""
    from importlib.metadata import distributions

    from provenance.record.packages import normal

    slow = {}
    for distribution in distributions():
        slow.setdefault(normal(distribution.name), distribution.version)
    assert {name: version.split(" (")[0] for name, version in installed().items()} == dict(sorted(slow.items()))


@pytest.mark.parametrize(
    ("wanted", "found", "same"),
    [("1.0", "1.0.0", True), ("1.0", "1.0+cpu", False), ("2.0rc1", "2.0.rc1", True), ("1.0", "1.0 (editable)", False),
     ("1.0", "absent", False), ("1.0", "damaged!", False), ("1!1.0", "1.0", False)],
)  # fmt: skip
def test_versions_compare_as_installers_compare_them(wanted, found, same):
    """Another spelling is no difference; a local build, an epoch or no version is one."""
    assert same_version(wanted, found) is same


BAD_LOCKS = {
    "foo\n": "line 1 pins no version: 'foo'",
    "a==1\nfoo>=1.0\n": "line 2 pins no version: 'foo>=1.0'",
    "foo @ https://x/y.whl\n": "line 1 pins no version",
    "-r other.txt\n": "line 1 pins no version",
    "a==1\nA==2\n": "line 2 pins A a second time",
    "a==1 ; python_version = 3\n": "line 1 has a marker that cannot be read",
    "a==1 ; no_such_thing == '1'\n": "line 1 has a marker that cannot be read",
}


@pytest.mark.parametrize(("text", "message"), BAD_LOCKS.items())
def test_a_lock_that_does_not_pin_is_an_error(project, text, message):
    """The file, the line and what to run."""
    (project / "requirements.lock").write_text(text)
    with pytest.raises(LockError) as error:
        current(project, "uv")
    assert str(error.value).startswith(f"{project / 'requirements.lock'}: {message}")
    assert "make lock" in str(error.value)


def test_lines_that_end_badly_are_still_read():
    """Windows line ends, a last line that goes on to nowhere, and blank lines."""
    assert locked("a==1 \\\r\n    --hash=sha256:aa\r\n\r\nb===2 \\") == {"a": "1", "b": "2"}


@pytest.mark.parametrize("name", ["requirements.lock", "conda.yaml"])
def test_a_missing_lock_is_an_error(project, name):
    """A project without its lock is not whole."""
    (project / name).unlink()
    with pytest.raises(LockError, match=rf"{name} cannot be read .*Run from a whole checkout"):
        current(project, "uv")


def test_a_lock_of_other_bytes_is_an_error(project):
    """Not text: told with its file."""
    (project / "requirements.lock").write_bytes(b"\xff\xfe")
    with pytest.raises(LockError, match=r"requirements\.lock: "):
        current(project, "uv")


def test_the_record_survives_json(project):
    """What is recorded is read back; a record of another shape is refused."""
    found = current(project, "uv")
    record = json.loads(json.dumps(found.to_dict()))
    assert Environment.from_dict(record) == found
    for bad in (
        {},
        [],
        record | {"differences": [["numpy", "1"]]},
        record | {"packages": 1},
        record | {"threads": None},
    ):
        with pytest.raises(LockError, match="Not an environment record"):
            Environment.from_dict(bad)


def test_differences_are_named_likeliest_cause_first(project):
    """Python, packages by lock, packages installed otherwise, variables, machine, then what lies beside the lock."""
    a = current(project, "uv")
    a = replace(a, cpu="A", threads={"OMP_NUM_THREADS": "1"}, platform="Linux-1", machine="x86_64", cores=2)
    b = replace(
        a,
        lock_digest="1" * 64,
        python="3.12.0",
        packages={"foo-bar": "1.1", "numpy": "2.4.5"},
        differences=(("python", "3.11.7", "3.12.0"), ("numpy", "2.4.6", "2.4.5")),
        cpu="B",
        cores=4,
        manager="conda",
        threads={},
        extras={"pytest": "9"},
    )
    assert environment_differences(a, a) == []
    assert environment_differences(a, b) == [
        Difference(DifferenceKind.PYTHON, "python", a.python, "3.12.0"),
        Difference(DifferenceKind.LOCKED, "foo-bar", "1.0", "1.1"),
        Difference(DifferenceKind.LOCKED, "twice", "2.0", None),
        Difference(DifferenceKind.INSTALLED, "numpy", "2.4.6", "2.4.5"),
        Difference(DifferenceKind.VARIABLE, "OMP_NUM_THREADS", "1", None),
        Difference(DifferenceKind.CPU, "cpu", "A", "B"),
        Difference(DifferenceKind.CORES, "cores", "2", "4"),
        Difference(DifferenceKind.MANAGER, "manager", "uv", "conda"),
        Difference(DifferenceKind.BESIDE_THE_LOCK, "pytest", None, "9"),
    ]


def test_a_lock_of_the_same_versions_in_another_text_is_told(project):
    """A changed hash is a changed lock."""
    a = current(project, "uv")
    assert environment_differences(a, replace(a, lock_digest="1" * 64)) == [
        Difference(DifferenceKind.LOCK_TEXT, "requirements.lock", a.lock_digest, "1" * 64)
    ]


CPUS = {
    "processor\t: 0\nmodel name\t: AMD EPYC\n\nprocessor\t: 1\nmodel name\t: other\n": "AMD EPYC",
    "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n": "x 0x41 0xd0c",
    "": "x",
}


@pytest.mark.parametrize(("text", "model"), CPUS.items())
def test_the_cpu_has_its_makers_name(tmp_path, monkeypatch, text, model):
    """Intel and AMD name the model, ARM gives numbers, others the architecture alone."""
    monkeypatch.setattr(hardware, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(platform, "processor", lambda: "x")
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    (tmp_path / "cpuinfo").write_text(text)
    assert hardware.cpu_model() == model


def test_variables_that_steer_threads_are_recorded(monkeypatch):
    """Set ones only, and no others: the environment holds secrets."""
    for name in hardware.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert hardware.variables() == {"OMP_NUM_THREADS": "1"}


def test_this_projects_environment_is_read_in_a_blink():
    """Every run records it before it starts: a fraction of a second on this project's lock."""
    current(ROOT, "local")  # compares what was installed or compiled since the last look
    start = time.process_time()
    found = current(ROOT, "local")
    assert time.process_time() - start < 0.5  # s; 0.2 s on an idle machine
    assert found.packages.keys() >= {"mlflow", "numpy", "pandas", "pyarrow", "scikit-learn", "xgboost"}
