"""
What comes from outside makes no new time series: a stranger, a customer or a merchant cannot fill Prometheus.

Label values come from the settings (channels, endpoints) and from closed lists. Shown by the work itself: after one of each kind,
hundreds more that differ in whatever a message may say add nothing.
"""

from __future__ import annotations

import asyncio

from cryptography.hazmat.primitives.asymmetric import rsa

from consumers.telling.gauges import show_endpoints
from notifier import metrics
from notifier.alipayhk.compose import compose
from notifier.alipayhk.keys import RsaKey
from notifier.channel import Channel, Channels, KeyInRing
from notifier.door.http import Request
from notifier.door.ingress import Door
from notifier.errors import Rejected
from notifier.evidence import Policy
from notifier.record import Record
from tests.merchants import FAILED, Merchants, fanout_job
from tests.owners import TOPICS, FakeClock, Owner, P, World, notification, orders_owner

FORM = "application/x-www-form-urlencoded"
KEY = rsa.generate_private_key(65537, 2048)
TOKEN = "token-of-the-shop-1234567"
MANY = 40

SETTINGS = {"channel", "endpoint", "topic"}
"""Values from the settings."""
CLOSED = {"outcome", "reason", "event_type", "service", "what", "event", "level"}
"""Values from lists that stand in the code."""


def series() -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    """All time series of this process."""
    return {
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in metrics.REGISTRY.collect()
        for sample in family.samples
    }


def test_labels_are_from_the_settings_or_from_closed_lists() -> None:
    """An order, a trade, a token, an address or a text would be a series for each."""
    labels = {label for _, labels in series() for label, _ in labels}

    assert labels <= SETTINGS | CLOSED | {"le"}


class _Inbox:
    is_ready = True

    async def append(self, record: Record) -> None:
        """Durable at once."""


class _Verifier:
    async def confirm(self, gateway_url: str, partner_id: str, notify_id: str | None) -> None:
        """Never asked."""


def _body(number: int, **more: str) -> bytes:
    fields = {
        "notify_type": "trade_status_sync",
        "notify_id": f"n{number}",
        "notify_time": "2026-11-22 17:30:05",
        "out_trade_no": f"T{number}",
        "trade_no": f"20261122{number}",
        "trade_status": "TRADE_SUCCESS",
        "total_fee": f"{number}.00",
    }
    return compose(fields | more, "RSA2", KEY)


async def test_no_request_makes_a_series() -> None:
    """Paths, tokens, forms, signatures and all that a genuine message may say."""
    ring = (KeyInRing(RsaKey.of(KEY.public_key())),)
    policy = Policy("HKD", None, "2088000000000001", "open")
    door = Door(
        Channels([Channel("bounded", TOKEN, "mapi", policy, ("RSA2",), ring, False, None)]),
        _Inbox(),
        _Verifier(),
        FakeClock(),
    )

    receive = door.at(f"/n/{TOKEN}")
    assert receive is not None

    async def knock(number: int) -> None:
        for body in (
            _body(number),
            _body(number, trade_status=f"STATUS_{number}"),
            _body(number, notify_type=f"type_{number}"),
            _body(number)[:-8] + b"AAAAAAAA",
            f"a={number}&a={number}".encode(),
            f"sign_type=T{number}&sign=x".encode(),
        ):
            await receive(Request(f"/n/{TOKEN}", "", FORM, f"00-{number}", body))
        await receive(Request(f"/n/{TOKEN}", f"out_trade_no={number}", FORM, None, b""))
        door.refuse(f"/n/token-{number}", Rejected(404, "not_found"))
        door.refuse(f"/{number}", Rejected(405, "method"))

    await knock(1)
    before = series()

    for number in range(2, MANY):
        await knock(number)

    assert series() == before


async def test_no_evidence_and_no_delivery_makes_a_series() -> None:
    """Orders, trades, reasons, and what merchants answer."""
    world, merchants = World(), Merchants()
    job = fanout_job(world, merchants)
    show_endpoints(job)
    orders = await orders_owner(world)
    fanout = await Owner(world, job.work(P), TOPICS.orders).start()

    async def live(number: int) -> None:
        merchants.answers[f"oms/T{number}"] += [FAILED]
        await world.receive(
            notification(f"T{number}", "WAIT_BUYER_PAY"),
            notification(f"T{number}", amount=f"{number}.00"),
            notification(f"T{number}", amount=f"{number}.00"),
            notification(f"T{number}", f"STATUS_{number}"),
            notification(f"T{number}", currency=f"X{number}"),
            notification(f"T{number}", gmt_payment="2026-11-22+19:30:00"),
        )
        await orders.work_off()
        await fanout.work_off()
        async with asyncio.timeout(5):
            await merchants.until(lambda: any(one.order == f"T{number}" for one in merchants.told))

    try:
        for number in (1, 2):
            await live(number)
        before = series()
        for number in range(3, MANY):
            await live(number)

        assert series() == before
    finally:
        await fanout.crash()
        await orders.crash()
