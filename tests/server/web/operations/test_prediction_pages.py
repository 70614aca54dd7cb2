"""The pages about predictions: what they say is what is stored, to those whose it is, and their buttons work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from http_calls import Reply, call
from page_calls import assert_nothing_runs, links, page, polled, read, send_form, text_of
from runware_calls import PNG, URI, new_uuid
from servers import Running, null_models, serving

from triptych.server.accounts.cost import Price, part
from triptych.server.app import Options

LIST = "/app/predictions"
KEYS = "/triptych/v1/keys"
HOSTILE = '<script>alert(1)</script><img src=x onerror=alert(2)>"\'&{{7*7}}'


async def any_picture(url: str) -> bytes:
    return PNG


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(null_models(), any_picture, data=tmp_path_factory.mktemp("data")) as running:
        yield running


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(null_models(delay=0.2), any_picture, data=tmp_path_factory.mktemp("data")) as running:
        yield running


def asked(server: Running, prompt: str = "one two three", wait: bool = True, **more: Any) -> dict[str, Any]:
    """A prediction in Replicate's way."""
    fields = more.pop("fields", {})
    body = {"version": "org/eye", "input": {"prompt": prompt, **more}, **fields}
    reply = call(server.url, "POST", "/v1/predictions", body, {"prefer": "wait=20"} if wait else {})
    assert reply.status in (201, 202), reply.body
    return reply.json


def captioned(server: Running) -> str:
    """A prediction in Runware's way; its id."""
    task = {"taskType": "caption", "taskUUID": new_uuid(), "model": "eye", "inputs": {"image": URI}}
    assert call(server.url, "POST", "/runware/v1", [task]).status == 200
    return call(server.url, "GET", "/triptych/v1/predictions?limit=1").json["predictions"][0]["id"]


def stored(server: Running, prediction_id: str) -> dict[str, Any]:
    return call(server.url, "GET", f"/triptych/v1/predictions/{prediction_id}").json


def until(server: Running, prediction_id: str, *statuses: str) -> dict[str, Any]:
    deadline = time.monotonic() + 20
    while (found := stored(server, prediction_id))["status"] not in statuses:
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


# ---- one ------------------------------------------------------------------------------------------------------------


def settled(server: Running, prediction_id: str) -> str:
    """The page of a prediction that has ended, once it is in the books and nothing can change any more."""
    deadline = time.monotonic() + 10
    while polled(html := page(server.url, f"{LIST}/{prediction_id}")) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return html


def test_a_prediction_is_told_whole_and_true(server: Running) -> None:
    made = asked(server, "one two three", image=URI)
    html, found = settled(server, made["id"]), stored(server, made["id"])
    assert_nothing_runs(html)
    text = text_of(html)
    assert "".join(made["output"]) in text
    assert "one two three" in text
    for line in found["logs"].splitlines():
        assert line in text
    for words in (
        "succeeded", f"Prompt {found['prompt_tokens']:,}", f"pictures {found['image_tokens']:,}",
        f"from the cache {found['cached_tokens']:,}", "Where the time went", "Nobody asked to be told",
        "Run again",
    ):  # fmt: skip
        assert words in text.replace("  ", " "), words
    assert "Cancel" not in text
    assert "Not priced" in text


def test_the_picture_of_a_prediction_is_a_small_copy(server: Running) -> None:
    made = asked(server, image=URI)
    [source] = [
        attributes["src"] for tag, attributes in read(page(server.url, f"{LIST}/{made['id']}"))[0] if tag == "img"
    ]
    reply = call(server.url, "GET", source or "")
    assert (reply.status, reply.headers["content-type"]) == (200, "image/webp")
    assert reply.body[8:12] == b"WEBP"
    assert reply.headers["x-content-type-options"] == "nosniff"
    for number in ("1", "99999999999999999999"):
        assert call(server.url, "GET", f"{LIST}/{made['id']}/pictures/{number}").status == 404


