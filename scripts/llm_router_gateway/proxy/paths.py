"""The call that a request line names: method and path -> Call. One table: the protocols' lines and the gateway's own.

    read_call("POST", "/v1/messages", {}, {})                        -> Call("chat", "anthropic")
    read_call("POST", "/v1beta/models/p/m:streamGenerateContent", {"alt": "sse"}, {})
                                                                     -> Call("chat", "gemini", "p/m", stream=True)
    read_call("GET", "/v1/models", {}, {"anthropic-version": "..."}) -> Call("models", "anthropic")

Every path is there with and without /v1 (or /v1beta).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from ..errors import BadMethod, NotFound
from ..wire.registry import DEFAULT, SPECS
from ..wire.spec import RELAYED_KINDS, Line

PREFIXES = frozenset(prefix for spec in SPECS.values() for prefix in spec.prefixes)
OWN_LINES = (
    Line("POST", "route", "route"),
    Line("POST", "route/invoke", "invoke"),
    Line("GET", "health", "health"),
    Line("GET", "health/live", "live"),
    Line("GET", "health/ready", "ready"),
    Line("GET", "health/models", "models_health"),
    Line("GET", "", "root"),  # the first request of people and probes
)
LINES = (*((spec.name, line) for spec in SPECS.values() for line in spec.lines), *((DEFAULT, line) for line in OWN_LINES))
# path -> method -> (what it is, protocol); the protocol decides the shape of errors too
FIXED: Mapping[str, Mapping[str, tuple[str, str]]] = {
    line.path: {each.method: (each.kind, name) for name, each in LINES if each.path == line.path} for _, line in LINES
}
TEMPLATES = tuple(path.split("/") for path in FIXED if "{id}" in path)
# Action of a path models/NAME:action -> its protocol
ACTIONS: Mapping[str, str] = {action: spec.name for spec in SPECS.values() for action in spec.actions}
# The first parts of the management API's paths.
MANAGEMENT = frozenset({"monitor", "api-keys", "providers", "config", "metrics", "auth", "favicon.ico"})
# With one of these parameters GET /models belongs to the management API.
LISTED_BY = frozenset({"tag", "tags", "provider_type", "provider_types", "include_inactive"})
ROOTS = frozenset({*PREFIXES, "models", *(path.partition("/")[0] for path in FIXED)})  # first parts of what follows a version
VERTEX = re.compile(r"(?:projects/[^/]+/locations/[^/]+/)?publishers/[^/]+/(?=models/)")
OPEN_CALLS = frozenset({"health", "live", "ready", "root"})  # answered without a key: they reveal nothing
USUAL_PREFIXES = ("", "/v1")


@dataclass(frozen=True, slots=True)
class Call:
    """One call, as its request line names it."""

    kind: str  # as in a Line: chat, count, embeddings, models, ...; model, root and management beside them
    protocol: str
    model: str = ""  # when the path names it; of the management API: the path
    stream: bool = False  # when the path says so; else the body does
    array: bool = False  # the stream is one JSON array, for server-sent events were not requested
    action: str = ""  # of a path that names the model: its protocol's word for what is wanted
    id: str = ""  # what stands for {id} in the path
    path: str = ""  # of a call that is relayed as it is, without its version: what its upstreams know it by


# Before the path was read: only the protocol of an error's format is known.
UNREAD: Mapping[str, Call] = {protocol: Call("", protocol) for protocol in SPECS}
# Method and path of nearly all requests -> what read_call makes of them.
KNOWN: Mapping[tuple[str, str], Call] = {
    (line.method, f"{prefix}/{line.path}"): Call(line.kind, name, path=line.path if line.kind in RELAYED_KINDS else "")
    for name, line in LINES for prefix in USUAL_PREFIXES if "{id}" not in line.path
}  # fmt: skip

# How a caller's protocol is recognized before the path was read.
OWNERS: Mapping[str, str] = {f"{prefix}/{line.path}": spec.name
                             for spec in SPECS.values() for line in spec.lines for prefix in USUAL_PREFIXES}  # fmt: skip
ENDINGS = tuple((f"/{line.path}", spec.name) for spec in SPECS.values() for line in spec.lines)
MARKS: Mapping[str, str] = {mark: spec.name for spec in SPECS.values() for mark in spec.marks}
OWN_PREFIXES: Mapping[str, str] = {
    prefix: spec.name for spec in SPECS.values() for prefix in spec.prefixes
    if not any(prefix in other.prefixes for other in SPECS.values() if other is not spec)
}  # fmt: skip


def protocol_of(path: str, headers: Mapping[str, str]) -> str:
    """Whose shape an answer has: the path's, and where that leaves it open, that of the caller's own headers."""
    if path in OWNERS:
        return OWNERS[path]
    owner = ACTIONS.get(path.rpartition(":")[2]) or OWN_PREFIXES.get(path.lstrip("/").partition("/")[0])
    owner = owner or next((name for ending, name in ENDINGS if path.endswith(ending)), None)
    return owner or next((name for mark, name in MARKS.items() if mark in headers), DEFAULT)


def read_call(method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Call:
    """The Call; NotFound or BadMethod if there is none. HEAD is routed as GET. `path` is as it came, escaped."""
    known = KNOWN.get((method, path))
    if known is not None:
        return known
    whole = trim_prefix(path)
    action = action_call(unquote(whole), query) if method == "POST" else None
    if action is not None:
        return action
    parts = parts_of(whole)
    rest = "/".join(parts)
    verb = "GET" if method == "HEAD" else method
    if rest in FIXED:
        return fixed_call(verb, rest)
    if parts and (parts[0] in MANAGEMENT or is_model_management(verb, parts, query)):
        return Call("management", DEFAULT, rest)
    if parts and parts[0] == "models":
        return models_call(verb, path, unquote(whole.removeprefix("models").removeprefix("/")), headers)
    template = next((each for each in TEMPLATES if matches(each, parts)), None)
    if template is not None:
        return fixed_call(verb, "/".join(template), unquote(parts[template.index("{id}")]))
    raise NotFound(f"no such path: {path[:200]}; references/gateway-api.md lists the paths")


def is_management(path: str, call: Call) -> bool:
    """Whether a request is for the gateway's own management, also where it was not read any further."""
    first = next((part for part in path.split("/") if part not in ("", *PREFIXES)), "")
    return call.kind == "management" or first in MANAGEMENT


