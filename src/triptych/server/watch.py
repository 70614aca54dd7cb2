"""What is seen of every exchange from outside: whether the server accepts work, the log's line, the HTTP metrics."""

from __future__ import annotations

import time
from dataclasses import dataclass

from .exchange import Exchange
from .logs import log_request
from .metrics import Metrics


@dataclass(slots=True)
class State:
    """`accepting` is false before the server is up and once it is asked to stop."""

    accepting: bool = False


class Watch:
    """Told of each exchange when it is over."""

    def __init__(self, metrics: Metrics, state: State) -> None:
        self.metrics = metrics
        self.state = state

    def task_over(
        self, request_id: str, dialect: str, route: str, status: int, seconds: float, error: str | None, model: str
    ) -> None:
        """The same for one task of many that came over a WebSocket; `status` is what it would have been over HTTP."""
        self.metrics.http_request(route, "WS", status, seconds)
        log_request(
            request_id=request_id, dialect=dialect, method="WS", route=route, status=status, seconds=seconds,
            error=error, model=model,
        )  # fmt: skip

    def over(self, exchange: Exchange, dialect: str, route: str, error: str | None) -> None:
        """One line in the log and one count. `route` is the pattern, `error` a code; a client that went away before an
        answer began counts as 499.
        """
        seconds = time.perf_counter() - exchange.started
        status = exchange.status or 499
        method = exchange.scope["method"]
        self.metrics.http_request(route, method, status, seconds)
        log_request(
            request_id=exchange.request_id, dialect=dialect, method=method, route=route, status=status,
            seconds=seconds, error=error, level="info" if method == "POST" or status >= 400 else "debug",
            **exchange.told,
        )  # fmt: skip
