"""One generation's bill: what was set aside for it, and at its end the row of what it used and cost."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from ...engine.request import Timing, Usage
from ..backend import Backend
from ..generation import Admitted, Generation, RawPrompt
from ..store.ids import new_id, now_us
from ..store.usage import UsageRecord
from .budgets import Reservation
from .cost import Price, Quantities, cost, to_json, worst

# What a picture is at most, of any family, in tokens, and a template around what is asked.
_MOST_IMAGE_TOKENS = 3000
_TEMPLATE_TOKENS = 256
# Of a model that has not told its context yet.
_MOST_CONTEXT = 32_768
# What is reserved of time is the longest that one request is expected to take. A budget pays no more.
_MOST_SECONDS_US = 60_000_000
# A task of this dialect is a caption, whatever it asks.
_BY_CAPTION = "runware"
# Reasons of an end that is not an answer's.
_FAILED = ("error", "abort")


class Bill(msgspec.Struct, frozen=True):
    """Whose a generation is and what it is called. `id` is its row's."""

    id: str
    request_id: str
    owner: str
    dialect: str
    model: str
    called: str
    images: int
    choices: int

    @classmethod
    def of(
        cls, generation: Generation, owner: str, model: Backend, called: str, row: str | None = None,
        images: int | None = None,
    ) -> Bill:  # fmt: skip
        """`images` are how many it will have, where they are not there yet."""
        return cls(
            row or new_id(), generation.request_id, owner, generation.dialect, model.name, called or model.name,
            len(generation.pictures) if images is None else images, generation.params.n,
        )  # fmt: skip

    def used(self, usage: Usage, seconds: float = 0.0) -> Quantities:
        """What is paid for."""
        return Quantities(
            usage.prompt_tokens, usage.cached_tokens, usage.image_tokens, usage.completion_tokens, self.images,
            self.choices if self.dialect == _BY_CAPTION else 0, 1, max(0, round(seconds * 1e6)),
        )  # fmt: skip


def most_used(bill: Bill, generation: Generation, context: int) -> Quantities:
    """The most that a generation can use before its prompt is counted: no token is shorter than a byte."""
    context = context or _MOST_CONTEXT
    prompt = generation.prompt
    if isinstance(prompt, RawPrompt) and isinstance(prompt.text, list):
        read = len(prompt.text)
    else:
        read = len(msgspec.json.encode(prompt)) + _TEMPLATE_TOKENS
    return _most(bill, generation, min(context, read + _MOST_IMAGE_TOKENS * bill.images), context)


def _most(bill: Bill, generation: Generation, prompt_tokens: int, context: int) -> Quantities:
    params = generation.params
    written = context if params.max_tokens is None else min(params.max_tokens, context)
    usage = Usage(prompt_tokens, prompt_tokens, prompt_tokens, written * params.n)
    return bill.used(usage, _MOST_SECONDS_US / 1e6)


class Charge:
    """A generation under way. `record` keeps its row; `cost_nano` is there once it is settled, and None as well for
    what has no price.
    """

    def __init__(
        self, bill: Bill, generation: Generation, price: Price, context: int, reservation: Reservation | None,
        record: Callable[[UsageRecord], None],
    ) -> None:
        self.bill = bill
        self.cost_nano: int | None = None
        self.settled = False
        self._generation = generation
        self._price = price
        self._context = context or _MOST_CONTEXT
        self._reservation = reservation
        self._record = record
        self._created_us = now_us()

    @property
    def priced(self) -> bool:
        return self._price.priced

    def admitted(self, admitted: Admitted) -> None:
        """The prompt is counted: no more than it and the rest of the context can be used. Where nobody lacks what was
        set aside too much, it stays aside.
        """
        scarce = self._reservation is not None and self._reservation.scarce
        if scarce and admitted.prompt_tokens is not None:
            assert self._reservation is not None
            rest = self._context - admitted.prompt_tokens
            most = _most(self.bill, self._generation, admitted.prompt_tokens, max(1, rest))
            self._reservation.tighten(worst(self._price, most))

    def settle(self, usage: Usage, timing: Timing, reason: str) -> None:
        """It is over and used this. Of several calls the first one counts."""
        if self.settled:
            return
        refused = not (usage.prompt_tokens or usage.completion_tokens)  # before anything was computed
        if refused or (self.bill.dialect == _BY_CAPTION and reason in _FAILED):  # a caption that is none is not sold
            self.drop()
            return
        self.settled = True
        used = self.bill.used(usage, max(0.0, timing.total - timing.queued))
        price, reservation, bill = self._price, self._reservation, self.bill
        nano = cost(price, used) if price.priced else 0
        if reservation is not None:
            if nano > reservation.nano:  # by more time, or a longer template, than was reckoned with
                price, nano = replace(price, most=reservation.nano), reservation.nano
            reservation.settle(nano)
        self.cost_nano = nano if price.priced else None
        self._record(
            UsageRecord(
                id=bill.id, request_id=bill.request_id, owner=bill.owner, dialect=bill.dialect, model=bill.model,
                called=bill.called, reason=reason, created_us=self._created_us, price=to_json(price),
                cost_nano=nano, prompt_tokens=used.prompt_tokens, cached_tokens=used.cached_tokens,
                image_tokens=used.image_tokens, completion_tokens=used.completion_tokens, images=used.images,
                captions=used.captions, calls=used.calls, seconds_us=used.seconds_us,
                grant_day=None if reservation is None else reservation.day,
            )
        )  # fmt: skip

    def drop(self) -> None:
        """Nothing came of it, or nothing by a fault of the server: nothing is charged, and no row is kept."""
        if not self.settled:
            self.settled = True
            if self._reservation is not None:
                self._reservation.settle(0)
