"""Which of a model's names stands in a recipe: the one in the form that the dialect's clients know."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...dialects.replicate.published import PINNED

_AIR = re.compile(r"[\w-]+:\d+@\d+", re.ASCII)
# Under whom a model stands at Replicate's side if none of its names has an owner.
_OWNER = "triptych"


def replicate_name(names: Sequence[str]) -> str:
    """A name with an owner, without which Replicate's clients send nothing: best one that is known at Replicate."""
    owned = [name for name in names if name.count("/") == 1]
    published = [name for name in owned if name.lower() in PINNED]
    own = f"{_OWNER}/{re.sub(r'[^A-Za-z0-9._@-]+', '-', names[0])}"
    return next(iter([*published, *owned, own]))


def runware_name(names: Sequence[str]) -> str:
    """An id as Runware writes them (`runware:150@2`) if there is one."""
    return next((name for name in names if _AIR.fullmatch(name)), names[0])
