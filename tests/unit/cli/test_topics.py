"""Topics as they are beside topics as they have to be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from notifier.checks.topics import COSTS, COSTS_OF_MORE, cost, is_shortened, remedy
from notifier.kafka.admin import PARTITIONS, REPLICATION, Difference, Found, compare
from notifier.topics import TopicPlan, Topics, plans

TOPICS = Topics("t")
PLANS = plans(TOPICS, partitions=24, replication_factor=1, kept_s=86_400, body_bytes_max=65_536)
(ORDERS,) = [plan for plan in PLANS if plan.name == TOPICS.orders]
AS_PLANNED = Found(24, 1, ORDERS.settings | {"segment.bytes": "1073741824"})

CASES: dict[str, tuple[Found, tuple[Difference, ...]]] = {
    "as planned, and more that nobody asks about": (AS_PLANNED, ()),
    "fewer partitions": (replace(AS_PLANNED, partitions=12), (Difference(PARTITIONS, "12", "24"),)),
    "more replicas": (replace(AS_PLANNED, replication_factor=3), (Difference(REPLICATION, "3", "1"),)),
    "the same policy in another order": (
        replace(AS_PLANNED, settings=ORDERS.settings | {"cleanup.policy": "delete,compact"}),
        (),
    ),
    "a larger message, a longer lag": (
        replace(
            AS_PLANNED,
            settings=ORDERS.settings | {"max.message.bytes": "9000000", "min.compaction.lag.ms": "9000000000"},
        ),
        (),
    ),
    "a smaller message": (
        replace(AS_PLANNED, settings=ORDERS.settings | {"max.message.bytes": "65536"}),
        (Difference("max.message.bytes", "65536", "1048588"),),
    ),
    "bounded by its size": (
        replace(AS_PLANNED, settings=ORDERS.settings | {"retention.bytes": "1073741824"}),
        (Difference("retention.bytes", "1073741824", "-1"),),
    ),
    "never deleted": (
        replace(AS_PLANNED, settings=ORDERS.settings | {"cleanup.policy": "compact"}),
        (Difference("cleanup.policy", "compact", "compact,delete"),),
    ),
    "a setting that the broker does not tell": (
        replace(AS_PLANNED, settings={k: v for k, v in AS_PLANNED.settings.items() if k != "flush.messages"}),
        (Difference("flush.messages", "", "1"),),
    ),
}


@pytest.mark.parametrize(("found", "differences"), CASES.values(), ids=CASES.keys())
def test_what_differs_is_named_with_what_is_needed(found: Found, differences: tuple[Difference, ...]) -> None:
    compared = compare(ORDERS, found)

    assert compared.differences == differences
    assert compared.state == ("differs" if differences else "ok")


def test_what_is_not_there_is_missing() -> None:
    assert compare(ORDERS, None).state == "missing"


def _all_plans() -> list[TopicPlan]:
    return [
        plan
        for replicas in (1, 3)
        for plan in plans(TOPICS, partitions=24, replication_factor=replicas, kept_s=1, body_bytes_max=1024)
    ]


def test_every_setting_of_a_plan_has_its_cost() -> None:
    """A difference that nobody can judge would be mended by nobody."""
    assert {PARTITIONS, REPLICATION}.union(*[plan.settings for plan in _all_plans()]) == set(COSTS)
    assert set(COSTS_OF_MORE) < set(COSTS)


@pytest.mark.parametrize(
    ("difference", "costs", "is_mended_by_deleting"),
    [
        pytest.param(Difference("retention.ms", "1000", "2000"), COSTS, False, id="shorter than needed"),
        pytest.param(Difference("retention.ms", "3000", "2000"), COSTS_OF_MORE, True, id="longer"),
        pytest.param(Difference("retention.ms", "-1", "2000"), COSTS_OF_MORE, True, id="for ever"),
        pytest.param(Difference("retention.ms", "", "2000"), COSTS, False, id="not told"),
        pytest.param(Difference(REPLICATION, "1", "3"), COSTS, False, id="fewer copies"),
        pytest.param(Difference(REPLICATION, "3", "1"), COSTS_OF_MORE, False, id="more copies"),
        pytest.param(Difference("min.insync.replicas", "3", "2"), COSTS_OF_MORE, False, id="all copies in sync"),
        pytest.param(Difference("flush.messages", "9223372036854775807", "1"), COSTS, False, id="not flushed"),
    ],
)
def test_less_and_more_cost_different_things(
    difference: Difference, costs: dict[str, str], is_mended_by_deleting: bool
) -> None:
    assert cost(difference) == costs[difference.setting]
    assert is_shortened(difference) == is_mended_by_deleting


def test_a_remedy_is_a_command_where_one_mends_it_safely_and_words_where_none_does() -> None:
    one = compare(ORDERS, Found(12, 3, ORDERS.settings | {"retention.ms": "-1", "cleanup.policy": "delete"}))

    remedies = {each.setting: remedy(one, each, "k:9092") for each in one.differences}

    assert "set kafka.partitions to 12 if all topics have had that" in remedies[PARTITIONS]
    assert "set kafka.replication_factor to 3" in remedies[REPLICATION]
    assert remedies["cleanup.policy"] == (
        "`kafka-configs.sh --bootstrap-server k:9092 --alter --entity-type topics --entity-name t.orders.v1 "
        "--add-config 'cleanup.policy=[compact,delete]'`"
    )
    assert remedies["retention.ms"].endswith("'retention.ms=86400000'`; it deletes at once what is older")
