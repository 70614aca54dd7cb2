"""A replica answers as its engine does, whoever asks and whatever happens to them."""

import asyncio
from dataclasses import replace

import pytest
from picture_files import encoded, noise
from replicas import OPTIONS, hosted, picture

from triptych.engine.config import EngineConfig
from triptych.engine.counters import STEP_SIZE_NAMES
from triptych.engine.engine import Engine
from triptych.engine.errors import ContextOverflowError, EngineStoppedError, ImageError, PromptError
from triptych.engine.handle import Result
from triptych.engine.imaging.images import open_image
from triptych.engine.loop import EngineLoop
from triptych.engine.request import Request, SamplingParams
from triptych.replica import protocol
from triptych.replica.client import Call, ReplicaClient, ReplicaLostError
from triptych.replica.connection import Connection, connect

SHOWN = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what is this"}]}]
PICTURE = encoded(noise(40, 60), "PNG")


async def text_of(call: Call) -> str:
    return "".join([piece.text async for pieces in call for piece in pieces])


def alone(folder, messages, params, *images) -> Result:
    with Engine(EngineConfig(folder, **OPTIONS)) as engine:
        prompt = engine.chat_prompt(messages, [open_image(image) for image in images])
        return engine.submit(Request("alone", prompt, params)).result()


async def test_it_says_what_the_engine_says_with_the_bytes_of_every_token(shelf, tmp_path):
    params = SamplingParams(max_tokens=12, n=2, temperature=0.8, seed=5, logprobs=2, ignore_eos=True)
    wanted = alone(shelf["llava16"], SHOWN, params, PICTURE)
    async with hosted(shelf["llava16"], tmp_path / "s") as (host, client):
        call = client.submit(protocol.ChatPrompt(SHOWN), params, [picture(PICTURE)])
        admitted = await call.admission()
        frames = [pieces async for pieces in call]
        info = await client.ready()
        tokenizer = host._engine.tokenizer
    for choice in wanted.choices:
        mine = [piece for pieces in frames for piece in pieces if piece.index == choice.index]
        assert "".join(piece.text for piece in mine) == choice.text
        assert [token for piece in mine for token in piece.token_ids] == choice.token_ids
        scores = [entry for piece in mine for entry in piece.logprobs]
        assert [entry.logprob for entry in scores] == [entry.logprob for entry in choice.logprobs]
        assert [entry.spelled for entry in scores] == [tokenizer.token_bytes(token) for token in choice.token_ids]
    assert call.end.usage == wanted.usage
    assert admitted.prompt_tokens == wanted.usage.prompt_tokens
    assert admitted.image_tokens == wanted.usage.image_tokens
    assert len(frames) <= 13  # one a step, for both choices
    assert (info.vision, info.max_context, info.precision) == (True, host._engine.info.max_context, "fp32")


async def test_a_picture_crosses_once_and_again_when_it_was_dropped(shelf, tmp_path, monkeypatch):
    sent = []
    send = ReplicaClient.send
    monkeypatch.setattr(ReplicaClient, "send", lambda self, frame: (sent.append(frame), send(self, frame))[1])
    other = picture(encoded(noise(50, 50), "PNG"))
    params = SamplingParams(max_tokens=2)
    async with hosted(shelf["llava16"], tmp_path / "s", picture_bytes=1) as (_, client):
        answers = [
            await text_of(client.submit(protocol.ChatPrompt(SHOWN), params, [shown]))
            for shown in (picture(PICTURE), picture(PICTURE), other, picture(PICTURE))
        ]
    crossed = [frame.digest for frame in sent if isinstance(frame, protocol.Image)]
    first = picture(PICTURE).digest
    # The store holds one: the second showing needs nothing, the last one is asked for again.
    assert crossed == [first, other.digest, first]
    assert answers[0] == answers[1] == answers[3]


async def test_a_picture_shown_at_two_details_crosses_once(shelf, tmp_path, monkeypatch):
    sent = []
    send = ReplicaClient.send
    monkeypatch.setattr(ReplicaClient, "send", lambda self, frame: (sent.append(frame), send(self, frame))[1])
    parts = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "hello"}]
    prompt, whole = protocol.ChatPrompt([{"role": "user", "content": parts}]), picture(PICTURE)
    low = replace(whole, detail="low")
    async with hosted(shelf["llava16"], tmp_path / "s") as (host, client):
        alone = {}
        for each in (whole, low, replace(whole, detail="original")):
            encoded_prompt = await client.encode(protocol.ChatPrompt(SHOWN), [each])
            alone[each.detail] = encoded_prompt.image_tokens
        assert alone["low"] == 5 < alone["auto"] == alone["original"]
        call = client.submit(prompt, SamplingParams(max_tokens=2), [whole, low])
        assert (await call.admission()).image_tokens == alone["auto"] + alone["low"]
        await text_of(call)
        assert host._engine.stats().images_cached == 2
        values = (await client.report(timeout=5)).values
    assert [frame.digest for frame in sent if isinstance(frame, protocol.Image)] == [whole.digest]
    assert (values["image_queries"], values["image_hits"]) == (2, 0)
    assert values["step_tokens"] == values["computed_tokens"] > call.end.usage.prompt_tokens
    assert sum(values[name] for name in STEP_SIZE_NAMES) == values["steps"] >= 2


