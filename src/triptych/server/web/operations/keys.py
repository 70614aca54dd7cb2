"""Pages about keys: which there are, what each may do and has left; new ones, and the end of old ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...accounts.accounts import Accounts
from ...accounts.budgets import period_day, period_end
from ...accounts.caller import DIALECTS
from ...accounts.cost import usd
from ...accounts.meter import Meter
from ...accounts.office import Office, Standing, UnfitKeyError
from ...admin_keys import KeyWish, limits_of
from ...dialects.openai.errors import OpenAIError
from ...exchange import Answer, Exchange
from ...origin import origin
from ...service import Service
from ...store.ids import now_us
from ...store.keys import KeyRecord, Limits
from ...store.usage import DAY_US
from ..measures import API_NAMES
from ..page_routes import PageError, sentence
from ..pages import shown
from ..posted import Fields, first, see_other
from .who import admin_only, caller_of

PATH = "/app/keys"
_PAGE = 50
_HOUR, _DAY = 3600, 86_400
# Seconds that a key lasts, and that an old secret goes on to let in.
LASTS = {"": "never", str(_DAY): "in a day", str(7 * _DAY): "in a week", str(30 * _DAY): "in 30 days",
         str(90 * _DAY): "in 90 days", str(365 * _DAY): "in a year"}  # fmt: skip
OVERLAPS = {"0": "at once", str(_HOUR): "in an hour", str(_DAY): "in a day", str(7 * _DAY): "in a week"}
PERIODS = {"day": "a day", "week": "a week", "month": "a month", "total": "in all"}
_RATES = ("requests_per_minute", "tokens_per_minute")
# What the errors of others call the fields of the form.
_FIELDS = {"spend_nano": "budget", "spend_per": "per", "expires_in": "expires"}


@dataclass(frozen=True, slots=True)
class Line:
    """A key with what it has spent and has left."""

    record: KeyRecord
    standing: Standing

    @property
    def state(self) -> str:
        if self.record.revoked_us is not None:
            return "revoked"
        return "active" if self.record.works(now_us()) else "expired"

    @property
    def used(self) -> float | None:
        """The part of its budget that is spent or set aside, 0 to 1; None without a budget."""
        limit, left = self.record.limits.spend_nano, self.standing.left_nano
        if limit is None or left is None:
            return None
        return 1.0 if limit == 0 else min(1.0, max(0.0, 1 - left / limit))


@dataclass(frozen=True, slots=True)
class KeyPages:
    """The handlers. `written` is where the keys of the settings are."""

    office: Office
    accounts: Accounts
    meter: Meter
    written: str

    async def list_all(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """Every key for admins, the newest first; for others their own."""
        if not caller_of(exchange).admin:
            return await self._own(exchange)
        return await self._list(service, exchange)

    async def _own(self, exchange: Exchange) -> Answer:
        record = caller_of(exchange).key
        if record is None:
            raise PageError("This key stands in the settings of the server, and nothing more is known of it.")
        return shown(exchange, "operations/key_own.html", section="keys", line=await self._line(record))

    async def _list(
        self, service: Service, exchange: Exchange, given: Fields | None = None, error: UnfitKeyError | None = None
    ) -> Answer:
        before, gone = exchange.query.get("before", ""), exchange.query.get("revoked") == "1"
        found = [
            record for record in reversed(self.office.all())
            if (gone or record.revoked_us is None) and (not before or record.id < before)
        ]  # fmt: skip
        lines = await self._lines(found[:_PAGE])
        query = "?revoked=1&" if gone else "?"
        return shown(
            exchange, "operations/keys.html", 400 if error else 200, section="keys", lines=lines, gone=gone,
            older=f"{PATH}{query}before={lines[-1].record.id}" if len(found) > _PAGE else None, paged=bool(before),
            newest=PATH + query.rstrip("?&"), open=not self.accounts.keyring.asks,
            settings=self.accounts.keyring.of_settings, written=self.written,
            **_form(service, given or {}, error),
        )  # fmt: skip

    async def show(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """One key, with forms to change it, give it a new secret, and take it away."""
        return await self._one(service, exchange, self._find(exchange))

    async def _one(
        self, service: Service, exchange: Exchange, record: KeyRecord, given: Fields | None = None,
        error: UnfitKeyError | None = None,
    ) -> Answer:  # fmt: skip
        fields = given if given is not None else _fields(record)
        return shown(
            exchange, "operations/key.html", 400 if error else 200, section="keys", line=await self._line(record),
            overlaps=OVERLAPS, own=record.id == caller_of(exchange).id, **_form(service, fields, error),
        )  # fmt: skip

    # ---- orders -----------------------------------------------------------------------------------------------------

    async def create(self, service: Service, exchange: Exchange, fields: Fields) -> Answer:
        """A new key. The page that follows is the only one that ever shows its secret."""
        admin_only(exchange, "Making keys")
        try:
            wish = _wish(fields)
            record, secret = await self.office.create(
                first(fields, "name"), wish.admin is True, _limits(wish), _expiry(fields)
            )
        except UnfitKeyError as error:
            return await self._list(service, exchange, fields, error)
        # Whoever made the first key of an open server would be locked out otherwise.
        opened = not caller_of(exchange).id and self.accounts.keyring.asks
        return self._told(exchange, record, secret, signed_in=opened)

    async def change(self, service: Service, exchange: Exchange, fields: Fields) -> Answer:
        """Other limits, another name, another end."""
        record = self._find(exchange)
        try:
            limits = _limits(_wish(fields))
            await self.office.change(record.id, limits, first(fields, "name"), _expiry(fields))
        except UnfitKeyError as error:
            return await self._one(service, exchange, record, fields, error)
        return see_other(f"{PATH}/{record.id}")

    async def rotate(self, service: Service, exchange: Exchange, fields: Fields) -> Answer:
        """A new secret for a key, which the page that follows shows once."""
        record, overlap = self._find(exchange), first(fields, "overlap") or "0"
        if overlap not in OVERLAPS:
            raise PageError("The old secret cannot last so long.", 400, "Not a form of this page")
        try:
            record, secret = await self.office.rotate(record.id, float(overlap))
        except UnfitKeyError as error:
            raise _page_error(error) from None
        # The cookie stands for the secret that is no more.
        return self._told(exchange, record, secret, signed_in=record.id == caller_of(exchange).id, rotated=True)

    async def revoke(self, service: Service, exchange: Exchange, fields: Fields) -> Answer:
        """Take a key away, for ever."""
        try:
            await self.office.revoke(self._find(exchange).id, caller_of(exchange).id)
        except UnfitKeyError as error:
            raise _page_error(error) from None
        return see_other(PATH)

    def _told(
        self, exchange: Exchange, record: KeyRecord, secret: str, signed_in: bool, rotated: bool = False
    ) -> Answer:
        """The page with a secret; `signed_in`: this browser goes on with it."""
        caller = self.accounts.keyring.caller(record.id) if signed_in else caller_of(exchange)
        base = origin(exchange.scope, exchange.headers)
        answer = shown(
            exchange, "operations/key_secret.html", section="keys", record=record, secret=secret, base=base,
            rotated=rotated, signed_in=signed_in, caller=caller,
        )  # fmt: skip
        answer.headers = {**answer.headers, "cache-control": "no-store"}
        if signed_in:
            cookie = self.accounts.sessions.cookie(caller, base.startswith("https:"))
            answer.headers = {**answer.headers, "set-cookie": cookie}
        return answer

    def _find(self, exchange: Exchange) -> KeyRecord:
        admin_only(exchange, "Keys")
        try:
            return self.office.get(exchange.scope["path_params"]["key_id"])
        except UnfitKeyError as error:
            raise _page_error(error) from None

    async def _lines(self, records: Sequence[KeyRecord]) -> list[Line]:
        """Many keys at once: a look at the books for each kind of period, not for each key. What is set aside for
        requests under way counts as left.
        """
        now = now_us()
        spent: dict[str, dict[str, int]] = {}
        for per in {record.limits.spend_per for record in records}:
            found = await self.meter.totals(("owner",), None, period_day(per, now), now // DAY_US)
            spent[per] = {each.group[0]: each.cost_nano for each in found}
        lines = []
        for record in records:
            limit, per = record.limits.spend_nano, record.limits.spend_per
            paid = spent[per].get(record.id, 0)
            left = None if limit is None else max(0, limit - paid)
            lines.append(Line(record, Standing(paid, left, period_end(per, now))))
        return lines

    async def _line(self, record: KeyRecord) -> Line:
        return Line(record, await self.office.standing(record))


# ---- the form -------------------------------------------------------------------------------------------------------


def _form(service: Service, given: Fields, error: UnfitKeyError | None) -> dict[str, Any]:
    """What the template of the form needs: what was given, what can be chosen, and what is wrong with which field."""
    field = None if error is None else _FIELDS.get(error.field or "", error.field)
    return {
        "given": {name: values[0] if values else "" for name, values in given.items()},
        "models_given": given.get("models", ()), "dialects_given": given.get("dialects", ()),
        "models": [model.name for model in service.router.models],
        "dialects": [(name, API_NAMES[name]) for name in DIALECTS],
        "lasts": LASTS, "periods": PERIODS, "wrong": field, "why": "" if error is None else sentence(error),
    }  # fmt: skip


def _fields(record: KeyRecord) -> dict[str, tuple[str, ...]]:
    """The form as it describes a key that is there."""
    limits = record.limits
    found: dict[str, tuple[str, ...]] = {
        "name": (record.name,), "models": limits.models or (), "dialects": limits.dialects or (),
        "per": (limits.spend_per,),
    }  # fmt: skip
    for name in _RATES:
        if (value := getattr(limits, name)) is not None:
            found[name] = (str(value),)
    if limits.spend_nano is not None:
        found["budget"] = (usd(limits.spend_nano),)
    return found


def _wish(fields: Fields) -> KeyWish:
    """What the form asks for; a field that is empty is no limit. Raises UnfitKeyError."""
    wish = KeyWish(
        admin=first(fields, "admin") == "1", models=_chosen(fields, "models"), dialects=_chosen(fields, "dialects"),
        budget=first(fields, "budget").lstrip("$").replace(",", "") or None,
    )  # fmt: skip
    for name in _RATES:
        text = first(fields, name).replace(",", "")
        if text and not (text.isascii() and text.isdecimal() and len(text) < 15):
            raise UnfitKeyError("this must be a whole number, or empty", name)
        setattr(wish, name, int(text) if text else None)
    per = first(fields, "per") or "month"
    if per not in PERIODS:
        raise UnfitKeyError("there is no such period", "per")
    wish.per = per  # type: ignore[assignment]
    return wish


def _chosen(fields: Fields, name: str) -> list[str] | None:
    return list(fields.get(name, ())) or None


def _limits(wish: KeyWish) -> Limits:
    try:
        return limits_of(wish, Limits())
    except OpenAIError as error:
        raise UnfitKeyError(str(error), error.param) from None


def _expiry(fields: Fields) -> int | None:
    """When the key ends, in microseconds since 1970; None if nothing is said of it. Raises UnfitKeyError."""
    text = first(fields, "expires")
    if text not in LASTS:
        raise UnfitKeyError("there is no such length of time", "expires")
    return now_us() + int(text) * 1_000_000 if text else None


def _page_error(error: UnfitKeyError) -> PageError:
    status, title = (404, "No such key") if error.missing else (409, "That cannot be done")
    return PageError(sentence(error), status, title)
