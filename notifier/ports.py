"""What is outside of us, as small Protocols: the doors and jobs ask for these, adapters give them."""

from __future__ import annotations

from typing import Protocol

from notifier.record import Record


class InboxAppender(Protocol):
    """Makes evidence durable in the inbox."""

    @property
    def is_ready(self) -> bool:
        """Are the inbox's partitions known, so that an append can be tried?"""
        ...

    async def append(self, record: Record) -> None:
        """
        Return once the record is on all in-sync replicas.

        Raises:
            Unavailable: `kafka`, why is `kafka_timeout`, `kafka_full` or `stopping`. The outcome is unknown: it may land later.
        """
        ...