async def test_errors_keep_their_kind_and_harm_nobody_else(shelf, tmp_path):
    params = SamplingParams(max_tokens=4)
    async with hosted(shelf["llava16"], tmp_path / "s") as (_, client):
        good = client.submit(protocol.ChatPrompt(SHOWN), params, [picture(PICTURE)])
        bad = {
            ImageError: client.submit(protocol.ChatPrompt(SHOWN), params, [picture(b"junk")]),
            PromptError: client.submit(protocol.ChatPrompt(SHOWN), params),
            ContextOverflowError: client.submit(protocol.RawPrompt([5] * 100_000), params),
        }
        for kind, call in bad.items():
            with pytest.raises(kind):
                await call.admission()
            assert call.end.usage.completion_tokens == 0
        half = picture(PICTURE[: len(PICTURE) // 2])
        with pytest.raises(ImageError, match=r"images\[0\]"):
            await text_of(client.submit(protocol.ChatPrompt(SHOWN), params, [half]))
        assert await text_of(good) is not None
        assert client.under_way == 0


async def test_an_abort_ends_a_request_with_its_usage(shelf, tmp_path):
    endless = SamplingParams(max_tokens=None, ignore_eos=True)
    async with hosted(shelf["mistral"], tmp_path / "s") as (host, client):
        call = client.submit(protocol.RawPrompt("go on"), endless)
        async for _ in call:
            call.abort()
        assert 0 < call.end.usage.completion_tokens < 1000
        early = client.submit(protocol.RawPrompt("go on"), endless)
        early.abort()
        assert (await early.ended()).usage.completion_tokens < 1000
        assert host._engine.stats().unfinished == 0


async def test_a_server_that_goes_away_leaves_nothing_running(shelf, tmp_path):
    endless = SamplingParams(max_tokens=None, ignore_eos=True)
    async with hosted(shelf["mistral"], tmp_path / "s") as (host, client):
        other = ReplicaClient(client.address)
        await other.connect()
        await other.ready()
        calls = [other.submit(protocol.RawPrompt("go on"), endless) for _ in range(5)]
        await asyncio.gather(*(call.admission() for call in calls))
        other.close()
        with pytest.raises(ReplicaLostError):
            await text_of(calls[0])
        async with asyncio.timeout(10):
            while host._engine.stats().unfinished:
                await asyncio.sleep(0.01)
        assert await text_of(client.submit(protocol.RawPrompt("go on"), SamplingParams(max_tokens=3)))


async def test_tokens_and_texts_are_translated(shelf, tmp_path):
    async with hosted(shelf["llava16"], tmp_path / "s") as (host, client):
        tokenizer = host._engine.tokenizer
        encoded_text = await client.encode(protocol.RawPrompt("hello there"))
        bare = await client.encode(protocol.RawPrompt("hello there", add_bos=False))
        shown = await client.encode(protocol.ChatPrompt(SHOWN), [picture(PICTURE)])
        assert encoded_text.token_ids == tokenizer.encode("hello there")
        assert [tokenizer.bos_id, *bare.token_ids] == encoded_text.token_ids
        assert shown.image_tokens > 0
        assert len(shown.token_ids) == len(shown.tokens) > shown.image_tokens
        assert await client.decode(bare.token_ids) == "hello there"
        with pytest.raises(PromptError):
            await client.encode(protocol.ChatPrompt(SHOWN))
        report = await client.report(timeout=5)
        assert report.values["blocks_total"] > 0


async def test_a_stop_lets_running_requests_finish_and_refuses_new_ones(shelf, tmp_path):
    async with hosted(shelf["mistral"], tmp_path / "s") as (host, client):
        running = client.submit(protocol.RawPrompt("go on"), SamplingParams(max_tokens=200, ignore_eos=True))
        await running.admission()
        draining = asyncio.create_task(host._drain())
        await asyncio.sleep(0)
        with pytest.raises(Exception, match="about to stop"):
            await client.submit(protocol.RawPrompt("more"), SamplingParams()).admission()
        await running.ended()
        assert running.end.usage.completion_tokens == 200
        await draining


async def test_a_replica_whose_engine_died_ends(shelf, tmp_path, monkeypatch):
    monkeypatch.setattr(EngineLoop, "_admit", lambda loop: 1 / 0)  # no request can be blamed for this
    async with hosted(shelf["mistral"], tmp_path / "s", wait=False) as (_, client):
        with pytest.raises(Exception, match="ZeroDivisionError"):
            await client.ready()
    monkeypatch.undo()
    async with hosted(shelf["mistral"], tmp_path / "t") as (host, client):
        monkeypatch.setattr(EngineLoop, "_admit", lambda loop: 1 / 0)
        call = client.submit(protocol.RawPrompt("go on"), SamplingParams(max_tokens=3))
        with pytest.raises(EngineStoppedError, match="ZeroDivisionError"):
            await text_of(call)
        async with asyncio.timeout(10):
            await client.lost
        assert not host._engine.running


async def test_a_peer_of_another_version_or_without_manners_is_sent_away(shelf, tmp_path):
    async with hosted(shelf["mistral"], tmp_path / "s") as (_, client):
        arrived, lost = [], asyncio.get_running_loop().create_future()
        peer = await connect(
            client.address, lambda: Connection(protocol.FromReplica, arrived.append, lost.set_result)
        )
        peer.send(protocol.Hello(version=99))
        await lost
        assert arrived == [protocol.Welcome(protocol.VERSION, client.pid)]
        lost = asyncio.get_running_loop().create_future()
        peer = await connect(client.address, lambda: Connection(protocol.FromReplica, print, lost.set_result))
        peer.send(protocol.Abort("x"))
        peer._transport.write(b"GET / HTTP/1.1\r\n\r\n")
        await lost
        assert await client.report(timeout=5)
