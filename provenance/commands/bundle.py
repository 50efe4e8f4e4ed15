"""bundle: write one file from which a run can be reproduced without the server."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from provenance.pipeline.cli import Refused, checked
from provenance.pipeline.invocation import user_path
from provenance.pipeline.options import NO_OPTIONS, Decorator, StepCommand, engine_options
from provenance.pipeline.output import echo
from provenance.pipeline.report_run import given_repository, report_run

if TYPE_CHECKING:
    from provenance.pipeline.declaration import Pipeline
    from provenance.pipeline.session import Session
    from provenance.reproduce.recorded_run import RecordedRun


def bundle_command(pipeline: Pipeline, location: Decorator = NO_OPTIONS) -> click.Command:
    """Make the entry point ``bundle``.

    Parameters
    ----------
    pipeline : Pipeline
        The project's declaration.
    location : Decorator, optional
        The option that says where external inputs are; its default is "recorded".

    Returns
    -------
    click.Command
        The command. It raises Refused, BundleError or CodeRefused if no bundle can be made.
    """

    @click.command("bundle", cls=StepCommand)
    @engine_options("run_id", "out", "data")
    @location
    @engine_options("repo", "quiet")
    @checked
    def bundle(**params: Any) -> None:
        """Put a run, everything it was made from and their code into one file; data=true adds what no step made."""
        write_bundle(pipeline, params)

    return bundle


def write_bundle(pipeline: Pipeline, params: dict[str, Any]) -> None:
    """Write the bundle and print what it contains. Raises Refused for a wrong parameter, and BundleError."""
    from provenance.record.digest import sha256_file
    from provenance.reproduce import bundle_writer, recorded_run
    from provenance.reproduce.recorded_code import RecordedCode
    from provenance.reproduce.signers import signers

    if "none" in (params["run_id"], params["out"]):
        raise Refused("Give the run and the file to write: -P run_id= -P out=")
    out = writable(params["out"])
    with report_run(pipeline, "bundle", params) as session, tempfile.TemporaryDirectory(prefix="bundle-") as folder:
        wanted = recorded_run.step_runs(session, params["run_id"])
        originals = recorded_run.in_order(wanted, lambda run_id: recorded_run.read(session, run_id), True)
        bundle_writer.verify_whole(originals)
        repo = given_repository(params["repo"])
        # No recorded code runs here, so a patch needs no permission. It is applied to check that this is possible.
        code = RecordedCode(session, Path(folder), repo, patch=True)
        projects = {item.run_id: code.project(item) for item in originals}
        location = params.get(pipeline.location, "recorded")
        external = external_files(session, originals, location) if params["data"] else {}
        bundle_writer.write(out, wanted, originals, projects, external)
        echo(f"bundle {out}  {out.stat().st_size:,} bytes  sha256 {sha256_file(out)}")
        signed = signers(session, originals)
        for item in originals:
            echo(f"  {item.lineage.step:<10} {item.run_id}  {signed.get(item.run_id, '')}".rstrip())
        for noun in dict.fromkeys(step.external.noun for step in pipeline.steps if step.external):
            carried = ", ".join(member.partition("/")[2] for member in sorted(external))
            echo(f"  {noun}s: {carried or 'none (their digests are recorded)'}")
        echo(f"run {session.run_id}")


def writable(out: str) -> Path:
    """The path of the file to write. Raises Refused if it is a URI, a folder or below a file."""
    path = user_path(out)
    if re.match(r"[\w+.-]{2,}:/", out):
        raise Refused(f"out={out:.200} is a URI, and a bundle is a file of this machine\n Give a path: -P out=run.zip")
    if path.is_dir() or out.endswith("/"):
        raise Refused(f"out={out:.200} is a folder, and a bundle is a file\n Give its name: -P out={path / 'run.zip'}")
    above = next(folder for folder in path.parents if folder.exists())
    if not above.is_dir():
        raise Refused(f"out={out:.200} lies below {above}, which is a file\n Give another: -P out=run.zip")
    return path


def external_files(session: Session, originals: list[RecordedRun], location: str) -> dict[str, Path]:
    """Member -> file, of all external inputs of the runs. Raises Refused if one differs from its recorded digest."""
    from provenance.record.digest import sha256_file
    from provenance.reproduce.reproduce import ReplayOptions, location_of

    found: dict[str, Path] = {}
    for item in originals:
        external = session.pipeline.external(item.lineage.step)
        if external is None:
            continue
        where = location_of(external, item, ReplayOptions(location, own=session.is_own_store))
        if external.made_by_code(where):
            continue
        recorded, params = {one.role: one.digest for one in item.external}, item.lineage.params
        for role, path in external.files(where, params, sorted(recorded)).items():
            if (digest := sha256_file(path)) != recorded[role]:
                raise Refused(f"{external.noun} {role} of {where} is not the recorded one: sha256 {digest[:12]}\n"
                              f" Say where the recorded ones are: {external.remedy}")  # fmt: skip
            found[f"{external.folder}/{external.file_name(params, role)}"] = path
    return found
