"""`triptych ps`: what runs in a server; and how commands ask a server."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


class NoServerError(click.ClickException):
    """Nothing answers at the address."""


def server_options(function: F) -> F:
    """Where the server is, and the key it asks for."""
    url = click.option("--url", default="http://127.0.0.1:8000", show_default=True, envvar="TRIPTYCH_URL",
                       help="The server's address. Also from TRIPTYCH_URL.")  # fmt: skip
    key = click.option("--key", envvar="TRIPTYCH_API_KEY", help="A key of the server. Also from TRIPTYCH_API_KEY.")
    return url(key(function))


@click.command("ps")
@server_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(url: str, key: str | None, as_json: bool) -> None:
    """Show the models of a running server: state, requests, memory, and how long the last start took."""
    models = ask(url, key, "GET", "/models")["models"]
    if as_json:
        click.echo(json.dumps(models, indent=2))
        return
    rows = [["MODEL", "STATE", "REQUESTS", "MEMORY", "START", "IDLE", "WHERE"], *map(_row, models)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for model in models:
        if model["failure"]:
            click.echo(f"{model['name']}: {model['failure']}")


def ask(url: str, key: str | None, method: str, path: str, body: Any = None) -> Any:
    """One request to the server's own API, with `body` as JSON. Raises ClickException saying what went wrong,
    NoServerError among them.
    """
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    data = None
    if body is not None:
        data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
    try:
        address = f"{url.rstrip('/')}/triptych/v1{path}"
        request = urllib.request.Request(address, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=600) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        try:
            message = json.load(error)["error"]["message"]
        except (ValueError, KeyError, TypeError):
            message = f"{url} answered {error.code}; is it a triptych server?"
        if error.code == 401 and not key:
            message += " Give commands one with --key, or in the variable TRIPTYCH_API_KEY."
        raise click.ClickException(message) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise NoServerError(f"no server at {url} ({reason}); start one with `triptych serve`") from None


def quoted(model: str) -> str:
    return urllib.parse.quote(model, safe="/")


def _row(model: dict[str, Any]) -> list[str]:
    running = model["state"] == "ready"
    seconds = sum(model["phases"].values())
    return [
        model["name"],
        model["state"],
        str(model["requests"]),
        f"{model['weight_bytes'] / 1e9:.2f} GB" if running and not model["upstream"] else "-",
        f"{seconds:.1f} s" if model["phases"] else "-",
        f"{model['idle_seconds']:.0f} s" if running else "-",
        model["upstream"] or "here",
    ]
