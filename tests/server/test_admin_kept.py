"""What operators see and order of what a server keeps, over HTTP and from the command line."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from http_calls import Reply, call
from key_calls import new_key
from servers import NOWHERE, Running, null_models, serving
from standardwebhooks import Webhook

from triptych.cli import main
from triptych.server.app import Options

ADMIN = "/triptych/v1"
IDS = ("0" * 26, "nobody", "a-b", "x" * 300, "%00", "..")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(null_models(), data=tmp_path_factory.mktemp("data")) as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    options = Options(keys=("boss",), drain=1)
    with serving(null_models(), options=options, data=tmp_path_factory.mktemp("data")) as running:
        yield running


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(null_models(delay=0.2), data=tmp_path_factory.mktemp("data")) as running:
        yield running


def run(server: Running, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--url", server.url])


def asked(server: Running, prompt: str = "a b", key: str = "", wait: bool = True, **more: Any) -> str:
    """The id of a new prediction, which has ended if it was waited for."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    body = {"version": "eye", "input": {"prompt": prompt}, **more}
    reply = call(server.url, "POST", "/v1/predictions", body, headers | ({"prefer": "wait"} if wait else {}))
    assert reply.status in (201, 202), reply.body
    return str(reply.json["id"])


def told(server: Running, prediction: str, state: str) -> dict[str, Any]:
    """The last webhook of a prediction, once it is in this state."""
    deadline = time.monotonic() + 10
    while True:
        [last, *_] = json.loads(run(server, "webhooks", "list", "--prediction", prediction, "--json").output)
        if last["state"] == state:
            return dict(last)
        assert time.monotonic() < deadline, last
        time.sleep(0.01)


def admin(server: Running, method: str, path: str, body: Any = None, key: str = "") -> Reply:
    return call(server.url, method, ADMIN + path, body, {"authorization": f"Bearer {key}"} if key else {})


# ---- predictions ----------------------------------------------------------------------------------------------------


def test_predictions_are_listed_and_shown(server: Running) -> None:
    first, second = asked(server, "one two"), asked(server, "three")
    lines = [line.split() for line in run(server, "predictions", "list").output.splitlines()]
    assert lines[0] == ["ID", "STATUS", "MODEL", "CREATED", "TOOK", "TOKENS", "ERROR"]
    assert [line[:3] for line in lines[1:3]] == [[second, "succeeded", "eye"], [first, "succeeded", "eye"]]
    found = json.loads(run(server, "predictions", "show", first, "--json").output)
    assert (found["status"], found["model"], found["dialect"]) == ("succeeded", "eye", "replicate")
    assert found["input"]["prompt"] == "one two"
    assert found["completion_tokens"] == len(found["output"]) > 0
    assert found["created_at"] <= found["started_at"] <= found["completed_at"]
    shown = run(server, "predictions", "show", first).output
    assert "".join(found["output"]).strip() in shown
    assert "started after" in shown
    assert '"prompt": "one two"' in shown


def test_a_list_has_pages_and_states(server: Running) -> None:
    made = [asked(server) for _ in range(3)]
    page = run(server, "predictions", "list", "--limit", "2", "--json")
    assert [each["id"] for each in json.loads(page.stdout)] == [made[2], made[1]]
    more = run(server, "predictions", "list", "--limit", "2")
    assert more.stderr == f"there are older ones: --before {made[1]}\n"
    following = run(server, "predictions", "list", "--limit", "1", "--before", made[1], "--json")
    assert [each["id"] for each in json.loads(following.stdout)] == [made[0]]
    none = run(server, "predictions", "list", "--status", "failed")
    assert (none.stdout, none.stderr) == ("", "no predictions\n")


def test_a_list_of_one_model_and_api_and_a_part_of_an_id(server: Running) -> None:
    prediction = asked(server)
    for query, there in (
        ("model=eye", True), ("model=text", False), ("dialect=replicate", True), ("dialect=runware", False),
        (f"text={prediction[5:]}", True), ("text=zzzzzz", False),
    ):  # fmt: skip
        found = admin(server, "GET", f"/predictions?{query}").json["predictions"]
        assert (prediction in {each["id"] for each in found}) is there, query
    assert admin(server, "GET", "/predictions?dialect=latin").status == 400
    assert admin(server, "GET", "/predictions?text=%25").status == 400


