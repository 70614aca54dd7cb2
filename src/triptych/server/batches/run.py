"""One batch from its input file to its output files, by one worker that holds its lease."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from typing import IO, Any

import msgspec

from ..files.library import FileLibrary
from ..store import batches as statements
from ..store.batches import BatchRecord, LineRecord
from ..store.ids import new_id, now_us
from ..store.store import Store
from .lines import Line, check, read, split

log = logging.getLogger("triptych.server")

_MOST_WAIT = 60.0
_SOME_LINES = 200
# An output of this size is put together in memory.
_IN_MEMORY = 4 << 20
_CONTENT_TYPE = "application/jsonl"


@dataclass(frozen=True, slots=True)
class Performed:
    """How a request was answered: `body` is JSON; `wait` are seconds after which it should be asked again, None if that
    is no use; `usage` as in `LineRecord`.
    """

    status: int
    request_id: str
    body: bytes
    usage: tuple[int, int, int] = (0, 0, 0)
    wait: float | None = None


class LeaseLostError(Exception):
    """Another worker has the batch by now."""


class InputGoneError(Exception):
    """The input file was deleted, or has expired."""


_GONE = {"code": "input_file_gone", "message": "The input file was deleted.", "param": "input_file_id", "line": None}


class BatchRun:
    """`look_now` is set when the batch's row was changed by somebody else."""

    def __init__(
        self,
        store: Store,
        files: FileLibrary,
        perform: Callable[[str, bytes, str, str], Awaitable[Performed]],
        record: BatchRecord,
        worker: str,
        lines_at_once: int,
        lease: float,
    ) -> None:
        self.record = record
        self.look_now = asyncio.Event()
        self._store = store
        self._files = files
        self._perform = perform
        self._worker = worker
        self._lines_at_once = lines_at_once
        self._lease = lease
        self._cancelled = asyncio.Event()

    async def work(self) -> None:
        """Bring the batch to its end, however it ends. Raises StoreError, BlobError: then it is open still."""
        keeping = asyncio.create_task(self._keep())
        working = asyncio.create_task(self._stages())
        try:
            await asyncio.wait((keeping, working), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (keeping, working):
                task.cancel()
            await asyncio.wait((keeping, working))
        for task in (working, keeping):
            if task.cancelled():
                continue
            try:
                task.result()
            except LeaseLostError:
                log.warning("batch %s is another server's by now", self.record.id)

    async def _keep(self) -> None:
        """Renew the lease, and hear of a cancellation."""
        while True:
            until = now_us() + round(self._lease * 1e6)
            renew = partial(statements.renew, batch_id=self.record.id, worker=self._worker, until_us=until)
            status = await self._store.write(renew)
            if status is None:
                raise LeaseLostError
            if status == "cancelling":
                self._cancelled.set()
            self.look_now.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._lease / 3):
                    await self.look_now.wait()

    async def _stages(self) -> None:
        status = self.record.status
        problems: list[dict[str, Any]] = []
        try:
            if status == "validating":
                problems = await self._validate()
            if status in ("validating", "in_progress") and not problems:
                await self._answer_lines()
        except InputGoneError:
            problems = [_GONE]
        await self._finalize(problems)

    async def _move(self, status: str, *old: str, **values: object) -> bool:
        change = partial(statements.move, batch_id=self.record.id, worker=self._worker, status=status, old=old)
        return await self._store.write(partial(change, **values))

    async def _lines(self) -> AsyncGenerator[bytes]:
        record = await self._files.get(self.record.owner, self.record.input_file_id)
        if record is None:
            raise InputGoneError
        async for line in split(await self._files.content(record)):
            yield line

    async def _validate(self) -> list[dict[str, Any]]:
        """What is wrong with the input file."""
        async with aclosing(self._lines()) as lines:
            checked = await check(lines, self.record.endpoint)
        if not checked.problems:
            begun = {"in_progress_us": now_us(), "total": checked.total, "model": checked.model}
            if not await self._move("in_progress", "validating", **begun):
                self._cancelled.set()
        return checked.problems

    # ---- answering --------------------------------------------------------------------------------------------------

    async def _answer_lines(self) -> None:
        """Answer what is not answered yet, until all is or the batch is cancelled or expires."""
        done = await self._store.scan(partial(statements.done_lines, batch_id=self.record.id))
        cancelled = asyncio.create_task(self._cancelled.wait())
        answering: set[asyncio.Task[None]] = set()
        number = -1
        try:
            async with asyncio.timeout((self.record.expires_us - now_us()) / 1e6), aclosing(self._lines()) as lines:
                async for text in lines:
                    number += 1
                    if number not in done:
                        answering.add(asyncio.create_task(self._answer(number, text)))
                    while len(answering) >= self._lines_at_once and not cancelled.done():
                        answering = await _some_done(answering, cancelled)
                    if cancelled.done():
                        return
                while answering and not cancelled.done():
                    answering = await _some_done(answering, cancelled)
        except TimeoutError:
            log.info("batch %s expired", self.record.id)
        finally:
            for task in (cancelled, *answering):
                task.cancel()
            await asyncio.wait((cancelled, *answering))

    async def _answer(self, number: int, text: bytes) -> None:
        line = read(text)
        # A line that is done again after a crash is paid once.
        asked = (self.record.endpoint, bytes(line.body), self.record.owner, f"{self.record.id}-{number}")
        performed = await self._perform(*asked)
        tries = 0
        while performed.wait is not None:
            await asyncio.sleep(min(_MOST_WAIT, performed.wait * 2**tries))
            tries = min(tries + 1, 6)
            performed = await self._perform(*asked)
        body = msgspec.Raw(performed.body)
        told = _output(line, {"status_code": performed.status, "request_id": performed.request_id, "body": body}, None)
        done = LineRecord(number, performed.status == 200, told, performed.usage)
        keep = partial(statements.finish_lines, batch_id=self.record.id, worker=self._worker, lines=[done])
        if not await self._store.write(keep):
            raise LeaseLostError

    # ---- the end ----------------------------------------------------------------------------------------------------

    async def _finalize(self, problems: list[dict[str, Any]]) -> None:
        """Write the files and say how it ended."""
        found = await self._store.read(partial(statements.get, batch_id=self.record.id))
        assert found is not None
        problems = problems or found.problems
        whole = found.in_progress_us is not None and found.completed + found.failed == found.total
        ended = "completed" if whole else "cancelled" if found.status == "cancelling" else "expired"
        if ended == "expired" and problems:
            ended = "failed"
        # The ids first: whoever has to do this again after a crash writes no second file.
        output_id, error_id = found.output_file_id or new_id(), found.error_file_id or new_id()
        kept = {"output_file_id": output_id, "error_file_id": error_id, "problems": problems}
        closing = "cancelling" if ended == "cancelled" else "finalizing"
        await self._move(closing, *statements.OPEN, finalizing_us=found.finalizing_us or now_us(), **kept)
        rest = None if ended in ("completed", "failed") else f"batch_{ended}"
        written = [await self._write(output_id, True, None), await self._write(error_id, False, rest)]
        files = {"output_file_id": written[0], "error_file_id": written[1]}
        end = partial(statements.end, batch_id=self.record.id, worker=self._worker, status=ended)
        await self._store.write(partial(end, values={**files, f"{ended}_us": now_us()}))

    async def _write(self, file_id: str, succeeded: bool, rest: str | None) -> str | None:
        """One of the two files, with the lines that were not answered if their code is given; its id, None if empty."""
        if await self._files.get(self.record.owner, file_id) is not None:
            return file_id
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as output:
            await self._copy(output, succeeded)
            if rest is not None:
                await self._copy_unanswered(output, rest)
            if not output.tell():
                return None
            name = f"batch_{self.record.id}_{'output' if succeeded else 'error'}.jsonl"
            lasts = self.record.output_expires_seconds
            await self._files.add(self.record.owner, "batch_output", name, _CONTENT_TYPE, output, lasts, file_id)
        return file_id

    async def _copy(self, output: IO[bytes], succeeded: bool) -> None:
        query = partial(statements.output_lines, batch_id=self.record.id, succeeded=succeeded, limit=_SOME_LINES)
        some = await self._store.read(partial(query, after=-1))
        while some:
            output.writelines(line.encode() + b"\n" for _, line in some)
            some = await self._store.read(partial(query, after=some[-1][0]))

    async def _copy_unanswered(self, output: IO[bytes], code: str) -> None:
        done = await self._store.scan(partial(statements.done_lines, batch_id=self.record.id))
        happened = "was cancelled" if code == "batch_cancelled" else "expired"
        error = {"code": code, "message": f"The batch {happened} before this request was run."}
        number = -1
        with suppress(InputGoneError, msgspec.DecodeError):  # what can be told of a file that nobody checked
            async for text in self._lines():
                number += 1
                if number not in done:
                    output.write(_output(read(text), None, error).encode() + b"\n")


async def _some_done(answering: set[asyncio.Task[None]], cancelled: asyncio.Task[bool]) -> set[asyncio.Task[None]]:
    """Wait until one is done, or all shall stop; those still under way. Raises what one of them raised."""
    done, _ = await asyncio.wait((cancelled, *answering), return_when=asyncio.FIRST_COMPLETED)
    for task in done - {cancelled}:
        task.result()
    return answering - done


def _output(line: Line, response: dict[str, Any] | None, error: dict[str, str] | None) -> str:
    """A line of an output file."""
    told = {"id": f"batch_req_{new_id()}", "custom_id": line.custom_id, "response": response, "error": error}
    return msgspec.json.encode(told).decode()