def parts_of(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


def trim_prefix(path: str) -> str:
    """The path without the versions and protocols that base URLs put before it; slashes in a model's name stay.

    "/v1/v1/messages" -> "messages": a base URL with /v1 in front of a client that adds its own
    "/openai/v1/chat/completions" -> "chat/completions"; "/v1beta/tf//models/x:countTokens" -> "tf//models/x:countTokens"
    """
    rest = path.lstrip("/")
    while True:
        first, _, after = rest.partition("/")
        if first not in PREFIXES and not (first in SPECS and is_known_path(parts_of(after))):
            return rest
        rest = after.lstrip("/") if after.lstrip("/").partition("/")[0] in ROOTS else after


def is_known_path(parts: list[str]) -> bool:
    """Whether the rest behind a protocol's name is a path of the gateway, so that the name is not a provider's."""
    if not parts:
        return False
    is_fixed = "/".join(parts) in FIXED or any(matches(each, parts) for each in TEMPLATES)
    return is_fixed or parts[0] in PREFIXES or parts[0] == "models"


def matches(template: list[str], parts: list[str]) -> bool:
    """matches(["responses", "{id}"], ["responses", "r-1"]) -> True"""
    return len(template) == len(parts) and all(each in ("{id}", part) for each, part in zip(template, parts, strict=True))


def fixed_call(method: str, path: str, name: str = "") -> Call:
    """The call of a path of the table; `name` is what stood for its {id}."""
    ways = FIXED[path]
    require_method(method, *ways)
    kind, protocol = ways[method]
    return Call(kind, protocol, id=name, path=path if kind in RELAYED_KINDS else "")


def is_model_management(method: str, parts: list[str], query: Mapping[str, str]) -> bool:
    """Whether models are to be changed, or listed with more than callers need: POST /models, PATCH /models/p/m, ?tags=a."""
    if parts[0] != "models":
        return False
    return method in ("PATCH", "DELETE", "PUT") or (len(parts) == 1 and (method == "POST" or not LISTED_BY.isdisjoint(query)))


def action_call(rest: str, query: Mapping[str, str]) -> Call | None:
    """models/NAME:action, also without models/ and with what Vertex AI has before it; None for other paths.

    A name may hold slashes and colons of its own: "models/tf//models/x:countTokens", "ollama/llama3:8b:generateContent".
    """
    name, _, action = rest.rpartition(":")
    model = VERTEX.sub("", name).removeprefix("models/")
    if action not in ACTIONS or not model.strip("/"):
        return None
    spec = SPECS[ACTIONS[action]]
    known = spec.actions[action]
    key, value = spec.events_query or ("", None)
    return Call(known.kind, spec.name, model, known.stream, known.stream and query.get(key) != value, action)


def models_call(method: str, path: str, name: str, headers: Mapping[str, str]) -> Call:
    """models, models/NAME."""
    if method == "POST" and name:
        raise NotFound(f"no such path: {path[:200]}; the actions of a model are {', '.join(ACTIONS)}")
    require_method(method, "GET")
    return Call("model" if name else "models", protocol_of(path, headers), name)


def require_method(method: str, *expected: str) -> None:
    if method not in expected:
        allow = ", ".join("GET, HEAD" if each == "GET" else each for each in expected)
        raise BadMethod(f"this path takes {allow}", details={"allow": f"{allow}, OPTIONS"})
