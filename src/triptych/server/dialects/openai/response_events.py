"""The events of a streamed response: numbered, named, and from `response.created` to one that says how it ended."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from typing import Any

from ....replica.protocol import Logprob, Piece
from .errors import from_error
from .form import to_json
from .logprobs import chat_logprobs, shown_logprobs
from .response_form import Response, call_item, message, new_id, status_of, text_part


class ResponseStream:
    """One response as it goes out. Its output is one message, or the calls that were made."""

    def __init__(self, response: Response) -> None:
        self._response = response
        self._holder = response.tools.holder()
        self._number = 0
        self._item = ""  # the message's id, once it is open
        self._text: list[str] = []
        self._scored: list[Logprob] = []
        self._waiting: list[Logprob] = []  # scores of tokens whose text is held back
        self._output: list[dict[str, Any]] = []
        self._status = "in_progress"

    async def events(self) -> AsyncGenerator[bytes]:
        """All events. The first ones go out with the first text, so that what is wrong until then is a plain answer."""
        run = self._response.run
        try:
            async for pieces in run:
                if not self._number:
                    yield self._event("response.created", response=self._response.body())
                    yield self._event("response.in_progress", response=self._response.body())
                for piece in pieces:
                    for event in self._push(piece):
                        yield event
        finally:
            run.abort()
        assert run.end is not None
        body = self._response.body(self._status, self._output, run.end.usage, run.cost_nano)
        yield self._event(f"response.{self._status}", response=body)

    def failed(self, error: Exception) -> bytes:
        """The last event of a stream that breaks off.

        OpenAI documents the error's fields beside the type and sends them in an object; clients look for either.
        """
        told = from_error(error, self._response.params, "input", self._response.form)
        return self._event("error", code=told.code, message=told.message, param=told.param, **told.body())

    def _event(self, type: str, **fields: Any) -> bytes:
        told = to_json({"type": type, "sequence_number": self._number, **fields})
        self._number += 1
        return b"event: " + type.encode() + b"\ndata: " + told + b"\n\n"

    # ---- what a piece becomes ---------------------------------------------------------------------------------------

    def _push(self, piece: Piece) -> Iterator[bytes]:
        self._waiting += shown_logprobs(piece)
        delta = self._holder.push(piece.text, piece.finish_reason) or {}
        for call in delta.get("tool_calls", ()):
            yield from self._called(call)
        text = delta.get("content", "")
        last = piece.finish_reason is not None and not self._holder.called
        if text or (last and self._waiting):
            yield from self._said(text)
        if last:
            yield from self._close(status_of(piece.finish_reason))
        elif piece.finish_reason is not None:
            self._status = "completed"

    def _said(self, text: str) -> Iterator[bytes]:
        yield from self._open()
        entries, self._waiting = self._waiting, []
        self._text.append(text)
        self._scored += entries
        yield self._event("response.output_text.delta", **self._part(), delta=text, logprobs=chat_logprobs(entries))

    def _open(self) -> Iterator[bytes]:
        if self._item:
            return
        self._item = new_id("msg")
        yield self._event("response.output_item.added", output_index=0, item=message(self._item, "in_progress"))
        yield self._event("response.content_part.added", **self._part(), part=text_part())

    def _close(self, status: str) -> Iterator[bytes]:
        """The end of the message, which may have no text at all."""
        yield from self._open()
        part = text_part("".join(self._text), chat_logprobs(self._scored))
        yield self._event(
            "response.output_text.done", **self._part(), text=part["text"], logprobs=part["logprobs"]
        )
        yield self._event("response.content_part.done", **self._part(), part=part)
        item = message(self._item, status, [part])
        yield self._event("response.output_item.done", output_index=0, item=item)
        self._output, self._status = [item], status

    def _part(self) -> dict[str, Any]:
        return {"item_id": self._item, "output_index": 0, "content_index": 0}

    def _called(self, call: dict[str, Any]) -> Iterator[bytes]:
        item, index = call_item(call), len(self._output)
        place, arguments = {"item_id": item["id"], "output_index": index}, item["arguments"]
        begun = {**item, "status": "in_progress", "arguments": ""}
        yield self._event("response.output_item.added", output_index=index, item=begun)
        yield self._event("response.function_call_arguments.delta", **place, delta=arguments)
        yield self._event("response.function_call_arguments.done", **place, name=item["name"], arguments=arguments)
        yield self._event("response.output_item.done", output_index=index, item=item)
        self._output.append(item)
