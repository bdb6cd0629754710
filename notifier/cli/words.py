"""How values are shown to people in a terminal."""

from __future__ import annotations

from datetime import datetime

from notifier.money import decimals, is_currency

_SHOWN_CHARS_MAX = 64
_SYMBOLS = {"HKD": "HK$", "CNY": "CN¥", "USD": "US$", "EUR": "€", "GBP": "£", "JPY": "JP¥"}


def plain(text: str | None, *, chars_max: int = _SHOWN_CHARS_MAX) -> str:
    """A text that may come from a stranger: nothing in it moves the cursor."""
    if not text:
        return "-"
    return "".join([char if char.isprintable() else "?" for char in text[:chars_max]])


def money(amount: int | None, currency: str | None) -> str:
    """`HK$128.00` for 12800 minor units; a currency without a symbol of its own stands before its amount as its code."""
    if amount is None or currency is None or not is_currency(currency):
        return "-"
    places = decimals(currency)
    whole, fraction = divmod(abs(amount), 10**places)
    digits = f"{whole:,}" + (f".{fraction:0{places}}" if places else "")
    return f"{'-' if amount < 0 else ''}{_SYMBOLS.get(currency, f'{currency} ')}{digits}"


def clock_time(said: str | None) -> str:
    """An RFC 3339 time as a clock on the wall here shows it."""
    return clock_time_of(datetime.fromisoformat(said)) if said is not None else "-"


def moment(at: datetime | None) -> str:
    """A time of the last days to the second, as a clock on the wall here shows it."""
    return f"{at.astimezone():%m-%d %H:%M:%S}" if at is not None else "-"


def clock_time_of(at: datetime | None) -> str:
    """A time as a clock on the wall here shows it."""
    return f"{at.astimezone():%Y-%m-%d %H:%M}" if at is not None else "-"


def span(seconds: float) -> str:
    """How long, in the one unit that says it best: `40 s`, `12 min`, `3 h`, `5 d`."""
    for unit, size_s in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size_s:
            return f"{seconds // size_s:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def ago(at: datetime | None, now: datetime) -> str:
    """How long ago; nothing where it never was."""
    return span((now - at).total_seconds()) if at is not None else ""


def ahead(at: datetime | None, now: datetime) -> str:
    """When something is due."""
    if at is None:
        return ""
    return f"in {span((at - now).total_seconds())}" if at > now else "now"
