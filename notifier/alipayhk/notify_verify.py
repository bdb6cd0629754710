"""
`notify_verify`: asking AlipayHK whether a notification is its own and meant for us.

The gateway knows ids, not bodies, so this never replaces the signature; it is what binds a message to our account where a key is
shared by all merchants. The ingress asks before it appends; here is what to ask and what the answer means.
"""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit

from notifier.errors import Unavailable

_ANSWERS = {word + end: word == b"true" for word in (b"true", b"false") for end in (b"", b"\n", b"\r\n")}


def notify_verify_url(gateway_url: str, partner_id: str, notify_id: str) -> str:
    """
    The address to GET. The id is encoded once, as AlipayHK's own example is, so it can't bring parameters of its own.

    `gateway_url` is `https://intlmapi.alipay.com/gateway.do` or the like; a query that it has already is kept.
    """
    query = urlencode({"service": "notify_verify", "partner": partner_id, "notify_id": notify_id})
    return f"{gateway_url}{'&' if urlsplit(gateway_url).query else '?'}{query}"


def judge_notify_verify(status: int, body: bytes) -> bool:
    """
    Whether AlipayHK knows the notification: exactly `true`, or exactly `false`; a line end is allowed.

    Raises:
        Unavailable: `alipayhk`, why is `notify_verify`. Anything else is no answer, and the message is not refused for it.
    """
    if status != 200 or body not in _ANSWERS:
        raise Unavailable("alipayhk", "notify_verify")
    return _ANSWERS[body]
