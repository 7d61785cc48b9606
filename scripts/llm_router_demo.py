#!/usr/bin/env python3
"""Mock server: model APIs on this machine that answer without a model, and fail on demand.

  python3 llm_router_demo.py --port 8099    serves http://127.0.0.1:8099/v1 until Ctrl-C
  python3 llm_router_demo.py --help         lists the models: all that it can act out

  with DemoServer() as demo:                the same for programs: a free port, closed at the end
      ask(demo.base_url)
      demo.requests[0]["body"]              what it received

The model name selects the behaviour: "demo" repeats the last message, "demo-tools" calls tools, "fail-429" answers 429.
Equal requests get equal answers, byte for byte. It speaks OpenAI's chat completions, plain and streamed, needs no key and
listens on 127.0.0.1 only. With llm_router_demo_protocols.py beside this file it also speaks text completions, embeddings,
Responses, Anthropic's messages and Gemini, refuses what their APIs refuse, and can be as strict as OpenAI's.

A request becomes a Prompt; its behaviour makes an Answer of it (or a Failure, or a Reply in raw bytes); a protocol writes
that in its vendor's shape as a Reply; a sender puts the Reply on the wire, whole or broken. A new protocol is one more
Protocol and its routes. Sections: constants, values, pure functions, JSON schemas, protocols, one connection, senders,
behaviours, routes, server, command line.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from itertools import chain, cycle, islice
from socketserver import TCPServer
from typing import Any, Callable, ClassVar, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple, Union
from urllib.parse import unquote

JSON = Dict[str, Any]
Headers = Tuple[Tuple[str, str], ...]

# ---------------------------------------------------------------------------------------------------------- constants

NOTICE = "This is the mock server, not a model."
WORD = "mock"  # every string that a schema asks for
REASONING = "The mock server does not think. It repeats the last message."
WORDS = ("mock, ", "not ", "a ", "model. ")  # what demo-words-N repeats
CREATED = 1_700_000_000  # Unix seconds; a real clock would make two answers differ
REDIRECT_TARGET = "http://127.0.0.2:1"  # where redirects lead; no server listens there

MAX_BODY_BYTES = 67_108_864  # one request
MAX_N = 100_000_000  # the N of a model name; a list of so many words takes 800 MB
PIECE_CHARS = 16_384  # of demo-bytes-N in a stream
BLOCK_BYTES = 65_536  # what demo-burst-N writes at once
FRAGMENT_CHARS = 7  # of a streamed tool call's arguments
GARBAGE = b"\x16\x03\x01\x02\x00 this is no HTTP\r\n\r\n"  # what break-garbage answers
MAX_CHOICES = 128
DRIP_S = 0.05  # between two bytes of fail-drip
COMMENT_S = 0.02  # between two keep-alive comments
RESET_AFTER_S = 0.02  # a reset throws away what the other side has not read yet, so the text gets a head start
STALL_S = 900.0  # longer than any client waits; then the thread is given back

PROMPT_USD = 0.000_001  # one token, and one token is one word
COMPLETION_USD = 0.000_004
CREDITS_USD = 100.0  # before each request
BYOK_FEE = 0.05  # OpenRouter's share of what a caller's own key pays its vendor

CHOICES_EMPTY, ERROR_BESIDE = "fail-choices-empty", "fail-error-beside"  # oddities that several protocols write
START_TWICE, TOOLS_HALF = "fail-start-twice", "fail-tools-half"

# ------------------------------------------------------------------------------------------------------------- values


class CaseInsensitiveHeaders(Dict[str, str]):
    """Header names in lower case, found however they are written: headers["Content-Type"]."""

    def __init__(self, pairs: Iterable[Tuple[str, str]] = ()) -> None:
        super().__init__((name.lower(), value) for name, value in pairs)

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return super().__contains__(str(name).lower())

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)


class Step(NamedTuple):
    """One turn of the model in a conversation that a test writes: calls, or else a text."""

    text: str = ""
    calls: Sequence[Tuple[str, Any]] = ()  # (tool, its arguments as an object; a custom tool's as text)
    first: str = ""  # the model name whose failure the first request for this turn gets


class Request(NamedTuple):
    """What came over the wire."""

    method: str
    path: str
    query: str
    headers: CaseInsensitiveHeaders
    body: Any  # parsed JSON, or the bytes if it is not JSON
    id: str = ""  # the same for the same body
    redirect_to: str = REDIRECT_TARGET  # where redirects lead
    strict: bool = False  # refuse what api.openai.com refuses, for every model
    any_model: bool = False  # unknown models answer as demo
    kept: Any = None  # what the server keeps between requests: a dict, the same for all of them
    script: Sequence[Step] = ()  # the server's


class Failure(NamedTuple):
    """An error, in no vendor's shape."""

    status: int
    code: Any  # text; a number in some servers' bodies
    message: str
    kind: str = "invalid_request_error"  # OpenAI's "type"
    param: str = ""
    headers: Headers = ()
    details: Any = None  # Google's and Anthropic's
    extra: Optional[JSON] = None  # further fields of OpenAI's error object
    raw: Any = None  # the whole body, the same in every protocol
    values: Sequence[Any] = ()  # {0}, {1} of a vendor's wording: the model; or the tokens sent and their maximum


class Rejected(Exception):
    """The request is wrong: a surface raises it with the Failure to send."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def bad_request(message: str, param: str = "") -> Rejected:
    return Rejected(Failure(400, "invalid_request", message, param=param))


class Call(NamedTuple):
    """A tool call; arguments are JSON text, or what a broken server makes of it."""

    id: str  # "call_..."; Anthropic's begin with "toolu_"
    name: str
    arguments: Optional[str]
    custom: bool = False  # of a custom tool: the arguments are free text
    namespace: str = ""  # of the tool, in Responses


class Usage(NamedTuple):
    """Tokens and money of an answer. The prompt counts what the cache holds, the completion counts the reasoning."""

    prompt: int
    completion: int
    reasoning: int = 0
    cache_read: int = 0
    cache_write: int = 0  # for 5 minutes
    cache_write_1h: int = 0
    cost: Optional[float] = None  # US dollars; None where the vendor sends none
    upstream_cost: Optional[float] = None  # OpenRouter's, where the caller's own key pays the vendor


class Prompt(NamedTuple):
    """A request to a model, in no vendor's shape."""

    model: str
    request: Request
    stream: bool = False
    text: str = ""  # of the last user message
    images: Sequence[str] = ()  # of the last user message: data URLs and URLs
    results: Sequence[Tuple[str, str]] = ()  # (tool, its result), where the request ends in tool results
    stops: Sequence[str] = ()  # text at which the answer ends
    choices: int = 1  # how many answers are wanted
    tools: Sequence[JSON] = ()  # those that may be called: {"name", "parameters"}
    forced: bool = False  # one of them must be called
    legacy: bool = False  # they came as `functions`
    schema: Optional[JSON] = None  # of the JSON that is wanted as the answer; {} for any object
    prompt_tokens: int = 0
    turn: int = 0  # how many messages came
    model_turns: int = 0  # how many of them are the model's
    prefilled: bool = False  # the last of them is the model's
    items: Sequence[JSON] = ()  # of Responses: the whole conversation
    include_usage: bool = True
    number: int = 0  # the N of the model's name
    field: str = ""  # the FIELD of fail-strict-FIELD


class Reply(NamedTuple):
    """An HTTP response; `first` is what a broken connection still delivers, `rest` what it loses."""

    first: Iterable[bytes] = ()
    rest: Iterable[bytes] = ()
    status: int = 200
    content_type: str = "application/json"
    headers: Headers = ()
    streamed: bool = False  # in chunks; else first and rest are sequences, and Content-Length is sent
    sign: bytes = b" \n"  # of life, while there is nothing to say
    broken: bytes = b""  # an event that is not JSON


class Answer(NamedTuple):
    """A model's answer, in no vendor's shape, and what goes wrong on the way."""

    text: Sequence[str] = ()  # in the pieces of a stream
    reasoning: Sequence[str] = ()
    calls: Sequence[Call] = ()
    finish: str = "stop"  # OpenAI's finish_reason, or a vendor's own word; "" leaves it out
    stop: str = ""  # which of the stops ended it
    cache_read: int = 0  # tokens of the prompt
    cache_write: int = 0
    cache_write_1h: int = 0
    usage: Optional[Usage] = None  # in place of counted words
    byok: bool = False  # the caller's own key pays the vendor behind OpenRouter
    model: str = ""  # in place of the requested one
    native_finish: str = ""  # OpenRouter's native_finish_reason
    headers: Headers = ()
    refusal: str = ""
    error: Optional[Failure] = None  # inside the answer, in place of its end
    oddity: str = ""  # what a surface writes in an odd way: the behaviour's name
    other_id: bool = False  # written with an id that differs from the answer's
    plain: bool = False  # plain JSON although a stream was requested
    sse: bool = False  # a stream although plain JSON was requested
    size: int = 0  # bytes of the plain JSON, reached with more text
    send: Optional[Callable[[Any, Reply], None]] = None  # a sender; None sends the Reply whole


Outcome = Union[Answer, Failure, Reply]

# ----------------------------------------------------------------------------------------------------- pure functions


def dump(value: Any) -> bytes:
    """JSON as most servers send it: compact, UTF-8, no escapes; half a surrogate pair becomes "?"."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def split_pieces(text: str) -> List[str]:
    """Text in the pieces in which it is streamed: a word and the space behind it. pieces_of("a b") -> ["a ", "b"]"""
    return re.findall(r"\S+\s*|\s+", text)


def objects(value: Any) -> List[JSON]:
    """The objects in a JSON array; [] for anything else."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def lookup(value: Any, *names: str) -> Any:
    """The value at a path of names, None if there is none: lookup({"a": {"b": 1}}, "a", "b") -> 1"""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def count_turns(messages: Sequence[JSON]) -> int:
    """The model's turns in a chat: messages of it in a row are one, as clients cut them that keep what a broken stream held."""
    roles = [message.get("role") for message in messages]
    return sum(role == "assistant" != before for before, role in zip([None, *roles], roles))


def custom_tool(tool: Any) -> Any:
    """A custom tool, marked as one; None for anything else."""
    return {**tool, "custom": True} if isinstance(tool, dict) else None


def join_text(content: Any) -> str:
    """The text of a message's content: a string, or parts of which some hold text."""
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in objects(content) if isinstance(part.get("text"), str))


