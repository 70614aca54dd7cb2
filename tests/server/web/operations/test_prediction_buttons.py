"""What is done on the pages of predictions, and by whom."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from http_calls import Reply, call
from page_calls import page, send_form, text_of
from prediction_page import LIST, any_picture, asked, stored, until
from runware_calls import URI
from servers import Running, null_models, serving

from triptych.server.app import Options

KEYS = "/triptych/v1/keys"
FORMS = (f"{LIST}/ID/cancel", f"{LIST}/ID/retry", "/app/webhooks/ID/replay", "/app/running/eye/stop")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(null_models(), any_picture, data=tmp_path_factory.mktemp("data")) as running:
        yield running


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(null_models(delay=0.2), any_picture, data=tmp_path_factory.mktemp("data")) as running:
        yield running


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


def test_what_is_anothers_is_not_there(tmp_path: Path) -> None:
    chief = {"authorization": "Bearer chief"}
    options = Options(keys=("chief",), drain=1)
    with serving(null_models(delay=0.05), any_picture, options=options, data=tmp_path) as server:
        mine, yours = (
            {"authorization": f"Bearer {call(server.url, 'POST', KEYS, {'name': name}, chief).json['key']}"}
            for name in ("mine", "yours")
        )
        body = {"version": "eye", "input": {"prompt": "of yours", "image": URI}, "webhook": "https://hooks.example/x"}
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
