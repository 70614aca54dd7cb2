"""/v1/files: local files of callers on their way into predictions."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import secrets
from functools import partial
from typing import IO, Any
from urllib.parse import urlencode

import msgspec

from ...exchange import Answer, Download, Exchange
from ...files.library import FileLibrary
from ...forms import Form, Upload
from ...pictures import media_type
from ...service import Service
from ...store import secrets as secret_statements
from ...store.files import FileRecord
from ...store.ids import now_us
from ...store.store import Store
from .account import ACCOUNT
from .errors import Invalid, invalid, not_found
from .form import answer, base_of, page, time_of
from .paging import cursor_of, paged

PURPOSE = "replicate"
_LASTS = 24 * 3600.0
_PAGE = 100
_MEDIA_TYPE = re.compile(r"[\w.+-]{1,64}/[\w.+-]{1,64}", re.ASCII)
_UNKNOWN = "application/octet-stream"
_MOST_METADATA = 64 << 10
_PART = 1 << 20
_SECRET = "file_downloads"


class FileRoutes:
    """The handlers. A signature lets whoever has it download one file, without a key."""

    def __init__(self, store: Store, files: FileLibrary) -> None:
        self._store = store
        self._files = files
        self._secret = b""

    async def create(self, service: Service, exchange: Exchange, form: Form) -> Answer:
        """Keep a file for a day. What its fields say of name and type goes before what its part says."""
        with form:
            name, declared, content = _content(form)
            details: dict[str, Any] = {"metadata": _metadata(form)}
            head = content.read(16)
            kind = _type(form, declared)
            if kind == _UNKNOWN:
                kind = media_type(head) or _UNKNOWN
            details["md5"] = await asyncio.to_thread(_md5, content)
            name = (form.fields.get("filename") or name or "file")[:255]
            record = await self._files.add(exchange.owner, PURPOSE, name, kind, content, _LASTS, details=details)
        return answer(await self._described(record, exchange), 201)

    async def list_all(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """The caller's files, the newest first."""
        at = cursor_of(exchange.query.get("cursor"))
        after, newest_first = (at.above, False) if at.above is not None else (at.below, True)
        rows = await self._files.page(exchange.owner, (PURPOSE,), after, newest_first, _PAGE + 1)
        rows = rows if newest_first else rows[::-1]
        shown, following, previous = paged(rows, _PAGE, at, f"{base_of(exchange)}/files", {})
        return answer(page([await self._described(record, exchange) for record in shown], following, previous))

    async def retrieve(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """What is known of a file."""
        return answer(await self._described(await self._find(exchange), exchange))

    async def delete(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """Delete a file."""
        await self._files.delete(await self._find(exchange))
        return Answer(b"", 204)

    async def download(self, service: Service, exchange: Exchange, body: bytes) -> Download:
        """A file's bytes, for a signature over its owner, its id and the time until which it holds."""
        query, file_id = exchange.query, exchange.scope["path_params"]["file_id"]
        expiry, given = query.get("expiry", ""), query.get("signature", "").replace(" ", "+")  # a + not encoded
        right = await self._signature(query.get("owner", ""), file_id, expiry)
        if not hmac.compare_digest(given.encode(), right.encode()) or int(expiry) * 1_000_000 <= now_us():
            raise not_found()
        record = await self._files.get(None, file_id)
        if record is None:
            raise not_found()
        # Whatever was uploaded, no browser shall take it for a page of this server.
        headers = {"content-disposition": "attachment", "x-content-type-options": "nosniff",
                   "content-security-policy": "sandbox; default-src 'none'"}  # fmt: skip
        return Download(await self._files.content(record), record.size, record.content_type, headers)

    async def _find(self, exchange: Exchange) -> FileRecord:
        record = await self._files.get(exchange.owner, exchange.scope["path_params"]["file_id"])
        if record is None:
            raise not_found()
        return record

    async def _described(self, record: FileRecord, exchange: Exchange) -> dict[str, Any]:
        url = f"{base_of(exchange)}/files/{record.id}"
        checksums = {"sha256": record.sha256}
        if md5 := record.details.get("md5"):
            checksums["md5"] = md5
        urls = {"get": url}
        if record.expires_us is not None:
            owner, expiry = ACCOUNT["username"], str(record.expires_us // 1_000_000)
            signature = await self._signature(owner, record.id, expiry)
            urls["download"] = f"{url}/download?{urlencode({'owner': owner, 'expiry': expiry, 'signature': signature})}"
        return {
            "id": record.id,
            "name": record.filename,
            "content_type": record.content_type,
            "size": record.size,
            "etag": md5 or record.sha256[:32],
            "checksums": checksums,
            "metadata": record.details.get("metadata", {}),
            "created_at": time_of(record.created_us),
            "expires_at": time_of(record.expires_us),
            "urls": urls,
        }

    async def _signature(self, owner: str, file_id: str, expiry: str) -> str:
        if not self._secret:
            fresh = secrets.token_hex(32)
            ask = partial(secret_statements.secret, name=_SECRET, fresh=fresh, now_us=now_us())
            self._secret = (await self._store.write(ask)).encode()
        signed = hmac.digest(self._secret, f"{owner} {file_id} {expiry}".encode(), "sha256")
        return base64.b64encode(signed).decode()


def _content(form: Form) -> tuple[str, str, IO[bytes]]:
    """Name, type and bytes of what was uploaded. Raises ProblemError."""
    upload: Upload | None = form.uploads.get("content")
    if upload is None:
        raise invalid(Invalid("required", "", "content is required"))
    return upload.filename, upload.content_type.partition(";")[0].strip(), upload.content


def _type(form: Form, declared: str) -> str:
    """What the sender says of the type. Raises ProblemError if a field says what is none."""
    asked = form.fields.get("type")
    if asked and not _MEDIA_TYPE.fullmatch(asked):
        raise invalid(Invalid("invalid_type", "type", "type must be a media type such as image/png"))
    return asked or (declared if _MEDIA_TYPE.fullmatch(declared) else _UNKNOWN)


def _metadata(form: Form) -> dict[str, Any]:
    """What the caller keeps with a file: JSON in a field or in a file, or a field for each key. Raises ProblemError."""
    bracketed = {
        name.removeprefix("metadata[").removesuffix("]"): value
        for name, value in form.fields.items() if name.startswith("metadata[") and name.endswith("]")
    }  # fmt: skip
    text: str | bytes | None = form.fields.get("metadata")
    if (upload := form.uploads.get("metadata")) is not None:
        text = upload.content.read(_MOST_METADATA + 1)
    if not text:
        return bracketed
    try:
        found = msgspec.json.decode(text, type=dict[str, Any])
    except (ValueError, RecursionError):
        found = None
    if len(text) > _MOST_METADATA or found is None:
        raise invalid(Invalid("invalid_type", "metadata", "metadata must be a JSON object of at most 64 kB"))
    return {**found, **bracketed}


def _md5(content: IO[bytes]) -> str:
    content.seek(0)
    hashed = hashlib.md5(usedforsecurity=False)
    while part := content.read(_PART):
        hashed.update(part)
    content.seek(0)
    return hashed.hexdigest()