def test_a_picture_of_another_server_is_never_loaded(server: Running) -> None:
    made = asked(server, image="https://elsewhere.example/x.png")
    html = page(server.url, f"{LIST}/{made['id']}")
    assert "https://elsewhere.example/x.png" in text_of(html)
    assert not [tag for tag, _ in read(html)[0] if tag == "img"]


def test_of_a_failure_the_reason_is_told(tmp_path: Path) -> None:
    with serving(null_models(fail="no <b>weights</b> here"), data=tmp_path) as server:
        made = asked(server)
        assert made["status"] == "failed"
        html = page(server.url, f"{LIST}/{made['id']}")
        assert made["error"] in text_of(html)
        assert "no <b>weights</b> here" in text_of(page(server.url, LIST))
        assert "<b>" not in html


def test_what_was_removed_is_said_to_be(tmp_path: Path) -> None:
    with serving(null_models(), options=Options(drain=1, retention=0.001), data=tmp_path) as server:
        made = asked(server, "forget me please")
    with serving(null_models(), options=Options(drain=1, retention=0.001), data=tmp_path) as server:
        deadline = time.monotonic() + 10
        while not stored(server, made["id"])["data_removed"]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        text = text_of(page(server.url, f"{LIST}/{made['id']}"))
        assert "forget me" not in text
        assert "removed" in text
        assert "Run again" not in text
        assert send_form(server.url, f"{LIST}/{made['id']}/retry").status == 409


@pytest.mark.parametrize("prediction_id", ["0" * 26, "nobody", "a-b", "x" * 300, "%00", "%3Cscript%3E"])
def test_one_that_is_not_there(server: Running, prediction_id: str) -> None:
    html = page(server.url, f"{LIST}/{prediction_id}", 404)
    assert "No such prediction" in text_of(html)
    assert_nothing_runs(html)


def test_hostile_text_is_shown_and_never_taken_for_html(server: Running) -> None:
    hook = {"webhook": "https://127.0.0.1/?<script>alert(1)</script>"}
    made = asked(server, HOSTILE, fields=hook, **{HOSTILE: HOSTILE})
    for path in (LIST, f"{LIST}/{made['id']}", "/app/webhooks"):
        html = page(server.url, path)
        assert_nothing_runs(html)
        assert "<script>alert" not in html
    text = text_of(page(server.url, f"{LIST}/{made['id']}"))
    assert HOSTILE in text
    assert "49" not in text.partition("Input")[2].partition("Log")[0]


# ---- buttons --------------------------------------------------------------------------------------------------------


def test_cancel_and_run_again(slow: Running) -> None:
    made = asked(slow, " ".join(["word"] * 200), wait=False)
    path = f"{LIST}/{made['id']}"
    until(slow, made["id"], "processing")
    assert "Cancel" in text_of(page(slow.url, path))
    reply = send_form(slow.url, path + "/cancel")
    assert (reply.status, reply.headers["location"], reply.body) == (303, path, b"")
    assert stored(slow, made["id"])["status"] == "canceled"
    # One that has ended meanwhile is shown as it ended: the button was there when it was pressed.
    assert send_form(slow.url, path + "/cancel").status == 303
    reply = send_form(slow.url, path + "/retry")
    assert reply.status == 303
    again = reply.headers["location"].rpartition("/")[2]
    assert again != made["id"]
    assert stored(slow, again)["input"] == stored(slow, made["id"])["input"]
    reply = send_form(slow.url, f"{LIST}/{again}/retry")
    assert reply.status == 409
    assert "has not ended yet" in text_of(reply.body.decode())
    send_form(slow.url, f"{LIST}/{again}/cancel")


FORMS = (f"{LIST}/ID/cancel", f"{LIST}/ID/retry", "/app/webhooks/ID/replay", "/app/running/eye/stop")


