"""Money: an amount has one reading, and what has none is no amount."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.money import AMOUNT_MINOR_MAX, decimals, is_currency, minor_units


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        pytest.param("128.00", "HKD", 12800, id="as AlipayHK writes it"),
        pytest.param("128.5", "HKD", 12850, id="fewer decimals are exact"),
        pytest.param("128", "HKD", 12800, id="none at all"),
        pytest.param("0.01", "HKD", 1, id="a cent"),
        pytest.param("007.00", "HKD", 700, id="leading zeros change nothing"),
        pytest.param("500", "JPY", 500, id="yen have no decimals"),
        pytest.param("1.25", "KWD", 1250, id="a dinar has three"),
        pytest.param("1.2345", "CLF", 12345, id="a unidad de fomento has four"),
        pytest.param("9999999999999.99", "HKD", AMOUNT_MINOR_MAX, id="the most that is taken"),
    ],
)
def test_an_amount_is_read_exactly(text: str, currency: str, minor: int) -> None:
    assert minor_units(text, currency) == minor


@pytest.mark.parametrize(
    ("text", "currency"),
    [
        pytest.param("", "HKD", id="nothing"),
        pytest.param("0", "HKD", id="zero is no payment"),
        pytest.param("0.00", "HKD", id="nor with decimals"),
        pytest.param("-0.01", "HKD", id="a sign"),
        pytest.param("+1", "HKD", id="the other sign"),
        pytest.param("1e2", "HKD", id="an exponent"),
        pytest.param("1E400", "HKD", id="an exponent that would cost memory"),
        pytest.param("100.001", "HKD", id="more decimals than the currency has"),
        pytest.param("100.000", "HKD", id="also where they are zeros"),
        pytest.param("1.0", "JPY", id="yen with a decimal"),
        pytest.param("1.0000", "KWD", id="dinars with four"),
        pytest.param("100.00\n", "HKD", id="a line end that $ would pass over"),
        pytest.param(" 100", "HKD", id="a blank"),
        pytest.param("1 000", "HKD", id="grouped by a blank"),
        pytest.param("1,000", "HKD", id="grouped by a comma"),
        pytest.param("1_000", "HKD", id="grouped as int() takes it"),
        pytest.param("100.", "HKD", id="a point and nothing behind it"),
        pytest.param(".5", "HKD", id="a point and nothing before it"),
        pytest.param("1.2.3", "HKD", id="two points"),
        pytest.param("１２８", "HKD", id="full-width digits"),
        pytest.param("٣", "HKD", id="Arabic digits"),
        pytest.param("NaN", "HKD", id="not a number"),
        pytest.param("0x10", "HKD", id="hexadecimal"),
        pytest.param("10000000000000.00", "HKD", id="a cent above the most"),
        pytest.param(str(2**63), "JPY", id="beyond 64 bits"),
        pytest.param("9" * 400, "HKD", id="400 digits"),
        pytest.param("9" * 10**6, "HKD", id="a million digits cost nothing"),
    ],
)
def test_what_is_no_amount_is_refused(text: str, currency: str) -> None:
    with pytest.raises(ValueError, match=r"amount|decimals|range"):
        minor_units(text, currency)


@given(st.integers(1, AMOUNT_MINOR_MAX), st.sampled_from(("HKD", "JPY", "KWD", "CLF", "XXX")))
def test_an_amount_that_is_written_out_is_read_back(minor: int, currency: str) -> None:
    written = f"{Decimal(minor).scaleb(-decimals(currency)):f}"

    assert minor_units(written, currency) == minor


@given(st.text(st.characters(codec="utf-8"), max_size=12) | st.from_regex(r"[0-9.eE+\-_ ,]{1,12}", fullmatch=True))
def test_nothing_but_digits_and_a_point_is_ever_an_amount(text: str) -> None:
    try:
        minor = minor_units(text, "HKD")
    except ValueError:
        return

    assert set(text) <= set("0123456789.")
    assert minor == Decimal(text) * 100


@pytest.mark.parametrize(
    ("code", "is_one"),
    [("HKD", True), ("XXX", True), ("hkd", False), ("HKDX", False), ("HK", False), ("HKD\n", False), ("ＨＫＤ", False)],
)
def test_a_currency_is_three_capitals(code: str, is_one: bool) -> None:
    assert is_currency(code) is is_one
