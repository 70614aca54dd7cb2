"""/v1/batches: many requests in a file, answered in the background."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from ...batches.worker import BatchWorker
from ...exchange import Answer, Exchange
from ...files.library import FileLibrary
from ...service import Service
from ...store import batches as statements
from ...store.batches import BatchRecord
from ...store.ids import new_id, now_us
from ...store.store import Store
from .errors import OpenAIError, invalid, missing, read_body
from .files import check_lasts, page, page_size, shown_id, stored_id
from .form import to_json
from .perform import ENDPOINTS
from .wire import Int

_PREFIX = "batch_"
_WINDOW = "24h"
_WINDOW_US = 24 * 3600 * 1_000_000
_MOST_METADATA = 16
_TIMES = ("in_progress", "expires", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")


class OutputExpires(msgspec.Struct):
    """When a batch's output files are deleted: `seconds` after they were created."""

    anchor: str
    seconds: Int


class BatchRequest(msgspec.Struct, kw_only=True):
    """A batch to be run."""

    input_file_id: str | None = None
    endpoint: str | None = None
    completion_window: str | None = None
    metadata: dict[str, str] | None = None
    output_expires_after: OutputExpires | None = None


_decoder = msgspec.json.Decoder(BatchRequest)


def describe(record: BatchRecord) -> dict[str, Any]:
    """A batch as an OpenAI object."""
    problems = {"object": "list", "data": record.problems} if record.problems else None
    output = None if record.output_file_id is None else shown_id(record.output_file_id)
    errors = None if record.error_file_id is None else shown_id(record.error_file_id)
    ended = record.status not in statements.OPEN
    usage = {
        "input_tokens": record.input_tokens,
        "input_tokens_details": {"cached_tokens": record.cached_tokens},
        "output_tokens": record.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": record.input_tokens + record.output_tokens,
    }
    times = {f"{name}_at": _seconds(getattr(record, f"{name}_us")) for name in _TIMES}
    return {
        "id": _PREFIX + record.id,
        "object": "batch",
        "endpoint": record.endpoint,
        "model": record.model,
        "errors": problems,
        "input_file_id": shown_id(record.input_file_id),
        "completion_window": record.completion_window,
        "status": record.status,
        # While the files are written their ids are known, but nothing can be read there.
        "output_file_id": output if ended else None,
        "error_file_id": errors if ended else None,
        "created_at": _seconds(record.created_us),
        **times,
        "request_counts": {"total": record.total, "completed": record.completed, "failed": record.failed},
        "usage": usage if record.completed else None,
        "metadata": record.metadata or None,
    }


def _seconds(microseconds: int | None) -> int | None:
    return None if microseconds is None else microseconds // 1_000_000


class BatchRoutes:
    """The handlers."""

    def __init__(self, store: Store, files: FileLibrary, worker: BatchWorker) -> None:
        self._store = store
        self._files = files
        self._worker = worker

    async def create(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """Answer every request of an uploaded file in the background, behind what somebody waits for."""
        request = read_body(_decoder, body)
        if not request.input_file_id:
            raise missing("input_file_id")
        if request.endpoint not in ENDPOINTS:
            told = f"endpoint must be one of {', '.join(ENDPOINTS)}, not {str(request.endpoint)[:80]!r}."
            raise invalid("endpoint", told) if request.endpoint else missing("endpoint")
        if request.completion_window not in (None, _WINDOW):
            raise invalid("completion_window", f"completion_window must be {_WINDOW}.")
        metadata = _metadata(request.metadata)
        lasts = _lasts(request.output_expires_after)
        file = await self._files.get(exchange.owner, stored_id(request.input_file_id))
        if file is None:
            told = f"There is no file {request.input_file_id[:80]!r}."
            raise OpenAIError(told, "input_file_id", "not_found", 404)
        if file.purpose != "batch":
            raise invalid("input_file_id", f"The file was uploaded for {file.purpose}; upload it with purpose batch.")
        now = now_us()
        record = BatchRecord(
            id=new_id(), owner=exchange.owner, endpoint=request.endpoint, completion_window=_WINDOW,
            input_file_id=file.id, created_us=now, expires_us=now + _WINDOW_US, metadata=metadata,
            output_expires_seconds=lasts,
        )  # fmt: skip
        await self._store.write(partial(statements.add, record=record))
        self._worker.wake(record.id)
        return Answer(to_json(describe(record)))

    async def list_all(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """The caller's batches, the newest first; `after` is the last id of the page before."""
        query = exchange.query
        limit = page_size(query, 20, 100)
        after = _stored_id(query["after"]) if query.get("after") else None
        found = await self._store.read(partial(statements.page, owner=exchange.owner, after=after, limit=limit + 1))
        return Answer(to_json(page([describe(record) for record in found], limit)))

    async def retrieve(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """How far a batch is."""
        return Answer(to_json(describe(await self._find(exchange))))

    async def cancel(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """Stop a batch; what is answered already is kept in its files."""
        record = await self._find(exchange)
        if record.status != "cancelling":
            done = await self._store.write(partial(statements.cancel, batch_id=record.id, now_us=now_us()))
            record = await self._find(exchange)
            if not done and record.status != "cancelling":
                told = f"A batch that is {record.status} cannot be cancelled."
                raise OpenAIError(told, "batch_id", "batch_not_cancellable")
            self._worker.wake(record.id)
        return Answer(to_json(describe(record)))

    async def _find(self, exchange: Exchange) -> BatchRecord:
        batch_id = exchange.scope["path_params"]["batch_id"]
        record = await self._store.read(partial(statements.get, batch_id=_stored_id(batch_id)))
        if record is None or record.owner != exchange.owner:
            raise OpenAIError(f"There is no batch {batch_id[:80]!r}.", "batch_id", "not_found", 404)
        return record


def _stored_id(batch_id: str) -> str:
    return batch_id.removeprefix(_PREFIX) if batch_id.startswith(_PREFIX) else ""


def _metadata(given: dict[str, str] | None) -> dict[str, str]:
    metadata = given or {}
    if len(metadata) > _MOST_METADATA:
        raise invalid("metadata", f"metadata has {len(metadata)} keys, the most is {_MOST_METADATA}.")
    if any(len(key) > 64 or len(value) > 512 for key, value in metadata.items()):
        raise invalid("metadata", "metadata takes keys of up to 64 characters and values of up to 512.")
    return metadata


def _lasts(expires: OutputExpires | None) -> int | None:
    if expires is None:
        return None
    if expires.anchor != "created_at":
        raise invalid("output_expires_after.anchor", "output_expires_after.anchor must be created_at.")
    return round(check_lasts(expires.seconds, "output_expires_after.seconds"))
