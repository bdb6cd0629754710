"""Where settings are written: a TOML file, and above it the environment."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from notifier.settings.faults import Fault, Loc, SettingsFault, nearest
from notifier.settings.types import Raw

PREFIX = "NOTIFIER__"
_FILE_BYTES_MAX = 16 * 1024 * 1024
LISTS = ("channels", "endpoints")


class Layer(PydanticBaseSettingsSource):
    """One source of settings, as pydantic-settings puts them one above the other."""

    def __init__(self, settings: type[BaseSettings], data: Raw) -> None:
        super().__init__(settings)
        self._data = data

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The value of one table. Nothing is left to decode."""
        return self._data.get(field_name), field_name, False

    def __call__(self) -> Raw:
        """All of it, unknown names included: they are faults."""
        return self._data


def read_text(path: Path) -> str:
    """
    The settings file.

    Raises:
        SettingsFault: it is not there, or cannot be read as text.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_FILE_BYTES_MAX + 1)
        if len(content) > _FILE_BYTES_MAX:
            raise SettingsFault([Fault(str(path), "is larger than any settings file")])
        return content.decode()
    except FileNotFoundError:
        # "a first one": at a reload one that was there is gone, and a new token would let nothing of AlipayHK's in
        remedy = "`notifier init` writes a first one, with new secrets; --config or NOTIFIER_CONFIG names another."
        raise SettingsFault([Fault(str(path), "there is no such file", remedy)]) from None
    except IsADirectoryError:
        raise SettingsFault(
            [Fault(str(path), "is a folder", f"Name the file in it: {path / 'notifier.toml'}.")]
        ) from None
    except PermissionError:
        remedy = "Whoever runs this program has to be allowed to read it, and to enter its folder."
        raise SettingsFault([Fault(str(path), "may not be read by this user", remedy)]) from None
    except OSError as fault:
        raise SettingsFault(
            [Fault(str(path), f"cannot be read ({(fault.strerror or 'no reason given').lower()})")]
        ) from None
    except UnicodeDecodeError as fault:
        line = fault.object[: fault.start].count(b"\n") + 1
        raise SettingsFault([Fault(str(path), f"line {line} is not UTF-8")]) from None


def parse_toml(path: Path, text: str) -> Raw:
    """
    What the settings file at this path holds, with the paths in it made absolute: they begin at its folder.

    Raises:
        SettingsFault: it is no TOML. Then it has no other faults to tell.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        is_cut = str(fault).endswith("(at end of document)")
        remedy = (
            "Is it half written? Look at its last lines." if is_cut else "Texts need quotes at both ends, on one line."
        )
        raise SettingsFault([Fault(str(path), f"is not TOML: {fault}", remedy)]) from None
    return _from_folder(data, path.absolute().parent)


def _from_folder(data: Raw, folder: Path) -> Raw:
    """Make the paths in a table absolute: what is called `…_file`, `…_files`, `keys`, and `file` inside of `keys`."""
    return {name: _located(name, value, folder) for name, value in data.items()}


def _located(name: str, value: object, folder: Path) -> object:
    is_path = name.endswith(("_file", "_files")) or name in ("keys", "file")
    match value:
        case str() if is_path:
            return str(folder / value)
        case list():
            return [_located(name, item, folder) for item in value]
        case dict():
            return _from_folder(value, folder)
        case _:
            return value


def read_environment(
    environment: Mapping[str, str], file: Raw, tables: Collection[str]
) -> tuple[Raw, dict[Loc, str], list[Fault]]:
    """
    The settings among the environment's variables, as a layer above the file.

    `NOTIFIER__KAFKA__PARTITIONS` is a setting of a table. `NOTIFIER__CHANNELS` is the whole list as JSON;
    `NOTIFIER__CHANNELS__SHOP_HKD__TOKEN` is one setting of the channel that is named `shop-hkd`, by its name, so that it stays
    the same channel's when the file is put into another order.

    Args:
        tables: the names of the tables that are there once.

    Returns:
        the layer, which variable gave which value, and what is wrong with their names.
    """
    layer: Raw = {}
    origins: dict[Loc, str] = {}
    faults: list[Fault] = []
    # The shorter name first: a whole list is there before one of its items is changed.
    for variable, value in sorted(environment.items()):
        if not variable.startswith(PREFIX):
            continue
        match variable.removeprefix(PREFIX).lower().split("__"):
            case [table] if table in LISTS:
                try:
                    layer[table] = json.loads(value)
                except ValueError:
                    faults.append(Fault(variable, "is not JSON", 'It is a whole list: [{"name": …}, …].'))
                origins[(table,)] = variable
            case [table, name, setting] if table in LISTS:
                items = layer.setdefault(table, _copied(file.get(table)))
                index = _index_of(name.replace("_", "-"), items)
                if index is None:
                    known = [str(item["name"]) for item in items if isinstance(item, dict) and "name" in item]
                    what = f"there is no {table[:-1]} of this name"
                    faults.append(Fault(variable, what, nearest(name.replace("_", "-"), known) if known else ""))
                else:
                    items[index][setting] = value
                    origins[(table, index, setting)] = variable
            case [table, setting] if table in tables:
                layer.setdefault(table, {})[setting] = value
                origins[(table, setting)] = variable
            case [table, _] if table not in LISTS:
                faults.append(Fault(variable, "is not a setting", nearest(table, tables)))
            case _:
                faults.append(Fault(variable, "is not a setting", f"Its form is {PREFIX}TABLE__SETTING."))
    return layer, origins, faults


def _copied(items: object) -> list[Raw]:
    return [dict(item) if isinstance(item, dict) else item for item in items] if isinstance(items, list) else []


def _index_of(name: str, items: object) -> int | None:
    if not isinstance(items, list):
        return None
    return next((at for at, item in enumerate(items) if isinstance(item, dict) and item.get("name") == name), None)
