"""Endpoints: where each leads now, and whether a connection can be made. Nothing is sent to them. Pure; who connects is told."""

from __future__ import annotations

from notifier.checks.finding import Finding, fault, ok, warning

_FAULTS = {
    "timeout": ("no connection within the time allowed", "Is it up, and may this machine reach it?"),
    "refused": ("nobody listens there", "Start it, or mend the URL's host and port."),
    "reset": (
        "the connection was closed at once",
        "Look at what stands before it: a proxy, or a port that speaks no TLS.",
    ),
    "unreachable": ("there is no way to its address", "Look at routes and firewalls."),
    "dns": ("its name has no address, or the name servers do not say", "Look at the host in the URL, and at DNS."),
    "tls": (
        "no TLS handshake, or a certificate that is not trusted",
        "Its owner mends the certificate; for an authority of one's own there is ca_file.",
    ),
    "exhausted": ("this machine has no sockets left", "Raise the limit of open files."),
}
"""Why there is no connection, by the word that also stands in the deliveries log."""


def judge_endpoint(name: str, where: str, fault_word: str | None, *, has_tls: bool) -> Finding:
    """
    One endpoint. One that is down is a warning: what it is owed waits, and it is tried again.

    Args:
        where: whom it belongs to, in words that give away nothing of the URL but its host.
        fault_word: why there is no connection; None where there is one.
    """
    if fault_word is None:
        return ok(name, f"{where} can be reached, {'TLS is fine' if has_tls else 'without TLS'}; nothing was sent")
    if fault_word == "address_forbidden":
        return fault(
            name,
            f"{where} leads to an address that must not be called, or to a listener of ours: nothing will be delivered",
            "Mend the URL; delivery.allow_networks lists which addresses outside the public internet may be called.",
        )
    why, remedy = _FAULTS.get(fault_word, (fault_word, "Mend the URL."))
    return warning(name, f"{where}: {why}", remedy)
