#!/usr/bin/env python3
"""llm-router: ask any large language model through one endpoint and one key.

One file, standard library only, Python 3.9 or newer: a library (LLMRouterClient) and a command line.

  python3 llm_router_client.py chat --demo --message "Hello, world!"
  python3 llm_router_client.py chat -m gpt-4.1 --message "Name three colours." --stream
  python3 llm_router_client.py chat -m gpt-4.1 --fallback claude-3-5-sonnet,qwen-max --message-file question.txt
  python3 llm_router_client.py vision -m gpt-4o --image cat.png --prompt "What is this?"
  python3 llm_router_client.py compare --models gpt-4.1,qwen-max --message "What is 2+2?"

Environment: AISA_API_KEY (sent to api.aisa.one only); LLM_ROUTER_BASE_URL with LLM_ROUTER_API_KEY for another
OpenAI-compatible endpoint; LLM_ROUTER_MODEL; and by convention SSL_CERT_FILE, HTTPS_PROXY, NO_PROXY. Exit codes: EXIT_CODES.

An answer counts as complete only when the server said so: a finish reason or [DONE] arrived. Everything else is an error
that keeps the text so far. Modules are imported where they are needed, because most users start this file cold.
"""

from __future__ import annotations

import json
import os
import sys
import time

TYPE_CHECKING = False  # typing costs 7 ms at start; type checkers read this name as true
if TYPE_CHECKING:
    import argparse
    import socket
    import ssl
    from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple, Type, Union

    JSON = Dict[str, Any]
    ImageSource = Union[str, bytes, "os.PathLike[str]"]

# ---------------------------------------------------------------------------------------------------------- constants

VERSION = "1.0.0"
DEFAULT_BASE_URL = "https://api.aisa.one/v1"
DEFAULT_HOST = "api.aisa.one"    # the only host that AISA_API_KEY is ever sent to
CREDENTIALS_FILE = "~/.aisa/credentials"

CONNECT_TIMEOUT_S = 10.0         # name look-up, TCP, proxy and TLS together
FIRST_EVENT_TIMEOUT_S = 120.0    # from the request until a stream's first data event
PROGRESS_TIMEOUT_S = 60.0        # between two data events; comments and dripping bytes do not count
DEADLINE_S = 600.0               # one logical call: all attempts, waits and fallback models together
FINISH_GRACE_S = 5.0             # after the finish reason, for the usage that some servers send last
MAX_RETRIES = 2                  # after the first request, for each model
MAX_RETRY_WAIT_S = 120.0         # a longer Retry-After is reported, not slept
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.5, 8.0  # the vendors' SDKs: doubling, shortened by up to a quarter
RETRY_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})  # RFC 9110, RFC 6585

MAX_HEAD_BYTES = 262_144         # status line and headers of one response
MAX_BODY_BYTES = 33_554_432      # one JSON answer after decoding; also one request body
MAX_EVENT_BYTES = 4_194_304      # one server-sent event; above this the peer is broken or hostile
MAX_KEPT_CHARS = 8_388_608       # text kept for .response; longer streams are still handed over whole
MAX_IMAGE_BYTES = 20_971_520     # one image
MAX_TEXT_BYTES = 16_777_216      # one prompt file
MAX_COMPARE_MODELS = 8           # the command line's bound on what one compare may cost
READ_BYTES = 65_536              # one read from a socket

EXIT_CODES = {
    0: "answered",
    1: "the API refused the request, or the output could not be written",
    2: "wrong usage",
    3: "key missing or refused",
    4: "no credit or quota",
    5: "model unknown",
    6: "rate limited, overloaded or failing",
    7: "network failure or time-out",
    8: "refused by our own safety rules",
    9: "bad upstream: no JSON, empty, redirect, over a limit",
    10: "incomplete: cut or failed after text was printed (with --strict also cut by length)",
    11: "refused by the model's provider (content filter)",
    130: "interrupted",
    141: "closed pipe",
}

SETTINGS = {
    "AISA_API_KEY": "Bearer key for the default endpoint, sent to api.aisa.one only.",
    "LLM_ROUTER_BASE_URL": "Another OpenAI-compatible endpoint; takes LLM_ROUTER_API_KEY.",
    "LLM_ROUTER_API_KEY": "Bearer key for LLM_ROUTER_BASE_URL only.",
    "LLM_ROUTER_MODEL": "Model used when no --model is given.",
}

