"""One exchange, against a server that is played by the test: bodies, answers, streams, and clients that go away."""

import asyncio
import re
from collections.abc import AsyncGenerator

import pytest

from triptych.engine.errors import InternalError
from triptych.server.exchange import Answer, BodyTooLargeError, ClientGoneError, Events, Exchange

STREAM_HEADERS = {
    b"content-type": b"text/event-stream; charset=utf-8", b"cache-control": b"no-cache", b"x-accel-buffering": b"no",
}  # fmt: skip


class Peer:
    """What a client sends, in order, and what it got; `go` makes it go away."""

    def __init__(self, *parts: bytes, method: str = "POST", query: bytes = b"", headers=(), **waits: float) -> None:
        scope = {"type": "http", "method": method, "query_string": query, "headers": list(headers)}
        last = len(parts) - 1
        self._messages = [
            {"type": "http.request", "body": part, "more_body": number < last} for number, part in enumerate(parts)
        ]
        self._gone = asyncio.Event()
        self.sent: list[dict] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self.exchange = Exchange(scope, self._receive, self._send, **waits)

    def go(self) -> None:
        self._gone.set()

    async def _receive(self) -> dict:
        if self._messages:
            return self._messages.pop(0)
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict) -> None:
        await self.reads.wait()
        self.sent.append(message)

    @property
    def head(self) -> tuple[int, dict[bytes, bytes]]:
        start = self.sent[0]
        assert start["type"] == "http.response.start"
        return start["status"], dict(start["headers"])

    @property
    def got(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])

    @property
    def complete(self) -> bool:
        return not self.sent[-1].get("more_body", False)


class Source:
    """Events, and whether their generator was closed."""

    def __init__(self, *events: bytes | float | Exception) -> None:
        self._events = events
        self.closed = False

    async def __call__(self) -> AsyncGenerator[bytes]:
        try:
            for event in self._events:
                if isinstance(event, bytes):
                    yield event
                elif isinstance(event, Exception):
                    raise event
                else:
                    await asyncio.sleep(event)
        finally:
            self.closed = True

    def events(self, **headers: str) -> Events:
        return Events(self(), lambda error: b"failed: %s\n\n" % str(error).encode(), headers)


# ---- in -------------------------------------------------------------------------------------------------------------


async def test_a_body_comes_whole_from_its_parts():
    assert await Peer(b"").exchange.body(0) == b""
    assert await Peer(b"12345").exchange.body(5) == b"12345"
    assert await Peer(b"12", b"", b"345").exchange.body(5) == b"12345"


async def test_a_body_over_the_limit_is_refused_by_its_header_before_anything_is_read():
    peer = Peer(b"123", b"456", headers=[(b"content-length", b"6")])
    with pytest.raises(BodyTooLargeError, match="5 bytes") as error:
        await peer.exchange.body(5)
    assert error.value.most == 5
    assert len(peer._messages) == 2


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"nonsense")]])
async def test_a_body_over_the_limit_is_refused_by_counting(headers):
    peer = Peer(b"123", b"456", b"789", headers=headers)
    with pytest.raises(BodyTooLargeError):
        await peer.exchange.body(5)
    assert len(peer._messages) == 1


async def test_a_client_that_goes_away_inside_its_body():
    peer = Peer()
    peer.go()
    with pytest.raises(ClientGoneError):
        await peer.exchange.body(5)


async def test_headers_query_and_request_id():
    peer = Peer(headers=[(b"x-thing", b"1")], query=b"a=1&b=%2F&a=2&c=")
    assert peer.exchange.headers == {"x-thing": "1"}
    assert peer.exchange.query == {"a": "2", "b": "/", "c": ""}
    assert re.fullmatch(r"req_[0-9a-f]{32}", peer.exchange.request_id)
    for name in (b"x-request-id", b"x-client-request-id"):
        assert Peer(headers=[(name, b"mine 7")]).exchange.request_id == "mine 7"
        for bad in (b"", b"x" * 129, b"tab\t", "ä".encode()):
            assert Peer(headers=[(name, bad)]).exchange.request_id.startswith("req_")


# ---- while connected ------------------------------------------------------------------------------------------------


async def test_work_runs_to_its_end_and_its_error_is_raised():
    async def work(error: Exception | None = None) -> None:
        await asyncio.sleep(0)
        if error is not None:
            raise error

    before = asyncio.all_tasks()
    assert await Peer(b"").exchange.while_connected(work())
    with pytest.raises(KeyError):
        await Peer(b"").exchange.while_connected(work(KeyError("x")))
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before  # nobody listens for the client any more


