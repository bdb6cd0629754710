"""A simulated AlipayHK: histories of orders, told and told again until the answer is `success`; and those who forge its word."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from urllib.parse import urlencode

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from notifier.alipayhk.compose import compose
from notifier.alipayhk.keys import Md5Key, RsaKey, SignType
from notifier.channel import Channel, KeyInRing
from notifier.evidence import Policy
from tests.owners import NOON

FORGED = "forged"
"""In every forged message; where it is found behind the door, somebody was believed."""

PARTNER = "2088000000000001"
_ANSWER_AWAITED_S = 10.0
_AMOUNTS = ("128.00", "100.00", "28.5", "7")
_GMT8 = timedelta(hours=8)

Fields = dict[str, str]
Post = Callable[[str, bytes], Awaitable[bool]]
"""Posts a body to the channel of a token; whether the answer was `success`. It may never come."""


@dataclass(frozen=True)
class Account:
    """One channel, with the key that AlipayHK signs with."""

    channel: Channel
    sign_type: SignType
    key: RSAPrivateKey | Md5Key

    def signed(self, fields: Fields) -> bytes:
        """The body that AlipayHK posts."""
        return compose(fields, self.sign_type, self.key)


@cache
def _rsa(_name: str) -> RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def accounts(*, is_registered_only: bool) -> list[Account]:
    """Two channels; the second, signed with RSA, may count only payments that were announced."""
    md5, own = Md5Key.parse("abcdefghijklmnopqrstuvwxyz012345"), _rsa("own")
    return [
        Account(_channel("shop-hkd", "open", "MD5", md5), "MD5", md5),
        Account(
            _channel("shop-two", "registered" if is_registered_only else "open", "RSA2", RsaKey.of(own.public_key())),
            "RSA2",
            own,
        ),
    ]


def _channel(name: str, orders: str, sign_type: SignType, key: Md5Key | RsaKey) -> Channel:
    return Channel(
        name=name,
        token=f"token-of-{name}-0123456789",
        protocol="mapi",
        policy=Policy("HKD", None, PARTNER, "registered" if orders == "registered" else "open"),
        sign_types=(sign_type,),
        ring=(KeyInRing(key),),
        verify_notify_id=False,
        gateway_url=None,
    )


@dataclass
class AlipayHK:
    """Tells what happened, and remembers what was promised."""

    rng: random.Random
    post: Post
    span_s: float
    """Every order begins within this."""
    genuine: set[bytes] = field(default_factory=set)
    promised: list[bytes] = field(default_factory=list)
    believed: list[bytes] = field(default_factory=list)
    """Forged bodies that were answered `success`."""

    async def tell_all(self, told_by: list[Account], orders: int) -> None:
        """Tell the histories of so many orders; return when each of their messages was answered `success`."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(orders):
                account = self.rng.choice(told_by)
                begin_s, for_s = self.rng.uniform(0, self.span_s), self.rng.choice((2.0, 60.0, self.span_s))
                for fields in _history(self.rng, account, number):
                    tasks.create_task(self._tell(account, fields, begin_s + self.rng.uniform(0, for_s)))
                    if self.rng.random() < 0.2:
                        tasks.create_task(self._forge(account, fields, begin_s + self.rng.uniform(0, for_s)))

    async def _tell(self, account: Account, fields: Fields, begin_s: float) -> None:
        await asyncio.sleep(begin_s)
        body = self._sign(account, fields)
        more = int(self.rng.random() < 0.25)  # resent though it was answered: the answer got lost, for all we know
        while True:
            if await self._is_promised(account, body):
                self.promised.append(body)
                if not more:
                    return
                more -= 1
            await asyncio.sleep(self.rng.uniform(1, 40))
            if self.rng.random() < 0.3:
                body = self._sign(account, fields | {"notify_time": _time(self._now())})

    async def _forge(self, account: Account, fields: Fields, begin_s: float) -> None:
        await asyncio.sleep(begin_s)
        genuine = account.signed(fields)
        # the last of these is as genuine as can be, but for the key
        tampered = genuine.replace(b"total_fee=", b"total_fee=1", 1) + b"&forged_by=" + FORGED.encode()
        forged = fields | {"trade_no": f"{FORGED}-{fields['trade_no']}"}
        body = self.rng.choice(
            [
                tampered,
                urlencode(forged).encode(),
                urlencode(forged | {"sign_type": account.sign_type, "sign": "AAAA"}).encode(),
                compose(forged, "MD5", Md5Key.parse("543210zyxwvutsrqponmlkjihgfedcba")),
                compose(forged, account.sign_type, _stranger(account)),
            ]
        )
        if await self._is_promised(account, body):
            self.believed.append(body)

    def _sign(self, account: Account, fields: Fields) -> bytes:
        body = account.signed(fields)
        self.genuine.add(body)
        return body

    async def _is_promised(self, account: Account, body: bytes) -> bool:
        try:
            async with asyncio.timeout(_ANSWER_AWAITED_S):
                return await self.post(account.channel.token, body)
        except TimeoutError:
            return False

    def _now(self) -> datetime:
        return NOON + timedelta(seconds=asyncio.get_running_loop().time())


