"""What the parts of fan-out work with: in their process, and on their partition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from consumers.telling.callees import Callees
from consumers.telling.calling import Caller
from consumers.telling.due import DueTimes
from consumers.telling.endpoints import Endpoints
from consumers.telling.recorder import Recorder
from consumers.view import View
from notifier.clock import Clock
from notifier.config import Delivery
from notifier.outage import Outages
from notifier.ports import LogReader, ViewStore
from notifier.topics import Topics


@dataclass(slots=True)
class Means:
    """What all partitions of a process share. Only `delivery` changes: a reload puts another in its place, as a whole."""

    topics: Topics
    delivery: Delivery
    client: Caller
    store: ViewStore
    reader: LogReader
    outages: Outages
    clock: Clock
    random: Callable[[], float]
    waiting_max: int
    """How much of one endpoint may wait in one partition; what comes then is a dead letter at once."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What all parts of the work on one partition share."""

    means: Means
    partition: int
    view: View
    recorder: Recorder
    endpoints: Endpoints
    due: DueTimes
    callees: Callees
