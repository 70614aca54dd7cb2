"""What is known of an upstream before and between requests, and how a model at one begins and ends."""

import asyncio
import logging

import pytest
from scripted_upstream import MODELS, Reply, asked, chunk, fails, says, scripted, stream, upstream_model, usage
from served_models import until

from triptych.engine.errors import EngineStoppedError
from triptych.server.generation import NotSupportedError, UpstreamError, UpstreamUnavailableError
from triptych.server.model_settings import Upstream
from triptych.server.router import Router
from triptych.server.served import ModelSpec, ServedModel
from triptych.server.upstream.connection import Times
from triptych.server.upstream.model import UpstreamModel


@pytest.fixture
async def upstream():
    async with scripted() as server:
        yield server


@pytest.fixture
async def model(upstream):
    async with upstream_model(upstream) as made:
        yield made


def lists(**entry):
    return says({"data": [{"id": "other"}, {"id": "there", **entry}]})


async def answered(run):
    return [piece.text async for pieces in run for piece in pieces if piece.text]


def looks(upstream):
    return sum(asked.path == "/v1/models" for asked in upstream.asked)


# ---- the list of models ---------------------------------------------------------------------------------------------


async def test_it_is_ready_before_anything_is_asked(upstream, model):
    assert (model.state, model.failure, model.info, model.under_way) == ("ready", "", None, 0)
    assert (model.in_memory, model.weight_bytes, model.pid, model.report) == (False, 0, None, None)
    assert upstream.asked == []


@pytest.mark.parametrize(
    ("entry", "context", "vision", "kind"),
    [
        ({"owned_by": "vllm", "max_model_len": 4096}, 4096, True, "vllm"),
        ({"context_length": 8192, "architecture": {"input_modalities": ["text"]}}, 8192, False, "openai"),
        ({"architecture": {"input_modalities": ["text", "image"]}}, 0, True, "openai"),
        ({"owned_by": "sglang", "max_model_len": 100}, 100, True, "sglang"),
        ({}, 0, True, "openai"),
    ],
)
async def test_its_list_tells_what_it_is(upstream, model, entry, context, vision, kind):
    upstream.at["/v1/models"] = lists(**entry)
    info = await model.ready()
    assert (info.model, info.max_context, info.vision, model.kind) == ("there", context, vision, kind)
    assert info.defaults == {}
    await model.ready()
    assert looks(upstream) == 1


async def test_another_triptych_tells_more(upstream, model):
    upstream.at["/v1/models"] = says({"data": [{
        "id": "canonical", "aliases": ["there"], "supported_parameters": ["return_token_ids"], "quantization": "int8",
        "default_sampling": {"temperature": 0.7, "top_k": 50},
    }]})  # fmt: skip
    info = await model.ready()
    assert (model.kind, info.precision, info.defaults) == ("triptych", "int8", {"temperature": 0.7, "top_k": 50})


async def test_the_settings_say_what_a_proxy_hides(upstream):
    async with upstream_model(upstream, kind="vllm") as model:
        await answered(model.begin(asked()))
        assert upstream.sent[0]["return_token_ids"] is True


async def test_what_it_is_decides_what_it_is_asked(upstream, model):
    upstream.at["/v1/models"] = lists(owned_by="vllm")
    await answered(model.begin(asked()))
    assert upstream.sent[0]["return_token_ids"] is True


async def test_a_model_that_is_not_listed_may_answer_all_the_same(upstream, model):
    upstream.at["/v1/models"] = says({"data": [{"id": "other"}]})
    await model.ready()
    assert model.state == "ready"
    assert model.failure == "the server that answers for here does not list there; it lists other"
    assert await answered(model.begin(asked())) == ["hello"]


@pytest.mark.parametrize("reply", [Reply(b"no", 404), fails(403), fails(405)])
async def test_a_server_without_a_list_is_taken_as_it_is(upstream, model, reply):
    upstream.at["/v1/models"] = reply
    info = await model.ready()
    assert (info.max_context, info.vision, model.state, model.failure) == (0, True, "ready", "")


