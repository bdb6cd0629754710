"""The framing of a chunked body (RFC 9112, 7.1), told from its data however the bytes are cut."""

from __future__ import annotations

import pytest

from notifier.door.chunks import Chunks

LAST = b"0\r\n\r\n"
LONG = b"0" * 16 + b"1\r\na\r\n"
"""A size of seventeen digits, for one byte."""

CASES = [
    pytest.param(b"5\r\nhello\r\n" + LAST, True, id="one"),
    pytest.param(b"0000000000000001\r\na\r\n" + LAST, True, id="sixteen digits"),
    pytest.param(LONG + LAST, False, id="HTTP-21 seventeen"),
    pytest.param(b"5\r\nhello\r\n" + LONG + LAST, False, id="HTTP-21 not the first"),
    pytest.param(b"5;a=b\r\nhello\r\n" + b"0" * 17 + b";a=b\r\n\r\n", False, id="HTTP-21 the last, with an extension"),
    pytest.param(b"1C\r\n2026112422001332950500389138\r\n" + LAST, True, id="a trade number is no size"),
    pytest.param(b"16\r\n\r\n" + b"f" * 18 + b"\r\n\r\n" + LAST, True, id="nor is what looks like a line of framing"),
    pytest.param(LAST[:-2] + b"A: b\r\n" + b"0" * 17 + b": c\r\n\r\n", True, id="nor is a trailer"),
    pytest.param(b"1\r\na\r\n" + LAST + b"POST / HTTP/1.1\r\n" + LONG, True, id="nor is what comes behind the body"),
]


@pytest.mark.parametrize("piece_bytes", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(("came", "is_sound"), CASES)
def test_a_size_has_at_most_sixteen_digits_and_data_any(came: bytes, is_sound: bool, piece_bytes: int) -> None:
    """HTTP-21: what is a size follows from the sizes before it alone."""
    chunks = Chunks()

    assert all(chunks.follow(came[at : at + piece_bytes]) for at in range(0, len(came), piece_bytes)) == is_sound