def word_count(value: Any) -> int:
    """The words in a JSON value's strings: what the mock server counts as tokens."""
    if isinstance(value, str):
        return len(value.split()) if not value.startswith("data:") else 1
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sum(map(word_count, values))


def jpeg_size(data: bytes) -> Optional[Tuple[int, int]]:
    """Width and height from the first start-of-frame segment. ITU-T T.81, B.2.2."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
        at += 2 + length
    return None


def webp_size(data: bytes) -> Optional[Tuple[int, int]]:
    """Width and height, in each of the three ways in which WebP writes them. RFC 9649."""
    if data[12:16] == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if data[12:16] == b"VP8 ":
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    return None


def image_size(data: bytes) -> Tuple[str, Optional[Tuple[int, int]]]:
    """An image's type and pixel size by its first bytes: ("PNG", (640, 480)); ("unknown", None) for anything else."""
    if data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR":
        return "PNG", (int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"))
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF", (int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little"))
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP", webp_size(data)
    if data[:3] == b"\xff\xd8\xff":
        return "JPEG", jpeg_size(data)
    return "unknown", None


def describe_image(url: str) -> str:
    """The description of an image: "PNG, 640x480 pixels"; a URL is never fetched."""
    from base64 import b64decode

    if not url.startswith("data:"):
        return f"given as a URL ({url}), which the mock server did not fetch"
    try:
        kind, size = image_size(b64decode(url.partition(",")[2], validate=True))
    except ValueError:
        return "not readable: its data URL is no base64"
    return f"{kind}, {size[0]}x{size[1]} pixels" if size and all(size) else f"{kind}, size not readable"


def append_images(text: str, urls: Sequence[str]) -> str:
    """Text, followed by a description of each image beside it."""
    return text + "".join(f" Image {number}: {describe_image(url)}." for number, url in enumerate(urls, 1))


# ---------------------------------------------------------------------------------------------- values for JSON schemas

FORMATS = {
    "date": "2026-01-01", "date-time": "2026-01-01T00:00:00Z", "time": "00:00:00Z", "duration": "P1D",
    "email": "mock@example.com", "hostname": "example.com", "ipv4": "192.0.2.1", "ipv6": "2001:db8::1",
    "uri": "https://example.com/", "url": "https://example.com/", "uuid": "00000000-0000-4000-8000-000000000000",
}  # fmt: skip
OPTIONAL_DEPTH = 3  # deeper, only what is required is filled: a schema may contain itself
MAX_DEPTH = 24
MAX_ITEMS, MAX_CHARS = 1000, 100_000
INFINITE = float("inf")


def schema_value(schema: Any) -> Any:
    """A value that a JSON schema accepts, always the same one; patterns and conditions are not looked at.

    schema_value({"type": "object", "properties": {"unit": {"enum": ["C", "F"]}, "days": {"type": "integer"}}})
        -> {"unit": "C", "days": 1}
    """
    return fill(schema, schema, 0)


def fill(schema: Any, root: Any, depth: int) -> Any:
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return WORD
    if isinstance(schema.get("$ref"), str):
        return fill(lookup(root, *schema["$ref"].split("/")[1:]), root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    union = objects(schema.get("anyOf")) or objects(schema.get("oneOf"))
    if union:
        return fill(next((each for each in union if each.get("type") != "null"), union[0]), root, depth + 1)
    if objects(schema.get("allOf")):
        return fill_all_of(schema, root, depth)
    return FILLERS.get(schema_type(schema), FILLERS["string"])(schema, root, depth)


def schema_type(schema: JSON) -> str:
    """The type that a schema names, the first that is not null; else the one that its other keywords imply."""
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), "null")
    if isinstance(kind, str):
        return kind.lower()  # Gemini writes STRING
    return "object" if "properties" in schema else "array" if "items" in schema else "string"


def fill_all_of(schema: JSON, root: Any, depth: int) -> Any:
    rest = {name: value for name, value in schema.items() if name != "allOf"}
    values = [fill(each, root, depth + 1) for each in [*schema["allOf"], rest]]
    if not isinstance(values[0], dict):
        return values[0]
    return {name: value for each in values if isinstance(each, dict) for name, value in each.items()}


def fill_object(schema: JSON, root: Any, depth: int) -> JSON:
    properties: JSON = schema.get("properties") or {}
    required: List[str] = schema.get("required") or []
    names = [name for name in properties if depth < OPTIONAL_DEPTH or name in required]
    names += [name for name in required if name not in properties]
    return {name: fill(properties.get(name), root, depth + 1) for name in names}


def fill_array(schema: JSON, root: Any, depth: int) -> List[Any]:
    least = int(schema.get("minItems", 0))
    count = min(max(least, int(depth < OPTIONAL_DEPTH)), int(schema.get("maxItems", MAX_ITEMS)), MAX_ITEMS)
    return [fill(schema.get("items"), root, depth + 1) for _ in range(count)]


def fill_string(schema: JSON, root: Any, depth: int) -> str:
    text = FORMATS.get(str(schema.get("format")), WORD)
    text = text.ljust(min(int(schema.get("minLength", 0)), MAX_CHARS), "-")
    return text[: int(schema.get("maxLength", MAX_CHARS))]


