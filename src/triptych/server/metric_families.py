"""The metrics by name: what dashboards made for vLLM read, HTTP, and our own under `triptych_`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import Counter, Gauge
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from ..engine.counters import STEP_TOKENS
from .told_histogram import ToldHistogram

# Labels of everything that belongs to a model; `engine` numbers its replicas.
MODEL = ("model_name", "engine")

LATENCY = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680)
FIRST_TOKEN = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160,
               640, 2560)  # fmt: skip
PER_TOKEN = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
             20, 40, 80)  # fmt: skip
TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)
CHOICES = (1, 2, 5, 10, 20)
SHORT = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class RequestFamilies:
    """What requests change."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def count(name: str, text: str) -> Counter:
            return Counter(name, text, MODEL, registry=registry)

        def spread(name: str, text: str, buckets: tuple[float, ...] = LATENCY) -> ToldHistogram:
            return _told(registry, name, text, MODEL, buckets)

        self.running = Gauge("vllm:num_requests_running", "Requests being computed.", MODEL, registry=registry)
        self.waiting = Gauge("vllm:num_requests_waiting", "Requests waiting.", MODEL, registry=registry)
        self.prompt_tokens = count("vllm:prompt_tokens", "Prompt tokens of requests that ended.")
        self.cached_tokens = count("vllm:prompt_tokens_cached", "Those of them that a cache held.")
        self.image_tokens = count("triptych_image_tokens", "Those of them that were of images.")
        self.generation_tokens = count("vllm:generation_tokens", "Generated tokens.")
        first = "Seconds from the arrival of a request to its first token."
        self.first_token = spread("vllm:time_to_first_token_seconds", first, FIRST_TOKEN)
        self.gap = spread("vllm:inter_token_latency_seconds", "Seconds between tokens of a request.", PER_TOKEN)
        self.per_token = spread(
            "vllm:request_time_per_output_token_seconds", "Mean seconds per token after the first.", PER_TOKEN
        )
        self.total = spread("vllm:e2e_request_latency_seconds", "Seconds from arrival to end.")
        self.queued = spread("vllm:request_queue_time_seconds", "Seconds waiting, at the server and in the engine.")
        self.prefill = spread("vllm:request_prefill_time_seconds", "Seconds from the queue's end to the first token.")
        self.decode = spread("vllm:request_decode_time_seconds", "Seconds from the first token to the last.")
        self.inference = spread("vllm:request_inference_time_seconds", "Seconds from the queue's end to the end.")
        self.prompt_length = spread("vllm:request_prompt_tokens", "Prompt tokens of a request.", TOKENS)
        self.generation_length = spread("vllm:request_generation_tokens", "Generated tokens of a request.", TOKENS)
        self.longest = spread("vllm:request_max_num_generation_tokens", "Tokens of its longest choice.", TOKENS)
        self.choices = spread("vllm:request_params_n", "Choices asked for.", CHOICES)
        self.max_tokens = spread("vllm:request_params_max_tokens", "The most tokens asked for.", TOKENS)
        registry.register(Renamed(self.gap, "vllm:time_per_output_token_seconds"))


class ReplicaFamilies:
    """What a replica reports."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def count(name: str, text: str) -> Counter:
            return Counter(name, text, MODEL, registry=registry)

        usage = "Used share of the KV cache, 0 to 1."
        self.cache_usage = Gauge("vllm:kv_cache_usage_perc", usage, MODEL, registry=registry)
        self.preemptions = count("vllm:num_preemptions", "Sequences that were computed anew for lack of memory.")
        self.prefix_queries = count("vllm:prefix_cache_queries", "Prompt tokens looked up in the prefix cache.")
        self.prefix_hits = count("vllm:prefix_cache_hits", "Prompt tokens found in the prefix cache.")
        self.image_queries = count("vllm:mm_cache_queries", "Images of requests, looked up among what is encoded.")
        self.image_hits = count("vllm:mm_cache_hits", "Those of them that were not encoded again.")
        steps = "Tokens of a step of the engine."
        self.step_tokens = _told(registry, "vllm:iteration_tokens_total", steps, MODEL, STEP_TOKENS)
        self.busy = count("triptych_engine_busy_seconds", "Seconds in which the engine computed.")
        self.crashes = count("triptych_replica_crashes", "Replicas that died or hung.")
        registry.register(Renamed(self.cache_usage, "vllm:gpu_cache_usage_perc"))


class ServerFamilies:
    """The rest, with labels of their own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def spread(name: str, text: str, *labels: str) -> ToldHistogram:
            return _told(registry, name, text, labels, SHORT)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, labels, registry=registry)

        def count(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        self.success = count("vllm:request_success", "Requests by how they ended.", *MODEL, "finished_reason")
        self.rejections = count("vllm:admission_rejections", "Requests turned away.", *MODEL, "reason")
        sizes = ("block_size", "num_gpu_blocks")
        self.cache_config = gauge("vllm:cache_config_info", "The KV cache, in labels.", *MODEL, *sizes)
        self.http = count("http_requests", "HTTP requests.", "handler", "method", "status")
        self.http_seconds = spread("http_request_duration_seconds", "Seconds of an HTTP request.", "handler", "method")
        phases = "Seconds that each phase of a model's last start took."
        self.cold_start = gauge("triptych_cold_start_seconds", phases, "model_name", "phase")
        self.state = gauge("triptych_model_state", "1 for the state a model is in.", "model_name", "state")
        self.fetch = spread("triptych_image_fetch_seconds", "Seconds to fetch an image from its URL.", "outcome")
        tries = "Seconds of a try to deliver a webhook."
        self.webhook = spread("triptych_webhook_delivery_seconds", tries, "outcome")
        self.webhooks_waiting = gauge("triptych_webhooks_waiting", "Webhooks that wait, in the whole store.")
        outside = "Seconds of a request outside the engine, with waiting for images and for a model to load."
        self.overhead = spread("triptych_overhead_seconds", outside, "dialect")


def _told(
    registry: CollectorRegistry, name: str, text: str, labels: Sequence[str], bounds: Sequence[float]
) -> ToldHistogram:
    made = ToldHistogram(name, text, labels, bounds)
    registry.register(made)
    return made


class Renamed(Collector):
    """A metric once more under an older name that is still read, at no cost until it is."""

    def __init__(self, metric: Collector, name: str) -> None:
        self._metric = metric
        self._name = name

    def collect(self) -> Iterator[Metric]:
        for metric in self._metric.collect():
            again = Metric(self._name, metric.documentation, metric.type)
            again.samples = [
                sample._replace(name=self._name + sample.name.removeprefix(metric.name)) for sample in metric.samples
            ]
            yield again


class WithoutTimes(Collector):
    """All that a registry has, without the time at which each series began."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric
