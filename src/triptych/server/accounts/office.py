"""Where keys are made, changed and taken away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import msgspec

from ...engine.errors import TriptychError
from ..backend import Backend
from ..store import keys as statements
from ..store.ids import new_id, now_us
from ..store.keys import KeyRecord, Limits
from ..store.store import Store
from .accounts import Accounts
from .budgets import PERIODS, period_day, period_end
from .caller import DIALECTS
from .secret import hashed, new_secret, start_of

# Numbers over these are slips of the pen: nano-dollars, and requests or tokens per minute.
_MOST_SPEND = 10**9 * 10**9
_MOST_RATE = 10**9
_MOST_NAME = 200
_LONGEST_OVERLAP = 30 * 86_400.0
_LONGEST_LIFE_US = 36_525 * 86_400 * 10**6


class UnfitKeyError(TriptychError):
    """A key cannot be as it is wanted; `field` is what is wrong."""

    def __init__(self, message: str, field: str | None = None, missing: bool = False) -> None:
        super().__init__(message)
        self.field = field
        self.missing = missing


@dataclass(frozen=True, slots=True)
class Standing:
    """What a key has left: nano-dollars spent in its period, those that are free of its budget, and when the next
    period begins (microseconds since 1970). `unpriced` are served models that its budget does not hold back: it may
    call them by a name without a price.
    """

    spent_nano: int
    left_nano: int | None
    period_ends_us: int | None
    unpriced: tuple[str, ...] = ()


class Office:
    """Changes keys in the store, and what `accounts` knows of them. `models` are served."""

    def __init__(self, store: Store, accounts: Accounts, models: Sequence[Backend]) -> None:
        self._store = store
        self._accounts = accounts
        self._models = tuple(models)

    async def create(
        self, name: str, admin: bool = False, limits: Limits | None = None, expires_us: int | None = None
    ) -> tuple[KeyRecord, str]:
        """A new key, and its secret, which is nowhere else. Raises UnfitKeyError, StoreError."""
        now, secret = now_us(), new_secret()
        keyring = self._accounts.keyring
        if not admin and not keyring.asks and not keyring.open_door:
            told = "the first key must be an administrator's: as soon as there is one, the server asks for keys"
            raise UnfitKeyError(told, "admin")
        record = KeyRecord(
            id=new_id(), hash=hashed(secret), start=start_of(secret), name=_named(name), created_us=now, changed_us=now,
            admin=admin, limits=self._checked(limits or Limits()), expires_us=_in_future(expires_us, now),
        )  # fmt: skip
        await self._store.write(partial(statements.add, record=record))
        keyring.take([record])
        return record, secret

    async def change(
        self, key_id: str, changes: Limits | None, name: str | None, expires_us: int | None, endless: bool = False
    ) -> KeyRecord:
        """The key with other limits, another name, another end or, if it is to be `endless`, none; None leaves what is
        there. Raises UnfitKeyError, StoreError.
        """
        values: dict[str, object] = {}
        if changes is not None:
            values["limits"] = self._checked(changes)
        if name is not None:
            values["name"] = _named(name)
        if expires_us is not None:
            values["expires_us"] = _in_future(expires_us, now_us())
        elif endless:
            values["expires_us"] = None
        return await self._changed(key_id, **values)

    async def rotate(self, key_id: str, overlap: float) -> tuple[KeyRecord, str]:
        """The key with a new secret; the one before lets in for another `overlap` seconds. Raises UnfitKeyError,
        StoreError.
        """
        if not 0 <= overlap <= _LONGEST_OVERLAP:
            raise UnfitKeyError(f"the old secret may last 0 to {_LONGEST_OVERLAP:.0f} seconds longer", "overlap")
        secret, until = new_secret(), now_us() + round(overlap * 1e6)
        before = self.get(key_id)
        record = await self._changed(
            key_id, hash=hashed(secret), start=start_of(secret), earlier=before.hash, earlier_until_us=until
        )
        return record, secret

    async def revoke(self, key_id: str, by: str) -> KeyRecord:
        """Take a key away, for ever. Raises UnfitKeyError, also for the key `by` that asks; StoreError."""
        if key_id == by:  # so one that can make others is left
            raise UnfitKeyError("a key cannot revoke itself: use another one of an administrator", "id")
        return await self._changed(key_id, revoked_us=now_us())

    async def _changed(self, key_id: str, **values: object) -> KeyRecord:
        record = await self._store.write(
            partial(statements.change, key_id=key_id, now_us=now_us(), **values)  # type: ignore[arg-type]
        )
        if record is None:
            raise UnfitKeyError(f"there is no key {key_id[:80]!r}, or it was revoked", "id", missing=True)
        self._accounts.keyring.take([record])
        return record

    def get(self, key_id: str) -> KeyRecord:
        """Raises UnfitKeyError."""
        record = self._accounts.keyring.caller(key_id).key
        if record is None:
            raise UnfitKeyError(f"there is no key {key_id[:80]!r}", "id", missing=True)
        return record

    def all(self) -> list[KeyRecord]:
        """Every key, the oldest first."""
        return self._accounts.keyring.records()

    async def standing(self, record: KeyRecord) -> Standing:
        """What the key has spent and has left. Raises StoreError."""
        caller, per = self._accounts.keyring.caller(record.id), record.limits.spend_per
        now = now_us()
        assert self._accounts.meter is not None
        spent = await self._accounts.meter.spent(record.id, period_day(per, now))
        left = None if self._accounts.budgets is None else await self._accounts.budgets.left(caller)
        return Standing(spent, left, period_end(per, now), self._unpriced(record.limits))

    def _unpriced(self, limits: Limits) -> tuple[str, ...]:
        prices, models = self._accounts.prices, [] if limits.spend_nano is None else self._models
        allowed = (model for model in models if limits.models is None or model.name in limits.models)
        return tuple(model.name for model in allowed if not prices.guarded(model))

    # ---- what is wanted ---------------------------------------------------------------------------------------------

    def _checked(self, limits: Limits) -> Limits:
        """Limits that can be kept. Raises UnfitKeyError."""
        if limits.models is not None:
            limits = msgspec.structs.replace(limits, models=tuple(map(self._served, limits.models)))
        for name in limits.dialects or ():
            if name not in DIALECTS:
                raise UnfitKeyError(f"dialects are {', '.join(DIALECTS)}, not {name[:80]!r}", "dialects")
        for name in ("models", "dialects"):
            if getattr(limits, name) == ():
                told = f"a key with no {name} could do nothing: leave them out to allow all"
                raise UnfitKeyError(told, name)
        if limits.spend_per not in PERIODS:
            told = f"a budget is for a {', '.join(PERIODS)}, not for {limits.spend_per[:80]!r}"
            raise UnfitKeyError(told, "per")
        for name in ("requests_per_minute", "tokens_per_minute"):
            value = getattr(limits, name)
            if value is not None and not 1 <= value <= _MOST_RATE:
                raise UnfitKeyError(f"a key's {name} must be from 1 to {_MOST_RATE:,}", name)
        if limits.spend_nano is not None and not 0 <= limits.spend_nano <= _MOST_SPEND:
            raise UnfitKeyError(f"a budget must be from $0 to ${_MOST_SPEND // 10**9:,}", "budget")
        return limits

    def _served(self, name: str) -> str:
        names = [model.name for model in self._models]
        if name not in names:
            raise UnfitKeyError(f"the model {name[:80]!r} is not served; there are {', '.join(names)}", "models")
        return name


def _named(name: str) -> str:
    name = name.strip()
    if not name or len(name) > _MOST_NAME or not name.isprintable():
        raise UnfitKeyError(f"a key needs a name of 1 to {_MOST_NAME} characters", "name")
    return name


def _in_future(moment_us: int | None, now: int) -> int | None:
    if moment_us is not None and not now < moment_us <= now + _LONGEST_LIFE_US:
        raise UnfitKeyError("a key must expire in the future, within 100 years", "expires_in")
    return moment_us
