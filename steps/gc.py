"""gc: list, and with delete=true delete, the runs and artifacts that nothing needs; dry by default."""

import click

from steps.door import checked, session_for
from steps.options import StepCommand, options
from steps.output import echo


@click.command(cls=StepCommand)
@options("keep_days", "delete", "quiet")
@checked
def gc(**params) -> None:
    """List what nothing needs: no registered version, no alias, no younger cache entry, no descendant's lineage."""
    import mlflow

    from taxi.progress import counted
    from tracking import garbage
    from tracking.record import describe, named

    with mlflow.start_run() as run:
        session = session_for(params, run)
        describe(session.client, run.info.run_id, named(run, "gc"))
        unneeded = garbage.unneeded(session.client, session.experiments, params["keep_days"], {run.info.run_id})
        verb = "delete" if params["delete"] else "list"
        for item in counted(unneeded, verb, len(unneeded), "runs"):
            echo(f"run {item.info.run_id}  {garbage.age_days(item):6.1f} days  {garbage.describe(item)}")
            if params["delete"]:
                garbage.delete(session.client, item)
        verb = "deleted" if params["delete"] else "could be deleted with -P delete=true"
        echo(f"{len(unneeded)} runs {verb}")
        echo("environments (delete a folder to have it built again):")
        for folder in garbage.environments(session.client, session.experiments):
            echo(f"  {folder}")
        echo("temporary clones that `mlflow run <git URL>` left:")
        for folder in garbage.clones(session.root):
            echo(f"  {folder}")


if __name__ == "__main__":
    gc()
