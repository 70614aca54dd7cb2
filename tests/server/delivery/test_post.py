"""One message to receivers that behave, misbehave and lead astray."""

from __future__ import annotations

import asyncio
import re

import pytest
from image_host import FakeResolver
from webhook_receiver import Answer, answer, endless, held, receiving, reset

from triptych.server.delivery.addresses import RefusedError
from triptych.server.delivery.guard import Guard
from triptych.server.delivery.post import Poster, Reply, webhook_url

LOCAL = Guard.allowing(["127.0.0.1"])


async def posted(given: Answer, **options: object) -> Reply:
    async with receiving({"/": given}) as receiver:
        poster = Poster(LOCAL, http=True, **options)  # type: ignore[arg-type]
        reply = await poster.post(receiver.url, {"webhook-id": "1"}, b"{}")
        await poster.close()
    return reply


async def test_what_is_sent() -> None:
    async with receiving() as receiver:
        poster = Poster(LOCAL, http=True)
        reply = await poster.post(f"{receiver.url}/a%2Fb?token=1#x", {"webhook-id": "1"}, b'{"a": 1}')
        await poster.close()
    assert (reply.status, reply.delivered, reply.error, reply.slow_down) == (204, True, None, False)
    [got] = receiver.got
    assert (got.path, got.body) == ("/a%2Fb?token=1", b'{"a": 1}')
    assert got.headers["content-type"] == "application/json"
    assert got.headers["webhook-id"] == "1"
    assert got.headers["user-agent"].startswith("triptych/")
    assert not {"cookie", "authorization", "referer"} & set(got.headers)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (answer("200 OK", b"thanks"), Reply(200)),
        (answer("299 Odd"), Reply(299)),
        (answer("302 Found", location="/other"), Reply(302, "it redirects (status 302), which is not followed")),
        (answer("304 Not Modified"), Reply(304, "it redirects (status 304), which is not followed")),
        (answer("404 Not Found", b"<html>no</html>"), Reply(404, "it answered with status 404")),
        (answer("410 Gone"), Reply(410, "it answered with status 410")),
        (answer("503 Busy", retry_after="17"), Reply(503, "it answered with status 503", 17)),
        (answer("500 Oops", retry_after="soon"), Reply(500, "it answered with status 500")),
        (reset, Reply(error="the connection broke")),
        (b"SSH-2.0-server\r\n", Reply(error="its answer is not proper HTTP")),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n", Reply(error="its answer is not proper HTTP")),
    ],
    ids=lambda value: "" if isinstance(value, Reply) else None,
)
async def test_what_comes_of_it(given: Answer, expected: Reply) -> None:
    assert await posted(given) == expected


async def test_success_is_2xx_and_who_is_busy_is_left_alone() -> None:
    assert [status for status in range(100, 600) if Reply(status).delivered] == list(range(200, 300))
    assert [status for status in range(100, 600) if Reply(status).slow_down] == [429, 502, 503, 504]
    assert Reply(error="the connection broke").slow_down
    assert Reply(500, asked=1).slow_down
    assert not Reply(error="no", refused=True).slow_down


async def test_who_does_not_answer_is_not_waited_for() -> None:
    async with asyncio.timeout(20):
        reply = await posted(held(asyncio.Event()), seconds=0.1)
    assert reply == Reply(error="it did not answer within 0.1 s")


async def test_a_body_without_an_end_is_not_read() -> None:
    async with receiving({"/": endless}) as receiver:
        poster = Poster(LOCAL, http=True)
        async with asyncio.timeout(20):
            assert (await poster.post(receiver.url, {}, b"{}")).delivered
            assert (await poster.post(receiver.url, {}, b"{}")).delivered
        assert receiver.connections == 2  # what was not read to its end is not used again
        await poster.close()


async def test_a_body_that_drips_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triptych.server.delivery.post._READ_SECONDS", 0.05)
    assert await posted(answer("200 OK", b"x")[:-1]) == Reply(200)
    assert await posted(answer("200 OK", b"x")[:-1], seconds=0.03) == Reply(200)


async def test_connections_are_used_again() -> None:
    async with receiving() as receiver:
        poster = Poster(LOCAL, http=True)
        for _ in range(3):
            assert (await poster.post(receiver.url, {}, b"{}")).delivered
        await poster.close()
    assert receiver.connections == 1


