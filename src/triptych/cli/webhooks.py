"""`triptych webhooks`: what a running server told of predictions, and how often it had to try."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import click

from .lists import json_option, page_options, show_page, with_query
from .ps import ask, server_options
from .tables import ahead, length, moment, show

STATES = ["waiting", "delivered", "given_up", "moot"]


@click.group("webhooks", invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """List webhooks and their tries, send them again, change the secret that they are signed with."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@command.command("list")
@server_options
@click.option("--state", type=click.Choice(STATES), help="Only those in this state.")
@click.option("--prediction", metavar="ID", help="Only those that tell of this prediction.")
@page_options
@json_option
def list_all(
    url: str, key: str | None, state: str | None, prediction: str | None, limit: int, before: str | None, as_json: bool
) -> None:
    """List webhooks, the newest first."""
    asked = with_query("/webhooks", state=state, prediction=prediction, limit=limit, before=before)
    headers = ["ID", "PREDICTION", "EVENT", "STATE", "TRIES", "NEXT", "CREATED", "URL"]
    show_page(ask(url, key, "GET", asked), "webhooks", headers, _row, as_json)


@command.command("attempts")
@click.argument("webhook")
@server_options
@json_option
def attempts(webhook: str, url: str, key: str | None, as_json: bool) -> None:
    """Show every try to deliver WEBHOOK, an id that `triptych webhooks list` shows."""
    found = ask(url, key, "GET", f"/webhooks/{quote(webhook, safe='')}")
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    rows = [
        [str(each["number"]), moment(each["started_at"]), length(each["seconds"]), str(each["status"] or "-"),
         each["error"] or ""]
        for each in found["attempts"]
    ]  # fmt: skip
    show(["TRY", "AT", "TOOK", "STATUS", "ERROR"], rows, "no tries yet")
    after = f", next try {ahead(found['due_at'])}" if found["state"] == "waiting" else ""
    click.echo(f"{found['state']}{after}", err=True)


@command.command("replay")
@click.argument("webhook")
@server_options
@json_option
def replay(webhook: str, url: str, key: str | None, as_json: bool) -> None:
    """Send WEBHOOK once more, now, under its own id, whatever became of it before."""
    found = ask(url, key, "POST", f"/webhooks/{quote(webhook, safe='')}/replay")
    click.echo(json.dumps(found, indent=2) if as_json else f"{found['id']} is {found['state']}")


@command.command("rotate")
@server_options
@json_option
def rotate(url: str, key: str | None, as_json: bool) -> None:
    """Make a new secret for signing and print it. For a day the one before signs too."""
    found = ask(url, key, "POST", "/webhooks/rotate")
    click.echo(json.dumps(found, indent=2) if as_json else found["key"])


def _row(found: dict[str, Any]) -> list[str]:
    following = ahead(found["due_at"]) if found["state"] == "waiting" else "-"
    return [
        found["id"], found["prediction"], found["event"], found["state"], str(found["tries"]), following,
        moment(found["created_at"]), found["url"],
    ]  # fmt: skip
