"""The answers with a problem, which all routes of this dialect have in common, and the operation they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ....operations import Operation, Reply
from ..errors import CONTENT_TYPE
from ..routes import PREFIXES, SHARED
from .answers import ProblemAnswer

_WHY = {
    400: "The request cannot be read.",
    403: "It is the operator's to change, not a caller's.",
    404: "It is not there, or another key's.",
    413: "The body is over the server's limit.",
    415: "The body is not of the content type that this route takes, or it is compressed.",
    422: "A value is wrong, or the version is unknown; `detail` has a line for each fault.",
    500: "A fault of the server; its log has the details, under the answer's `x-request-id`.",
    503: "The server is about to stop, or what it keeps cannot be reached.",
}
_RETRY = {"retry-after": "Seconds to wait before the next try."}
_ALWAYS = (415, 503)
_BOTH = ("/v1", "")
# The one to use first.
_THEIRS = tuple(sorted((each for each in PREFIXES if each not in _BOTH), key="/replicate/v1".__ne__))


def operation(
    method: str, path: str, summary: str, told: str, reply: Reply | Sequence[Reply], *statuses: int, **fields: Any
) -> Operation:
    """One operation. Of paths that OpenAI has as well, those that are Replicate's alone are told."""
    replies = (reply,) if isinstance(reply, Reply) else tuple(reply)
    given = {each.status for each in replies}
    failed = [
        Reply(status, _WHY[status], {CONTENT_TYPE: ProblemAnswer}, _RETRY if status == 503 else {})
        for status in sorted({*statuses, *_ALWAYS} - given)
    ]
    prefixes: tuple[str, ...] = PREFIXES
    if path in {shared for _, shared in SHARED}:  # in one place with what is Replicate's alone
        prefixes = (*_THEIRS, *(() if (method, path) in SHARED else _BOTH))
    if (method, path) in SHARED:
        told += " At `/v1` and without it, this path is shared with OpenAI's API: who asks decides."
    return Operation(method, path, summary, told, (*replies, *failed), prefixes=prefixes, **fields)


def refused(method: str, path: str, summary: str, told: str, status: int = 403, **fields: Any) -> Operation:
    """An operation that is always refused."""
    return operation(method, path, summary, told, (), status, 413, **fields)
