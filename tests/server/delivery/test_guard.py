"""The rules of a guard, and that no way to a socket leads past it. Loopback only: where a test needs a public address,
127.0.0.1 is allowed and stands for it, and 127.0.0.2 stands for a private one.
"""

import asyncio
import dataclasses
import logging
import socket

import aiohttp
import pytest
from image_host import FakeResolver, answer, image_host, redirect

from triptych.engine.errors import ParameterError
from triptych.server.delivery.addresses import RefusedError
from triptych.server.delivery.guard import Guard, guarded_session
from triptych.server.delivery.resolver import NameResolver

TIMEOUT = aiohttp.ClientTimeout(total=5)
LOCAL = Guard.allowing(["127.0.0.1"])
# Somewhere public that is never connected to: only the rules see it.
PUBLIC = "93.184.216.34"
PUBLIC_6 = "2606:2800:21f:cb07:6820:80da:af6b:8b2c"

# ---- settings -------------------------------------------------------------------------------------------------------


def test_nothing_is_allowed_by_default_and_a_guard_cannot_be_changed():
    guard = Guard()
    assert (guard.networks, guard.hosts, guard.public) == ((), frozenset(), True)
    with pytest.raises(dataclasses.FrozenInstanceError):
        guard.public = False


def test_entries_are_networks_addresses_and_names():
    guard = Guard.allowing(["10.0.0.0/8", "192.168.7.7", "fd00::/8", "::1", "MinIO.Internal.", "bücher.example"])
    assert [str(network) for network in guard.networks] == ["10.0.0.0/8", "192.168.7.7/32", "fd00::/8", "::1/128"]
    assert guard.hosts == {"minio.internal", "xn--bcher-kva.example"}
    assert Guard.allowing([*guard.networks, *guard.hosts]) == guard
    for address in ("10.255.0.1", "192.168.7.7", "::ffff:10.1.1.1", "fd12::1", "::1"):
        assert guard.refusal(address, 9000) is None
    for address in ("192.168.7.8", "11.0.0.1", "::2", "fe80::1"):
        assert guard.refusal(address, 9000) is not None


@pytest.mark.parametrize(
    "entry",
    ["", "10.0.0.1/8", "10.0.0.0/33", "host:80", "http://host", "a b", "*.example", "127.1", "0x7f000001", "::g"],
)
def test_an_entry_that_means_nothing_is_an_error(entry):
    with pytest.raises(ParameterError, match="cannot be allowed") as error:
        Guard.allowing([entry])
    assert error.value.name == "allow"


def test_a_name_that_is_allowed_may_resolve_to_anything():
    guard = Guard.allowing(["minio.internal"])
    assert guard.refusal("10.0.0.1", 9000, "minio.internal") is None
    assert guard.refusal("10.0.0.1", 9000, "evil.minio.internal") is not None
    assert guard.refusal("10.0.0.1", 9000) is not None


def test_ports_are_limited_for_public_addresses_only():
    assert "port 22 is none of 80, 443" in Guard().refusal(PUBLIC, 22)
    assert Guard.allowing([], ports=[8443]).refusal(PUBLIC, 8443) is None
    assert Guard.allowing([], ports=[]).refusal(PUBLIC, 22) is None
    assert LOCAL.refusal("127.0.0.1", 22) is None


def test_without_the_public_only_what_is_listed_is_allowed():
    guard = Guard.allowing(["10.0.0.0/8", "minio.internal", "64:ff9b::/96"], public=False)
    assert guard.refusal("10.0.0.1", 80) is None
    assert guard.refusal(PUBLIC, 443, "minio.internal") is None
    for address in (PUBLIC, "127.0.0.1", "64:ff9b::8.8.8.8"):
        assert guard.refusal(address, 443) == "this server connects only to what its owner has listed"


