"""`triptych config`: the settings of a server, and where each came from."""

from __future__ import annotations

import json

import click

from ..server.settings import Settings, load


@click.command(name="config")
@click.option("--file", "path", type=click.Path(), metavar="PATH",
              help="The settings file. Default: TRIPTYCH_CONFIG, else triptych.toml if it is here.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(path: str | None, as_json: bool) -> None:
    """Print the settings of a server that count here and now, and where each came from.

    Keys are counted, not printed. Settings with which no server would start are an error.
    """
    settings = load(path)
    if as_json:
        click.echo(json.dumps(_facts(settings), indent=2))
    else:
        click.echo(f"settings file: {settings.file or 'none'}")
        _table([("setting", "value", "from"), *settings.rows()])
    if error := settings.binding_error():
        raise error


def _facts(settings: Settings) -> dict[str, object]:
    shown = settings.shown()
    return {
        "file": str(settings.file) if settings.file else None,
        "settings": {key: {"value": value, "source": settings.source(key)} for key, value in shown.items()},
    }


def _table(rows: list[tuple[str, str, str]]) -> None:
    names = max(len(name) for name, _, _ in rows)
    values = max(len(value) for _, value, _ in rows)
    for name, value, source in rows:
        click.echo(f"{name.ljust(names)}  {value.ljust(values)}  {source}")
