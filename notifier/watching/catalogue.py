"""
The catalogue: every event that a log line can tell, for those who watch (contract, section 8).

A test holds the code to it, in both directions: a line that is not here cannot be written, and what is here is written
somewhere. `notifier logs` prints it.

Levels: info, a result (a merchant's 500 included); warning, it will mend itself; error, a person must act now. Every line also
has `timestamp`, `level`, `event`, `service`, `instance` and `version`; `fields` names what it may have beside these. In lines
about one version of an order `version` is that one, not the program's.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One event."""

    name: str
    levels: tuple[str, ...]
    """Mostly one; a second one where it depends, which `meaning` explains."""
    fields: tuple[str, ...]
    meaning: str
    action: str
    metrics: tuple[str, ...] = ()
    """What tells of the same in `/metrics`, without its `notifier_`; beside `log_lines_total` of every warning and error."""
    alerts: tuple[str, ...] = ()
    """The rules of `deploy/alerts` that lead to this line."""

    def as_json(self) -> dict[str, object]:
        """As `notifier logs --json` prints it."""
        return {
            "event": self.name,
            "level": " or ".join(self.levels),
            "fields": list(self.fields),
            "meaning": self.meaning,
            "action": self.action,
        }


def _entry(
    name: str, levels: str, fields: str, meaning: str, action: str, *, metrics: str = "", alerts: str = ""
) -> Entry:
    return Entry(
        name,
        tuple(levels.split()),
        tuple(fields.split()),
        meaning,
        action,
        tuple(metrics.split()),
        tuple(alerts.split()),
    )


_DOOR = (
    _entry(
        "notification.accepted",
        "info",
        "channel order evidence_id verdict body_bytes duration_ms trace_id",
        "A notification was verified, is durable in the inbox, and was answered `success`. `verdict` is `usable`, or why it will"
        " be set aside.",
        "None.",
        metrics="notifications_total notification_duration_seconds append_duration_seconds appends_in_flight",
    ),
    _entry(
        "notification.rejected",
        "warning",
        "channel reason status count",
        "Requests were answered 4xx and nothing was stored. One line at once for each channel and reason, then one every 10 s;"
        " `count` is how many a line stands for. Without `channel` no channel has the token.",
        "A few are strangers. `signature` or `sign_type` for most of one channel: compare its keys and sign_types with AlipayHK's"
        " portal; AlipayHK sends again for 24 hours.",
        metrics="notifications_total",
        alerts="NotifierRejected",
    ),
    _entry(
        "notification.not_stored",
        "error",
        "channel order evidence_id reason body_bytes duration_ms count error where",
        "A notification was answered 503, because it could not be made durable or judged in time. AlipayHK sends it again."
        " Where Kafka only answered too late it lies in the inbox after all, and counts once.",
        "`kafka_timeout`, `kafka_full`: look at Kafka. `no_key`: every key of the channel has expired, add the new one."
        " `notify_verify`: AlipayHK's gateway does not answer. `stopping`: none. `internal_error`: report `error` and `where`.",
        metrics="notifications_total",
        alerts="NotifierNotStored",
    ),
    _entry(
        "connections.exhausted",
        "warning",
        "count",
        "Connections to the public listener were answered 503 because too many are open already.",
        "Look at what is before the door: a proxy with fewer, longer connections; a limit per source. More workers take more.",
        alerts="NotifierConnectionsExhausted",
    ),
    _entry(
        "channel.failing",
        "error",
        "channel count",
        "Every signature of this channel has failed for a while: `count` in a row, none good.",
        "Most likely AlipayHK changed its key, or the merchant's own stands in its place: compare `keys` with AlipayHK's portal.",
        metrics="notifications_total",
        alerts="NotifierChannelFailing",
    ),
    _entry(
        "channel.silent",
        "warning",
        "channel silent_s missed",
        "Nothing genuine has come for far longer than usual: `silent_s`, in which about `missed` usually come at these hours of"
        " the day. Told once for each silence. A process judges by what came to itself since its start, and says nothing on"
        " its first day; with several workers or machines others may have heard the channel.",
        "See whether `notification.accepted` of the channel comes elsewhere, and `notification.rejected`; then whether the"
        " merchant sells at all, whether its requests still name our address as `notify_url`, and whether the way from the"
        " internet to the public listener is open.",
        metrics="notifications_total",
        alerts="NotifierChannelSilent",
    ),
    _entry(
        "key.expiring",
        "warning",
        "channel setting file key not_after days keys_left",
        "A key of this channel ends in `days`; `keys_left` of its keys are good after it. In the settings file it is this"
        " `setting` of the channel (`keys[0]` is the first of `keys`), read from `file`; `key` is its fingerprint. Told at start"
        " and daily, from two weeks before; after a reload, if that end is new.",
        "`keys_left` is 0: add AlipayHK's next key to the channel's `keys`, or move this one's `not_after`; from then on each"
        " notification of the channel would be answered 503 with `no_key`. Else none: take the key out once it has ended.",
        metrics="channel_keys_end_timestamp_seconds",
        alerts="NotifierKeyExpiring",
    ),
)

