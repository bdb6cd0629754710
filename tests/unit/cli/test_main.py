"""The command line as such: what `--help` says, and one message with the right exit status for whatever goes wrong."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import typer

from notifier import __version__
from notifier.cli import COMMANDS, Entry, load
from notifier.cli.chosen import Chosen
from notifier.cli.options import CommandFailed, ConfigFile, chosen_file, reaching_kafka
from notifier.config import Address
from notifier.config import load as load_settings
from notifier.errors import Unavailable
from notifier.local import LocalFailed
from notifier.processes.listening import CannotListenError

Notifier = Callable[..., int]
HEAVY = ("aiohttp", "aiokafka", "pydantic", "redis", "cryptography", "structlog", "uvloop")


def test_help_is_there_at_once() -> None:
    """What makes a start slow is not imported for it."""
    code = f"import sys, notifier.cli; notifier.cli.main(['--help']); print([n for n in {HEAVY} if n in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)

    assert done.stdout.splitlines()[-1] == "[]"
    assert all(entry.name in done.stdout for entry in COMMANDS)


def test_the_version_is_the_program_s(notifier: Notifier, capsys: pytest.CaptureFixture[str]) -> None:
    assert notifier("--version") == 0
    assert capsys.readouterr().out == f"alipayhk-notifier {__version__}\n"


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_every_command_can_be_understood_by_a_newcomer(
    entry: Entry, notifier: Notifier, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its help opens, and a command that is called with options of its own shows one line that works."""
    assert notifier(entry.name, "--help") == 0

    said = capsys.readouterr().out
    assert f"Usage: notifier {entry.name}" in said
    assert re.search(r"<bool>|<(int|float) range>", said) is None, "these are words of the library"
    if hasattr(import_module(entry.module), "register"):
        assert f"Example: notifier {entry.name}" in said


