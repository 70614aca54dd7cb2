"""What Replicate's clients do beside running a model: webhooks, files, cancelling, lists; and what their next version
does otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .call import LANGUAGES, Call, Language, Written
from .door import Door
from .names import replicate_name
from .programs import Files
from .replicate import INSTALL_FIRST, inputs_of, needs, note_on, shown, written
from .task import Recipe

_HOOK = (
    "The program does not wait: the server posts the prediction to the address in `WEBHOOK_URL` when it has ended. "
    "That address must be https, and reachable from the server."
)
_FILE = "The file is kept for 24 hours, and any number of predictions may use its URL."
_STOP = "What has already ended stays as it is; its status then says so."
_LIST = "The newest first, 100 to a page, and only those made with the same key."
_PYTHON: tuple[Language, ...] = ("python",)
_NEXT = "For `replicate` 2, which is not yet released."
_INSTALL_NEXT = "pip install --pre 'replicate>=2.0.0b4'"


@dataclass(frozen=True, slots=True)
class _Task:
    """`template` is one of the programs; `first` stands in a shell before it, `install` in place of the usual. What the
    model is asked has no picture unless `looks`; the tasks that `see` are only for models that do.
    """

    title: str
    template: str
    note: str
    languages: tuple[Language, ...] = LANGUAGES
    looks: bool = False
    sees: bool = False
    first: str = ""
    install: str = ""


_TASKS = (
    _Task("Stream, version 2", "stream2", _NEXT, _PYTHON, looks=True, install=_INSTALL_NEXT),
    _Task("Be told by a webhook", "webhook", _HOOK, looks=True, first="export WEBHOOK_URL=https://example.org/hook"),
    _Task("Upload a file", "upload", _FILE, sees=True, install=INSTALL_FIRST),
    _Task("Upload a file, version 2", "upload2", f"{_NEXT} {_FILE}", _PYTHON, sees=True, install=_INSTALL_NEXT),
    _Task("Cancel", "cancel", _STOP, install=INSTALL_FIRST),
    _Task("Cancel, version 2", "cancel2", f"{_NEXT} {_STOP}", _PYTHON, install=_INSTALL_NEXT),
    _Task("List predictions", "list", _LIST),
)


def replicate_tasks(call: Call, door: Door) -> Iterator[Recipe]:
    """The recipes about `call`, which has at most one picture."""
    for task in _TASKS:
        for language in task.languages if call.sees or not task.sees else ():
            yield Recipe.of(task.title, "replicate", language, _written(task, language, call, door), task.note)


def _written(task: _Task, language: Language, call: Call, door: Door) -> Written:
    inputs, _ = inputs_of(call)
    image = inputs.pop("image", "")
    files = Files([image] if task.looks and image else [])
    if task.looks and image:
        # Clients turn open files into URLs when they run a model, but not all of them when they create a prediction.
        value = files.value(image, language) if task.template == "webhook" else shown(image, language, files)
        inputs = {"image": value, **inputs}
    name = replicate_name((call.model, *call.names))
    code = written(task.template, language, door, name, inputs, files, image=image)
    install = task.install if language == "python" else ""
    return Written(code, note_on(task.template, language), needs(language, door, task.first, install=install))
