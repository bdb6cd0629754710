"""
Which addresses a merchant's URL may lead to.

An endpoint's URL is written by others. One that leads into our own network would let its author reach, through us, what only we
can reach; so by default only the public internet is called. Pure: who resolves and connects (consumers/client.py) asks here
about every address, and the settings ask here about the addresses that stand in a URL.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# IANA IPv4 Special-Purpose Address Registry (RFC 6890 and its successors): all that is not globally reachable unicast. Written
# out because `ipaddress.is_global` follows another edition of the registry in every Python.
_REFUSED_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network, RFC 791; Linux connects 0.0.0.0 to itself
        "10.0.0.0/8",  # private, RFC 1918
        "100.64.0.0/10",  # shared by carriers' NAT, RFC 6598; clouds keep metadata services here
        "127.0.0.0/8",  # loopback, RFC 1122
        "169.254.0.0/16",  # link local, RFC 3927; 169.254.169.254 gives away a cloud machine's keys
        "172.16.0.0/12",  # private, RFC 1918
        "192.0.0.0/24",  # protocol assignments, RFC 6890
        "192.0.2.0/24",  # documentation, RFC 5737
        "192.88.99.0/24",  # 6to4 relays, deprecated by RFC 7526
        "192.168.0.0/16",  # private, RFC 1918
        "198.18.0.0/15",  # benchmarks, RFC 2544
        "198.51.100.0/24",  # documentation, RFC 5737
        "203.0.113.0/24",  # documentation, RFC 5737
        "224.0.0.0/4",  # multicast, RFC 5771
        "240.0.0.0/4",  # reserved, RFC 1112, and the limited broadcast
    )
)

# IANA IPv6 Address Space: only this is assigned as global unicast. Outside of it, and so refused, stand :: and ::1, discard
# (100::/64), local NAT64 (64:ff9b:1::/48), segment routing (5f00::/16), unique local (fc00::/7), link local (fe80::/10),
# site local (fec0::/10) and multicast (ff00::/8).
_GLOBAL_UNICAST_V6 = IPv6Network("2000::/3")

# IANA IPv6 Special-Purpose Address Registry: what is not globally reachable inside global unicast.
_REFUSED_V6 = (
    IPv6Network("2001::/23"),  # protocol assignments, RFC 2928; Teredo, ORCHID and benchmarks among them
    IPv6Network("2001:db8::/32"),  # documentation, RFC 3849
    IPv6Network("3fff::/20"),  # documentation, RFC 9637
)

# Addresses that a gateway or the machine itself turns into an IPv4 address: that one is what is reached, so it is what is judged.
# Each with how far the 32 bits stand from the right.
_EMBEDDING_V6 = (
    (IPv6Network("::ffff:0:0/96"), 0),  # IPv4-mapped, RFC 4291
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64, RFC 6052
    (IPv6Network("2002::/16"), 80),  # 6to4, RFC 3056
)


def is_allowed(ip: Address, allow_networks: Iterable[Network] = ()) -> bool:
    """
    Whether an address may be called: it is public, or it lies in one of the operator's own `allow_networks`.

    An IPv4 address inside an IPv6 one is judged as itself. Two kinds are refused always: an address with a zone names a link of
    this machine, and the unspecified one is no destination (RFC 1122, 3.2.1.3): Linux takes it for this machine.
    """
    if isinstance(ip, IPv6Address) and ip.scope_id is not None:
        return False
    ip = reached(ip)
    return not ip.is_unspecified and (any(ip in network for network in allow_networks) or _is_public(ip))


def reached(ip: Address) -> Address:
    """The address that is reached in the end, as a listener there knows it: `::ffff:127.0.0.1` is 127.0.0.1."""
    return (_embedded(ip) or ip) if isinstance(ip, IPv6Address) else ip


def _is_public(ip: Address) -> bool:
    if isinstance(ip, IPv4Address):
        return not any(ip in network for network in _REFUSED_V4)
    return ip in _GLOBAL_UNICAST_V6 and not any(ip in network for network in _REFUSED_V6)


def _embedded(ip: IPv6Address) -> IPv4Address | None:
    for network, shift in _EMBEDDING_V6:
        if ip in network:
            return IPv4Address((int(ip) >> shift) & 0xFFFF_FFFF)
    return None


def literal(host: str) -> Address | None:
    """
    Read a URL's host as an address, in every spelling that `getaddrinfo` reads as one without asking DNS; None: it is a name.

    `127.1`, `2130706433`, `0x7f.0.0.1` and `017700000001` are what `inet_aton` takes; full-width digits become ASCII by IDNA
    before anything looks at them. Brackets, and a dot at the end, are no difference.
    """
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")  # what Python's getaddrinfo itself does to a host
        except UnicodeError:
            return None
    host = host.removeprefix("[").removesuffix("]")
    if ":" in host:
        return _ipv6(host)
    return _ipv4(host.removesuffix("."))


def _ipv6(host: str) -> IPv6Address | None:
    bare, percent, zone = host.partition("%")
    try:
        # A zone stays known as one, whatever its name: it is what the address is refused for.
        return IPv6Address(f"{bare}%{zone.replace('%', '') or '0'}" if percent else bare)
    except AddressValueError:
        return None


def _ipv4(host: str) -> IPv4Address | None:
    """Read one to four numbers, decimal, octal (0…) or hexadecimal (0x…), the last one filling all bytes that are left."""
    parts = host.split(".")
    if len(parts) > 4:
        return None
    numbers = [_number(part) for part in parts]
    *heads, last = numbers
    if last is None or last >= 256 ** (4 - len(heads)):
        return None
    total = last
    for place, head in enumerate(heads):
        if head is None or head > 255:
            return None
        total |= head << (24 - 8 * place)
    return IPv4Address(total)


_DIGITS = {8: frozenset("01234567"), 10: frozenset("0123456789"), 16: frozenset("0123456789abcdef")}
_NUMBER_CHARS_MAX = 64
"""A DNS label has at most 63; more would only make `int` work."""


def _number(part: str) -> int | None:
    text = part.lower()
    base = 10
    if text.startswith("0x"):
        text, base = text[2:], 16
    elif text.startswith("0") and len(text) > 1:
        base = 8
    if not text or len(text) > _NUMBER_CHARS_MAX or not _DIGITS[base].issuperset(text):
        return None
    return int(text, base)
