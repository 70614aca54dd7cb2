"""Routes of pages: endpoints whose failures are pages too."""

from __future__ import annotations

import math

from starlette.routing import Route

from ...catalogue.errors import CatalogueError, UnknownNameError
from ..accounts.errors import ForbiddenError, KeysUnknownError, RateLimitError
from ..endpoint import (
    NO_BODY,
    BodyForm,
    BodyTooLargeError,
    Doors,
    Endpoint,
    Handler,
    NotAcceptingError,
    Refusal,
    WrongContentTypeError,
    WrongKeyError,
)
from .pages import GUARDS, HTML, render

PREFIX = "/app"
DIALECT = "pages"


class PageError(Exception):
    """What a page cannot show, and why, in a sentence for the person who reads it."""

    def __init__(self, message: str, status: int = 404, title: str = "There is no such page") -> None:
        super().__init__(message)
        self.status = status
        self.title = title


def page_route(
    doors: Doors, path: str, handler: Handler, method: str = "GET", form: BodyForm = NO_BODY, public: bool = False
) -> Route:
    """The route `path`, such as /app/models. `public` pages ask for no key."""
    return Route(path, Endpoint(doors, DIALECT, path, handler, refusal, form, public), methods=[method])


def refusal(error: Exception) -> Refusal:
    """A failure as a page."""
    status, title, message = _told(error)
    html = render("error.html", status=status, title=title, message=message)
    headers = dict(GUARDS)
    if isinstance(error, RateLimitError):
        headers["retry-after"] = str(math.ceil(error.retry_after))
    elif status == 503:
        headers["retry-after"] = "1"
    return Refusal(status, html.encode(), type(error).__name__, headers, HTML)


def _told(error: Exception) -> tuple[int, str, str]:
    """Status, title and message."""
    match error:
        case PageError():
            return error.status, error.title, str(error)
        case WrongKeyError():
            return 401, "Sign in to see this page", "This server asks for a key; a browser that signs in keeps one."
        case ForbiddenError():
            return 403, "Not with this key", sentence(error)
        case RateLimitError():
            return 429, "Too many at once", sentence(error)
        case KeysUnknownError():
            return 503, "Keys cannot be looked up", "The database is away. Try again in a moment."
        case UnknownNameError():
            return 404, "Not in the catalogue", sentence(error)
        case CatalogueError():
            return 400, "That cannot be computed", sentence(error)
        case BodyTooLargeError():
            return 413, "Too much at once", sentence(error)
        case WrongContentTypeError():
            return 415, "Not a form of this page", sentence(error)
        case NotAcceptingError():
            return 503, "Not ready", "The server is starting or about to stop. Try again in a moment."
        case _:
            return 500, "Something went wrong", "That is the server's fault. Its log says what happened."


def sentence(error: Exception) -> str:
    """What an error says, as a sentence."""
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '?')) else '.'}"