def fill_number(schema: JSON, root: Any, depth: int) -> Any:
    """1, or else of a few numbers near the limits the one nearest to 1 that lies within them."""
    least, most = schema.get("minimum", -INFINITE), schema.get("maximum", INFINITE)
    over, under = schema.get("exclusiveMinimum", -INFINITE), schema.get("exclusiveMaximum", INFINITE)
    step = schema.get("multipleOf", 1)
    low, high = max(least, over), min(most, under)
    low, high = (low if low > -INFINITE else min(1, high - step)), (high if high < INFINITE else max(1, low + step))
    tries = [1, low, low + 1, high, high - 1, (low + high) / 2, *(step * (low // step + n) for n in range(3)), 0]
    tries = sorted(map(int, tries) if schema_type(schema) == "integer" else tries, key=lambda x: abs(x - 1))
    free = "multipleOf" not in schema
    return next((x for x in tries if least <= x <= most and over < x < under and (free or x % step == 0)), 1)


FILLERS: Dict[str, Callable[[JSON, Any, int], Any]] = {
    "object": fill_object,
    "array": fill_array,
    "string": fill_string,
    "integer": fill_number,
    "number": fill_number,
    "boolean": lambda schema, root, depth: True,
    "null": lambda schema, root, depth: None,
}


# ---------------------------------------------------------------------------------------------------------- protocols

SPOILED: Dict[str, Any] = {  # FIELD of demo-usage-FIELD -> what replaces every number
    "nan": float("nan"), "infinite": INFINITE, "negative": -100, "huge": 1e308, "text": "many", "null": None,
}  # fmt: skip
SPOILING = "demo-usage-"


def count_usage(prompt: Prompt, answer: Answer) -> Usage:
    """Tokens of an answer, one for each word, and their price; or what the answer itself brings."""
    if answer.usage:
        return answer.usage
    reasoning, text = len(answer.reasoning), len(answer.text) + len(answer.refusal.split())
    completion = reasoning + text + sum(1 + len((call.arguments or "").split()) for call in answer.calls)
    completion *= prompt.choices
    cost = round(prompt.prompt_tokens * PROMPT_USD + completion * COMPLETION_USD, 6)
    cached = (answer.cache_read, answer.cache_write, answer.cache_write_1h)
    if answer.byok:
        fee = round(cost * BYOK_FEE, 8)
        return Usage(prompt.prompt_tokens, completion, reasoning, *cached, cost=fee, upstream_cost=cost)
    return Usage(prompt.prompt_tokens, completion, reasoning, *cached, cost=cost)


def money(usage: Usage) -> JSON:
    """What OpenRouter and AIsa add to a vendor's usage; nothing where the answer has no cost."""
    if usage.cost is None:
        return {}
    if usage.upstream_cost is not None:
        return {"cost": usage.cost, "is_byok": True, "cost_details": {"upstream_inference_cost": usage.upstream_cost}}
    return {"cost": usage.cost, "credits_remaining": round(CREDITS_USD - usage.cost, 6)}


def spoil(counts: JSON, answer: Answer) -> JSON:
    """The counts; where a word of SPOILED is in the model name, with its value in place of each number."""
    if not answer.oddity.startswith(SPOILING):
        return counts
    value = SPOILED[answer.oddity[len(SPOILING) :]]

    def change(each: Any) -> Any:
        if isinstance(each, dict):
            return {name: change(inside) for name, inside in each.items()}
        return value if isinstance(each, (int, float)) and not isinstance(each, bool) else each

    return dict(change(counts))


def split_arguments(call: Call, answer: Answer) -> List[str]:
    """The arguments of a call in the pieces of a stream; fail-tools-half has only the first half."""
    raw = call.arguments or ""
    raw = raw[: len(raw) // 2] if answer.oddity == TOOLS_HALF else raw
    return [raw[at : at + FRAGMENT_CHARS] for at in range(0, len(raw), FRAGMENT_CHARS)]


def token_logprobs(text: str) -> List[JSON]:
    """A token for each word, all of them certain."""
    return [
        {"token": piece, "bytes": list(piece.encode("utf-8", "replace")), "logprob": 0.0, "top_logprobs": []}
        for piece in split_pieces(text)
    ]


class Protocol:
    """How one vendor's API reads and writes: no I/O, no behaviour."""

    sign = b": keep-alive\n\n"  # of life in a stream
    broken = b'data: {"choices": [{"delta": {"con\n\n'  # an event that is not JSON
    wording: ClassVar[Dict[str, str]] = {}  # code of a Failure -> this vendor's message for it

    def message(self, failure: Failure) -> str:
        """The failure in this vendor's words, where they are known."""
        text = self.wording.get(str(failure.code), failure.message)
        return text.format(*failure.values) if failure.values else text  # else it may quote braces of the request

    def read_request(self, request: Request) -> Prompt:
        """The request in no vendor's shape; raises Rejected."""
        raise NotImplementedError

    def plain(self, prompt: Prompt, answer: Answer) -> JSON:
        """The whole answer as one JSON object."""
        raise NotImplementedError

    def stream_start(self, prompt: Prompt, answer: Answer) -> Iterator[bytes]:
        """A stream's events up to what ends it."""
        raise NotImplementedError

    def stream_end(self, prompt: Prompt, answer: Answer) -> Iterator[bytes]:
        """What ends a stream: finish reason, usage, last mark; or an error."""
        raise NotImplementedError

    def stream(self, prompt: Prompt, answer: Answer) -> Tuple[Iterator[bytes], Iterator[bytes]]:
        """Both parts of a stream; the first is read to its end before the second."""
        return self.stream_start(prompt, answer), self.stream_end(prompt, answer)

    def error_body(self, failure: Failure, id: str = "") -> JSON:
        """An error body; `id` is the request's."""
        raise NotImplementedError

    def headers(self, request: Request) -> Headers:
        """What every response has beside the headers of its kind."""
        return ()

    def frame(self, prompt: Prompt, reply: Reply) -> Reply:
        """A streamed reply in the framing of this request, where an API has more than server-sent events."""
        return reply

    def keep(self, prompt: Prompt, answer: Answer) -> None:
        """Store an answer, where an API does."""


class OpenAI(Protocol):
    """POST /v1/chat/completions. platform.openai.com/docs/api-reference/chat"""

    wording: ClassVar[Dict[str, str]] = {
        "billing_hard_limit_reached": "Billing hard limit has been reached",
        "usage_limit_reached": "Billing hard limit has been reached",
    }

    def read_request(self, request: Request) -> Prompt:
        body = request.body
        if not isinstance(body, dict):
            raise bad_request("The body is not a JSON object.")
        messages = body.get("messages")
        if not isinstance(body.get("model"), str) or not body["model"]:
            raise bad_request("you must provide a model parameter", "model")
        if not messages or not isinstance(messages, list) or len(objects(messages)) != len(messages):
            raise bad_request("'messages' must be an array of at least one message.", "messages")
        if request.strict or body["model"].startswith("demo-strict"):
            other_protocols("strict").check_openai(body)
        stops = body.get("stop") or []
        last = next((each.get("content") for each in reversed(messages) if each.get("role") == "user"), "")
        urls = [lookup(part, "image_url", "url") or part.get("image_url") for part in objects(last)]
        tools, forced = self._tools(body)
        return Prompt(
            model=body["model"], stream=bool(body.get("stream")), text=join_text(last),
            images=[url for url in urls if isinstance(url, str)], results=self._results(messages),
            tools=tools, forced=forced, legacy="functions" in body, schema=self._schema(body),
            prompt_tokens=word_count(messages), turn=len(messages), model_turns=count_turns(messages),
            prefilled=messages[-1].get("role") == "assistant",
            include_usage=bool(lookup(body, "stream_options", "include_usage")), request=request,
            stops=[stops] if isinstance(stops, str) else stops, choices=min(int(body.get("n") or 1), MAX_CHOICES),
        )  # fmt: skip

    @staticmethod
    def _results(messages: List[JSON]) -> List[Tuple[str, str]]:
        """(tool's name, its result) of the messages at the end."""
        calls = [call for message in messages for call in objects(message.get("tool_calls"))]
        names = {call.get("id"): lookup(call, str(call.get("type", "function")), "name") for call in calls}
        found: List[Tuple[str, str]] = []
        for message in reversed(messages):
            if message.get("role") not in ("tool", "function"):
                break
            name = message.get("name") or names.get(message.get("tool_call_id")) or "tool"
            urls = [lookup(part, "image_url", "url") for part in objects(message.get("content"))]
            text = append_images(join_text(message.get("content")), [url for url in urls if isinstance(url, str)])
            found.insert(0, (str(name), text))
        return found

    @staticmethod
    def _tools(body: JSON) -> Tuple[List[JSON], bool]:
        """The tools that may be called, and whether one must be."""
        tools = [lookup(tool, "function") or custom_tool(lookup(tool, "custom")) for tool in objects(body.get("tools"))]
        tools = objects(tools + objects(body.get("functions")))
        choice = body.get("tool_choice", body.get("function_call"))
        one = body.get("parallel_tool_calls") is False or "functions" in body
        if lookup(choice, "type") == "allowed_tools":
            wanted = objects(lookup(choice, "allowed_tools", "tools"))
            names = [lookup(each, str(each.get("type")), "name") for each in wanted]
            tools = [tool for tool in tools if tool.get("name") in names]
            choice = lookup(choice, "allowed_tools", "mode")
        name = lookup(choice, "function", "name") or lookup(choice, "custom", "name") or lookup(choice, "name")
        if choice == "none":
            return [], False
        if name:
            return [tool for tool in tools if tool.get("name") == name], True
        return tools[: 1 if one else None], choice == "required"

    @staticmethod
    def _schema(body: JSON) -> Optional[JSON]:
        kind = lookup(body, "response_format", "type")
        if kind == "json_schema":
            return lookup(body, "response_format", "json_schema", "schema") or {}
        return {} if kind == "json_object" else None

    def plain(self, prompt: Prompt, answer: Answer) -> JSON:
        if answer.error and not answer.text:
            return self.error_body(answer.error)
        beside = self.error_body(answer.error) if answer.error and answer.oddity == ERROR_BESIDE else {}
        message: JSON = {"role": "assistant", "content": "".join(answer.text), "refusal": answer.refusal or None}
        if answer.calls or answer.refusal:
            message["content"] = None
        if answer.reasoning:
            message["reasoning_content"] = "".join(answer.reasoning)
        wire = [self._call(call, answer) for call in answer.calls]
        if wire:
            message.update({"function_call": wire[0]["function"]} if prompt.legacy else {"tool_calls": wire})
        choice: JSON = {"message": message, "finish_reason": self._finish(prompt, answer)}
        choice["logprobs"] = self._chat_logprobs(prompt, "".join(answer.text))
        choice.update({"native_finish_reason": answer.native_finish} if answer.native_finish else {})
        if answer.error and not beside:
            choice.update(self.error_body(answer.error), finish_reason="error")
        choices = [{"index": index, **choice} for index in range(prompt.choices)]
        choices = [] if answer.oddity == CHOICES_EMPTY else choices
        usage = spoil(self._usage(prompt, answer), answer)
        return {**self._head(prompt, answer, "chat.completion"), "choices": choices, "usage": usage, **beside}

    def stream_start(self, prompt: Prompt, answer: Answer) -> Iterator[bytes]:
        if answer.oddity == "demo-azure":
            results = [{"prompt_index": 0, "content_filter_results": {}}]
            first = {"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": results}
            yield b"data: " + dump(first) + b"\n\n"
        role: JSON = {"role": "assistant", "content": None if answer.calls else ""}
        yield self._chunk(prompt, answer, [] if answer.oddity == CHOICES_EMPTY else [{"delta": role}])
        for name, pieces in (("reasoning_content", answer.reasoning), ("content", answer.text)):
            known: Dict[str, bytes] = {}  # demo-words-N repeats four words
            for piece in pieces:
                if piece not in known:
                    tokens = self._chat_logprobs(prompt, piece) if name == "content" else None
                    choice = {"delta": {name: piece}, **({"logprobs": tokens} if tokens else {})}
                    known[piece] = self._chunk(prompt, answer, [choice])
                yield known[piece]
        for piece in split_pieces(answer.refusal):
            yield self._chunk(prompt, answer, [{"delta": {"refusal": piece}}])
        for number, call in enumerate(answer.calls):
            for delta in self._fragments(number, call, prompt.legacy, answer):
                yield self._chunk(prompt, answer, [{"delta": delta}])

    def stream_end(self, prompt: Prompt, answer: Answer) -> Iterator[bytes]:
        if answer.oddity == START_TWICE:
            answer = answer._replace(other_id=True)
            yield self._chunk(prompt, answer, [{"delta": {"role": "assistant", "content": ""}}])
        finish = {"finish_reason": self._finish(prompt, answer)}
        finish.update({"native_finish_reason": answer.native_finish} if answer.native_finish else {})
        if answer.oddity == ERROR_BESIDE and answer.error:
            yield self._chunk(prompt, answer, [{"delta": {}, **finish}], **self.error_body(answer.error))
        elif answer.oddity == "fail-error-choice" and answer.error:
            choice = {"delta": {"content": ""}, **self.error_body(answer.error), "finish_reason": "error"}
            yield self._chunk(prompt, answer, [choice])
        elif answer.error:
            yield b"data: " + dump(self.error_body(answer.error)) + b"\n\n"
            return
        elif answer.finish and answer.oddity != CHOICES_EMPTY:
            yield self._chunk(prompt, answer, [{"delta": {}, **finish}])
        if prompt.include_usage:
            yield self._chunk(prompt, answer, [], usage=spoil(self._usage(prompt, answer), answer))
        if answer.oddity != "fail-nodone":
            yield b"data: [DONE]\n\n"

    @staticmethod
    def _chat_logprobs(prompt: Prompt, text: str) -> Optional[JSON]:
        return {"content": token_logprobs(text), "refusal": None} if prompt.request.body.get("logprobs") else None

    def error_body(self, failure: Failure, id: str = "") -> JSON:
        error = {"message": self.message(failure), "type": failure.kind, "param": failure.param or None}
        error["code"] = failure.code or None
        return {"error": {**error, **(failure.extra or {})}}

    @staticmethod
    def _usage(prompt: Prompt, answer: Answer) -> JSON:
        usage = count_usage(prompt, answer)
        written = usage.cache_write + usage.cache_write_1h
        return {
            "prompt_tokens": usage.prompt,
            "completion_tokens": usage.completion,
            "total_tokens": usage.prompt + usage.completion,
            "prompt_tokens_details": {
                "cached_tokens": usage.cache_read, **({"cache_write_tokens": written} if written else {})
            },
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
            **money(usage),
        }  # fmt: skip

    @staticmethod
    def _head(prompt: Prompt, answer: Answer, kind: str) -> JSON:
        id = f"chatcmpl-{prompt.request.id}" + ("-2" if answer.other_id else "")
        return {"id": id, "object": kind, "created": CREATED, "model": answer.model or prompt.model}

    def _chunk(self, prompt: Prompt, answer: Answer, choices: List[JSON], **more: Any) -> bytes:
        """An event, or one for each answer where more are wanted: a chunk has one choice at most."""
        counts = {"usage": None} if prompt.include_usage else {}
        head = self._head(prompt, answer, "chat.completion.chunk")
        wholes = [[{"index": index, "finish_reason": None, **each} for each in choices] for index in range(prompt.choices)]
        wholes = wholes if choices else [[]]
        return b"".join(b"data: " + dump({**head, "choices": whole, **counts, **more}) + b"\n\n" for whole in wholes)

    @staticmethod
    def _finish(prompt: Prompt, answer: Answer) -> str:
        return "function_call" if prompt.legacy and answer.finish == "tool_calls" else answer.finish or "stop"

    @staticmethod
    def _call(call: Call, answer: Answer) -> JSON:
        arguments = "".join(split_arguments(call, answer)) if call.arguments is not None else None
        if call.custom:
            return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": arguments}}
        return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}

    def _fragments(self, number: int, call: Call, legacy: bool, answer: Answer) -> Iterator[JSON]:
        """The deltas of one call: id and name first, then the arguments a few characters at a time."""
        kind, text = ("custom", "input") if call.custom else ("function", "arguments")
        start: JSON = {"name": call.name, text: None if call.arguments is None else ""}
        oddity = answer.oddity
        for function in [start] + [{text: piece} for piece in split_arguments(call, answer)]:
            named = {"id": call.id, "type": kind} if function is start else {}
            fragment: JSON = {"index": number, **named, kind: function}
            if oddity == "demo-tools-noindex":
                del fragment["index"]
            if oddity in ("demo-tools-index0", "demo-tools-sameindex-newname"):
                fragment["index"] = 0
            if oddity == "demo-tools-sameindex-newname":
                fragment.pop("id", None)
            if oddity == "demo-tools-repeatid":
                fragment["id"] = call.id
            yield {"function_call": function} if legacy else {"tool_calls": [fragment]}


def has_other_protocols() -> bool:
    """Whether llm_router_demo_protocols.py is beside this file: an agent's skill does without."""
    return os.path.exists(os.path.join(os.path.dirname(os.path.abspath(__file__)), "llm_router_demo_protocols.py"))


def other_protocols(what: str) -> Any:
    """The module llm_router_demo_protocols, imported with the first use; Rejected if it is missing."""
    if not has_other_protocols():
        message = f"This copy of the mock server has no llm_router_demo_protocols.py beside it, and so no {what}."
        raise Rejected(Failure(404, "unknown_url", message))
    sys.modules.setdefault("llm_router_demo", sys.modules[__name__])  # else it would load this file, and its classes, anew
    import llm_router_demo_protocols

    return llm_router_demo_protocols


OPENAI = OpenAI()


def json_reply(value: Any, status: int = 200, headers: Headers = ()) -> Reply:
    """JSON as a plain reply; its first half is what a broken connection delivers."""
    body = dump(value)
    half = len(body) // 2
    return Reply((body[:half],), (body[half:],), status, headers=headers)


def error_reply(protocol: Protocol, failure: Failure, id: str = "") -> Reply:
    """A failure as an HTTP error, in the protocol's shape."""
    body = protocol.error_body(failure, id) if failure.raw is None else failure.raw
    return json_reply(body, failure.status, failure.headers)


# ----------------------------------------------------------------------------------------------------- one connection


class Wire(BaseHTTPRequestHandler):
    """One client's connection: reads requests, writes bytes as a sender directs, and ends quietly when the client is gone."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else an event may wait 40 ms for the acknowledgement of the one before
    server: DemoServer
    number = 0  # this connection's, from 1
    request_id = ""

    def setup(self) -> None:
        self.number = self.server.admit(self.request)
        super().setup()

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            pass  # the client hung up, or close() did

    def finish(self) -> None:
        self.server.dismiss(self.request)
        try:
            super().finish()
        except OSError:
            pass

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        data = self._body()
        if data is None:
            self.close_connection = True  # the rest of the body would be read as a request
            send_whole(self, error_reply(OPENAI, Failure(413, "", f"The body has no length, or over {MAX_BODY_BYTES} bytes.")))
        else:
            self.server.respond(self, data)

    do_GET = do_DELETE = do_POST

    def _body(self) -> Optional[bytes]:
        """The request's body; None where its length is wrong or too much."""
        chunked = "chunked" in self.headers.get("Transfer-Encoding", "").lower()
        size = self._size(self.headers.get("Content-Length", "0"), 10)
        data: Optional[bytes] = b""
        while data is not None and chunked:
            size = self._size(self.rfile.readline(1024).decode("latin-1").partition(";")[0], 16)
            if size == 0:
                self.rfile.readline(1024)
                return data
            data = None if size is None or len(data) + size > MAX_BODY_BYTES else data + self._exactly(size + 2)[:-2]
        return data if chunked else None if size is None else self._exactly(size)

    @staticmethod
    def _size(text: str, base: int) -> Optional[int]:
        try:
            size = int(text, base)
        except ValueError:
            return None
        return size if 0 <= size <= MAX_BODY_BYTES else None

    def _exactly(self, size: int) -> bytes:
        data = self.rfile.read(size)
        if len(data) < size:
            raise ConnectionAbortedError("the client went away within its request")
        return data

    def begin(self, reply: Reply, block: bytes = b"") -> None:
        """Write the head of a response, and the first bytes of its body with it."""
        lines = [f"HTTP/1.1 {reply.status} {self.responses.get(reply.status, ('Unknown', ''))[0]}"]
        lines += [f"Content-Type: {reply.content_type}", f"X-Request-Id: {self.request_id}", "Server: llm-router-demo"]
        lines += [f"{name}: {value}" for name, value in reply.headers]
        if reply.streamed and self.request_version == "HTTP/1.0":
            self.close_connection = True  # it has no chunks: the end of the connection ends the answer
        elif reply.streamed:
            lines += ["Transfer-Encoding: chunked", "Cache-Control: no-cache"]
        else:
            lines += [f"Content-Length: {sum(map(len, chain(reply.first, reply.rest)))}"]
        if self.close_connection:
            lines += ["Connection: close"]
        self.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + block)

    def write(self, reply: Reply, block: bytes) -> None:
        """Write one block of a body, as a chunk where the response comes in chunks."""
        chunked = bool(block) and reply.streamed and self.request_version != "HTTP/1.0"  # a chunk of 0 bytes is the end
        self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)

    def end(self, reply: Reply) -> None:
        """Say that the body is whole."""
        if reply.streamed and self.request_version != "HTTP/1.0":
            self.wfile.write(b"0\r\n\r\n")

    def pause(self, seconds: float) -> None:
        """Wait, but not longer than the server lives."""
        if self.server.ending.wait(seconds):
            raise ConnectionAbortedError("the mock server is closing")

    def hang_up(self) -> None:
        """Close the connection without sending anything more."""
        self.close_connection = True

    def reset(self) -> None:
        """Break the connection off: the client sees a reset, not an end."""
        linger_none = b"\x01\x00\x00\x00\x00\x00\x00\x00" if sys.platform != "win32" else b"\x01\x00\x00\x00"
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_none)
        self.close_connection = True
        self.rfile.close()  # it holds the socket open
        self.connection.close()


