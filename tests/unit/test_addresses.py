"""Which addresses may be called: OUT-01 to OUT-09 of reference/hostile_inputs.md, as far as they need no socket."""

from __future__ import annotations

import socket
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from notifier.addresses import is_allowed, literal, reached


@pytest.mark.parametrize(
    ("host", "address"),
    [
        pytest.param("127.0.0.1", "127.0.0.1", id="OUT-01 as usual"),
        pytest.param("[::1]", "::1", id="OUT-01 in the brackets of a URL"),
        pytest.param("::1", "::1", id="without them"),
        pytest.param("0.0.0.0", "0.0.0.0", id="OUT-01 unspecified"),  # noqa: S104 - nothing is bound to it
        pytest.param("127.1", "127.0.0.1", id="OUT-01 short"),
        pytest.param("127.0.1", "127.0.0.1", id="the last of three numbers fills two bytes"),
        pytest.param("2130706433", "127.0.0.1", id="OUT-01 decimal"),
        pytest.param("0x7f.0.0.1", "127.0.0.1", id="OUT-01 hexadecimal"),
        pytest.param("0X7F000001", "127.0.0.1", id="hexadecimal, one number"),
        pytest.param("017700000001", "127.0.0.1", id="OUT-01 octal"),
        pytest.param("0177.0.0.01", "127.0.0.1", id="octal parts"),
        pytest.param("0", "0.0.0.0", id="nought alone"),  # noqa: S104 - nothing is bound to it
        pytest.param("127.0.0.1.", "127.0.0.1", id="a dot at the end"),
        pytest.param("１２７.0.0.1", "127.0.0.1", id="OUT-01 full width"),
        pytest.param("127。0．0｡1", "127.0.0.1", id="the other dots of IDNA"),
        pytest.param("①②⑦.1", "127.0.0.1", id="digits in circles"),
        pytest.param("127.0.0\u00ad.1", "127.0.0.1", id="a soft hyphen, which IDNA drops"),
        pytest.param("::ffff:127.0.0.1", "::ffff:127.0.0.1", id="IPv4 inside IPv6"),
        pytest.param("[FE80::1%25eth0]", "fe80::1%25eth0", id="OUT-04 a zone, as URLs write it"),
        pytest.param("fe80::1%eth0", "fe80::1%eth0", id="OUT-04 a zone"),
        pytest.param("fe80::1%", "fe80::1%0", id="a zone without a name is still one"),
    ],
)
def test_every_spelling_of_an_address_is_read(host: str, address: str) -> None:
    assert literal(host) == ip_address(address)


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("localhost", id="judged when connecting"),
        pytest.param("example.com", id="a name"),
        pytest.param("127.0.0.1.example.com", id="a name that begins like an address"),
        pytest.param("face.b00c", id="hexadecimal only after 0x"),
        pytest.param("256.0.0.1", id="a byte too large"),
        pytest.param("4294967296", id="33 bits"),
        pytest.param("127.0.0.0.1", id="five parts"),
        pytest.param("127..1", id="an empty part"),
        pytest.param("08.0.0.1", id="no octal digit"),
        pytest.param("0x", id="no digits"),
        pytest.param("-1", id="a sign"),
        pytest.param("1_0", id="Python's own spelling of numbers"),
        pytest.param(" 127.0.0.1", id="a blank"),
        pytest.param("", id="nothing"),
        pytest.param("9" * 5000, id="more digits than int() likes"),
        pytest.param("１" * 100, id="longer than IDNA allows"),
        pytest.param(":::", id="colons alone"),
        pytest.param("例え.jp", id="a name in another script"),
    ],
)
def test_a_name_is_no_address(host: str) -> None:
    assert literal(host) is None


_PART = st.one_of(
    st.integers(0, 2**33).map(str),
    st.integers(0, 2**33).map(hex),
    st.integers(0, 2**33).map(lambda number: f"0{number:o}"),
    st.text("0123456789abcdefx.:%１２", max_size=6),
)


@given(st.lists(_PART, min_size=1, max_size=5).map(".".join))
@example("127.1")
@example("0x7f.1")
@example("1.2.3.08")
def test_nothing_that_getaddrinfo_reads_as_an_address_is_taken_for_a_name(host: str) -> None:
    """The system's own reading is the measure; it asks nobody, for AI_NUMERICHOST forbids that."""
    read: list[str] = []
    with suppress(socket.gaierror, UnicodeError):
        for *_, sockaddr in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST):
            read.append(str(sockaddr[0]))

    found = literal(host)

    for address in read:
        assert found is not None
        assert found == ip_address(address)


