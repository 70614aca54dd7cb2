"""A prediction as its callers see it, in answers and in webhooks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from msgspec.structs import replace

from ...accounts.cost import usd_float
from ...store.predictions import PredictionRecord
from .form import time_of

DIALECT = "replicate"


@dataclass(frozen=True, slots=True)
class Shown:
    """What is stored of a prediction for its answers: the names that its caller used, the `base` of its links in
    webhooks, and `asked`, a hash of the request.
    """

    model: str
    version: str
    base: str
    asked: str = ""
    deployment: str | None = None

    @classmethod
    def of(cls, record: PredictionRecord) -> Shown:
        return cls(**record.shown)


def render(record: PredictionRecord, base: str) -> dict[str, Any]:
    """The prediction object, with links under `base`."""
    shown, removed = Shown.of(record), record.removed_us is not None
    told: dict[str, Any] = {
        "id": record.id,
        "model": shown.model,
        "version": shown.version,
        "input": {} if removed else record.input,
        "output": None if removed else _output(record),
        "logs": None if removed else record.logs,
        "error": record.error,
        "status": record.status,
        "data_removed": removed,
        "source": "api",
        "created_at": time_of(record.created_us),
        "started_at": time_of(record.started_us),
        "completed_at": time_of(record.completed_us),
        "urls": _urls(record, base),
    }
    if record.ended:
        told["metrics"] = metrics(record)
    if record.deadline_us is not None:
        told["deadline"] = time_of(record.deadline_us)
    if shown.deployment is not None:
        told["deployment"] = shown.deployment
    if record.webhook is not None:
        told["webhook"] = record.webhook
        if record.webhook_events:
            told["webhook_events_filter"] = list(record.webhook_events)
    return told


def not_in_time(record: PredictionRecord) -> PredictionRecord:
    """What a caller is shown who did not want to wait longer: `starting`, whatever is true. Any other status counts as
    the end for clients, and they never see again what the first answer had of the output.
    """
    return replace(record, status="starting", output=(), error=None, started_us=None, completed_us=None)


def _output(record: PredictionRecord) -> list[str] | None:
    """Null until there is some; a prediction that succeeded without a word said an empty list of them."""
    return list(record.output) if record.output or record.status == "succeeded" else None


def _urls(record: PredictionRecord, base: str) -> dict[str, str]:
    at = urlsplit(base)
    urls = {
        "get": f"{base}/predictions/{record.id}",
        "cancel": f"{base}/predictions/{record.id}/cancel",
        "web": f"{at.scheme}://{at.netloc}/app/predictions/{record.id}",
    }
    # What is gone cannot be streamed any more.
    return urls if record.removed_us is not None else {**urls, "stream": f"{base}/streams/{record.stream_token}"}


def metrics(record: PredictionRecord) -> dict[str, float]:
    """Seconds, tokens and dollars of a prediction that has ended."""
    assert record.completed_us is not None
    begun = record.completed_us if record.started_us is None else record.started_us
    told: dict[str, float] = {
        "predict_time": _seconds(begun, record.completed_us),
        "total_time": _seconds(record.created_us, record.completed_us),
        "queue_time": _seconds(record.created_us, begun),
        "input_token_count": record.prompt_tokens,
        "output_token_count": record.completion_tokens,
        "image_token_count": record.image_tokens,
    }
    if record.cost_nano is not None:
        told["cost"] = usd_float(record.cost_nano)
    if record.cold_us:
        told["cold_start_time"] = round(record.cold_us / 1e6, 6)
    if record.first_token_us is not None and record.started_us is not None:
        told["time_to_first_token"] = _seconds(begun, record.first_token_us)
        # Over all of its time: of a short text the first piece has most of the tokens, or all of them.
        if told["predict_time"] > 0 and record.completion_tokens > 0:
            told["tokens_per_second"] = round(record.completion_tokens / told["predict_time"], 3)
    return told


def _seconds(since_us: int, until_us: int) -> float:
    return round(max(0, until_us - since_us) / 1e6, 6)
