"""`triptych usage`: what was used of a running server, and what it cost: added up, or request by request."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import click

from ..catalogue.money import NANO, dollars, usd
from .lists import json_option, with_query
from .ps import ask, server_options
from .tables import bar, length, moment, show

_DAY = click.DateTime(["%Y-%m-%d"])
_PAGE = 1000
_SHOWN = 50
_BAR = 16
_HEADS = {"day": "DAY", "key": "KEY", "model": "MODEL", "dialect": "API"}
_TOKENS = {
    "prompt_tokens": "PROMPT", "cached_tokens": "CACHED", "image_tokens": "IMAGE", "completion_tokens": "OUTPUT",
}  # fmt: skip
_NUMBERS = ("REQUESTS", *_TOKENS.values(), "TIME", "COST")


@click.command("usage")
@click.option("--by", default="day", show_default=True, metavar="WHAT",
              help="Add up by these: some of day, key, model, dialect, with commas between them.")
@click.option("--since", type=_DAY, metavar="DATE", help="The first day, in UTC. Default: 30 days up to --until.")
@click.option("--until", type=_DAY, metavar="DATE", help="The last day. Default: today.")
@click.option("--rows", "each", is_flag=True, help="Every request by itself, the newest first, in place of sums.")
@click.option("--model", metavar="NAME", help="With --rows: only those of this model.")
@click.option("--limit", type=click.IntRange(min=1),
              help="With --rows: how many. Default: 50 in a table, all of them with --json and --csv.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@json_option
@server_options
def command(
    by: str, since: datetime | None, until: datetime | None, each: bool, model: str | None, limit: int | None,
    as_csv: bool, as_json: bool, url: str, key: str | None,
) -> None:
    """Show what was used of a running server, and what it cost: of everybody for administrators, else of the own key.

    --rows without --since and --until goes back to the beginning.
    """  # fmt: skip
    if as_csv and as_json:
        raise click.UsageError("--csv or --json, not both")
    if not each and (model or limit):
        raise click.UsageError("--model and --limit are for --rows")
    days = {"since": since and f"{since:%Y-%m-%d}", "until": until and f"{until:%Y-%m-%d}"}
    if each:
        most = limit or (None if as_csv or as_json else _SHOWN)
        _show_rows(_rows(url, key, most, days | {"model": model}), most, as_csv, as_json)
        return
    parts = [part.strip() for part in by.split(",") if part.strip()]
    if not parts:
        raise click.UsageError("--by needs something to add up by: day, key, model or dialect")
    answer = ask(url, key, "GET", with_query("/usage", by=",".join(parts), **days))
    if as_json:
        click.echo(json.dumps(answer, indent=2))
    elif as_csv:
        _print_csv(answer["groups"])
    else:
        _table(answer, parts)


def _rows(url: str, key: str | None, most: int | None, query: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Page after page, and one row beyond `most` if there is one."""
    before, size = None, min(_PAGE, (most or _PAGE) + 1)
    while True:
        answer = ask(url, key, "GET", with_query("/usage/rows", before=before, limit=size, **query))
        yield from answer["usage"]
        if not answer["more"]:
            return
        before = answer["usage"][-1]["id"]


# ---- what is shown --------------------------------------------------------------------------------------------------


def _table(answer: dict[str, Any], parts: list[str]) -> None:
    groups, total = answer["groups"], answer["total"]
    measure = _cost if total["cost"] else _tokens
    most = max(map(measure, groups), default=0)
    heads = [*(_HEADS[part] for part in parts), *_NUMBERS, ""]
    rows = [
        [*_names(group, parts), f"{group['requests']:,}", *_used(group), bar(measure(group) / (most or 1), _BAR)]
        for group in groups
    ]
    if rows:
        rows.append(["total", *[""] * (len(parts) - 1), f"{total['requests']:,}", *_used(total), ""])
    show(heads, rows, f"no usage from {answer['since']} to {answer['until']}", _NUMBERS)


def _names(group: dict[str, Any], parts: list[str]) -> list[str]:
    return [group["key_name"] if part == "key" else group[part] for part in parts]


def _used(found: dict[str, Any]) -> list[str]:
    return [*(f"{found[name]:,}" for name in _TOKENS), length(found["seconds"]), dollars(round(found["cost"] * NANO))]


def _cost(group: dict[str, Any]) -> float:
    return float(group["cost"])


def _tokens(group: dict[str, Any]) -> float:
    return float(group["prompt_tokens"] + group["completion_tokens"])


def _show_rows(found: Iterator[dict[str, Any]], most: int | None, as_csv: bool, as_json: bool) -> None:
    some = islice(found, most)
    if as_json:
        click.echo(json.dumps(list(some), indent=2))
        return
    if as_csv:
        _print_csv(some)
        return
    heads = ["AT", "KEY", "MODEL", "API", "END", *_NUMBERS[1:], "PRICE"]
    rows = [
        [moment(row["created_at"]), row["key_name"], row["model"], row["dialect"], row["reason"], *_used(row),
         row["price"]]
        for row in some
    ]  # fmt: skip
    show(heads, rows, "no usage", _NUMBERS)
    if next(found, None) is not None:
        click.echo("there are older ones: --limit shows more, --csv all of them", err=True)


def _print_csv(found: Iterable[dict[str, Any]]) -> None:
    """One line each, with the fields of the JSON. Money is exact, times are in UTC, parts of a bill in one cell."""
    writer = None
    for row in found:
        cells = row | {"cost": usd(round(row["cost"] * NANO))}
        if "created_at" in row:
            cells["created_at"] = datetime.fromtimestamp(row["created_at"], UTC).isoformat(timespec="microseconds")
            cells["bill"] = "; ".join(row["bill"])
        if writer is None:
            writer = csv.DictWriter(sys.stdout, list(cells), lineterminator="\n")
            writer.writeheader()
        writer.writerow({name: _cell(value) for name, value in cells.items()})


def _cell(value: Any) -> Any:
    """For a spreadsheet, which computes texts that begin so: callers choose the ids of their requests."""
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") else value
