"""One POST to an endpoint, signed for it: how fan-out and `notifier endpoints ping` call."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Protocol

from consumers.client import Answer
from notifier import webhooks
from notifier.config import Endpoint


class Caller(Protocol):
    """Calls endpoints (`consumers.client.Client`)."""

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, *, timeout_s: float, tls: ssl.SSLContext | None = None
    ) -> Answer:
        """POST once; whatever the destination does is in the answer."""
        ...


async def call(
    client: Caller,
    endpoint: Endpoint,
    tls: ssl.SSLContext | None,
    *,
    webhook_id: str,
    body: bytes,
    now_ms: int,
    traceparent: str | None = None,
) -> Answer:
    """POST once. Timestamp and signature are of now; `tls` is whom to trust, None: the system's authorities."""
    signed = webhooks.headers(endpoint.secrets, webhook_id, now_ms // 1000, body)
    trace = {} if traceparent is None else {"traceparent": traceparent}
    headers = {**endpoint.headers, **signed, **trace}
    return await client.post(endpoint.url, headers, body, timeout_s=endpoint.timeout_s, tls=tls)
