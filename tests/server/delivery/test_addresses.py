"""Which addresses are public, in every notation and to the edges of every special network."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from triptych.server.delivery.addresses import _SPECIAL, inner_addresses, parse_address, special_purpose
from triptych.server.delivery.guard import Guard

PUBLIC = "93.184.216.34"
PUBLIC_6 = "2606:2800:21f:cb07:6820:80da:af6b:8b2c"

REFUSED = {
    "0.0.0.0": "unspecified",
    "0.1.2.3": "unspecified",
    "10.0.0.1": "private",
    "100.64.0.1": "carrier-grade NAT",
    "100.100.100.200": "carrier-grade NAT",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "168.63.129.16": "cloud metadata",
    "169.254.169.254": "link-local",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.0.0.8": "protocol assignments",
    "192.0.0.192": "protocol assignments",
    "192.0.2.1": "documentation",
    "192.88.99.1": "6to4 relay",
    "192.168.1.1": "private",
    "198.18.0.1": "benchmarking",
    "198.51.100.7": "documentation",
    "203.0.113.9": "documentation",
    "224.0.0.1": "multicast",
    "239.255.255.255": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "reserved",
    "::": "unspecified",
    "::1": "loopback",
    "::7f00:1": "reserved",
    "64:ff9b::808:808": "NAT64",
    "64:ff9b:1::808:808": "NAT64",
    "100::1": "reserved",
    "2001::1": "Teredo",
    "2001:2::1": "protocol assignments",
    "2001:db8::1": "documentation",
    "2002:808:808::1": "6to4",
    "3fff::1": "documentation",
    "4000::1": "reserved",
    "5f00::1": "reserved",
    "fc00::1": "private",
    "fd00:ec2::254": "private",
    "fe80::1": "link-local",
    "fe80::1%lo": "link-local",
    "fec0::1": "site-local",
    "ff02::1": "multicast",
}
ALLOWED = (
    "1.1.1.1", PUBLIC, "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0", "172.15.255.255", "172.32.0.0",
    "192.0.1.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", PUBLIC_6, "2001:4860:4860::8888", "2400::1",
)  # fmt: skip


@pytest.mark.parametrize("address", REFUSED)
def test_special_addresses_are_refused_and_their_purpose_is_known(address):
    assert special_purpose(parse_address(address)) == REFUSED[address]
    assert Guard().refusal(address, 443) == "its address is not public, and the owner of this server has not allowed it"


@pytest.mark.parametrize("address", ALLOWED)
def test_public_addresses_are_allowed(address):
    assert special_purpose(parse_address(address)) is None
    assert Guard().refusal(address, 80) is None
    assert Guard().refusal(address, 443) is None


@pytest.mark.parametrize("network", [str(network) for network, _ in _SPECIAL])
def test_special_networks_are_refused_to_their_edges(network):
    network = ip_network(network)
    kind = type(network.network_address)
    first, last = int(network.network_address), int(network.broadcast_address)
    assert special_purpose(kind(first))
    assert special_purpose(kind(last))
    for outside in (first - 1, last + 1):
        if 0 <= outside < 1 << kind(0).max_prefixlen and special_purpose(kind(outside)) is None:
            assert kind(outside).is_global


def test_every_block_of_ipv4_is_judged_as_the_standard_library_does_or_more_strictly():
    stricter = set()
    for block in range(1 << 14):
        for address in (IPv4Address(block << 18), IPv4Address((block << 18) + 0x3FFFF)):
            refused = special_purpose(address) is not None
            assert refused or address.is_global
            if refused and address.is_global:
                stricter.add(special_purpose(address))
    assert stricter <= {"multicast", "protocol assignments"}


@given(st.ip_addresses() | st.ip_addresses(v=6, network="2000::/3"))
@example(IPv6Address("2002:7f00:1::"))
@example(IPv6Address("64:ff9b::8.8.8.8"))
@example(IPv6Address("fec0::1"))
@example(IPv4Address("192.0.0.9"))
def test_what_is_allowed_is_global_unicast_and_holds_no_other_address(address):
    if Guard().refusal(str(address), 443) is None:
        address = parse_address(str(address))
        assert address.is_global
        assert not address.is_multicast
        assert not inner_addresses(address)


@given(st.ip_addresses(v=4))
def test_an_ipv4_mapped_address_is_judged_as_its_ipv4_address(address):
    guard = Guard.allowing(["10.0.0.0/8"])
    for text in (f"::ffff:{address}", f"0:0:0:0:0:ffff:{address}", IPv6Address(f"::ffff:{address}").exploded):
        assert guard.refusal(text, 443) == guard.refusal(str(address), 443)


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        ("64:ff9b::a9fe:a9fe", ["169.254.169.254"]),
        ("64:ff9b:1::a00:1", ["10.0.0.1"]),
        ("2002:7f00:1::5", ["127.0.0.1"]),
        ("2001:0:808:808::f5ff:fffe", ["8.8.8.8", "10.0.0.1"]),
        (PUBLIC_6, []),
        ("10.0.0.1", []),
    ],
)
def test_inner_addresses_are_found(outer, inner):
    assert [str(address) for address in inner_addresses(ip_address(outer))] == inner


@pytest.mark.parametrize(
    ("network", "good", "bad"),
    [
        ("64:ff9b::/96", "64:ff9b::8.8.8.8", "64:ff9b::10.0.0.1"),
        ("2002::/16", "2002:808:808::1", "2002:a9fe:a9fe::1"),
        ("2001::/32", "2001:0:808:808::f7f7:f7f7", "2001:0:808:808::f5ff:fffe"),
    ],
)
def test_allowing_a_translator_does_not_allow_what_lies_behind_it(network, good, bad):
    guard = Guard.allowing([network])
    assert guard.refusal(good, 443) is None
    assert guard.refusal(good, 22) is not None
    assert guard.refusal(bad, 443) is not None
    inner = str(inner_addresses(ip_address(bad))[-1])
    assert Guard.allowing([network, inner]).refusal(bad, 443) is None


@pytest.mark.parametrize(
    "text", ["", "localhost", "127.1", "0x7f.0.0.1", "0177.0.0.1", "2130706433", "1.2.3.4.5", "::g"]
)
def test_what_is_no_address_is_refused(text):
    assert Guard().refusal(text, 443) is not None
