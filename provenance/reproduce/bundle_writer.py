"""Write a bundle: records, code, patches, locks and, if wanted, external inputs, as one file that needs no server."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

from provenance.git.command import git
from provenance.git.source import check_commit
from provenance.record.digest import sha256_file
from provenance.reproduce.bundle import BLOCK, CODE, LOCKS, MANIFEST, PATCHES, RECORDS, SCHEMA, BundleError
from provenance.reproduce.recorded_run import RecordedRun
from runtime.progress import bar
from runtime.scratch import scratch_folder

_EPOCH = (1980, 1, 1, 0, 0, 0)  # zip's first day: the same content is the same file


def verify_whole(originals: Iterable[RecordedRun]) -> None:
    """Raise BundleError when a run was made from something that no bundled run makes."""
    for original in originals:
        outside = [item.role for item in original.of_steps if item.role not in original.upstream]
        if outside:
            raise BundleError(
                f"run {original.run_id} read its {outside[0]} from a folder that no run made\n"
                " A bundle starts from what no step made: make the run again from a run of the step before."
            )


def write(out: Path, wanted: Iterable[str], originals: Iterable[RecordedRun], projects: Mapping[str, Path],
          external: Mapping[str, Path]) -> Path:  # fmt: skip
    """Write a bundle of `originals` to `out`, whole or not at all.

    projects: run id -> its project folder in a checkout of its commit. external: member -> file to carry.
    Raises BundleError.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(f".{out.name[:100]}.part", out.parent) as work:
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
        members |= external
        manifest = {
            "schema": SCHEMA,
            "wanted": list(wanted),
            "members": {member: [path.stat().st_size, sha256_file(path)] for member, path in sorted(members.items())},
        }
        part = work / "whole.zip"
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            _add(archive, MANIFEST, json.dumps(manifest, indent=1, sort_keys=True).encode())
            with closing(bar("bundle", sum(path.stat().st_size for path in members.values()), "B")) as drawn:
                for member, path in sorted(members.items()):
                    info = _info(member, packed=member not in external)
                    with path.open("rb") as source, archive.open(info, "w", force_zip64=True) as target:
                        while block := source.read(BLOCK):
                            target.write(block)
                            drawn.update(len(block))
        os.replace(part, out)
    return out


def _add(archive: zipfile.ZipFile, member: str, content: bytes) -> None:
    with archive.open(_info(member), "w") as target:
        target.write(content)


def _info(member: str, packed: bool = True) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(member, _EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    return info
