"""The endpoints while they are being called, in virtual time."""

from __future__ import annotations

import asyncio
import io
import json
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.telling.callees import FULL_S, REMIND_S, Callee, Callees
from consumers.telling.pace import FAILURES_IN_A_ROW
from notifier import logs
from notifier.config import Delivery
from notifier.settings.endpoints import EVENT_TYPES
from tests.merchants import endpoint
from tests.owners import spin
from tests.virtual import in_virtual_time

Said = Callable[[], list[tuple[str, str, dict[str, Any]]]]


@pytest.fixture
def said() -> Said:
    """What was logged: event, level, and the fields that are its own."""
    written = io.BytesIO()
    logs.configure(service="fanout", instance="test", out=written)
    common = {"timestamp", "level", "event", "service", "instance", "version"}

    def read() -> list[tuple[str, str, dict[str, Any]]]:
        lines = map(json.loads, written.getvalue().splitlines())
        return [
            (one["event"], one["level"], {name: value for name, value in one.items() if name not in common})
            for one in lines
        ]

    return read


def callees_of(*names: str, concurrency: int = 8, overall: int = 500, **settings: Any) -> Callees:
    """These endpoints with the default settings and the longest pauses."""
    endpoints = [endpoint(name, concurrency=concurrency, timeout_s=10.0) for name in names]
    return Callees(endpoints, Delivery(concurrency=overall, **settings), lambda: 1.0)


def callee_of(**more: Any) -> Callee:
    """A single endpoint."""
    return callees_of("oms", **more).by_name["oms"]


async def attempt(callee: Callee, *, is_accepted: bool, for_s: float = 0.0) -> bool:
    """One attempt with its answer. False: it was not the time for it."""
    async with callee.slot() as is_free:
        if not is_free:
            return False
        await asyncio.sleep(for_s)
    callee.note(is_accepted=is_accepted)
    return True


async def throttle(callee: Callee) -> None:
    """Let it fail as often as it takes."""
    for _ in range(FAILURES_IN_A_ROW):
        assert await attempt(callee, is_accepted=False)
    assert callee.is_paused


def now() -> float:
    return asyncio.get_running_loop().time()


@dataclass(eq=False)
class Partition:
    """A listener that has something to tell the endpoint, or has not, and takes it up a little later."""

    has_work: bool = True
    room_at: list[float] = field(default_factory=list)
    states: list[str] = field(default_factory=list)

    def on_state(self, callee: Callee) -> None:
        """As `consumers.telling.callees.Listener`."""
        self.states.append(callee.state)

    def on_room(self, callee: Callee) -> bool:
        """As `consumers.telling.callees.Listener`."""
        self.room_at.append(now())
        return self.has_work


# An attempt's slot


@in_virtual_time
async def test_what_is_beyond_the_endpoint_s_bound_waits_for_its_turn() -> None:
    callee = callee_of(concurrency=2)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(attempt(callee, is_accepted=True, for_s=1.0))
        await spin()

        assert (callee.in_flight, callee.room, callee.ready_in_s) == (2, 0, FULL_S)
        await asyncio.sleep(1.0)
        assert (callee.in_flight, callee.room, callee.ready_in_s) == (1, 1, 0.0)
    assert callee.in_flight == 0


@in_virtual_time
async def test_while_an_endpoint_is_paused_nobody_waits_for_it() -> None:
    """What waits in memory for an endpoint that fails holds up the watermark; those who waited when it began to fail are told."""
    callee = callee_of()
    async with asyncio.TaskGroup() as tasks:
        failing = [tasks.create_task(attempt(callee, is_accepted=False, for_s=1.0)) for _ in range(8)]
        waiting = [tasks.create_task(attempt(callee, is_accepted=False)) for _ in range(100)]
    assert [task.result() for task in failing] == [True] * 8
    assert [task.result() for task in waiting] == [False] * 100

    assert (callee.is_paused, callee.room, callee.ready_in_s) == (True, 0, 5.0)
    assert not await attempt(callee, is_accepted=True)


@in_virtual_time
async def test_a_paused_endpoint_is_probed_by_one_at_a_time() -> None:
    callee = callee_of()
    await throttle(callee)
    await asyncio.sleep(5.0)
    assert (callee.room, callee.ready_in_s) == (1, 0.0)

    async with asyncio.TaskGroup() as tasks:
        probes = [tasks.create_task(attempt(callee, is_accepted=False, for_s=2.0)) for _ in range(10)]
        await spin()
        assert (callee.in_flight, callee.room, callee.ready_in_s) == (1, 0, 10.0), "it may take its whole time"

    assert [probe.result() for probe in probes] == [True] + [False] * 9
    assert callee.ready_in_s == 10.0


