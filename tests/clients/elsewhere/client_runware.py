"""runware 0.5.24 as it is: one WebSocket for everything."""

import asyncio
import base64
import logging
import os
import time
import uuid
from contextlib import asynccontextmanager

import pytest
from dropping import dropping
from runware import ETaskType, IImageCaption, IModelSearch, IVideoCaption, IVideoCaptionInputs, Runware, RunwareAPIError

URL, KEY = os.environ["TRIPTYCH_URL"], os.environ["TRIPTYCH_KEY"]
LLAVA = "runware:150@2"


@asynccontextmanager
async def connected(url=URL, key=KEY):
    client = Runware(api_key=key, url=url.replace("http", "ws") + "/v1", log_level=logging.CRITICAL)
    await client.connect()
    yield client
    await client.disconnect()


def asked(drawn, image, **more):
    return IImageCaption(inputImage=image, prompt=drawn.question, model=LLAVA, **more)


async def test_every_way_to_show_an_image(drawn):
    async with connected() as client:
        uploaded = await client.uploadImage(str(drawn.file))
        assert str(uuid.UUID(uploaded.imageUUID)) == uploaded.imageUUID
        assert uploaded.imageURL.startswith(f"{URL}/v1/media/")
        bare = drawn.data_uri.partition(",")[2]
        for image in (drawn.data_uri, bare, uploaded.imageUUID, uploaded.imageURL, str(drawn.file)):
            answer = await client.imageCaption(asked(drawn, image))
            assert (answer.text, answer.taskType, answer.cost) == (drawn.color, ETaskType.IMAGE_CAPTION, None)


async def test_without_a_question_or_a_model_it_is_described(one):
    async with connected() as client:
        answer = await client.imageCaption(IImageCaption(inputImage=one.data_uri, includeCost=True))
    assert f"large {one.color} {one.shape}" in answer.text
    assert answer.cost == 0.0019


async def test_many_at_once_on_one_socket(one):
    async with connected() as client:
        answers = await asyncio.gather(*(client.imageCaption(asked(one, one.data_uri)) for _ in range(20)))
    assert [answer.text for answer in answers] == [one.color] * 20
    assert len({answer.taskUUID for answer in answers}) == 20


async def test_what_is_wrong_is_said_at_once(one):
    async with connected() as client:
        began = time.monotonic()
        with pytest.raises(RunwareAPIError) as caught:
            await client.imageCaption(IImageCaption(inputImage=one.data_uri, model="runware:9@9"))
        assert caught.value.code == "invalidModel"
        with pytest.raises(RunwareAPIError):
            await client.imageCaption(IImageCaption(inputImages=[one.data_uri, one.data_uri]))
        assert time.monotonic() - began < 25


async def test_a_task_that_is_polled_at_once(one):
    """This client waits for half a minute where it has to ask twice."""
    async with connected() as client:
        began = time.monotonic()
        video = IVideoCaption(inputs=IVideoCaptionInputs(video=one.data_uri), model=LLAVA, includeCost=True)
        [answer] = await client.videoCaption(video)
        assert f"{one.color} {one.shape}" in answer.text
        assert answer.cost == 0.0019
        assert time.monotonic() - began < 25


async def test_a_webhook(one):
    got = []

    async def receive(reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
        got.append((head, await reader.readexactly(length)))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(receive, "127.0.0.1", 0)
    hook = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook?token=1"
    async with connected() as client:
        ack = await client.imageCaption(asked(one, one.data_uri, webhookURL=hook))
        while not got:
            await asyncio.sleep(0.05)
        [answer] = await client.getResponse(ack.taskUUID)
        details = await client.getTaskDetails(ack.taskUUID)
    server.close()
    [(head, body)] = got
    assert head.startswith("POST /hook?token=1 ")
    assert one.color.encode() in body
    assert ack.taskUUID.encode() in body
    assert answer.text == one.color
    assert details.request[0].prompt == one.question
    assert base64.b64encode(one.file.read_bytes()).decode() not in str(details.request)


async def test_models_and_media(one):
    async with connected() as client:
        found = await client.modelSearch(IModelSearch(search="llava"))
        assert found.totalResults == 1
        assert (found.results[0].air, found.results[0].name) == (LLAVA, "triptych/tiny-llava-1.6")
        media = await client.uploadMedia(str(one.file))
        answer = await client.imageCaption(asked(one, media.mediaUUID))
    assert answer.text == one.color


async def test_a_wrong_key_is_told_and_does_not_hang(one, monkeypatch):
    began = time.monotonic()
    async with connected(key="wrong") as client:
        with pytest.raises(Exception, match=r"(?i)api key|auth|connect"):
            await client.imageCaption(asked(one, one.data_uri))
    assert time.monotonic() - began < 25


async def test_it_comes_back_when_the_connection_breaks_off(one):
    async with dropping(URL) as way, connected(f"http://127.0.0.1:{way.port}") as client:
        assert (await client.imageCaption(asked(one, one.data_uri))).text == one.color
        way.drop_next()
        began = time.monotonic()
        assert (await client.imageCaption(asked(one, one.data_uri))).text == one.color
        assert (way.drops, way.connections) == (1, 2)
        assert time.monotonic() - began < 20
