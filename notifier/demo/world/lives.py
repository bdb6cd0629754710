"""
The lives of orders: what AlipayHK will have to tell, in which order it comes, and what a forger puts in between.

Pure: a seed always gives the same plan. Order numbers are the same in every channel, so that whatever strays from one channel
into another meets an order there, of another amount.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from notifier.demo.history import Message, Order, Refund, TradeWord
from notifier.demo.world.forgeries import KINDS

FORGED = 0.05
"""Forgeries among all that is sent."""
TWICE = 0.10
"""Messages that arrive twice at one moment, byte for byte."""
RESENT = 0.10
"""Messages whose `success` AlipayHK did not hear: it sends them again, with a newer `notify_time`."""
REORDERED = 0.15
"""Orders whose messages arrive in any order."""

_STEP_MIN, _STEP_MAX = 5.0, 60.0
"""Between two messages about one order so many other orders begin."""


@dataclass(frozen=True, slots=True)
class Sending:
    """One entry of the plan."""

    message: Message
    is_twice: bool = False
    is_resent: bool = False
    forgery: str | None = None


def plan(seed: int, orders: int, channels: Sequence[str]) -> list[Sending]:
    """
    Everything that is to be sent, in order; `orders` of them over all channels.

    About three POSTs an order: with each entry once, and those that are sent twice or again.
    """
    random = Random(seed)
    timed: list[tuple[float, Sending]] = []
    for begin in range(orders):
        number, turn = divmod(begin, len(channels))
        order = Order(channels[turn], f"T{2026_000_001 + number}")
        messages = _life(random, order)
        times = [float(begin)]
        for _ in messages[1:]:
            times.append(times[-1] + random.uniform(_STEP_MIN, _STEP_MAX))
        if random.random() < REORDERED:
            random.shuffle(times)
        for at, message in zip(times, messages, strict=True):
            how = random.random()
            sending = Sending(message, is_twice=how < TWICE, is_resent=TWICE <= how < TWICE + RESENT)
            timed.append((at, sending))
            if random.random() < FORGED * (1 + TWICE + RESENT) / (1 - FORGED):
                timed.append((at + random.uniform(-_STEP_MAX, _STEP_MAX), _forged(random, message)))
    timed.sort(key=lambda one: one[0])
    return [sending for _, sending in timed]


def posts_in(sendings: Sequence[Sending]) -> int:
    """How many POSTs the plan makes, if each is answered as it should be."""
    return sum(1 + sending.is_twice + sending.is_resent for sending in sendings)


def last_orders(numbers: Sequence[str], channel: str) -> list[Sending]:
    """One more order for each of these numbers: their events say that all that was sent before is done."""
    return [
        Sending(
            Message(Order(channel, number), f"2026{index:024}", f"last{index:030}", "WAIT_BUYER_PAY", 100 * (index + 1))
        )
        for index, number in enumerate(numbers)
    ]


def _life(random: Random, order: Order) -> list[Message]:
    """What becomes of one order, told in the order in which it happens."""
    amount = random.randint(100, 200_000)
    trade_no = _trade_no(random)

    def told(
        status: TradeWord, refund: Refund | None = None, *, trade_no: str = trade_no, amount: int = amount
    ) -> Message:
        return Message(order, trade_no, f"{random.getrandbits(128):032x}hk", status, amount, refund)

    waiting, paid, final = told("WAIT_BUYER_PAY"), told("TRADE_SUCCESS"), told("TRADE_FINISHED")
    lot = random.random()
    if lot < 0.42:
        return [waiting, paid, final]
    if lot < 0.54:
        return [final]  # cross-border trades: final is the first that is told of a payment (alipayhk.md, 2.6)
    if lot < 0.70:
        return [waiting, told("TRADE_CLOSED")]
    if lot < 0.84:
        return [waiting, paid, told("TRADE_CLOSED", Refund())]
    if lot < 0.97:
        part = Refund(f"R{order.number}", random.randint(1, amount - 1))
        return [waiting, paid, told("TRADE_SUCCESS", part), final]
    again = told("TRADE_SUCCESS", trade_no=_trade_no(random))
    return [waiting, paid, again]  # the buyer paid twice


def _forged(random: Random, message: Message) -> Sending:
    """Somebody claims that an order was paid, in a trade that there is not: wherever it is believed, money is wrong."""
    claim = replace(message, trade_no=_trade_no(random), status="TRADE_FINISHED", refund=None)
    return Sending(claim, forgery=random.choice(tuple(KINDS)))


def _trade_no(random: Random) -> str:
    return f"20261124{random.randrange(10**20):020}"
