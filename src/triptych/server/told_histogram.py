"""A histogram whose events others counted: it is told by how much each of their buckets grew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class ToldSeries:
    """One set of labels; `buckets` are not added up, and the last one is of what is above all bounds."""

    def __init__(self, buckets: int) -> None:
        self.buckets = [0.0] * buckets
        self.sum = 0.0

    def grow(self, buckets: Sequence[float], total: float) -> None:
        """So many more events in each bucket, whose values add up to `total`."""
        self.buckets = [have + more for have, more in zip(self.buckets, buckets, strict=True)]
        self.sum += total


class ToldHistogram(Collector):
    """The series by their labels; `bounds` are the upper ones, in order."""

    def __init__(self, name: str, text: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self._name = name
        self._text = text
        self._label_names = labels
        self._bounds = [*map(floatToGoString, bounds), "+Inf"]
        self._series: dict[tuple[str, ...], ToldSeries] = {}

    def labels(self, *values: str) -> ToldSeries:
        """The series of these labels, from its first mention on."""
        return self._series.setdefault(values, ToldSeries(len(self._bounds)))

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self._name, self._text, labels=self._label_names)
        for values, series in list(self._series.items()):
            passed, buckets = 0.0, []
            for bound, count in zip(self._bounds, series.buckets, strict=True):
                passed += count
                buckets.append((bound, passed))
            family.add_metric(values, buckets, series.sum)
        yield family
