"""
The door: verify a notification, make it durable, then say so (design, section 4; hostile_inputs, section 3).

`success` is a promise, so it leaves from one line, after the append. In every other case AlipayHK sends again, which is safe: the
same notification always comes to the same effect.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import cache, partial
from math import inf

from notifier.alipayhk.form import names_protocol_fields
from notifier.channel import Channel, Channels, Verified
from notifier.clock import Clock
from notifier.door.http import Answer, Receive, Request
from notifier.errors import Rejected, Unavailable
from notifier.evidence import Evidence, to_record
from notifier.logs import failure, get_logger
from notifier.metrics import NOTIFICATION_SECONDS, NOTIFICATIONS
from notifier.ports import InboxAppender, Verifier
from notifier.watching import tracing
from notifier.watching.rhythm import Rhythms
from notifier.watching.sampling import Sampled
from notifier.watching.tracing import Span, Value

log = get_logger()

PREFIX = "/n/"

FAILING_AFTER = 20
"""So many signatures in a row that do not verify, without one that does, look like a wrong key rather than like forgers."""

_SAID_EVERY_S = 10.0
_FAILING_SAID_EVERY_S = 60.0
_PLAIN = b"Content-Type: text/plain; charset=utf-8\r\n"
_MORE_HEADERS = {405: b"Allow: POST\r\n", 503: b"Retry-After: 1\r\n"}

SUCCESS = Answer(200, b"success", _PLAIN)


@cache
def refusal(status: int) -> Answer:
    """Every answer but `success`: the protocol's body says no more than that it did not work."""
    return Answer(status, b"fail", _PLAIN + _MORE_HEADERS.get(status, b""))


