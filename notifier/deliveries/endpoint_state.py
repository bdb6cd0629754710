"""
What fan-out remembers of an endpoint in one partition of the deliveries topic (contract, section 6): where it begins, and
whether it is left alone.

States do not grow, they alternate, so they cannot be joined: each has a round, and the higher one holds. A round is the offset of
the last command that was obeyed and a count of what happened by itself since, so that a command that is read again does nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from math import inf

import msgspec

from notifier.record import Record
from notifier.versioned import reader

STATE_VERSION = 1
PAUSES_MAX = 32


class State(StrEnum):
    """Is it told what happens?"""

    ACTIVE = "active"
    SUSPENDED = "suspended"


class Why(StrEnum):
    """Why it is in its state."""

    FIRST_MET = "first_met"
    FAILING = "failing"
    """It has failed for long; it is probed, and served as soon as it accepts."""
    ACCEPTED = "accepted"
    """It accepted a probe."""
    GONE = "gone"
    """It answered 410: it is left alone until an operator resumes it."""
    OPERATOR = "operator"


class Round(msgspec.Struct, frozen=True, array_like=True, order=True):
    """The offset of the last command that was obeyed (-1: none), and how many changes came by themselves since."""

    command: int = -1
    count: int = 0


class Pause(msgspec.Struct, frozen=True, array_like=True, order=True):
    """A time in which the endpoint was left alone, so that no delivery's time ran."""

    begin: datetime
    end: datetime


class EndpointState(msgspec.Struct, frozen=True):
    """
    An endpoint in one partition.

    `start`: the offset in the orders topic from which it is told. `behind`: what lies from this offset on is still read for it
    beside the others, up to where they are; None: it goes with them.
    """

    endpoint: str
    state: State
    round: Round
    reason: Why
    start: int
    at: datetime
    pauses: tuple[Pause, ...] = ()
    """The last times in which no delivery's time ran, the one that goes on not included."""
    behind: int | None = None
    state_version: int = STATE_VERSION

    @property
    def is_left_alone(self) -> bool:
        """Nothing is sent, not even a probe, until an operator resumes it."""
        return self.state is State.SUSPENDED and self.reason in (Why.GONE, Why.OPERATOR)

    def waited(self, since: datetime, now: datetime) -> timedelta:
        """How much of the time since then counts against a delivery: what passed while it was left alone does not."""
        pauses = self.pauses
        if self.is_left_alone:
            pauses = (*pauses, Pause(self.at, now))
        still = sum((max(min(pause.end, now) - max(pause.begin, since), timedelta()) for pause in pauses), timedelta())
        return now - since - still


def first_met(endpoint: str, *, start: int, at: datetime, behind: int | None = None) -> EndpointState:
    """An endpoint that was never seen before."""
    return EndpointState(endpoint, State.ACTIVE, Round(), Why.FIRST_MET, start, at, behind=behind)


def read_for_it(before: EndpointState, upto: int | None) -> EndpointState:
    """The endpoint after what lies below an offset was written down for it; None: it has caught up with the others."""
    if before.behind is None or (upto is not None and upto <= before.behind):
        return before
    return msgspec.structs.replace(before, behind=upto)


def change(
    before: EndpointState, state: State, reason: Why, *, at: datetime, command: int | None = None
) -> EndpointState:
    """
    The endpoint after a change: by a command, or by itself.

    Unchanged where a command was obeyed before, and where something by itself meets an endpoint that is left alone already, or
    comes from before the operator's word.
    """
    if command is None:
        is_known = before.state is state and not (reason is Why.GONE and before.reason is Why.FAILING)
        is_stale = before.reason is Why.OPERATOR and at < before.at  # a 410 that was heard before the operator's word
        if is_known or is_stale or before.is_left_alone:
            return before
        round_ = Round(before.round.command, before.round.count + 1)
    elif command <= before.round.command:
        return before
    else:
        round_ = Round(command)
    pauses = before.pauses
    if before.is_left_alone:
        pauses = (*pauses, Pause(before.at, at))[-PAUSES_MAX:]
    return msgspec.structs.replace(before, state=state, round=round_, reason=reason, at=at, pauses=pauses)


def join(one: EndpointState, other: EndpointState) -> EndpointState:
    """The one of the higher round; of two owners that came to the same round, the later one, and who has read further."""
    return max(one, other, key=_rank)


def _rank(state: EndpointState) -> tuple[Round, datetime, bool, int, float, tuple[Pause, ...]]:
    read_upto = inf if state.behind is None else state.behind
    return state.round, state.at, state.is_left_alone, state.start, read_upto, state.pauses


_encode = msgspec.json.Encoder().encode
_read = reader(EndpointState, STATE_VERSION)


def to_record(state: EndpointState) -> Record:
    """The deliveries record, under the endpoint's name."""
    return Record(state.endpoint.encode(), _encode(state), (("content-type", b"application/json"),))


def from_record(record: Record) -> EndpointState:
    """
    Read such a record.

    Raises:
        NewerStateError: a later release wrote it.
        msgspec.DecodeError: it is none of ours.
    """
    return _read(record)


def merge(known: Record, new: Record) -> Record:
    """Rule 1 of the view protocol, for endpoints."""
    before, after = from_record(known), from_record(new)
    return new if join(before, after) == after else known
