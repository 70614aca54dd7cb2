"""A histogram that is told of events one by one, or by how much each of its buckets grew where others counted.

One event takes a tenth of what the library's own histogram takes, which locks each of its numbers: every request is
measured by a dozen of them. Events are told on one thread.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class ToldSeries:
    """One set of labels; `buckets` are not added up, and the last one is of what is above all `bounds`."""

    __slots__ = ("_bounds", "buckets", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.buckets = [0.0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """An event."""
        self.buckets[bisect_left(self._bounds, value)] += 1
        self.sum += value

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
        self._bounds = bounds
        self._series: dict[tuple[str, ...], ToldSeries] = {}

    def labels(self, *values: str) -> ToldSeries:
        """The series of these labels, from its first mention on."""
        found = self._series.get(values)
        if found is None:
            found = self._series[values] = ToldSeries(self._bounds)
        return found

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self._name, self._text, labels=self._label_names)
        bounds = [*map(floatToGoString, self._bounds), "+Inf"]
        for values, series in list(self._series.items()):
            passed, buckets = 0.0, []
            for bound, count in zip(bounds, list(series.buckets), strict=True):
                passed += count
                buckets.append((bound, passed))
            family.add_metric(values, buckets, series.sum)
        yield family
