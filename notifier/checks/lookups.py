"""Asking for addresses without being held up: name servers that hang must not hold the end of a command up."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any


class Loop(asyncio.SelectorEventLoop):
    """
    An event loop whose lookups run in daemon threads.

    The standard one asks in a pool that Python waits for at its end, however long the system's resolver takes. Every library
    connects through the loop, so this holds for Kafka, Redis and endpoints alike.
    """

    async def getaddrinfo(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - the loop's name of it
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """As the standard loop's."""
        answer: asyncio.Future[list[Any]] = self.create_future()

        def ask() -> None:
            try:
                found: list[Any] | Exception = list(socket.getaddrinfo(host, port, family, type, proto, flags))
            except (OSError, UnicodeError) as error:
                found = error
            if not self.is_closed():
                self.call_soon_threadsafe(_tell, answer, found)

        threading.Thread(target=ask, name="lookup", daemon=True).start()
        return await answer


def _tell(answer: asyncio.Future[list[Any]], found: list[Any] | Exception) -> None:
    if answer.done():  # nobody waits for it any more
        return
    if isinstance(found, Exception):
        answer.set_exception(found)
    else:
        answer.set_result(found)
