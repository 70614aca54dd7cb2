"""Pages from templates. Styles and scripts stand in the page itself, and its policy lets in nothing but these."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

_CODE = re.compile(r"`([^`]+)`")


def render(template: str, **values: Any) -> str:
    """The page that `template` makes of `values`. Everything in them is escaped but `Markup`."""
    return _templates().get_template(template).render(style=style(), script=script(), **values)


def policy() -> str:
    """The Content-Security-Policy of all pages: our style, our script, pictures in the page, and nothing else."""
    return (
        f"default-src 'none'; style-src '{_digest(style())}'; script-src '{_digest(script())}'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


@cache
def style() -> Markup:
    return Markup(_static("style.css"))


@cache
def script() -> Markup:
    return Markup(_static("script.js"))


def _static(name: str) -> str:
    return resources.files(__package__).joinpath("static", name).read_text("utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader(__package__), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    templates.filters |= {"prose": prose, "words": words, "slug": slug}
    return templates


def prose(text: str) -> Markup:
    """Paragraphs: an empty line begins a new one."""
    return Markup("\n").join(Markup("<p>{}</p>").format(words(part)) for part in text.split("\n\n") if part.strip())


def slug(text: str) -> str:
    """A name as part of an id."""
    return re.sub(r"\W+", "-", text.lower())


def words(text: str) -> Markup:
    """A line in which `backticks` mark code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))
