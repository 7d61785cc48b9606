"""A gateway that only pretends: the page as it is served, and whatever JSON a test wants behind it.

    with Pretend() as gateway:                 a small, lively gateway with calls, models and keys
        gateway.answers["GET monitor/statistics"] = (500, {"error": {...}})
        gateway.asked                          [("GET", "monitor/statistics", {"range": "24h"}, None), ...]

For what a real gateway cannot be brought to do at will: nothing there, errors, hostile texts, an answer that takes its time.
"""

from __future__ import annotations

import asyncio
import json
import math
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit

from llm_router_gateway.management.page.document import Page, read_packaged
from llm_router_gateway.net.caller import Caller
from llm_router_gateway.net.router import ManagementRequest

Answer = tuple[int, Any]
NOW = datetime(2026, 11, 21, 10, 30, tzinfo=UTC)
SPANS_S = {"1h": (3600, 60), "24h": (86400, 3600), "7d": (604800, 3600), "30d": (2592000, 86400)}
LABELLED = {"tag": ["search", "nightly", "team:ads"], "user": ["u-1", "u-2", "someone@example.org"]}
MODELS = ["openai/gpt-4.1", "claude/sonnet", "gemini/flash", "office/qwen-72b"]


def iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def stats(calls: int, wave: float = 1.0) -> dict[str, Any]:
    """Figures that belong together."""
    errors = int(calls * 0.03 * wave)
    spread = (
        {"mean": 900 * wave, "p50": 700 * wave, "p95": 2300 * wave, "p99": 4100 * wave}
        if calls
        else dict.fromkeys(("mean", "p50", "p95", "p99"))
    )
    first = {name: value and value * 0.3 for name, value in spread.items()}
    return {
        "calls": calls,
        "success": calls - errors,
        "errors": errors,
        "caller_errors": errors // 3,
        "client_gone": 0,
        "error_rate": errors / calls if calls else 0,
        "input_tokens": calls * 800,
        "output_tokens": calls * 220,
        "cached_tokens": calls * 90,
        "reasoning_tokens": 0,
        "total_tokens": calls * 1020,
        "cost_usd": calls * 0.0042,
        "unpriced_calls": 0,
        "latency_ms": spread,
        "first_output_ms": first,
    }


def call(number: int, **changes: Any) -> dict[str, Any]:
    """One row of the log."""
    model = MODELS[number % len(MODELS)]
    provider, _, name = model.partition("/")
    is_bad = number % 7 == 3
    is_callers = number % 14 == 10  # every other one of them
    row = {
        "id": 1000 - number,
        "request_id": f"req-{number:04d}",
        "started_at": iso(NOW - timedelta(seconds=37 * number)),
        "first_output_ms": None if is_bad else 180.0 + number,
        "duration_ms": 900.0 + 31 * (number % 40),
        "kind": "chat",
        "protocol": "openai",
        "upstream_protocol": "anthropic" if provider == "claude" else "openai",
        "stream": number % 2 == 0,
        "asked": "smart" if number % 5 == 0 else model,
        "served": "" if is_bad else model,
        "provider": provider,
        "model": name,
        "attempts": 0 if is_callers else 2 if number % 5 == 0 else 1,
        "failed": ["office/qwen-72b rate_limited"] if number % 5 == 0 else [],
        "status": 429 if is_bad else 200,
        "error": "rate_limited" if is_bad else "",
        "message": "openai/gpt-4.1: the provider's limit is reached" if is_bad else "",
        "is_caller_error": is_callers,
        "ended": "error" if is_bad else "complete",
        "finish": "" if is_bad else "stop",
        "tokens": {
            "input": 800 + number,
            "output": 210,
            "cached": 64,
            "cache_write": 0,
            "reasoning": 0,
            "total": 1010 + number,
        },
        "cost_usd": 0.0042,
        "cost_source": "prices",
        "key_id": "key-1",
        "key_name": "team-search",
        "client": "10.0.0.7",
        "lost": ["logit_bias"] if provider == "claude" else [],
        "tags": ["search", "nightly"] if number % 3 == 0 else [],
        "end_user": f"u-{number % 4}" if number % 2 else "",
    }
    return {**row, **changes}


