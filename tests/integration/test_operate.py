"""`notifier endpoints` and `notifier deliveries`, on real Kafka and Redis, with the real jobs beside them."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from notifier.cli import main
from notifier.deliveries import delivery
from notifier.deliveries.delivery import DeliveryRecord, Lane, Outcome
from notifier.topics import partition_of
from notifier.webhooks import Secret, verify
from tests.integration.shop import PARTITIONS, SECRET, WITHIN_S, Shop, paid
from tests.owners import notification

Said = Callable[..., str]


@dataclass
class Merchant:
    """Verifies each webhook, and answers as it is told to."""

    status: int = 204
    told: list[tuple[str, bytes]] = field(default_factory=list)
    """Ids and bodies, as they came."""

    def __call__(self, headers: Mapping[str, str], body: bytes) -> int:
        verify([Secret.parse(SECRET)], headers, body, int(headers["webhook-timestamp"]))
        self.told.append((headers["webhook-id"], body))
        return self.status

    @property
    def orders(self) -> list[str]:
        return [json.loads(body)["data"]["order"] for _, body in self.told]


def until(holds: Callable[[], bool]) -> None:
    """Return when something holds that another process or thread does."""
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


@contextmanager
def fanout(shop: Shop, merchant: Merchant) -> Iterator[None]:
    """The real job beside the commands, as long as the block runs."""
    ended, at_work = threading.Event(), threading.Event()

    def is_over(lines: list[dict[str, Any]]) -> bool:
        if any(line["event"] == "partitions.assigned" for line in lines):
            at_work.set()
        return ended.is_set()

    options: dict[str, Any] = {"answers": merchant, "within_s": 4 * WITHIN_S}
    job = threading.Thread(target=shop.work, args=("fanout", is_over), kwargs=options)
    job.start()
    try:
        # a word that is given before the job is a member of its group finds nobody at work
        assert at_work.wait(WITHIN_S), "it was given no partitions"
        yield
    finally:
        ended.set()
        job.join(WITHIN_S)


def with_delivery(shop: Shop, **settings: float) -> Shop:
    """The same shop, whose fan-out has other settings."""
    return replace(shop, settings=replace(shop.settings, delivery=shop.settings.delivery.model_copy(update=settings)))


@pytest.fixture
def say(shop: Shop, capsys: pytest.CaptureFixture[str]) -> Said:
    """A command as a person calls it; all that it said."""

    def saying(*words: str, status: int = 0) -> str:
        assert main(words) == status
        said = capsys.readouterr()
        return said.out + said.err

    return saying


@pytest.fixture
def ask(say: Said) -> Callable[..., Any]:
    """What a command says in JSON."""
    return lambda *words: json.loads(say(*words, "--json").splitlines()[0])


def give_up(shop: Shop, merchant: Merchant, *orders: str) -> None:
    """Let these be paid, and be dead letters at once."""
    merchant.status = 500
    shop.fold(*map(paid, orders))
    hasty = with_delivery(shop, give_up_after_s=0.0)
    hasty.work(
        "fanout",
        lambda lines: sum(one["event"] == "delivery.exhausted" for one in lines) == len(orders),
        answers=merchant,
    )
    merchant.status = 204


def test_a_dead_letter_is_told_again_under_the_same_id_with_the_same_bytes_and_once(
    shop: Shop, say: Said, ask: Callable[..., Any]
) -> None:
    """However often it is asked for, before fan-out comes to it and after."""
    merchant = Merchant()
    give_up(shop, merchant, "T1", "T2")
    (dead, other) = ask("deliveries", "list", "--state", "dead")
    assert (dead["status_code"], {dead["order"], other["order"]}) == (500, {"T1", "T2"})
    first = dict(merchant.told)

    assert "2 would be told again; nothing was asked for" in say("deliveries", "redrive", "--dry-run")
    assert "asked for 2: no fan-out is at work" in say("deliveries", "redrive")
    assert "Nothing is to be told again" in say("deliveries", "redrive")
    merchant.told.clear()
    with fanout(shop, merchant):
        until(lambda: len(ask("deliveries", "list", "--state", "accepted")) == 2)
        assert "Nothing is to be told again" in say("deliveries", "redrive")

    assert sorted(merchant.told) == sorted(first.items())


def test_a_redrive_that_is_interrupted_says_how_far_it_came_and_is_repeated_safely(shop: Shop, say: Said) -> None:
    # one a second is asked for: more than can be while this waits for the first of them
    merchant, orders = Merchant(), [f"T{number}" for number in range(10, 10 + round(1.5 * WITHIN_S))]
    give_up(shop, merchant, *orders)
    merchant.told.clear()

    command = [sys.executable, "-m", "notifier", "deliveries", "redrive", "--rate", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as redrive:
        until(lambda: commands_in(say) >= 1)
        redrive.send_signal(signal.SIGINT)
        _, said = redrive.communicate(timeout=WITHIN_S)

    assert redrive.returncode == 130
    assert f"of {len(orders)} were asked for and will be told. Repeat it: that is safe" in said
    say("deliveries", "redrive")
    with fanout(shop, merchant):
        until(lambda: len(merchant.told) >= len(orders))
        say("deliveries", "list")
    assert sorted(merchant.orders) == orders, "each once"


def commands_in(say: Said) -> int:
    """How many deliveries were asked for that fan-out has not come to."""
    rows = json.loads(say("deliveries", "redrive", "--dry-run", "--json").splitlines()[0])
    return sum(int(row["waiting"]) for row in rows)


def test_what_was_accepted_is_told_again_when_it_is_asked_for(shop: Shop, say: Said, ask: Callable[..., Any]) -> None:
    """A merchant has lost its database. Each endpoint, event or time has to be named: nobody tells everything by mistake."""
    merchant = Merchant()
    shop.fold(paid("T1"))
    with fanout(shop, merchant):
        until(lambda: len(ask("deliveries", "list", "--state", "accepted")) == 1)

        assert "say what with --endpoint" in say("deliveries", "redrive", "--accepted", status=2)
        assert "asked for 1" in say("deliveries", "redrive", "--accepted", "--endpoint", "shop-oms")
        until(lambda: len(merchant.told) == 2)

    assert merchant.told[0] == merchant.told[1]


def test_of_a_quiet_lane_each_event_is_told_again_though_the_topic_has_only_its_last_delivery(
    shop: Shop, ask: Callable[..., Any]
) -> None:
    """Compaction leaves a lane's last record, which says up to which version all is done; merchants act on `order.paid`."""
    shop.fold(notification("T1", "WAIT_BUYER_PAY"), paid("T1"), notification("T1", "TRADE_FINISHED"))
    told = DeliveryRecord(
        event_id="evt_3",
        endpoint="shop-oms",
        channel="shop-hkd",
        order="T1",
        version=3,
        event_partition=0,
        event_offset=2,
        attempt=1,
        outcome=Outcome.ACCEPTED,
        status_code=204,
        duration_ms=1.0,
        error=None,
        next_attempt_at=None,
        lane=Lane(settled=3, known=3),
    )
    shop.append(shop.topics.deliveries, partition_of(b"shop-hkd/T1", PARTITIONS), delivery.to_record(told))

    (one,) = ask("deliveries", "redrive", "--accepted", "--endpoint", "shop-oms", "--dry-run")

    assert one["accepted"] == 3


