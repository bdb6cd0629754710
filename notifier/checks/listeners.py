"""The addresses that the services will listen on: free, or taken, and by whom."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

from notifier.addresses import literal
from notifier.checks.finding import Finding, fault, ok, warning
from notifier.checks.programs import Program, program_on
from notifier.config import Address, Settings
from notifier.processes.listening import CannotListenError, listening


async def look_at_listeners(settings: Settings) -> AsyncIterator[Finding]:
    """Take each address for a moment, as the services will."""
    seen = dict[Address, str]()
    for setting, address in _addresses_of(settings):
        name = f"listeners.{setting}"
        other = seen.setdefault(address, setting)
        if other != setting and address.port != 0:
            yield fault(name, f"{address} is also {other}: only one of them can have it", "Choose another port.")
            continue
        if address.host and literal(address.host) is None:
            with suppress(socket.gaierror):  # told below, in its own words
                # what takes the address asks for it without a deadline: so it is asked for beforehand, with one
                await asyncio.get_running_loop().getaddrinfo(address.host, address.port)
        try:
            with listening(address, setting):
                pass
        except CannotListenError as error:
            yield judge_taken(name, address, program_on(address.port) if error.taken else None, error)
        else:
            yield ok(name, f"{address} is free")


def _addresses_of(settings: Settings) -> Iterator[tuple[str, Address]]:
    """Each setting that names such an address."""
    yield "ingress.public", settings.ingress.public
    yield "ingress.internal", settings.ingress.internal
    if settings.consumers.listen_orders is not None:
        yield "consumers.listen_orders", settings.consumers.listen_orders
    if settings.consumers.listen_fanout is not None:
        yield "consumers.listen_fanout", settings.consumers.listen_fanout


def judge_taken(name: str, address: Address, program: Program | None, error: CannotListenError) -> Finding:
    """An address that could not be taken. Where it is this project's own program that has it, all is well: it runs."""
    if program is not None and program.is_ours:
        return ok(name, f"{address} is served by {program}")
    if program is not None:
        return fault(name, f"{address} is taken by {program}", "Stop it, or choose another port.")
    if error.taken:
        return warning(
            name,
            f"{address} is taken; by whom only its user or root can see",
            "If that is not notifier itself, choose another port.",
        )
    return fault(name, str(error), "Mend the address in the settings.")
