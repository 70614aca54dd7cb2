"""What pages load: styles, scripts and pictures of the package, under an address that changes with their content."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from types import MappingProxyType

from ..exchange import Answer

PREFIX = "/app/static"

_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
    "txt": "text/plain; charset=utf-8",
}
# An offer of gzip that is not one of weight zero.
_GZIP = re.compile(r"gzip(;q=(1|1\.0*|0\.0*[1-9]\d*))?")
# These are small already.
_PACKED = ("png",)
_FOREVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class StaticFile:
    """`packed` is `body` under gzip, None where that saves nothing; `tag` tells one content from another."""

    body: bytes
    packed: bytes | None
    content_type: str
    tag: str


@cache
def static_files() -> Mapping[str, StaticFile]:
    """All there are, by name. Nothing else is ever given out: a name is looked up, never opened."""
    return MappingProxyType(dict(_found(resources.files(__package__) / "static", "")))


def _found(folder: Traversable, prefix: str) -> Iterator[tuple[str, StaticFile]]:
    for entry in folder.iterdir():
        kind = entry.name.rpartition(".")[2]
        if entry.is_dir():
            yield from _found(entry, f"{prefix}{entry.name}/")
        elif kind in _TYPES:
            body = entry.read_bytes()
            packed = None if kind in _PACKED else gzip.compress(body, 9, mtime=0)
            yield f"{prefix}{entry.name}", StaticFile(body, packed, _TYPES[kind], hashlib.sha256(body).hexdigest()[:16])


def asset(name: str) -> str:
    """The address of a file for a page. Raises KeyError for one that is not there."""
    return f"{PREFIX}/{name}?v={static_files()[name].tag}"


def static_answer(name: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Answer | None:
    """The file, None if there is none of this name. What was asked for by its content holds for ever; anything else,
    such as a module that another one imports, is asked for again each time.
    """
    file = static_files().get(name)
    if file is None:
        return None
    holds = _FOREVER if query.get("v") == file.tag else "no-cache"
    told = {
        "etag": f'"{file.tag}"', "cache-control": holds, "vary": "accept-encoding", "x-content-type-options": "nosniff",
    }  # fmt: skip
    if f'"{file.tag}"' in headers.get("if-none-match", ""):
        return Answer(b"", 304, file.content_type, told)
    if file.packed is not None and accepts_gzip(headers):
        return Answer(file.packed, 200, file.content_type, {**told, "content-encoding": "gzip"})
    return Answer(file.body, 200, file.content_type, told)


def accepts_gzip(headers: Mapping[str, str]) -> bool:
    """Whether a client that sent these headers unpacks gzip."""
    offers = headers.get("accept-encoding", "").lower().replace(" ", "").split(",")
    return any(_GZIP.fullmatch(offer) for offer in offers)
