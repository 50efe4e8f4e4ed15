"""bundle: one file from which a run can be reproduced without the server."""

if __name__ == "__main__":
    from provenance.bootstrap.start import start_step

    start_step()

import re
import tempfile
from pathlib import Path

import click

from provenance.pipeline.cli import Refused, checked
from provenance.pipeline.invocation import user_path
from provenance.pipeline.output import echo
from provenance.pipeline.report_run import given_repository, report_run
from steps.options import StepCommand, options


@click.command(cls=StepCommand)
@options("run_id", "out", "data", "source", "repo", "quiet", source="recorded")
@checked
def bundle(**params) -> None:
    """Put a run, everything it was made from and their code into one file; data=true adds the raw months."""
    from provenance.record.digest import sha256_file
    from provenance.reproduce import bundle_writer, recorded_run
    from provenance.reproduce.recorded_code import RecordedCode

    if "none" in (params["run_id"], params["out"]):
        raise Refused("Give the run and the file to write: -P run_id= -P out=")
    out = writable(params["out"])
    with report_run("bundle", params) as session, tempfile.TemporaryDirectory(prefix="bundle-") as folder:
        wanted = recorded_run.step_runs(session, params["run_id"])
        originals = recorded_run.in_order(wanted, lambda run_id: recorded_run.read(session, run_id), True)
        bundle_writer.verify_whole(originals)
        repo = given_repository(params["repo"])
        # Nothing runs here, so a patch needs no leave; it is checked and applied, to be sure that it can be.
        code = RecordedCode(session, Path(folder), repo, patch=True)
        projects = {item.run_id: code.project(item) for item in originals}
        months = raw_months(session, originals, params["source"]) if params["data"] else {}
        bundle_writer.write(out, wanted, originals, projects, months)
        echo(f"bundle {out}  {out.stat().st_size:,} bytes  sha256 {sha256_file(out)}")
        for item in originals:
            echo(f"  {item.lineage.step:<10} {item.run_id}")
        echo(f"  raw months: {', '.join(sorted(months)) or 'none (their digests are recorded)'}")
        echo(f"run {session.run.info.run_id}")


def writable(out: str) -> Path:
    """The file to write, when it can be one: said before anything is fetched."""
    path = user_path(out)
    if re.match(r"[\w+.-]{2,}:/", out):
        raise Refused(f"out={out:.200} is a URI, and a bundle is a file of this machine\n Give a path: -P out=run.zip")
    if path.is_dir() or out.endswith("/"):
        raise Refused(f"out={out:.200} is a folder, and a bundle is a file\n Give its name: -P out={path / 'run.zip'}")
    above = next(folder for folder in path.parents if folder.exists())
    if not above.is_dir():
        raise Refused(f"out={out:.200} lies below {above}, which is a file\n Give another: -P out=run.zip")
    return path


def raw_months(session, originals: list, source: str) -> dict[str, Path]:
    """File name -> path, of every raw month the runs read, each checked against its recorded digest."""
    from provenance.reproduce.reproduce import recorded_source
    from taxi.months.month import file_name
    from taxi.sources.locate import locate

    found = {}
    for item in originals:
        recorded = {month.role: month for month in item.months}
        if not recorded:
            continue
        where = recorded_source(item, session.is_own_store) if source == "recorded" else source
        if where.split(":")[0] == "sample":
            continue  # the code makes it
        taxi = item.lineage.params["taxi"]
        for month in locate(where, taxi, sorted(recorded), **session.fetch):
            if month.digest != recorded[month.name].digest:
                raise Refused(f"month {month.name} of {where} is not the recorded one: sha256 {month.digest[:12]}\n"
                              " Say where the recorded months are: -P source=FOLDER")  # fmt: skip
            found[file_name(taxi, month.name)] = month.path
    return found


if __name__ == "__main__":
    bundle()
