"""Routes of the pages for operators."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.routing import BaseRoute

from ...accounts.meter import Meter
from ...accounts.office import Office
from ...admin_predictions import PredictionOrders
from ...admin_webhooks import WebhookOrders
from ...endpoint import NO_BODY, Doors, Handler
from ...predictions.kept import KeptPredictions
from ...records import Records
from ..page_routes import page_route
from ..posted import FORM
from . import keys, predictions, running, sign_in, usage, webhooks
from .keys import KeyPages
from .predictions import PredictionPages
from .sign_in import SignInPages
from .thumbnails import Thumbnails
from .usage import UsagePages
from .webhooks import WebhookPages

_Row = tuple[str, str, Handler]


def routes(doors: Doors) -> list[BaseRoute]:
    """The way in, and the models: what every server has."""
    door = SignInPages(doors.accounts)
    public: list[_Row] = [
        ("GET", sign_in.PATH, door.show),
        ("POST", sign_in.PATH, door.sign_in),
        ("POST", sign_in.OUT, door.sign_out),
    ]
    models: list[_Row] = [
        ("GET", running.PATH, running.show),
        ("POST", running.PATH + "/{model:path}/start", running.start),
        ("POST", running.PATH + "/{model:path}/stop", running.stop),
    ]
    return [*_made(doors, public, public=True), *_made(doors, models)]


def kept_routes(
    doors: Doors, records: Records, kept: KeptPredictions, office: Office, meter: Meter, keys_from: str
) -> list[BaseRoute]:
    """What a server has that keeps things. `keys_from` is where the keys of the settings are written."""
    of = PredictionPages(PredictionOrders(kept), Thumbnails(records.files))
    told = WebhookPages(WebhookOrders(kept.store, kept.deliverer))
    used = UsagePages(meter, doors.accounts.keyring)
    locks = KeyPages(office, doors.accounts, meter, keys_from)
    one, hook, key = predictions.PATH + "/{prediction_id}", webhooks.PATH + "/{webhook_id}", keys.PATH + "/{key_id}"
    table: list[_Row] = [
        ("GET", predictions.PATH, of.list_all),
        ("GET", one, of.show),
        ("GET", one + "/pictures/{number:int}", of.picture),
        ("POST", one + "/cancel", of.cancel),
        ("POST", one + "/retry", of.retry),
        ("GET", webhooks.PATH, told.list_all),
        ("GET", hook, told.show),
        ("POST", hook + "/replay", told.replay),
        ("GET", usage.PATH, used.show),
        ("GET", usage.CSV, used.table),
        ("GET", keys.PATH, locks.list_all),
        ("POST", keys.PATH, locks.create),
        ("GET", key, locks.show),
        ("POST", key, locks.change),
        ("POST", key + "/rotate", locks.rotate),
        ("POST", key + "/revoke", locks.revoke),
    ]
    return _made(doors, table)


def _made(doors: Doors, table: Iterable[_Row], public: bool = False) -> list[BaseRoute]:
    return [
        page_route(doors, path, handler, method, FORM if method == "POST" else NO_BODY, public)
        for method, path, handler in table
    ]
