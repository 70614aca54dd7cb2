"""`triptych cost`: what a million tokens and a caption cost on this machine, and when that is less than elsewhere."""

from __future__ import annotations

import sys
import tempfile
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..catalogue.errors import CatalogueError
from ..catalogue.money import parse_usd, rounded, usd
from ..catalogue.workload import Workload, default_workload
from .columns import show
from .options import engine_options, load, model_option
from .prices import WorkloadType, data_folder, load_catalogue, print_json

if TYPE_CHECKING:
    from ..catalogue.catalogue import Catalogue
    from ..catalogue.facts import Model
    from ..catalogue.machine import BreakEven, Cost, Rate, Speed


class Usd(click.ParamType[int]):
    """Dollars in decimal digits; nano-dollars inside."""

    name = "usd"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return parse_usd(str(value).removeprefix("$"))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command(
    "cost",
    epilog="Examples: triptych cost --gpu-hour 3.00; triptych cost --watts 350 --kwh 0.30 --workload captions=10000; "
    "triptych bench --json > bench.json and triptych cost --gpu-hour 3.00 --measurement bench.json",
)
@click.option("--gpu-hour", type=Usd(), metavar="USD", help="What an hour of the machine costs, such as its rent.")
@click.option("--watts", type=click.IntRange(min=1), help="What it draws under load; goes with --kwh.")
@click.option("--kwh", type=Usd(), metavar="USD", help="What a kilowatt-hour costs.")
@click.option("--share", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True,
              help="The share of the time that the machine works; the rest is paid for as well.")
@click.option("--measurement", type=click.Path(dir_okay=False, allow_dash=True), metavar="FILE",
              help="What `triptych bench --json` printed, - for standard input. Default: it is measured now.")
@click.option("--workload", "-w", type=WorkloadType(), metavar="PARTS",
              help="For the break-even: parts such as input=1M,output=200K,captions=500. Default: 1,000 captions, or "
                   "a million tokens, three in for one out.")
@click.option("--against", metavar="MODEL", help="Compare with who sells this model. Default: the measured one.")
@click.option("--record/--no-record", default=True, show_default=True,
              help="Keep the result as this machine's offer, to stand beside others in `triptych prices`.")
