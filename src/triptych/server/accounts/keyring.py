"""All keys, in memory: looking one up is one hash, whether it is good or not."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial

from ..store import keys as statements
from ..store.ids import now_us
from ..store.keys import KeyRecord
from ..store.store import Store, StoreError
from .caller import OPEN, Caller
from .errors import KeysUnknownError, WrongKeyError
from .secret import PREFIX, hashed, well_formed

log = logging.getLogger("triptych.server")

# Servers that share a database hear of each other's changes this late, in seconds.
_LOOK_EVERY = 2.0
# Rows whose transactions were slow to commit are read again, in microseconds.
_OVERLAP_US = 30_000_000


class Keyring:
    """The keys of the settings, which are administrators', and those of the store. While the database is away what is
    known stays good for `grace` seconds.

    Without any key everybody is let in; with `open_door` (the setting no_auth) also those who have none, while a key
    that is given still says who asks.
    """

    def __init__(
        self, settings: Sequence[str] = (), store: Store | None = None, open_door: bool = False, grace: float = 3600.0
    ) -> None:
        self._store = store
        self.open_door = open_door
        self._grace = grace
        self._set = {
            hashed(key): Caller(owner_of(key), f"key {number} of the settings", admin=True)
            for number, key in enumerate(settings, 1)
        }
        self._set_hashes = {caller.id: each for each, caller in self._set.items()}
        self._callers = {caller.id: caller for caller in self._set.values()}
        self._by_hash: dict[str, Caller] = {}
        self._since_us = 0
        self._read = time.monotonic()
        self._task: asyncio.Task[None] | None = None

    @property
    def asks(self) -> bool:
        """Whether a key is needed: whether there has ever been one. Taking the last one away opens nothing."""
        return bool(self._set or self._by_hash) and not self.open_door

    @property
    def stale(self) -> bool:
        """Whether the store could not be read for longer than the grace."""
        return self._store is not None and time.monotonic() - self._read > self._grace

    @property
    def late(self) -> float:
        """Seconds since the store was last read, 0 without one."""
        return 0.0 if self._store is None else time.monotonic() - self._read

    async def start(self) -> None:
        """Read all keys, and go on reading what changes. Raises StoreError."""
        if self._store is not None:
            await self.look()
            self._task = asyncio.create_task(self._keep_looking())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def look(self) -> None:
        """Hear of keys that were made or changed. Raises StoreError."""
        assert self._store is not None
        began, now = time.monotonic(), now_us()
        self.take(await self._store.read(partial(statements.changed_since, since_us=self._since_us)))
        self._since_us, self._read = now - _OVERLAP_US, began

    def take(self, records: Iterable[KeyRecord]) -> None:
        """Know these keys as they are now."""
        for record in records:
            before = self._callers.get(record.id)
            if before is not None and before.key is not None:
                for old in (before.key.hash, before.key.earlier):
                    self._by_hash.pop(old or "", None)
            caller = Caller(record.id, record.name, record.admin, record)
            self._callers[record.id] = caller
            self._by_hash |= {each: caller for each in (record.hash, record.earlier) if each}

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            try:
                await self.look()
            except StoreError as error:
                log.warning("keys cannot be read, %.0f s are left until they are refused: %s",
                            max(0.0, self._grace - self.late), error)  # fmt: skip

    # ---- who asks ---------------------------------------------------------------------------------------------------

    def bearer(self, key: str) -> Caller:
        """Who has this key; "" is none. Raises WrongKeyError, KeysUnknownError."""
        if not self.asks and not (self.open_door and key):
            return OPEN
        given = hashed(key)  # whatever is given: the time says nothing
        found = self._set.get(given) or self._by_hash.get(given)
        if found is None and self.open_door:
            return OPEN
        if found is None:
            why = "it is not complete, or has a slip" if key.startswith(PREFIX) and not well_formed(key) else ""
            raise WrongKeyError(bool(key), why)
        if found.key is not None:
            self._check(found.key, given)
        return found

    def _check(self, record: KeyRecord, given: str) -> None:
        now = now_us()
        if self.stale:
            raise KeysUnknownError("keys cannot be looked up now")
        if record.revoked_us is not None:
            raise WrongKeyError(True, "it was revoked")
        if not record.works(now):
            raise WrongKeyError(True, "it has expired")
        if given == record.earlier and now >= (record.earlier_until_us or 0):
            raise WrongKeyError(True, "it was replaced by a new one")

    def caller(self, owner: str) -> Caller:
        """Who is behind an owner's rows, for work that goes on without its caller. One who is not known, such as by a
        key that was taken out of the settings, has no limits and no rights.
        """
        return OPEN if not owner else self._callers.get(owner) or Caller(owner, owner)

    def signed_in(self, owner: str) -> Caller:
        """An owner whose key was shown before, if it still lets in. Raises WrongKeyError, KeysUnknownError."""
        caller = self._callers.get(owner)
        if caller is None:
            raise WrongKeyError(True, "it is not known")
        if caller.key is not None:
            self._check(caller.key, caller.key.hash)
        return caller

    def hash_of(self, owner: str) -> str:
        """The hash of an owner's key as it is now, "" if there is none."""
        caller = self._callers.get(owner)
        if caller is None:
            return ""
        return caller.key.hash if caller.key is not None else self._set_hashes[owner]

    @property
    def of_settings(self) -> list[Caller]:
        """Those whose keys stand in the settings, in their order."""
        return list(self._set.values())

    def records(self) -> list[KeyRecord]:
        """Every key of the store, the oldest first."""
        known = [caller.key for caller in self._callers.values() if caller.key is not None]
        return sorted(known, key=lambda record: record.id)

    def name(self, owner: str) -> str:
        """What people call an owner."""
        return self.caller(owner).name


def owner_of(key: str) -> str:
    """What the bearer of a key of the settings is remembered by."""
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()[:24]