class Door:
    """What stands behind the public listener (the `Service` of `notifier.door.http`)."""

    def __init__(
        self,
        channels: Channels,
        inbox: InboxAppender,
        verifier: Verifier,
        clock: Clock,
        *,
        new_traceparent: Callable[[], str] = tracing.new_traceparent,
    ) -> None:
        self._channels = channels
        self._inbox = inbox
        self._verifier = verifier
        self._clock = clock
        self._new_traceparent = new_traceparent
        self._monotonic = time.monotonic
        self._said = Sampled(every_s=_SAID_EVERY_S)
        self._failing_said = Sampled(every_s=_FAILING_SAID_EVERY_S)
        self._failures_in_a_row: dict[str, int] = {}
        self._rhythms = Rhythms()
        self._under_way: set[asyncio.Timeout] = set()
        self._is_stopping = False
        _count_from_zero(channels)

    def use(self, channels: Channels) -> None:
        """Take these channels from the next request on; those under way end with the one that they began with."""
        self._channels = channels
        _count_from_zero(channels)
        self._rhythms.keep({channel.name for channel in channels})

    def at(self, path: str) -> Receive | None:
        """What takes the notifications of a channel; None where this is not the path of one, byte for byte."""
        channel = self._channel_at(path)
        return partial(self._receive, channel) if channel is not None else None

    def _channel_at(self, path: str) -> Channel | None:
        return self._channels.by_token(path[len(PREFIX) :]) if path.startswith(PREFIX) else None

    async def _receive(self, channel: Channel, request: Request) -> Answer:
        """
        Take one notification.

        A client that leaves does not end this: its append may be half way, and its resend will come to the same effect.
        """
        began = verified_at = self._monotonic()
        verified = None
        try:
            verified = self._verify(channel, request)
            verified_at = self._monotonic()
            await self._make_durable(channel, verified)
            self._accepted(channel.name, verified.evidence, began)
            self._trace(request, verified, began, verified_at)
        except Rejected as why:
            return self._reject(channel.name, why)
        except Unavailable as why:
            self._trace(request, verified, began, verified_at, error=_reason(why))
            return self._not_stored(channel.name, _reason(why), verified, began)
        except Exception as bug:  # noqa: BLE001 - whatever it is, AlipayHK hears that it has to send again, and we hear of it
            return self._not_stored(channel.name, "internal_error", verified, began, bug)
        return SUCCESS  # nowhere else: what is promised here is on all in-sync replicas

    async def _make_durable(self, channel: Channel, verified: Verified) -> None:
        """
        Append, where the channel wants it once AlipayHK has confirmed.

        Raises:
            Rejected: AlipayHK says that it is none of its own.
            Unavailable: the inbox or AlipayHK did not answer in time, or we are stopping.
        """
        if self._is_stopping:
            raise _stopping()
        under_way = asyncio.timeout(None)  # `stop` sets the time
        try:
            async with under_way:
                self._under_way.add(under_way)
                try:
                    if channel.verify_notify_id:
                        assert channel.gateway_url is not None, "the settings asked for it"
                        await self._verifier.confirm(channel.gateway_url, channel.policy.partner_id, verified.notify_id)
                    await self._inbox.append(to_record(verified.evidence))
                finally:
                    self._under_way.discard(under_way)
        except TimeoutError:
            if under_way.expired():
                raise _stopping() from None
            raise

    def stop(self) -> None:
        """Make nothing more durable: what is under way, and what still comes, is answered 503, so that it is sent again."""
        if self._is_stopping:
            return
        self._is_stopping = True
        for under_way in self._under_way:
            under_way.reschedule(0.0)

    def _verify(self, channel: Channel, request: Request) -> Verified:
        if request.query and names_protocol_fields(request.query.encode("utf-8", "surrogateescape")):
            raise Rejected(400, "query")
        now = self._clock.now()
        verified = channel.verify(request.body, request.content_type, now, self._traceparent(request.traceparent))
        self._failures_in_a_row.pop(channel.name, None)
        self._rhythms.came(channel.name, now.timestamp())
        return verified

    def _traceparent(self, given: str | None) -> str:
        """The trace that a proxy of ours began, else a new one."""
        begun = tracing.valid(given)
        return tracing.onward(begun) if begun is not None else self._new_traceparent()

    def refuse(self, path: str | None, why: Rejected) -> Answer:
        """Answer what was decided before there was a whole request."""
        channel = None if path is None else self._channel_at(path)
        return self._reject(None if channel is None else channel.name, why)

    def turn_away(self) -> Answer:
        """Answer a connection that is one too many."""
        count = self._said.take(("", "", "503"), self._monotonic())
        if count:
            log.warning("connections.exhausted", count=count)
        return refusal(503)

    def tell_overdue(self, *, at_the_end: bool = False) -> None:
        """Say what was counted but not said since the last line about it. Call it every few seconds, and at the end."""
        for (channel, reason, status), count in self._said.overdue(inf if at_the_end else self._monotonic()):
            if not channel and not reason:
                log.warning("connections.exhausted", count=count)
            elif status == "503":
                log.error("notification.not_stored", channel=channel, reason=reason, count=count)
            else:
                _say_rejected(channel or None, Rejected(int(status), reason), count)

    def tell_silent(self) -> None:
        """Say which channels have become quiet for far longer than usual. Call it at least every minute."""
        for silence in self._rhythms.look(self._clock.now().timestamp()):
            log.warning(
                "channel.silent", channel=silence.channel, silent_s=round(silence.silent_s), missed=silence.missed
            )

    # What is told: ids, counts, sizes and durations; never the token, the body, a signature or who paid.

    def _accepted(self, channel: str, evidence: Evidence, began: float) -> None:
        seconds = self._monotonic() - began
        NOTIFICATIONS.of(channel, "accepted", "").inc()
        NOTIFICATION_SECONDS.of("accepted").observe(seconds)
        log.info(
            "notification.accepted",
            channel=channel,
            order=evidence.order,
            evidence_id=evidence.evidence_id,
            verdict=evidence.verdict,
            body_bytes=len(evidence.body),
            duration_ms=round(seconds * 1000, 3),
            trace_id=evidence.traceparent[3:35] if evidence.traceparent else None,
        )

    def _reject(self, channel: str | None, why: Rejected) -> Answer:
        NOTIFICATIONS.of(channel or "", "rejected", why.reason).inc()
        count = self._said.take((channel or "", why.reason, str(why.status)), self._monotonic())
        if count:
            _say_rejected(channel, why, count)
        if channel is not None and why.reason == "signature":
            self._one_more_bad_signature(channel)
        return refusal(why.status)

    def _one_more_bad_signature(self, channel: str) -> None:
        failures = self._failures_in_a_row.get(channel, 0) + 1
        self._failures_in_a_row[channel] = failures
        if failures >= FAILING_AFTER and self._failing_said.take((channel,), self._monotonic()):
            log.error("channel.failing", channel=channel, count=failures)

    def _trace(
        self, request: Request, verified: Verified | None, began: float, verified_at: float, *, error: str | None = None
    ) -> None:
        """Tell what a genuine notification's time went into."""
        if verified is None or not tracing.is_on():
            return
        evidence = verified.evidence
        traceparent, now = evidence.traceparent, self._monotonic()
        assert traceparent is not None, "the door gave it one"
        proxy, own = tracing.valid(request.traceparent), tracing.span_id(traceparent)
        about: dict[str, Value] = {
            "channel": evidence.channel,
            "order": evidence.order,
            "evidence_id": evidence.evidence_id,
        }
        parent = None if proxy is None else tracing.span_id(proxy)
        verdict: dict[str, Value] = {"verdict": evidence.verdict, "body_bytes": len(evidence.body)}
        tracing.tell(Span("receive", traceparent, parent, began, now, about | verdict, "server", error))
        tracing.tell(Span("verify", tracing.child(traceparent), own, began, verified_at, about))
        tracing.tell(Span("append", tracing.child(traceparent), own, verified_at, now, about, "producer", error))

    def _not_stored(
        self, channel: str, reason: str, verified: Verified | None, began: float, bug: Exception | None = None
    ) -> Answer:
        seconds = self._monotonic() - began
        NOTIFICATIONS.of(channel, "not_stored", reason).inc()
        NOTIFICATION_SECONDS.of("not_stored").observe(seconds)
        # What a stranger without a signature can bring about is told now and then, what AlipayHK sent each time.
        count = 1 if verified is not None else self._said.take((channel, reason, "503"), self._monotonic())
        if count:
            log.error(
                "notification.not_stored",
                channel=channel,
                reason=reason,
                count=count,
                duration_ms=round(seconds * 1000, 3),
                **(_ids(verified.evidence) if verified is not None else {}),
                **(failure(bug) if bug is not None else {}),
            )
        return refusal(503)


def _count_from_zero(channels: Channels) -> None:
    """Let the counts that alarms ask for be there before the first one: a series that begins at 30 has not risen."""
    for channel in channels:
        NOTIFICATIONS.of(channel.name, "accepted", "")
        NOTIFICATIONS.of(channel.name, "rejected", "signature")


def _say_rejected(channel: str | None, why: Rejected, count: int) -> None:
    known = {} if channel is None else {"channel": channel}
    log.warning("notification.rejected", reason=why.reason, status=why.status, count=count, **known)


def _ids(evidence: Evidence) -> dict[str, object]:
    return {"order": evidence.order, "evidence_id": evidence.evidence_id, "body_bytes": len(evidence.body)}


def _stopping() -> Unavailable:
    return Unavailable("kafka", "stopping")


def _reason(why: Unavailable) -> str:
    """The contract's reason (section 8) for what was not there in time."""
    return {"alipayhk": "notify_verify", "keys": "no_key"}.get(why.what, why.why)
