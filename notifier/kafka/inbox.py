"""The inbox as the door needs it: one record at a time, each durable before it returns."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, NamedTuple, Self

from notifier import metrics
from notifier.errors import Unavailable
from notifier.kafka.producer import Producer
from notifier.outage import Outages
from notifier.record import Record
from notifier.topics import partition_of, spread_over

ASK_EVERY_S = 5.0
"""At night nobody posts: who does not ask learns of an outage in the morning, and of its end with the next POST."""


class _Waiting(NamedTuple):
    """A record on its way, and who waits for it."""

    record: Record
    written: asyncio.Future[None]


class Inbox:
    """
    Appends evidence to the inbox (`notifier.ports.InboxAppender`).

    What comes for a partition while its last batch is out goes into the next one together: handing records over one by one, each
    with a deadline and a future of the client's, would cost more than all that is done to a notification beside its signature.

    Args:
        timeout_s: how long an append may wait for its acknowledgement.
        unacknowledged_max: appends that may wait for it at once. Beyond it Kafka is not keeping up, and a quick no is worth more
            than a long queue: AlipayHK sends again.
        outages: says when Kafka does not answer.
        partitions: how many the settings say that the topic has; None: nobody says.
    """

    def __init__(
        self,
        producer: Producer,
        topic: str,
        *,
        timeout_s: float,
        unacknowledged_max: int = 2_000,
        outages: Outages | None = None,
        partitions: int | None = None,
    ) -> None:
        self._producer = producer
        self._topic = topic
        self._partitions = partitions
        self._timeout_s = timeout_s
        self._unacknowledged = 0
        self._unacknowledged_max = unacknowledged_max
        self._queues: list[deque[_Waiting]] = []
        self._early: deque[_Waiting] = deque()
        """What came before the partitions were known: it waits as long as any other."""
        self._deadlines: deque[tuple[float, asyncio.Future[None]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        metrics.APPENDS_IN_FLIGHT.of(topic).set_function(lambda: self._unacknowledged)
        self._outages = outages or Outages()
        self._has_failed = False
        """Did an append fail since Kafka was last asked?"""
        self._tasks = asyncio.TaskGroup()
        self._running: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def __aenter__(self) -> Self:
        await self._producer.__aenter__()
        await self._tasks.__aenter__()
        self._run(self._connect())
        self._run(self._ask_regularly())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_closed = True
        for waiting in (waiting for queue in (self._early, *self._queues) for waiting in queue):
            if not waiting.written.done():
                waiting.written.set_exception(_stopping())
        for task in self._running:
            task.cancel()  # nobody waits any more for what they write
        try:
            await self._tasks.__aexit__(kind, error, traceback)
        finally:  # a task group that is left with an error raises it again; the producer has to be ended all the same
            if self._timer is not None:
                self._timer.cancel()
            await self._producer.__aexit__(kind, error, traceback)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._tasks.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def give_up_after(self, timeout_s: float) -> None:
        """How long an append may wait from now on. Those under way wait no longer than one that begins now."""
        self._timeout_s = timeout_s
        self._producer.give_up_after(timeout_s)
        latest = self._loop.time() + timeout_s
        self._deadlines = deque((min(at, latest), written) for at, written in self._deadlines)
        if self._timer is not None:
            self._timer.cancel()
            self._give_up_overdue()

    @property
    def is_ready(self) -> bool:
        """Are the inbox's partitions known?"""
        return bool(self._queues)

    @property
    def is_answering(self) -> bool:
        """Did Kafka answer when it was asked last? Who is ready goes on trying all the same."""
        return self.is_ready and "kafka" not in self._outages.current

    @property
    def unacknowledged(self) -> int:
        """Appends that wait for their acknowledgement."""
        return self._unacknowledged

    async def append(self, record: Record) -> None:
        """
        Return once the record is on all in-sync replicas.

        Raises:
            Unavailable: `kafka`; why is `kafka_full` where nothing was sent, `stopping` once it is being closed, else
                `kafka_timeout`. But for `kafka_full` it may land later.
        """
        if self._is_closed:
            raise _stopping()
        if self._unacknowledged >= self._unacknowledged_max:
            raise Unavailable("kafka", "kafka_full")
        written = self._loop.create_future()
        self._expect(written)
        waiting = _Waiting(record, written)
        if self._queues:
            self._put(waiting)
        else:
            while self._early and self._early[0].written.done():  # too late: it was answered for
                self._early.popleft()
            self._early.append(waiting)
        self._unacknowledged += 1
        try:
            await written
        finally:
            self._unacknowledged -= 1

    def _put(self, waiting: _Waiting) -> None:
        """Let it be written with what is next for its partition."""
        partition = partition_of(waiting.record.key, len(self._queues))
        queue = self._queues[partition]
        queue.append(waiting)
        if len(queue) == 1:
            self._run(self._write(partition, queue))

    async def _write(self, partition: int, queue: deque[_Waiting]) -> None:
        """Write what waits for a partition, one batch after another, until nothing does. What waits stays at the queue's head."""
        while queue:
            # what was answered for already (too late, or its client's task is gone) need not be sent any more
            batch = [waiting for waiting in queue if not waiting.written.done()]
            taken = len(queue)
            failure: Unavailable | None = None
            if batch:
                try:
                    await self._producer.append(self._topic, partition, [waiting.record for waiting in batch])
                except Unavailable as error:
                    failure = error
                    self._has_failed = True
                    self._outages.begin(error)
                else:
                    self._outages.end("kafka")
            for _ in range(taken):
                queue.popleft()
            for _, written in batch:
                if written.done():
                    continue
                if failure is None:
                    written.set_result(None)
                else:
                    written.set_exception(_not_in_time(failure))

    def _expect(self, written: asyncio.Future[None]) -> None:
        """Give up after `timeout_s`. All wait equally long, so one timer, for the one that waits longest, serves them all."""
        deadlines = self._deadlines
        while deadlines and deadlines[0][1].done():
            deadlines.popleft()
        deadlines.append((self._loop.time() + self._timeout_s, written))
        if self._timer is None:
            self._timer = self._loop.call_at(deadlines[0][0], self._give_up_overdue)

    def _give_up_overdue(self) -> None:
        now, deadlines = self._loop.time(), self._deadlines
        while deadlines and (deadlines[0][1].done() or deadlines[0][0] <= now):
            _, written = deadlines.popleft()
            if not written.done():
                written.set_exception(_not_in_time())
        self._timer = self._loop.call_at(deadlines[0][0], self._give_up_overdue) if deadlines else None

    async def _connect(self) -> None:
        """Learn the inbox's partitions, however long Kafka is away."""
        partitions = await self._outages.ride_out(lambda: self._producer.partitions_of(self._topic))
        if self._partitions is not None:
            partitions = spread_over(partitions, self._partitions)
        self._queues = [deque() for _ in range(partitions)]
        while self._early:
            self._put(self._early.popleft())

    async def _ask_regularly(self) -> None:
        """
        Ask whether Kafka answers, whoever posts or not: its outage is told, and rises, and ends, by time.

        An answer alone is no end while appends fail: a broker may answer and take nothing.
        """
        while True:
            await asyncio.sleep(ASK_EVERY_S)
            await self._outages.ride_out(self._producer.ask)
            if not self._has_failed:
                self._outages.end("kafka")
            self._has_failed = False


def _stopping() -> Unavailable:
    return Unavailable("kafka", "stopping")


def _not_in_time(cause: Unavailable | None = None) -> Unavailable:
    """Whatever it was: no acknowledgement came in time, the record may land later. One for each append: it has a traceback."""
    error = Unavailable("kafka", "kafka_timeout")
    error.__cause__ = cause
    return error
