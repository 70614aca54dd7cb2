"""Who looks at a page, and whether they may."""

from __future__ import annotations

from ...accounts.caller import Caller
from ...exchange import Exchange
from ..page_routes import PageError


def caller_of(exchange: Exchange) -> Caller:
    """Who asks, for a page that is not public."""
    assert exchange.caller is not None, "nobody comes to this page without being known"
    return exchange.caller


def admin_only(exchange: Exchange, what: str) -> None:
    """Raises PageError for callers who do not run the server."""
    if not caller_of(exchange).admin:
        raise PageError(
            f"{what} is for those who run the server. Sign in with an admin key to see it.", 403,
            "This page is for admins",
        )  # fmt: skip
