"""The compare page: a workload from a form, and what it costs on every route of some models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode

from ....catalogue.answers import ChargeAnswer, CheapestAnswer, LeftOutAnswer, ModelSummary
from ....catalogue.errors import CatalogueError, WorkloadError
from ....catalogue.facts import Model
from ....catalogue.workload import FIELDS, Workload, read_workload
from ...catalogue import Snapshot
from ..charts import Bar, Markup, bars
from ..page_routes import sentence

MOST_MODELS = 8
# What the page begins with: (name, what it is, fields, models).
PRESETS = (
    ("1,000 captions", "one picture each, 60 tokens of prompt and 100 of answer", {"captions": "1000"}),
    ("Alt text, 50,000 photos", "short answers of 40 tokens", {"captions": "50K", "caption_tokens": "40"}),
    ("Chat, 1M tokens", "three in for one out", {"input": "750K", "output": "250K"}),
    ("Long documents", "10M tokens in, 200K out", {"input": "10M", "output": "200K"}),
)
_SEEING_DEFAULT, _TEXT_DEFAULT = "llava-1.6-mistral-7b", "mixtral-8x7b"
LABELS = {
    "input": ("Input tokens", "of text; K, M and B work"),
    "output": ("Output tokens", ""),
    "images": ("Images", "that go along with the tokens"),
    "captions": ("Captions", "a picture, a prompt and an answer each"),
    "calls": ("Calls", "in how many requests the tokens go"),
    "prompt_tokens": ("Prompt tokens", "of a caption; 60 if empty"),
    "caption_tokens": ("Answer tokens", "of a caption; 100 if empty"),
    "image_tokens": ("Tokens of an image", "the model's most if empty"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """What the form says, as it was written; `errors` by field, "models" for the choice of models."""

    models: tuple[Model, ...]
    texts: Mapping[str, str]
    workload: Workload | None
    errors: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Priced:
    """A model with what the workload costs on its routes; `cannot` says why it cannot be told."""

    summary: ModelSummary
    answer: CheapestAnswer | None
    cannot: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A route in the ranking of all models."""

    summary: ModelSummary
    charge: ChargeAnswer


def asked(snapshot: Snapshot, query: Mapping[str, Sequence[str]]) -> Asked:
    """The form's content; what cannot be read is told beside its field, never raised."""
    errors: dict[str, str] = {}
    texts = {name: query[name][-1].strip()[:40] for name in FIELDS if query.get(name, [""])[-1].strip()}
    workload = None
    try:
        workload = read_workload(texts) if texts else read_workload(PRESETS[0][2])
    except WorkloadError as error:
        errors[error.field if error.field in LABELS else "input"] = sentence(error)
    if not texts:
        texts = dict(PRESETS[0][2])
    names = [name for name in query.get("model", ()) if name]
    found: list[Model] = []
    for name in names[:MOST_MODELS]:
        try:
            found.append(snapshot.catalogue.model(name))
        except CatalogueError as error:
            errors["models"] = sentence(error)
    if len(names) > MOST_MODELS:
        errors["models"] = f"Choose at most {MOST_MODELS} models; the first {MOST_MODELS} are compared."
    if not names:
        default = _SEEING_DEFAULT if workload is None or workload.pictures else _TEXT_DEFAULT
        found = [model for model in [snapshot.catalogue.known_model(default)] if model is not None]
    return Asked(tuple(dict.fromkeys(found)), texts, workload, errors)


def choice(snapshot: Snapshot) -> list[Model]:
    """All models, those with most to compare first."""
    models = snapshot.catalogue.models.values()
    return sorted(models, key=lambda model: (-snapshot.views.summary(model).priced, model.name))


def priced(snapshot: Snapshot, asking: Asked) -> list[Priced]:
    """Each model with its routes; empty if there is no workload."""
    if asking.workload is None:
        return []
    found = []
    for model in asking.models:
        summary = snapshot.views.summary(model)
        try:
            found.append(Priced(summary, snapshot.views.cheapest(model, asking.workload)))
        except WorkloadError as error:
            found.append(Priced(summary, None, sentence(error)))
    return found


def ranking(all_priced: Sequence[Priced]) -> list[Row]:
    """The routes of all models, the cheapest first."""
    rows = [Row(each.summary, charge) for each in all_priced if each.answer for charge in each.answer.charges]
    return sorted(rows, key=lambda row: (row.charge.total_nano_usd, row.charge.route))


def left_out(all_priced: Sequence[Priced]) -> list[tuple[ModelSummary, LeftOutAnswer]]:
    """Routes that are not in the ranking, and why."""
    return [(each.summary, route) for each in all_priced if each.answer for route in each.answer.left_out]


def chart(rows: Sequence[Row], several: bool) -> Markup:
    """The ranking as bars. With `several` models each bar says whose it is."""
    shown = [
        Bar(
            _route_name(row.charge), row.charge.total_nano_usd, f"${row.charge.total_usd}",
            row.summary.name if several else "", "own" if row.charge.own else "best" if index == 0 else "",
        )
        for index, row in enumerate(rows)
    ]  # fmt: skip
    return bars("What the workload costs", shown, ("Route", "Cost in US dollars"))


def _route_name(charge: ChargeAnswer) -> str:
    return f"{charge.provider_name} ({charge.region})" if charge.region else charge.provider_name


def preset_address(fields: Mapping[str, str], models: Sequence[Model]) -> str:
    """The page with a preset for the same models."""
    return "/app/compare?" + urlencode([*(("model", model.id) for model in models), *fields.items()])
