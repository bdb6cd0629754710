"""`notifier check`: everything that has to be right, looked at before anything is started, and at any time."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path

import typer
from rich.text import Text

from consumers.app import client_of
from consumers.client import Client, loop_lookup, trusting
from notifier import config
from notifier.checks.finding import Finding, State, fault, has_fault
from notifier.checks.inspection import Inspection, Reach
from notifier.checks.lookups import Loop
from notifier.cli.keys import private_path
from notifier.cli.options import AsJson, ConfigFile, chosen_file, print_json, read_settings, silent_kafka
from notifier.cli.tables import add, screen, table
from notifier.clock import SystemClock
from notifier.config import Settings, SettingsFault

_STYLES = {"ok": "green", "warning": "yellow", "fault": "bold red"}
_NAMES_MAX = 6
"""How many names a row lists that all have the same said of them; `--json` has a thousand channels one by one."""

_ALL = (ip_network("0.0.0.0/0"), ip_network("::/0"))


def check(context: typer.Context, as_json: AsJson = False, config_file: ConfigFile = None) -> None:
    """
    Look at everything that has to be right: before you start it, and whenever something seems wrong.

    Settings, secret files, clocks, the addresses to listen on, the channels' keys and a genuine message of each, Kafka and the
    durability it gives, topics, consumer groups, Redis, endpoints. Nothing is changed, and nothing is sent to an endpoint.
    It takes seconds, whatever hangs.

    A `warning` works and should not stay so; a `fault` does not work, or loses something. The exit status is 0 without a fault,
    else 1; 2 where the settings can't be read.

    To have a channel's keys proven before the first payment, save the body of a genuine notification, byte for byte, beside
    the key `keys/NAME.pem` as `keys/NAME.vector`. Later the newest one in the inbox does it.
    """
    try:
        settings = read_settings(context, config_file)
    except SettingsFault as faults:
        if as_json:
            print_json([fault("settings", f"{one.place}: {one.what}", one.remedy).as_json() for one in faults.faults])
        raise
    settings_file = config.settings_path(chosen_file(context, config_file), config.environment())
    with silent_kafka(), asyncio.Runner(loop_factory=Loop) as runner:
        findings = runner.run(_find(settings, settings_file))
    if as_json:
        print_json([one.as_json() for one in findings])
    else:
        _print(findings)
    if has_fault(findings):
        raise typer.Exit(1)


async def _find(settings: Settings, settings_file: Path) -> list[Finding]:
    keys = [key.file for channel in settings.channel_settings for key in channel.keys]
    async with (
        client_of(settings, lookup=loop_lookup) as client,
        Client(allow_networks=_ALL, lookup=loop_lookup) as any_client,
    ):
        return await Inspection(
            settings,
            settings_file,
            SystemClock(),
            test_keys={file for file in keys if private_path(file).exists()},
            reach=_reach(client),
            reach_gateway=_reach(any_client),
        ).findings()


def _reach(client: Client) -> Reach:
    async def reach(url: str, timeout_s: float, authorities: str | None) -> str | None:
        tls: ssl.SSLContext | None = trusting(authorities) if authorities is not None else None
        return await client.reach(url, timeout_s=timeout_s, tls=tls)

    return reach


def _print(findings: Sequence[Finding]) -> None:
    """A row for each thing that there is to say, with all that it is said of."""
    rows: dict[tuple[str, State, str, str], list[str]] = {}
    for one in findings:
        names = rows.setdefault((one.group, one.state, one.message, one.remedy), [])
        names.append(one.name.removeprefix(one.group).removeprefix("."))
    shown = table("part", "state", "finding")
    said = ""
    for (group, state, message, remedy), names in rows.items():
        told = Text.assemble((_listed(names), "bold"), "  " if names != [""] else "", message)
        if remedy:
            told.append(f"\n→ {remedy}", style="dim")
        add(shown, Text("" if group == said else group, style="bold"), Text(state, style=_STYLES[state]), told)
        said = group
    screen().print(shown)
    counted = Counter(one.state for one in findings)
    faults, warnings = (_counted(counted[state], state) for state in ("fault", "warning"))
    typer.echo(f"{len(findings)} looked at: {faults}, {warnings}.")


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_MAX
    return ", ".join(names[:_NAMES_MAX]) + (f" and {more} more" if more > 0 else "")


def _counted(count: int, word: str) -> str:
    return f"{count or 'no'} {word}{'' if count == 1 else 's'}"


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("check", epilog="Example: `notifier check --json | jq '.[] | select(.state != \"ok\")'`")(check)