BUILTIN_MODELS = {  # only for `models --offline` and when the live list cannot be had; always marked as such
    "gpt": ("gpt-4.1", "gpt-4o", "gpt-4o-mini", "o1", "o1-mini", "o3-mini"),
    "claude": ("claude-3-5-sonnet", "claude-3-opus", "claude-3-sonnet"),
    "gemini": ("gemini-3-pro-preview", "gemini-3.5-flash"),
    "qwen": ("qwen-max", "qwen2.5-72b-instruct"),
    "deepseek": ("deepseek-chat", "deepseek-coder", "deepseek-v3", "deepseek-r1"),
    "grok": ("grok-2", "grok-beta"),
}


def setting(name: str) -> str:
    """The environment's value of one of SETTINGS, white space stripped; "" when unset. The only reader of our names."""
    if name not in SETTINGS:
        raise KeyError(name)
    return (os.getenv(name) or "").strip()


# ------------------------------------------------------------------------------------------------------------- errors

NEXT_STEP = {
    "bad_request": "Correct the request as the message says.",
    "context_too_long": "Shorten the input, or ask a model with a larger context (--fallback).",
    "usage": "See --help.",
    "missing_key": "Set AISA_API_KEY, or LLM_ROUTER_BASE_URL with LLM_ROUTER_API_KEY; `doctor` shows what is set.",
    "key_refused": "Check that the key belongs to this endpoint and may use this model; `doctor` shows what is set.",
    "key_malformed": "Set the key again: printable ASCII characters only, without spaces.",
    "no_credit": "Add credit or raise the quota at the provider; waiting does not help.",
    "model_not_found": "Run `models --search` for the names this endpoint knows, or check --base-url.",
    "rate_limited": "Wait for retry_after_s, or add --fallback with other models.",
    "overloaded": "Try again later, or add --fallback with other models.",
    "server_error": "Try again later, or add --fallback with other models.",
    "network": "Check the address and the connection with `doctor`, then try again.",
    "timeout": "Try again with a longer time-out or with --stream; the first request may have been billed.",
    "refused_locally": "Nothing was sent. Change the command as the message says.",
    "bad_upstream": "Check --base-url with `doctor`: this is not what a model API answers.",
    "empty_answer": "Ask again, raise --max-tokens, or add --fallback with other models.",
    "stream_cut": "The text so far is not the answer: ask again, or add --fallback with other models.",
    "length": "Raise --max-tokens.",
    "content_filter": "Rephrase the input, or add --fallback with other models.",
    "error": "Run `doctor`.",
}