# ------------------------------------------------------------------------------------------------------------ senders


def send_whole(wire: Wire, reply: Reply) -> None:
    """As it should be: a plain body in one write, a stream in one write for each event."""
    blocks = chain(reply.first, reply.rest)
    if not reply.streamed:
        wire.begin(reply, b"".join(blocks))
        return
    wire.begin(reply)
    for block in blocks:
        wire.write(reply, block)
    wire.end(reply)


def send_in_blocks(wire: Wire, reply: Reply) -> None:
    """A stream in few large writes."""
    wire.begin(reply)
    events: List[bytes] = []
    size = 0
    for event in chain(reply.first, reply.rest):
        events.append(event)
        size += len(event)
        if size >= BLOCK_BYTES:
            wire.write(reply, b"".join(events))
            events, size = [], 0
    wire.write(reply, b"".join(events))
    wire.end(reply)


def send_first(wire: Wire, reply: Reply) -> None:
    """What a broken connection still delivers."""
    wire.begin(reply)
    for block in reply.first:
        wire.write(reply, block)


def send_cut(wire: Wire, reply: Reply) -> None:
    """The first part as if it were all: HTTP ends as it should, the answer does not."""
    send_whole(wire, reply._replace(rest=()))


def send_short(wire: Wire, reply: Reply) -> None:
    """The first part, then the end of the connection: less than HTTP promised."""
    send_first(wire, reply)
    wire.hang_up()


def send_reset(wire: Wire, reply: Reply) -> None:
    send_first(wire, reply)
    wire.pause(RESET_AFTER_S)
    wire.reset()


def send_nothing(wire: Wire, reply: Reply) -> None:
    wire.hang_up()


def send_stall(wire: Wire, reply: Reply) -> None:
    wire.begin(reply)
    wire.pause(STALL_S)
    wire.hang_up()


def send_stall_mid(wire: Wire, reply: Reply) -> None:
    send_first(wire, reply)
    wire.pause(STALL_S)
    wire.hang_up()


def send_comments(wire: Wire, reply: Reply) -> None:
    """Keep-alives for ever: comments in a stream, white space in JSON."""
    send_comments_mid(wire, reply._replace(first=()))


def send_comments_mid(wire: Wire, reply: Reply) -> None:
    reply = reply._replace(streamed=True)  # the length is unknown
    send_first(wire, reply)
    while not wire.server.ending.is_set():
        wire.write(reply, reply.sign)
        wire.pause(COMMENT_S)


def send_drip(wire: Wire, reply: Reply) -> None:
    wire.begin(reply)
    for block in chain(reply.first, reply.rest):
        for byte in block:
            wire.write(reply, bytes([byte]))
            wire.pause(DRIP_S)
    wire.end(reply)


def send_late(seconds: float) -> Callable[[Wire, Reply], None]:
    def send(wire: Wire, reply: Reply) -> None:
        wire.pause(seconds)
        send_whole(wire, reply)

    return send


def send_slowly(seconds: float) -> Callable[[Wire, Reply], None]:
    """A pause after each event; a plain answer comes after one pause."""

    def send(wire: Wire, reply: Reply) -> None:
        if not reply.streamed:
            send_late(seconds)(wire, reply)
            return
        wire.begin(reply)
        for block in chain(reply.first, reply.rest):
            wire.write(reply, block)
            wire.pause(seconds)
        wire.end(reply)

    return send


def send_bytes(count: int, end: Callable[[Wire], None]) -> Callable[[Wire, Reply], None]:
    """So many bytes of the response, its head counted, then an end of the connection."""

    def send(wire: Wire, reply: Reply) -> None:
        wire.wfile, out = BytesIO(), wire.wfile
        send_whole(wire, reply)
        wire.wfile, whole = out, wire.wfile.getvalue()
        wire.wfile.write(whole[:count])
        wire.pause(RESET_AFTER_S)
        end(wire)

    return send


def send_garbage(wire: Wire, reply: Reply) -> None:
    wire.wfile.write(GARBAGE)
    wire.hang_up()


