"""Routes to keys and usage. Under /triptych/v1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.routing import BaseRoute, Route

from .accounts.meter import Meter
from .accounts.office import Office
from .admin import PREFIX
from .admin_keys import KeyAnswer, KeyAnswers, KeyOrders, KeyWish, NewKeyAnswer, OwnKey, Rotation
from .admin_usage import UsageGroups, UsageOrders, UsageRows
from .dialects.openai.described.failures import ALWAYS, BODY, failures
from .dialects.openai.routes import refusal
from .endpoint import JSON as JSON_BODY
from .endpoint import NO_BODY, Doors, Endpoint, Handler
from .operations import JSON, Body, Example, Field, Group, Operation, Parameter, Reply

# In examples.
KEY_ID = "362930p2kcstw6nq9xarcecrsk"


def routes(doors: Doors, office: Office, meter: Meter) -> list[BaseRoute]:
    """Errors have OpenAI's form here too."""
    keys, usage = KeyOrders(office), UsageOrders(meter)
    table: Sequence[tuple[str, str, Handler, bool]] = (
        ("GET", "/key", keys.own, False),
        ("GET", "/keys", keys.list_all, True),
        ("POST", "/keys", keys.create, True),
        ("GET", "/keys/{key_id}", keys.show, True),
        ("PATCH", "/keys/{key_id}", keys.change, True),
        ("POST", "/keys/{key_id}/rotate", keys.rotate, True),
        ("POST", "/keys/{key_id}/revoke", keys.revoke, True),
        ("GET", "/usage", usage.groups, False),
        ("GET", "/usage/rows", usage.rows, False),
    )
    made: list[BaseRoute] = []
    for method, path, handler, admin in table:
        form = NO_BODY if path.endswith(("/rotate", "/revoke")) else JSON_BODY
        endpoint = Endpoint(doors, "triptych", path, handler, refusal, form, admin=admin)
        made.append(Route(PREFIX + path, endpoint, methods=[method]))
    return made


# ---- in words -------------------------------------------------------------------------------------------------------

_KEY = Parameter("key_id", "The key's id.", "path", example=KEY_ID)


def _operation(
    method: str, path: str, summary: str, handler: Any, reply: Reply, *more: int, **fields: Any
) -> Operation:
    always = BODY if method in ("POST", "PATCH") else ALWAYS
    told = " ".join((handler.__doc__ or "").split())
    return Operation(method, PREFIX + path, summary, told, (reply, *failures((*more, 403, *always))), **fields)


_WISH = Body(KeyWish, (
    Example("An administrator's", {"name": "operations", "admin": True}),
    Example("One for a team", {
        "name": "team blue", "dialects": ["openai", "runware"], "requests_per_minute": 120,
        "tokens_per_minute": 100_000, "budget": "25.00", "per": "month", "expires_in": 7_776_000,
    }),
))  # fmt: skip
_CHANGE = Body(KeyWish, (Example("A larger budget", {"budget": "50.00"}),))
_GROUPED = (
    Parameter("by", "Some of day, key, model, dialect, with commas between them; day without it.", example="day,model"),
    Parameter("since", "The first day, such as 2026-07-01; 30 days up to `until` without it."),
    Parameter("until", "The last day; today without it."),
)
_PAGE = (
    Parameter("model", "Only those of this model."),
    Parameter("since", "Only from this day on, such as 2026-07-01; with `until` alone 30 days up to it."),
    Parameter("until", "Only up to this day."),
    Parameter("before", "Only what is older than the one with this id."),
    Parameter("limit", "How many, 1 to 1000; 50 without it.", example="10"),
)

GROUP = Group(
    "Keys and usage",
    "What `triptych keys` and `triptych usage` call. Keys are an administrator's to make; every key may ask what it "
    "may do itself, and what it has used.",
    (
        _operation("GET", "/key", "Ask about one's own key", KeyOrders.own, Reply(200, "Who asks.", {JSON: OwnKey})),
        _operation("GET", "/keys", "List keys", KeyOrders.list_all, Reply(200, "All of them.", {JSON: KeyAnswers})),
        _operation(
            "POST", "/keys", "Make a key", KeyOrders.create, Reply(201, "The key.", {JSON: NewKeyAnswer}), body=_WISH,
        ),
        _operation(
            "GET", "/keys/{key_id}", "Show a key", KeyOrders.show, Reply(200, "The key.", {JSON: KeyAnswer}), 404,
            parameters=(_KEY,),
        ),
        _operation(
            "PATCH", "/keys/{key_id}", "Change a key", KeyOrders.change,
            Reply(200, "As it is now.", {JSON: KeyAnswer}), 404, parameters=(_KEY,), body=_CHANGE,
        ),
        _operation(
            "POST", "/keys/{key_id}/rotate", "Give a key a new secret", KeyOrders.rotate,
            Reply(200, "The key with its secret.", {JSON: NewKeyAnswer}), 404, parameters=(_KEY,),
            body=Body(Rotation, (Example("The old one lets in for another day", {"overlap": 86_400}),)),
        ),
        _operation(
            "POST", "/keys/{key_id}/revoke", "Take a key away", KeyOrders.revoke,
            Reply(200, "As it is now.", {JSON: KeyAnswer}), 404, parameters=(_KEY,),
        ),
        _operation(
            "GET", "/usage", "Add up usage", UsageOrders.groups, Reply(200, "By group.", {JSON: UsageGroups}), 400,
            parameters=_GROUPED,
        ),
        _operation(
            "GET", "/usage/rows", "List usage", UsageOrders.rows, Reply(200, "A page of it.", {JSON: UsageRows}), 400,
            parameters=_PAGE,
        ),
    ),
    {
        KeyWish: {
            "name": Field("What people call it; a new key needs one."),
            "admin": Field("Whether it may do what only operators may.", False),
            "expires_in": Field("Seconds until it lets in no more; null: never.", None),
            "models": Field("Served names it is for; all without it.", None),
            "dialects": Field("APIs it is for, of openai, replicate, runware; all without it.", None),
            "requests_per_minute": Field("How often it may ask.", None),
            "tokens_per_minute": Field("How many tokens it may use, cached ones not counted.", None),
            "budget": Field("Dollars for each period.", None),
            "per": Field("The budget's period, in UTC.", "month"),
        },
        Rotation: {"overlap": Field("Seconds that the old secret goes on to let in.", 0)},
    },
)  # fmt: skip
