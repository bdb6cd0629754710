"""The files that the settings name: who else may read the secret ones, and write any of them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from notifier.checks.finding import Finding, ok, warning
from notifier.checks.vectors import vectors_beside
from notifier.config import Settings


@dataclass(frozen=True, slots=True)
class Named:
    """A file of the settings."""

    path: Path
    holds: str
    is_secret: bool


def files_of(settings: Settings, settings_file: Path) -> Iterator[Named]:
    """Each file that the settings name, the settings' own included."""
    if settings_file.exists():
        yield Named(settings_file, "the settings", is_secret=_has_secrets(settings))
    kafka = settings.kafka
    yield from _those_named(
        (kafka.sasl_password_file, "Kafka's password", True),
        (kafka.key_file, "our key for Kafka", True),
        (kafka.cert_file, "our certificate for Kafka", False),
        (kafka.ca_file, "who vouches for Kafka", False),
        (settings.redis.ca_file, "who vouches for Redis", False),
    )
    for channel in settings.channel_settings:
        yield from _those_named(
            (channel.token_file, f"the token of {channel.name}", True),
            (channel.md5_key_file, f"the MD5 key of {channel.name}", True),
            (channel.merchant_key_file, f"the merchant's private key of {channel.name}", True),
            *((key.file, f"a public key of {channel.name}", False) for key in channel.keys),
            *((path, f"a buyer's message to {channel.name}", True) for path in vectors_beside(channel)),
        )
    for endpoint in settings.endpoint_settings:
        yield from _those_named(
            *((path, f"a secret of {endpoint.name}", True) for path in endpoint.secret_files),
            (endpoint.ca_file, f"who vouches for {endpoint.name}", False),
        )


def _those_named(*settings: tuple[Path | None, str, bool]) -> Iterator[Named]:
    return (Named(path, holds, is_secret) for path, holds, is_secret in settings if path is not None)


def judge_files(files: list[Named]) -> list[Finding]:
    """A line for each file that others may read or write who should not, else one for all of them."""
    if os.name != "posix":
        return [ok("files", "not looked at: this system has no file modes to tell who may read a file")]
    found = [finding for file in files for finding in judge_file(file, _mode(file.path))]
    secret = sum(file.is_secret for file in files)
    return found or [
        ok("files", f"{len(files)}, {secret} of them secret: no stranger may write one, or read a secret one")
    ]


def judge_file(file: Named, mode: int) -> Iterator[Finding]:
    """
    One file by its mode. Its group may read it: that is how systemd and Kubernetes hand secrets over.

    Who may write a public key decides whose messages are believed, and who may write an authority, whom we believe to talk to.
    """
    name = f"files.{file.path.name}"
    if mode & stat.S_IWOTH:
        yield warning(
            name,
            f"{file.path} ({file.holds}) may be written by every user of this machine",
            f"`chmod o-w {file.path}`",
        )
    if file.is_secret and mode & stat.S_IROTH:
        yield warning(
            name,
            f"{file.path} ({file.holds}) may be read by every user of this machine",
            f"`chmod o-rwx {file.path}`, and take what was in it for known.",
        )


def _has_secrets(settings: Settings) -> bool:
    return (
        "@" in settings.redis.url
        or any(channel.token is not None for channel in settings.channel_settings)
        or any(endpoint.secrets or endpoint.headers for endpoint in settings.endpoint_settings)
    )


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except FileNotFoundError:  # gone since the settings were read
        return 0
