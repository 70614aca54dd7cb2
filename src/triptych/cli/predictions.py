"""`triptych predictions`: what was asked of a running server, and what became of it."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import click

from .lists import json_option, page_options, show_page, with_query
from .ps import ask, server_options
from .tables import facts, length, moment

STATES = ["starting", "processing", "succeeded", "failed", "canceled"]


@click.group("predictions", invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """List, show, cancel and repeat the predictions of a running server.

    Predictions are what was asked in Replicate's way; with a key, those that were asked with it.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@command.command("list")
@server_options
@click.option("--status", type=click.Choice(STATES), help="Only those in this state.")
@page_options
@json_option
def list_all(url: str, key: str | None, status: str | None, limit: int, before: str | None, as_json: bool) -> None:
    """List predictions, the newest first."""
    answer = ask(url, key, "GET", with_query("/predictions", status=status, limit=limit, before=before))
    headers = ["ID", "STATUS", "MODEL", "CREATED", "TOOK", "TOKENS", "ERROR"]
    show_page(answer, "predictions", headers, _row, as_json)


@command.command("show")
@click.argument("prediction")
@server_options
@json_option
def show_one(prediction: str, url: str, key: str | None, as_json: bool) -> None:
    """Show the prediction with the id PREDICTION: its input, output and log, and what was told of it."""
    found = ask(url, key, "GET", f"/predictions/{quote(prediction, safe='')}")
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    removed = "(removed)" if found["data_removed"] else ""
    told = [f"{each['event']}: {each['state']}, {each['tries']} tries, id {each['id']}" for each in found["webhooks"]]
    pairs = [
        ("id", found["id"]), ("status", found["status"]), ("error", found["error"] or ""), ("model", found["model"]),
        ("dialect", found["dialect"]), ("created", moment(found["created_at"])),
        ("started", moment(found["started_at"])), ("ended", moment(found["completed_at"])), ("tokens", _tokens(found)),
        ("input", removed or json.dumps(found["input"], indent=2, ensure_ascii=False)),
        ("output", removed or "".join(found["output"])), ("log", removed or found["logs"]),
        ("webhook", found["webhook"] or ""), ("told", "\n".join(told)),
    ]  # fmt: skip
    facts([(name, value) for name, value in pairs if value])


@command.command("cancel")
@click.argument("prediction")
@server_options
@json_option
def cancel(prediction: str, url: str, key: str | None, as_json: bool) -> None:
    """Stop PREDICTION; what it said so far is kept."""
    found = ask(url, key, "POST", f"/predictions/{quote(prediction, safe='')}/cancel")
    click.echo(json.dumps(found, indent=2) if as_json else f"{found['id']} is {found['status']}")


@command.command("retry")
@click.argument("prediction")
@server_options
@json_option
def retry(prediction: str, url: str, key: str | None, as_json: bool) -> None:
    """Run PREDICTION, which has ended, once more; prints the id of the new one."""
    found = ask(url, key, "POST", f"/predictions/{quote(prediction, safe='')}/retry")
    click.echo(json.dumps(found, indent=2) if as_json else found["id"])


def _row(found: dict[str, Any]) -> list[str]:
    begun, ended = found["started_at"], found["completed_at"]
    took = length(ended - (begun or found["created_at"])) if ended else "-"
    return [
        found["id"], found["status"], found["model"], moment(found["created_at"]), took, _tokens(found),
        found["error"] or "",
    ]  # fmt: skip


def _tokens(found: dict[str, Any]) -> str:
    return f"{found['prompt_tokens']} + {found['completion_tokens']}"
