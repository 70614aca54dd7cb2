"""`triptych purge`: delete old predictions of a running server."""

from __future__ import annotations

import json

import click

from .ps import ask, server_options
from .tables import Duration


@click.command("purge")
@click.option("--older-than", type=Duration(), required=True, metavar="TIME", help="Like 12h or 30d: since they ended.")
@server_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(older_than: float, url: str, key: str | None, as_json: bool) -> None:
    """Delete predictions that ended longer ago than this, with their input files, webhooks and everything else.

    Those whose webhooks still wait to be delivered stay.
    """
    answer = ask(url, key, "POST", "/purge", {"older_than": older_than})
    click.echo(json.dumps(answer, indent=2) if as_json else f"{answer['deleted']} predictions deleted")
