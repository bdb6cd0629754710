"""Log lines: one JSON object a line, and nothing in it that anybody else wrote for us."""

from __future__ import annotations

import io
import json
import logging
import re
import select
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from notifier import __version__, logs, metrics
from notifier.errors import Unavailable
from notifier.evidence import from_record
from notifier.record import Record
from notifier.watching.sampling import Sampled

log = logs.get_logger()  # before anything is configured, as every module does

NOW = datetime(2026, 11, 22, 9, 30, 5, tzinfo=UTC)
CANARY = "canary-buyer@example.com"


class _StoppedClock:
    def now(self) -> datetime:
        return NOW

    def now_ms(self) -> int:
        return int(NOW.timestamp() * 1000)


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """Logging is the process' own: what a test configures is undone."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    before = (logs._current.render, logs._current.write, logs._current.rank)
    yield
    logs._current.render, logs._current.write, logs._current.rank = before
    root.handlers, root.level = handlers, level


@pytest.fixture(autouse=True)
def wall(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """The clock on the wall; it shows UTC until a test hangs it up somewhere else."""

    def hang_up(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    hang_up("UTC")
    yield hang_up
    monkeypatch.undo()
    time.tzset()


Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines() -> Lines:
    """What was written since the test began, read back."""
    out = io.BytesIO()
    logs.configure(service="ingress", instance="w1", out=out, clock=_StoppedClock())
    return lambda: [json.loads(line) for line in out.getvalue().splitlines()]


def _raise(error: Exception, cause: Exception | None = None) -> None:
    raise error from cause


def _text(lines: Lines) -> str:
    return json.dumps(lines())


def test_a_line_says_when_what_and_who_before_its_own_fields(lines: Lines) -> None:
    """The names and their order are the contract's, section 8."""
    log.info("order.changed", channel="shop-hkd", lag=3)

    (line,) = lines()
    assert list(line.items()) == [
        ("timestamp", "2026-11-22T09:30:05.000000Z"),
        ("level", "info"),
        ("event", "order.changed"),
        ("service", "ingress"),
        ("instance", "w1"),
        ("version", __version__),
        ("channel", "shop-hkd"),
        ("lag", 3),
    ]


def test_what_may_be_an_alarm_is_counted_even_if_nobody_wants_to_read_it() -> None:
    """And it stands there from the start with nought: Prometheus sees a rise only from a value that it saw before."""
    logs.configure(service="ingress", instance="w1", out=io.BytesIO(), level="error", clock=_StoppedClock())
    (lines,) = [one for one in metrics.REGISTRY.collect() if one.name == "notifier_log_lines"]
    there = {(one.labels["event"], one.labels["level"]) for one in lines.samples}
    counted = metrics.LOG_LINES.of("kafka.unavailable", "warning")
    before = counted._value.get()

    log.warning("kafka.unavailable", reason="x")
    log.info("order.changed")

    assert counted._value.get() == before + 1
    assert {("kafka.unavailable", "warning"), ("kafka.unavailable", "error")} <= there
    assert not [event for event, level in there if level == "info"]


def test_the_metrics_say_when_a_service_was_started() -> None:
    """One that starts again and again says so by it."""
    logs.configure(service="started", instance="w1", out=io.BytesIO(), clock=_StoppedClock())

    assert metrics.STARTED.of("started")._value.get() == NOW.timestamp()


def test_a_line_without_fields_is_whole(lines: Lines) -> None:
    """The shortest line has no comma to trip over."""
    log.info("service.stopped")

    assert list(lines()[0]) == ["timestamp", "level", "event", "service", "instance", "version"]


