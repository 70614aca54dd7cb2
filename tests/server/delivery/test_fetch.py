"""Images over HTTP from a host on loopback that behaves, misbehaves, leads astray and takes its time."""

import asyncio
import base64
import logging
import os
import time
from pathlib import Path

import pytest
from fetch_errors import failure, refused
from image_host import FakeResolver, answer, image_host, redirect

from triptych.server.delivery.fetch import FetchLimits, ImageFetcher
from triptych.server.delivery.guard import Guard

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
LOCAL = Guard.allowing(["127.0.0.1"])


# ---- what works -----------------------------------------------------------------------------------------------------


async def test_an_image_arrives_whole_and_the_request_says_who_asks():
    async with image_host({"/a%20b.png?q=%2C": answer(PNG)}) as host, ImageFetcher(LOCAL) as fetcher:
        assert await fetcher.fetch(f"{host.url}/a%20b.png?q=%2C#fragment") == PNG
    ((_, headers),) = host.requests
    assert headers["accept"] == "image/*"
    assert headers["accept-encoding"] == "identity"
    assert headers["user-agent"].startswith("triptych/")
    assert not {"cookie", "authorization", "referer"} & set(headers)


async def test_chunks_and_bodies_until_the_end_of_the_connection_are_read():
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    async with (
        image_host({"/chunked": chunked, "/open": b"HTTP/1.0 200 OK\r\n\r\nabcde"}) as host,
        ImageFetcher(LOCAL) as fetcher,
    ):
        assert await fetcher.fetch(f"{host.url}/chunked") == b"abcde"
        assert await fetcher.fetch(f"{host.url}/open") == b"abcde"


async def test_read_takes_every_form():
    text = base64.b64encode(PNG).decode()
    large = os.urandom(400_000)
    async with image_host({"/": answer(PNG)}) as host, ImageFetcher(LOCAL) as fetcher:
        for source in (
            host.url,
            f" {host.url.replace('http', 'HTTP')}",
            text,
            text.rstrip("="),
            f"data:image/png;base64,{text}",
        ):
            assert await fetcher.read(source) == PNG
        assert await fetcher.read(base64.b64encode(large).decode()) == large
        await refused(fetcher.read("file:///etc/passwd"), "invalid_image_url", "must begin with http://")
        await refused(fetcher.read("/etc/passwd.png"), "invalid_base64_image", "offset 11")
        await refused(fetcher.read("data:image/png;base64,a b!"), "invalid_base64_image", "offset 3")
        await refused(fetcher.read(""), "empty_image_file")


async def test_three_redirects_are_followed_and_not_four():
    async with image_host({"/": answer(PNG)}) as host, ImageFetcher(LOCAL) as fetcher:
        for number, status in enumerate(("301 a", "302 b", "303 c", "307 d", "308 e")):
            host.answers[f"/{number + 1}"] = redirect(f"/{number}" if number else "./", status)
        assert await fetcher.fetch(f"{host.url}/3") == PNG
        host.requests.clear()
        await refused(fetcher.fetch(f"{host.url}/5"), "failed_to_download_image", "redirects more than 3 times")
        assert host.paths == ["/5", "/4", "/3", "/2"]


async def test_a_redirect_loop_ends():
    async with image_host({"/": redirect("/")}) as host, ImageFetcher(LOCAL) as fetcher:
        await refused(fetcher.fetch(host.url), "failed_to_download_image", "redirects more than 3 times")
    assert len(host.requests) == 4


async def test_the_log_tells_host_and_outcome_and_no_path(caplog):
    caplog.set_level(logging.INFO, "triptych.delivery")
    async with image_host({"/secret": answer(PNG)}) as host, ImageFetcher(LOCAL) as fetcher:
        await fetcher.fetch(f"{host.url}/secret")
        await failure(fetcher.fetch(f"{host.url}/other-secret"))
    assert f"image from 127.0.0.1: {len(PNG)} bytes" in caplog.text
    assert "no image from 127.0.0.1" in caplog.text
    assert "secret" not in caplog.text