@in_virtual_time
async def test_a_probe_that_was_cut_off_is_followed_by_a_pause() -> None:
    callee = callee_of()
    await throttle(callee)
    await asyncio.sleep(5.0)

    async with asyncio.TaskGroup() as tasks:
        probe = tasks.create_task(attempt(callee, is_accepted=False, for_s=2.0))
        await asyncio.sleep(1.0)
        probe.cancel()

    assert (callee.in_flight, callee.room, callee.ready_in_s) == (0, 0, 4.0)


@given(
    concurrency=st.integers(1, 4),
    overall=st.integers(1, 8),
    lanes=st.lists(
        st.tuples(st.integers(0, 3), st.booleans(), st.floats(0.0, 10.0), st.floats(0.0, 20.0)), min_size=1, max_size=60
    ),
)
@in_virtual_time
async def test_in_flight_is_never_above_either_bound_and_all_come_through(
    concurrency: int, overall: int, lanes: list[tuple[int, bool, float, float]]
) -> None:
    """Four endpoints that fail at first for whom they will, then accept: whoever was put off asks again when it was told to."""
    names = ("a", "b", "c", "d")
    callees = callees_of(*names, concurrency=concurrency, overall=overall)
    in_flight = dict.fromkeys(names, 0)
    told = 0

    async def lane(name: str, fails_at_first: bool, for_s: float, begins_in_s: float) -> None:
        nonlocal told
        callee = callees.by_name[name]
        await asyncio.sleep(begins_in_s)
        is_accepted = False
        while not is_accepted:
            await asyncio.sleep(callee.ready_in_s)
            async with callee.slot() as is_free:
                if not is_free:
                    continue
                in_flight[name] += 1
                assert in_flight[name] <= concurrency
                assert sum(in_flight.values()) <= overall
                await asyncio.sleep(for_s)
                in_flight[name] -= 1
                is_accepted = not fails_at_first or now() > 60.0
            callee.note(is_accepted=is_accepted)
            if not is_accepted:
                await asyncio.sleep(callee.within_budget(1.0))
        told += 1

    async with asyncio.timeout(7_200), asyncio.TaskGroup() as tasks:
        for number, fails_at_first, for_s, begins_in_s in lanes:
            tasks.create_task(lane(names[number], fails_at_first, for_s, begins_in_s))

    assert told == len(lanes)


@pytest.mark.parametrize("for_s", [0.0, 0.01, 1.0, 10.0], ids=["refuses", "answers 500", "is slow", "hangs"])
@in_virtual_time
async def test_a_dead_endpoint_with_much_waiting_is_called_twenty_times_in_its_first_minute_at_most(
    for_s: float,
) -> None:
    """Measured on others: about five thousand. Twenty-four partitions, each with more to tell it than it can take."""
    callee = callee_of()
    calls: list[float] = []

    async def lane() -> None:
        while now() < 60.0:
            async with callee.slot() as is_free:
                if is_free:
                    calls.append(now())
                    await asyncio.sleep(for_s)
            if is_free:
                callee.note(is_accepted=False)
            await asyncio.sleep(max(callee.ready_in_s, 0.001))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(24 * 8):
            tasks.create_task(lane())

    assert sum(at < 60.0 for at in calls) <= 20


@in_virtual_time
async def test_endpoints_that_hang_hold_up_no_other() -> None:
    """A tenth of two hundred hangs, and all lanes of all of them want to be told: the others wait for nobody's time-out."""
    hanging = [f"hanging-{number}" for number in range(20)]
    healthy = [f"healthy-{number}" for number in range(180)]
    callees = callees_of(*hanging, *healthy)
    waited_s: list[float] = []

    async def tell(name: str, begins_in_s: float, for_s: float) -> None:
        await asyncio.sleep(begins_in_s)
        began = now()
        async with callees.by_name[name].slot() as is_free:
            if not is_free:
                return
            if name in healthy:
                waited_s.append(now() - began)
            await asyncio.sleep(for_s)
        callees.by_name[name].note(is_accepted=name in healthy)

    async with asyncio.TaskGroup() as tasks:
        for name in hanging:
            for number in range(50):
                tasks.create_task(tell(name, number * 0.01, 10.0))
        for at, name in enumerate(healthy):
            for number in range(20):
                tasks.create_task(tell(name, 0.1 + number * 0.5 + at * 0.001, 0.01))

    assert len(waited_s) == 180 * 20
    assert max(waited_s) == 0.0


