"""Which notifications are third or later resends: AlipayHK's schedule, and what a message says of its age."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from notifier.alipayhk.resends import resent_late
from notifier.statement import RefundStatement, TradeStatement, TradeStatus

PAID_AT = datetime(2026, 11, 22, 9, 30, 5, tzinfo=UTC)
SCHEDULE = {
    "as most pages have it": (2, 10, 10, 60, 120, 360, 900),
    "4, 10, 15": (4, 10, 15, 60, 120, 360, 900),
    "4, 10, 10": (4, 10, 10, 60, 120, 360, 900),
}


def told(status: TradeStatus = TradeStatus.PAID, *, made_at: datetime = PAID_AT, **more: object) -> TradeStatement:
    """What a message states; `notify_time` is that of the attempt."""
    times: dict[str, object] = {"paid_at": PAID_AT} | more
    return TradeStatement("T1", "2026", status, "1.00", "HKD", made_at, **times)  # type: ignore[arg-type]  # as the row says


@pytest.mark.parametrize("gaps", SCHEDULE.values(), ids=SCHEDULE)
@pytest.mark.parametrize("clock_is_off_by", [timedelta(minutes=-3), timedelta(), timedelta(minutes=3)], ids=str)
def test_from_the_third_resend_on_it_is_late(gaps: tuple[int, ...], clock_is_off_by: timedelta) -> None:
    """The first and the second may be an answer that was lost; the third is a fault of ours."""
    minutes = [sum(gaps[:count]) for count in range(8)]
    arrivals = [PAID_AT + timedelta(minutes=one, seconds=2) + clock_is_off_by for one in minutes]

    late = [resent_late(told(made_at=at), at) is not None for at in arrivals]

    assert late == [False, False, False, True, True, True, True, True]


@pytest.mark.parametrize(
    ("statement", "is_late"),
    [
        pytest.param(told(TradeStatus.CLOSED, closed_at=PAID_AT), True, id="closed: since it was closed"),
        pytest.param(told(TradeStatus.CLOSED), False, id="closed without a time: since the message was made"),
        pytest.param(told(paid_at=None), False, id="paid without a time: likewise"),
        pytest.param(told(TradeStatus.WAITING), False, id="waiting: nothing says since when"),
        pytest.param(
            told(TradeStatus.FINAL, paid_at=PAID_AT - timedelta(days=90)), False, id="final, paid long before"
        ),
        pytest.param(
            told(paid_at=PAID_AT - timedelta(days=3), refund=RefundStatement("R1", True, PAID_AT)),
            True,
            id="a refund of an old trade: since the refund",
        ),
        pytest.param(
            told(paid_at=PAID_AT - timedelta(days=2)), False, id="later than any resend: it is something else"
        ),
    ],
)
def test_late_is_said_of_what_happened(statement: TradeStatement, is_late: bool) -> None:
    """A message that was made an hour after what it tells of."""
    arrived_at = PAID_AT + timedelta(hours=1)
    made = TradeStatement(
        **{name: getattr(statement, name) for name in statement.__struct_fields__} | {"made_at": arrived_at}
    )

    assert (resent_late(made, arrived_at) is not None) is is_late
