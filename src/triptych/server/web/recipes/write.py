"""Any call as code in any dialect and language."""

from __future__ import annotations

from . import openai, replicate, runware
from .call import Call, Dialect, Language, Written
from .door import Door

_WRITERS = {"openai": openai.write, "replicate": replicate.write, "runware": runware.write}


def recipe(dialect: Dialect, language: Language, call: Call, base_url: str, key: bool) -> Written:
    """A program that makes the call and prints the answer. `base_url` is the server's, without a path; `key` says
    whether it asks for keys, which programs then find in a variable. Raises UnwritableError if the dialect cannot say
    it.
    """
    return _WRITERS[dialect](call, language, Door(base_url, key))