# States


@in_virtual_time
async def test_an_endpoint_that_only_fails_is_suspended_once_and_resumes_when_it_accepts(said: Said) -> None:
    callee = callee_of(suspend_after_s=60.0)
    partition = Partition()
    callee.subscribe(partition)

    while now() < 300.0:
        await attempt(callee, is_accepted=False)
        await asyncio.sleep(callee.ready_in_s)
    assert callee.state == "suspended"
    await attempt(callee, is_accepted=True)

    assert (callee.state, callee.room) == ("active", 1)
    assert partition.states == ["suspended", "active"]
    assert said() == [
        ("endpoint.suspended", "warning", {"endpoint": "oms", "reason": "failing"}),
        ("endpoint.resumed", "info", {"endpoint": "oms", "reason": "accepted"}),
    ]


@in_virtual_time
async def test_an_operator_s_word_ends_a_suspension_and_begins_with_one_at_a_time(said: Said) -> None:
    callee = callee_of(suspend_after_s=1.0)
    await throttle(callee)
    await asyncio.sleep(5.0)
    await attempt(callee, is_accepted=False)
    partition = Partition()
    callee.subscribe(partition)

    callee.resume()
    callee.resume()  # each partition reads the command for itself

    assert (callee.state, callee.room, callee.ready_in_s) == ("active", 1, 0.0)
    assert partition.states == ["active"]
    assert said()[1:] == [], "who obeys the command knows whose word it was, and tells it"
    for _ in range(7):
        await attempt(callee, is_accepted=True)
    assert callee.room == 8


@in_virtual_time
async def test_one_that_was_recorded_as_suspended_begins_so_and_is_probed_soon(said: Said) -> None:
    callee = callee_of()
    partition = Partition()
    callee.subscribe(partition)

    callee.suspend_at_start()
    callee.suspend_at_start()

    assert (callee.state, callee.room, callee.ready_in_s) == ("suspended", 0, 5.0)
    assert partition.states == ["suspended"], "the others' records may say something else"
    assert said() == [], "it is nothing new"
    await asyncio.sleep(5.0)
    assert partition.room_at == [5.0]
    assert await attempt(callee, is_accepted=True)
    assert callee.state == "active"


@in_virtual_time
async def test_who_has_called_it_knows_better_than_a_record() -> None:
    callee = callee_of()
    await attempt(callee, is_accepted=True)

    callee.suspend_at_start()

    assert callee.state == "active"


# Who hears of room


@in_virtual_time
async def test_who_wants_room_hears_of_it_when_a_pause_is_over() -> None:
    callee = callee_of()
    partition = Partition()
    callee.subscribe(partition)
    await throttle(callee)

    await asyncio.sleep(60.0)

    assert partition.room_at[0] == 5.0


@in_virtual_time
async def test_who_wants_room_hears_of_it_when_an_attempt_ends_and_what_came_of_it_is_noted() -> None:
    callee = callee_of(concurrency=1)
    partition = Partition()
    callee.subscribe(partition)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(attempt(callee, is_accepted=True, for_s=3.0))
        await asyncio.sleep(2.0)
        assert partition.room_at == []
    await spin()

    assert partition.room_at == [3.0]


@in_virtual_time
async def test_a_probe_that_fails_after_its_pause_makes_no_room() -> None:
    """Between its end and what came of it there is room for a moment; nobody is told of that."""
    callee = callee_of()
    partition = Partition()
    await throttle(callee)
    await asyncio.sleep(5.0)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(attempt(callee, is_accepted=False, for_s=10.0))
        await spin()
        callee.subscribe(partition)
    await asyncio.sleep(1.0)

    assert partition.room_at == []
    assert callee.ready_in_s == 9.0


