"""An outage of something outside of us: said once when it begins, once more if it lasts, and once when it is over."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

from notifier import metrics
from notifier.errors import Unavailable
from notifier.logs import get_logger

log = get_logger()

LASTS_S = 60.0
"""After this a person should know: the line is written again, as an error."""

RETRY_FIRST_S = 0.1
RETRY_MAX_S = 5.0

_T = TypeVar("_T")


class Outages:
    """
    What does not answer right now, for one process.

    Args:
        sleep: waits so many seconds between two tries; tests bring their own.
        kafka: where Kafka is, as the settings say; whoever mends it has to know which one. Never with a password.
        redis: likewise.
    """

    def __init__(
        self,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        *,
        kafka: str | None = None,
        redis: str | None = None,
    ) -> None:
        self._sleep = sleep
        self._kafka = kafka
        self._redis = redis
        self._began: dict[str, float] = {}
        self._waiting: Counter[str] = Counter()
        self._lasting: set[str] = set()

    @property
    def current(self) -> frozenset[str]:
        """The names of what does not answer: `kafka`, `redis`."""
        return frozenset(self._began)

    async def ride_out(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """Do the work; while something it needs is unavailable, wait and do it again from its beginning."""
        wait_s = RETRY_FIRST_S
        met: set[str] = set()
        try:
            while True:
                try:
                    result = await work()
                except Unavailable as error:
                    if error.what not in met:
                        met.add(error.what)
                        self._waiting[error.what] += 1
                    self.begin(error)
                    await self._sleep(wait_s)
                    wait_s = min(wait_s * 2, RETRY_MAX_S)
                    continue
                for what in tuple(met):
                    self._leave(met, what)
                    self.end(what)
                return result
        finally:
            for what in tuple(met):
                self._leave(met, what)
                if not self._waiting[what]:
                    # whoever waited for it was cancelled: nobody is left who would notice its end
                    self._began.pop(what, None)
                    metrics.UNAVAILABLE.of(what).set(0)
                    self._lasting.discard(what)

    def _leave(self, met: set[str], what: str) -> None:
        met.remove(what)
        self._waiting[what] -= 1

    def begin(self, error: Unavailable) -> None:
        """Note that something did not answer."""
        now = asyncio.get_running_loop().time()
        if error.what not in self._began:
            self._began[error.what] = now
            metrics.UNAVAILABLE.of(error.what).set(1)
            self._say(error, 0.0)
        elif now - self._began[error.what] >= LASTS_S and error.what not in self._lasting:
            self._lasting.add(error.what)
            self._say(error, now - self._began[error.what])

    def end(self, what: str) -> None:
        """
        Note that it answers again. The outage is over when the last who waits in `ride_out` is through.

        It may answer one and not yet another: a broker is there before its coordinator is, a Redis that is full can be read.
        """
        if self._waiting[what]:
            return
        began = self._began.pop(what, None)
        if began is None:
            return
        self._lasting.discard(what)
        metrics.UNAVAILABLE.of(what).set(0)
        since_s = round(asyncio.get_running_loop().time() - began, 1)
        if what == "redis":
            log.info("redis.recovered", since_s=since_s)
        else:
            log.info("kafka.recovered", since_s=since_s)

    def _say(self, error: Unavailable, since_s: float) -> None:
        write = log.error if since_s else log.warning
        reason = _reason(error.why)
        if error.what == "redis":
            write("redis.unavailable", reason=reason, since_s=round(since_s, 1), server=self._redis)
        else:
            write("kafka.unavailable", reason=reason, since_s=round(since_s, 1), servers=self._kafka)


NO_ANSWER = "no_answer"

_SILENT = frozenset(
    (
        "ConnectionError",
        "KafkaConnectionError",
        "KafkaTimeoutError",
        "NodeNotReadyError",
        "RequestTimedOutError",
        "TimeoutError",
        "kafka_timeout",
        "no broker answers",
    )
)
"""What a server that is down is called, by who asked it what."""


def _reason(why: str) -> str:
    """Why, in one word for all who met the same; what it said, where it did say something."""
    _, _, what = why.rpartition(": ")  # `commit: TimeoutError`
    return NO_ANSWER if what in _SILENT else why
