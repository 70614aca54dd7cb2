"""The kinds of messages: how each goes, and how often it is tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from . import schedule

WEBHOOK = "webhook"
TASK_WEBHOOK = "task_webhook"
UPLOAD = "upload"


@dataclass(frozen=True, slots=True)
class Kind:
    """How a message goes: by `method`, as `content_type`, with a signature if it is `signed`. `completed` and
    `progress` are the seconds before its second try and each further one, by what it tells of.
    """

    method: str
    content_type: str
    signed: bool
    completed: tuple[float, ...] = schedule.COMPLETED
    progress: tuple[float, ...] = schedule.PROGRESS


# Uploads go to URLs that are signed themselves and soon expire; some refuse headers that they do not know.
KINDS: Mapping[str, Kind] = {
    WEBHOOK: Kind("POST", "application/json", True),
    TASK_WEBHOOK: Kind("POST", "application/json", True, schedule.TASK),
    UPLOAD: Kind("PUT", "text/plain; charset=utf-8", False, schedule.UPLOAD),
}
