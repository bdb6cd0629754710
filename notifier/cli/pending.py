"""Words that were given to fan-out about an endpoint and that it has not obeyed everywhere: no state tells of them yet."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing

import msgspec

from notifier.cli.looking import Look
from notifier.cli.words import clock_time_of, plain
from notifier.deliveries import command
from notifier.deliveries.command import Command
from notifier.errors import NewerStateError


async def pending_words(look: Look, obeyed: Mapping[tuple[str, int], int]) -> dict[str, Command]:
    """
    The last word about each endpoint, where a partition has not come to it.

    Args:
        obeyed: by endpoint and partition, the offset of the last command that was obeyed there.
    """
    found: dict[str, Command] = {}
    async with aclosing(look.records(look.topics.commands)) as records:
        async for one in records:
            try:
                said = command.from_record(one.stored.record)
            except (msgspec.DecodeError, NewerStateError):
                continue  # none of ours, or of a later release, whose own command reads it
            is_obeyed = one.stored.offset <= obeyed.get((said.endpoint, one.partition), -1)
            if said.command != "redrive" and not is_obeyed:
                last = found.get(said.endpoint, said)
                found[said.endpoint] = max(last, said, key=lambda word: word.at)
    return found


def told(word: Command) -> str:
    """In a sentence."""
    asked = "to be suspended" if word.command == "suspend" else "to be resumed"
    why = f' ("{plain(word.reason)}")' if word.reason else ""
    return (
        f"asked {asked} at {clock_time_of(word.at)} by {plain(word.by)}{why}, and fan-out has not come to that everywhere yet: "
        "does it run?"
    )
