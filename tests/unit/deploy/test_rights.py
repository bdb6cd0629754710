"""Nobody is given more than the code needs: containers, networks, Kafka, Redis. That it is enough, `test_secured.py` sees."""

from __future__ import annotations

import re
from ipaddress import ip_network

import pytest

from notifier import addresses, views
from notifier.local import redis as local_redis
from notifier.topics import Topics
from tests.integration.secured import USERS, rules
from tests.unit.deploy.manifests import BY_NAME, DEPLOY, JOBS, OURS, UNITS, WORKLOADS, container, unit

TOPICS = Topics("alipayhk")


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_pod_can_do_nothing_but_its_work(name: str) -> None:
    """Not root, nothing to write to, no capability, no token of the cluster, bounded memory."""
    pod = WORKLOADS[name]
    one = container(pod)

    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["automountServiceAccountToken"] is False
    assert one["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert one["resources"]["limits"]["memory"]
    assert all(mount["readOnly"] for mount in one["volumeMounts"])


def test_a_container_of_compose_neither() -> None:
    for one in OURS.values():
        assert (one["read_only"], one["cap_drop"], one["security_opt"]) == (True, ["ALL"], ["no-new-privileges:true"])


def test_a_unit_of_systemd_neither() -> None:
    for path in UNITS:
        service = unit(path)
        assert (service["User"], service["ProtectSystem"], service["CapabilityBoundingSet"]) == (
            "notifier",
            "strict",
            "",
        )


@pytest.mark.parametrize("name", ["notifier-webhooks", "notifier-verify"])
def test_the_network_refuses_the_addresses_that_the_program_refuses(name: str) -> None:
    """The same lock twice: neither of them has a hole that the other has not."""
    ((outward,),) = [BY_NAME["NetworkPolicy", name]["spec"]["egress"]]
    blocks = {
        ip_network(to["ipBlock"]["cidr"]): {ip_network(one) for one in to["ipBlock"]["except"]} for to in outward["to"]
    }
    embedding = {network for network, _ in addresses._EMBEDDING_V6 if network.subnet_of(addresses._GLOBAL_UNICAST_V6)}

    assert blocks == {
        ip_network("0.0.0.0/0"): set(addresses._REFUSED_V4),
        addresses._GLOBAL_UNICAST_V6: {*addresses._REFUSED_V6, *embedding},
    }


def test_only_fan_out_goes_out_and_only_the_door_is_open() -> None:
    policies = {name: one["spec"] for (kind, name), one in BY_NAME.items() if kind == "NetworkPolicy"}
    outward = [
        one["podSelector"]["matchLabels"]
        for name, one in policies.items()
        if name != "notifier-verify" and "ipBlock" in str(one)
    ]
    inward = {
        name: [port["port"] for rule in one["ingress"] for port in rule["ports"]]
        for name, one in policies.items()
        if "ingress" in one
    }

    assert outward == [{"alipayhk-notifier/process": "fanout"}]
    assert inward == {"notifier-public": [8080], "notifier-metrics": [8081], "notifier-desk": [8081]}
    assert policies["notifier-nothing"]["policyTypes"] == ["Ingress", "Egress"]


class TestKafka:
    """deploy/kafka/acls.sh"""

    def test_it_names_the_topics_and_groups_that_there_are(self) -> None:
        named = {(rule.kind, rule.name) for rule in rules()}

        topics = {TOPICS.inbox, TOPICS.orders, TOPICS.deliveries, TOPICS.commands, TOPICS.quarantine}
        assert named == {*(("topic", topic) for topic in topics), *(("group", TOPICS.group(job)) for job in JOBS)}

    def test_it_names_the_users_that_are_used(self) -> None:
        assert {rule.user for rule in rules()} == set(USERS)
        assert set(USERS) > WORKLOADS.keys()


class TestRedis:
    """deploy/redis.conf, deploy/redis/users.conf"""

    def test_it_is_set_as_the_one_that_the_tests_run_on(self) -> None:
        read = dict(
            line.split(maxsplit=1)
            for line in (DEPLOY / "redis.conf").read_text("utf-8").splitlines()
            if line and not line.startswith("#")
        )

        for name in ("maxmemory-policy", "appendonly", "appendfsync"):
            assert read[name] == local_redis._SETTINGS[name]

    def test_who_keeps_a_view_may_do_what_the_scripts_do_and_no_more(self) -> None:
        in_scripts = set(re.findall(r"redis\.call\('([A-Z]+)'", "".join(_scripts())))
        by_itself = {"HMGET", "HGET", "ZRANGEBYSCORE", "INFO", "EVALSHA", "SCRIPT|LOAD", "CLIENT|SETINFO"}

        for user in ("notifier-orders", "notifier-fanout"):
            own = _users()[user].split(" (")[0]
            assert set(re.findall(r"\+([a-z|]+)", own)) == {one.lower() for one in in_scripts | by_itself}

    def test_each_reaches_the_keys_of_its_own_topics(self) -> None:
        orders, lanes = f"~alipayhk:{{{TOPICS.orders}:*", f"~alipayhk:{{{TOPICS.deliveries}:*"
        reached = {user: re.findall(r"~\S+", rights) for user, rights in _users().items()}

        assert reached == {
            "default": [],
            "notifier-ingress": [orders],
            "notifier-orders": [orders],
            "notifier-fanout": [lanes, orders],
            "notifier-operator": ["~alipayhk:{alipayhk.*"],
        }

    def test_nobody_is_let_in_before_he_has_a_password(self) -> None:
        """But for a health check's PING."""
        for user, rights in _users().items():
            assert "resetpass" in rights or (user, rights) == ("default", "reset on nopass +ping")


def _users() -> dict[str, str]:
    lines = (DEPLOY / "redis" / "users.conf").read_text("utf-8").splitlines()
    return {line.split()[1]: line.split(maxsplit=2)[2] for line in lines if line.startswith("user ")}


def _scripts() -> list[str]:
    return [
        value
        for name, value in vars(views).items()
        if isinstance(value, str) and "redis.call" in value and name != "__doc__"
    ]
