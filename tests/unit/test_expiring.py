"""A key's end is told while there is time to ask for the next one (contract, section 8, `key.expiring`)."""

from __future__ import annotations

import asyncio
import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from notifier import logs, metrics
from notifier.alipayhk.keys import RsaKey
from notifier.channel import Channel, KeyInRing
from notifier.clock import SystemClock
from notifier.evidence import Policy
from notifier.watching import expiring

NOW = datetime(2026, 11, 22, 9, 30, 5, tzinfo=UTC)
DAY = timedelta(days=1)
KEY = RsaKey.of(rsa.generate_private_key(65537, 2048).public_key())


class StoppedClock:
    """The moment."""

    def now(self) -> datetime:
        """The moment."""
        return NOW

    def now_ms(self) -> int:
        """The moment."""
        return int(NOW.timestamp() * 1000)


def channel(*ends: datetime | None, name: str = "shop-hkd") -> Channel:
    """A channel whose keys end then."""
    return Channel(
        name=name,
        token="token-of-the-shop-1234567",
        protocol="mapi",
        policy=Policy("HKD", None, "2088000000000001", "open"),
        sign_types=("RSA2",),
        ring=tuple(KeyInRing(KEY, None, end) for end in ends),
        verify_notify_id=False,
        gateway_url=None,
    )


@pytest.fixture
def lines() -> Any:
    out = io.BytesIO()
    logs.configure(service="ingress", instance="test", out=out)
    return lambda: [json.loads(line) for line in out.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("ends", "told"),
    [
        pytest.param([NOW + 14 * DAY], [(14.0, 0)], id="two weeks before"),
        pytest.param([NOW + 14 * DAY + DAY / 24], [], id="not before that"),
        pytest.param([NOW + DAY, None], [(1.0, 1)], id="a successor is there"),
        pytest.param([NOW + DAY, NOW + 2 * DAY], [(1.0, 1), (2.0, 0)], id="two, one after the other"),
        pytest.param([NOW], [], id="it has ended: its notifications tell of it"),
        pytest.param([None], [], id="it has no end"),
    ],
)
def test_a_key_that_ends_soon_is_told(ends: list[datetime | None], told: list[tuple[float, int]], lines: Any) -> None:
    """With how many of the channel's keys are good after it, which says whether a person has to act."""
    expiring.KeyEnds(StoppedClock()).tell_new([channel(*ends)])

    assert [(line["days"], line["keys_left"]) for line in lines()] == told
    assert {(line["event"], line["level"], line["channel"], line["key"]) for line in lines()} <= {
        ("key.expiring", "warning", "shop-hkd", KEY.fingerprint)
    }


def test_a_key_is_told_in_the_words_of_the_settings_file(lines: Any) -> None:
    """Its fingerprint stands nowhere in it: nobody could say which of the channel's keys was meant."""
    ending = KeyInRing(KEY, None, NOW + DAY, "keys[1]", "keys/old.pem")

    expiring.KeyEnds(StoppedClock()).tell_new([replace(channel(), ring=(ending,))])

    assert [(line["channel"], line["setting"], line["file"]) for line in lines()] == [
        ("shop-hkd", "keys[1]", "keys/old.pem")
    ]


async def test_it_is_told_at_the_start(lines: Any) -> None:
    """Who starts it with an old settings file hears of it at once."""
    end = SystemClock().now() + DAY

    async with expiring.KeyEnds(SystemClock()).told_daily(lambda: [channel(end)]):
        await asyncio.sleep(0)

    assert [line["event"] for line in lines()] == ["key.expiring"]


async def test_it_is_told_daily(lines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looked away the first time."""
    monkeypatch.setattr(expiring, "_TELL_EVERY_S", 0.0)

    ending = [channel(SystemClock().now() + DAY)]

    async with expiring.KeyEnds(SystemClock()).told_daily(lambda: ending):
        while len(lines()) < 3:  # noqa: ASYNC110 - each turn of the loop is a day here
            await asyncio.sleep(0)


AFTER_RELOADS = [
    ("nothing changed", [NOW + DAY], []),
    ("the end was moved", [NOW + 2 * DAY], [2.0]),
    ("another ends soon as well", [NOW + DAY, NOW + 3 * DAY], [3.0]),
    ("it has a successor, which is the remedy", [NOW + DAY, None], []),
    ("it is gone", [None], []),
]


@pytest.mark.parametrize(("_why", "ends", "told"), AFTER_RELOADS)
def test_a_reload_tells_of_what_is_new_alone(
    _why: str, ends: list[datetime | None], told: list[float], lines: Any
) -> None:
    """A key that was told of today is no news at each SIGHUP; an old one that somebody puts in by mistake is, at once."""
    keys = expiring.KeyEnds(StoppedClock())
    keys.tell_new([channel(NOW + DAY)])
    before = len(lines())

    keys.tell_new([channel(*ends)])

    assert [line["days"] for line in lines()[before:]] == told


def test_the_metric_tells_when_the_last_key_ends() -> None:
    """Until then the channel can be believed; with a key that never ends there is nothing to watch."""
    expiring.measure([channel(NOW + DAY, NOW + 2 * DAY, name="ending"), channel(NOW, None, name="endless")])

    (family,) = [one for one in metrics.REGISTRY.collect() if one.name.endswith("_keys_end_timestamp_seconds")]
    ends = {one.labels["channel"]: one.value for one in family.samples}
    assert ends["ending"] == (NOW + 2 * DAY).timestamp()
    assert "endless" not in ends


def test_the_metric_of_a_channel_goes_when_nothing_ends_any_more() -> None:
    """Else the alarm for a key that was replaced by a reload, or whose channel is gone, would come all the same."""
    before = [channel(NOW + DAY, name="replaced"), channel(NOW + DAY, name="gone")]
    expiring.measure(before)

    expiring.measure([channel(None, name="replaced")], before)

    (family,) = [one for one in metrics.REGISTRY.collect() if one.name.endswith("_keys_end_timestamp_seconds")]
    assert {one.labels["channel"] for one in family.samples} & {"replaced", "gone"} == set()
