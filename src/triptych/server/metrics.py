"""What is counted and measured, told by event and read by Prometheus at /metrics.

Labels have few values: served names, routes, dialects, classes of status. Never a key, a user, a URL or anything else
that a caller wrote.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from types import SimpleNamespace
from typing import Any, Literal, get_args

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import CollectorRegistry

from ..engine.config import BLOCK_SIZE
from ..engine.counters import STEP_SIZE_NAMES
from ..engine.request import FinishReason, Timing, Usage
from ..replica.protocol import Phase, Report
from .metric_families import ReplicaFamilies, RequestFamilies, ServerFamilies, WithoutTimes

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

ModelState = Literal["stopped", "starting", "ready", "failed"]
Place = Literal["held", "silent", "producing"]

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WEBSOCKET"})
# Totals in a replica's report, and the counter that each one feeds.
_TOTALS = {
    "preemptions": "preemptions",
    "prompt_tokens": "prefix_queries",
    "cached_tokens": "prefix_hits",
    "image_queries": "image_queries",
    "image_hits": "image_hits",
    "busy_seconds": "busy",
}


class Metrics:
    """All metrics of a server, in a registry of their own. `models` are shown from the start, with zeros.

    For one event loop; `render` may run on another thread.
    """

    def __init__(self, models: Iterable[str] = (), clock: Callable[[], float] = time.perf_counter) -> None:
        self._registry = CollectorRegistry()
        self._requests = RequestFamilies(self._registry)
        self._replicas = ReplicaFamilies(self._registry)
        self._server = ServerFamilies(self._registry)
        self._engines: dict[tuple[str, str], _EngineMetrics] = {}
        self._http: dict[tuple[str, str, int], tuple[Any, Any]] = {}
        self._clock = clock
        for model in models:
            self._engine(model, "0")

    def render(self) -> bytes:
        """Everything in Prometheus' text format 0.0.4, whose content type is `CONTENT_TYPE`."""
        for engine in list(self._engines.values()):
            engine.show_load()
        return generate_latest(WithoutTimes(self._registry))

    def _engine(self, model: str, engine: str) -> _EngineMetrics:
        found = self._engines.get((model, engine))
        if found is None:
            found = _EngineMetrics(model, engine, self._requests, self._replicas, self._server)
            self._engines[model, engine] = found
        return found

    # ---- requests ---------------------------------------------------------------------------------------------------

    def request_started(
        self, model: str, dialect: str, n: int = 1, max_tokens: int | None = None, engine: str = "0"
    ) -> RequestMetrics:
        """A request for the served `model` was accepted and waits. Tell the result what happens to it."""
        overhead = self._server.overhead.labels(dialect)
        return RequestMetrics(self._engine(model, engine), self._clock, overhead, n, max_tokens)

    def rejected(self, model: str, reason: str, engine: str = "0") -> None:
        """A request was turned away before it waited; `reason` is one of a few words, such as "queue_full"."""
        self._server.rejections.labels(model, engine, reason).inc()

    def http_request(self, handler: str, method: str, status: int, seconds: float) -> None:
        """An HTTP exchange is over. `handler` is the route's pattern, or "other" for a path without one."""
        key = (handler, method if method in _METHODS else "other", status // 100)
        found = self._http.get(key)
        if found is None:
            counter = self._server.http.labels(handler, key[1], f"{key[2]}xx")
            found = self._http[key] = (counter, self._server.http_seconds.labels(handler, key[1]))
        found[0].inc()
        found[1].observe(seconds)

    def image_fetched(self, seconds: float, outcome: str = "ok") -> None:
        """An image was fetched from its URL, or not; `outcome` is one of a few words, such as "timeout"."""
        self._server.fetch.labels(outcome).observe(seconds)

    def webhook_tried(self, seconds: float, outcome: str) -> None:
        """A webhook was delivered or not; `outcome` is delivered, retried, given_up, moot or deleted."""
        self._server.webhook.labels(outcome).observe(seconds)

    def webhooks_waiting(self, count: int) -> None:
        """So many webhooks wait to be delivered."""
        self._server.webhooks_waiting.set(count)

    # ---- models and their replicas ----------------------------------------------------------------------------------

    def phase(self, model: str, phase: Phase) -> None:
        """A phase of a model's start went on or ended."""
        self._server.cold_start.labels(model, phase.name).set(phase.seconds)

    def model_state(self, model: str, state: ModelState) -> None:
        """A model came into a state."""
        for each in get_args(ModelState):
            self._server.state.labels(model, each).set(each == state)

    def replica_report(self, model: str, report: Report, engine: str = "0") -> None:
        """A replica told its gauges and totals; better often than late, since waiting requests are among them."""
        self._engine(model, engine).report(report.values)

    def replica_gone(self, model: str, engine: str = "0", crashed: bool = False) -> None:
        """A replica was stopped, or died; the totals of the next one begin at 0."""
        self._engine(model, engine).gone(crashed)


class _EngineMetrics:
    """The series of one model and replica, looked up once, and how many of its requests are where."""

    def __init__(
        self, model: str, engine: str, requests: RequestFamilies, replicas: ReplicaFamilies, server: ServerFamilies
    ) -> None:
        self._labels = (model, engine)
        self._cache_config = server.cache_config
        self.series: Any = _bound(requests, self._labels)
        self._reported: Any = _bound(replicas, self._labels)
        self.success = {reason: server.success.labels(model, engine, reason) for reason in get_args(FinishReason)}
        # Requests that no engine has yet; that one has, without a token so far; that produce tokens.
        self.at: dict[Place, int] = {"held": 0, "silent": 0, "producing": 0}
        self._queued_there = 0
        self._totals: dict[str, float] = {}
        self._blocks: int | None = None

    def show_load(self) -> None:
        # A replica counts sequences, and its report may be a little old: it only tells apart those without a token.
        waiting = self.at["held"] + min(self._queued_there, self.at["silent"])
        self.series.waiting.set(waiting)
        self.series.running.set(sum(self.at.values()) - waiting)

    def report(self, values: dict[str, float]) -> None:
        self._queued_there = int(values.get("waiting", 0))
        grown = partial(self._grown, values)
        for name, counter in _TOTALS.items():
            getattr(self._reported, counter).inc(grown(name))
        self._reported.step_tokens.grow([grown(name) for name in STEP_SIZE_NAMES], grown("step_tokens"))
        if blocks := values.get("blocks_total", 0.0):
            self._reported.cache_usage.set(values.get("blocks_used", 0.0) / blocks)
            self._show_cache(int(blocks))

    def _grown(self, values: dict[str, float], name: str) -> float:
        """By how much a total grew since the last report."""
        total, before = values.get(name, 0.0), self._totals.get(name, 0.0)
        self._totals[name] = total
        # Less than before: another replica, which nobody told us of.
        return total - before if total >= before else total

    def gone(self, crashed: bool) -> None:
        self._queued_there = 0
        self._totals.clear()
        self._reported.cache_usage.set(0)
        self._show_cache(None)
        if crashed:
            self._reported.crashes.inc()

    def _show_cache(self, blocks: int | None) -> None:
        if blocks == self._blocks:
            return
        if self._blocks is not None:
            self._cache_config.remove(*self._labels, BLOCK_SIZE, self._blocks)
        if blocks is not None:
            self._cache_config.labels(*self._labels, BLOCK_SIZE, blocks).set(1)
        self._blocks = blocks


def _bound(families: object, labels: tuple[str, str]) -> SimpleNamespace:
    return SimpleNamespace(**{name: family.labels(*labels) for name, family in vars(families).items()})


class RequestMetrics:
    """One request. Its events are told as they happen: times are taken here."""

    __slots__ = ("_choices", "_clock", "_counted", "_engine", "_last", "_max_tokens", "_overhead", "_place", "_started",
                 "_submitted")  # fmt: skip

    def __init__(
        self, engine: _EngineMetrics, clock: Callable[[], float], overhead: Any, n: int, max_tokens: int | None
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._overhead = overhead
        self._choices = n
        self._max_tokens = max_tokens
        self._started = self._last = clock()
        self._submitted: float | None = None
        self._counted = 0
        self._place: Place | None = None
        self._move("held")

    def _move(self, place: Place | None) -> None:
        if self._place is not None:
            self._engine.at[self._place] -= 1
        if place is not None:
            self._engine.at[place] += 1
        self._place = place

    def submitted(self) -> None:
        """It was given to an engine; again, if that engine died."""
        if self._place == "held":
            self._submitted = self._clock()
            self._move("silent")

    def first_token(self) -> None:
        """Told by `tokens` as well."""
        if self._place in ("held", "silent"):
            self._last = self._clock()
            self._engine.series.first_token.observe(self._last - self._started)
            self._move("producing")

    def tokens(self, count: int) -> None:
        """A step brought `count` tokens, of all choices together."""
        if self._place == "producing":
            now = self._clock()
            self._engine.series.gap.observe(now - self._last)
            self._last = now
        else:
            self.first_token()
        self._counted += count
        self._engine.series.generation_tokens.inc(count)

    def finished(
        self,
        reason: FinishReason,
        usage: Usage | None = None,
        timing: Timing | None = None,
        longest: int | None = None,
    ) -> None:
        """It is over; only the first call counts, so that a `finally` may tell of an abort.

        `usage` and `timing` are the engine's, `longest` the tokens of the longest choice (needed with several).
        Failures are counted and not measured: they would flatter the averages.
        """
        if self._place is None:
            return
        began = self._place == "producing"
        self._move(None)
        self._engine.success[reason].inc()
        if usage is not None:
            self._count(usage)
        if reason == "error":
            return
        series, total = self._engine.series, self._clock() - self._started
        series.total.observe(total)
        series.choices.observe(self._choices)
        if self._max_tokens is not None:
            series.max_tokens.observe(self._max_tokens)
        if usage is not None:
            self._measure_lengths(usage, longest)
        if timing is not None:
            self._overhead.observe(max(0.0, total - timing.total))
            self._measure_times(timing, usage.completion_tokens if usage is not None and began else 0)

    def _count(self, usage: Usage) -> None:
        series = self._engine.series
        series.prompt_tokens.inc(usage.prompt_tokens)
        series.cached_tokens.inc(usage.cached_tokens)
        series.image_tokens.inc(usage.image_tokens)
        series.generation_tokens.inc(max(0, usage.completion_tokens - self._counted))

    def _measure_lengths(self, usage: Usage, longest: int | None) -> None:
        series = self._engine.series
        series.prompt_length.observe(usage.prompt_tokens)
        series.generation_length.observe(usage.completion_tokens)
        if longest is None and self._choices == 1:
            longest = usage.completion_tokens
        if longest is not None:
            series.longest.observe(longest)

    def _measure_times(self, timing: Timing, generated: int) -> None:
        series = self._engine.series
        held = self._submitted - self._started if self._submitted is not None else 0.0
        series.queued.observe(held + timing.queued)
        if generated:
            decode = timing.total - timing.first_token
            series.prefill.observe(timing.first_token - timing.queued)
            series.decode.observe(decode)
            series.inference.observe(timing.total - timing.queued)
            if generated > self._choices:
                series.per_token.observe(decode * self._choices / (generated - self._choices))