def test_who_is_suspended_is_sent_nothing_and_hears_all_of_it_when_it_is_resumed(
    shop: Shop, say: Said, ask: Callable[..., Any]
) -> None:
    merchant = Merchant()
    with fanout(shop, merchant):
        said = say("endpoints", "suspend", "shop-oms", "--reason", "they move house", "--by", "li")
        assert "shop-oms is suspended: nothing is sent to it" in said
        shop.fold(paid("T1"))
        until(lambda: len(ask("deliveries", "list", "--state", "suspended")) == 1)
        (one,) = ask("endpoints", "list")
        assert (one["state"], one["reason"], one["waiting"], one["next_attempt_at"]) == (
            "suspended",
            "operator",
            1,
            None,
        )
        assert 'by li ("they move house")' in one["told"]
        assert merchant.told == []
        assert "shop-oms is suspended: it is told when" in say(
            "deliveries", "redrive", "--dry-run", "--event", one_id(ask)
        )

        assert "shop-oms is active" in say("endpoints", "resume", "shop-oms")
        until(lambda: merchant.orders == ["T1"])

    assert ask("endpoints", "list")[0]["state"] == "active"


def one_id(ask: Callable[..., Any]) -> str:
    (one,) = ask("deliveries", "list")
    return str(one["event_id"])