_ORDERS = (
    _entry(
        "order.changed",
        "info",
        "channel order evidence_id event_id event_type status version since_received_ms partition trace_id",
        "Evidence added to an order, and the event that says so is durable in the orders topic.",
        "None.",
        metrics="orders_changed_total order_since_received_seconds",
    ),
    _entry(
        "evidence.repeated",
        "info",
        "channel order evidence_id partition offset trace_id",
        "Evidence told nothing new: a resend, or a record read again. It has no effect.",
        "None.",
        metrics="evidence_repeated_total",
    ),
    _entry(
        "evidence.resent_late",
        "warning",
        "channel order evidence_id since_s partition offset trace_id",
        "AlipayHK's third or later resend, `since_s` after what it tells of: none of the earlier ones was answered `success` in"
        " time. It is worked on like any other. Recognised by its lateness, for nothing in a message counts the attempts.",
        "None for this one. Look for what stood in the way: `notification.rejected`, `notification.not_stored`,"
        " `connections.exhausted` or no line at all since then. After the eighth, within 25 hours, AlipayHK sends no more.",
        metrics="evidence_resent_late_total",
        alerts="NotifierResentLate",
    ),
    _entry(
        "evidence.quarantined",
        "warning",
        "channel order evidence_id reason partition offset trace_id",
        "Genuine evidence that could not be applied was set aside in the quarantine topic, with its reason.",
        "`notifier quarantine show PARTITION-OFFSET` says what it is and what to do. `payee_mismatch`, `amount_mismatch`,"
        " `unregistered`: ask the merchant; the other reasons: AlipayHK sent something this version does not know.",
        metrics="evidence_quarantined_total",
        alerts="NotifierQuarantined",
    ),
    _entry(
        "evidence.failed",
        "error",
        "channel order evidence_id partition offset trace_id error where",
        "A bug: folding this record raised an exception. It is in quarantine as `internal_error`; the partition goes on.",
        "Report `error` and `where`. The record can be folded again once the bug is mended.",
        alerts="NotifierBug",
    ),
)

