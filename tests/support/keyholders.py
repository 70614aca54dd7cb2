"""Keys and their holders, for tests of accounts."""

from __future__ import annotations

from functools import partial
from typing import Any

from triptych.server.accounts.caller import Caller
from triptych.server.accounts.secret import hashed, new_secret, start_of
from triptych.server.store import keys as statements
from triptych.server.store.ids import new_id, now_us
from triptych.server.store.keys import KeyRecord, Limits
from triptych.server.store.store import Store


def new_key(secret: str | None = None, admin: bool = False, **limits: Any) -> KeyRecord:
    """A key that is not stored yet; times may be among the `limits`."""
    secret, now = secret or new_secret(), now_us()
    fields = {name: limits.pop(name) for name in ("expires_us", "revoked_us", "earlier", "earlier_until_us")
              if name in limits}  # fmt: skip
    return KeyRecord(
        id=new_id(), hash=hashed(secret), start=start_of(secret), name="somebody", created_us=now, changed_us=now,
        admin=admin, limits=Limits(**limits), **fields,
    )  # fmt: skip


def caller_with(**limits: Any) -> Caller:
    """The holder of a key with these limits."""
    record = new_key(**limits)
    return Caller(record.id, record.name, record.admin, record)


async def stored_key(store: Store, **limits: Any) -> Caller:
    """The same, of a key that is in the store."""
    caller = caller_with(**limits)
    assert caller.key is not None
    await store.write(partial(statements.add, record=caller.key))
    return caller
