"""Kafka that asks who one is and lets each do only what deploy/kafka/acls.sh says; Redis likewise, by deploy/redis."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from notifier.local import kafka as local_kafka
from notifier.local import redis as local_redis
from notifier.local.folder import held
from notifier.local.guard import guard
from notifier.local.ports import HOST, free_ports
from notifier.local.server import Server

DEPLOY = Path(__file__).parents[2] / "deploy"
USERS = ("notifier-ingress", "notifier-orders", "notifier-fanout", "notifier-topics", "notifier-operator")

# Kafka's numbers (org.apache.kafka.common.resource.ResourceType, …acl.AclOperation)
_KINDS = {"topic": 2, "group": 3}
_OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8, "DescribeConfigs": 10}
_LITERAL, _ALLOW = 3, 3


@dataclass(frozen=True, slots=True)
class Secured:
    """Both, running."""

    kafka: str
    """HOST:PORT for those who say who they are: SASL_SSL, PLAIN."""
    kafka_for_anybody: str
    """HOST:PORT for the administrator: nobody is asked there, and everything may be done."""
    kafka_log: Path
    redis_port: int
    ca_file: Path
    passwords: Path
    """A folder with a file for each user, which holds its password."""

    def environment(self, user: str) -> dict[str, str]:
        """The settings of a process of this user, as its environment."""
        return {
            "NOTIFIER__KAFKA__BOOTSTRAP_SERVERS": self.kafka,
            "NOTIFIER__KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
            "NOTIFIER__KAFKA__SASL_MECHANISM": "PLAIN",
            "NOTIFIER__KAFKA__SASL_USERNAME": user,
            "NOTIFIER__KAFKA__SASL_PASSWORD_FILE": str(self.passwords / user),
            "NOTIFIER__KAFKA__CA_FILE": str(self.ca_file),
            "NOTIFIER__REDIS__URL": f"redis://{user}:{password(user)}@{HOST}:{self.redis_port}/0",
        }


def password(user: str) -> str:
    """The password of a user, in Kafka and in Redis."""
    return f"password-of-{user}"


@contextlib.contextmanager
def secured(folder: Path) -> Iterator[Secured]:
    """Both, while the block runs, with the rules of deploy/ in force; data lies in the folder."""
    plain, controller, sasl, redis_port = free_ports(4)
    ca_file, server_file = _certificates(folder)
    for user in USERS:
        (folder / user).write_text(f"{password(user)}\n")
    users = " ".join(f'user_{user}="{password(user)}"' for user in USERS)
    broker = local_kafka.prepare(
        folder,
        (plain, controller),
        print,
        {
            "listeners": f"BROKER://{HOST}:{plain},CONTROLLER://{HOST}:{controller},CLIENTS://{HOST}:{sasl}",
            "advertised.listeners": f"BROKER://{HOST}:{plain},CLIENTS://{HOST}:{sasl}",
            "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT,CLIENTS:SASL_SSL",
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.clients.plain.sasl.jaas.config": (
                f"org.apache.kafka.common.security.plain.PlainLoginModule required {users};"
            ),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(server_file),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        },
    )
    # what it denies is told at the level info
    told = "-Dorg.slf4j.simpleLogger.log.kafka.authorizer.logger=info"
    broker = replace(broker, command=(broker.command[0], told, *broker.command[1:]))
    store = replace(
        local_redis.prepare(folder, redis_port, print),
        command=(str(local_redis.find_program().path), str(_redis_settings(folder, redis_port))),
    )
    with held(folder) as lock, guard(lock) as watch, contextlib.ExitStack() as started:
        servers = [Server(recipe, on_spawn=watch) for recipe in (broker, store)]
        for server in servers:
            started.callback(server.stop)
            server.spawn()
        for server in servers:
            server.wait_ready()
        asyncio.run(_allow(f"{HOST}:{plain}", rules()))
        yield Secured(
            f"{HOST}:{sasl}", f"{HOST}:{plain}", broker.log_path, redis_port, ca_file=ca_file, passwords=folder
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """One user, one resource, and what it may do there."""

    user: str
    kind: str
    name: str
    operations: tuple[str, ...]


def rules() -> list[Rule]:
    """What acls.sh tells kafka-acls.sh, which is not run: it takes seconds for each."""
    said = subprocess.run(
        ["/bin/sh", DEPLOY / "kafka" / "acls.sh", "--bootstrap-server", "b:1"],
        env={"KAFKA_ACLS": "echo", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout
    return [_rule(line) for line in said.splitlines()]


def _rule(line: str) -> Rule:
    """Read the arguments of one call of kafka-acls.sh; anything that it does not know is an error."""
    shape = r"--bootstrap-server b:1 --add --allow-principal User:(\S+)((?: --operation \w+)+) --(topic|group) (\S+)"
    read = re.fullmatch(shape, line)
    assert read is not None, line
    return Rule(read[1], read[3], read[4], tuple(read[2].split()[1::2]))


async def _allow(bootstrap_servers: str, allowed: list[Rule]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        for rule in allowed:
            for operation in rule.operations:
                answer = await admin._send_request(
                    CreateAclsRequest(
                        _KINDS[rule.kind],
                        rule.name,
                        _LITERAL,
                        f"User:{rule.user}",
                        "*",
                        _OPERATIONS[operation],
                        _ALLOW,
                    )
                )
                assert [code for code, _ in answer.creation_responses] == [0], answer
    finally:
        await admin.close()


def _redis_settings(folder: Path, port: int) -> Path:
    """deploy/redis.conf and deploy/redis/users.conf as they are, but for the passwords, and for where it runs."""
    users = (DEPLOY / "redis" / "users.conf").read_text("utf-8")
    users = re.sub(r"(?m)^(user (\S+) .*)\bresetpass\b", lambda line: f"{line[1]}>{password(line[2])}", users)
    (folder / "users.conf").write_text(f"{users}\nuser admin on >{password('admin')} ~* +@all\n")
    own: Mapping[str, str] = {"bind": HOST, "port": str(port), "dir": str(folder), "logfile": '""'}
    settings = folder / "redis.conf"
    settings.write_text(
        f"include {DEPLOY / 'redis.conf'}\ninclude {folder / 'users.conf'}\n"
        + "".join(f"{name} {value}\n" for name, value in own.items())
    )
    return settings


def _certificates(folder: Path) -> tuple[Path, Path]:
    """An authority's certificate; and a server's, signed by it, with its key."""
    authority_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    now = datetime.now(UTC)  # noqa: TID251 - a certificate is judged by the real clock, of Kafka and OpenSSL

    def begun(subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
        )

    authority = (
        begun(name, authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    server = (
        begun(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kafka")]), server_key)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(authority.public_bytes(Encoding.PEM))
    key = server_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "server.pem").write_bytes(key + server.public_bytes(Encoding.PEM))
    return folder / "ca.pem", folder / "server.pem"
