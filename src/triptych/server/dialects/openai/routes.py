"""OpenAI's routes: under /v1, without it, and under /openai/v1."""

from __future__ import annotations

from starlette.routing import BaseRoute, Route

from ...endpoint import (
    FORM,
    JSON,
    NO_BODY,
    BodyTooLargeError,
    Doors,
    Endpoint,
    FormError,
    Handler,
    NotAcceptingError,
    Refusal,
    WrongContentTypeError,
    WrongKeyError,
)
from ...exchange import Answer, Exchange
from ...service import Service
from . import chat, completions, models, responses
from .errors import OpenAIError, from_error
from .form import to_json
from .kept import Kept

PREFIXES = ("/v1", "", "/openai/v1")
# Families of OpenAI's routes that are not provided: a clear answer instead of a bare 404.
_ELSEWHERE = ("moderations", "images", "audio", "assistants", "threads", "realtime", "fine_tuning")


def routes(doors: Doors, kept: Kept | None = None) -> list[BaseRoute]:
    """Every route of the dialect; those of files and batches with `kept`."""
    table: list[tuple[str, str, Handler]] = [
        ("POST", "/chat/completions", chat.create),
        ("POST", "/completions", completions.create),
        ("POST", "/responses", responses.create),
        ("POST", "/responses/input_tokens", responses.count),
        ("GET", "/responses/{response_id}", responses.not_kept),
        ("DELETE", "/responses/{response_id}", responses.not_kept),
        ("POST", "/responses/{response_id}/cancel", responses.not_kept),
        ("GET", "/responses/{response_id}/input_items", responses.not_kept),
        ("GET", "/models", models.list_all),
        ("GET", "/models/{model:served}", models.retrieve),
        ("POST", "/tokenize", models.tokenize),
        ("POST", "/detokenize", models.detokenize),
        ("GET", "/tokenizer_info", models.tokenizer_info),
        ("POST", "/embeddings", no_embeddings),
    ]
    if kept is not None:
        files, batches = kept.file_routes, kept.batch_routes
        table += [
            ("POST", "/files", files.create),
            ("GET", "/files", files.list_all),
            ("GET", "/files/{file_id}", files.retrieve),
            ("DELETE", "/files/{file_id}", files.delete),
            ("GET", "/files/{file_id}/content", files.content),
            ("POST", "/batches", batches.create),
            ("GET", "/batches", batches.list_all),
            ("GET", "/batches/{batch_id}", batches.retrieve),
            ("POST", "/batches/{batch_id}/cancel", batches.cancel),
        ]
    made: list[BaseRoute] = []
    for method, path, handler in table:
        form = FORM if (method, path) == ("POST", "/files") else NO_BODY if path.endswith("/cancel") else JSON
        endpoint = Endpoint(doors, "openai", path, handler, refusal, form)
        methods = ["GET", "HEAD"] if method == "GET" else [method]
        made += [Route(prefix + path, endpoint, methods=methods) for prefix in PREFIXES]
    return made


async def no_embeddings(service: Service, exchange: Exchange, body: bytes) -> Answer:
    """No model here embeds; clients that ask should hear it as their own fault, not as a missing route."""
    raise OpenAIError("No embedding model is served.", "model", "unsupported_model")


def refusal(error: Exception) -> Refusal:
    """Any error in OpenAI's form."""
    told = _before_the_handler(error) or from_error(error, [])
    return Refusal(told.status, to_json(told.body()), told.code or told.type, told.headers)


def _before_the_handler(error: Exception) -> OpenAIError | None:
    if isinstance(error, NotAcceptingError):
        headers = {"retry-after": "5"}
        return OpenAIError("The server is about to stop.", None, "shutting_down", 503, "server_error", headers)
    if isinstance(error, WrongKeyError):
        return OpenAIError(_wrong_key(error), None, "invalid_api_key", 401, headers={"www-authenticate": "Bearer"})
    if isinstance(error, WrongContentTypeError):
        text = str(error)
        return OpenAIError(f"{text[0].upper()}{text[1:]}.", None, "unsupported_media_type", 415)
    if isinstance(error, FormError):
        text = str(error)
        return OpenAIError(f"{text[0].upper()}{text[1:]}.")
    if isinstance(error, BodyTooLargeError):
        return OpenAIError(f"The body is over the limit of {error.most} bytes.", None, "request_too_large", 413)
    return None


def _wrong_key(error: WrongKeyError) -> str:
    if error.given:
        return f"Incorrect API key provided{f': {error.why}' if error.why else ''}."
    return "You didn't provide an API key. This server needs one: send it in the header `Authorization: Bearer KEY`."


def not_found(path: str) -> OpenAIError:
    """What is said of a path that is no route."""
    family = path.removeprefix("/openai").removeprefix("/v1").strip("/").partition("/")[0]
    hint = f" {family} is not provided by this server." if family in _ELSEWHERE else ""
    return OpenAIError(f"There is no route {path}.{hint}", None, "not_found", 404)


def wrong_method(method: str, path: str) -> OpenAIError:
    return OpenAIError(f"{path} does not take {method}.", None, "method_not_allowed", 405)
