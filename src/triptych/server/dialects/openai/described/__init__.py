"""This dialect's routes in words, for the reference."""

from __future__ import annotations

from ....operations import Group
from .chat import GROUP
from .files import KEPT
from .responses import RESPONSES


def groups(kept: bool) -> tuple[Group, ...]:
    """What is said of every route; of files and batches if the server has them (`kept`)."""
    return (GROUP, RESPONSES, KEPT) if kept else (GROUP, RESPONSES)
