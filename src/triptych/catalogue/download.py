"""The bytes of a price list, from an address or a file that an operator named. The only place here that connects."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any

from .. import __version__
from .errors import RefreshError
from .names import KNOWN_LISTS as KNOWN

MOST_BYTES = 32 << 20
MOST_SECONDS = 60.0
_PART = 1 << 16


class _OnlyHttp(urllib.request.HTTPRedirectHandler):
    """Follows no redirect that leaves http."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not newurl.lower().startswith(("http://", "https://")):
            raise RefreshError(f"it redirects to {newurl[:80]}, which is no web address")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def read(place: str, most: int = MOST_BYTES, seconds: float = MOST_SECONDS) -> bytes:
    """At most `most` bytes, in at most `seconds` (and as long again for a server that stops in the middle of one
    read). Raises RefreshError saying what kept it.
    """
    place = KNOWN.get(place, place)
    if place.lower().startswith(("http://", "https://")):
        return _fetch(place, most, seconds)
    if "://" in place:
        raise RefreshError("a list comes from an http or https address, or from a file")
    return _file(Path(place).expanduser(), most)


def _file(path: Path, most: int) -> bytes:
    try:
        if not path.is_file():
            raise RefreshError(f"there is no such file; a list is a file, an address, {' or '.join(KNOWN)}")
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise RefreshError(f"it cannot be read ({error.strerror})") from None
    if len(content) > most:
        raise _too_large(most)
    return content


def _fetch(url: str, most: int, seconds: float) -> bytes:
    headers = {"User-Agent": f"triptych/{__version__}", "Accept": "application/json"}
    opener = urllib.request.build_opener(_OnlyHttp)
    deadline = time.monotonic() + seconds
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=seconds) as answer:
            return _within(answer, most, deadline)
    except urllib.error.HTTPError as error:
        raise RefreshError(f"it answered {error.code}") from None
    except (OSError, ValueError) as error:  # every failure of urllib and http.client on the way
        raise RefreshError(f"it cannot be reached ({getattr(error, 'reason', None) or error})") from None


def _within(answer: IO[bytes], most: int, deadline: float) -> bytes:
    parts, size = [], 0
    while part := answer.read1(_PART):  # type: ignore[attr-defined]  # http.client's answer has it
        size += len(part)
        if size > most:
            raise _too_large(most)
        if time.monotonic() > deadline:
            raise RefreshError("it comes too slowly")
        parts.append(part)
    return b"".join(parts)


def _too_large(most: int) -> RefreshError:
    return RefreshError(f"it is over {most >> 20} MiB; no price list is that large")
