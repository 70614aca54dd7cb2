"""Public price lists, in the forms of models.dev and of LiteLLM: what they say of the models that we know.

A list is somebody else's: its sizes, depth, types and numbers are all checked, and an entry that is wrong is passed
over with a reason. Nothing of an entry is taken but what is named here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date as Day
from decimal import Decimal
from typing import Any, Literal

import msgspec

from .catalogue import Catalogue
from .errors import RefreshError
from .names import plain
from .units import UNITS, Unit, read_price

Form = Literal["models.dev", "litellm"]

# (unit, models.dev's key, LiteLLM's key). models.dev has dollars per million tokens, LiteLLM dollars per token.
_KEYS: tuple[tuple[Unit, str, str], ...] = (
    ("input", "input", "input_cost_per_token"),
    ("output", "output", "output_cost_per_token"),
    ("cached_read", "cache_read", "cache_read_input_token_cost"),
    ("cached_write", "cache_write", "cache_creation_input_token_cost"),
    ("batch_input", "", "input_cost_per_token_batches"),
    ("batch_output", "", "output_cost_per_token_batches"),
)
_REGION = re.compile(r"(?:^|/)(?P<region>[a-z]{2}(?:-gov)?-[a-z]+-\d)/")
_NAME = re.compile(r"[\w@][\w .:/@+-]{0,150}", re.ASCII)
# What ids of families and providers begin with; a provider of that name would be taken for one.
_TAKEN = ("", "family", "provider")
# Programs that people run themselves: that nobody is paid is no offer.
_LOCAL = ("ollama", "ollama-chat", "llamafile", "lm-studio", "lmstudio", "vllm", "hosted-vllm", "xinference")
# Names without a version: in a list nobody knows which model they mean.
_VAGUE = ("llava", "llava-1-5", "llava-1-6", "mixtral")
_MOST_ENTRIES = 100_000
_MOST_TOLD = 20


@dataclass(frozen=True, slots=True)
class Entry:
    """What a list says of a known model at a provider: prices as decimal text, limits and flags as claims."""

    provider: str
    provider_name: str
    key: str
    model: str
    region: str
    prices: Mapping[Unit, str]
    claims: Mapping[str, int | bool | str]
    ends: Day | None = None


@dataclass(frozen=True, slots=True)
class PriceList:
    """`passed_over` says of entries of known models why they were not taken."""

    form: Form
    entries: tuple[Entry, ...]
    others: int
    passed_over: tuple[str, ...] = field(default=())


def read_list(content: bytes, catalogue: Catalogue) -> PriceList:
    """Raises RefreshError for what is neither list."""
    try:
        table = msgspec.json.Decoder(float_hook=Decimal).decode(content)
    except RecursionError:
        raise RefreshError("it is nested too deeply to be a price list") from None
    except (msgspec.DecodeError, UnicodeDecodeError, ArithmeticError) as error:
        raise RefreshError(f"it is not valid JSON: {error}") from None
    form = _form(table)
    taken: list[Entry] = []
    passed_over: list[str] = []
    others = 0
    for number, (provider, name, key, entry, where) in enumerate(_entries(table, form)):
        if number >= _MOST_ENTRIES:
            raise RefreshError(f"it has over {_MOST_ENTRIES:,} entries; no price list is that long")
        model = catalogue.known_model(key) if _named(provider, key) else None
        if model is None:
            others += 1
            continue
        try:
            taken.append(_entry(form, provider, name, key, model.id, entry))
        except ValueError as error:
            passed_over.append(f"{where[:120]}: {error}")
    if len(passed_over) > _MOST_TOLD:
        passed_over[_MOST_TOLD:] = [f"and {len(passed_over) - _MOST_TOLD} more"]
    return PriceList(form, tuple(taken), others, tuple(passed_over))


def _named(provider: str, key: str) -> bool:
    """Whether an entry can be about a known model at a provider."""
    if not _NAME.fullmatch(key) or plain(provider) in (*_TAKEN, *_LOCAL):
        return False
    return plain(key.rpartition("/")[2]) not in _VAGUE


def _form(table: Any) -> Form:
    if isinstance(table, dict):
        values = [value for value in table.values() if isinstance(value, dict)]
        if any(isinstance(value.get("models"), dict) for value in values):
            return "models.dev"
        if any("litellm_provider" in value for value in values):
            return "litellm"
    raise RefreshError("it is no list of prices in models.dev's or LiteLLM's form")


def _entries(table: dict[str, Any], form: Form) -> Iterator[tuple[str, str, str, dict[str, Any], str]]:
    """(provider, its name, what it calls the model, the entry, how to name the entry)."""
    for key, value in table.items():
        if not isinstance(value, dict):
            continue
        if form == "litellm":
            provider = value.get("litellm_provider")
            if isinstance(provider, str) and _NAME.fullmatch(provider) and key != "sample_spec":
                yield provider, provider, key, value, key
            continue
        models, name = value.get("models"), value.get("name")
        if not isinstance(models, dict) or not _NAME.fullmatch(key):
            continue
        shown = name if isinstance(name, str) and _NAME.fullmatch(name) else key
        for id, entry in models.items():
            if isinstance(entry, dict):
                yield key, shown, id, entry, f"{key}/{id}"


def _entry(form: Form, provider: str, name: str, key: str, model: str, entry: dict[str, Any]) -> Entry:
    """Raises ValueError saying what is wrong."""
    here = entry if form == "litellm" else entry.get("cost", {})
    if not isinstance(here, dict):
        raise ValueError("cost is no table")
    prices = {}
    for unit, theirs, litellms in _KEYS:
        found = here.get(litellms if form == "litellm" else theirs)
        if found is not None:
            prices[unit] = _price(unit, found, 1 if form == "litellm" else UNITS[unit].per)
    region = _REGION.search(key) if form == "litellm" else None
    ends = entry.get("deprecation_date") if form == "litellm" else None
    return Entry(
        provider, name, key, model, region["region"] if region else "", prices, _claims(form, entry), _day(ends)
    )


def _price(unit: Unit, value: Any, per: int) -> str:
    """As decimal text for `UNITS[unit].per` things."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError(f"its {unit} price is no number")
    number = Decimal(value) if isinstance(value, int) else value
    if not number.is_finite() or number < 0 or (number and not -12 <= number.adjusted() <= 6):
        raise ValueError(f"its {unit} price, {str(value)[:20]}, is negative or absurd")
    scaled = number * UNITS[unit].per / per
    text = f"{scaled.quantize(Decimal('1e-9')):f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    try:
        read_price(unit, text)
    except ValueError as error:
        raise ValueError(f"its {unit} price: {error}") from None
    return text


def _claims(form: Form, entry: dict[str, Any]) -> dict[str, int | bool | str]:
    limits = entry.get("limit") if form == "models.dev" else entry
    limits = limits if isinstance(limits, dict) else {}
    context, output = ("context", "output") if form == "models.dev" else ("max_input_tokens", "max_output_tokens")
    told: dict[str, Any] = {"context": limits.get(context), "max_output": limits.get(output)}
    if form == "models.dev":
        told |= {name: entry.get(name) for name in ("tool_call", "reasoning")}
    else:
        told |= {"tool_call": entry.get("supports_function_calling"), "reasoning": entry.get("supports_reasoning")}
    return {name: value for name, value in told.items() if _believable(name, value)}


def _believable(name: str, value: Any) -> bool:
    if name in ("tool_call", "reasoning"):
        return isinstance(value, bool)
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 10**8


def _day(value: Any) -> Day | None:
    try:
        return Day.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
