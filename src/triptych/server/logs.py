"""The log: structured lines on stderr, JSON or readable, with the request they belong to and without content.

Our own lines, those of libraries and those of replicas (through the standard library's logging) have one form. Every
line passes `Redaction`.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any, Literal, TextIO

import msgspec
import structlog
from structlog.contextvars import bound_contextvars, merge_contextvars
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor

from ..engine.request import Usage
from .redaction import Redaction
from .settings import Settings

__all__ = ["bound_contextvars", "configure", "log_request"]

_HANDLER = "triptych"
# Libraries that log each request as well.
_TALKATIVE = ("uvicorn.access", "aiohttp.access", "alembic")
_FIRST = ("timestamp", "level", "logger", "event", "request_id")


def configure(settings: Settings, stream: TextIO | None = None) -> None:
    """Send all logging of this process to `stream` (stderr by default) as `settings` say. May be called again.

    `with bound_contextvars(request_id=...)` puts the request on every line that is logged within.
    """
    stream = stream or sys.stderr
    as_text = settings.log_format == "text" or (settings.log_format == "auto" and stream.isatty())
    redaction = Redaction(settings.secrets, settings.log_content)
    common: list[Processor] = [
        merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper("%Y-%m-%d %H:%M:%S" if as_text else "iso", utc=not as_text),
        redaction,
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *common, ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    formatter = ProcessorFormatter(
        processors=[ProcessorFormatter.remove_processors_meta, _as_text(stream) if as_text else _as_json],
        foreign_pre_chain=common,
    )
    _install(formatter, stream, logging.getLevelNamesMapping()[settings.log_level.upper()])


def _install(formatter: logging.Formatter, stream: TextIO, level: int) -> None:
    handler = logging.StreamHandler(stream)
    handler.set_name(_HANDLER)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    for old in [each for each in root.handlers if each.get_name() == _HANDLER]:
        root.removeHandler(old)
    root.addHandler(handler)
    # At "debug" only we are talkative.
    root.setLevel(max(level, logging.INFO))
    logging.getLogger("triptych").setLevel(level)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


def _as_text(stream: TextIO) -> Processor:
    return structlog.dev.ConsoleRenderer(
        colors=stream.isatty() and not os.environ.get("NO_COLOR"),
        # The one that shows the text that is there; others would print the values of variables.
        exception_formatter=structlog.dev.plain_traceback,
        sort_keys=False,
    )


def _as_json(logger: Any, name: str, event: EventDict) -> str:
    first = {key: event.pop(key) for key in _FIRST if key in event}
    return msgspec.json.encode({**first, **event}, enc_hook=str).decode()


def log_request(
    *,
    request_id: str,
    dialect: str,
    method: str,
    route: str,
    status: int,
    seconds: float,
    model: str = "",
    usage: Usage | None = None,
    finish_reason: str | None = None,
    error: str | None = None,
    level: Literal["debug", "info"] = "info",
    **content: Any,
) -> None:
    """The one line of a request that is over; a status of 500 and above makes it a warning.

    `model` is the served name and `route` the route's pattern, never what the caller wrote; `error` is a code.
    `content` (a prompt, an answer) is replaced by its length unless `log_content` is on. Before `configure` nothing is
    logged: structlog would print it.
    """
    if not structlog.is_configured():
        return
    tokens = usage or Usage()
    fields: dict[str, Any] = {
        "request_id": request_id,
        "dialect": dialect,
        "method": method,
        "route": route,
        "model": model,
        "status": status,
        "finish_reason": finish_reason,
        "error": error,
        "prompt_tokens": tokens.prompt_tokens,
        "image_tokens": tokens.image_tokens,
        "cached_tokens": tokens.cached_tokens,
        "completion_tokens": tokens.completion_tokens,
        "seconds": round(seconds, 4),
        **content,
    }
    present = {key: value for key, value in fields.items() if value not in (None, "")}
    log = structlog.get_logger("triptych.request")
    log.log(logging.WARNING if status >= 500 else getattr(logging, level.upper()), "request", **present)