def test_the_log_has_the_address_and_the_error_has_not(caplog):
    with caplog.at_level(logging.WARNING, "triptych.delivery"), pytest.raises(RefusedError) as error:
        Guard().check("10.1.2.3", 80, "intranet.example")
    assert "10.1.2.3" in caplog.text
    assert "intranet.example" in caplog.text
    assert "10.1.2.3" not in str(error.value)


# ---- the session ----------------------------------------------------------------------------------------------------


async def get(session, url, **options):
    async with session.get(url, **options) as response:
        return await response.read()


async def test_an_allowed_address_is_reached_by_name_and_as_written():
    resolver = FakeResolver({"img.test": ("127.0.0.1",)})
    async with image_host({"/": answer(b"x")}) as host, guarded_session(LOCAL, TIMEOUT, resolver=resolver) as session:
        assert await get(session, host.url) == b"x"
        assert await get(session, f"http://img.test:{host.port}/") == b"x"
    assert resolver.lookups == ["img.test"]
    assert resolver.closed


@pytest.mark.parametrize(
    "address", ["127.0.0.2", "[::1]", "[::ffff:127.0.0.2]", "0.0.0.0", "[::]", "0x7f.2", "localhost"]
)
async def test_an_address_is_refused_before_there_is_a_socket(address, monkeypatch):
    guard = Guard.allowing(["127.0.0.9"])
    async with image_host() as host, guarded_session(guard, TIMEOUT) as session:
        made = []
        monkeypatch.setattr(socket, "socket", lambda *arguments, **_: made.append(arguments))
        with pytest.raises(RefusedError, match="not public"):
            await get(session, f"http://{address}:{host.port}/")
        monkeypatch.undo()
    assert not made
    assert host.connections == 0


@pytest.mark.parametrize("answers", [("127.0.0.1", "127.0.0.2"), ("127.0.0.2", "127.0.0.1"), ("127.0.0.1", "::1")])
async def test_a_name_with_good_and_bad_addresses_is_refused_whole(answers):
    resolver = FakeResolver({"mixed.test": answers})
    async with image_host({"/": answer(b"x")}) as host, guarded_session(LOCAL, TIMEOUT, resolver=resolver) as session:
        with pytest.raises(RefusedError):
            await get(session, f"http://mixed.test:{host.port}/")
    assert host.connections == 0


async def test_a_name_that_changes_its_address_is_checked_again():
    resolver = FakeResolver({"rebind.test": [("127.0.0.1",), ("127.0.0.2",)]})
    async with image_host({"/": answer(b"x")}) as host:
        async with (
            image_host(address="127.0.0.2", port=host.port) as private,
            guarded_session(LOCAL, TIMEOUT, resolver=resolver) as session,
        ):
            url = f"http://rebind.test:{host.port}/"
            assert await get(session, url) == b"x"
            with pytest.raises(RefusedError):
                await get(session, url)
        assert resolver.lookups == ["rebind.test"] * 2
        assert private.connections == 0


async def test_the_socket_is_guarded_even_if_the_resolver_is_not():
    resolver = FakeResolver({"two.test": ("127.0.0.2", "127.0.0.1")})
    async with image_host({"/": answer(b"x")}) as host:
        async with (
            image_host(address="127.0.0.2", port=host.port) as private,
            guarded_session(LOCAL, TIMEOUT, resolver=resolver) as session,
        ):
            session.connector._names._guard = Guard.allowing(["127.0.0.0/8"])
            assert await get(session, f"http://two.test:{host.port}/") == b"x"
            resolver.names["two.test"] = ("127.0.0.2", "127.0.0.3")
            with pytest.raises(RefusedError):
                await get(session, f"http://two.test:{host.port}/")
        assert private.connections == 0


async def test_a_redirect_is_checked_like_any_request():
    async with image_host() as private, image_host() as host:
        host.answers["/"] = redirect(f"http://127.0.0.2:{private.port}/")
        async with guarded_session(LOCAL, TIMEOUT) as session:
            with pytest.raises(RefusedError):
                await get(session, host.url)
    assert host.paths == ["/"]


