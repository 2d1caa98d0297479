"""Listening sockets by the address that a setting names: IPv4, IPv6, or `::` for both on one port."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import psutil


def listen_on(host: str, port: int) -> socket.socket:
    """A listening TCP socket; `::` takes IPv4 as well. OSError when the address is taken or not ours."""
    if ":" not in host:
        return socket.create_server((host, port), reuse_port=False)
    return socket.create_server((host, port), family=socket.AF_INET6, dualstack_ipv6=host == "::")


def datagram_addresses(host: str, port: int) -> tuple[tuple[str, int], ...]:
    """What the router binds for `host`: a socket for each family of the `::` wildcard, since one for both would show
    IPv4 peers under mapped addresses."""
    return (("0.0.0.0", port), ("::", port)) if host == "::" else ((host, port),)


def in_url(host: str) -> str:
    """A host as it stands in a URL (RFC 3986 3.2.2): IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host else host


def interface_addresses(version: int) -> list[str]:
    """This machine's addresses of one IP version, loopback last."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    found = {
        entry.address
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        # Link-local addresses need a zone, which a candidate cannot carry (RFC 8445 5.1.1.1).
        if entry.family == family and "%" not in entry.address
    }
    # Loopback last: it serves only clients on this machine.
    return sorted(found, key=lambda address: (ip_address(address).is_loopback, address))
