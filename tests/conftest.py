"""
What every test may ask for.

Kafka and Redis are real, one of each for the whole session, started when the first test asks. Tests share them, so each
works under names of its own: `topic_prefix` and `key_prefix`.
"""

import logging
import secrets
import sys
from collections.abc import Generator, Iterator

import pytest

from notifier.local import Services, last_words, running
from tests.log_lines import as_they_were
from tests.spread import heavy_first, own_share_of_ports, scheduling


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """A test that says where log lines go says it for itself; else the next one would look for its own in the wrong place."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    with as_they_were():
        yield
    root.handlers, root.level = handlers, level


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Services]:
    """Kafka and Redis on free ports, or those that the environment names."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def tell(line: str) -> None:
        with capture.global_and_fixture_disabled():
            sys.stderr.write(f"\n{line}")

    with running(tmp_path_factory.mktemp("services"), tell=tell) as started:
        pytestconfig.stash[_SERVICES] = started
        yield started


@pytest.fixture
def bootstrap_servers(services: Services) -> str:
    return services.addresses.bootstrap_servers


@pytest.fixture
def redis_url(services: Services) -> str:
    return services.addresses.redis_url


@pytest.fixture
def topic_prefix() -> str:
    """In front of every topic and consumer group of one test."""
    return f"t{secrets.token_hex(6)}"


@pytest.fixture
def key_prefix() -> str:
    """In front of every Redis key of one test."""
    return f"t{secrets.token_hex(6)}"


_SERVICES = pytest.StashKey[Services]()


def pytest_configure(config: pytest.Config) -> None:
    """As pytest asks, before anything is read."""
    own_share_of_ports(config)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark whatever asks for the services, so that `-m "not services"` leaves it out; and the heavy ones first."""
    for item in items:
        if isinstance(item, pytest.Function) and "services" in item.fixturenames:
            item.add_marker(pytest.mark.services)
    heavy_first(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """As xdist asks, where several processes share the tests."""
    return scheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Beside a failure that had services, show what they last complained of."""
    report = yield
    services = item.config.stash.get(_SERVICES, None)
    if report.failed and services and item.get_closest_marker("services"):
        for server in (services.kafka, services.redis):
            if server:
                report.sections.append((f"{server.name}: {server.log_path}", last_words(server.log_path)))
    return report