@click.option("--data", metavar="FOLDER", help="Where that is kept. Default: the server's data folder.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@model_option
@engine_options
def command(
    gpu_hour: int | None, watts: int | None, kwh: int | None, share: float, measurement: str | None,
    workload: Workload | None, against: str | None, record: bool, data: str | None, as_json: bool, model: str,
    **options: Any,
) -> None:
    """Turn a measurement and the price of an hour into dollars per million tokens and per caption on this machine.

    Says against each provider with a live, priced route what part of the time the machine has to be busy to be cheaper.
    What an hour costs is --gpu-hour, or --watts times --kwh, or both added.
    """  # fmt: skip
    from ..catalogue import machine

    try:
        rate = machine.hourly(gpu_hour, watts, kwh)
    except CatalogueError as error:
        raise click.UsageError(str(error)) from None
    folder = data_folder(data)
    catalogue = load_catalogue(folder)
    speed = _read(measurement) if measurement else _measure(model, as_json, **options)
    made = machine.cost(speed, _shared(rate, share), (workload or Workload()).caption_tokens)
    measured = catalogue.known_model(speed.model)
    rival = catalogue.model(against) if against else measured
    work = workload or (default_workload(rival) if rival else None)
    rivals = machine.break_even(catalogue, rival, work, made, _today()) if rival and work else []
    kept = _record(catalogue, measured, made, folder) if record and measured else None
    if as_json:
        print_json(_facts(made, rivals, work, kept))
        return
    _show(made, rivals, rival, work)
    if kept:
        click.echo(f"\nRecorded as this machine's offer: {kept}")
    elif record and measured is None:
        click.echo(f"\nNot recorded: the catalogue has no model called {speed.model}.")


def _shared(rate: Rate, share: float) -> Rate:
    from dataclasses import replace

    return replace(rate, share=Fraction(str(share)))


def _today() -> Any:
    from ..catalogue.load import today

    return today()


def _read(place: str) -> Speed:
    from ..catalogue.machine import read_bench

    content = sys.stdin.buffer.read() if place == "-" else Path(place).read_bytes()
    try:
        return read_bench(content)
    except CatalogueError as error:
        raise CatalogueError(f"{'standard input' if place == '-' else place}: {error}") from None


def _measure(model: str, quiet: bool, **options: Any) -> Speed:
    """As `triptych bench` does, with a picture if the model takes any."""
    from ..catalogue.machine import read_results

    with load(model, quiet=quiet, **options) as llm:
        from ..measure import Meter  # imports torch, which loading has done by now

        info = llm.engine.info
        meter = Meter(llm, 3)
        meter.prefill(16)  # warms up: first use of every kernel
        cases = [meter.prefill(256), meter.decode(64, 1), meter.decode(64, 8)]
        if info.vision:
            with tempfile.TemporaryDirectory() as folder:
                cases += meter.image(_picture(Path(folder)), "Describe the picture.")
        rates = [case.tokens / case.seconds if case.tokens else None for case in cases]
        results = [_Case(case.name, case.seconds, rate) for case, rate in zip(cases, rates, strict=True)]
        return read_results(llm.model, info.precision, info.device, results)


class _Case:
    """A measurement in the form of the bench's results."""

    def __init__(self, name: str, seconds: float, tokens_per_second: float | None) -> None:
        self.name = name
        self.seconds = seconds
        self.tokens_per_second = tokens_per_second


def _picture(folder: Path) -> str:
    """A picture as large as LLaVA 1.6 takes them; what is on it changes nothing of the time."""
    from PIL import Image

    path = folder / "picture.png"
    Image.linear_gradient("L").resize((1024, 1024)).convert("RGB").save(path)
    return str(path)


def _record(catalogue: Catalogue, model: Model, made: Cost, folder: Path) -> Path | None:
    from ..catalogue.machine import own_offer
    from ..catalogue.records import write_record

    now = datetime.now(UTC)
    stamp = f"{now:%Y%m%dt%H%M%S}.{now.microsecond:06d}"
    return write_record(folder, now.date(), "measured", own_offer(catalogue, model, made, now.date(), stamp))


def _facts(made: Cost, rivals: list[BreakEven], work: Workload | None, kept: Path | None) -> dict[str, Any]:
    speed = made.speed
    return {
        "model": speed.model, "precision": speed.precision, "device": speed.device,
        "usd_per_hour": usd(made.rate.nano), "share": float(made.rate.share),
        "usd_per_1m_input": usd(made.input), "usd_per_1m_output": usd(made.output),
        "usd_per_caption": None if made.caption is None else usd(made.caption),
        "formulas": made.formulas,
        "workload": work,
        "break_even": [
            {"route": each.charge.route.id, "total_usd": usd(each.charge.total),
             "busy_share": None if each.factor is None else float(each.factor),
             "workloads_per_hour": None if each.hourly is None else float(each.hourly)}
            for each in rivals
        ],
        "record": str(kept) if kept else None,
    }  # fmt: skip


def _show(made: Cost, rivals: list[BreakEven], rival: Model | None, work: Workload | None) -> None:
    speed = made.speed
    click.echo(f"{speed.model}, {speed.precision} on {speed.device}: ${usd(made.rate.nano)} an hour")
    rows = [["input / 1M tokens", f"${usd(made.input)}", made.formulas["input"]],
            ["output / 1M tokens", f"${usd(made.output)}", made.formulas["output"]]]  # fmt: skip
    if made.caption is not None:
        rows.append(["caption", f"${usd(made.caption)}", made.formulas["caption"]])
    show(["HERE", "COST", "FORMULA"], rows, ("COST",))
    if rival is None or work is None:
        return
    if not rivals:
        click.echo(f"\nNobody is known to sell {rival.name} at a price; --against MODEL compares with another model's.")
        return
    click.echo(f"\nBreak-even for {_written(work)} of {rival.name}:")
    show(["PROVIDER", "THERE", "CHEAPER HERE WHEN"], [_rival(each) for each in rivals], ("THERE",))


def _rival(each: BreakEven) -> list[str]:
    name = each.charge.route.id
    there = f"${usd(each.charge.total)}"
    if each.factor is None or each.hourly is None:
        return [name, there, "never: it is free there"]
    if each.factor > 1:
        return [name, there, f"never: a machine busy all the time costs {float(each.factor):,.1f} times as much"]
    often = f"{float(each.hourly):,.2f}" if each.hourly < 100 else f"{rounded(each.hourly):,}"
    return [name, there, f"busy over {float(each.factor):.1%} of the time, which is {often} such workloads an hour"]


def _written(work: Workload) -> str:
    parts = [("input", work.input), ("output", work.output), ("images", work.images), ("captions", work.captions),
             ("calls", work.calls)]  # fmt: skip
    return ", ".join(f"{number:,} {name}" for name, number in parts if number)
