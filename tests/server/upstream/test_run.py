"""A generation at a scripted upstream: what comes back, what is tried again, and every way in which it can break."""

import asyncio
import time

import pytest
from scripted_upstream import (
    TIMES,
    Reply,
    answer,
    asked,
    chunk,
    event,
    fails,
    says,
    scripted,
    stream,
    upstream_model,
    usage,
)

from triptych.engine.errors import ContextOverflowError, EngineStoppedError, ParameterError
from triptych.engine.request import Usage
from triptych.server.generation import UpstreamError, UpstreamUnavailableError
from triptych.server.upstream.connection import Times

HALF = stream(chunk("hel"), done=False)


@pytest.fixture
async def upstream():
    async with scripted() as server:
        yield server


@pytest.fixture
async def model(upstream):
    async with upstream_model(upstream) as made:
        yield made


async def text(run):
    return "".join([piece.text async for pieces in run for piece in pieces])


# ---- good answers ---------------------------------------------------------------------------------------------------


async def test_a_stream_is_an_answer(upstream, model):
    run = model.begin(asked(temperature=0.5))
    admitted = await run.admission()
    assert admitted.prompt_tokens is None  # the usage at the end tells it
    assert await text(run) == "hello"
    assert run.end.usage == Usage(5, 0, 0, 2)
    [sent] = upstream.sent
    assert (sent["model"], sent["temperature"], sent["stream"]) == ("there", 0.5, True)
    assert "authorization" not in upstream.asked[-1].headers


async def test_the_key_goes_along(upstream):
    async with upstream_model(upstream, key="sk-secret") as model:
        await text(model.begin(asked()))
    assert {each.headers["authorization"] for each in upstream.asked} == {"Bearer sk-secret"}


@pytest.mark.parametrize("size", [1, 5])
async def test_bytes_may_be_cut_anywhere(upstream, model, size):
    good = b": keep-alive\n\n" + b"".join(stream(chunk("käse "), chunk("🧀", "stop"), usage()).body)
    good = good.replace(b"\\ud83e\\uddc0", "🧀".encode()).replace(b"\\u00e4", "ä".encode())
    upstream.script(Reply([good[at : at + size] for at in range(0, len(good), size)], kind="text/event-stream"))
    assert await text(model.begin(asked())) == "käse 🧀"


async def test_named_events_comments_and_no_done(upstream, model):
    parts = [b": OPENROUTER PROCESSING\n\n", b"event: chunk\r\n", event(chunk("a", "stop")), event(usage())]
    upstream.script(Reply(parts, kind="text/event-stream"))
    assert await text(model.begin(asked())) == "a"


async def test_a_server_without_streams_is_understood(upstream, model):
    choice = {"index": 0, "message": {"role": "assistant", "content": "whole"}, "finish_reason": "stop"}
    upstream.script(says({"choices": [choice], **{"usage": usage()["usage"]}}))
    run = model.begin(asked())
    assert await text(run) == "whole"
    assert run.end.usage.completion_tokens == 2


async def test_connections_are_used_again(upstream, model):
    for _ in range(3):
        assert await text(model.begin(asked())) == "hello"
    assert upstream.connections == 1


async def test_a_connection_that_was_closed_meanwhile_is_no_failure(upstream, model):
    assert await text(model.begin(asked())) == "hello"
    await upstream.stop()
    assert await text(model.begin(asked())) == "hello"


# ---- what is tried again --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "first",
    [
        fails(503), fails(500, **{"retry-after": "0"}), fails(429), fails(408), Reply(b"<html>", 502, "text/html"),
        Reply(cut=True, kind="text/event-stream"), stream(chunk(""), done=False, cut=True),
        stream(chunk(""), {"error": {"message": "died", "code": 500}}), stream(),
    ],
)  # fmt: skip
async def test_what_delivered_nothing_is_tried_again(upstream, model, first):
    upstream.script(first, first, answer())
    assert await text(model.begin(asked())) == "hello"
    assert len(upstream.sent) == 3


async def test_not_more_than_three_times(upstream, model):
    upstream.script(fails(503, "busy"))
    with pytest.raises(UpstreamUnavailableError, match=r"cannot answer now \(503\): busy"):
        await model.begin(asked()).admission()
    assert len(upstream.sent) == 3
    assert model.failure == "the server that answers for here cannot answer now (503): busy"
    upstream.script(answer())
    await text(model.begin(asked()))
    assert model.failure == ""


async def test_who_wants_to_be_left_alone_for_long_is(upstream, model):
    upstream.script(fails(429, **{"retry-after": "20"}))
    with pytest.raises(UpstreamUnavailableError) as caught:
        await model.begin(asked()).admission()
    assert caught.value.retry_after == 20
    assert len(upstream.sent) == 1


async def test_a_short_wish_is_heeded(upstream, model):
    upstream.script(fails(429, **{"retry-after": "0.2"}), answer())
    began = time.monotonic()
    assert await text(model.begin(asked())) == "hello"
    assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (fails(400, "bad seed", param="seed"), ParameterError),
        (fails(400, "x", "context_length_exceeded"), ContextOverflowError),
        (fails(401), UpstreamError), (fails(404, "no such model"), UpstreamError),
        (fails(503, **{"x-should-retry": "false"}), UpstreamUnavailableError),
    ],
)  # fmt: skip
async def test_what_will_not_change_is_not_tried_again(upstream, model, reply, kind):
    upstream.script(reply)
    with pytest.raises(kind):
        await model.begin(asked()).admission()
    assert len(upstream.sent) == 1


