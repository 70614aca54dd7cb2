"""The programs that recipes are made of: text templates, in which everything that varies goes through a literal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from .call import Language
from .literals import Code, arguments, javascript, python, shell_json, word

_MEDIA_TYPES = {"jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp", "gif": "image/gif", "bmp": "image/bmp"}
_REMOTE = ("data:", "http://", "https://")


class Files:
    """The local pictures of a program. Each is read once, into a variable of its own."""

    def __init__(self, images: Iterable[str]) -> None:
        names = list(dict.fromkeys(image for image in images if not image.startswith(_REMOTE)))
        numbered = len(names) > 1
        self._variables = {name: f"image{number}" if numbered else "image" for number, name in enumerate(names, 1)}

    def __iter__(self) -> Iterator[tuple[str, str, str]]:
        """Variable, name and the head of the data URI of each."""
        for name, variable in self._variables.items():
            kind = _MEDIA_TYPES.get(name.rpartition(".")[2].lower(), "image/png")
            yield variable, name, f"data:{kind};base64,"

    def __len__(self) -> int:
        return len(self._variables)

    def value(self, image: str, language: Language) -> str | Code:
        """What stands for the picture in a body."""
        variable = self._variables.get(image)
        if variable is None:
            return image
        return Code(f"${variable}" if language == "curl" else variable)


def program(template: str, **values: Any) -> str:
    """The program that `templates/TEMPLATE` makes of `values`."""
    return _templates().get_template(template).render(**values).strip("\n") + "\n"


@cache
def _templates() -> Environment:
    # No HTML is made here: what is shown on a page is escaped there.
    templates = Environment(
        loader=PackageLoader(__package__), autoescape=False, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, auto_reload=False,
    )  # fmt: skip
    templates.filters |= {
        "python": python, "arguments": arguments, "javascript": javascript, "shell_json": shell_json, "word": word,
    }  # fmt: skip
    templates.globals |= {"code": Code}
    return templates