def test_a_word_without_fan_out_is_obeyed_as_soon_as_it_runs(shop: Shop, say: Said, ask: Callable[..., Any]) -> None:
    merchant = Merchant()
    shop.fold(paid("T1"))

    assert "no fan-out is at work now" in say("endpoints", "suspend", "shop-oms", "--by", "li")
    (before,) = ask("endpoints", "list")
    seen = say("endpoints", "list")
    with fanout(shop, merchant):
        until(lambda: ask("endpoints", "list")[0]["partitions_suspended"] == 3)

    assert (before["state"], before["asked"]) == ("active", "suspend")
    assert "shop-oms was asked to be suspended at" in seen, "it was to be seen nowhere until it was obeyed"
    assert "by li, and fan-out has not come to that everywhere yet" in seen
    (after,) = ask("endpoints", "list")
    assert (after["reason"], after["asked"]) == ("operator", None)
    assert "was asked" not in say("endpoints", "list")


def test_what_waits_for_one_that_fails_is_not_said_to_be_next(shop: Shop, say: Said, ask: Callable[..., Any]) -> None:
    """`next now` stood there for a minute: an endpoint that only fails is called one by one, whatever is due."""
    merchant = Merchant(status=500)
    shop.fold(paid("T1"))
    with fanout(with_delivery(shop, first_retry_s=0.05), merchant):
        until(lambda: ask("endpoints", "list")[0]["failures_in_a_row"] >= 8)

    endpoints, deliveries = say("endpoints", "list"), " ".join(say("deliveries", "list").split())
    assert "one by one" in endpoints
    assert (
        "times in a row: it is called one at a time, when something is due and with pauses of up to 60 s, until it accepts"
        in endpoints
    )
    assert "its endpoint fails, and is called one by one" in deliveries
    assert "next" not in deliveries.partition("T1")[2]


def test_who_answers_410_is_left_alone_until_it_is_resumed(shop: Shop, say: Said, ask: Callable[..., Any]) -> None:
    merchant = Merchant(status=410)
    shop.fold(paid("T1"))
    with fanout(with_delivery(shop, first_retry_s=0.05), merchant):
        until(lambda: ask("endpoints", "list")[0]["reason"] == "gone")
        shop.fold(paid("T2"))
        until(lambda: len(ask("deliveries", "list", "--state", "suspended")) == 2)
        assert merchant.orders == ["T1"]

        merchant.status = 204
        say("endpoints", "resume", "shop-oms")
        until(lambda: sorted(merchant.orders) == ["T1", "T1", "T2"])


def test_a_ping_is_signed_as_a_webhook_is_and_its_answer_is_told(
    shop: Shop, say: Said, ask: Callable[..., Any]
) -> None:
    merchant = Merchant()
    assert "did not accept" in say("endpoints", "ping", "shop-oms", status=1)
    with fanout(shop, merchant):
        said = ask("endpoints", "ping", "shop-oms")
        merchant.status = 500
        assert "it answered 500" in say("endpoints", "ping", "shop-oms", status=1)

    assert (said["accepted"], said["status_code"], said["webhook_id"]) == (True, 204, merchant.told[0][0])
    assert json.loads(merchant.told[0][1])["type"] == "ping"


def test_a_ping_never_reaches_a_forbidden_address(shop: Shop, say: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the same rules as every webhook: a name is judged when connecting."""
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.setblocking(False)
        settings = (shop.folder / "notifier.toml").read_text().replace('allow_networks = ["127.0.0.0/8"]', "")
        url = f"http://localhost:{trap.getsockname()[1]}/"
        (shop.folder / "notifier.toml").write_text(settings.replace(f"http://127.0.0.1:{shop.port}/", url))

        assert "an address that is not to be called" in say("endpoints", "ping", "shop-oms", status=1)

        with pytest.raises(BlockingIOError):
            trap.accept()


@pytest.mark.parametrize("words", [("endpoints", "suspend"), ("endpoints", "resume"), ("endpoints", "ping")])
def test_an_endpoint_that_nobody_knows_is_told_with_those_that_there_are(say: Said, words: tuple[str, ...]) -> None:
    assert "Did you mean shop-oms?" in say(*words, "shop-om", status=2)
    assert "Known here: shop-oms" in say(*words, "nobody", status=2)