def test_no_name_stands_twice_in_a_line() -> None:
    """The version of an order takes the place of the program's: JSON with a name twice means whatever its reader likes."""
    out = io.BytesIO()
    logs.configure(service="orders", instance="1", out=out)

    log.info("order.changed", version=7)

    pairs = json.loads(out.getvalue(), object_pairs_hook=list)
    assert [value for name, value in pairs if name == "version"] == [7]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("a\r\nERROR paid", "C39: a line end would begin a line of the attacker's own"),
        ('","level":"error', "quotes would end the text"),
        ("\x1b[2J", "a terminal would obey it"),
        ("\ud800", "JSON-11: half a surrogate pair cannot be encoded"),
        ("x" * 100_000, "a line that is too long is dropped by what reads it"),
        (2**70, "no 64-bit integer"),
        (float("nan"), "no JSON number"),
        ({"a": ["\udfff"]}, "the same, further in"),
        (object(), "no JSON at all"),
    ],
)
def test_whatever_a_value_is_the_line_is_one_json_object(lines: Lines, value: object, why: str) -> None:
    """No value can break a line, forge another, or make logging fail."""
    log.warning("notification.rejected", reason=value)

    assert len(lines()) == 1, why
    assert lines()[0]["level"] == "warning", why
    assert len(json.dumps(lines()[0])) < 10_000, why


def test_levels_below_the_chosen_one_are_not_written() -> None:
    """`log.level`."""
    out = io.BytesIO()
    logs.configure(service="run", instance="1", level="warning", out=out)

    log.debug("a.done")
    log.info("a.done")
    log.warning("a.done")
    log.error("a.done")

    assert [json.loads(line)["level"] for line in out.getvalue().splitlines()] == ["warning", "error"]


def test_an_exception_is_told_by_type_and_place_never_by_its_words(lines: Lines) -> None:
    """The words of an exception may quote a payload: AlipayHK's own library puts content and signature there."""
    with pytest.raises(Unavailable) as caught:
        _raise(Unavailable("kafka", CANARY), cause=ValueError(CANARY))
    log.error("notification.not_stored", exc_info=caught.value)
    try:
        _raise(Unavailable("kafka", CANARY), cause=ValueError(CANARY))
    except Unavailable:
        log.exception("notification.not_stored")

    assert len(lines()) == 2
    for line in lines():
        assert line["error"] == "Unavailable from ValueError"
        assert line["where"].startswith(f"{__name__}:")
        assert line["level"] == "error"
    assert CANARY not in _text(lines)


def test_the_place_names_the_library_and_the_last_line_of_ours() -> None:
    """A place inside of a library alone would not say what we were doing."""
    unreadable = Record(b"shop-hkd/T1", b"", (("channel", b"shop-hkd"), ("kind", b"no kind")))

    with pytest.raises(ValueError, match="no kind") as caught:
        from_record(unreadable)

    assert re.fullmatch(r"enum:[0-9]+ via notifier\.evidence:[0-9]+", logs.failure(caught.value)["where"])


def test_of_a_group_of_exceptions_the_first_is_told() -> None:
    """A task group's own name says nothing."""
    group = ExceptionGroup("unhandled", [ExceptionGroup("", [KeyError(CANARY)]), ValueError()])

    assert logs.failure(group)["error"] == "KeyError"


def test_what_libraries_say_is_told_without_what_they_quote(lines: Lines) -> None:
    """aiokafka, redis, aiohttp and asyncio write payloads into messages, arguments and exceptions."""
    kafka = logging.getLogger("aiokafka.consumer.fetcher")
    try:
        _raise(ValueError(CANARY))
    except ValueError:
        kafka.exception("Unexpected error in %s", CANARY)
    kafka.warning(f"Failed to decode {CANARY}")
    logging.getLogger("asyncio").error(f"Task exception was never retrieved\nfuture: <Task exception={CANARY}>")

    assert CANARY not in _text(lines)
    assert [(line["event"], line["level"], line["logger"], line["message"]) for line in lines()] == [
        ("library.reported", "warning", "aiokafka.consumer.fetcher", "Unexpected error in …"),
        ("library.reported", "warning", "aiokafka.consumer.fetcher", "…"),
        ("library.reported", "warning", "asyncio", "Task exception was never retrieved"),
    ]
    assert lines()[0]["error"] == "ValueError"


def test_of_what_a_library_puts_into_its_message_numbers_and_types_of_exceptions_are_told(lines: Lines) -> None:
    """`Unable connect to node with id %s: %s` told nobody which node, or why."""
    kafka = logging.getLogger("aiokafka")
    kafka.error("Unable connect to node with id %s: %s", 3, ConnectionRefusedError(CANARY))
    kafka.warning("Got %r from %s at %d", CANARY, {"key": CANARY}, 7)

    assert [line["message"] for line in lines()] == [
        "Unable connect to node with id 3: ConnectionRefusedError",
        "Got … from … at 7",
    ]


