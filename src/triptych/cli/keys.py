"""`triptych keys`: who may use a running server, for what, how often and for how much."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

import click

from ..catalogue.money import NANO, dollars
from .lists import ListGroup, json_option, show_page
from .ps import NoServerError, ask, server_options
from .tables import Duration, ahead, bar, facts, length, moment

F = TypeVar("F", bound=Callable[..., Any])

APIS = ("openai", "replicate", "runware")
PERIODS = ("day", "week", "month", "total")
# The word for no restriction of models or APIs.
_ALL = "all"
_BAR = 8


@dataclass(frozen=True, slots=True)
class Given:
    """What stands behind an option; None is what takes a limit away."""

    value: Any


class Unless(click.ParamType[Given]):
    """A value of another type, or a `word` for none."""

    def __init__(self, word: str, kind: click.ParamType[Any]) -> None:
        self.name = kind.name
        self._word = word
        self._kind = kind

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Given:
        if isinstance(value, Given):
            return value
        if str(value).strip().lower() == self._word:
            return Given(None)
        return Given(self._kind.convert(value, param, ctx))


def limit_options(function: F) -> F:
    """What a key may do."""
    rate = Unless("none", click.IntRange(min=1))
    options = [
        click.option("--expires", type=Unless("never", Duration()), metavar="TIME",
                     help="Like 12h or 90d: until it lets in no more. never: it does not end."),
        click.option("--model", "models", multiple=True, metavar="NAME",
                     help="Only for this served model; may be given several times. all: for all."),
        click.option("--dialect", "dialects", multiple=True, type=click.Choice([*APIS, _ALL]),
                     help="Only for this API; may be given several times. all: for all."),
        click.option("--requests-per-minute", type=rate, metavar="N", help="none: no limit."),
        click.option("--tokens-per-minute", type=rate, metavar="N", help="Cached ones do not count. none: no limit."),
        click.option("--budget", type=Unless("none", click.STRING), metavar="USD",
                     help="Dollars that it may spend in each period. none: no limit."),
        click.option("--per", type=click.Choice(PERIODS), help="The budget's period, in UTC. Default: month."),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


@click.group("keys", cls=ListGroup)
def command() -> None:
    """List, make, change, rotate and revoke the keys of a running server, as one of its administrators.

    Without a command keys are listed.
    """


@command.command("list")
@server_options
@json_option
def list_all(url: str, key: str | None, as_json: bool) -> None:
    """List keys, the oldest first: what each may do, and what it has spent."""
    headers = ["NAME", "START", "ID", "STATE", "ADMIN", "FOR", "RATES", "BUDGET", "EXPIRES"]
    show_page(ask(url, key, "GET", "/keys"), "keys", headers, _row, as_json)


@command.command("create")
@click.argument("name")
@click.option("--admin", is_flag=True, help="It may make keys, and see and order what is everybody's.")
@limit_options
@server_options
@json_option
def create(name: str, admin: bool, url: str, key: str | None, as_json: bool, **limits: Any) -> None:
    """Make a key called NAME and print its secret, alone: it is shown this once and kept nowhere.

    The first key of a server must be an administrator's. As soon as there is one, the server asks everybody for keys.
    """
    if limits["per"] is not None and limits["budget"] is None:
        raise click.UsageError("--per is the period of a --budget")
    try:
        made = ask(url, key, "POST", "/keys", {"name": name, "admin": admin} | _wish(**limits))
    except NoServerError as error:
        told = "; then make the key: running servers alone keep keys, and the first must be made with --admin"
        raise click.ClickException(error.message + told) from None
    _print_secret(made, as_json)
    click.echo(f"the key {made['name']!r} has the id {made['id']}; its secret is shown this once only", err=True)
    _warn(made)
    if admin and not key:
        told = "from now on the server asks for keys, unless no_auth is set; TRIPTYCH_API_KEY gives one to commands"
        click.echo(told, err=True)


@command.command("show")
@click.argument("key_id")
@server_options
@json_option
def show_one(key_id: str, url: str, key: str | None, as_json: bool) -> None:
    """Show the key with the id KEY_ID."""
    _tell(ask(url, key, "GET", _path(key_id)), as_json)


@command.command("change")
@click.argument("key_id")
@click.option("--name", help="What it is to be called.")
@limit_options
@server_options
@json_option
def change(key_id: str, name: str | None, url: str, key: str | None, as_json: bool, **limits: Any) -> None:
    """Change the key KEY_ID; what is not named stays as it is. Its secret and what it has spent stay too."""
    wish = _wish(**limits) | ({} if name is None else {"name": name})
    if not wish:
        raise click.UsageError("say what is to be changed")
    changed = ask(url, key, "PATCH", _path(key_id), wish)
    _tell(changed, as_json)
    _warn(changed)


@command.command("rotate")
@click.argument("key_id")
@click.option("--overlap", type=Duration(), default="0s", show_default=True, metavar="TIME",
              help="Like 1d, 30d at most: how long the old secret goes on to let in.")
@server_options
@json_option
def rotate(key_id: str, overlap: float, url: str, key: str | None, as_json: bool) -> None:
    """Give the key KEY_ID a new secret and print that, alone. Its id, limits and history stay."""  # fmt: skip
    made = ask(url, key, "POST", f"{_path(key_id)}/rotate", {"overlap": overlap})
    _print_secret(made, as_json)
    old = f"goes on to let in for {length(overlap)}" if overlap else "lets in no more"
    click.echo(f"the new secret of {made['name']!r} is shown this once only; the old one {old}", err=True)


@command.command("revoke")
@click.argument("key_id")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@server_options
@json_option
def revoke(key_id: str, yes: bool, url: str, key: str | None, as_json: bool) -> None:
    """Take the key KEY_ID away, at once and for ever. What was made and used with it stays."""
    if not yes:
        found = ask(url, key, "GET", _path(key_id))
        if not click.confirm(f"Revoke {found['name']!r} ({found['start']}...) for ever?", err=True):
            raise click.ClickException("nothing was revoked")
    gone = ask(url, key, "POST", f"{_path(key_id)}/revoke")
    click.echo(json.dumps(gone, indent=2) if as_json else f"{gone['id']} is {gone['state']}")


@command.command("me")
@server_options
@json_option
def me(url: str, key: str | None, as_json: bool) -> None:
    """Show the key that asks: what it may do, and what it has left."""
    found = ask(url, key, "GET", "/key")
    if as_json or found["key"] is not None:
        _tell(found if as_json else found["key"], as_json)
    else:
        facts([("name", found["name"]), ("admin", _yes(found["admin"])), ("limits", "none")])


def _path(key_id: str) -> str:
    return f"/keys/{quote(key_id, safe='')}"


def _wish(**given: Any) -> dict[str, Any]:
    """The options that were given, as the server takes them."""
    wish: dict[str, Any] = {}
    for name in ("models", "dialects"):
        if given[name]:
            wish[name] = None if _ALL in given[name] else list(given[name])
    for option, name in (
        ("expires", "expires_in"), ("requests_per_minute", "requests_per_minute"),
        ("tokens_per_minute", "tokens_per_minute"), ("budget", "budget"),
    ):  # fmt: skip
        if given[option] is not None:
            wish[name] = given[option].value
    if given["per"] is not None:
        wish["per"] = given["per"]
    return wish


# ---- what is shown --------------------------------------------------------------------------------------------------


def _warn(found: dict[str, Any]) -> None:
    """Of a budget that does not hold everything."""
    if found["budget"] and found["budget"]["unpriced"]:
        models = ", ".join(found["budget"]["unpriced"])
        told = "warning: the budget does not hold back calls by names that have no price, which there are of"
        click.echo(f"{told} {models}: give them a `price` in the settings", err=True)


def _print_secret(made: dict[str, Any], as_json: bool) -> None:
    click.echo(json.dumps(made, indent=2) if as_json else made["key"])


def _tell(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    ends = found["budget"] and found["budget"]["period_ends_at"]
    pairs = [
        ("id", found["id"]), ("name", found["name"]), ("secret", f"{found['start']}..."), ("state", found["state"]),
        ("admin", _yes(found["admin"])), ("models", _some(found["models"])), ("APIs", _some(found["dialects"])),
        ("rates", _rates(found)), ("budget", _budget(found)), ("next period", ahead(ends) if ends else ""),
        ("created", moment(found["created_at"])), ("expires", _expires(found)),
    ]  # fmt: skip
    facts([(name, value) for name, value in pairs if value])


def _row(found: dict[str, Any]) -> list[str]:
    limited = [_some(found[name]) for name in ("models", "dialects") if found[name] is not None]
    return [
        found["name"], found["start"], found["id"], found["state"], _yes(found["admin"]), "; ".join(limited) or _ALL,
        _rates(found), _budget(found), _expires(found),
    ]  # fmt: skip


def _yes(flag: bool) -> str:
    return "yes" if flag else "-"


def _some(names: list[str] | None) -> str:
    return _ALL if names is None else ", ".join(names)


def _rates(found: dict[str, Any]) -> str:
    limits = [(found[f"{what}_per_minute"], what) for what in ("requests", "tokens")]
    return ", ".join(f"{most:,} {what}/min" for most, what in limits if most is not None) or "-"


def _budget(found: dict[str, Any]) -> str:
    """What was spent of it, also as a bar."""
    budget = found["budget"]
    if budget is None:
        return f"{_usd(found['spent'])} this month, no limit"
    share = budget["spent"] / budget["limit"] if budget["limit"] else 1.0
    per = "in all" if budget["per"] == "total" else f"this {budget['per']}"
    return f"{_usd(budget['spent'])} of {_usd(budget['limit'])} {per} {bar(share, _BAR)}".rstrip()


def _usd(amount: float) -> str:
    return dollars(round(amount * NANO))


def _expires(found: dict[str, Any]) -> str:
    return "never" if found["expires_at"] is None else moment(found["expires_at"])
