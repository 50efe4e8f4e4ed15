"""rollback: give the champion alias of a registered model back to its last holder; print who was champion when."""

if __name__ == "__main__":
    from provenance.bootstrap.start import start_step

    start_step()

import click

from provenance.pipeline.cli import checked
from provenance.pipeline.output import echo
from provenance.pipeline.report_run import report_run
from steps.options import StepCommand, options


@click.command(cls=StepCommand)
@options("model_name", "quiet")
@checked
def rollback(**params) -> None:
    """Undo the last promotion; a second rollback goes further back. No version is deleted."""
    from provenance.record import names
    from provenance.record.validation import cell
    from provenance.record.writer import set_tags
    from provenance.registry import aliases, promotions

    with report_run("rollback", params) as session:
        client, run_id = session.client, session.run.info.run_id
        name = aliases.model_name(session, str(params["model_name"]))
        promotions.history(client, name)  # refuse a name that is none before standing in the queue
        with promotions.turn(session, name):
            held, back = promotions.champion_of(client, name), promotions.previous(client, name)
            promotions.promote(
                session, name, back, f"rollback from version {held}" if held else "rollback", rollback=True
            )
        lines = [entry.line() for entry in promotions.history(client, name)]
        note = f"Champion of {name}: version {held} -> {back}\n\n" + "\n".join(f"- {cell(line)}" for line in lines)
        set_tags(client, run_id, {names.NOTE: note})
        for line in lines:
            echo(line)
        echo(f"{name} version {back} (champion), was version {held}")
        echo(f"run {run_id}")


if __name__ == "__main__":
    rollback()
