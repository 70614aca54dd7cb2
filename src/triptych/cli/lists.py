"""What commands that list things of a running server have in common: pages, JSON, and the list as what is meant
without a word.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

import click

from .tables import show

F = TypeVar("F", bound=Callable[..., Any])


class ListGroup(click.Group):
    """A group that lists if no command is given: `triptych keys` is `triptych keys list`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        asks_for_help = any(word in ctx.help_option_names for word in args)
        if not args or (args[0].startswith("-") and not asks_for_help):
            args = ["list", *args]
        return super().parse_args(ctx, args)


def json_option(function: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def page_options(function: F) -> F:
    """Which page of a list, the newest first."""
    limit = click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True,
                         help="How many, the newest.")  # fmt: skip
    before = click.option("--before", metavar="ID", help="Only those that are older than this one.")
    return limit(before(function))


def with_query(path: str, **fields: Any) -> str:
    """A path with a query of those fields that are not None."""
    return f"{path}?{urlencode({name: value for name, value in fields.items() if value is not None})}"


def show_page(
    answer: dict[str, Any], name: str, headers: Sequence[str], row: Callable[[dict[str, Any]], list[str]],
    as_json: bool, right: Sequence[str] = (),
) -> None:  # fmt: skip
    """Print what an answer lists under `name`, as JSON or as rows; and, on stderr, how to see what is older."""
    found = answer[name]
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    show(headers, [row(each) for each in found], f"no {name}", right)
    if answer.get("more"):
        click.echo(f"there are older ones: --before {found[-1]['id']}", err=True)
