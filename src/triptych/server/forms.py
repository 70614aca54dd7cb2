"""Uploads: bodies that are multipart forms, their files kept on disk once they are large."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from .exchange import Exchange

_MOST_PARTS = 32
_MOST_FIELD = 64 << 10


class FormError(Exception):
    """The body is no form that can be read."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file of a form, open at its beginning; `size` in bytes, name and type as the sender says."""

    filename: str
    content_type: str
    size: int
    content: IO[bytes]


@dataclass(slots=True)
class Form:
    """A form's text fields and files by name, of several with one name the last. Closes its files at the end."""

    fields: dict[str, str] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)

    def __enter__(self) -> Form:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for upload in self.uploads.values():
            upload.content.close()


async def read_form(exchange: Exchange, most: int) -> Form:
    """The whole form. Raises FormError, BodyTooLargeError once the body is over `most` bytes, ClientGoneError."""
    headers = Headers({"content-type": exchange.headers.get("content-type", "")})
    async with aclosing(_nothing_lost(exchange, most)) as parts:
        parser = MultiPartParser(
            headers, parts, max_files=_MOST_PARTS, max_fields=_MOST_PARTS, max_part_size=_MOST_FIELD
        )
        try:
            found = await parser.parse()
        except MultiPartException as error:
            raise FormError(f"the body is not a form that can be read: {error.message}") from None
    form = Form()
    for name, value in found.multi_items():
        if isinstance(value, UploadFile):
            kind = value.content_type or "application/octet-stream"
            form.uploads[name] = Upload(value.filename or "", kind, value.size or 0, value.file)
        else:
            form.fields[name] = value
    return form


async def _nothing_lost(exchange: Exchange, most: int) -> AsyncGenerator[bytes]:
    """A body that ends before its last boundary is a broken upload, which the parser takes for a whole one."""
    tail = b""
    async with aclosing(exchange.parts(most)) as parts:
        async for part in parts:
            tail = (tail + part)[-8:]
            yield part
    if not tail.rstrip(b"\r\n").endswith(b"--"):
        raise FormError("the body is not a form that can be read: it ends before its last boundary")
