#!/usr/bin/env python3
"""llm-router: ask any large language model through one endpoint and one key.

One file, standard library only, Python 3.9 or newer: a library (LLMRouterClient) and a command line.

  python3 llm_router_client.py chat --demo --message "Hello, world!"

Environment: SETTINGS below, and by convention SSL_CERT_FILE, HTTPS_PROXY, NO_PROXY. Exit codes: EXIT_CODES below.

An answer is complete only when the server said so: a finish reason or [DONE] arrived. Everything else is an error that
keeps the text so far. What takes long to import (urllib.request above all) is imported where it is needed.
"""

from __future__ import annotations

import argparse
import binascii
import functools
import json
import os
import re
import stat
import sys
import time
from collections.abc import Iterable, Mapping

TYPE_CHECKING = False  # importing typing would take 3 ms at each start; type checkers take this name as true
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, Union

    JSON = dict[str, Any]
    Turns = list[JSON]  # or any other list of objects
    Names = Union[str, Sequence[str], None]
    ImageSource = Union[str, bytes, os.PathLike[str]]

# ---------------------------------------------------------------------------------------------------------- constants

VERSION = "1.0.0"
DEFAULT_BASE_URL = "https://api.aisa.one/v1"
DEFAULT_HOST = "api.aisa.one"  # the only host that AISA_API_KEY is ever sent to
CREDENTIALS_FILE = "~/.aisa/credentials"

CONNECT_TIMEOUT_S = 10.0  # name look-up, TCP, proxy and TLS together
FIRST_EVENT_TIMEOUT_S = 120.0  # from the request until a stream's first data event
PROGRESS_TIMEOUT_S = 60.0  # between two data events; comments and dripping bytes do not count
DEADLINE_S = 600.0  # one logical call: attempts, waits and fallback models together
STALE_S = 5.0  # a kept connection that breaks sooner was closed while idle; later, the server may have begun to work
FINISH_GRACE_S = 5.0  # after the finish reason, for the usage that some servers send last
MAX_RETRIES = 2  # after the first request, for each model
MAX_RETRY_WAIT_S = 120.0  # a longer Retry-After is reported, not slept
RETRY_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})  # RFC 9110, 6585

MAX_HEAD_BYTES = 262_144  # status line and headers of one response
MAX_BODY_BYTES = 33_554_432  # one JSON answer after decoding; one request
MAX_EVENT_BYTES = 4_194_304  # one server-sent event; above this the peer is broken or hostile
MAX_KEPT_CHARS = 8_388_608  # text kept for .response; longer streams are handed over whole all the same
MAX_IMAGE_BYTES = 20_971_520
MAX_TEXT_BYTES = 16_777_216  # one prompt file
MAX_COMPARE_MODELS = 8  # what one compare command may cost
MAX_COST_USD = 10_000.0  # one answer; no model costs as much, and a server that says so is wrong
MIN_HIDDEN_CHARS = 8  # a shorter key ("ollama", "EMPTY") is a word that an answer may contain
READ_BYTES = 65_536  # one read from a socket
BLANK = b"\xef\xbb\xbf \t\r\n"  # what may stand before JSON: a byte order mark, or a part of one, and white space
SECONDS: Any = "a number of seconds between 0 and 10,000,000", (int, float), lambda seconds: 0 < seconds < 1e7

PARAMETERS = frozenset({  # what chat() and the command line know by name
    "temperature", "max_tokens", "top_p", "frequency_penalty", "presence_penalty", "stop", "tools", "tool_choice", "functions",
    "function_call", "response_format", "task", "prefer",
})  # fmt: skip
NOT_IN_BODY = ("self", "fallback", "deadline_s", "cache_ttl_s", "offline")  # our own arguments, not fields of any API
SETTINGS = {
    "AISA_API_KEY": "Bearer key for the default endpoint, sent to api.aisa.one only.",
    "LLM_ROUTER_BASE_URL": "Another OpenAI-compatible endpoint. Needs LLM_ROUTER_API_KEY.",
    "LLM_ROUTER_API_KEY": "Bearer key for LLM_ROUTER_BASE_URL only.",
    "LLM_ROUTER_MODEL": "Model used when no --model option is given.",
    "LLM_ROUTER_CONFIG": "JSON file of tiers, tasks and prices, else llm-router/config.json in the user's configuration.",
    "LLM_ROUTER_CACHE": "File of the answers that --cache keeps, else one in the user's cache directory.",
    "LLM_ROUTER_USAGE_LOG": "1 records every call, without its text, in a file of the user's; a path names another file.",
    "LLM_ROUTER_SESSION": "Name in the usage log when no --session option is given.",
}
EXIT_CODES = {
    0: "answered",
    1: "the API refused the request, or the output could not be written",
    2: "usage error",
    3: "key missing or refused",
    4: "no credit or quota",
    5: "model unknown",
    6: "rate limited, overloaded or failing (429, 5xx)",
    7: "network failure or timeout",
    8: "refused by our own safety rules",
    9: "bad upstream: no JSON, empty, redirect, over a limit",
    10: "incomplete: cut or failed after text was printed; with --strict also at the token limit",
    11: "the model's provider refused (content filter)",
    130: "interrupted",
    141: "closed pipe",
}
# For `models --offline`: from the default endpoint's page and the packages openai 3.57, anthropic 2.14 and google-genai 3.6.
BUILTIN_MODELS = (
    "gpt-6.2-sol", "gpt-5.5", "gpt-5.4", "gpt-5.4-mini", "gpt-4.1", "gpt-4o", "gpt-4o-mini", "claude-opus-5-5",
    "claude-sonnet-5-5", "claude-haiku-5-5", "gemini-4-argon", "gemini-4-carbon", "gemini-3.8-flash", "gemini-3.5-flash",
    "gemini-3.5-flash-lite", "qwen-max", "qwen-plus", "qwen2.5-72b-instruct", "deepseek-chat", "deepseek-coder", "deepseek-v3",
    "deepseek-r1", "grok-2", "grok-beta",
)  # fmt: skip
AUTO = "auto"  # in place of a model's name: llm_router_extras.routing chooses one
DEFAULT_MODEL = "gpt-5.4-mini"  # where none is named and llm_router_extras, which would choose one, is not there
FAMILIES = ("gpt", "claude", "gemini", "qwen", "deepseek", "grok", "kimi", "glm", "llama", "demo")


def setting(name: str) -> str:
    """The environment's value of one of SETTINGS, stripped; "" when unset. The only place that reads our variables."""
    return os.getenv(name, "").strip() if name in SETTINGS else ""


# ------------------------------------------------------------------------------------------------------------- errors

# code: (exit code, what to do next); codes are for programs and never reworded once released
ERRORS = {
    "bad_request": (1, "Correct the request as the message says."),
    "context_too_long": (1, "Shorten the input, or add --fallback with a model of larger context."),
    "usage": (2, "See --help."),
    "missing_key": (3, "Set AISA_API_KEY, or LLM_ROUTER_BASE_URL with LLM_ROUTER_API_KEY; `doctor` shows what is set."),
    "key_malformed": (3, "Set the key again: printable ASCII without spaces."),
    "key_refused": (3, "Check that the key belongs to this endpoint and may use this model; see `doctor`."),
    "no_credit": (4, "Add credit, or have quota or budget raised; waiting helps only if the message says until when."),
    "model_not_found": (5, "Check --base-url; `models --search` finds the names that this endpoint lists."),
    "rate_limited": (6, "Wait for retry_after_s, or add --fallback with other models."),
    "overloaded": (6, "Try again later, or add --fallback with other models."),
    "server_error": (6, "Try again later, or add --fallback with other models."),
    "network": (7, "Check address and connection with `doctor`, then try again."),
    "timeout": (7, "Try again with a longer timeout, or add --stream; the first request may have been billed."),
    "refused_locally": (8, "Nothing was sent. Change the command as the message says."),
    "over_budget": (8, "Raise --max-cost, lower --max-tokens, or name a cheaper model."),
    "not_written": (1, "The answer is whole: take it from here, and make room for the next."),
    "bad_upstream": (9, "Check --base-url with `doctor`: this is not how a model API answers."),
    "empty_answer": (9, "Raise --max-tokens and ask again, or add --fallback with other models."),
    "stream_cut": (10, "The text so far is not the answer: ask again, or add --fallback with other models."),
    "length": (10, "Raise --max-tokens."),
    "content_filter": (11, "Rephrase the input, or add --fallback with other models."),
    "interrupted": (130, "Run it again."),
}


def attributes(of: object, *names: str) -> JSON:
    return {name: getattr(of, name) for name in names}


class LLMRouterError(Exception):
    """What failed, to which model, and what to do next: facts are fields, classes are what a caller does about it.

    code, message, status (HTTP or None), model, request_id, retry_after_s, retryable, next_step, attempts (see Answer),
    warnings, response (the incomplete Answer so far, or None), maybe_billed, exit_code, route and calls (see Answer).
    """

    code = "interrupted"
    billed = False  # whether it may have been, where nothing else is said

    def __init_subclass__(cls, code: str = "", billed: bool = False) -> None:
        cls.code, cls.billed = code or cls.code, billed or cls.billed

    def __init__(
        self, message: str, *, code: str = "", status: int | None = None, request_id: str = "", param: str = "",
        retry_after_s: float | None = None, retryable: bool = False, next_step: str = "", maybe_billed: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.code = code or type(self).code
        self.exit_code, step = ERRORS[self.code]
        self.message, self.status, self.request_id, self.param = message, status, request_id, param
        self.retry_after_s, self.retryable = retry_after_s, retryable
        self.maybe_billed = self.billed if maybe_billed is None else maybe_billed
        self.model, self.next_step = "", next_step or step
        self.attempts: Turns = []
        self.warnings: list[str] = []
        self.response: Answer | None = None
        self.route: JSON | None = None
        self.calls: Turns = []

    def __str__(self) -> str:
        return f"{self.model}: {self.message}" if self.model else self.message

    def to_dict(self) -> JSON:
        """The `error` object of the command line's envelope."""
        return attributes(self, "code", "message", "status", "retryable", "retry_after_s", "next_step", "request_id")


class BadRequestError(LLMRouterError, code="bad_request"):
    """The API refused the request itself: a retry does not help (context_too_long: a larger model may)."""


class UsageError(LLMRouterError, ValueError, code="usage"):
    """The caller's arguments are invalid; nothing was sent."""


class AuthenticationError(LLMRouterError, code="key_refused"):
    """The key is missing (missing_key), unusable (key_malformed) or refused (key_refused): no model will answer."""


class CreditsError(LLMRouterError, code="no_credit"):
    """No credit, quota or budget is left."""


class UnknownModelError(LLMRouterError, code="model_not_found"):
    """The endpoint does not have this model, or no channel for it."""


class RateLimitError(LLMRouterError, code="rate_limited"):
    """Too many requests for now; retry_after_s is the wait that the server stated, if any."""


class ServerError(LLMRouterError, code="server_error"):
    """The server failed (server_error) or is overloaded."""


class NetworkError(LLMRouterError, code="network"):
    """No connection, or it broke before a status arrived."""


class RequestTimeout(LLMRouterError, code="timeout"):
    """One of the four timeouts expired."""


class SafetyError(LLMRouterError, code="refused_locally"):
    """Refused by our own rules, nothing was sent; over_budget: the next attempt may cost more than max_cost_usd leaves."""


class BadUpstreamError(LLMRouterError, code="bad_upstream", billed=True):
    """What arrived is not an answer: not JSON, a redirect, over a limit (bad_upstream), or without content (empty_answer)."""


class IncompleteError(LLMRouterError, code="stream_cut", billed=True):
    """The answer ended without an end mark: .response holds the text so far, which is not the answer."""


class ContentFilterError(LLMRouterError, code="content_filter", billed=True):
    """The model's provider refused or filtered the answer; .response holds what arrived."""


# ------------------------------------------------------------------------------------------------- server-sent events


class Event:
    """One server-sent event: event (its name), data, id (the last one seen), retry (milliseconds or None)."""

    __slots__ = ("data", "event", "id", "retry")

    def __init__(self, event: str, data: str, id: str = "", retry: int | None = None) -> None:
        self.event, self.data, self.id, self.retry = event, data, id, retry


class SSEParser:
    """Server-sent events out of bytes: feed() every piece as it comes, close() at the end of input.

    feed(b'data: {"a"') -> []        feed(b':1}\\n\\n') -> [Event("message", '{"a":1}')]

    Any cut of the bytes gives the same events. Source: WHATWG HTML 9.2.6, with one addition: close() also delivers a last
    event without its blank line if its data is a whole JSON object or [DONE]; else `cut` is true where one had begun.
    ValueError: an event over max_event_bytes.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        self._tail = bytearray()  # the line that has not ended yet
        self._skip_lf = False  # the last piece ended in CR: its LF may follow
        self._at_start = True  # a byte order mark may still come
        self._data: list[bytes] = []
        self._size, self._name, self._id = 0, "", ""
        self._retry: int | None = None
        self.cut = False

    def feed(self, piece: bytes) -> list[Event]:
        # Split bytes, not text: str.splitlines() also cuts at U+2028, which JSON strings may contain.
        if self._skip_lf and piece:
            piece = piece.removeprefix(b"\n")
            self._skip_lf = False
        if b"\r" in piece:
            self._skip_lf = piece.endswith(b"\r")
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = piece.split(b"\n")
        if self._tail and len(lines) > 1:
            lines[0] = bytes(self._tail) + lines[0]
            self._tail.clear()
        self._tail += lines.pop()
        events = [event for line in lines for event in self._line(line)]
        if self._size + len(self._tail) > self._max:
            raise ValueError(f"an event is longer than {self._max} bytes")
        return events

    def close(self) -> list[Event]:
        events = self._line(bytes(self._tail)) if self._tail else []
        self._tail.clear()
        self.cut = bool(self._data) and not self._is_whole()
        return events + ([] if self.cut else self._dispatch())

    def _is_whole(self) -> bool:
        data = b"\n".join(self._data).strip()
        try:
            return data == b"[DONE]" or isinstance(json.loads(data), dict)
        except (ValueError, RecursionError):
            return False

    def _line(self, line: bytes) -> list[Event]:
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._size += len(value) + 1
            if self._size > self._max:
                raise ValueError(f"an event is longer than {self._max} bytes")
        elif name == b"event":
            self._name = value.decode("utf-8", "replace")
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit() and len(value) < 16:
            self._retry = int(value)
        return []

    def _dispatch(self) -> list[Event]:
        events = []
        if self._data:
            data = b"\n".join(self._data).decode("utf-8", "replace")
            events.append(Event(self._name or "message", data, self._id, self._retry))
            self._data, self._size = [], 0
        self._name, self._retry = "", None
        return events


# -------------------------------------------------------------------------------------------------------- wire shapes


def _number(text: str) -> float:
    number = float(text)
    if number - number != 0.0:  # 1e999 is infinity; NaN and Infinity come here by name
        raise ValueError("a number that is not JSON")
    return number


DECODER = json.JSONDecoder(parse_float=_number, parse_constant=_number)
STEERING = "\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff"  # DEL, C1, bidi marks, surrogates


def parse_json(text: str | bytes) -> Any:
    """JSON -> value. ValueError for all else: bad syntax, NaN, 1e999, integers too long, nesting too deep."""
    try:
        text = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        return DECODER.decode(text.removeprefix("\ufeff"))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def dump_json(value: Any, indent: int | None = None) -> str:
    """JSON and a line end; characters that could control a terminal are escaped, every script's letters stay."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent) + "\n"
    if text.isascii() and "\x7f" not in text:
        return text
    return re.sub(f"[{STEERING}]", lambda match: f"\\u{ord(match[0]):04x}", text)


def encode_body(body: JSON) -> bytes:
    """The request's JSON. UsageError for NaN, infinity and what is not JSON; SafetyError over MAX_BODY_BYTES."""
    try:
        data = json.dumps(body, allow_nan=False, separators=(",", ":")).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"the request cannot be written as JSON: {error}") from None
    if len(data) > MAX_BODY_BYTES:
        raise SafetyError(f"the request has {len(data)} bytes, over the limit of {MAX_BODY_BYTES}")
    return data


def check(what: str, kinds: Any, fits: Callable[[Any], bool] = lambda _: True, /, **given: Any) -> None:
    """UsageError naming the first of the arguments that is not what it has to be; None, the default, always is."""
    for name, value in given.items():
        if value is not None and not (isinstance(value, kinds) and fits(value)):
            raise UsageError(f"{name} must be {what}")


def path_list(allow_paths: Any) -> tuple[Any, ...]:
    """The paths, checked. A text is no list of them: its first letter, "/", would allow every file."""
    is_list = isinstance(allow_paths, Iterable) and not isinstance(allow_paths, (str, bytes))
    paths = tuple(allow_paths) if is_list else allow_paths or ()
    check("a list of paths", tuple, lambda all_: all(isinstance(each, (str, os.PathLike)) for each in all_), allow_paths=paths)
    return paths


def as_dict(value: Any) -> JSON:
    return value if isinstance(value, dict) else {}


def dicts(value: Any) -> Turns:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def without(fields: JSON, *names: str) -> JSON:
    return {name: value for name, value in fields.items() if name not in names}


def text_of(content: Any) -> str:
    """text_of("a") -> "a"; text_of([{"type": "text", "text": "a"}, ...]) -> "a"; of anything else ""."""
    if isinstance(content, str) or not content:
        return content or ""
    return "".join(part["text"] for part in dicts(content) if isinstance(part.get("text"), str))


def one_line(value: object, limit: int = 300) -> str:
    """A text or an error fit for a message: one line, printable, nothing that looks like a key, at most limit characters."""
    text = re.sub(r"(?i)\b(sk|rk|pk|key|api)-[\w-]{8,}|\bbearer\s+\S+|\bAIza[\w-]{20,}", "[key]", " ".join(str(value).split()))
    text = "".join(filter(str.isprintable, text))
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def family_of(model: str) -> str:
    """family_of("openai/gpt-4.1") -> "gpt"; a name of no known family gives "other"."""
    name = re.sub(r"^o(?=\d)", "gpt-o", model.lower().rsplit("/", 1)[-1])
    return next((family for family in FAMILIES if name.startswith(family)), "other")


