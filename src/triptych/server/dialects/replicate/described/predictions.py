"""Predictions and their streams in words."""

from __future__ import annotations

from ....operations import (
    ANY_MODEL,
    EVENT_STREAM,
    JSON,
    PICTURE,
    SEEING_MODEL,
    Body,
    Example,
    Field,
    Fields,
    Parameter,
    Reply,
)
from ..wire import EVENTS, ModelPrediction, VersionPrediction
from .answers import Prediction, PredictionPage
from .failures import operation

# Ids in examples.
PREDICTION_ID = "1v9q8xk2n5j3c7m0d4t6w8z1bg"
TOKEN = "5f1d9b1c0a7e4d62b8c3f0e9a1d2c4b6e8f7a9b0c1d2e3f4"

_SHARED_FIELDS = {
    "input": Field("What goes into the model; the version's `openapi_schema` says what it takes.", required=True),
    "stream": Field("Without effect: every prediction has `urls.stream`."),
    "webhook": Field("An https URL that is told of the prediction."),
    "webhook_events_filter": Field(
        "Which events it is told; all of them without this.", None,
        {"type": "array", "items": {"type": "string", "enum": list(EVENTS)}},
    ),
    "webhook_completed": Field("The same as `webhook` with the one event `completed`."),
}  # fmt: skip
FIELDS: Fields = {
    ModelPrediction: _SHARED_FIELDS,
    VersionPrediction: {
        "version": Field("A version's id of 64 digits, `owner/name:<id>`, or `owner/name`.", required=True),
        **_SHARED_FIELDS,
    },
}

_HEADERS = {
    "location": "Where the prediction is.",
    "x-triptych-model": "The served model that answers, whatever name was used.",
    "preference-applied": "How long was waited, if that was asked for.",
}
_NEW = (
    "Creates a prediction, which is kept once this answers: it runs to its end whatever happens to the server or "
    "to the caller. With the header `Prefer: wait` or `wait=n` the answer comes when the prediction has ended, after "
    "n seconds (60 at most) at the latest. `Cancel-After: 5m` sets it a deadline. Two requests with one "
    "`Idempotency-Key` are one prediction."
)
_CREATED = (
    Reply(201, "The prediction.", {JSON: Prediction}, _HEADERS),
    Reply(202, "It has not ended in the time that the caller wanted to wait.", {JSON: Prediction}, _HEADERS),
)
_ID = Parameter("prediction_id", "The prediction's id.", "path", example=PREDICTION_ID)
_QUESTION = {"prompt": "What is 17 + 25?"}


def _examples(**more: str) -> tuple[Example, ...]:
    return (Example("A question", {**more, "input": _QUESTION}),)


OPERATIONS = (
    operation(
        "POST", "/predictions", "Create a prediction", _NEW, _CREATED, 400, 404, 413, 422, 500,
        body=Body(VersionPrediction, (
            *_examples(version=ANY_MODEL),
            Example("About an image", {
                "version": SEEING_MODEL, "input": {"image": PICTURE, "prompt": "What color is the circle?"},
            }),
        )),
    ),
    operation(
        "POST", "/models/{model:served}/predictions", "Create a prediction by model",
        "The same by the newest version of a model, by any of its names.", _CREATED, 400, 404, 413, 422, 500,
        parameters=(Parameter("model", "The model's name.", "path", example=ANY_MODEL),),
        body=Body(ModelPrediction, _examples()),
    ),
    operation(
        "POST", "/deployments/{deployment:served}/predictions", "Create a prediction by deployment",
        "The same by a deployment: there is one for each name of a model.", _CREATED, 400, 404, 413, 422, 500,
        parameters=(Parameter("deployment", "The deployment's name.", "path", example=ANY_MODEL),),
        body=Body(ModelPrediction, _examples()),
    ),
    operation(
        "GET", "/predictions", "List predictions", "The caller's predictions, the newest first, 100 to a page.",
        Reply(200, "A page of predictions.", {JSON: PredictionPage}), 400, 422,
        parameters=(
            Parameter("cursor", "A place in the list, from `next` or `previous` of a page."),
            Parameter("created_after", "Only those created then or later, in ISO 8601."),
            Parameter("created_before", "Only those created earlier, in ISO 8601."),
            Parameter("source", "`web`: only those made on a web page, of which there are none."),
        ),
    ),
    operation("GET", "/predictions/{prediction_id}", "Look at a prediction", "The prediction as it is now.",
              Reply(200, "The prediction.", {JSON: Prediction}), 404, parameters=(_ID,)),
    operation("POST", "/predictions/{prediction_id}/cancel", "Cancel a prediction",
              "Stops it. One that has ended stays as it is.",
              Reply(200, "The prediction.", {JSON: Prediction}), 404, 413, parameters=(_ID,)),
    operation(
        "GET", "/streams/{token}", "Follow a prediction",
        "Its output as server-sent events, from the beginning or behind the header `Last-Event-ID`: `output` with a "
        "piece of the text as it is, then `error` if it fails, and `done` in any case.",
        Reply(200, "The events.", {EVENT_STREAM: str}), 404, public=True,
        parameters=(Parameter("token", "From `urls.stream` of the prediction.", "path", example=TOKEN),),
    ),
)  # fmt: skip
