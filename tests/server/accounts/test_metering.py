"""What requests cost, over HTTP: every answer, stream, disconnect and refusal has the row that it should have."""

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from http_calls import call
from servers import null_models, serving

from triptych.server.accounts import accounts, keyring, meter
from triptych.server.accounts.cost import Price, part
from triptych.server.app import Options
from triptych.server.store.store import SQLiteStore, StoreError

BOSS = "the operator's key"
# Dollars per million tokens: 1 in, 2 out; so a token is 1,000 or 2,000 nano-dollars.
PRICE = Price((part("input", 10**9), part("output", 2 * 10**9)), "a test")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    options = Options(keys=(BOSS,), own_prices={"eye": PRICE}, prices="free", drain=5)
    with serving(null_models(delay=0.01), options=options, data=tmp_path_factory.mktemp("data")) as running:
        yield running


def key(server, **limits):
    """The secret of a new key."""
    made = call(server.url, "POST", "/triptych/v1/keys", {"name": "somebody", **limits}, bearer(BOSS))
    assert made.status == 201, made.body
    return made.json["key"]


def bearer(secret):
    return {"authorization": f"Bearer {secret}"}


def ask(server, secret, words="one two three", model="eye", **more):
    body = {"model": model, "messages": [{"role": "user", "content": words}], **more}
    return call(server.url, "POST", "/v1/chat/completions", body, bearer(secret))


def rows(server, secret, count):
    """The key's rows of usage, the oldest first, once there are so many."""
    deadline = time.monotonic() + 20
    while True:
        found = call(server.url, "GET", "/triptych/v1/usage/rows?limit=1000", headers=bearer(secret)).json["usage"]
        if len(found) >= count:
            assert len(found) == count
            return found[::-1]
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def test_an_answer_says_what_it_cost_and_the_row_says_why(server):
    secret = key(server)
    answer = ask(server, secret, "one two three", n=2).json
    usage = answer["usage"]
    expected = usage["prompt_tokens"] * 1e-6 + usage["completion_tokens"] * 2e-6
    assert usage["cost"] == pytest.approx(expected, rel=1e-12)
    [row] = rows(server, secret, 1)
    assert row["cost"] == usage["cost"]
    assert (row["called"], row["model"], row["dialect"], row["reason"]) == ("eye", "eye", "openai", "stop")
    assert row["completion_tokens"] == usage["completion_tokens"]
    assert row["price"] == "a test"
    assert [line.partition(" x ")[2].partition(" =")[0] for line in row["bill"]] == ["$1.00 / 1M", "$2.00 / 1M"]
    # A model without a price is metered all the same, and says no cost.
    assert "cost" not in ask(server, secret, model="text").json["usage"]
    assert rows(server, secret, 2)[1]["cost"] == 0


def test_streams_completions_and_responses_say_it_too(server):
    secret = key(server)
    stream = ask(server, secret, stream=True, stream_options={"include_usage": True})
    body = {"model": "eye", "prompt": ["a b", "c d e"]}
    completion = call(server.url, "POST", "/v1/completions", body, bearer(secret))
    response = call(server.url, "POST", "/v1/responses", {"model": "eye", "input": "a b c"}, bearer(secret))
    told = [stream.chunks[-1]["usage"]["cost"], completion.json["usage"]["cost"], response.json["usage"]["cost"]]
    found = [row["cost"] for row in rows(server, secret, 4)]
    assert told == [found[0], pytest.approx(found[1] + found[2]), found[3]]


def test_who_goes_away_pays_for_what_was_computed_and_no_more(server):
    secret = key(server)
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=20)
    body = {"model": "eye", "messages": [{"role": "user", "content": "word " * 400}], "stream": True}
    connection.request("POST", "/v1/chat/completions", json.dumps(body),
                       {"content-type": "application/json", **bearer(secret)})  # fmt: skip
    answer = connection.getresponse()
    answer.read(300)
    answer.close()
    connection.close()
    [row] = rows(server, secret, 1)
    assert row["reason"] == "abort"
    assert 0 < row["completion_tokens"] < 400
    assert row["cost"] == pytest.approx((row["prompt_tokens"] + 2 * row["completion_tokens"]) / 1e6)


def test_rows_equal_answers_under_load_over_all_keys(server):
    secrets = [key(server) for _ in range(3)]

    def one(number):
        told = ask(server, secrets[number % 3], "word " * (1 + number % 7), max_tokens=1 + number % 5).json
        return number % 3, told["usage"]

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(one, range(120)))
    for place, secret in enumerate(secrets):
        told = [usage for owner, usage in answers if owner == place]
        found = rows(server, secret, len(told))
        for name in ("prompt_tokens", "completion_tokens"):
            assert sum(row[name] for row in found) == sum(usage[name] for usage in told)
        [group] = call(server.url, "GET", "/triptych/v1/usage", headers=bearer(secret)).json["groups"]
        assert group["requests"] == len(told)
        assert group["cost"] == pytest.approx(sum(usage["cost"] for usage in told), rel=1e-9)


