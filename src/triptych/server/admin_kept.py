"""Operators' routes to what a server keeps: predictions and their webhooks. Under /triptych/v1."""

from __future__ import annotations

from typing import Any

from starlette.routing import BaseRoute, Route

from . import admin_predictions, admin_webhooks
from .admin import PREFIX
from .admin_predictions import PredictionLine, PredictionLines, PredictionOrders, Purge, Purged, WholePrediction
from .admin_webhooks import NewSecret, WebhookLine, WebhookLines, WebhookOrders, WholeWebhook
from .dialects.openai.described.answers import ErrorAnswer
from .dialects.openai.described.failures import ALWAYS, BODY, failures
from .dialects.openai.routes import refusal
from .dialects.replicate.described.predictions import PREDICTION_ID
from .endpoint import Doors, Endpoint, Handler
from .operations import JSON, Body, Example, Field, Group, Operation, Parameter, Reply
from .predictions.kept import KeptPredictions

# In examples.
WEBHOOK_ID = "362930p2kcstw6nq9xarcecrsh"


def routes(doors: Doors, kept: KeptPredictions) -> list[BaseRoute]:
    """Errors have OpenAI's form here too."""
    of, told = PredictionOrders(kept), WebhookOrders(kept.store, kept.deliverer)
    table: list[tuple[str, str, Handler]] = [
        ("GET", "/predictions", of.list_all),
        ("GET", "/predictions/{prediction_id}", of.show),
        ("POST", "/predictions/{prediction_id}/cancel", of.cancel),
        ("POST", "/predictions/{prediction_id}/retry", of.retry),
        ("POST", "/purge", of.purge),
        ("GET", "/webhooks", told.list_all),
        ("POST", "/webhooks/rotate", told.rotate),
        ("GET", "/webhooks/{webhook_id}", told.show),
        ("POST", "/webhooks/{webhook_id}/replay", told.replay),
    ]
    return [
        Route(PREFIX + path, Endpoint(doors, "triptych", path, handler, refusal), methods=[method])
        for method, path, handler in table
    ]


# ---- in words -------------------------------------------------------------------------------------------------------

_PREDICTION = Parameter("prediction_id", "The prediction's id.", "path", example=PREDICTION_ID)
_WEBHOOK = Parameter("webhook_id", "The message's id.", "path", example=WEBHOOK_ID)
_PAGE = (
    Parameter("before", "Only what is older than the one with this id."),
    Parameter("limit", "How many, 1 to 1000; 50 without it.", example="10"),
)
_CONFLICT = Reply(409, "It is not in the state that this needs.", {JSON: ErrorAnswer})


def _operation(
    method: str, path: str, summary: str, handler: Any, reply: Reply, *more: int, **fields: Any
) -> Operation:
    always = BODY if method == "POST" else ALWAYS
    told = " ".join((handler.__doc__ or "").split())
    others = fields.pop("others", ())
    return Operation(
        method, PREFIX + path, summary, told, (reply, *others, *failures((*more, *always))), **fields
    )


_LIST = Reply(200, "A page of them.", {JSON: PredictionLines})
_LINE = Reply(200, "As it is then.", {JSON: PredictionLine})
_MESSAGE = Reply(200, "As it is then.", {JSON: WebhookLine})

GROUP = Group(
    "Predictions of this server",
    "What `triptych predictions`, `triptych webhooks` and `triptych purge` call. Each key sees "
    "what was made with it, an administrator's everything.",
    (
        _operation(
            "GET", "/predictions", "List predictions", PredictionOrders.list_all, _LIST, 400,
            parameters=(
                Parameter("status", f"One of {', '.join(admin_predictions.STATES)}."),
                Parameter("model", "Only those of the served model with this name."),
                Parameter("dialect", f"Only those of an API: {' or '.join(admin_predictions.DIALECTS)}."),
                Parameter("text", "Only those whose id contains this."), *_PAGE,
            ),
        ),
        _operation(
            "GET", "/predictions/{prediction_id}", "Show a prediction", PredictionOrders.show,
            Reply(200, "All of it.", {JSON: WholePrediction}), 404, parameters=(_PREDICTION,),
        ),
        _operation(
            "POST", "/predictions/{prediction_id}/cancel", "Stop a prediction", PredictionOrders.cancel, _LINE, 404,
            parameters=(_PREDICTION,), others=(_CONFLICT,),
        ),
        _operation(
            "POST", "/predictions/{prediction_id}/retry", "Run a prediction again", PredictionOrders.retry,
            Reply(200, "The new one.", {JSON: PredictionLine}), 404, parameters=(_PREDICTION,), others=(_CONFLICT,),
        ),
        _operation(
            "POST", "/purge", "Delete old predictions", PredictionOrders.purge,
            Reply(200, "It is done.", {JSON: Purged}),
            body=Body(Purge, (Example("Those that ended 30 days ago", {"older_than": 2_592_000}),)),
        ),
        _operation(
            "GET", "/webhooks", "List webhooks", WebhookOrders.list_all,
            Reply(200, "A page of them.", {JSON: WebhookLines}), 400, parameters=(
                Parameter("state", f"One of {', '.join(admin_webhooks.STATES)}."),
                Parameter("prediction", "Only those of the prediction with this id."), *_PAGE,
            ),
        ),
        _operation(
            "GET", "/webhooks/{webhook_id}", "Show a webhook", WebhookOrders.show,
            Reply(200, "All of it.", {JSON: WholeWebhook}), 404, parameters=(_WEBHOOK,),
        ),
        _operation(
            "POST", "/webhooks/{webhook_id}/replay", "Send a webhook again", WebhookOrders.replay, _MESSAGE, 404,
            parameters=(_WEBHOOK,),
        ),
        _operation(
            "POST", "/webhooks/rotate", "Change the secret of webhooks", WebhookOrders.rotate,
            Reply(200, "The new secret.", {JSON: NewSecret}),
        ),
    ),
    {Purge: {"older_than": Field("Seconds since they ended.", None, {"minimum": 0}, required=True)}},
)  # fmt: skip