@pytest.mark.parametrize("path", FORMS)
def test_a_form_of_another_site_does_nothing(server: Running, path: str) -> None:
    made = asked(server)
    path = path.replace("ID", made["id"])
    before = call(server.url, "GET", "/triptych/v1/predictions?limit=1000").json
    foreign: list[Reply] = [
        send_form(server.url, path, origin="https://evil.example"), send_form(server.url, path, origin="null"),
        send_form(server.url, path, origin=None), send_form(server.url, path, headers={"sec-fetch-site": "cross-site"}),
        send_form(server.url, path, headers={"sec-fetch-site": "same-site"}),
        send_form(server.url, path, headers={"sec-fetch-site": "none"}),
        send_form(server.url, path, origin=server.url.replace("127.0.0.1", "localhost")),
    ]  # fmt: skip
    for reply in foreign:
        assert reply.status == 403
        assert "was not sent from here" in text_of(reply.body.decode())
    assert call(server.url, "GET", "/triptych/v1/predictions?limit=1000").json == before
    assert call(server.url, "GET", path).status == 405


# ---- whose they are -------------------------------------------------------------------------------------------------


def test_what_is_anothers_is_not_there(tmp_path: Path) -> None:
    chief = {"authorization": "Bearer chief"}
    options = Options(keys=("chief",), drain=1)
    with serving(null_models(delay=0.05), any_picture, options=options, data=tmp_path) as server:
        mine, yours = (
            {"authorization": f"Bearer {call(server.url, 'POST', KEYS, {'name': name}, chief).json['key']}"}
            for name in ("mine", "yours")
        )
        body = {"version": "eye", "input": {"prompt": "of yours", "image": URI}, "webhook": "https://127.0.0.1/x"}
        made = call(server.url, "POST", "/v1/predictions", body, {**yours, "prefer": "wait"}).json["id"]
        hook = call(server.url, "GET", "/triptych/v1/webhooks", headers=yours).json["webhooks"][0]["id"]
        own, hooks = f"{LIST}/{made}", f"/app/webhooks/{hook}"
        for path in (own, f"{own}/pictures/0", hooks):
            assert call(server.url, "GET", path, headers=mine).status == 404
            assert call(server.url, "GET", path, headers=yours).status == 200
            assert call(server.url, "GET", path, headers=chief).status == 200
            assert call(server.url, "GET", path).status == 401
        for path in (f"{own}/cancel", f"{own}/retry", f"{hooks}/replay"):
            assert send_form(server.url, path, headers=mine).status == 404
            assert send_form(server.url, path).status == 401
        for path in (LIST, "/app/webhooks"):
            assert made not in page(server.url, path, headers=mine)
            assert made in page(server.url, path, headers=yours)
            assert made in page(server.url, path, headers=chief)
        poll = call(server.url, "GET", f"{LIST}?seen=p-{made}.00000000", headers=mine)
        assert made not in poll.body.decode()
        assert made in call(server.url, "GET", f"{LIST}?seen=p-{made}.00000000", headers=yours).body.decode()


# ---- the list -------------------------------------------------------------------------------------------------------


def test_the_list_has_every_api_and_what_became_of_it(server: Running) -> None:
    mine, theirs = asked(server, "alpha beta")["id"], captioned(server)
    html = page(server.url, LIST)
    assert_nothing_runs(html)
    text = text_of(html)
    assert mine in text
    assert theirs in text
    assert "Replicate" in text
    assert "Runware" in text
    assert {f"{LIST}/{mine}", f"{LIST}/{theirs}"} <= set(links(html))


def test_filters(server: Running) -> None:
    mine, theirs = asked(server)["id"], captioned(server)
    cases: dict[str, tuple[set[str], set[str]]] = {
        "dialect=replicate": ({mine}, {theirs}), "dialect=runware": ({theirs}, {mine}),
        "status=succeeded": ({mine, theirs}, set()), "status=failed": (set(), {mine, theirs}),
        "model=eye": ({mine, theirs}, set()), "model=text": (set(), {mine, theirs}),
        f"text={mine[8:]}": ({mine}, {theirs}), f"text={theirs}": ({theirs}, {mine}),
        "text=zzzzzz": (set(), {mine, theirs}),
    }  # fmt: skip
    for query, (there, not_there) in cases.items():
        found = {link.rpartition("/")[2] for link in links(page(server.url, f"{LIST}?{query}"))}
        assert there <= found, query
        assert not found & not_there, query
    assert "None of them" in text_of(page(server.url, f"{LIST}?status=failed&text=zz"))


