"""`triptych version`: what to write into a bug report."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version

import click

import triptych

PARTS = ("torch", "safetensors", "tokenizers", "huggingface_hub", "numpy", "pillow", "llguidance", "click", "rich")


@click.command(name="version")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(as_json: bool) -> None:
    """Print the versions of Triptych, Python and the libraries it stands on."""
    found = {"triptych": triptych.__version__, "python": platform.python_version(), "platform": platform.platform()}
    for part in PARTS:
        try:
            found[part] = version(part)
        except PackageNotFoundError:
            found[part] = "not installed"
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        click.echo(f"{name:<16} {value}")
