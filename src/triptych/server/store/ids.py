"""Ids and times as they are stored."""

from __future__ import annotations

import os
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
# A letter for each byte, all of them equally often.
_LETTERS = _ALPHABET.encode() * 8


def now_us() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


def new_id() -> str:
    """26 characters, in the order of the time they were made at: 54 bits of microseconds, then 76 random ones."""
    random = os.urandom(16)
    begin = (now_us() << 1) | (random[15] & 1)
    letters = [_PAIRS[begin >> shift & 1023] for shift in (45, 35, 25, 15, 5)]
    return f"{''.join(letters)}{_ALPHABET[begin & 31]}{random[:15].translate(_LETTERS).decode()}"
