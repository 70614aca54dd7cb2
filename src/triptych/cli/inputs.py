"""Which images the arguments of a command stand for."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".webp", ".avif", ".bmp", ".dib", ".tif",
    ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".ico", ".qoi",
)
_REMOTE = ("http://", "https://", "data:")


def is_remote(source: str) -> bool:
    """A URL or data URI rather than a file."""
    return source.lower().startswith(_REMOTE)


def find_images(arguments: Sequence[str]) -> list[str]:
    """Files, URLs, the images below folders and those a pattern matches, each once, in a stable order.

    Folders are searched to any depth; hidden files and folders in them are left out, and so is what does not
    have an image's suffix. A file named explicitly is taken whatever it is called; one that does not exist stays
    in the list, so that it is reported like any other unreadable image.
    """
    found: dict[str, None] = {}
    for argument in arguments:
        for path in _expand(argument):
            found[path] = None
    return list(found)


def _expand(argument: str) -> list[str]:
    if is_remote(argument):
        return [argument]
    expanded = os.path.expanduser(argument)
    if os.path.isdir(expanded):
        return list(_walk(expanded))
    if not os.path.lexists(expanded) and glob.has_magic(expanded):
        return _matches(expanded) or [argument]
    return [expanded]


def _matches(pattern: str) -> list[str]:
    files: list[str] = []
    for match in sorted(glob.glob(pattern, recursive=True)):
        files.extend(_walk(match) if os.path.isdir(match) and not pattern.endswith("**") else [match])
    files = [file for file in files if not os.path.isdir(file)]
    images = [file for file in files if _looks_like_image(file)]
    return images or files


def _walk(folder: str) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and _looks_like_image(name):
                yield os.path.join(parent, name)


def _looks_like_image(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES
