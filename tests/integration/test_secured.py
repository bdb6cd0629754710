"""The pipeline with no more rights than deploy/ gives it: all of it works, and nobody may do what is not theirs."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession, web
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.produce import ProduceRequest
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, ResponseError

from notifier import config
from notifier.errors import Unavailable
from notifier.kafka.access import Access
from notifier.local.ports import HOST, free_ports
from notifier.topics import Topics
from notifier.views import RedisViews
from tests.integration.secured import USERS, Secured, password, secured
from tests.integration.test_run import Shop
from tests.program import is_line

TOPICS = Topics("alipayhk")
NAMES = ("inbox", "orders", "deliveries", "commands", "quarantine")

# Who reads what, and who writes what: written down a second time, from design.md's picture.
READS = {
    "notifier-ingress": {"orders"},  # the desk, where Redis has an order only as a pointer
    "notifier-orders": {"inbox", "orders"},
    "notifier-fanout": {"orders", "commands", "deliveries"},
    "notifier-topics": set[str](),  # it makes topics, and never sees what is in them
    "notifier-operator": {"inbox", "orders", "deliveries", "commands", "quarantine"},
}
WRITES = {
    "notifier-ingress": {"inbox"},
    "notifier-orders": {"orders", "quarantine"},
    "notifier-fanout": {"deliveries"},
    "notifier-topics": set[str](),
    "notifier-operator": {"inbox", "commands"},  # a person's word: a release, a redrive
}
JOINS = {"notifier-orders": {"orders"}, "notifier-fanout": {"fanout"}}

_TOPIC_REFUSED, _GROUP_REFUSED = 29, 30  # org.apache.kafka.common.protocol.Errors


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """In the place of the session's Kafka and Redis, which let everybody do everything."""
    with secured(tmp_path_factory.mktemp("secured")) as started:
        yield started


