"""`notifier quarantine`: what was set aside, why, and an operator's word, on real Kafka and Redis with the real orders job."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from notifier.cli import main
from notifier.record import Record
from tests.integration.shop import Shop, announced_only, paid

Asked = Callable[..., Any]


@pytest.fixture
def asked(shop: Shop, capsys: pytest.CaptureFixture[str]) -> Asked:
    """What a command prints as JSON."""

    def ask(*words: str) -> Any:
        assert main([*words, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return ask


def test_a_held_payment_is_seen_shown_released_and_then_counts(
    shop: Shop, asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole way of an operator; said twice before the job comes to it, the word has one effect."""
    (place,) = shop.fold(announced_only(paid("T1")))
    (listed,) = asked("quarantine", "list")
    shown = asked("quarantine", "show", place)

    said = asked("quarantine", "release", place, "--reason", "the shop has it", "--by", "alice")
    again = asked("quarantine", "release", place, "--reason", "the shop has it, really", "--by", "bob")
    waiting = asked("quarantine", "show", place)
    assert main(["quarantine", "show", place]) == 0
    unread = " ".join(capsys.readouterr().out.split())
    shop.work("orders", lambda lines: {"order.changed", "evidence.repeated"} <= {one["event"] for one in lines})

    assert (listed["id"], listed["order"], listed["reason"], listed["is_held"]) == (place, "T1", "unregistered", True)
    assert (shown["id"], shown["amount"], shown["trade_no"]) == (place, 12800, "2026112222001T1")
    assert (waiting["is_held"], waiting["released_by"], waiting["released_because"]) == (
        True,
        "alice",
        "the shop has it",
    )
    assert waiting["is_release_read"] is False
    assert 'by alice: "the shop has it" The orders job has not come to that word yet' in unread
    assert "it does not count" not in unread, "who has released it must not be told to release it"
    assert (said["inbox_partition"], said["by"]) == (listed["inbox_partition"], "alice")
    assert again["inbox_offset"] > said["inbox_offset"]
    story = asked("orders", "show", "shop-hkd", "T1", "--all")
    assert (story["order"]["status"], story["order"]["paid"], story["order"]["version"]) == ("paid", 12800, 2)
    assert (story["events"][1]["cause"], story["events"][1]["reason"]) == ("operator", "the shop has it")
    assert [(one["kind"], one["effect"], one["by"]) for one in story["evidence"]] == [
        ("notification", "made", None),
        ("operator", "made", "alice"),
        ("operator", "repeated", "bob"),
    ]
    assert asked("quarantine", "list")[0]["is_held"] is False
    assert main(["quarantine", "show", place]) == 0
    seen = " ".join(capsys.readouterr().out.split())
    assert re.search(r'Released at \S+ \S+ by alice: "the shop has it" The payment counts\.', seen)
    assert "What to do" not in seen
    assert main(["quarantine", "release", place, "--reason", "once more"]) == 1
    assert f"{place} is held no more" in capsys.readouterr().err


def other(order: str, **more: str) -> Record:
    return paid(order, **more)


@pytest.mark.parametrize(
    ("record", "reason", "why"),
    [
        (other("T1", currency="USD"), "currency_mismatch", "a currency can't be released"),
        (other("T1", seller_id="2088999999999999"), "payee_mismatch", "another's money"),
        (other("T1", total_fee="1e2"), "bad_field", "nothing is held"),
    ],
)
def test_what_cannot_be_released_says_so_and_writes_nothing(
    shop: Shop, capsys: pytest.CaptureFixture[str], record: Record, reason: str, why: str
) -> None:
    (place,) = shop.fold(record)
    capsys.readouterr()  # what Kafka's client said of topics that were made a moment ago

    assert main(["quarantine", "release", place, "--reason", "please"]) == 1

    said = capsys.readouterr()
    assert said.err.startswith(f"notifier: {place} can't be released: it was set aside as {reason}. "), why
    assert said.err.count("\n") == 1
    (partition, offset) = place.split("-")
    assert shop.receive(paid("T1")) == [f"{partition}-{int(offset) + 1}"], "nothing lies behind it"


def test_what_may_be_about_the_buyer_is_hidden(shop: Shop, asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    """Subject, body, e-mail, account, the signature, and whatever this version does not know."""
    hidden = {"seller_email": "canary%40example.com", "body": "canary-body", "sign": "canary", "new_field": "canary"}
    (place,) = shop.fold(announced_only(paid("T1", **hidden)))

    fields = asked("quarantine", "show", place)["fields"]
    assert main(["quarantine", "show", place]) == 0
    assert main(["quarantine", "list"]) == 0

    assert {name for name, value in fields.items() if value is None} == {
        *hidden,
        "buyer_email",
        "buyer_id",
        "subject",
    }
    assert (fields["total_fee"], fields["trade_status"]) == ("128.00", "TRADE_SUCCESS")
    said = capsys.readouterr().out
    assert "Nobody announced this order" in said
    assert f'notifier quarantine release {place} --reason "…"' in said
    assert "HK$128.00" in said
    assert "canary" not in said
    assert "example.com" not in said


def test_without_redis_it_says_what_is_not_known(
    shop: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (place,) = shop.fold(announced_only(paid("T1")))
    monkeypatch.setenv("NOTIFIER__REDIS__URL", "redis://127.0.0.1:1/0")

    assert main(["quarantine", "list", "--json"]) == 0

    said = capsys.readouterr()
    assert [(one["id"], one["is_held"]) for one in json.loads(said.out)] == [(place, None)]
    assert said.err.startswith("Redis does not answer")


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("show", "0-99"), 1, "nothing that was set aside lies at 0-99"),
        (("show", "99-0"), 1, "nothing that was set aside lies at 99-0"),
        (("release", "0-99", "--reason", "x"), 1, "nothing that was set aside lies at 0-99"),
        (("show", "T1"), 2, "PARTITION-OFFSET"),
        (("release", "0-99"), 2, "--reason"),
        (("release", "0-99", "--reason", " "), 2, "printable"),
        (("release", "0-99", "--reason", "a\nb"), 2, "printable"),
        (("release", "0-99", "--reason", "x" * 501), 2, "printable"),
    ],
)
@pytest.mark.usefixtures("shop")
def test_a_wrong_line_is_told(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], status: int, said: str
) -> None:
    assert main(["quarantine", *words]) == status
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.usefixtures("shop")
def test_an_empty_quarantine_is_no_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quarantine", "list"]) == 0
    assert capsys.readouterr().err == "Nothing is in quarantine.\n"
    assert main(["quarantine", "list", "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"
