"""Print lines safely."""

import click


def echo(line: str, err: bool = False) -> None:
    """Print one line without control characters. Other people can choose user names, tags and parameters."""
    from provenance.record.validation import printable

    click.echo(printable(line), err=err)
