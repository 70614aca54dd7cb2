"""What this machine costs: a measurement of `triptych bench` and a price of an hour, as dollars per million tokens.

All of it is derived, and the formulas come along. The machine is taken to be busy all the time (a `share` says
otherwise): who leaves it idle pays for that too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date as Day
from fractions import Fraction
from typing import Any

import msgspec

from .catalogue import Catalogue
from .cheapest import Charge, cheapest
from .errors import CatalogueError
from .facts import Model
from .money import rounded, usd
from .rows import DataFile, PriceRow, SourceRow
from .units import UNITS
from .workload import Workload, settled

_PREFILL = re.compile(r"prefill (\d+) tokens")
_DECODE = re.compile(r"decode (\d+) tokens(?:, (\d+) together)?")
_PICTURE = re.compile(r"picture of (\d+) tokens, new")


class _Result(msgspec.Struct):
    name: str
    seconds: float
    tokens_per_second: float | None = None


class _Bench(msgspec.Struct):
    model: str
    precision: str
    device: str
    results: list[_Result]


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens per second of prompts, of answers computed together (`rows` of them), and seconds until a picture of
    `picture_tokens` with its question is read (None: not measured).
    """

    model: str
    precision: str
    device: str
    input: Fraction
    output: Fraction
    rows: int
    picture: Fraction | None = None
    picture_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Rate:
    """What an hour costs, in nano-dollars, and how that was found. `share` of an hour is worked in."""

    nano: int
    formula: str
    share: Fraction = Fraction(1)

    @property
    def per_second(self) -> Fraction:
        """Nano-dollars of a second that is worked in."""
        return Fraction(self.nano, 3600) / self.share


@dataclass(frozen=True, slots=True)
class Cost:
    """Nano-dollars per million tokens, and of a caption (None: no picture was measured), each with its formula."""

    speed: Speed
    rate: Rate
    input: int
    output: int
    caption: int | None
    formulas: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class BreakEven:
    """A provider against this machine for one workload. `factor` is the cost here, on a machine that is always busy,
    over the provider's: the share of its time that it has to be used to cost the same (None: the provider is free).
    `hourly` is how many such workloads an hour that is.
    """

    charge: Charge
    factor: Fraction | None
    hourly: Fraction | None


def hourly(gpu_hour: int | None, watts: int | None, kwh: int | None) -> Rate:
    """From dollars an hour, or from a power draw and the price of energy, or from both added; nano-dollars. Raises
    CatalogueError if there is too little of it.
    """
    if (watts is None) != (kwh is None):
        raise CatalogueError("a cost by energy needs both --watts and --kwh")
    parts, formulas = 0, []
    if gpu_hour is not None:
        parts += gpu_hour
        formulas.append(f"${usd(gpu_hour)} an hour")
    if watts is not None and kwh is not None:
        parts += rounded(Fraction(watts * kwh, 1000))
        formulas.append(f"{watts:,} W x ${usd(kwh)} / kWh")
    if not formulas:
        raise CatalogueError("say what the machine costs: --gpu-hour, or --watts with --kwh")
    return Rate(parts, " + ".join(formulas))


def read_bench(content: bytes) -> Speed:
    """From what `triptych bench --json` printed. Raises CatalogueError saying what is missing."""
    try:
        bench = msgspec.json.decode(content, type=_Bench)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CatalogueError(f"this is not what `triptych bench --json` prints: {error}") from None
    return read_results(bench.model, bench.precision, bench.device, bench.results)


def read_results(model: str, precision: str, device: str, results: Sequence[Any]) -> Speed:
    """As `read_bench`; each result has a name, seconds, and tokens_per_second if it has tokens."""
    prefill = [result for result in results if _PREFILL.fullmatch(result.name) and _positive(result.tokens_per_second)]
    decode = [
        (found, result)
        for result in results
        if (found := _DECODE.fullmatch(result.name)) and _positive(result.tokens_per_second)
    ]
    if not prefill or not decode:
        raise CatalogueError("the measurement has no prefill or no decoding with tokens per second")
    found, best = max(decode, key=lambda pair: pair[1].tokens_per_second)
    speed = Speed(
        model, precision, device, Fraction(prefill[-1].tokens_per_second), Fraction(best.tokens_per_second),
        int(found[2] or 1),
    )  # fmt: skip
    for result in results:
        if (picture := _PICTURE.fullmatch(result.name)) and _positive(result.seconds):
            speed = replace(speed, picture=Fraction(result.seconds), picture_tokens=int(picture[1]))
    return speed


