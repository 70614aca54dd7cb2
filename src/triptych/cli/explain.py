"""`triptych explain`: the engine's decisions for a model on this machine, without loading it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from ..models import locate_config
from .options import engine_options

if TYPE_CHECKING:
    from ..engine.sizing import Sizing


@click.command(name="explain")
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@engine_options
def command(model: str, as_json: bool, **options: Any) -> None:
    """Say what MODEL would run on, in which precision, with how much memory, and why. Loads no weights.

    Of a hub checkpoint only the small config files are fetched.
    """
    from ..engine.checkpoints.checkpoint import ModelConfig
    from ..engine.config import EngineConfig
    from ..engine.machine import Machine
    from ..engine.sizing import resolve

    source = locate_config(model)
    assert source.folder is not None
    config = EngineConfig(model=source.folder, name=source.name, **options)
    checkpoint = ModelConfig.from_folder(source.folder)
    sizing = resolve(config, checkpoint, Machine.probe(config.device))
    if as_json:
        click.echo(json.dumps(_facts(source.name, checkpoint.architecture, sizing), indent=2))
        return
    rows = [("model", source.name, f"{source.kind}, {checkpoint.architecture}")]
    rows += [(decision.name, decision.value, decision.reason) for decision in sizing.decisions]
    _table(rows)


def _facts(name: str, architecture: str, sizing: Sizing) -> dict[str, Any]:
    return {
        "model": name,
        "architecture": architecture,
        "device": sizing.device,
        "precision": sizing.precision,
        "compute_dtype": sizing.compute_dtype,
        "weight_bytes": sizing.weight_bytes,
        "kv_bytes": sizing.kv_bytes,
        "kv_token_bytes": sizing.kv_token_bytes,
        "max_context": sizing.max_context,
        "token_budget": sizing.token_budget,
        "chunk_while_decoding": sizing.chunk_while_decoding,
        "tile_budget": sizing.tile_budget,
        "decisions": [
            {"name": decision.name, "value": decision.value, "reason": decision.reason}
            for decision in sizing.decisions
        ],
    }


def _table(rows: list[tuple[str, str, str]]) -> None:
    names = max(len(name) for name, _, _ in rows)
    values = max(len(value) for _, value, _ in rows)
    for name, value, reason in rows:
        click.echo(f"{click.style(name.ljust(names), bold=True)}  {value.ljust(values)}  {reason}")
