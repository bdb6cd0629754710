"""What `notifier simulate` sends: believed where it is genuine, refused where it is forged."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from notifier import config
from notifier.alipayhk import mapi
from notifier.channel import Channel
from notifier.cli.keys import new_pair, private_path
from notifier.cli.options import CommandFailed
from notifier.cli.simulate import Answer
from notifier.cli.simulated import FORGERIES, Forgery, Payment, Signer, Status, forge, major_units
from notifier.config import Settings
from notifier.errors import Rejected
from notifier.statement import TradeStatus

Notifier = Callable[..., int]
NOW = datetime(2026, 11, 24, 10, 15, 5, tzinfo=UTC)
FORM = "application/x-www-form-urlencoded"
MD5_KEY = "6fcdh3k2j5l7m9n1p4q8r0s2t6v8w1x3"


def only(settings: Settings) -> tuple[Channel, Signer]:
    """The one channel, and who signs for it."""
    (channel,) = settings.channels
    return channel, Signer.of(channel, settings.channel_settings[0], NOW)


def with_md5(shop: Path) -> Settings:
    """The same channel, signed by a shared secret."""
    (shop / "md5").write_text(MD5_KEY)
    text = (shop / "notifier.toml").read_text()
    text = text.replace('sign_types = ["RSA2"]', 'sign_types = ["MD5"]\nmd5_key_file = "md5"').replace(
        "\nkeys =", "\n# keys ="
    )
    (shop / "notifier.toml").write_text(text)
    return config.load(shop / "notifier.toml", {})


@pytest.fixture(params=["RSA2", "MD5"])
def signed_by(request: pytest.FixtureRequest, shop: Path) -> Settings:
    return with_md5(shop) if request.param == "MD5" else config.load(shop / "notifier.toml", {})


@pytest.mark.parametrize(
    ("status", "means"),
    [
        (Status.WAIT_BUYER_PAY, TradeStatus.WAITING),
        (Status.TRADE_SUCCESS, TradeStatus.PAID),
        (Status.TRADE_FINISHED, TradeStatus.FINAL),
        (Status.TRADE_CLOSED, TradeStatus.CLOSED),
    ],
)
def test_a_genuine_one_is_believed_and_says_what_was_asked(
    status: Status, means: TradeStatus, signed_by: Settings
) -> None:
    channel, signer = only(signed_by)
    fields = Payment(channel, "T1", 12800, status).fields(NOW, NOW + timedelta(seconds=2))

    verified = channel.verify(signer.sign(fields), FORM, NOW, None)

    assert verified.evidence.verdict == "usable"
    said = mapi.statement_of(verified.evidence)
    assert (said.order, said.status, said.amount_text, said.currency_text) == ("T1", means, "128.00", "HKD")
    assert said.made_at == NOW + timedelta(seconds=2)
    assert said.paid_at == (NOW if means in (TradeStatus.PAID, TradeStatus.FINAL) else None)


def test_the_same_line_again_is_a_resend(settings: Settings) -> None:
    """The same trade, under the same notification number; only the time of sending is new."""
    channel, _ = only(settings)
    payment = Payment(channel, "T1", 12800, Status.TRADE_SUCCESS)

    first, again = payment.fields(NOW, NOW), payment.fields(NOW, NOW + timedelta(seconds=1))

    assert {name for name in first if first[name] != again[name]} == {"notify_time"}
    assert len(first["trade_no"]) == 28
    assert first["trade_no"].isdecimal()


def test_another_order_is_another_trade_and_another_status_another_notification(settings: Settings) -> None:
    channel, _ = only(settings)
    paid = Payment(channel, "T1", 12800, Status.TRADE_SUCCESS).fields(NOW, NOW)
    other = Payment(channel, "T2", 12800, Status.TRADE_SUCCESS).fields(NOW, NOW)
    finished = Payment(channel, "T1", 12800, Status.TRADE_FINISHED).fields(NOW, NOW)

    assert paid["trade_no"] != other["trade_no"]
    assert paid["trade_no"] == finished["trade_no"]
    assert len({paid["notify_id"], other["notify_id"], finished["notify_id"]}) == 3


@pytest.mark.parametrize("kind", Forgery)
def test_each_forgery_is_refused(kind: Forgery, signed_by: Settings) -> None:
    channel, signer = only(signed_by)
    fields = Payment(channel, "T1", 12800, Status.TRADE_SUCCESS).fields(NOW, NOW)

    with pytest.raises(Rejected) as refused:
        channel.verify(forge(kind, fields, signer), FORM, NOW, None)

    expected = {
        Forgery.UNSIGNED: "sign_missing",
        Forgery.SIGN_TYPE: "sign_type",
        Forgery.DOUBLED: "malformed",
    }
    assert refused.value.reason == expected.get(kind, "signature")


@pytest.mark.parametrize("amount", [1, 2, 12800], ids=["the least", "the next", "any"])
def test_a_forged_amount_is_never_the_signed_one(amount: int, settings: Settings) -> None:
    channel, signer = only(settings)
    fields = Payment(channel, "T1", amount, Status.TRADE_SUCCESS).fields(NOW, NOW)

    with pytest.raises(Rejected):
        channel.verify(forge(Forgery.AMOUNT, fields, signer), FORM, NOW, None)


def test_each_forgery_is_explained() -> None:
    assert set(FORGERIES) == set(Forgery)


@pytest.mark.parametrize(
    ("amount", "currency", "written"),
    [(12800, "HKD", "128.00"), (1, "HKD", "0.01"), (500, "JPY", "500"), (1500, "KWD", "1.500")],
    ids=["as usual", "the least", "no decimals", "three decimals"],
)
def test_an_amount_is_written_as_alipayhk_does(amount: int, currency: str, written: str) -> None:
    assert major_units(amount, currency) == written


class TestNoKeyToSignWith:
    """Each time the message says which file, and what to do."""

    def test_the_private_half_is_missing(self, shop: Path, settings: Settings) -> None:
        (shop / "keys/shop-hkd-test.private.pem").unlink()

        with pytest.raises(CommandFailed, match=r"shop-hkd-test\.private\.pem is not there.*`notifier init`"):
            only(settings)

    def test_it_is_another_key_s_half(self, shop: Path, settings: Settings) -> None:
        private, _ = new_pair()
        (shop / "keys/shop-hkd-test.private.pem").write_bytes(private)

        with pytest.raises(CommandFailed, match="is not the private half of a key of the channel that is active now"):
            only(settings)

    def test_it_is_none_at_all(self, shop: Path, settings: Settings) -> None:
        (shop / "keys/shop-hkd-test.private.pem").write_text("-----BEGIN PRIVATE KEY-----")

        with pytest.raises(CommandFailed, match="holds no private key in PEM"):
            only(settings)

    def test_the_key_has_expired(self, shop: Path) -> None:
        text = (shop / "notifier.toml").read_text()
        entry = '[{file = "keys/shop-hkd-test.pem", not_after = 2026-11-01}]'
        (shop / "notifier.toml").write_text(text.replace('["keys/shop-hkd-test.pem"]', entry))

        with pytest.raises(CommandFailed, match="active now"):
            only(config.load(shop / "notifier.toml", {}))


def test_the_private_half_lies_beside_the_public_one() -> None:
    assert private_path(Path("keys/a.pem")) == Path("keys/a.private.pem")
    assert private_path(Path("keys/alipayhk")) == Path("keys/alipayhk.private.pem")


WRONG = {
    "an unknown channel": (("shop-hk", "T1", "1.00"), "Did you mean shop-hkd?"),
    "an order number with a blank": (("shop-hkd", "T 1", "1.00"), "an order number is 1 to 64"),
    "an order number that is reserved": (("shop-hkd", "~T1", "1.00"), "an order number is 1 to 64"),
    "too many decimals": (("shop-hkd", "T1", "1.001"), "more decimals than the currency has"),
    "nothing": (("shop-hkd", "T1", "0"), "is no amount in HKD"),
    "a word": (("shop-hkd", "T1", "much"), "is no amount in HKD"),
}


@pytest.mark.parametrize("command", ["pay", "forge"])
@pytest.mark.parametrize(("words", "said"), WRONG.values(), ids=WRONG.keys())
@pytest.mark.usefixtures("shop")
def test_a_wrong_argument_is_told_before_anything_is_sent(
    command: str, words: tuple[str, ...], said: str, notifier: Notifier, capsys: pytest.CaptureFixture[str]
) -> None:
    assert notifier("simulate", command, *words) == 2
    assert said in " ".join(capsys.readouterr().err.replace("│", " ").split())


@pytest.mark.usefixtures("shop")
def test_without_an_ingress_it_says_what_to_start(
    notifier: Notifier, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFIER__INGRESS__PUBLIC", "127.0.0.1:1")  # no program of ours may listen there

    assert notifier("simulate", "pay", "shop-hkd", "T1", "1.00") == 1
    assert (
        "does not answer at 127.0.0.1:1 (connection refused). Start it with `notifier run`" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("status", "body", "is_success"),
    [(200, "success", True), (200, "success\n", False), (200, "fail", False), (503, "success", False)],
    ids=["the promise", "with a line end", "a refusal", "another status"],
)
def test_only_the_very_answer_is_success(status: int, body: str, is_success: bool) -> None:
    assert Answer("shop-hkd", "T1", None, status, body, 1.0).is_success is is_success
