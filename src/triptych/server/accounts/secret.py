"""Keys as callers hold them: 256 random bits behind a prefix that people and scanners know, with a checksum."""

from __future__ import annotations

import hashlib
import secrets
import zlib

PREFIX = "tp_"
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM, _CHECK = 43, 6
# What lists show of a key.
_SHOWN = len(PREFIX) + 6


def new_secret() -> str:
    """A new key."""
    body = _spell(secrets.randbits(256), _RANDOM)
    return f"{PREFIX}{body}{_checksum(body)}"


def well_formed(key: str) -> bool:
    """Whether a key is one of ours as far as its letters say: a slip of the pen is found without a look at any key."""
    body, check = key[len(PREFIX) : -_CHECK], key[-_CHECK:]
    return key.startswith(PREFIX) and len(body) == _RANDOM and check == _checksum(body)


def hashed(key: str) -> str:
    """What is kept of a key. It has too many random bits for anybody to try them all, so a fast hash is enough."""
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()


def start_of(key: str) -> str:
    """What is shown of a key, so that people know which one it is."""
    return key[:_SHOWN]


def _checksum(body: str) -> str:
    return _spell(zlib.crc32(body.encode(errors="replace")), _CHECK)


def _spell(number: int, length: int) -> str:
    letters = []
    for _ in range(length):
        number, place = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[place])
    return "".join(reversed(letters))
