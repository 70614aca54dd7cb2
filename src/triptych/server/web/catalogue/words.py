"""How the catalogue's values read on a page."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date as Day

from markupsafe import Markup, escape

from ....catalogue.answers import ClaimAnswer, ComponentAnswer, PriceAnswer, RouteAnswer, SourceAnswer

# In the order in which they are shown; what is not here comes after them.
LABELS = {
    "name": "Name", "model_id": "Model id", "family": "Family", "creator": "Creator", "released": "Released",
    "updated": "Updated", "trained": "Trained", "parameters": "Parameters", "parameters_total": "Parameters in all",
    "parameters_active": "Parameters used per token", "experts_per_token": "Experts used per token",
    "context": "Context, tokens", "architecture": "Architecture", "base_model": "Base model",
    "vision_encoder": "Vision encoder", "connector": "Connector", "knowledge_cutoff": "Knowledge cutoff",
    "licence": "Licence", "openness": "Open source", "task": "Task", "capabilities": "Capabilities",
    "languages": "Languages", "inputs": "Inputs", "uses": "Uses", "not_for": "Not for", "primary_use": "Primary use",
    "requirements": "Requirements", "benchmarks": "Benchmarks", "inference_speed": "Speed",
    "improvements": "Improvements", "training": "Training", "training_data": "Training data",
    "training_cost": "Training cost", "prompt_template": "Prompt template", "publications": "Publications",
}  # fmt: skip
# What pages say of the market rather than of the model.
MARKET = {
    "providers_counted": "Providers, as a page counts them", "providers_not_listed": "Providers counted and not listed",
    "cheapest_stated": "Cheapest, as a page has it", "gpu_hour_providers": "Providers by the GPU-hour",
    "related_models": "Related models", "page_slug": "Name in the page's address",
}  # fmt: skip
# Of a route.
ROUTE_LABELS = {
    "status": "Status", "kind": "Kind", "billing": "Billing", "context": "Context, tokens",
    "max_output": "Longest answer, tokens", "hardware": "Hardware", "seconds_per_run": "Seconds per run",
    "runs_per_dollar": "Runs per dollar", "tool_call": "Tool calls", "reasoning": "Reasoning", "currency": "Currency",
    "price_tier": "Tier of the price", "example_cost": "Cost in examples", "wanted": "Asking for it",
    "api.task_type": "Task type", "api.cost": "Cost in answers", "api.image_output": "Image output",
    "api.example_fields": "Fields in examples", "api.guides": "Guides", "recipe.formats": "Recipe: formats",
    "recipe.install": "Recipe: install", "recipe.auth": "Recipe: key", "recipe.model_id": "Recipe: model id",
    "recipe.input": "Recipe: input", "recipe.output": "Recipe: output", "recipe.snippets": "Recipe: snippets",
}  # fmt: skip
_BILLION = 1_000_000_000
_STATUS_KINDS = {"live": "good", "announced": "info", "deprecated": "warn", "retired": "bad"}
_STATES = {"not sourced": "Not sourced", "not applicable": "Not applicable"}


def label(field: str) -> str:
    """A field's name for people."""
    known = LABELS.get(field) or MARKET.get(field) or ROUTE_LABELS.get(field)
    return known or field.replace("_", " ").replace(".", ": ").capitalize()


def value(claim: ClaimAnswer) -> Markup:
    """What a claim says, or that its source says nothing."""
    if claim.value is None:
        return Markup('<span class="unsourced">{}</span>').format(_STATES.get(claim.state, claim.state))
    if isinstance(claim.value, list):
        items = Markup().join(Markup("<li>{}</li>").format(item) for item in claim.value)
        return Markup('<ul class="values">{}</ul>').format(items)
    text = said(claim)
    if claim.field in ("prompt_template", "model_id", "page_slug") or claim.field.startswith("recipe."):
        return Markup("<code>{}</code>").format(Markup("<br>").join(text.split("\n")))
    return escape(text)


def said(claim: ClaimAnswer) -> str:
    """The same in plain words."""
    if claim.value is None:
        return _STATES.get(claim.state, claim.state)
    if isinstance(claim.value, bool):
        return "yes" if claim.value else "no"
    if isinstance(claim.value, int):
        return f"{claim.value:,}"
    return "; ".join(claim.value) if isinstance(claim.value, list) else claim.value


def short(claim: ClaimAnswer) -> str:
    """The same where there is little room: billions as such."""
    if isinstance(claim.value, int) and claim.value >= _BILLION:
        return f"{claim.value / _BILLION:g}B"
    return said(claim)


def amount(component: ComponentAnswer) -> str:
    """A price, or that there is none."""
    return _STATES.get(component.state, component.state) if component.usd is None else f"${component.usd}"


def band(component: ComponentAnswer) -> str:
    """For which part a price holds, "" for all."""
    limits = component.band
    return f"for {limits.least:,} to {limits.most:,} {limits.of.replace('_', ' ')}" if limits else ""


def price_of(route: RouteAnswer, unit: str) -> PriceAnswer | None:
    """What is shown for a unit, None if no source has a place for it."""
    return next((price for price in route.prices if price.price.unit == unit), None)


def price_sources(route: RouteAnswer) -> list[str]:
    """Ids of the sources of the prices that are shown."""
    return list(dict.fromkeys(price.source for price in route.prices))


def dated(source: SourceAnswer) -> str:
    """A source in a few words: who says it, and when."""
    name, _, _ = source.title.partition(",")
    if source.kind != "list" or not name[-1:].isdigit():  # a list with a version is known by its own name
        name = source.publisher.partition(" (")[0]
    return f"{name}, {day(source.date)}" if source.date else f"{name}, undated"


def cited(source: SourceAnswer) -> str:
    """A source in full, on one line."""
    bears = f"dated {day(source.date)}" if source.date else "bears no date"
    return f"{source.publisher}: {source.title}; {bears}, read {day(source.seen)}"


def day(date: Day) -> str:
    return date.isoformat()


def status_kind(status: str) -> str:
    """The kind of badge for a route's status."""
    return _STATUS_KINDS.get(status, "")


def count(number: int, one: str, many: str = "") -> str:
    """A number with its noun: 1 route, 2 routes."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def joined(words: Iterable[str]) -> str:
    """With commas, and "and" before the last."""
    *most, last = list(words) or [""]
    return f"{', '.join(most)} and {last}" if most else last