def test_a_budget_holds_under_64_requests_at_once_and_its_last_dollar_can_be_spent(server):
    # A request of 3 tokens in and at most 4 out is reserved at the context's worst before its prompt is counted.
    secret = key(server, budget="0.003", per="day")

    def one(number):
        return ask(server, secret, "a b c", max_tokens=4)

    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(one, range(256)))
    good = [answer for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status != 200]
    assert {answer.status for answer in refused} <= {429}
    assert all(answer.error["code"] == "insufficient_quota" for answer in refused)
    found = rows(server, secret, len(good))
    assert sum(row["cost"] for row in found) <= 0.003
    own = call(server.url, "GET", "/triptych/v1/key", headers=bearer(secret)).json["key"]["budget"]
    assert own["spent"] == pytest.approx(sum(row["cost"] for row in found))
    assert own["left"] == pytest.approx(0.003 - own["spent"]), "what was set aside came back"
    assert own["left"] >= 0


def test_what_could_cost_more_than_is_left_is_refused_before_anything_is_computed(server):
    secret = key(server, budget="0.001")
    refused = ask(server, secret, "word " * 100, max_tokens=1000)
    assert refused.status == 429
    assert refused.headers["x-should-retry"] == "false"
    assert "are left of this key's budget of $0.001 per month" in refused.error["message"]
    ask_again = ask(server, secret, "word", max_tokens=2)
    assert ask_again.status == 200
    assert ask_again.headers["x-triptych-budget-limit"] == "0.001"
    assert 0 < float(ask_again.headers["x-triptych-budget-remaining"]) < 0.001
    assert len(rows(server, secret, 1)) == 1


def test_a_prediction_carries_its_cost_and_is_paid_once(server):
    secret = key(server)
    body = {"input": {"prompt": "one two"}}
    headers = bearer(secret) | {"prefer": "wait=20"}
    made = call(server.url, "POST", "/replicate/v1/models/org/eye/predictions", body, headers).json
    assert made["status"] == "succeeded"
    [row] = rows(server, secret, 1)
    assert (row["id"], row["dialect"], row["called"]) == (made["id"], "replicate", "org/eye")
    assert made["metrics"]["cost"] == row["cost"] > 0
    poor = key(server, budget="0.000001", per="total")
    refused = call(server.url, "POST", "/replicate/v1/models/org/eye/predictions", body, bearer(poor))
    assert (refused.status, refused.json["title"]) == (402, "Insufficient credit")
    assert call(server.url, "GET", "/replicate/v1/predictions", headers=bearer(poor)).json["results"] == []


def test_each_key_sees_its_own_and_the_operator_everything(server):
    mine, other = key(server), key(server)
    ask(server, mine)
    ask(server, other)
    own = call(server.url, "GET", "/triptych/v1/usage?by=key", headers=bearer(mine)).json
    assert len(own["groups"]) == 1
    everything = call(server.url, "GET", "/triptych/v1/usage?by=key,model", headers=bearer(BOSS)).json
    assert len(everything["groups"]) > 2
    assert everything["total"]["requests"] == sum(group["requests"] for group in everything["groups"])


def test_while_the_database_is_away_requests_are_answered_and_readiness_says_so(tmp_path, monkeypatch):
    for module, name, value in ((accounts, "_LATE", 0.3), (keyring, "_LOOK_EVERY", 0.1), (meter, "_LONGEST_WAIT", 0.3)):
        monkeypatch.setattr(module, name, value)
    options = Options(keys=(BOSS,), own_prices={"eye": PRICE}, drain=5)
    with serving(null_models(), options=options, data=tmp_path / "data") as server:
        secret = key(server)
        assert call(server.url, "GET", "/ready").json == {"status": "ready", "reasons": []}
        read, write, away = SQLiteStore.read, SQLiteStore.write, []

        def unless_away(work):
            async def run(self, what):
                if away:
                    raise StoreError("away")
                return await work(self, what)

            return run

        monkeypatch.setattr(SQLiteStore, "read", unless_away(read))
        monkeypatch.setattr(SQLiteStore, "write", unless_away(write))
        away.append(True)
        assert [ask(server, secret).status for _ in range(3)] == [200] * 3
        time.sleep(0.8)
        told = call(server.url, "GET", "/ready")
        assert (told.status, told.json["status"], len(told.json["reasons"])) == (200, "degraded", 2)
        assert ask(server, secret).status == 200
        away.clear()
        assert len(rows(server, secret, 4)) == 4
        time.sleep(0.3)
        assert call(server.url, "GET", "/ready").json["status"] == "ready"
