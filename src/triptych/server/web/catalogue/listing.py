"""The list of models: what is searched and filtered, and what a card shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date as Day

from ....catalogue.answers import ModelSummary
from ....catalogue.cheapest import Charge, cheapest
from ....catalogue.facts import Model
from ....catalogue.money import usd
from ....catalogue.workload import CRITERIA, takes_pictures
from ...catalogue import Snapshot

FLAGS = ("sees", "runs", "served")


@dataclass(frozen=True, slots=True)
class Filters:
    """What a reader looks for. `sees`: takes pictures; `runs`: has weights that run here; `served`: answers now."""

    q: str = ""
    family: str = ""
    sees: bool = False
    runs: bool = False
    served: bool = False

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Filters:
        """From an address; what it does not know is passed over, as links with more in them come from everywhere."""
        flags = {name: query.get(name, "") not in ("", "0") for name in FLAGS}
        return cls(query.get("q", "").strip()[:100], query.get("family", "")[:100], **flags)

    @property
    def any(self) -> bool:
        return self != Filters()

    def takes(self, model: Model, summary: ModelSummary, names: Iterable[str]) -> bool:
        """Every word has to be somewhere in what names or describes the model; `names` are those it has elsewhere."""
        said = (model.id, model.name, *model.names, *names, summary.family, model.about, *model.best_for)
        text = " ".join(said).lower()
        return (
            all(word in text for word in self.q.lower().split())
            and (not self.family or model.family == self.family)
            and (not self.sees or summary.takes_pictures)
            and (not self.runs or summary.checkpoint is not None)
            and (not self.served or bool(summary.served))
        )


@dataclass(frozen=True, slots=True)
class Card:
    """A model in the list; `least` is its cheapest route for what `of` says."""

    summary: ModelSummary
    least: Charge | None
    provider: str
    of: str

    @property
    def usd(self) -> str:
        return usd(self.least.total) if self.least else ""


def cards(snapshot: Snapshot, filters: Filters, on: Day) -> list[Card]:
    """The models that the filters take: those that answer now first, then those with most routes."""
    found = []
    for model in snapshot.catalogue.models.values():
        summary = snapshot.views.summary(model)
        names = [name for route in snapshot.catalogue.routes_of(model) for name in route.names]
        if filters.takes(model, summary, names):
            found.append(_card(snapshot, model, summary, on))
    return sorted(found, key=lambda card: (not card.summary.served, -card.summary.live, card.summary.name))


def _card(snapshot: Snapshot, model: Model, summary: ModelSummary, on: Day) -> Card:
    seeing = takes_pictures(model)
    ranking = cheapest(snapshot.catalogue, model, CRITERIA["caption" if seeing else "blend"], on)
    least = next(iter(ranking.charges), None)
    provider = snapshot.catalogue.providers[least.route.provider].name if least else ""
    return Card(summary, least, provider, "a caption" if seeing else "1M tokens, 3 in for 1 out")
