"""`triptych config`: the settings of a server, and where each came from."""

from __future__ import annotations

import json

import click

from ..server.access import Access
from ..server.settings import Settings, load


@click.command(name="config")
@click.option("--file", "path", type=click.Path(), metavar="PATH",
              help="The settings file. Default: TRIPTYCH_CONFIG, else triptych.toml if it is here.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(path: str | None, as_json: bool) -> None:
    """Print the settings of a server that count here and now, where each came from, and whom it lets in.

    Keys are counted, those that the server's database holds with them, and not printed. Settings with which no server
    would start are an error.
    """
    settings = load(path)
    access = Access.of(settings)
    if as_json:
        click.echo(json.dumps(_facts(settings, access), indent=2))
    else:
        click.echo(f"settings file: {settings.file or 'none'}")
        click.echo(f"access: {access.told()}")
        _table([("setting", "value", "from"), *settings.rows()])
    if error := access.error():
        raise error


def _facts(settings: Settings, access: Access) -> dict[str, object]:
    shown = settings.shown()
    return {
        "file": str(settings.file) if settings.file else None,
        "access": access.facts(),
        "settings": {key: {"value": value, "source": settings.source(key)} for key, value in shown.items()},
    }


def _table(rows: list[tuple[str, str, str]]) -> None:
    names = max(len(name) for name, _, _ in rows)
    values = max(len(value) for _, value, _ in rows)
    for name, value, source in rows:
        click.echo(f"{name.ljust(names)}  {value.ljust(values)}  {source}")
