"""Which of a model's names stands in a recipe: the one in the form that the dialect's clients know."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...dialects.replicate.published import PINNED
from ...names import has_owner, with_owner

_AIR = re.compile(r"[\w-]+:\d+@\d+", re.ASCII)


def replicate_name(names: Sequence[str]) -> str:
    """A name with an owner, without which Replicate's clients send nothing: best one that is known at Replicate."""
    owned = [name for name in names if has_owner(name)]
    published = [name for name in owned if name.lower() in PINNED]
    return next(iter([*published, *owned, with_owner(names[0])]))


def runware_name(names: Sequence[str]) -> str:
    """An id as Runware writes them (`runware:150@2`) if there is one."""
    return next((name for name in names if _AIR.fullmatch(name)), names[0])
