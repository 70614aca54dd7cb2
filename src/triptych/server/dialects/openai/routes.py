"""OpenAI's routes: under /v1, without it, and under /openai/v1."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable, Sequence

from starlette.routing import BaseRoute, Route

from ...exchange import Answer, BodyTooLargeError, ClientGoneError, Events, Exchange, Receive, Scope, Send
from ...service import Service
from ...watch import Watch
from . import chat, completions, models
from .errors import OpenAIError, from_error
from .form import to_json

log = logging.getLogger("triptych.server")

Handler = Callable[[Service, Exchange, bytes], Awaitable[Answer | Events]]
PREFIXES = ("/v1", "", "/openai/v1")
# Families of OpenAI's routes that are not provided: a clear answer instead of a bare 404.
_ELSEWHERE = ("embeddings", "moderations", "images", "audio", "assistants", "threads", "realtime", "fine_tuning")


class Endpoint:
    """One route: key, body, handler, answer, and every failure in OpenAI's form. `keys` empty: no key is asked for."""

    def __init__(
        self, service: Service, watch: Watch, route: str, handler: Handler, keys: Sequence[str], most_body: int
    ) -> None:
        self._service = service
        self._watch = watch
        self._route = route
        self._handler = handler
        self._keys = [key.encode() for key in keys]
        self._most_body = most_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        told: OpenAIError | None = None
        try:
            self._admit(exchange)
            body = await exchange.body(self._most_body)
            await exchange.while_connected(self._serve(exchange, body))
        except ClientGoneError:
            pass
        except BodyTooLargeError as error:
            text = f"The body is over the limit of {error.most} bytes."
            told = OpenAIError(text, None, "request_too_large", 413)
        except Exception as error:
            told = from_error(error, [])
            if told.status == 500:
                log.exception("request %s failed", exchange.request_id, exc_info=error)
        if told is not None and not exchange.status:
            await refuse(exchange, told)
        self._watch.over(exchange, "openai", self._route, told.code or told.type if told else None)

    def _admit(self, exchange: Exchange) -> None:
        if not self._watch.state.accepting:
            raise OpenAIError("The server is about to stop.", None, "shutting_down", 503, "server_error",
                              {"retry-after": "5"})  # fmt: skip
        if self._keys:
            scheme, _, token = exchange.headers.get("authorization", "").partition(" ")
            given = token.strip().encode() if scheme.lower() == "bearer" else b""
            # Every key is compared, so that the time says nothing of which.
            if not sum(hmac.compare_digest(given, key) for key in self._keys):
                raise OpenAIError("Incorrect API key provided.", None, "invalid_api_key", 401,
                                  headers={"www-authenticate": "Bearer"})  # fmt: skip
        kind = exchange.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if exchange.scope["method"] == "POST" and kind != "application/json":
            text = f"The content type must be application/json, not {kind}."
            raise OpenAIError(text, None, "unsupported_media_type", 415)

    async def _serve(self, exchange: Exchange, body: bytes) -> None:
        answer = await self._handler(self._service, exchange, body)
        if isinstance(answer, Events):
            await exchange.stream(answer)
        else:
            await exchange.answer(answer)


async def refuse(exchange: Exchange, error: OpenAIError) -> None:
    """Answer with an error."""
    await exchange.answer(Answer(to_json(error.body()), error.status, headers=error.headers))


def routes(service: Service, watch: Watch, keys: Sequence[str], most_body: int) -> list[BaseRoute]:
    """Every route of the dialect."""
    table: list[tuple[str, str, Handler]] = [
        ("POST", "/chat/completions", chat.create),
        ("POST", "/completions", completions.create),
        ("GET", "/models", models.list_all),
        ("GET", "/models/{model:path}", models.retrieve),
        ("POST", "/tokenize", models.tokenize),
        ("POST", "/detokenize", models.detokenize),
        ("GET", "/tokenizer_info", models.tokenizer_info),
    ]
    made: list[BaseRoute] = []
    for method, path, handler in table:
        endpoint = Endpoint(service, watch, path, handler, keys, most_body)
        methods = ["GET", "HEAD"] if method == "GET" else [method]
        made += [Route(prefix + path, endpoint, methods=methods) for prefix in PREFIXES]
    return made


def not_found(path: str) -> OpenAIError:
    """What is said of a path that is no route."""
    family = path.removeprefix("/openai").removeprefix("/v1").strip("/").partition("/")[0]
    hint = f" {family} is not provided by this server." if family in _ELSEWHERE else ""
    return OpenAIError(f"There is no route {path}.{hint}", None, "not_found", 404)


def wrong_method(method: str, path: str) -> OpenAIError:
    return OpenAIError(f"{path} does not take {method}.", None, "method_not_allowed", 405)
