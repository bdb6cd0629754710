"""
The framing of a chunked body, read beside the parser, which passes over what another reader before us may not.

llhttp takes a size with any number of leading zeros; a reader that cuts a size off after sixteen digits sees another body than we
do, and where two readers disagree about it, requests are smuggled (RFC 9112, 11.2; hostile_inputs, HTTP-21). Sizes are told from
data by counting, never by their looks: a trade number in a chunk of its own is no size.
"""

from __future__ import annotations

import re

SIZE_DIGITS_MAX = 16
"""Sixteen hexadecimal digits are a size of 64 bits: what every reader can hold."""

_DIGITS = re.compile(rb"[0-9A-Fa-f]*")


class Chunks:
    """One chunked body, followed from its first byte to the end of its trailer."""

    __slots__ = ("_is_in_trailer", "_is_over", "_line", "_unread_bytes")

    def __init__(self) -> None:
        self._unread_bytes = 0  # of a chunk's data and the line end behind it
        self._line = b""  # what came of a size or a trailer that is not yet whole
        self._is_in_trailer = False
        self._is_over = False

    def follow(self, piece: bytes) -> bool:
        """Go on with what came next, which the parser found sound, as far as it is this body's. Whether no size is too long."""
        at = 0
        while at < len(piece) and not self._is_over:
            if self._unread_bytes:
                passed = min(self._unread_bytes, len(piece) - at)
                self._unread_bytes -= passed
                at += passed
                continue
            end = piece.find(b"\n", at) + 1 or len(piece)
            self._line += piece[at:end]
            at = end
            if not self._is_in_trailer and len(_digits(self._line)) > SIZE_DIGITS_MAX:
                return False
            if self._line.endswith(b"\n"):
                self._end_line()
        return True

    def _end_line(self) -> None:
        line, self._line = self._line, b""
        if self._is_in_trailer:
            self._is_over = line == b"\r\n"
        elif size := int(_digits(line), 16):
            self._unread_bytes = size + len(b"\r\n")
        else:
            self._is_in_trailer = True


def _digits(line: bytes) -> bytes:
    match = _DIGITS.match(line)
    assert match is not None, "it may be empty"
    return match[0]
