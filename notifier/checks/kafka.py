"""Kafka as it was found: its version, what durability it gives, the topics, the groups. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from notifier.checks.finding import Finding, fault, ok, warning
from notifier.checks.topics import BAD, cost, is_altered, remedy, shown
from notifier.kafka.admin import Cluster, Compared, Found, Group
from notifier.kafka.newest import Bounds

_FETCH, _PRODUCE = 1, 0
_Versions = tuple[int, int]
# What tells releases apart: which versions of these two requests a broker takes (kafka.apache.org/protocol, KIP-896, KIP-903,
# KIP-951, KIP-853, KIP-516). The protocol has no request that tells the release itself.
_SIGNS: tuple[tuple[str, Callable[[_Versions, _Versions], bool]], ...] = (
    ("4.1 or later", lambda fetch, produce: produce[1] >= 13),
    ("4.0", lambda fetch, produce: fetch[0] >= 4),
    ("3.9", lambda fetch, produce: fetch[1] >= 17),
    ("3.7 or 3.8", lambda fetch, produce: fetch[1] >= 16),
    ("3.5 or 3.6", lambda fetch, produce: fetch[1] >= 15),
)


def release_of(cluster: Cluster) -> str:
    """Kafka's release, as far as it can be told."""
    fetch, produce = cluster.requests.get(_FETCH, (0, 0)), cluster.requests.get(_PRODUCE, (0, 0))
    return next((name for name, is_it in _SIGNS if is_it(fetch, produce)), "3.4 or earlier")


def judge_cluster(cluster: Cluster, servers: str, replication_factor: int) -> Finding:
    """Whether the cluster can be what the settings ask for."""
    brokers = "1 broker" if cluster.brokers == 1 else f"{cluster.brokers} brokers"
    told = f"Kafka {release_of(cluster)} at {servers}, {brokers}"
    if cluster.brokers < replication_factor:
        return warning(
            "kafka.brokers",
            f"{told}: fewer than kafka.replication_factor = {replication_factor}, so one is away, or no topic can be made",
            "Start the others. Only if there are to be no more: set kafka.replication_factor to what there is.",
        )
    return ok("kafka.brokers", told)


def judge_durability(inbox: Found, *, one_is_meant: bool) -> Finding:
    """
    In words, what `success` means here: the inbox is what must not be lost.

    Args:
        one_is_meant: the settings ask for one copy, and Kafka is on this machine's loopback address: a laptop.
    """
    name, copies = "kafka.durability", inbox.replication_factor
    in_sync = int(inbox.settings.get("min.insync.replicas", "1"))
    if copies == 1:
        return _one_copy(name, inbox, one_is_meant=one_is_meant)
    kept, spare = in_sync - 1, copies - in_sync
    promise = f"{copies} copies, acknowledged by at least {in_sync} (min.insync.replicas)"
    if kept < 1:
        return fault(
            name,
            f"{promise}: what was acknowledged may lie on one broker alone, in its memory, and go with it",
            "Set min.insync.replicas to 2; `notifier topics` shows the command.",
        )
    if inbox.settings.get("unclean.leader.election.enable") == "true":
        return fault(
            name,
            f"{promise}, but a broker that lacks what was acknowledged may come to lead, and it is gone",
            "Set unclean.leader.election.enable to false; `notifier topics` shows the command.",
        )
    survived = f"{promise}: {_brokers(kept)} may be lost for good and nothing that was acknowledged is"
    if spare < 1:
        return warning(
            name,
            f"{survived}, but while any broker is away no notification is taken",
            "Have one copy more than min.insync.replicas: 3 and 2.",
        )
    return ok(name, f"{survived}; notifications are taken while {_brokers(spare)} may be away")


def _one_copy(name: str, inbox: Found, *, one_is_meant: bool) -> Finding:
    if inbox.settings.get("flush.messages") != "1":
        return fault(
            name,
            "one copy, not flushed: acknowledged is what one machine has in memory, and a power cut takes it",
            "Set flush.messages to 1 (`notifier topics` shows the command), or have three copies.",
        )
    told = "one copy, flushed before it is acknowledged: a crash loses nothing, a disk that dies loses what it held"
    if one_is_meant:
        return ok(name, f"{told}; right for a laptop")
    return warning(
        name,
        f"{told}, and AlipayHK does not send that again",
        "In production: three brokers, kafka.replication_factor = 3, min.insync.replicas 2.",
    )


def _brokers(count: int) -> str:
    return "1 broker" if count == 1 else f"{count} brokers"


def judge_topics(compared: Sequence[Compared], servers: str) -> list[Finding]:
    """A line for each topic that is as it has to be, else one for each thing that it is not."""
    return [finding for one in compared for finding in _judge_topic(one, servers)]


def _judge_topic(one: Compared, servers: str) -> Iterator[Finding]:
    name = f"topics.{one.plan.name}"
    if one.found is None:
        yield fault(name, "is not there, or this user may not see it", "`notifier topics --apply` creates it.")
        return
    if one.found.leaderless:
        yield fault(
            name,
            f"{one.found.leaderless} of {one.found.partitions} partitions have no leader: nothing is read or written there",
            "Bring the brokers back that hold them.",
        )
    if one.found.short:
        yield fault(
            name,
            f"{one.found.short} of {one.found.partitions} partitions have fewer copies in sync than min.insync.replicas: "
            "nothing is acknowledged there, so notifications are answered 503",
            "Bring the brokers back that hold the others.",
        )
    elif one.found.lagging:
        yield warning(
            name,
            f"{one.found.lagging} of {one.found.partitions} partitions have copies that are behind",
            "Look at the brokers: one is away, or too slow.",
        )
    for each in one.differences:
        judged = fault if each.setting in BAD else warning
        has, needs = shown(each.setting, each.has) or "nothing", shown(each.setting, each.needs)
        mended = (
            "`notifier topics` shows the command that mends it." if is_altered(each) else remedy(one, each, servers)
        )
        yield judged(f"{name}.{each.setting}", f"is {has}, needed is {needs}: {cost(each)}", mended)
    if not (one.found.leaderless or one.found.short or one.found.lagging or one.differences):
        copies = "1 copy" if one.found.replication_factor == 1 else f"{one.found.replication_factor} copies"
        yield ok(name, f"{one.found.partitions} partitions, {copies}, as needed")


def judge_group(name: str, job: str, group: Group, bounds: Bounds) -> Finding:
    """
    Whether somebody does the job, and how much waits. One look can't tell whether it moves: `job.progress` does.

    Args:
        bounds: where the partitions that the job reads begin and end.
    """
    place = f"groups.{name}"
    lag = sum(max(end - group.commits.get(where, start), 0) for where, (start, end) in bounds.items())
    waits = "nothing waits" if lag == 0 else "1 record waits" if lag == 1 else f"{lag} records wait"
    start = f"Start `notifier consume {job}` (`notifier run` does)."
    if group.members:
        members = "1 member" if group.members == 1 else f"{group.members} members"
        changing = "" if group.state == "Stable" else ", sharing the work out anew just now"
        return ok(place, f"{members}{changing}, {waits}")
    if not group.commits:
        told = "no process of this job has run, or none for a week"
        return ok(place, f"{told}, and nothing waits") if lag == 0 else warning(place, f"{told}, and {waits}", start)
    told = "no process of this job is at work"
    later = f"{start} One that runs already joins once Kafka and Redis answer it: see its log."
    return ok(place, f"{told}, and nothing waits") if lag == 0 else warning(place, f"{told}, and {waits}", later)
