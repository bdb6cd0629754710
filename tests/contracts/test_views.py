"""What a view store must do: the fake and Redis alike."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from redis.asyncio import Redis

from notifier.errors import Unavailable
from notifier.ports import DueChange, DueGroup, Kept, Pointer, ViewStore
from notifier.views import RedisViews, WrongPolicyError
from tests.fakes import FakeViews

TOPIC, P = "prefix.orders.v1", 7


@pytest.fixture(params=["fake", "redis"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[ViewStore]:
    if request.param == "fake":
        yield FakeViews()
        return
    views = RedisViews(request.getfixturevalue("redis_url"), key_prefix=request.getfixturevalue("key_prefix"))
    yield views
    await views.close()


async def waiting(store: ViewStore, group: str, partition: int) -> int:
    """How many keys of a group are in the due index."""
    return sum(found.keys for found in await store.due_groups(TOPIC, partition) if found.group == group)


async def test_a_view_that_was_never_written_has_no_position(store: ViewStore) -> None:
    read = await store.read(TOPIC, P, [b"shop/T1"])

    assert read.position is None
    assert read.entries == [None]


async def test_entries_and_position_move_together(store: ViewStore) -> None:
    moved = await store.write(
        TOPIC, P, expected=None, position=3, entries={b"shop/T1": Kept(1, b"one"), b"shop/T2": Kept(2, b"two")}, due=[]
    )

    assert moved
    assert await store.read(TOPIC, P, [b"shop/T2", b"shop/none", b"shop/T1"]) == (
        3,
        [Kept(2, b"two"), None, Kept(1, b"one")],
    )


@pytest.mark.parametrize(
    ("expected", "why"),
    [
        (None, "the view was there when it should not have been: it was flushed before it was read, and refilled"),
        (2, "another owner moved it on"),
        (4, "an old copy took its place"),
    ],
)
async def test_a_view_moves_only_from_where_it_was_read(store: ViewStore, expected: int | None, why: str) -> None:
    await store.write(TOPIC, P, expected=None, position=3, entries={b"k": Kept(2, b"kept")}, due=[])

    moved = await store.write(
        TOPIC,
        P,
        expected=expected,
        position=9,
        entries={b"k": Kept(8, b"lost"), b"x": Kept(7, b"x")},
        due=[DueChange("oms", b"k", 1)],
    )

    assert not moved, why
    assert await store.read(TOPIC, P, [b"k", b"x"]) == (3, [Kept(2, b"kept"), None])
    assert await waiting(store, "oms", P) == 0


async def test_the_due_index_moves_with_the_view(store: ViewStore) -> None:
    due = [DueChange("oms", b"oms/a", 300), DueChange("oms", b"oms/b", 100), DueChange("erp", b"erp/a", 200)]
    await store.write(TOPIC, P, expected=None, position=1, entries={}, due=due)
    assert await store.due(TOPIC, P, "oms", until_ms=None, limit=10) == [(b"oms/b", 100), (b"oms/a", 300)]
    assert await store.due(TOPIC, P, "oms", until_ms=299, limit=10) == [(b"oms/b", 100)]
    assert await store.due(TOPIC, P, "oms", until_ms=None, limit=1) == [(b"oms/b", 100)]
    assert await store.due(TOPIC, P, "oms", until_ms=None, limit=1, from_ms=101) == [(b"oms/a", 300)]

    await store.write(TOPIC, P, expected=1, position=2, entries={}, due=[DueChange("oms", b"oms/b", None)])

    assert await store.due(TOPIC, P, "oms", until_ms=None, limit=10) == [(b"oms/a", 300)]
    assert sorted(await store.due_groups(TOPIC, P)) == [DueGroup("erp", 1, 200), DueGroup("oms", 1, 300)]


async def test_a_group_that_nothing_is_due_of_is_not_told_of_until_something_is(store: ViewStore) -> None:
    """With thousands of endpoints only those that something waits for cost anything."""
    await store.write(TOPIC, P, expected=None, position=1, entries={}, due=[DueChange("oms", b"oms/a", 300)])
    await store.write(TOPIC, P, expected=1, position=2, entries={}, due=[DueChange("oms", b"oms/a", None)])
    assert await store.due_groups(TOPIC, P) == []

    await store.write(TOPIC, P, expected=2, position=3, entries={}, due=[DueChange("oms", b"oms/a", 400)])

    assert await store.due_groups(TOPIC, P) == [DueGroup("oms", 1, 400)]


async def test_partitions_and_topics_are_apart(store: ViewStore) -> None:
    await store.write(
        TOPIC, P, expected=None, position=1, entries={b"k": Kept(0, b"v")}, due=[DueChange("oms", b"k", 1)]
    )

    assert await store.read(TOPIC, P + 1, [b"k"]) == (None, [None])
    assert await store.read("prefix.deliveries.v1", P, [b"k"]) == (None, [None])
    assert await waiting(store, "oms", P + 1) == 0


async def test_a_forgotten_view_was_never_written(store: ViewStore) -> None:
    await store.write(
        TOPIC, P, expected=None, position=1, entries={b"k": Kept(0, b"v")}, due=[DueChange("oms", b"k", 1)]
    )

    await store.forget(TOPIC, P)

    assert await store.read(TOPIC, P, [b"k"]) == (None, [None])
    assert await waiting(store, "oms", P) == 0, "what is due is a part of the view"


async def test_a_batch_of_thousands_moves_in_one_step(store: ViewStore) -> None:
    """Lua's stack holds fewer arguments than a batch has."""
    entries = {f"shop/T{number}".encode(): Kept(number, str(number).encode()) for number in range(9_001)}
    due = [DueChange("oms", key, number) for number, key in enumerate(entries)]

    assert await store.write(TOPIC, P, expected=None, position=9_001, entries=entries, due=due)

    assert await store.read(TOPIC, P, list(entries)) == (9_001, list(entries.values()))
    assert await waiting(store, "oms", P) == 9_001


