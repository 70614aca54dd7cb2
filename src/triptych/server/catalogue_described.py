"""The catalogue's routes in words."""

from __future__ import annotations

from typing import Any

from ..catalogue import answers
from ..catalogue.workload import CRITERIA
from .catalogue import PREFIX
from .dialects.openai.described.failures import ALWAYS, failures
from .operations import JSON, Group, Operation, Parameter, Reply

_HEADERS = {
    "etag": "Changes with the answer; send it back as if-none-match.",
    "cache-control": "For how long it holds.",
}
_NOT_MODIFIED = Reply(304, "The answer is the one whose etag was sent.")

_NAME = Parameter("name", "Any name people use for the model, with its slashes as they are: an id, a hub id, a "
                  "provider's id for it.", "path", example="mixtral-8x7b")  # fmt: skip
_PROVIDER = Parameter("name", "A provider's id or name.", "path", example="replicate")
_WORKLOAD = (
    Parameter("by", f"In place of a workload: {', '.join(CRITERIA)}; blend is three tokens in for one out."),
    Parameter("input", "Tokens of text that go in; K, M and B may stand behind a number."),
    Parameter("output", "Tokens that come out."),
    Parameter("images", "Pictures that go along."),
    Parameter("captions", "Tasks of one picture, a prompt and an answer each.", example="1000"),
    Parameter("calls", "In how many requests the tokens go, where calls are paid."),
    Parameter("prompt_tokens", "Tokens of a caption's prompt; 60 if not given."),
    Parameter("caption_tokens", "Tokens of a caption's answer; 100 if not given."),
    Parameter("image_tokens", "Tokens of a picture; what the model's pictures are at most if not given."),
)


def _get(path: str, summary: str, description: str, answer: Any, parameters: tuple[Parameter, ...] = (),
         refused: tuple[int, ...] = ()) -> Operation:  # fmt: skip
    refusals = failures((400, *refused, *ALWAYS))
    replies = (Reply(200, "The answer.", {JSON: answer}, _HEADERS), _NOT_MODIFIED, *refusals)
    return Operation("GET", PREFIX + path, summary, description, replies, parameters)


GROUP = Group(
    "Catalogue",
    "Models, who sells them, and at what price: every value with its source, its date and its state.",
    (
        _get("/models", "List models",
             "Every model of the catalogue, with counts of its providers and routes.", answers.ModelsAnswer),
        _get("/models/{name:path}", "Show a model",
             "A model with all that sources say of it and of its routes: what is shown and what contradicts it.",
             answers.ModelAnswer, (_NAME,), (404,)),
        _get("/providers", "List providers",
             "Every provider, this machine among them.", answers.ProvidersAnswer),
        _get("/providers/{name}", "Show a provider",
             "A provider with all its routes.", answers.ProviderAnswer, (_PROVIDER,), (404,)),
        _get("/compare", "Compare models",
             "Models side by side, with what a workload costs on each of their routes if one is stated.",
             answers.CompareAnswer,
             (Parameter("models", "Names with commas between them.", example="llava-1.6-mistral-7b,llava-1.5-7b"),
              *_WORKLOAD), (404,)),
        _get("/cheapest", "Find the cheapest route",
             "What a workload costs on every live priced route of a model, the cheapest first, with the arithmetic, "
             "the assumptions, and the routes left out with the reason. Without a workload: a thousand captions for a "
             "model that takes pictures, else a million tokens, three in for one out.",
             answers.CheapestAnswer,
             (Parameter("model", "Any name people use for it.", example="runware:150@2"), *_WORKLOAD), (404,)),
        _get("/changes", "See what changed",
             "Prices and statuses that changed between the ends of two days, and the observations that became known.",
             answers.ChangesAnswer,
             (Parameter("since", "A day.", example="2026-05-01"),
              Parameter("until", "A day; today if not given.", example="2026-11-21"))),
    ),
)  # fmt: skip
