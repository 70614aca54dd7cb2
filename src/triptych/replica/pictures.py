"""The pictures that a server has sent, by digest, within a limit of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from ..engine.imaging.images import ImageInput, open_image
from .protocol import Shown


class PictureStore:
    """Encoded pictures, least recently used first out. Thread-safe; headers are read by whoever asks first."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._kept: OrderedDict[bytes, bytes | ImageInput] = OrderedDict()
        self._lock = threading.Lock()
        self.nbytes = 0

    def put(self, digest: bytes, data: bytes) -> None:
        """Keep a picture's file. The newest one is kept whatever its size."""
        with self._lock:
            if digest in self._kept:
                self._kept.move_to_end(digest)
                return
            self._kept[digest] = data
            self.nbytes += len(data)
            while self.nbytes > self._most and len(self._kept) > 1:
                _, dropped = self._kept.popitem(last=False)
                self.nbytes -= _size(dropped)

    def take(self, shown: Sequence[Shown]) -> tuple[list[ImageInput], list[bytes]]:
        """The pictures that are shown, in order, labelled `images[0]` and so on; or none, and the digests of those that
        are not here. Raises ImageError with that label for one that cannot be opened.
        """
        digests = dict.fromkeys(each.digest for each in shown)
        with self._lock:
            found = {digest: self._kept[digest] for digest in digests if digest in self._kept}
            for digest in found:
                self._kept.move_to_end(digest)
        missing = [digest for digest in digests if digest not in found]
        if missing:
            return [], missing
        opened = []
        for number, each in enumerate(shown):
            picture = found[each.digest]
            if isinstance(picture, bytes):
                picture = found[each.digest] = self._open(each.digest, picture, f"images[{number}]")
            opened.append(replace(picture, label=f"images[{number}]", detail=each.detail))
        return opened, []

    def _open(self, digest: bytes, data: bytes, label: str) -> ImageInput:
        picture = open_image(data, label=label)
        with self._lock:
            if digest in self._kept:
                self._kept[digest] = picture
        return picture

    def __len__(self) -> int:
        return len(self._kept)


def _size(picture: bytes | ImageInput) -> int:
    data = picture if isinstance(picture, bytes) else picture.data
    return len(data) if isinstance(data, bytes) else 0