@in_virtual_time
async def test_room_for_one_is_told_to_one_and_to_all_in_turns() -> None:
    """Twenty-four partitions that all began a probe would write down twenty-three lanes again."""
    callee = callee_of(concurrency=1)
    idle, *partitions = [Partition(has_work=number > 0) for number in range(4)]
    for partition in (idle, *partitions):
        callee.subscribe(partition)

    for _ in range(6):
        await attempt(callee, is_accepted=True, for_s=0.5)
        await spin()

    assert [len(partition.room_at) for partition in partitions] == [2, 2, 2]
    assert len(idle.room_at) == 6


@in_virtual_time
async def test_who_does_not_take_its_room_leaves_it_to_the_next() -> None:
    """Its Redis may be away: the others must not wait for that."""
    callee = callee_of(concurrency=1)
    one, other = Partition(), Partition()
    callee.subscribe(one)
    callee.subscribe(other)

    await attempt(callee, is_accepted=True, for_s=0.5)
    await asyncio.sleep(1.2 * REMIND_S)

    assert one.room_at == [0.5]
    assert other.room_at == [0.5 + REMIND_S]


@in_virtual_time
async def test_who_has_unsubscribed_hears_nothing() -> None:
    callee = callee_of()
    partition = Partition()
    callee.subscribe(partition)
    await throttle(callee)

    callee.unsubscribe(partition)
    await asyncio.sleep(400.0)
    await attempt(callee, is_accepted=False)

    assert callee.state == "suspended"
    assert (partition.states, partition.room_at) == ([], [])


@in_virtual_time
async def test_nobody_is_told_again_and_again_while_a_probe_waits_for_a_slot() -> None:
    """The process' slots are taken and the pause is over: the loop has nothing to do until a slot comes free."""
    callees = callees_of("busy", "paused", overall=1)
    busy, paused = callees.by_name["busy"], callees.by_name["paused"]
    partition = Partition()
    await throttle(paused)
    paused.subscribe(partition)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(attempt(busy, is_accepted=True, for_s=100.0))
        await asyncio.sleep(5.0)
        tasks.create_task(attempt(paused, is_accepted=True))
        await spin()

        assert (paused.room, paused.in_flight) == (0, 0)
        await asyncio.sleep(50.0)

        assert len(partition.room_at) <= 2
    assert not paused.is_paused


# Whose fault it is


@pytest.mark.parametrize(
    ("failing", "endpoints", "is_ours"),
    [
        pytest.param(9, 20, False, id="nine are too few, were they nearly half"),
        pytest.param(10, 20, True, id="ten of twenty"),
        pytest.param(10, 34, False, id="10 of 34 are less than 30 %"),
        pytest.param(10, 33, True, id="10 of 33 are more"),
        pytest.param(30, 100, False, id="30 % are not more than 30 %"),
        pytest.param(31, 100, True, id="31 of 100"),
    ],
)
@in_virtual_time
async def test_many_failing_at_once_are_our_fault(failing: int, endpoints: int, is_ours: bool, said: Said) -> None:
    """One line that asks for a person; whoever fails is called one by one, though it failed only once."""
    callees = callees_of(*(f"e{number}" for number in range(endpoints)))

    for callee in list(callees.by_name.values())[:failing]:
        await attempt(callee, is_accepted=False)

    expected = [("endpoints.failing", "error", {"failing": failing, "endpoints": endpoints})] if is_ours else []
    assert said() == expected
    assert sum(callee.is_paused for callee in callees.by_name.values()) == (failing if is_ours else 0)
    assert all(callee.room == 8 for callee in list(callees.by_name.values())[failing:])


async def _outage(callees: Sequence[Callee], until: float, *, is_accepted: bool) -> None:
    """All are called whenever they may be."""

    async def keep_calling(callee: Callee) -> None:
        while now() < until:
            await attempt(callee, is_accepted=is_accepted, for_s=0.1)
            await asyncio.sleep(max(callee.ready_in_s, 0.5))

    async with asyncio.TaskGroup() as tasks:
        for callee in callees:
            tasks.create_task(keep_calling(callee))


@in_virtual_time
async def test_while_it_is_our_fault_none_is_suspended_and_after_it_all_rise_from_one(said: Said) -> None:
    everyone = list(callees_of(*(f"e{number}" for number in range(12))).by_name.values())

    await _outage(everyone, 1_000.0, is_accepted=False)
    assert {callee.state for callee in everyone} == {"active"}
    assert said() == [("endpoints.failing", "error", {"failing": 10, "endpoints": 12})]
    await asyncio.sleep(max(callee.ready_in_s for callee in everyone))
    for callee in everyone:
        await attempt(callee, is_accepted=True)
    assert [callee.room for callee in everyone] == [1] * 12
    await _outage(everyone, now() + 60.0, is_accepted=True)

    assert [callee.room for callee in everyone] == [8] * 12
    assert said()[1:] == [("endpoints.recovered", "info", {"failing": 0, "endpoints": 12})]


