"""Keys and usage over HTTP: who may make them, what they may do, what is left of them, and what was used."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import pytest
from http_calls import ask
from key_calls import WAYS, bearer, new_key, order
from key_office import Office, refused
from runware_calls import URI
from servers import null_models, serving

# ---- making and taking away -----------------------------------------------------------------------------------------


def test_the_first_key_is_an_administrators_and_closes_the_door(tmp_path: Path) -> None:
    with serving(null_models(), data=tmp_path) as server:
        assert order(server, "GET", "/key").json == {"name": "everybody", "admin": True, "key": None}
        reply = order(server, "POST", "/keys", {"name": "team"})
        assert (reply.status, reply.error["param"]) == (400, "admin")
        assert WAYS["openai"](server, "").status == 200
        first = new_key(server, "operations", admin=True)
        assert WAYS["openai"](server, "").status == 401
        assert WAYS["openai"](server, first["key"]).status == 200
    with serving(null_models(), data=tmp_path) as server:
        assert WAYS["openai"](server, "").status == 401
        assert order(server, "GET", "/key", key=first["key"]).json["key"]["id"] == first["id"]


def test_a_key_is_made_with_all_its_limits_and_listed(office: Office) -> None:
    wish = {"models": ["eye"], "dialects": ["openai", "runware"], "requests_per_minute": 120, "tokens_per_minute": 9000}
    made = office.new("team blue", budget="12.5", per="week", expires_in=3600, **wish)
    assert made["key"].startswith(made["start"])
    assert made["start"].startswith("tp_")
    assert {name: made[name] for name in wish} == wish
    assert (made["admin"], made["state"], made["spent"]) == (False, "active", 0)
    assert made["expires_at"] == pytest.approx(time.time() + 3600, abs=60)
    ends = made["budget"].pop("period_ends_at")
    assert made["budget"] == {"limit": 12.5, "per": "week", "spent": 0, "left": 12.5, "unpriced": []}
    assert time.gmtime(ends)[3:7] == (0, 0, 0, 0)  # midnight before a Monday
    listed = office.order("GET", "/keys").json["keys"]
    assert (listed[0]["id"], listed[-1]["id"]) == (office.id, made["id"])
    assert office.order("GET", f"/keys/{made['id']}").json == listed[-1]


def test_a_secret_is_told_once_and_kept_nowhere(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    made = office.new("once")
    assert office.ask("openai", made["key"]).status == 200
    again = office.order("POST", f"/keys/{made['id']}/rotate", {"overlap": 60}).json
    answers = [
        office.order("GET", "/keys"), office.order("GET", f"/keys/{made['id']}"),
        office.order("PATCH", f"/keys/{made['id']}", {"name": "more"}), office.order("GET", "/key", key=again["key"]),
        office.order("GET", "/usage/rows"), office.order("GET", "/usage?by=key"),
        office.order("POST", f"/keys/{made['id']}/revoke"), office.order("GET", "/key", key=made["key"]),
    ]  # fmt: skip
    assert [answer.status for answer in answers] == [200] * 7 + [401]
    kept = [path.read_bytes() for path in office.data.rglob("*") if path.is_file()]
    assert any(made["id"].encode() in each for each in kept)
    for secret in (made["key"], again["key"]):
        assert not any(secret.encode() in answer.body for answer in answers)
        assert secret not in caplog.text
        assert not any(secret.encode() in each for each in kept)


def test_a_key_is_changed_and_keeps_its_secret(office: Office) -> None:
    made = office.new("before", requests_per_minute=5, budget=3, models=["eye"], expires_in=3600)
    where = f"/keys/{made['id']}"
    changed = office.order("PATCH", where, {"name": "after", "budget": "7.25", "per": "day"}).json
    assert (changed["name"], changed["requests_per_minute"], changed["models"]) == ("after", 5, ["eye"])
    assert (changed["budget"]["limit"], changed["budget"]["per"]) == (7.25, "day")
    nothing = {"requests_per_minute": None, "budget": None, "models": None, "expires_in": None}
    changed = office.order("PATCH", where, nothing).json
    assert [changed[name] for name in ("requests_per_minute", "budget", "models", "expires_at")] == [None] * 4
    assert office.order("GET", "/key", key=made["key"]).json["key"] == changed
    assert office.order("PATCH", where, {}).json == changed


def test_what_a_key_cannot_become(office: Office) -> None:
    made = office.new()
    for key_id, admin in ((made["id"], True), (office.id, False)):
        reply = office.order("PATCH", f"/keys/{key_id}", {"admin": admin})
        assert (reply.status, reply.error["param"]) == (400, "admin")
    reply = office.order("POST", f"/keys/{office.id}/revoke")
    assert (reply.status, reply.error["param"]) == (400, "id")
    assert "cannot revoke itself" in reply.error["message"]
    assert office.order("GET", "/key").status == 200


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({}, "name"), ({"name": " "}, "name"), ({"name": "x" * 201}, "name"), ({"name": "a\nb"}, "name"),
        ({"name": 5}, "name"), ({"expires_in": 0}, "expires_in"), ({"expires_in": -1e300}, "expires_in"),
        ({"expires_in": 1e300}, "expires_in"), ({"expires_in": "1d"}, "expires_in"), ({"models": ["nobody"]}, "models"),
        ({"models": []}, "models"), ({"models": "eye"}, "models"), ({"dialects": ["http"]}, "dialects"),
        ({"dialects": []}, "dialects"), ({"requests_per_minute": 0}, "requests_per_minute"),
        ({"requests_per_minute": 1.5}, "requests_per_minute"), ({"tokens_per_minute": 10**30}, "tokens_per_minute"),
        ({"budget": -1}, "budget"), ({"budget": "much"}, "budget"), ({"budget": "NaN"}, "budget"),
        ({"budget": "Infinity"}, "budget"), ({"budget": "1e-10"}, "budget"), ({"budget": 1e30}, "budget"),
        # Written out they would have millions of digits.
        ({"budget": "1e400000"}, "budget"), ({"budget": "1e999999"}, "budget"), ({"budget": "1e-999999"}, "budget"),
        ({"budget": True}, "budget"), ({"per": "year"}, "per"),
    ],
)  # fmt: skip
def test_wishes_that_make_no_sense(office: Office, wish: dict[str, Any], field: str) -> None:
    before = office.order("GET", "/keys").body
    reply = office.order("POST", "/keys", {"name": "x", **wish} if wish else {})
    assert (reply.status, reply.error["param"]) == (400, field)
    if wish:
        reply = office.order("PATCH", f"/keys/{office.id}", wish)
        assert (reply.status, reply.error["param"]) == (400, field)
    assert office.order("GET", "/keys").body == before


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"name": "x", "colour": "blue"}', b'{"name": "\\ud800"}'])
def test_bodies_that_are_none(office: Office, body: bytes) -> None:
    assert office.order("POST", "/keys", body).status == 400


@pytest.mark.parametrize("wanted", ["0" * 26, "nobody", "x" * 300, "%00", ".."])
def test_keys_that_are_not_there(office: Office, wanted: str) -> None:
    for method, path in (("GET", ""), ("PATCH", ""), ("POST", "/rotate"), ("POST", "/revoke")):
        assert office.order(method, f"/keys/{wanted}{path}", {} if method == "PATCH" else None).status == 404


def test_a_rotation_has_an_overlap_or_none(own_office: Office) -> None:
    first = own_office.new("rotated")
    where = f"/keys/{first['id']}/rotate"
    second = own_office.order("POST", where, {"overlap": 3600}).json
    assert (second["id"], second["start"]) != (first["id"], first["start"])
    assert second["id"] == first["id"]
    assert [own_office.ask("openai", each["key"]).status for each in (first, second)] == [200, 200]
    third = own_office.order("POST", where).json
    assert own_office.ask("openai", third["key"]).status == 200
    refused(own_office.ask("openai", second["key"]), "openai", "wrong key", "it was replaced by a new one")
    refused(own_office.ask("openai", first["key"]), "openai", "wrong key", "")  # only one is kept beside the new one
    for overlap in (-1, 1e9):
        reply = own_office.order("POST", where, {"overlap": overlap})
        assert (reply.status, reply.error["param"]) == (400, "overlap")


# ---- what is left, and what was used --------------------------------------------------------------------------------


def test_answers_and_refusals_say_what_is_left(office: Office) -> None:
    key = office.new("counted", requests_per_minute=2, tokens_per_minute=12, budget="1.75", per="day")["key"]
    first, second = (office.ask("openai", key).headers for _ in range(2))
    assert (first["x-ratelimit-limit-requests"], first["x-ratelimit-remaining-requests"]) == ("2", "1")
    assert (first["x-ratelimit-limit-tokens"], first["x-ratelimit-remaining-tokens"]) == ("12", "12")
    assert (first["x-triptych-budget-limit"], first["x-triptych-budget-period"]) == ("1.75", "day")
    assert first["x-triptych-budget-remaining"] == "0.75"
    assert 25 < float(first["x-ratelimit-reset-requests"].removesuffix("s")) <= 30
    assert second["x-should-retry"] == "false"  # 1.00 is too much
    assert second["x-triptych-budget-remaining"] == "0.75"
    assert second["x-ratelimit-remaining-requests"] == "0"
    assert 6 <= int(second["x-ratelimit-remaining-tokens"]) < 12  # three of the prompt, three of the answer
    own = office.order("GET", "/key", key=key).headers
    assert own["x-triptych-budget-remaining"] == "0.75"
    assert not [name for name in office.ask("openai", office.admin).headers if "limit" in name or "budget" in name]


def test_what_costs_nothing_leaves_the_budget_whole(office: Office) -> None:
    made = office.new("reader", budget="5")
    key = made["key"]
    assert made["budget"]["unpriced"] == ["text"]  # so an operator knows
    for _ in range(2):
        reply = ask(office.server.url, model="text", headers=bearer(key))
        assert reply.status == 200
        assert reply.headers.get("x-triptych-budget-remaining", "5.00") == "5.00"
    assert office.order("GET", "/key", key=key).headers["x-triptych-budget-remaining"] == "5.00"


def test_what_is_refused_before_it_runs_costs_nothing(office: Office) -> None:
    key = office.new("clumsy", budget="1")["key"]
    broken = [{"type": "text", "text": "broken"}, {"type": "image_url", "image_url": {"url": URI}}]
    for content in (broken, "word " * 5000):
        assert ask(office.server.url, content, headers=bearer(key)).status == 400
    assert office.order("GET", "/key", key=key).json["key"]["budget"]["left"] == 1
    assert office.order("GET", "/usage/rows", key=key).json["usage"] == []


def test_tokens_are_counted_when_they_are_used(office: Office) -> None:
    key = office.new("wordy", tokens_per_minute=10)["key"]
    assert ask(office.server.url, "one two three four five six", model="text", headers=bearer(key)).status == 200
    outcome = office.ask("openai", key)
    refused(outcome, "openai", "too often", "This key may use 10 tokens per minute")
    assert outcome.headers["x-ratelimit-remaining-tokens"] == "0"


def test_keys_are_for_administrators_and_everybody_sees_their_own_usage(office: Office) -> None:
    mine, yours = office.new("mine"), office.new("yours")
    for key in (mine, mine, yours):
        assert office.ask("openai", key["key"]).status == 200
    where = f"/keys/{mine['id']}"
    for method, path in (
        ("GET", "/keys"), ("POST", "/keys"), ("GET", where), ("PATCH", where), ("POST", f"{where}/rotate"),
        ("POST", f"{where}/revoke"),
    ):  # fmt: skip
        reply = office.order(method, path, None if method == "GET" else {"name": "x"}, mine["key"])
        assert (reply.status, reply.error["code"]) == (403, "forbidden")
        assert order(office.server, method, path, None if method == "GET" else {}).status == 401
    told = office.order("GET", "/usage?by=key,model,dialect", key=mine["key"]).json
    assert [(each["key"], each["key_name"]) for each in told["groups"]] == [(mine["id"], "mine")]
    assert {name: told["total"][name] for name in ("requests", "prompt_tokens", "completion_tokens", "cost")} == {
        "requests": 2, "prompt_tokens": 6, "completion_tokens": 6, "cost": 2,
    }  # fmt: skip
    rows = office.order("GET", "/usage/rows", key=mine["key"]).json["usage"]
    assert {row["key"] for row in rows} == {mine["id"]}
    everybody = office.order("GET", "/usage?by=key").json["groups"]
    assert {mine["id"], yours["id"]} <= {each["key"] for each in everybody}
    assert {mine["id"], yours["id"]} <= {row["key"] for row in office.order("GET", "/usage/rows").json["usage"]}


def test_a_row_has_its_bill_and_rows_have_pages_and_days(office: Office) -> None:
    key = office.new("billed")["key"]
    for model in ("eye", "text", "eye"):
        assert ask(office.server.url, "a b", model=model, headers=bearer(key)).status == 200
    whole = office.order("GET", "/usage/rows", key=key).json
    assert [row["model"] for row in whole["usage"]] == ["eye", "text", "eye"]
    assert not whole["more"]
    row = whole["usage"][0]
    assert (row["called"], row["reason"], row["calls"], row["cost"]) == ("eye", "stop", 1, 1)
    assert row["price"] == "this test"
    assert len(row["bill"]) == 1
    assert "1" in row["bill"][0]
    first = office.order("GET", "/usage/rows?limit=1", key=key).json
    assert (first["usage"], first["more"]) == (whole["usage"][:1], True)
    rest = office.order("GET", f"/usage/rows?before={row['id']}", key=key).json["usage"]
    assert rest == whole["usage"][1:]
    assert [each["model"] for each in office.order("GET", "/usage/rows?model=text", key=key).json["usage"]] == ["text"]
    today = time.strftime("%Y-%m-%d", time.gmtime(row["created_at"]))
    assert office.order("GET", f"/usage/rows?since={today}", key=key).json == whole
    assert office.order("GET", "/usage/rows?until=2020-01-01", key=key).json == {"usage": [], "more": False}
    days = office.order("GET", f"/usage?since={today}&until={today}", key=key).json
    assert [(group["day"], group["requests"], group["cost"]) for group in days["groups"]] == [(today, 3, 2)]
    assert office.order("GET", "/usage?until=2020-01-01", key=key).json["total"]["requests"] == 0


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("/usage?by=hour", "by"), ("/usage?by=day,day", "by"), ("/usage?since=yesterday", "since"),
        ("/usage?until=0001-01-01", "until"), ("/usage?since=2026-02-01&until=2026-01-01", "since"),
        ("/usage?since=1970-01-01&until=9999-12-31", "since"), ("/usage/rows?until=x", "until"),
        ("/usage/rows?limit=0", "limit"), ("/usage/rows?before=%00", "before"),
    ],
)  # fmt: skip
def test_queries_are_checked(office: Office, path: str, param: str) -> None:
    reply = office.order("GET", path)
    assert (reply.status, reply.error["param"]) == (400, param)
