"""
Real Kafka and Redis on a machine that has nothing but Python (the extra `[local]`).

`running` has them for a block of code: demo, tests, benchmarks. `up`, `down` and `status` keep them in the background
for a folder. A root part: it needs nothing else of notifier.
"""

from notifier.local.background import ServiceStatus, addresses_of, down, status, up
from notifier.local.environment import KAFKA_SETTING, REDIS_SETTING, Addresses
from notifier.local.errors import LocalFailed
from notifier.local.foreground import Services, running
from notifier.local.server import Server, last_words

__all__ = [
    "KAFKA_SETTING",
    "REDIS_SETTING",
    "Addresses",
    "LocalFailed",
    "Server",
    "ServiceStatus",
    "Services",
    "addresses_of",
    "down",
    "last_words",
    "running",
    "status",
    "up",
]