def model(name: str, **changes: Any) -> dict[str, Any]:
    provider, _, own = name.partition("/")
    health = {
        "state": "ok",
        "factor": 1.0,
        "back_in_s": 0.0,
        "active": 0,
        "latency_s": 0.7,
        "consecutive_failures": 0,
        "last_error": None,
    }
    row = {
        "name": name,
        "provider": provider,
        "model": own,
        "display_name": own,
        "description": "",
        "tags": ["coding"],
        "context_window": 128000,
        "max_output_tokens": 8192,
        "modalities": ["text", "image"],
        "prices": {"input": 2.0, "output": 8.0, "cached_input": 0.5},
        "limits": {"max_requests": 60, "per_seconds": 60},
        "is_active": True,
        "source": "file",
        "health": health,
    }
    return {**row, **changes}


def key(name: str, **changes: Any) -> dict[str, Any]:
    row = {
        "id": f"id-{name}",
        "name": name,
        "owner": "search team",
        "note": "",
        "created_at": iso(NOW - timedelta(days=9)),
        "expires_at": None,
        "is_active": True,
        "is_admin": False,
        "source": "store",
        "hint": "llmr_ab12...",
        "allowed_models": None,
        "allowed_groups": None,
        "allowed_providers": None,
        "allowed_tags": None,
        "parameter_limits": {},
        "limits": None,
        "budget": {"usd_per_month": 20.0},
        "networks": [],
        "spent": {"usd_day": 0.5, "usd_month": 6.2, "tokens_day": 1000, "tokens_month": 20000},
        "last_used_at": iso(NOW),
    }
    return {**row, **changes}


def member(name: str, weight: float, now: float, **changes: Any) -> dict[str, Any]:
    row = {
        "model": name,
        "weight": weight,
        "effective_weight": now,
        "priority": 0,
        "selector": None,
        "share": 0.0,
        "is_fallback": False,
        "state": "ok",
        "back_in_s": 0.0,
    }
    return {**row, **changes}


CATALOG = {
    "models": [
        model("openai/gpt-4.1"),
        model("claude/sonnet", tags=["coding", "slow"]),
        model(
            "gemini/flash",
            health={
                "state": "open",
                "factor": 1.0,
                "back_in_s": 12.0,
                "active": 0,
                "latency_s": 1.9,
                "consecutive_failures": 37,
                "last_error": "503 upstream_failed",
            },
        ),
        model("office/qwen-72b", is_active=False, prices=None, limits=None, source="overlay"),
    ],
    "groups": [
        {
            "name": "smart",
            "description": "the best that is well",
            "strategy": "weighted",
            "fallbacks": ["gemini/flash"],
            "members": [
                member("openai/gpt-4.1", 70, 70, share=0.8537, priority=1),
                member("claude/sonnet", 30, 12, share=0.1463, priority=1, selector=".stream == true"),
                member("gemini/flash", 40, 0, priority=1, state="open", back_in_s=12.0),
                member("office/qwen-72b", 100, 100, is_fallback=True),
            ],
        }
    ],
    "providers": [
        {
            "name": name,
            "type": "openai",
            "api": "openai",
            "base_url": f"https://{name}.example/v1",
            "is_active": True,
            "has_key": name != "office",
            "needs_key": True,
            "source": "overlay" if name == "office" else "file",
            "changed": ["is_active"] if name == "gemini" else [],
        }
        for name in ("openai", "claude", "gemini", "office")
    ],
}
CANDIDATE = {
    "provider": "openai",
    "group": "smart",
    "priority": 0,
    "back_in_s": 0.0,
    "active": 0,
    "latency_s": 0.5,
    "price": None,
    "selector": None,
    "selected": True,
    "selector_error": None,
    "state": "ok",
    "is_fallback": False,
}
DECISION = {
    "model": "openai/gpt-4.1",
    "provider": "openai",
    "explain": {
        "model": "smart",
        "group": "smart",
        "query": None,
        "strategy": "weighted",
        "chosen": "openai/gpt-4.1",
        "attempts": [],
        "affinity": None,
        "candidates": [
            {**CANDIDATE, "model": "openai/gpt-4.1", "weight": 70, "effective_weight": 70, "share": 0.85, "why": "chosen"},
            {
                **CANDIDATE,
                "model": "claude/sonnet",
                "weight": 30,
                "effective_weight": 12,
                "share": 0.15,
                "why": "drawn less often",
            },
            {
                **CANDIDATE,
                "model": "gemini/flash",
                "group": None,
                "weight": 100,
                "effective_weight": 100,
                "share": 0.0,
                "is_fallback": True,
                "why": "another candidate ranked higher or was next in turn",
            },
        ],
    },
}


