"""Which addresses may be connected to on a caller's word, and the session that keeps to it."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from yarl import URL

from ...engine.errors import ParameterError
from .addresses import Address, Network, RefusedError, inner_addresses, parse_address, special_purpose
from .resolver import NameResolver
from .urls import canonical_host

log = logging.getLogger("triptych.delivery")

_NOT_PUBLIC = "its address is not public, and the owner of this server has not allowed it"
_NOT_LISTED = "this server connects only to what its owner has listed"

# The host whose connection is being made. aiohttp's socket factory is told the address alone.
_connecting_to: ContextVar[str] = ContextVar("connecting_to", default="")


@dataclass(frozen=True, slots=True)
class Guard:
    """Rules for addresses. It resolves nothing and opens nothing.

    networks   allowed although they are not public, on any port
    hosts      allowed whatever they resolve to, on any port; as `canonical_host` writes them
    ports      of everything else; empty means all
    public     False: nothing but `networks` and `hosts`
    """

    networks: tuple[Network, ...] = ()
    hosts: frozenset[str] = frozenset()
    ports: frozenset[int] = frozenset({80, 443})
    public: bool = True

    @classmethod
    def allowing(cls, entries: Iterable[str | Network], ports: Iterable[int] = (80, 443), public: bool = True) -> Guard:
        """From settings: each entry is a network (`10.0.0.0/8`), an address or a host name. Raises ParameterError."""
        networks, hosts = [], []
        for entry in entries:
            allowed = _parse_entry(str(entry))
            if isinstance(allowed, str):
                hosts.append(allowed)
            else:
                networks.append(allowed)
        return cls(tuple(networks), frozenset(hosts), frozenset(ports), public)

    def refusal(self, address: str, port: int, host: str = "") -> str | None:
        """The rule that forbids connecting to `address`, or None. `host` is the name it was resolved from, if any."""
        if host in self.hosts:
            return None
        try:
            outer = parse_address(address)
        except ValueError:
            return _NOT_PUBLIC
        # An address inside another is what is reached in the end, so allowing the outer one is not enough.
        unlisted = [each for each in (outer, *inner_addresses(outer)) if not self._lists(each)]
        if not unlisted:
            return None
        if not self.public:
            return _NOT_LISTED
        if any(special_purpose(each) for each in unlisted):
            return _NOT_PUBLIC
        return self._wrong_port(port)

    def _wrong_port(self, port: int) -> str | None:
        if self.ports and port not in self.ports:
            return f"port {port} is none of {', '.join(map(str, sorted(self.ports)))}, to which this server connects"
        return None

    def check(self, address: str, port: int, host: str = "") -> None:
        """Raises RefusedError if `refusal` finds a rule against it; the log has the address."""
        rule = self.refusal(address, port, host)
        if rule is not None:
            log.warning("refused to connect to %s port %s, asked for as %r: %s", address, port, host, rule)
            raise RefusedError(rule)

    def check_name(self, host: str) -> None:
        """Raises RefusedError if no address of `host` could be allowed, so that it is not even looked up."""
        if not self.public and not self.networks and host not in self.hosts:
            raise RefusedError(_NOT_LISTED)

    def check_url(self, url: URL) -> None:
        """Raises RefusedError if it is clear before any name is looked up that connecting to `url` would be refused:
        its host is an address, or stands for this machine, or whatever it stands for, its port is none of `ports`.
        """
        host, port = url.raw_host or "", url.port or 0
        self.check_name(host)
        address = "127.0.0.1" if f".{host}".endswith(".localhost") else host
        with suppress(ValueError):  # a name: what it stands for is seen when it is connected to
            parse_address(address)
            return self.check(address, port, host)
        if not self.networks and host not in self.hosts and (rule := self._wrong_port(port)):
            raise RefusedError(rule)

    def _lists(self, address: Address) -> bool:
        return any(address in network for network in self.networks)


def _parse_entry(entry: str) -> Network | str:
    try:
        return ip_network(entry)
    except ValueError as error:
        if "/" in entry or ":" in entry:
            raise ParameterError(f"{entry!r} cannot be allowed: {error}", "allow") from None
    try:
        return canonical_host(entry)
    except RefusedError:
        raise ParameterError(f"{entry!r} cannot be allowed: it is no network and no host name", "allow") from None


class _GuardedResolver(AbstractResolver):
    """Refuses a name if any of its addresses is refused: a mixture is an attempt, or will fail now and then."""

    def __init__(self, guard: Guard, inner: AbstractResolver) -> None:
        self._guard = guard
        self._inner = inner

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        name = host.lower().removesuffix(".")
        self._guard.check_name(name)
        answers = await self._inner.resolve(host, port, family)
        for answer in answers:
            self._guard.check(answer["host"], port, name)
        return answers

    async def close(self) -> None:
        await self._inner.close()


class _GuardedConnector(aiohttp.TCPConnector):
    """Checks an address where its socket is made. Whatever led to it, be it a redirect, another answer of the name
    server, an address written in the URL or the second of several, there is no other way to a socket.
    """

    def __init__(self, guard: Guard, resolver: AbstractResolver) -> None:
        self._guard = guard
        self._names = _GuardedResolver(guard, resolver)
        # No DNS cache: with it names are resolved in tasks of their own, and the host would be another request's.
        super().__init__(resolver=self._names, use_dns_cache=False, limit=0, socket_factory=self._open_socket)

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        token = _connecting_to.set((req.url.raw_host or "").lower().removesuffix("."))
        try:
            return await super().connect(req, traces, timeout)
        finally:
            _connecting_to.reset(token)

    def _open_socket(self, addr_info: Any) -> socket.socket:
        family, kind, protocol, _, address = addr_info
        self._guard.check(address[0], address[1], _connecting_to.get())
        return socket.socket(family, kind, protocol)

    async def close(self, *, abort_ssl: bool = False) -> None:
        await super().close(abort_ssl=abort_ssl)
        await self._names.close()


def guarded_session(
    guard: Guard,
    timeout: aiohttp.ClientTimeout,
    *,
    headers: Mapping[str, str] | None = None,
    resolver: AbstractResolver | None = None,
    proxy: str | None = None,
) -> aiohttp.ClientSession:
    """A session, for the running loop, whose every socket `guard` has allowed. A request may raise RefusedError.

    It keeps no cookies, reads no proxies and passwords from the environment, and leaves bodies compressed, so that
    a few bytes cannot become many. Closing it closes `resolver`. Through a `proxy` everything goes to the proxy alone,
    and the check of addresses is the proxy's: here they are not known. Raises ParameterError if `guard` asks for more.
    """
    if proxy and not guard.public:
        raise ParameterError("a proxy connects to what it likes: it cannot go with public=False", "proxy")
    connector = aiohttp.TCPConnector(limit=0) if proxy else _GuardedConnector(guard, resolver or NameResolver())
    return aiohttp.ClientSession(
        connector=connector,
        timeout=timeout,
        headers=headers,
        proxy=proxy,
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    )
