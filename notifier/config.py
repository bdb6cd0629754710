"""
The settings: read once, checked whole, then unchangeable (contract, section 3).

A TOML file, and above it the environment. Whatever is wrong is told in one message, each fault with its place and its remedy; a
rule about several settings is judged where each of them is right by itself. Secrets appear in no message and no `repr`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, TypeVar, cast

from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from notifier.channel import Channel, Channels
from notifier.settings.channels import ChannelSettings
from notifier.settings.endpoints import Endpoint, EndpointSettings, judge_url
from notifier.settings.faults import Fault, Loc, Places, SettingsFault, nearest
from notifier.settings.sources import LISTS, Layer, parse_toml, read_environment, read_text
from notifier.settings.tables import (
    BODY_BYTES_MAX,
    Consumers,
    Delivery,
    Ingress,
    Kafka,
    Log,
    Orders,
    Redis,
    Telemetry,
)
from notifier.settings.types import Address, FromJson, Raw
from notifier.settings.words import in_words

__all__ = [
    "BODY_BYTES_MAX",
    "Address",
    "ChannelSettings",
    "Consumers",
    "Delivery",
    "Endpoint",
    "Ingress",
    "Kafka",
    "Log",
    "Orders",
    "Redis",
    "Settings",
    "SettingsFault",
    "Telemetry",
    "environment",
    "load",
    "reader",
    "settings_path",
]

DEFAULT_FILE = Path("notifier.toml")
_EVERYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that was set, ready for use."""

    kafka: Kafka
    redis: Redis
    ingress: Ingress
    consumers: Consumers
    orders: Orders
    delivery: Delivery
    log: Log
    telemetry: Telemetry
    channels: Channels
    endpoints: tuple[Endpoint, ...]
    channel_settings: tuple[ChannelSettings, ...]
    """The channels as they are written: where their files are."""
    endpoint_settings: tuple[EndpointSettings, ...]
    """The endpoints likewise."""
    text: str | None = field(default=None, repr=False)
    """The settings file as it was read, for who hands it on to a child (`notifier.processes.handing`); None: there was none."""