# ---- answers that are no image --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status",
    ["404 Not Found", "403 Forbidden", "204 No Content", "206 Partial Content", "304 Not Modified", "302 Nowhere"],
)
async def test_any_status_but_200_is_named_and_asked_for_once(status):
    body = b"" if status[:3] in ("204", "304") else b"inside"
    async with image_host({"/": answer(body, status)}) as host, ImageFetcher(LOCAL) as fetcher:
        message = await refused(
            fetcher.fetch(host.url), "failed_to_download_image", f"status {status[:3]}", "base64 data URI instead"
        )
    assert len(host.requests) == 1
    assert "inside" not in message


async def test_what_passes_is_tried_three_times():
    broken = answer(PNG)[:-10]
    async with (
        image_host({"/": [answer(b"", "503 Busy"), broken, answer(PNG)]}) as host,
        ImageFetcher(LOCAL) as fetcher,
    ):
        assert await fetcher.fetch(host.url) == PNG
        host.answers["/"], host.requests = answer(b"", "500 Oops"), []
        await refused(fetcher.fetch(host.url), "failed_to_download_image", "status 500")
        assert len(host.requests) == 3
        host.answers["/"], host.requests = broken, []
        await refused(fetcher.fetch(host.url), "failed_to_download_image", "the connection broke")
        assert len(host.requests) == 3


async def test_an_empty_answer_is_an_empty_file():
    async with image_host({"/": answer(b"")}) as host, ImageFetcher(LOCAL) as fetcher:
        await refused(fetcher.fetch(host.url), "empty_image_file", "0 bytes")


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "br", "deflate", "zstd"])
async def test_compression_is_not_undone(coding):
    async with (
        image_host({"/": answer(b"\x1f\x8b" + bytes(50), content_encoding=coding)}) as host,
        ImageFetcher(LOCAL) as fetcher,
    ):
        await refused(fetcher.fetch(host.url), "failed_to_download_image", "compressed", coding.lower())


async def test_content_type_and_odd_content_encodings_do_not_matter():
    async with (
        image_host({"/": answer(PNG, content_type="text/html", content_encoding="none")}) as host,
        ImageFetcher(LOCAL) as fetcher,
    ):
        assert await fetcher.fetch(host.url) == PNG


@pytest.mark.parametrize(
    "reply", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x00" * 100, answer(PNG, x="y" * 100_000)]
)
async def test_what_is_not_http_is_said_to_be_so(reply):
    async with image_host({"/": reply}) as host, ImageFetcher(LOCAL) as fetcher:
        message = await refused(fetcher.fetch(host.url), "failed_to_download_image")
    assert "not proper HTTP" in message or "the connection broke" in message
    assert "OpenSSH" not in message


