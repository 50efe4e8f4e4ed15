"""One file from which a run can be repeated without a server: records, code, patches, locks and, if wanted, raw months.

A zip with manifest.json, which lists every other member with its size and SHA-256. Whoever hands over a bundle hands
over code: everything in it is checked for form, none of it for intent.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tracking.digest import DigestError, check_name, sha256_file
from tracking.git import git
from tracking.lineage import Lineage
from tracking.original import Original, upstream
from tracking.source import check_commit
from tracking.verdict import Made

SCHEMA = 1
MANIFEST = "manifest.json"
RECORDS, PATCHES, CODE, LOCKS, MONTHS = "records", "patches", "code", "locks", "months"
TEXT_BYTES = 50_000_000  # a record or manifest above this is none
BLOCK = 1 << 20  # bytes
_EPOCH = (1980, 1, 1, 0, 0, 0)  # zip's first day: the same content is the same file


class BundleError(ValueError):
    """A file that is no bundle, was altered, or cannot be made."""


@dataclass(frozen=True)
class Bundle:
    """A read bundle, its members extracted and checked below `folder`."""

    folder: Path
    wanted: tuple[str, ...]
    originals: Mapping[str, Original]

    @property
    def months(self) -> Path | None:
        """The folder of raw months, when the bundle carries them."""
        return self.folder / MONTHS if (self.folder / MONTHS).is_dir() else None

    def original(self, run_id: str) -> Original:
        """The record of a run. Raises BundleError when the bundle does not hold it."""
        if run_id not in self.originals:
            raise BundleError(f"the bundle does not hold run {run_id!r:.40}, which others were made from\n"
                              " Make the bundle again.")  # fmt: skip
        return self.originals[run_id]

    def code(self, commit: str, folder: Path) -> Path:
        """Check out `commit` in `folder`, which is new. Raises BundleError, SourceError."""
        member = self.folder / CODE / f"{check_commit(commit)}.bundle"
        if not member.is_file():
            raise BundleError(f"the bundle has no code of commit {commit}\n Make the bundle again.")
        folder.mkdir(parents=True)
        sha256 = ["--object-format=sha256"] if len(commit) == 64 else []
        git("init", "-q", "--template=", *sha256, cwd=folder)
        (folder / ".git" / "shallow").write_text(commit + "\n")  # the commit may come without its history
        git("bundle", "unbundle", "--", str(member), cwd=folder)
        git("-c", "advice.detachedHead=false", "checkout", "-q", "--detach", commit, "--", cwd=folder)
        return folder


def write(out: Path, wanted: Iterable[str], originals: Iterable[Original], projects: Mapping[str, Path],
          months: Mapping[str, Path]) -> Path:  # fmt: skip
    """Write a bundle of `originals` to `out`, whole or not at all.

    projects: run id -> its project folder in a checkout of its commit. months: file name -> raw month to carry.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bundle-", dir=out.parent) as name:
        work = Path(name)
        members: dict[str, Path] = {}

        def text(member: str, content: bytes) -> None:
            path = work / f"{len(members)}"
            path.write_bytes(content)
            members[member] = path

        for original in originals:
            record = {
                "lineage": original.lineage.to_json(),
                "metrics": original.made.metrics,
                "logged": original.logged,
            }
            text(f"{RECORDS}/{original.run_id}.json", json.dumps(record, indent=1, sort_keys=True).encode())
            if original.patch is not None:
                text(f"{PATCHES}/{original.run_id}.diff", original.patch)
            for lock in ("requirements.lock", "conda.yaml"):
                text(f"{LOCKS}/{original.run_id}/{lock}", (projects[original.run_id] / lock).read_bytes())
            commit = original.lineage.source.get("commit")
            if commit is None:
                raise BundleError(f"run {original.run_id} was made from a plain folder, whose code git does not have\n"
                                  " Bundle a run of a commit.")  # fmt: skip
            member = f"{CODE}/{check_commit(commit)}.bundle"
            if member not in members:
                members[member] = work / f"{commit}.bundle"
                git("bundle", "create", "-q", str(members[member]), "HEAD", cwd=projects[original.run_id])
        members |= {f"{MONTHS}/{file}": path for file, path in months.items()}
        manifest = {
            "schema": SCHEMA,
            "wanted": list(wanted),
            "members": {member: [path.stat().st_size, sha256_file(path)] for member, path in sorted(members.items())},
        }
        part = work / "whole.zip"
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            _add(archive, MANIFEST, json.dumps(manifest, indent=1, sort_keys=True).encode())
            for member, path in sorted(members.items()):
                with path.open("rb") as source, archive.open(_info(member), "w", force_zip64=True) as target:
                    shutil.copyfileobj(source, target, BLOCK)
        os.replace(part, out)
    return out