@pytest.mark.parametrize(
    "rest",
    [
        {"cut": True}, {}, {"more": [b"data: {broken\n\n"]}, {"more": [event({"error": {"message": "died"}})]},
        {"more": [event({"object": "error", "message": "died", "code": 500})]}, {"more": [event(b"[DONE]")]},
        {"more": [event(usage()), event(b"[DONE]")]}, {"more": [event(chunk("lo", "stop")), event(b"[DONE]")]},
        {"more": [event(chunk("lo", "abort")), event(usage())]},
    ],
)  # fmt: skip
async def test_a_broken_answer_is_no_short_one(upstream, model, rest):
    parts = [event(chunk("hel")), *rest.get("more", [])]
    upstream.script(Reply(parts, kind="text/event-stream", cut=rest.get("cut", False)), answer())
    run = model.begin(asked())
    await run.admission()
    pieces = aiter(run)
    assert [piece.text for piece in await anext(pieces)] == ["hel"]
    with pytest.raises((UpstreamError, UpstreamUnavailableError)):
        await text(pieces)
    assert run.end is None
    assert len(upstream.sent) == 1  # what was delivered is not delivered twice


# ---- what is no answer ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "match"),
    [
        (Reply(b"<html>welcome</html>", kind="text/html"), "sent text/html, which is no answer"),
        (Reply(b"not json"), "sent what is not an answer"),
        (Reply(b""), "sent what is not an answer"),
        (says({"id": 1}), "an answer without choices"),
        (Reply([b"data: " + b"x" * (1 << 20)] * 18, kind="text/event-stream"), "an event of more than"),
        (Reply(b"", 302, headers={"location": "/v1/elsewhere"}), "redirects elsewhere"),
    ],
)
async def test_nonsense_is_an_error(upstream, model, reply, match):
    upstream.script(reply)
    with pytest.raises(UpstreamError, match=match):
        await text(model.begin(asked()))


async def test_no_redirect_is_followed_with_the_key(upstream):
    async with scripted() as other, upstream_model(upstream, key="sk-secret") as model:
        location = f"{other.url}/chat/completions"
        for status in (301, 302, 307, 308):
            upstream.script(Reply(b"", status, headers={"location": location}))
            with pytest.raises(UpstreamError, match="not followed"):
                await model.begin(asked()).admission()
        assert other.asked == []


async def test_an_error_in_the_body_of_a_success(upstream, model):
    upstream.script(says({"error": {"message": "bad n", "code": 400, "param": "n"}}))
    with pytest.raises(ParameterError, match="bad n"):
        await text(model.begin(asked()))


async def test_nobody_there(upstream, model):
    async with scripted() as gone:
        pass
    async with upstream_model(gone) as model:
        with pytest.raises(UpstreamUnavailableError, match="cannot be reached"):
            await model.begin(asked()).admission()
        with pytest.raises(UpstreamUnavailableError, match="cannot be reached"):
            await model.ready()
        assert model.state == "failed"


async def test_silence_is_a_failure_and_not_tried_again(upstream):
    times = Times(silence=0.2, question=TIMES.question, pause=0.01)
    async with upstream_model(upstream, times) as model:
        for reply in (Reply(kind="text/event-stream", hold=True), stream(chunk("a"), done=False, hold=True)):
            upstream.script(reply)
            before = len(upstream.sent)
            with pytest.raises(UpstreamUnavailableError, match="silent for too long"):
                await text(model.begin(asked()))
            assert len(upstream.sent) == before + 1


async def test_a_slow_stream_is_not_silent(upstream):
    async with upstream_model(upstream, Times(silence=0.3)) as model:
        upstream.script(stream(*[chunk("a")] * 6, chunk("", "stop"), usage(), pause=0.1))
        assert await text(model.begin(asked())) == "aaaaaa"


# ---- abort ----------------------------------------------------------------------------------------------------------


async def test_an_abort_cuts_the_connection_at_once(upstream, model):
    upstream.script(stream(chunk("hel"), done=False, hold=True))
    run = model.begin(asked())
    await anext(aiter(run))
    assert model.under_way == 1
    run.abort()
    async with asyncio.timeout(20):
        await upstream.lost.wait()
    await run.ended()
    assert model.under_way == 0
    assert model.failure == ""


async def test_an_abort_before_anything_was_sent(upstream, model):
    run = model.begin(asked())
    run.abort()
    with pytest.raises(EngineStoppedError):
        await run.admission()
    assert model.under_way == 0
    assert upstream.sent == []


async def test_an_abort_while_the_upstream_thinks(upstream, model):
    await model.ready()
    upstream.script(Reply(kind="text/event-stream", hold=True))
    run = model.begin(asked())
    await run.admission()
    run.abort()
    async with asyncio.timeout(20):
        await upstream.lost.wait()


async def test_whoever_waits_for_an_admission_may_be_cancelled(upstream, model):
    upstream.script(stream(chunk("a", "stop"), usage()))
    run = model.begin(asked())
    waiting = asyncio.create_task(run.admission())
    await asyncio.sleep(0)
    waiting.cancel()
    assert await text(run) == "a"


async def test_many_runs_wait_for_nobody(upstream, model):
    """All are read at once, though the first one is not read by its caller yet."""
    runs = [model.begin(asked(str(number))) for number in range(40)]
    for run in runs:
        await run.admission()
    assert [await text(run) for run in reversed(runs)] == ["hello"] * 40
