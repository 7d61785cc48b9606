"""Checks against browsers that are tricked into a call, and the headers that allow a web page to read the answer.

    check_host({"host": "evil.example"}, hosts)   -> raises Forbidden (DNS rebinding)
    cors_headers({"origin": "https://a.example"}, ["https://a.example"])  -> the headers that let that page read it

Header names arrive in lower case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from ..config.kinds import LOOPBACK
from ..errors import Forbidden
from .credentials import host_name

KNOWN_HOSTS = 64  # cached results for Host headers
EXPOSED = (  # to web pages
    "x-request-id, x-llm-router-model, x-llm-router-attempts, x-llm-router-lost, x-llm-router-limited, x-llm-router-cache, "
    "x-llm-router-estimated, retry-after"
)
METHODS = "GET, HEAD, POST, PATCH, DELETE, OPTIONS"


@lru_cache(maxsize=KNOWN_HOSTS)
def is_this_machine(host: str) -> bool:
    """Whether a Host header names this machine, or is empty."""
    name = host_name(host)
    return not name or LOOPBACK.fullmatch(name) is not None


def check_host(headers: Mapping[str, str], allowed: Sequence[str]) -> None:
    """Forbidden when a server on loopback is called by a name that is not its own.

    A web page can point its own name at 127.0.0.1 and then talk to whatever listens there; the Host header
    still holds that name. Programs on this machine send localhost or the address.
    """
    host = headers.get("host", "")
    if not is_this_machine(host) and (name := host_name(host)) not in allowed:
        raise Forbidden(f"Host {name[:100]!r} is not a name of this server; if it should be, add it to [server] allowed_hosts")


def check_origin(headers: Mapping[str, str], allowed: Sequence[str], cors_origins: Sequence[str]) -> None:
    """Forbidden when a foreign web page makes the call (browsers send Origin, programs do not)."""
    origin = headers.get("origin", "")
    if not origin or "*" in cors_origins or origin in cors_origins:
        return
    name = host_name(origin)
    if origin == "null" or not (LOOPBACK.fullmatch(name) or name in allowed):
        raise Forbidden(f"pages of {origin[:100]!r} may not call this server; see [server] cors_origins")


def check_own_page(headers: Mapping[str, str], allowed: Sequence[str]) -> None:
    """Forbidden when a page that is not this server's own makes a call which needs no key on this machine.

    A page of another port of this machine is another page: whatever is served there could administer.
    """
    origin = headers.get("origin", "")
    if not origin or origin.rpartition("://")[2].lower() == headers.get("host", "").lower():
        return
    if origin == "null" or host_name(origin) not in allowed:
        raise Forbidden(f"pages of {origin[:100]!r} may not manage this server without a key")


def listed_origins(cors_origins: Sequence[str]) -> Sequence[str]:
    """The origins that a list names; "*" names none."""
    return [origin for origin in cors_origins if origin != "*"] if "*" in cors_origins else cors_origins


def cors_headers(headers: Mapping[str, str], cors_origins: Sequence[str]) -> list[tuple[str, str]]:
    """The CORS headers of an answer; none unless the origin is configured."""
    origin = headers.get("origin", "")
    if not origin or not ("*" in cors_origins or origin in cors_origins):
        return []
    return [
        ("access-control-allow-origin", origin),
        ("vary", "Origin"),
        ("access-control-expose-headers", EXPOSED),
    ]


def preflight_headers(headers: Mapping[str, str], cors_origins: Sequence[str]) -> list[tuple[str, str]]:
    """The CORS headers of a preflight answer (OPTIONS); none unless the origin is configured."""
    allowed = cors_headers(headers, cors_origins)
    if not allowed:
        return []
    wanted = headers.get("access-control-request-headers", "")
    return [
        *allowed,
        ("access-control-allow-methods", METHODS),
        ("access-control-allow-headers", wanted or "authorization, content-type"),
        ("access-control-max-age", "600"),
    ]
