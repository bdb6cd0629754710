"""What a piece of evidence states, whoever it is from."""

from __future__ import annotations

from notifier import release
from notifier.alipayhk import mapi
from notifier.errors import Reason, Unusable
from notifier.evidence import Evidence, Kind
from notifier.statement import Statement


def statement_of(evidence: Evidence) -> Statement:
    """
    What usable evidence out of the inbox states.

    Raises:
        Unusable: with the reason; not_handled for evidence of kinds that come with later versions.
    """
    match evidence.kind:
        case Kind.NOTIFICATION:
            return mapi.statement_of(evidence)
        case Kind.OPERATOR:
            return release.statement_of(evidence)
        case _:
            raise Unusable(Reason.NOT_HANDLED)