_FANOUT = (
    _entry(
        "delivery.attempted",
        "info",
        "endpoint channel order event_id version attempt outcome status_code error duration_ms retry_in_s since_received_ms"
        " trace_id",
        "One POST to a merchant's endpoint and what came of it: `accepted`, or `failed` with the time to the next attempt"
        " (`retry_in_s`; null after a 410, which ends the attempts until an operator resumes the endpoint).",
        "None: it is tried again for `give_up_after_s`. If one endpoint keeps failing, tell its owner.",
        metrics="deliveries_total delivery_attempt_duration_seconds delivery_since_received_seconds endpoint_waiting",
        alerts="NotifierDeliveriesWaiting",
    ),
    _entry(
        "delivery.exhausted",
        "error",
        "endpoint channel order event_id version attempt outcome status_code error",
        "A delivery was given up after `give_up_after_s`. It is a dead letter; the later events of its order go on. Where it was"
        " not tried, `error` is `endpoint_failing` (its time ran out while the endpoint was only probed) or `too_many_waiting`"
        " (more waits for the endpoint than may).",
        "Tell the endpoint's owner; once it answers again: `notifier deliveries redrive --endpoint …`.",
        metrics="deliveries_total",
        alerts="NotifierDeadLetters",
    ),
    _entry(
        "delivery.skipped",
        "warning",
        "endpoint channel order event_id version",
        "A delivery waited so long that its event was superseded and compacted away: there is nothing left to send. Later events"
        " of the order go on, and tell its whole state.",
        "None, where the endpoint was down for days. Tell its owner which version it has not seen.",
        metrics="deliveries_total",
    ),
    _entry(
        "event.unreadable",
        "error",
        "partition offset",
        "A record of the orders topic is none that this project writes, so no merchant can be told of it; the partition goes on.",
        "Find out who else writes to the orders topic: only the orders job should be allowed to.",
        alerts="NotifierForeignRecord",
    ),
    _entry(
        "position.assumed",
        "warning",
        "topic partition offset",
        "Fan-out has no committed offset here (a first start, or Kafka forgot it after a week without one) and begins 72 h back.",
        "None at a first start. Else: what is older than 72 h and was not told is not told any more; see the orders topic.",
        alerts="NotifierPositionAssumed",
    ),
    _entry(
        "endpoint.suspended",
        "warning",
        "endpoint reason by",
        "What is for an endpoint waits, durably. `failing`: it has only failed for `suspend_after_s` and is sent one probe at a"
        " time. `gone`: it answered 410 and is left alone. `operator`: so it was said, `by` whom.",
        "`failing`: tell its owner; it resumes by itself once it accepts a probe. `gone`, `operator`: `notifier endpoints resume`"
        " when it may be called again.",
        metrics="endpoint_suspended",
        alerts="NotifierEndpointSuspended",
    ),
    _entry(
        "endpoint.resumed",
        "info",
        "endpoint reason by",
        "A suspended endpoint is served again: it `accepted` a probe, an `operator` said so, or it `moved`: a reload"
        " changed its URL. What waited for it is being delivered, in order, one at a time at first, but for who moved. An order"
        " whose own attempts have failed comes when its next one is due, at most `retry_s_max` later.",
        "None. `notifier deliveries list` says when each is due.",
        metrics="endpoint_suspended",
    ),
    _entry(
        "redrive.begun",
        "info",
        "endpoint deliveries by partition offset",
        "An operator's `deliveries redrive` is obeyed: so many deliveries wait to be made once more, under their old ids.",
        "None.",
    ),
    _entry(
        "command.unreadable",
        "error",
        "partition offset",
        "A record of the commands topic is none that this project writes; it is passed over.",
        "Find out who else writes to the commands topic: only operators should be allowed to.",
        alerts="NotifierForeignRecord",
    ),
    _entry(
        "endpoints.failing",
        "error",
        "failing endpoints",
        "More than 30 % of all endpoints, and at least ten, fail at once: `failing` of `endpoints`. The fault is probably ours."
        " They are called one by one, and none is suspended for it.",
        "Look at this machine's way to the internet: network, name servers, proxy or firewall, clock, certificate authorities."
        " What waits is delivered once it is mended.",
        alerts="NotifierEndpointsFailing",
    ),
    _entry(
        "endpoints.recovered",
        "info",
        "failing endpoints",
        "No more than 30 % of all endpoints, or fewer than ten, have failed for half a minute.",
        "None.",
    ),
)

