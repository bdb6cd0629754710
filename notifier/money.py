"""Money is integer minor units and an ISO 4217 code, never a float."""

from __future__ import annotations

import re

# ISO 4217, column "minor unit", where it is not 2.
_DECIMALS = dict.fromkeys(
    "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(), 0
) | dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3) | {"CLF": 4, "UYW": 4}  # fmt: skip

AMOUNT_MINOR_MAX = 10**15 - 1
"""Far above AlipayHK's 1,000,000.00 and below 2**53, which every JSON reader holds exactly."""

_AMOUNT = re.compile(r"([0-9]{1,20})(?:\.([0-9]{1,4}))?", re.ASCII)
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)


def is_currency(code: str) -> bool:
    """Whether this has the shape of an ISO 4217 code: three capitals."""
    return _CURRENCY.fullmatch(code) is not None


def decimals(currency: str) -> int:
    """How many decimals a currency's major unit has (HKD 2, JPY 0, KWD 3)."""
    return _DECIMALS.get(currency, 2)


def minor_units(text: str, currency: str) -> int:
    """
    Read a decimal string as minor units: `minor_units("128.5", "HKD")` is 12850.

    ASCII digits with at most the currency's decimals; fewer are exact. Signs, exponents, blanks, other digits, zero and
    amounts above `AMOUNT_MINOR_MAX` are not amounts of a payment.

    Raises:
        ValueError: the text is not such an amount.
    """
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise ValueError("not an amount")
    whole, fraction = match.group(1), match.group(2) or ""
    places = decimals(currency)
    if len(fraction) > places:
        raise ValueError("more decimals than the currency has")
    amount = int(whole + fraction.ljust(places, "0"))
    if not 0 < amount <= AMOUNT_MINOR_MAX:
        raise ValueError("outside the range of a payment")
    return amount
