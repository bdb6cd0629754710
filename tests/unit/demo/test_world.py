"""The simulated world: the same for the same seed, genuine where it says so, and refused where it does not."""

from collections import Counter
from datetime import UTC, datetime

import pytest

from notifier.alipayhk.compose import compose
from notifier.alipayhk.keys import Md5Key, RsaKey
from notifier.channel import Channel, KeyInRing
from notifier.demo.history import Message, Order, Post, Refund, TradeWord
from notifier.demo.ledger import Account as Books
from notifier.demo.ledger import accounts
from notifier.demo.world.accounts import Account, open_accounts
from notifier.demo.world.alipayhk import fields_of
from notifier.demo.world.forgeries import KINDS
from notifier.demo.world.lives import FORGED, plan, posts_in
from notifier.demo.world.merchants import BadDay
from notifier.errors import Rejected
from notifier.evidence import USABLE, Policy

CHANNELS = ("peak", "ferry", "market")
NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def opened() -> dict[str, Account]:
    return {account.channel: account for account in open_accounts()}


def channel_of(account: Account) -> Channel:
    key = account.key if isinstance(account.key, Md5Key) else RsaKey.of(account.key.public_key())
    policy = Policy(currency="HKD", seller_id=None, partner_id=account.partner_id, orders="open")
    return Channel(
        name=account.channel,
        token=account.token,
        protocol="mapi",
        policy=policy,
        sign_types=(account.sign_type,),
        ring=(KeyInRing(key),),
        verify_notify_id=False,
        gateway_url=None,
    )


def test_the_same_seed_is_the_same_plan() -> None:
    assert plan(7, 200, CHANNELS) == plan(7, 200, CHANNELS)
    assert plan(7, 200, CHANNELS) != plan(8, 200, CHANNELS)


def test_a_plan_has_all_kinds_of_forgeries_and_as_many_as_it_says() -> None:
    sendings = plan(1, 2000, CHANNELS)

    forged = Counter(sending.forgery for sending in sendings if sending.forgery is not None)
    assert forged.keys() == KINDS.keys()
    assert forged.total() / posts_in(sendings) == pytest.approx(FORGED, rel=0.2)


def test_the_same_number_in_three_channels_is_three_orders() -> None:
    orders = {sending.message.order for sending in plan(1, 30, CHANNELS)}

    assert len(orders) == 30
    assert len({order.number for order in orders}) == 10


def test_no_forged_trade_is_a_genuine_one() -> None:
    """Wherever a forgery is believed, money is wrong: it shows in S4 as well."""
    sendings = plan(1, 500, CHANNELS)

    genuine = {sending.message.trade_no for sending in sendings if sending.forgery is None}
    assert genuine.isdisjoint(sending.message.trade_no for sending in sendings if sending.forgery is not None)


@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize("status", ["WAIT_BUYER_PAY", "TRADE_SUCCESS", "TRADE_FINISHED", "TRADE_CLOSED"])
def test_what_is_genuine_is_usable(opened: dict[str, Account], name: str, status: TradeWord) -> None:
    account = opened[name]
    message = Message(Order(name, "T1"), "2026112400", "n1", status, 12_345, Refund("R1", 45))

    body = compose(fields_of(message, account, NOW, NOW), account.sign_type, account.key)

    evidence = channel_of(account).verify(body, "", NOW, None).evidence
    assert (evidence.verdict, evidence.order) == (USABLE, "T1")


@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_forgery_is_refused(opened: dict[str, Account], name: str, kind: str) -> None:
    account = opened[name]
    message = Message(Order(name, "T1"), "2026112400", "n1", "TRADE_FINISHED", 12_345)

    body = KINDS[kind](fields_of(message, account, NOW, NOW), account)

    with pytest.raises(Rejected):
        channel_of(account).verify(body, "", NOW, None)


LIVES: list[tuple[str, list[tuple[str, TradeWord, Refund | None]], Books]] = [
    ("only opened", [("1", "WAIT_BUYER_PAY", None)], Books("pending", 0, 0)),
    ("told twice", [("1", "TRADE_SUCCESS", None), ("1", "TRADE_FINISHED", None)], Books("paid", 100, 0)),
    ("two trades", [("1", "TRADE_SUCCESS", None), ("2", "TRADE_SUCCESS", None)], Books("paid", 200, 0)),
    ("never paid", [("1", "WAIT_BUYER_PAY", None), ("1", "TRADE_CLOSED", None)], Books("closed", 0, 0)),
    ("refunded whole", [("1", "TRADE_SUCCESS", None), ("1", "TRADE_CLOSED", Refund())], Books("refunded", 100, 100)),
    ("refunded in part", [("1", "TRADE_SUCCESS", Refund("R", 30))] * 2, Books("paid", 100, 30)),
    ("closed with a refund, its payment not told yet", [("1", "TRADE_CLOSED", Refund())], Books("closed", 0, 0)),
]  # fmt: skip


@pytest.mark.parametrize(("told", "books"), [life[1:] for life in LIVES], ids=[life[0] for life in LIVES])
def test_the_books_say_what_became_of_an_order(told: list[tuple[str, TradeWord, Refund | None]], books: Books) -> None:
    posts = [
        Post(
            Message(Order("peak", "T1"), trade, "n", status, 100, refund), "peak", b"", None, "e", 200, is_success=True
        )
        for trade, status, refund in told
    ]

    assert accounts(posts) == {Order("peak", "T1"): books}
    assert accounts(reversed(posts)) == {Order("peak", "T1"): books}


def test_a_bad_day_is_errors_then_silence_then_over() -> None:
    day = BadDay(fails_at=1.0, hangs_at=2.0, ends_at=4.0)

    seen = [day.at(since_s) for since_s in (0.5, 1.5, 3.0, 4.5)]

    assert [trouble and trouble.hangs_s for trouble in seen] == [None, 0.0, 1.0, None]
