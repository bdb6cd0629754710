"""How clients reach the cluster."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any

from notifier.config import Kafka


@dataclass(frozen=True, slots=True)
class Access:
    """What every client of ours passes to aiokafka, so that no client forgets a part of it."""

    options: dict[str, Any]  # aiokafka ships no types; these go straight into its constructors

    @classmethod
    def to(cls, settings: Kafka, client_id: str) -> Access:
        """
        Access as the settings say.

        Args:
            client_id: what the broker's logs and quotas know this client by.
        """
        options: dict[str, Any] = {
            "bootstrap_servers": settings.bootstrap_servers,
            "client_id": client_id,
            "security_protocol": settings.security_protocol,
            "metadata_max_age_ms": 60_000,
        }
        if settings.security_protocol.endswith("SSL"):
            context = ssl.create_default_context(cafile=str(settings.ca_file) if settings.ca_file else None)
            if settings.cert_file and settings.key_file:
                context.load_cert_chain(settings.cert_file, settings.key_file)
            options["ssl_context"] = context
        if settings.security_protocol.startswith("SASL_"):
            options |= {
                "sasl_mechanism": settings.sasl_mechanism,
                "sasl_plain_username": settings.sasl_username,
                "sasl_plain_password": settings.sasl_password,
            }
        return cls(options)
