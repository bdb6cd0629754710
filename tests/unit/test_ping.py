"""A test webhook has the shape of every other, and no receiver takes it for an order's."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

from notifier.deliveries import ping
from notifier.settings.endpoints import EVENT_TYPES
from tests.golden import make

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def test_it_has_each_member_that_a_webhook_has() -> None:
    sent = json.loads(ping.body("ping_00", NOON))
    _, body = make.webhook()
    webhook = json.loads(body)

    assert sent.keys() == webhook.keys()
    assert sent["data"].keys() == webhook["data"].keys()
    assert sent["id"] == "ping_00"


def test_nothing_in_it_is_an_order_s() -> None:
    sent = json.loads(ping.body(ping.ping_id(bytes(16)), NOON))

    assert sent["type"] not in EVENT_TYPES
    assert not sent["id"].startswith("evt_")
    assert not re.fullmatch("[a-z0-9-]{1,40}", sent["data"]["channel"]), "no channel can be called so"
    assert (sent["version"], sent["data"]["version"]) == (0, 0), "below the first version of every order"
    assert (sent["data"]["status"], sent["data"]["paid"], sent["data"]["payments"]) == ("pending", 0, [])
