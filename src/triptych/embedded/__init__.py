"""The packaged demonstration models: their names and the folders that hold their checkpoints.

Importing this package costs nothing: no torch, no numpy. The drawn world that the models know is in
`triptych.embedded.world`.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

_FOLDERS = {
    "triptych/tiny-llava-1.5": "tiny-llava-1.5",
    "triptych/tiny-llava-1.6": "tiny-llava-1.6",
    "triptych/tiny-mixtral": "tiny-mixtral",
}

NAMES: tuple[str, ...] = tuple(_FOLDERS)


def path(name: str) -> Path:
    """Return the checkpoint folder of an embedded model.

    `name` is one of `NAMES`. Raises KeyError, naming the choices, for any other. The package must be installed as
    files (not imported from a zip), because the weights are mapped into memory.
    """
    if name not in _FOLDERS:
        raise KeyError(f"no embedded model {name!r}; there are {', '.join(NAMES)}")
    folder = resources.files(__name__) / "models" / _FOLDERS[name]
    if not isinstance(folder, Path):
        raise FileNotFoundError(f"{name}: the package is not installed as ordinary files")
    return folder


__all__ = ["NAMES", "path"]
