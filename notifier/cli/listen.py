"""`notifier listen`: a merchant's system for the laptop. It verifies each webhook as a merchant should, and shows it."""

from __future__ import annotations

import asyncio
import errno
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
import typer
from aiohttp import web

from notifier.cli.options import AsJson, CommandFailed, ConfigFile, read_settings
from notifier.cli.words import money, plain
from notifier.clock import Clock, SystemClock
from notifier.config import Endpoint
from notifier.evidence import rfc3339
from notifier.webhooks import Secret, Unverified, verify

HOST = "127.0.0.1"
"""Only this machine: what a laptop's sink shows is nobody else's."""

BODY_BYTES_MAX = 512 * 1024
"""The largest order, of 256 facts, is far below it."""
_READ_S = 10.0
_STOP_S = 2.0


class _Order(msgspec.Struct, frozen=True):
    """What is shown of the order object (contract, section 6)."""

    channel: str | None = None
    order: str | None = None
    status: str | None = None
    amount: int | None = None
    currency: str | None = None


class _Body(msgspec.Struct, frozen=True):
    """What is shown of a webhook's body (contract, section 7)."""

    type: str | None = None
    id: str | None = None
    version: int | None = None
    flags_added: tuple[str, ...] = ()
    data: _Order = _Order()


_decode = msgspec.json.Decoder(_Body).decode


@dataclass(frozen=True, slots=True)
class Webhook:
    """One webhook as it arrived. `fault` says why it is not to be believed; None: verified."""

    received_at: datetime
    webhook_id: str
    body: _Body
    fault: str | None

    @classmethod
    def of(cls, received_at: datetime, webhook_id: str, body: bytes, fault: str | None) -> Webhook:
        """Look into a body. One that is no order event, or cannot be read, has nothing to show but its signature."""
        try:
            said = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            said = _Body()
        return cls(received_at, webhook_id, said, fault)

    @property
    def line(self) -> str:
        """For people. What it says comes from a stranger while it is not verified, so nothing in it moves the cursor."""
        order, version = self.body.data, self.body.version
        seen = (
            f"{self.received_at.astimezone():%H:%M:%S}",
            f"{plain(self.body.type):<19}",
            f"{plain(order.order):<20}",
            f"{f'v{version}' if version is not None else '-':<4}",
            f"{money(order.amount, order.currency):>13}",
            f"{plain(order.status):<10}",
        )
        if self.fault is None:
            verdict = typer.style("verified", fg=typer.colors.GREEN)
        else:
            verdict = typer.style(f"NOT verified: {self.fault}", fg=typer.colors.RED)
        flags = f"  +{',+'.join(map(plain, self.body.flags_added))}" if self.body.flags_added else ""
        return f"{'  '.join(seen)}  {verdict}{flags}"

    @property
    def json(self) -> str:
        """For programs, with the names of the contract's sections 6 to 8."""
        order = self.body.data
        return msgspec.json.encode(
            {
                "received_at": rfc3339(self.received_at),
                "event_id": self.webhook_id,
                "type": self.body.type,
                "channel": order.channel,
                "order": order.order,
                "version": self.body.version,
                "status": order.status,
                "amount": order.amount,
                "currency": order.currency,
                "flags_added": self.body.flags_added,
                "verified": self.fault is None,
                "reason": self.fault,
            }
        ).decode()