def check_model(model: Any) -> str:
    """The model's name, stripped ("a/b", OpenRouter's "~a/b", vLLM's "./a"). UsageError if it does not fit Gemini's path."""
    name = model.strip() if isinstance(model, str) else ""
    if not re.fullmatch(r"(?a)[\w:@+~./][\w:@+~./-]{0,199}", name) or ".." in name:
        raise UsageError(f"not a model name: {str(model)[:60]!r}", next_step="Name a model; `models` lists them.")
    return name


def model_names(models: Names, argument: str = "models") -> list[str]:
    """Names from a list or a comma-separated text, checked; an empty name is refused."""
    check("a list of model names, or a text with commas between them", Iterable, **{argument: models})
    return [check_model(name) for name in (models.split(",") if isinstance(models, str) else models or ())]


def check_messages(messages: Any, must: str = "messages must be") -> Turns:
    """The messages as a list of objects with a role each; UsageError names the wrong one."""
    if not isinstance(messages, (list, tuple)) or not messages:
        raise UsageError(must + ' a list like [{"role": "user", "content": "..."}], not empty')
    for place, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise UsageError(f"messages[{place}] must be an object with a role and content")
    return list(messages)


def schema_of(body: JSON) -> Any:
    """The schema that a request's response_format asks for; None if there is none."""
    return as_dict(as_dict(body.get("response_format")).get("json_schema")).get("schema")


def with_system(system: str | Turns | None, *messages: JSON) -> Turns:
    check("a text or a list of content parts", (str, list), system=system)
    return [{"role": "system", "content": system}, *messages] if system is not None else list(messages)


