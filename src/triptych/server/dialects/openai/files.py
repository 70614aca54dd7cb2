"""/v1/files: what callers upload for batches and as images, and what batches give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...exchange import Answer, Download, Exchange
from ...files.library import FileLibrary
from ...forms import Form
from ...service import Service
from ...store.files import FileRecord
from .errors import OpenAIError, invalid, missing
from .form import to_json

PURPOSES = ("batch", "user_data", "vision")
OUTPUT = "batch_output"
_PREFIX = "file-"
_SHORTEST, _LONGEST = 3600, 30 * 24 * 3600
_MOST_LISTED = 10_000


def shown_id(file_id: str) -> str:
    """A file's id as callers know it."""
    return _PREFIX + file_id


def stored_id(file_id: str) -> str:
    """A file's id as it is stored; an id of another form is one that nothing has."""
    return file_id.removeprefix(_PREFIX) if file_id.startswith(_PREFIX) else ""


def describe(record: FileRecord) -> dict[str, Any]:
    """A file as an OpenAI object."""
    return {
        "id": shown_id(record.id),
        "object": "file",
        "bytes": record.size,
        "created_at": record.created_us // 1_000_000,
        "expires_at": None if record.expires_us is None else record.expires_us // 1_000_000,
        "filename": record.filename,
        "purpose": record.purpose,
        "status": "processed",
        "status_details": None,
    }


class FileRoutes:
    """The handlers."""

    def __init__(self, files: FileLibrary) -> None:
        self._files = files

    async def create(self, service: Service, exchange: Exchange, form: Form) -> Answer:
        """Keep a file for a batch or as an image. `expires_after` deletes it in time."""
        with form:
            purpose = form.fields.get("purpose")
            if not purpose:
                raise missing("purpose")
            if purpose not in PURPOSES:
                raise invalid("purpose", f"purpose must be one of {', '.join(PURPOSES)}, not {purpose[:40]!r}.")
            lasts = _lasts(form.fields)
            upload = form.uploads.get("file")
            if upload is None:
                raise missing("file")
            if not upload.size:
                raise OpenAIError("The file is empty.", "file", "empty_file")
            name = upload.filename or "upload"
            record = await self._files.add(
                exchange.owner, purpose, name, upload.content_type, upload.content, lasts
            )
        return Answer(to_json(describe(record)))

    async def list_all(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """The caller's files, the newest first unless `order` is `asc`; `after` is the last id of the page before."""
        query = exchange.query
        order = query.get("order", "desc")
        if order not in ("asc", "desc"):
            raise invalid("order", f"order must be asc or desc, not {order[:40]!r}.")
        limit = page_size(query, _MOST_LISTED, _MOST_LISTED)
        after = stored_id(query["after"]) if query.get("after") else None
        # What other dialects keep, such as the inputs of predictions, is none of this one's.
        wanted = query.get("purpose")
        purposes = [purpose for purpose in (*PURPOSES, OUTPUT) if wanted in (None, "", purpose)]
        if not purposes:
            return Answer(to_json(page([], limit)))
        found = await self._files.page(exchange.owner, purposes, after, order == "desc", limit + 1)
        return Answer(to_json(page([describe(record) for record in found], limit)))

    async def retrieve(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """What is known of a file."""
        return Answer(to_json(describe(await self._find(exchange))))

    async def content(self, service: Service, exchange: Exchange, body: bytes) -> Download:
        """A file's bytes."""
        record = await self._find(exchange)
        # Whatever was uploaded, no browser shall take it for a page of this server.
        headers = {"content-disposition": "attachment", "x-content-type-options": "nosniff"}
        return Download(await self._files.content(record), record.size, "application/octet-stream", headers)

    async def delete(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """Delete a file."""
        record = await self._find(exchange)
        await self._files.delete(record)
        return Answer(to_json({"id": shown_id(record.id), "object": "file", "deleted": True}))

    async def _find(self, exchange: Exchange) -> FileRecord:
        file_id = exchange.scope["path_params"]["file_id"]
        record = await self._files.get(exchange.owner, stored_id(file_id))
        if record is None:
            raise OpenAIError(f"There is no file {file_id[:80]!r}.", "file_id", "not_found", 404)
        return record


def page_size(query: Mapping[str, str], default: int, most: int) -> int:
    """The `limit` of a list."""
    limit = query.get("limit", str(default))
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= most):
        raise invalid("limit", f"limit must be a whole number from 1 to {most}, not {limit[:40]!r}.")
    return int(limit)


def page(objects: list[dict[str, Any]], limit: int) -> dict[str, Any]:
    """A list of up to `limit` objects; one more of them says that there is more."""
    shown = objects[:limit]
    ends = {"first_id": shown[0]["id"], "last_id": shown[-1]["id"]} if shown else {"first_id": None, "last_id": None}
    return {"object": "list", "data": shown, **ends, "has_more": len(objects) > limit}


def _lasts(fields: Mapping[str, str]) -> float | None:
    """Seconds that a file shall be kept."""
    anchor, seconds = fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise invalid("expires_after.anchor", "expires_after.anchor must be created_at.")
    whole = seconds is not None and seconds.isascii() and seconds.isdigit() and len(seconds) < 10
    return check_lasts(int(seconds) if whole and seconds else 0, "expires_after.seconds")


def check_lasts(seconds: int, param: str) -> float:
    """`seconds` if OpenAI's limits allow them: an hour to 30 days."""
    if not _SHORTEST <= seconds <= _LONGEST:
        raise invalid(param, f"{param} must be a whole number from {_SHORTEST} to {_LONGEST}.")
    return float(seconds)
