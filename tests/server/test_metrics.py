"""What Prometheus reads after the events of a server, under the names that dashboards expect."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from triptych.engine.counters import Counters
from triptych.engine.request import Timing, Usage
from triptych.replica.protocol import Phase, Report
from triptych.server.metric_families import FIRST_TOKEN, LATENCY
from triptych.server.metrics import CONTENT_TYPE, Metrics

LABELS = {"model_name": "m", "engine": "0"}
# Without the suffixes of counters and histograms.
GAUGES = {"num_requests_running", "num_requests_waiting", "kv_cache_usage_perc", "gpu_cache_usage_perc",
          "cache_config_info"}  # fmt: skip
COUNTERS = {"prompt_tokens", "prompt_tokens_cached", "generation_tokens", "request_success", "num_preemptions",
            "prefix_cache_queries", "prefix_cache_hits", "mm_cache_queries", "mm_cache_hits",
            "admission_rejections"}  # fmt: skip
HISTOGRAMS = {
    "time_to_first_token_seconds", "inter_token_latency_seconds", "request_time_per_output_token_seconds",
    "time_per_output_token_seconds", "e2e_request_latency_seconds", "request_queue_time_seconds",
    "request_prefill_time_seconds", "request_decode_time_seconds", "request_inference_time_seconds",
    "request_prompt_tokens", "request_generation_tokens", "request_params_n", "request_params_max_tokens",
    "request_max_num_generation_tokens", "iteration_tokens_total",
}  # fmt: skip


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Read:
    """What a scrape says."""

    def __init__(self, metrics: Metrics) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(metrics.render().decode())}
        self.samples = [sample for family in self.families.values() for sample in family.samples]

    def __call__(self, name: str, **labels: str) -> float | None:
        wanted = {**(LABELS if name.startswith("vllm:") else {}), **labels}
        found = [s.value for s in self.samples if s.name == name and wanted.items() <= s.labels.items()]
        assert len(found) <= 1
        return found[0] if found else None

    def spread(self, name: str, **labels: str) -> tuple[float | None, float | None]:
        """How many, and their sum rounded."""
        total = self(f"{name}_sum", **labels)
        return self(f"{name}_count", **labels), None if total is None else round(total, 6)


def load(metrics: Metrics) -> tuple[float | None, float | None]:
    read = Read(metrics)
    return read("vllm:num_requests_waiting"), read("vllm:num_requests_running")


def test_the_names_that_dashboards_expect_are_there_from_the_start():
    metrics = Metrics(["m"])
    metrics.rejected("m", "queue_full")
    metrics.replica_report("m", Report("1", 0, {"blocks_total": 4}))
    families = Read(metrics).families
    assert {f"vllm:{name}" for name in GAUGES} <= {name for name, family in families.items() if family.type == "gauge"}
    assert {f"vllm:{name}" for name in COUNTERS} <= {name for name, f in families.items() if f.type == "counter"}
    assert {f"vllm:{name}" for name in HISTOGRAMS} <= {name for name, f in families.items() if f.type == "histogram"}
    for name, family in families.items():
        assert name.startswith(("vllm:", "triptych_", "http_request"))
        if name.startswith("vllm:"):
            assert all(LABELS.items() <= sample.labels.items() for sample in family.samples)
    assert Read(metrics)("vllm:request_success_total", finished_reason="abort") == 0


def test_the_format_is_the_plain_one():
    metrics = Metrics(["m"])
    assert CONTENT_TYPE == "text/plain; version=0.0.4; charset=utf-8"
    text = metrics.render().decode()
    assert '\nvllm:prompt_tokens_total{engine="0",model_name="m"} 0.0\n' in text
    assert "_created" not in text
    assert text.endswith("\n")


def test_two_servers_in_one_process_share_nothing():
    first, second = Metrics(["m"]), Metrics(["m"])
    first.rejected("m", "queue_full")
    assert Read(second)("vllm:admission_rejections_total", reason="queue_full") is None


def test_a_request_from_arrival_to_end():
    clock = Clock()
    metrics = Metrics(clock=clock)
    request = metrics.request_started("m", "openai", max_tokens=20)
    clock.now += 0.5
    request.submitted()
    clock.now += 1.5
    request.tokens(1)
    for _ in range(3):
        clock.now += 0.1
        request.tokens(1)
    request.finished("length", Usage(50, 16, 40, 4), Timing(queued=0.25, first_token=1.4, total=1.7))
    read = Read(metrics)
    assert read("vllm:request_success_total", finished_reason="length") == 1
    assert read("vllm:prompt_tokens_total") == 50
    assert read("vllm:prompt_tokens_cached_total") == 16
    assert read("triptych_image_tokens_total") == 40
    assert read("vllm:generation_tokens_total") == 4
    assert read.spread("vllm:time_to_first_token_seconds") == (1, 2.0)
    assert read.spread("vllm:inter_token_latency_seconds") == (3, 0.3)
    assert read.spread("vllm:time_per_output_token_seconds") == (3, 0.3)
    assert read.spread("vllm:e2e_request_latency_seconds") == (1, 2.3)
    assert read.spread("vllm:request_queue_time_seconds") == (1, 0.75)
    assert read.spread("vllm:request_prefill_time_seconds") == (1, 1.15)
    assert read.spread("vllm:request_decode_time_seconds") == (1, 0.3)
    assert read.spread("vllm:request_inference_time_seconds") == (1, 1.45)
    assert read.spread("vllm:request_time_per_output_token_seconds") == (1, 0.1)
    assert read.spread("vllm:request_prompt_tokens") == (1, 50)
    assert read.spread("vllm:request_generation_tokens") == (1, 4)
    assert read.spread("vllm:request_max_num_generation_tokens") == (1, 4)
    assert read.spread("vllm:request_params_n") == (1, 1)
    assert read.spread("vllm:request_params_max_tokens") == (1, 20)
    assert read.spread("triptych_overhead_seconds", dialect="openai") == (1, 0.6)


def test_buckets_are_those_of_the_dashboards():
    clock = Clock()
    metrics = Metrics(clock=clock)
    metrics.request_started("m", "openai").finished("stop")
    for name, buckets in (("e2e_request_latency_seconds", LATENCY), ("time_to_first_token_seconds", FIRST_TOKEN)):
        found = [s.labels["le"] for s in Read(metrics).samples if s.name == f"vllm:{name}_bucket"]
        assert [float(bound) for bound in found] == [*map(float, buckets), float("inf")]
    assert Read(metrics)("vllm:e2e_request_latency_seconds_bucket", le="0.3") == 1


def test_several_choices():
    clock = Clock()
    metrics = Metrics(clock=clock)
    request = metrics.request_started("m", "openai", n=2)
    request.tokens(2)
    request.tokens(2)
    request.tokens(1)
    request.finished("stop", Usage(5, 0, 0, 6), Timing(0, 1.0, 2.0), longest=4)
    read = Read(metrics)
    assert read("vllm:generation_tokens_total") == 6
    assert read.spread("vllm:inter_token_latency_seconds")[0] == 2
    assert read.spread("vllm:request_max_num_generation_tokens") == (1, 4)
    assert read.spread("vllm:request_params_n") == (1, 2)
    assert read.spread("vllm:request_time_per_output_token_seconds") == (1, 0.5)
    assert read.spread("vllm:request_params_max_tokens")[0] == 0


def test_failures_are_counted_and_not_measured():
    metrics = Metrics()
    request = metrics.request_started("m", "openai")
    request.finished("error", Usage(5, 0, 0, 0), Timing())
    read = Read(metrics)
    assert read("vllm:request_success_total", finished_reason="error") == 1
    assert read("vllm:prompt_tokens_total") == 5
    assert read.spread("vllm:e2e_request_latency_seconds")[0] == 0


def test_an_abort_in_the_queue_has_a_queue_time_and_no_prefill():
    metrics = Metrics(clock=Clock())
    request = metrics.request_started("m", "openai")
    request.submitted()
    request.finished("abort", Usage(5), Timing(3.0, 3.0, 3.0))
    read = Read(metrics)
    assert read.spread("vllm:request_queue_time_seconds") == (1, 3.0)
    assert read.spread("vllm:request_prefill_time_seconds")[0] == 0


def test_waiting_and_running_always_add_up():
    metrics = Metrics(["m"])
    assert load(metrics) == (0, 0)
    first, second, third = (metrics.request_started("m", "openai") for _ in range(3))
    assert load(metrics) == (3, 0)
    first.submitted()
    second.submitted()
    second.submitted()
    assert load(metrics) == (1, 2)
    metrics.replica_report("m", Report("1", 2, {"waiting": 1, "running": 1}))
    assert load(metrics) == (2, 1)
    first.tokens(1)
    second.first_token()
    assert load(metrics) == (1, 2)  # the report is old by now
    third.finished("abort")
    third.finished("error")
    first.finished("stop")
    assert load(metrics) == (0, 1)
    second.finished("stop")
    assert load(metrics) == (0, 0)
    read = Read(metrics)
    assert read("vllm:request_success_total", finished_reason="stop") == 2
    assert read("vllm:request_success_total", finished_reason="error") == 0  # the first word counts


def test_totals_of_replicas_add_up_over_restarts():
    metrics = Metrics()

    def report(**values: float) -> Read:
        metrics.replica_report("m", Report("1", 0, values))
        return Read(metrics)

    report(prompt_tokens=100, cached_tokens=40, preemptions=1, busy_seconds=2.5, blocks_total=10, blocks_used=4)
    read = report(prompt_tokens=150, cached_tokens=60, preemptions=1, busy_seconds=3.0, blocks_total=10, blocks_used=5)
    assert read("vllm:prefix_cache_queries_total") == 150
    assert read("vllm:prefix_cache_hits_total") == 60
    assert read("vllm:num_preemptions_total") == 1
    assert read("triptych_engine_busy_seconds_total") == 3
    assert read("vllm:kv_cache_usage_perc") == read("vllm:gpu_cache_usage_perc") == 0.5
    assert read("vllm:cache_config_info", block_size="16", num_gpu_blocks="10") == 1
    metrics.replica_gone("m", crashed=True)
    read = Read(metrics)
    assert (read("vllm:kv_cache_usage_perc"), read("vllm:cache_config_info")) == (0, None)
    assert read("triptych_replica_crashes_total") == 1
    assert report(prompt_tokens=200)("vllm:prefix_cache_queries_total") == 350
    read = report(prompt_tokens=30, blocks_total=20)
    assert read("vllm:prefix_cache_queries_total") == 380
    assert read("vllm:cache_config_info", num_gpu_blocks="20") == 1
    assert report(prompt_tokens=30, blocks_total=21)("vllm:cache_config_info", num_gpu_blocks="21") == 1


def test_images_looked_up_and_tokens_of_steps_as_a_replica_counts_them():
    metrics, counters = Metrics(), Counters(image_queries=5, image_hits=3)
    name = "vllm:iteration_tokens_total"
    assert Read(Metrics(["m"])).spread(name) == (0, 0)
    for tokens in (1, 1, 8, 9, 20_000):
        counters.step_done(tokens)
    metrics.replica_report("m", Report("1", 0, counters.values()))
    read = Read(metrics)
    assert (read("vllm:mm_cache_queries_total"), read("vllm:mm_cache_hits_total")) == (5, 3)
    assert read.spread(name) == (5, 20_019)
    passed = {bound: read(f"{name}_bucket", le=bound) for bound in ("1.0", "8.0", "16.0", "16384.0", "+Inf")}
    assert passed == {"1.0": 2, "8.0": 3, "16.0": 4, "16384.0": 4, "+Inf": 5}
    metrics.replica_gone("m")
    other = Counters(image_queries=2)
    other.step_done(300)
    metrics.replica_report("m", Report("2", 0, other.values()))
    read = Read(metrics)
    assert read("vllm:mm_cache_queries_total") == 7
    assert read.spread(name) == (6, 20_319)
    assert (read(f"{name}_bucket", le="256.0"), read(f"{name}_bucket", le="512.0")) == (4, 5)


def test_models_replicas_and_rejections_have_series_of_their_own():
    metrics = Metrics()
    metrics.request_started("a", "openai").finished("stop")
    metrics.request_started("m", "openai", engine="1").finished("stop")
    metrics.rejected("m", "queue_full")
    metrics.rejected("m", "queue_full")
    read = Read(metrics)
    assert read("vllm:request_success_total", model_name="a", finished_reason="stop") == 1
    assert read("vllm:request_success_total", engine="1", finished_reason="stop") == 1
    assert read("vllm:admission_rejections_total", reason="queue_full") == 2


def test_http_requests_by_route_method_and_class_of_status():
    metrics = Metrics()
    metrics.http_request("/v1/chat/completions", "POST", 200, 0.2)
    metrics.http_request("/v1/chat/completions", "POST", 201, 0.3)
    metrics.http_request("other", "BREW", 404, 0.001)
    read = Read(metrics)
    route = {"handler": "/v1/chat/completions", "method": "POST"}
    assert read("http_requests_total", status="2xx", **route) == 2
    assert read.spread("http_request_duration_seconds", **route) == (2, 0.5)
    assert read("http_requests_total", handler="other", method="other", status="4xx") == 1


def test_starts_states_and_images():
    metrics = Metrics()
    metrics.phase("m", Phase("load", 1.5, 1, 2))
    metrics.phase("m", Phase("load", 3.0))
    metrics.model_state("m", "starting")
    metrics.model_state("m", "ready")
    metrics.image_fetched(0.3)
    metrics.image_fetched(10.0, "timeout")
    read = Read(metrics)
    assert read("triptych_cold_start_seconds", model_name="m", phase="load") == 3
    states = {s.labels["state"]: s.value for s in read.samples if s.name == "triptych_model_state"}
    assert states == {"stopped": 0, "starting": 0, "ready": 1, "failed": 0}
    assert read.spread("triptych_image_fetch_seconds", outcome="timeout") == (1, 10)