def send_between(filler: bytes) -> Callable[[Wire, Reply], None]:
    """A stream with an event that carries nothing before each of its own."""

    def send(wire: Wire, reply: Reply) -> None:
        if reply.streamed:
            blocks = chain(reply.first, reply.rest)
            reply = reply._replace(first=chain.from_iterable((filler, block) for block in blocks), rest=())
        send_whole(wire, reply)

    return send


def send_gzipped(wire: Wire, reply: Reply) -> None:
    """Compressed, each event flushed, whatever the request accepts."""
    from zlib import Z_SYNC_FLUSH, compressobj

    packer = compressobj(wbits=31)  # gzip's own head
    blocks = (packer.compress(block) + packer.flush(Z_SYNC_FLUSH) for block in chain(reply.first, reply.rest))
    packed: Iterable[bytes] = chain(blocks, (packer.flush() for _ in range(1)))
    packed = packed if reply.streamed else list(packed)
    send_whole(wire, reply._replace(first=packed, rest=(), headers=(*reply.headers, ("Content-Encoding", "gzip"))))


def send_with_bom(wire: Wire, reply: Reply) -> None:
    """Behind a byte order mark."""
    send_whole(wire, reply._replace(first=[b"\xef\xbb\xbf", *reply.first]))


def send_unterminated(wire: Wire, reply: Reply) -> None:
    """Without the blank line behind the last event."""
    blocks = [*reply.first, *reply.rest]
    send_whole(wire, reply._replace(first=[*blocks[:-1], blocks[-1].rstrip()], rest=()))


def send_bad_json(wire: Wire, reply: Reply) -> None:
    """One event that is not JSON before the end; a plain body is cut in the middle."""
    if reply.streamed:
        send_whole(wire, reply._replace(rest=chain([reply.broken], reply.rest)))
    else:
        send_cut(wire, reply)


# --------------------------------------------------------------------------------------------------------- behaviours


def text_answer(text: str) -> Answer:
    return Answer(split_pieces(text))


def call_tools(prompt: Prompt) -> Answer:
    """One call for each tool that may be called, its arguments filled from its schema; free text for a custom tool."""
    calls = []
    for number, tool in enumerate(prompt.tools, 1):
        custom = bool(tool.get("custom"))
        arguments = WORD if custom else dump(schema_value(tool.get("parameters") or {"type": "object"})).decode()
        name, namespace = str(tool.get("name")), str(tool.get("namespace") or "")
        calls.append(Call(f"call_{prompt.turn}_{number}", name, arguments, custom, namespace))
    return Answer(calls=calls, finish="tool_calls")


def echo(prompt: Prompt) -> Answer:
    """The JSON that was requested, else the tool results, else the last user message."""
    if prompt.schema:
        return text_answer(dump(schema_value(prompt.schema)).decode())
    if prompt.schema == {}:
        return text_answer(dump({"answer": NOTICE, "you_said": prompt.text}).decode())
    if prompt.results:
        quoted = "; ".join(f"{name} said: {text}" for name, text in prompt.results)
        return text_answer(f"{NOTICE} {quoted}")
    return text_answer(append_images(f"{NOTICE} You said: {prompt.text}", prompt.images))


def demo(prompt: Prompt) -> Answer:
    return call_tools(prompt) if prompt.forced and prompt.tools and not prompt.results else echo(prompt)


def demo_tools(prompt: Prompt) -> Answer:
    return call_tools(prompt) if prompt.tools and not prompt.results else echo(prompt)


def demo_schema_repair(prompt: Prompt) -> Answer:
    if prompt.schema and not prompt.model_turns:
        return text_answer('["this list does not fit the schema"]')
    return echo(prompt)


def demo_rounds(prompt: Prompt) -> Answer:
    return call_tools(prompt) if prompt.tools and prompt.model_turns < prompt.number else echo(prompt)


def odd_tools(prompt: Prompt) -> Answer:
    return demo_tools(prompt)._replace(oddity=prompt.model)


def odd_arguments(prompt: Prompt, change: Callable[[str], Optional[str]]) -> Answer:
    answer = demo_tools(prompt)
    return answer._replace(calls=[call._replace(arguments=change(call.arguments or "")) for call in answer.calls])


def demo_reasoning_tools(prompt: Prompt) -> Answer:
    return demo_tools(prompt)._replace(reasoning=split_pieces(REASONING))


