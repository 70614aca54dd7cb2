"""Decoding pictures ahead of the step that shows them to the model, off the engine's thread."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from ..errors import ImageError
from ..request import ImageSpan, Request

if TYPE_CHECKING:
    import numpy as np

    from .images import ImageInput

    class PixelSource(Protocol):
        """The part of a preprocessor used here."""

        def pixel_values(self, image: ImageInput) -> np.ndarray: ...


@dataclass(slots=True)
class _Decoding:
    future: Future[np.ndarray]
    tiles: int
    holders: set[str]


class NoPictures:
    """The source of a text model."""

    def pixel_values(self, image: ImageInput) -> np.ndarray:
        raise ImageError(f"{image.label}: this is a text model, it takes no images; leave them out")


class PixelStore:
    """Pixel values `[tiles, 3, S, S]` by digest, each decoded once however many requests carry it.

    Every request that carries an image `hold`s it and `release`s it at its end; the pixels themselves go as
    soon as they are `take`n for encoding, because the embedding cache has the features from then on.
    """

    def __init__(self, source: PixelSource, workers: int = 2) -> None:
        self._source = source
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="pixels")
        self._decoding: dict[bytes, _Decoding] = {}

    @property
    def tiles(self) -> int:
        """Tiles decoded or being decoded and not yet taken: what the pixel memory holds."""
        return sum(entry.tiles for entry in self._decoding.values())

    def hold(self, span: ImageSpan, holder: str, on_done: Callable[[], None]) -> Future[np.ndarray]:
        """The pixels to come; `on_done` is called from a worker thread when decoding has ended."""
        entry = self._decoding.get(span.digest)
        if entry is None:
            future = self._pool.submit(self._source.pixel_values, span.image)
            entry = self._decoding[span.digest] = _Decoding(future, span.tiles, set())
        entry.holders.add(holder)
        entry.future.add_done_callback(lambda _: on_done())
        return entry.future

    def release(self, digest: bytes, holder: str) -> None:
        entry = self._decoding.get(digest)
        # Taken for encoding since, and perhaps decoded again for somebody else.
        if entry is None or holder not in entry.holders:
            return
        entry.holders.remove(holder)
        if not entry.holders:
            self._decoding.pop(digest).future.cancel()

    def take(self, span: ImageSpan) -> np.ndarray:
        """The pixels, decoded now if nobody did before. Raises ImageError."""
        entry = self._decoding.pop(span.digest, None)
        return entry.future.result() if entry is not None else self._source.pixel_values(span.image)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


class _HasRequest(Protocol):
    @property
    def request(self) -> Request: ...


T = TypeVar("T", bound=_HasRequest)


@dataclass(order=True, slots=True)
class _Arrival(Generic[T]):
    priority: int
    number: int
    item: T = field(compare=False)
    spans: tuple[ImageSpan, ...] = field(compare=False, default=())
    futures: tuple[Future[np.ndarray], ...] = field(compare=False, default=())


class Intake(Generic[T]):
    """The waiting room in front of the scheduler: requests enter it when their pictures are decoded.

    Decoding runs ahead in order of (priority, arrival), but never further than `tile_capacity` tiles, so that a
    thousand queued pictures do not sit in memory as pixels. Not thread-safe: it belongs to the engine's thread.
    """

    def __init__(self, pixels: PixelStore, wake: Callable[[], None], tile_capacity: int = 64) -> None:
        self._pixels = pixels
        self._wake = wake
        self._tile_capacity = tile_capacity
        self._waiting: list[_Arrival[T]] = []
        self._started: list[_Arrival[T]] = []
        self._held: dict[str, list[bytes]] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._waiting) + len(self._started)

    @property
    def can_start(self) -> bool:
        """Whether `poll` would start decoding: pixels were taken or released since the last time."""
        return bool(self._waiting) and self._fits(self._waiting[0])

    def push(self, item: T, spans: Iterable[ImageSpan]) -> None:
        """`spans` are the images that will have to be encoded, so must be decoded first."""
        self._count += 1
        arrival = _Arrival(item.request.priority, self._count, item, tuple(spans))
        if arrival.spans:
            heapq.heappush(self._waiting, arrival)
        else:  # nothing to decode: text never waits behind pictures
            self._started.append(arrival)

    def poll(self) -> list[tuple[T, Exception | None]]:
        """Items whose pictures are all decoded, in order, each with the error of a picture that was not."""
        self._start()
        done: list[_Arrival[T]] = []
        decoding: list[_Arrival[T]] = []
        for arrival in self._started:
            ready = all(future.done() for future in arrival.futures)
            (done if ready else decoding).append(arrival)
        self._started = decoding
        self._start()
        return [(arrival.item, _first_error(arrival.futures)) for arrival in done]

    def discard(self, request_id: str) -> None:
        """Forgets a request that has ended, waiting here or not, and lets go of its pixels."""
        self._waiting = [arrival for arrival in self._waiting if arrival.item.request.request_id != request_id]
        heapq.heapify(self._waiting)
        self._started = [arrival for arrival in self._started if arrival.item.request.request_id != request_id]
        for digest in self._held.pop(request_id, ()):
            self._pixels.release(digest, request_id)

    def _start(self) -> None:
        while self.can_start:
            arrival = heapq.heappop(self._waiting)
            holder = arrival.item.request.request_id
            arrival.futures = tuple(self._pixels.hold(span, holder, self._wake) for span in arrival.spans)
            self._held[holder] = [span.digest for span in arrival.spans]
            self._started.append(arrival)

    def _fits(self, arrival: _Arrival[T]) -> bool:
        # One request always fits, or a prompt with many pictures would wait for ever.
        tiles = self._pixels.tiles
        return not tiles or tiles + sum(span.tiles for span in arrival.spans) <= self._tile_capacity


def _first_error(futures: Iterable[Future[np.ndarray]]) -> Exception | None:
    for future in futures:
        error = future.exception()
        if isinstance(error, Exception):
            return error
    return None