def _positive(number: float | None) -> bool:
    return number is not None and 0 < number < 1e12


def cost(speed: Speed, rate: Rate, caption_tokens: int = 100) -> Cost:
    """Dollars of a million tokens in and out, and of a caption of `caption_tokens`."""
    million = UNITS["input"].per
    second = rate.per_second
    hour = f"({rate.formula}) / 3,600 s" + (f" / {float(rate.share):g} of the time" if rate.share != 1 else "")
    formulas = {
        "input": f"{hour} x 1M / {float(speed.input):,.1f} tokens/s of prompt",
        "output": f"{hour} x 1M / {float(speed.output):,.1f} tokens/s, {speed.rows} answers together",
    }
    caption = None
    if speed.picture is not None:
        caption = rounded(second * (speed.picture + Fraction(caption_tokens) / speed.output))
        formulas["caption"] = (
            f"{hour} x ({float(speed.picture):.3f} s for a picture of {speed.picture_tokens} tokens with its question"
            f" + {caption_tokens} tokens / {float(speed.output):,.1f} tokens/s)"
        )
    made = rounded(second * million / speed.input), rounded(second * million / speed.output)
    return Cost(speed, rate, made[0], made[1], caption, formulas)


def own_charge(cost: Cost, model: Model, workload: Workload) -> Fraction:
    """What the workload costs here, in nano-dollars. Raises WorkloadError."""
    work = settled(workload, model)
    seconds = Fraction(work.input) / cost.speed.input + Fraction(work.output) / cost.speed.output
    reading = cost.speed.picture
    if reading is None:
        reading = Fraction((work.image_tokens or 0) + work.prompt_tokens) / cost.speed.input
    seconds += work.pictures * reading + Fraction(work.captions * work.caption_tokens) / cost.speed.output
    return seconds * cost.rate.per_second


def break_even(catalogue: Catalogue, model: Model, workload: Workload, cost: Cost, on: Day) -> list[BreakEven]:
    """Against every live route elsewhere that can be priced, the cheapest first. Raises WorkloadError."""
    own = own_charge(cost, model, workload) * cost.rate.share
    found = []
    for charge in cheapest(catalogue, model, workload, on).charges:
        if catalogue.providers[charge.route.provider].own:
            continue
        if charge.exact:
            found.append(BreakEven(charge, own / charge.exact, Fraction(cost.rate.nano) / charge.exact))
        else:
            found.append(BreakEven(charge, None, None))
    return found


def own_offer(catalogue: Catalogue, model: Model, cost: Cost, day: Day, stamp: str) -> DataFile:
    """The measurement as a record: the offer of this machine's route. `stamp` makes its source one of its own."""
    routes = [route for route in catalogue.routes_of(model) if catalogue.providers[route.provider].own]
    if not routes:
        raise CatalogueError(f"the catalogue has no route of this machine for {model.name}")
    speed = cost.speed
    source = SourceRow(
        id=f"measured-{stamp.lower()}", publisher="This machine", kind="measurement", date=day, seen=day,
        title=f"triptych bench of {speed.model}, {speed.precision} on {speed.device}",
    )  # fmt: skip
    price = PriceRow(
        route=routes[0].id, source=source.id, input=usd(cost.input), output=usd(cost.output),
        caption=None if cost.caption is None else usd(cost.caption),
        formula="; ".join(f"{unit}: {formula}" for unit, formula in cost.formulas.items()),
    )  # fmt: skip
    return DataFile(sources=[source], prices=[price])


