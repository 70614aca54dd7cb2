"""The playground: a page to ask the served models, its example pictures, and the same calls as code."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from starlette.routing import BaseRoute, Route

from ..accounts.caller import Caller
from ..backend import Backend, sees
from ..dialects.openai.described.failures import ALWAYS, failures
from ..dialects.openai.errors import from_error, read_body
from ..dialects.openai.form import to_json
from ..dialects.openai.routes import refusal
from ..endpoint import BodyForm, Doors, Endpoint
from ..exchange import Answer, Exchange
from ..generation import UnknownModelError
from ..operations import JSON, SEEING_MODEL, Body, Example, Field, Fields, Operation, Parameter, Reply
from ..origin import origin
from ..service import Service
from .drawings import SUMS, drawings, picture
from .measures import API_NAMES
from .page_routes import DIALECT, PageError, page_route
from .pages import shown
from .recipes import DIALECTS, LANGUAGES, Call, Dialect, Turn, UnwritableError, recipe

PATH = "/app/playground"
EXAMPLES = f"{PATH}/examples"
CODE = f"{PATH}/code"

_LANGUAGE_NAMES = {"python": "Python", "curl": "curl", "javascript": "JavaScript"}
_MOST_CODE_BYTES = 1 << 20
_HOLDS = "public, max-age=3600"


class SaidTurn(msgspec.Struct):
    """What one side said."""

    role: Literal["user", "assistant"]
    text: str
    images: list[str] = []


class CodeRequest(msgspec.Struct):
    """A call to be written as code. The last of its turns is the user's."""

    model: str
    turns: Annotated[list[SaidTurn], Meta(min_length=1, max_length=1000)]
    system: str = ""
    parameters: dict[str, Any] = {}
    stream: bool = False


class WrittenCode(msgspec.Struct):
    """`code` is empty where the dialect cannot say the call; `note` tells why, or what the code leaves out."""

    dialect: str
    language: str
    code: str
    note: str
    needs: Annotated[str, Meta(description="What comes first in a shell.")]


class Choice(msgspec.Struct, frozen=True):
    """A model as it can be chosen; `context` is in tokens, "" if it is not known."""

    name: str
    runs: str
    sees: bool
    state: str
    note: str
    failure: str
    context: str


OPERATIONS = (
    Operation(
        "GET", PATH, "Try a model",
        "A page on which pictures and questions are put to the served models.",
        (Reply(200, "The page.", {"text/html": str}),),
        (Parameter("model", "The model that is chosen at first, by any of its names."),),
    ),
    Operation(
        "GET", EXAMPLES + "/{name}", "Load an example picture",
        "One of the playground's drawings, as a PNG file.",
        (Reply(200, "The picture.", {"image/png": bytes}),
         Reply(404, "There is none of this name.", {"text/html": str})),
        (Parameter("name", "Which one.", "path", example="two-shapes.png"),), public=True,
    ),
    Operation(
        "POST", CODE, "Write a call as code",
        "The same call for each API in Python, curl and JavaScript. Pictures are read from files of these names.",
        (Reply(200, "The code in each dialect and language.", {JSON: list[WrittenCode]}),
         *failures((400, 404, *ALWAYS))),
        body=Body(CodeRequest, (
            Example("A question about a picture", {
                "model": SEEING_MODEL, "parameters": {"temperature": 0},
                "turns": [{"role": "user", "text": "What is this?", "images": ["picture.png"]}],
            }),
        )),
    ),
)  # fmt: skip

FIELDS: Fields = {
    CodeRequest: {
        "model": Field("Any name of a served model."),
        "turns": Field("The conversation; its last turn is the user's."),
        "system": Field("The system prompt."),
        "parameters": Field("Parameters by the names of chat completions."),
        "stream": Field("Whether the code shows the answer as it comes."),
    },
    SaidTurn: {
        "role": Field("Who said it."),
        "text": Field("What was said."),
        "images": Field("Names of the files with the pictures that were shown with it."),
    },
}

_decoder = msgspec.json.Decoder(CodeRequest)


