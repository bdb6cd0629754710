"""What AlipayHK is asked, and that only two answers are any."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.alipayhk.notify_verify import judge_notify_verify, notify_verify_url
from notifier.errors import Unavailable

GATEWAY = "https://intlmapi.alipay.com/gateway.do"


def test_the_question_is_the_published_one() -> None:
    """AlipayHK's example holds `%252F` for an id that was received with `%2F` in it: encoded once."""
    assert (
        notify_verify_url(GATEWAY, "2088000000000001", "RqPnCoPT3K9%2Fvwbh3")
        == f"{GATEWAY}?service=notify_verify&partner=2088000000000001&notify_id=RqPnCoPT3K9%252Fvwbh3"
    )


def test_a_gateway_with_a_query_of_its_own_keeps_it() -> None:
    assert notify_verify_url("http://127.0.0.1:1/g?env=test", "2088", "x").endswith(
        "/g?env=test&service=notify_verify&partner=2088&notify_id=x"
    )


@given(st.one_of(st.just("x&partner=attacker&service=other"), st.text("&=%#?/+ \r\n'\"<x1", max_size=30)))
def test_an_id_brings_no_parameter_of_its_own(notify_id: str) -> None:
    """C28."""
    url = urlsplit(notify_verify_url(GATEWAY, "2088000000000001", notify_id))

    assert parse_qsl(url.query, keep_blank_values=True, strict_parsing=True) == [
        ("service", "notify_verify"),
        ("partner", "2088000000000001"),
        ("notify_id", notify_id),
    ]
    assert (url.netloc, url.path, url.fragment) == ("intlmapi.alipay.com", "/gateway.do", "")


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"], ids=repr)
def test_true_and_false_are_answers(end: bytes) -> None:
    assert judge_notify_verify(200, b"true" + end) is True
    assert judge_notify_verify(200, b"false" + end) is False


NO_ANSWER = {
    "C27 TRUE": (200, b"TRUE"),
    "C27 a blank before": (200, b" true"),
    "a blank behind": (200, b"true "),
    "two line ends": (200, b"true\n\n"),
    "a carriage return alone": (200, b"true\r"),
    "C27 HTML": (200, b"<html>true</html>"),
    "C27 an error": (500, b"true"),
    "a redirect": (302, b"true"),
    "a refusal that is none": (403, b"false"),
    "our arguments are wrong": (200, b"invalid"),
    "nothing": (200, b""),
    "both": (200, b"true\nfalse"),
    "a byte order mark": (200, b"\xef\xbb\xbftrue"),
}


@pytest.mark.parametrize(("status", "body"), NO_ANSWER.values(), ids=NO_ANSWER)
def test_anything_else_is_no_answer_and_refuses_nobody(status: int, body: bytes) -> None:
    """C27: the message is neither believed nor refused; it may come again."""
    with pytest.raises(Unavailable, match="alipayhk"):
        judge_notify_verify(status, body)
