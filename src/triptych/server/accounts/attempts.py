"""Wrong keys, by the address that they come from: a flood of them costs little, and guessing goes slowly."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Any, TypeVar

from .errors import RateLimitError, WrongKeyError

T = TypeVar("T")


class TooManyAttemptsError(RateLimitError):
    """Too many wrong keys came from the caller's address."""

    def __init__(self, retry_after: float) -> None:
        told = f"too many wrong keys came from your address; try again in {retry_after:.0f} s"
        super().__init__(told, retry_after)


@dataclass(slots=True)
class _Bucket:
    """What of an address's `burst` of wrong keys is left, as it was at a moment."""

    left: float
    at: float


class Attempts:
    """An address may try `burst` wrong keys, and one more every `every` seconds; what comes beyond that is refused
    unseen. A key that was right from there before is always looked at, so nobody is locked out by a neighbour. `most`
    addresses are remembered, and as many right keys; `clock` is in seconds.
    """

    def __init__(
        self, burst: int = 20, every: float = 3.0, most: int = 4096, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst = burst
        self._every = every
        self._most = most
        self._clock = clock
        self._wrong: OrderedDict[str, _Bucket] = OrderedDict()
        # Hashes of a kind that says nothing outside this process.
        self._right: OrderedDict[int, None] = OrderedDict()

    def look(self, scope: Mapping[str, Any], key: str, find: Callable[[], T]) -> T:
        """What `find` gives for a key of a request; "" is none, and no attempt. It raises WrongKeyError for a wrong
        one, which is counted. Raises TooManyAttemptsError.
        """
        address = address_of(scope)
        known = hash((address, key))
        if key and known not in self._right:
            self._check(address)
        try:
            found = find()
        except WrongKeyError as error:
            self._right.pop(known, None)
            if error.given:
                self._count(address)
            raise
        if key:
            _keep(self._right, known, None, self._most)
        return found

    def slowed(self, scope: Mapping[str, Any]) -> bool:
        """Whether nothing but known keys is looked at for the sender of a request."""
        return self._left(address_of(scope)) < 1

    def _check(self, address: str) -> None:
        left = self._left(address)
        if left < 1:
            raise TooManyAttemptsError(max(1.0, (1 - left) * self._every))

    def _left(self, address: str) -> float:
        bucket = self._wrong.get(address)
        if bucket is None:
            return self._burst
        return min(self._burst, bucket.left + (self._clock() - bucket.at) / self._every)

    def _count(self, address: str) -> None:
        _keep(self._wrong, address, _Bucket(max(0.0, self._left(address) - 1), self._clock()), self._most)


def _keep(table: OrderedDict[Any, Any], key: Any, value: Any, most: int) -> None:
    """The newest entry; the one that was not touched for the longest time makes room."""
    table[key] = value
    table.move_to_end(key)
    if len(table) > most:
        table.popitem(last=False)


def address_of(scope: Mapping[str, Any]) -> str:
    """Where a request comes from. Of IPv6 it is the network: one machine has all of its addresses."""
    client = scope.get("client")
    if not client:
        return ""
    host = str(client[0])
    if ":" not in host:
        return host
    try:
        address = IPv6Address(host.partition("%")[0])
    except ValueError:
        return host
    return str(address.ipv4_mapped) if address.ipv4_mapped is not None else f"{int(address) >> 64:x}::/64"
