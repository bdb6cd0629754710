"""Topics: where a record goes, and how each topic has to be (contract, section 6)."""

from __future__ import annotations

import pytest
from aiokafka.partitioner import murmur2 as murmur2_of_aiokafka
from hypothesis import given
from hypothesis import strategies as st

from notifier.kafka.producer import BATCH_BYTES_MAX
from notifier.topics import Topics, murmur2, partition_of, plans, record_bytes_max

DAY_MS = 24 * 60 * 60 * 1000


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        # Apache Kafka, clients/src/test/java/org/apache/kafka/common/utils/UtilsTest.java, testMurmur2 (signed there)
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_is_kafkas(key: bytes, hashed: int) -> None:
    assert murmur2(key) == hashed & 0xFFFFFFFF


@pytest.mark.parametrize(
    ("key", "partitions", "partition"),
    [
        (b"shop-hkd/T20260001", 24, 3),
        (b"shop-hkd/T20260001", 1, 0),
        (b"shop-hkd/", 24, 12),
        (b"a/b", 24, 18),
    ],
)
def test_a_key_stays_in_its_partition_for_ever(key: bytes, partitions: int, partition: int) -> None:
    """Another number here would split the history of every order that there is."""
    assert partition_of(key, partitions) == partition


@given(st.binary(max_size=80), st.integers(1, 200))
def test_the_partition_is_the_one_that_any_kafka_client_would_choose(key: bytes, partitions: int) -> None:
    assert partition_of(key, partitions) == (murmur2_of_aiokafka(key) & 0x7FFFFFFF) % partitions


COMPACTED = "compact,delete"


@pytest.mark.parametrize(
    ("topic", "cleanup", "retention_days", "lag_days"),
    [
        ("p.inbox.v1", "delete", 30, None),
        ("p.orders.v1", COMPACTED, 400, 14),
        ("p.deliveries.v1", COMPACTED, 30, 1),
        ("p.commands.v1", "delete", 30, None),
        ("p.quarantine.v1", "delete", 90, None),
    ],
)
def test_the_table_of_the_contract(topic: str, cleanup: str, retention_days: int, lag_days: int | None) -> None:
    made = {
        plan.name: plan
        for plan in plans(Topics("p"), partitions=24, replication_factor=1, kept_s=400 * 86400, body_bytes_max=65536)
    }

    plan = made[topic]

    assert plan.partitions == 24
    assert plan.settings["cleanup.policy"] == cleanup
    assert plan.settings["retention.ms"] == str(retention_days * DAY_MS)
    assert plan.settings.get("min.compaction.lag.ms") == (None if lag_days is None else str(lag_days * DAY_MS))
    assert plan.settings["message.timestamp.type"] == "LogAppendTime"
    assert plan.settings["retention.bytes"] == "-1"  # by age alone, as the table says


@pytest.mark.parametrize(
    ("replicas", "durable"),
    [
        pytest.param(1, {"flush.messages": "1"}, id="alone, an acknowledgement must mean the disk"),
        pytest.param(2, {"min.insync.replicas": "2"}, id="two"),
        pytest.param(3, {"min.insync.replicas": "2"}, id="one of three may be away"),
    ],
)
def test_an_acknowledgement_means_durable(replicas: int, durable: dict[str, str]) -> None:
    made = plans(Topics("p"), partitions=24, replication_factor=replicas, kept_s=1, body_bytes_max=65536)

    assert len(made) == 5
    for plan in made:
        assert plan.replication_factor == replicas
        chosen = {
            name: plan.settings[name] for name in ("flush.messages", "min.insync.replicas") if name in plan.settings
        }
        assert chosen == durable


@given(st.integers(1, 2**27))
def test_the_largest_body_fits_with_its_headers(body_bytes_max: int) -> None:
    for plan in plans(Topics("p"), partitions=1, replication_factor=1, kept_s=1, body_bytes_max=body_bytes_max):
        assert int(plan.settings["max.message.bytes"]) >= body_bytes_max + 65_536


@given(st.integers(1024, 1_048_576))
def test_a_topic_takes_what_a_producer_sends(body_bytes_max: int) -> None:
    """Its longest record, and a batch of short ones: what the broker refuses would be sent again for ever."""
    for plan in plans(Topics("p"), partitions=1, replication_factor=1, kept_s=1, body_bytes_max=body_bytes_max):
        assert int(plan.settings["max.message.bytes"]) >= max(record_bytes_max(body_bytes_max), BATCH_BYTES_MAX)


def test_groups_are_named_after_their_jobs() -> None:
    assert Topics("alipayhk").group("orders") == "alipayhk.orders"