@pytest.mark.parametrize("reply", [fails(500), Reply(b"<html>", kind="text/html"), says({"data": 3}), says([])])
async def test_a_list_that_is_none_is_a_failure_that_stops_nothing(upstream, model, reply):
    upstream.at["/v1/models"] = reply
    await model.ready()
    assert model.state == "ready"
    assert "list" in model.failure
    assert await answered(model.begin(asked())) == ["hello"]


async def test_a_refused_key_is_told_before_a_request(upstream):
    upstream.at["/v1/models"] = fails(401, "Incorrect API key provided: sk-sec***")
    async with upstream_model(upstream, key="sk-secret") as model:
        with pytest.raises(UpstreamError, match="refused this server's key") as caught:
            await model.ready()
        assert "sk-sec" not in str(caught.value)
        assert model.state == "failed"
        assert "sk-sec" not in model.failure


async def test_a_look_is_shared_and_not_repeated_at_once(upstream, model):
    upstream.at["/v1/models"] = fails(401)
    results = await asyncio.gather(*(model.ready() for _ in range(20)), return_exceptions=True)
    assert all(isinstance(result, UpstreamError) for result in results)
    with pytest.raises(UpstreamError):
        await model.ready()
    assert looks(upstream) == 1


async def test_it_is_well_again_once_it_answers(upstream, model, monkeypatch):
    upstream.at["/v1/models"] = fails(401)
    with pytest.raises(UpstreamError):
        await model.ready()
    upstream.at["/v1/models"] = says(MODELS)
    monkeypatch.setattr("triptych.server.upstream.model._REST", 0)
    assert (await model.ready()).model == "there"
    assert (model.state, model.failure) == ("ready", "")


async def test_a_list_that_never_comes_is_given_up(upstream):
    upstream.at["/v1/models"] = Reply(hold=True)
    async with upstream_model(upstream, Times(question=0.1)) as model:
        with pytest.raises(UpstreamUnavailableError, match="silent for too long"):
            await model.ready()


async def test_it_is_looked_at_now_and_then(upstream, caplog):
    async with upstream_model(upstream, Times(look=0.01, look_again=0.01)) as model:
        await model.open()
        await until(lambda: looks(upstream) > 2)
        upstream.at["/v1/models"] = fails(401)
        await until(lambda: model.state == "failed")
        more = looks(upstream) + 3
        await until(lambda: looks(upstream) > more)
        upstream.at["/v1/models"] = says(MODELS)
        await until(lambda: model.state == "ready")
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1  # not one for every look


# ---- begin and end --------------------------------------------------------------------------------------------------


async def test_it_is_not_stopped_from_here(upstream, model):
    with pytest.raises(NotSupportedError, match="does not run on this machine; stop it where it runs"):
        await model.stop()
    assert await answered(model.begin(asked())) == ["hello"]


async def test_requests_may_finish_before_the_end(upstream, model):
    upstream.script(stream(chunk("a"), chunk("b", "stop"), usage(), pause=0.05))
    run = model.begin(asked())
    await run.admission()
    await model.close(5)
    assert await answered(run) == ["a", "b"]
    assert model.under_way == 0


async def test_what_does_not_finish_is_cut(upstream, model):
    upstream.script(stream(chunk("a"), done=False, hold=True))
    run = model.begin(asked())
    pieces = aiter(run)
    await anext(pieces)
    await model.open()
    await model.close(0.05)
    with pytest.raises(EngineStoppedError):
        await anext(pieces)
    async with asyncio.timeout(20):
        await upstream.lost.wait()


async def test_the_router_leaves_it_alone(upstream, model):
    local = ServedModel(ModelSpec("local", "none"))
    router = Router([model, local], idle_unload=0.0, memory_limit=1, sweep_every=0.01)
    await router.start()
    await answered(router.find("here").begin(asked()))
    await asyncio.sleep(0.1)  # a model of this machine would have been stopped by now
    assert model.state == "ready"
    assert router.find(None) is model  # the only one that is ready
    await router.make_room(local)
    await router.stop(1)
    assert model.under_way == 0


def test_it_is_made_without_an_event_loop():
    model = UpstreamModel("here", Upstream("http://127.0.0.1:9/v1", "there"), ("also",))
    assert (model.name, model.model, model.aliases, model.upstream) == (
        "here", "there", ("also",), "http://127.0.0.1:9/v1",
    )  # fmt: skip
