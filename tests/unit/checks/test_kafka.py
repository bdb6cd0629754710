"""Kafka as it was found, in words that a person can decide by."""

from __future__ import annotations

from dataclasses import replace

import pytest

from notifier.checks.finding import State
from notifier.checks.kafka import judge_cluster, judge_durability, judge_group, judge_topics, release_of
from notifier.kafka.admin import Cluster, Found, Group, compare
from notifier.topics import Topics, plans

ONE = Found(24, 1, {"min.insync.replicas": "1", "flush.messages": "1"})
THREE = Found(24, 3, {"min.insync.replicas": "2", "unclean.leader.election.enable": "false"})


@pytest.mark.parametrize(
    ("inbox", "one_is_meant", "state", "words"),
    [
        pytest.param(ONE, False, "warning", "a disk that dies loses what it held", id="one broker"),
        pytest.param(ONE, True, "ok", "right for a laptop", id="this machine's own"),
        pytest.param(
            replace(ONE, settings={"flush.messages": "9223372036854775807"}),
            True,
            "fault",
            "power cut",
            id="not flushed",
        ),
        pytest.param(THREE, False, "ok", "1 broker may be lost for good", id="three, two in sync"),
        pytest.param(
            replace(THREE, settings={"min.insync.replicas": "1"}),
            False,
            "fault",
            "on one broker alone",
            id="three, one in sync",
        ),
        pytest.param(
            replace(THREE, settings={"min.insync.replicas": "3"}),
            False,
            "warning",
            "while any broker is away no notification is taken",
            id="three, three in sync",
        ),
        pytest.param(
            replace(THREE, settings={"min.insync.replicas": "2", "unclean.leader.election.enable": "true"}),
            False,
            "fault",
            "may come to lead",
            id="unclean leaders",
        ),
        pytest.param(
            replace(THREE, replication_factor=5, settings={"min.insync.replicas": "3"}),
            False,
            "ok",
            "2 brokers may be lost for good and nothing that was acknowledged is; notifications are taken while 2 brokers",
            id="five, three in sync",
        ),
    ],
)
def test_what_success_is_worth_is_said_in_words(inbox: Found, one_is_meant: bool, state: State, words: str) -> None:
    found = judge_durability(inbox, one_is_meant=one_is_meant)

    assert found.state == state
    assert words in found.message
    assert bool(found.remedy) == (state != "ok")


@pytest.mark.parametrize(
    ("fetch", "produce", "release"),
    [
        ((4, 18), (0, 13), "4.1 or later"),
        ((4, 17), (0, 12), "4.0"),
        ((0, 17), (0, 11), "3.9"),
        ((0, 16), (0, 10), "3.7 or 3.8"),
        ((0, 11), (0, 8), "3.4 or earlier"),
    ],
)
def test_a_release_is_told_by_what_it_understands(
    fetch: tuple[int, int], produce: tuple[int, int], release: str
) -> None:
    assert release_of(Cluster(1, {0: produce, 1: fetch})) == release


def test_fewer_brokers_than_copies_is_a_warning() -> None:
    """While one of three is away, notifications are taken: what the topics can do is said with the topics."""
    assert judge_cluster(Cluster(2, {}), "k:9092", 3).state == "warning"
    assert judge_cluster(Cluster(3, {}), "k:9092", 3).state == "ok"


TOPICS = Topics("t")
(INBOX, *_) = plans(TOPICS, partitions=24, replication_factor=1, kept_s=86_400, body_bytes_max=65_536)
AS_PLANNED = Found(24, 1, INBOX.settings)


@pytest.mark.parametrize(
    ("found", "lines"),
    [
        pytest.param(AS_PLANNED, [("topics.t.inbox.v1", "ok")], id="as planned"),
        pytest.param(None, [("topics.t.inbox.v1", "fault")], id="not there"),
        pytest.param(
            replace(AS_PLANNED, leaderless=1), [("topics.t.inbox.v1", "fault")], id="a partition without a leader"
        ),
        pytest.param(replace(AS_PLANNED, lagging=1), [("topics.t.inbox.v1", "warning")], id="a copy that is behind"),
        pytest.param(
            replace(AS_PLANNED, lagging=2, short=1),
            [("topics.t.inbox.v1", "fault")],
            id="too few copies to acknowledge",
        ),
        pytest.param(
            replace(AS_PLANNED, partitions=12),
            [("topics.t.inbox.v1.partitions", "fault")],
            id="another number of partitions",
        ),
        pytest.param(
            replace(AS_PLANNED, replication_factor=3),
            [("topics.t.inbox.v1.replication_factor", "warning")],
            id="more copies",
        ),
        pytest.param(
            replace(AS_PLANNED, settings=INBOX.settings | {"retention.ms": "-1", "max.message.bytes": "1000"}),
            [("topics.t.inbox.v1.retention.ms", "warning"), ("topics.t.inbox.v1.max.message.bytes", "fault")],
            id="one that can wait and one that cannot",
        ),
    ],
)
def test_a_topic_is_one_line_or_one_for_each_thing_that_it_is_not(
    found: Found | None, lines: list[tuple[str, State]]
) -> None:
    told = judge_topics([compare(INBOX, found)], "k:9092")

    assert [(one.name, one.state) for one in told] == lines
    assert all(bool(one.remedy) == (one.state != "ok") for one in told)


BOUNDS = {("t.inbox.v1", 0): (10, 15), ("t.inbox.v1", 1): (0, 0)}
DONE = {("t.inbox.v1", 0): 15}


@pytest.mark.parametrize(
    ("group", "state", "words"),
    [
        pytest.param(Group("Stable", 2, DONE), "ok", "2 members, nothing waits", id="at work"),
        pytest.param(
            Group("Stable", 1, {("t.inbox.v1", 0): 12}), "ok", "1 member, 3 records wait", id="with some to do"
        ),
        pytest.param(
            Group("PreparingRebalance", 2, DONE), "ok", "sharing the work out", id="while it is shared out anew"
        ),
        pytest.param(Group("Empty", 0, DONE), "ok", "nothing waits", id="stopped, all done"),
        pytest.param(
            Group("Empty", 0, {("t.inbox.v1", 0): 14}), "warning", "1 record waits", id="stopped, and one waits"
        ),
        pytest.param(Group("Dead", 0, {}), "warning", "5 records wait", id="never there: from the log's start"),
    ],
)
def test_a_group_is_told_by_who_works_and_what_waits(group: Group, state: State, words: str) -> None:
    found = judge_group("t.orders", "orders", group, BOUNDS)

    assert (found.name, found.state) == ("groups.t.orders", state)
    assert words in found.message
