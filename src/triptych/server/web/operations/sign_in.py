"""The page where a browser gives a key, once, and is let in from then on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from ...accounts.accounts import Accounts
from ...accounts.errors import WrongKeyError
from ...exchange import Answer, Exchange
from ...origin import origin
from ...service import Service
from ..pages import shown
from ..posted import Fields, first, see_other

PATH = "/app/sign-in"
OUT = "/app/sign-out"
_HOME = "/app/predictions"
# A path of this server: no second slash or backslash, which browsers take for another host, and no control characters,
# which they leave out.
_OWN = re.compile(r"/(?![/\\])[!-\[\]-~]*")
_MOST = 2000


@dataclass(frozen=True, slots=True)
class SignInPages:
    """The handlers. They are public: who comes here has nothing to show yet."""

    accounts: Accounts

    async def show(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """The form. It leads back to `next`, or to the page that one comes from."""
        return self._form(exchange, own_path(exchange.query.get("next", "")) or _from(exchange))

    async def sign_in(self, service: Service, exchange: Exchange, fields: Fields) -> Answer:
        """Let in who has a key. What is wrong with one that has none is told to nobody."""
        following, key = own_path(first(fields, "next")), first(fields, "key")
        if not self.accounts.keyring.asks:
            return see_other(following or _HOME)
        try:
            caller = self.accounts.keyring.bearer(key)
        except WrongKeyError:
            return self._form(exchange, following, wrong=True)
        secure = origin(exchange.scope, exchange.headers).startswith("https:")
        return see_other(following or _HOME, {"set-cookie": self.accounts.sessions.cookie(caller, secure)})

    async def sign_out(self, service: Service, exchange: Exchange, fields: Fields) -> Answer:
        """Forget the key."""
        return see_other(PATH, {"set-cookie": self.accounts.sessions.ended()})

    def _form(self, exchange: Exchange, following: str | None, wrong: bool = False) -> Answer:
        return shown(
            exchange, "operations/sign_in.html", 401 if wrong else 200, wrong=wrong, following=following or "",
            asks=self.accounts.keyring.asks,
        )  # fmt: skip


def own_path(text: str) -> str | None:
    """`text` if it is a path of this server, and no way out to another."""
    return text if len(text) <= _MOST and _OWN.fullmatch(text) else None


def _from(exchange: Exchange) -> str | None:
    """The page of this server that one comes from, if any."""
    came = urlsplit(exchange.headers.get("referer", ""))
    here = urlsplit(origin(exchange.scope, exchange.headers))
    if came.netloc != here.netloc or not came.path.startswith("/app/") or came.path in (PATH, OUT):
        return None
    return own_path(came.path + (f"?{came.query}" if came.query else ""))
