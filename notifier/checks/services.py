"""Looking at Kafka and Redis. What they answer is judged in the files beside; nothing is written to either."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from urllib.parse import urlsplit

from notifier.addresses import literal
from notifier.channel import Channel
from notifier.checks.clocks import judge_broker, judge_offset
from notifier.checks.finding import Finding, fault
from notifier.checks.kafka import judge_cluster, judge_durability, judge_group, judge_topics
from notifier.checks.redis import judge_redis
from notifier.checks.vectors import judge_newest
from notifier.checks.words import in_words, is_refusal
from notifier.clock import Clock
from notifier.config import Settings
from notifier.errors import Unavailable
from notifier.evidence import Evidence, Kind, from_record
from notifier.kafka.access import Access
from notifier.kafka.admin import Admin
from notifier.kafka.newest import Bounds, Newest
from notifier.record import Stored
from notifier.topics import Topics, plans
from notifier.views import UNTRUSTED, RedisViews

ANSWER_S_MAX = 4.0
"""How long one answer may take. Who waits is a person."""

LOOKED_BACK = 100
"""How many of the newest records of each of the inbox's partitions are read."""


class KafkaLook:
    """
    One look at Kafka.

    Args:
        unproven: channels whose keys no file proves: for these, having no notification in the inbox is worth a line.
        proven: the other ones; test keys prove nothing and are in neither.
    """

    def __init__(
        self, settings: Settings, clock: Clock, *, unproven: Sequence[Channel], proven: Sequence[Channel]
    ) -> None:
        self._kafka = settings.kafka
        self._topics = Topics(settings.kafka.topic_prefix)
        self._clock = clock
        self._unproven, self._proven = unproven, proven
        self._plans = plans(
            self._topics,
            partitions=settings.kafka.partitions,
            replication_factor=settings.kafka.replication_factor,
            kept_s=settings.orders.kept_s,
            body_bytes_max=settings.ingress.body_bytes_max,
        )

    async def findings(self) -> AsyncIterator[Finding]:
        """What there is to say, as it is found."""
        servers = self._kafka.bootstrap_servers
        try:
            access = Access.to(self._kafka, "notifier-check")
        except ssl.SSLError as error:
            why = error.reason or "no reason given"
            yield fault(
                "kafka.tls", f"the certificate and key can't be used: {why}", "Mend kafka.cert_file, key_file, ca_file."
            )
            return
        try:
            async with Admin.at_work(access, answer_s_max=ANSWER_S_MAX) as admin:
                yield judge_cluster(await admin.cluster(), servers, self._kafka.replication_factor)
                compared = await admin.compare(self._plans)
                for finding in judge_topics(compared, servers):
                    yield finding
                found = {one.plan.name: one.found for one in compared if one.found is not None}
                inbox = found.get(self._topics.inbox)
                if inbox is not None:
                    is_meant = self._kafka.replication_factor == 1 and _is_local(servers)
                    yield judge_durability(inbox, one_is_meant=is_meant)
                async for finding in self._of_logs(
                    admin, access, {name: one.partitions for name, one in found.items()}
                ):
                    yield finding
        except Unavailable as error:
            yield self._silent(error.why)

    def _silent(self, why: str) -> Finding:
        servers = self._kafka.bootstrap_servers
        unseen = "what is not listed here of topics, groups and stored notifications was not looked at"
        if is_refusal(why):
            return fault(
                "kafka.access",
                f"Kafka at {servers} does not let this user ask ({why}); {unseen}",
                "Let it describe and read the topics and groups of kafka.topic_prefix, and describe the cluster.",
            )
        return fault(
            "kafka.answers",
            f"Kafka does not answer at {servers}: {in_words(why)}; {unseen}",
            "Start it (on a laptop: `notifier local up`), or set kafka.bootstrap_servers to where it is, and "
            "kafka.security_protocol, user and password to what it takes.",
        )

    async def _of_logs(self, admin: Admin, access: Access, partitions: Mapping[str, int]) -> AsyncIterator[Finding]:
        """What the logs and groups tell, as far as the topics are there."""
        jobs = {"orders": [self._topics.inbox], "fanout": [self._topics.orders, self._topics.commands]}
        async with Newest.at_work(access) as newest:
            bounds = await newest.bounds(partitions)
            for job, topics in jobs.items():
                read = {topic: partitions[topic] for topic in topics if topic in partitions}
                if read:
                    of_job = {where: found for where, found in bounds.items() if where[0] in read}
                    yield await self._of_group(admin, job, read, of_job)
            records = await newest.records(self._topics.inbox, bounds, each_max=LOOKED_BACK)
        notifications = list(_notifications(records))
        for finding in (*judge_broker(notifications, self._clock.now_ms()), *self._of_channels(notifications)):
            yield finding

    async def _of_group(self, admin: Admin, job: str, read: Mapping[str, int], bounds: Bounds) -> Finding:
        name = self._topics.group(job)
        try:
            group = await admin.group(name, read)
        except Unavailable as error:
            return fault(
                f"groups.{name}",
                f"the broker that coordinates it does not answer: {in_words(error.why)}",
                "Look at the brokers' logs, and at who may read this group.",
            )
        return judge_group(name, job, group, bounds)

    def _of_channels(self, notifications: Sequence[tuple[Stored, Evidence]]) -> Iterator[Finding]:
        latest: dict[str, Evidence] = {}
        for _, one in sorted(notifications, key=lambda pair: pair[1].received_at):
            latest[one.channel] = one
        now = self._clock.now()
        for channel in (*self._unproven, *(one for one in self._proven if one.name in latest)):
            yield judge_newest(channel, latest.get(channel.name), now)