async def test_a_task_that_is_cancelled_ends_at_once() -> None:
    async with receiving({"/": held(asyncio.Event())}) as receiver:
        poster = Poster(LOCAL, http=True)
        task = asyncio.create_task(poster.post(receiver.url, {}, b"{}"))
        while not receiver.got:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await poster.close()


# ---- where it does not go -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "guard", "http", "error"),
    [
        ("http://127.0.0.1:{port}/", LOCAL, False, "the URL must begin with https://"),
        ("http://127.0.0.1:{port}/", Guard(), True, "its address is not public, and the owner"),
        ("http://[::ffff:127.0.0.1]:{port}/", Guard(), True, "its address is not public"),
        ("http://inside.example:{port}/", Guard(), True, "its address is not public"),
        ("http://2130706433:{port}/", Guard(), True, "the host is not a name"),
        ("ftp://127.0.0.1/", LOCAL, True, "the URL must begin with http:// or https://"),
        ("http://me:word@127.0.0.1:{port}/", LOCAL, True, "a user name or a password"),
        ("nonsense", LOCAL, True, "the URL must begin with"),
    ],
)
async def test_what_is_refused_before_anything_is_sent(url: str, guard: Guard, http: bool, error: str) -> None:
    async with receiving() as receiver:
        names = FakeResolver({"inside.example": ("127.0.0.1",)})
        poster = Poster(guard, http=http, resolver=names)
        reply = await poster.post(url.format(port=receiver.port), {}, b"{}")
        await poster.close()
        assert receiver.connections == 0
        # What says so by itself is known before there is anything to send.
        if "inside" not in url:
            with pytest.raises(RefusedError, match=re.escape(error)):
                poster.check(url.format(port=receiver.port))
    assert reply.refused
    assert reply.status is None
    assert error in (reply.error or "")
    assert "127.0.0.1" not in (reply.error or "")


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://localhost/hook", ()), ("http://api.localhost:8000/", ()), ("http://[::1]/", ()),
        ("http://10.0.0.7/", ()), ("http://169.254.169.254/", ("10.0.0.0/8",)),
        ("http://8.8.8.8:25/", ()), ("http://[fe80::1]/", ()), ("http://hooks.example:8080/", ("other.example",)),
    ],
)  # fmt: skip
def test_a_url_that_says_that_it_leads_inside_is_refused_beforehand(url: str, allowed: tuple[str, ...]) -> None:
    with pytest.raises(RefusedError):
        Poster(Guard.allowing(allowed), http=True).check(url)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://example.com/hook?token=1", ()), ("https://8.8.8.8/", ()), ("https://[2606:4700::1111]/", ()),
        ("http://localhost:9000/", ("127.0.0.0/8",)), ("http://localhost:9000/", ("localhost",)),
        ("http://10.0.0.7:81/", ("10.0.0.0/8",)), ("https://localhost.example.com/", ()),
    ],
)  # fmt: skip
def test_any_other_is_not(url: str, allowed: tuple[str, ...]) -> None:
    Poster(Guard.allowing(allowed), http=True).check(url)


async def test_a_name_that_is_allowed_may_be_inside() -> None:
    async with receiving() as receiver:
        names = FakeResolver({"inside.example": ("127.0.0.1",)})
        poster = Poster(Guard.allowing(["inside.example"]), http=True, resolver=names)
        assert (await poster.post(f"http://inside.example:{receiver.port}/", {}, b"{}")).delivered
        assert await poster.post("http://outside.example/", {}, b"{}") == Reply(error="its name cannot be resolved")
        await poster.close()


async def test_a_port_where_nobody_listens_and_one_without_tls() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    poster = Poster(LOCAL, http=True)
    reply = await poster.post(f"https://127.0.0.1:{port}/", {}, b"{}")
    assert reply == Reply(error="its certificate or its TLS is not valid")
    server.close()
    await server.wait_closed()
    assert await poster.post(f"http://127.0.0.1:{port}/", {}, b"{}") == Reply(error="it cannot be connected to")
    await poster.close()


def test_the_url_of_a_receiver() -> None:
    assert str(webhook_url("https://Hooks.Example/x?y=1", False)) == "https://hooks.example/x?y=1"
    assert webhook_url("http://hooks.example", True).scheme == "http"
    with pytest.raises(RefusedError, match="must begin with https://"):
        webhook_url("http://hooks.example", False)
