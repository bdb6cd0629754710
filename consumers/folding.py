"""A batch of evidence being folded: what follows from it, before any of it is durable."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from consumers.orders_lines import Line, OrdersLines
from notifier import events, evidence
from notifier.alipayhk.resends import resent_late
from notifier.clock import Clock
from notifier.errors import NewerStateError, Reason, Unusable
from notifier.evidence import USABLE, Evidence
from notifier.order import Changed, Decision, Known, SetAside, Unchanged, decide
from notifier.reading import statement_of
from notifier.record import Record, Stored
from notifier.statement import Statement, TradeStatement


class Fold:
    """
    One record for each piece of evidence that adds a fact, never two in one (rule 2).

    Args:
        latest: the latest record of each order that the batch is about, as far as there is one.
    """

    def __init__(self, latest: dict[bytes, Record], partition: int, clock: Clock) -> None:
        self._latest = latest
        self._known: dict[bytes, Known] = {}
        self._partition = partition
        self._say = OrdersLines(partition, clock)
        self.changes: list[Record] = []
        self.aside: list[Record] = []
        self.lines: list[Line] = []

    def take(self, turn: Sequence[Stored]) -> None:
        """
        Fold some records, in their order.

        Raises:
            NewerStateError: a later release has written about an order among them.
        """
        try:
            self._fold(turn)
        except NewerStateError:
            raise
        except Exception:  # noqa: BLE001 - about one record; which one is seen when they are taken one by one
            for stored in turn:
                self._take_one(stored)

    def _take_one(self, stored: Stored) -> None:
        read: Evidence | None = None
        try:
            read = evidence.from_record(stored.record)
            self._fold([stored])
        except NewerStateError:
            raise
        except Exception as error:  # noqa: BLE001 - a bug of ours about one record must not hold its partition up (L2)
            self.aside.append(self._quarantined(stored, Reason.INTERNAL_ERROR))
            self.lines.append(self._say.set_aside(read, stored, Reason.INTERNAL_ERROR, error))

    def _fold(self, turn: Sequence[Stored]) -> None:
        """
        Fold step by step: all records are read, then all decided, then all written.

        Record by record would be half as dear again: each of some two hundred small calls would find that all the others have
        pushed it out of the processor's caches. Until the last step nothing is changed here, so that what fails can be repeated.
        """
        reads = [evidence.from_record(stored.record) for stored in turn]
        statements = [_statement_of(read) for read in reads]
        late = [_resent_late(read, statement) for read, statement in zip(reads, statements, strict=True)]
        known: dict[bytes, Known] = {}
        decisions: list[Decision] = []
        made: list[tuple[Changed, Evidence, str, int]] = []
        for stored, read, statement in zip(turn, reads, statements, strict=True):
            if isinstance(statement, Reason):
                decisions.append(SetAside(statement))
                continue
            key = stored.record.key
            decision = decide(known.get(key) or self._known_of(key), statement, read)
            decisions.append(decision)
            if isinstance(decision, Changed):
                known[key] = Known(decision.version, decision.facts, decision.summary)
                made.append((decision, read, statement.order, stored.offset))
        records = [events.to_record(*change) for change in made]
        aside: list[Record] = []
        lines: list[Line] = []
        changes = zip(made, records, strict=True)
        for stored, read, since, decision in zip(turn, reads, late, decisions, strict=True):
            if since is not None:
                lines.append(self._say.resent_late(read, stored, since))
            match decision:
                case Unchanged():
                    lines.append(self._say.repeated(read, stored))
                case SetAside(reason=reason):
                    aside.append(self._quarantined(stored, reason))
                    lines.append(self._say.set_aside(read, stored, reason, None))
                case Changed():
                    if decision.held is not None:
                        aside.append(self._quarantined(stored, decision.held))
                        lines.append(self._say.set_aside(read, stored, decision.held, None))
                    (_, _, order, _), record = next(changes)
                    lines.append(self._say.changed(read, order, decision, record))

        self._known |= known
        self.changes += records
        self.aside += aside
        self.lines += lines

    def _known_of(self, key: bytes) -> Known | None:
        if key not in self._known and key in self._latest:
            self._known[key] = events.known_from(self._latest[key])
        return self._known.get(key)

    def _quarantined(self, stored: Stored, reason: Reason) -> Record:
        return evidence.to_quarantine(stored.record, reason, self._partition, stored.offset)


def _statement_of(read: Evidence) -> Statement | Reason:
    """What evidence states, or why it states nothing that can be used."""
    if read.verdict != USABLE:
        return Reason(read.verdict)
    try:
        return statement_of(read)
    except Unusable as unusable:
        return unusable.reason


def _resent_late(read: Evidence, statement: Statement | Reason) -> timedelta | None:
    return resent_late(statement, read.received_at) if isinstance(statement, TradeStatement) else None
