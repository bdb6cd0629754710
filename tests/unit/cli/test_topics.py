"""Topics as they are beside topics as they have to be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from notifier.cli.topics import COSTS
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