def entry(provider: dict[str, Any]) -> dict[str, Any]:
    """A provider as GET /providers/NAME has it."""
    fields = {"type": provider["type"], "base_url": provider["base_url"]}
    return {**provider, "id": provider["name"], "limits": None, "settings": {}, "fields": fields}


def listed(row: dict[str, Any]) -> dict[str, Any]:
    """A model as GET /models has it."""
    config = {"context_window": row["context_window"], "input_usd_per_mtok": 2.0, "output_usd_per_mtok": 8.0}
    names = ("display_name", "description", "tags", "limits", "source")
    return {
        **{name: row[name] for name in names},
        "id": row["name"],
        "name": row["model"],
        "provider_name": row["provider"],
        "remote_identifier": row["model"],
        "config": config,
        "changed": [],
    }


SAID = (
    "## Short answer\n\nUse **`fetch`**, see [the manual](https://example.org/fetch):\n\n"
    "```js\nawait fetch(url)\n```\n\n1. one\n2. two\n"
)
ANSWER = "".join(
    f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'content': SAID[at : at + 9]}}]})}\n\n"
    for at in range(0, len(SAID), 9)
)
REFUSED = {"error": {"message": "no key: sign in", "type": "authentication_error", "code": "unauthorized", "param": None}}


def stored(**changes: Any) -> dict[str, Any]:
    return {"path": "router.db", "rows_waiting": 0, "written": 5, "dropped": 0, "last_error": "", "bytes": 4096, **changes}


def wave(index: int, of: int) -> float:
    return 1 + 0.7 * math.sin(index / max(1, of) * 12.0)