_JOBS = (
    _entry(
        "job.progress",
        "info",
        "lag oldest_age_s in_flight waiting partitions held away",
        "Every 30 s from each job: how far behind it is (`lag` in records), the age of the oldest record that is not done. Both"
        " are null where nobody knows: while Kafka is away, or before the group has taken it in. What was fetched before goes on"
        " growing older. `held`: partitions of which it knows no lag, since their view is being built or `partition.stuck` was"
        " said of them. `away`: what does not answer just now.",
        "Alarm when this line is missing for two minutes, or when `oldest_age_s` keeps rising: start more processes, or look for"
        " `kafka.unavailable`, `redis.unavailable`, `partition.stuck`.",
        metrics="job_reported_timestamp_seconds job_lag job_oldest_age_seconds job_in_flight job_waiting",
        alerts="NotifierJobSilent NotifierJobBehind",
    ),
    _entry(
        "partitions.assigned",
        "info",
        "topic partitions",
        "This process now works on these partitions.",
        "None.",
    ),
    _entry(
        "partitions.revoked",
        "info",
        "topic partitions",
        "This process has handed these partitions back.",
        "None. Many in a row without a deployment: processes die or are too slow; look for `service.started`.",
    ),
    _entry(
        "partition.stuck",
        "warning error",
        "topic partition reason",
        "A partition is not gone on with. `newer_state_version`: it is left alone, uncommitted; the others go on. `no_progress`,"
        " `no_membership`: there is work, nothing is away, and yet nothing has moved for minutes; the process leaves, to be"
        " started again.",
        "`newer_state_version`: finish the deployment, old and new processes are mixed. The others: none once, its supervisor"
        " starts it again; if they come back, report the lines before.",
        metrics="job_oldest_age_seconds",
        alerts="NotifierPartitionStuck",
    ),
    _entry(
        "record.unreadable",
        "error",
        "topic partition offset",
        "A record of the orders or the deliveries topic is none that this project writes. It is no part of what is known; where"
        " it lay last of its key, the newest of ours was appended again behind it, and the partition goes on.",
        "Find out who else writes to this topic: only the orders job, or fan-out, should be allowed to.",
        alerts="NotifierForeignRecord",
    ),
    _entry(
        "log.healed",
        "warning",
        "topic partition records",
        "A record older than one already there lay last for its key, so the newest was appended again: `records` of them.",
        "None once. Often: two processes work on one partition; look for `partitions.revoked` without an end.",
        metrics="logs_healed_total",
        alerts="NotifierLogHealedOften",
    ),
    _entry(
        "view.repaired",
        "warning",
        "topic partition records duration_ms",
        "Redis was not where the log says (flushed, failed over, an old copy); `records` were read from the log to mend it.",
        "None once. Often: see why Redis loses data (eviction, fail-over, restarts).",
        metrics="views_repaired_total",
        alerts="NotifierViewRepairedOften",
    ),
    _entry(
        "view.rebuilding",
        "info",
        "topic partition done total percent per_s",
        "A partition's view in Redis is being built from its log: `done` of `total` offsets, `per_s` of them a second. Said at"
        " the start if there is much to read, then every 5 s. Other partitions go on meanwhile.",
        "Wait: this partition works again when it is done. Often: as for `view.repaired`.",
    ),
)

