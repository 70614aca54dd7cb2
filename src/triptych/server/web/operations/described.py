"""The pages for operators in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from ...admin_accounts import KEY_ID
from ...admin_predictions import STATES
from ...admin_webhooks import STATES as WEBHOOK_STATES
from ...dialects.replicate.described.predictions import PREDICTION_ID
from ...operations import ANY_MODEL, Body, Field, Fields, Operation, Parameter, Reply
from ..posted import FORM
from . import keys, predictions, running, sign_in, usage, webhooks

_HTML = "text/html"
_WHY = {
    400: "The query cannot be read.",
    403: "The form was not sent from a page of this server, or the page is for admin keys.",
    404: "What the path names is not there, or is another's.",
    409: "It is not in the state that this needs.",
    413: "The form is too large.",
    415: "The body is not of the content type that this route takes, or it is compressed.",
    500: "A fault of the server; its log has the details, under the answer's `x-request-id`.",
    503: "The server is starting or about to stop.",
}
_SEEN = Parameter("seen", "What a page has of what changes: it is sent what is new, as HTML for htmx.")
_BEFORE = Parameter("before", "Only what is older than the one with this id.")
_PREDICTION = Parameter("prediction_id", "The prediction's id.", "path", example=PREDICTION_ID)
# In examples, as in those of the operators' API.
_WEBHOOK = Parameter("webhook_id", "The message's id.", "path", example="362930p2kcstw6nq9xarcecrsh")
_KEY = Parameter("key_id", "The key's id.", "path", example=KEY_ID)
_MODEL = Parameter("model", "A served name, with its slashes as they are.", "path", example=ANY_MODEL)


def _page(path: str, summary: str, description: str, parameters: Sequence[Parameter] = (), *more: int) -> Operation:
    """A page to read, which may also fail with the statuses `more`."""
    same = [Reply(204, "Nothing of what `seen` tells has changed.")] if _SEEN in parameters else []
    replies = (Reply(200, "The page.", {_HTML: str}), *same, *_failures((*more, 415, 503)))
    return Operation("GET", path, summary, description, replies, tuple(parameters))


def _form(
    path: str, summary: str, description: str, parameters: Sequence[Parameter] = (), *more: int,
    body: Any = None, shows: str = "", public: bool = False,
) -> Operation:  # fmt: skip
    """A form of a page with the fields of `body`, which is followed by another page, or by one that `shows` something;
    it may also fail with the statuses `more`.
    """
    done = Reply(303, "It is done; the page to see follows.", headers={"location": "The path of the page."})
    if shows:
        done = Reply(200, shows, {_HTML: str})
    told = f"{description} Sent by a form of a page of this server{'' if body else ', without fields'}."
    replies = (done, *_failures((*more, 400, 403, 413, 415, 503)))
    of = None if body is None else Body(body, content_type=FORM.content_type)
    return Operation("POST", path, summary, told, replies, tuple(parameters), of, public=public)


def _failures(statuses: Sequence[int]) -> tuple[Reply, ...]:
    return tuple(Reply(status, _WHY[status], {_HTML: str}) for status in sorted(set(statuses)))


class KeyForm(msgspec.Struct):
    name: str
    expires: str = ""
    budget: str = ""
    per: str = "month"
    requests_per_minute: str = ""
    tokens_per_minute: str = ""
    models: list[str] = []
    dialects: list[str] = []
    admin: str = ""


class RotateForm(msgspec.Struct):
    overlap: str = "0"


class SignInForm(msgspec.Struct):
    key: str
    next: str = ""


FIELDS: Fields = {
    KeyForm: {
        "name": Field("What people call it.", required=True),
        "expires": Field("Seconds until it lets in no more; never (or as before) without it.", None),
        "budget": Field("Dollars for each period; no limit without it.", None),
        "per": Field("The period, in UTC: day, week, month or total.", "month"),
        "requests_per_minute": Field("No limit without it.", None),
        "tokens_per_minute": Field("No limit without it.", None),
        "models": Field("Served names it is for; all without it.", None),
        "dialects": Field("APIs it is for; all without it.", None),
        "admin": Field("`1` for a key of those who run the server; only when it is made.", None),
    },
    RotateForm: {"overlap": Field("Seconds that the old secret goes on to let in.", "0")},
    SignInForm: {
        "key": Field("A key of this server.", required=True),
        "next": Field("The path of this server to go on with.", None),
    },
}

_DOOR = (
    Operation(
        "GET", sign_in.PATH, "See how to sign in", "A page with a form for a key.",
        (Reply(200, "The page.", {_HTML: str}), *_failures((415, 503))),
        (Parameter("next", "The path of this server to go on with."),), public=True,
    ),
    replace(
        _form(sign_in.PATH, "Sign in", "Lets a browser in that sends a key.", body=SignInForm, public=True),
        replies=(
            Reply(303, "It is signed in; the page to see follows.", headers={
                "location": "The path of the page.", "set-cookie": "What the browser is known by.",
            }),
            Reply(401, "The key does not let in.", {_HTML: str}), *_failures((400, 403, 413, 415, 503)),
        ),
    ),
    _form(sign_in.OUT, "Sign out", "Forgets the key.", public=True),
)  # fmt: skip
_RUNNING = (
    _page(running.PATH, "See what runs", "The models, their memory and what they do. For admin keys.", (_SEEN,), 403),
    _form(
        running.PATH + "/{model:path}/start", "Start a model from its page",
        "Begins to start it; the page shows how far it is.", (_MODEL,), 404,
    ),
    _form(
        running.PATH + "/{model:path}/stop", "Stop a model from its page",
        "Stops it once its running requests are over; the next request starts it again.", (_MODEL,), 404, 409,
    ),
)  # fmt: skip
_ONE, _HOOK = predictions.PATH + "/{prediction_id}", webhooks.PATH + "/{webhook_id}"
_ONE_KEY = keys.PATH + "/{key_id}"
_DAYS = Parameter("days", f"How many, up to today: {', '.join(map(str, usage.PERIODS))}; 30 without it.", example="7")
_OF_KEY = Parameter("key", "Only what the key with this id used. For admin keys.")
_KEPT = (
    _page(
        predictions.PATH, "Look through predictions", "Those of the caller's key, of everybody for admins.", (
            Parameter("status", f"One of {', '.join(STATES)}."),
            Parameter("model", "Only those of this served model."),
            Parameter("dialect", "Only those asked in this API's way: `replicate` or `runware`."),
            Parameter("text", "Only those whose id contains this."), _BEFORE, _SEEN,
        ), 400,
    ),
    _page(_ONE, "Look at a prediction", "All of it, and where its time went.", (_PREDICTION, _SEEN), 404),
    Operation(
        "GET", _ONE + "/pictures/{number:int}", "Look at a picture of a prediction",
        "A small copy of a picture that it was shown, if that is kept here.",
        (Reply(200, "The copy.", {"image/webp": bytes}), *_failures((404, 415, 503))),
        (_PREDICTION, Parameter("number", "Which picture, from 0.", "path", int, "0")),
    ),
    _form(_ONE + "/cancel", "Stop a prediction from its page", "What it said so far is kept.", (_PREDICTION,), 404),
    _form(_ONE + "/retry", "Run a prediction again from its page", "As a new prediction.", (_PREDICTION,), 404, 409),
    _page(
        webhooks.PATH, "Look through webhooks", "Those about the caller's predictions, about all for admins.", (
            Parameter("state", f"One of {', '.join(WEBHOOK_STATES)}."),
            Parameter("prediction", "Only those of the prediction with this id."), _BEFORE, _SEEN,
        ), 400,
    ),
    _page(_HOOK, "Look at a webhook", "Its body, and every try.", (_WEBHOOK, _SEEN), 404),
    _form(_HOOK + "/replay", "Send a webhook again from its page", "Now, under its own id.", (_WEBHOOK,), 404),
    _page(
        usage.PATH, "Look at usage", "Spend and tokens by day, model and API; for admins of everybody, and by key.",
        (_DAYS, Parameter("by", f"What spend is stacked by: {', '.join(usage.BY)}."), _OF_KEY), 400,
    ),
    Operation(
        "GET", usage.CSV, "Download usage", "The same as CSV: a row for each day, key, model and API.",
        (Reply(200, "The table.", {"text/csv": str}), *_failures((400, 415, 503))), (_DAYS, _OF_KEY),
    ),
    _page(
        keys.PATH, "Look at keys", "All of them for admins, the newest first; for others their own.",
        (Parameter("revoked", "With `1` those that were revoked as well."), _BEFORE), 404,
    ),
    _form(
        keys.PATH, "Make a key from its page", "The answer is the only page that shows its secret. For admin keys.",
        body=KeyForm, shows="The secret.",
    ),
    _page(_ONE_KEY, "Look at a key", "With forms to change it. For admin keys.", (_KEY,), 403, 404),
    _form(_ONE_KEY, "Change a key from its page", "All limits are as the form says.", (_KEY,), 404, body=KeyForm),
    _form(
        _ONE_KEY + "/rotate", "Give a key a new secret from its page", "The answer is the only page that shows it.",
        (_KEY,), 404, 409, body=RotateForm, shows="The secret.",
    ),
    _form(_ONE_KEY + "/revoke", "Take a key away from its page", "For ever.", (_KEY,), 404, 409),
)  # fmt: skip


def operations(kept: bool) -> tuple[Operation, ...]:
    """`kept` says that there are predictions and what belongs to them."""
    return (*_DOOR, *_RUNNING, *(_KEPT if kept else ()))