class Pretend:
    """The server; `answers` replaces what it says: a value, or a function of (query, body)."""

    def __init__(self, *, calls: int = 120) -> None:
        self.rows = [call(number) for number in range(calls)]
        self.keys = (
            [key("team-search"), key("ops", is_admin=True, budget={}), key("old", is_active=False), key("ci", source="config")]
            if calls
            else []
        )
        self.catalog: dict[str, Any] = json.loads(json.dumps(CATALOG))
        self.me = {
            "caller": {"name": "ops", "is_admin": True},
            "needs_login": False,
            "can_login": True,
            "by_cookie": True,
            "version": "1.0.0",
            "demo": False,
            "log_bodies": True,
            "store": "router.db",
        }
        self.answers: dict[str, Answer | Callable[[dict[str, str], Any], Answer]] = {}
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []
        self.warnings: list[str] = []  # of a key that is made or changed
        self.csrf: list[str] = []  # methods that change something and came without the header
        self.pieces: Callable[[dict[str, Any]], Iterator[bytes]] = self.talk
        self.gone = threading.Event()  # a streamed answer whose reader went away
        self.is_down = False  # connections are accepted and dropped, as if nobody were there
        self.page = Page()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"gateway": self}))
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/monitor"

    def __enter__(self) -> Pretend:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def came(self, method: str, path: str) -> list[Any]:
        """The bodies or queries of the calls so far."""
        return [body if method != "GET" else query for how, what, query, body in self.asked if (how, what) == (method, path)]

    # -- what it says

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Answer:
        self.asked.append((method, path, query, body))
        given = self.answers.get(f"{method} {path}") or self.answers.get("*" if path != "monitor/me" else "")
        if given is not None:
            return given(query, body) if callable(given) else given
        name = path.replace("/", "_").replace("-", "_")
        handler = getattr(self, f"{method.lower()}_{name}", None)
        if handler is not None:
            return handler(query, body)
        return self.named(method, path)

    def named(self, method: str, path: str) -> Answer:
        first, _, last = path.rpartition("/")
        found = next(
            (each for each in self.catalog["providers"] if method == "GET" and path == f"providers/{each['name']}"), None
        )
        if found is not None:
            return 200, entry(found)
        if first == "monitor/invocations":
            row = next((each for each in self.rows if last in (str(each["id"]), each["request_id"])), None)
            bodies = {
                "request": '{"model": "smart", "messages": []}',
                "response": ANSWER,
                "request_cut": False,
                "response_cut": True,
                "kept": True,
            }
            return (
                (200, {**row, "bodies": bodies})
                if row
                else (404, {"error": {"message": "no such call", "code": "not_found", "type": "x", "param": None}})
            )
        known = next((each for each in self.keys if path.removesuffix("/reset") == f"api-keys/{each['id']}"), None)
        if known is not None and method == "GET":
            return 200, known
        if known is not None and last == "reset":
            known["spent"] = dict.fromkeys(known["spent"], 0)
            return 200, known
        if method == "PATCH" and first == "api-keys":
            return 200, {**key("team-search"), "warnings": self.warnings}
        if method in ("PATCH", "DELETE") or path.endswith("/rotate"):
            return (204, None) if method == "DELETE" else (200, {"key": "llmr_" + "r" * 20, "item": key("team-search")})
        return 404, {"error": {"message": f"no such path: {path}", "code": "not_found", "type": "x", "param": None}}

    def get_monitor_me(self, query: dict[str, str], body: Any) -> Answer:
        return 200, self.me

    def post_monitor_login(self, query: dict[str, str], body: Any) -> Answer:
        if body["key"] != "right":
            return 401, {
                "error": {"message": "the key is not known to this gateway", "code": "unauthorized", "type": "x", "param": None}
            }
        self.me = {**self.me, "needs_login": False}
        self.answers.pop("*", None)
        return 204, None

    def post_monitor_logout(self, query: dict[str, str], body: Any) -> Answer:
        self.me = {**self.me, "needs_login": True}
        return 204, None

    def get_monitor_statistics(self, query: dict[str, str], body: Any) -> Answer:
        span, _ = SPANS_S[query.get("range", "24h")]
        many = len(self.rows) * 9
        groups = (
            [{"name": name, **stats(many // (index + 2), 1 + index / 4)} for index, name in enumerate(MODELS)] if many else []
        )
        names = LABELLED.get(query.get("group_by", ""), MODELS)
        groups = [{**each, "name": name, "id": name} for each, name in zip(groups, names, strict=False)]
        errors = [
            {"error": "rate_limited", "count": 21, "caller_count": 6},
            {"error": "upstream_failed", "count": 4, "caller_count": 0},
            {"error": "context_length_exceeded", "count": 3, "caller_count": 3},
        ]
        errors = errors if many else []
        return 200, {
            "range": {"from": iso(NOW - timedelta(seconds=span)), "to": iso(NOW), "seconds": span},
            "overall": stats(many),
            "groups": groups,
            "errors": errors,
            "recent_errors": [row for row in self.rows if row["error"]][:5],
            "store": stored(),
        }

    def steps(self, query: dict[str, str], part: float) -> tuple[int, list[dict[str, Any]]]:
        span, step = SPANS_S[query.get("range", "24h")]
        many = span // step
        first = NOW - timedelta(seconds=span)
        return step, [
            {
                "at": iso(first + timedelta(seconds=index * step)),
                **stats(int(len(self.rows) * part * wave(index, many)), wave(index, many)),
            }
            for index in range(many)
        ]

    def get_monitor_time_series(self, query: dict[str, str], body: Any) -> Answer:
        step, data = self.steps(query, 1.0)
        return 200, {"granularity": "auto", "step_s": step, "data": data}

    def get_monitor_grouped_time_series(self, query: dict[str, str], body: Any) -> Answer:
        names = LABELLED.get(query.get("group_by", ""), [*MODELS, "other"])
        parts = [(name, 1 / (index + 2)) for index, name in enumerate(names)] if self.rows else []
        made = [{"name": name, "data": self.steps(query, part)[1]} for name, part in parts]
        return 200, {"granularity": "auto", "step_s": self.steps(query, 1.0)[0], "groups": made}

    def get_monitor_invocations(self, query: dict[str, str], body: Any) -> Answer:
        found = [row for row in self.rows if fits(row, query)]
        at, limit = int(query.get("before", "0")), int(query.get("limit", "50"))
        more = at + limit < len(found)
        return 200, {
            "items": found[at : at + limit],
            "total": len(found),
            "total_is_exact": True,
            "limit": limit,
            "next": str(at + limit) if more else None,
        }

    def get_monitor_models(self, query: dict[str, str], body: Any) -> Answer:
        return 200, self.catalog

    def get_api_keys(self, query: dict[str, str], body: Any) -> Answer:
        return 200, {"items": self.keys}

    def post_api_keys(self, query: dict[str, str], body: Any) -> Answer:
        self.keys.append(key(body["name"], is_admin=body["is_admin"]))
        return 201, {"key": "llmr_" + "n" * 20, "item": self.keys[-1], "warnings": self.warnings}

    def get_providers(self, query: dict[str, str], body: Any) -> Answer:
        return 200, [entry(each) for each in self.catalog["providers"]]

    def get_models(self, query: dict[str, str], body: Any) -> Answer:
        return 200, [listed(each) for each in self.catalog["models"]]

    def post_providers(self, query: dict[str, str], body: Any) -> Answer:
        self.catalog["providers"].append({**self.catalog["providers"][0], "name": body["name"], "source": "overlay"})
        return 201, entry(self.catalog["providers"][-1])

    def post_models(self, query: dict[str, str], body: Any) -> Answer:
        self.catalog["models"].append(model(f"{body['provider']}/{body['name']}", source="overlay"))
        return 201, listed(self.catalog["models"][-1])

    def post_route(self, query: dict[str, str], body: Any) -> Answer:
        return 200, DECISION

    def talk(self, body: dict[str, Any]) -> Iterator[bytes]:
        """A streamed answer."""
        for word in ("Hello ", "from ", "the pretended ", "gateway."):
            yield piece(word)
        yield piece("", "stop")
        yield b'data: {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}}\n\n'
        yield b"data: [DONE]\n\n"


def piece(text: str, finish: str | None = None) -> bytes:
    return (
        b"data: "
        + json.dumps({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}).encode()
        + b"\n\n"
    )


def fits(row: dict[str, Any], query: dict[str, str]) -> bool:
    if query.get("search") and query["search"] not in json.dumps(row):
        return False
    if query.get("status") == "error" and not row["error"]:
        return False
    return not query.get("model") or query["model"] in (row["model"], row["served"], row["asked"])


class Handler(BaseHTTPRequestHandler):
    """HTTP around a Pretend."""

    gateway: ClassVar[Pretend]
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.take()

    do_POST = do_PATCH = do_DELETE = do_GET

    def take(self) -> None:
        if self.gateway.is_down:
            self.close_connection = True
            return
        parts = urlsplit(self.path)
        path = "/".join(unquote(part) for part in parts.path.split("/") if part).removeprefix("v1/")
        length = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        if self.command != "GET" and self.headers.get("x-llm-router-csrf") != "1":
            self.gateway.csrf.append(path)
        if path == "monitor":
            self.document()
        elif path == "blank":
            self.whole(200, [("content-type", "text/html")], b"<!doctype html><link rel=icon href=data:><title>blank</title>")
        elif path.startswith("page/"):  # a module by itself, as it is written
            self.whole(200, [("content-type", "text/javascript")], read_packaged(path.removeprefix("page/")).encode())
        elif path == "chat/completions" and "POST chat/completions" not in self.gateway.answers:
            self.stream(body)
        else:
            status, value = self.gateway.answer(self.command, path, dict(parse_qsl(parts.query)), body)
            self.whole(status, [("content-type", "application/json")], b"" if status == 204 else json.dumps(value).encode())

    def whole(self, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
        self.send_response(status)
        for name, value in [*headers, ("content-length", str(len(data)))]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def document(self) -> None:
        visit = ManagementRequest("GET", "monitor", {}, {}, dict(self.headers.items()), None, "127.0.0.1", Caller("", ""))
        (route,) = self.gateway.page.routes()
        reply = asyncio.run(route.handler(visit))  # type: ignore[arg-type]
        self.whole(reply.status, reply.headers, reply.body)

    def stream(self, body: dict[str, Any]) -> None:
        self.gateway.asked.append(("POST", "chat/completions", {}, body))
        self.send_response(200)
        for name, value in (
            ("content-type", "text/event-stream"),
            ("x-request-id", "req-0000"),
            ("x-llm-router-model", "openai/gpt-4.1"),
            ("x-llm-router-attempts", "1"),
            ("connection", "close"),
        ):
            self.send_header(name, value)
        self.end_headers()
        try:
            for data in self.gateway.pieces(body):
                self.wfile.write(data)
                self.wfile.flush()
        except OSError:
            self.gateway.gone.set()
        self.close_connection = True
