"""Everything that is asked of the gateway itself: the monitor page, statistics, keys, administration. Routes and their shapes.

    Route("GET", "monitor/invocations/{id}", handler)    handler: async (Visit) -> Reply, or raises a GatewayError
    desk = Desk([*monitor.routes(), *keys.routes()])
    desk.find("GET", "monitor/invocations/7")            -> (route, {"id": "7"}); NotFound or BadMethod where there is none

A handler sees values and returns values: `proxy/gateway` reads the body, knows who calls, and writes the answer. Paths are
written without the slash in front; a last part "{name...}" takes all that is left, slashes too. A path comes in as it was sent;
what a route takes out of it is unescaped.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from ..errors import BadMethod, NotFound
from .caller import Caller

OPEN, CALLER, ADMIN = "open", "caller", "admin"  # who may: everybody, whoever may call a model, administrators

Headers = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Visit:
    """One such request, read. Header names in lower case; the body is its JSON value, None where there is none."""

    method: str
    path: str
    args: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    client: str  # the caller's address, behind the proxies that are trusted
    caller: Caller
    is_cookie: bool = False  # known by a session's cookie, not by a key
    secure: bool = False     # came over TLS, as far as a trusted proxy says
    pairs: Sequence[tuple[str, str]] = ()  # the query as it came: `query` keeps the last of several values


@dataclass(slots=True)
class Reply:
    """JSON, bytes that name their content-type, or a stream of them."""

    body: Any = None
    status: int = 200
    headers: Headers = field(default_factory=list)

    @property
    def is_stream(self) -> bool:
        return isinstance(self.body, AsyncIterator)

    def __post_init__(self) -> None:
        if isinstance(self.body, bytes) and not any(name == "content-type" for name, _ in self.headers):
            raise TypeError("bytes need a content-type")


Handler = Callable[[Visit], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path, and who may ask for it."""

    method: str
    path: str
    handler: Handler
    access: str = ADMIN

    def match(self, parts: list[str]) -> dict[str, str] | None:
        """The named parts of a path; None when it is another."""
        found: dict[str, str] = {}
        wanted = self.path.split("/")
        if wanted[-1].endswith("...}"):
            if len(parts) < len(wanted):
                return None
            parts = [*parts[: len(wanted) - 1], "/".join(parts[len(wanted) - 1 :])]
        if len(parts) != len(wanted):
            return None
        for want, part in zip(wanted, parts, strict=True):
            if want.startswith("{"):
                found[want.strip("{.}")] = part
            elif want != part:
                return None
        return found


class Desk:
    """All routes. More exact ones are found before those with names in them."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes: dict[tuple[str, str], list[Route]] = {}  # by method and first part
        for route in sorted(routes, key=lambda route: "{" in route.path):
            self._routes.setdefault((route.method, route.path.split("/")[0]), []).append(route)

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """The route and its named parts. HEAD asks as GET does."""
        parts = [unquote(part) for part in path.split("/") if part]
        asked = "GET" if method == "HEAD" else method
        for route in self._routes.get((asked, parts[0]) if parts else (asked, ""), ()):
            args = route.match(parts)
            if args is not None:
                return route, args
        others = [known for known, first in self._routes if parts and first == parts[0] and known != asked
                  and any(route.match(parts) is not None for route in self._routes[known, first])]  # fmt: skip
        if others:
            allow = ", ".join(sorted({*others, *(["HEAD"] if "GET" in others else [])}))
            raise BadMethod(f"this path takes {allow}", details={"allow": f"{allow}, OPTIONS"})
        raise NotFound(f"no such path: /{path[:200]}")
