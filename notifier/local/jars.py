"""
Kafka's jars: fetched once for this user, and never used before their checksums are those of the lock file.

jgo.lock.toml names everything, so nothing is resolved here: jgo downloads what it names. The cache is the user's, not
the checkout's, so that clones and `make clean` don't download again.
"""

import contextlib
import fcntl
import hashlib
import os
import tempfile
import threading
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from notifier.local.environment import cache_folder, environment
from notifier.local.errors import LocalFailed

SPEC_PATH = Path(__file__).with_name("jgo.toml")
LOCK_PATH = Path(__file__).with_name("jgo.lock.toml")

_DOWNLOADS = 4  # at a time: enough to fill a line, polite to the repository
_ANSWER_WITHIN_S = 30
_TELL_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of the lock."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def filename(self) -> str:
        return f"{self.artifact}-{self.version}.jar"


def locked_jars() -> list[Jar]:
    """The jars in the order of the lock file, Kafka itself first."""
    lock = tomllib.loads(LOCK_PATH.read_text())
    return [Jar(jar["groupId"], jar["artifactId"], jar["version"], jar["sha256"]) for jar in lock["dependencies"]]


def spec_hash() -> str:
    """The mark of jgo.toml that its lock file carries, as jgo makes it: a lock with another one is stale."""
    return hashlib.sha256(SPEC_PATH.read_bytes()).hexdigest()[:16]


def kafka_version() -> str:
    """The version of Apache Kafka that the lock names."""
    return locked_jars()[0].version


def class_path(tell: Callable[[str], None]) -> str:
    """
    Give Java's class path of the broker: every jar of the lock, each one checked, those not there yet fetched.

    Raises:
        LocalFailed: a jar can't be had, or what came is not what the lock names.
    """
    folder = cache_folder(environment()) / "jars"
    jars = locked_jars()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder, tell):
            missing = [jar for jar in jars if not _is_right(folder / jar.filename, jar)]
            if missing:
                _fetch(missing, folder, tell)
    except PermissionError as error:
        raise LocalFailed(
            f"Kafka's jars can't be kept in {folder}: {error.strerror}; set XDG_CACHE_HOME to a folder of yours"
        ) from error
    # File by file, not `folder/*`: a jar that the lock does not name must not run because it lies there.
    return os.pathsep.join(str(folder / jar.filename) for jar in jars)


def repositories() -> dict[str, str]:
    """Maven Central, or what the user's jgo.conf has in its place or beside it, as for every other use of jgo."""
    from jgo.config import GlobalSettings  # noqa: PLC0415 - slow to import, and part of the extra [local]
    from jgo.constants import MAVEN_CENTRAL_URL  # noqa: PLC0415 - likewise

    return {"central": MAVEN_CENTRAL_URL} | GlobalSettings.load().repositories


@contextlib.contextmanager
def _alone(folder: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """Let one process at a time fetch; the system frees the lock of one that died."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell("kafka   another process is fetching the jars; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(jars: Sequence[Jar], folder: Path, tell: Callable[[str], None]) -> None:
    try:
        from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415 - only on a first run; part of [local]
    except ImportError as error:
        raise LocalFailed(
            "Kafka's jars are fetched with the package jgo, which is missing; pip install 'alipayhk-notifier[local]'"
        ) from error
    tell(f"kafka   fetching {len(jars)} jars of Apache Kafka {kafka_version()}, once, into {folder}")
    progress = _Progress(len(jars), tell)
    # Each goes to a folder of this run and is moved once it is checked, so that an interrupted download is never taken for a jar.
    with tempfile.TemporaryDirectory(dir=folder) as coming, ThreadPoolExecutor(_DOWNLOADS) as pool:
        context = MavenContext(
            resolver=PythonResolver(progress_callback=progress.of_file),
            repo_cache=Path(coming),
            local_repos=[],
            remote_repos=repositories(),
            timeout=_ANSWER_WITHIN_S,
        )

        def fetch_one(jar: Jar) -> None:
            came = context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
            if not _is_right(came, jar):
                raise LocalFailed(
                    f"{jar.filename} as it came is not what {LOCK_PATH.name} names (SHA-256 {_sha256(came)} instead of "
                    f"{jar.sha256}), so it was thrown away; something between here and the repository alters files: try another "
                    "network, or name a mirror that you trust in ~/.config/jgo.conf, [repositories] central = URL"
                )
            came.replace(folder / jar.filename)

        try:
            for done in as_completed([pool.submit(fetch_one, jar) for jar in jars]):
                done.result()
                progress.count_jar()
        except (OSError, RuntimeError) as error:  # of requests, and of jgo for what no repository has
            raise LocalFailed(
                f"Kafka's jars can't be fetched: {error}; what has come so far is kept. Without a way to Maven Central, "
                "name a mirror in ~/.config/jgo.conf, [repositories] central = URL, or a Kafka of yours in "
                "NOTIFIER__KAFKA__BOOTSTRAP_SERVERS"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


class _Progress:
    """Tells now and then how far the download is."""

    def __init__(self, jars: int, tell: Callable[[str], None]) -> None:
        self._jars = jars
        self._jars_done = 0
        self._bytes_done = 0
        self._tell = tell
        self._told_at = time.monotonic()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def of_file(self, _filename: str, _size: int) -> Iterator[Callable[[int], None]]:
        """jgo's progress callback: gives what is called with the size of each piece."""
        yield self._count

    def count_jar(self) -> None:
        with self._lock:
            self._jars_done += 1
            if self._jars_done == self._jars:
                self._say()

    def _count(self, size: int) -> None:
        with self._lock:
            self._bytes_done += size
            if time.monotonic() - self._told_at >= _TELL_EVERY_S:
                self._say()

    def _say(self) -> None:
        self._told_at = time.monotonic()
        self._tell(f"kafka   {self._jars_done} of {self._jars} jars, {self._bytes_done / 1e6:.0f} MB")


def _is_right(path: Path, jar: Jar) -> bool:
    return path.exists() and _sha256(path) == jar.sha256


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