def routes(doors: Doors, kept: bool) -> list[BaseRoute]:
    """`kept` says that there are predictions: the other dialects make them of what is asked."""
    dialects = DIALECTS if kept else DIALECTS[:1]
    keyring = doors.accounts.keyring

    async def page(service: Service, exchange: Exchange, body: bytes) -> Answer:
        return await _page(service, exchange, dialects, keyring.asks)

    async def code(service: Service, exchange: Exchange, body: bytes) -> Answer:
        return await _code(service, exchange, body, dialects, keyring.asks)

    form = BodyForm(JSON, _small, "most_body")
    return [
        page_route(doors, PATH, page),
        page_route(doors, EXAMPLES + "/{name}", _example, public=True),
        Route(CODE, Endpoint(doors, DIALECT, CODE, code, refusal, form), methods=["POST"]),
    ]


async def _small(exchange: Exchange, most: int) -> bytes:
    return await exchange.body(min(most, _MOST_CODE_BYTES))


async def _page(service: Service, exchange: Exchange, dialects: Sequence[Dialect], key: bool) -> Answer:
    models = [_choice(model) for model in service.router.models if _open_to(exchange.caller, model)]
    wanted = exchange.query.get("model", "").strip()
    chosen = _chosen(service, wanted, models)
    base = origin(exchange.scope, exchange.headers)
    asked = Call.asking(chosen or "MODEL", "Describe this image.", "picture.png")
    return shown(
        exchange, "playground.html", section="playground", models=models, chosen=chosen,
        unknown=wanted if wanted and chosen is None else "", command=recipe("openai", "curl", asked, base, key).code,
        drawings=await asyncio.to_thread(drawings), sums=[question for question, _ in SUMS],
        dialects=[(dialect, API_NAMES[dialect]) for dialect in dialects],
        languages=[(language, _LANGUAGE_NAMES[language]) for language in LANGUAGES], examples=EXAMPLES, code=CODE,
    )  # fmt: skip


def _open_to(caller: Caller | None, model: Backend) -> bool:
    allowed = None if caller is None else caller.limits.models
    return allowed is None or model.name in allowed


def _choice(model: Backend) -> Choice:
    context = str(model.info.max_context or "") if model.info is not None else ""
    return Choice(model.name, model.model, sees(model), model.state, model.note, model.failure, context)


def _chosen(service: Service, wanted: str, models: list[Choice]) -> str | None:
    """The name of the model that is meant by `wanted`; without it of one that sees. None: there is none."""
    if wanted:
        try:
            name = service.router.find(wanted).name
        except UnknownModelError:
            return None
        return name if any(model.name == name for model in models) else None
    return min(models, key=lambda model: (not model.sees, model.state != "ready")).name if models else None


async def _example(service: Service, exchange: Exchange, body: bytes) -> Answer:
    name = exchange.scope["path_params"]["name"].removesuffix(".png")
    found = await asyncio.to_thread(picture, name)
    if found is None:
        raise PageError("The playground has no drawing of this name.", title="There is no such picture")
    return Answer(found, 200, "image/png", {"cache-control": _HOLDS, "x-content-type-options": "nosniff"})


async def _code(
    service: Service, exchange: Exchange, body: bytes, dialects: Sequence[Dialect], key: bool
) -> Answer:
    """Raises OpenAIError."""
    asked = read_body(_decoder, body)
    try:
        model = service.router.find(asked.model)
    except UnknownModelError as error:
        raise from_error(error, []) from None
    call = Call(
        model=model.name, system=asked.system, parameters=asked.parameters, stream=asked.stream, names=model.aliases,
        turns=tuple(Turn(turn.role, turn.text, tuple(turn.images)) for turn in asked.turns), sees=sees(model),
    )  # fmt: skip
    base = origin(exchange.scope, exchange.headers)
    return Answer(to_json(await asyncio.to_thread(_written, call, dialects, base, key)))


def _written(call: Call, dialects: Sequence[Dialect], base: str, key: bool) -> list[WrittenCode]:
    made = []
    for dialect in dialects:
        for language in LANGUAGES:
            try:
                found = recipe(dialect, language, call, base, key)
                made.append(WrittenCode(dialect, language, found.code, found.note, found.needs))
            except UnwritableError as error:
                made.append(WrittenCode(dialect, language, "", str(error), ""))
    return made