@pytest.mark.parametrize("query", ["status=nonsense", "before=%3Cb%3E", "text=%3Cscript%3E", "dialect=x", "before=a-b"])
def test_filters_that_are_none(server: Running, query: str) -> None:
    html = page(server.url, f"{LIST}?{query}", 400)
    assert "cannot be looked for" in text_of(html)
    assert_nothing_runs(html)


def test_pages_of_the_list_have_each_prediction_once(tmp_path: Path) -> None:
    with serving(null_models(), data=tmp_path) as server:
        assert "No predictions yet" in text_of(page(server.url, LIST))
        made = {asked(server, "x")["id"] for _ in range(53)}
        path, seen, sizes = LIST, [], []
        for _ in range(5):
            html = page(server.url, path)
            found = [link.rpartition("/")[2] for link in links(html) if link.startswith(f"{LIST}/")]
            seen += found
            sizes.append(len(found))
            following = [attributes for _, attributes in read(html)[0] if attributes.get("rel") == "next"]
            if not following:
                break
            path = following[0]["href"] or ""
        assert sizes == [25, 25, 3]
        assert len(seen) == len(set(seen))
        assert set(seen) == made


# ---- while it is looked at ------------------------------------------------------------------------------------------


def test_a_page_is_told_what_changes_until_nothing_can(slow: Running) -> None:
    made = asked(slow, " ".join(["word"] * 5), wait=False)
    listed, whole = page(slow.url, LIST), page(slow.url, f"{LIST}/{made['id']}")
    row, parts = polled(listed), polled(whole)
    assert row is not None
    assert parts is not None
    until(slow, made["id"], "succeeded")
    told = call(slow.url, "GET", row).body.decode()
    assert f'id="p-{made["id"]}" hx-swap-oob="true"' in told
    assert "succeeded" in told
    assert polled(told) is None
    told = call(slow.url, "GET", parts).body.decode()
    assert "word word word" in text_of(told)
    assert "<html" not in told
    deadline = time.monotonic() + 10
    while (parts := polled(told)) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
        told = call(slow.url, "GET", parts).body.decode() or told
    assert call(slow.url, "GET", f"{LIST}/{made['id']}").status == 200


def test_what_a_prediction_cost_and_how_that_comes_about(tmp_path: Path) -> None:
    price = Price((part("input", 2_000_000_000), part("output", 5_000_000_000)), "the price of this test")
    options = Options(drain=1, own_prices={"eye": price})
    with serving(null_models(), options=options, data=tmp_path) as server:
        made = asked(server, "one two three four")
        found, text = stored(server, made["id"]), text_of(settled(server, made["id"]))
        nano = found["prompt_tokens"] * 2000 + found["completion_tokens"] * 5000
        assert f"${nano / 1e9:.6f}" in text
        assert f"{found['completion_tokens']} output tokens x $5.00 / 1M" in text
        assert "the price of this test" in text
        assert "the price of this test" in text_of(page(server.url, "/app/usage"))


def test_nothing_new_is_no_content(slow: Running) -> None:
    made = asked(slow, " ".join(["word"] * 300), wait=False)
    until(slow, made["id"], "processing")
    row = polled(page(slow.url, LIST))
    assert row is not None
    assert call(slow.url, "GET", row).status == 204
    send_form(slow.url, f"{LIST}/{made['id']}/cancel")


def test_hostile_words_for_what_was_seen(server: Running) -> None:
    for seen in ("", "x", "p-nobody.00000000", "p-%27.00000000", "~" * 1000):
        reply = call(server.url, "GET", f"{LIST}?seen={seen}")
        assert reply.status == 200
        assert polled(reply.body.decode()) is None
