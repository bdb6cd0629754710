"""Standard Webhooks, held to the published example and to the reference implementation."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable

import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from notifier import __version__
from notifier.webhooks import Secret, Unverified, headers, sign, verify

SECRET = Secret.parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
OTHER = Secret(b"another secret of 32 bytes......")
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
TIMESTAMP = 1614265330
BODY = b'{"test": 2432232314}'


def test_the_published_example() -> None:
    """The example of the Standard Webhooks libraries."""
    assert sign([SECRET], ID, TIMESTAMP, BODY) == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(
    key=st.binary(min_size=24, max_size=64),
    body=st.text().map(str.encode),
    webhook_id=st.from_regex(r"evt_[0-9a-f]{32}", fullmatch=True),
)
def test_the_reference_implementation_believes_us_with_any_of_our_secrets(
    key: bytes, body: bytes, webhook_id: str
) -> None:
    now = int(time.time())  # noqa: TID251 - the reference implementation reads the machine's clock
    ours = headers([Secret(key), OTHER], webhook_id, now, body)

    for one in (key, OTHER.key):
        standardwebhooks.Webhook(one).verify(body, ours, json_parse=False)


@given(key=st.binary(min_size=24, max_size=64), body=st.binary(), timestamp=st.integers(0, 10**11))
def test_what_we_sign_we_believe(key: bytes, body: bytes, timestamp: int) -> None:
    verify([Secret(key)], headers([OTHER, Secret(key)], ID, timestamp, body), body, timestamp)


def test_each_active_secret_signs() -> None:
    both = sign([SECRET, OTHER], ID, TIMESTAMP, BODY)

    assert both == f"{sign([SECRET], ID, TIMESTAMP, BODY)} {sign([OTHER], ID, TIMESTAMP, BODY)}"


def test_the_headers_of_an_attempt() -> None:
    assert headers([SECRET], ID, TIMESTAMP, BODY) == {
        "webhook-id": ID,
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        "content-type": "application/json",
        "user-agent": f"alipayhk-notifier/{__version__}",
    }


GOOD = headers([SECRET], ID, TIMESTAMP, BODY)
SIGNATURE = GOOD["webhook-signature"]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        pytest.param({"webhook-id": "msg_other"}, "no signature matches", id="another id"),
        pytest.param({"webhook-timestamp": "1614265331"}, "no signature matches", id="another second"),
        pytest.param({"webhook-timestamp": "01614265330"}, "no signature matches", id="the same number, other bytes"),
        pytest.param({"webhook-timestamp": "1614265330.0"}, "not in Unix seconds", id="a fraction"),
        pytest.param({"webhook-timestamp": "-1614265330"}, "not in Unix seconds", id="a sign"),
        pytest.param({"webhook-timestamp": "１６１４２６５３３０"}, "not in Unix seconds", id="full-width digits"),
        pytest.param({"webhook-timestamp": "9" * 5000}, "not in Unix seconds", id="more digits than int() likes"),
        pytest.param({"webhook-id": ""}, "webhook-id is missing", id="no id"),
        pytest.param({"webhook-timestamp": ""}, "webhook-timestamp is missing", id="no timestamp"),
        pytest.param({"webhook-signature": ""}, "webhook-signature is missing", id="no signature"),
        pytest.param({"webhook-signature": "v1,"}, "no signature matches", id="an empty one"),
        pytest.param({"webhook-signature": SIGNATURE[3:]}, "no signature matches", id="without its version"),
        pytest.param({"webhook-signature": "v2" + SIGNATURE[2:]}, "no signature matches", id="of another version"),
        pytest.param({"webhook-signature": SIGNATURE[:-2] + "F="}, "no signature matches", id="base64 tail altered"),
        pytest.param({"webhook-signature": SIGNATURE + "\udcff"}, "no signature matches", id="bytes that are no text"),
        pytest.param({"webhook-id": "msg_\ud800"}, "webhook-id is unreadable", id="text that is no bytes"),
    ],
)
def test_what_is_not_ours_is_not_believed(changed: dict[str, str], why: str) -> None:
    with pytest.raises(Unverified, match=why):
        verify([SECRET], GOOD | changed, BODY, TIMESTAMP)


def test_another_body_or_another_secret_is_not_believed() -> None:
    with pytest.raises(Unverified, match="no signature matches"):
        verify([SECRET], GOOD, BODY + b" ", TIMESTAMP)
    with pytest.raises(Unverified, match="no signature matches"):
        verify([OTHER], GOOD, BODY, TIMESTAMP)


def test_what_is_the_receivers_own_fault_is_not_put_on_the_sender() -> None:
    """A receiver that answered 401 for these would believe nobody, and look as if it were attacked."""
    with pytest.raises(ValueError, match="no secret") as nothing_to_verify_with:
        verify([], GOOD, BODY, TIMESTAMP)
    with pytest.raises(TypeError, match="bytes as they came"):
        verify([SECRET], GOOD, BODY.decode(), TIMESTAMP)  # type: ignore[arg-type] # what a caller without types does

    assert not isinstance(nothing_to_verify_with.value, Unverified)


@pytest.mark.parametrize("spelled", [str.title, str.upper, str.lower])
def test_the_case_of_header_names_does_not_matter(spelled: Callable[[str], str]) -> None:
    """`dict(request.headers)` keeps HTTP's spelling, and no longer finds another."""
    verify([SECRET], {spelled(name): value for name, value in GOOD.items()}, BODY, TIMESTAMP)


