"""
Ask AlipayHK whether a notification is its own: the only call that the door makes, and only once the signature is verified.

The key that AlipayHK shares among all its merchants proves that AlipayHK signed, not that it signed for us; this question, asked
with our own partner number, binds the message to us (hostile_inputs, C12, C27, C28).
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from types import TracebackType

import aiohttp
from yarl import URL

from notifier.alipayhk.notify_verify import judge_notify_verify, notify_verify_url
from notifier.errors import Rejected, Unavailable

TIMEOUT_S = 2.0
"""Connect, request and answer together; AlipayHK sends again after what we could not confirm."""

ANSWER_BYTES_MAX = 1024
"""`true` or `false` is expected; whatever is longer is neither."""

QUESTIONS_AT_ONCE_MAX = 32


class NotifyVerifier:
    """Holds the one session with AlipayHK's gateways, to be entered once."""

    def __init__(self, *, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> NotifyVerifier:
        self._session = await self._stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=QUESTIONS_AT_ONCE_MAX),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                headers={"Accept-Encoding": "identity"},
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=self._timeout_s),
            )
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def confirm(self, gateway_url: str, partner_id: str, notify_id: str | None) -> None:
        """
        Return if AlipayHK says that it made this notification for this partner.

        Raises:
            Rejected: 401 `notify_id`, because AlipayHK says that it did not, or there is nothing to ask about.
            Unavailable: `alipayhk`, because it said neither yes nor no in time.
        """
        if not notify_id:
            raise Rejected(401, "notify_id")
        try:
            async with asyncio.timeout(self._timeout_s):
                status, answer = await self._ask(notify_verify_url(gateway_url, partner_id, notify_id))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable("alipayhk", "notify_verify") from error
        if not judge_notify_verify(status, answer):
            raise Rejected(401, "notify_id")

    async def _ask(self, url: str) -> tuple[int, bytes]:
        assert self._session is not None, "entered"
        answer = bytearray()
        # `encoded`: the notify_id stands in the address exactly as `notify_verify_url` wrote it, not as a library normalises it
        async with self._session.get(URL(url, encoded=True), allow_redirects=False) as response:
            async for piece in response.content.iter_any():
                answer += piece
                if len(answer) > ANSWER_BYTES_MAX:
                    response.close()
                    break
        return response.status, bytes(answer)