@pytest.fixture(scope="module")
def shop(services: Secured, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop's folder; its topics are made by who may make them."""
    public, internal, merchant = free_ports(3)
    own = {
        "NOTIFIER__INGRESS__PUBLIC": f"{HOST}:{public}",
        "NOTIFIER__INGRESS__INTERNAL": f"{HOST}:{internal}",
        "NOTIFIER__KAFKA__PARTITIONS": "3",
        "NOTIFIER__LOG__FORMAT": "json",
        "NOTIFIER__DELIVERY__FIRST_RETRY_S": "0.5",
    }
    bare = {name: value for name, value in config.environment().items() if not name.startswith("NOTIFIER_")}
    shop = Shop(tmp_path_factory.mktemp("shop"), bare | own, merchant)

    async def make() -> None:
        assert (await shop.call("init"))[0] == 0
        settings = shop.folder / "notifier.toml"
        settings.write_text(settings.read_text().replace("127.0.0.1:9000", f"127.0.0.1:{merchant}"))
        status, out, err = await _as(shop, services, "notifier-topics").call("topics", "--apply")
        assert status == 0, out + err

    asyncio.run(make())
    return shop


def _as(shop: Shop, services: Secured, user: str) -> Shop:
    """The same folder, worked in by that user."""
    return Shop(shop.folder, shop.environment | services.environment(user), shop.merchant_port)


async def test_each_process_works_with_its_own_rights(services: Secured, shop: Shop) -> None:
    """From POST to webhook, and what a person asks and says about it; nothing on the way was denied, by Kafka or by Redis."""
    operator = _as(shop, services, "notifier-operator")

    async with (
        _merchant(shop.merchant_port, fails=1) as told,
        _as(shop, services, "notifier-ingress").running("serve") as ingress,
        _as(shop, services, "notifier-orders").running("consume", "orders") as orders,
        _as(shop, services, "notifier-fanout").running("consume", "fanout") as fanout,
    ):
        await ingress.until(is_line(event="service.started"))
        for job in (orders, fanout):
            await job.until(is_line(event="partitions.assigned"))
        paid = await operator.call("simulate", "pay", "shop-hkd", "T1", "128.00")
        async with asyncio.timeout(30):
            webhook = await told.get()  # the second attempt: its event is read back, from the view of orders
        await fanout.until(is_line(event="delivery.attempted", outcome="accepted"))
        redriven = await operator.call("deliveries", "redrive", "--endpoint", "shop-oms", "--accepted", "--json")
        async with asyncio.timeout(30):
            again = await told.get()
        said = [
            await operator.call("endpoints", "suspend", "shop-oms", "--reason", "they are moving house"),
            await operator.call("endpoints", "list"),  # who suspended it and why is read in the log of commands
            await operator.call("endpoints", "resume", "shop-oms"),
        ]
        asked = {
            words: await operator.call(*words.split(), "--json")
            for words in (
                "orders show shop-hkd T1",
                "orders list",
                "deliveries list",
                "endpoints list",
                "quarantine list",
                "check",
            )
        }
        ends = [await program.ends(signal.SIGTERM) for program in (orders, fanout)]
        async with _redis(services, "admin") as redis:
            denied = await redis.acl_log()
            await redis.flushall()
        desk = await _ask_desk(shop)  # without a view it reads the log
        ends.append(await ingress.ends(signal.SIGTERM))

    assert [one[0] for one in (paid, redriven, *said)] == [0] * 5, (paid, redriven, said)
    assert "moving house" in said[1][1]
    assert (webhook["type"], webhook) == ("order.paid", again)
    assert {words: answer for words, answer in asked.items() if answer[0] != 0} == {}
    assert json.loads(asked["orders show shop-hkd T1"][1])["order"]["status"] == desk["status"] == "paid"
    assert ends == [0, 0, 0]
    assert denied == []
    assert not [line for line in services.kafka_log.read_text().splitlines() if "is Denied" in line]


async def test_a_user_is_known_in_each_way_that_the_settings_have(services: Secured, shop: Shop) -> None:
    """By PLAIN, by a certificate; by SCRAM everywhere else here. Whoever is not known may not even look."""
    ways = [
        services.environment("notifier-topics", mechanism="PLAIN"),
        services.environment_with_certificate("notifier-topics"),
    ]
    unknown = services.environment("notifier-topics") | {"NOTIFIER__KAFKA__SASL_USERNAME": "nobody"}

    looked = [await Shop(shop.folder, shop.environment | way, shop.merchant_port).call("topics") for way in ways]
    refused = await Shop(shop.folder, shop.environment | unknown, shop.merchant_port).call("topics")

    assert [status for status, _, _ in looked] == [0, 0], looked
    assert (refused[0], refused[1]) == (1, "")


async def _ask_desk(shop: Shop) -> dict[str, object]:
    url = f"http://{shop.environment['NOTIFIER__INGRESS__INTERNAL']}/v1/orders/shop-hkd/T1"
    async with ClientSession() as session, session.get(url) as answer:
        told: dict[str, object] = await answer.json()
        assert answer.status == 200, told
        return told


@pytest.mark.parametrize("user", USERS)
async def test_kafka_lets_nobody_do_what_is_not_theirs(services: Secured, shop: Shop, user: str) -> None:
    """Asked of the broker, topic by topic and group by group, as that user."""
    settings = config.load(shop.folder / "notifier.toml", shop.environment | services.environment(user))
    topics = {name: f"{settings.kafka.topic_prefix}.{name}.v1" for name in NAMES}
    admin = AIOKafkaAdminClient(**Access.to(settings.kafka, "test").options)
    await admin.start()
    try:
        reads = {name for name, topic in topics.items() if await _fetch(admin, topic) != _TOPIC_REFUSED}
        writes = {name for name, topic in topics.items() if await _produce(admin, topic) != _TOPIC_REFUSED}
        joins = {job for job in ("orders", "fanout") if await _beat(admin, TOPICS.group(job)) != _GROUP_REFUSED}
        deleted = await admin.delete_topics(list(topics.values()))
    finally:
        await admin.close()

    assert (reads, writes, joins) == (READS[user], WRITES[user], JOINS.get(user, set()))
    assert {code for _, code in deleted.topic_error_codes} == {_TOPIC_REFUSED}


async def _fetch(admin: AIOKafkaAdminClient, topic: str) -> int:
    """What Kafka says to a read, as its error's number."""
    answer = await admin._send_request(FetchRequest(0, 0, 1, 0, [(topic, [(0, 0, 1)])]))  # it has no public way to ask
    ((_, ((_, code, *_),)),) = answer.topics
    return int(code)


async def _produce(admin: AIOKafkaAdminClient, topic: str) -> int:
    """What Kafka says to a write of no record at all: where it is allowed, that there is none."""
    answer = await admin._send_request(ProduceRequest(None, -1, 1000, [(topic, [(0, b"")])]))  # as above
    ((_, ((_, code, *_),)),) = answer.topics
    return int(code)


async def _beat(admin: AIOKafkaAdminClient, group: str) -> int:
    """What Kafka says to the heartbeat of a member that it does not know."""
    answer = await admin._send_request(HeartbeatRequest(group, 0, "nobody"))  # as above
    return int(answer.error_code)


@pytest.mark.parametrize(
    ("user", "command"),
    [
        pytest.param("notifier-ingress", ["HSET", "alipayhk:{alipayhk.orders.v1:0}:view", "a", "b"], id="desk writes"),
        pytest.param("notifier-ingress", ["HGET", "alipayhk:{alipayhk.deliveries.v1:0}:view", "a"], id="desk, lanes"),
        pytest.param("notifier-orders", ["HGET", "alipayhk:{alipayhk.deliveries.v1:0}:view", "a"], id="orders, lanes"),
        pytest.param("notifier-orders", ["HSET", "other:{alipayhk.orders.v1:0}:view", "a", "b"], id="another's keys"),
        pytest.param(
            "notifier-fanout", ["HSET", "alipayhk:{alipayhk.orders.v1:0}:view", "a", "b"], id="fan-out, orders"
        ),
        pytest.param(
            "notifier-operator", ["HSET", "alipayhk:{alipayhk.orders.v1:0}:view", "a", "b"], id="a person writes"
        ),
        *(
            pytest.param(user, command, id=f"{user} {command[0]}")
            for user in USERS
            if user != "notifier-topics"  # it has no business there
            for command in (["FLUSHALL"], ["CONFIG", "GET", "*"], ["KEYS", "*"], ["ACL", "LIST"], ["SAVE"])
        ),
    ],
)
async def test_redis_lets_nobody_do_what_is_not_theirs(services: Secured, user: str, command: list[str]) -> None:
    """A view belongs to one job; nobody may empty Redis, look around in it or set it otherwise."""
    async with _redis(services, user) as redis:
        with pytest.raises(NoPermissionError):
            await redis.execute_command(*command)  # type: ignore[no-untyped-call] # the library's gap


async def test_a_script_is_no_way_around(services: Secured) -> None:
    """What a user may not do it may not have a script do: fan-out may run scripts over the view of orders, but only read it."""
    write = "return redis.call('HSET', KEYS[1], 'a', 'b')"
    async with _redis(services, "admin") as admin:
        script = await admin.script_load(write)
    async with _redis(services, "notifier-fanout") as redis:
        with pytest.raises(ResponseError, match="No permissions to access a key"):
            await redis.evalsha(script, 1, "alipayhk:{alipayhk.orders.v1:0}:view")
        assert await redis.evalsha(script, 1, "alipayhk:{alipayhk.deliveries.v1:test}:view") == 1


async def test_a_right_that_a_script_lacks_is_waited_for(services: Secured) -> None:
    """A person mends it in Redis: the job waits and says so, as for any other right that it lacks, and does not end."""
    user = "notifier-fanout"
    views = RedisViews(f"redis://{user}:{password(user)}@{HOST}:{services.redis_port}/0", key_prefix="alipayhk")
    try:
        with pytest.raises(Unavailable):
            await views.write(TOPICS.orders, 0, expected=None, position=1, entries={}, due=[])
    finally:
        await views.close()


@asynccontextmanager
async def _redis(services: Secured, user: str) -> AsyncIterator[Redis]:
    redis = Redis(host=HOST, port=services.redis_port, username=user, password=password(user))
    try:
        yield redis
    finally:
        await redis.aclose()


@asynccontextmanager
async def _merchant(port: int, *, fails: int) -> AsyncIterator[asyncio.Queue[dict[str, object]]]:
    """A merchant who refuses so many, then accepts everything: what it accepted."""
    refused = 0
    told: asyncio.Queue[dict[str, object]] = asyncio.Queue()

    async def accept(request: web.Request) -> web.Response:
        nonlocal refused
        if refused < fails:
            refused += 1
            return web.Response(status=500)
        told.put_nowait(await request.json())
        return web.Response()

    application = web.Application()
    application.router.add_post("/", accept)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, port).start()
        yield told
    finally:
        await runner.cleanup()