async def test_work_is_cancelled_when_the_client_goes_away_and_has_cleaned_up_by_then():
    peer, cleaned = Peer(b""), []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            cleaned.append(True)

    running = asyncio.create_task(peer.exchange.while_connected(work()))
    await asyncio.sleep(0)
    peer.go()
    assert await running is False
    assert cleaned == [True]


# ---- out ------------------------------------------------------------------------------------------------------------


async def test_an_answer_has_its_length_and_the_request_id():
    peer = Peer(headers=[(b"x-request-id", b"r1")])
    await peer.exchange.answer(Answer(b"{}", 201, headers={"retry-after": "3"}))
    assert peer.head == (201, {
        b"x-request-id": b"r1", b"retry-after": b"3", b"content-type": b"application/json", b"content-length": b"2",
    })  # fmt: skip
    assert (peer.got, peer.complete, peer.exchange.status) == (b"{}", True, 201)


async def test_head_gets_the_headers_alone():
    peer = Peer(method="HEAD")
    await peer.exchange.answer(Answer(b"{}"))
    assert peer.head[1][b"content-length"] == b"2"
    assert peer.got == b""


async def test_events_go_out_one_by_one():
    peer, source = Peer(headers=[(b"x-request-id", b"r1")]), Source(b"1\n\n", b"2\n\n")
    await peer.exchange.stream(source.events(extra="yes"))
    assert peer.head == (200, {b"x-request-id": b"r1", b"extra": b"yes", **STREAM_HEADERS})
    assert [message["body"] for message in peer.sent[1:]] == [b"1\n\n", b"2\n\n", b""]
    assert peer.complete
    assert source.closed


async def test_comments_show_that_a_stream_is_alive_before_the_first_event_and_between_events():
    peer = Peer(keep_alive=0.1)
    await peer.exchange.stream(Source(0.25, b"1\n\n", 0.15, b"2\n\n", b"3\n\n").events())
    assert peer.got == b": keep-alive\n\n" * 2 + b"1\n\n" + b": keep-alive\n\n" + b"2\n\n3\n\n"
    quick = Peer(keep_alive=0.1)
    await quick.exchange.stream(Source(*[b"1\n\n", 0.02] * 8).events())
    assert quick.got == b"1\n\n" * 8


async def test_an_error_before_the_first_event_is_a_plain_answer():
    peer, source = Peer(), Source(KeyError("x"))
    with pytest.raises(KeyError):
        await peer.exchange.stream(source.events())
    assert peer.sent == []
    assert peer.exchange.status == 0
    await peer.exchange.answer(Answer(b"sorry", 500))
    assert peer.head[0] == 500


async def test_an_error_after_the_first_event_is_an_event(caplog):
    peer, source = Peer(headers=[(b"x-request-id", b"r1")]), Source(b"1\n\n", InternalError("it broke"))
    await peer.exchange.stream(source.events())
    assert peer.got == b"1\n\nfailed: it broke\n\n"
    assert peer.complete
    [record] = caplog.records
    assert record.getMessage() == "request r1 broke off: it broke"
    assert not record.exc_info


async def test_a_bug_in_the_middle_of_a_stream_is_logged_with_its_traceback(caplog):
    await Peer().exchange.stream(Source(b"1\n\n", KeyError("x")).events())
    [record] = caplog.records
    assert record.exc_info[0] is KeyError


async def test_an_error_after_a_comment_is_an_event():
    peer = Peer(keep_alive=0.01)
    await peer.exchange.stream(Source(0.05, InternalError("it broke")).events())
    assert peer.head[0] == 200
    assert peer.got.endswith(b": keep-alive\n\nfailed: it broke\n\n")


async def test_a_client_that_goes_away_closes_the_generator():
    for pause in (0, 60):  # before the first event, after it
        peer, source = Peer(b""), Source(*([b"1\n\n"] if not pause else []), 60)
        running = asyncio.create_task(peer.exchange.while_connected(peer.exchange.stream(source.events())))
        await asyncio.sleep(0.01)
        peer.go()
        assert await running is False
        assert source.closed


async def test_a_client_that_does_not_read_is_gone_and_gets_no_more():
    peer, source = Peer(unread=0.05), Source(b"1\n\n", b"2\n\n", b"3\n\n")
    peer.reads.clear()
    with pytest.raises(ClientGoneError):
        await peer.exchange.stream(source.events())
    assert source.closed
    assert peer.sent == []


async def test_a_timeout_of_the_events_themselves_is_their_error():
    peer = Peer()
    await peer.exchange.stream(Source(b"1\n\n", TimeoutError("too slow")).events())
    assert peer.got.endswith(b"failed: too slow\n\n")
