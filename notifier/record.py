"""A Kafka record as this project sees it: bytes in, bytes out, without any client library's types."""

from __future__ import annotations

from typing import NamedTuple

Headers = tuple[tuple[str, bytes], ...]


class Record(NamedTuple):
    """What is appended to a topic. Equal records are equal byte for byte, headers and their order included."""

    key: bytes
    value: bytes
    headers: Headers = ()

    def header(self, name: str) -> bytes | None:
        """The value of the first header of that name."""
        for given, value in self.headers:
            if given == name:
                return value
        return None


class Stored(NamedTuple):
    """A record where it lies in its log. `appended_at_ms` is the broker's clock (LogAppendTime), Unix milliseconds."""

    record: Record
    offset: int
    appended_at_ms: int
