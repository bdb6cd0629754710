"""The endpoints while they are being called: how many attempts each may have in flight, and whether it is failing."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from consumers.client import trusting
from notifier.config import Delivery, Endpoint
from notifier.logs import get_logger

log = get_logger()

PROBE_S_MAX = 60.0
"""An endpoint that came back is found within this."""

_DOUBLINGS_MAX = 16


class Callee:
    """One endpoint, for all partitions of this process."""

    def __init__(self, endpoint: Endpoint, *, overall: asyncio.Semaphore, delivery: Delivery) -> None:
        self.endpoint = endpoint
        self.tls: ssl.SSLContext | None = trusting(endpoint.ca_file) if endpoint.ca_file else None
        self._overall = overall
        self._delivery = delivery
        self._slots = asyncio.Semaphore(endpoint.concurrency)
        self._probing = asyncio.Lock()
        self._in_flight = 0
        self._failing_since: float | None = None
        self._probes_failed = 0
        self._probe_at = 0.0
        self.is_suspended = False

    @property
    def room(self) -> int:
        """How many more attempts may begin now: while the endpoint is suspended, one probe when its time has come."""
        if self.is_suspended:
            return int(self.probe_in_s == 0.0)
        return max(self.endpoint.concurrency - self._in_flight, 0)

    @property
    def probe_in_s(self) -> float:
        """When a suspended endpoint may be probed again; while a probe is under way, not before that must have ended."""
        if self._probing.locked():
            return self.endpoint.timeout_s
        return max(self._probe_at - asyncio.get_running_loop().time(), 0.0)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[bool]:
        """Room for one attempt; False where the endpoint is suspended and it is not the time for a probe."""
        async with self._slots, self._overall:
            if not self.is_suspended:
                self._in_flight += 1
                try:
                    yield True
                finally:
                    self._in_flight -= 1
            elif self.probe_in_s > 0.0:
                yield False
            else:
                async with self._probing:
                    yield True

    def note(self, *, is_accepted: bool) -> None:
        """Take account of an attempt: an endpoint that has only failed for long is suspended until it accepts again."""
        now = asyncio.get_running_loop().time()
        if is_accepted:
            self._failing_since = None
            self._probes_failed = 0
            if self.is_suspended:
                self.is_suspended = False
                log.info("endpoint.resumed", endpoint=self.endpoint.name, reason="accepted")
            return
        if self._failing_since is None:
            self._failing_since = now
        if self.is_suspended:
            self._probes_failed += 1
        elif now - self._failing_since >= self._delivery.suspend_after_s:
            self.is_suspended = True
            log.warning("endpoint.suspended", endpoint=self.endpoint.name, reason="failing")
        if self.is_suspended:
            pause_s = self._delivery.first_retry_s * 2.0 ** min(self._probes_failed, _DOUBLINGS_MAX)
            self._probe_at = now + min(pause_s, self._delivery.retry_s_max, PROBE_S_MAX)


def callees(endpoints: tuple[Endpoint, ...], delivery: Delivery) -> dict[str, Callee]:
    """All endpoints by name, sharing the bound on attempts in flight."""
    overall = asyncio.Semaphore(delivery.concurrency)
    return {endpoint.name: Callee(endpoint, overall=overall, delivery=delivery) for endpoint in endpoints}
