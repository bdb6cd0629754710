"""What is wrong with the settings: every fault, each with its place and its remedy, in one message."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

Loc = tuple[str | int, ...]
"""Where a value stands: `("channels", 1, "keys", 0)`."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong. `what` ends without a full stop and never repeats a secret, nor anything that may be one."""

    place: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.place}: {self.what}." + (f" {self.remedy}" if self.remedy else "")


class SettingsFault(Exception):
    """The settings cannot be used. Its text is for the person who wrote them; the exit status is 2."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__("\n  ".join([f"{count} in the settings:", *map(str, self.faults)]))


@dataclass(frozen=True, slots=True)
class Places:
    """
    Says where a value came from, in the words of the person who wrote it.

    Args:
        file: the name of the settings file, or "settings" where there is none.
        variables: which environment variable gave which value.
        names: the `name` of each channel and endpoint that has one, by `("channels", 1)`.
    """

    file: str
    variables: Mapping[Loc, str]
    names: Mapping[Loc, str]

    def of(self, loc: Loc) -> str:
        """`NOTIFIER__KAFKA__PARTITIONS`, `notifier.toml, [kafka] partitions`, `notifier.toml, channels[1] "shop-b" → keys[0]`."""
        for length in range(len(loc), 0, -1):
            variable = self.variables.get(loc[:length])
            if variable is not None:
                rest = _steps(loc[length:])
                return f"{variable} → {rest}" if rest else variable
        return f"{self.file}, {self._in_file(loc)}"

    def _in_file(self, loc: Loc) -> str:
        match loc:
            case ("channels" | "endpoints" as table, int(index), *rest):
                name = self.names.get(loc[:2])
                item = f"{table}[{index}]" + (f' "{name}"' if name is not None else "")
                return " → ".join(part for part in (item, _steps(tuple(rest))) if part)
            case (str(table), str(), *_):
                return f"[{table}] {_steps(loc[1:])}"
            case ("channels" | "endpoints" as table,):
                return table
            case (str(table),):
                return f"[{table}]"
            case _:
                return _steps(loc)


def _steps(loc: Loc) -> str:
    text = ""
    for step in loc:
        text += f"[{step}]" if isinstance(step, int) else f" → {step}" if text else step
    return text


def nearest(name: str, known: Iterable[str]) -> str:
    """The remedy for a name that nobody knows."""
    known = sorted(known)
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    return f"Did you mean {close[0]}?" if close else f"Known here: {', '.join(known)}."
