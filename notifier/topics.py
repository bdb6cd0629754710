"""The topics: their names, their keys' partition, and their settings, in one place (contract, section 6)."""

from __future__ import annotations

from dataclasses import dataclass

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Topics:
    """The names of this installation's topics and groups."""

    prefix: str

    @property
    def inbox(self) -> str:
        """Evidence as it arrived."""
        return f"{self.prefix}.inbox.v1"

    @property
    def orders(self) -> str:
        """One record per event, with the order's whole new state."""
        return f"{self.prefix}.orders.v1"

    @property
    def deliveries(self) -> str:
        """One record per attempt that matters, with the lane's whole new state."""
        return f"{self.prefix}.deliveries.v1"

    @property
    def commands(self) -> str:
        """An operator's word to fan-out."""
        return f"{self.prefix}.commands.v1"

    @property
    def quarantine(self) -> str:
        """Genuine evidence that is not usable."""
        return f"{self.prefix}.quarantine.v1"

    def group(self, job: str) -> str:
        """The consumer group of a job: `orders`, `fanout`."""
        return f"{self.prefix}.{job}"


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """How a topic has to be."""

    name: str
    partitions: int
    replication_factor: int
    settings: dict[str, str]


RECORD_BYTES_DEFAULT = 1_048_588
"""What Kafka takes where nothing is said (`message.max.bytes`): a topic of ours takes no less."""


def record_bytes_max(body_bytes_max: int) -> int:
    """
    The longest record that a process of ours appends, in bytes: twice the largest body, for its headers and for what the
    fold adds, and 64 KiB for what does not grow with the body (at most 256 facts an order).
    """
    return 2 * body_bytes_max + 65_536


def plans(
    topics: Topics, *, partitions: int, replication_factor: int, kept_s: int, body_bytes_max: int
) -> list[TopicPlan]:
    """
    What each topic has to be.

    All have the same number of partitions, because what follows from an inbox record has its partition number everywhere.
    With one replica an acknowledgement would only mean the page cache, so each message is flushed; with three, two must have it,
    and none that lacks acknowledged records may come to lead. Nothing goes because a log has grown large, only by its age.

    Args:
        kept_s: how long the orders topic keeps an order that no longer changes, in seconds.
        body_bytes_max: the largest body the ingress takes; a record is that plus its headers.
    """
    compacted = "compact,delete"
    own: list[tuple[str, dict[str, str]]] = [
        (topics.inbox, {"cleanup.policy": "delete", "retention.ms": str(30 * DAY_MS)}),
        (
            topics.orders,
            {
                "cleanup.policy": compacted,
                "retention.ms": str(kept_s * 1000),
                "min.compaction.lag.ms": str(14 * DAY_MS),
            },
        ),
        (
            topics.deliveries,
            {"cleanup.policy": compacted, "retention.ms": str(30 * DAY_MS), "min.compaction.lag.ms": str(DAY_MS)},
        ),
        (topics.commands, {"cleanup.policy": "delete", "retention.ms": str(30 * DAY_MS)}),
        (topics.quarantine, {"cleanup.policy": "delete", "retention.ms": str(90 * DAY_MS)}),
    ]
    common = {
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(max(RECORD_BYTES_DEFAULT, record_bytes_max(body_bytes_max))),
        "retention.bytes": "-1",
    }
    if replication_factor == 1:
        common["flush.messages"] = "1"
    else:
        common["min.insync.replicas"] = str(min(2, replication_factor))
        common["unclean.leader.election.enable"] = "false"
    return [TopicPlan(name, partitions, replication_factor, settings | common) for name, settings in own]


def spread_over(has: int, said: int) -> int:
    """
    Over how many partitions keys are spread, where a topic has so many and the settings say `said`: fixed once and for all.

    A topic that was given more keeps its keys where they are. Anywhere else an order would begin anew, and be paid once more.
    """
    return min(has, said)


def partition_of(key: bytes, partitions: int) -> int:
    """
    The partition of an inbox record: Kafka's default for its key, `(murmur2(key) & 0x7fffffff) % partitions`.

    Written for speed: it runs once per notification at the door and nowhere after.
    """
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """Kafka's murmur2 (org.apache.kafka.common.utils.Utils.murmur2), as an unsigned 32-bit number."""
    length = len(data)
    h = 0x9747B28C ^ length
    whole = length & ~3
    for k in memoryview(data[:whole]).cast("I") if whole else ():
        k = (k * 0x5BD1E995) & 0xFFFFFFFF  # noqa: PLW2901 - the algorithm's own variable
        h = ((h * 0x5BD1E995) & 0xFFFFFFFF) ^ (((k ^ (k >> 24)) * 0x5BD1E995) & 0xFFFFFFFF)
    if length & 3:
        h ^= int.from_bytes(data[whole:], "little")
        h = (h * 0x5BD1E995) & 0xFFFFFFFF
    h ^= h >> 13
    h = (h * 0x5BD1E995) & 0xFFFFFFFF
    return h ^ (h >> 15)
