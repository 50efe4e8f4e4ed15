"""Read a bundle: a file from which a run can be repeated without a server. bundle_writer.py writes it.

A bundle is a zip file. Its manifest.json lists all other members with size and SHA-256. A bundle contains code of its
author. Only its form can be checked, so open only bundles of authors that you trust.

The description of a bundle as an RO-Crate (research_object.py) is not in the manifest, and is never read: people may
edit it, for example to name themselves.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from provenance.git.command import git
from provenance.git.source import check_commit
from provenance.pipeline.declaration import Pipeline
from provenance.pipeline.invocation import invocation
from provenance.record.digest import JsonObject, check_name
from provenance.record.lineage import Lineage
from provenance.reproduce.recorded_run import RecordedRun, external_of, upstream
from provenance.reproduce.verdict import Made
from provenance.reuse.cache import metrics_digest
from provenance.signing.signatures import Record
from runtime.progress import counted

SCHEMA = 2  # in version 1 there is no description
READABLE = (1, 2)
MANIFEST = "manifest.json"
CRATE = "ro-crate-metadata.json"
UNREAD = (CRATE, "ro-crate-preview.html")  # what an RO-Crate has beside its files
RECORDS, PATCHES, CODE, LOCKS = "records", "patches", "code", "locks"
TEXT_BYTES = 50_000_000  # a larger record or manifest is refused
MOST_SHRUNK = 20  # the highest ratio of unpacked to packed size; more is a zip bomb
BLOCK = 1 << 20  # bytes


class BundleError(ValueError):
    """A file is not a bundle or was altered, or a bundle cannot be made."""


@dataclass(frozen=True)
class Bundle:
    """An open bundle, whose members were checked and extracted to `folder`.

    wanted: ids of the runs that the bundle was made for. originals: run id -> record, of these and all upstream runs.
    """

    folder: Path
    wanted: tuple[str, ...]
    originals: Mapping[str, RecordedRun]
    external: Path | None = None  # the folder of external inputs, if the bundle has them

    def original(self, run_id: str) -> RecordedRun:
        """The record of a run. Raises BundleError if the bundle does not contain it."""
        if run_id not in self.originals:
            raise BundleError(f"the bundle does not hold run {run_id!r:.40}, from which others were made\n"
                              " Make the bundle again.")  # fmt: skip
        return self.originals[run_id]

    def code(self, commit: str, folder: Path) -> Path:
        """Check out `commit` in the new folder `folder`. Raises BundleError or CodeSourceError."""
        member = self.folder / CODE / f"{check_commit(commit)}.bundle"
        if not member.is_file():
            raise BundleError(f"the bundle has no code of commit {commit}\n Make the bundle again.")
        folder.mkdir(parents=True)
        sha256 = ["--object-format=sha256"] if len(commit) == 64 else []
        git("init", "-q", "--template=", *sha256, cwd=folder)
        (folder / ".git" / "shallow").write_text(commit + "\n")  # the bundle may lack the history of the commit
        git("bundle", "unbundle", "--", str(member), cwd=folder)
        git("-c", "advice.detachedHead=false", "checkout", "-q", "--detach", commit, "--", cwd=folder)
        return folder


@contextlib.contextmanager
def open_bundle(path: Path, pipeline: Pipeline) -> Iterator[Bundle]:
    """Open the bundle at `path`. It stays extracted until the block ends.

    Raises BundleError before any of its content is used.
    """
    carried = {step.external.folder for step in pipeline.steps if step.external}
    with tempfile.TemporaryDirectory(prefix="bundle-") as name:
        folder = Path(name)
        try:
            with zipfile.ZipFile(path) as archive:
                manifest = _manifest(archive, carried)
                sizes = [size for size, _ in manifest["members"].values()]
                if sum(sizes) > 4 * TEXT_BYTES + MOST_SHRUNK * path.stat().st_size:
                    raise BundleError(f"{path} would unpack to {sum(sizes):,} bytes, which no bundle of its size does\n"
                                      " It was altered: get it again.")  # fmt: skip
                members = manifest["members"].items()
                for member, (size, sha256) in counted(members, "unpack", sum(sizes), "B", lambda item: item[1][0]):
                    _extract(archive, member, folder / member, size, sha256)
        except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError) as error:
            raise BundleError(f"{path} is no bundle, or is damaged ({error})\n Get it again.") from error
        except OSError as error:
            raise BundleError(f"{path} cannot be read ({error.strerror or error})\n Give a bundle's path.") from error
        try:
            originals = {run_id: _original(folder, run_id, pipeline) for run_id in _recorded(manifest)}
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise BundleError(f"{path} has a record that cannot be read ({error!r:.100})\n Get it again.") from error
        wanted = tuple(manifest["wanted"])
        if not wanted or not set(wanted) <= set(originals):
            raise BundleError(f"{path} lists runs that it does not hold\n Get it again.")
        external = next((folder / name for name in sorted(carried) if (folder / name).is_dir()), None)
        yield Bundle(folder, wanted, originals, external)


def _manifest(archive: zipfile.ZipFile, carried: set[str]) -> JsonObject:
    names = archive.namelist()
    if names.count(MANIFEST) != 1 or archive.getinfo(MANIFEST).file_size > TEXT_BYTES:
        make = invocation().command("bundle", {"run_id": "<id>", "out": "run.zip"})
        raise BundleError(f"the file has no manifest.json of a bundle\n Make one where the run is: {make}")
    try:
        manifest: JsonObject = json.loads(archive.read(MANIFEST))
        if manifest["schema"] not in READABLE:
            raise BundleError("the bundle is of another version of this project\n Make it again.")
        members = manifest["members"]
        for member, (size, sha256) in members.items():
            check_name(member, "The bundle")
            sound = type(size) is int and size >= 0 and isinstance(sha256, str)
            if not sound or PurePosixPath(member).parts[0] not in {RECORDS, PATCHES, CODE, LOCKS, *carried}:
                raise BundleError(f"the bundle's manifest has {member!r:.100}, which is no part of one")
        if not all(isinstance(run_id, str) for run_id in manifest["wanted"]):
            raise BundleError("the bundle's manifest names no runs")
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"the bundle's manifest cannot be read ({error!s:.100})\n Get it again.") from error
    if sorted(name for name in names if name not in UNREAD) != sorted([MANIFEST, *members]):
        raise BundleError("the bundle holds other files than its manifest lists\n It was altered: get it again.")
    return manifest


def _extract(archive: zipfile.ZipFile, member: str, target: Path, size: int, sha256: str) -> None:
    """Write one member, at most the `size` bytes in the manifest, and check its digest. Raises BundleError."""
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


def _recorded(manifest: JsonObject) -> list[str]:
    found = [PurePosixPath(member) for member in manifest["members"] if member.startswith(f"{RECORDS}/")]
    return [path.stem for path in found]


def _original(folder: Path, run_id: str, pipeline: Pipeline) -> RecordedRun:
    record = json.loads((folder / RECORDS / f"{run_id}.json").read_text())
    text, signature = record["lineage"], record.get("signature")
    lineage = Lineage.from_json(text)
    metrics = {str(name): float(value) for name, value in record["metrics"].items()}
    patch = folder / PATCHES / f"{run_id}.diff"
    return RecordedRun(
        made=Made(run_id, lineage, metrics),
        logged={str(name): str(text) for name, text in record["logged"].items()},
        patch=patch.read_bytes() if patch.is_file() else None,
        upstream=upstream(lineage),
        external=external_of(pipeline, lineage),
        record=Record(run_id, lineage, text.encode(), metrics_digest(metrics), None),
        signature=None if signature is None else str(signature).encode(errors="replace"),
    )
