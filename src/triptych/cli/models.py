"""`triptych models`: what can be named with --model here and now."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from ..models import EXAMPLE_HUB_ID, cached_hub_models, embedded_models


@click.command(name="models")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(as_json: bool) -> None:
    """List the embedded models, the checkpoints in the hub's cache, and the architectures that run."""
    from ..engine.checkpoints.checkpoint import SUPPORTED

    embedded, cached = embedded_models(), cached_hub_models()
    if as_json:
        facts: dict[str, Any] = {
            "embedded": [asdict(model) for model in embedded],
            "cached": [asdict(model) for model in cached],
            "architectures": list(SUPPORTED),
        }
        click.echo(json.dumps(facts, indent=2, default=str))
        return
    click.echo("Embedded demonstration models (they know drawn shapes, handwritten numbers, sums):")
    for model in embedded:
        click.echo(f"  {model.name:<28} {model.architecture:<12} {_size(model.nbytes)}  {model.note}".rstrip())
    click.echo("Downloaded:")
    for model in cached:
        click.echo(f"  {model.name:<28} {model.architecture:<12} {_size(model.nbytes)}  {model.note}".rstrip())
    if not cached:
        click.echo(f"  none yet; for example: triptych pull {EXAMPLE_HUB_ID}")
    click.echo(f"Architectures that run: {', '.join(SUPPORTED)}")


def _size(nbytes: int) -> str:
    return f"{nbytes / 1e9:.1f} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:.1f} MB"
