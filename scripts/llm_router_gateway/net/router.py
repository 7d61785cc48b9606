"""Routes of the management API: the monitor page, statistics, keys, administration; their requests and responses.

    Route("GET", "monitor/invocations/{id}", handler)    handler: async (ManagementRequest) -> ManagementResponse, or an error
    router = Router([*monitor.routes(), *keys.routes()])
    router.find("GET", "monitor/invocations/7")          -> (route, {"id": "7"}); NotFound or BadMethod if there is none

A handler takes values and returns values: `proxy/own_api` reads the body, has the caller, and writes the response. Paths
are written without the leading slash; a last part "{name...}" matches the rest, slashes included. A path comes in as it was
sent; the named parts are unescaped.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from ..errors import BadMethod, NotFound
from .caller import Caller

# Access: everyone, keys that may call a model, keys for monitoring and administrators, administrators.
OPEN, CALLER, MONITOR, ADMIN = "open", "caller", "monitor", "admin"

Headers = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class ManagementRequest:
    """One request. Header names in lower case; the body is its JSON value, None if there is none."""

    method: str
    path: str
    args: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    client: str  # the caller's address, behind trusted proxies
    caller: Caller
    is_cookie: bool = False  # authenticated by a session cookie, not by a key
    secure: bool = False  # came over TLS, according to a trusted proxy
    pairs: Sequence[tuple[str, str]] = ()  # the query in full: `query` keeps the last of several values


@dataclass(slots=True)
class ManagementResponse:
    """JSON, bytes with a content-type header, or a stream of bytes."""

    body: Any = None
    status: int = 200
    headers: Headers = field(default_factory=list)

    @property
    def is_stream(self) -> bool:
        return isinstance(self.body, AsyncIterator)

    def __post_init__(self) -> None:
        if isinstance(self.body, bytes) and not any(name == "content-type" for name, _ in self.headers):
            raise TypeError("bytes need a content-type")


Handler = Callable[[ManagementRequest], Awaitable[ManagementResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path, and the access it needs."""

    method: str
    path: str
    handler: Handler
    access: str = ADMIN

    def match(self, parts: list[str]) -> dict[str, str] | None:
        """The named parts of a path; None when it does not match."""
        args: dict[str, str] = {}
        wanted = self.path.split("/")
        if wanted[-1].endswith("...}"):
            if len(parts) < len(wanted):
                return None
            parts = [*parts[: len(wanted) - 1], "/".join(parts[len(wanted) - 1 :])]
        if len(parts) != len(wanted):
            return None
        for want, part in zip(wanted, parts, strict=True):
            if want.startswith("{"):
                args[want.strip("{.}")] = part
            elif want != part:
                return None
        return args


class Router:
    """All routes. Exact paths match before paths with named parts."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes: dict[tuple[str, str], list[Route]] = {}  # by method and first part
        for route in sorted(routes, key=lambda route: "{" in route.path):
            self._routes.setdefault((route.method, route.path.split("/")[0]), []).append(route)

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """The route and its named parts. HEAD is routed as GET."""
        parts = [unquote(part) for part in path.split("/") if part]
        wanted = "GET" if method == "HEAD" else method
        for route in self._routes.get((wanted, parts[0]) if parts else (wanted, ""), ()):
            args = route.match(parts)
            if args is not None:
                return route, args
        others = [known for known, first in self._routes if parts and first == parts[0] and known != wanted
                  and any(route.match(parts) is not None for route in self._routes[known, first])]  # fmt: skip
        if others:
            allow = ", ".join(sorted({*others, *(["HEAD"] if "GET" in others else [])}))
            raise BadMethod(f"this path takes {allow}", details={"allow": f"{allow}, OPTIONS"})
        raise NotFound(f"no such path: /{path[:200]}; references/gateway-api.md lists the paths")
