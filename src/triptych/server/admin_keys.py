"""What administrators ask and order about keys, and what a key may ask about itself."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from .accounts.cost import usd, usd_float
from .accounts.office import Office, Standing, UnfitKeyError
from .asked import seconds
from .dialects.openai.errors import OpenAIError, invalid, read_body
from .dialects.openai.form import to_json
from .exchange import Answer, Exchange
from .service import Service
from .store.ids import now_us
from .store.keys import KeyRecord, Limits

# Of a budget's dollars; how many are possible is the office's to say.
_MOST_DIGITS = 15
# Seconds: what is longer has no place in a database.
_TOO_LONG = 1e10
Period = Literal["day", "week", "month", "total"]


class Budget(msgspec.Struct):
    """In dollars."""

    limit: float
    per: Period
    spent: float
    left: Annotated[float, Meta(description="Neither spent nor set aside for what is under way.")]
    period_ends_at: Annotated[float | None, Meta(description="Seconds since 1970; null for a budget that never ends.")]
    unpriced: Annotated[
        list[str],
        Meta(description="Models that it does not hold back: the key may call them by a name that has no price."),
    ]


class KeyAnswer(msgspec.Struct):
    """A key, without its secret; times are in seconds since 1970."""

    id: Annotated[str, Meta(description="What stands in usage and predictions as their owner.")]
    name: str
    start: Annotated[str, Meta(description="How its secret begins.")]
    admin: Annotated[bool, Meta(description="Whether it may do what only operators may.")]
    state: Literal["active", "expired", "revoked"]
    created_at: float
    expires_at: float | None
    models: Annotated[list[str] | None, Meta(description="null: all.")]
    dialects: Annotated[list[str] | None, Meta(description="null: all.")]
    requests_per_minute: int | None
    tokens_per_minute: int | None
    budget: Budget | None
    spent: Annotated[float, Meta(description="Dollars in the budget's period, or this month.")]


class NewKeyAnswer(KeyAnswer):
    """Also its secret, which is told this once and kept nowhere."""

    key: str


class KeyAnswers(msgspec.Struct):
    keys: list[KeyAnswer]


class OwnKey(msgspec.Struct):
    """Who asks. `key` is null for a key of the settings, and where none is needed."""

    name: str
    admin: bool
    key: KeyAnswer | None


class KeyWish(msgspec.Struct, forbid_unknown_fields=True):
    """What a key is to be. What is left out is without limit, or stays as it is; null takes a limit away."""

    name: str | UnsetType = UNSET
    admin: bool | UnsetType = UNSET
    expires_in: Annotated[float | None, Meta(description="Seconds.")] | UnsetType = UNSET
    models: list[str] | UnsetType | None = UNSET
    dialects: list[str] | UnsetType | None = UNSET
    requests_per_minute: int | UnsetType | None = UNSET
    tokens_per_minute: int | UnsetType | None = UNSET
    budget: Annotated[str | float | int | None, Meta(description="Dollars.")] | UnsetType = UNSET
    per: Period | UnsetType = UNSET


class Rotation(msgspec.Struct, forbid_unknown_fields=True):
    overlap: Annotated[float, Meta(description="Seconds that the old secret goes on to let in.")] = 0.0


_wish_decoder = msgspec.json.Decoder(KeyWish)
_rotation_decoder = msgspec.json.Decoder(Rotation)


@dataclass(frozen=True, slots=True)
class KeyOrders:
    """The handlers."""

    office: Office

    async def list_all(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """Every key with its limits and what it has spent, the oldest first."""
        return Answer(to_json({"keys": [await self._told(record) for record in self.office.all()]}))

    async def create(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """Make a key. Its secret is in this answer and nowhere else."""
        wish = read_body(_wish_decoder, body or b"{}")
        if wish.name is UNSET:
            raise invalid("name", "A key needs a name.")
        try:
            record, secret = await self.office.create(
                wish.name, wish.admin is True, limits_of(wish, Limits()), _expiry(wish)
            )
        except UnfitKeyError as error:
            raise _unfit(error) from None
        return Answer(to_json(await self._told(record) | {"key": secret}), 201)

    async def show(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """One key."""
        return Answer(to_json(await self._told(self._find(exchange))))

    async def change(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """Give a key other limits, another name or another end."""
        record, wish = self._find(exchange), read_body(_wish_decoder, body or b"{}")
        if wish.admin is not UNSET and wish.admin != record.admin:
            raise invalid("admin", "A key becomes no administrator's, and an administrator's no other: make a new one.")
        name = None if wish.name is UNSET else wish.name
        try:
            limits = limits_of(wish, record.limits)
            changed = await self.office.change(record.id, limits, name, _expiry(wish), wish.expires_in is None)
        except UnfitKeyError as error:
            raise _unfit(error) from None
        return Answer(to_json(await self._told(changed)))

    async def rotate(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """Give a key a new secret, told in this answer and nowhere else. Its id, limits and history stay."""
        wish = read_body(_rotation_decoder, body or b"{}")
        try:
            record, secret = await self.office.rotate(self._find(exchange).id, wish.overlap)
        except UnfitKeyError as error:
            raise _unfit(error) from None
        return Answer(to_json(await self._told(record) | {"key": secret}))

    async def revoke(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """Take a key away, for ever. What it made stays."""
        try:
            record = await self.office.revoke(self._find(exchange).id, exchange.owner)
        except UnfitKeyError as error:
            raise _unfit(error) from None
        return Answer(to_json(await self._told(record)))

    async def own(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """The key that asks: what it may do and what it has left."""
        caller = exchange.caller
        assert caller is not None
        exchange.limits |= service.accounts.headers(caller)
        key = None
        if caller.key is not None:
            standing = await self.office.standing(caller.key)
            key = describe_key(caller.key, standing)
            if standing.left_nano is not None:  # everywhere, where one server may not know
                exchange.limits["x-triptych-budget-remaining"] = usd(max(0, standing.left_nano))
        return Answer(to_json({"name": caller.name, "admin": caller.admin, "key": key}))

    def _find(self, exchange: Exchange) -> KeyRecord:
        try:
            return self.office.get(exchange.scope["path_params"]["key_id"])
        except UnfitKeyError as error:
            raise _unfit(error) from None

    async def _told(self, record: KeyRecord) -> dict[str, Any]:
        return describe_key(record, await self.office.standing(record))


def describe_key(record: KeyRecord, standing: Standing) -> dict[str, Any]:
    """A key as `KeyAnswer`."""
    limits = record.limits
    state = "revoked" if record.revoked_us is not None else "active" if record.works(now_us()) else "expired"
    budget = None
    if limits.spend_nano is not None:
        budget = {
            "limit": usd_float(limits.spend_nano), "per": limits.spend_per, "spent": usd_float(standing.spent_nano),
            "left": usd_float(max(0, standing.left_nano or 0)), "period_ends_at": seconds(standing.period_ends_us),
            "unpriced": standing.unpriced,
        }  # fmt: skip
    return {
        "id": record.id, "name": record.name, "start": record.start, "admin": record.admin, "state": state,
        "created_at": seconds(record.created_us), "expires_at": seconds(record.expires_us),
        "models": limits.models, "dialects": limits.dialects, "requests_per_minute": limits.requests_per_minute,
        "tokens_per_minute": limits.tokens_per_minute, "budget": budget, "spent": usd_float(standing.spent_nano),
    }  # fmt: skip


def limits_of(wish: KeyWish, before: Limits) -> Limits:
    """The limits that are wanted, over those that there were. Raises OpenAIError."""
    found: dict[str, Any] = {}
    for name in ("models", "dialects"):
        if (value := getattr(wish, name)) is not UNSET:
            found[name] = None if value is None else tuple(value)
    for name in ("requests_per_minute", "tokens_per_minute"):
        if (value := getattr(wish, name)) is not UNSET:
            found[name] = value
    if wish.budget is not UNSET:
        found["spend_nano"] = None if wish.budget is None else nano_of(wish.budget)
    if wish.per is not UNSET:
        found["spend_per"] = wish.per
    return msgspec.structs.replace(before, **found)


def nano_of(dollars: str | float | int) -> int:
    """Nano-dollars of an amount as people write it. Raises OpenAIError."""
    told = f"budget must be an amount of dollars, such as 12.50, not {str(dollars)[:80]!r}."
    try:
        amount = Decimal(str(dollars))
    except (InvalidOperation, ValueError):
        raise invalid("budget", told) from None
    if not amount.is_finite() or amount.adjusted() > _MOST_DIGITS:  # written out it could have millions of digits
        raise invalid("budget", told)
    nano = int(amount.scaleb(9)) if amount.adjusted() >= -9 else 0
    if amount < 0 or amount != Decimal(nano).scaleb(-9):
        raise invalid("budget", "budget must be at least 0, with up to nine decimals.")
    return nano


def _expiry(wish: KeyWish) -> int | None:
    if wish.expires_in is UNSET or wish.expires_in is None:
        return None
    return now_us() + round(max(0.0, min(wish.expires_in, _TOO_LONG)) * 1e6)


def _unfit(error: UnfitKeyError) -> OpenAIError:
    text = str(error)
    sentence = f"{text[0].upper()}{text[1:]}."
    return OpenAIError(sentence, error.field, "not_found" if error.missing else None, 404 if error.missing else 400)
