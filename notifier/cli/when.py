"""Times as a person names them on a command line."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import typer

from notifier.clock import SystemClock

_AGO = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def when(given: str) -> datetime:
    """
    A time in RFC 3339; without a zone it is in this machine's, and a date alone is its beginning. Or how long ago: `90m`, `3d`.
    """
    ago = _AGO.fullmatch(given)
    try:
        if ago is not None:
            return SystemClock().now() - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return datetime.fromisoformat(given).astimezone()
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            "it is a time such as 2026-11-24T10:00 (this machine's zone) or 2026-11-24T02:00Z, or how long ago: 90m, 2h, 3d."
        ) from None
