"""Where a connection goes: scheme, host, port, and the proxy in between. Pure."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

DEFAULT_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


class Origin(NamedTuple):
    """The address to connect to. Also the key under which idle connections are kept."""

    scheme: str
    host: str
    port: int
    proxy: str = ""

    @property
    def name(self) -> str:
        """For messages: example.com, or example.com:8443."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS.get(self.scheme) else f"{host}:{self.port}"


def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """address_of("10.0.0.1") -> IPv4Address; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """is_loopback("localhost") -> True; is_loopback("127.0.0.9") -> True; is_loopback("10.0.0.1") -> False."""
    address = address_of(host)
    return host == "localhost" or host.endswith(".localhost") or (address is not None and address.is_loopback)
