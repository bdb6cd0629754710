"""The process environment, read in this one place, and the settings by which services of one's own are named."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

KAFKA_SETTING = "NOTIFIER__KAFKA__BOOTSTRAP_SERVERS"
REDIS_SETTING = "NOTIFIER__REDIS__URL"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where Kafka and Redis are, in the words of the settings `kafka.bootstrap_servers` and `redis.url`."""

    bootstrap_servers: str
    redis_url: str


@dataclass(frozen=True, slots=True)
class Given:
    """The services that the environment names; None is one to be started here."""

    bootstrap_servers: str | None
    redis_url: str | None


def environment() -> Mapping[str, str]:
    """The variables this process was started with; the servers started here inherit them whole."""
    # `notifier.config` is not asked: local services come before there are settings, and need nothing else of notifier.
    return os.environ  # noqa: TID251 - the one place for this package, see above


def given_services(variables: Mapping[str, str]) -> Given:
    """Say which services `variables` name. An empty value names none."""
    return Given(variables.get(KAFKA_SETTING) or None, variables.get(REDIS_SETTING) or None)


def cache_folder(variables: Mapping[str, str]) -> Path:
    """Where downloads are kept for every checkout of this user (XDG Base Directory Specification 0.8)."""
    base = Path(variables.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return base / "alipayhk-notifier"
