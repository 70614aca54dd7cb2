"""runware-sdk 1.8 as it is, over both of its transports."""

import asyncio
import os
import time
import uuid

import pytest
from dropping import dropping
from runware import Runware, RunwareError

URL, KEY = os.environ["TRIPTYCH_URL"], os.environ["TRIPTYCH_KEY"]
LLAVA = "runware:150@2"


@pytest.fixture(params=["websocket", "rest"])
def transport(request):
    return request.param


def client_of(transport, url=URL, key=KEY):
    return Runware(
        api_key=key, transport=transport, http_base_url=f"{url}/v1", ws_base_url=url.replace("http", "ws") + "/v1"
    )


def asked(drawn, **more):
    inputs = {"image": drawn.data_uri}
    return {"taskType": "caption", "model": LLAVA, "prompt": drawn.question, "inputs": inputs, **more}


async def test_a_question_polled_or_waited_for(one, transport):
    async with client_of(transport) as client:
        for more in ({}, {"deliveryMethod": "async"}, {"deliveryMethod": "sync"}):
            [answer] = await client.run(asked(one, includeCost=True, **more))
            assert (answer["text"], answer["cost"], answer["taskType"]) == (one.color, 0.0019, "caption")


async def test_an_upload_and_many_at_once(drawn, transport):
    async with client_of(transport) as client:
        [media] = await client.media_storage({"operation": "upload", "media": drawn.data_uri})
        several = [client.run(asked(drawn, inputs={"image": media["mediaUUID"]})) for _ in range(8)]
        answers = await asyncio.gather(*several)
        assert [answer["text"] for [answer] in answers] == [drawn.color] * 8
        [gone] = await client.media_storage({"operation": "delete", "media": media["mediaUUID"]})
        assert gone["mediaUUID"] == media["mediaUUID"]
        with pytest.raises(RunwareError) as caught:
            await client.run(asked(drawn, inputs={"image": media["mediaUUID"]}))
    assert (caught.value.code, caught.value.parameter) == ("validation", "inputs.image")


async def test_models_and_the_account(transport):
    async with client_of(transport) as client:
        found = await client.model_search({"search": "LLAVA"})
        assert found[0]["results"][0]["name"] == "triptych/tiny-llava-1.6"
        account = await client.account_management({"operation": "getDetails"})
        assert account[0]["usage"]["total"]["requests"] >= 0


async def test_what_is_wrong_is_said_with_its_kind(one, transport):
    began = time.monotonic()
    async with client_of(transport) as client:
        for more, parameter in (
            ({"model": "runware:9@9"}, "model"), ({"inputs": {"image": str(uuid.uuid4())}}, "inputs.image"),
        ):  # fmt: skip
            with pytest.raises(RunwareError) as caught:
                await client.run(asked(one, **more))
            assert (caught.value.code, caught.value.parameter) == ("validation", parameter)
    assert time.monotonic() - began < 10


async def test_a_wrong_key(one, transport):
    began = time.monotonic()
    with pytest.raises(RunwareError) as caught:
        async with client_of(transport, key="wrong") as client:
            await client.run(asked(one))
    assert caught.value.code == "auth"
    assert time.monotonic() - began < 20


async def test_it_comes_back_when_the_connection_breaks_off(one):
    async with dropping(URL) as way, client_of("websocket", f"http://127.0.0.1:{way.port}") as client:
        assert (await client.run(asked(one)))[0]["text"] == one.color
        way.drop_next()
        assert (await client.run(asked(one)))[0]["text"] == one.color
        assert (way.drops, way.connections) == (1, 2)
