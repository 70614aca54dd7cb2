"""Who a server with given settings lets in, as far as can be told without starting it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from .setting_kinds import SettingsError
from .settings import Settings
from .store.ids import now_us
from .store.keys import KeyCounts, counts
from .store.look import look
from .store.store import StoreError


@dataclass(frozen=True, slots=True)
class Access:
    """`stored` are the keys in the server's database; None if that cannot be read, with the `trouble`."""

    settings: Settings
    stored: KeyCounts | None
    trouble: str = ""

    @classmethod
    def of(cls, settings: Settings) -> Access:
        try:
            found = look(settings.data, settings.database, partial(counts, now_us=now_us()))
        except StoreError as error:
            return cls(settings, None, str(error))
        return cls(settings, found or KeyCounts())

    @property
    def open(self) -> bool | None:
        """Whether everybody is let in; None if nobody knows."""
        if self.settings.no_auth:
            return True
        if self.settings.keys:
            return False
        return None if self.stored is None else not self.stored.ever

    def error(self) -> SettingsError | None:
        """Why no server would start with who is let in, if so."""
        administrators = 0 if self.stored is None else self.stored.admins
        return None if administrators else self.settings.binding_error()

    def told(self) -> str:
        """In words."""
        keys = self._keys()
        if self.settings.no_auth:
            return f"open to everybody, by no_auth{f' ({keys})' if keys else ''}"
        if self.open:
            return "open to everybody who reaches the server: there is no key"
        return f"for {keys}"

    def _keys(self) -> str:
        """How many of which there are, "" for none."""
        told = []
        if self.settings.keys:
            told.append(f"{_keys(len(self.settings.keys))} of the settings")
        if self.stored is None:
            told.append(f"stored keys, which cannot be counted ({self.trouble})")
        elif self.stored.ever:
            gone = self.stored.ever - self.stored.working
            more = f" ({gone} more revoked or expired)" if gone else ""
            told.append(f"{_keys(self.stored.working)} stored{more}, {self.stored.admins} of them administrators'")
        return " and ".join(told)

    def facts(self) -> dict[str, object]:
        """As JSON has it; None is unknown."""
        stored = self.stored
        return {
            "open": self.open, "settings_keys": len(self.settings.keys),
            "stored_keys": None if stored is None else stored.working,
            "stored_admin_keys": None if stored is None else stored.admins,
            "revoked_or_expired_keys": None if stored is None else stored.ever - stored.working,
            "trouble": self.trouble or None,
        }  # fmt: skip


def _keys(count: int) -> str:
    return f"{count} key{'' if count == 1 else 's'}"
