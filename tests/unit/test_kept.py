"""What a view keeps of a record: little, and all of it."""

from __future__ import annotations

from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier import events
from notifier import kept as packing
from notifier.kept import kept, record_at, record_in
from notifier.ports import Kept, Pointer
from notifier.record import Record, Stored
from tests.golden import make

HEADERS = st.lists(st.tuples(st.text(max_size=20), st.binary(max_size=60)), max_size=12).map(tuple)


def golden(name: str) -> Record:
    return make.from_text((make.FOLDER / f"{name}.record").read_bytes())


@given(st.binary(max_size=3_000), HEADERS, st.integers(0, 2**63 - 1))
def test_a_record_comes_back_byte_for_byte(value: bytes, headers: tuple[tuple[str, bytes], ...], offset: int) -> None:
    """Whatever it is: a repair appends it again, and each version has one content."""
    record = Record(b"shop-hkd/A", value, headers)

    entry = kept(record, offset)

    assert record_in(record.key, entry) == record
    assert entry.offset == offset


@pytest.mark.parametrize(("name", "bytes_max"), [("orders", 520), ("deliveries", 330)])
def test_of_our_own_records_little_is_kept(name: str, bytes_max: int) -> None:
    """These have every member that there is; of most orders and lanes less than half of this is kept."""
    record = golden(name)

    entry = kept(record, 0)

    assert record_in(record.key, entry) == record
    assert len(entry.body) <= bytes_max


def test_what_a_later_release_keeps_is_read_from_the_log() -> None:
    record, entry = golden("orders"), Kept(7, b"\2whatever")

    assert record_in(record.key, entry) is None
    assert record_at(entry, record.key, Stored(record, 7, 0), events.version_of) == record


@pytest.mark.parametrize(
    ("what", "entry", "stored"),
    [
        ("nothing", Kept(7, b"\2"), None),
        ("another key's", Kept(7, b"\2"), Stored(golden("orders")._replace(key=b"shop-hkd/other"), 7, 0)),
        ("of another version than the pointer says", Pointer(7, 99), Stored(golden("orders"), 7, 0)),
    ],
)
def test_what_lies_there_may_be_another(what: str, entry: Kept | Pointer, stored: Stored | None) -> None:
    assert record_at(entry, golden("orders").key, stored, events.version_of) is None, what


def test_the_dictionary_of_a_format_never_changes() -> None:
    """What was kept with it could not be read any more. Another dictionary is another format, beside this one."""
    assert packing._FORMAT == b"\1"
    assert crc32(packing._DICTIONARY) == 3_019_504_451
