"""What came of attempts, in words."""

from __future__ import annotations

from consumers.client import Answer, Fault
from consumers.telling.measures import in_words

_OURS = {
    "too_many_waiting": "too much waited for it already",
    "endpoint_failing": "it had its time while its endpoint only failed",
}


def why_failed(error: str | None, status_code: int | None) -> str:
    """Why a delivery was not accepted, from its record; nothing where there was no attempt."""
    if error in _OURS:
        return _OURS[error]
    if error in set(Fault):
        return in_words(Answer(status_code, Fault(error), 0.0)) or ""
    if error is not None:
        return error  # a later release's
    return f"it answered {status_code}" if status_code is not None else ""
