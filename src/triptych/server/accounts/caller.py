"""Who asks."""

from __future__ import annotations

from dataclasses import dataclass

from ..store.keys import KeyRecord, Limits
from .errors import ForbiddenError

# What a key may be for: the APIs of other services. What is Triptych's own is for every key.
DIALECTS = ("openai", "replicate", "runware")
_UNLIMITED = Limits()


@dataclass(frozen=True, slots=True)
class Caller:
    """`id` is what rows call their owner, "" for everybody on an open server. An `admin` sees what is everybody's, and
    orders what is the operator's. `key` is None for keys of the settings.
    """

    id: str
    name: str
    admin: bool = False
    key: KeyRecord | None = None

    @property
    def limits(self) -> Limits:
        return self.key.limits if self.key is not None else _UNLIMITED

    @property
    def sees(self) -> str | None:
        """Whose rows the caller sees: None is everybody's."""
        return None if self.admin else self.id

    def check(self, dialect: str, model: str | None = None) -> None:
        """Raises ForbiddenError if the key is not for `dialect`, or not for the served `model`, or was revoked since
        something was accepted that begins now.
        """
        if self.key is not None and self.key.revoked_us is not None:
            raise ForbiddenError("the key that asked for this was revoked")
        limits = self.limits
        if limits.dialects is not None and dialect in DIALECTS and dialect not in limits.dialects:
            allowed = ", ".join(limits.dialects)
            raise ForbiddenError(f"this key is not for the API of {dialect}; it is for {allowed}")
        if model is not None and limits.models is not None and model not in limits.models:
            raise ForbiddenError(f"this key is not for the model {model}; it is for {', '.join(limits.models)}")


OPEN = Caller("", "everybody", admin=True)