REFUSED = {
    "OUT-01 loopback": ["127.0.0.1", "127.255.255.255", "::1"],
    "OUT-01 unspecified": ["0.0.0.0", "0.1.2.3", "::"],  # noqa: S104 - nothing is bound to it
    "OUT-02 private": ["10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255"],
    "OUT-02 unique local": ["fc00::1", "fdff:ffff::1"],
    "cloud metadata, link local": ["169.254.169.254", "169.254.0.1", "fe80::1", "febf::1", "fd00:ec2::254"],
    "OUT-04 carrier NAT": ["100.64.0.1", "100.127.255.255"],
    "OUT-04 benchmarks": ["198.18.0.1", "198.19.255.255", "2001:2::1"],
    "OUT-04 protocol assignments": ["192.0.0.1", "192.0.0.255", "2001::1", "2001:1ff:ffff::1"],
    "OUT-04 reserved and broadcast": ["240.0.0.1", "255.255.255.255"],
    "OUT-04 multicast": ["224.0.0.1", "239.255.255.255", "ff02::1", "ffff::1"],
    "OUT-04 site local": ["fec0::1", "feff::1"],
    "OUT-04 a zone": ["fe80::1%eth0", "2606:4700::1111%eth0"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1", "3fff:fff::1"],
    "6to4 relays": ["192.88.99.1"],
    "IPv4-mapped": [
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:0.0.0.0",
        "::ffff:169.254.169.254",
        "::ffff:100.64.0.1",
    ],
    "subnets' broadcasts inside what is private": ["10.255.255.255", "192.168.1.255"],
    "IPv4-compatible, long deprecated": ["::127.0.0.1", "::8.8.8.8"],
    "IPv4-translated": ["::ffff:0:127.0.0.1"],
    "NAT64 to a private address": ["64:ff9b::10.0.0.1", "64:ff9b::a9fe:a9fe"],
    "NAT64 of some network's own": ["64:ff9b:1::1", "64:ff9b:1::8.8.8.8"],
    "6to4 of a private address": ["2002:7f00:1::1", "2002:a00:1::", "2002:c0a8:101::1"],
    "Teredo": ["2001:0:4136:e378:8000:63bf:3fff:fdd2"],
    "ORCHID": ["2001:10::1", "2001:20::1"],
    "discard": ["100::1", "100:0:0:1::1"],
    "segment routing": ["5f00::1"],
    "never assigned": ["4000::1", "8000::1", "1::1"],
}


@pytest.mark.parametrize(
    "address", [pytest.param(one, id=f"{why}: {one}") for why, several in REFUSED.items() for one in several]
)
def test_what_is_not_public_is_refused(address: str) -> None:
    assert not is_allowed(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.88.98.1",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2000::1",
        "2001:200::1",
        "2606:4700:4700::1111",
        "2a00:1450:4001::1",
        "3ffe:ffff::1",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2002:808:808::1",
    ],
)
def test_what_is_public_is_allowed_up_to_the_edges_of_what_is_not(address: str) -> None:
    assert is_allowed(ip_address(address))


@pytest.mark.parametrize(
    ("address", "allow", "allowed"),
    [
        pytest.param("127.0.0.1", "127.0.0.0/8", True, id="a laptop"),
        pytest.param("127.0.0.1", "127.0.0.2/32", False, id="a neighbour"),
        pytest.param("127.0.0.1", "::/0", False, id="the other family"),
        pytest.param("::ffff:127.0.0.1", "127.0.0.0/8", True, id="IPv4-mapped is judged as itself"),
        pytest.param("::ffff:10.0.0.1", "127.0.0.0/8", False, id="IPv4-mapped, not in it"),
        pytest.param("::ffff:10.0.0.1", "::ffff:0:0/96", False, id="IPv4-mapped cannot be allowed as IPv6"),
        pytest.param("64:ff9b::a00:1", "10.0.0.0/8", True, id="behind NAT64"),
        pytest.param("64:ff9b:1::1", "64:ff9b:1::/48", True, id="the network's own NAT64"),
        pytest.param("::1", "::1/128", True, id="IPv6 loopback"),
        pytest.param("fd00::1", "fc00::/7", True, id="unique local"),
        pytest.param("fe80::1%eth0", "fe80::/10", False, id="a zone, always"),
        pytest.param("0.0.0.0", "0.0.0.0/0", False, id="unspecified, always"),  # noqa: S104 - nothing is bound to it
        pytest.param("::", "::/0", False, id="unspecified, always, IPv6"),
        pytest.param("::ffff:0.0.0.0", "0.0.0.0/0", False, id="unspecified, always, mapped"),
        pytest.param("0.0.0.1", "0.0.0.0/8", True, id="this network's others are the operator's to allow"),
        pytest.param("8.8.8.8", "10.0.0.0/8", True, id="the public internet stays allowed"),
    ],
)
def test_the_operators_own_networks_are_added(address: str, allow: str, allowed: bool) -> None:
    assert is_allowed(ip_address(address), [ip_network(allow)]) is allowed


@given(st.ip_addresses(v=4), st.sampled_from(["::ffff:0:0", "64:ff9b::"]))
def test_an_address_inside_another_is_judged_as_itself(inner: IPv4Address, prefix: str) -> None:
    outer = IPv6Address(int(IPv6Address(prefix)) | int(inner))

    assert is_allowed(outer) == is_allowed(inner)


@given(st.ip_addresses())
def test_no_library_of_this_python_calls_private_what_is_allowed(address: IPv4Address | IPv6Address) -> None:
    """Our table may refuse more than `ipaddress` does, never less, save where an IPv4 address stands inside."""
    if is_allowed(address) and not (isinstance(address, IPv6Address) and (address.sixtofour or address.ipv4_mapped)):
        assert address.is_global
        assert not address.is_multicast


@pytest.mark.parametrize(
    ("address", "listener"),
    [
        pytest.param("127.0.0.1", "127.0.0.1", id="itself"),
        pytest.param("::1", "::1", id="itself, IPv6"),
        pytest.param("::ffff:127.0.0.1", "127.0.0.1", id="IPv4-mapped"),
        pytest.param("64:ff9b::7f00:1", "127.0.0.1", id="behind NAT64"),
        pytest.param("2002:7f00:1::1", "127.0.0.1", id="6to4"),
    ],
)
def test_a_listener_is_known_by_the_address_that_is_reached(address: str, listener: str) -> None:
    assert reached(ip_address(address)) == ip_address(listener)
