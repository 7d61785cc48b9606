"""What a request line asks for: method and path -> Call. One table for the three protocols.

    read_call("POST", "/v1/messages", {}, {})                        -> Call("chat", "anthropic")
    read_call("POST", "/v1beta/models/p/m:streamGenerateContent", {"alt": "sse"}, {})
                                                                     -> Call("chat", "gemini", "p/m", stream=True)
    read_call("GET", "/v1/models", {}, {"anthropic-version": "..."}) -> Call("models", "anthropic")

Every path is there with and without /v1 (or /v1beta). OpenAI Responses will be one more row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from ..errors import BadMethod, NotFound

PREFIXES = frozenset({"v1", "v1beta", "v1beta1", "v1alpha"})

# path -> (method, what it is, protocol); the protocol decides the shape of errors too
FIXED: Mapping[str, tuple[str, str, str]] = {
    "chat/completions": ("POST", "chat", "openai"),
    "embeddings": ("POST", "embeddings", "openai"),
    "messages": ("POST", "chat", "anthropic"),
    "messages/count_tokens": ("POST", "count", "anthropic"),
    "api/event_logging/batch": ("POST", "ignored", "anthropic"),  # Claude Code's telemetry: accepted, thrown away
    "route": ("POST", "route", "openai"),
    "route/invoke": ("POST", "invoke", "openai"),
    "health": ("GET", "health", "openai"),
    "health/models": ("GET", "models_health", "openai"),
    "": ("GET", "root", "openai"),  # what people and probes ask first
}
# Gemini's models/NAME:action -> (what it is, answered as a stream)
ACTIONS: Mapping[str, tuple[str, bool]] = {
    "generateContent": ("chat", False),
    "streamGenerateContent": ("chat", True),
    "countTokens": ("count", False),
    "embedContent": ("embeddings", False),
    "batchEmbedContents": ("embeddings", False),
}
DESK = frozenset({"monitor", "api-keys", "providers", "config", "metrics", "auth", "favicon.ico"})  # first parts of its paths
LISTED_BY = frozenset({"tag", "tags", "provider_type", "provider_types", "include_inactive"})  # GET /models, told at the desk
OPEN_CALLS = frozenset({"health", "root"})  # answered without a key: they tell nothing
USUAL_PREFIXES = ("", "/v1")


@dataclass(frozen=True, slots=True)
class Call:
    """One thing that a caller can ask for."""

    kind: str  # chat, count, embeddings, models, model, route, invoke, health, models_health, root, ignored, desk
    protocol: str
    model: str = ""  # when the path names it; of the desk: the path
    stream: bool = False  # when the path says so; else the body does
    array: bool = False  # Gemini without alt=sse: the stream is one JSON array
    action: str = ""  # Gemini's word for it


# Before the path was read: all that is known is in whose shape an error would be told.
UNREAD: Mapping[str, Call] = {protocol: Call("", protocol) for protocol in ("openai", "anthropic", "gemini")}
# Method and path of nearly all requests -> what read_call makes of them.
KNOWN: Mapping[tuple[str, str], Call] = {
    (method, f"{prefix}/{rest}"): Call(kind, protocol)
    for rest, (method, kind, protocol) in FIXED.items() for prefix in USUAL_PREFIXES
}  # fmt: skip


def protocol_of(path: str, headers: Mapping[str, str]) -> str:
    """Whose shape an answer has: the path's, and where that leaves it open, that of the caller's own headers."""
    if "anthropic-version" in headers or path.endswith(("/messages", "/messages/count_tokens")):
        return "anthropic"
    if path.rpartition(":")[2] in ACTIONS:
        return "gemini"
    if path.lstrip("/").startswith("v1beta") or "x-goog-api-key" in headers or "x-goog-api-client" in headers:
        return "gemini"
    return "openai"


def read_call(method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Call:
    """The Call; NotFound or BadMethod where there is none. HEAD asks as GET does. `path` is as it came, escaped."""
    known = KNOWN.get((method, path))
    if known is not None:
        return known
    parts = [part for part in path.split("/") if part]
    while parts and parts[0] in PREFIXES:  # also twice: a base URL with /v1 in front of a client that adds its own
        del parts[0]
    rest = "/".join(parts)
    asked = "GET" if method == "HEAD" else method
    if rest in FIXED:
        expected, kind, protocol = FIXED[rest]
        need(asked, expected)
        return Call(kind, protocol)
    if parts and (parts[0] in DESK or is_desk_of_models(asked, parts, query)):
        return Call("desk", "openai", rest)
    if parts and parts[0] == "models":
        return models_call(asked, path, unquote("/".join(parts[1:])), query, headers)
    raise NotFound(f"no such path: {path[:200]}")


def is_desk_of_models(method: str, parts: list[str], query: Mapping[str, str]) -> bool:
    """Whether models are to be changed, or listed with more than callers need: POST /models, PATCH /models/p/m, ?tags=a."""
    if parts[0] != "models":
        return False
    return method in ("PATCH", "DELETE", "PUT") or (len(parts) == 1 and (method == "POST" or not LISTED_BY.isdisjoint(query)))


def models_call(method: str, path: str, name: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Call:
    """models, models/NAME, models/NAME:action. A name may hold slashes and colons of its own (llama3:8b)."""
    model, _, action = name.rpartition(":")
    if method == "POST" and action in ACTIONS and model:
        kind, stream = ACTIONS[action]
        return Call(kind, "gemini", model, stream, stream and query.get("alt") != "sse", action)
    if method == "POST" and name:
        raise NotFound(f"no such path: {path[:200]}; the actions of a model are {', '.join(ACTIONS)}")
    need(method, "GET")
    return Call("model" if name else "models", protocol_of(path, headers), name)


def need(method: str, expected: str) -> None:
    if method != expected:
        allow = "GET, HEAD" if expected == "GET" else expected
        raise BadMethod(f"this path takes {allow}", details={"allow": f"{allow}, OPTIONS"})
