"""When the first of what waits is due (`consumers.telling.due`)."""

from __future__ import annotations

from consumers.telling.due import DueTimes
from notifier.ports import DueGroup


def test_what_is_remembered_is_never_too_late() -> None:
    """What became due later than another must not push that one back: nobody would look until then."""
    due = DueTimes()
    due.remember("oms", 100)
    due.remember("oms", 200)

    assert due.is_due("oms", 100)


def test_what_becomes_due_while_the_index_is_asked_is_remembered_anew() -> None:
    """And what was known before is what the index is about to say."""
    due = DueTimes()
    due.remember("oms", 100)
    due.take("oms")
    assert not due.is_due("oms", 300)

    due.remember("oms", 200)
    assert due.is_due("oms", 200)


def test_a_look_at_the_index_takes_nothing_back() -> None:
    """Its answer is of a moment ago; what it counts holds."""
    due = DueTimes()
    due.remember("oms", 100)
    due.count("oms", 7)
    due.learn([DueGroup("oms", 2, 500)])

    assert due.is_due("oms", 100)
    assert due.waiting("oms") == due.waiting_in_all == 2
