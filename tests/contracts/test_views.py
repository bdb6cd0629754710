"""What a view store must do: the fake and Redis alike."""

from collections.abc import AsyncIterator

import pytest

from notifier.errors import Unavailable
from notifier.ports import DueChange, ViewStore
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


async def test_a_view_that_was_never_written_has_no_position(store: ViewStore) -> None:
    read = await store.read(TOPIC, P, [b"shop/T1"])

    assert read.position is None
    assert read.entries == [None]


async def test_entries_and_position_move_together(store: ViewStore) -> None:
    moved = await store.write(
        TOPIC, P, expected=None, position=3, entries={b"shop/T1": b"one", b"shop/T2": b"two"}, due=[]
    )

    assert moved
    assert await store.read(TOPIC, P, [b"shop/T2", b"shop/none", b"shop/T1"]) == (3, [b"two", None, b"one"])


@pytest.mark.parametrize(
    ("expected", "why"),
    [
        (None, "the view was there when it should not have been: it was flushed before it was read, and refilled"),
        (2, "another owner moved it on"),
        (4, "an old copy took its place"),
    ],
)
async def test_a_view_moves_only_from_where_it_was_read(store: ViewStore, expected: int | None, why: str) -> None:
    await store.write(TOPIC, P, expected=None, position=3, entries={b"k": b"kept"}, due=[])

    moved = await store.write(
        TOPIC, P, expected=expected, position=9, entries={b"k": b"lost", b"x": b"x"}, due=[DueChange("oms", b"k", 1)]
    )

    assert not moved, why
    assert await store.read(TOPIC, P, [b"k", b"x"]) == (3, [b"kept", None])
    assert await store.waiting(TOPIC, P, "oms") == 0


async def test_the_due_index_moves_with_the_view(store: ViewStore) -> None:
    due = [DueChange("oms", b"oms/a", 300), DueChange("oms", b"oms/b", 100), DueChange("erp", b"erp/a", 200)]
    await store.write(TOPIC, P, expected=None, position=1, entries={}, due=due)
    assert await store.due(TOPIC, P, "oms", until_ms=None, limit=10) == [(b"oms/b", 100), (b"oms/a", 300)]
    assert await store.due(TOPIC, P, "oms", until_ms=299, limit=10) == [(b"oms/b", 100)]
    assert await store.due(TOPIC, P, "oms", until_ms=None, limit=1) == [(b"oms/b", 100)]

    await store.write(TOPIC, P, expected=1, position=2, entries={}, due=[DueChange("oms", b"oms/b", None)])

    assert await store.due(TOPIC, P, "oms", until_ms=None, limit=10) == [(b"oms/a", 300)]
    assert await store.waiting(TOPIC, P, "oms") == 1
    assert await store.waiting(TOPIC, P, "erp") == 1


async def test_partitions_and_topics_are_apart(store: ViewStore) -> None:
    await store.write(TOPIC, P, expected=None, position=1, entries={b"k": b"v"}, due=[DueChange("oms", b"k", 1)])

    assert await store.read(TOPIC, P + 1, [b"k"]) == (None, [None])
    assert await store.read("prefix.deliveries.v1", P, [b"k"]) == (None, [None])
    assert await store.waiting(TOPIC, P + 1, "oms") == 0


async def test_a_forgotten_view_was_never_written(store: ViewStore) -> None:
    await store.write(TOPIC, P, expected=None, position=1, entries={b"k": b"v"}, due=[DueChange("oms", b"k", 1)])

    await store.forget(TOPIC, P)

    assert await store.read(TOPIC, P, [b"k"]) == (None, [None])
    assert await store.waiting(TOPIC, P, "oms") == 0, "what is due is a part of the view"


async def test_a_batch_of_thousands_moves_in_one_step(store: ViewStore) -> None:
    """Lua's stack holds fewer arguments than a batch has."""
    entries = {f"shop/T{number}".encode(): str(number).encode() for number in range(9_001)}
    due = [DueChange("oms", key, number) for number, key in enumerate(entries)]

    assert await store.write(TOPIC, P, expected=None, position=9_001, entries=entries, due=due)

    assert await store.read(TOPIC, P, list(entries)) == (9_001, list(entries.values()))
    assert await store.waiting(TOPIC, P, "oms") == 9_001


async def test_a_redis_that_is_not_there_is_unavailable() -> None:
    views = RedisViews("redis://127.0.0.1:1/0", key_prefix="t", timeout_s=0.5)

    with pytest.raises(Unavailable, match="redis"):
        await views.read(TOPIC, P, [b"k"])

    await views.close()


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
