"""`triptych bench`: how fast this machine runs a model, and how near that is to what the machine can do."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ..models import identify
from .options import engine_options, load, model_option

if TYPE_CHECKING:
    from ..engine.probe import MachineSpeed
    from ..measure import Measurement


@click.command(name="bench")
@model_option
@click.option("--prompt-tokens", type=click.IntRange(min=1), default=256, show_default=True,
              help="Length of the text prompt that is prefilled.")
@click.option("--tokens", type=click.IntRange(min=2), default=64, show_default=True, help="Tokens to decode.")
@click.option("--rows", type=click.IntRange(min=1), default=8, show_default=True,
              help="Sequences decoded together, beside one alone.")
@click.option("--image", type=click.Path(exists=True, dir_okay=False), metavar="PATH",
              help="Also measure a question about this picture.")
@click.option("--repeat", type=click.IntRange(min=1), default=3, show_default=True,
              help="Runs of each case; the median counts.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@engine_options
def command(
    model: str, prompt_tokens: int, tokens: int, rows: int, image: str | None, repeat: int, as_json: bool,
    **options: Any,
) -> None:
    """Measure loading, prefill and decoding, with the achieved GB/s and GFLOP/s and their share of what a short
    trial just measured this machine to reach."""
    identify(model)
    # Imports torch, which is not part of loading a model.
    from ..engine.probe import measure_machine
    from ..measure import Measurement, Meter

    started = time.perf_counter()
    with load(model, quiet=as_json, **options) as llm:
        seconds = time.perf_counter() - started
        info, sizing = llm.engine.info, llm.engine.sizing
        speed = measure_machine(info.device, sizing.compute_dtype, options["threads"])
        meter = Meter(llm, repeat)

        def cases() -> Iterator[Measurement]:
            yield Measurement("load", seconds, bytes=info.weight_bytes)
            meter.prefill(min(16, prompt_tokens))  # warms up: first use of every kernel
            yield meter.prefill(prompt_tokens)
            for count in sorted({1, rows}):
                yield meter.decode(tokens, count)
            if image:
                yield from meter.image(image, "Describe the picture.")

        if as_json:
            facts = {"model": llm.model, "precision": info.precision, "device": info.device,
                     "machine": {"read_gb_s": speed.read / 1e9, "gflop_s": speed.compute / 1e9}}
            click.echo(json.dumps({**facts, "results": [_row(case, speed) for case in cases()]}, indent=2))
            return
        click.echo(f"{llm.model}: {info.architecture}, {info.precision} on {info.device}, "
                   f"{info.weight_bytes / 1e9:.3f} GB of weights")
        click.echo(f"this machine: {speed.read / 1e9:.1f} GB/s read, {speed.compute / 1e9:.0f} GFLOP/s "
                   f"({sizing.compute_dtype}), measured just now")
        for case in cases():
            click.echo(_line(_row(case, speed)))


def _row(case: Measurement, speed: MachineSpeed) -> dict[str, Any]:
    row: dict[str, Any] = {"name": case.name, "seconds": case.seconds}
    if case.tokens:
        row["tokens_per_second"] = case.tokens / case.seconds
    if case.bytes:
        row["gb_s"] = case.bytes / case.seconds / 1e9
    if case.bytes and case.name != "load":  # loading reads a disk or the page cache, not only memory
        row["share_of_read"] = case.bytes / case.seconds / speed.read
    if case.flops:
        row["gflop_s"] = case.flops / case.seconds / 1e9
        row["share_of_compute"] = case.flops / case.seconds / speed.compute
    return row


def _line(row: dict[str, Any]) -> str:
    parts = [f"{row['name']:<30} {row['seconds']:8.3f} s"]
    if "tokens_per_second" in row:
        parts.append(f"{row['tokens_per_second']:9.1f} tokens/s")
    if "gb_s" in row:
        share = f" ({row['share_of_read']:.0%})" if "share_of_read" in row else ""
        parts.append(f"{row['gb_s']:7.2f} GB/s{share}")
    if "gflop_s" in row:
        parts.append(f"{row['gflop_s']:7.1f} GFLOP/s ({row['share_of_compute']:.0%})")
    return "  ".join(parts)