async def test_what_rests_keeps_only_a_pointer_until_it_is_written_again(store: ViewStore) -> None:
    """Rule 11: it leaves its body, never its entry."""
    entries = {b"k": Kept(3, b"body"), b"x": Kept(4, b"body")}
    await store.write(TOPIC, P, expected=None, position=5, entries=entries, due=[])
    assert await store.rested_upto(TOPIC, P) == 0

    await store.rest(TOPIC, P, {b"k": Pointer(3, 7), b"none": Pointer(2, 1)}, upto=5)

    assert await store.read(TOPIC, P, [b"x", b"k", b"none"]) == (5, [Kept(4, b"body"), Pointer(3, 7), None])
    assert await store.rested_upto(TOPIC, P) == 5
    await store.write(TOPIC, P, expected=5, position=6, entries={b"k": Kept(5, b"again")}, due=[])
    assert await store.read(TOPIC, P, [b"k"]) == (6, [Kept(5, b"again")])


async def test_what_has_moved_on_does_not_rest(store: ViewStore) -> None:
    await store.write(TOPIC, P, expected=None, position=5, entries={b"k": Kept(4, b"newer")}, due=[])

    await store.rest(TOPIC, P, {b"k": Pointer(3, 7)}, upto=4)

    assert await store.read(TOPIC, P, [b"k"]) == (5, [Kept(4, b"newer")])


async def test_nothing_rests_in_a_view_that_was_lost_meanwhile(store: ViewStore) -> None:
    """A note of how far resting has come, without a position, would be part of no view."""
    await store.rest(TOPIC, P, {b"k": Pointer(3, 7)}, upto=5)

    assert await store.rested_upto(TOPIC, P) == 0
    assert await store.read(TOPIC, P, [b"k"]) == (None, [None])