@pytest.mark.parametrize(
    "words",
    [
        ("simulate", "pay"),
        ("simulate", "forge"),
        ("orders", "show"),
        ("orders", "list"),
        ("deliveries", "list"),
        ("deliveries", "redrive"),
        ("endpoints", "list"),
        ("endpoints", "suspend"),
        ("endpoints", "resume"),
        ("endpoints", "ping"),
        ("quarantine", "list"),
        ("quarantine", "show"),
        ("quarantine", "release"),
    ],
    ids=" ".join,
)
def test_a_command_inside_of_another_has_its_example(
    words: tuple[str, ...], notifier: Notifier, capsys: pytest.CaptureFixture[str]
) -> None:
    assert notifier(*words, "--help") == 0
    assert f"Example: notifier {' '.join(words)}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("notifier or", {"orders"}),
        ("notifier quarantine ", {"list", "show", "release"}),
        ("notifier orders list --fl", {"--flagged"}),
    ],
)
def test_a_shell_completes_commands_that_are_not_imported_yet(typed: str, offered: set[str]) -> None:
    """What `notifier --install-completion` puts into a shell asks so."""
    asked = {"_NOTIFIER_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}

    done = subprocess.run(
        [sys.executable, "-m", "notifier"], env=asked, capture_output=True, text=True, check=True, timeout=30
    )

    assert set(done.stdout.split()) == offered


def test_a_summary_says_what_the_command_says() -> None:
    """The list's line ends as a sentence, and fits into one or two lines of a terminal."""
    assert [entry.name for entry in COMMANDS if not entry.summary.endswith(".") or len(entry.summary) > 80] == []
    assert all(load(entry).help for entry in COMMANDS)


USAGE = {
    "no such command": (("lissen",), "notifier: no such command 'lissen'. Did you mean 'listen'?"),
    "no such option": (("topics", "--aply"), "notifier topics: no such option: --aply. Did you mean --apply?"),
    "a word too many": (("topics", "now"), "notifier topics: there is a word too many: now."),
    "an argument is missing": (("simulate", "pay", "shop-hkd"), "notifier simulate pay: missing argument 'ORDER'."),
    "a value is missing": (("check", "--config"), "notifier: --config needs a value behind it."),
    "no such job": (("consume", "inquiry"), "notifier consume: JOB: must be one of 'orders', 'fanout'."),
    "no address": (
        ("consume", "orders", "--listen", "8082"),
        "notifier consume: --listen: must be HOST:PORT, such as 127.0.0.1:8080.",
    ),
    "too many workers": (("serve", "--workers", "1000"), "notifier serve: --workers: must be at most 256."),
    "no number": (
        ("simulate", "pay", "shop-hkd", "T1", "1.00", "--repeat", "often"),
        "notifier simulate pay: --repeat: must be a whole number.",
    ),
    "too long a wait": (("listen", "--delay", "5000"), "notifier listen: --delay: must be at most 3600."),
    "everything to everybody again": (
        ("deliveries", "redrive", "--accepted"),
        "notifier deliveries redrive: --accepted: it would tell every merchant everything",
    ),
    "no time": (
        ("deliveries", "redrive", "--since", "yesterday"),
        "notifier deliveries redrive: --since: it is a time such as",
    ),
    "no such state": (
        ("deliveries", "list", "--state", "asleep"),
        "notifier deliveries list: --state: must be one of 'waiting', 'accepted', 'dead', 'suspended'.",
    ),
    "no such type": (("tail", "--type", "order.payd"), "notifier tail: --type: no event has this type. Did you mean"),
    "no such channel": (
        ("simulate", "pay", "shop-hk", "T1", "1.00"),
        "notifier simulate pay: CHANNEL: the settings have no channel 'shop-hk'. Did you mean shop-hkd?",
    ),
    "no such channel to follow": (
        ("tail", "--channel", "nope"),
        "notifier tail: --channel: the settings have no channel 'nope'. Known here: shop-hkd.",
    ),
    "no such endpoint": (
        ("endpoints", "ping", "shop"),
        "notifier endpoints ping: ENDPOINT: the settings have no endpoint 'shop'. Did you mean shop-oms?",
    ),
    "no such endpoint to leave alone": (
        ("endpoints", "suspend", "nope"),
        "notifier endpoints suspend: ENDPOINT: the settings have no endpoint 'nope'. Known here: shop-oms.",
    ),
    "no such endpoint to tell again": (
        ("deliveries", "redrive", "--endpoint", "nope"),
        "notifier deliveries redrive: --endpoint: the settings have no endpoint 'nope'. Known here: shop-oms.",
    ),
}


@pytest.mark.parametrize(("words", "said"), USAGE.values(), ids=USAGE.keys())
@pytest.mark.usefixtures("shop")
def test_a_wrong_line_is_told_with_status_2(
    words: tuple[str, ...], said: str, notifier: Notifier, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which part of it, the rule that it breaks, and where its help is; in the same shape and status for every command."""
    assert notifier(*words) == 2

    told = capsys.readouterr()
    assert told.err.startswith(said)
    assert re.fullmatch(r".*\n`notifier[a-z ]* --help` says how it is used\.\n", told.err)
    assert re.search("Error|Input should|Value|Invalid", told.err) is None, "that is how libraries speak"
    assert told.out == ""


def test_a_group_that_is_called_alone_shows_its_commands(
    notifier: Notifier, capsys: pytest.CaptureFixture[str]
) -> None:
    assert notifier("orders") == 2

    told = capsys.readouterr()
    assert "Usage: notifier orders" in told.out + told.err
    assert "says how it is used" not in told.err


@pytest.mark.parametrize(
    "words", [("run",), ("serve",), ("consume", "fanout"), ("listen",), ("simulate", "pay", "c", "o", "1")]
)
def test_a_command_that_needs_settings_says_how_to_get_some(
    words: tuple[str, ...], notifier: Notifier, capsys: pytest.CaptureFixture[str]
) -> None:
    assert notifier(*words) == 2
    assert "notifier.toml: there is no such file. `notifier init` writes a first one" in capsys.readouterr().err


def test_all_faults_of_the_settings_are_in_one_message(
    notifier: Notifier, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notifier.toml").write_text("[kafka]\npartitons = 3\n[redis]\nurl = 'http://x'\n")

    assert notifier("topics") == 2

    said = capsys.readouterr().err
    assert said.startswith("notifier: 2 faults in the settings:\n")
    assert "Did you mean partitions?" in said
    assert "[redis] url" in said


@pytest.mark.parametrize("words", [("--config", "of/shop.toml", "topics"), ("topics", "--config", "of/shop.toml")])
def test_the_file_may_be_named_before_the_command_or_after_it(
    words: tuple[str, ...], notifier: Notifier, capsys: pytest.CaptureFixture[str]
) -> None:
    assert notifier(*words) == 2
    assert "of/shop.toml: there is no such file" in capsys.readouterr().err


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_every_command_takes_the_file_behind_it(entry: Entry) -> None:
    """Also one that needs no settings (contract, section 2): a script that names the file each time is not wrong."""
    command = load(entry)
    leaves = getattr(command, "commands", {entry.name: command})

    assert [name for name, leaf in leaves.items() if not any("--config" in one.opts for one in leaf.params)] == []


def test_a_command_that_needs_no_settings_does_not_look_for_the_file(notifier: Notifier) -> None:
    assert notifier("logs", "notification.accepted", "--config", "of/shop.toml") == 0


def test_after_the_command_is_nearer() -> None:
    """Who says both means the second."""
    assert chosen_with("--config", "before.toml", "look", "--config", "after.toml") == Path("after.toml")
    assert chosen_with("--config", "before.toml", "look") == Path("before.toml")
    assert chosen_with("look") is None


def chosen_with(*words: str) -> Path | None:
    """What a command takes for the settings file."""
    app = typer.Typer()
    chosen: list[Path | None] = []

    @app.callback()
    def root(context: typer.Context, config_file: ConfigFile = None) -> None:
        context.obj = Chosen(config_file)

    @app.command()
    def look(context: typer.Context, config_file: ConfigFile = None) -> None:
        chosen.append(chosen_file(context, config_file))

    app(words, standalone_mode=False)
    return chosen[0]


def _permission() -> OSError:
    return PermissionError(errno.EACCES, os.strerror(errno.EACCES), "keys/a.pem")


FAULTS: dict[str, tuple[Exception, str]] = {
    "a command's own": (CommandFailed("there is no topic x yet."), "notifier: there is no topic x yet.\n"),
    "a port in use": (CannotListenError("cannot listen on 127.0.0.1:1"), "notifier: cannot listen on 127.0.0.1:1\n"),
    "local services": (LocalFailed("port 1 is taken"), "notifier: port 1 is taken\n"),
    "inside of a task group": (
        ExceptionGroup("unhandled errors", [ExceptionGroup("again", [CommandFailed("in there.")])]),
        "notifier: in there.\n",
    ),
    "no answer": (
        Unavailable("redis", "ConnectionError"),
        "notifier: redis does not answer (no connection was made); start it, or look at its address in the settings\n",
    ),
    "a file": (_permission(), "notifier: keys/a.pem: permission denied\n"),
}


@pytest.mark.parametrize(("error", "said"), FAULTS.values(), ids=FAULTS.keys())
def test_what_fails_is_one_message_with_status_1(
    error: Exception,
    said: str,
    notifier: Notifier,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fail_with(error, monkeypatch)

    assert notifier("logs") == 1
    assert capsys.readouterr().err == said


def test_a_bug_of_ours_is_told_by_type_and_place_without_its_words(
    notifier: Notifier, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What an exception says may quote a payload (S12)."""
    fail_with(KeyError("buyer@example.com"), monkeypatch)

    assert notifier("logs") == 1

    said = capsys.readouterr().err
    assert re.fullmatch(
        r"notifier: a fault of its own ended this command: KeyError at \S+:\d+ via \S+:\d+; please report it\n", said
    )


def test_ctrl_c_is_no_fault(
    notifier: Notifier, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The status is the one that shells know for it."""
    fail_with(KeyboardInterrupt(), monkeypatch)

    assert notifier("logs") == 130
    assert capsys.readouterr().err == ""


def fail_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a command end like that."""

    def failing() -> None:
        raise error

    def register(app: typer.Typer) -> None:
        app.command("logs")(failing)

    module = ModuleType("notifier.cli.logs")
    module.__dict__["register"] = register
    monkeypatch.setitem(sys.modules, module.__name__, module)


def test_run_says_at_once_that_a_port_is_taken(
    notifier: Notifier, shop: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each service would be started again for ever, and its message would be one of many."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address("127.0.0.1", taken.getsockname()[1])
        monkeypatch.setenv("NOTIFIER__CONSUMERS__LISTEN_ORDERS", str(address))
        monkeypatch.setenv("NOTIFIER__INGRESS__PUBLIC", "127.0.0.1:0")
        monkeypatch.setenv("NOTIFIER__INGRESS__INTERNAL", "127.0.0.1:0")

        assert notifier("run", "--config", str(shop / "notifier.toml")) == 1

    said = capsys.readouterr().err
    assert (
        f"cannot listen on {address} (consumers.listen_orders): another program listens there. End it, or choose"
        in said
    )
    assert "consumers.listen_orders in the settings, or NOTIFIER__CONSUMERS__LISTEN_ORDERS=HOST:PORT." in said
    assert not Path("/proc/net/tcp").exists() or f" (pid {os.getpid()}).\n" in said, (
        "and which it is, where that is told"
    )


def test_in_a_folder_without_settings_kafka_is_missed_where_nobody_put_it(notifier: Notifier, tmp_path: Path) -> None:
    """Whoever is in the wrong folder looks for a broker at an address that they have never written."""
    away = Unavailable("kafka", "KafkaConnectionError")
    default = r"9092 \(the default: this folder has no notifier\.toml; `notifier init` writes one\): no connection"

    with (
        pytest.raises(CommandFailed, match=default),
        reaching_kafka(load_settings(None, {}, needs_file=False)),
    ):
        raise away
    assert notifier("init") == 0
    with (
        pytest.raises(CommandFailed, match=r"9092: no connection"),
        reaching_kafka(load_settings(tmp_path / "notifier.toml", {})),
    ):
        raise away


def _ended_by(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What became of a Python that finds its modules in this folder."""
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r}); {code}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_ctrl_c_while_a_command_is_imported_ends_it_without_a_word(tmp_path: Path) -> None:
    """It came out of the middle of a library, as a traceback, or as another fault that the library made of it."""
    (tmp_path / "slow.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    code = "from notifier.cli import Entry, load; load(Entry('slow', 'Slow.', 'slow', ''))"

    ended = _ended_by(code, tmp_path)

    assert (ended.returncode, ended.stderr) == (-signal.SIGINT, "")


def test_a_reload_that_is_asked_for_while_a_service_is_imported_does_not_end_it(tmp_path: Path) -> None:
    """Whoever starts a service and changes its settings in the same second is not to find it gone."""
    (tmp_path / "slow.py").write_text("""
import os, signal
os.kill(os.getpid(), signal.SIGHUP)
def register(app):
    app.command("slow")(slow)
def slow():
    print("at work")
""")
    code = (
        "from notifier import cli; cli.COMMANDS = (cli.Entry('slow', 'Slow.', 'slow', 'Services'),); cli.main(['slow'])"
    )

    ended = _ended_by(code, tmp_path)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "at work\n", "")