def _stranger(account: Account) -> RSAPrivateKey | Md5Key:
    return _rsa("stranger") if account.sign_type == "RSA2" else Md5Key.parse("543210zyxwvutsrqponmlkjihgfedcba")


def _time(at: datetime) -> str:
    return f"{at + _GMT8:%Y-%m-%d %H:%M:%S}"


def _history(rng: random.Random, account: Account, number: int) -> Iterator[Fields]:
    """What AlipayHK says of one order; in which order it arrives, the network decides."""
    order, amount = f"T{number}", rng.choice(_AMOUNTS)
    for trade in range(1, rng.choice((1, 1, 1, 2)) + 1):
        plain = {
            "notify_type": "trade_status_sync",
            "notify_time": _time(NOON + timedelta(seconds=rng.randrange(600))),
            "out_trade_no": order,
            "trade_no": f"{account.channel.name}-{number}-{trade}",
            "total_fee": amount,
        }
        if rng.random() < 0.6:
            yield plain | {"trade_status": "WAIT_BUYER_PAY"}
        if rng.random() < 0.85:
            yield plain | {"trade_status": "TRADE_SUCCESS", "gmt_payment": _time(NOON)}
        if rng.random() < 0.5:
            yield plain | {"trade_status": "TRADE_FINISHED", "gmt_payment": _time(NOON)}
        if rng.random() < 0.2:
            yield plain | {"trade_status": "TRADE_CLOSED", "gmt_close": _time(NOON)}
        if rng.random() < 0.3:
            refund = {"refund_status": rng.choice(("REFUND_SUCCESS", "REFUND_SUCCESS", "REFUND_FAIL"))}
            if rng.random() < 0.8:
                refund |= {"out_return_no": f"R{number}-{trade}", "return_amount": rng.choice((amount, "5.00"))}
            status = rng.choice(("TRADE_SUCCESS", "TRADE_CLOSED"))
            yield plain | refund | {"trade_status": status, "gmt_refund": _time(NOON)}
        odd = rng.random()
        if odd < 0.1:
            yield plain | {"trade_status": "TRADE_SUCCESS", "total_fee": rng.choice(_AMOUNTS)}
        elif odd < 0.15:
            yield plain | {"trade_status": "TRADE_SUCCESS", "currency": "USD"}
        elif odd < 0.2:
            yield plain | {"trade_status": "TRADE_SUCCESS", "seller_id": "2088999999999999"}
        elif odd < 0.25:
            yield plain | {"trade_status": "TRADE_SUCCESS", "total_fee": "1e2"}
        elif odd < 0.3:
            yield plain | {"trade_status": "TRADE_SOMETHING"}