@in_virtual_time
async def test_one_that_accepted_lately_is_not_among_those_that_fail(said: Said) -> None:
    everyone = list(callees_of(*(f"e{number}" for number in range(12))).by_name.values())

    for callee in everyone:
        await attempt(callee, is_accepted=True)
        await attempt(callee, is_accepted=False)
    assert said() == []
    await asyncio.sleep(5.0)
    for callee in everyone:
        await attempt(callee, is_accepted=False)

    assert [event for event, *_ in said()] == ["endpoints.failing"]


@in_virtual_time
async def test_those_that_are_not_called_any_more_are_not_among_those_that_fail(said: Said) -> None:
    """They answered 410, or an operator suspended them, one by one over a year."""
    everyone = list(callees_of(*(f"e{number}" for number in range(20))).by_name.values())

    for callee in everyone:
        await attempt(callee, is_accepted=False)
        await asyncio.sleep(3_600.0)

    assert said() == []


@in_virtual_time
async def test_those_that_are_suspended_already_are_not_among_those_that_fail(said: Said) -> None:
    """A third of all endpoints that were abandoned long ago is no outage of ours."""
    everyone = list(callees_of(*(f"e{number}" for number in range(30))).by_name.values())
    for callee in everyone[:12]:
        callee.suspend_at_start()

    await _outage(everyone[:12], 600.0, is_accepted=False)

    assert said() == []


# Retries


@in_virtual_time
async def test_a_retry_too_many_is_put_off_and_never_beyond_the_longest_pause() -> None:
    callee = callee_of(retry_s_max=30.0)

    for _ in range(10):
        assert callee.within_budget(1.0) == 1.0
    later = [callee.within_budget(1.0) for _ in range(6)]

    assert later == [6.0, 12.0, 18.0, 24.0, 30.0, 30.0]
    assert callee.within_budget(31.0) == 31.0


@in_virtual_time
async def test_what_waits_for_an_endpoint_that_is_paused_is_ready_when_it_comes_back() -> None:
    """Its pause is the tighter bound; a budget beside it would put hours between an endpoint's return and what it missed."""
    callee = callee_of()
    await throttle(callee)

    assert [callee.within_budget(1.0) for _ in range(1_000)] == [1.0] * 1_000


# All of them


@given(
    st.lists(
        st.tuples(
            st.sampled_from([("*",), ("a",), ("a", "b"), ("c",)]),
            st.sampled_from([("order.*",), ("order.paid",), ("order.flagged",), ("order.re*", "order.closed")]),
        ),
        max_size=8,
    ),
    st.sampled_from(["a", "b", "c", "d"]),
    st.sampled_from(EVENT_TYPES),
    st.sampled_from([(), ("paid_twice",)]),
)
def test_who_wants_an_event_is_who_says_so(
    wishes: list[tuple[tuple[str, ...], tuple[str, ...]]], channel: str, event_type: str, flags_added: tuple[str, ...]
) -> None:
    endpoints = [endpoint(f"e{at}", channels=channels, events=events) for at, (channels, events) in enumerate(wishes)]
    callees = Callees(endpoints, Delivery(), lambda: 1.0)

    wanting = callees.wanting(channel, event_type, flags_added)

    assert [callee.endpoint for callee in wanting] == [
        one for one in endpoints if one.wants(channel, event_type, flags_added)
    ]
    assert callees.wanting(channel, event_type, list(flags_added)) is wanting, "asked again it costs nothing"


def test_two_thousand_endpoints_are_there_at_once() -> None:
    """Nothing is made for an endpoint before it is called: these are no certificates."""
    endpoints = [endpoint(f"e{number}", authorities=f"those of {number}") for number in range(2_000)]

    callees = Callees(endpoints, Delivery(), lambda: 1.0)

    assert list(callees.by_name) == [f"e{number}" for number in range(2_000)]
    with pytest.raises(ssl.SSLError):
        _ = callees.by_name["e0"].tls


