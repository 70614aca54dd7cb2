"""Who asks, whether they may, and what it costs them: all of it that the rest of the server needs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping, MutableMapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ..backend import Backend
from ..generation import Generation
from ..origin import same_origin
from ..store.ids import new_id
from ..store.store import Store
from ..store.usage import UsageRecord
from .attempts import Attempts
from .budgets import Budgets
from .caller import Caller
from .charge import Bill, Charge, most_used
from .cost import Price, worst
from .errors import WrongKeyError
from .keyring import Keyring
from .meter import Meter
from .prices import PriceBook
from .rates import Rates
from .sessions import Sessions

log = logging.getLogger("triptych.server")

# Seconds after which operators should know that the database does not answer.
_LATE = 10.0
Scope = MutableMapping[str, Any]
# Words before a key; the second one is Replicate's older one.
_SCHEMES = ("bearer", "token")


@dataclass(frozen=True, slots=True)
class Accounts:
    """`meter` and `budgets` are None on a server that keeps nothing."""

    keyring: Keyring
    sessions: Sessions
    prices: PriceBook
    rates: Rates = field(default_factory=Rates)
    attempts: Attempts = field(default_factory=Attempts)
    budgets: Budgets | None = None
    meter: Meter | None = None
    _later: set[asyncio.Task[None]] = field(default_factory=set)

    @classmethod
    def open(cls) -> Accounts:
        """Everybody is let in, nothing is kept and nothing costs."""
        keyring = Keyring()
        return cls(keyring, Sessions(keyring), PriceBook("free"))

    @classmethod
    def of(cls, keyring: Keyring, prices: PriceBook, store: Store | None, folder: Path | None) -> Accounts:
        """Accounts that keep what was used in `store`; it waits in `folder` until it is there."""
        sessions = Sessions(keyring, store)
        if store is None or folder is None:
            return cls(keyring, sessions, prices)
        server = new_id()
        budgets = Budgets(store, server)
        return cls(keyring, sessions, prices, budgets=budgets, meter=Meter(store, folder, server, budgets))

    async def start(self) -> None:
        """Read the keys, and bring in what a dead server had not stored. Raises StoreError, OSError."""
        await self.keyring.start()
        await self.sessions.start()
        if self.meter is not None and self.budgets is not None:
            await self.meter.start()
            await self.budgets.start()

    async def stop(self) -> None:
        """Everything that was used is stored."""
        if self._later:
            await asyncio.wait(self._later)
        await self.keyring.stop()
        if self.meter is not None and self.budgets is not None:
            await self.meter.stop()
            await self.budgets.stop()

    def troubles(self) -> list[str]:
        """What is amiss with the database, in sentences for operators."""
        found = []
        if (late := self.keyring.late) > _LATE:
            found.append(f"Keys could not be read for {late:.0f} s.")
        if self.meter is not None and (waited := self.meter.waited) > _LATE:
            found.append(f"{self.meter.waiting} rows of usage have waited {waited:.0f} s for the database.")
        return found

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work` that nobody waits for; the server does, before it ends."""
        task = asyncio.create_task(work)
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    # ---- who asks ---------------------------------------------------------------------------------------------------

    def caller(self, scope: Scope, headers: Mapping[str, str]) -> Caller:
        """Who asks, by the key in the headers, or by the cookie of a browser that shows a page of this server. Raises
        WrongKeyError, KeysUnknownError, RateLimitError.
        """
        authorization = headers.get("authorization", "")
        if not authorization and "cookie" in headers:
            # Browsers keep the cookie to pages of this site; what changes something must come from this very server.
            looks = scope.get("method") in ("GET", "HEAD")
            signed_in = self.sessions.caller(headers) if looks or same_origin(scope, headers) else None
            if signed_in is not None:
                return signed_in
        scheme, _, token = authorization.partition(" ")
        known = scheme.lower() in _SCHEMES
        if token and not known and self.keyring.asks:
            raise WrongKeyError(True)
        return self.bearer(scope, token.strip() if known else "")

    def bearer(self, scope: Scope, key: str) -> Caller:
        """Who has this key, which came in a request; "" is none. Raises WrongKeyError, KeysUnknownError, and
        RateLimitError where too many wrong ones came from.
        """
        return self.attempts.look(scope, key, partial(self.keyring.bearer, key))

    # ---- whether they may -------------------------------------------------------------------------------------------

    def check(self, owner: str, dialect: str, model: Backend, counted: bool = True) -> None:
        """See that `owner` may ask `model`, and that it is not too often if it is `counted`. Raises ForbiddenError,
        RateLimitError.
        """
        caller = self.keyring.caller(owner)
        caller.check(dialect, model.name)
        if counted:
            self.rates.admit(caller)

    def limits(self, owner: str) -> dict[str, str]:
        """The headers of an answer that say what the key of `owner` may do, and what is left of it."""
        return self.headers(self.keyring.caller(owner))

    def headers(self, caller: Caller) -> dict[str, str]:
        """Limits and what is left of them."""
        found = self.rates.headers(caller)
        return found if self.budgets is None else found | self.budgets.headers(caller)

    async def charge(
        self, owner: str, generation: Generation, model: Backend, called: str = "", row: str | None = None,
        images: int | None = None,
    ) -> Charge:  # fmt: skip
        """Set the most aside that the generation can cost. `called` is the name that was asked for; `row` is the id of
        its row of usage; `images` are how many it will have, where they are not there yet. Raises BudgetError,
        StoreError.
        """
        caller = self.keyring.caller(owner)
        price = self.prices.price(called or model.name, generation.dialect, model)
        bill = Bill.of(generation, owner, model, called, row, images)
        context = _context(model)
        reservation = None
        if caller.limits.spend_nano is not None and self.budgets is not None:
            reservation = await self.budgets.reserve(caller, _most(price, bill, generation, context))
        return Charge(bill, generation, price, context, reservation, self._record)

    async def afford(self, owner: str, generation: Generation, model: Backend, called: str, images: int) -> None:
        """See that there is enough for a generation that begins later. Raises BudgetError, StoreError."""
        if self.keyring.caller(owner).limits.spend_nano is not None:
            (await self.charge(owner, generation, model, called, None, images)).drop()

    def estimate(self, generation: Generation, model: Backend, called: str, images: int) -> int:
        """The most that a generation with so many images can cost, in nano-dollars; 0 for what has no price."""
        price = self.prices.price(called or model.name, generation.dialect, model)
        return _most(price, Bill.of(generation, "", model, called, images=images), generation, _context(model))

    def _record(self, row: UsageRecord) -> None:
        caller = self.keyring.caller(row.owner)
        self.rates.used(caller, row.prompt_tokens - row.cached_tokens + row.completion_tokens)
        if self.meter is not None:
            self.meter.record(row)


def _context(model: Backend) -> int:
    """The model's context in tokens, 0 while it is not known."""
    return model.info.max_context if model.info is not None else 0


def _most(price: Price, bill: Bill, generation: Generation, context: int) -> int:
    """The most that a generation can cost, in nano-dollars."""
    return worst(price, most_used(bill, generation, context)) if price.priced else 0
