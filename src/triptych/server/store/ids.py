"""Ids and times as they are stored."""

from __future__ import annotations

import base64
import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LETTERS = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", _ALPHABET.encode())
_RANDOM_BITS = 76


def now_us() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


def new_id() -> str:
    """26 characters, in the order of the time they were made at: 54 bits of microseconds, then 76 random ones."""
    number = (now_us() << _RANDOM_BITS) | secrets.randbits(_RANDOM_BITS)
    # Base 32 writes five bits a letter, 20 bytes as 32 letters: ours are the first 26 of them.
    return base64.b32encode((number << 30).to_bytes(20, "big"))[:26].translate(_LETTERS).decode()
