"""
Log lines: one JSON object a line on stdout, from the catalogue (contract, section 8).

`log = get_logger()` works at the top of any module; what becomes of a line is decided when it is written, by the last
`configure`. Before that, and in commands that never call it, lines go to stderr in words.

A line is ids, counts, sizes and durations. What an exception or a library says in its own words may quote a payload, so of
either only its type and its place in the code are written.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from datetime import datetime
from select import PIPE_BUF
from types import FrameType, TracebackType
from typing import Any, BinaryIO, Literal, cast

import msgspec
import structlog

from notifier import __version__, metrics
from notifier.clock import Clock, SystemClock
from notifier.watching.catalogue import CATALOGUE
from notifier.watching.sampling import Sampled

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["json", "console"]

_RANK: dict[str, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_COUNTED_RANK = 30
"""Lines from here up are counted in the metrics too: they are few, and each may be an alarm."""

_LINE_BYTES_MAX = 8192
"""A line longer than this has its texts cut: what reads logs often drops longer lines whole."""
_TEXT_CHARS_MAX = 256
_CONSOLE_CHARS_MAX = 1024
"""Longer than any sentence of ours; what is cut ends with an ellipsis."""
_READ_AT_A_GLANCE_CHARS = 40
_OUR_PACKAGES = ("notifier.", "consumers.")

_Fields = MutableMapping[str, Any]  # structlog's own type of the fields of a line


def get_logger() -> Log:
    """The logger of a module. It may be taken before `configure`."""
    return cast(Log, structlog.get_logger().bind())  # bound at once: structlog's own proxy would cost 1 µs at each line


def configure(
    *,
    service: str,
    instance: str,
    format: Format = "json",  # noqa: A002 - the name of the setting
    level: Level = "info",
    out: BinaryIO | None = None,
    clock: Clock | None = None,
) -> None:
    """
    Say who is speaking and how; from now on lines are written to `out`, by default stdout.

    Args:
        service: which part of the project this process is: `ingress`, `orders`, `fanout`, `run`.
        instance: tells the processes of one service apart.
    """
    clock = clock or SystemClock()
    render = _json_lines(service, instance, clock) if format == "json" else _console_lines(clock)
    _current.render, _current.rank = render, _RANK[level]
    _current.write = structlog.BytesLogger(out or sys.stdout.buffer).msg
    metrics.STARTED.of(service).set(clock.now().timestamp())
    for entry in CATALOGUE:
        for one in entry.levels:
            if _RANK[one] >= _COUNTED_RANK:
                metrics.LOG_LINES.of(entry.name, one)
    _listen_to_libraries()


def set_level(level: Level) -> None:
    """Write lines of this level and above from now on."""
    _current.rank = _RANK[level]


@contextmanager
def lines_together() -> Iterator[None]:
    """
    Write the lines of this block in few pieces, because a system call for each costs as much as the line.

    A piece is no longer than what processes that share a pipe cannot cut into (PIPE_BUF). Not for a block with an await in it:
    what others say meanwhile would wait as well.
    """
    write, held, held_bytes = _current.write, list[bytes](), 0

    def hold(line: bytes) -> None:
        nonlocal held_bytes
        held_bytes += len(line) + 1
        if held_bytes > PIPE_BUF and held:
            piece = b"\n".join(held)
            held.clear()
            held_bytes = len(line) + 1
            held.append(line)
            write(piece)
        else:
            held.append(line)

    _current.write = hold
    try:
        yield
    finally:
        _current.write = write
        if held:
            _write(b"\n".join(held))


def failure(error: BaseException) -> dict[str, str]:
    """
    What may be told of an exception: its type, what it came from, and where it was raised. Never its message.

    `error` is `Unavailable from KafkaTimeoutError`; `where` is `aiokafka.client:391 via notifier.kafka:88`: where it was raised,
    and the last line of ours on the way there.
    """
    error = _leaf(error)
    cause = error.__cause__
    name = type(error).__name__
    return {
        "error": name if cause is None else f"{name} from {type(cause).__name__}",
        "where": _where(error.__traceback__),
    }


def _leaf(error: BaseException) -> BaseException:
    """A task group wraps what happened; the first thing that happened in it is what is told."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _where(traceback: TracebackType | None) -> str:
    raised = ours = ""
    for module, line in _steps(traceback):
        raised = f"{module}:{line}"
        if module.startswith(_OUR_PACKAGES):
            ours = raised
    return raised if ours in ("", raised) else f"{raised} via {ours}"


def _steps(traceback: TracebackType | None) -> Iterator[tuple[str, int]]:
    while traceback is not None:
        yield str(traceback.tb_frame.f_globals.get("__name__", "?")), traceback.tb_lineno
        traceback = traceback.tb_next


