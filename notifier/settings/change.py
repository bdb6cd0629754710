"""
What differs between two readings of the settings, and what of it a running process can take over (contract, section 3).

Told by names alone: `channels.shop-hkd.keys`, never what stands there. A file that a setting names is compared by what it held
when the settings were read, so a key that was replaced under its old name is a change as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import BaseModel

from notifier.config import Settings

TABLES = ("kafka", "redis", "ingress", "consumers", "orders", "delivery", "telemetry", "log")
"""The tables that are there once."""

RELOADED = frozenset(
    {
        "channels",
        "endpoints",
        "delivery",
        "orders",
        "ingress.body_bytes_max",
        "ingress.append_timeout_s",
        "log.level",
    }
)
"""What a running process takes over: whole tables, or settings of one."""

NEEDS_RESTART = frozenset(
    {
        "kafka",
        "redis",
        "ingress.public",
        "ingress.internal",
        "ingress.workers",
        "consumers",
        "telemetry",
        "log.format",
    }
)
"""What it does not: where it listens, with whom it is connected, as which member of its group, where its spans go, and how its
lines look."""


@dataclass(frozen=True, slots=True)
class Change:
    """What differs, by name, each list sorted."""

    changed: tuple[str, ...]
    """Settings with another value."""
    added: tuple[str, ...]
    """Channels and endpoints that were not there."""
    removed: tuple[str, ...]
    """Those that are there no more."""

    @property
    def needs_restart(self) -> tuple[str, ...]:
        """What of it no running process can take over; what nobody has thought of is among it."""
        return tuple(name for name in self.changed if not can_be_reloaded(name))


def can_be_reloaded(name: str) -> bool:
    """Whether a change to this setting is taken over by a running process."""
    return name in RELOADED or name.partition(".")[0] in RELOADED


def compare(before: Settings, after: Settings) -> Change:
    """What a reload from one to the other would change."""
    changed = [name for table in TABLES for name in _of_table(table, getattr(before, table), getattr(after, table))]
    added: list[str] = []
    removed: list[str] = []
    for was, now in ((_channels(before), _channels(after)), (_endpoints(before), _endpoints(after))):
        added += now.keys() - was.keys()
        removed += was.keys() - now.keys()
        changed += [
            f"{name}.{setting}" for name in was.keys() & now.keys() for setting in _differing(was[name], now[name])
        ]
    return Change(tuple(sorted(changed)), tuple(sorted(added)), tuple(sorted(removed)))


def _of_table(table: str, before: BaseModel, after: BaseModel) -> Iterator[str]:
    names = [name for name in type(before).model_fields if getattr(before, name) != getattr(after, name)]
    if not names and before != after:
        names = [_HELD_BY_FILE[table]]
    return (f"{table}.{name}" for name in names)


_HELD_BY_FILE = {"kafka": "sasl_password_file"}
"""By table: the setting that names a file whose content is part of what was read."""

_Parts = Mapping[str, tuple[object, ...]]
"""By setting: what has to be the same for it to be unchanged."""


def _channels(settings: Settings) -> dict[str, _Parts]:
    return {
        f"channels.{written.name}": _parts(written, token=ready.token, keys=ready.ring)
        for written, ready in zip(settings.channel_settings, settings.channels, strict=True)
    }


def _endpoints(settings: Settings) -> dict[str, _Parts]:
    return {
        f"endpoints.{written.name}": _parts(written, secrets=ready.secrets, ca_file=ready.authorities)
        for written, ready in zip(settings.endpoint_settings, settings.endpoints, strict=True)
    }


def _parts(written: BaseModel, **held: object) -> _Parts:
    """Each setting as it is written, and what the files that it names held."""
    return {name: (getattr(written, name), held.get(name)) for name in type(written).model_fields}


def _differing(before: _Parts, after: _Parts) -> list[str]:
    return [name for name, part in before.items() if part != after[name]]