async def test_a_name_that_is_allowed_opens_its_address_to_nobody_else():
    guard = Guard.allowing(["files.internal"])
    resolver = FakeResolver({"files.internal": ("127.0.0.1",), "evil.test": ("127.0.0.1",)})
    async with image_host({"/": answer(b"x")}) as host, guarded_session(guard, TIMEOUT, resolver=resolver) as session:
        host.answers["/away"] = redirect(f"{host.url}/")
        assert await get(session, f"http://FILES.internal.:{host.port}/") == b"x"
        for url in (host.url, f"http://evil.test:{host.port}/", f"http://files.internal:{host.port}/away"):
            with pytest.raises(RefusedError):
                await get(session, url)
    assert host.paths == ["/", "/away"]


async def test_concurrent_requests_do_not_lend_each_other_their_names():
    guard = Guard.allowing(["files.internal"])
    resolver = FakeResolver({"files.internal": ("127.0.0.1",)})
    async with image_host({"/": answer(b"x")}) as host, guarded_session(guard, TIMEOUT, resolver=resolver) as session:
        urls = [f"http://files.internal:{host.port}/", host.url] * 10
        results = await asyncio.gather(*(get(session, url) for url in urls), return_exceptions=True)
    assert results[::2] == [b"x"] * 10
    assert all(isinstance(result, RefusedError) for result in results[1::2])


async def test_what_can_never_be_allowed_is_not_looked_up():
    resolver = FakeResolver({"img.test": ("127.0.0.1",), "files.internal": ("127.0.0.1",)})
    guard = Guard.allowing(["files.internal"], public=False)
    async with image_host({"/": answer(b"x")}) as host, guarded_session(guard, TIMEOUT, resolver=resolver) as session:
        with pytest.raises(RefusedError):
            await get(session, f"http://img.test:{host.port}/")
        assert await get(session, f"http://files.internal:{host.port}/") == b"x"
    assert resolver.lookups == ["files.internal"]


async def test_ports_are_checked_when_connecting():
    resolver = FakeResolver({"img.test": (PUBLIC,)})
    async with guarded_session(Guard(), TIMEOUT, resolver=resolver) as session:
        for url in ("http://img.test:25/", f"http://{PUBLIC}:25/", f"http://[{PUBLIC_6}]:22/"):
            with pytest.raises(RefusedError, match="is none of 80, 443"):
                await get(session, url)


async def test_the_environment_has_no_say_and_cookies_are_forgotten(monkeypatch):
    async with image_host() as proxy, image_host({"/": answer(b"x", set_cookie="a=b")}) as host:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        async with guarded_session(LOCAL, TIMEOUT) as session:
            for _ in range(2):
                assert await get(session, host.url) == b"x"
    assert proxy.connections == 0
    assert all("cookie" not in headers for _, headers in host.requests)


async def test_a_proxy_gets_everything_and_judges_it():
    async with (
        image_host({"http://img.test/a": answer(b"x"), "http://10.0.0.1/": answer(b"", "403 No")}) as proxy,
        guarded_session(Guard(), TIMEOUT, proxy=proxy.url) as session,
    ):
        assert await get(session, "http://img.test/a") == b"x"
        assert await get(session, "http://10.0.0.1/") == b""
    assert proxy.paths == ["http://img.test/a", "http://10.0.0.1/"]
    with pytest.raises(ParameterError, match="public=False"):
        guarded_session(Guard(public=False), TIMEOUT, proxy=proxy.url)


async def test_the_system_s_resolver_answers_or_raises_oserror():
    resolver = NameResolver()
    assert {answer["host"] for answer in await resolver.resolve("localhost", 80)} <= {"127.0.0.1", "::1"}
    for name in ("a..b", "x" * 64 + ".test"):
        with pytest.raises(OSError, match="not a host name"):
            await resolver.resolve(name, 80)
    await resolver.close()