class _Tables(BaseSettings):
    """The whole file. Channels and endpoints are checked one by one, so that a fault in one hides none in another."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    kafka: Kafka = Kafka()
    redis: Redis = Redis()
    ingress: Ingress = Ingress()
    consumers: Consumers = Consumers()
    orders: Orders = Orders()
    delivery: Delivery = Delivery()
    log: Log = Log()
    telemetry: Telemetry = Telemetry()
    channels: Annotated[tuple[dict[str, object], ...], FromJson] = ()
    endpoints: Annotated[tuple[dict[str, object], ...], FromJson] = ()


def environment() -> Mapping[str, str]:
    """The environment of this process; no other place reads it."""
    return os.environ  # noqa: TID251 - the home of the environment


def settings_path(path: Path | None, env: Mapping[str, str]) -> Path:
    """The settings file: the one that `--config` names, else `NOTIFIER_CONFIG`, else `notifier.toml` in the current folder."""
    return path if path is not None else Path(env.get("NOTIFIER_CONFIG") or DEFAULT_FILE)


def load(path: Path | None, env: Mapping[str, str], *, needs_file: bool = True, text: str | None = None) -> Settings:
    """
    Read and check the settings.

    Args:
        path: what `--config` named, if it was given.
        env: the environment's variables, see `environment`.
        needs_file: whether it is a fault that `notifier.toml` is not there, when no file was named.
        text: what counts as the file's content, where a parent has handed that over; else the file is read.

    Raises:
        SettingsFault: with all faults.
    """
    chosen = settings_path(path, env)
    may_lack = not needs_file and path is None and not env.get("NOTIFIER_CONFIG")
    if text is None and not (may_lack and not chosen.exists()):
        text = read_text(chosen)
    file: Raw = {} if text is None else parse_toml(chosen, text)
    layer, variables, faults = read_environment(env, file, _Tables.model_fields.keys() - set(LISTS))
    lists = {name: _items((file | layer).get(name)) for name in LISTS}
    places = Places(file=str(chosen), variables=variables, names=_names(lists))
    return replace(_Checked(places, lists, faults).settings(file, layer), text=text)


def reader(path: Path | None, env: Mapping[str, str]) -> Callable[[], Settings]:
    """
    What reads the same settings again, as often as it is called; for who has read them just now.

    Args:
        path: what `--config` named, if it was given.
        env: the environment's variables. They are those of the start for as long as a process runs.

    Returns:
        a function that raises `SettingsFault`, also where a file that is there now is gone by then.
    """
    return partial(load, path, dict(env), needs_file=settings_path(path, env).exists())


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _names(lists: Mapping[str, list[object]]) -> dict[Loc, str]:
    """What the channels and endpoints are called, as far as they are; a name that is none is not repeated."""
    return {
        (table, index): item["name"]
        for table, items in lists.items()
        for index, item in enumerate(items)
        if isinstance(item, dict) and isinstance(item.get("name"), str) and len(item["name"]) <= 40
    }


_Item = TypeVar("_Item", bound=BaseModel)


class _Checked:
    """One reading of the settings, and the faults that it finds."""

    def __init__(self, places: Places, lists: Mapping[str, list[object]], faults: list[Fault]) -> None:
        self._places = places
        self._lists = lists
        self._faults = faults

    def settings(self, file: Raw, layer: Raw) -> Settings:
        tables = self._tables(file, layer)
        written = self._each("channels", ChannelSettings)
        channels = self._channels(written)
        called = self._each("endpoints", EndpointSettings)
        endpoints = self._endpoints(called, tables)
        if self._faults or tables is None:
            raise SettingsFault(self._faults)
        return Settings(
            kafka=tables.kafka,
            redis=tables.redis,
            ingress=tables.ingress,
            consumers=tables.consumers,
            orders=tables.orders,
            delivery=tables.delivery,
            log=tables.log,
            telemetry=tables.telemetry,
            channels=Channels(channels),
            endpoints=tuple(endpoints),
            channel_settings=tuple(written.values()),
            endpoint_settings=tuple(called.values()),
        )

    def _tables(self, file: Raw, layer: Raw) -> _Tables | None:
        sources = (Layer(_Tables, layer), Layer(_Tables, file))
        try:
            return _Tables(_build_sources=(sources, {}))  # type: ignore[call-arg]  # mypy sees the fields alone
        except ValidationError as fault:
            self._tell((), fault, _Tables)
            return None

    def _each(self, table: str, model: type[_Item]) -> dict[int, _Item]:
        """The items of a list that are right by themselves, by their index."""
        good: dict[int, _Item] = {}
        for index, item in enumerate(self._lists[table]):
            if not isinstance(item, dict):
                continue  # told already, with the whole file
            try:
                good[index] = model.model_validate(item)
            except ValidationError as fault:
                self._tell((table, index), fault, model)
        self._tell_doubles(table)
        return good

    def _tell_doubles(self, table: str) -> None:
        first: dict[str, int] = {}
        for (of, index), name in self._places.names.items():
            if of == table and first.setdefault(name, cast(int, index)) != index:
                self._add((table, index, "name"), f"is also the name of {table}[{first[name]}]", "Give it another.")

    def _channels(self, written: Mapping[int, ChannelSettings]) -> list[Channel]:
        channels: list[Channel] = []
        tokens: dict[str, int] = {}
        for index, one in written.items():
            channel = one.ready(partial(self._refuse, index))
            if channel is not None:
                channels.append(channel)
            first = tokens.setdefault(one.secret_token(), index)
            if first != index:
                self._add(("channels", index, "token"), f"is also the token of channels[{first}]", "Make a new one.")
        return channels

    def _refuse(self, index: int, setting: str, what: str) -> None:
        self._add(("channels", index, setting), what)

    def _endpoints(self, written: Mapping[int, EndpointSettings], tables: _Tables | None) -> list[Endpoint]:
        known = {name for (table, _), name in self._places.names.items() if table == "channels"}
        delivery = tables.delivery if tables is not None else Delivery()
        endpoints: list[Endpoint] = []
        for index, one in written.items():
            if "*" in one.channels and len(one.channels) > 1:
                self._add(("endpoints", index, "channels"), 'names others beside "*"', '["*"] is all channels.')
            for at, name in enumerate(one.channels):
                if name not in known and name != "*":
                    self._add(
                        ("endpoints", index, "channels", at), "is not the name of a channel", nearest(name, known)
                    )
            try:
                # With faults in [delivery] nobody knows what is allowed: then only the shape of the URL is judged.
                allowed = delivery.allow_networks if tables is not None else _EVERYWHERE
                judge_url(one.url, allow_http=one.allow_http, allow_networks=allowed)
            except ValueError as fault:
                self._add(("endpoints", index, "url"), str(fault))
            endpoints.append(one.ready(timeout_s=delivery.timeout_s, concurrency=delivery.concurrency_per_endpoint))
        return endpoints

    def _add(self, loc: Loc, what: str, remedy: str = "") -> None:
        self._faults.append(Fault(self._places.of(loc), what, remedy))

    def _tell(self, base: Loc, fault: ValidationError, model: type[BaseModel]) -> None:
        for error in fault.errors(include_url=False, include_input=False):
            what, remedy = in_words(error, model)
            self._add((*base, *error["loc"]), what, remedy)
