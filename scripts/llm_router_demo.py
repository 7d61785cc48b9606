#!/usr/bin/env python3
"""The stand-in: a model API on this machine that answers without a model, and fails on demand.

  python3 llm_router_demo.py --port 8099    serves http://127.0.0.1:8099/v1 until Ctrl-C
  python3 llm_router_demo.py --help         lists what it can act out

  with DemoServer() as demo:                the same for programs: a free port, closed at the end
      ask(demo.base_url)
      demo.requests[0]["body"]              what it was asked

The model's name says what happens: "demo" repeats the last message, "demo-tools" calls tools, "fail-429" answers 429.
Same question, same answer, byte for byte. It speaks OpenAI's chat completions and Gemini, plain and streamed, needs no
key and listens on 127.0.0.1 only.

A request becomes an Ask; its behaviour makes an Answer of it (or a Failure, or a Reply in raw bytes); a surface writes
that in its vendor's words as a Reply; a sender puts the Reply on the wire, whole or broken. A new protocol is one more
surface and its routes.
"""

from __future__ import annotations

import json
import re
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain, cycle, islice, repeat
from socketserver import TCPServer
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple, Union
from urllib.parse import unquote

JSON = Dict[str, Any]
Headers = Tuple[Tuple[str, str], ...]

# ---------------------------------------------------------------------------------------------------------- constants

WHO = "This is the stand-in, not a model."
WORD = "stand-in"  # every string that a schema asks for
REASONING = "The stand-in does not think. It repeats what it was told."
WORDS = ("stand-in, ", "not ", "a ", "model. ")  # what demo-words-N repeats
CREATED = 1_700_000_000  # Unix seconds; a real clock would make two answers differ
ELSEWHERE = "http://127.0.0.2:1"  # where redirects lead: nobody listens there

MAX_BODY_BYTES = 67_108_864  # one request
MAX_N = 100_000_000  # the N of a model name; a list of so many words takes 800 MB
PIECE_CHARS = 16_384  # of demo-bytes-N in a stream
BLOCK_BYTES = 65_536  # what demo-burst-N writes at once
FRAGMENT_CHARS = 7  # of a streamed tool call's arguments
DRIP_S = 0.05  # between two bytes of fail-drip
COMMENT_S = 0.02  # between two keep-alive comments
RESET_AFTER_S = 0.02  # a reset throws away what the other side has not read yet, so the text gets a head start
STALL_S = 900.0  # longer than any client waits; then the thread is given back

PROMPT_USD = 0.000_001  # one token, and one token is one word
COMPLETION_USD = 0.000_004
CREDITS_USD = 100.0  # before each request

# ------------------------------------------------------------------------------------------------------------- values


class CaseBlind(Dict[str, str]):
    """Header names in lower case, found however they are written: headers["Content-Type"]."""

    def __init__(self, pairs: Iterable[Tuple[str, str]] = ()) -> None:
        super().__init__((name.lower(), value) for name, value in pairs)

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return super().__contains__(str(name).lower())

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)


class Request(NamedTuple):
    """What came over the wire."""

    method: str
    path: str
    query: str
    headers: CaseBlind
    body: Any  # parsed JSON, or the bytes where it is none
    id: str = ""  # the same for the same body
    elsewhere: str = ELSEWHERE  # where redirects lead


class Failure(NamedTuple):
    """An error, in no vendor's shape."""

    status: int
    code: str
    message: str
    kind: str = "invalid_request_error"  # OpenAI's "type"
    param: str = ""
    headers: Headers = ()


class Refused(Exception):
    """The request is wrong: a surface raises it with the Failure to send."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def wrong(message: str, param: str = "") -> Refused:
    return Refused(Failure(400, "invalid_request", message, param=param))


class Call(NamedTuple):
    """A tool call; arguments are JSON text, or what a broken server makes of it."""

    id: str
    name: str
    arguments: Optional[str]


class Ask(NamedTuple):
    """A request to a model, in no vendor's words."""

    model: str
    request: Request
    stream: bool = False
    text: str = ""  # of the last user message
    images: Sequence[str] = ()  # of the last user message: data URLs and URLs
    results: Sequence[Tuple[str, str]] = ()  # (tool, what it said), where the request ends in tool results
    tools: Sequence[JSON] = ()  # those that may be called: {"name", "parameters"}
    forced: bool = False  # one of them must be called
    legacy: bool = False  # they came as `functions`
    schema: Optional[JSON] = None  # of the JSON that is wanted as the answer; {} for any object
    prompt_tokens: int = 0
    turn: int = 0  # how many messages came
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
    streamed: bool = False  # in chunks; else first and rest are sequences, and their length is told


class Answer(NamedTuple):
    """What a model says, in no vendor's words, and what goes wrong on the way."""

    text: Sequence[str] = ()  # in the pieces of a stream
    reasoning: Sequence[str] = ()
    calls: Sequence[Call] = ()
    finish: str = "stop"  # OpenAI's finish_reason; "" never comes
    refusal: str = ""
    error: Optional[Failure] = None  # told inside the answer, in place of its end
    oddity: str = ""  # what a surface writes in an odd way: the behaviour's name
    plain: bool = False  # plain JSON although a stream was asked for
    size: int = 0  # bytes of the plain JSON, reached with more text
    send: Optional[Callable[[Any, Reply], None]] = None  # a sender; None sends the Reply whole


Outcome = Union[Answer, Failure, Reply]

# ----------------------------------------------------------------------------------------------------- pure functions


