"""The two kinds of models: what goes into them, and what is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...backend import Backend, sees
from ...predictions.stored import StoredGeneration
from . import llava, mixtral
from .inputs import Input, check, input_schema

_OUTPUT = {
    "type": "array", "title": "Output", "items": {"type": "string"},
    "x-cog-array-type": "iterator", "x-cog-array-display": "concatenate",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Family:
    """`vision` models take LLaVA's inputs, the others Mixtral's."""

    vision: bool
    inputs: tuple[Input, ...]
    what: str

    def openapi_schema(self) -> dict[str, Any]:
        """As clients read it: by it they know that there is a text, in pieces."""
        return {
            "openapi": "3.0.2",
            "info": {"title": "Cog", "version": "0.1.0"},
            "paths": {},
            "components": {"schemas": {"Input": input_schema(self.inputs), "Output": dict(_OUTPUT)}},
        }

    def values(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs with their defaults. Raises ProblemError with everything that is wrong."""
        return check(self.inputs, given)

    def unknown(self, given: Mapping[str, Any]) -> list[str]:
        """What was given and has no effect."""
        known = {each.name for each in self.inputs}
        return [name for name in given if name not in known]

    def generation(
        self, values: Mapping[str, Any], given: Mapping[str, Any], source: str | None, model: Backend
    ) -> StoredGeneration:
        """What to run; `source` is where the image is. Raises RefusedError."""
        if self.vision:
            sources = () if source is None else (source,)
            return StoredGeneration(llava.prompt_of(values, bool(sources)), llava.params_of(values), sources)
        can_chat = model.info is None or model.info.can_chat
        return StoredGeneration(mixtral.prompt_of(values, can_chat), mixtral.params_of(values, given))


LLAVA = Family(True, llava.INPUTS, "reads a text and an image and answers with text")
MIXTRAL = Family(False, mixtral.INPUTS, "reads a text and answers with text")


def family_of(model: Backend) -> Family:
    """The schema that a model is called by."""
    return LLAVA if sees(model) else MIXTRAL