def test_a_running_one_is_canceled_and_then_repeated(slow: Running) -> None:
    prediction = asked(slow, "word " * 40, wait=False)
    early = run(slow, "predictions", "retry", prediction)
    assert early.exit_code == 1
    assert f"The prediction {prediction} has not ended yet" in early.output
    assert run(slow, "predictions", "cancel", prediction).output == f"{prediction} is canceled\n"
    late = run(slow, "predictions", "cancel", prediction)
    assert (late.exit_code, late.output) == (
        1, f"error: The prediction {prediction} has ended already: it is canceled.\n",
    )  # fmt: skip
    assert admin(slow, "POST", f"/predictions/{prediction}/cancel").status == 409
    again = run(slow, "predictions", "retry", prediction).output.strip()
    assert again != prediction
    found = json.loads(run(slow, "predictions", "show", again, "--json").output)
    assert found["input"]["prompt"].startswith("word word")
    assert "Answered here by eye" in found["logs"].splitlines()[0]
    assert f"run again after {prediction}" in found["logs"]
    run(slow, "predictions", "cancel", again)


@pytest.mark.parametrize("words", [("show",), ("cancel",), ("retry",)])
def test_an_unknown_prediction_is_said_so(server: Running, words: tuple[str, ...]) -> None:
    for wanted in IDS[:4]:
        answer = run(server, "predictions", *words, wanted)
        assert (answer.exit_code, answer.output) == (1, f"error: There is no prediction '{wanted[:80]}'.\n")


def test_ids_that_are_none_are_not_found(server: Running) -> None:
    for wanted in IDS:
        assert admin(server, "GET", f"/predictions/{wanted}").status == 404
        assert admin(server, "POST", f"/webhooks/{wanted}/replay").status == 404


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("/predictions?limit=0", "limit"), ("/predictions?limit=x", "limit"), ("/predictions?status=odd", "status"),
        ("/predictions?before=%00", "before"), ("/webhooks?state=odd", "state"),
        ("/webhooks?prediction=a+b", "prediction"),
    ],
)  # fmt: skip
def test_queries_are_checked(server: Running, path: str, param: str) -> None:
    reply = admin(server, "GET", path)
    assert (reply.status, reply.error["param"]) == (400, param)


def test_no_server_and_no_command() -> None:
    for words in (["predictions", "list"], ["webhooks", "list"], ["purge", "--older-than", "1d"]):
        answer = CliRunner().invoke(main, [*words, "--url", "http://127.0.0.1:9"])
        assert answer.exit_code == 1
        assert "no server at http://127.0.0.1:9" in answer.output
    for group in ("predictions", "webhooks"):
        answer = CliRunner().invoke(main, [group])
        assert answer.exit_code == 0
        assert "Commands:" in answer.output


def test_what_others_wrote_does_not_reach_the_terminal_as_it_is(server: Running) -> None:
    prediction = asked(server, "a \x1b[2Jb")
    assert "\x1b" not in run(server, "predictions", "show", prediction).output


# ---- webhooks -------------------------------------------------------------------------------------------------------


def test_webhooks_are_listed_with_their_tries_and_replayed(server: Running) -> None:
    prediction = asked(server, webhook=NOWHERE, webhook_events_filter=["completed"])
    hook = told(server, prediction, "given_up")
    assert (hook["event"], hook["tries"], hook["url"]) == ("completed", 1, NOWHERE)
    line = run(server, "webhooks", "list", "--prediction", prediction).output.splitlines()[1]
    assert line.split()[:5] == [hook["id"], prediction, "completed", "given_up", "1"]
    shown = run(server, "webhooks", "attempts", hook["id"])
    assert shown.stderr == "given_up\n"
    assert "its address is not public" in shown.stdout
    assert run(server, "webhooks", "replay", hook["id"]).output == f"{hook['id']} is waiting\n"
    deadline = time.monotonic() + 10
    while told(server, prediction, "given_up")["tries"] < 2:
        assert time.monotonic() < deadline
    whole = json.loads(run(server, "webhooks", "attempts", hook["id"], "--json").output)
    assert [each["number"] for each in whole["attempts"]] == [1, 2]
    assert json.loads(whole["body"])["id"] == prediction
    assert hook["id"] in run(server, "predictions", "show", prediction).output
    assert run(server, "webhooks", "list", "--state", "delivered").stderr == "no webhooks\n"
    assert run(server, "webhooks", "attempts", "nobody").output == "error: There is no webhook 'nobody'.\n"