def dump(value: Any) -> bytes:
    """JSON as most servers send it: compact, UTF-8, no escapes; half a surrogate pair becomes "?"."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def pieces_of(text: str) -> List[str]:
    """Text in the pieces in which it is streamed: a word and the space behind it. pieces_of("a b") -> ["a ", "b"]"""
    return re.findall(r"\S+\s*|\s+", text)


def dicts(value: Any) -> List[JSON]:
    """The objects in a JSON array; [] for anything else."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def inner(value: Any, *names: str) -> Any:
    """The value at a path of names, None where there is none: inner({"a": {"b": 1}}, "a", "b") -> 1"""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def text_in(content: Any) -> str:
    """The text of a message's content: a string, or parts of which some hold text."""
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in dicts(content) if isinstance(part.get("text"), str))


def word_count(value: Any) -> int:
    """The words in a JSON value's strings: what the stand-in counts as tokens."""
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


def image_words(url: str) -> str:
    """What the stand-in says about an image: "PNG, 640x480 pixels"; a URL is never fetched."""
    from base64 import b64decode

    if not url.startswith("data:"):
        return f"given as a URL ({url}), which the stand-in did not fetch"
    try:
        kind, size = image_size(b64decode(url.partition(",")[2], validate=True))
    except ValueError:
        return "not readable: its data URL is no base64"
    return f"{kind}, {size[0]}x{size[1]} pixels" if size and all(size) else f"{kind}, size not readable"


# ---------------------------------------------------------------------------------------------- values for JSON schemas

FORMATS = {
    "date": "2026-01-01", "date-time": "2026-01-01T00:00:00Z", "time": "00:00:00Z", "duration": "P1D",
    "email": "stand-in@example.com", "hostname": "example.com", "ipv4": "192.0.2.1", "ipv6": "2001:db8::1",
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
    return filled(schema, schema, 0)


def filled(schema: Any, root: Any, depth: int) -> Any:
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return WORD
    if isinstance(schema.get("$ref"), str):
        return filled(inner(root, *schema["$ref"].split("/")[1:]), root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    union = dicts(schema.get("anyOf")) or dicts(schema.get("oneOf"))
    if union:
        return filled(next((each for each in union if each.get("type") != "null"), union[0]), root, depth + 1)
    if dicts(schema.get("allOf")):
        return filled_all_of(schema, root, depth)
    return FILL.get(kind_in(schema), FILL["string"])(schema, root, depth)


def kind_in(schema: JSON) -> str:
    """The type that a schema asks for: the first that is not null; where none is named, what its other words imply."""
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), "null")
    if isinstance(kind, str):
        return kind.lower()  # Gemini writes STRING
    return "object" if "properties" in schema else "array" if "items" in schema else "string"


def filled_all_of(schema: JSON, root: Any, depth: int) -> Any:
    rest = {name: value for name, value in schema.items() if name != "allOf"}
    values = [filled(each, root, depth + 1) for each in [*schema["allOf"], rest]]
    if not isinstance(values[0], dict):
        return values[0]
    return {name: value for each in values if isinstance(each, dict) for name, value in each.items()}


def filled_object(schema: JSON, root: Any, depth: int) -> JSON:
    properties: JSON = schema.get("properties") or {}
    required: List[str] = schema.get("required") or []
    names = [name for name in properties if depth < OPTIONAL_DEPTH or name in required]
    names += [name for name in required if name not in properties]
    return {name: filled(properties.get(name), root, depth + 1) for name in names}


def filled_array(schema: JSON, root: Any, depth: int) -> List[Any]:
    least = int(schema.get("minItems", 0))
    count = min(max(least, int(depth < OPTIONAL_DEPTH)), int(schema.get("maxItems", MAX_ITEMS)), MAX_ITEMS)
    return [filled(schema.get("items"), root, depth + 1) for _ in range(count)]


def filled_string(schema: JSON, root: Any, depth: int) -> str:
    text = FORMATS.get(str(schema.get("format")), WORD)
    text = text.ljust(min(int(schema.get("minLength", 0)), MAX_CHARS), "-")
    return text[: int(schema.get("maxLength", MAX_CHARS))]


