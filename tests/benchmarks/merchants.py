"""Settings with many merchants, and events for them as the orders job makes them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from notifier.alipayhk import mapi
from notifier.events import to_record
from notifier.evidence import from_record
from notifier.kafka.producer import Producer
from notifier.order import Changed, Known, decide
from notifier.record import Record
from notifier.topics import partition_of

from .bodies import PARTNER
from .evidence import inbox_record
from .installation import SECRET, Installation

_CHANNEL = """
[[channels]]
name = "{name}"
token = "benchmark-token-{name}-0123456789"
protocol = "mapi"
partner_id = "{partner}"
currency = "HKD"
sign_types = ["RSA2"]
keys = ["alipayhk.pem"]
"""

_ENDPOINT = """
[[endpoints]]
name = "{name}"
url = "http://127.0.0.1:{port}/{name}"
channels = ["{channel}"]
secrets = ["{secret}"]
allow_http = true
"""


def settings_of(
    place: Installation, names: Sequence[str], *, ports: dict[str, int] | None = None, delivery: str = ""
) -> Path:
    """
    The installation's settings with these merchants: each has an endpoint and a channel of its own, both under its name.

    Args:
        ports: where one listens that is not on the port of the crowd.
        delivery: more lines for `[delivery]`.
    """
    text = place.settings_file.read_text(encoding="utf-8").split("[[channels]]")[0]
    text = text.replace("[delivery]\n", f"[delivery]\n{delivery}\n")
    for name in names:
        port = (ports or {}).get(name, place.sink_port)
        text += _CHANNEL.format(name=name, partner=PARTNER)
        text += _ENDPOINT.format(name=name, port=port, channel=name, secret=SECRET)
    path = place.settings_file.with_name(f"{place.settings_file.stem}-{len(names)}.toml")
    path.write_text(text, encoding="utf-8")
    return path


def events_of(
    place: Installation, channel: str, order: str, statuses: Sequence[str] = ("TRADE_SUCCESS",)
) -> list[Record]:
    """The events of an order, as the orders job makes them of these messages."""
    known = None
    records = []
    for number, status in enumerate(statuses):
        read = from_record(inbox_record(place, order, status, after_s=21 + number))
        evidence = msgspec.structs.replace(read, channel=channel)
        change = decide(known, mapi.statement_of(evidence), evidence)
        assert isinstance(change, Changed)
        records.append(to_record(change, evidence, order, inbox_offset=number))
        known = Known(change.version, change.facts, change.summary)
    return records


async def append(place: Installation, producer: Producer, events: Iterable[Record]) -> None:
    """Append events where they belong."""
    by_partition: defaultdict[int, list[Record]] = defaultdict(list)
    for event in events:
        by_partition[partition_of(event.key, place.partitions)].append(event)
    for partition, records in by_partition.items():
        for first in range(0, len(records), 1_000):
            await producer.append(place.topics.orders, partition, records[first : first + 1_000])
