"""The fold that a view is compared with after a fault (`tests.faults.fold`): it keeps what counts, whatever lies last."""

from __future__ import annotations

import json

from notifier.demo.history import Entry
from notifier.record import Record, Stored
from tests.faults.fold import Kept, Told, lanes_of, newest_of


def entries(*records: Record) -> list[Entry]:
    return [Entry(0, Stored(record, offset, 0)) for offset, record in enumerate(records)]


def event(version: int) -> Record:
    return Record(b"shop-hkd/A", b"v%d" % version, (("ce_orderversion", b"%d" % version),))


def lane(settled: int, *waiting: int, dead: tuple[int, ...] = ()) -> Record:
    refs = [[version, 0, "evt"] for version in waiting]
    state = {"settled": settled, "known": max((settled, *waiting)), "waiting": refs}
    state["dead"] = [[version, 0, "evt"] for version in dead]
    return Record(b"oms/shop-hkd/A", json.dumps({"lane": state}).encode(), ())


def test_an_older_record_that_lies_last_is_not_believed() -> None:
    newest = newest_of(entries(event(1), event(2), event(1)))

    assert newest == {(0, b"shop-hkd/A"): Kept(1, event(2).headers, b"v2")}


def test_of_equal_records_the_last_counts_since_compaction_keeps_it() -> None:
    newest = newest_of(entries(event(1), event(2), event(1), event(2)))

    assert newest[0, b"shop-hkd/A"].offset == 3


def test_what_waits_or_is_dead_in_any_record_of_a_lane_is_not_forgotten() -> None:
    lanes = lanes_of(entries(lane(1, 2, 3), lane(2, 4, dead=(2,)), lane(0, 1)))

    assert lanes == {(0, b"oms/shop-hkd/A"): Told(2, 4, frozenset((3, 4)), frozenset((2,)))}
