"""The answers with an error object, which all routes of this dialect have in common."""

from __future__ import annotations

from collections.abc import Sequence

from ....operations import JSON, Reply
from .answers import ErrorAnswer

_WHY = {
    400: "The request is wrong; `param` says where and `code` what.",
    403: "The key is good, but not for this.",
    404: "What was asked for by this name or id is not there.",
    413: "The body is over the server's limit.",
    415: "The body is not of the content type that this route takes, or it is compressed.",
    429: "Too many requests of this model are under way.",
    500: "A fault of the server; its log has the details, under the answer's `x-request-id`.",
    502: "Another server answers for the model, and does not work as it was set up.",
    503: "The model is loading or has failed, or the server is about to stop.",
}
_RETRY = {"retry-after": "Seconds to wait before the next try."}

# What can happen to any request, to one with a body, and to one that a model has to answer.
ALWAYS = (415, 503)
BODY = (400, 413, *ALWAYS)
WORK = (404, 429, 500, 502, *BODY)


def failures(statuses: Sequence[int]) -> tuple[Reply, ...]:
    return tuple(
        Reply(status, _WHY[status], {JSON: ErrorAnswer}, _RETRY if status in (429, 503) else {})
        for status in sorted(statuses)
    )