async def test_names_ports_and_certificates_that_fail_are_told_apart():
    async def no_tls(reader, writer):
        writer.write(b"HTTP/1.1 400 Speak HTTP\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(no_tls, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    resolver = FakeResolver({"gone.test": ()})
    async with ImageFetcher(LOCAL, resolver=resolver) as fetcher:
        await refused(
            fetcher.fetch("http://gone.test/"), "failed_to_download_image", "gone.test: its name cannot be resolved"
        )
        await refused(fetcher.fetch(f"https://127.0.0.1:{port}/"), "failed_to_download_image", "TLS")
        server.close()
        await refused(
            fetcher.fetch(f"http://127.0.0.1:{port}/"), "failed_to_download_image", "it cannot be connected to"
        )
    assert resolver.closed


# ---- size and time --------------------------------------------------------------------------------------------------


async def endless(writer):
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1000\r\n" + bytes(4096) + b"\r\n")
        await writer.drain()


async def trickle(writer):
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


async def trickle_headers(writer):
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"a: b\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


async def silent(writer):
    await asyncio.sleep(30)


async def test_size_is_counted_as_it_arrives():
    limits = FetchLimits(max_bytes=len(PNG))
    announced = b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n"
    async with (
        image_host({"/fits": answer(PNG), "/over": answer(PNG + b"x")}) as host,
        ImageFetcher(LOCAL, limits) as fetcher,
    ):
        host.answers |= {"/endless": endless, "/announced": announced}
        assert await fetcher.fetch(f"{host.url}/fits") == PNG
        for path in ("/over", "/endless", "/announced"):
            await refused(
                fetcher.fetch(host.url + path), "failed_to_download_image", f"over the limit of {len(PNG):,} bytes"
            )
    assert len(host.requests) == 4


@pytest.mark.parametrize("script", [trickle, trickle_headers, silent])
async def test_time_is_one_deadline_however_it_is_spent(script):
    async with image_host({"/": script}) as host, ImageFetcher(LOCAL, FetchLimits(seconds=0.2)) as fetcher:
        began = time.monotonic()
        await refused(fetcher.fetch(host.url), "failed_to_download_image", "longer than 0.2 s")
        assert 0.15 < time.monotonic() - began < 20


async def test_the_deadline_covers_redirects_tries_and_names():
    async def slowly(writer):
        await asyncio.sleep(0.15)
        writer.write(redirect("/"))

    class SlowResolver(FakeResolver):
        async def resolve(self, host, port=0, family=0):
            await asyncio.sleep(60)

    async with (
        image_host({"/": slowly, "/busy": answer(b"", "503 Busy")}) as host,
        ImageFetcher(LOCAL, FetchLimits(seconds=0.25), resolver=SlowResolver()) as fetcher,
    ):
        for url in (host.url, f"{host.url}/busy", "http://slow.test/"):
            began = time.monotonic()
            await refused(fetcher.fetch(url), "failed_to_download_image", "longer than 0.25 s")
            assert time.monotonic() - began < 20


async def test_no_more_than_so_many_at_once():
    async def shortly(writer):
        await asyncio.sleep(0.02)
        writer.write(answer(PNG))

    async with image_host({"/": shortly}) as host, ImageFetcher(LOCAL, FetchLimits(at_once=3)) as fetcher:
        assert await asyncio.gather(*(fetcher.fetch(host.url) for _ in range(12))) == [PNG] * 12
    assert host.most_open == 3


async def test_waiting_for_a_turn_counts_and_is_told_apart():
    async with (
        image_host() as host,
        ImageFetcher(LOCAL, FetchLimits(seconds=0.1, at_once=1)) as fetcher,
        fetcher._turns,
    ):
        await refused(fetcher.fetch(host.url), "failed_to_download_image", "its turn did not come within 0.1 s")
    assert host.connections == 0


async def test_cancelling_ends_the_download_and_frees_its_turn():
    async with (
        image_host({"/": silent, "/a": answer(PNG)}) as host,
        ImageFetcher(LOCAL, FetchLimits(at_once=1)) as fetcher,
    ):
        task = asyncio.create_task(fetcher.fetch(host.url))
        while not host.requests:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await fetcher.fetch(f"{host.url}/a") == PNG


async def test_closing_ends_what_is_under_way():
    async with image_host({"/": silent}) as host, ImageFetcher(LOCAL) as fetcher:
        task = asyncio.create_task(failure(fetcher.fetch(host.url)))
        while not host.requests:
            await asyncio.sleep(0.001)
        await fetcher.close()
        assert "the connection broke" in str(await task)
    assert len(host.requests) == 1


async def test_failures_leave_no_socket_behind():
    sockets = Path("/proc/self/fd")
    if not sockets.exists():
        pytest.skip("no /proc")
    async with (
        image_host({"/": answer(b"", "404 No"), "/big": answer(PNG)}) as host,
        ImageFetcher(LOCAL, FetchLimits(max_bytes=10)) as fetcher,
    ):
        before = len(os.listdir(sockets))
        for _ in range(50):
            await failure(fetcher.fetch(host.url))
            await failure(fetcher.fetch(f"{host.url}/big"))
            await failure(fetcher.fetch("http://127.0.0.2/"))
        await asyncio.sleep(0.05)
        assert len(os.listdir(sockets)) <= before + 4
