"""A server with keys, for tests of who may do what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from key_calls import WAYS, Outcome, new_key, order
from servers import Running, null_models, serving

from triptych.server.accounts.cost import Price, part
from triptych.server.app import Options
from triptych.server.delivery.fetch import ImageFetcher
from triptych.server.delivery.guard import Guard

# A call of `eye` costs a dollar, one of `text` nothing.
DOLLAR = 10**9
OPTIONS = Options(drain=1, own_prices={"eye": Price((part("call", DOLLAR),), "this test")}, prices="free")
# What each API calls a refusal: status and code, or title.
SAYS = {
    "wrong key": {
        "openai": (401, "invalid_api_key"), "replicate": (401, "Unauthenticated"), "runware": (401, "invalidApiKey"),
        "socket": (0, "invalidApiKey"),
    },
    "forbidden": {
        "openai": (403, "forbidden"), "replicate": (403, "Forbidden"), "runware": (403, "permissionDenied"),
        "socket": (0, "permissionDenied"),
    },
    "too often": {
        "openai": (429, "rate_limit_exceeded"), "replicate": (429, "Too many requests"),
        "runware": (429, "rateLimitExceeded"), "socket": (0, "rateLimitExceeded"),
    },
    "spent": {
        "openai": (429, "insufficient_quota"), "replicate": (402, "Insufficient credit"),
        "runware": (402, "insufficientCredits"), "socket": (0, "insufficientCredits"),
    },
}  # fmt: skip


@dataclass
class Office:
    """A server with keys, and its first administrator's key."""

    server: Running
    data: Path
    id: str
    admin: str

    def order(self, method: str, path: str, body: Any = None, key: str | None = None) -> Any:
        return order(self.server, method, path, body, self.admin if key is None else key)

    def new(self, name: str = "team", **wish: Any) -> dict[str, Any]:
        return new_key(self.server, name, self.admin, **wish)

    def ask(self, way: str, key: str) -> Outcome:
        return WAYS[way](self.server, key)


@contextmanager
def opened(data: Path) -> Iterator[Office]:
    fetcher = ImageFetcher(Guard.allowing([]))
    with serving(null_models(), fetcher.read, OPTIONS, data=data, on_stop=fetcher.close) as server:
        first = new_key(server, "operations", admin=True)
        yield Office(server, data, first["id"], first["key"])


def refused(outcome: Outcome, way: str, how: str, why: str) -> None:
    """A question was refused in the words of its API, with this reason."""
    assert (outcome.status, outcome.code) == SAYS[how][way]
    assert why in outcome.message