# -- how a line is written -----------------------------------------------------------------------------------------------------

_Render = Callable[[str, str, _Fields], bytes]


def _json_lines(service: str, instance: str, clock: Clock) -> _Render:
    who = _json({"service": service, "instance": instance})[1:-1]
    version = _json({"version": __version__})[1:-1]
    middles: dict[tuple[str, str], bytes] = {}  # one for each line that stands in the code
    now = clock.now

    def render(level: str, event: str, fields: _Fields) -> bytes:
        middle = middles.get((level, event))
        if middle is None:
            middle = middles[level, event] = b'Z","level":"%b","event":%b,%b' % (level.encode(), _json(event), who)
        head = b'{"timestamp":"' + now().isoformat("T", "microseconds")[:26].encode() + middle  # 26: without its +00:00
        if not fields:
            return head + b"," + version + b"}"
        rest = _json(fields)[1:]
        # The lines about one order have its version under this name; a name must not stand twice.
        return head + b"," + rest if "version" in fields else head + b"," + version + b"," + rest

    return render


def _console_lines(clock: Clock) -> _Render:
    def render(level: str, event: str, fields: _Fields) -> bytes:
        at: datetime = clock.now().astimezone()  # as the tables of commands show times: by the clock on the wall here
        sentences = [one for value in fields.values() if _is_prose(value) for one in value]
        said = [
            (f"{name}={_printable(value)}", value)
            for name, value in fields.items()
            if value is not None and not _is_prose(value)
        ]
        said.sort(key=lambda one: _is_long_id(*one))
        line = f"{at:%H:%M:%S}.{at.microsecond // 1000:03d} {level:<7} {event:<24} {' '.join(one for one, _ in said)}".rstrip()
        return "\n".join([line, *(f"{_UNDER_EVENT}{_sentence(one)}" for one in sentences)]).encode(
            "utf-8", "backslashreplace"
        )

    return render


_UNDER_EVENT = " " * len("12:00:00.000 warning ")


def _is_long_id(said: str, value: Any) -> bool:
    """One looks for it, one does not read it: it comes last. A list stays in its place, however long it is this time."""
    return isinstance(value, str) and len(said) > _READ_AT_A_GLANCE_CHARS


def _is_prose(value: Any) -> bool:
    """Sentences, as of faults in the settings: each has a line of its own below, where a person reads it to its end."""
    return isinstance(value, list | tuple) and any(isinstance(one, str) and " " in one for one in value)


def _sentence(value: Any) -> str:
    """A sentence as a terminal may show it: a control character in it would be obeyed."""
    said = _cut(value)
    return said if said.isprintable() else repr(said)


def _printable(value: Any) -> str:
    """A field's value likewise, in one piece."""
    match value:
        case [int(first), _, _, *_] if list(value) == list(range(first, first + len(value))):
            return f"{first}-{value[-1]}"  # two dozen partitions in a row are not read one by one
        case _:
            said = _cut(value)
            return said if said.isprintable() and " " not in said else repr(said)


def _cut(value: Any) -> str:
    said = value if isinstance(value, str) else _json(value).decode()
    return said if len(said) <= _CONSOLE_CHARS_MAX else f"{said[: _CONSOLE_CHARS_MAX - 1]}…"


def _hook(value: object) -> str:
    """What JSON has no word for is told by its type alone: its text could be anything."""
    return f"<{type(value).__name__}>"


_encode = msgspec.json.Encoder(enc_hook=_hook).encode


def _json(value: object) -> bytes:
    try:
        text = _encode(value)
    except (UnicodeEncodeError, OverflowError):  # half a surrogate pair; an integer beyond 64 bits
        return _encode(_tamed(value))
    return text if len(text) <= _LINE_BYTES_MAX else _encode(_tamed(value))


def _tamed(value: object) -> object:
    match value:
        case str():
            return value[:_TEXT_CHARS_MAX].encode("utf-8", "backslashreplace").decode()
        case bool() | float() | None:
            return value
        case int():
            return value if abs(value) < 2**63 else str(value)[:_TEXT_CHARS_MAX]
        case dict():
            return {str(_tamed(name)): _tamed(item) for name, item in list(value.items())[:64]}
        case list() | tuple():
            return [_tamed(item) for item in value[:64]]
        case _:
            return _hook(value)


class _Current:
    """What `configure` decides. One object that every logger reads at each line, so that a logger can be taken before it."""

    __slots__ = ("rank", "render", "write")

    def __init__(self) -> None:
        self.rank: int = _RANK["info"]
        self.render: _Render = _console_lines(SystemClock())
        self.write: Callable[[bytes], None] = _to_stderr


def _to_stderr(line: bytes) -> None:
    sys.stderr.write(line.decode() + "\n")


