"""Kafka that asks who one is and lets each do only what deploy/kafka/acls.sh says; Redis likewise, by deploy/redis."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
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
from notifier.local.jars import class_path
from notifier.local.java import find_java
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
    """HOST:PORT for those who say who they are by name and password: SASL_SSL, SCRAM-SHA-512 or PLAIN."""
    kafka_for_certificates: str
    """HOST:PORT for those who do by a certificate: SSL, and the subject's name is the user's."""
    kafka_for_anybody: str
    """HOST:PORT for the administrator: nobody is asked there, and everything may be done."""
    kafka_log: Path
    redis_port: int
    ca_file: Path
    folder: Path
    """Each user has a file there that holds its password, and one with its certificate and key."""

    def environment(self, user: str, *, mechanism: str = "SCRAM-SHA-512") -> dict[str, str]:
        """The settings of a process of this user, as its environment."""
        return {
            "NOTIFIER__KAFKA__BOOTSTRAP_SERVERS": self.kafka,
            "NOTIFIER__KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
            "NOTIFIER__KAFKA__SASL_MECHANISM": mechanism,
            "NOTIFIER__KAFKA__SASL_USERNAME": user,
            "NOTIFIER__KAFKA__SASL_PASSWORD_FILE": str(self.folder / user),
            "NOTIFIER__KAFKA__CA_FILE": str(self.ca_file),
            "NOTIFIER__REDIS__URL": f"redis://{user}:{password(user)}@{HOST}:{self.redis_port}/0",
        }

    def environment_with_certificate(self, user: str) -> dict[str, str]:
        """Likewise, but for a process that Kafka knows by its certificate."""
        return {
            "NOTIFIER__KAFKA__BOOTSTRAP_SERVERS": self.kafka_for_certificates,
            "NOTIFIER__KAFKA__SECURITY_PROTOCOL": "SSL",
            "NOTIFIER__KAFKA__CERT_FILE": str(self.folder / f"{user}.pem"),
            "NOTIFIER__KAFKA__KEY_FILE": str(self.folder / f"{user}.pem"),
            "NOTIFIER__KAFKA__CA_FILE": str(self.ca_file),
        }


def password(user: str) -> str:
    """The password of a user, in Kafka and in Redis."""
    return f"password-of-{user}"


@contextlib.contextmanager
def secured(folder: Path) -> Iterator[Secured]:
    """Both, while the block runs, with the rules of deploy/ in force; data lies in the folder."""
    plain, controller, sasl, certificates, redis_port = free_ports(5)
    ca_file = certificates_of(folder, ("kafka", *USERS))
    for user in USERS:
        (folder / user).write_text(f"{password(user)}\n")
    _format(folder, controller)
    users = " ".join(f'user_{user}="{password(user)}"' for user in USERS)
    outside = f"CLIENTS://{HOST}:{sasl},CERTIFIED://{HOST}:{certificates}"
    broker = local_kafka.prepare(
        folder,
        (plain, controller),
        print,
        {
            "listeners": f"BROKER://{HOST}:{plain},CONTROLLER://{HOST}:{controller},{outside}",
            "advertised.listeners": f"BROKER://{HOST}:{plain},{outside}",
            "listener.security.protocol.map": ("BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT,CLIENTS:SASL_SSL,CERTIFIED:SSL"),
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
            "listener.name.clients.plain.sasl.jaas.config": (
                f"org.apache.kafka.common.security.plain.PlainLoginModule required {users};"
            ),
            "listener.name.clients.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(folder / "kafka.pem"),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(ca_file),
            "listener.name.certified.ssl.client.auth": "required",
            "listener.name.certified.ssl.principal.mapping.rules": "RULE:^CN=(.*)$/$1/",
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
            kafka=f"{HOST}:{sasl}",
            kafka_for_certificates=f"{HOST}:{certificates}",
            kafka_for_anybody=f"{HOST}:{plain}",
            kafka_log=broker.log_path,
            redis_port=redis_port,
            ca_file=ca_file,
            folder=folder,
        )


def _format(folder: Path, controller: int) -> None:
    """The broker's data folder, made beforehand, because SCRAM's passwords are put into it then."""
    settings = folder / "format.properties"
    settings.write_text(
        "process.roles=broker,controller\nnode.id=1\ncontroller.listener.names=CONTROLLER\n"
        f"controller.quorum.voters=1@{HOST}:{controller}\nlisteners=CONTROLLER://{HOST}:{controller},B://{HOST}:1\n"
        "inter.broker.listener.name=B\nlistener.security.protocol.map=B:PLAINTEXT,CONTROLLER:PLAINTEXT\n"
        f"log.dirs={folder / 'kafka' / 'log'}\n"
    )
    subprocess.run(
        [
            find_java().program,
            *("-cp", class_path(print), "kafka.tools.StorageTool", "format"),
            *("--cluster-id", "AAAAAAAAAAAAAAAAAAAAAQ", "--config", settings),
            *(
                word
                for user in USERS
                for word in ("--add-scram", f"SCRAM-SHA-512=[name={user},password={password(user)}]")
            ),
        ],
        timeout=60,
        check=True,
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


def certificates_of(folder: Path, names: Iterable[str]) -> Path:
    """An authority, in a file that is returned; and signed by it, beside it, a certificate with its key for each name."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = (
        _certificate("test authority", "test authority", authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(authority.public_bytes(Encoding.PEM))
    for name in names:
        key = ec.generate_private_key(ec.SECP256R1())
        signed = (
            _certificate(name, "test authority", key)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), critical=False)
            .sign(authority_key, hashes.SHA256())
        )
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / f"{name}.pem").write_bytes(secret + signed.public_bytes(Encoding.PEM))
    return folder / "ca.pem"


def _certificate(subject: str, issuer: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)  # noqa: TID251 - a certificate is judged by the real clock, of Kafka and OpenSSL
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )
