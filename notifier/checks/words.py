"""Why something does not answer, in words."""

from __future__ import annotations

_FOR_PEOPLE = {
    "KafkaConnectionError": "no connection was made",
    "KafkaTimeoutError": "nothing came in time",
    "kafka_timeout": "nothing came in time",
    "TimeoutError": "nothing came in time",
    "NodeNotReadyError": "no broker was ready, or what it advertises as its address leads nowhere from here",
    "ConnectionError": "no connection was made",
    "AuthenticationError": "it does not take our password",
    "NoPermissionError": "this user may not ask",
}
"""The clients' names for what happens every day; a rarer one stands as it is, so that it can be searched for."""


def in_words(why: str) -> str:
    """`no connection was made` for `KafkaConnectionError`."""
    return _FOR_PEOPLE.get(why, why)


def is_refusal(why: str) -> bool:
    """Whether it did answer: it knows us, or does not, and lets us not."""
    return any(word in why for word in ("Authorization", "Authentication", "NoPermission"))
