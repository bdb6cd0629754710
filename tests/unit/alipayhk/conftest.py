"""Keys that play AlipayHK's; made once, because a 2048-bit key takes a while."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from notifier.alipayhk.keys import Md5Key


@pytest.fixture(scope="session")
def private() -> RSAPrivateKey:
    """The key that plays AlipayHK's."""
    return generate_private_key(65537, 2048)


@pytest.fixture(scope="session")
def other_private() -> RSAPrivateKey:
    """Somebody else's key."""
    return generate_private_key(65537, 2048)


@pytest.fixture(scope="session")
def md5_key() -> Md5Key:
    """The published key of AlipayHK's shared sandbox."""
    return Md5Key.parse("760bdzec6y9goq7ctyx96ezkz78287de")