def _add(archive: zipfile.ZipFile, member: str, content: bytes) -> None:
    with archive.open(_info(member), "w") as target:
        target.write(content)


def _info(member: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(member, _EPOCH)
    info.compress_type = zipfile.ZIP_STORED if member.startswith(MONTHS) else zipfile.ZIP_DEFLATED
    return info


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Bundle]:
    """The bundle at `path`, extracted while open. Raises BundleError before anything of it is used."""
    with tempfile.TemporaryDirectory(prefix="bundle-") as name:
        folder = Path(name)
        try:
            with zipfile.ZipFile(path) as archive:
                manifest = _manifest(archive)
                for member, (size, sha256) in manifest["members"].items():
                    _extract(archive, member, folder / member, size, sha256)
        except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError) as error:
            raise BundleError(f"{path} is no bundle, or is damaged ({error})\n Get it again.") from error
        except OSError as error:
            raise BundleError(f"{path} cannot be read ({error.strerror or error})\n Give a bundle's path.") from error
        try:
            originals = {run_id: _original(folder, run_id) for run_id in _recorded(manifest)}
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError, DigestError) as error:
            raise BundleError(f"{path} has a record that cannot be read ({error!r:.100})\n Get it again.") from error
        wanted = tuple(manifest["wanted"])
        if not wanted or not set(wanted) <= set(originals):
            raise BundleError(f"{path} lists runs that it does not hold\n Get it again.")
        yield Bundle(folder, wanted, originals)


def _manifest(archive: zipfile.ZipFile) -> dict:
    names = archive.namelist()
    if names.count(MANIFEST) != 1 or archive.getinfo(MANIFEST).file_size > TEXT_BYTES:
        raise BundleError("the file has no manifest.json of a bundle\n Make it with: mlflow run . -e bundle")
    try:
        manifest = json.loads(archive.read(MANIFEST))
        if manifest["schema"] != SCHEMA:
            raise BundleError("the bundle is of another version of this project\n Make it again.")
        members = manifest["members"]
        for member, (size, sha256) in members.items():
            check_name(member, "The bundle")
            sound = type(size) is int and size >= 0 and isinstance(sha256, str)
            if not sound or PurePosixPath(member).parts[0] not in (RECORDS, PATCHES, CODE, LOCKS, MONTHS):
                raise BundleError(f"the bundle's manifest has {member!r:.100}, which is no part of one")
        if not all(isinstance(run_id, str) for run_id in manifest["wanted"]):
            raise BundleError("the bundle's manifest names no runs")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"the bundle's manifest cannot be read ({error!s:.100})\n Get it again.") from error
    if sorted(names) != sorted([MANIFEST, *members]):
        raise BundleError("the bundle holds other files than its manifest lists\n It was altered: get it again.")
    return manifest


def _extract(archive: zipfile.ZipFile, member: str, target: Path, size: int, sha256: str) -> None:
    """Write one member, never more bytes than the manifest says, and check its digest."""
    if member.endswith((".json", ".diff", ".lock", ".yaml")) and size > 4 * TEXT_BYTES:
        raise BundleError(f"the bundle's {member} is too large for what it is\n It was altered: get it again.")
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, left = hashlib.sha256(), size
    with archive.open(member) as source, target.open("xb") as file:
        while block := source.read(min(BLOCK, left + 1)):
            left -= len(block)
            if left < 0:
                break
            digest.update(block)
            file.write(block)
    if left or digest.hexdigest() != sha256:
        raise BundleError(f"the bundle's {member} is not what its manifest says\n It was altered: get it again.")


def _recorded(manifest: dict) -> list[str]:
    found = [PurePosixPath(member) for member in manifest["members"] if member.startswith(f"{RECORDS}/")]
    return [path.stem for path in found]


def _original(folder: Path, run_id: str) -> Original:
    record = json.loads((folder / RECORDS / f"{run_id}.json").read_text())
    lineage = Lineage.from_json(record["lineage"])
    patch = folder / PATCHES / f"{run_id}.diff"
    return Original(
        made=Made(run_id, lineage, {str(name): float(value) for name, value in record["metrics"].items()}),
        logged={str(name): str(text) for name, text in record["logged"].items()},
        patch=patch.read_bytes() if patch.is_file() else None,
        upstream=upstream(lineage),
    )


def verify_whole(originals: Iterable[Original]) -> None:
    """Raise BundleError when a run was made from something that no bundled run makes."""
    for original in originals:
        outside = [
            item.role
            for item in original.lineage.inputs
            if original.lineage.step != "preprocess" and item.role not in original.upstream
        ]
        if outside:
            raise BundleError(
                f"run {original.run_id} read its {outside[0]} from a folder that no run made\n"
                " A bundle starts from raw months: make the run again from a preprocess run."
            )
