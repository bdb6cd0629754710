"""
What a view keeps of a record: small, and the record back byte for byte, because a repair appends it again (rule 6).

Our records are JSON and headers with the same names again and again, most of it at the same places. LZ4 with a dictionary of
such text takes four fifths of it away in a few microseconds (a record of 1,300 bytes becomes 260); packing by hand would have
to know each member of each record, and to fall back where one is not as expected.
"""

from __future__ import annotations

from collections.abc import Callable

import lz4.block
import msgspec

from notifier.ports import Kept, Pointer
from notifier.record import Headers, Record, Stored

_FORMAT = b"\1"
"""
The first byte of all that is kept. Another dictionary is another format: what an old one made must be read with it.

What a later release keeps is read from the log instead, so releases that keep records differently live side by side in one Redis.
"""

_DICTIONARY = (
    # a lane with one event that waits; the others have less
    b'\x92\x91\x92\xaccontent-type\xc4\x10application/json\xc5\x02\x68{"event_id":"evt_","endpoint":"","channel":"","order":"",'
    b'"version":2,"event_partition":1,"event_offset":10,"attempt":1,"outcome":"waiting","outcome":"accepted","status_code":200,'
    b'"duration_ms":10.1,"error":"timeout","outcome":"failed","status_code":null,"duration_ms":null,"error":"connect","error":null,'
    b'"next_attempt_at":null,"lane":{"settled":1,"known":2,"waiting":[],"dead":[],"since":null,"attempt":0,"next_attempt_at":null'
    b',"again":[]},"state_version":1},"next_attempt_at":"2026-01-01T00:00:00.000000Z","lane":{"settled":0,"known":1,"waiting":[[1,100,"evt_"]]'
    b',"dead":[],"since":"2026-01-01T00:00:00.000000Z","attempt":1,"next_attempt_at":"2026-01-01T00:00:00.000000Z"'
    b',"again":[]},"state_version":1}'
    # an order that was paid and has been closed or refunded; then one that was only paid, as most are
    b'"fact":"closed","fact":"refund","refund":"","is_done":true,"amount":100,"fact":"registered","binds":true,"wallet":"ALIPAYHK",'
    b'"payment":"app","metadata":{"order.flagged","order.closed","order.refunded","status":"refunded","order.noted","order.pending"'
    b'"flags":["amount_mismatch"],"status":"pending","is_final":false,"amount":null,"paid_at":null,"closed_at":"2026-01-01T00:00:00Z"'
    b',"held":"amount_mismatch"}],"refunds":[{"refund":"","status":"done"}],"payments":[],"refunds":[],'
    b"\x92\x9a\x92\xaece_specversion\xc4\x031.0\x92\xa5ce_id\xc4\x24evt_\x92\xa7ce_type\xc4\x0forder.finalized\xc4\x0aorder.paid"
    b"\x92\xa9ce_source\xc4\x12/alipayhk/\x92\xaace_subject\xc4\x09T\x92\xa7ce_time\xc4\x1b2026-01-01T00:00:00.000000Z\x92"
    b"\xadce_dataschema\xc4\x2aurn:alipayhk-notifier:schema:order-event:1\x92\xaccontent-type\xc4\x10application/json\x92"
    b"\xafce_orderversion\xc4\x012\x92\xabtraceparent\xc4\x3700-"
    b'-01\xc5\x04{"event":{"id":"evt_","type":"order.paid","version":2,"flags_added":[],"late":false,"cause":"notification",'
    b'"evidence_id":"","inbox_offset":1000,"reason":null},"order":{"channel":"","order":"","version":2,"status":"paid",'
    b'"is_final":true,"currency":"HKD","amount":10000,"paid":10000,"refunded":0,"trade_no":"2026","paid_at":"2026-01-01T00:00:00Z",'
    b'"closed_at":null,"wallet":null,"payment":null,"metadata":{},"payments":[{"trade_no":"2026","amount":10000,"currency":"HKD",'
    b'"at":"2026-01-01T00:00:00Z","held":null}],"refunds":[],"settlements":[],"flags":[]},"facts":[{"fact":"final","trade_no":"2026'
    b'"},{"fact":"paid","trade_no":"2026","amount":10000,"currency":"HKD","at":"2026-01-01T00:00:00Z","channel_currency":"HKD",'
    b'"registered_only":false},{"fact":"waiting","trade_no":"2026","amount":10000,"currency":"HKD","channel_currency":"HKD"}],'
    b'"state_version":1}'
)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[Headers, bytes]).decode


def kept(record: Record, offset: int) -> Kept:
    """A record as a view keeps it."""
    return Kept(offset, _FORMAT + lz4.block.compress(_encode((record.headers, record.value)), dict=_DICTIONARY))


def record_in(key: bytes, entry: Kept) -> Record | None:
    """The record that a view keeps of a key; None: a later release keeps it, in a way that is not known here (`record_at`)."""
    if entry.body[:1] != _FORMAT:
        return None
    headers, value = _decode(lz4.block.decompress(memoryview(entry.body)[1:], dict=_DICTIONARY))
    return Record(key, value, headers)


def record_at(
    entry: Kept | Pointer, key: bytes, stored: Stored | None, version: Callable[[Record], int]
) -> Record | None:
    """The record that an entry stands for, from what lies in the log at its offset; None: that is another, or nothing."""
    if stored is None or stored.record.key != key:
        return None
    is_it = isinstance(entry, Kept) or version(stored.record) == entry.version
    return stored.record if is_it else None
