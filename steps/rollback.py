"""rollback: give the champion alias of a registered model back to its last holder; print who was champion when."""

import click

from steps.door import checked
from steps.inquiry import inquiry
from steps.options import StepCommand, options
from steps.output import echo


@click.command(cls=StepCommand)
@options("model_name", "quiet")
@checked
def rollback(**params) -> None:
    """Undo the last promotion; a second rollback goes further back. No version is deleted."""
    from tracking import aliases, names, registry
    from tracking.record import describe
    from tracking.wellformed import cell

    with inquiry("rollback", params) as session:
        client, run_id = session.client, session.run.info.run_id
        name = aliases.model_name(session, str(params["model_name"]))
        registry.history(client, name)  # refuse a name that is none before standing in the queue
        with registry.turn(session, name):
            held, back = registry.champion_of(client, name), registry.previous(client, name)
            registry.promote(
                session, name, back, f"rollback from version {held}" if held else "rollback", rollback=True
            )
        lines = [entry.line() for entry in registry.history(client, name)]
        note = f"Champion of {name}: version {held} -> {back}\n\n" + "\n".join(f"- {cell(line)}" for line in lines)
        describe(client, run_id, {names.NOTE: note})
        for line in lines:
            echo(line)
        echo(f"{name} version {back} (champion), was version {held}")
        echo(f"run {run_id}")


if __name__ == "__main__":
    rollback()
