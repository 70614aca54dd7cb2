"""Fetches one file over HTTP so that whatever arrived is never fetched twice, whoever or whatever interrupts."""

from __future__ import annotations

import errno
import hashlib
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from ..errors import DownloadError

CHUNK = 1 << 20
TIMEOUT = 30.0
PAUSE = 0.25
ATTEMPTS = 5  # in a row without a single new byte


@dataclass(frozen=True, slots=True)
class Transfer:
    """`checksum` is the SHA-256 of the content, or with `git` the SHA-1 of it as a git blob."""

    url: str
    target: Path
    size: int
    checksum: str
    git: bool = False

    @property
    def partial(self) -> Path:
        return self.target.with_name(self.target.name + ".incomplete")


def fetch(transfer: Transfer, headers: Mapping[str, str], on_bytes: Callable[[int], None]) -> None:
    """Bring `transfer` to its target, continuing a partial file beside it.

    `on_bytes` is told how many bytes were added (those already there first; negative when some were useless).
    Broken connections are taken up again at once; without progress five times in a row it gives up with
    DownloadError and leaves the partial file for the next time.
    """
    name = transfer.target.name
    attempts = 0
    while True:
        before = _size(transfer.partial)
        try:
            _continue(transfer, headers, on_bytes)
            break
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):
                raise DownloadError(
                    f"{transfer.url}: access refused; accept the model's licence on its page and set HF_TOKEN"
                ) from error
            if error.code not in (408, 429, 500, 502, 503, 504):
                raise DownloadError(f"{transfer.url}: the server says {error.code} {error.reason}") from error
            reason = f"the server says {error.code} {error.reason}"
        except (HTTPException, OSError) as error:
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                raise DownloadError(
                    f"{transfer.target.parent}: disk full; free some space and run it again to resume"
                ) from error
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        attempts = 1 if _size(transfer.partial) > before else attempts + 1
        if attempts >= ATTEMPTS:
            raise DownloadError(
                f"{name}: broke off after {_size(transfer.partial)} of {transfer.size} bytes ({reason}); "
                "run it again to resume"
            )
        on_bytes(-_size(transfer.partial))
        time.sleep(PAUSE * 2**attempts)
    _check(transfer)
    transfer.partial.replace(transfer.target)


def _continue(transfer: Transfer, headers: Mapping[str, str], on_bytes: Callable[[int], None]) -> None:
    """One attempt. Raises OSError or HTTPException when the connection breaks or ends early."""
    have = _size(transfer.partial)
    if have > transfer.size:
        transfer.partial.unlink()
        have = 0
    on_bytes(have)
    if have == transfer.size:
        transfer.partial.touch()  # an empty file has no partial one yet
        return
    request = urllib.request.Request(transfer.url, headers={**headers, "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    with _OPENER.open(request, timeout=TIMEOUT) as response, transfer.partial.open("ab") as file:
        if have and response.status != 206:  # the server starts again from the beginning
            on_bytes(-have)
            file.truncate(0)
            have = 0
        while chunk := response.read(CHUNK):
            file.write(chunk)
            have += len(chunk)
            on_bytes(len(chunk))
    if have != transfer.size:
        raise ConnectionError(f"connection closed after {have} bytes")


def _check(transfer: Transfer) -> None:
    digest = hashlib.sha1(f"blob {transfer.size}\0".encode()) if transfer.git else hashlib.sha256()
    with transfer.partial.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != transfer.checksum:
        transfer.partial.unlink()
        raise DownloadError(f"{transfer.url}: arrived damaged (wrong checksum); run it again")


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


class _GuardedRedirects(urllib.request.HTTPRedirectHandler):
    """Redirects leave for content servers that must not see the hub's token."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following is not None and urlsplit(newurl).netloc != urlsplit(req.full_url).netloc:
            following.remove_header("Authorization")
        return following


_OPENER = urllib.request.build_opener(_GuardedRedirects)
