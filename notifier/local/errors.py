"""What can go wrong while Kafka and Redis are brought up on this machine."""


class LocalFailed(Exception):
    """
    A local service can't be had; the message says why and what to do.

    The person at the terminal acts on it, so it is written for them, and commands print it as it is.
    """