async def test_what_points_below_the_start_of_its_log_is_taken_out(store: ViewStore) -> None:
    entries = {f"k{number}".encode(): Kept(number, b"body") for number in range(300)}
    await store.write(TOPIC, P, expected=None, position=300, entries=entries, due=[])
    await store.rest(TOPIC, P, {key: Pointer(kept.offset, 1) for key, kept in entries.items()}, upto=300)

    for _ in range(64):
        await store.drop_below(TOPIC, P, 260)

    left = (await store.read(TOPIC, P, list(entries))).entries
    assert left == [None] * 260 + [Pointer(number, 1) for number in range(260, 300)]


async def test_what_rests_is_forgotten_with_its_view(store: ViewStore) -> None:
    await store.write(TOPIC, P, expected=None, position=5, entries={b"k": Kept(3, b"body")}, due=[])
    await store.rest(TOPIC, P, {b"k": Pointer(3, 7)}, upto=4)

    await store.forget(TOPIC, P)
    await store.write(TOPIC, P, expected=None, position=1, entries={}, due=[])
    await store.rest(TOPIC, P, {}, upto=1)

    assert await store.read(TOPIC, P, [b"k"]) == (1, [None])


async def test_a_redis_that_is_not_there_is_unavailable() -> None:
    views = RedisViews("redis://127.0.0.1:1/0", key_prefix="t", timeout_s=0.5)

    with pytest.raises(Unavailable, match="redis"):
        await views.read(TOPIC, P, [b"k"])

    await views.close()


async def test_a_redis_that_hangs_up_is_asked_once() -> None:
    """Our own loop tries again and says so; its client's hidden repetitions would only hide how long Redis was away."""
    connections = 0

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        views = RedisViews(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", key_prefix="t")
        with pytest.raises(Unavailable, match="redis"):
            await views.read(TOPIC, P, [b"k"])
        await views.close()

    assert connections == 1


async def test_connections_that_were_cut_together_fail_together(redis_url: str, key_prefix: str) -> None:
    """
    Once one has failed and Redis answers, nobody meets another of them.

    They lay in the pool until so many were wanted at once, and each failed then: an outage was told that had long been over.
    """
    at_once = 4
    admin, views = Redis.from_url(redis_url, protocol=2), RedisViews(redis_url, key_prefix=key_prefix)
    strangers = {client["id"] for client in await admin.client_list()}
    await asyncio.gather(*(views.read(TOPIC, P, []) for _ in range(at_once)))
    for client in await admin.client_list():
        if client["id"] not in strangers:
            await admin.client_kill_filter(_id=client["id"])
    with suppress(Unavailable):
        await views.read(TOPIC, P, [])

    await asyncio.gather(*(views.read(TOPIC, P, []) for _ in range(at_once)))

    await views.close()
    await admin.aclose()


async def test_a_redis_that_says_nothing_is_unavailable_in_time() -> None:
    """Its client would wait for ever."""

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with asyncio.timeout(5), await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
        views = RedisViews(url, key_prefix="t", timeout_s=0.1)
        with pytest.raises(Unavailable, match="redis"):
            await views.read(TOPIC, P, [b"k"])
        await views.close()


async def test_who_is_cancelled_while_it_is_asked_hears_of_it(store: ViewStore) -> None:
    """
    At whatever moment: a task group cancels only once.

    redis-py kept a cancellation that came when a command had just been written. A fan-out's partition was taken away, and one of
    its tasks went on as if it had not been: each such process was still there when it was told to end.
    """
    await store.read(TOPIC, P, [b"k"])
    is_done = False
    turns = 0
    while not is_done:
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(store.read(TOPIC, P, [b"k"]))
            for _ in range(turns):
                await asyncio.sleep(0)
            is_done = asking.done()
            asking.cancel()
        assert is_done or asking.cancelled(), f"after {turns} turns of the event loop"
        turns += 1


async def test_a_redis_that_may_drop_keys_is_refused(redis_url: str) -> None:
    from redis.asyncio import Redis

    views, redis = RedisViews(redis_url, key_prefix="t"), Redis.from_url(redis_url)
    await views.check()

    await redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(WrongPolicyError, match="noeviction"):
            await views.check()
    finally:
        await redis.config_set("maxmemory-policy", "noeviction")

    await redis.aclose()
    await views.close()
