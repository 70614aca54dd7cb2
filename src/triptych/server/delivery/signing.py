"""Signatures of webhooks, by the Standard Webhooks specification. Pure functions of bytes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence

# The specification asks for 24 to 64.
_BYTES = 32
PREFIX = "whsec_"


def new_secret() -> str:
    """`whsec_` and 32 random bytes in base64, of the standard alphabet: one client splits it at its underscore."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_BYTES)).decode()


def headers(keys: Sequence[str], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """What shows a receiver who sent `body`, and when: a signature with each of the secrets `keys`. `timestamp` is in
    seconds since 1970.
    """
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(_signature(key, message_id, timestamp, body) for key in keys),
    }


def _signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
