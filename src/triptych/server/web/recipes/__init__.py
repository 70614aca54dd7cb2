"""Calls as code that can be copied and run: Python, curl and JavaScript for each dialect, filled with this server's
address and names that it answers to.
"""

from __future__ import annotations

from .call import DIALECTS, LANGUAGES, Call, Dialect, Language, Turn, UnwritableError, Written
from .page import recipes_for
from .task import Recipe
from .write import recipe

__all__ = [
    "DIALECTS",
    "LANGUAGES",
    "Call",
    "Dialect",
    "Language",
    "Recipe",
    "Turn",
    "UnwritableError",
    "Written",
    "recipe",
    "recipes_for",
]