def test_a_text_that_stands_so_in_a_library_s_code_is_told_and_one_that_is_put_together_there_is_not(
    lines: Lines,
) -> None:
    """There were lines with an empty message, of texts in which nothing could have been quoted."""
    kafka = logging.getLogger("aiokafka")
    kafka.warning("Group coordinator is not known")  # fmt: skip
    kafka.warning(CANARY + "")
    kafka.warning(f"Group of {CANARY}")

    assert [line["message"] for line in lines()] == ["Group coordinator is not known", "…", "…"]


def test_libraries_are_never_heard_below_warning(lines: Lines) -> None:
    """At debug level aiokafka writes keys and values of records (S12)."""
    logs.configure(service="orders", instance="1", level="debug", out=io.BytesIO())

    for name in ("aiokafka", "aiokafka.producer", "redis", "aiohttp.access", "asyncio"):
        assert not logging.getLogger(name).isEnabledFor(logging.INFO), name


def test_a_library_that_repeats_itself_is_told_once_in_a_while(lines: Lines) -> None:
    """While a broker is away aiokafka complains several times a second."""
    for _ in range(50):
        logging.getLogger("aiokafka").warning("Unable to connect to %s", "127.0.0.1")

    assert len(lines()) == 1


def test_the_console_shows_no_control_character() -> None:
    """The same lines for people; a terminal obeys what JSON would have escaped."""
    out = io.BytesIO()
    logs.configure(service="run", instance="1", format="console", out=out, clock=_StoppedClock())

    log.info("order.changed", order="T1\r\n\x1b[2J", lag=2)

    assert out.getvalue() == b"09:30:05.000 info    order.changed            order='T1\\r\\n\\x1b[2J' lag=2\n"


def test_in_the_console_long_ids_stand_last_and_what_is_not_there_is_left_out() -> None:
    """A person looks for an id and reads the rest."""
    out = io.BytesIO()
    logs.configure(service="run", instance="1", format="console", out=out, clock=_StoppedClock())

    log.info("delivery.attempted", event_id="evt_" + 32 * "a", order="T1", error=None, attempt=0)

    assert out.getvalue().decode().split()[2:] == [
        "delivery.attempted",
        "order=T1",
        "attempt=0",
        "event_id=evt_" + 32 * "a",
    ]


def test_the_console_shows_the_time_of_the_clock_on_the_wall(wall: Callable[[str], None]) -> None:
    """Tables showed the time in Hong Kong and the lines beside them that in Greenwich, and neither said so."""
    out = io.BytesIO()
    logs.configure(service="run", instance="1", format="console", out=out, clock=_StoppedClock())
    wall("Asia/Hong_Kong")

    log.info("service.started")

    assert out.getvalue().startswith(b"17:30:05.000 info")


def test_in_the_console_a_list_stays_in_its_place_however_long_it_is() -> None:
    """The fields of `settings.reloaded` stood now so, now so: whoever compares two lines looks for each in its place."""
    out = io.BytesIO()
    logs.configure(service="run", instance="1", format="console", out=out, clock=_StoppedClock())

    log.info("settings.reloaded", changed=[f"channels.shop-{number}.keys" for number in range(3)], added=[], count=3)

    assert [word.partition("=")[0] for word in out.getvalue().decode().split()[3:]] == ["changed", "added", "count"]


def test_in_the_console_each_sentence_of_several_has_a_line_and_is_whole() -> None:
    """The third fault of a settings file was cut off, and with it the one thing that had to be mended."""
    out = io.BytesIO()
    logs.configure(service="run", instance="1", format="console", out=out, clock=_StoppedClock())
    faults = (f"notifier.toml, [kafka] partitions: {'is very wrong ' * 20}.", "no blank", "clear\x1b[2J me")

    log.error("settings.refused", reason="faults", what=faults, count=3)

    assert out.getvalue().decode().splitlines() == [
        "09:30:05.000 error   settings.refused         reason=faults count=3",
        f"                     {faults[0]}",
        "                     no blank",
        "                     'clear\\x1b[2J me'",
    ]


