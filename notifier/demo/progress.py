"""How far a demo is, while it runs: from the orders topic as a subscriber sees it, and from what the merchants got."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import quantiles

from notifier.demo.history import Entry, Merchant, Order, Post, Webhook
from notifier.demo.records import read_event


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at it. Latencies are in milliseconds, from a POST to its webhook; None while there are too few."""

    accepted: int
    rejected: int
    unanswered: int
    """Neither: answered 5xx, or not at all. AlipayHK sends these again."""
    by_status: dict[str, int]
    events: int
    delivered: int
    waiting: int
    p50_ms: float | None
    p99_ms: float | None


NOTHING = Seen(
    accepted=0, rejected=0, unanswered=0, by_status={}, events=0, delivered=0, waiting=0, p50_ms=None, p99_ms=None
)


@dataclass(slots=True)
class Progress:
    """Counts as things happen. `posts`, `webhooks` and `first_sent_at` are filled by the simulated world."""

    merchants: Sequence[Merchant]
    timed: frozenset[str]
    """The merchants whose latency counts: the one that fails on purpose says nothing about the pipeline."""
    posts: Sequence[Post]
    webhooks: Sequence[Webhook]
    first_sent_at: dict[str, float]
    _statuses: dict[Order, tuple[int, str]] = field(default_factory=dict)
    _sent_at: dict[str, float] = field(default_factory=dict)
    _wanted: set[tuple[str, str]] = field(default_factory=set)
    _told: set[tuple[str, str]] = field(default_factory=set)
    _arrived_at: dict[tuple[str, str], float] = field(default_factory=dict)
    _answers: Counter[str] = field(default_factory=Counter)
    _posts_read: int = 0
    _webhooks_read: int = 0

    def read(self, entries: Iterable[Entry]) -> None:
        """Take in records of the orders topic."""
        for entry in entries:
            event = read_event(entry)
            if event is None:
                continue
            version, _ = self._statuses.get(event.order, (0, ""))
            if event.version > version:
                self._statuses[event.order] = event.version, event.state.status
            self._sent_at[event.id] = self.first_sent_at.get(event.evidence_id, 0.0)
            self._wanted.update(
                (merchant.name, event.id)
                for merchant in self.merchants
                if merchant.wants(event.order.channel, event.type, event.flags_added)
            )

    def look(self) -> Seen:
        """Where it stands."""
        self._catch_up()
        latencies = self._latencies_ms()
        cuts = quantiles(latencies, n=100) if len(latencies) >= 100 else None
        return Seen(
            accepted=self._answers["accepted"],
            rejected=self._answers["rejected"],
            unanswered=self._answers["unanswered"],
            by_status=dict(Counter(status for _, status in self._statuses.values())),
            events=len(self._sent_at),
            delivered=len(self._told & self._wanted),
            waiting=len(self._wanted - self._told),
            p50_ms=cuts[49] if cuts else None,
            p99_ms=cuts[98] if cuts else None,
        )

    def is_told(self, orders: Iterable[Order]) -> bool:
        """Whether these orders have events, and every event so far was accepted by everybody who wants it."""
        self._catch_up()
        return all(order in self._statuses for order in orders) and self._wanted <= self._told

    def _catch_up(self) -> None:
        for post in self.posts[self._posts_read :]:
            is_refused = post.status is not None and 400 <= post.status < 500
            self._answers["accepted" if post.is_success else "rejected" if is_refused else "unanswered"] += 1
        self._posts_read = len(self.posts)
        for webhook in self.webhooks[self._webhooks_read :]:
            delivery = webhook.merchant, webhook.webhook_id
            self._arrived_at.setdefault(delivery, webhook.arrived_at)
            if webhook.is_accepted:
                self._told.add(delivery)
        self._webhooks_read = len(self.webhooks)

    def _latencies_ms(self) -> list[float]:
        return [
            (arrived_at - self._sent_at[event]) * 1000
            for (merchant, event), arrived_at in self._arrived_at.items()
            if merchant in self.timed and self._sent_at.get(event)
        ]
