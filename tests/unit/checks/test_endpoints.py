"""What is told of an endpoint, and what is not."""

from __future__ import annotations

import pytest

from consumers.client import Fault
from notifier.checks.endpoints import judge_endpoint


@pytest.mark.parametrize("word", list(Fault))
def test_an_endpoint_that_is_down_is_a_warning_and_one_that_must_not_be_called_a_fault(word: Fault) -> None:
    found = judge_endpoint("endpoints.oms", "oms.example.com", word, has_tls=True)

    assert found.state == ("fault" if word == Fault.ADDRESS_FORBIDDEN else "warning")
    assert found.remedy


def test_one_that_can_be_reached_is_fine() -> None:
    found = judge_endpoint("endpoints.oms", "oms.example.com", None, has_tls=True)

    assert (found.state, found.remedy) == ("ok", "")