def demo_cached(prompt: Prompt) -> Answer:
    """Half is read; a quarter is written, for an hour where the model or a cache_control of the request says so."""
    hour = prompt.model.endswith("-1h") or '"ttl":"1h"' in dump(prompt.request.body).decode()
    written = prompt.prompt_tokens // 4
    half = demo(prompt)._replace(cache_read=prompt.prompt_tokens // 2)
    return half._replace(cache_write_1h=written) if hour else half._replace(cache_write=written)


USAGE_LETTERS = "iorwht"  # of demo-usage-FIELD: input, output, cache read, cache write, the same for an hour, thinking


def demo_usage(prompt: Prompt) -> Outcome:
    """Counts as the model name gives them, without a cost; or no counts at all, but a word of SPOILED."""
    if prompt.field in SPOILED:
        return demo(prompt)._replace(oddity=prompt.model)
    if not re.fullmatch(rf"(\d{{1,12}}[{USAGE_LETTERS}])+", prompt.field):
        return unknown_model(prompt)
    counts = {letter: int(number) for number, letter in re.findall(r"(\d+)(\w)", prompt.field)}
    fresh, output, read, written, hour, thinking = (counts.get(letter, 0) for letter in USAGE_LETTERS)
    return demo(prompt)._replace(usage=Usage(fresh + read + written + hour, output, thinking, read, written, hour))


def demo_no_cost(prompt: Prompt) -> Answer:
    answer = demo(prompt)
    return answer._replace(usage=count_usage(prompt, answer)._replace(cost=None))


def demo_model(prompt: Prompt) -> Answer:
    return demo(prompt)._replace(model=prompt.field)


def demo_window(prompt: Prompt) -> Outcome:
    """A context too long for so small a window; in Anthropic's and Gemini's protocols in their own words."""
    count, most = prompt.prompt_tokens, prompt.number
    if count <= most:
        return demo(prompt)
    if prompt.model.startswith("demo-nctx"):
        text = f"request ({count} tokens) exceeds the available context size ({most} tokens), try increasing it"
        return Failure(400, 400, text, "exceed_context_size_error", extra={"n_prompt_tokens": count, "n_ctx": most})
    text = "This model's maximum context length is {1} tokens. However, your messages resulted in {0} tokens."
    return Failure(400, "context_length_exceeded", text, param="messages", values=(count, most))


def demo_ignore(prompt: Prompt) -> Answer:
    return echo(prompt._replace(schema=None))._replace(oddity="demo-ignore")


def demo_finish(prompt: Prompt) -> Answer:
    return demo(prompt)._replace(finish=prompt.field)


def demo_words(prompt: Prompt) -> Answer:
    return Answer(list(islice(cycle(WORDS), prompt.number)))


MODEL_NOT_FOUND = "The model '{0}' does not exist; the mock server has 'demo'."


def unknown_model(prompt: Prompt) -> Failure:
    return Failure(404, "model_not_found", MODEL_NOT_FOUND, values=(prompt.model,))


def fail_status(prompt: Prompt) -> Failure:
    if not 400 <= prompt.number <= 599:
        return unknown_model(prompt)
    kind = "invalid_request_error" if prompt.number < 500 else "server_error"
    return Failure(prompt.number, "", f"The mock server answers {prompt.number}.", kind)


def fail_finish(prompt: Prompt) -> Answer:
    return Answer(finish=prompt.field)


def fail_native(prompt: Prompt) -> Answer:
    return Answer(native_finish=prompt.field)


def fail_event(prompt: Prompt) -> Answer:
    status = EVENT_STATUS.get(prompt.field, 500)
    kind = "invalid_request_error" if status == 400 else RATE if status == 429 else "server_error"
    message = EVENT_MESSAGES.get(prompt.field, f"The mock server fails inside the answer: {prompt.field}.")
    sizes = (9000, 8192) if status == 400 else ()
    return Answer(error=Failure(status, prompt.field, message, kind, values=sizes))


def fail_tools_half(prompt: Prompt) -> Answer:
    return (call_tools(prompt) if prompt.tools else demo(prompt))._replace(oddity=TOOLS_HALF)


def fail_image(prompt: Prompt) -> Outcome:
    if prompt.number not in IMAGE_FAILURES:
        return unknown_model(prompt)
    shown = bool(prompt.images) or "Image 1: " in str(prompt.results)
    return IMAGE_FAILURES[prompt.number] if shown else demo(prompt)


def fail_prefill(prompt: Prompt) -> Outcome:
    message = "This model does not support assistant message prefill. The conversation must end with a user message."
    return Failure(400, "", message) if prompt.prefilled else demo(prompt)


def fail_fields(prompt: Prompt) -> Outcome:
    """As `transformers serve` answers; the body is the same in every protocol."""
    if prompt.field not in prompt.request.body:
        return demo(prompt)
    return Failure(422, "", "", raw={"detail": f"Unexpected fields in the request: {{'{prompt.field}'}}"})


def fail_empty_body(prompt: Prompt) -> Reply:
    return Reply(content_type="text/event-stream" if prompt.stream else "application/json", streamed=prompt.stream)


def fail_redirect(prompt: Prompt) -> Failure:
    if prompt.number not in (301, 302, 303, 307, 308):
        return unknown_model(prompt)
    location = prompt.request.redirect_to + prompt.request.path
    return Failure(prompt.number, "redirect", "This API has moved.", headers=(("Location", location),))


STRICT = {  # how real servers say it; {0} is the field, {1} its value
    "max_tokens": ("unsupported_parameter", "Unsupported parameter: '{0}'. Use 'max_completion_tokens' instead."),
    "temperature": ("unsupported_value", "Unsupported value: '{0}' does not support {1} with this model."),
    "response_format": ("unsupported_value", "This model does not support '{0}' of this type."),
}


def fail_strict(prompt: Prompt) -> Outcome:
    sent = prompt.request.body
    if prompt.field not in sent:
        return demo(prompt)
    code, message = STRICT.get(prompt.field, ("unknown_parameter", "Unrecognized request argument supplied: {0}"))
    return Failure(400, code, message.format(prompt.field, sent[prompt.field]), param=prompt.field)


HEADERS = (  # what vendors send beside an answer, and what is nobody else's business
    ("openai-organization", "mock"), ("openai-processing-ms", "7"), ("openai-version", "2020-10-01"),
    ("x-ratelimit-limit-requests", "100"), ("x-ratelimit-remaining-requests", "99"), ("x-ratelimit-reset-requests", "1s"),
    ("anthropic-organization-id", "mock"), ("anthropic-ratelimit-requests-limit", "100"),
    ("anthropic-ratelimit-requests-remaining", "99"), ("anthropic-ratelimit-requests-reset", "2026-01-01T00:00:00Z"),
    ("Set-Cookie", "session=mock"), ("Access-Control-Allow-Origin", "*"), ("X-Internal-Host", "mock-17"),
)  # fmt: skip
INSIDE = Failure(502, "upstream_error", "The provider behind the mock server failed.", "server_error")
HTML = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>The mock server's page.</body></html>\n"
TEXT = b"upstream connect error or disconnect/reset before headers\n"
RATE = "rate_limit_error"
EVENT_STATUS = {  # code of fail-event-FIELD -> the status that it would have before the answer
    "context_length_exceeded": 400, "invalid_prompt": 400, "rate_limit_exceeded": 429, "insufficient_quota": 429,
    "server_is_overloaded": 503, "overloaded": 529,
}  # fmt: skip
EVENT_MESSAGES = {
    "rate_limit_exceeded": "Rate limit reached. Please try again in 1.5s.",
    "context_length_exceeded": "This model's maximum context length is {1} tokens.",
    "insufficient_quota": "You exceeded your current quota, please check your plan and billing details.",
}
IMAGE_FAILURES = {  # status -> what a model without eyes answers: OpenAI, mlx-lm, llama.cpp
    400: Failure(400, "", "Invalid content type. image_url is only supported by certain models."),
    404: Failure(404, "", "", raw={"error": "Only 'text' content type is supported."}),
    500: Failure(
        500, 500, "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
        "server_error",
    ),
}  # fmt: skip
BALANCE = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase"
LIMIT = "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC."
VLLM_LONG = (
    "This model's maximum context length is 8192 tokens. However, you requested 9256 tokens (9000 in the messages, 256 in the"
    " completion). Please reduce the length of the messages or completion."
)

FAILURES = {  # model name -> the HTTP error that it gets
    "fail-401": Failure(401, "invalid_api_key", "Incorrect API key provided.", "authentication_error"),
    "fail-402": Failure(402, "insufficient_credits", "Insufficient credits.", "billing_error"),
    "fail-403": Failure(403, "permission_denied", "This key may not use this model.", "permission_error"),
    "fail-403-credits": Failure(403, "", "Pre-deduction failed: the account has no credit left.", "api_error"),
    "fail-404": Failure(404, "model_not_found", "The model does not exist or you do not have access to it."),
    "fail-408": Failure(408, "request_timeout", "The request took too long.", "timeout_error"),
    "fail-413": Failure(413, "request_too_large", "The request is too large."),
    "fail-429": Failure(429, "rate_limit_exceeded", "Rate limit reached.", RATE, headers=(("Retry-After", "1"),)),
    "fail-429-long": Failure(
        429, "rate_limit_exceeded", "Daily limit reached.", RATE, headers=(("Retry-After", "3600"),)
    ),
    "fail-429-quota": Failure(429, "insufficient_quota", "You exceeded your current quota.", "insufficient_quota"),
    "fail-500": Failure(500, "internal_error", "The server had an error.", "server_error"),
    "fail-503": Failure(503, "overloaded", "The engine is currently overloaded.", "overloaded_error"),
    "fail-503-channels": Failure(503, "", "No available channels for this model in group default.", "api_error"),
    "fail-529": Failure(529, "overloaded", "Overloaded.", "overloaded_error"),
    "fail-400-credits": Failure(400, "billing_hard_limit_reached", "Billing hard limit has been reached"),
    "fail-400-balance": Failure(400, "", f"{BALANCE} credits."),
    "fail-400-limit": Failure(400, "", LIMIT),
    "fail-400-organization": Failure(400, "", "This organization has been disabled."),
    "fail-400-location": Failure(
        400, "unsupported_country_region_territory", "Country, region, or territory not supported"
    ),
    "fail-context": Failure(
        400, "context_length_exceeded", "This model's maximum context length is {1} tokens.", values=(9000, 8192)
    ),
    "fail-context-llamacpp": Failure(
        400, 400, "request (9000 tokens) exceeds the available context size (8192 tokens), try increasing it",
        "exceed_context_size_error", extra={"n_prompt_tokens": 9000, "n_ctx": 8192},
    ),
    "fail-context-vllm": Failure(400, 400, VLLM_LONG, "BadRequestError"),
    "fail-context-vllm-output": Failure(
        400, 400, "max_tokens=9000 cannot be greater than max_model_len=8192. Please request fewer output tokens.",
        "BadRequestError", "max_tokens",
    ),
    "fail-context-openrouter": Failure(
        400, 400, "This endpoint's maximum context length is 8192 tokens. However, you requested about 9000 tokens."
    ),
}  # fmt: skip


HELP_CHARS = 88  # of a behaviour's line in --help


class Behaviour(NamedTuple):
    """What a model name causes, and its line in --help."""

    line: str
    run: Callable[[Prompt], Outcome]


def http_failure(failure: Failure) -> Behaviour:
    headers = "".join(f", {name}: {value}" for name, value in failure.headers)
    line = f"HTTP {failure.status}{headers}. {failure.message.format(*failure.values).rstrip('.')}."
    line = line if len(line) <= HELP_CHARS else f"{line[: HELP_CHARS - 3]}..."
    return Behaviour(line, lambda prompt: failure._replace(values=failure.values or (prompt.model,)))


def variant(line: str, **change: Any) -> Behaviour:
    """What demo answers, but for these fields of the Answer."""
    return Behaviour(line, lambda prompt: demo(prompt)._replace(**change))


def interleaved(kind: str, filler: bytes) -> Behaviour:
    return variant(f"Stream events with {kind} between, which carry nothing; else as demo.", send=send_between(filler))


def constant(line: str, outcome: Outcome) -> Behaviour:
    """The same outcome for every request."""
    return Behaviour(line, lambda prompt: outcome)


BEHAVIOURS = {  # by model name; N stands for a number, FIELD for a field of the request
    "demo": Behaviour("Repeats the last user message, names type and size of images, calls a tool if it must.", demo),
    "demo-reasoning": variant("Reasons (reasoning_content), then answers as demo.", reasoning=split_pieces(REASONING)),
    "demo-strict": Behaviour("Refuses what api.openai.com refuses; demo-strict-tools does as demo-tools, and so on.", demo),
    "demo-reasoning-tools": Behaviour("Reasons, then does as demo-tools.", demo_reasoning_tools),
    "demo-cached": Behaviour("Half of the prompt was cached, and a quarter comes into Anthropic's cache.", demo_cached),
    "demo-finish-FIELD": Behaviour("Ends in the finish reason FIELD as it is written here.", demo_finish),
    "demo-blocked": constant(
        "As fail-filter; Gemini blocks the prompt.", Answer(finish="content_filter", oddity="demo-blocked")
    ),
    "demo-tools": Behaviour("Calls every tool offered, arguments filled from its schema; then quotes results.", demo_tools),
    "demo-rounds-N": Behaviour("Calls every tool offered in its first N turns; then quotes the last results.", demo_rounds),
    "demo-schema-repair": Behaviour(
        "A list in place of what a schema requests, in its first turn; then as demo.", demo_schema_repair
    ),
    "demo-tools-ids": Behaviour("Gemini's calls have ids and want them back; else as demo-tools.", odd_tools),
    "demo-tools-noindex": Behaviour("Streamed calls without an index.", odd_tools),
    "demo-tools-index0": Behaviour("Streamed calls that all have index 0; a new id begins a call.", odd_tools),
    "demo-tools-sameindex-newname": Behaviour("Streamed calls, index 0, no id; a new name begins a call.", odd_tools),
    "demo-tools-repeatid": Behaviour("Streamed calls that repeat their id in every fragment.", odd_tools),
    "demo-tools-null-args": Behaviour("Calls with arguments null.", lambda prompt: odd_arguments(prompt, lambda raw: None)),
    "demo-tools-empty-args": Behaviour('Calls with arguments "".', lambda prompt: odd_arguments(prompt, lambda raw: "")),
    "demo-tools-cut-args": Behaviour(
        "Calls with arguments that break off.", lambda prompt: odd_arguments(prompt, lambda raw: raw[: len(raw) // 2])
    ),
    "demo-tools-stop": Behaviour(
        'Calls beside finish_reason "stop".', lambda prompt: demo_tools(prompt)._replace(finish="stop")
    ),
    "demo-sleep-N": Behaviour(
        "Waits N ms, then answers as demo.", lambda prompt: demo(prompt)._replace(send=send_late(prompt.number / 1000))
    ),
    "demo-slow-N": Behaviour(
        "Waits N ms after each event of a stream.", lambda prompt: demo(prompt)._replace(send=send_slowly(prompt.number / 1000))
    ),
    "demo-words-N": Behaviour("Answers N words, each an event of its own.", demo_words),
    "demo-burst-N": Behaviour(
        "Answers N words, the events in blocks of 64 KiB.", lambda prompt: demo_words(prompt)._replace(send=send_in_blocks)
    ),
    "demo-bytes-N": Behaviour(
        "A plain body of N bytes; a stream of the same text in pieces of 16 KiB.", lambda prompt: Answer(size=prompt.number)
    ),
    "demo-cached-1h": Behaviour("As demo-cached, but what comes into the cache stays for an hour.", demo_cached),
    "demo-usage-FIELD": Behaviour(
        "Usage by FIELD: 9i8o7r6w5h4t (see below), or nan, infinite, negative, huge, text, null.", demo_usage
    ),
    "demo-headers": variant("Rate-limit and vendor headers, a cookie, and an internal header.", headers=HEADERS),
    "demo-window-N": Behaviour("A window of N tokens, listed as max_model_len; longer prompts fail (vLLM).", demo_window),
    "demo-nctx-N": Behaviour("The same in llama.cpp's words, listed as meta.n_ctx.", demo_window),
    "demo-byok": variant("OpenRouter's usage with is_byok and cost_details.", byok=True),
    "demo-nocost": Behaviour("Usage without a cost.", demo_no_cost),
    "demo-model-FIELD": Behaviour("The answer says that it comes from the model FIELD.", demo_model),
    "demo-ignore": Behaviour("Ignores tool_choice, schema and n.", demo_ignore),
    "demo-azure": variant("A stream's first chunk has choices [], as Azure's; else as demo.", oddity="demo-azure"),
    "demo-data-null": interleaved("data: null", b"data: null\n\n"),
    "demo-data-array": interleaved("data: []", b"data: []\n\n"),
    "demo-data-blank": interleaved("blank data", b"data: \n\n"),
    "demo-sse": variant("Server-sent events, also to a plain request.", sse=True),
    "demo-gzip": variant("Compressed with gzip, whatever the request accepts.", send=send_gzipped),
    "demo-bom": variant("A byte order mark before the answer.", send=send_with_bom),
    "demo-unterminated": variant("A stream whose last event has no blank line behind it.", send=send_unterminated),
    **{name: http_failure(failure) for name, failure in FAILURES.items()},
    "fail-N": Behaviour("HTTP N, 400 to 599.", fail_status),
    "fail-422-FIELD": Behaviour("HTTP 422 with a detail naming FIELD where the request has it; else as demo.", fail_fields),
    "fail-image-N": Behaviour("HTTP N (400, 404, 500) in some server's words to an image; else as demo.", fail_image),
    "fail-prefill": Behaviour("HTTP 400 where the model's own turn is the last; else as demo.", fail_prefill),
    "fail-strict-FIELD": Behaviour("HTTP 400 naming FIELD where the request has it; else as demo.", fail_strict),
    "fail-filter": constant('finish_reason "content_filter" without text.', Answer(finish="content_filter")),
    "fail-filter-mid": variant('finish_reason "content_filter" after text.', finish="content_filter"),
    "fail-refusal": constant("message.refusal in place of content.", Answer(refusal="The mock server refuses.")),
    "fail-finish-FIELD": Behaviour("No content, and the finish reason FIELD as it is written here.", fail_finish),
    "fail-native-FIELD": Behaviour("No content, native_finish_reason FIELD beside stop (OpenRouter).", fail_native),
    "fail-tools-half": Behaviour("Half a tool call at the end; a clean end with finish reason.", fail_tools_half),
    "fail-start-twice": variant("After the text of a stream a second start with another id.", oddity=START_TWICE),
    "fail-length": variant('finish_reason "length" after text.', finish="length"),
    "fail-empty": constant('Content "" with finish_reason "stop".', Answer()),
    "fail-empty-body": Behaviour("HTTP 200 with no body.", fail_empty_body),
    "fail-html": constant("HTTP 200 with an HTML page.", Reply((HTML,), content_type="text/html; charset=utf-8")),
    "fail-text": constant("HTTP 200 with a line of text.", Reply((TEXT,), content_type="text/plain")),
    "fail-badjson": variant("An event that is not JSON after the text; plain: half the JSON.", send=send_bad_json),
    "fail-choices-empty": constant('HTTP 200 with "choices": [].', Answer(oddity="fail-choices-empty")),
    "fail-json-for-stream": variant("A good plain answer, also to a stream request.", plain=True),
    "fail-nofinish": variant("A stream that ends in [DONE] without finish_reason: complete. Plain: as demo.", finish=""),
    "fail-nodone": variant("A stream that ends in finish_reason without [DONE]: complete.", oddity="fail-nodone"),
    "fail-error-200": constant('HTTP 200 with {"error": ...}, streamed or not.', Answer(error=INSIDE, plain=True)),
    "fail-error-choice": variant(
        'An error in choices[0], finish_reason "error", after text.', error=INSIDE, oddity="fail-error-choice"
    ),
    "fail-error-beside": variant("A whole answer with an error beside its choices.", error=INSIDE, oddity=ERROR_BESIDE),
    "fail-event-FIELD": Behaviour("An error with code FIELD before any text, inside HTTP 200.", fail_event),
    "fail-error-first": constant(
        'An error event before any text; plain: 200 with {"error": ...}.', Answer(error=INSIDE, oddity="fail-error-first")
    ),
    "fail-error-mid": variant("An error event after text; plain: an error in choices[0].", error=INSIDE),
    "fail-cut": variant("Some text, then a clean end without a finish; plain: half the JSON.", send=send_cut),
    "fail-cut-plain": variant("Some text, then the connection ends before HTTP's own end.", send=send_short),
    "fail-reset": variant("Some text, then a TCP reset.", send=send_reset),
    "fail-drop": variant("The connection ends before any status.", send=send_nothing),
    "fail-stall": variant("Headers, then silence.", send=send_stall),
    "fail-stall-mid": variant("Some text, then silence.", send=send_stall_mid),
    "fail-comments": variant("Keep-alive comments for ever; plain: white space for ever.", send=send_comments),
    "fail-comments-mid": variant("Some text, then the same for ever.", send=send_comments_mid),
    "break-reset-N": Behaviour(
        "The first N bytes of the response, then a TCP reset.",
        lambda prompt: demo(prompt)._replace(send=send_bytes(prompt.number, Wire.reset)),
    ),
    "break-close-N": Behaviour(
        "The first N bytes of the response, then the connection ends.",
        lambda prompt: demo(prompt)._replace(send=send_bytes(prompt.number, Wire.hang_up)),
    ),
    "break-garbage": variant("Bytes that are not HTTP.", send=send_garbage),
    "fail-drip": variant("One byte every 50 ms.", send=send_drip),
    "fail-redirect-N": Behaviour("HTTP N (301, 302, 303, 307, 308) to another host.", fail_redirect),
    "fail-...-once": Behaviour("Any failure, but once (for each Idempotency-Key, else model); then as demo.", demo),
}


class Found(NamedTuple):
    """A model name, looked up: its behaviour and the N or FIELD in it."""

    behaviour: Behaviour
    number: int = 0
    field: str = ""


FIELD_STEMS = sorted((name[: -len("FIELD")] for name in BEHAVIOURS if name.endswith("-FIELD")), key=len, reverse=True)


def find(model: str) -> Optional[Found]:
    """The behaviour of a model name, None if there is none; what begins with "demo" and is not in the table is demo."""
    if model in BEHAVIOURS:
        return Found(BEHAVIOURS[model])
    stem, _, end = model.rpartition("-")
    if f"{stem}-N" in BEHAVIOURS and end.isdecimal():
        return Found(BEHAVIOURS[f"{stem}-N"], int(end)) if len(end) < 9 and int(end) <= MAX_N else None
    for start in FIELD_STEMS:
        if model.startswith(start) and len(model) > len(start):
            return Found(BEHAVIOURS[f"{start}FIELD"], field=model[len(start) :])
    return Found(BEHAVIOURS["demo"]) if model.startswith("demo") else None


def without_delay(outcome: Outcome) -> Outcome:
    """A failure that happens once lets the client try again at once."""
    if not isinstance(outcome, Failure):
        return outcome
    return outcome._replace(headers=tuple((name, "0" if name == "Retry-After" else value) for name, value in outcome.headers))


def run_step(prompt: Prompt, is_first: Callable[[str], bool]) -> Outcome:
    """The turn of the script that this conversation has come to; behind its end, and where its tools are missing, as demo."""
    steps, tools = prompt.request.script, {str(tool.get("name")): tool for tool in prompt.tools}
    step = steps[prompt.model_turns] if prompt.model_turns < len(steps) else None
    if step is None or not all(name in tools for name, _ in step.calls):
        return echo(prompt)
    failure = find(step.first) if step.first else None
    if failure and is_first(f"{prompt.model} step {prompt.model_turns}"):
        failing = prompt._replace(model=step.first, number=failure.number, field=failure.field)
        return failure.behaviour.run(failing)  # with its Retry-After: whether a client waits may be the question
    if not step.calls:
        return text_answer(step.text)
    calls = []
    for number, (name, given) in enumerate(step.calls, 1):
        arguments = given if isinstance(given, str) else dump(given).decode()
        custom, namespace = bool(tools[name].get("custom")), str(tools[name].get("namespace") or "")
        calls.append(Call(f"call_{prompt.turn}_{number}", name, arguments, custom, namespace))
    return Answer(calls=calls, finish="tool_calls")


def run_behaviour(prompt: Prompt, is_first: Callable[[str], bool]) -> Outcome:
    """Run the behaviour that the model name selects; `is_first` is False for a key seen before."""
    once = prompt.model.startswith("fail-") and prompt.model.endswith("-once")
    model = prompt.model[: -len("-once")] if once else prompt.model.replace("demo-strict-", "demo-", 1)
    found = find(model)
    if prompt.request.script and (model == "demo-script" or found is None):
        return run_step(prompt, is_first)
    if found is None and prompt.request.any_model and not model.startswith(("fail-", "break-")):
        return demo(prompt)
    if found is None:
        return unknown_model(prompt)
    if once and not is_first(f"{prompt.model} {prompt.request.headers.get('idempotency-key')}"):
        return demo(prompt)
    outcome = found.behaviour.run(prompt._replace(model=model, number=found.number, field=found.field))
    return without_delay(outcome) if once else outcome


def cut_at_stop(prompt: Prompt, answer: Answer) -> Answer:
    """The answer up to the first of the stop sequences in it."""
    text = "".join(answer.text)
    found = [(text.find(stop), stop) for stop in prompt.stops if stop in text]
    return answer._replace(text=split_pieces(text[: min(found)[0]]), stop=min(found)[1]) if found else answer


LETTERS = """
  in demo-usage-FIELD a number stands before each letter: i input (neither from nor to the cache), o output, r cache read,
  w cache write for 5 minutes, h cache write for 1 hour, t thinking (a part of o)"""


def behaviour_lines() -> str:
    """The table as text, a line for each behaviour."""
    return "\n".join(f"  {name:<29} {entry.line}" for name, entry in BEHAVIOURS.items()) + f"\n{LETTERS}"


# ------------------------------------------------------------------------------------------------------------- routes


def pad(protocol: Protocol, prompt: Prompt, answer: Answer) -> Answer:
    """The answer with as much text as makes its plain JSON answer.size bytes long."""
    start = f"{NOTICE} "
    text = start + "x" * (answer.size - len(dump(protocol.plain(prompt, Answer([start])))))
    step = PIECE_CHARS if prompt.stream else len(text)
    return answer._replace(text=[text[at : at + step] for at in range(0, len(text), step)])


def reply_to(protocol: Protocol, prompt: Prompt, outcome: Outcome) -> Reply:
    """An outcome in the protocol's shape."""
    if isinstance(outcome, Reply):
        return outcome
    if isinstance(outcome, Failure):
        return error_reply(protocol, outcome, prompt.request.id)
    if outcome.size:
        outcome = pad(protocol, prompt, outcome)
    prompt = prompt._replace(choices=1) if outcome.oddity == "demo-ignore" else prompt
    outcome = cut_at_stop(prompt, outcome) if prompt.stops else outcome
    protocol.keep(prompt, outcome)
    if outcome.plain or not (prompt.stream or outcome.sse):
        return json_reply(protocol.plain(prompt, outcome), headers=outcome.headers)
    prompt = prompt if prompt.stream else prompt._replace(include_usage=True)
    start, end = protocol.stream(prompt, outcome)
    reply = Reply(start, end, content_type="text/event-stream", streamed=True, headers=outcome.headers)
    return protocol.frame(prompt, reply._replace(sign=protocol.sign, broken=protocol.broken))


# What reading a request raises where a value has another type than its API documents.
WRONG_SHAPE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


def converse(wire: Wire, protocol: Protocol, request: Request) -> None:
    """Answer one request to a model."""
    outcome: Optional[Outcome] = None
    try:
        prompt = protocol.read_request(request)
        outcome = run_behaviour(prompt, wire.server.is_first)
        reply = reply_to(protocol, prompt, outcome)
    except Rejected as error:
        reply = error_reply(protocol, error.failure, request.id)
    except WRONG_SHAPE as error:
        reply = error_reply(protocol, bad_request(f"The request has a wrong shape: {error}").failure, request.id)
    send = outcome.send if isinstance(outcome, Answer) and outcome.send else send_whole
    send(wire, reply._replace(headers=reply.headers + protocol.headers(request)))


def post_to(protocol: Protocol) -> Callable[[Wire, Request], None]:
    return lambda wire, request: converse(wire, protocol, request)


def list_model_names(server: DemoServer) -> Sequence[str]:
    """The models of the list: the server's own choice, or all that answer, with an example for each N and FIELD."""
    if server.models is not None:
        return server.models
    names = [name.replace("usage-FIELD", "usage-100i10o") for name in BEHAVIOURS if name.startswith("demo")]
    return [name.replace("-N", "-100").replace("-FIELD", "-stop") for name in names]


def list_window(model: str) -> JSON:
    """What vLLM and llama.cpp list about a model's context."""
    number = model.rpartition("-")[2]
    if model.startswith("demo-window-") and number.isdecimal():
        return {"max_model_len": int(number)}
    return {"meta": {"n_ctx": int(number)}} if model.startswith("demo-nctx-") and number.isdecimal() else {}


def send_models(wire: Wire, request: Request, protocol: Protocol, models: Dict[str, JSON], whole: JSON) -> None:
    """The list, or the one model that the path names."""
    name = request.path.partition("/models/")[2]
    if name and name not in models:
        failure = Failure(404, "model_not_found", MODEL_NOT_FOUND, values=(name,))
        reply = error_reply(protocol, failure, request.id)
    else:
        reply = json_reply(models[name] if name else whole)
    send_whole(wire, reply._replace(headers=reply.headers + protocol.headers(request)))


def get_models(wire: Wire, request: Request) -> None:
    """OpenAI's list; Anthropic's where the request has its version header, Google's where it has its key header."""
    named = "anthropic-version" in request.headers, "x-goog-api-key" in request.headers
    if any(named) and has_other_protocols():
        other = other_protocols("other list")
        (other.get_anthropic_models if named[0] else other.get_gemini_models)(wire, request)
        return
    made = {"object": "model", "created": CREATED, "owned_by": "llm-router"}
    models = {name: {"id": name, **made, **list_window(name)} for name in list_model_names(wire.server)}
    send_models(wire, request, OPENAI, models, {"object": "list", "data": list(models.values())})


def get_page(wire: Wire, request: Request) -> None:
    """A page for browsers: what this server is, and its models."""
    page = f"{NOTICE} POST {wire.server.base_url}/chat/completions with one of these models:\n\n{behaviour_lines()}\n"
    send_whole(wire, Reply((page.encode(),), content_type="text/plain; charset=utf-8"))


Route = Tuple[str, str, Callable[[Wire, Request], None]]  # method, pattern of the path, what answers
ROUTES: List[Route] = [
    ("POST", r"/v1/chat/completions", post_to(OPENAI)),
    ("GET", r"/v1/models(/[^/]+)?", get_models),
    ("GET", r"/", get_page),
]


def find_route(method: str, path: str) -> Optional[Callable[[Wire, Request], None]]:
    """What answers a request; None where nothing does."""

    def found(routes: List[Route]) -> Optional[Callable[[Wire, Request], None]]:
        return next((answer for of, pattern, answer in routes if of == method and re.fullmatch(pattern, path)), None)

    return found(ROUTES) or (found(other_protocols(path).ROUTES) if has_other_protocols() else None)


# ------------------------------------------------------------------------------------------------------------- server


class DemoServer(ThreadingHTTPServer):
    """The mock server on 127.0.0.1, running until close(); port 0 takes a free one.

    url ("http://127.0.0.1:PORT"), base_url (url + "/v1"), port, connections (how many there were), and requests: a list
    of {"method", "path" (with query), "headers" (any case), "body" (JSON, else bytes), "connection" (its number)}.
    tls=(certfile, keyfile) serves https; redirect_to is where fail-redirect-N leads; record=False keeps no requests;
    strict=True refuses what api.openai.com refuses, for every model; any_model=True answers unknown models as demo;
    models are the names to list, in place of the table's. With a script, demo-script and unknown models answer the
    conversation's first turn with its first Step, the second with the second, in every protocol.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        port: int = 0,
        *,
        tls: Optional[Tuple[str, str]] = None,
        redirect_to: str = REDIRECT_TARGET,
        record: bool = True,
        strict: bool = False,
        any_model: bool = False,
        models: Optional[Sequence[str]] = None,
        script: Sequence[Step] = (),
    ) -> None:
        self.models, self.script = models, script
        self.redirect_to, self.record, self.strict, self.any_model = redirect_to, record, strict, any_model
        self.kept: Dict[str, Any] = {}
        self.requests: List[JSON] = []
        self.connections = 0
        self.ending = threading.Event()  # every wait of a handler is a wait for this
        self._lock = threading.Lock()
        self._open: Set[socket.socket] = set()
        self._seen: Set[str] = set()
        self._tls = self._tls_context(*tls) if tls else None
        super().__init__(("127.0.0.1", port), Wire)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.base_url = f"{self.url}/v1"
        self._thread = threading.Thread(target=self._accept, name="llm-router-demo", daemon=True)
        self._thread.start()

    def __enter__(self) -> DemoServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop at once; clients still waiting for an answer see the connection end."""
        if self.ending.is_set():
            return
        self.ending.set()
        try:
            socket.create_connection(("127.0.0.1", self.port), 1.0).close()  # wakes the thread that accepts
        except OSError:
            pass
        self._thread.join(1.0)
        self.server_close()
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            try:
                socket.socket.shutdown(connection, socket.SHUT_RDWR)  # not TLS's own, which another thread is using
            except OSError:
                pass

    @staticmethod
    def _tls_context(certfile: str, keyfile: str) -> Any:
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certfile, keyfile)
        return context

    def server_bind(self) -> None:
        """As HTTPServer's, without the look-up of this machine's name, which can take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", int(self.server_address[1])
        self.port = self.server_port

    def _accept(self) -> None:
        while not self.ending.is_set():
            try:
                connection, address = self.socket.accept()
                if self._tls:  # the handshake comes with the first read, in the connection's own thread
                    connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
            except OSError:
                self.ending.wait(0.01)  # out of file descriptors, or a client that is gone already
                continue
            if self.ending.is_set():
                connection.close()
            else:
                self.process_request(connection, address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Silence for clients that went away; our own mistakes are printed."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def admit(self, connection: socket.socket) -> int:
        """Note a new connection; returns its number."""
        with self._lock:
            if self.ending.is_set():
                raise ConnectionAbortedError("the mock server is closing")
            self._open.add(connection)
            self.connections += 1
            return self.connections

    def dismiss(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)

    def is_first(self, key: str) -> bool:
        """True for a key that was not given before."""
        with self._lock:
            first = key not in self._seen
            self._seen.add(key)
            return first

    def respond(self, wire: Wire, data: bytes) -> None:
        """Record a request and hand it to its route."""
        from zlib import crc32

        wire.request_id = f"demo-{crc32(data):08x}"
        headers = CaseInsensitiveHeaders(wire.headers.items())
        try:
            body = json.loads(data)
        except (ValueError, RecursionError):
            body = data
        if self.record:
            self.requests.append(
                {"method": wire.command, "path": wire.path, "headers": headers, "body": body, "connection": wire.number}
            )
        path, _, query = wire.path.partition("?")
        path = unquote(path)
        request = Request(
            wire.command, path, query, headers, body, wire.request_id, self.redirect_to, self.strict, self.any_model,
            self.kept, self.script,
        )  # fmt: skip
        answer = find_route(wire.command, path)
        if answer:
            answer(wire, request)
            return
        failure = Failure(404, "unknown_url", f"Unknown request URL: {wire.command} {path}.")
        send_whole(wire, json_reply(OPENAI.error_body(failure), 404))


# ------------------------------------------------------------------------------------------------------- command line


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Serve until Ctrl-C or SIGTERM."""
    import argparse
    import signal

    table = f"the model name selects the behaviour:\n{behaviour_lines()}"
    parser = argparse.ArgumentParser(
        prog="llm_router_demo.py", allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="A mock model API, on 127.0.0.1: it answers without a model, and fails on demand.",
        epilog=f"{table}\n\nexit codes: 0 stopped, 1 cannot serve, 2 usage",
    )  # fmt: skip
    parser.add_argument("--port", type=int, default=8099, help="port to listen on, 0 for a free one (default 8099)")
    parser.add_argument("--tls", nargs=2, metavar=("CERT", "KEY"), help="serve https with this certificate and key (PEM)")
    parser.add_argument("--strict", action="store_true", help="refuse what api.openai.com refuses, for every model")
    parser.add_argument("--any-model", action="store_true", help="answer unknown model names as demo, not with HTTP 404")
    args = parser.parse_args(argv)
    try:
        tls = tuple(args.tls) if args.tls else None
        server = DemoServer(args.port, tls=tls, record=False, strict=args.strict, any_model=args.any_model)
    except (OSError, OverflowError) as error:
        print(f"llm_router_demo.py: cannot serve on port {args.port}: {error}", file=sys.stderr)
        return 1
    cut_at_stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: cut_at_stop.set())
    with server:
        use = "name it with --base-url, and demo as the model (--help lists more); Ctrl-C stops it"
        print(f"{server.base_url} is a mock model API: {use}", flush=True)
        while not cut_at_stop.wait(0.5):  # a wait without end cannot be interrupted on Windows
            pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
