"""Encoded image bytes from wherever a caller keeps them: files, bytes, data URIs, http(s) addresses.

The fetch here is for embedded use, where the caller owns the machine: it limits size, time and schemes, but
does not stop a program from reading its own network.
"""

from __future__ import annotations

import base64
import binascii
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from ..errors import ImageError

_CHUNK = 1 << 16
_LABEL_LENGTH = 100


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What an image may cost.

    max_bytes     size of the encoded file
    max_pixels    width x height, checked before anything is decoded (4 bytes each when decoded)
    max_side      longer side, in pixels
    url_seconds   time to fetch a URL, from connecting to the last byte
    """

    max_bytes: int = 64 << 20
    max_pixels: int = 89_478_485  # a quarter of a GiB at 3 bytes, where Pillow starts to warn
    max_side: int = 65_535
    url_seconds: float = 20.0


DEFAULT_LIMITS = ImageLimits()


def read_source(source: str | Path | bytes, limits: ImageLimits, label: str | None = None) -> tuple[bytes, str]:
    """The encoded bytes and a label for messages, `label` if one is given for bytes. Raises `ImageError`."""
    if isinstance(source, bytes | bytearray | memoryview):
        data, label = bytes(source), label or "image bytes"
    elif isinstance(source, Path):
        data, label = _read_file(source, limits), str(source)
    elif not isinstance(source, str):
        raise ImageError(
            f"an image must be a path, bytes, a PIL image, a data URI or a URL, not {type(source).__name__}"
        )
    elif source[:5].lower() == "data:":
        data, label = _decode_data_uri(source), "data URI"
    elif source[:7].lower() == "http://" or source[:8].lower() == "https://":
        data, label = _fetch(source, limits), source[:_LABEL_LENGTH]
    else:
        data, label = _read_file(Path(source), limits), source[:_LABEL_LENGTH]
    if not data:
        raise ImageError(f"{label}: the image is empty (0 bytes)")
    if len(data) > limits.max_bytes:
        raise ImageError(f"{label}: {len(data):,} bytes is over the limit of {limits.max_bytes:,} bytes")
    return data, label


def _read_file(path: Path, limits: ImageLimits) -> bytes:
    label = str(path)[:_LABEL_LENGTH]
    try:
        if path.is_dir():
            raise ImageError(f"{label}: is a folder, not an image file")
        if not path.exists():
            raise ImageError(f"{label}: no such file")
        if not path.is_file():
            raise ImageError(f"{label}: is not a regular file")
        size = path.stat().st_size
        if size > limits.max_bytes:
            raise ImageError(f"{label}: {size:,} bytes is over the limit of {limits.max_bytes:,} bytes")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError(f"{label}: cannot be read ({reason})") from None


def _decode_data_uri(uri: str) -> bytes:
    head, comma, body = uri.partition(",")
    if not comma:
        raise ImageError("data URI: has no comma; write data:image/png;base64,...")
    text = urllib.parse.unquote_to_bytes(body)
    if not head.lower().rstrip().endswith(";base64"):
        return text
    text = b"".join(text.split())
    text += b"=" * (-len(text) % 4)
    try:
        return base64.b64decode(text, altchars=b"-_" if b"-" in text or b"_" in text else None, validate=True)
    except (binascii.Error, ValueError):
        raise ImageError("data URI: its base64 is damaged; encode the image file again") from None


def _fetch(url: str, limits: ImageLimits) -> bytes:
    label = url[:_LABEL_LENGTH]
    deadline = time.monotonic() + limits.url_seconds
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "triptych", "Accept": "image/*"})
        with _http_opener().open(request, timeout=limits.url_seconds) as response:
            chunks, size = [], 0
            while chunk := response.read1(_CHUNK):
                chunks.append(chunk)
                size += len(chunk)
                if size > limits.max_bytes:
                    raise ImageError(f"{label}: more than the limit of {limits.max_bytes:,} bytes")
                if time.monotonic() > deadline:
                    raise TimeoutError
            return b"".join(chunks)
    except ImageError:
        raise
    except urllib.error.HTTPError as error:
        raise ImageError(f"{label}: the server answered {error.code} {error.reason}") from None
    except TimeoutError:
        raise ImageError(f"{label}: not delivered within {limits.url_seconds:g} s") from None
    except (OSError, ValueError) as error:  # URLError is an OSError
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, TimeoutError):
            raise ImageError(f"{label}: not delivered within {limits.url_seconds:g} s") from None
        raise ImageError(f"{label}: cannot be fetched ({reason})") from None
    except Exception as error:  # http.client raises its own kinds on broken answers
        raise ImageError(f"{label}: cannot be fetched ({type(error).__name__})") from None


def _http_opener() -> urllib.request.OpenerDirector:
    """Knows http and https only, so that a redirect cannot lead to a file or to ftp."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener
