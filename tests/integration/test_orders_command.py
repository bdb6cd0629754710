"""`notifier orders`: was it paid, who was told, and why not; on what the real jobs have left in Kafka."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from notifier.cli import main
from notifier.local import Services
from tests.integration.shop import Shop, announced_only, open_shop, paid
from tests.owners import notification

Asked = Callable[..., Any]


@pytest.fixture(scope="module")
def told(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """
    What has happened: T1 was paid, told twice, and its merchant was told; T2 came in another currency; T3 is another payee's;
    T4 was announced by nobody; [/T6] has a number of its own; T5 was paid and finished, and its merchant answered 500; nobody
    has read T9 yet.
    """
    prefix = f"t{secrets.token_hex(6)}"
    shop = open_shop(services, tmp_path_factory.mktemp("shop"), prefix, prefix)
    shop.fold(
        notification("T1", "WAIT_BUYER_PAY"),
        paid("T1"),
        paid("T1", made_at="20:04:00"),
        notification("T2", currency="USD"),
        notification("T3", seller_id="2088999999999999"),
        announced_only(paid("T4")),
        notification("[/T6]", "WAIT_BUYER_PAY", trade_no="T6"),
    )
    shop.work("fanout", lambda lines: sum(one["event"] == "delivery.attempted" for one in lines) == 5, answers=204)
    shop.fold(paid("T5"), paid("T5", trade_status="TRADE_FINISHED", made_at="20:01:00"))
    shop.work("fanout", lambda lines: any(one["event"] == "delivery.attempted" for one in lines), answers=500)
    # what the commands say comes from Kafka alone
    redis = Redis.from_url(shop.settings.redis.url)
    redis.delete(*redis.scan_iter(match=f"{prefix}:*"))
    redis.close()
    shop.receive(paid("T9"))
    return shop


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal in which no cell folds."""
    monkeypatch.setenv("COLUMNS", "160")


@pytest.fixture
def asked(told: Shop, capsys: pytest.CaptureFixture[str]) -> Asked:
    """What a command prints as JSON."""

    def ask(*words: str) -> Any:
        assert main([*words, "--json", "--config", str(told.folder / "notifier.toml")]) == 0
        return json.loads(capsys.readouterr().out)

    return ask


def say(told: Shop, *words: str) -> int:
    """A command as a person calls it; its exit status."""
    return main(["--config", str(told.folder / "notifier.toml"), *words])


def test_an_order_s_story_is_one_document(asked: Asked) -> None:
    """Contract, section 2: was it paid, by what evidence, who was told."""
    story = asked("orders", "show", "shop-hkd", "T1")

    assert set(story) == {"order", "events", "evidence", "deliveries"}
    assert (story["order"]["status"], story["order"]["paid"], story["order"]["version"]) == ("paid", 12800, 2)
    assert [(one["version"], one["type"]) for one in story["events"]] == [(1, "order.pending"), (2, "order.paid")]
    assert [(one["version"], one["told"], one["amount"], one["effect"]) for one in story["evidence"]] == [
        (1, "waiting", 12800, "made"),
        (2, "paid", 12800, "made"),
    ]
    assert [(one["endpoint"], one["version"], one["state"], one["status_code"]) for one in story["deliveries"]] == [
        ("shop-oms", 1, "accepted", 204),
        ("shop-oms", 2, "accepted", 204),
    ]
    assert {one["event_id"] for one in story["deliveries"]} == {one["id"] for one in story["events"]}


def test_each_list_in_it_is_of_flat_objects(asked: Asked) -> None:
    story = asked("orders", "show", "shop-hkd", "T1")

    for rows in (story["events"], story["evidence"], story["deliveries"], asked("orders", "list")):
        assert rows
        assert not any(isinstance(value, dict) for row in rows for value in row.values())


def test_with_all_a_resend_is_shown_too(asked: Asked) -> None:
    story = asked("orders", "show", "shop-hkd", "T1", "--all")

    assert [one["effect"] for one in story["evidence"]] == ["made", "made", "repeated"]


def test_what_waits_says_since_when_and_what_was_answered(asked: Asked) -> None:
    """Why was my system not told: the first failed, the second comes behind it."""
    first, second = asked("orders", "show", "shop-hkd", "T5")["deliveries"]

    assert (first["state"], first["attempt"], first["status_code"], first["behind"]) == ("waiting", 1, 500, None)
    assert first["since"] < first["next_attempt_at"]
    assert (second["version"], second["state"], second["behind"]) == (2, "waiting", 1)


def test_what_was_held_is_shown_with_its_reason(asked: Asked) -> None:
    story = asked("orders", "show", "shop-hkd", "T4")

    (evidence,) = story["evidence"]
    assert (evidence["effect"], evidence["version"], evidence["reason"]) == ("made", 1, "unregistered")
    assert (story["order"]["status"], story["order"]["payments"][0]["held"]) == ("pending", "unregistered")


def test_a_person_reads_it_in_words(told: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert say(told, "orders", "show", "shop-hkd", "T5") == 0

    said = capsys.readouterr().out
    assert "shop-hkd/T5  paid  HK$128.00  version 2, final" in said
    assert "HK$128.00 at " in said
    assert "waits since" in said
    assert "behind v1" in said


@pytest.mark.parametrize(
    ("order", "words", "why"),
    [
        ("T8", ("nothing usable was told about order T8", "notifier orders list"), "nobody knows it"),
        ("T3", ("payee_mismatch", "`notifier quarantine show "), "what was told was set aside"),
        ("T9", ("the orders job has not come to it", "`notifier consume orders`"), "it lies in the inbox"),
    ],
)
def test_an_unknown_order_says_what_to_do(
    told: Shop, capsys: pytest.CaptureFixture[str], order: str, words: tuple[str, ...], why: str
) -> None:
    assert say(told, "orders", "show", "shop-hkd", order) == 1

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    for word in words:
        assert word in said.err, why


def test_a_channel_that_is_mistyped_is_named(told: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert say(told, "orders", "show", "shop-hk", "T1") == 1
    assert "Did you mean shop-hkd?" in capsys.readouterr().err


def test_the_list_has_each_order_once_as_it_stands(asked: Asked) -> None:
    rows = asked("orders", "list")

    assert {row["order"]: (row["version"], row["status"], row["paid"]) for row in rows} == {
        "T1": (2, "paid", 12800),
        "T2": (1, "pending", 0),
        "T4": (1, "pending", 0),
        "T5": (2, "paid", 12800),
        "[/T6]": (1, "pending", 0),
    }
    assert rows[0]["order"] == "T5", "the one that changed last is the first"


@pytest.mark.parametrize(
    ("options", "orders", "why"),
    [
        (("--flagged",), {"T2", "T4"}, "those with a contradiction"),
        (("--limit", "1"), {"T5"}, "the one that changed last"),
        (("--channel", "shop-hkd", "--flagged"), {"T2", "T4"}, "both"),
    ],
)
def test_the_list_has_what_was_asked_for(asked: Asked, options: tuple[str, ...], orders: set[str], why: str) -> None:
    assert {row["order"] for row in asked("orders", "list", *options)} == orders, why


def test_a_name_that_another_one_begins_with_is_not_that_one(told: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert say(told, "orders", "list", "--channel", "shop") == 2
    assert "no channel 'shop'. Did you mean shop-hkd?" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("show", "shop-hkd", "[/T6]"), ("list",)])
def test_a_number_in_brackets_is_shown_as_it_is(
    told: Shop, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    """They are markup to the library that draws the tables, and once ended the command."""
    assert say(told, "orders", *words) == 0
    assert "shop-hkd/[/T6]" in capsys.readouterr().out


def test_the_list_says_when_there_is_more(told: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert say(told, "orders", "list", "--limit", "2") == 0

    said = capsys.readouterr()
    assert said.err == "5 orders; these 2 changed last. `--limit` shows more.\n"
    assert "HK$128.00" in said.out


@pytest.mark.parametrize("words", [("show", "shop-hkd", "T1", "--all"), ("show", "shop-hkd", "T4"), ("list",)])
def test_nothing_of_the_buyer_is_shown(told: Shop, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    for options in ((), ("--json",)):
        assert say(told, "orders", *words, *options) == 0

    said = capsys.readouterr()
    assert "HK$128.00" in said.out
    for canary in ("buyer", "canary", "example.com"):
        assert canary not in said.out + said.err


def test_without_its_topics_it_says_how_to_get_them(
    services: Services,
    topic_prefix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOTIFIER__KAFKA__BOOTSTRAP_SERVERS", services.addresses.bootstrap_servers)
    monkeypatch.setenv("NOTIFIER__KAFKA__TOPIC_PREFIX", topic_prefix)

    assert main(["orders", "list"]) == 1
    assert "`notifier topics --apply` makes them" in capsys.readouterr().err