def test_of_a_header_that_came_twice_the_one_is_verified_that_the_mapping_finds() -> None:
    """Else a repeated webhook could bring an id of its own, for the receiver to read and not to know."""
    twice = CIMultiDict([*GOOD.items(), ("Webhook-Id", "msg_other")])
    other_first = CIMultiDict([("Webhook-Id", "msg_other"), *GOOD.items()])

    verify([SECRET], twice, BODY, TIMESTAMP)
    verify([SECRET], {"Webhook-Id": "msg_other"} | GOOD, BODY, TIMESTAMP)

    assert twice["webhook-id"] == ID
    with pytest.raises(Unverified, match="no signature matches"):
        verify([SECRET], other_first, BODY, TIMESTAMP)


def test_the_tolerance_is_the_callers_and_a_clock_that_is_no_number_believes_nothing() -> None:
    verify([SECRET], GOOD, BODY, TIMESTAMP + 3600, tolerance_s=3600)

    for now, tolerance_s in (
        (TIMESTAMP + 2, 1.0),
        (TIMESTAMP - 2, 1.0),
        (float("nan"), 300),
        (TIMESTAMP, float("nan")),
    ):
        with pytest.raises(Unverified, match="webhook-timestamp is"):
            verify([SECRET], GOOD, BODY, now, tolerance_s)


def test_every_comparison_with_what_was_sent_takes_the_same_time_wherever_it_differs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All of them go through `hmac.compare_digest`; a plain `==` would tell a forger how many bytes are right."""
    compared: list[bytes] = []

    def constant_time(given: bytes, ours: bytes) -> bool:
        compared.append(given)
        return False

    monkeypatch.setattr("hmac.compare_digest", constant_time)

    with pytest.raises(Unverified, match="no signature matches"):
        verify([SECRET, OTHER], GOOD | {"webhook-signature": f"v1,abc {SIGNATURE}"}, BODY, TIMESTAMP)

    assert compared == [b"v1,abc", b"v1,abc", SIGNATURE.encode(), SIGNATURE.encode()]


def test_one_good_signature_among_others_is_enough() -> None:
    """Other versions and the secrets of yesterday are passed over."""
    many = GOOD | {"webhook-signature": f"v1a,abc  v1,xyz {SIGNATURE}"}

    verify([OTHER, SECRET], many, BODY, TIMESTAMP)


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (TIMESTAMP + 300, None),
        (TIMESTAMP - 300, None),
        (TIMESTAMP + 301, "too old"),
        (TIMESTAMP - 301, "in the future"),
    ],
)
def test_a_replay_is_believed_for_five_minutes(now: int, why: str | None) -> None:
    if why is None:
        verify([SECRET], GOOD, BODY, now)
    else:
        with pytest.raises(Unverified, match=why):
            verify([SECRET], GOOD, BODY, now)


@pytest.mark.parametrize("size", [24, 25, 32, 64])
def test_a_secret_is_read_with_its_padding_and_without(size: int) -> None:
    key = bytes(range(size))
    text = "whsec_" + base64.b64encode(key).decode()

    assert Secret.parse(text).key == key
    assert Secret.parse(text.rstrip("=")).key == key


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "begins with whsec_", id="no prefix"),
        pytest.param("whsec_", "24 to 64 bytes", id="nothing"),
        pytest.param("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa", "24 to 64 bytes", id="too short"),
        pytest.param("whsec_" + "A" * 88, "24 to 64 bytes", id="too long"),
        pytest.param("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa-_", "base64", id="the URL's alphabet"),
        pytest.param("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n", "base64", id="a newline"),
        pytest.param("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSｗ", "base64", id="full width"),
    ],
)
def test_what_is_no_secret_is_refused_and_not_repeated(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refusal:
        Secret.parse(text)

    assert "MfKQ9r8GKYqr" not in str(refusal.value)


def test_a_secret_does_not_show_itself() -> None:
    assert "MfKQ" not in repr(SECRET)
    assert str(SECRET.key) not in repr(SECRET)
