"""Where a call goes: the server's address as each client takes it, and the key, which is never in the code itself."""

from __future__ import annotations

from dataclasses import dataclass

PLACEHOLDER = "YOUR_KEY"
# What clients that insist on a key get where there are none.
ANY = "any"


@dataclass(frozen=True, slots=True)
class Door:
    """`base` is the server's URL without a final slash; `key` says whether it asks for keys."""

    base: str
    key: bool

    @property
    def v1(self) -> str:
        return f"{self.base}/v1"

    @property
    def socket(self) -> str:
        """For WebSockets: `ws` in place of `http`."""
        return "ws" + self.v1.removeprefix("http")

    def needs(self, *commands: str, key: str) -> str:
        """What comes first in a shell: `commands`, and the key in the variable `key` if there are keys."""
        keyed = f"export {key}={PLACEHOLDER}" if self.key else ""
        return "\n".join(line for line in (*commands, keyed) if line)
