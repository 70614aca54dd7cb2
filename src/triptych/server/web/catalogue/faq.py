"""Questions that people have about a model, answered from the catalogue: nothing here is typed in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ....catalogue.answers import ChargeAnswer, CheapestAnswer, ClaimAnswer, ModelAnswer
from .words import count, joined, said


@dataclass(frozen=True, slots=True)
class Question:
    """`sources` are the ids of the sources that the answer is from."""

    asked: str
    answer: str
    sources: tuple[str, ...] = ()


def questions(answer: ModelAnswer, least: CheapestAnswer, workload: str) -> list[Question]:
    """`least` is what `workload`, in words, costs on each route."""
    name = answer.model.name
    return [
        _cost(name, least, workload),
        _context(answer),
        _providers(answer),
        _claimed(answer, f"Who made {name}?", ("creator",)),
        _claimed(answer, f"Is {name} open source?", ("openness", "licence")),
        _runs(answer),
    ]


def _cost(name: str, least: CheapestAnswer, workload: str) -> Question:
    asked = f"How much does {name} cost?"
    if not least.charges:
        return Question(asked, f"No live route has a price that covers {workload}.")
    first, last = least.charges[0], least.charges[-1]
    told = f"{workload[0].upper()}{workload[1:]} costs ${first.total_usd} {_at(first)}: {_sum(first)}."
    if last is not first:
        told += f" That is the least of {len(least.charges)} live routes with prices that cover it; the most is "
        told += f"${last.total_usd} {_at(last)}."
    return Question(asked, told, tuple({line.source for line in first.lines + last.lines}))


def _at(charge: ChargeAnswer) -> str:
    where = "on this machine" if charge.own else f"at {charge.provider_name}"
    return f"{where} ({charge.region})" if charge.region else where


def _sum(charge: ChargeAnswer) -> str:
    return " + ".join(line.arithmetic for line in charge.lines)


def _context(answer: ModelAnswer) -> Question:
    name = answer.model.name
    shown = _shown(answer.claims, "context")
    limits = sorted({route.context for route in answer.routes if route.context})
    told = "No source gives it for the model itself."
    if shown is not None and shown.value is not None:
        told = f"{said(shown)} tokens."
    if limits:
        spread = f"{limits[0]:,}" if len(limits) == 1 else f"{limits[0]:,} to {limits[-1]:,}"
        told += f" Routes have limits of their own: {spread} tokens where one is listed."
    return Question(f"What is the context window of {name}?", told, (shown.source,) if shown is not None else ())


def _providers(answer: ModelAnswer) -> Question:
    summary = answer.model
    told = (
        f"{count(summary.providers, 'provider')} beside this machine, on {count(len(answer.routes), 'route')}; "
        f"{summary.live:,} of the routes are live, and {summary.priced:,} of those have a price. "
        "This is counted from the routes on this page."
    )
    return Question(f"How many providers have {summary.name}?", told)


def _claimed(answer: ModelAnswer, asked: str, fields: Sequence[str]) -> Question:
    parts, sources = [], []
    for field in fields:
        told = [claim for claim in answer.claims if claim.field == field]
        values = list(dict.fromkeys(said(claim) for claim in told if claim.value is not None))
        silent = any(claim.value is None for claim in told)
        if not told:
            continue
        sources += [claim.source for claim in told]
        word = {"licence": "Licence", "openness": "Open source", "creator": "Creator"}[field]
        what = joined(f"“{value}”" for value in values) if values else "no source says"
        parts.append(f"{word}: {what}{', while another place says nothing of it' if silent and values else ''}.")
    return Question(asked, " ".join(parts) or "No source says.", tuple(dict.fromkeys(sources)))


def _runs(answer: ModelAnswer) -> Question:
    summary = answer.model
    asked = f"Can I run {summary.name} on my own machine?"
    if summary.served:
        return Question(asked, f"It runs on this server now, as {joined(f'`{name}`' for name in summary.served)}.")
    if summary.checkpoint is None:
        return Question(asked, "The catalogue knows no weights of it that Triptych runs.")
    return Question(asked, f"Yes: `triptych serve {summary.checkpoint}`. What it takes stands under Run it here.")


def _shown(claims: Sequence[ClaimAnswer], field: str) -> ClaimAnswer | None:
    return next((claim for claim in claims if claim.field == field and claim.shown), None)