def filled_number(schema: JSON, root: Any, depth: int) -> Any:
    """1, or else of a few numbers near the limits the one nearest to 1 that lies within them."""
    least, most = schema.get("minimum", -INFINITE), schema.get("maximum", INFINITE)
    over, under = schema.get("exclusiveMinimum", -INFINITE), schema.get("exclusiveMaximum", INFINITE)
    step = schema.get("multipleOf", 1)
    low, high = max(least, over), min(most, under)
    low, high = (low if low > -INFINITE else min(1, high - step)), (high if high < INFINITE else max(1, low + step))
    tries = [1, low, low + 1, high, high - 1, (low + high) / 2, *(step * (low // step + n) for n in range(3)), 0]
    tries = sorted(map(int, tries) if kind_in(schema) == "integer" else tries, key=lambda x: abs(x - 1))
    free = "multipleOf" not in schema
    return next((x for x in tries if least <= x <= most and over < x < under and (free or x % step == 0)), 1)


FILL: Dict[str, Callable[[JSON, Any, int], Any]] = {
    "object": filled_object,
    "array": filled_array,
    "string": filled_string,
    "integer": filled_number,
    "number": filled_number,
    "boolean": lambda schema, root, depth: True,
    "null": lambda schema, root, depth: None,
}

# ----------------------------------------------------------------------------------------------------------- surfaces


def usage_of(ask: Ask, answer: Answer) -> JSON:
    """OpenAI's usage with the two fields that AIsa adds."""
    reasoning, said = len(answer.reasoning), len(answer.text) + len(answer.refusal.split())
    completion = reasoning + said + sum(1 + len((call.arguments or "").split()) for call in answer.calls)
    cost = round(ask.prompt_tokens * PROMPT_USD + completion * COMPLETION_USD, 6)
    return {
        "prompt_tokens": ask.prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": ask.prompt_tokens + completion,
        "completion_tokens_details": {"reasoning_tokens": reasoning},
        "cost": cost,
        "credits_remaining": round(CREDITS_USD - cost, 6),
    }


class Surface:
    """How one vendor's API reads and writes: no I/O, no behaviour."""

    def ask(self, request: Request) -> Ask:
        """The request in no vendor's words; raises Refused."""
        raise NotImplementedError

    def plain(self, ask: Ask, answer: Answer) -> JSON:
        """The whole answer as one JSON object."""
        raise NotImplementedError

    def opening(self, ask: Ask, answer: Answer) -> Iterator[bytes]:
        """A stream's events up to what ends it."""
        raise NotImplementedError

    def closing(self, ask: Ask, answer: Answer) -> Iterator[bytes]:
        """What ends a stream: finish reason, usage, last mark; or an error."""
        raise NotImplementedError

    def failure(self, failure: Failure) -> JSON:
        """An error body."""
        raise NotImplementedError

    def framed(self, ask: Ask, reply: Reply) -> Reply:
        """A streamed reply as this request wants it, where an API has more than server-sent events."""
        return reply


class OpenAI(Surface):
    """POST /v1/chat/completions. platform.openai.com/docs/api-reference/chat"""

    def ask(self, request: Request) -> Ask:
        body = request.body
        if not isinstance(body, dict):
            raise wrong("The body is no JSON object.")
        messages = body.get("messages")
        if not isinstance(body.get("model"), str) or not body["model"]:
            raise wrong("you must provide a model parameter", "model")
        if not messages or not isinstance(messages, list) or len(dicts(messages)) != len(messages):
            raise wrong("'messages' must be an array of at least one message.", "messages")
        said = next((each.get("content") for each in reversed(messages) if each.get("role") == "user"), "")
        urls = [inner(part, "image_url", "url") or part.get("image_url") for part in dicts(said)]
        tools, forced = self._tools(body)
        return Ask(
            model=body["model"], stream=bool(body.get("stream")), text=text_in(said),
            images=[url for url in urls if isinstance(url, str)], results=self._results(messages),
            tools=tools, forced=forced, legacy="functions" in body, schema=self._schema(body),
            prompt_tokens=word_count(messages), turn=len(messages),
            include_usage=bool(inner(body, "stream_options", "include_usage")), request=request,
        )  # fmt: skip

    @staticmethod
    def _results(messages: List[JSON]) -> List[Tuple[str, str]]:
        """(tool's name, its result) of the messages at the end."""
        calls = [call for message in messages for call in dicts(message.get("tool_calls"))]
        names = {call.get("id"): inner(call, "function", "name") for call in calls}
        found: List[Tuple[str, str]] = []
        for message in reversed(messages):
            if message.get("role") not in ("tool", "function"):
                break
            name = message.get("name") or names.get(message.get("tool_call_id")) or "tool"
            found.insert(0, (str(name), text_in(message.get("content"))))
        return found

    @staticmethod
    def _tools(body: JSON) -> Tuple[List[JSON], bool]:
        """The functions that may be called, and whether one must be."""
        tools = [inner(tool, "function") for tool in dicts(body.get("tools"))] + dicts(body.get("functions"))
        tools = dicts(tools)
        choice = body.get("tool_choice", body.get("function_call"))
        name = inner(choice, "function", "name") or inner(choice, "name")
        if choice == "none":
            return [], False
        if name:
            return [tool for tool in tools if tool.get("name") == name], True
        one = body.get("parallel_tool_calls") is False or "functions" in body
        return tools[: 1 if one else None], choice == "required"

    @staticmethod
    def _schema(body: JSON) -> Optional[JSON]:
        kind = inner(body, "response_format", "type")
        if kind == "json_schema":
            return inner(body, "response_format", "json_schema", "schema") or {}
        return {} if kind == "json_object" else None

    def plain(self, ask: Ask, answer: Answer) -> JSON:
        if answer.error and not answer.text:
            return self.failure(answer.error)
        message: JSON = {"role": "assistant", "content": "".join(answer.text), "refusal": answer.refusal or None}
        if answer.calls or answer.refusal:
            message["content"] = None
        if answer.reasoning:
            message["reasoning_content"] = "".join(answer.reasoning)
        wire = [self._call(call) for call in answer.calls]
        if wire:
            message.update({"function_call": wire[0]["function"]} if ask.legacy else {"tool_calls": wire})
        choice: JSON = {"index": 0, "message": message, "finish_reason": self._finish(ask, answer), "logprobs": None}
        if answer.error:
            choice.update(self.failure(answer.error), finish_reason="error")
        choices = [] if answer.oddity == "fail-choices-empty" else [choice]
        return {**self._head(ask, "chat.completion"), "choices": choices, "usage": usage_of(ask, answer)}

    def opening(self, ask: Ask, answer: Answer) -> Iterator[bytes]:
        role: JSON = {"role": "assistant", "content": None if answer.calls else ""}
        yield self._chunk(ask, [] if answer.oddity == "fail-choices-empty" else [{"delta": role}])
        for name, pieces in (("reasoning_content", answer.reasoning), ("content", answer.text)):
            known: Dict[str, bytes] = {}  # demo-words-N says the same four words again and again
            for piece in pieces:
                if piece not in known:
                    known[piece] = self._chunk(ask, [{"delta": {name: piece}}])
                yield known[piece]
        for piece in pieces_of(answer.refusal):
            yield self._chunk(ask, [{"delta": {"refusal": piece}}])
        for number, call in enumerate(answer.calls):
            for delta in self._fragments(number, call, ask.legacy, answer.oddity):
                yield self._chunk(ask, [{"delta": delta}])

    def closing(self, ask: Ask, answer: Answer) -> Iterator[bytes]:
        if answer.oddity == "fail-error-choice" and answer.error:
            yield self._chunk(ask, [{"delta": {"content": ""}, **self.failure(answer.error), "finish_reason": "error"}])
        elif answer.error:
            yield b"data: " + dump(self.failure(answer.error)) + b"\n\n"
            return
        elif answer.finish and answer.oddity != "fail-choices-empty":
            yield self._chunk(ask, [{"delta": {}, "finish_reason": self._finish(ask, answer)}])
        if ask.include_usage:
            yield self._chunk(ask, [], usage_of(ask, answer))
        if answer.oddity != "fail-nodone":
            yield b"data: [DONE]\n\n"

    def failure(self, failure: Failure) -> JSON:
        error = {"message": failure.message, "type": failure.kind, "param": failure.param or None}
        return {"error": {**error, "code": failure.code or None}}

    @staticmethod
    def _head(ask: Ask, kind: str) -> JSON:
        return {"id": f"chatcmpl-{ask.request.id}", "object": kind, "created": CREATED, "model": ask.model}

    def _chunk(self, ask: Ask, choices: List[JSON], usage: Optional[JSON] = None) -> bytes:
        choices = [{"index": 0, "finish_reason": None, **choice} for choice in choices]
        told = {"usage": usage} if ask.include_usage else {}
        return b"data: " + dump({**self._head(ask, "chat.completion.chunk"), "choices": choices, **told}) + b"\n\n"

    @staticmethod
    def _finish(ask: Ask, answer: Answer) -> str:
        return "function_call" if ask.legacy and answer.finish == "tool_calls" else answer.finish or "stop"

    @staticmethod
    def _call(call: Call) -> JSON:
        return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}

    def _fragments(self, number: int, call: Call, legacy: bool, oddity: str) -> Iterator[JSON]:
        """The deltas of one call: id and name first, then the arguments a few characters at a time."""
        raw = call.arguments or ""
        start: JSON = {"name": call.name, "arguments": None if call.arguments is None else ""}
        cuts = range(0, len(raw), FRAGMENT_CHARS)
        for function in [start] + [{"arguments": raw[at : at + FRAGMENT_CHARS]} for at in cuts]:
            named = {"id": call.id, "type": "function"} if function is start else {}
            fragment: JSON = {"index": number, **named, "function": function}
            if oddity == "demo-tools-noindex":
                del fragment["index"]
            if oddity in ("demo-tools-index0", "demo-tools-sameindex-newname"):
                fragment["index"] = 0
            if oddity == "demo-tools-sameindex-newname":
                fragment.pop("id", None)
            if oddity == "demo-tools-repeatid":
                fragment["id"] = call.id
            yield {"function_call": function} if legacy else {"tool_calls": [fragment]}


GEMINI_FINISH = {"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}
GEMINI_STATUS = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip
GEMINI_USAGE = {
    "promptTokenCount": "prompt_tokens", "candidatesTokenCount": "completion_tokens", "totalTokenCount": "total_tokens",
    "cost": "cost", "credits_remaining": "credits_remaining",
}  # fmt: skip


class Gemini(Surface):
    """POST /v1beta/models/{model}:generateContent and :streamGenerateContent. ai.google.dev/api/generate-content"""

    def ask(self, request: Request) -> Ask:
        body = request.body
        contents = body.get("contents") if isinstance(body, dict) else None
        if not contents or not isinstance(contents, list) or len(dicts(contents)) != len(contents):
            raise wrong("* GenerateContentRequest.contents: contents is not specified", "contents")
        model, _, action = request.path.rpartition("/")[2].rpartition(":")
        said = next((dicts(each.get("parts")) for each in reversed(contents) if each.get("role", "user") == "user"), [])
        results = [part.get("functionResponse") for part in dicts(contents[-1].get("parts"))]
        tools, forced = self._tools(body)
        return Ask(
            model=model, stream=action == "streamGenerateContent", text=text_in(said), images=self._images(said),
            results=[(str(each.get("name")), dump(each.get("response")).decode()) for each in dicts(results)],
            tools=tools, forced=forced, schema=self._schema(body), prompt_tokens=word_count(contents),
            turn=len(contents), request=request,
        )  # fmt: skip

    @staticmethod
    def _images(parts: List[JSON]) -> List[str]:
        """Images as data URLs and URLs; the field names come in both of Google's spellings."""
        found = []
        for part in parts:
            data = inner(part, "inlineData") or inner(part, "inline_data")
            file = inner(part, "fileData") or inner(part, "file_data")
            found += [f"data:;base64,{data.get('data')}"] if isinstance(data, dict) else []
            found += [str(file.get("fileUri") or file.get("file_uri"))] if isinstance(file, dict) else []
        return found

    @staticmethod
    def _tools(body: JSON) -> Tuple[List[JSON], bool]:
        tools = [each for tool in dicts(body.get("tools")) for each in dicts(tool.get("functionDeclarations"))]
        tools = [{**tool, "parameters": tool.get("parameters") or tool.get("parametersJsonSchema")} for tool in tools]
        wish = inner(body, "toolConfig", "functionCallingConfig") or {}
        names = wish.get("allowedFunctionNames")
        allowed = [tool for tool in tools if not names or tool.get("name") in names]
        return [] if wish.get("mode") == "NONE" else allowed, wish.get("mode") == "ANY"

    @staticmethod
    def _schema(body: JSON) -> Optional[JSON]:
        wish = inner(body, "generationConfig") or {}
        schema = wish.get("responseJsonSchema") or wish.get("responseSchema")
        return schema or ({} if wish.get("responseMimeType") == "application/json" else None)

    def plain(self, ask: Ask, answer: Answer) -> JSON:
        if answer.error:
            return self.failure(answer.error)
        parts = [{"text": "".join(answer.reasoning), "thought": True}] if answer.reasoning else []
        parts += [{"text": "".join(answer.text) + answer.refusal}] if answer.text or answer.refusal else []
        return self._chunk(ask, answer, parts + [self._call(call) for call in answer.calls], answer.finish or "stop")

    def opening(self, ask: Ask, answer: Answer) -> Iterator[bytes]:
        parts: Iterable[JSON] = chain(
            ({"text": piece, "thought": True} for piece in answer.reasoning),
            ({"text": piece} for piece in chain(answer.text, pieces_of(answer.refusal))),
            (self._call(call) for call in answer.calls),
        )
        for part in parts:
            yield self._event(self._chunk(ask, answer, [part]))

    def closing(self, ask: Ask, answer: Answer) -> Iterator[bytes]:
        if answer.error:
            yield self._event(self.failure(answer.error))
        elif answer.finish:
            yield self._event(self._chunk(ask, answer, [{"text": ""}] if answer.text else [], answer.finish))

    def failure(self, failure: Failure) -> JSON:
        status = GEMINI_STATUS.get(failure.status, "FAILED_PRECONDITION" if failure.status < 500 else "INTERNAL")
        return {"error": {"code": failure.status, "message": failure.message, "status": status}}

    def framed(self, ask: Ask, reply: Reply) -> Reply:
        """Without alt=sse Google sends the same objects as one JSON array."""
        if "alt=sse" in ask.request.query.split("&"):
            return reply
        marks = chain([b"["], repeat(b",\n"))
        first, rest = (
            (next(marks) + event[len(b"data: ") :].strip() for event in part) for part in (reply.first, reply.rest)
        )
        return reply._replace(first=first, rest=chain(rest, [b"]"]), content_type="application/json")

    @staticmethod
    def _event(value: JSON) -> bytes:
        return b"data: " + dump(value) + b"\r\n\r\n"  # Google ends its lines so

    @staticmethod
    def _call(call: Call) -> JSON:
        try:
            arguments = json.loads(call.arguments or "{}")
        except ValueError:
            arguments = {}  # Gemini's arguments are an object: nothing can be cut off in it
        return {"functionCall": {"name": call.name, "args": arguments}}

    @staticmethod
    def _chunk(ask: Ask, answer: Answer, parts: List[JSON], finish: str = "") -> JSON:
        candidate: JSON = {"content": {"parts": parts, "role": "model"}, "index": 0}
        if finish:
            candidate["finishReason"] = GEMINI_FINISH.get(finish, "OTHER")
        usage = usage_of(ask, answer)
        counts = {name: usage[ours] for name, ours in GEMINI_USAGE.items()}
        candidates = [] if answer.oddity == "fail-choices-empty" else [candidate]
        return {
            "candidates": candidates,
            "usageMetadata": counts,
            "modelVersion": ask.model,
            "responseId": ask.request.id,
        }


OPENAI, GEMINI = OpenAI(), Gemini()


def json_reply(value: Any, status: int = 200, headers: Headers = ()) -> Reply:
    """JSON as a plain reply; its first half is what a broken connection delivers."""
    body = dump(value)
    half = len(body) // 2
    return Reply((body[:half],), (body[half:],), status, headers=headers)


def refusal(surface: Surface, failure: Failure) -> Reply:
    """A failure as an HTTP error, in the surface's shape."""
    return json_reply(surface.failure(failure), failure.status, failure.headers)


# ----------------------------------------------------------------------------------------------------- one connection


class Wire(BaseHTTPRequestHandler):
    """One client's connection: reads requests, writes bytes as a sender says, and is silent when the client is gone."""

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
            self.close_connection = True  # what follows cannot be told from another request
            send_whole(
                self, refusal(OPENAI, Failure(413, "", f"The body has no length, or over {MAX_BODY_BYTES} bytes."))
            )
        else:
            self.server.respond(self, data)

    do_GET = do_POST

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
            self.close_connection = True  # it knows no chunks: the end of the connection is the end of the answer
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
            raise ConnectionAbortedError("the stand-in is closing")

    def hang_up(self) -> None:
        """Close the connection without another word."""
        self.close_connection = True

    def reset(self) -> None:
        """Break the connection off: the client sees a reset, not an end."""
        no_goodbye = b"\x01\x00\x00\x00\x00\x00\x00\x00" if sys.platform != "win32" else b"\x01\x00\x00\x00"
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_goodbye)
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
    sign = b": keep-alive\n\n" if reply.streamed else b" \n"
    reply = reply._replace(streamed=True)  # a length cannot be told
    send_first(wire, reply)
    while not wire.server.ending.is_set():
        wire.write(reply, sign)
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


def send_bad_json(wire: Wire, reply: Reply) -> None:
    """One event that is no JSON before the end; a plain body is cut in the middle."""
    if reply.streamed:
        send_whole(wire, reply._replace(rest=chain([b'data: {"choices": [{"delta": {"con\n\n'], reply.rest)))
    else:
        send_cut(wire, reply)


# --------------------------------------------------------------------------------------------------------- behaviours


def said(text: str) -> Answer:
    return Answer(pieces_of(text))


def called(ask: Ask) -> Answer:
    """One call for each tool that may be called, its arguments filled from its schema."""
    calls = []
    for number, tool in enumerate(ask.tools, 1):
        arguments = schema_value(tool.get("parameters") or {"type": "object"})
        calls.append(Call(f"call_{ask.turn}_{number}", str(tool.get("name")), dump(arguments).decode()))
    return Answer(calls=calls, finish="tool_calls")


def spoken(ask: Ask) -> Answer:
    """What the stand-in says: the JSON that was asked for, what the tools said, or what the user said."""
    if ask.schema:
        return said(dump(schema_value(ask.schema)).decode())
    if ask.schema == {}:
        return said(dump({"answer": WHO, "you_said": ask.text}).decode())
    if ask.results:
        quoted = "; ".join(f"{name} said: {text}" for name, text in ask.results)
        return said(f"{WHO} {quoted}")
    images = [f" Image {number}: {image_words(url)}." for number, url in enumerate(ask.images, 1)]
    return said(f"{WHO} You said: {ask.text}{''.join(images)}")


def demo(ask: Ask) -> Answer:
    return called(ask) if ask.forced and ask.tools and not ask.results else spoken(ask)


def demo_tools(ask: Ask) -> Answer:
    return called(ask) if ask.tools and not ask.results else spoken(ask)


def odd_tools(ask: Ask) -> Answer:
    return demo_tools(ask)._replace(oddity=ask.model)


def odd_arguments(ask: Ask, change: Callable[[str], Optional[str]]) -> Answer:
    answer = demo_tools(ask)
    return answer._replace(calls=[call._replace(arguments=change(call.arguments or "")) for call in answer.calls])


def demo_words(ask: Ask) -> Answer:
    return Answer(list(islice(cycle(WORDS), ask.number)))


def unknown_model(ask: Ask) -> Failure:
    return Failure(404, "model_not_found", f"The model '{ask.model}' does not exist; the stand-in has 'demo'.")


def fail_status(ask: Ask) -> Failure:
    if not 400 <= ask.number <= 599:
        return unknown_model(ask)
    kind = "invalid_request_error" if ask.number < 500 else "server_error"
    return Failure(ask.number, "", f"The stand-in was asked for a {ask.number}.", kind)


def fail_empty_body(ask: Ask) -> Reply:
    return Reply(content_type="text/event-stream" if ask.stream else "application/json", streamed=ask.stream)


def fail_redirect(ask: Ask) -> Failure:
    if ask.number not in (301, 302, 303, 307, 308):
        return unknown_model(ask)
    return Failure(
        ask.number, "redirect", "This API has moved.", headers=(("Location", ask.request.elsewhere + ask.request.path),)
    )


STRICT = {  # how real servers say it; {0} is the field, {1} its value
    "max_tokens": ("unsupported_parameter", "Unsupported parameter: '{0}'. Use 'max_completion_tokens' instead."),
    "temperature": ("unsupported_value", "Unsupported value: '{0}' does not support {1} with this model."),
    "response_format": ("unsupported_value", "This model does not support '{0}' of this type."),
}


def fail_strict(ask: Ask) -> Outcome:
    sent = ask.request.body
    if ask.field not in sent:
        return demo(ask)
    code, message = STRICT.get(ask.field, ("unknown_parameter", "Unrecognized request argument supplied: {0}"))
    return Failure(400, code, message.format(ask.field, sent[ask.field]), param=ask.field)


INSIDE = Failure(502, "upstream_error", "The provider behind the stand-in failed.", "server_error")
HTML = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>The stand-in's page.</body></html>\n"
TEXT = b"upstream connect error or disconnect/reset before headers\n"
RATE = "rate_limit_error"

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
    "fail-context": Failure(400, "context_length_exceeded", "This model's maximum context length is 8192 tokens."),
}


class Behaviour(NamedTuple):
    """What a model's name makes happen, and the line that --help says about it."""

    line: str
    run: Callable[[Ask], Outcome]


def http_failure(failure: Failure) -> Behaviour:
    told = "".join(f", {name}: {value}" for name, value in failure.headers)
    return Behaviour(f"HTTP {failure.status}{told}. {failure.message}", lambda ask: failure)


def changed(line: str, **change: Any) -> Behaviour:
    """What demo answers, but for these fields of the Answer."""
    return Behaviour(line, lambda ask: demo(ask)._replace(**change))


def instead(line: str, outcome: Outcome) -> Behaviour:
    """The same whatever was asked."""
    return Behaviour(line, lambda ask: outcome)


BEHAVIOURS = {  # by model name; N stands for a number, FIELD for a field of the request
    "demo": Behaviour("Repeats the last user message, names type and size of images, calls a tool if it must.", demo),
    "demo-reasoning": changed("Reasons (reasoning_content), then answers as demo.", reasoning=pieces_of(REASONING)),
    "demo-tools": Behaviour(
        "Calls every tool offered, arguments filled from its schema; then quotes results.", demo_tools
    ),
    "demo-tools-noindex": Behaviour("Streamed calls without an index.", odd_tools),
    "demo-tools-index0": Behaviour("Streamed calls that all have index 0; a new id begins a call.", odd_tools),
    "demo-tools-sameindex-newname": Behaviour("Streamed calls, index 0, no id; a new name begins a call.", odd_tools),
    "demo-tools-repeatid": Behaviour("Streamed calls that repeat their id in every fragment.", odd_tools),
    "demo-tools-null-args": Behaviour("Calls with arguments null.", lambda ask: odd_arguments(ask, lambda raw: None)),
    "demo-tools-empty-args": Behaviour('Calls with arguments "".', lambda ask: odd_arguments(ask, lambda raw: "")),
    "demo-tools-cut-args": Behaviour(
        "Calls with arguments that break off.", lambda ask: odd_arguments(ask, lambda raw: raw[: len(raw) // 2])
    ),
    "demo-tools-stop": Behaviour(
        'Calls beside finish_reason "stop".', lambda ask: demo_tools(ask)._replace(finish="stop")
    ),
    "demo-sleep-N": Behaviour(
        "Waits N ms, then answers as demo.", lambda ask: demo(ask)._replace(send=send_late(ask.number / 1000))
    ),
    "demo-slow-N": Behaviour(
        "Waits N ms after each event of a stream.", lambda ask: demo(ask)._replace(send=send_slowly(ask.number / 1000))
    ),
    "demo-words-N": Behaviour("Answers N words, each an event of its own.", demo_words),
    "demo-burst-N": Behaviour(
        "Answers N words, the events in blocks of 64 KiB.", lambda ask: demo_words(ask)._replace(send=send_in_blocks)
    ),
    "demo-bytes-N": Behaviour(
        "A plain body of N bytes; a stream of the same text in pieces of 16 KiB.", lambda ask: Answer(size=ask.number)
    ),
    **{name: http_failure(failure) for name, failure in FAILURES.items()},
    "fail-N": Behaviour("HTTP N, 400 to 599.", fail_status),
    "fail-strict-FIELD": Behaviour("HTTP 400 naming FIELD where the request has it; else as demo.", fail_strict),
    "fail-filter": instead('finish_reason "content_filter" without text.', Answer(finish="content_filter")),
    "fail-filter-mid": changed('finish_reason "content_filter" after text.', finish="content_filter"),
    "fail-refusal": instead("message.refusal in place of content.", Answer(refusal="The stand-in was told to refuse.")),
    "fail-length": changed('finish_reason "length" after text.', finish="length"),
    "fail-empty": instead('Content "" with finish_reason "stop".', Answer()),
    "fail-empty-body": Behaviour("HTTP 200 with no body.", fail_empty_body),
    "fail-html": instead("HTTP 200 with an HTML page.", Reply((HTML,), content_type="text/html; charset=utf-8")),
    "fail-text": instead("HTTP 200 with a line of text.", Reply((TEXT,), content_type="text/plain")),
    "fail-badjson": changed("An event that is no JSON after the text; plain: half the JSON.", send=send_bad_json),
    "fail-choices-empty": instead('HTTP 200 with "choices": [].', Answer(oddity="fail-choices-empty")),
    "fail-json-for-stream": changed("A good plain answer, also where a stream was asked for.", plain=True),
    "fail-nofinish": changed(
        "A stream that ends in [DONE] without finish_reason: complete. Plain: as demo.", finish=""
    ),
    "fail-nodone": changed("A stream that ends in finish_reason without [DONE]: complete.", oddity="fail-nodone"),
    "fail-error-200": instead('HTTP 200 with {"error": ...}, streamed or not.', Answer(error=INSIDE, plain=True)),
    "fail-error-choice": changed(
        'An error in choices[0], finish_reason "error", after text.', error=INSIDE, oddity="fail-error-choice"
    ),
    "fail-error-first": instead(
        'An error event before any text; plain: 200 with {"error": ...}.', Answer(error=INSIDE)
    ),
    "fail-error-mid": changed("An error event after text; plain: an error in choices[0].", error=INSIDE),
    "fail-cut": changed("Some text, then a clean end without a finish; plain: half the JSON.", send=send_cut),
    "fail-cut-plain": changed("Some text, then the connection ends before HTTP's own end.", send=send_short),
    "fail-reset": changed("Some text, then a TCP reset.", send=send_reset),
    "fail-drop": changed("The connection ends before any status.", send=send_nothing),
    "fail-stall": changed("Headers, then silence.", send=send_stall),
    "fail-stall-mid": changed("Some text, then silence.", send=send_stall_mid),
    "fail-comments": changed("Keep-alive comments for ever; plain: white space for ever.", send=send_comments),
    "fail-comments-mid": changed("Some text, then the same for ever.", send=send_comments_mid),
    "fail-drip": changed("One byte every 50 ms.", send=send_drip),
    "fail-redirect-N": Behaviour("HTTP N (301, 302, 303, 307, 308) to another host.", fail_redirect),
    "fail-...-once": Behaviour("Any failure, but once (for each Idempotency-Key, else model); then as demo.", demo),
}


class Found(NamedTuple):
    """A model name, looked up: its behaviour and the N or FIELD in it."""

    behaviour: Behaviour
    number: int = 0
    field: str = ""


def find(model: str) -> Optional[Found]:
    """The behaviour of a model name, None if there is none; what begins with "demo" and is not in the table is demo."""
    if model in BEHAVIOURS:
        return Found(BEHAVIOURS[model])
    stem, _, end = model.rpartition("-")
    if f"{stem}-N" in BEHAVIOURS and end.isdecimal():
        return Found(BEHAVIOURS[f"{stem}-N"], int(end)) if len(end) < 9 and int(end) <= MAX_N else None
    if stem == "fail-strict":
        return Found(BEHAVIOURS["fail-strict-FIELD"], field=end)
    return Found(BEHAVIOURS["demo"]) if model.startswith("demo") else None


def soon(outcome: Outcome) -> Outcome:
    """A failure that happens once lets the client try again at once."""
    if not isinstance(outcome, Failure):
        return outcome
    return outcome._replace(
        headers=tuple((name, "0" if name == "Retry-After" else value) for name, value in outcome.headers)
    )


def outcome_of(ask: Ask, is_first: Callable[[str], bool]) -> Outcome:
    """What the model's name says; `is_first` tells whether a key was never seen before."""
    once = ask.model.startswith("fail-") and ask.model.endswith("-once")
    found = find(ask.model[: -len("-once")] if once else ask.model)
    if found is None:
        return unknown_model(ask)
    if once and not is_first(f"{ask.model} {ask.request.headers.get('idempotency-key')}"):
        return demo(ask)
    outcome = found.behaviour.run(ask._replace(number=found.number, field=found.field))
    return soon(outcome) if once else outcome


def behaviour_lines() -> str:
    """The table as text, a line for each behaviour."""
    return "\n".join(f"  {name:<29} {entry.line}" for name, entry in BEHAVIOURS.items())


# ------------------------------------------------------------------------------------------------------------- routes


def padded(surface: Surface, ask: Ask, answer: Answer) -> Answer:
    """The answer with as much text as makes its plain JSON answer.size bytes long."""
    start = f"{WHO} "
    text = start + "x" * (answer.size - len(dump(surface.plain(ask, Answer([start])))))
    step = PIECE_CHARS if ask.stream else len(text)
    return answer._replace(text=[text[at : at + step] for at in range(0, len(text), step)])


def reply_to(surface: Surface, ask: Ask, outcome: Outcome) -> Reply:
    """An outcome in the surface's words."""
    if isinstance(outcome, Reply):
        return outcome
    if isinstance(outcome, Failure):
        return refusal(surface, outcome)
    if outcome.size:
        outcome = padded(surface, ask, outcome)
    if outcome.plain or not ask.stream:
        return json_reply(surface.plain(ask, outcome))
    opening, closing = surface.opening(ask, outcome), surface.closing(ask, outcome)
    return surface.framed(ask, Reply(opening, closing, content_type="text/event-stream", streamed=True))


# What our readers of messages, tools and schemas run into where a value is of another type than its vendor says.
WRONG_SHAPE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


def converse(wire: Wire, surface: Surface, request: Request) -> None:
    """Answer one request to a model."""
    try:
        ask = surface.ask(request)
        outcome = outcome_of(ask, wire.server.is_first)
        reply = reply_to(surface, ask, outcome)
    except Refused as refused:
        send_whole(wire, refusal(surface, refused.failure))
    except WRONG_SHAPE as error:
        send_whole(wire, refusal(surface, wrong(f"The request has a wrong shape: {error}").failure))
    else:
        send = outcome.send if isinstance(outcome, Answer) and outcome.send else send_whole
        send(wire, reply)


def post_chat(wire: Wire, request: Request) -> None:
    converse(wire, OPENAI, request)


def post_generate(wire: Wire, request: Request) -> None:
    converse(wire, GEMINI, request)


def model_names() -> List[str]:
    """The models of the list: what answers, with an example for each N."""
    return [name.replace("-N", "-100") for name in BEHAVIOURS if name.startswith("demo")]


def get_models(wire: Wire, request: Request) -> None:
    """OpenAI's list."""
    models = [{"id": name, "object": "model", "created": CREATED, "owned_by": "stand-in"} for name in model_names()]
    send_whole(wire, json_reply({"object": "list", "data": models}))


def get_gemini_models(wire: Wire, request: Request) -> None:
    """Google's list."""
    methods = ["generateContent", "streamGenerateContent"]
    models = [{"name": f"models/{name}", "supportedGenerationMethods": methods} for name in model_names()]
    send_whole(wire, json_reply({"models": models}))


def get_page(wire: Wire, request: Request) -> None:
    """What this is, for whoever opens it in a browser."""
    page = f"{WHO} POST {wire.server.base_url}/chat/completions with one of these models:\n\n{behaviour_lines()}\n"
    send_whole(wire, Reply((page.encode(),), content_type="text/plain; charset=utf-8"))


ROUTES: List[Tuple[str, str, Callable[[Wire, Request], None]]] = [  # method, pattern of the path, what answers
    ("POST", r"/v1/chat/completions", post_chat),
    ("POST", r"/(v1|v1beta)/models/[^/]+:(generateContent|streamGenerateContent)", post_generate),
    ("GET", r"/v1/models", get_models),
    ("GET", r"/v1beta/models", get_gemini_models),
    ("GET", r"/", get_page),
]

# ------------------------------------------------------------------------------------------------------------- server


class DemoServer(ThreadingHTTPServer):
    """The stand-in on 127.0.0.1, running until close(); port 0 takes a free one.

    url ("http://127.0.0.1:PORT"), base_url (url + "/v1"), port, connections (how many there were), and requests: a list
    of {"method", "path" (with query), "headers" (any case), "body" (JSON, else bytes), "connection" (its number)}.
    tls=(certfile, keyfile) serves https; redirect_to is where fail-redirect-N leads; record=False keeps no requests.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, port: int = 0, *, tls: Optional[Tuple[str, str]] = None, redirect_to: str = ELSEWHERE, record: bool = True
    ) -> None:
        self.redirect_to, self.record = redirect_to, record
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
        """Stop at once; whoever still waits for an answer sees the connection end."""
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
                raise ConnectionAbortedError("the stand-in is closing")
            self._open.add(connection)
            self.connections += 1
            return self.connections

    def dismiss(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)

    def is_first(self, key: str) -> bool:
        """True the first time that it is asked for a key."""
        with self._lock:
            first = key not in self._seen
            self._seen.add(key)
            return first

    def respond(self, wire: Wire, data: bytes) -> None:
        """Record a request and hand it to its route."""
        from zlib import crc32

        wire.request_id = f"demo-{crc32(data):08x}"
        headers = CaseBlind(wire.headers.items())
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
        request = Request(wire.command, path, query, headers, body, wire.request_id, self.redirect_to)
        for method, pattern, answer in ROUTES:
            if method == wire.command and re.fullmatch(pattern, path):
                answer(wire, request)
                return
        failure = Failure(404, "unknown_url", f"Unknown request URL: {wire.command} {path}.")
        send_whole(wire, json_reply(OPENAI.failure(failure), 404))


# ------------------------------------------------------------------------------------------------------- command line


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Serve until Ctrl-C or SIGTERM."""
    import argparse
    import signal

    table = f"the model's name says what happens:\n{behaviour_lines()}"
    parser = argparse.ArgumentParser(
        prog="llm_router_demo.py", allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="A stand-in for a model API, on 127.0.0.1: it answers without a model, and fails on demand.",
        epilog=f"{table}\n\nexit codes: 0 stopped, 1 cannot serve, 2 usage",
    )  # fmt: skip
    parser.add_argument("--port", type=int, default=8099, help="port to listen on, 0 for a free one (default 8099)")
    parser.add_argument(
        "--tls", nargs=2, metavar=("CERT", "KEY"), help="serve https with this certificate and key (PEM)"
    )
    args = parser.parse_args(argv)
    try:
        server = DemoServer(args.port, tls=tuple(args.tls) if args.tls else None, record=False)
    except (OSError, OverflowError) as error:
        print(f"llm_router_demo.py: cannot serve on port {args.port}: {error}", file=sys.stderr)
        return 1
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with server:
        use = "name it with --base-url, and demo as the model (--help lists more); Ctrl-C stops it"
        print(f"{server.base_url} is a stand-in for a model API: {use}", flush=True)
        while not stopped.wait(0.5):  # a wait without end cannot be interrupted on Windows
            pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
