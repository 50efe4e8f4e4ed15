"""rollback: give the champion alias of a registered model back to the previous version, and print the history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from provenance.pipeline.cli import checked
from provenance.pipeline.options import MODEL_NAME, Decorator, StepCommand, engine_options
from provenance.pipeline.output import echo
from provenance.pipeline.report_run import report_run

if TYPE_CHECKING:
    from provenance.pipeline.declaration import Pipeline


def rollback_command(pipeline: Pipeline, model_name: Decorator = MODEL_NAME) -> click.Command:
    """Make the entry point ``rollback``.

    Parameters
    ----------
    pipeline : Pipeline
        The project's declaration.
    model_name : Decorator, optional
        The option that names the registered model.

    Returns
    -------
    click.Command
        The command. It raises RegistryError if there is no such model or no previous champion.
    """

    @click.command("rollback", cls=StepCommand)
    @model_name
    @engine_options("quiet")
    @checked
    def rollback(**params: Any) -> None:
        """Undo the last promotion; a second rollback goes further back. No version is deleted."""
        roll_back(pipeline, params)

    return rollback


def roll_back(pipeline: Pipeline, params: dict[str, Any]) -> None:
    """Move the alias and print the history."""
    from provenance.record import names
    from provenance.record.validation import cell
    from provenance.record.writer import set_tags
    from provenance.registry import aliases, promotions

    with report_run(pipeline, "rollback", params) as session:
        client, run_id = session.client, session.run_id
        name = aliases.model_name(session, str(params["model_name"]))
        promotions.history(client, name)  # refuse an unknown name before this run waits for its turn
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