def _notifications(records: Sequence[Stored]) -> Iterator[tuple[Stored, Evidence]]:
    for stored in records:
        with suppress(
            KeyError, ValueError
        ):  # nothing that this project wrote: the orders job sets it aside and says so
            evidence = from_record(stored.record)
            if evidence.kind is Kind.NOTIFICATION:
                yield stored, evidence


async def look_at_redis(settings: Settings, clock: Clock) -> AsyncIterator[Finding]:
    """What Redis tells of itself, and its clock."""
    url = urlsplit(settings.redis.url)
    where = url.netloc.rpartition("@")[2]  # without user and password
    views = RedisViews(
        settings.redis.url, key_prefix=settings.redis.key_prefix, ca_file=settings.redis.ca_file, timeout_s=ANSWER_S_MAX
    )
    try:
        for finding in judge_redis(await views.info()):
            yield finding
        before_ms = clock.now_ms()
        theirs_ms = await views.time_ms()
        took_ms = clock.now_ms() - before_ms
        yield judge_offset("clock.redis", "Redis'", theirs_ms - before_ms - took_ms / 2, took_ms / 2)
    except Unavailable as error:
        if is_refusal(error.why):
            yield fault(
                "redis.access",
                f"Redis at {where} does not let us: {in_words(error.why)}",
                "Put user and password into redis.url, and let that user do INFO and TIME.",
            )
        elif error.why == UNTRUSTED:
            yield fault(
                "redis.tls",
                f"Redis at {where} has a certificate that nobody known here has signed, or that is for another name",
                "Set redis.ca_file to the certificate of who signed it, and redis.url to a name that stands in it.",
            )
        else:
            yield fault(
                "redis.answers",
                f"Redis does not answer at {where}: {in_words(error.why)}",
                "Start it (on a laptop: `notifier local up`), or set redis.url to where it is.",
            )
    finally:
        await views.close()


def _is_local(servers: str) -> bool:
    """Whether all of these are addresses of this machine alone."""
    hosts = [server.strip().rpartition(":")[0] for server in servers.split(",")]
    found = [literal(host) for host in hosts if host != "localhost"]
    return all(address is not None and address.is_loopback for address in found)
