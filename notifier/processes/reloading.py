"""
Taking over changed settings while a process runs: whole, or not at all (contract, section 3).

The file is read and checked like at the start, in a thread beside the work. With any fault in it, or with a change that needs a
restart, everything stays as it was, and one line says why; else the new settings are put in the place of the old ones in one turn
of the event loop, so that there is no moment with half of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from notifier.config import Settings, SettingsFault
from notifier.logs import failure, get_logger, set_level
from notifier.settings.change import compare

log = get_logger()

TOLD_MAX = 20
"""Names or faults in one line; `count` says how many there are."""


class Reloading:
    """
    The settings that a process has in use.

    Args:
        settings: those it began with.
        read: reads them again (`notifier.config.reader`).
    """

    def __init__(self, settings: Settings, read: Callable[[], Settings]) -> None:
        self.settings = settings
        self._read = read
        self._is_asked = asyncio.Event()

    def ask(self) -> None:
        """Read them again, soon. Asked again meanwhile, they are read once more."""
        self._is_asked.set()

    @asynccontextmanager
    async def at_work(self, use: Callable[[Settings], None]) -> AsyncIterator[None]:
        """
        Do what is asked while the block runs.

        Args:
            use: puts new settings in the place of the old ones. It neither waits nor fails.
        """
        async with asyncio.TaskGroup() as tasks:
            working = tasks.create_task(self._work(use))
            try:
                yield
            finally:
                working.cancel()

    async def _work(self, use: Callable[[Settings], None]) -> None:
        while True:
            await self._is_asked.wait()
            self._is_asked.clear()
            await self.reload(use)

    async def reload(self, use: Callable[[Settings], None]) -> None:
        """Read them again, and take them over if that can be done."""
        try:
            after = await asyncio.to_thread(self._read)
        except SettingsFault as fault:
            _refuse("faults", tuple(str(one) for one in fault.faults))
            return
        except (OSError, ValueError) as error:  # a file that was there when it was checked, and not when it was read
            log.error("settings.refused", reason="changed_meanwhile", count=1, **failure(error))
            return
        if len(self.settings.channels) and not len(after.channels):
            # first of all: of an empty file it would be said that its addresses differ
            _refuse("no_channels", ("not one channel is left in it: was the file half written?",))
            return
        change = compare(self.settings, after)
        if change.needs_restart:
            _refuse("needs_restart", change.needs_restart)
            return
        use(after)
        if after.log.level != self.settings.log.level:
            set_level(after.log.level)
        self.settings = after
        log.info(
            "settings.reloaded",
            changed=change.changed[:TOLD_MAX],
            added=change.added[:TOLD_MAX],
            removed=change.removed[:TOLD_MAX],
            count=len(change.changed) + len(change.added) + len(change.removed),
        )


def _refuse(reason: str, what: tuple[str, ...]) -> None:
    log.error("settings.refused", reason=reason, what=what[:TOLD_MAX], count=len(what))
