"""Browsers that are signed in: a cookie that says whose key they gave, and that only this server can make."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from functools import partial
from http.cookies import CookieError, SimpleCookie

from ..store import secrets as statements
from ..store.ids import now_us
from ..store.store import Store
from .caller import Caller
from .errors import WrongKeyError
from .keyring import Keyring

COOKIE = "triptych_session"
_LASTS = 30 * 86_400
_SECRET = "sessions"


class Sessions:
    """The cookie holds no key: a caller's id, until when, and a mark of the key as it was, so that it ends with it."""

    def __init__(self, keyring: Keyring, store: Store | None = None) -> None:
        self._keyring = keyring
        self._store = store
        self._secret = secrets.token_bytes(32)

    async def start(self) -> None:
        """Use the secret that earlier servers used, so that nobody has to sign in again. Raises StoreError."""
        if self._store is not None:
            fresh = base64.b64encode(self._secret).decode()
            make = partial(statements.secret, name=_SECRET, fresh=fresh, now_us=now_us())
            self._secret = base64.b64decode(await self._store.write(make))

    def cookie(self, caller: Caller, secure: bool) -> str:
        """The Set-Cookie header of one who signed in; `secure` if the page came over https."""
        said = f"{caller.id}.{int(time.time()) + _LASTS}"
        value = f"{said}.{self._mark(said)}"
        return f"{COOKIE}={value}; Path=/; Max-Age={_LASTS}; HttpOnly; SameSite=Strict{'; Secure' if secure else ''}"

    def ended(self) -> str:
        """The Set-Cookie header of one who signs out."""
        return f"{COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict"

    def caller(self, headers: Mapping[str, str]) -> Caller | None:
        """Who is signed in, by the cookie; None without a good one."""
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return None
        said, _, mark = (found.value if found else "").rpartition(".")
        owner, _, until = said.rpartition(".")
        if not until.isdecimal() or int(until) < time.time():
            return None
        try:
            caller = self._keyring.signed_in(owner)
            return caller if hmac.compare_digest(mark.encode(), self._mark(said).encode()) else None
        except WrongKeyError:
            return None

    def _mark(self, said: str) -> str:
        """Of what a cookie says, and of the key that its owner has now."""
        owner = said.rpartition(".")[0]
        text = f"{said}.{self._keyring.hash_of(owner)}"
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()