_current = _Current()


class Log(structlog.BoundLoggerBase):
    """
    Writes lines, each in one step.

    structlog's own way through a list of processors copies the fields twice and calls five functions for each line, which was two
    fifths of what a line costs.
    """

    def debug(self, event: str, **fields: Any) -> None:
        """What nobody wants to read until something is wrong."""
        self._say("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """A result."""
        self._say("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """It will mend itself."""
        self._say("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """A person must act now."""
        self._say("error", event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """An error, with what is told of the exception that is being handled."""
        self._say("error", event, {"exc_info": True} | fields)

    def _say(self, level: str, event: str, fields: _Fields) -> None:
        rank = _RANK[level]
        if rank >= _COUNTED_RANK:
            metrics.LOG_LINES.of(event, level).inc()
        if rank < _current.rank:
            return
        if self._context:
            fields = {**self._context, **fields}
        if "exc_info" in fields:
            error = fields.pop("exc_info")
            error = error if isinstance(error, BaseException) else sys.exc_info()[1]
            if error is not None:
                fields.update(failure(error))
        _write(_current.render(level, event, fields))


def _write(line: bytes) -> None:
    """A reader that went away is no reason to stop working."""
    try:
        _current.write(line)
    except (BrokenPipeError, ValueError):  # ValueError: the stream was closed
        return


structlog.configure(
    wrapper_class=Log,
    processors=[],
    logger_factory=lambda *_: None,  # a line goes where the last `configure` says
)


# -- what libraries say --------------------------------------------------------------------------------------------------------

_log = get_logger()

# asyncio composes its messages from what it reports about; these openings are fixed, what follows them is not told.
_FIXED_OPENINGS = (
    "Task exception was never retrieved",
    "Future exception was never retrieved",
    "Task was destroyed but it is pending!",
    "Exception in callback",
    "Unclosed client session",
    "Unclosed connection",
    "Fatal error on transport",
    "socket.accept() out of system resource",
)


_LIBRARY_SAID_EVERY_S = 600.0
"""Of one place. While a broker is away it complains ten times a second there, and the first line has said it all."""

_UNTOLD = "…"
"""Stands for what may not be told."""


class _LibraryLines(logging.Handler):
    """Libraries' own log lines, from warning up, as `library.reported`."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._sampled = Sampled(every_s=_LIBRARY_SAID_EVERY_S)

    def emit(self, record: logging.LogRecord) -> None:
        """Tell where a library complained, with its message only as far as it is a fixed text."""
        count = self._sampled.take((record.name, str(record.lineno)), record.created)
        if count == 0:
            return
        fields: dict[str, object] = {"logger": record.name, "line": record.lineno, "message": _fixed_part(record)}
        if record.exc_info and record.exc_info[1] is not None:
            fields.update(failure(record.exc_info[1]))
        # whatever its own level: libraries try again by themselves, and where a person must act a line of ours says so
        _log.warning("library.reported", count=count, **fields)


def _fixed_part(record: logging.LogRecord) -> str:
    """
    The text as it stands in the library's code. What is put into it may be a payload: of that only numbers, and the types of
    exceptions, are told.
    """
    if record.args and isinstance(record.msg, str):
        return _filled(record.msg, record.args)[:_TEXT_CHARS_MAX]
    said = str(record.msg)
    if said in _constants_of_caller(record):
        return said[:_TEXT_CHARS_MAX]
    return next((opening for opening in _FIXED_OPENINGS if said.startswith(opening)), _UNTOLD)


def _constants_of_caller(record: logging.LogRecord) -> tuple[object, ...]:
    """What stands as it is in the code that has just said this; a text that was put together there is not among it."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        code = frame.f_code
        if (code.co_filename, code.co_name, frame.f_lineno) == (record.pathname, record.funcName, record.lineno):
            return code.co_consts
        frame = frame.f_back
    return ()


def _filled(text: str, args: object) -> str:
    if not isinstance(args, tuple):
        return text
    try:
        return text % tuple(arg if isinstance(arg, int | float) else _Told(arg) for arg in args)
    except (TypeError, ValueError):  # it is no text for these
        return text


class _Told:
    """What stands in a library's message for something that may not be told."""

    def __init__(self, arg: object) -> None:
        self._word = type(arg).__name__ if isinstance(arg, BaseException) else _UNTOLD

    def __repr__(self) -> str:
        return self._word


def _listen_to_libraries() -> None:
    root = logging.getLogger()
    root.handlers = [_LibraryLines()]
    root.setLevel(logging.WARNING)
    # At debug level aiokafka writes keys and values of records; no setting may bring that about.
    logging.getLogger("aiokafka").setLevel(logging.WARNING)
