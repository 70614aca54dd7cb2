"""Why a caller is refused. Every dialect says it in its own form."""

from __future__ import annotations

from ...engine.errors import TriptychError


class WrongKeyError(Exception):
    """A key is needed, and none or a wrong one was `given`; `why` tells the bearer of one that was good once."""

    def __init__(self, given: bool = False, why: str = "") -> None:
        super().__init__(why or ("a wrong key" if given else "no key"))
        self.given = given
        self.why = why


class KeysUnknownError(TriptychError):
    """Keys cannot be looked up now: the database is away for too long."""


class ForbiddenError(TriptychError):
    """The key is good, but not for this."""


class BudgetError(TriptychError):
    """What a request could cost is over what is left of the key's budget. `retry_after` is in seconds, until the next
    period begins; None: there is none.
    """

    code = "insufficient_quota"

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RateLimitError(TriptychError):
    """The key's rate is used up; `retry_after` is in seconds."""

    code = "rate_limit_exceeded"

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = max(0.001, retry_after)
