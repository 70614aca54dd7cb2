"""What is told of captions that ended: a webhook as the answer would be, and the text put where its caller wants it."""

from __future__ import annotations

from ...delivery.kinds import TASK_WEBHOOK, UPLOAD
from ...store.ids import new_id, now_us
from ...store.predictions import PredictionRecord
from ...store.webhooks import WebhookRecord
from .begun import Item
from .errors import TaskError
from .shown import Shown, result, text_of
from .wire import to_json


def tell(record: PredictionRecord, event: str) -> list[WebhookRecord]:
    """The messages of an event. Nobody is told of anything but the end."""
    if event != "completed":
        return []
    told, now, shown = [], now_us(), Shown.of(record)
    body, good = _body(record, shown)
    if shown.upload is not None and good:
        told.append(
            WebhookRecord(new_id(), record.id, event, shown.upload, text_of(record), now, now, kind=UPLOAD)
        )
    if record.webhook is not None:
        text = to_json(body).decode()
        told.append(WebhookRecord(new_id(), record.id, event, record.webhook, text, now, now, kind=TASK_WEBHOOK))
    return told


def _body(record: PredictionRecord, shown: Shown) -> tuple[Item, bool]:
    """What a synchronous answer would be, and whether the task succeeded."""
    try:
        return {"data": [result(record)]}, True
    except TaskError as error:
        return {"errors": [error.told(shown.base, shown.type, shown.uuid)]}, False
