"""
What can go wrong, named by who has to act.

`Rejected` is the sender's to mend, `Unusable` goes to quarantine for a person, `Unavailable` mends itself with time. Any other
exception is a bug of ours: out of the pure code about one record it puts that record into quarantine, out of an adapter it ends
the process before anything is committed.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why genuine evidence is set aside (contract, section 6). The values are what readers of the quarantine topic see."""

    AMBIGUOUS = "ambiguous"
    UNDECODABLE = "undecodable"
    BAD_FIELD = "bad_field"
    UNKNOWN_TYPE = "unknown_type"
    UNKNOWN_STATUS = "unknown_status"
    NOT_HANDLED = "not_handled"
    REQUEST_TIME = "request_time"
    PAYEE_MISMATCH = "payee_mismatch"
    AMOUNT_MISMATCH = "amount_mismatch"
    CURRENCY_MISMATCH = "currency_mismatch"
    UNREGISTERED = "unregistered"
    TOO_MANY_FACTS = "too_many_facts"
    INTERNAL_ERROR = "internal_error"


class Rejected(Exception):
    """The sender's message is not taken: answered 4xx, nothing is stored. `reason` is one of the contract's, section 8."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason


class Unusable(Exception):
    """Genuine evidence that cannot be applied: it is kept, acknowledged, and set aside with its reason."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class NewerStateError(Exception):
    """A record was written by a later release whose state this one cannot read: leave its partition alone, uncommitted."""


class Unavailable(Exception):
    """Something outside of us does not answer in time; the work is tried again. `what` names it: kafka, redis, alipayhk."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}")
        self.what = what
        self.why = why
