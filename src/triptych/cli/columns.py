"""Rows for people: a table on a terminal, aligned columns anywhere else; rich is imported only for the first."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click


def show(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> None:
    """`right` names the columns whose cells are pushed to the right."""
    if sys.stdout.isatty():
        _rich(head, rows, right)
    else:
        _plain(head, rows, right)


def _plain(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str]) -> None:
    table = [list(head), *map(list, rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    for row in table:
        cells = [
            cell.rjust(width) if name in right else cell.ljust(width)
            for cell, width, name in zip(row, widths, head, strict=True)
        ]
        click.echo("  ".join(cells).rstrip())


def _rich(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in head:
        table.add_column(name, justify="right" if name in right else "left", no_wrap=name in right)
    for row in rows:
        table.add_row(*map(Text, row))  # what stands in data is text, never markup
    Console(highlight=False).print(table)
