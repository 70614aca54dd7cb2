"""What Runware's clients do beside captions that are waited for: uploads, and captions that are polled."""

from __future__ import annotations

from collections.abc import Iterator

from .call import LANGUAGES, Call, Written
from .door import Door
from .names import runware_name
from .runware import needs, note_on, written
from .task import Recipe

_TASKS = (
    ("Upload an image", "upload", "The image is kept for 30 days after its last use."),
    ("Caption without waiting", "async", "The task is acknowledged at once; `getResponse` asks for its result."),
)
# The present client polls videos alone; its successor polls whatever is asynchronous.
_INSTALL = {("async", "python"): "pip install runware-sdk"}
_POLLED = "The client asks by itself."


def runware_tasks(call: Call, door: Door) -> Iterator[Recipe]:
    """The recipes about `call`, which has one picture."""
    name, [image] = runware_name((call.model, *call.names)), call.images
    for title, what, note in _TASKS:
        for language in LANGUAGES:
            code = written(what, language, door, name, image, call.question.text)
            told = f"{note} {_POLLED}" if what == "async" and language != "curl" else note
            first = needs(language, door, install=_INSTALL.get((what, language), ""))
            yield Recipe.of(title, "runware", language, Written(code, note_on(what, language), first), told)