_SERVICES = (
    _entry(
        "kafka.unavailable",
        "warning error",
        "reason since_s servers",
        "Kafka does not answer. Said once, and as an error if it lasts. Notifications are answered 503, consumers pause."
        " `reason` is `no_answer` where it is down or there is no way to it, else what it says. `servers` is where it was looked"
        " for; each process asks every few seconds, with or without traffic.",
        "Bring Kafka back, or the way to it: `notifier check` says what it answers. Nothing is lost: AlipayHK sends again for 24"
        " hours.",
        metrics="unavailable",
        alerts="NotifierKafkaUnavailable",
    ),
    _entry("kafka.recovered", "info", "since_s", "Kafka answers again.", "None.", metrics="unavailable"),
    _entry(
        "redis.unavailable",
        "warning error",
        "reason since_s server",
        "Redis does not answer. Said once, and as an error if it lasts. Notifications are still accepted; consumers pause."
        " `reason` is `no_answer` where it is down or there is no way to it, else what it says. `server` is where it was looked"
        " for.",
        "Bring Redis back, empty or not: what it held is read again from the logs.",
        metrics="unavailable",
        alerts="NotifierRedisUnavailable",
    ),
    _entry("redis.recovered", "info", "since_s", "Redis answers again.", "None.", metrics="unavailable"),
    _entry(
        "producer.replaced",
        "warning",
        "error where",
        "A send to Kafka failed or its end is unknown, so the producer was replaced: a failed one stays broken.",
        "None once. Often: look at Kafka's brokers and the network to them.",
        metrics="producers_replaced_total",
        alerts="NotifierProducerReplacedOften",
    ),
    _entry(
        "library.reported",
        "warning",
        "count logger line message error where",
        "A library complained. `logger` and `line` say where in it; its words are told only as far as they are a fixed text, with"
        " numbers and the types of errors in it and `…` for all else. Of one place a line at once, then one in ten minutes;"
        " `count` is how many it stands for. While Kafka is away there are some of these beside `kafka.unavailable`, which says"
        " where it was looked for.",
        "Read it together with the lines around it; by itself it asks for nothing.",
    ),
    _entry(
        "service.started",
        "info",
        "public internal listen workers pid",
        "A service is up, with the addresses it listens on.",
        "None.",
        metrics="started_timestamp_seconds",
        alerts="NotifierIngressDown",
    ),
    _entry(
        "service.stopped",
        "info",
        "reason duration_ms",
        "A service ended in order; nothing was left in flight.",
        "None.",
    ),
    _entry(
        "service.cut_off",
        "warning",
        "after_s waiting_for",
        "A process that was told to end was held up by something, and left without waiting for it. Unless Kafka did not answer, "
        "what it had done is committed and its group was left; what was in flight may be repeated.",
        "None for the orders and deliveries. Report `waiting_for`, which names what had not ended.",
    ),
    _entry(
        "service.failed",
        "error",
        "reason error where",
        "A service ends because of a fault that it cannot mend in place. Nothing was committed that is not durable.",
        "Its supervisor starts it again. If it keeps ending: do what `reason` says; of an `internal_error` report `error` and"
        " `where`.",
        metrics="started_timestamp_seconds",
        alerts="NotifierRestarting",
    ),
    _entry(
        "request.failed",
        "error",
        "error where",
        "A bug: answering a question on the internal listener raised an exception. It was answered 500; nothing else stopped.",
        "Report `error` and `where`.",
        alerts="NotifierBug",
    ),
    _entry(
        "metrics.omitted",
        "warning",
        "child bytes",
        "The metrics of a worker of `serve --workers` are too large to hand over. In `/metrics` it stands with its last ones that"
        " were not.",
        "Spread the channels over several ingresses, each with settings of its own.",
        alerts="NotifierMetricsOmitted",
    ),
    _entry(
        "child.started",
        "info",
        "child pid",
        "A supervisor started one of its processes.",
        "None.",
        metrics="started_timestamp_seconds",
    ),
    _entry(
        "settings.reloaded",
        "info",
        "changed added removed count",
        "At SIGHUP the settings were read again, and this process goes by them from now on: settings with another value, and"
        " channels and endpoints that came and went, by name (at most 20 of each); `count` is of all. Each process has a line.",
        "None. One of several without it goes by the old ones: look for its `settings.refused`.",
    ),
    _entry(
        "settings.refused",
        "error",
        "reason what count error where",
        "At SIGHUP the settings were read again and not taken over; this process goes on with those it had. `faults`: they are"
        " wrong, each in words. `needs_restart`: these differ and cannot be changed while it runs. `no_channels`: not one channel"
        " is left, as in a file that is half written. `changed_meanwhile`: a file that they name went while it was read. What"
        " `run`, or `serve` with workers, refuses, their processes are not told of.",
        "`faults`, `no_channels`: mend the file (`notifier check` reads it as well) and send SIGHUP again. `needs_restart`: take"
        " that part back, or restart. `changed_meanwhile`: send it again. Until then a restart would fail, too, or bring it in.",
        alerts="NotifierSettingsRefused",
    ),
    _entry(
        "child.exited",
        "warning",
        "child pid status reason ran_s retry_in_s",
        "One of a supervisor's processes ended by itself, after `ran_s`, and will be started again. `reason` says how it ended.",
        "None once. Often: the lines of that process before its end say why.",
        metrics="started_timestamp_seconds",
        alerts="NotifierRestarting",
    ),
    _entry(
        "child.hung",
        "warning",
        "child pid silent_s",
        "A process has given no sign of life for so long: it is stopped, or its event loop is blocked. It is killed now, and then"
        " started again.",
        "None once, where somebody stopped it (SIGSTOP, a debugger). Else report the lines of that process before.",
        metrics="started_timestamp_seconds",
        alerts="NotifierRestarting",
    ),
    _entry(
        "child.killed",
        "warning",
        "child pid",
        "A process did not end in time after it was told to, and was killed. What it had not finished is done again.",
        "None once. Often: see what it was waiting for; its last lines say.",
        metrics="started_timestamp_seconds",
        alerts="NotifierRestarting",
    ),
)

STAGES: tuple[tuple[str, tuple[Entry, ...]], ...] = (
    ("At the door", _DOOR),
    ("From evidence to orders", _ORDERS),
    ("From orders to merchants", _FANOUT),
    ("The jobs and their partitions", _JOBS),
    ("Processes, and what they need", _SERVICES),
)
"""The entries as a record travels; what all of its way has in common comes last."""

CATALOGUE: tuple[Entry, ...] = tuple(entry for _, entries in STAGES for entry in entries)
