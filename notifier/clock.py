"""The one place where time comes from."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """The time of day. Durations are the event loop's business, not this one's."""

    def now(self) -> datetime:
        """Now, aware and UTC."""
        ...

    def now_ms(self) -> int:
        """Now, in Unix milliseconds."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Now, aware and UTC."""
        return datetime.now(UTC)  # noqa: TID251 - the home of the clock

    def now_ms(self) -> int:
        """Now, in Unix milliseconds."""
        return time.time_ns() // 1_000_000
