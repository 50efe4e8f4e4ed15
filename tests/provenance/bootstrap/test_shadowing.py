"""What would be imported in place of the standard library or of a locked package is refused, before anything else."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.small_project import SmallProject

LIES = 'raise SystemExit("the wrong module was imported")\n'


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> SmallProject:
    """A small project whose environment is whole."""
    room = SmallProject(tmp_path_factory.mktemp("room"))
    assert room.run()[0] == 0
    return room


def refusal(file: Path, module: str, remedy: str) -> str:
    return f"Error: {file} would be imported in place of {module}\n {remedy}\n"


@pytest.mark.parametrize("name", ["secrets", "random", "csv", "subprocess", "hashlib"])
def test_a_file_named_as_a_standard_module_in_the_projects_folder(room, name):
    """`python -m` looks there first; also for what is imported before a step's own lines."""
    file = room.project / f"{name}.py"
    file.write_text(LIES)
    try:
        code, out, err = room.run()
    finally:
        file.unlink()
    remedy = "Rename the file, or move it out of the project's folder."
    assert (code, out, err) == (1, "", refusal(file, f"the standard library's {name}", remedy))


@pytest.mark.parametrize("kind", ["module", "package", "compiled", "folder without __init__"])
def test_a_locked_package_in_the_projects_folder(room, kind):
    """In each form that Python would take."""
    file = room.project / ("first.py" if kind == "module" else "first.abi3.so" if kind == "compiled" else "first")
    if kind in ("package", "folder without __init__"):
        file.mkdir()
        (file / ("__init__.py" if kind == "package" else "other.py")).write_text(LIES)
    else:
        file.write_text(LIES)
    try:
        code, _, err = room.run()
    finally:
        subprocess.run(["rm", "-r", file], check=True)
    assert code == 1
    assert err.startswith(f"Error: {file} would be imported in place of the environment's first\n")


def test_another_version_on_pythonpath(room, tmp_path):
    """A folder and an archive of modules."""
    (tmp_path / "first.py").write_text('WORD = "another"\n')
    archive = tmp_path / "modules.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("second.py", 'WORD = "another"\n')
    for entry, file, module in (
        (tmp_path, tmp_path / "first.py", "first"),
        (archive, archive / "second.py", "second"),
    ):
        remedy = f"Unset PYTHONPATH, or take {entry} out of it."
        wanted = refusal(file, f"the environment's {module}", remedy)
        assert room.run(PYTHONPATH=str(entry)) == (1, "", wanted)


def test_a_package_that_is_installed_elsewhere_is_recorded_instead(room, tmp_path):
    """Its RECORD tells what it is made of: see test_environment.py."""
    (tmp_path / "first.py").write_text('WORD = "another"\n')
    (tmp_path / "first-2.0.dist-info").mkdir()
    (tmp_path / "first-2.0.dist-info" / "RECORD").write_text("first.py,,\n")
    code, out, _ = room.run(PYTHONPATH=str(tmp_path))
    assert (code, out) == (0, "another second a b\n")


def test_what_shadows_nothing_is_left_alone(room, tmp_path):
    """A module that neither Python nor the lock has; a folder without modules."""
    (tmp_path / "mine.py").write_text("")
    (room.project / "notes.py").write_text("")
    (room.project / "calendar").mkdir(exist_ok=True)
    (room.project / "calendar" / "2023.txt").write_text("")
    assert room.run(PYTHONPATH=str(tmp_path)) == (0, "first second a b\n", "")


def test_the_users_own_site_packages(tmp_path):
    """They come before the environment's where it lets them in, as conda's do."""
    from provenance.bootstrap.shadowing import ShadowError, check_shadows, environment_folders

    root, mine = Path(__file__).parents[3], tmp_path / "site-packages"
    (mine / "xgboost").mkdir(parents=True)
    (mine / "xgboost" / "__init__.py").write_text("")
    library = os.path.dirname(os.__file__)
    with pytest.raises(ShadowError, match="in place of the environment's xgboost\n Set PYTHONNOUSERSITE=1, or take"):
        check_shadows(str(root), [str(root), library, str(mine), *environment_folders()], environment_folders())
    check_shadows(str(root), [str(root), library, *environment_folders(), str(mine)], environment_folders())
    assert sys.prefix in environment_folders()[0]