def test_the_secret_is_changed(server: Running) -> None:
    before = call(server.url, "GET", "/v1/webhooks/default/secret").json["key"]
    made = run(server, "webhooks", "rotate").output.strip()
    assert made != before
    assert call(server.url, "GET", "/v1/webhooks/default/secret").json["key"] == made
    Webhook(made)


# ---- purge, and keys ------------------------------------------------------------------------------------------------


def test_old_predictions_are_purged(server: Running) -> None:
    kept = asked(server)
    assert run(server, "purge", "--older-than", "1h").output == "0 predictions deleted\n"
    assert json.loads(run(server, "predictions", "show", kept, "--json").output)["id"] == kept
    time.sleep(0.01)
    assert json.loads(run(server, "purge", "--older-than", "0s", "--json").output)["deleted"] >= 1
    assert run(server, "predictions", "show", kept).exit_code == 1
    assert "older_than" in admin(server, "POST", "/purge", {}).error["message"]
    assert admin(server, "POST", "/purge", {"older_than": -1}).status == 400
    assert admin(server, "POST", "/purge", {"older_than": 1e300}).status == 400


@pytest.mark.parametrize("text", ["", "d", "3x", "-1d", "nan", "inf", "1e300d"])
def test_a_length_of_time_that_is_none(text: str) -> None:
    answer = CliRunner().invoke(main, ["purge", f"--older-than={text}"])
    assert answer.exit_code == 2
    assert "is not a length of time" in answer.output


def test_a_key_sees_and_deletes_what_was_made_with_it_and_an_administrator_everything(shared: Running) -> None:
    one, other = (new_key(shared, name, by="boss")["key"] for name in ("one", "other"))
    mine, yours = asked(shared, key=one, webhook=NOWHERE), asked(shared, key=other, webhook=NOWHERE)
    hooks = admin(shared, "GET", "/webhooks", key=other).json["webhooks"]
    assert {each["prediction"] for each in hooks} == {yours}
    assert [each["id"] for each in admin(shared, "GET", "/predictions", key=one).json["predictions"]] == [mine]
    everything = admin(shared, "GET", "/predictions", key="boss").json["predictions"]
    assert [each["id"] for each in everything] == [yours, mine]
    for path in (f"/predictions/{yours}", f"/webhooks/{hooks[0]['id']}"):
        assert admin(shared, "GET", path, key=one).status == 404
        assert admin(shared, "GET", path, key=other).status == 200
        assert admin(shared, "GET", path, key="boss").status == 200
    for path in (f"/predictions/{yours}/cancel", f"/predictions/{yours}/retry", f"/webhooks/{hooks[0]['id']}/replay"):
        assert admin(shared, "POST", path, key=one).status == 404
    time.sleep(0.01)
    deadline = time.monotonic() + 10
    while admin(shared, "POST", "/purge", {"older_than": 0}, key=one).json["deleted"] < 1:
        assert time.monotonic() < deadline, "its webhook waits still"
        time.sleep(0.01)
    assert admin(shared, "GET", f"/predictions/{yours}", key=other).status == 200
    assert admin(shared, "GET", "/predictions").status == 401
    assert "API key" in run(shared, "predictions", "list").output


def test_what_was_forgotten_cannot_be_repeated(tmp_path: Path) -> None:
    with serving(null_models(), options=Options(drain=1, retention=0.001), data=tmp_path) as server:
        prediction = asked(server)
    with serving(null_models(), options=Options(drain=1, retention=0.001), data=tmp_path) as server:
        deadline = time.monotonic() + 10
        while not admin(server, "GET", f"/predictions/{prediction}").json["data_removed"]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        answer = run(server, "predictions", "retry", prediction)
        assert "was removed, so it cannot be run again" in answer.output
        assert "(removed)" in run(server, "predictions", "show", prediction).output