class Sink:
    """
    Takes webhooks: 204 for what is verified, 401 for the rest, and `show` sees both.

    Args:
        status: answered to what is verified, to be a merchant's system that fails.
        delay_s: before each answer, to be one that is slow.
    """

    def __init__(
        self,
        secrets: Sequence[Secret],
        clock: Clock,
        show: Callable[[Webhook], None],
        *,
        status: int = 204,
        delay_s: float = 0.0,
    ) -> None:
        self._secrets = secrets
        self._clock = clock
        self._show = show
        self._status = status
        self._delay_s = delay_s

    async def receive(self, request: web.BaseRequest) -> web.Response:
        """Verify over the bytes as they came, then look into them."""
        try:
            async with asyncio.timeout(_READ_S):
                body = await request.read()
        except TimeoutError:
            return web.Response(status=408)
        now = self._clock.now()
        fault = None if self._secrets else "no endpoint of the settings has this port"
        try:
            if self._secrets:
                verify(self._secrets, request.headers, body, now.timestamp())
        except Unverified as unverified:
            fault = str(unverified)
        # Bytes that are no UTF-8 came in as surrogates, which no output takes.
        webhook_id = request.headers.get("webhook-id", "").encode(errors="replace").decode()
        self._show(Webhook.of(now, webhook_id, body, fault))
        await asyncio.sleep(self._delay_s)
        return web.Response(status=self._status if fault is None else 401)


async def serve(port: int, sink: Sink, is_up: Callable[[], None], stop: asyncio.Event) -> None:
    """
    Listen until `stop`; `is_up` is called once connections are taken.

    Raises:
        OSError: the port cannot be had.
    """
    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app.router.add_post("/{path:.*}", sink.receive)
    runner = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=_STOP_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, port).start()
        is_up()
        await stop.wait()
    finally:
        await runner.cleanup()


def _is_for(endpoint: Endpoint, port: int) -> bool:
    url = urlsplit(endpoint.url)
    return (url.port or (443 if url.scheme == "https" else 80)) == port


def listen(
    context: typer.Context,
    *,
    port: Annotated[
        int,
        typer.Option(
            min=1, max=65535, metavar="N", help="Where to listen; the endpoint whose URL has this port is played."
        ),
    ] = 9000,
    status: Annotated[
        int, typer.Option(min=200, max=599, metavar="N", help="Answer this to what is verified: 500, 410, …")
    ] = 204,
    delay_s: Annotated[
        float, typer.Option("--delay", min=0.0, max=3600.0, metavar="S", help="Answer after so many seconds.")
    ] = 0.0,
    as_json: AsJson = False,
    config_file: ConfigFile = None,
) -> None:
    """
    Be a merchant's system: receive webhooks on this machine, verify them, print each on one line.

    It answers 204 to what is verified and 401 to what is not. With `--status` and `--delay` it is a system that fails, or is
    slow. With `--json` each webhook is one object on a line of its own. Ctrl-C ends it.
    """
    settings = read_settings(context, config_file, needs="endpoints")
    played = [endpoint for endpoint in settings.endpoints if _is_for(endpoint, port)]
    sink = Sink(
        [secret for endpoint in played for secret in endpoint.secrets],
        SystemClock(),
        lambda webhook: typer.echo(webhook.json if as_json else webhook.line),
        status=status,
        delay_s=delay_s,
    )

    def is_up() -> None:
        who = ", ".join([endpoint.name for endpoint in played])
        how = f"verifying as {who}" if who else f"verifying nothing: no endpoint's URL in the settings has port {port}"
        answers = f"answering {status}" if status != 204 else ""
        slowly = f"after {delay_s:g} s" if delay_s else ""
        typer.echo(
            f"{', '.join(filter(None, (f'Listening on http://{HOST}:{port}/', how, answers, slowly)))}. Ctrl-C ends.",
            err=True,
        )

    try:
        asyncio.run(_serve_until_interrupted(port, sink, is_up))
    except OSError as fault:
        raise CommandFailed(_port_fault(port, fault)) from fault


async def _serve_until_interrupted(port: int, sink: Sink, is_up: Callable[[], None]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await serve(port, sink, is_up, stop)


def _port_fault(port: int, fault: OSError) -> str:
    if fault.errno == errno.EADDRINUSE:
        return f"port {port} is in use. End what listens there, or take another port with --port, in the endpoint's URL too."
    return f"cannot listen on port {port}: {(fault.strerror or 'no reason given').lower()}."


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("listen", epilog="Example: `notifier listen --port 9000`")(listen)
