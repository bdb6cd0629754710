"""What AlipayHK would send, and what a forger would: the messages of `notifier simulate`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from enum import StrEnum
from urllib.parse import parse_qsl, urlencode

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from notifier.alipayhk.compose import compose
from notifier.alipayhk.keys import Md5Key, RsaKey, SignType
from notifier.channel import Channel
from notifier.cli.keys import new_key, private_path, read_private
from notifier.cli.options import CommandFailed
from notifier.money import decimals
from notifier.settings.channels import ChannelSettings
from notifier.settings.types import read_secret

_GMT_8 = timezone(timedelta(hours=8))
_OTHER_MD5_KEY = Md5Key.parse("0123456789abcdefghijklmnopqrstuv")
_PREFERRED: tuple[SignType, ...] = ("RSA2", "RSA", "MD5")


class Status(StrEnum):
    """What AlipayHK calls the states of a trade."""

    WAIT_BUYER_PAY = "WAIT_BUYER_PAY"
    TRADE_SUCCESS = "TRADE_SUCCESS"
    TRADE_FINISHED = "TRADE_FINISHED"
    TRADE_CLOSED = "TRADE_CLOSED"


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs a channel's messages in AlipayHK's place."""

    sign_type: SignType
    key: RSAPrivateKey | Md5Key = field(repr=False)

    @classmethod
    def of(cls, channel: Channel, written: ChannelSettings, now: datetime) -> Signer:
        """
        The channel's own, by the first sign type of RSA2, RSA and MD5 for which there is a key.

        Raises:
            CommandFailed: there is none that the ingress would believe now; the message says what to do.
        """
        faults: list[str] = []
        for sign_type in _PREFERRED:
            if sign_type not in channel.sign_types:
                continue
            if sign_type == "MD5":
                assert written.md5_key_file is not None, "the settings see to it"
                return cls(sign_type, Md5Key.parse(read_secret(written.md5_key_file)))
            for entry in written.keys:
                path = private_path(entry.file)
                try:
                    key = read_private(path)
                except FileNotFoundError:
                    faults.append(f"{path} is not there")
                except ValueError as fault:
                    faults.append(str(fault))
                else:
                    public = RsaKey.of(key.public_key())
                    if public.serves(sign_type) and public in channel.active_keys(now):
                        return cls(sign_type, key)
                    faults.append(f"{path} is not the private half of a key of the channel that is active now")
        raise CommandFailed(
            f"cannot sign for channel {channel.name}: {'; '.join(dict.fromkeys(faults))}. "
            "The private half of a test key lies beside the public one, X.private.pem beside X.pem; `notifier init` in another "
            "folder makes such a pair. (AlipayHK's own key has no private half outside of AlipayHK.)"
        )

    def sign(self, fields: Mapping[str, str]) -> bytes:
        """The body of a signed notification."""
        return compose(fields, self.sign_type, self.key)


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment as the command line names it. `amount` is in minor units of the channel's currency."""

    channel: Channel
    order: str
    amount: int
    status: Status

    def fields(self, first_at: datetime, sent_at: datetime) -> dict[str, str]:
        """
        The fields that AlipayHK sends about it.

        All numbers follow from channel, order and, for the notification's own, from what it says: the same payment again is a
        resend, which AlipayHK sends under the same notify_id with a new notify_time.

        Args:
            first_at: when the trade came to this state.
            sent_at: when this message is sent.
        """
        policy = self.channel.policy
        told = {
            "notify_id": self._number("notify", self.status, str(self.amount), alphabet="hex"),
            "notify_type": "trade_status_sync",
            "notify_time": _time(sent_at),
            "out_trade_no": self.order,
            "trade_no": self._number("trade"),
            "trade_status": self.status.value,
            "total_fee": major_units(self.amount, policy.currency),
            "currency": policy.currency,
            "payment_type": "1",
            "subject": "Simulated order",
            "seller_id": policy.seller_id or policy.partner_id,
            "gmt_create": _time(first_at),
        }
        match self.status:
            case Status.TRADE_SUCCESS | Status.TRADE_FINISHED:
                told["gmt_payment"] = _time(first_at)
            case Status.TRADE_CLOSED:
                told["gmt_close"] = _time(first_at)
            case Status.WAIT_BUYER_PAY:
                pass
        return told

    def _number(self, *what: str, alphabet: str = "digits") -> str:
        named = "\0".join((self.channel.name, self.order, *what)).encode()
        digest = hashlib.sha256(named).hexdigest()
        # 28 digits that begin as a year does, and 34 characters: the lengths that AlipayHK's numbers have
        return digest[:34] if alphabet == "hex" else f"20{int(digest, 16) % 10**26:026}"


