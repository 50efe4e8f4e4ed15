"""gc: list the runs and artifacts that are not needed. delete=true deletes them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from provenance.pipeline.cli import checked
from provenance.pipeline.invocation import invocation
from provenance.pipeline.options import StepCommand, engine_options
from provenance.pipeline.output import echo
from provenance.pipeline.report_run import report_run

if TYPE_CHECKING:
    from provenance.pipeline.declaration import Pipeline
    from provenance.pipeline.session import Session
    from provenance.reuse.garbage import Garbage


def gc_command(pipeline: Pipeline) -> click.Command:
    """Make the entry point ``gc``.

    Parameters
    ----------
    pipeline : Pipeline
        The project's declaration.

    Returns
    -------
    click.Command
        The command. It exits with 1 if a run could not be deleted.
    """

    @click.command("gc", cls=StepCommand)
    @engine_options("keep_days", "delete", "quiet")
    @checked
    def gc(**params: Any) -> None:
        """List what nothing needs: no registered version, no alias, no younger cache entry, no descendant's lineage."""
        collect(pipeline, params)

    return gc


def collect(pipeline: Pipeline, params: dict[str, Any]) -> None:
    """List what is not needed, and delete it if ``delete`` is true. Exits with 1 if a run could not be deleted."""
    from provenance.reuse import garbage
    from runtime.progress import number_of

    with report_run(pipeline, "gc", params) as session:
        mine = {session.run_id}
        found = garbage.find(session.client, session.experiments, session.project, params["keep_days"], mine)
        failed = clear(session, found, params["delete"])
        if found.unknown:
            echo(f"kept all that could be registered: {found.unknown}")
        if found.unmarked:
            echo(
                f"left alone: {number_of(found.unmarked, 'run')} without the tag lineage.project, "
                "made before it was written (delete by hand those that you know: "
                f"`{invocation().program} runs delete --run-id ID`)"
            )
        echo("environments (delete a folder to have it built again):")
        for folder in garbage.environments(found.ours):
            echo(f"  {folder}")
        echo("temporary clones that `mlflow run <git URL>` left:")
        for folder in garbage.clones(session.root):
            echo(f"  {folder}")
    if failed:
        sys.exit(1)


def clear(session: Session, found: Garbage, delete: bool) -> int:
    """Print each run, and delete it if `delete` is true. Returns the number of runs that could not be deleted."""
    from mlflow.exceptions import MlflowException

    from provenance.record.validation import one_line
    from provenance.reuse import garbage
    from provenance.store.paging import every
    from runtime.progress import counted, number_of
    from runtime.server_errors import server_unavailable

    experiments = {item.experiment_id: item.name for item in every(session.client.search_experiments)}
    failed = refused = 0
    for run in counted(found.runs, "delete" if delete else "list", len(found.runs), "runs"):
        experiment = experiments.get(run.info.experiment_id, run.info.experiment_id)
        echo(f"run {run.info.run_id}  {garbage.age_days(run):6.1f} days  {garbage.describe(run, experiment)}")
        if delete:
            try:
                garbage.delete(session.client, run, session.project)
            except (garbage.GarbageError, MlflowException, OSError, ImportError) as error:
                if server_unavailable(error):
                    raise
                if getattr(error, "error_code", None) == "PERMISSION_DENIED":
                    refused += 1
                    continue
                failed += 1
                echo(f"run {run.info.run_id} is not deleted: {one_line(str(error)):.300}", err=True)
    verb = "deleted" if delete else "could be deleted with -P delete=true"
    echo(
        f"{number_of(len(found.runs) - failed - refused, 'run')} {verb}"
        + (f", {failed} could not be" if failed else "")
    )
    if refused:
        echo(f"left alone: {number_of(refused, 'run')} that this user may not delete")
    return failed