class LLMRouterError(Exception):
    """What failed, to which model, and what to do next; the facts are fields, the classes are what a caller does.

    Fields: code (stable, for programs), message, status (HTTP or None), model, request_id, retry_after_s, retryable,
    next_step, attempts (as in Answer), response (the incomplete Answer so far, or None), maybe_billed, exit_code.
    """

    code = "error"
    exit_code = 1

    def __init__(
        self, message: str, *, code: str = "", status: Optional[int] = None, model: str = "", request_id: str = "",
        retry_after_s: Optional[float] = None, retryable: bool = False, next_step: str = "", maybe_billed: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.status = status
        self.model = model
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        self.retryable = retryable
        self.next_step = next_step or NEXT_STEP[self.code]
        self.maybe_billed = maybe_billed
        self.attempts: List[JSON] = []
        self.warnings: List[str] = []
        self.response: Optional[Answer] = None

    def __str__(self) -> str:
        return f"{self.model}: {self.message}" if self.model else self.message

    def to_dict(self) -> JSON:
        """The `error` object of the command line's envelope."""
        names = ("code", "message", "status", "model", "request_id", "retryable", "retry_after_s", "next_step")
        return {name: getattr(self, name) for name in names}


class BadRequestError(LLMRouterError):
    """The API refused the request itself: asking again or elsewhere does not help (context_too_long: elsewhere may)."""

    code = "bad_request"
    exit_code = 1


class UsageError(LLMRouterError, ValueError):
    """The caller's arguments make no request; nothing was sent."""

    code = "usage"
    exit_code = 2


class AuthenticationError(LLMRouterError):
    """The key is missing (missing_key), unusable (key_malformed) or refused (key_refused): no model will answer."""

    code = "key_refused"
    exit_code = 3


class CreditsError(LLMRouterError):
    """No credit or quota is left: waiting does not help."""

    code = "no_credit"
    exit_code = 4


class UnknownModelError(LLMRouterError):
    """The endpoint does not have this model, or no channel for it."""

    code = "model_not_found"
    exit_code = 5


class RateLimitError(LLMRouterError):
    """Too many requests for now; retry_after_s says for how long when the server told."""

    code = "rate_limited"
    exit_code = 6


class ServerError(LLMRouterError):
    """The server failed (server_error) or is full (overloaded)."""

    code = "server_error"
    exit_code = 6


class NetworkError(LLMRouterError):
    """No connection, or it broke before a status came."""

    code = "network"
    exit_code = 7


class RequestTimeout(LLMRouterError):
    """One of the four clocks ran out."""

    code = "timeout"
    exit_code = 7


class SafetyError(LLMRouterError):
    """Refused by our own rules before anything was sent."""

    code = "refused_locally"
    exit_code = 8


class BadUpstreamError(LLMRouterError):
    """The answer is not one: no JSON, empty, a redirect, over a limit."""

    code = "bad_upstream"
    exit_code = 9


class IncompleteError(LLMRouterError):
    """The answer ended before the server said so: the text so far is in .response, and it is not the answer."""

    code = "stream_cut"
    exit_code = 10


class ContentFilterError(LLMRouterError):
    """The model's provider refused or filtered the answer; what there is of it is in .response."""

    code = "content_filter"
    exit_code = 11


# ------------------------------------------------------------------------------------------------- server-sent events


class Event:
    """One server-sent event: event (its name, "message" by default), data, id (the last one seen), retry (ms or None)."""

    __slots__ = ("event", "data", "id", "retry")

    def __init__(self, event: str, data: str, id: str = "", retry: Optional[int] = None) -> None:
        self.event, self.data, self.id, self.retry = event, data, id, retry

    def __repr__(self) -> str:
        return f"Event({self.event!r}, {self.data!r}, {self.id!r}, {self.retry!r})"


class SSEParser:
    """Server-sent events out of bytes: feed() every piece as it comes, close() at the end of input.

    feed(b'data: {"a"') -> []        feed(b':1}\\n\\n') -> [Event('message', '{"a":1}', '', None)]

    Any cut of the bytes gives the same events. Source: WHATWG HTML 9.2.6, with one addition: close() also delivers a
    last event whose lines are all whole; half a line is never delivered. ValueError: an event over max_event_bytes.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        self._tail = bytearray()        # the line that has not ended yet
        self._at_start = True           # a byte order mark may still come
        self._skip_lf = False           # the last piece ended in CR: its LF may follow
        self._data: List[bytes] = []
        self._size = 0
        self._name = ""
        self._id = ""
        self._retry: Optional[int] = None

    def feed(self, piece: bytes) -> List[Event]:
        # Split bytes, not text: str.splitlines() also cuts at U+2028, which JSON strings may contain.
        if self._skip_lf and piece:
            piece = piece[1:] if piece[:1] == b"\n" else piece
            self._skip_lf = False
        if b"\r" in piece:
            self._skip_lf = piece.endswith(b"\r")
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = piece.split(b"\n")
        lines[0] = bytes(self._tail) + lines[0] if len(lines) > 1 and self._tail else lines[0]
        if len(lines) > 1:
            self._tail.clear()
        self._tail += lines.pop()
        events = [event for event in map(self._line, lines) if event is not None]
        if self._size + len(self._tail) > self._max:
            raise ValueError(f"an event is longer than {self._max} bytes")
        return events

    def close(self) -> List[Event]:
        event = None if self._tail else self._dispatch()
        self.__init__(self._max)  # type: ignore[misc]  # ready for another stream
        return [event] if event else []

    def _line(self, line: bytes) -> Optional[Event]:
        if self._at_start:
            self._at_start = False
            line = line[3:] if line.startswith(b"\xef\xbb\xbf") else line
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        value = value[1:] if value[:1] == b" " else value
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
        return None

    def _dispatch(self) -> Optional[Event]:
        event = None
        if self._data:
            event = Event(self._name or "message", b"\n".join(self._data).decode("utf-8", "replace"), self._id, self._retry)
            self._data, self._size = [], 0
        self._name, self._retry = "", None
        return event
