"""What a step prints: one line at a time, whatever is in it."""

import click


def echo(line: str, err: bool = False) -> None:
    """Print one line, of printable letters alone: user names, tags and parameters are anybody's."""
    from provenance.record.validation import printable

    click.echo(printable(line), err=err)
