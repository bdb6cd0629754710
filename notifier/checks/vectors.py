"""
A stored genuine message of each channel, verified with the keys that are set now.

A key can be read and still be the wrong one; only a genuine message tells. Two are looked for:

* `X.vector` beside a channel's key `X.pem` (or beside its MD5 key's file): the body of a notification, byte for byte, such as
  an earlier system has in its logs. It proves a key before anything has been started. It holds a buyer's e-mail, so it is judged
  as a secret file and may be deleted once it has done its work.
* the channel's newest notification in the inbox. Nobody has to put it there: the inbox holds nothing that was not verified, as
  it arrived, and for 30 days. So after a change of keys this is what tells that they still fit what AlipayHK really sends.

Judging is pure: bytes and settings in, words out.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from notifier.channel import Channel, NoKey
from notifier.checks.finding import Finding, fault, ok, warning
from notifier.config import ChannelSettings
from notifier.errors import Rejected
from notifier.evidence import Evidence

_FORM = "application/x-www-form-urlencoded"


def vectors_beside(written: ChannelSettings) -> list[Path]:
    """The genuine messages that lie beside a channel's keys: beside `keys/a.pem`, `keys/a.vector`."""
    keys = [key.file for key in written.keys] + ([written.md5_key_file] if written.md5_key_file is not None else [])
    paths = [key.with_name(f"{key.name.removesuffix('.pem')}.vector") for key in keys]
    return [path for path in paths if path.is_file()]


def judge_file(channel: Channel, file: str, body: bytes, now: datetime) -> Finding:
    """The message in a file. An editor's line end after it is no part of it: a form has none."""
    name = f"channels.{channel.name}.vector"
    try:
        key = channel.verify(body.rstrip(b"\r\n"), _FORM, now, None).evidence.key
    except NoKey:
        return fault(name, f"{file}: no key is active that could verify it", "See the channel's keys.")
    except Rejected as refused:
        return fault(
            name,
            f"{file}: this genuine message would be refused ({refused.reason}), and so would AlipayHK's",
            "Compare keys and sign_types with AlipayHK's portal; the file must be the body as it was sent, byte for byte.",
        )
    return ok(name, f"{file}: verified with key {key}")


def judge_newest(channel: Channel, newest: Evidence | None, now: datetime) -> Finding:
    """The channel's newest notification in the inbox, with the keys that are active now; None where none was found."""
    name = f"channels.{channel.name}.vector"
    if newest is None:
        return warning(
            name,
            "unproven: no genuine message of this channel is stored, so nothing shows that its keys are the right ones",
            "The first notification will. Sooner: save a genuine body beside the key, as keys/NAME.vector.",
        )
    received = f"the newest notification in the inbox ({newest.received_at:%Y-%m-%d %H:%M}Z)"
    if newest.key not in [key.fingerprint for key in channel.active_keys(now)]:
        return warning(
            name,
            f"{received} was signed with key {newest.key}, which is not active any more: more of those would be refused",
            "Right after a change of keys. If AlipayHK still signs with the old one, put it back, with a not_after.",
        )
    try:
        channel.verify(newest.body, newest.content_type, now, None)
    except (Rejected, NoKey) as refused:
        why = refused.reason if isinstance(refused, Rejected) else refused.why
        return fault(
            name,
            f"{received} would be refused now ({why})",
            "Compare sign_types and keys with what they were then, and with AlipayHK's portal.",
        )
    return ok(name, f"{received} verifies with key {newest.key}")
