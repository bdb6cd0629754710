"""What a batch leaves behind once it is done."""

import gc
import weakref

import pytest

from consumers.folding import Fold
from notifier.record import Record, Stored
from tests.owners import FakeClock, P, notification


@pytest.mark.parametrize(
    "records",
    [
        [notification("T1"), notification("T1", "TRADE_FINISHED")],  # each an event
        [notification("T1"), notification("T1", made_at="20:04:00")],  # one that is repeated
        [
            notification("T1", made_at="11:30:00", gmt_payment="2026-11-22+11:30:00")
        ],  # one that was sent again and again
        [notification("T1", "TRADE_UNHEARD_OF")],  # one that is set aside
    ],
    ids=["changed", "repeated", "resent_late", "set_aside"],
)
def test_a_batch_is_gone_as_soon_as_it_is_done(records: list[Record]) -> None:
    """
    Its lines used to lead back to it: a tenth of the job's time went into the garbage collector, looking for ten thousand
    objects of each batch that nobody needed any more.
    """
    fold = Fold({}, P, FakeClock())
    fold.take([Stored(record, offset, 0) for offset, record in enumerate(records)])
    lines = fold.lines
    assert lines
    gone = weakref.ref(fold)

    gc.disable()
    try:
        del fold
        assert gone() is None
    finally:
        gc.enable()
