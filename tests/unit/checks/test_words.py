"""Why something does not answer."""

from __future__ import annotations

import pytest

from notifier.checks.words import in_words, is_refusal


@pytest.mark.parametrize(
    ("why", "is_one"),
    [
        ("TopicAuthorizationFailedError", True),
        ("GroupAuthorizationFailedError", True),
        ("ClusterAuthorizationFailedError", True),
        ("SaslAuthenticationFailedError", True),
        ("NoPermissionError", True),
        ("KafkaConnectionError", False),
        ("TimeoutError", False),
    ],
)
def test_a_refusal_is_no_silence(why: str, is_one: bool) -> None:
    """Who starts a Kafka that runs already looks in the wrong place."""
    assert is_refusal(why) == is_one


def test_what_happens_every_day_is_said_in_words_and_what_is_rare_can_be_searched_for() -> None:
    assert in_words("TimeoutError") == "nothing came in time"
    assert in_words("InvalidTopicError") == "InvalidTopicError"
