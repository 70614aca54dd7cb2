"""How fast each receiver is told: a few messages at once, one at a time and with pauses while it has trouble."""

from __future__ import annotations

from dataclasses import dataclass

# A pause doubles with each failure. It is for all that goes to one host, whoever waits for it, so it is never long:
# a message waits longer by itself.
_FIRST_PAUSE_US = 1_000_000
_LONGEST_PAUSE_US = 60_000_000
# Trouble is remembered for so long after the pause.
_REMEMBERED_US = 600_000_000


@dataclass(slots=True)
class Receiver:
    """One receiver: `most` messages at once, `running` of them now; times in microseconds."""

    most: int
    running: int = 0
    failures: int = 0
    paused_until_us: int = 0

    def room(self, now_us: int) -> int:
        """How many more messages it may get now."""
        if now_us < self.paused_until_us:
            return 0
        return max(0, (1 if self.failures else self.most) - self.running)

    def idle(self, now_us: int) -> bool:
        """Whether there is nothing to remember of it."""
        return not self.running and now_us >= self.paused_until_us + (_REMEMBERED_US if self.failures else 0)

    def answered(self) -> None:
        """It is well."""
        self.failures = self.paused_until_us = 0

    def failed(self, now_us: int, asked: float) -> None:
        """It has too much to do, or is away; it `asked` for so many seconds."""
        pause = min(_FIRST_PAUSE_US << min(self.failures, 16), _LONGEST_PAUSE_US)
        pause = min(max(pause, round(asked * 1e6)), _LONGEST_PAUSE_US)
        self.failures += 1
        self.paused_until_us = max(self.paused_until_us, now_us + pause)
