"""A topic beside its plan, in words: what each difference costs, and what mends it. Nothing is asked here."""

from __future__ import annotations

from math import inf

from notifier.kafka.admin import PARTITIONS, REPLICATION, Compared, Difference

_DAY_MS = 86_400_000

COSTS = {
    PARTITIONS: (
        "an order's partition is counted from this number: with another one its new records would lie apart from its old "
        "ones, and topics whose numbers differ do not fit together"
    ),
    REPLICATION: "fewer brokers may be lost before records are",
    "cleanup.policy": "what is still needed may be deleted, or what should go stays for ever",
    "retention.ms": "records go before everybody who needs them was sure to have read them",
    "retention.bytes": "records go early, without a word, as soon as a partition is this large",
    "min.compaction.lag.ms": "a consumer that was away does not find the steps that it has to read again",
    "message.timestamp.type": (
        "times are those of the senders' clocks: retention and compaction count from them, and a clock that is wrong "
        "deletes early or has its records refused"
    ),
    "max.message.bytes": (
        "our longest record does not fit: a large notification is refused, and AlipayHK sends it again in vain"
    ),
    "flush.messages": (
        "with one copy an acknowledgement is then only the memory of one machine: a power cut takes what was acknowledged"
    ),
    "min.insync.replicas": "what was acknowledged may lie on one broker alone, and go with it",
    "unclean.leader.election.enable": (
        "after a failure a broker may come to lead that lacks what was acknowledged: it is gone then, for all"
    ),
}
"""What a difference costs, by setting."""

COSTS_OF_MORE = {
    REPLICATION: "nothing is at risk, only more disk is used than was asked for",
    "retention.ms": "more disk; and in inbox and quarantine, the buyers' personal data for longer than is said",
    "min.insync.replicas": "fewer brokers may be away before notifications are no longer taken",
}
"""The same where the topic has more than is needed, if that is something else."""

BAD = frozenset(COSTS) - {REPLICATION, "retention.ms", "min.insync.replicas"}
"""With these the processes work wrongly or lose records; the others are judged by what durability they amount to, or can wait."""


def cost(difference: Difference) -> str:
    """What it costs, or puts at risk."""
    costs = COSTS_OF_MORE if _length(difference.has) > _length(difference.needs) else COSTS
    return costs.get(difference.setting, COSTS[difference.setting])


def remedy(one: Compared, difference: Difference, servers: str) -> str:
    """What mends it: words where no command of ours or Kafka's does it safely, else the command."""
    match difference.setting:
        case "partitions":
            return (
                f"A topic keeps its number, for keys would move: set kafka.partitions to {difference.has} if all topics have had "
                "that from their beginning. If they were given more since, leave it: keys stay where they are. If they differ "
                "among themselves, give kafka.topic_prefix a name for new ones."
            )
        case "replication_factor":
            return (
                f"kafka-reassign-partitions.sh changes it; or set kafka.replication_factor to {difference.has}, "
                "what the topic has."
            )
        case _:
            caution = "; it deletes at once what is older" if is_shortened(difference) else ""
            return f"`{alter(one.plan.name, [difference], servers)}`{caution}"


def is_altered(difference: Difference) -> bool:
    """Whether it is a setting that can be changed while the topic is in use."""
    return difference.setting not in (PARTITIONS, REPLICATION)


def alter(topic: str, differences: list[Difference], servers: str) -> str:
    """The command that gives a topic what it needs."""
    wanted = ",".join(f"{each.setting}={_quoted(each.needs)}" for each in differences)
    return (
        f"kafka-configs.sh --bootstrap-server {servers} --alter --entity-type topics --entity-name {topic} "
        f"--add-config '{wanted}'"
    )


def shown(setting: str, value: str) -> str:
    """A value for people: `34560000000` is `34560000000 (400 d)`."""
    if not setting.endswith(".ms"):
        return value
    number = _number(value)
    if number == -1:
        return f"{value} (for ever)"
    return value if number is None or number < _DAY_MS else f"{value} ({number / _DAY_MS:g} d)"


def is_shortened(difference: Difference) -> bool:
    """Whether mending it makes a retention shorter, which deletes at once: who types the command has to know it."""
    return difference.setting == "retention.ms" and _length(difference.has) > _length(difference.needs)


def _length(value: str) -> float:
    """A number, of which -1 is without end; what is none has no length."""
    number = _number(value)
    return 0.0 if number is None else inf if number == -1 else number


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _quoted(value: str) -> str:
    return f"[{value}]" if "," in value else value  # how kafka-configs takes a list