def image_type(data: bytes) -> str:
    """The media type by the first bytes; "" for anything but PNG, JPEG, GIF and WebP."""
    for start, kind in ((b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpeg"), (b"GIF87a", "gif"), (b"GIF89a", "gif")):
        if data.startswith(start):
            return f"image/{kind}"
    return "image/webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else ""


def data_url(data: bytes, name: str) -> str:
    """Image bytes -> data URL. SafetyError for anything but an image, or too many bytes."""
    if not image_type(data):
        raise SafetyError(f"{name} is not a PNG, JPEG, GIF or WebP image by its first bytes")
    if len(data) > MAX_IMAGE_BYTES:
        raise SafetyError(f"{name} has {len(data)} bytes, over the limit of {MAX_IMAGE_BYTES}")
    return f"data:{image_type(data)};base64,{binascii.b2a_base64(data, newline=False).decode('ascii')}"


def parsed_arguments(raw: str) -> Any:
    """A tool call's arguments as an object: {} without any, None if they are not JSON (cut) or not an object."""
    try:
        value = parse_json(raw) if raw.strip() else {}
    except ValueError:
        return None
    return {} if value is None else value if isinstance(value, dict) else None


ARGUMENTS = {"function": "arguments", "custom": "input"}  # kind of a tool call -> the field with the model's input


def add_fragment(calls: Turns, fragment: JSON) -> int:
    """Add a piece of a tool call to those so far, whatever the server's use of indexes and ids -> the call's number.

    It goes to the last call of its index (without an index: of its id, else the last of all), unless it brings another id or
    name, or a name once the arguments there are whole: then another call begins under that index.
    calls: {"kind" (function or custom), "index", "id", "name", "pieces" (of the arguments), "more" (fields we do not know)}
    """
    kind = "custom" if isinstance(fragment.get("custom"), dict) else "function"
    function, index, call_id = as_dict(fragment.get(kind)), fragment.get("index"), text_of(fragment.get("id"))
    name, raw = text_of(function.get("name")), function.get(ARGUMENTS[kind])  # a text, though some send an object or null
    arguments = raw if isinstance(raw, str) else "" if raw is None else dump_json(raw).rstrip()
    number = len(calls)
    for place in reversed(range(number)):
        call = calls[place]
        if (call["index"] == index) if index is not None else (not call_id or call["id"] in ("", call_id)):
            other = (call_id and call["id"] and call_id != call["id"]) or (name and call["name"] and name != call["name"])
            ended = name and arguments and call["pieces"][-1].rstrip().endswith("}")
            if not (other or (ended and parsed_arguments("".join(call["pieces"])) is not None)):
                number = place
            break
    if number == len(calls):
        calls.append({"kind": kind, "index": index, "id": "", "name": "", "pieces": [], "more": {}})
    call = calls[number]
    call["id"], call["name"] = call["id"] or call_id, call["name"] or name
    call["pieces"].append(arguments)
    call["more"].update(without(fragment, "index", "id", "type", *ARGUMENTS))
    return number


def calls_on_the_wire(calls: Turns) -> Turns:
    """message.tool_calls as a plain answer has them."""
    found = []
    for number, call in enumerate(calls):
        kind, arguments = call["kind"], "".join(call["pieces"])
        function = {"name": call["name"], ARGUMENTS[kind]: arguments}
        found.append({"id": call["id"] or f"call_{number}", "type": kind, kind: function, **call["more"]})
    return found


# What upstreams say, in the order in which it is tried: (code, pattern of HTTP status, line end, codes, types and text).
COMPLAINTS = (
    ("bad_request", r"image input is not supported|only 'text' content type is supported"),  # llama.cpp: 500; mlx-lm: 404
    ("model_not_found", r"model_not_(found|available)|invalid_model|no available channel|no endpoints found"),
    ("model_not_found", r"(unknown|not a valid) model"),
    ("no_credit", r"^402\n|pre-deduction failed|billing_(error|not_active)"),
    ("no_credit", r"insufficient[ _](quota|credit|balance)|exceeded your current quota|credit balance is too low"),
    ("no_credit", r"billing[ _]hard[ _]limit|specified api usage limit|organi[sz]ation (has been|is) disabled"),
    ("no_credit", r"unsupported_country|user location is not supported"),  # OpenAI, Gemini: no account there
    ("context_too_long", r"context[ _](length|window|size|limit)|exceed_context|prompt is too long|maximum context|n_ctx"),
    ("context_too_long", r"maximum number of (input )?tokens|maximum (prompt|model|sequence) length|input is too long"),
    ("context_too_long", r"reduce the length of|range of input length|prompt exceeds|model token limit|request_too_large"),
    ("context_too_long", r"max_model_len|`?inputs`? (tokens \+|must have less than)|number of tokens in the prompt"),
    ("content_filter", r"content_filter|content[ _](management[ _])?policy|responsibleai|flagged|moderation"),
    ("key_refused", r"^40[13]\n|(invalid|incorrect)[ _]api[ _]key|api key not valid|authentication_error|permission_error"),
    ("rate_limited", r"^429\n|rate_limit|resource_exhausted"),
    ("overloaded", r"^529\n|overloaded|\nunavailable"),
    ("timeout", r"^408\n|timeout_error|deadline_exceeded"),
    ("model_not_found", r"^404\n|not_found_error"),
    ("server_error", r"^5..\n|server_error|api_error"),
    ("bad_request", r"^4..\n|invalid_request_error|invalid_argument"),
    ("server_error", r"^"),
)
KINDS = {kind.code: kind for kind in LLMRouterError.__subclasses__()}
KINDS.update(context_too_long=BadRequestError, overloaded=ServerError)


def complaint_of(value: Any, depth: int = 0) -> JSON:
    """What an error body of any shape says: {"message" (the deepest), "names" (codes, types), "param", "status"}.

    complaint_of({"error": {"message": "no", "code": "x"}}) -> {"message": "no", "names": "x ", "param": "", "status": 0}
    """
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            value = parse_json(value)  # JSON inside a string, as in OpenRouter's metadata.raw
        except ValueError:
            pass
    value = value[0] if isinstance(value, list) and value else value
    fields = as_dict(value)
    names = [fields.get(key) for key in ("reason", "status", "type", "code")]
    said: JSON = {
        "message": one_line(value) if isinstance(value, str) else "",
        "names": "".join(f"{name.lower()} " for name in reversed(names) if isinstance(name, str)),
        "param": str(fields.get("param") or fields.get("loc") or ""),
        "status": next((name for name in names if isinstance(name, int) and 400 <= name < 600), 0),
    }
    for key in ("msg", "status_msg", "message", "detail", "errors", "base_resp", "error", "metadata", "raw"):
        if fields.get(key) and depth < 8:
            inner = complaint_of(fields[key], depth + 1)
            inner["names"] = said["names"] + inner["names"]
            said = {what: inner[what] or said[what] for what in said}
    return said


def code_of(status: int, said: JSON) -> str:
    """The code for what complaint_of() found; status is the HTTP one, 0 for an error inside an answer."""
    text = f"{status}\n{said['names']}{said['message'].lower()}"
    return next(code for code, pattern in COMPLAINTS if re.search(pattern, text))


# What OpenAI says of such models: "This model is only supported in v1/responses and not in v1/chat/completions."
RESPONSES_STEP = "This client does not speak /v1/responses: name another model, or use the gateway, which converts."


def error_of(code: str, message: str, next_step: str = "", **facts: Any) -> LLMRouterError:
    """The error of the class for a code; `facts` are fields of LLMRouterError."""
    if "v1/responses" in message or "responses api" in message.lower():
        next_step = next_step or RESPONSES_STEP
    return KINDS[code](message, code=code, next_step=next_step, **facts)


def inner_error(value: Any) -> LLMRouterError:
    """An error that came inside an answer -> our error, with the status it would have had."""
    said = complaint_of({"error": value})
    code, message = code_of(said["status"], said), said["message"] or "the upstream reported an error without a message"
    retryable = code in ("rate_limited", "overloaded", "server_error")
    return error_of(code, message, status=said["status"] or None, retryable=retryable, maybe_billed=True)


# ai.google.dev, FinishReason; others are passed on in lower case
GEMINI_FILTERED = ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY")
GEMINI_FINISH = {"STOP": "stop", "MAX_TOKENS": "length", **dict.fromkeys(GEMINI_FILTERED, "content_filter")}
# Finish reasons by which a server itself says that it did not finish: vLLM, DeepSeek, Zhipu, OpenRouter, Gemini.
UNFINISHED = frozenset({
    "error", "abort", "aborted", "network_error", "insufficient_system_resource", "malformed_function_call",
    "unexpected_tool_call", "too_many_tool_calls", "missing_thought_signature", "malformed_response", "other", "no_image",
    "language",
})  # fmt: skip


def openai_chunk(chunk: JSON, candidate: JSON) -> JSON:
    """A Gemini answer or chunk as the equivalent OpenAI chunk; only for the reader, never handed out."""
    delta: JSON = {"content": "", "reasoning_content": "", "tool_calls": []}
    for part in dicts(as_dict(candidate.get("content")).get("parts")):
        delta["reasoning_content" if part.get("thought") else "content"] += text_of([part])
        call = part.get("functionCall")
        if isinstance(call, dict):
            function = {"name": call.get("name"), "arguments": call.get("args") or {}}
            delta["tool_calls"].append({"id": call.get("id"), "function": function})
    blocked = as_dict(chunk.get("promptFeedback")).get("blockReason")
    finish = "SAFETY" if blocked else str(candidate.get("finishReason") or "")
    choice = {"delta": delta, "finish_reason": GEMINI_FINISH.get(finish, finish.lower())}
    choices = [choice] if candidate or blocked else []
    return {"choices": choices, "usage": chunk.get("usageMetadata"), "error": chunk.get("error")}


class Reader:
    """One answer, whole or in chunks: take() each JSON object and get events; body() is the API's answer so far.

    take({"choices": [{"delta": {"content": "Hi"}}]}) -> [{"type": "text", "text": "Hi"}]

    finish is the finish reason, "" until it came. An error inside the answer is raised, classified.
    """

    def __init__(self, gemini: bool = False) -> None:
        self.gemini, self.raw = gemini, b""  # raw: the body as it came, where it came whole
        self.finish, self.native, self.refusal, self.kept_chars = "", "", "", 0  # native: OpenRouter's upstream's finish
        self.call_chars = 0
        self.early = False  # output followed a finish reason: some servers send one with every chunk
        self.usage: Any = None
        self.choices: dict[int, JSON] = {}
        self._head: JSON = {}
        self._parts: Turns = []

    def take(self, chunk: Any) -> Turns:
        if not isinstance(chunk, dict):
            raise BadUpstreamError("the answer is JSON, but not an object")
        self._head.update(chunk if self.raw else without(chunk, "choices", "usage", "object", "candidates"))
        if self.gemini:
            candidate = next(iter(dicts(chunk.get("candidates"))), {})
            if candidate and not self.raw:
                self._take_candidate(candidate)
            chunk = openai_chunk(chunk, candidate)
        choices = dicts(chunk.get("choices"))
        places = chunk, as_dict(chunk.get("x_groq")), *choices  # Groq and Moonshot put a stream's usage and errors there
        self.usage = next(filter(None, (as_dict(place.get("usage")) for place in places)), self.usage)
        events = [event for choice in choices for event in self._take_choice(choice)]
        whole = chunk if chunk.get("object") == "error" else None  # vLLM has both forms
        for error in filter(None, (whole, *(place.get("error") for place in places))):
            raise inner_error(error)
        return events

    def _take_candidate(self, candidate: JSON) -> None:
        """Keep what body() needs of a Gemini chunk: consecutive pieces of text become one part."""
        for part in dicts(as_dict(candidate.get("content")).get("parts")):
            last = self._parts[-1] if self._parts else {}
            if isinstance(part.get("text"), str) and last and {**part, "text": ""} == {**last, "text": ""}:
                last["text"] += part["text"]
            else:
                self._parts.append(dict(part))
        self._head.setdefault("candidates", [{}])[0].update(candidate, content={"role": "model", "parts": self._parts})

    def _take_choice(self, choice: JSON) -> Turns:
        number = choice["index"] if isinstance(choice.get("index"), int) else 0
        state = self.choices.setdefault(number, {"text": [], "reasoning": [], "calls": [], "finish": None})
        events = list(self._delta_events(as_dict(choice.get("delta")) or as_dict(choice.get("message")), state))
        finish = choice.get("finish_reason")
        if events and state["finish"]:
            self.early, state["finish"] = True, None
        state["finish"] = (finish if self.early else None) or state["finish"] or finish
        if number != 0:
            return []  # with n > 1 the other choices are in body(), not in the text
        self.native = str(choice.get("native_finish_reason") or self.native)
        before, self.finish = self.finish, str(state["finish"] or "")
        return [*events, {"type": "finish", "reason": self.finish}] if self.finish not in ("", before) else events

    def _delta_events(self, delta: JSON, state: JSON) -> Iterator[JSON]:
        thoughts = [text_of(part.get("thinking")) for part in dicts(delta.get("content"))]  # Mistral's, parts of the content
        reasoning = delta.get("reasoning_content") or delta.get("reasoning") or "".join(thoughts)
        for kind, value in (("reasoning", reasoning), ("text", delta.get("content"))):
            text = text_of(value)
            if text:
                if self.kept_chars < MAX_KEPT_CHARS:
                    state[kind].append(text)
                if len(state[kind]) > 512:  # a million pieces of five letters would cost fifty bytes each
                    state[kind] = ["".join(state[kind])]
                self.kept_chars += len(text)
                yield {"type": kind, "text": text}
        self.refusal += text_of(delta.get("refusal"))
        fragments = dicts(delta.get("tool_calls"))
        if isinstance(delta.get("function_call"), dict) and not fragments:  # some servers send a call in both forms
            state["legacy"] = True
            fragments.append({"index": -1, "function": delta["function_call"]})
        for fragment in fragments:
            number = add_fragment(state["calls"], fragment)
            call = state["calls"][number]
            self.call_chars += len(call["pieces"][-1])
            if self.call_chars > MAX_KEPT_CHARS:
                raise BadUpstreamError(f"the arguments of tool calls are longer than {MAX_KEPT_CHARS} characters")
            known = {"index": number, "id": call["id"], "name": call["name"]}
            yield {"type": "tool_call", **known, "arguments": call["pieces"][-1]}

    def finishes(self) -> list[str]:
        """The finish reason of each choice that has begun, "" where it has not come."""
        return [str(state["finish"] or "") for state in self.choices.values()]

    def is_finished(self) -> bool:
        """Whether every choice has its finish reason, and none came before the last output."""
        return bool(self.choices) and not self.early and all(self.finishes())

    def text(self, kind: str = "text") -> str:
        return "".join(self.choices[0][kind]) if 0 in self.choices else ""

    def tool_calls(self) -> Turns:
        """The first choice's calls as [{"id", "name", "arguments" (raw text), "parsed" (None if it is not a JSON object)}]."""
        found = []
        for call in calls_on_the_wire(self.choices[0]["calls"]) if 0 in self.choices else ():
            function, field = call[call["type"]], ARGUMENTS[call["type"]]
            parsed = parsed_arguments(function[field])
            found.append({"id": call["id"], "name": function["name"], "arguments": function[field], "parsed": parsed})
        return found

    def broken_calls(self) -> Turns:
        """Those of tool_calls() whose arguments should be a JSON object; a custom tool's input is any text."""
        kinds = [call["kind"] for call in self.choices[0]["calls"]] if 0 in self.choices else []
        return [call for call, kind in zip(self.tool_calls(), kinds) if call["parsed"] is None and kind == "function"]

    def body(self) -> JSON:
        """The server's own object where it came whole; else the same shape put together from its chunks."""
        if self.raw or self.gemini:
            return self._head
        choices = []
        for number, state in sorted(self.choices.items()):
            message: JSON = {"role": "assistant", "content": "".join(state["text"]) if state["text"] else None}
            calls = calls_on_the_wire(state["calls"])
            if state["reasoning"]:
                message["reasoning_content"] = "".join(state["reasoning"])
            if self.refusal and number == 0:
                message["refusal"] = self.refusal
            if calls and "legacy" in state:
                message["function_call"] = calls[0]["function"]
            elif calls:
                message["tool_calls"] = calls
            choices.append({"index": number, "message": message, "finish_reason": state["finish"]})
        body = {**self._head, "object": "chat.completion", "choices": choices}
        return {**body, "usage": self.usage} if self.usage is not None else body


def is_amount(value: Any) -> bool:
    """Whether it is a number, finite, and not below 0."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf")


def is_cost(value: Any) -> bool:
    return is_amount(value) and bool(value <= MAX_COST_USD)


def stated_cost(usage: JSON) -> Any:
    """The cost of the answer in USD by its usage object; None if there is none, or an impossible one.

    stated_cost({"cost": 0.25}) -> 0.25;  stated_cost({"cost": "0.25"}), ({"cost": -1}), ({"cost": 1e308}) -> None

    Where OpenRouter used the caller's own vendor key (is_byok), `cost` is its fee alone: the vendor's price is added, and
    nothing is known without it.
    """
    cost: Any = usage.get("cost")
    inference: Any = as_dict(usage.get("cost_details")).get("upstream_inference_cost")
    if usage.get("is_byok") is True:
        cost = round(cost + inference, 12) if is_cost(cost) and is_cost(inference) else None
    return cost if is_cost(cost) else None


class Answer(dict):  # type: ignore[type-arg]  # dict[str, Any] would need typing at run time
    """The API's JSON, unchanged, with common fields as attributes.

    text, reasoning, finish_reason, complete (the server ended it), tool_calls (see Reader.tool_calls), usage, tokens,
    cost (USD, None where unknown), cost_source ("endpoint", "estimated" by our prices, or "cache" for one that was `cached`),
    credits_remaining (None unless reported), model (as the server names it), model_requested, model_used,
    request_id, latency_s, first_s (until the first output of a stream), warnings, raw (the body as it came, not streamed),
    attempts [{"model", "cause" ("ok" or an error's code), "status", "seconds", "maybe_billed"}], data (the
    JSON value that fits the requested schema), route (see choose; None where a model was named); of run_tools() also calls
    [{"round", "id", "name", "arguments", "result", "error"}] and messages, the turns with the answer.
    """

    def __init__(self, reader: Reader, model: str = "", complete: bool = True) -> None:
        super().__init__(reader.body())
        self.text, self.reasoning, self.tool_calls = reader.text(), reader.text("reasoning"), reader.tool_calls()
        self.finish_reason, self.complete, self.raw = reader.finish, complete, reader.raw
        self.usage: JSON = reader.usage or {}
        self.tokens = self.usage.get("total_tokens", self.usage.get("totalTokenCount"))
        self.cost: Any = stated_cost(self.usage)
        self.cost_source = None if self.cost is None else "endpoint"
        self.credits_remaining = self.usage.get("credits_remaining", self.get("credits_remaining"))
        self.model = str(self.get("model") or self.get("modelVersion") or model)
        self.request_id = str(self.get("id") or self.get("responseId") or "")
        self.model_requested = self.model_used = model
        self.cached, self.latency_s = False, 0.0
        self.first_s: float | None = None
        self.attempts: Turns = []
        self.warnings: list[str] = []
        self.data: Any = None
        self.route: JSON | None = None
        self.calls: Turns = []
        self.messages: Turns = []


def retry_after_s(headers: dict[str, str], now: float) -> float | None:
    """Seconds to wait by a response's headers, in the order of the vendors' SDKs; None without a readable one. RFC 9110 10.2.3.

    retry_after_s({"retry-after-ms": "250"}, now)                        -> 0.25
    retry_after_s({"retry-after": "7"}, now)                             -> 7.0
    retry_after_s({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, now) -> 12.0  (it is 12 s ahead of `now`, Unix seconds)
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            wait = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        if 0.0 <= wait < 1e9:
            return wait
    if "retry-after" not in headers:
        return None
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(headers["retry-after"]).timestamp() - now)
    except (TypeError, ValueError, OverflowError):
        return None


def response_error(status: int, headers: dict[str, str], body: bytes, now: float) -> LLMRouterError:
    """Any response that is not 2xx -> our error; `now` is Unix seconds, for a Retry-After that is a date."""
    html = body.lstrip()[:1] == b"<"
    said = complaint_of("" if html else body.decode("utf-8", "replace"))
    code = code_of(status, said)
    message = said["message"] or ("an HTML page" if html else "no explanation")
    if 300 <= status < 400:
        code = "bad_upstream"
        place = headers.get("location", "").partition("://")[2].split("/")[0].rpartition("@")[2]
        message = f"redirected to {one_line(place, 100) or 'another path'}; redirects are not followed"
    lasting = ("no_credit", "model_not_found", "context_too_long", "content_filter")  # whatever the status
    retryable = status in RETRY_STATUSES and code not in lasting and not (code == "bad_request" and status >= 500)
    told, wait = headers.get("x-should-retry", "").strip().lower(), retry_after_s(headers, now)
    step = f"Wait {wait:g} s, or add --fallback with other models." if wait and code in ("rate_limited", "overloaded") else ""
    return error_of(
        code, f"HTTP {status}: {message}", step, status=status, param=said["param"], retry_after_s=wait, maybe_billed=False,
        request_id=one_line(headers.get("x-request-id", ""), 100),
        retryable=told == "true" or (retryable and told != "false"),
    )  # fmt: skip


def parse_answer(data: bytes) -> Any:
    """A whole answer's bytes -> JSON value; BadUpstreamError describes anything else."""
    try:
        return parse_json(data)
    except ValueError as error:
        start = data.lstrip()[:1]
        what = "empty" if not start else "an HTML page" if start == b"<" else f"not JSON ({one_line(error, 80)})"
        raise BadUpstreamError(f"the answer is {what}") from None


def judge(reader: Reader, ended: bool) -> None:
    """Raise unless this is an answer and the server ended it; `ended`: [DONE] came, or a bare end is accepted."""
    if not (reader.choices and all(reader.finishes())):
        body = without(reader.body(), "metadata")
        said = complaint_of(body)  # some servers report an error with status 200 and without a field `error`
        if said["status"] or code_of(0, said) != "server_error" or (said["message"] and reader.choices):
            raise inner_error(body)
        why = f"; it says: {said['message']}" if said["message"] else ""
        if not reader.choices:
            raise BadUpstreamError(f"the answer is empty: it contains no choices{why}")
        if not ended:
            raise IncompleteError("the answer ended without a finish reason or [DONE]")
    text, calls = reader.text(), reader.tool_calls()
    for word in (*reader.finishes(), "" if text or calls else reader.native):
        if word.lower() in UNFINISHED:
            message = f"the server itself reports that it did not finish (finish reason {one_line(word, 40)})"
            raise IncompleteError(message, retryable=not (text or calls))
    if reader.refusal or reader.finish == "content_filter":
        raise ContentFilterError(f"refused: {one_line(reader.refusal) or 'content filter'}")
    if reader.finish != "length" and any(call["arguments"].lstrip().startswith("{") for call in reader.broken_calls()):
        raise IncompleteError("the answer ended inside a tool call: its arguments are cut", retryable=not text)
    if not text and not calls:
        why = f" (finish reason {one_line(reader.finish, 40)})" if reader.finish else ""
        raise BadUpstreamError(f"the model answered nothing{why}", code="empty_answer")


# ------------------------------------------------------------------------------------------------------------- policy

PRESCRIBING = frozenset({"tool_choice", "function_call", "n", "toolConfig", "generationConfig"})  # see llm_router_extras.unmet
FALLBACK_CODES = frozenset({
    "rate_limited", "overloaded", "server_error", "timeout", "network", "model_not_found", "no_credit", "context_too_long",
    "empty_answer", "content_filter", "bad_upstream", "stream_cut",
})  # fmt: skip  # never a missing or refused key (another account would pay unseen), never a bad request
OWN_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "authorization"})


def retry_wait_s(error: LLMRouterError, retries: int, max_retries: int, remaining_s: float, rng: float) -> float | None:
    """Seconds until the same model is tried again, None for never; `rng` is in [0, 1).

    Retry-After if given, else min(0.5 * 2**retries, 8) shortened by up to a quarter, as the vendors' SDKs.
    """
    if not error.retryable or retries >= max_retries:
        return None
    wait = min(0.5 * 2.0**retries, 8.0) * (1.0 - 0.25 * rng) if error.retry_after_s is None else error.retry_after_s
    return wait if wait <= min(MAX_RETRY_WAIT_S, remaining_s) else None


class Endpoint:
    """Where requests go: scheme, host, port, path without its last slash, and whether that is this machine."""

    def __init__(self, url: str) -> None:
        # One strict pattern: what urllib.parse takes beyond it would have to be refused afterwards.
        url = url.strip()
        like = r"(\w+)://([^/]*@)?(\[[\da-fA-F:.]*:[\da-fA-F:.]*\]|[^/:@\[\]]+)(?::(\d{0,5}))?(/.*)?"
        found = re.fullmatch(like, url)
        if re.search(r"[^!-~]|[\\?#]", url) or not found or not found[3].strip(".") or int(found[4] or 0) > 65535:
            raise UsageError("the base URL is not a URL like https://api.example.com/v1")
        self.scheme, self.host = found[1].lower(), found[3].strip("[]").lower().rstrip(".")
        self.path = (found[5] or "").rstrip("/").removesuffix("/chat/completions")  # as copied from a vendor's example
        standard = {"https": 443, "http": 80}.get(self.scheme)
        if not standard or found[2]:
            raise SafetyError("base URLs use https (http only on this machine) and contain no user name or password")
        # Other spellings of 127.0.0.1, and names that start like it, are not this machine.
        self.loopback = bool(re.fullmatch(r"127(\.([01]?\d?\d|2[0-4]\d|25[0-5])){3}|localhost|::1", self.host))
        if self.scheme == "http" and not self.loopback:
            raise SafetyError(f"plain http to {self.host} would expose key and prompt on the way; use https")
        self.port = int(found[4] or 0) or standard
        name = f"[{self.host}]" if ":" in self.host else self.host
        self.address = f"{name}:{self.port}"
        self.netloc = name if self.port == standard else self.address
        self.url = f"{self.scheme}://{self.netloc}{self.path}"


class Secret:
    """A key that is not printed: str and repr are masked; `value` is for the Authorization header alone."""

    __slots__ = ("forms", "source", "value")

    def __init__(self, value: str, source: str) -> None:
        self.value, self.source = value.strip(), source
        if not self.value.isascii() or not self.value.isprintable() or " " in self.value or len(self.value) > 4096:
            raise AuthenticationError(f"the key from {source} contains characters that a key cannot have", code="key_malformed")
        forms = (self.value, binascii.b2a_base64(self.value.encode()).decode().rstrip("=\n"))
        self.forms = forms if len(self.value) >= MIN_HIDDEN_CHARS else ()

    def __repr__(self) -> str:
        return f"********{self.value[-4:]}" if len(self.value) >= 16 else "********"

    def hide(self, text: str) -> str:
        """The text without the key, plain or in base64."""
        for form in self.forms:
            text = text.replace(form, "[key]")
        return text

    def begins_at(self, text: str) -> int:
        """Where the end of a text is the beginning of the key; its length otherwise."""
        places = range(max(0, len(text) - max(map(len, self.forms), default=0) + 1), len(text))
        return next((at for at in places if any(form.startswith(text[at:]) for form in self.forms)), len(text))


def choose_key(endpoint: Endpoint, settings: dict[str, str], in_file: str) -> Secret | None:
    """The key for an endpoint, None where it needs none (this machine): the rule that binds a key to its host.

    AISA_API_KEY, from the environment or the credentials file, goes to https://api.aisa.one and nowhere else. Any other
    endpoint takes LLM_ROUTER_API_KEY, which stays with the host of LLM_ROUTER_BASE_URL where that is set.
    """
    aisa, other, home = settings["AISA_API_KEY"] or in_file, settings["LLM_ROUTER_API_KEY"], settings["LLM_ROUTER_BASE_URL"]
    at_aisa = (endpoint.scheme, endpoint.address) == ("https", f"{DEFAULT_HOST}:443")
    if at_aisa and aisa:
        return Secret(aisa, "AISA_API_KEY" if settings["AISA_API_KEY"] else CREDENTIALS_FILE)
    owner = Endpoint(home).address if other and home else endpoint.address
    if other and not at_aisa and owner == endpoint.address:
        return Secret(other, "LLM_ROUTER_API_KEY")
    if endpoint.loopback:
        return None
    step = f"Set LLM_ROUTER_BASE_URL={endpoint.url} and LLM_ROUTER_API_KEY to a key of {endpoint.host}."
    if not at_aisa and (other or aisa):
        name, owner = ("LLM_ROUTER_API_KEY", owner) if other else ("AISA_API_KEY", DEFAULT_HOST)
        raise SafetyError(f"{name} is sent to {owner} only, not to {endpoint.host}", next_step=step)
    raise AuthenticationError(f"no key for {endpoint.host} is set", code="missing_key", next_step="" if at_aisa else step)


def key_in_file(data: bytes) -> str:
    """AISA_API_KEY out of a credentials file, "" where it holds none: key_in_file(b'export AISA_API_KEY="v" # n') -> "v"

    NAME=value lines with or without `export`, quotes, a comment after white space, CRLF, a byte order mark; the last
    usable one counts; a value that is not UTF-8 is passed over.
    """
    line = r"\s*(?:export\s+)?AISA_API_KEY\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s#]\S*)|)(?:\s+#.*|\s*)"
    key = ""
    for raw in data.splitlines():
        found = re.fullmatch(line, raw.decode("utf-8-sig", "replace"))
        value = "".join(found.groups("")).strip() if found else ""
        key = value if value and "\ufffd" not in value else key
    return key


def check_headers(headers: dict[str, str]) -> dict[str, str]:
    """The headers, if they are valid in a request and none of the client's own."""
    for name, value in headers.items():
        usable = isinstance(name, str) and name.isascii() and name.replace("-", "").replace("_", "").isalnum()
        if not usable or name.lower() in OWN_HEADERS:
            raise UsageError(f"{str(name)[:40]!r} cannot be set as a header", next_step="The client sets its own.")
        if not isinstance(value, str) or not re.fullmatch(r"[\t -~\x80-\xff]*", value):
            raise UsageError(f"the value of header {name} contains characters that a header cannot have")
    return dict(headers)


# ---------------------------------------------------------------------------------------------------------- transport


class ClockedSocket:
    """Mixed into a TCP or TLS socket: http.client's reads and writes are bounded by a clock, and raise our errors.

    arm() starts the clock, and every read and write gets what is left of it: so it bounds their sum, however slowly the peer
    drips. deadline is the whole call's, in seconds of time.monotonic().
    """

    deadline: float

    def arm(self, waiting: str, seconds: float | None = None) -> None:
        """`waiting` has to be over within `seconds`, and never after the deadline."""
        self.until = self.deadline if seconds is None else min(self.deadline, time.monotonic() + seconds)
        self.waiting = waiting if self.until < self.deadline else f"{waiting} (total timeout)"

    def recv_into(self, *arguments: Any) -> int:
        return self._in_time(super().recv_into, arguments)  # type: ignore[misc, no-any-return]

    def sendall(self, *arguments: Any) -> None:
        self._in_time(super().sendall, arguments)  # type: ignore[misc]

    def send(self, *arguments: Any) -> int:  # TLS sends a large body by many of these
        return self._in_time(super().send, arguments)  # type: ignore[misc, no-any-return]

    def makefile(self, mode: str) -> Any:
        return super().makefile(mode, READ_BYTES)  # type: ignore[misc]

    def __del__(self) -> None:
        # The garbage collector may come to a dropped client's sockets before it comes to the client, which would close them.
        number = self.detach()  # type: ignore[attr-defined]
        if number >= 0:
            os.close(number)

    def _in_time(self, call: Callable[..., Any], arguments: Any) -> Any:
        left = self.until - time.monotonic()
        try:
            if left <= 0.0:
                raise TimeoutError
            self.settimeout(left)  # type: ignore[attr-defined]
            return call(*arguments)
        except OSError as error:
            if isinstance(error, TimeoutError) or "timed out" in str(error):  # Python 3.9 has two kinds of timeouts
                raise RequestTimeout(f"timed out waiting for {self.waiting}", maybe_billed=True) from None
            raise NetworkError(f"the connection broke: {error.strerror or type(error).__name__}", maybe_billed=True) from None


def parse_head(lines: Sequence[bytes]) -> tuple[int, dict[str, str]]:
    """A response's status and headers, names in lower case. BadUpstreamError if it is not an HTTP/1 head.

    parse_head([b"HTTP/1.1 200 OK", b"Vary: a", b"Vary: b"]) -> (200, {"vary": "a, b"})
    """
    first, *others = [str(line, "latin-1") for line in lines] or [""]
    found = re.fullmatch(r"(?as)HTTP/1\.\d ([1-9]\d\d)( .*)?", first)
    sound, headers = found is not None, dict[str, str]()
    for line in others:
        name, colon, value = line.partition(":")
        sound = sound and colon != "" and name == name.strip()
        before = headers.get(name.lower())
        headers[name.lower()] = value.strip() if before is None else f"{before}, {value.strip()}"
    if not found or not sound:
        raise BadUpstreamError("the server there does not speak HTTP/1.1")
    return int(found[1]), headers


def unpack(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Plain bytes of gzip, zlib or bare deflate ("deflate" may be either: RFC 9110 8.4.1.2).

    What is directly behind a gzip member and begins like one is one (RFC 1952 2.2), and must be whole; the rest is ignored.
    """
    import zlib

    data = next(pieces, b"")
    kind = {b"\x1f": 31, b"\x78": 15}.get(data[:1], -15)
    member = zlib.decompressobj(kind)
    while data:
        try:
            part = member.decompress(data, 16 * READ_BYTES)
        except zlib.error:
            raise BadUpstreamError("the answer's compressed data is broken") from None
        if part:  # an empty piece would end a stream
            yield part
        data = member.unconsumed_tail or member.unused_data
        while len(data) < 1 + member.eof and (more := next(pieces, b"")):
            data += more
        if not (member.eof or data):
            yield from filter(None, [member.flush()])  # bare deflate may have read its last byte before its last output
        if not (member.eof or data):
            raise IncompleteError("the answer's compressed data ends too early")
        if member.eof and not (kind == 31 and data.startswith(b"\x1f\x8b")):
            return  # nothing follows, or junk
        member = zlib.decompressobj(kind) if member.eof else member


class Response:
    """A response of http.client's HTTPConnection: status, headers (names in lower case), body by pieces().

    It replaces http.client's own class, which accepts a body shorter than its length as whole, reads broken chunks, limits
    the number of headers, and knows only one 1xx status. close(), once: disconnects, unless the body was read to its end;
    then the connection is kept for another call.
    """

    connection: Any = None  # with `idle`, the list that it is kept in; set once the head is there

    def __init__(self, sock: Any, method: str = "") -> None:
        self.arm, self._file, self._whole = sock.arm, sock.makefile("rb"), False  # arm(): see ClockedSocket

    def begin(self) -> None:
        """Read the head; 1xx are passed over. NetworkError where the connection ends before."""
        status = 100
        try:
            while status < 200:
                lines = list(self._lines("the response's head"))
                status, self.headers = parse_head(lines)
        except IncompleteError:
            raise NetworkError("the server closed the connection without an answer", maybe_billed=True) from None
        self.status, self.bodiless = status, status in (204, 304)
        framed = self.bodiless or ("transfer-encoding" in self.headers) != ("content-length" in self.headers)
        asked = self.headers.get("connection", "").lower()
        self.will_close = not framed or "close" in asked or (lines[0].startswith(b"HTTP/1.0") and "keep-alive" not in asked)

    def isclosed(self) -> bool:
        return bool(self._file.closed)

    def close(self) -> None:
        connection, self.connection = self.connection, None
        self._file.close()
        if connection and self._whole and connection.sock:
            connection.idle.append(connection)  # the last thing done with it here: another thread may have it now
        elif connection:
            connection.close()

    def pieces(self) -> Iterator[bytes]:
        """The body as it arrives, transfer and content coding removed. IncompleteError if it ends early."""
        coding = self.headers.get("content-encoding", "identity").strip().lower()
        if coding in ("identity", ""):
            return self._framed()
        if coding not in ("gzip", "x-gzip", "deflate"):
            raise BadUpstreamError(f"the answer is encoded as {one_line(coding, 40)}, which was not requested")
        return unpack(self._framed())

    def _framed(self) -> Iterator[bytes]:
        """By Content-Length, chunked, or until the connection ends; RFC 9112 6.3."""
        length = "0" if self.bodiless else self.headers.get("content-length")
        coding = "" if self.bodiless else self.headers.get("transfer-encoding", "").strip().lower()
        if coding not in ("", "chunked"):
            raise BadUpstreamError("the answer's transfer coding is unknown")
        if coding:
            size = 1
            while size:
                size = self._length(next(self._lines("the answer"), b"").partition(b";")[0].decode("latin-1").strip(), 16)
                yield from self._exactly(size)
                for _ in self._lines("the answer"):  # nothing after a chunk; trailers after the last
                    if size:
                        raise BadUpstreamError("a chunk does not end where its size says")
        elif length is not None:
            yield from self._exactly(self._length(length, 10))
        else:
            yield from iter(lambda: self._file.read1(READ_BYTES), b"")
        self._whole = not self.will_close and not self._is_followed()

    def _is_followed(self) -> bool:
        """Whether bytes follow after the end of this response. Does not wait."""
        self.arm("", 0.0)
        try:
            return bool(self._file.peek(1))
        except RequestTimeout:  # nothing is buffered, and there is no time to read
            return False

    def _lines(self, where: str) -> Iterator[bytes]:
        """Lines up to an empty one, without it. IncompleteError if the connection ends before it."""
        left = MAX_HEAD_BYTES
        while True:
            line = self._file.readline(left + 1)
            left -= len(line)
            if left < 0:
                raise BadUpstreamError(f"{where} is longer than {MAX_HEAD_BYTES} bytes")
            if not line.endswith(b"\n"):
                raise IncompleteError(f"the connection was closed inside {where}")
            line = line.rstrip(b"\r\n")
            if not line:
                return
            yield line

    @staticmethod
    def _length(text: str, base: int) -> int:
        if not 0 < len(text) < 16 or text.lower().strip("0123456789abcdef"[:base]):
            raise BadUpstreamError("the length of the answer, or of a part of it, is unreadable")
        return int(text, base)

    def _exactly(self, left: int) -> Iterator[bytes]:
        while left:
            data = self._file.read1(min(left, READ_BYTES))
            if not data:
                raise IncompleteError("the connection was closed in the middle of the answer")
            left -= len(data)
            yield data


@functools.cache
def socket_classes() -> Any:
    """ClockedSocket as a TCP and as a TLS socket: made with the first connection, as their modules take long to import."""
    import socket
    import ssl

    return type("TCPSocket", (ClockedSocket, socket.socket), {}), type("TLSSocket", (ClockedSocket, ssl.SSLSocket), {})


def reach(host: str, port: int, until: float) -> Any:
    """A TCP connection to the first address of a host that accepts one before `until` (time.monotonic()), or an OSError.

    Each address gets a share of the time: one that does not answer (IPv6 without a route) leaves enough for the next.
    """
    from socket import SOCK_STREAM, getaddrinfo

    # As bytes: for a str the socket would load the idna codec, 2 ms, and these names are always ASCII.
    addresses = getaddrinfo(host.encode("ascii"), port, type=SOCK_STREAM)
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        sock: Any = None
        try:
            sock = socket_classes()[0](family, kind, protocol)  # an OSError where the system knows no IPv6
            sock.settimeout(max((until - time.monotonic()) / (len(addresses) - number), 0.001))
            sock.connect(address)
            return sock
        except OSError as error:
            failure = error
            if sock:
                sock.close()
    raise failure


def proxy_for(endpoint: Endpoint) -> tuple[str, int, str]:
    """(host, port, user:password) of the proxy for an endpoint, by the rules of urllib; host "" for none."""
    if endpoint.scheme != "https" or endpoint.loopback:
        return "", 0, ""
    from urllib.parse import unquote, urlsplit
    from urllib.request import getproxies, proxy_bypass

    url = getproxies().get("https", "")
    if not url or proxy_bypass(endpoint.netloc):
        return "", 0, ""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname if parts.scheme == "http" else "", parts.port or 80
    except ValueError:
        host = ""
    if not host:
        raise UsageError("HTTPS_PROXY must be like http://proxy.example:3128; other kinds (SOCKS, https) are not supported")
    return host, port, unquote(f"{parts.username}:{parts.password or ''}") if parts.username else ""


def open_tunnel(sock: Any, address: str, login: str) -> None:
    """CONNECT through the http proxy at the other end of a socket; NetworkError where it refuses."""
    lines = [f"CONNECT {address} HTTP/1.1", f"Host: {address}"]
    if login:
        lines.append(f"Proxy-Authorization: Basic {binascii.b2a_base64(login.encode(), newline=False).decode()}")
    sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
    response = Response(sock)
    response.begin()
    response.close()
    if not 200 <= response.status < 300:
        raise NetworkError(f"the proxy answered {response.status} to CONNECT", next_step="Check HTTPS_PROXY and NO_PROXY.")


def system_error(what: str, error: OSError, retryable: bool = False) -> NetworkError:
    """The error for what the system refused, with the reason; a sandbox may forbid all sockets."""
    if isinstance(error, PermissionError):
        step = "Ask for network access, or run the same command outside the sandbox."
        return NetworkError(f"{what}: this sandbox forbids network access; ask for it", next_step=step)
    return NetworkError(f"{what}: {one_line(error.strerror or error, 120)}", retryable=retryable)


def connect_error(error: OSError, endpoint: Endpoint, proxy: str, seconds: float) -> LLMRouterError:
    """Why there is no connection. Nothing was sent: all but a refused certificate may be tried again."""
    import socket

    where, name = f"proxy {proxy}" if proxy else endpoint.host, type(error).__name__
    if isinstance(error, TimeoutError) or "timed out" in str(error):
        step = ERRORS["network"][1]
        return RequestTimeout(f"no connection to {where} within {max(seconds, 0):g} s", retryable=True, next_step=step)
    if name == "SSLCertVerificationError":
        why = one_line(getattr(error, "verify_message", error), 120)
        step = "Behind a company proxy, name its CA with --ca-file or SSL_CERT_FILE; otherwise the address is wrong."
        return NetworkError(f"the certificate of {endpoint.host} was refused: {why}", next_step=step)
    if name == "gaierror":
        error = OSError("the host name was not found")
        try:
            socket.socket().close()  # a name look-up hides that a sandbox forbids sockets
        except PermissionError as refused:
            error = refused
    return system_error(f"no connection to {where}", error, retryable=True)


class Transport:
    """HTTP/1.1 by urllib.request, and this machine's clock and rng: all I/O. Tests replace it with a fake.

    It is the only handler of an OpenerDirector, which so follows no redirects and returns every status as it is. Connections
    are kept alive; new ones go through the proxy and TLS.
    """

    def __init__(self, ca_file: str | None = None) -> None:
        self.idle: dict[str, list[Any]] = {}  # by URL; list.append and list.pop are atomic: no lock
        self._ca_file = ca_file
        self._tls: ssl.SSLContext | None = None

    monotonic = staticmethod(time.monotonic)
    unix = staticmethod(time.time)
    sleep = staticmethod(time.sleep)
    rng = staticmethod(lambda: int.from_bytes(os.urandom(4), "big") / 2.0**32)
    token = staticmethod(lambda: os.urandom(16).hex())

    def send(
        self, method: str, endpoint: Endpoint, path: str, headers: dict[str, str], body: bytes,
        *, connect_s: float, first_s: float | None, deadline: float,
    ) -> Response:  # fmt: skip
        """One exchange up to the response's head; `deadline` is of monotonic(). A NetworkError is retryable: no status came."""
        from urllib.request import OpenerDirector, Request

        opener: Any = OpenerDirector()
        opener.handle_open = {"http": [self], "https": [self]}  # add_handler() would look through all names of the handler
        url, headers = f"{endpoint.scheme}://{endpoint.netloc}{path}", {"Host": endpoint.netloc, **headers}
        request: Any = Request(url, body or None, headers, method=method)
        request.endpoint, request.first_s, request.deadline = endpoint, first_s, deadline
        return opener.open(request, timeout=connect_s)  # type: ignore[no-any-return]

    def http_open(self, request: Any) -> Any:
        """Called by an OpenerDirector: the response to a request of send(), its head read."""
        kept, began = self._take(request.endpoint), time.monotonic()
        while True:
            connection = kept or self._connect(request.endpoint, min(request.timeout, request.deadline - time.monotonic()))
            try:
                return self._exchange(connection, request)
            except BaseException as error:
                connection.close()
                if isinstance(error, NetworkError):
                    error.retryable = True
                if not kept or not isinstance(error, NetworkError) or time.monotonic() - began > STALE_S:
                    raise
                kept = None  # it had been closed meanwhile: replaced once, in silence

    https_open = http_open

    @staticmethod
    def _exchange(connection: Any, request: Any) -> Response:
        """Send a request and read the head of its response."""
        sock, first_s, parts = connection.sock, request.first_s, list[bytes]()
        sock.deadline = request.deadline
        sock.arm("the request to be sent")
        connection.send = parts.append  # http.client would make two packets of a small request
        connection.request(request.get_method(), request.selector, request.data, dict(request.header_items()))
        try:
            sock.sendall(b"".join(parts))
        except NetworkError:
            first_s = 1.0  # the answer may be there all the same: a refusal before the body was read
        sock.arm("the answer", first_s)
        response: Response = connection.getresponse()
        response.connection = connection
        return response

    def _take(self, endpoint: Endpoint) -> Any:
        """An idle connection that was neither closed nor sent unrequested bytes; None if there is none."""
        import select

        idle = self.idle.get(endpoint.url, [])
        while idle:
            try:
                connection = idle.pop()
                if not select.select([connection.sock], [], [], 0)[0]:
                    return connection
            except IndexError:  # another thread was faster
                break
            except (OSError, ValueError):
                pass  # closed
            connection.close()
        return None

    def _connect(self, endpoint: Endpoint, seconds: float) -> Any:
        """A new connection. In a thread of its own, as a name look-up has no timeout and a handshake can be slow."""
        proxy = proxy_for(endpoint)
        outcome: list[Any] = []

        def work() -> None:
            try:
                outcome.append(self.dial(endpoint, proxy, seconds))
            except BaseException as error:
                outcome.append(TimeoutError() if isinstance(error, RequestTimeout) else error)

        if endpoint.loopback:
            work()
        else:
            import threading

            thread = threading.Thread(target=work, daemon=True)
            thread.start()
            thread.join(max(0.0, seconds))
        result = outcome[0] if outcome else TimeoutError()
        if isinstance(result, OSError):
            raise connect_error(result, endpoint, proxy[0], seconds) from None
        if isinstance(result, BaseException):
            raise result
        return result

    def dial(self, endpoint: Endpoint, proxy: tuple[str, int, str], seconds: float) -> Any:
        """A connection with its tunnel and TLS; OSError if there is none within the seconds, step by step."""
        from http.client import HTTPConnection
        from socket import IPPROTO_TCP, TCP_NODELAY

        until = time.monotonic() + seconds
        if seconds <= 0.0:
            raise TimeoutError
        connection: Any = HTTPConnection(endpoint.host, endpoint.port)
        connection.response_class, connection.idle = Response, self.idle.setdefault(endpoint.url, [])
        connection.auto_open = 0  # http.client would connect without a clock
        host, port = proxy[:2] if proxy[0] else (endpoint.host, endpoint.port)
        sock = connection.sock = reach(host, port, until)
        try:
            sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
            sock.deadline = until
            sock.arm("the proxy")
            if proxy[0]:
                open_tunnel(sock, endpoint.address, proxy[2])
            if endpoint.scheme == "https":
                sock.settimeout(max(until - time.monotonic(), 0.001))
                connection.sock = self._tls_context().wrap_socket(sock, server_hostname=endpoint.host.encode("ascii"))
        except BaseException:
            connection.close()
            raise
        return connection

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            import ssl

            try:
                context = ssl.create_default_context()  # verifies, honours SSL_CERT_FILE; there is no switch for less
                context.minimum_version = ssl.TLSVersion.TLSv1_2
                context.sslsocket_class = socket_classes()[1]
                if self._ca_file:
                    context.load_verify_locations(self._ca_file)
            except (OSError, ValueError, TypeError) as error:
                raise UsageError(f"the CA file (ca_file) cannot be used: {error}") from None
            self._tls = context
        return self._tls

    def close(self) -> None:
        """Close idle connections; the transport can be used again."""
        while self.idle:
            for connection in self.idle.popitem()[1]:
                connection.close()

    __del__ = close  # a client that was dropped leaves no connection open


# ------------------------------------------------------------------------------------------------------------- client


def check_inside(path: Any, real: str, allow_paths: Sequence[str]) -> None:
    """SafetyError unless a path, resolved as `real`, lies in the working directory or one of allow_paths."""
    roots = tuple(os.path.join(os.path.realpath(root), "") for root in (os.getcwd(), *allow_paths))
    if not os.path.join(real, "").startswith(roots):
        raise SafetyError(f"{path} is outside the working directory", next_step="Allow its directory with --allow-path.")


def read_upload(path: Any, limit: int, allow_paths: Sequence[str] = (), anywhere: bool = False) -> bytes:
    """A regular file's bytes, at most limit, from inside the working directory or allow_paths (links resolved).

    SafetyError for a file elsewhere, a pipe, a device, or too many bytes; UsageError for one that cannot be read.
    """
    name = os.fspath(path)
    try:
        real = os.path.realpath(path)
        if not anywhere:
            check_inside(name, real, allow_paths)
        if not stat.S_ISREG(os.stat(real).st_mode):  # before open(): opening a named pipe would wait for its writer
            raise SafetyError(f"{name} is {'a directory, not a' if os.path.isdir(real) else 'not a regular'} file")
        with open(real, "rb") as file:
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:  # a name may contain characters that no file name can have
        step = f"Check the path; a relative one starts in {os.getcwd()}."
        raise UsageError(f"cannot read {name}: {getattr(error, 'strerror', None) or error}", next_step=step) from None
    if len(data) > limit:
        raise SafetyError(f"{name} is over the limit of {limit} bytes")
    return data


def own_file(named: str, variable: str, folder: str, name: str, windows: str = "LOCALAPPDATA") -> str:
    """The file that a setting names, else ours in one of the user's directories: an XDG variable's or ~/folder."""
    home = os.getenv(windows if os.name == "nt" else variable) or ""
    home = home if os.path.isabs(home) else os.path.expanduser(f"~/{folder}")
    return os.path.expanduser(named) if named else os.path.join(home, "llm-router", name)


def config_file() -> str:
    """The user's file of tiers, tasks and prices; "" if there is none. Never in the working directory."""
    named = setting("LLM_ROUTER_CONFIG")
    path = own_file(named, "XDG_CONFIG_HOME", ".config", "config.json", "APPDATA")
    return path if named or (os.path.isabs(path) and os.path.exists(path)) else ""


def extra(module: str, needed_by: str = "") -> Any:
    """extra("cache", "--cache"): the module llm_router_extras.cache, imported at its first use.

    If the folder is not beside this file: a UsageError that names what needs it, or None without needed_by.
    """
    from importlib import import_module

    here = os.path.dirname(os.path.realpath(__file__))
    if here not in sys.path:
        sys.path.append(here)  # which python3 -I leaves out
    sys.modules.setdefault("llm_router_client", sys.modules[__name__])  # else they would load this file, and its classes, twice
    try:
        return import_module(f"llm_router_extras.{module}")
    except ModuleNotFoundError as error:
        if not str(error.name).startswith("llm_router_extras"):
            raise
    if not needed_by:
        return None
    step = f"Copy the folder scripts/llm_router_extras, with its {module}.py, beside this file."
    raise UsageError(f"{needed_by} needs the folder llm_router_extras beside {os.path.basename(__file__)}", next_step=step)


def usual_model() -> str:
    """The model where none is named: LLM_ROUTER_MODEL, else one that llm_router_extras chooses, else DEFAULT_MODEL."""
    return setting("LLM_ROUTER_MODEL") or (AUTO if extra("routing") else DEFAULT_MODEL)


def __getattr__(name: str) -> Any:
    """`from llm_router_client import Conversation`: its module is loaded with the first use."""
    if name == "Conversation":
        return extra("conversation", name).Conversation
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def image_part(source: ImageSource, detail: str | None = None, allow_paths: Sequence[str] = ()) -> tuple[JSON, str]:
    """An image as a part of a message's content, and what of it will be uploaded ("" for a URL).

    A str is an http(s) URL (passed on, never fetched), a data URL (judged by its bytes), or a path inside the working
    directory or allow_paths; bytes, and a pathlib.Path to anywhere, are the programmer's own choice.
    """
    scheme, colon, rest = source.partition(":") if isinstance(source, str) else ("", "", "")
    scheme, name, data = scheme.lower(), "the image", source if isinstance(source, bytes) else None
    remote = scheme in ("http", "https")
    if scheme == "data":
        try:
            head, _, packed = rest.partition(",")
            if head[-7:].lower() != ";base64" or not packed.strip() or re.search(r"(?a)[^\w+/\s]|_", packed.rstrip("=\r\n")):
                raise ValueError  # a2b_base64() would pass over other characters
            data = binascii.a2b_base64(packed)
        except ValueError:
            raise UsageError("the data URL is not base64", next_step="Encode the image, or name its file.") from None
    elif colon and scheme.isalpha() and len(scheme) > 1 and not remote:
        raise SafetyError(f"images come from https and data URLs or from files, not from {scheme}:")
    elif isinstance(source, (str, os.PathLike)) and not remote and os.fspath(source):
        data = read_upload(source, MAX_IMAGE_BYTES, allow_paths, anywhere=not isinstance(source, str))
        name = os.path.basename(os.fspath(source))
    if data is None and not remote:
        raise UsageError("an image is a URL, a path, or bytes")
    url = source if data is None else data_url(data, name)
    note = "" if data is None else f"{name} ({image_type(data)}, {len(data)} bytes)"
    return {"type": "image_url", "image_url": {"url": url, **({"detail": detail} if detail else {})}}, note


def bounded(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces of a body; BadUpstreamError beyond MAX_BODY_BYTES."""
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > MAX_BODY_BYTES:
            raise BadUpstreamError(f"the answer is longer than {MAX_BODY_BYTES} bytes")
        yield piece


def read_all(pieces: Iterator[bytes], start: bytes = b"") -> bytes:
    return start + b"".join(bounded(pieces))


def first_piece(pieces: Iterator[bytes]) -> bytes:
    """The start of a body, until its kind is known: white space may keep the connection open while the model thinks."""
    piece, more = b"", b" "
    while more and not piece.strip(BLANK):
        more = next(pieces, b"")
        piece = piece.lstrip() + more  # white space vanishes, a byte order mark remains
        if len(piece) > MAX_BODY_BYTES and not piece.strip(BLANK):
            raise BadUpstreamError(f"the answer begins with more than {MAX_BODY_BYTES} bytes of byte order marks")
    return piece


def events_of(event: Event, reader: Reader) -> Turns:
    """What a server-sent event adds to the answer; an error event is raised."""
    if event.event == "error":
        raise inner_error(event.data)
    value = parse_json(event.data) if event.data.strip() else None
    return [] if value in (None, []) else reader.take(value)  # those are signs of life


class Attempt:
    """One request of a Call to one model, as the collaborators see it.

    original_body is the call's for this model, body what is sent (a collaborator may have changed it), token its
    Idempotency-Key; opened(response) may wrap what came. kept: the response is a collaborator's. again: try again at once.
    """

    def __init__(self, call: Call, model: str, token: str) -> None:
        self.call, self.model, self.token = call, model, token
        self.original_body = self.body = {**call.body, "model": model} if "model" in call.body else call.body
        self.reader, self.path = Reader(call.gemini), call.path
        if call.gemini:  # check_model() allows these, but a path needs them escaped
            self.path = call.path.replace("{model}", re.sub("[:@+/]", lambda found: f"%{ord(found[0]):02X}", model))
        self.response: Any = None
        self.opened: Callable[[Any], Any] = lambda response: response
        self.answer: Answer | None = None
        self.error: LLMRouterError | None = None
        self.ended = self.kept = self.again = False  # ended: [DONE] came
        self.began = call.now()
        self.record: JSON = {"model": model, "cause": "ok", "status": 200, "seconds": 0.0, "maybe_billed": True}

    def failed(self, error: LLMRouterError) -> None:
        """Record an error; it gets the call's fields, and loses a key that the server echoed."""
        call, self.error, self.answer = self.call, error, None
        if call.handed_over:
            error.retryable = False
        elif error.code == "timeout" and error.maybe_billed:
            error.retryable = call.client.retry_timeouts
        elif error.code == "stream_cut":
            error.retryable = error.retryable or call.stream
        self.record.update(cause=error.code, status=error.status)
        if not call.handed_over:
            self.record.update(maybe_billed=error.maybe_billed, seconds=round(call.now() - self.began, 3))
        error.message = call.client.hide(error.message)
        error.args = (error.message,)
        error.model, error.attempts, error.warnings, error.route = self.model, call.attempts, call.warnings, call.route
        if self.reader.choices:
            self.answer = error.response = call.dressed(Answer(self.reader, self.model, complete=False))


class Call:
    """One logical call: models in order, one deadline, retries, and the record of every attempt.

    Iterate for pieces of text, or over events(): {"type": "text" | "reasoning", "text"}, {"type": "tool_call", "index",
    "id", "name", "arguments"} (a fragment), {"type": "finish", "reason"}, {"type": "usage", "usage"}. At the end .response
    is the whole Answer; after an error, error.response holds what had come. The request is sent with the first step;
    close(), or leaving a `with` block, disconnects.

    Events pass five generators: _run (the call) <- _models (fallback) <- _attempts (retries) <- _response (nothing is handed
    over before the first output) <- _events (of the bytes). Collaborators of llm_router_extras see each attempt.
    """

    def __init__(
        self, client: LLMRouterClient, models: Sequence[str], body: JSON, path: str,
        *, deadline_s: float | None, stream: bool = False, gemini: bool = False, added: Sequence[str] = (), choice: Any = None,
    ) -> None:  # fmt: skip
        check("a number of seconds", (int, float), lambda seconds: seconds < 1e7, deadline_s=deadline_s)  # it may be over
        cache_ttl_s = body.pop("cache_ttl_s", client.cache_ttl_s)
        self._encoded = body, encode_body(body)  # what cannot be sent is refused before anything is
        self.client, self.models, self.body, self.path = client, list(dict.fromkeys(models)), body, path
        self.stream, self.gemini, self.added = stream, gemini, added
        self.choice: JSON | None = choice  # task and prefer, where a model is still to be chosen
        self.route: JSON | None = None  # which was, and why
        self.attempts: Turns = []
        self.warnings: list[str] = []
        self.first_s: float | None = None
        self.model_used = self.models[0]
        self.response: Answer | None = None
        self.last: Answer | None = None  # what there is of the answer, also after an error
        self.handed_over = False  # output has gone to the caller: no retry from now on
        self.outcome = "interrupted"
        self.mended = False  # the body lost a field that the endpoint refused
        self._costs: list[float] = []  # of the attempts, as far as they are known
        self.now: Callable[[], float] = client.transport.monotonic
        self.started = self.now()
        self.deadline = self.started + (client.deadline_s if deadline_s is None else deadline_s)
        self.collaborators: list[Any] = client.collaborators(self, cache_ttl_s) if body else []
        self._source: Any = self._run()

    def answer(self) -> Answer:
        """Send, and wait for the whole answer."""
        for _ in self._source:
            pass
        return self.response  # type: ignore[return-value]  # _run() ends with one, or raises

    def events(self) -> Iterator[JSON]:
        return iter(lambda: next(self._source, None), None)

    def __iter__(self) -> Call:
        return self

    __enter__ = __iter__

    def __next__(self) -> str:
        return str(next(event["text"] for event in self._source if event["type"] == "text"))

    def close(self, *_: object) -> None:
        self._source.close()

    __exit__ = close

    def left_s(self) -> float:
        return self.deadline - self.now()

    def seconds(self) -> float:
        return round(self.now() - self.started, 3)

    def dressed(self, answer: Answer) -> Answer:
        """The answer with what only the call knows."""
        answer.model_requested, answer.first_s = AUTO if self.route else self.models[0], self.first_s
        answer.route, answer.attempts, answer.warnings = self.route, self.attempts, self.warnings
        answer.latency_s = self.seconds()
        return answer

    def _run(self) -> Iterator[JSON]:
        """The call's events; the collaborators see its end, whatever it is."""
        try:
            yield from self._models()
            self.outcome, self.response = "ok", self.last
        except LLMRouterError as error:
            self.outcome, self.last = error.code, error.response
            raise
        finally:
            if self.outcome == "interrupted":
                self.last = None
            if self.last and len(self._costs) > 1 and is_amount(self.last.cost):
                self.last.cost = sum(self._costs)  # an answer that did not fit its schema was paid for, too
            for each in self.collaborators:
                each.done(self)

    def _models(self) -> Iterator[JSON]:
        """One model after the other, until one answers or the caller has output of one."""
        if self.choice is not None:
            route = self.client.route(**{**self.body, **self.choice}, deadline_s=self.left_s())
            self.route, self.models = route, [route["model"], *(self.models[1:] or route["fallback"])]
        for model, following in zip(self.models, [*self.models[1:], ""]):
            self.model_used = model
            try:
                yield from self._attempts(model)
                return
            except LLMRouterError as error:
                if not following or self.handed_over or error.code not in FALLBACK_CODES or self.left_s() <= 0.0:
                    raise
                self.warnings.append(f"{model} failed ({error.code}); tried {following} next")

    def _attempts(self, model: str) -> Iterator[JSON]:
        """The same model again where its error allows it: after a wait, or at once with another body."""
        transport, retries, token = self.client.transport, 0, self.client.transport.token()
        while True:
            attempt = Attempt(self, model, token)
            try:
                yield from self._response(attempt)
                return
            except LLMRouterError as error:
                attempt.failed(error)
                self._after(attempt)
                error = attempt.error or error
                if self.handed_over:
                    raise
                mending = None if self.mended or error.code != "bad_request" else extra("mending")
                if attempt.again or (mending and mending.mend(self, error)):
                    token = transport.token()  # another body is another request
                    continue
                wait = retry_wait_s(error, retries, self.client.max_retries, self.left_s(), transport.rng())
                if wait is None:
                    raise error from None
                retries += 1
                transport.sleep(wait)

    def _after(self, attempt: Attempt) -> None:
        for each in self.collaborators:
            each.after(attempt)
        if attempt.answer is not None and not attempt.kept and is_amount(attempt.answer.cost):
            self._costs.append(float(attempt.answer.cost))

    def _response(self, attempt: Attempt) -> Iterator[JSON]:
        """The events of one attempt: a stream's from its first output on, any other's once they are a whole answer."""
        for each in self.collaborators:
            if attempt.response is None:
                each.before(attempt)
        if attempt.response is None:
            self.attempts.append(attempt.record)
            body, data = self._encoded
            data = data if attempt.body == body else encode_body(attempt.body)
            response = self.client.send("POST", attempt.path, data, self.deadline, stream=self.stream, token=attempt.token)
            attempt.response = attempt.opened(response)
        held: Turns = []
        events: Any = self._events(attempt)
        try:
            for event in events:
                held.append(event)
                if self.stream and event["type"] in ("text", "reasoning", "tool_call"):
                    self.first_s = self.seconds()
                    if not attempt.kept:
                        break
            else:
                self._whole(attempt)
            self.handed_over = True
            attempt.record["seconds"] = round(self.now() - attempt.began, 3)
            yield from held
            yield from events
            if attempt.answer is None:
                self._whole(attempt)
        finally:
            events.close()

    def _whole(self, attempt: Attempt) -> None:
        """The end of an attempt's events: its answer, once the collaborators accept it."""
        reader = attempt.reader
        if reader.kept_chars > MAX_KEPT_CHARS:
            self.warnings.append(f".response keeps {MAX_KEPT_CHARS} characters of a text that was handed over whole")
        judge(reader, attempt.ended or self.client.lenient_end)
        self.last = attempt.answer = self.dressed(Answer(reader, attempt.model))
        self._after(attempt)
        if reader.broken_calls():
            self.warnings.append("the arguments of a tool call are not a JSON object")
        unmet = extra("unmet") if PRESCRIBING & attempt.body.keys() else None
        self.warnings += unmet.warnings(attempt.body, reader) if unmet else []
        naming = None if attempt.model.lower() in self.last.model.lower() else extra("naming")
        if naming:
            naming.check(attempt, self.last)

    def _events(self, attempt: Attempt) -> Iterator[JSON]:
        """The events of one response, a stream or JSON: the content decides which. Closing it disconnects."""
        response, reader, parser, seen = attempt.response, attempt.reader, SSEParser(), False
        try:
            pieces = response.pieces() if attempt.call.stream else bounded(response.pieces())  # all their events are kept
            piece = first_piece(pieces)
            more = piece.lstrip(BLANK)[:1] not in (b"{", b"[", b"<", b"")
            if not more:
                response.arm("the rest of the answer", self.client.progress_s)
                reader.raw = read_all(pieces, piece)
                yield from reader.take(parse_answer(reader.raw))
            while more:
                arrived = parser.feed(piece) if piece else parser.close()
                seen = seen or bool(arrived)
                for event in arrived:
                    attempt.ended = event.data.startswith("[DONE]")
                    if attempt.ended:
                        break
                    yield from events_of(event, reader)
                if attempt.ended:
                    response.arm("the end of the stream", 0.1)  # usually there already
                    read_all(pieces)  # so that the connection can be used again
                elif not piece and parser.cut:
                    raise IncompleteError("the stream ended in the middle of an event")
                elif not (piece or seen):
                    raise BadUpstreamError("the answer is neither JSON nor a stream of events")
                elif arrived:  # only now: the time that the caller spends on an event is not the server's
                    response.arm("the next event", FINISH_GRACE_S if reader.is_finished() else self.client.progress_s)
                more = bool(piece) and not attempt.ended
                piece = next(pieces, b"") if more else b""
        except (IncompleteError, RequestTimeout, NetworkError) as error:
            if not (attempt.ended or reader.is_finished()):  # otherwise only the optional rest (usage, [DONE]) can be missing
                lost = isinstance(error, NetworkError)
                raise IncompleteError(f"{error.message}, in the middle of the answer") if lost else error from None
        except ValueError as error:
            raise BadUpstreamError(f"a stream event is unreadable: {one_line(error, 80)}") from None
        finally:
            response.close()
        yield from [{"type": "usage", "usage": reader.usage}] if reader.usage else ()


class ListCall(Call):
    """The GET of the endpoint's list of models, with the deadline and retries of a call; .listed is its JSON."""

    def _response(self, attempt: Attempt) -> Iterator[JSON]:
        self.attempts.append(attempt.record)
        response = self.client.send("GET", attempt.path, b"", self.deadline)
        try:
            response.arm("the rest of the list", self.client.progress_s)
            self.listed: Any = parse_answer(read_all(response.pieces()))
        finally:
            response.close()
        yield from ()


class ModelList(list):  # type: ignore[type-arg]
    """Models as [{"id", "family", and what the server says}]; source "live", or "builtin" with the reason why."""

    def __init__(self, models: Any, source: str = "live", reason: str = "") -> None:
        super().__init__({**item, "family": family_of(item["id"])} for item in models if isinstance(item.get("id"), str))
        self.source, self.reason = source, reason


def builtin_models(reason: str) -> ModelList:
    return ModelList(({"id": name} for name in BUILTIN_MODELS), "builtin", reason)


def at_once(work: Callable[[Any], Any], items: Sequence[Any], most: int) -> list[Any]:
    """[work(item) for item in items], so many at a time. In daemon threads, which unlike a pool's do not hold up Ctrl-C."""
    import threading

    results: list[Any] = [None] * len(items)
    waiting = iter(enumerate(items))  # one thread after the other takes the next

    def step_on() -> None:
        for number, item in waiting:
            results[number] = work(item)

    threads = [threading.Thread(target=step_on, daemon=True) for _ in items[: max(1, most)]]
    for step in (threading.Thread.start, threading.Thread.join):
        for thread in threads:
            step(thread)
    return results


class LLMRouterClient:
    """Ask models through one OpenAI-compatible endpoint. Usable as a context manager and from several threads.

    api_key      else AISA_API_KEY, else ~/.aisa/credentials; another base_url: LLM_ROUTER_API_KEY (see choose_key)
    base_url     else LLM_ROUTER_BASE_URL, else AIsa's; it ends before /chat/completions
    timeout_s    first_event_timeout_s and progress_timeout_s in one
    deadline_s   600, one call with all its attempts; connect_timeout_s 10; progress_timeout_s 60 between data events;
                 first_event_timeout_s 120 for streams (a plain answer comes whole: bounded only where this is given)
    max_retries  2 more requests for each model; retry_timeouts also after a read timeout, which may bill twice
    lenient_end  accept a stream that ends without an end mark
    allow_paths  directories, besides the working one, from which a str path may be uploaded
    cache_ttl_s  keep whole answers and reuse them up to this age; each call takes it, too
    max_cost_usd for all calls together; the configuration must have the price of each model
    usage_log    record each call without its text; None: as LLM_ROUTER_USAGE_LOG says. session: a name for it there

    Every failure is raised as an LLMRouterError. The key is looked up at the first call.
    """

    def __init__(
        self, api_key: str | None = None, base_url: str | None = None, *,  # pragma: allowlist secret (a type)
        timeout_s: float | None = None, deadline_s: float | None = None, connect_timeout_s: float | None = None,
        max_retries: int | None = None, first_event_timeout_s: float | None = None, progress_timeout_s: float | None = None,
        retry_timeouts: bool = False, lenient_end: bool = False, headers: dict[str, str] | None = None,
        ca_file: str | None = None, allow_paths: Sequence[str] | None = None, cache_ttl_s: float | None = None,
        max_cost_usd: float | None = None, usage_log: bool | None = None, session: str | None = None,
        transport: Transport | None = None,
    ) -> None:  # fmt: skip
        check(*SECONDS, **{"--timeout (deadline_s)": deadline_s, "--connect-timeout (connect_timeout_s)": connect_timeout_s,
                           "--progress-timeout (progress_timeout_s)": progress_timeout_s, "timeout_s": timeout_s,
                           "--first-event-timeout (first_event_timeout_s)": first_event_timeout_s})  # fmt: skip
        check("a whole number from 0 to 10", int, lambda most: 0 <= most <= 10, **{"--retries (max_retries)": max_retries})
        check("a text", str, api_key=api_key, base_url=base_url, session=session)
        check("a dict of names and values", Mapping, headers=headers)
        self.endpoint = Endpoint(base_url or setting("LLM_ROUTER_BASE_URL") or DEFAULT_BASE_URL)
        self.base_url = self.endpoint.url
        self.deadline_s, self.max_retries = deadline_s or DEADLINE_S, MAX_RETRIES if max_retries is None else max_retries
        self.connect_s, self.first_s = connect_timeout_s or CONNECT_TIMEOUT_S, first_event_timeout_s or timeout_s
        self.progress_s = progress_timeout_s or timeout_s or PROGRESS_TIMEOUT_S
        self.retry_timeouts, self.lenient_end, self.allow_paths = retry_timeouts, lenient_end, path_list(allow_paths)
        self.headers, self.transport = check_headers(headers or {}), transport or Transport(ca_file)
        self._given = Secret(api_key, "the api_key argument") if api_key and api_key.strip() else None
        self._key: tuple[Secret | None, ...] = ()
        self.cache_ttl_s, self.session = cache_ttl_s, session or setting("LLM_ROUTER_SESSION")
        self.router: Any = None  # of llm_router_extras.routing, once a model is to be chosen
        self.prices: JSON | None = None  # of the user's configuration, once it was read
        self.budget = None if max_cost_usd is None else extra("usage", "--max-cost (max_cost_usd)").Budget(max_cost_usd)
        logged = setting("LLM_ROUTER_USAGE_LOG") not in ("", "0") if usage_log is None else usage_log
        self.usage_path = extra("usage", "--usage-log (LLM_ROUTER_USAGE_LOG)").usage_file() if logged else ""

    def __enter__(self) -> LLMRouterClient:
        return self

    def close(self, *_: object) -> None:
        """Close the idle connections; the client can be used again."""
        self.transport.close()

    __exit__ = close

    def chat(
        self, model: str | None = None, messages: Sequence[JSON] = (), *, fallback: Names = None, stream: bool = False,
        deadline_s: float | None = None, **body: Any,
    ) -> Any:  # fmt: skip
        """Send and wait: messages [{"role", "content"}] -> Answer, the API's JSON with attributes; stream=True -> Call.

        `fallback` names the models to try next if this one is limited, failing, unknown, out of credit, filtered or empty.
        Without a model it is LLM_ROUTER_MODEL, else "auto": see route() for this, `task` and `prefer`. If response_format
        has a schema, the answer is checked, corrected once, and parsed as .data; a second misfit is a BadUpstreamError.
        The other arguments go into the request's body: those in PARAMETERS if they are not None, any other as it is.
        """
        body = {name: value for name, value in body.items() if value is not None or name not in PARAMETERS}
        call = self._chat_call(model, messages, body, fallback, stream, deadline_s)
        return call if stream else call.answer()

    def chat_stream(self, model: str | None = None, messages: Sequence[JSON] = (), **parameters: Any) -> Call:
        """As chat(), the answer's text in pieces as it comes."""
        return self.chat(model, messages, **{**parameters, "stream": True})  # type: ignore[no-any-return]

    def fallback(self, models: Names, messages: Sequence[JSON], **parameters: Any) -> Any:
        """As chat(): the first of the models, then the others in turn if it cannot answer."""
        first, *rest = model_names(models) or [""]
        return self.chat(first, messages, **{**parameters, "fallback": rest})

    def vision(
        self, model: str, image_url: ImageSource | list[ImageSource], prompt: str = "Describe this image.",
        *, detail: str | None = None, system: str | None = None, **parameters: Any,
    ) -> Any:  # fmt: skip
        """Ask about one image or several: URL, data URL, path or bytes each (see image_part); the rest as chat()."""
        check("a text", str, prompt=prompt, detail=detail)
        sources = image_url or [""] if isinstance(image_url, list) else [image_url]
        content = [{"type": "text", "text": prompt}, *(image_part(source, detail, self.allow_paths)[0] for source in sources)]
        return self.chat(model, with_system(system, {"role": "user", "content": content}), **parameters)

    def compare_models(
        self, models: Names, message: str | Turns, *, system: str | None = None, max_workers: int = 8,
        stream: bool = False, **parameters: Any,
    ) -> dict[str, JSON]:  # fmt: skip
        """Ask all models at once -> {model: result} in the given order; a failure is a result, too.

        result: {"model_used", "success", "response" (text; "" where none came), "latency" (s), "ttft" (s; None unless
        stream=True), "tokens", "cost" (USD or None), "cost_source", "cached", "finish_reason", "warnings", "error" (None,
        or as to_dict() of one)}
        """
        check("a whole number from 1", int, lambda most: most > 0, max_workers=max_workers)
        names = model_names(models)
        if not names or len(set(names)) < len(names):
            raise UsageError("name the models to compare, each once")
        turns = [{"role": "user", "content": message}] if isinstance(message, str) and message.strip() else message
        messages = with_system(system, *check_messages(turns, "message must be a text, or"))
        parameters["stream"] = stream
        self.chat(names[0], messages, **{**parameters, "stream": True})  # not sent; what is wrong with all is raised here
        return dict(zip(names, at_once(lambda name: self._compared(name, messages, parameters), names, max_workers or 8)))

    def _compared(self, model: str, messages: Turns, parameters: JSON) -> JSON:
        began, error = self.transport.monotonic(), None
        try:
            answer = self.chat(model, messages, **parameters)
            answer = answer.answer() if parameters["stream"] else answer
        except LLMRouterError as failure:
            error, answer = failure.to_dict(), failure.response or Answer(Reader(), model)
        return {
            "model_used": answer.model_used, "success": error is None, "response": answer.text,
            "latency": round(self.transport.monotonic() - began, 3), "ttft": answer.first_s,
            **attributes(answer, "tokens", "cost", "cost_source", "cached"),
            "finish_reason": answer.finish_reason or None, "warnings": answer.warnings, "error": error,
        }  # fmt: skip

    def list_models(self, *, offline: bool = False, deadline_s: float | None = None) -> ModelList:
        """The endpoint's models, live; for the default endpoint a short built-in list, marked, where live fails."""
        if offline:
            return builtin_models("asked for offline")
        call = ListCall(self, [""], {}, f"{self.endpoint.path}/models", deadline_s=deadline_s)
        try:
            call.answer()
        except LLMRouterError as error:
            error.next_step = re.sub("; `models[^.]*", "", error.next_step)  # that is what failed
            if self.endpoint.host != DEFAULT_HOST or error.code in ("key_refused", "key_malformed", "refused_locally"):
                raise
            return builtin_models(error.message)
        body = as_dict(call.listed)
        listed = call.listed if isinstance(call.listed, list) else body.get("data", body.get("models"))
        if not isinstance(listed, list):
            raise BadUpstreamError("the answer contains no list of models")
        return ModelList(dicts(listed))

    def generate_content(
        self, model: str, contents: str | Sequence[JSON], *, generation_config: JSON | None = None, stream: bool = False,
        api_version: str = "v1beta", fallback: Names = None, deadline_s: float | None = None, **body: Any,
    ) -> Any:  # fmt: skip
        """Gemini's native format: contents [{"role", "parts"}], or a text -> Answer of Gemini's JSON; stream=True -> Call.

        POST {base_url without /v1}/{api_version}/models/{model}:generateContent; api_version "v1" is the older path.
        """
        text = contents if isinstance(contents, str) else ""
        turns = [{"role": "user", "parts": [{"text": text}]}] if text.strip() else contents
        if not isinstance(turns, (list, tuple)) or not turns or dicts(list(turns)) != list(turns):
            raise UsageError('contents must be a text, or a list like [{"role": "user", "parts": [...]}], not empty')
        if api_version not in ("v1beta", "v1"):
            raise UsageError("api_version must be v1beta or v1")
        request = {"contents": turns, **({"generationConfig": generation_config} if generation_config else {}), **body}
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        path = f"{self.endpoint.path.removesuffix('/v1')}/{api_version}/models/{{model}}:{method}"
        models = [check_model(model), *model_names(fallback, "fallback")]
        call = Call(self, models, request, path, deadline_s=deadline_s, stream=stream, gemini=True)
        return call if stream else call.answer()

    def route(self, messages: Sequence[JSON], **options: Any) -> JSON:
        """Which model chat("auto", ...) would choose, and why, without a call. See llm_router_extras.routing.Router.route()."""
        self.router = self.router or extra("routing", "route()").Router(self)
        return self.router.route(messages, **options)  # type: ignore[no-any-return]

    def run_tools(
        self, model: str | None, messages: Sequence[JSON], tools: Sequence[Callable[..., Any]], **options: Any
    ) -> Answer:
        """As chat(), with Python functions that the model may call, until it answers: see llm_router_extras.tools."""
        return extra("tools", "run_tools()").run_tools(self, model, messages, tools, **options)  # type: ignore[no-any-return]

    def preview(self, model: str | None = None, messages: Sequence[JSON] = (), *, stream: bool = False, **body: Any) -> JSON:
        """What chat(), or without messages list_models(), would send: {"method", "url", "headers", "body"}, the key masked."""
        call = self._chat_call(model or None, messages, body, None, stream, None) if model or messages else None
        if call and call.choice is not None:
            call.body["model"] = self.route(**{**call.body, **call.choice}, offline=True)["model"]
        try:
            key = self.key()
        except AuthenticationError:
            key = None
        headers = self._head(stream, "(random)" if call else "")
        headers["Authorization"] = f"Bearer {key!r}" if key else "(no key set)"
        method, path, sent = ("POST", "chat/completions", call.body) if call else ("GET", "models", None)
        return {"method": method, "url": f"{self.base_url}/{path}", "headers": headers, "body": sent}

    def key(self) -> Secret | None:
        """The key for this endpoint, looked up once: argument, environment, credentials file; None where none is needed."""
        if not self._key:
            in_file = ""
            if self.endpoint.host == DEFAULT_HOST and not self._given and not setting("AISA_API_KEY"):
                try:
                    with open(os.path.expanduser(CREDENTIALS_FILE), "rb") as file:
                        in_file = key_in_file(file.read(MAX_HEAD_BYTES))
                except FileNotFoundError:
                    pass
                except OSError as error:
                    message = f"{CREDENTIALS_FILE} cannot be read: {error.strerror}"
                    raise AuthenticationError(message, code="missing_key") from None
            self._key = (self._given or choose_key(self.endpoint, {name: setting(name) for name in SETTINGS}, in_file),)
        return self._key[0]

    def hide(self, text: str) -> str:
        """The text without the key."""
        return self._key[0].hide(text) if self._key and self._key[0] else text

    def collaborators(self, call: Call, cache_ttl_s: float | None) -> list[Any]:
        """What llm_router_extras adds to a call, as far as it was requested."""
        schema = schema_of(call.body)
        if schema is None and cache_ttl_s is None and not self.budget and not self.usage_path and not config_file():
            return []
        extras = extra("collaborators", "" if cache_ttl_s is None else "--cache (cache_ttl_s)")
        if schema is not None and not extras:
            call.warnings.append("the answer is not checked against its schema: the folder llm_router_extras is not there")
        return extras.collaborators(call, cache_ttl_s) if extras else []

    def send(self, method: str, path: str, body: bytes, deadline: float, *, stream: bool = False, token: str = "") -> Any:
        """A 2xx response; every other status is raised."""
        key, headers = self.key(), self._head(stream, token)
        headers.update({"Authorization": f"Bearer {key.value}"} if key else {})
        first_s = FIRST_EVENT_TIMEOUT_S if stream and self.first_s is None else self.first_s
        response: Response = self.transport.send(
            method, self.endpoint, path, headers, body, connect_s=self.connect_s, first_s=first_s, deadline=deadline
        )
        if 200 <= response.status < 300:
            return response
        response.arm("the error's text", self.connect_s)
        text = b""
        try:
            text = read_all(response.pieces())
        except LLMRouterError:
            pass  # the status says enough
        finally:
            response.close()
        error = response_error(response.status, response.headers, text, self.transport.unix())
        if response.status == 404 and b"model" not in text.lower() and not re.search(r"/v\d", self.endpoint.path):
            error.next_step = f"Did you mean the base URL {self.base_url}/v1? {error.next_step}"
        raise error

    def _head(self, stream: bool, token: str) -> dict[str, str]:
        head = {"Accept": "text/event-stream" if stream else "application/json", "User-Agent": f"llm-router/{VERSION}"}
        head["Accept-Encoding"] = "identity" if stream else "gzip, deflate"  # compressing holds a stream's pieces back
        head.update({"Content-Type": "application/json", "Idempotency-Key": token} if token else {})
        return {**head, **self.headers}

    def _chat_call(self, model: Any, messages: Any, body: JSON, fallback: Names, stream: bool, deadline_s: Any) -> Call:
        choice = {name: body.pop(name) for name in ("task", "prefer") if name in body}
        named, model = model, check_model(model if model is not None else AUTO if choice else usual_model())
        if choice and model != AUTO:
            raise UsageError("task and prefer choose a model", next_step=f'Name no model, or "{AUTO}".')
        if model == AUTO:
            extra("routing", "--task or --prefer" if choice else f"the model {AUTO}")
        request = {"model": model, "messages": check_messages(messages), "stream": bool(stream), **body}
        added = ("stream_options",) if stream and "stream_options" not in body else ()
        request.update({"stream_options": {"include_usage": True}} if added else {})
        call = Call(
            self, [model, *model_names(fallback, "fallback")], request, f"{self.endpoint.path}/chat/completions",
            deadline_s=deadline_s, stream=stream, added=added, choice=choice if model == AUTO else None,
        )  # fmt: skip
        if named is None and model == DEFAULT_MODEL != setting("LLM_ROUTER_MODEL"):
            call.warnings.append(f"no model was named, so {model} was used; name another with --model or LLM_ROUTER_MODEL")
        return call


# ------------------------------------------------------------------------------------------------------- command line

HELP_WIDTH = 110
ODD = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"  # controls and bidi overrides
WORD: JSON = {"metavar": "NAME"}
FILE: JSON = {"metavar": "FILE"}
NUMBER: JSON = {"metavar": "X", "type": float}
WHOLE: JSON = {"metavar": "N", "type": int}
SWITCH: JSON = {"action": "store_true"}
REPEATED: JSON = {"action": "append"}


class Once(argparse.Action):
    """An option that may be given once: a second value would replace the first."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: str | None = None) -> None:
        if getattr(namespace, self.dest) is not None:
            raise UsageError(f"{option_string} would replace what was given before", next_step="Give it once, in quotes.")
        setattr(namespace, self.dest, values)


# Section of --help -> flags -> what argparse makes of them. An option means the same in every command that has it.
OPTIONS: dict[str, dict[str, JSON]] = {
    "images": {
        "-i --image": {"metavar": "URL", **REPEATED, "default": [], "help": "URL, data URL or file (repeatable)"},
        "-p --prompt": {"metavar": "TEXT", "action": Once, "dest": "message", "help": "the same as --message"},
        "--detail": {"metavar": "LEVEL", "help": "of images: low, high or auto"},
    },
    "model": {
        "-m --model": {**WORD, "help": "model to ask; else LLM_ROUTER_MODEL, else one is chosen"},
        "--fallback": {"metavar": "A,B", "help": "models to try next if this one cannot answer"},
        "--task": {**WORD, "help": "choose a model for code, creative, fast, vision, chinese, reasoning"},
        "--prefer": {**WORD, "help": "choose a model by cost, speed or quality"},
    },
    "question": {
        "--message": {"metavar": "TEXT", "action": Once, "help": "what to ask; - reads standard input"},
        "--message-file": {**FILE, "action": Once, "help": "the same from a UTF-8 file"},
        "--messages": {"metavar": "JSON", "action": Once, "help": "the turns so far, a JSON list"},
        "--messages-file": {**FILE, "action": Once, "help": "the same from a file"},
        "--stdin": {**SWITCH, "help": "append what is piped in to the message"},
    },
    "context": {
        "-s --system": {"metavar": "TEXT", "action": Once, "help": "system prompt, before all turns"},
        "--body-file": {**FILE, "action": Once, "help": "JSON object of further fields; options win"},
        "--allow-path": {"metavar": "DIR", **REPEATED, "help": "also allow files in DIR (repeatable)"},
    },
    "API parameters": {
        "--max-tokens": WHOLE,
        **dict.fromkeys(("-t --temperature", "--top-p", "--frequency-penalty", "--presence-penalty"), NUMBER),
        "--functions": FILE,
        "--function-call": WORD,
        "--stop": {"metavar": "TEXT", **REPEATED, "help": "stop at TEXT (repeatable)"},
        "--tools": {**FILE, "help": "JSON list; calls are printed, never executed"},
        "--tool-choice": {**WORD, "help": "auto, none, required, a function, or JSON"},
        "--response-format": {**WORD, "help": "json, or a JSON object"},
        "--schema": {**FILE, "help": "JSON schema of the answer: checked, corrected once, else exit 9"},
    },
    "calls": {
        "--cache": {"metavar": "AGE", "help": "reuse an answer not older than 30m, 24h, 7d"},
        "--max-cost": {**NUMBER, "help": "USD, all attempts together; needs prices"},
        "--usage-log": {**SWITCH, "help": "record the call without its text; see `usage`"},
        "--session": {**WORD, "help": "name in the usage log, else LLM_ROUTER_SESSION"},
        "--lenient-end": {**SWITCH, "help": "accept a stream without an end mark"},
    },
    "list": {
        "--search": {"metavar": "TEXT", "help": "names with TEXT in them, or a family"},
        "--limit": {**WHOLE, "help": "at most N names (50); 0 shows all"},
        "--offline": {**SWITCH, "help": "the built-in list; no key, no network"},
    },
    "endpoint": {
        "--base-url": {"metavar": "URL", "help": "another OpenAI-compatible endpoint"},
        "--demo": {**SWITCH, "help": "use the mock server: no key, no network"},
        "--timeout": {**NUMBER, "help": "total, all attempts together (600 s)"},
        "--connect-timeout": {**NUMBER, "help": "to connect (10 s)"},
        "--first-event-timeout": {**NUMBER, "help": "until a stream's first event (120 s)"},
        "--progress-timeout": {**NUMBER, "help": "between events (60 s)"},
        "--retries": {**WHOLE, "help": "after the first request, per model (2)"},
        "--retry-timeouts": {**SWITCH, "help": "retry timeouts, too; may bill twice"},
        "--ca-file": {**FILE, "help": "trust these certificates, too"},
        "--header": {"metavar": "LINE", **REPEATED, "help": "'Name: value' (repeatable)"},
    },
    "output": {
        "--json": {**SWITCH, "help": "one JSON object, on failure too; streamed: one a line"},
        "--dry-run": {**SWITCH, "help": "print the request, key masked; send nothing"},
    },
    "answer": {
        "-v --verbose": {**SWITCH, "help": "time, tokens and cost on stderr"},
        "--stream": {**SWITCH, "help": "print the answer as it comes"},
        "--raw": {**SWITCH, "help": "the API's body, untouched"},
        "--output": {**FILE, "help": "write the text there; print path and size"},
        "--force": {**SWITCH, "help": "let --output replace a file"},
        "--strict": {**SWITCH, "help": "exit 10 where the token limit cut the answer"},
        "--append": {**SWITCH, "help": "add the turn to the --messages-file"},
        "--continue": {**SWITCH, "dest": "go_on", "help": "continue the saved conversation"},
        "--new": {**SWITCH, "help": "with --continue: start a new one"},
    },
    "comparison": {
        "--models": {"metavar": "A,B", "help": "at most 8, each once"},
        "--stream": {**SWITCH, "help": "measure the time to the first text, too"},
        "--markdown": {**SWITCH, "help": "a table"},
        "--require-all": {**SWITCH, "help": "fail if any model fails"},
    },
}
JSON_OPTIONS = ("body_file", "tools", "functions", "tool_choice", "function_call", "response_format", "schema")
DESTINATIONS = [flags.split()[-1][2:].replace("-", "_") for section in OPTIONS.values() for flags in section]


def near(word: str, known: Sequence[str]) -> str:
    """A hint for the next step: near("--mesage", ["--message", "--json"]) -> "Did you mean --message? ", "" for none."""
    import difflib

    found = difflib.get_close_matches(word, known, 1)
    return f"Did you mean {found[0]}? " if found else ""


class Parser(argparse.ArgumentParser):
    """The options of one command: long ones in full, values may begin with a dash. Errors are UsageErrors with a hint."""

    def __init__(self, prog: str, description: str = "", epilog: str = "") -> None:
        layout = functools.partial(argparse.RawDescriptionHelpFormatter, max_help_position=32, width=HELP_WIDTH)
        usage = f"{prog} [options]"
        super().__init__(prog, usage, description, epilog, formatter_class=layout, add_help=False, allow_abbrev=False)
        self.options = self._option_string_actions  # by flag, -m and --model alike
        self.words: dict[str, Any] = {}  # what the command takes without a dash, and the help for it
        self.free = ""  # the option whose value may also stand alone, without a dash
        self.command = prog.split()[-1]

    def take(self, *sections: str, but: Sequence[str] = ()) -> None:
        """Add these sections of OPTIONS, but for some of their flags."""
        for title in sections:
            group = self.add_argument_group(title)
            for flags, facts in OPTIONS[title].items():
                if flags not in but:
                    group.add_argument(*flags.split(), **facts)

    def unknown(self, word: str) -> UsageError:
        if word.startswith(("--api-key", "--key", "--token")):
            return UsageError("no option takes a key, since process lists would show it", next_step=ERRORS["missing_key"][1])
        choice = " or ".join(f"`{self.command} {each}`" for each in self.words)
        hint = near(word, list(self.options)) if word[:1] == "-" else choice and f"Write {choice}. "
        return UsageError(f"unknown argument {word[:60]!r}", next_step=f"{hint}See {self.command} --help.")

    def advice(self, step: str) -> str:
        """advice("Wait, or add --x.") -> "Wait.": no clause names an option that the command lacks, or the command itself."""
        known = "|".join(re.escape(flag) for flag in self.options)
        return re.sub(rf"(,? or add|;| with)[a-z ]*((?!({known})\b)--|`{self.command}\b)[^.,;:]*", "", step)

    def join_values(self, words: Sequence[str]) -> Iterator[str]:
        """Each value joined to its option, as argparse would take one that begins with a dash for an option of its own.

        join_values(["-m", "a", "--message", "-hi", "--json"]) -> "--model=a", "--message=-hi", "--json"
        """
        left = list(words[::-1])
        while left:
            word = left.pop()
            flag, equals, value = word.partition("=")
            if flag not in self.options and word[:2] in self.options and self.options[word[:2]].nargs != 0:
                flag, equals, value = word[:2], "=", word[2:]  # -mNAME
            option = self.options.get(flag)
            if option is None and word not in self.words and word[:1] != "-" and self.free:
                flag, equals, value = self.free, "=", word
                option = self.options[flag]
            if option is None and word not in self.words:
                raise self.unknown(flag)
            if option and option.nargs == 0 and equals:
                raise UsageError(f"{flag} takes no value")
            if option and option.nargs != 0:
                if not equals and (not left or left[-1] in self.options):
                    step = f"Write {flag} {option.metavar}; see {self.command} --help."
                    raise UsageError(f"{flag} needs a value", next_step=step)
                value = value if equals else left.pop()
                self.check_value(option, flag, value)
                word = f"{option.option_strings[-1]}={value}"
            yield word

    def check_value(self, option: argparse.Action, flag: str, value: str) -> None:
        if any("\udc80" <= character <= "\udcff" for character in value):
            raise UsageError(f"the value of {flag} is not UTF-8 text")
        try:
            (option.type or str)(value)  # type: ignore[operator]  # int and float are all that is used
        except ValueError:
            kind = "a whole number" if option.type is int else "a number"
            raise UsageError(f"{flag} takes {kind}, not {value[:40]!r}") from None

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """The words after a command's name -> its options, each an attribute (None where it was not given, a switch: False).

        parse(["-m", "a", "--json", "--stop=x"]) -> .model "a", .json True, .stop ["x"], .stream False
        .talk is for --append, .usual for the user's own model: see llm_router_extras.aliases.
        """
        args, rest = self.parse_known_args(list(self.join_values(words)))
        if rest:  # a second word without a dash
            raise UsageError(f"{self.command} does one thing at a time", next_step=self.unknown("").next_step)
        return argparse.Namespace(**{**dict.fromkeys([*DESTINATIONS, "talk", "usual"]), **vars(args)})

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        # Before Python 3.13 argparse drops a value that is "--", as if it were the end of the options.
        return self._get_value(action, "--") if arg_strings == ["--"] else super()._get_values(action, arg_strings)


class Sanitizer:
    """Model text that cannot control a terminal: control characters and bidi overrides are dropped.

    feed() takes pieces cut anywhere; close() gives what was held back. Line feeds, tabs, joiners and every script's letters
    stay. With llm_router_extras whole escape sequences go; without it their printable rest is text.
    """

    def __init__(self) -> None:
        self._sequences: Any = None  # once there is one

    def feed(self, text: str) -> str:
        if self._sequences is None and re.search(ODD, text):
            terminal = extra("terminal")
            self._sequences = terminal and terminal.Sequences()
        return str(self._sequences.feed(text)) if self._sequences else re.sub(ODD, "", text)

    def close(self) -> str:
        return str(self._sequences.close()) if self._sequences else ""


class EventMask:
    """A stream's events without the key, also if several spread it: a possible beginning waits for the next one."""

    def __init__(self, key: Secret | None) -> None:
        self._key = key
        self._held: dict[Any, JSON] = {}  # what waits, by kind and call

    def feed(self, event: JSON) -> Turns:
        field = "arguments" if event["type"] == "tool_call" else "text"
        if self._key is None or field not in event:
            return [*self.close(), event]
        kind = event["type"], event.get("index")
        text = self._key.hide(self._held.pop(kind, {field: ""})[field] + event[field])
        if (at := self._key.begins_at(text)) < len(text):
            self._held[kind] = {**event, field: text[at:]}
        return [{**event, field: text[:at]}] if at else []

    def close(self) -> Turns:
        """The events held back."""
        held, self._held = self._held, {}
        return list(held.values())


def clean(text: str) -> str:
    sanitizer = Sanitizer()
    return text if text.isascii() and text.isprintable() else sanitizer.feed(text) + sanitizer.close()


def on_one_line(value: object) -> str:
    """Foreign text for one line of output, harmless to a terminal: on_one_line("a\nb\x1b[2J") -> "a b"."""
    return " ".join(clean(str(value)).replace("\t", " ").splitlines())


def envelope(answer: Answer | None, error: LLMRouterError | None = None, model: str = "") -> JSON:
    """The one result of --json, on success and failure alike: references/envelope.schema.json. `model`: the requested one."""
    given = answer if answer is not None else Answer(Reader(), complete=False)
    said, whole = error or given, given.complete and (error is None or error.response is given)  # not_written: it is whole
    return {
        "ok": error is None, "text": given.text,
        "model_requested": given.model_requested or model or None, "model_used": given.model_used or None,
        "finish": {"reason": given.finish_reason or None, "complete": whole},
        "usage": given.usage or None,
        **attributes(given, "cost", "cost_source", "cached", "credits_remaining", "tool_calls", "data"),
        "route": said.route, "latency_s": given.latency_s, "first_s": given.first_s,
        "attempts": said.attempts, "warnings": said.warnings, "error": error.to_dict() if error else None,
    }  # fmt: skip


class Console:
    """The result on stdout, everything else on stderr, UTF-8 whatever the locale; without the key."""

    def __init__(self, as_json: bool) -> None:
        self.as_json, self.ndjson = as_json, False
        self.printed = False  # answer text has gone to stdout
        self.model = ""  # the requested model, once it is known
        self.hide: Callable[[str], str] = lambda text: text
        self.advice: Callable[[str], str] = self.hide  # of the command
        self.closers: list[Callable[[], None]] = [self.end_wait]
        self.waiting: Any = None  # shown on a terminal while waiting for an answer

    def show_wait(self, what: str) -> None:
        """Show a waiting line on a terminal until the first output."""
        sign = extra("waiting") if sys.stderr is not None and sys.stderr.isatty() else None
        self.waiting = sign and sign.Sign(what)

    def end_wait(self) -> None:
        self.waiting = self.waiting and self.waiting.close()

    def out(self, data: str | bytes) -> None:
        self.end_wait()
        if sys.stdout is None:
            raise OSError("standard output is closed")
        sys.stdout.buffer.write(self.hide(data).encode("utf-8", "replace") if isinstance(data, str) else data)
        sys.stdout.buffer.flush()

    def text(self, text: str) -> None:
        """Model text as a paragraph of its own."""
        text = clean(text)
        self.out(text if text.endswith("\n") or not text else f"{text}\n")

    def note(self, text: str) -> None:
        self.end_wait()
        try:
            sys.stderr.buffer.write(f"llm-router: {clean(self.hide(text))}\n".encode("utf-8", "replace"))
            sys.stderr.buffer.flush()
        except (OSError, AttributeError):
            pass  # stderr is closed; the exit code remains

    def result(self, value: JSON) -> None:
        self.out(dump_json({"type": "result", **value} if self.ndjson else value))

    def show(self, value: JSON, text: str, error: JSON | None = None) -> None:
        """A command's result: with --json an object, else text."""
        if self.as_json:
            self.result({"ok": not error, **value, "error": error})
        else:
            self.out(text)

    def fail(self, error: LLMRouterError) -> int:
        """Print an error in the requested form, and the incomplete answer with it; the exit code."""
        partial, error.next_step = error.response, self.advice(error.next_step)
        if self.as_json:
            self.result(envelope(partial, error, self.model))
        elif partial and not self.printed:
            self.text(partial.text)
        self.printed = self.printed or bool(partial and partial.text)
        for text in (*error.warnings, f"error: {error} [{error.code}]", f"next: {error.next_step}"):
            self.note(text)
        kept = error.exit_code in (11, 130) or error.param == "response_format"  # a misfit is whole
        return 10 if self.printed and not kept else error.exit_code


def text_from(args: argparse.Namespace, path: str | None, text: str | None = None, flag: str = "") -> str | None:
    """What --FLAG TEXT, --FLAG - (standard input) or --FLAG-file PATH gives; None where none of them was used."""
    if text is not None and path is not None:
        raise UsageError(f"give {flag} or {flag}-file, not both")
    if path is not None:
        data = read_upload(path, MAX_TEXT_BYTES, args.allow_path or ())
    elif text != "-":
        return text
    elif sys.stdin is None or sys.stdin.isatty() or not (data := sys.stdin.buffer.read(MAX_TEXT_BYTES + 1)).strip():
        raise UsageError(f"{flag} reads standard input, and nothing is piped in", next_step="Pipe some text in.")
    if len(data) > MAX_TEXT_BYTES:
        raise SafetyError(f"{path or 'standard input'} is over the limit of {MAX_TEXT_BYTES} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{path or 'standard input'} is not UTF-8 text", next_step="Convert it, as with iconv.") from None


def json_from(text: str | None, name: str, kind: type) -> Any:
    """JSON text of one kind as its value, None for None; UsageError names the option and the fault."""
    try:
        value = None if text is None else parse_json(text)
    except ValueError as error:
        raise UsageError(f"{name} is not JSON: {error}") from None
    if text is not None and not isinstance(value, kind):
        raise UsageError(f"{name} must be a JSON {'list' if kind is list else 'object'}")
    return value


def messages_of(args: argparse.Namespace, before: Any) -> Turns:
    """--system, then --messages(-file) (else `before`, the body file's), then the --message of this turn and its images."""
    path, before = (None, args.talk.messages or None) if args.talk else (args.messages_file, before)
    turns = json_from(text_from(args, path, args.messages, "--messages"), "--messages", list) or before
    turns = check_messages(turns) if turns is not None else []
    text = text_from(args, args.message_file, args.message, "--message")
    if args.stdin and args.message != "-":
        text = "\n\n".join(filter(None, (text, text_from(args, None, "-", "--stdin"))))
    if text is not None and not text.strip():
        raise UsageError("the message is empty", next_step="Write what to ask.")
    images = [image_part(image, args.detail, args.allow_path or ()) for image in args.image or ()]
    args.uploads = [note for _, note in images if note]  # what is sent of files
    if images or text is not None:
        content = [{"type": "text", "text": text or "Describe this image."}, *(part for part, _ in images)] if images else text
        turns.append({"role": "user", "content": content})
    if all(turn["role"] == "system" for turn in turns):
        raise UsageError("nothing to ask", next_step="Give --message TEXT, --message -, --message-file or --messages-file.")
    return with_system(args.system, *turns)


def request_of(args: argparse.Namespace) -> JSON:
    """The arguments of chat() from the options, which override the body file."""
    given = [name for name in JSON_OPTIONS if getattr(args, name) is not None]
    body = extra("fields", f"--{given[0].replace('_', '-')}").fields_of(args) if given else {}
    flags = attributes(args, *sorted(PARAMETERS.difference(JSON_OPTIONS)))
    args.stream = bool(body.pop("stream", False)) or args.stream
    # --task and --prefer ask for a choice where no model is named beside them
    usual = None if args.task or args.prefer else args.usual or setting("LLM_ROUTER_MODEL") or ("demo" if args.demo else None)
    flags["model"] = args.model or body.get("model") or usual
    flags["messages"] = messages_of(args, body.get("messages"))
    return {**body, **{name: value for name, value in flags.items() if value is not None}}


def stop_on_sigterm() -> None:
    """SIGTERM ends a command as Ctrl-C does: the text so far is printed, the connection closed."""
    import signal

    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    except ValueError:
        pass  # not the main thread: signals are its caller's


def open_client(args: argparse.Namespace, console: Console) -> LLMRouterClient:
    """The client that the endpoint options describe; with --demo, the mock server runs until the command ends."""
    stop_on_sigterm()
    if args.demo:
        args.base_url = extra("mock", "--demo").start(console)
    if args.session is not None:
        extra("usage", "--session")
    client = LLMRouterClient(
        None, args.base_url, headers=extra("fields", "--header").headers_of(args.header) if args.header else None,
        allow_paths=args.allow_path, deadline_s=args.timeout, connect_timeout_s=args.connect_timeout, max_retries=args.retries,
        retry_timeouts=args.retry_timeouts, lenient_end=args.lenient_end, ca_file=args.ca_file, max_cost_usd=args.max_cost,
        first_event_timeout_s=args.first_event_timeout, progress_timeout_s=args.progress_timeout, session=args.session,
        cache_ttl_s=None if args.cache is None else extra("cache", "--cache").seconds_in(args.cache, "--cache"),
        usage_log=args.usage_log or None,
    )  # fmt: skip
    console.closers.append(client.close)
    console.hide = client.hide
    return client


def is_dry(args: argparse.Namespace, console: Console, client: LLMRouterClient, *requests: JSON) -> bool:
    """With --dry-run, print the requests that would be sent."""
    for request in requests if args.dry_run else ():
        console.out(dump_json(client.preview(**request), indent=2))
    return bool(args.dry_run)


def usd(cost: Any) -> str:
    """usd(4.2e-05) -> "0.000042", usd(None) -> ""; other values stay as the server sent them."""
    return f"{cost:.8f}".rstrip("0").rstrip(".") if isinstance(cost, float) else "" if cost is None else str(cost)


def stream_answer(client: LLMRouterClient, request: JSON, args: argparse.Namespace, console: Console) -> Answer:
    """Print an answer as it comes: text, or with --json one event a line. The whole of it is returned."""
    console.ndjson = args.json
    sanitizer, mask, last = Sanitizer(), EventMask(client.key()), "\n"

    def show(events: Sequence[JSON]) -> None:
        nonlocal last
        for event in events:
            is_text = event["type"] == "text" and not (args.output and not args.json)
            if args.json:
                console.out(dump_json(event))
            elif is_text:
                last = event["text"][-1:] or last
                console.out(event["text"])
            console.printed = console.printed or is_text

    with client.chat_stream(**request) as stream:
        try:
            for event in stream.events():
                if event["type"] == "text" and not args.json:
                    event["text"] = sanitizer.feed(event["text"])
                show(mask.feed(event))
        finally:
            if not isinstance(sys.exc_info()[1], OSError):  # the rest of the text, and the line's end, also of a cut one
                rest = sanitizer.close()
                show([*(mask.feed({"type": "text", "text": rest}) if rest else ()), *mask.close()])
                console.out("" if last == "\n" else "\n")
        return stream.response  # type: ignore[return-value]  # its events ended


def show_answer(answer: Answer, args: argparse.Namespace, console: Console, output: str, asked: Sequence[JSON] = ()) -> int:
    """Add a whole answer to its conversation, print it in the requested form; the exit code."""
    error, cut = None, "the answer was cut at the token limit" if answer.finish_reason == "length" else ""
    if len(dicts(answer.get("choices"))) > 1 and not args.raw:
        answer.warnings.append("only the first choice is shown; --raw shows all")
    try:
        if cut and (args.strict or args.talk):
            raise IncompleteError(cut + "; it was not added to the conversation" * bool(args.talk), code="length")
        if args.talk:
            args.talk.add(asked, answer)
    except LLMRouterError as failure:
        error = failure
        error.attempts, error.warnings, error.route = answer.attempts, answer.warnings, answer.route
    result = envelope(answer, error)
    if output:
        size = extra("output", "--output").write_output(output, answer.text, args.force, console)
        result.update(text="", output={"path": output, "bytes": size})
    if args.json:
        console.result(result)
    elif output:
        console.out(f"{output} {size} bytes\n")
    elif args.raw:
        console.out(answer.raw or dump_json(answer))  # a stream, though none was requested
    else:
        console.text("" if console.printed else answer.text)
        console.out("".join(map(dump_json, answer.tool_calls)))
    chosen = [f"chosen: {answer.route['model']}, {answer.route['reason']}"] if answer.route else []
    ended = [f"{error or cut}; next: {ERRORS[error.code if error else 'length'][1]}"] if error or cut else []
    for note in (*chosen, *answer.warnings, *ended):
        console.note(note)
    if args.verbose:
        cost = "unknown" if answer.cost is None else f"${usd(answer.cost)} ({answer.cost_source})"
        left = "" if answer.credits_remaining is None else f", credits left {answer.credits_remaining}"
        console.note(f"{answer.model_used}: {answer.latency_s:.2f} s, {answer.tokens} tokens, cost {cost}{left}")
    return error.exit_code if error else 0


def run_chat(args: argparse.Namespace, console: Console) -> int:
    if args.image == []:  # of vision; chat has None
        raise UsageError("no image named", next_step="Give --image with a URL or a file; it may be repeated.")
    output = extra("output", "--output").check_output(args) if args.output or args.force else ""
    if args.go_on or args.append or args.new:
        extra("conversation", "--append" if args.append else "--continue").open_for(args, console)
    request = request_of(args)
    if args.raw and (args.stream or args.json or args.output):
        raise UsageError("--raw cannot be combined with --stream, --json or --output")
    console.model = request.get("model") or usual_model()
    client = open_client(args, console)
    if is_dry(args, console, client, {"stream": args.stream, **request}):
        return 0
    client.key()  # a missing key is reported before files are read
    for upload in args.uploads:
        console.note(f"sending {upload} to {client.endpoint.host}")
    request["fallback"] = args.fallback
    console.show_wait(console.model)
    answer = stream_answer(client, request, args, console) if args.stream else client.chat(**request)
    before = len(args.talk.messages) + (args.system is not None) if args.talk else 0
    return show_answer(answer, args, console, output, request["messages"][before:])


def compare_text(results: dict[str, JSON]) -> str:
    """What `compare` prints: a block for each model."""
    text = ""
    for name, result in results.items():
        failed = result["error"] and f"failed: {result['error']['code']}"
        facts = ((result["latency"], "s"), (result["ttft"], "s to the first text"), (result["tokens"], "tokens"),
                 (usd(result["cost"]) or None, "USD"), (result["finish_reason"], ""), (failed, ""))  # fmt: skip
        line = ", ".join(f"{on_one_line(value)} {unit}".strip() for value, unit in facts if value is not None)
        text += f"== {name} ({line})\n{clean(result['response']).rstrip()}\n\n"
    return text


def run_compare(args: argparse.Namespace, console: Console) -> int:
    if not args.models:
        raise UsageError("no models named", next_step="Name them with --models A,B; `models` lists them.")
    args.model = args.models
    request = request_of(args)
    names, turns = model_names(request.pop("model")), request.pop("messages")
    if len(names) > MAX_COMPARE_MODELS:
        raise UsageError(f"compare takes at most {MAX_COMPARE_MODELS} models at once")
    text_of_results = extra("output", "--markdown").table_for(args) if args.markdown else compare_text
    client = open_client(args, console)
    common = {"messages": turns, "stream": args.stream, **request}
    if is_dry(args, console, client, *({"model": name, **common} for name in names)):
        return 0
    client.key()
    console.show_wait(args.models)
    results = client.compare_models(names, turns, stream=args.stream, **request)
    errors = {name: result["error"] for name, result in results.items() if result["error"]}
    for error in errors.values():
        error["next_step"] = console.advice(error["next_step"])
    first = next(iter(errors.values())) if len(errors) == len(results) or (args.require_all and errors) else None
    console.show({"results": [{"model": name, **result} for name, result in results.items()]}, text_of_results(results), first)
    for warning in dict.fromkeys(text for result in results.values() for text in result["warnings"]):
        console.note(warning)
    for name, error in errors.items():
        console.note(f"error: {name}: {error['message']} [{error['code']}]; next: {error['next_step']}")
    return ERRORS[first["code"]][0] if first else 0


def run_models(args: argparse.Namespace, console: Console) -> int:
    client = None if args.offline else open_client(args, console)
    if client and is_dry(args, console, client, {}):
        return 0
    listed = client.list_models() if client else builtin_models("asked for offline")
    wanted, limit = (args.search or "").lower(), 50 if args.limit is None else args.limit
    found = [{"id": m["id"], "family": m["family"]} for m in listed if wanted in m["id"].lower() or wanted == m["family"]]
    shown = found[:limit] if limit > 0 else found
    value = {"source": listed.source, "total": len(found), "shown": len(shown), "models": shown}
    console.show(value, "".join(f"{on_one_line(model['id'])}\t{model['family']}\n" for model in shown))
    if listed.source != "live":
        console.note(f"built-in list, not the endpoint's own: {listed.reason}")
    if len(shown) < len(found) or not found:
        match, step = f" match {args.search!r}" if args.search else "", "--limit 0 shows all, --search narrows"
        step = step if found else "without --search all are listed" if listed else "the endpoint lists none"
        console.note(f"{len(found)} of {len(listed)} models{match}, {len(shown)} shown; {step}")
    return 0


LOOKS = ("endpoint", "proxy", "certificates", "key", "models")  # in this order: each builds on those before it


def looks(client: LLMRouterClient, args: argparse.Namespace) -> Iterator[str]:
    """The checks of `doctor`, in the order of LOOKS; raises at the first that fails."""
    yield client.base_url
    host, port, _ = proxy_for(client.endpoint)
    yield f"{host}:{port} by CONNECT" if host else "none"
    yield args.ca_file or os.getenv("SSL_CERT_FILE") or "the system's"
    key, path = client.key(), os.path.expanduser(CREDENTIALS_FILE)
    loose = key and key.source == CREDENTIALS_FILE and os.name == "posix" and os.stat(path).st_mode & 0o077
    found = f"{key!r} from {key.source}" if key else "none needed on this machine"
    yield found + (", which others can read: chmod 600 it" if loose else "")
    listed, names = client.list_models(), extra("aliases") if config_file() else None
    usual = names.usual() if names else setting("LLM_ROUTER_MODEL")
    if listed.source != "live":
        raise NetworkError(f"the live list is not available: {listed.reason}")
    known = usual in ("", AUTO) or any(usual == model["id"] for model in listed)
    yield f"{len(listed)} listed" + ("" if known else f"; not {usual}, LLM_ROUTER_MODEL: another may answer to its name")


def run_doctor(args: argparse.Namespace, console: Console) -> int:
    client = open_client(args, console)
    if is_dry(args, console, client, {}):
        return 0
    checks: Turns = []
    failed: LLMRouterError | None = None
    try:
        for name, detail in zip(LOOKS, looks(client, args)):
            checks.append({"name": name, "ok": True, "detail": detail, "next_step": None})
    except LLMRouterError as error:
        failed, error.next_step = error, console.advice(error.next_step)
        checks.append({"name": LOOKS[len(checks)], "ok": False, "detail": error.message, "next_step": error.next_step})
    text = "".join(f"{'ok  ' if c['ok'] else 'FAIL'} {c['name']}: {c['detail']}\n" for c in checks)
    console.show({"checks": checks}, clean(text), failed.to_dict() if failed else None)
    if failed:
        console.note(f"next: {failed.next_step}")
    return failed.exit_code if failed else 0


class Command:
    """A command's line in --help, its sections of OPTIONS, what runs it (or its module of llm_router_extras), two examples."""

    def __init__(self, summary: str, sections: Sequence[str], run: Callable[..., int] | str, *examples: str) -> None:
        self.summary, self.sections, self.run, self.examples = summary, sections, run, examples


ASKING = ("question", "context", "API parameters", "calls", "endpoint", "output")
COMMANDS = {
    "chat": Command("ask a model", ("model", *ASKING, "answer"), run_chat,
                    '--demo --message "Hello, world!"', "-m gpt-5.4 --fallback qwen-max --message-file question.txt --stream"),
    "vision": Command("ask about images", ("images", "model", *ASKING, "answer"), run_chat,
                      '-m gpt-5.4 --image cat.png --prompt "What is this?"', "--demo --image https://example.com/a.png --json"),
    "talk": Command("a conversation in the terminal", (), "talk", "--demo", "-m gpt-5.4 --continue"),
    "models": Command("list the endpoint's models", ("list", "endpoint", "output"), run_models,
                      "--search qwen", "--offline --json"),
    "compare": Command("ask several models at once", ("comparison", *ASKING), run_compare,
                       '--models gpt-5.4,qwen-max --message "What is 2+2?"', "--demo --models demo,demo-reasoning Hi"),
    "route": Command("show which model would be chosen, and why; sends nothing", (), "routing",
                     '--message "Refactor this class."', "--task code --prefer cost --message-file question.txt --json"),
    "doctor": Command("show what is set, and whether the endpoint answers", ("endpoint", "output"), run_doctor, "", "--json"),
    "cache": Command("show or clear the cache of --cache", (), "cache", "stats", "clear --json"),
    "usage": Command("sum up the usage log", (), "usage", "--by model --since 7d", "--by day --csv"),
    "prices": Command("show or import prices of models", (), "prices", "list", "import model_prices.json --search gpt"),
    "mcp": Command("serve chat, vision, compare and models as MCP tools", (), "mcp", "--demo", "-m gpt-5.4 --max-cost 1"),
    "skill": Command("install this tool as a skill of an agent", (), "skill", "check", "install --agent claude --project"),
    "docs": Command("show the pages that come with this program", (), "pages", "", "security"),
    "completion": Command("print a completion script for a shell", (), "completion", "bash", "fish"),
    "man": Command("print a manual page", (), "manual", ""),
}  # fmt: skip
EXIT_TEXT = "exit codes:\n" + "".join(f"  {code:<4} {text}\n" for code, text in EXIT_CODES.items())


def typed_name(script: str) -> str:
    """The command as it was typed, for --help: "llm-router" (also as .exe), else "python3 scripts/llm_router_client.py"."""
    typed = sys.argv[0] if sys.argv else ""
    name = re.sub(r"(?i)\.exe$", "", os.path.basename(typed))
    return name if name.startswith("llm-router") else f"python3 {typed if name == script else script}"


def examples_of(command: str, most: int) -> str:
    name = f"  {typed_name('llm_router_client.py')} {command}"
    return "".join(f"{name} {e}".rstrip() + "\n" for e in COMMANDS[command].examples[:most])


def parser_of(command: str) -> Parser:
    """The argparse parser of one command; only that of the called command is built."""
    entry, epilog = COMMANDS[command], f"examples:\n{examples_of(command, 2)}\n{EXIT_TEXT}"
    parser = Parser(f"{typed_name('llm_router_client.py')} {command}", entry.summary, epilog)
    parser.take(*entry.sections)
    action: Any = entry.run
    if isinstance(action, str):
        module = extra(action, f"the command {command}")
        module.add_arguments(parser)
        action = module.run
    parser.free = parser.free or next((flag for flag in ("--message", "--search") if flag in parser.options), "")
    parser.set_defaults(run=action, advice=parser.advice)
    return parser


def help_text() -> str:
    """What --help prints without a command."""
    rows = "".join(f"  {name:<11}{command.summary}\n" for name, command in COMMANDS.items())
    shown = "".join(examples_of(name, 1) for name in COMMANDS)
    names = "".join(f"  {name:<20} {text}\n" for name, text in SETTINGS.items())
    return f"""usage: {typed_name("llm_router_client.py")} COMMAND [options]

Ask any large language model through one endpoint and one key.

commands (each has --help):
{rows}
examples:
{shown}
environment:
{names}
{EXIT_TEXT}"""


def run(words: list[str], console: Console) -> int:
    """One command line: its words -> its exit code. Every failure is raised."""
    if words and len(words[0].split()) > 1:
        words = ["chat", *words]  # a question; one word is a command, or a mistake, and never a call that costs
    elif words[:1] == ["help"] and len(words) == 2:
        words = [words[1], "--help"]
    command = words[0] if words else ""
    if command in ("--version", "-V"):
        console.out(f"llm-router {VERSION}\n")
    elif command in ("--help", "-h", "help"):
        console.out(help_text())
    elif command not in COMMANDS:
        flag = command.partition("=")[0][:40]  # without a value, which may be a prompt or a key
        hint = f"Options follow the command: `chat {flag}`. " if flag[:1] == "-" else near(command, list(COMMANDS))
        step = f"{hint}A question goes after `chat`. Put several words in quotes. Commands: {', '.join(COMMANDS)}; see --help."
        raise UsageError(f"unknown command {flag!r}" if command else "no command given", next_step=step)
    elif "--help" in words or "-h" in words:
        console.out(parser_of(command).format_help())
    else:
        args = parser_of(command).parse(words[1:])
        console.advice = args.advice
        names = extra("aliases") if config_file() else None
        return int(args.run(names.resolve(args) if names else args, console))
    return 0


def main(argv: Sequence[str] | None = None, run: Callable[[list[str], Console], int] = run) -> int:
    """The command line (`run`: or the batch's): words -> exit code. The result goes to stdout, everything else to stderr."""
    words = list(sys.argv[1:] if argv is None else argv)
    console = Console("--json" in words)
    try:
        try:
            return run(words, console)
        except LLMRouterError as error:
            return console.fail(error)
        except FileNotFoundError as error:
            if error.filename is not None:
                raise
            return console.fail(UsageError("the working directory no longer exists", next_step="Change to another one."))
        except KeyboardInterrupt:
            return console.fail(LLMRouterError("interrupted"))
        finally:
            for close in reversed(console.closers):
                close()
    except OSError as error:
        if sys.stdout is not None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the interpreter's last flush goes nowhere
        if not isinstance(error, BrokenPipeError):
            what = on_one_line(error.filename) if isinstance(error.filename, str) else "the output"
            console.note(f"error: {what} could not be written: {error.strerror or error}")
        return 141 if isinstance(error, BrokenPipeError) else 1


# -------------------------------------------------------------------------------------------------------------- guard

if __name__ == "__main__":
    # Everything is written and closed: the interpreter's own shutdown would only cost 2 ms.
    os._exit(main())
