"""Images written into the request: data URIs and bare base64. Pure functions of text."""

from __future__ import annotations

import re
from binascii import Error, a2b_base64
from io import BytesIO
from urllib.parse import unquote, unquote_to_bytes

from .failure import FetchError

MAX_BYTES = 20 << 20
# Characters of base64 decoded in one call: about 1 MiB of bytes, in 4 ms, after which other threads may run.
_PIECE = 4 << 18
_WHITESPACE = " \t\r\n\v\f"
_JUNK = re.compile(rf"[^A-Za-z0-9+/_\-{_WHITESPACE}]")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_STANDARD = str.maketrans("-_", "+/", _WHITESPACE)


def read_data_uri(text: str, max_bytes: int = MAX_BYTES) -> bytes:
    """The bytes of a data URI, base64 or percent-encoded; its media type is ignored. Raises FetchError."""
    text = text.strip()
    comma = text.find(",")
    head = text if comma < 0 else text[:comma]
    scheme, _, parameters = head.partition(":")
    if scheme.lower() != "data":
        raise FetchError("this is no data URI; write data:image/png;base64,...", "invalid_image_url")
    if comma < 0:
        raise FetchError("the data URI has no comma; write data:image/png;base64,...", "invalid_image_url")
    if any(parameter.strip().lower() == "base64" for parameter in parameters.split(";")):
        return read_base64(text, max_bytes, comma + 1)
    try:
        return _sized(unquote_to_bytes(text[comma + 1 :]), max_bytes)
    except UnicodeEncodeError:  # half a surrogate pair
        raise FetchError("the data URI has a character that is no character; use base64", "invalid_image_url") from None


def read_base64(text: str, max_bytes: int = MAX_BYTES, start: int = 0) -> bytes:
    """The bytes of base64 in either alphabet, padded or not, with whitespace and percent-encoding or without. It begins
    at `start`: what is before is not cut off, because that would be a copy of all.

    Raises FetchError: junk with its offset from there, in characters from 0.
    """
    try:
        if text.find("=", start, -2) >= 0:  # padding in the middle, which the pieces would hide
            raise Error
        data = _decode(text, start)
    except ValueError:  # an Error, or characters that are not ASCII
        data = _decode_freely(text[start:])
    return _sized(data, max_bytes)


def _decode(text: str, start: int = 0) -> bytes:
    # Joining a list of pieces would hold all of it twice.
    decoded = BytesIO()
    for at in range(start, len(text), _PIECE):
        decoded.write(a2b_base64(text[at : at + _PIECE], strict_mode=True))
    return decoded.getvalue()


def _decode_freely(text: str) -> bytes:
    # Latin-1 gives one character for each escape, which keeps offsets simple.
    plain = unquote(text, "latin-1") if "%" in text else text
    body = plain.rstrip("=" + _WHITESPACE)
    if junk := _JUNK.search(body):
        offset = _offset_in(text, junk.start())
        raise FetchError(
            f"the base64 of the image is damaged at offset {offset:,}; encode the file again", "invalid_base64_image"
        )
    digits = body.translate(_STANDARD)
    if len(digits) % 4 == 1:
        raise FetchError(
            f"the base64 of the image breaks off in the middle of a byte, at offset {len(text):,}; send all of it",
            "invalid_base64_image",
        )
    return _decode(digits + "=" * (-len(digits) % 4))


def _offset_in(text: str, index: int) -> int:
    """Where in `text` the character is that has `index` after percent-decoding."""
    for escape in _ESCAPE.finditer(text):
        if escape.start() >= index:
            break
        index += 2
    return index


def _sized(data: bytes, max_bytes: int) -> bytes:
    if not data:
        raise FetchError("the image is empty (0 bytes)", "empty_image_file")
    if len(data) > max_bytes:
        raise FetchError(
            f"the image has {len(data):,} bytes, the limit is {max_bytes:,}; send a smaller one", "image_file_too_large"
        )
    return data
