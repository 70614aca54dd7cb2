"""How each API refuses a key: one that lets in no more, is not for this, asks too often, or has spent its budget."""

from __future__ import annotations

import time
from typing import Any

import openai
import pytest
from http_calls import call
from key_calls import WAYS
from key_office import Office, refused


@pytest.mark.parametrize("way", WAYS)
def test_keys_that_let_in_no_more_are_refused_with_the_reason(own_office: Office, way: str) -> None:
    gone, late = own_office.new("gone"), own_office.new("late", expires_in=0.5)
    assert own_office.ask(way, gone["key"]).code == ""
    assert own_office.order("POST", f"/keys/{gone['id']}/revoke").json["state"] == "revoked"
    assert own_office.order("POST", f"/keys/{gone['id']}/revoke").status == 404
    refused(own_office.ask(way, gone["key"]), way, "wrong key", "it was revoked")
    while own_office.order("GET", f"/keys/{late['id']}").json["state"] != "expired":
        time.sleep(0.02)
    refused(own_office.ask(way, late["key"]), way, "wrong key", "it has expired")
    refused(own_office.ask(way, gone["key"][:-1] + "?"), way, "wrong key", "it is not complete, or has a slip")
    refused(own_office.ask(way, "tp_else"), way, "wrong key", "")


@pytest.mark.parametrize(
    ("way", "code", "words"),
    [
        ("openai", "invalid_api_key", "You didn't provide an API key. This server needs one: send it in the header"),
        ("replicate", "Unauthenticated", "You did not pass an authentication token"),
        ("runware", "missingApiKey", "An API key is needed: send it as"),
    ],
)  # fmt: skip
def test_no_key_is_not_called_a_wrong_one(office: Office, way: str, code: str, words: str) -> None:
    none, wrong = office.ask(way, ""), office.ask(way, "tp_else")
    assert (none.status, none.code, wrong.status) == (401, code, 401)
    assert none.message.startswith(words)
    assert words not in wrong.message
    assert none.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("way", WAYS)
def test_a_key_for_another_api_or_another_model(office: Office, way: str) -> None:
    dialect = "runware" if way == "socket" else way
    others = [name for name in ("openai", "replicate", "runware") if name != dialect]
    key = office.new("others", dialects=others)["key"]
    refused(office.ask(way, key), way, "forbidden", f"is not for the API of {dialect}; it is for {', '.join(others)}")
    assert office.order("GET", "/key", key=key).status == 200  # what is Triptych's own is for every key
    key = office.new("readers", models=["text"], dialects=[dialect])["key"]
    refused(office.ask(way, key), way, "forbidden", "is not for the model eye; it is for text")
    assert office.order("GET", "/usage", key=key).json["total"]["requests"] == 0
    key = office.new("seers", models=["eye"], dialects=[dialect])["key"]
    assert office.ask(way, key).code == ""


@pytest.mark.parametrize("way", WAYS)
def test_a_key_that_asks_too_often(office: Office, way: str) -> None:
    key = office.new("hasty", requests_per_minute=1)["key"]
    assert office.ask(way, key).code == ""
    outcome = office.ask(way, key)
    refused(outcome, way, "too often", "1 requests per minute, and they are used up; try again in ")
    if way != "socket":
        assert 1 <= int(outcome.headers["retry-after"]) <= 60
        told = {name: outcome.headers[f"x-ratelimit-{name}-requests"] for name in ("limit", "remaining")}
        assert told == {"limit": "1", "remaining": "0"}
        assert 0 < float(outcome.headers["x-ratelimit-reset-requests"].removesuffix("s")) <= 60
    assert office.order("GET", "/key", key=key).status == 200  # asking for the rest costs nothing
    assert office.order("GET", "/usage", key=key).json["total"]["requests"] == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_budget_that_is_spent(office: Office, way: str) -> None:
    key = office.new("poor", budget="1.5")["key"]
    assert office.ask(way, key).code == ""
    outcome = office.ask(way, key)
    refused(outcome, way, "spent", "This request can cost up to $1.00, and $0.50 are left of this key's budget of")
    assert " $1.50 per month; the next month begins at 20" in outcome.message
    if way != "socket":
        told = [outcome.headers[f"x-triptych-budget-{name}"] for name in ("limit", "period", "remaining")]
        assert told == ["1.50", "month", "0.50"]
        # OpenAI's clients, told not to ask again, would sleep for as long as it says.
        assert ("retry-after" in outcome.headers) == (way != "openai")
    found = office.order("GET", "/key", key=key).json["key"]
    assert (found["spent"], found["budget"]["left"]) == (1, 0.5)
    assert office.order("GET", "/usage", key=key).json["total"]["requests"] == 1


def test_openais_client_does_not_ask_again_where_money_is_missing(office: Office) -> None:
    sent: list[Any] = []
    key = office.new("poor", budget="0.5", per="total")["key"]
    with openai.DefaultHttpxClient(event_hooks={"request": [sent.append]}) as http:
        client = openai.OpenAI(base_url=f"{office.server.url}/v1", api_key=key, http_client=http, max_retries=2)
        with pytest.raises(openai.RateLimitError, match=r"this key's budget of \$0\.50\.") as caught:
            client.chat.completions.create(model="eye", messages=[{"role": "user", "content": "a"}])
    assert caught.value.code == "insufficient_quota"
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(sent) == 1


def test_a_flood_of_wrong_keys_closes_no_public_door(own_office: Office) -> None:
    known = own_office.new("known")["key"]
    assert own_office.ask("openai", known).status == 200
    statuses = [own_office.ask("openai", f"guess {number}").status for number in range(30)]
    assert set(statuses) == {401, 429}
    assert statuses[-1] == 429
    url = own_office.server.url
    assert [call(url, "GET", path).status for path in ("/health", "/", "/app/sign-in")] == [200] * 3
    assert [own_office.ask(way, known).code for way in ("openai", "replicate", "runware")] == ["", "", ""]
    refused(own_office.ask("runware", "tp_else"), "runware", "too often", "wrong keys came from your address")
