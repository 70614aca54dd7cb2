"""What IP addresses are for, and the addresses inside them. Arithmetic only."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from ...engine.errors import TriptychError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class RefusedError(TriptychError, RuntimeError):
    """A URL or an address that is not connected to. The message names the rule, never the address.

    A RuntimeError, because aiohttp hides an OSError of a socket inside one of its own and loses other kinds.
    """


# The special-purpose registries of IANA, with what `ipaddress.is_global` lets through or judges differently from
# version to version. The first match names the purpose.
_SPECIAL: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(network), purpose)
    for network, purpose in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "carrier-grade NAT"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "cloud metadata"),  # Azure's, in public space
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "protocol assignments"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("64:ff9b::/96", "NAT64"),
        ("64:ff9b:1::/48", "NAT64"),
        ("2001::/32", "Teredo"),
        ("2001::/23", "protocol assignments"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),
        ("3fff::/20", "documentation"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_TRANSLATED = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_6TO4 = IPv6Network("2002::/16")
_TEREDO = IPv6Network("2001::/32")
_32_BITS = 0xFFFF_FFFF


def parse_address(text: str) -> Address:
    """The address that a socket would connect to for `text`: an IPv4-mapped IPv6 address is its IPv4 address.

    A zone (`%eth0`) is dropped. Raises ValueError.
    """
    address = ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def special_purpose(address: Address) -> str | None:
    """What `address` is reserved for, such as `loopback`; None for an ordinary public address."""
    for network, purpose in _SPECIAL:
        if address in network:
            return purpose
    if address.version == 6 and address not in _GLOBAL_UNICAST:
        return "reserved"
    return None


def inner_addresses(address: Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses that a translator or a tunnel on the way would send to: NAT64, 6to4, Teredo."""
    if isinstance(address, IPv4Address):
        return ()
    bits = int(address)
    if address in _6TO4:
        return (IPv4Address(bits >> 80 & _32_BITS),)
    if address in _TEREDO:  # the server's, and the client's with its bits inverted
        return IPv4Address(bits >> 64 & _32_BITS), IPv4Address(~bits & _32_BITS)
    if any(address in network for network in _TRANSLATED):
        return (IPv4Address(bits & _32_BITS),)
    return ()
