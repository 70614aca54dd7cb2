"""A request of a batch, answered as if it had come by itself."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import msgspec

from ...batches.run import Performed
from ...endpoint import Handler
from ...exchange import Answer, unattended
from ...service import Service
from . import chat, completions, responses
from .errors import from_error, invalid
from .form import to_json

log = logging.getLogger("triptych.server")

ENDPOINTS: dict[str, Handler] = {
    "/v1/chat/completions": chat.create,
    "/v1/completions": completions.create,
    "/v1/responses": responses.create,
}
# Statuses that say "later": the request waits, it is not answered with them.
_LATER = (429, 503)


class _Streamed(msgspec.Struct):
    stream: bool | None = None
    background: bool | None = None


class _CachedDetails(msgspec.Struct):
    cached_tokens: int = 0


class _Usage(msgspec.Struct):
    """Usage in the words of chats and completions, or in those of responses."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _CachedDetails | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    input_tokens_details: _CachedDetails | None = None


class _Answered(msgspec.Struct):
    usage: _Usage | None = None


@dataclass(frozen=True, slots=True)
class Performer:
    """Answers requests of batches."""

    service: Service

    async def __call__(self, endpoint: str, body: bytes, owner: str, row: str) -> Performed:
        """Answer one request in the background; an error is an answer too. `row` is the id of its row of usage."""
        exchange = unattended(endpoint, owner, row)
        try:
            if _streamed(body):
                raise invalid("stream", "Requests of a batch cannot be streamed.")
            answer = await ENDPOINTS[endpoint](self.service, exchange, body)
            assert isinstance(answer, Answer)
        except Exception as error:
            return self._refused(exchange.request_id, error)
        return Performed(answer.status, exchange.request_id, answer.body, _usage(answer.body))

    def _refused(self, request_id: str, error: Exception) -> Performed:
        refused = from_error(error, [])
        if refused.status == 500:
            log.exception("request %s failed", request_id, exc_info=error)
        wait = None
        if refused.status in _LATER and refused.headers.get("x-should-retry") != "false":
            wait = float(refused.headers.get("retry-after", 1))
        return Performed(refused.status, request_id, to_json(refused.body()), wait=wait)


def _streamed(body: bytes) -> bool:
    try:
        return bool(msgspec.json.decode(body, type=_Streamed).stream)
    except msgspec.DecodeError:
        return False  # the endpoint says what is wrong


def _usage(body: bytes) -> tuple[int, int, int]:
    usage = msgspec.json.decode(body, type=_Answered).usage or _Usage()
    details = usage.prompt_tokens_details or usage.input_tokens_details or _CachedDetails()
    prompt, output = usage.prompt_tokens or usage.input_tokens, usage.completion_tokens or usage.output_tokens
    return prompt, details.cached_tokens, output
