"""What stands still for long though it has work is found; nothing else is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from consumers.watchdog import Watchdog

LOOKS = 3


def found(looks: Sequence[Mapping[str, object] | None]) -> list[str]:
    """What is found at the last of these looks; None stands for forgiving all."""
    watchdog = Watchdog[str](LOOKS)
    last: list[str] = []
    for owing in looks:
        if owing is None:
            watchdog.forgive()
        else:
            last = watchdog.look(owing)
    return last


@pytest.mark.parametrize(
    ("looks", "stuck"),
    [
        pytest.param([{"a": 1}] * 4, ["a"], id="it stands still"),
        pytest.param([{"a": 1}] * 3, [], id="not long enough"),
        pytest.param([{"a": number} for number in range(20)], [], id="it moves"),
        pytest.param([{"a": 1}, {"a": 1}, {"a": 2}, {"a": 2}] * 9, [], id="it moves now and then"),
        pytest.param([{}] * 20, [], id="nothing is left to do"),
        pytest.param([{"a": 1}, {"a": 1}, {}] * 9, [], id="it was done in between"),
        pytest.param([*[{"a": 1}] * 3, None, {"a": 1}], [], id="it is forgiven"),
        pytest.param([{"a": 1, "b": number} for number in range(4)], ["a"], id="another moves"),
        pytest.param([{"a": 1, "b": 1}] * 4, ["a", "b"], id="both stand still"),
    ],
)
def test_what_stands_still_though_it_has_work_is_found(
    looks: Sequence[Mapping[str, object] | None], stuck: list[str]
) -> None:
    assert found(looks) == stuck
