"""Reading a state that a later release may have written, in one way for every record that holds one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import msgspec

from notifier.errors import NewerStateError
from notifier.record import Record


class Versioned(Protocol):
    """A value that says by which release's rules it was written."""

    @property
    def state_version(self) -> int:
        """The number of its shape."""
        ...


class _Head(msgspec.Struct):
    state_version: int


_decode_head = msgspec.json.Decoder(_Head).decode
_T = TypeVar("_T", bound=Versioned)


def reader(shape: type[_T], state_version: int) -> Callable[[Record], _T]:
    """
    What reads such a record's value.

    It raises NewerStateError where a later release wrote it, also in a shape that is not known here, and msgspec.DecodeError
    where it is none of ours.
    """
    decode = msgspec.json.Decoder(shape).decode

    def read(record: Record) -> _T:
        try:
            value = decode(record.value)
        except msgspec.ValidationError:
            if _decode_head(record.value).state_version > state_version:
                raise NewerStateError from None
            raise
        if value.state_version > state_version:
            raise NewerStateError
        return value

    return read