def test_in_the_console_what_is_cut_says_so() -> None:
    """Half a sentence must not pass for a whole one."""
    out = io.BytesIO()
    logs.configure(service="run", instance="1", format="console", out=out, clock=_StoppedClock())

    log.error("service.failed", reason="x" * 2000)

    line = out.getvalue().decode().rstrip()
    assert line.endswith("x…")
    assert len(line) < 1100


def test_a_reader_that_went_away_stops_nothing() -> None:
    """`notifier run | head` must not turn an accepted notification into an error."""

    class Closed(io.BytesIO):
        def write(self, _: object) -> int:
            raise BrokenPipeError

    logs.configure(service="run", instance="1", out=Closed())

    log.info("service.started")


def test_lines_that_are_written_together_are_whole_in_pieces_that_nobody_cuts_into() -> None:
    """Processes that share a pipe interleave between two writes, and within one that is longer than PIPE_BUF."""
    pieces: list[bytes] = []

    class Pipe(io.BytesIO):
        def write(self, piece: Any) -> int:
            pieces.append(bytes(piece))
            return len(pieces[-1])

    logs.configure(service="orders", instance="1", out=Pipe())

    with logs.lines_together():
        for number in range(50):
            log.info("order.changed", offset=number, order="T" * number)
    log.info("job.progress")

    assert [json.loads(line).get("offset") for line in b"".join(pieces).splitlines()] == [*range(50), None]
    assert max(map(len, pieces)) <= select.PIPE_BUF
    assert len(pieces) < 10


def test_before_logging_is_configured_lines_are_words_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """Stdout belongs to the command's answer until a service says otherwise."""
    logs._current.__init__()  # type: ignore[misc]  # as in a fresh process

    log.warning("kafka.unavailable", reason="refused")

    said = capsys.readouterr()
    assert said.out == ""
    assert "kafka.unavailable" in said.err
    assert "reason=refused" in said.err


def test_the_first_is_told_at_once_then_one_in_a_while_with_how_many_there_were() -> None:
    """Every one is counted in exactly one line."""
    sampled = Sampled(every_s=10)

    told = [sampled.take(("shop", "signature"), at) for at in (0.0, 1.0, 9.9, 10.0, 10.1, 30.0)]

    assert told == [1, 0, 0, 3, 0, 2]


def test_kinds_are_told_apart() -> None:
    """A flood on one channel hides nothing of another."""
    sampled = Sampled(every_s=10)

    assert [sampled.take((channel, "signature"), 0.0) for channel in ("a", "b", "a")] == [1, 1, 0]


def test_the_end_of_a_flood_is_told_too() -> None:
    """After the last of many no further one comes to carry the count."""
    sampled = Sampled(every_s=10)
    for at in (0.0, 1.0, 2.0):
        sampled.take(("shop", "signature"), at)

    assert sampled.overdue(9.0) == []
    assert sampled.overdue(10.0) == [(("shop", "signature"), 2)]
    assert sampled.overdue(20.0) == []


def test_what_is_remembered_is_bounded() -> None:
    """Whoever can invent kinds cannot make us remember them all."""
    sampled = Sampled(every_s=10, keys_max=3)

    for number in range(1000):
        sampled.take((str(number),), 0.0)

    assert len(sampled._told) == 3


def test_in_the_console_partitions_in_a_row_are_told_by_the_first_and_the_last() -> None:
    """Two dozen numbers one after the other are nothing to read; those with gaps are told one by one."""
    out = io.BytesIO()
    logs.configure(service="run", instance="1", format="console", out=out, clock=_StoppedClock())

    logs.get_logger().info("partitions.assigned", a=list(range(24)), b=[0, 2, 3], c=[7], d=[])

    assert out.getvalue().decode().split()[-4:] == ["a=0-23", "b=[0,2,3]", "c=[7]", "d=[]"]


def test_what_a_logger_is_bound_to_stands_in_each_of_its_lines(lines: Lines) -> None:
    """As with any of structlog's; a line's own word counts more."""
    bound = log.bind(partition=7, reason="bound")

    bound.info("view.repaired", reason="own")

    assert (lines()[0]["partition"], lines()[0]["reason"]) == (7, "own")
