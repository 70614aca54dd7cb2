"""The secrets that webhooks are signed with, one for each owner, so that none can pass for the server to another."""

from __future__ import annotations

from functools import partial

from ..store import secrets as statements
from ..store.ids import now_us
from ..store.store import Store
from .signing import new_secret

# After a change the secret before signs as well for this long: time to tell the receivers.
BOTH_SECONDS = 86_400


class WebhookSecrets:
    """Those of a server, in its store. Each is made when it is asked for first."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def of(self, owner: str) -> tuple[str, ...]:
        """The owner's secret, and behind it the one before while that signs too. Raises StoreError."""
        name, now = _name(owner), now_us()
        find = partial(statements.find, name=name, earlier_after_us=now - BOTH_SECONDS * 1_000_000)
        found = await self._store.read(find)
        if found:
            return found
        return (await self._store.write(partial(statements.secret, name=name, fresh=new_secret(), now_us=now)),)

    async def rotate(self, owner: str) -> str:
        """A new secret from now on. Raises StoreError."""
        fresh = new_secret()
        await self._store.write(partial(statements.replace, name=_name(owner), fresh=fresh, now_us=now_us()))
        return fresh


def _name(owner: str) -> str:
    return f"webhooks of {owner}" if owner else "webhooks"
