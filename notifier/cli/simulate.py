"""`notifier simulate`: notifications for developers of merchant systems, genuine ones and forged ones."""

from __future__ import annotations

import http.client
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Annotated

import typer

from notifier.cli.names import require_channel
from notifier.cli.options import AsJson, CommandFailed, ConfigFile, print_json, read_settings
from notifier.cli.simulated import FORGERIES, Forgery, Payment, Signer, Status, forge
from notifier.cli.words import money, plain
from notifier.clock import SystemClock
from notifier.config import Address, Settings
from notifier.money import minor_units

ANSWER_EXTRA_S = 10.0
"""Beyond `append_timeout_s`, for asking AlipayHK (2 s) and for a machine that is busy."""
_ANSWER_BYTES_MAX = 1024
_ORDER = re.compile(r"[!-}][!-~]{0,63}")
_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where such a listener is reached

app = typer.Typer(
    help="Send a notification as AlipayHK would, or a forged one, to the ingress of the settings.",
    no_args_is_help=True,
)

ChannelName = Annotated[str, typer.Argument(metavar="CHANNEL", help="Name of a channel in the settings.")]
OrderNumber = Annotated[str, typer.Argument(metavar="ORDER", help="The merchant's order number.")]
Amount = Annotated[str, typer.Argument(metavar="AMOUNT", help="In the channel's currency, such as 128.00.")]
StatusOption = Annotated[Status, typer.Option("--status", help="What the trade came to.")]
Repeat = Annotated[
    int, typer.Option(min=1, max=10_000, metavar="N", help="Send it N times; all but the first are resends.")
]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the ingress said to one message."""

    channel: str
    order: str
    forgery: str | None
    status_code: int
    body: str
    duration_ms: float

    @property
    def is_success(self) -> bool:
        """What AlipayHK takes for one, and the door for a promise."""
        return self.status_code == 200 and self.body == "success"

    @property
    def as_json(self) -> dict[str, object]:
        """Flat, for `--json`."""
        return {
            "channel": self.channel,
            "order": self.order,
            "forgery": self.forgery,
            "status_code": self.status_code,
            "body": self.body,
            "duration_ms": round(self.duration_ms, 3),
        }


@app.command(epilog="Example: `notifier simulate pay shop-hkd T1 128.00 --repeat 3`")
def pay(
    context: typer.Context,
    *,
    channel: ChannelName,
    order: OrderNumber,
    amount: Amount,
    status: StatusOption = Status.TRADE_SUCCESS,
    repeat: Repeat = 1,
    as_json: AsJson = False,
    config_file: ConfigFile = None,
) -> None:
    """
    Send a genuine notification, signed with the channel's test key.

    Trade number and notification number follow from channel and order, so the same line again is a resend: it makes no second
    event. The private half of the test key is looked for beside the public one: `keys/a.private.pem` beside `keys/a.pem`.

    The exit status is 1 if the ingress does not answer `success`.
    """
    trial = _Trial.of(read_settings(context, config_file, needs="channels"), channel, order, amount, status)
    answers = trial.told([None] * repeat, as_json=as_json)
    if not all(answer.is_success for answer in answers):
        raise typer.Exit(1)


@app.command("forge", epilog="Example: `notifier simulate forge shop-hkd T1 128.00 --kind key`")
def forge_(
    context: typer.Context,
    *,
    channel: ChannelName,
    order: OrderNumber,
    amount: Amount,
    status: StatusOption = Status.TRADE_SUCCESS,
    repeat: Repeat = 1,
    kind: Annotated[Forgery | None, typer.Option(help="Which forgery; without it, one at random each time.")] = None,
    as_json: AsJson = False,
    config_file: ConfigFile = None,
) -> None:
    """
    Send a forged notification, which has to be refused: `401 fail` or `400 fail`. The ingress' log says why.

    Kinds: `amount`, `order` and `status` are changed after signing; `signature` has one character changed; `unsigned`; `key` is
    signed with a stranger's; `sign-type` is signed by an algorithm that the channel does not allow; `doubled` has two amounts.

    The exit status is 1 if the ingress answers `success`, or does not know the channel.
    """
    trial = _Trial.of(read_settings(context, config_file, needs="channels"), channel, order, amount, status)
    kinds = [kind or secrets.choice(list(Forgery)) for _ in range(repeat)]
    answers = trial.told(kinds, as_json=as_json)
    if any(answer.is_success for answer in answers):
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _Trial:
    """A payment, who signs it, and where it is sent."""

    payment: Payment
    signer: Signer
    to: Address
    timeout_s: float

    @classmethod
    def of(cls, settings: Settings, channel_name: str, order: str, amount: str, status: Status) -> _Trial:
        by_name = {channel.name: channel for channel in settings.channels}
        require_channel(channel_name, settings)
        channel = by_name[channel_name]
        if not _ORDER.fullmatch(order):
            raise typer.BadParameter(
                "an order number is 1 to 64 printable ASCII characters without blank, not beginning with ~.",
                param_hint="ORDER",
            )
        currency = channel.policy.currency
        try:
            minor = minor_units(amount, currency)
        except ValueError as fault:
            raise typer.BadParameter(
                f"{amount!r} is no amount in {currency}: {fault}. Write it as 128.00.", param_hint="AMOUNT"
            ) from None
        written = next(one for one in settings.channel_settings if one.name == channel_name)
        public = settings.ingress.public
        if public.port == 0:
            raise CommandFailed("ingress.public has port 0, so nobody knows where the ingress listens; give it a port.")
        return cls(
            Payment(channel, order, minor, status),
            Signer.of(channel, written, SystemClock().now()),
            Address(_EVERYWHERE.get(public.host, public.host), public.port),
            settings.ingress.append_timeout_s + ANSWER_EXTRA_S,
        )

    def told(self, kinds: Sequence[Forgery | None], *, as_json: bool) -> list[Answer]:
        """
        Send one message for each kind (None: a genuine one) and print each answer as it comes.

        Raises:
            CommandFailed: nobody answers there, or nobody who knows the channel.
        """
        answers = []
        for at, answer in enumerate(self._answers(kinds)):
            answers.append(answer)
            if not as_json:
                self._print(answer, is_resend=at > 0 and answer.forgery is None)
        if as_json:
            print_json([answer.as_json for answer in answers])
        if any(answer.status_code == HTTPStatus.NOT_FOUND for answer in answers):
            raise CommandFailed(
                f"no channel has this token at {self.to}: does the ingress run with these settings, "
                "or is something else on that address?"
            )
        return answers

    def _answers(self, kinds: Sequence[Forgery | None]) -> Iterator[Answer]:
        first_at = SystemClock().now()
        for at, kind in enumerate(kinds):
            # AlipayHK's times have seconds: a resend of the same second would not be told from its first
            fields = self.payment.fields(first_at, first_at + timedelta(seconds=at))
            body = self.signer.sign(fields) if kind is None else forge(kind, fields, self.signer)
            yield self._post(body, kind)

    def _post(self, body: bytes, kind: Forgery | None) -> Answer:
        connection = http.client.HTTPConnection(self.to.host, self.to.port, timeout=self.timeout_s)
        began = time.perf_counter()
        try:
            connection.request(
                "POST",
                f"/n/{self.payment.channel.token}",
                body,
                {"content-type": "application/x-www-form-urlencoded; charset=utf-8"},
            )
            response = connection.getresponse()
            said = response.read(_ANSWER_BYTES_MAX)
        except (OSError, http.client.HTTPException) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            raise CommandFailed(
                f"the ingress does not answer at {self.to} ({why.lower()}). "
                "Start it with `notifier run` or `notifier serve`, with the same settings."
            ) from error
        finally:
            connection.close()
        return Answer(
            self.payment.channel.name,
            self.payment.order,
            kind,
            response.status,
            said.decode("utf-8", "replace"),
            (time.perf_counter() - began) * 1000,
        )

    def _print(self, answer: Answer, *, is_resend: bool) -> None:
        payment = self.payment
        sent = f"{payment.status.value} {money(payment.amount, payment.channel.policy.currency)}"
        what = f"forged ({FORGERIES[Forgery(answer.forgery)]})" if answer.forgery else "resent" if is_resend else "sent"
        said = typer.style(
            f"{answer.status_code} {plain(answer.body)}",
            fg=typer.colors.GREEN if answer.is_success else typer.colors.RED,
        )
        typer.echo(f"{payment.channel.name}/{payment.order}  {sent}  {what}:  {said} in {answer.duration_ms:.0f} ms")
