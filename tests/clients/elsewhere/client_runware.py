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


async def test_without_a_question_or_a_model_it_is_described(drawn):
    async with connected() as client:
        answer = await client.imageCaption(IImageCaption(inputImage=drawn.data_uri, includeCost=True))
    assert f"large {drawn.color} {drawn.shape}" in answer.text
    assert answer.cost == 0.0019


async def test_many_at_once_on_one_socket(drawn):
    async with connected() as client:
        answers = await asyncio.gather(*(client.imageCaption(asked(drawn, drawn.data_uri)) for _ in range(20)))
    assert [answer.text for answer in answers] == [drawn.color] * 20
    assert len({answer.taskUUID for answer in answers}) == 20


async def test_what_is_wrong_is_said_at_once(drawn):
    async with connected() as client:
        began = time.monotonic()
        with pytest.raises(RunwareAPIError) as caught:
            await client.imageCaption(IImageCaption(inputImage=drawn.data_uri, model="runware:9@9"))
        assert caught.value.code == "invalidModel"
        with pytest.raises(RunwareAPIError):
            await client.imageCaption(IImageCaption(inputImages=[drawn.data_uri, drawn.data_uri]))
        assert time.monotonic() - began < 5


async def test_a_task_that_is_polled_at_once(drawn):
    """This client waits for half a minute where it has to ask twice."""
    async with connected() as client:
        began = time.monotonic()
        video = IVideoCaption(inputs=IVideoCaptionInputs(video=drawn.data_uri), model=LLAVA, includeCost=True)
        [answer] = await client.videoCaption(video)
        assert f"{drawn.color} {drawn.shape}" in answer.text
        assert answer.cost == 0.0019
        assert time.monotonic() - began < 10


async def test_a_webhook(drawn):
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
        began = time.monotonic()
        ack = await client.imageCaption(asked(drawn, drawn.data_uri, webhookURL=hook))
        assert time.monotonic() - began < 2
        while not got:
            await asyncio.sleep(0.05)
        [answer] = await client.getResponse(ack.taskUUID)
        details = await client.getTaskDetails(ack.taskUUID)
    server.close()
    [(head, body)] = got
    assert head.startswith("POST /hook?token=1 ")
    assert drawn.color.encode() in body
    assert ack.taskUUID.encode() in body
    assert answer.text == drawn.color
    assert details.request[0].prompt == drawn.question
    assert base64.b64encode(drawn.file.read_bytes()).decode() not in str(details.request)


async def test_models_and_media(drawn):
    async with connected() as client:
        found = await client.modelSearch(IModelSearch(search="llava"))
        assert found.totalResults == 1
        assert (found.results[0].air, found.results[0].name) == (LLAVA, "triptych/tiny-llava-1.6")
        media = await client.uploadMedia(str(drawn.file))
        answer = await client.imageCaption(asked(drawn, media.mediaUUID))
    assert answer.text == drawn.color


async def test_a_wrong_key_is_told_and_does_not_hang(drawn, monkeypatch):
    began = time.monotonic()
    async with connected(key="wrong") as client:
        with pytest.raises(Exception, match=r"(?i)api key|auth|connect"):
            await client.imageCaption(asked(drawn, drawn.data_uri))
    assert time.monotonic() - began < 15


async def test_it_comes_back_when_the_connection_breaks_off(drawn):
    async with dropping(URL) as way, connected(f"http://127.0.0.1:{way.port}") as client:
        assert (await client.imageCaption(asked(drawn, drawn.data_uri))).text == drawn.color
        way.drop_next()
        began = time.monotonic()
        assert (await client.imageCaption(asked(drawn, drawn.data_uri))).text == drawn.color
        assert (way.drops, way.connections) == (1, 2)
        assert time.monotonic() - began < 20
