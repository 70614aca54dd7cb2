"""The ways in which a caller might have this server fetch what is not the caller's to see."""

import pytest
from fetch_errors import refused
from image_host import FakeResolver, answer, image_host, redirect

from triptych.server.delivery.fetch import ImageFetcher
from triptych.server.delivery.guard import Guard

PNG = b"\x89PNG\r\n\x1a\n"
LOCAL = Guard.allowing(["127.0.0.1"])
NOT_PUBLIC = "its address is not public"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.8.9.1", "localhost", "LOCALHOST.", "0.0.0.0", "10.0.0.1", "172.16.0.1",
        "192.168.1.1", "169.254.169.254", "100.64.0.1", "168.63.129.16", "192.0.0.192", "224.0.0.1",
        "255.255.255.255", "127。0。0。1", "１２７.0.0.1", "①②⑦.0.0.1", "ⓛocalhost", "[::1]", "[::]",
        "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:a9fe:a9fe]", "[::127.0.0.1]",
        "[64:ff9b::7f00:1]", "[64:ff9b::a9fe:a9fe]", "[2002:7f00:1::1]", "[2001:0:808:808::80ff:fffe]",
        "[fe80::1]", "[fd00:ec2::254]", "[fec0::1]", "[ff02::1]", "2130706433", "017700000001",
        "0x7f000001", "0x7f.1", "127.1", "0177.0.0.1", "0", "[fe80::1%25lo]",
    ],
)  # fmt: skip
async def test_no_notation_of_an_address_that_is_not_public_gets_through(host):
    resolver = FakeResolver({"localhost": ("127.0.0.1",)})
    async with ImageFetcher(Guard(), resolver=resolver) as fetcher:
        message = await refused(fetcher.fetch(f"http://{host}/a.png"), "invalid_image_url", "base64 data URI instead")
    assert NOT_PUBLIC in message or "the host is not a name" in message
    assert set(resolver.lookups) <= {"localhost"}


@pytest.mark.parametrize(
    "url",
    [
        "http://img.test@127.0.0.1/", "http://img.test\\@127.0.0.1/", "http://127.0.0.1\\.img.test/",
        "http://u:p@img.test/", "ftp://img.test/", "http:127.0.0.1", "http://", "", "img.test/a.png",
        "http://img.test:0/", "http://img.test:99999/",
    ],
)  # fmt: skip
async def test_what_can_be_misread_is_not_even_looked_up(url):
    resolver = FakeResolver({"img.test": ("127.0.0.1",)})
    async with ImageFetcher(LOCAL, resolver=resolver) as fetcher:
        message = await refused(fetcher.fetch(url), "invalid_image_url")
    assert not resolver.lookups
    assert "u:p" not in message


@pytest.mark.parametrize(
    "addresses", [("127.0.0.2",), ("127.0.0.1", "127.0.0.2"), ("127.0.0.1", "169.254.169.254"), ("127.0.0.1", "::1")]
)
async def test_a_name_with_a_private_address_is_refused_and_the_address_is_not_told(addresses):
    resolver = FakeResolver({"img.test": addresses})
    async with image_host({"/": answer(PNG)}) as host, ImageFetcher(LOCAL, resolver=resolver) as fetcher:
        message = await refused(
            fetcher.fetch(f"http://img.test:{host.port}/"), "invalid_image_url", "img.test", NOT_PUBLIC
        )
    assert host.connections == 0
    assert not any(address in message for address in addresses)


async def test_a_name_that_changes_between_redirect_and_image_is_refused():
    resolver = FakeResolver({"rebind.test": [("127.0.0.1",), ("127.0.0.2",)]})
    async with image_host({"/b": answer(PNG)}) as host, ImageFetcher(LOCAL, resolver=resolver) as fetcher:
        host.answers["/a"] = redirect("/b")
        await refused(fetcher.fetch(f"http://rebind.test:{host.port}/a"), "invalid_image_url", NOT_PUBLIC)
    assert host.paths == ["/a"]


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.2:{port}/", "http://[::1]:{port}/", "//127.0.0.2:{port}/", "http://2130706434/",
        "http://inside.test:{port}/", "file:///etc/passwd", "data:image/png;base64,AAAA",
        "gopher://127.0.0.1:{port}/", "http://u:p@127.0.0.1:{port}/ok",
    ],
)  # fmt: skip
async def test_a_redirect_to_what_is_refused_is_refused_and_its_target_is_not_told(location):
    resolver = FakeResolver({"inside.test": ("127.0.0.2",)})
    async with image_host({"/ok": answer(PNG)}) as host, ImageFetcher(LOCAL, resolver=resolver) as fetcher:
        host.answers["/"] = redirect(location.format(port=host.port))
        message = await refused(fetcher.fetch(host.url), "invalid_image_url", "from 127.0.0.1:")
    assert host.paths == ["/"]
    assert not any(secret in message for secret in ("127.0.0.2", "inside", "::1", "passwd", "u:p"))
