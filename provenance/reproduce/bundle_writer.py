"""Write a bundle: one file with records, code, patches, locks, a description and, if wanted, external inputs."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from provenance.git.command import git
from provenance.git.source import check_commit
from provenance.record.digest import Json, sha256_file
from provenance.reproduce import research_object
from provenance.reproduce.bundle import BLOCK, CODE, CRATE, LOCKS, MANIFEST, PATCHES, RECORDS, SCHEMA, BundleError
from provenance.reproduce.recorded_run import RecordedRun
from provenance.reproduce.research_object import LICENCE, WORKFLOW, Subject
from provenance.store.project_identity import project_name
from runtime.progress import bar
from runtime.scratch import scratch_folder

_EPOCH = (1980, 1, 1, 0, 0, 0)  # a fixed time, zip's earliest, so that the same content gives the same file
_LOCKS = ("requirements.lock", "conda.yaml")
_LICENCES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt", "COPYING")
_LICENCE_BYTES = 1_000_000  # kept of a licence


def verify_whole(originals: Iterable[RecordedRun]) -> None:
    """Raise BundleError if an input of a run was made neither by a bundled run nor outside of all steps."""
    for original in originals:
        outside = [item.role for item in original.of_steps if item.role not in original.upstream]
        if outside:
            raise BundleError(
                f"run {original.run_id} read its {outside[0]} from a folder that no run made\n"
                " A bundle starts from what no step made: make the run again from a run of the step before."
            )


def write(out: Path, wanted: Sequence[str], originals: Sequence[RecordedRun], projects: Mapping[str, Path],
          external: Mapping[str, Path]) -> Path:  # fmt: skip
    """Write a bundle of `originals` to `out`. If it fails, it leaves no file. Raises BundleError.

    wanted: ids of the runs that the bundle is made for.
    projects: run id -> its project folder in a checkout of its commit.
    external: member -> the file of an external input.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(f".{out.name[:100]}.part", out.parent) as work:
        members: dict[str, Path] = {}
        for original in originals:
            _add_run(members, work, original, projects[original.run_id])
        members |= external
        subject = _add_workflow(members, work, wanted, originals, projects[originals[-1].run_id])
        listed = {member: (path.stat().st_size, sha256_file(path)) for member, path in sorted(members.items())}
        manifest: Json = {"schema": SCHEMA, "wanted": list(wanted), "members": _plain(listed)}
        texts = {MANIFEST: _json(manifest), CRATE: research_object.describe(subject, listed, external)}
        part = work / "whole.zip"
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, content in texts.items():
                with archive.open(_info(member), "w") as target:
                    target.write(content)
            _copy(archive, members, unpacked=external)
        os.replace(part, out)
    return out


def _add_run(members: dict[str, Path], work: Path, original: RecordedRun, project: Path) -> None:
    """Write record, patch, locks and code of one run to the folder `work`, and add them to `members`."""
    text = original.record.text.decode() if original.record else original.lineage.to_json()
    record: dict[str, Json] = {"lineage": text, "metrics": original.made.metrics, "logged": original.logged}
    if original.signature is not None:
        record["signature"] = original.signature.decode(errors="replace")
    texts = {f"{RECORDS}/{original.run_id}.json": _json(record)}
    if original.patch is not None:
        texts[f"{PATCHES}/{original.run_id}.diff"] = original.patch
    texts |= {f"{LOCKS}/{original.run_id}/{lock}": (project / lock).read_bytes() for lock in _LOCKS}
    for member, content in texts.items():
        path = work / f"{len(members)}"
        path.write_bytes(content)
        members[member] = path
    commit = original.lineage.source.get("commit")
    if commit is None:
        raise BundleError(f"run {original.run_id} was made from a plain folder, whose code git does not have\n"
                          " Bundle a run of a commit.")  # fmt: skip
    member = f"{CODE}/{check_commit(commit)}.bundle"
    if member not in members:
        members[member] = work / f"{commit}.bundle"
        git("bundle", "create", "-q", str(members[member]), "HEAD", cwd=project)


def _add_workflow(members: dict[str, Path], work: Path, wanted: Sequence[str], originals: Sequence[RecordedRun],
                  project: Path) -> Subject:  # fmt: skip
    """Add MLproject, and the licence if there is one, to `members`. Returns what the bundle's description is about."""
    licence = _licence(project)
    for member, content in ((WORKFLOW, (project / "MLproject").read_bytes()), (LICENCE, licence)):
        if content:
            members[member] = work / f"{len(members)}"
            members[member].write_bytes(content)
    return Subject(project_name(project) or "unnamed", wanted, originals, licence.decode("utf-8", "replace"))


def _licence(project: Path) -> bytes:
    """The licence of a project: that of its folder, or else of its repository; b"" if there is none."""
    top = Path(os.fsdecode(git("rev-parse", "--show-toplevel", cwd=project)).rstrip("\n"))
    for folder in (project, top):
        for name in _LICENCES:
            if (folder / name).is_file() and not (folder / name).is_symlink():
                return (folder / name).read_bytes()[:_LICENCE_BYTES]
    return b""


def _plain(listed: Mapping[str, tuple[int, str]]) -> Json:
    """The members in manifest.json: size and SHA-256 of each."""
    return {member: [size, sha256] for member, (size, sha256) in listed.items()}


def _copy(archive: zipfile.ZipFile, members: Mapping[str, Path], unpacked: Collection[str]) -> None:
    """Copy the files into the archive, with a progress bar. The members `unpacked` are not compressed."""
    with closing(bar("bundle", sum(path.stat().st_size for path in members.values()), "B")) as drawn:
        for member, path in sorted(members.items()):
            info = _info(member, packed=member not in unpacked)
            with path.open("rb") as source, archive.open(info, "w", force_zip64=True) as target:
                while block := source.read(BLOCK):
                    target.write(block)
                    drawn.update(len(block))


def _json(value: Json) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode()


def _info(member: str, packed: bool = True) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(member, _EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    return info