def major_units(amount: int, currency: str) -> str:
    """`128.00` for 12800 minor units of HKD, as AlipayHK writes it."""
    places = decimals(currency)
    whole, fraction = divmod(amount, 10**places)
    return f"{whole}.{fraction:0{places}}" if places else str(whole)


def _time(at: datetime) -> str:
    return at.astimezone(_GMT_8).strftime("%Y-%m-%d %H:%M:%S")


class Forgery(StrEnum):
    """Ways to make a false message. Each has to be refused."""

    AMOUNT = "amount"
    ORDER = "order"
    STATUS = "status"
    SIGNATURE = "signature"
    UNSIGNED = "unsigned"
    KEY = "key"
    SIGN_TYPE = "sign-type"
    DOUBLED = "doubled"


FORGERIES: Mapping[Forgery, str] = {
    Forgery.AMOUNT: "signed for another amount, then changed",
    Forgery.ORDER: "signed for another order, then changed",
    Forgery.STATUS: "signed while unpaid, then changed to paid",
    Forgery.SIGNATURE: "one character of the signature changed",
    Forgery.UNSIGNED: "no signature",
    Forgery.KEY: "signed with a stranger's key",
    Forgery.SIGN_TYPE: "signed by another algorithm than the channel allows",
    Forgery.DOUBLED: "a second amount beside the signed one",
}


def forge(kind: Forgery, fields: Mapping[str, str], signer: Signer) -> bytes:
    """The body of a message that claims these fields, and is not AlipayHK's."""

    def claimed(**genuine: str) -> bytes:
        """Have other fields signed, then put the claim in their place."""
        sent = dict(parse_qsl(signer.sign({**fields, **genuine}).decode(), keep_blank_values=True))
        return urlencode(sent | {name: fields[name] for name in genuine}).encode()

    match kind:
        case Forgery.AMOUNT:
            return claimed(total_fee="0.01" if fields["total_fee"] != "0.01" else "0.02")
        case Forgery.ORDER:
            return claimed(out_trade_no=f"{fields['out_trade_no'][:62]}-1")
        case Forgery.STATUS:
            genuine = Status.WAIT_BUYER_PAY
            return claimed(trade_status=genuine if fields["trade_status"] != genuine else Status.TRADE_CLOSED)
        case Forgery.SIGNATURE:
            return _changed(signer.sign(fields), lambda sent: sent | {"sign": _one_changed(sent["sign"])})
        case Forgery.UNSIGNED:
            return _changed(signer.sign(fields), lambda sent: {name: sent[name] for name in sent if name != "sign"})
        case Forgery.KEY:
            return Signer(signer.sign_type, _OTHER_MD5_KEY if signer.sign_type == "MD5" else new_key()).sign(fields)
        case Forgery.SIGN_TYPE:
            # With what everybody has: a key that a program may have made up, or the public key taken for a secret.
            return (
                Signer("RSA", new_key()).sign(fields)
                if signer.sign_type == "MD5"
                else Signer("MD5", _OTHER_MD5_KEY).sign(fields)
            )
        case Forgery.DOUBLED:
            return signer.sign(fields) + urlencode({"": "", "total_fee": fields["total_fee"]}).encode()[1:]


def _changed(body: bytes, change: Callable[[dict[str, str]], Mapping[str, str]]) -> bytes:
    return urlencode(change(dict(parse_qsl(body.decode(), keep_blank_values=True)))).encode()


def _one_changed(signature: str) -> str:
    middle = len(signature) // 2
    return f"{signature[:middle]}{'a' if signature[middle] != 'a' else 'b'}{signature[middle + 1 :]}"