@in_virtual_time
async def test_how_an_endpoint_fares_can_be_seen() -> None:
    callee = callee_of()
    assert callee.measures.attempts == 0

    callee.note(is_accepted=True, duration_ms=10.0)
    callee.note(is_accepted=False, duration_ms=30.0, error="it answered 500")
    callee.note(is_accepted=True, duration_ms=20.0)
    callee.note(is_accepted=True, duration_ms=20.0)

    seen = callee.measures
    assert (seen.attempts, seen.success_rate, seen.p50_ms, seen.p99_ms) == (4, 0.75, 20.0, 30.0)
    assert seen.last_error == "it answered 500"


# Other settings


@in_virtual_time
async def test_another_bound_is_the_bound_from_the_next_attempt_on() -> None:
    """Of the endpoint and of the process; what is in flight beyond it ends, and nobody begins until there is room again."""
    callees = callees_of("a", "b", "c", concurrency=4)
    a, b, c = callees.by_name.values()
    async with asyncio.TaskGroup() as tasks:
        for after_s in (0.5, 1.0, 1.0, 1.0):
            tasks.create_task(attempt(a, is_accepted=True, for_s=after_s))
            tasks.create_task(attempt(b, is_accepted=True, for_s=1.0))
        await spin()

        callees.change([endpoint(name, concurrency=1) for name in "abc"], Delivery(concurrency=2))
        for callee in (a, b, c):
            for _ in range(2):
                tasks.create_task(attempt(callee, is_accepted=True, for_s=1.0))
        await spin()
        assert (a.in_flight, b.in_flight, c.in_flight) == (4, 4, 0)

        await asyncio.sleep(0.7)
        assert (a.in_flight, b.in_flight, c.in_flight) == (3, 4, 0), "one ended, and seven are still more than two"
        await asyncio.sleep(0.5)
        assert a.in_flight + b.in_flight + c.in_flight == 2
        assert max(a.in_flight, b.in_flight, c.in_flight) == 1
    assert a.in_flight == b.in_flight == c.in_flight == 0


@in_virtual_time
async def test_who_left_is_not_called_though_it_waited_for_its_turn() -> None:
    """And that is said at once: what is held for it in memory holds up the offset."""
    callees = callees_of("oms", concurrency=1)
    oms, began = callees.by_name["oms"], now()
    async with asyncio.TaskGroup() as tasks:
        first, second = (tasks.create_task(attempt(oms, is_accepted=True, for_s=1.0)) for _ in range(2))
        await spin()

        callees.change([], Delivery())

        assert await second is False
        assert await attempt(oms, is_accepted=True) is False
        assert now() == began
        assert await first is True, "what is in flight ends"
    assert callees.wanting("shop-hkd", "order.paid") == ()


@in_virtual_time
async def test_who_left_is_not_counted_among_those_that_fail() -> None:
    """The verdict once named an endpoint that was not there any more, and that ended the process."""
    names = [f"e{number}" for number in range(10)]
    callees = callees_of(*names)
    leaving = callees.by_name["e0"]
    for name in names[:-1]:
        await attempt(callees.by_name[name], is_accepted=False)

    callees.change([endpoint(name) for name in names[1:]], Delivery())
    leaving.note(is_accepted=False)
    for name in names[1:]:
        await attempt(callees.by_name[name], is_accepted=False)

    assert [callees.by_name[name].is_paused for name in names[1:]] == [False] * 9, "nine are not ten"


@in_virtual_time
async def test_a_suspended_endpoint_that_moves_is_active_and_said_to_be(said: Said) -> None:
    callees = callees_of("oms", suspend_after_s=5.0)
    oms, partition = callees.by_name["oms"], Partition()
    oms.subscribe(partition)
    oms.suspend_at_start()

    callees.change([endpoint("oms", url="https://merchant.example/other")], Delivery())

    assert (oms.state, oms.room, partition.states) == ("active", 8, ["suspended", "active"])
    assert said() == [("endpoint.resumed", "info", {"endpoint": "oms", "reason": "moved"})]


@in_virtual_time
async def test_who_wants_what_is_asked_anew() -> None:
    """What was found before is kept, however often it is asked for."""
    callees = callees_of("oms")
    assert len(callees.wanting("shop-hkd", "order.paid")) == 1

    callees.change([endpoint("oms", events=("order.closed",))], Delivery())

    assert callees.wanting("shop-hkd", "order.paid") == ()
