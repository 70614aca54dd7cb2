"""The recipes of a model's page: what its clients do with it, in every dialect and language."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .call import DIALECTS, LANGUAGES, Call, Dialect
from .door import Door
from .replicate_tasks import replicate_tasks
from .runware_tasks import runware_tasks
from .sample import SAMPLE
from .task import Recipe
from .write import recipe

IMAGE = "picture.png"
LOOK = "Describe the picture."
SUM = "What is 17 + 25?"
_LOCAL = f"`{IMAGE}` is any PNG, JPEG or WebP file in the folder where it runs."
_INLINE = "The data URI is a small drawn picture; an `https://` URL may stand in its place."


def recipes_for(
    names: Sequence[str], sees: bool, base_url: str, key: bool, dialects: Sequence[Dialect] = DIALECTS
) -> tuple[Recipe, ...]:
    """By dialect, task and language. `names` are what the model answers to on this server, the one to show first;
    each dialect takes of them the form that its clients know. `sees` says whether it takes pictures; `base_url` and
    `key` as for `recipe`; `dialects` are those that the server speaks.
    """
    door = Door(base_url, key)
    made = [*_openai(names, sees, door), *_replicate(names, sees, door), *(_runware(names, door) if sees else ())]
    return tuple(each for each in made if each.dialect in dialects)


def _openai(names: Sequence[str], sees: bool, door: Door) -> Iterator[Recipe]:
    asked = _call(names, sees)
    yield from _each("openai", "Ask about an image" if sees else "Ask a question", asked, door)
    yield from _each("openai", "Stream the answer", _call(names, sees, stream=True), door)
    if sees:
        inline = Call.asking(names[0], LOOK, SAMPLE, sees=True)
        yield from _each("openai", "Show an image without a file", inline, door, _INLINE)


def _replicate(names: Sequence[str], sees: bool, door: Door) -> Iterator[Recipe]:
    cold = {"temperature": 0}
    why = "With temperature 0 the answer is the likeliest one, and always the same."
    yield from _each("replicate", "Run", _call(names, sees, parameters=cold), door, why)
    yield from _each("replicate", "Stream", _call(names, sees, parameters=cold, stream=True), door)
    yield from replicate_tasks(_call(names, sees, parameters=cold), door)


def _runware(names: Sequence[str], door: Door) -> Iterator[Recipe]:
    call = _call(names, True)
    yield from _each("runware", "Caption an image", call, door, "Without `prompt` the picture is described.")
    yield from runware_tasks(call, door)


def _call(names: Sequence[str], sees: bool, **more: object) -> Call:
    """What recipes ask, of a file if the model sees."""
    images = (IMAGE,) if sees else ()
    return Call.asking(names[0], LOOK if sees else SUM, *images, names=tuple(names[1:]), sees=sees, **more)


def _each(dialect: Dialect, title: str, call: Call, door: Door, note: str = "") -> Iterator[Recipe]:
    """The call in every language."""
    for language in LANGUAGES:
        notes = [note, _LOCAL if IMAGE in call.images else ""]
        written = recipe(dialect, language, call, door.base, door.key)
        yield Recipe.of(title, dialect, language, written, " ".join(each for each in notes if each))
