"""A caption as its callers see it: in answers, in polls, and in webhooks."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ...accounts.cost import usd_float
from ...store.predictions import PredictionRecord
from .begun import Item
from .errors import TaskError, failure

DIALECT = "runware"
# Tokens of a caption, at most: what Runware sells as one.
MOST_TOKENS = 128
_SENTENCE_END = re.compile(r"[.!?][\"')\]]*(?=\s|$)")


class Shown(msgspec.Struct, frozen=True):
    """What is stored of a caption for its answers. `uuid` and `type` are as its caller wrote them, `asked` is a hash of
    the task, `image` is where it had its image, `base` where the server was, and `upload` where the text shall be put.
    """

    uuid: str
    type: str
    asked: str
    image: str
    base: str
    cost: bool = False
    upload: str | None = None

    @classmethod
    def of(cls, record: PredictionRecord) -> Shown:
        return cls(**record.shown)


def key_of(uuid: str) -> str:
    """The idempotency key of a task: two with one UUID are one."""
    return f"{DIALECT}:{uuid.lower()}"


def acknowledged(record: PredictionRecord) -> Item:
    """What says that a task was taken: exactly this, as clients know it by what is not there."""
    shown = Shown.of(record)
    return {"taskType": shown.type, "taskUUID": shown.uuid}


def result(record: PredictionRecord) -> Item:
    """The item of a caption that has ended. Raises TaskError if it came to nothing."""
    shown = Shown.of(record)
    return _ended(record, shown, {"taskType": shown.type, "taskUUID": shown.uuid})


def polled(record: PredictionRecord, uuid: str) -> Item:
    """The same for those who ask for it: their clients want this type and a status. Raises TaskError."""
    item: Item = {"taskType": "caption", "taskUUID": uuid}
    if not record.ended:
        return item | {"status": "processing"}
    return _ended(record, Shown.of(record), item | {"status": "success"}, status="error")


def _ended(record: PredictionRecord, shown: Shown, item: Item, **more: Any) -> Item:
    if record.status != "succeeded":
        error = failure(record, shown.image)
        raise TaskError(error.code, error.message, error.parameter, error.type, error.retry_after, **error.more, **more)
    return item | {"text": text_of(record)} | cost(shown.cost, record.cost_nano)


def text_of(record: PredictionRecord) -> str:
    """The caption, which is never empty. One that was cut off at the limit ends with its last whole sentence, if it has
    one.
    """
    text = "".join(record.output).strip()
    if record.completion_tokens < MOST_TOKENS:
        return text
    ends = [found.end() for found in _SENTENCE_END.finditer(text)]
    return text[: ends[-1]] if ends else text


def cost(wanted: bool, nano: int | None) -> Item:
    """The field that tells those who want it what they are charged, in dollars; 0 for what has no price here."""
    return {"cost": usd_float(nano or 0)} if wanted else {}
