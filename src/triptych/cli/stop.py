"""`triptych stop`: free a model of a running server."""

from __future__ import annotations

import click

from .ps import ask, quoted, server_options


@click.command("stop")
@click.argument("model")
@server_options
def command(model: str, url: str, key: str | None) -> None:
    """Stop MODEL in a running server once its requests are over; the next request starts it again."""
    stopped = ask(url, key, "POST", f"/models/{quoted(model)}/stop")
    click.echo(f"{stopped['name']} is {stopped['state']}")
