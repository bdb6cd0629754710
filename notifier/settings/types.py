"""The kinds of values that settings are made of. What they refuse, they refuse without repeating the value."""

from __future__ import annotations

import json
import re
import ssl
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from notifier.addresses import Network


class Table(BaseModel):
    """A table of the settings: nothing in it can be changed, and a name that it does not know is a fault."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, validate_default=True)


def _number(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004 - pydantic collects ValueErrors
    return value


def _list(value: object) -> object:
    """A variable of the environment is text; where a list or a table is wanted, it is JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError(
            'must be a list or table; in the environment it is written as JSON, such as ["a", "b"]'
        ) from None


Number = BeforeValidator(_number)
FromJson = BeforeValidator(_list)

Count = Annotated[int, Number, Field(ge=1)]
Seconds = Annotated[float, Number, Field(ge=0.05, allow_inf_nan=False)]
"""0.05 s is the least that a timer of ours can keep, and small enough for any test."""

_NAME = re.compile(r"[a-z0-9-]{1,40}")


def _name(value: object) -> object:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError("must be 1 to 40 characters of a-z, 0-9 and -")
    return value


Name = Annotated[str, BeforeValidator(_name)]


@dataclass(frozen=True, slots=True)
class Address:
    """Where a listener listens. Port 0 lets the system choose."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """
        Read `127.0.0.1:8080`, `[::1]:8080`, `:8080` (all addresses of the machine).

        Raises:
            ValueError: it is none of these.
        """
        host, colon, port = text.rpartition(":")
        bare = host.removeprefix("[").removesuffix("]")
        is_bracketed = host.startswith("[") and host.endswith("]")
        if (
            not colon
            or not re.fullmatch(r"[0-9]{1,5}", port)
            or int(port) > 65535
            or (":" in bare and not is_bracketed)
        ):
            raise ValueError("must be HOST:PORT, such as 127.0.0.1:8080")
        return cls(bare, int(port))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def _address(value: object) -> object:
    return Address.parse(value) if isinstance(value, str) else value


Listen = Annotated[Address, BeforeValidator(_address)]


def _network(value: object) -> object:
    try:
        return ip_network(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError("must be a network such as 10.1.0.0/16, with no bits set beyond its prefix") from None


AllowedNetwork = Annotated[Network, BeforeValidator(_network)]


def _instant(value: object) -> object:
    """A TOML date is its first moment in UTC; a time of day must say its offset."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("must be a time such as 2027-01-31T00:00:00Z") from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time(), UTC)
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError("must be a time with its offset, such as 2027-01-31T00:00:00Z")
    return value.astimezone(UTC)


Instant = Annotated[datetime, BeforeValidator(_instant)]

FILE_BYTES_MAX = 65_536
"""Keys, secrets and certificates are small; a larger file is another file."""


def read_file(path: Path) -> bytes:
    """
    The bytes of a file that a setting names.

    Raises:
        ValueError: it cannot be read. The message leaves the path out, because who pastes a secret where its file belongs must
            not find it in a log.
    """
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as fault:  # ValueError: a NUL in the path
        why = fault.strerror if isinstance(fault, OSError) and fault.strerror else "not a path"
        raise ValueError(
            f"names a file that cannot be read ({why.lower()}); a relative path begins at the settings file's folder"
        ) from None
    if len(content) > FILE_BYTES_MAX:
        raise ValueError(f"names a file of more than {FILE_BYTES_MAX} bytes")
    return content


def read_secret(path: Path) -> str:
    """
    The text of a secret's file, without the line end that editors leave.

    Raises:
        ValueError: it cannot be read, or is no text.
    """
    try:
        return read_file(path).decode("ascii").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("names a file that is not ASCII text") from None


def read_certificates(path: Path) -> str:
    """
    The certificates of a file, in PEM.

    Raises:
        ValueError: it cannot be read, or holds none.
    """
    content = read_file(path)
    try:
        text = content.decode("ascii")
        ssl.create_default_context(cadata=text)
    except (ssl.SSLError, UnicodeDecodeError, ValueError):
        raise ValueError("names a file that holds no PEM certificates") from None
    return text


Raw = dict[str, Any]  # a table as TOML or JSON gives it, before anything has been checked
