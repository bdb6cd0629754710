"""
An operator's word: the held payment of a trade counts (contract, section 6).

It is evidence like any other: a record of the inbox, filed under the order, in the partition of the evidence that it speaks of.
Said twice it adds nothing, for a trade is released once; and it may be read before the payment that it is about.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from notifier.errors import Reason, Unusable
from notifier.evidence import USABLE, Evidence, Kind, evidence_id
from notifier.statement import ReleaseStatement

RELEASABLE = frozenset((Reason.AMOUNT_MISMATCH, Reason.UNREGISTERED))
"""Why a payment may be held and still be counted by an operator's word. What came in another currency can't be."""

TEXT_CHARS_MAX = 500
"""Of the reason and of who gives it: the reason goes into the event, which every subscriber reads."""

_NUMBER_CHARS_MAX = 64


class Held(msgspec.Struct, frozen=True):
    """The payment that is released: the evidence's place in the inbox, and the trade that it told of."""

    partition: int
    offset: int
    trade_no: str


class Word(msgspec.Struct, frozen=True):
    """The value of an operator's record in the inbox."""

    release: Held
    reason: str
    by: str | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Word).decode


def to_evidence(word: Word, held: Evidence, received_at: datetime) -> Evidence:
    """The evidence that a word is, about held evidence: of the same channel and order, under the policy that held it."""
    body = _encode(word)
    return Evidence(
        kind=Kind.OPERATOR,
        channel=held.channel,
        protocol=held.protocol,
        received_at=received_at,
        key="",  # nothing was signed: who may write to the inbox is Kafka's to say
        verdict=USABLE,
        policy=held.policy,
        evidence_id=evidence_id(held.channel, held.protocol, body),
        order=held.order,
        body=body,
        content_type="application/json",
    )


def read_word(evidence: Evidence) -> Word:
    """
    What an operator said.

    Raises:
        Unusable: bad_field, for what is no such word.
    """
    try:
        word = _decode(evidence.body)
    except msgspec.DecodeError:
        raise Unusable(Reason.BAD_FIELD) from None
    if not 1 <= len(word.release.trade_no) <= _NUMBER_CHARS_MAX or len(word.reason) > TEXT_CHARS_MAX:
        raise Unusable(Reason.BAD_FIELD)
    return word


def statement_of(evidence: Evidence) -> ReleaseStatement:
    """
    What an operator's word states.

    Raises:
        Unusable: bad_field, for what is no such word, or names no order.
    """
    word = read_word(evidence)
    if evidence.order is None:
        raise Unusable(Reason.BAD_FIELD)
    return ReleaseStatement(evidence.order, word.release.trade_no, evidence.received_at, word.reason)
