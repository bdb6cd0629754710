"""The table: which fault is caused in which installation, in which order, and what is seen of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tests.alarms import at_the_door, on_fanout, on_jobs, on_orders, on_services
from tests.alarms.product import LISTENS, Process
from tests.alarms.table import Row

_BUGGY = {"ALARMS_BUG": "1"}


@dataclass(frozen=True, slots=True)
class Scene:
    """One installation, and what happens to it, one after the other."""

    processes: tuple[Process, ...]
    rows: tuple[Row, ...]
    has_own_services: bool = False
    """Kafka and Redis that no other scene uses: they are taken away."""

    def rows_of(self, lines: Collection[str] | None) -> list[Row]:
        """The rows of these lines (None: all), in their order, with those that they need."""
        if lines is None:
            return list(self.rows)
        wanted = set(lines)
        for row in reversed(self.rows):  # what is needed comes before
            if row.line in wanted:
                wanted.update(row.needs)
        return [row for row in self.rows if row.line in wanted]


def _routine(line: str, how: str, **more: object) -> Row:
    """What is said on a healthy day."""
    return Row(line, how, level="info", metric=None, from_start=True, **more)  # type: ignore[arg-type]  # a row's own names


SHOP = Scene(
    (
        Process("serve", ("serve",), "internal", _BUGGY),
        Process("orders", ("consume", "orders", "--listen", LISTENS), "orders", _BUGGY),
        Process("fanout", ("consume", "fanout", "--listen", LISTENS), "fanout", is_late=True),
    ),
    (
        Row(
            "position.assumed",
            "fan-out starts for the first time, on orders that are there",
            on_fanout.starts_without_a_place,
            fields=("topic", "offset"),
            alert="NotifierPositionAssumed",
        ),
        Row(
            "partition.stuck",
            "a record of a later release in one partition",
            on_jobs.later_release,
            level="error",
            fields=("topic",),
            said={"reason": "newer_state_version", "partition": 0},
            alert="NotifierPartitionStuck",
        ),
        Row(
            "channel.failing",
            "thirty notifications signed with another key, no genuine one",
            at_the_door.swapped_key,
            level="error",
            fields=("count",),
            said={"channel": "ferry"},
            alert="NotifierChannelFailing",
            labels={"channel": "ferry"},
        ),
        Row(
            "notification.rejected",
            "every second request of a channel is forged",
            at_the_door.forgeries,
            fields=("status", "count"),
            said={"channel": "market", "reason": "sign_missing"},
            metric='sum(notifier_notifications_total{outcome="rejected", channel="market"})',
            alert="NotifierRejected",
            labels={"channel": "market"},
        ),
        Row(
            "evidence.resent_late",
            "AlipayHK tells of a payment an hour ago",
            on_orders.third_resend,
            fields=("channel", "order", "since_s"),
            alert="NotifierResentLate",
        ),
        Row(
            "evidence.quarantined",
            "AlipayHK signs a trade status that there is not",
            on_orders.unknown_word,
            fields=("channel", "order", "offset"),
            said={"reason": "unknown_status"},
            metric="sum(notifier_evidence_quarantined_total)",
            alert="NotifierQuarantined",
        ),
        Row(
            "evidence.failed",
            "injected: the fold raises for one order",
            on_orders.bug_in_the_fold,
            level="error",
            fields=("order", "error", "where"),
            alert="NotifierBug",
            labels={"event": "evidence.failed"},
        ),
        Row(
            "request.failed",
            "injected: showing one order raises",
            on_orders.bug_in_an_answer,
            level="error",
            fields=("error", "where"),
            alert="NotifierBug",
            labels={"event": "request.failed"},
        ),
        Row(
            "event.unreadable",
            "a stranger's record in the orders topic",
            on_fanout.rubbish_among_orders,
            level="error",
            fields=("partition", "offset"),
            alert="NotifierForeignRecord",
            labels={"event": "event.unreadable"},
            needs=("position.assumed",),
        ),
        Row(
            "record.unreadable",
            "the same, in a partition in which orders come",
            on_fanout.rubbish_where_work_is_done,
            level="error",
            fields=("topic", "partition", "offset"),
            alert="NotifierForeignRecord",
            labels={"event": "record.unreadable"},
        ),
        Row(
            "command.unreadable",
            "a stranger's record in the commands topic",
            on_fanout.rubbish_among_commands,
            level="error",
            fields=("partition",),
            alert="NotifierForeignRecord",
            labels={"event": "command.unreadable"},
            needs=("position.assumed",),
        ),
        Row(
            "key.expiring",
            "a key's not_after is ten days away",
            at_the_door.key_that_ends_soon,
            fields=("channel", "setting", "file", "key", "not_after", "days"),
            said={"keys_left": 0},
            metric="max(notifier_channel_keys_end_timestamp_seconds)",
            alert="NotifierKeyExpiring",
            falls="NotifierKeyExpiring",
        ),
        Row(
            "settings.refused",
            "a settings file that is wrong, and SIGHUP",
            on_services.rubbish_in_settings,
            level="error",
            fields=("what", "count"),
            said={"reason": "faults"},
            count=3,
            alert="NotifierSettingsRefused",
            needs=("position.assumed",),
        ),
        Row(
            "connections.exhausted",
            f"{at_the_door.CONNECTIONS} connections to the public listener",
            at_the_door.too_many_connections,
            fields=("count",),
            alert="NotifierConnectionsExhausted",
        ),
        Row(
            "producer.replaced",
            "max.message.bytes of the orders topic goes down to 100",
            on_jobs.refused_appends,
            fields=("error", "where"),
            count=4,
            metric='sum(notifier_producers_replaced_total{service="orders"})',
            alert="NotifierProducerReplacedOften",
        ),
        Row(
            "log.healed",
            "older records behind newer ones, in five partitions, three times",
            on_jobs.late_records,
            fields=("topic", "records"),
            count=11,
            metric="sum(notifier_logs_healed_total)",
            alert="NotifierLogHealedOften",
        ),
        Row(
            "view.repaired",
            f"FLUSHALL, {on_jobs.FLUSHES} times",
            on_jobs.redis_loses_all,
            fields=("topic", "records", "duration_ms"),
            count=151,
            metric="sum(notifier_views_repaired_total)",
            alert="NotifierViewRepairedOften",
            needs=("position.assumed",),
        ),
        Row(
            "view.rebuilding",
            f"FLUSHALL, with {on_jobs.MANY_RECORDS} records in one partition",
            on_jobs.much_to_read,
            level="info",
            fields=("topic", "total"),
            metric=None,
        ),
        Row(
            "endpoints.failing",
            "ten of thirteen merchants answer 500",
            on_fanout.all_fail,
            level="error",
            fields=("failing", "endpoints"),
            alert="NotifierEndpointsFailing",
            needs=("position.assumed",),
        ),
        Row(
            "endpoint.suspended",
            "a merchant answers 410",
            on_fanout.merchant_gone,
            said={"endpoint": "shop", "reason": "gone"},
            metric='max(notifier_endpoint_suspended{endpoint="shop"})',
            alert="NotifierEndpointSuspended",
            falls="NotifierEndpointSuspended",
            needs=("position.assumed",),
        ),
        _routine(
            "endpoint.resumed",
            "`notifier endpoints resume`, as the runbook says",
            said={"endpoint": "shop", "reason": "operator"},
            fields=("by",),
            needs=("endpoint.suspended",),
        ),
        Row(
            "delivery.attempted",
            f"a merchant answers 500 while {on_fanout.WAITING} orders are told of",
            on_fanout.merchant_fails_for_long,
            level="info",
            said={"endpoint": "tickets", "outcome": "failed", "status_code": 500},
            fields=("retry_in_s",),
            metric='sum(notifier_endpoint_waiting{endpoint="tickets"})',
            alert="NotifierDeliveriesWaiting",
            needs=("position.assumed",),
        ),
        Row(
            "delivery.exhausted",
            "the same, and `give_up_after_s` is a second",
            on_fanout.no_more_patience,
            level="error",
            said={"endpoint": "tickets"},
            fields=("order", "event_id"),
            alert="NotifierDeadLetters",
            needs=("delivery.attempted",),
        ),
        Row(
            "redrive.begun",
            "`notifier deliveries redrive`, as the runbook of `delivery.exhausted` says",
            on_fanout.redriven,
            level="info",
            said={"endpoint": "tickets"},
            fields=("deliveries", "by"),
            metric='sum(notifier_deliveries_total{endpoint="tickets", outcome="accepted"})',
            falls="NotifierDeliveriesWaiting",
            needs=("delivery.exhausted",),
        ),
        Row(
            "endpoints.recovered",
            "they are well again",
            on_fanout.calm,
            level="info",
            fields=("endpoints",),
            metric=None,
            from_start=True,
            needs=("endpoints.failing",),
        ),
        Row(
            "job.progress",
            "fan-out stands still (SIGSTOP)",
            on_jobs.frozen_job,
            level="info",
            metric='max(notifier_job_reported_timestamp_seconds{service="fanout"})',
            goes_away=True,
            alert="NotifierJobSilent",
            falls="NotifierJobSilent",
            from_start=True,
            needs=("position.assumed",),
        ),
        Row(
            "delivery.skipped",
            "what waits is superseded and compacted away",
            on_fanout.compacted_away,
            said={"endpoint": "shop"},
            fields=("order", "event_id", "version"),
            metric='sum(notifier_deliveries_total{endpoint="shop", outcome="skipped"})',
            needs=("position.assumed",),
        ),
        Row(
            "job.progress",
            "a partition stands still for more than a minute",
            on_jobs.waits_for_a_minute,
            level="info",
            said={"service": "orders"},
            fields=("oldest_age_s", "held"),
            metric='max(notifier_job_oldest_age_seconds{service="orders"}) > 60',
            alert="NotifierJobBehind",
            falls="NotifierJobBehind",
            from_start=True,
            needs=("partition.stuck",),
        ),
        _routine(
            "notification.accepted",
            "a notification",
            fields=("channel", "order", "evidence_id"),
            needs=("position.assumed",),
        ),
        _routine(
            "order.changed", "a notification", fields=("order", "event_type", "version"), needs=("position.assumed",)
        ),
        Row(
            "evidence.repeated",
            "a notification, twice",
            on_orders.told_twice,
            level="info",
            fields=("order", "evidence_id"),
            metric="sum(notifier_evidence_repeated_total)",
        ),
        _routine("partitions.assigned", "a start", fields=("topic", "partitions")),
        _routine("settings.reloaded", "SIGHUP", fields=("changed", "count"), needs=("key.expiring",)),
    ),
)

AWAY = Scene(
    (
        Process("serve", ("serve",), "internal"),
        Process("orders", ("consume", "orders", "--listen", LISTENS), "orders", {"ALARMS_HELD_UP": "1"}),
        Process("fanout", ("consume", "fanout", "--listen", LISTENS), "fanout"),
    ),
    (
        Row(
            "service.started",
            "the only ingress is killed, and started again",
            on_services.no_ingress,
            level="info",
            said={"service": "ingress"},
            fields=("public", "internal", "pid"),
            metric='max(notifier_started_timestamp_seconds{service="ingress"})',
            goes_away=True,
            alert="NotifierIngressDown",
            falls="NotifierIngressDown",
            from_start=True,
        ),
        Row(
            "kafka.unavailable",
            "SIGKILL of Kafka",
            on_services.kafka_killed,
            said={"service": "ingress"},
            fields=("reason", "servers"),
            metric='max(notifier_unavailable{what="kafka"})',
            alert="NotifierKafkaUnavailable",
        ),
        Row(
            "notification.not_stored",
            "a notification, without Kafka",
            level="error",
            said={"reason": "kafka_timeout"},
            fields=("channel", "order", "duration_ms"),
            metric='sum(notifier_notifications_total{outcome="not_stored"})',
            alert="NotifierNotStored",
            from_start=True,
            needs=("kafka.unavailable",),
        ),
        Row(
            "library.reported",
            "without Kafka for a while",
            fields=("logger", "line", "message"),
            from_start=True,
            needs=("kafka.unavailable",),
        ),
        Row(
            "kafka.unavailable",
            "Kafka stays away for a minute",
            level="error",
            said={"service": "ingress"},
            fields=("reason", "since_s", "servers"),
        ),
        Row(
            "kafka.recovered",
            "Kafka is started again",
            on_services.kafka_back,
            level="info",
            said={"service": "ingress"},
            fields=("since_s",),
            metric=None,
            falls="NotifierKafkaUnavailable",
            needs=("kafka.unavailable",),
        ),
        Row(
            "redis.unavailable",
            "Redis ends",
            on_services.redis_stopped,
            said={"service": "orders"},
            fields=("reason", "server"),
            metric='max(notifier_unavailable{what="redis"})',
            alert="NotifierRedisUnavailable",
        ),
        Row(
            "redis.unavailable",
            "Redis stays away for a minute",
            level="error",
            said={"service": "fanout"},
            fields=("reason", "since_s", "server"),
        ),
        Row(
            "redis.recovered",
            "Redis is started again",
            on_services.redis_back,
            level="info",
            said={"service": "orders"},
            fields=("since_s",),
            metric=None,
            falls="NotifierRedisUnavailable",
            needs=("redis.unavailable",),
        ),
        Row(
            "service.cut_off",
            "injected: the Kafka client does not end at SIGTERM",
            on_services.held_up_at_its_end,
            fields=("after_s", "waiting_for"),
            metric=None,
        ),
        Row("service.stopped", "SIGTERM", on_services.ended, level="info", fields=("reason",), metric=None),
        _routine("partitions.revoked", "SIGTERM", fields=("partitions",), needs=("service.stopped",)),
    ),
    has_own_services=True,
)

RUN = Scene(
    (Process("run", ("run",), "internal"),),
    (
        _routine("child.started", "`notifier run`", fields=("child", "pid")),
        Row(
            "child.exited",
            f"SIGKILL of the orders job, {on_services.RESTARTS} times",
            on_services.dies_again_and_again,
            said={"child": "orders"},
            fields=("status", "reason", "ran_s", "retry_in_s"),
            count=on_services.RESTARTS,
            metric='sum(changes(notifier_started_timestamp_seconds{service="orders"}[15m]))',
            alert="NotifierRestarting",
            labels={"service": "orders"},
        ),
        Row(
            "child.hung",
            "SIGSTOP of fan-out",
            on_services.child_stands_still,
            said={"child": "fanout"},
            fields=("pid", "silent_s"),
            metric='sum(changes(notifier_started_timestamp_seconds{service="fanout"}[15m]))',
        ),
        Row(
            "service.failed",
            "all topics are deleted and made again",
            on_services.topics_made_anew,
            level="error",
            said={"service": "fanout"},
            fields=("reason",),
            count=4,
            metric='sum(changes(notifier_started_timestamp_seconds{service="fanout"}[15m]))',
            alert="NotifierRestarting",
            labels={"service": "fanout"},
        ),
        Row(
            "child.killed",
            "SIGTERM of `run` while the ingress stands still (SIGSTOP)",
            on_services.does_not_end,
            said={"child": "ingress"},
            fields=("pid",),
            metric=None,
        ),
    ),
)

WEEK = Scene(
    (Process("serve", ("serve",), "internal", {"ALARMS_CLOCK_IS": "ahead"}),),
    (
        Row(
            "channel.silent",
            "a week that is busy at this hour, and then nobody comes (the clock of the process is put forward)",
            at_the_door.silence_after_a_busy_week,
            said={"channel": "market"},
            fields=("silent_s", "missed"),
            alert="NotifierChannelSilent",
            labels={"channel": "market"},
        ),
    ),
)

WORKERS = Scene(
    (Process("serve", ("serve", "--workers", "2"), "internal", {"ALARMS_METRICS_BYTES_MAX": "2000"}),),
    (
        Row(
            "metrics.omitted",
            "injected: a worker begins with more than may be handed over",
            fields=("child", "bytes"),
            alert="NotifierMetricsOmitted",
            from_start=True,
        ),
    ),
)

SCENES: Mapping[str, Scene] = {"shop": SHOP, "away": AWAY, "run": RUN, "week": WEEK, "workers": WORKERS}
ROWS: tuple[Row, ...] = tuple(row for scene in SCENES.values() for row in scene.rows)
