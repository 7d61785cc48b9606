"""Gemini's generateContent <-> the neutral request, answer and stream. JSON values in, JSON values out.

    {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}  <-> Request("m", (Message("user", (Text("hi"),)),))
    {"functionCall": {"name": "f", "args": {"a": 1}}}            <-> ToolCall("call_m_...", "f", '{"a":1}', {"a": 1})
    {"text": "Hm", "thought": true, "thoughtSignature": "c2ln"}  <-> Thinking("Hm", "c2ln", "gemini")

What Gemini is particular about, and where it is dealt with: fields come in camelCase or snake_case (`fields_of`); calls may
have no id, results then belong to them by name and order (`Calls`); all results of a turn in one content and nothing beside
them (`write_contents`); a schema of its own (`gemini_schema`); thought signatures, which must come back, also another vendor's
through a Gemini client (`packed_signature`); a stream that ends when the connection does, without a last word (`StreamReader`).

Sources: ai.google.dev/api/generate-content, ai.google.dev/gemini-api/docs/thought-signatures, google.rpc.Code.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from itertools import groupby, pairwise
from typing import Any

from .. import ir
from ..errors import BadRequest, GatewayError, StreamCut, UpstreamFailed, of_status
from ..sse import Event
from . import (
    MINTED,
    compact,
    integer,
    lose_extras,
    minted_id,
    name_lost,
    number,
    obj,
    own_names,
    paired,
    refuse,
    retry_after_s,
    safe_name,
    text,
    truth,
)
from .gemini_schema import from_gemini, to_gemini

VENDOR = "gemini"
KEEPALIVE = b"\r\n"         # a blank line: Google's Python SDK takes a comment for a broken answer
MAGIC = b"llm-router1:"     # begins a signature that is another vendor's; 12 bytes are 16 base64 characters
MAGIC_TEXT = base64.b64encode(MAGIC).decode()
MAX_STOP_SEQUENCES = 5      # of one request
MAX_INT32 = 2**31 - 1       # of a seed
MAX_BUDGET_FLASH = 24_576   # thinking tokens; more is answered with 400
MAX_BUDGET_PRO = 32_768
MAX_ARGUMENT_ITEMS = 10_000  # of an array in arguments that come piece by piece; an index above is a fault
SIGNATURE_UNKNOWN = "skip_thought_signature_validator"  # Google's own word for a call whose signature is lost

Fields = dict[str, Any]

# wire field of generationConfig -> (field of ir.Request, its reader)
SAMPLING: Mapping[str, tuple[str, Callable[[Any, str], Any]]] = {
    "temperature": ("temperature", number),
    "topP": ("top_p", number),
    "topK": ("top_k", integer),
    "maxOutputTokens": ("max_tokens", integer),
    "candidateCount": ("n", integer),
    "seed": ("seed", integer),
    "presencePenalty": ("presence_penalty", number),
    "frequencyPenalty": ("frequency_penalty", number),
    "responseLogprobs": ("logprobs", truth),
    "logprobs": ("top_logprobs", integer),
}
READ_CONFIG = frozenset({"stopSequences", "thinkingConfig", *SAMPLING})
READ_FIELDS = frozenset({"contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "labels", "model",
                         "serviceTier"})  # fmt: skip
ROLES: Mapping[str, ir.Role] = {"user": "user", "model": "assistant", "function": "user", "system": "system"}

# finishReason -> why. With calls among the parts "end" becomes "tool_calls".
FINISH: Mapping[str, ir.Reason] = {
    "STOP": "end",
    "MAX_TOKENS": "length",
    **dict.fromkeys(
        ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR", "IMAGE_SAFETY",
         "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"), "refusal",
    ),
    **dict.fromkeys(
        ("OTHER", "LANGUAGE", "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS",
         "MISSING_THOUGHT_SIGNATURE", "MALFORMED_RESPONSE", "NO_IMAGE", "IMAGE_OTHER"), "other",
    ),
}  # fmt: skip
FINISH_OF: Mapping[ir.Reason, str] = {
    "end": "STOP", "tool_calls": "STOP", "stop_sequence": "STOP", "length": "MAX_TOKENS", "context": "MAX_TOKENS",
    "refusal": "SAFETY", "pause": "STOP", "other": "OTHER",
}  # fmt: skip
OMITTED_ZEROS = frozenset({"cachedContentTokenCount", "thoughtsTokenCount"})
UNTOLD = frozenset({"end", "tool_calls", "length"})  # what a finishReason says as well

# HTTP status -> google.rpc.Code; others are UNKNOWN
STATUS_NAMES: Mapping[int, str] = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 402: "FAILED_PRECONDITION", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    405: "INVALID_ARGUMENT", 408: "DEADLINE_EXCEEDED", 409: "ABORTED", 413: "INVALID_ARGUMENT", 422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED", 499: "CANCELLED", 500: "INTERNAL", 501: "UNIMPLEMENTED", 502: "UNAVAILABLE",
    503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip
STATUS_OF: Mapping[str, int] = {
    "INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "OUT_OF_RANGE": 400, "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403, "NOT_FOUND": 404, "ABORTED": 409, "ALREADY_EXISTS": 409, "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499, "INTERNAL": 500, "UNKNOWN": 500, "DATA_LOSS": 500, "UNIMPLEMENTED": 501, "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}  # fmt: skip
ANSWERED_AS: Mapping[int, int] = {529: 503}  # Anthropic's own status; Google's clients know 503

EFFORT_BUDGETS: Mapping[str, int] = {  # for models before 3; ai.google.dev/gemini-api/docs/openai#thinking
    "none": 0, "minimal": 1_024, "low": 1_024, "medium": 8_192, "high": 24_576, "xhigh": 24_576, "max": 24_576,
}  # fmt: skip
LEVELS = frozenset({"minimal", "low", "medium", "high"})  # thinkingLevel, from 3 on; ai.google.dev/gemini-api/docs/thinking
NEAREST_LEVEL: Mapping[str, str] = {  # effort, or a level that a model does not know -> one that it knows, or this again
    "none": "minimal", "minimal": "low", "medium": "high", "xhigh": "high", "max": "high",
}  # fmt: skip
MEDIA_TYPES: Mapping[str, str] = {
    "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp", "gif": "image/gif",
    "heic": "image/heic", "pdf": "application/pdf", "txt": "text/plain", "html": "text/html", "csv": "text/csv",
    "mp3": "audio/mpeg", "wav": "audio/wav", "ogg": "audio/ogg", "flac": "audio/flac", "mp4": "video/mp4",
    "mov": "video/quicktime", "webm": "video/webm",
}  # fmt: skip
USUAL_TYPES: Mapping[str, str] = {  # fileData wants one, a URL need not tell it
    "image": "image/jpeg", "document": "application/pdf", "audio": "audio/mpeg", "video": "video/mp4",
}  # fmt: skip
STEP = re.compile(r"\.([^.\[\]]+)|\[(\d{1,9})\]|\[['\"]([^'\"]*)['\"]\]")  # of a path into arguments: .a [0] ['a']
FILE_ID = re.compile(r"https://generativelanguage\.googleapis\.com/[^/]+/files/.*")  # uploaded there, known only there


# --------------------------------------------------------------------------------------------------------------- spellings


@lru_cache(maxsize=512)
def camel(name: str) -> str:
    """camel("system_instruction") -> "systemInstruction"; camel("_responseJsonSchema") -> "responseJsonSchema"."""
    first, *rest = name.strip("_").split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


def fields_of(value: Any, path: str) -> Fields:
    """An object's fields in camelCase, without those that are null."""
    return {camel(name) if "_" in name else name: each for name, each in obj(value, path).items() if each is not None}


def many(value: Any, path: str) -> list[Any]:
    """A repeated field; as Google does, one object stands for a list of one."""
    return value if isinstance(value, list) else [] if value is None else [obj(value, path)]


def dicts(value: Any) -> list[Fields]:
    """The objects in a list from upstream, where what is none is passed over."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def standard_base64(data: str) -> str:
    """Base64 in the alphabet and with the padding that the others insist on: standard_base64("_-8") -> "/+8=".

    JSON of protocol buffers may come in either alphabet; Google's Python SDK sends the URL-safe one. RFC 4648 4 and 5.
    """
    plain = data.replace("-", "+").replace("_", "/").rstrip("=")
    return plain + "=" * (-len(plain) % 4)


def packed_signature(part: ir.Thinking | ir.Text | ir.ToolCall | ir.Media) -> str:
    """A thoughtSignature for a Gemini client: Gemini's own, or what another vendor wants back, in an envelope.

    Thinking("", "c2ln", "gemini") -> "c2ln";  Thinking("Hm", "s", "anthropic") -> base64 of llm-router1:{"v":"anthropic",...}
    """
    data = part.data if isinstance(part, ir.Thinking) else ""
    if not (part.signature or data) or part.vendor in ("", VENDOR):
        return part.signature
    told = compact({"v": part.vendor, "s": part.signature, "d": data})
    return base64.b64encode(MAGIC + told.encode("utf-8", "surrogatepass")).decode()


def unpacked_signature(signature: str) -> tuple[str, str, str]:
    """(vendor, signature, data) of a thoughtSignature; clients may have turned it to the URL-safe alphabet."""
    if not signature.startswith(MAGIC_TEXT):
        return (VENDOR if signature else ""), signature, ""
    try:
        told = json.loads(base64.b64decode(standard_base64(signature))[len(MAGIC) :])
        return str(told["v"]), str(told["s"]), str(told["d"])
    except (binascii.Error, ValueError, KeyError, TypeError):
        return VENDOR, signature, ""


# ----------------------------------------------------------------------------------------------------------------- errors

RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"
ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
REQUEST_INFO = "type.googleapis.com/google.rpc.RequestInfo"
DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")


def seconds(value: Any) -> float | None:
    """seconds("34.5s") -> 34.5; None where it is no duration."""
    match = DURATION.fullmatch(value) if isinstance(value, str) else None
    return float(match[1]) if match else None


def error_in(value: Any, status: int, wait_s: float | None = None) -> GatewayError:
    """The error that {"code": 429, "message": ..., "status": "RESOURCE_EXHAUSTED", "details": [RetryInfo]} tells of.

    `status` and `wait_s` are HTTP's, taken where it tells none.
    """
    told = value if isinstance(value, dict) else {"message": value} if isinstance(value, str) else {}
    code, name = told.get("code"), str(told.get("status") or "")
    in_body = code if isinstance(code, int) and 400 <= code <= 599 else STATUS_OF.get(name)
    details = dicts(told.get("details"))
    delays = [delay for each in details if (delay := seconds(each.get("retryDelay"))) is not None]
    if any(each.get("reason") == "API_KEY_INVALID" for each in details):
        in_body = 401  # Google says 400
    message = str(told.get("message") or name or "the upstream gave no reason")
    return of_status(
        in_body or status, message, retry_after_s=delays[0] if delays else wait_s,
        details={"status": name} if name else None,
    )  # fmt: skip


def read_error(status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    """An upstream's refusal. The streaming call answers with a list of one error."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    first = value[0] if isinstance(value, list) and value else value
    if isinstance(first, dict) and "error" in first:
        return error_in(first["error"], status, retry_after_s(headers))
    return of_status(status, f"the upstream answered with status {status}", retry_after_s=retry_after_s(headers))


def write_error(error: GatewayError, request_id: str) -> tuple[int, list[tuple[str, str]], Fields]:
    """(status, headers, body) for a Gemini client."""
    status = ANSWERED_AS.get(error.status, error.status)
    details: list[Fields] = [{"@type": ERROR_INFO, "reason": error.code.upper(), "domain": "llm-router"}]
    headers: list[tuple[str, str]] = []
    if error.retry_after_s is not None:
        details.append({"@type": RETRY_INFO, "retryDelay": f"{error.retry_after_s:g}s"})
        headers.append(("retry-after", str(max(1, -int(-error.retry_after_s // 1)))))
    if request_id:
        details.append({"@type": REQUEST_INFO, "requestId": request_id})
    name = STATUS_NAMES.get(status, "UNKNOWN")
    return status, headers, {"error": {"code": status, "message": error.message, "status": name, "details": details}}


def framed(data: str) -> bytes:
    # A lone surrogate cannot be UTF-8; as \ud83d, which JSON knows, it goes through.
    return f"data: {data}\r\n\r\n".encode("utf-8", "backslashreplace")


def error_event(error: GatewayError, request_id: str) -> bytes:
    """The last words of a stream that failed: Google's SDKs raise what it holds."""
    return framed(compact(write_error(error, request_id)[2]))


# ------------------------------------------------------------------------------------------------------------ parts, read


@dataclass(slots=True)
class Calls:
    """The calls of a conversation or an answer: gives ids to those without, finds the call that a result belongs to."""

    seed: str = ""  # the answer's id: tells equal calls of two answers apart
    waiting: list[tuple[str, str]] = field(default_factory=list)  # (id, name), in order

    def called(self, id: str, name: str, *facts: object) -> str:
        """The call's id, minted where the wire had none."""
        made = id or minted_id(self.seed, name, *facts)
        self.waiting.append((made, name))
        return made

    def answered(self, id: str, name: str, path: str) -> str:
        """The id of the call that a result is for: by id, else the first waiting of that name, else the first at all."""
        found = next((call for call in self.waiting if id == call[0]), None) if id else (
            next((call for call in self.waiting if name == call[1]), None) or next(iter(self.waiting), None))  # fmt: skip
        if found is not None:
            self.waiting.remove(found)
            return found[0]
        return id or minted_id(self.seed, name, path)


def signed(fields: Fields, path: str) -> tuple[str, str, str]:
    """(vendor, signature, data) of a part."""
    return unpacked_signature(text(fields.get("thoughtSignature", ""), f"{path}.thoughtSignature"))


def read_call(fields: Fields, path: str, calls: Calls) -> ir.ToolCall:
    own = fields_of(fields["functionCall"], f"{path}.functionCall")
    name = text(own.get("name", ""), f"{path}.functionCall.name")
    arguments = obj(own.get("args", {}), f"{path}.functionCall.args")
    told = compact(arguments)
    id = calls.called(text(own.get("id", ""), f"{path}.functionCall.id"), name, path, told)
    vendor, signature, _ = signed(fields, path)
    return ir.ToolCall(id, name, told, arguments, signature=signature, vendor=vendor or VENDOR)


def media(fields: Fields, path: str, **told: Any) -> ir.Media:
    """A Media with the part's own fields beside it."""
    vendor, signature, _ = signed(fields, path)
    extras = {name: fields[name] for name in ("videoMetadata", "mediaResolution", "thought") if name in fields}
    vendor = VENDOR if told.get("file_id") else vendor
    return ir.Media(**told, vendor=vendor, signature=signature, extras={VENDOR: extras} if extras else ir.NOTHING)


def kind_of(media_type: str, url: str = "") -> ir.Kind:
    """kind_of("image/png") -> "image"; what is no picture, sound or film is a document."""
    major = media_type.partition("/")[0]
    if major in ("image", "audio", "video"):
        return major  # type: ignore[return-value]  # one of three of its words
    return "video" if re.match(r"https://(www\.)?(youtube\.com|youtu\.be)/", url) else "document"


def title_of(own: Fields) -> str:
    return str(own.get("displayName", ""))


def read_inline(fields: Fields, path: str, calls: Calls) -> ir.Media:
    own = fields_of(fields["inlineData"], f"{path}.inlineData")
    media_type = text(own.get("mimeType", ""), f"{path}.inlineData.mimeType")
    data = standard_base64(text(own.get("data", ""), f"{path}.inlineData.data"))
    return media(fields, path, kind=kind_of(media_type), media_type=media_type, data=data, name=title_of(own))


def type_of_url(url: str) -> str:
    """The media type that a URL's ending tells; "" where it tells none."""
    return MEDIA_TYPES.get(url.partition("?")[0].partition("#")[0].rpartition(".")[2].lower(), "")


def read_file(fields: Fields, path: str, calls: Calls) -> ir.Media:
    own = fields_of(fields["fileData"], f"{path}.fileData")
    url = text(own.get("fileUri", ""), f"{path}.fileData.fileUri")
    media_type = text(own.get("mimeType", ""), f"{path}.fileData.mimeType") or type_of_url(url)
    kind = kind_of(media_type, url)
    if FILE_ID.fullmatch(url):
        return media(fields, path, kind=kind, media_type=media_type, file_id=url, name=title_of(own))
    return media(fields, path, kind=kind, media_type=media_type, url=url, name=title_of(own))


def read_result_part(value: Any, path: str) -> ir.Media | ir.Opaque:
    """A picture or the like inside a result."""
    fields = fields_of(value, path)
    if "inlineData" in fields:
        return read_inline(fields, path, Calls())
    return read_file(fields, path, Calls()) if "fileData" in fields else ir.Opaque(VENDOR, "part", value)


def plain_result(response: ir.JSON) -> str | None:
    """The one text that a response is, None where it is more: {"output": "42"} -> "42"."""
    if len(response) == 1:
        name, value = next(iter(response.items()))
        if name in ("output", "result", "error", "content") and isinstance(value, str):
            return value
    return None


def result_text(response: ir.JSON) -> str:
    plain = plain_result(response)
    return plain if plain is not None else compact(response)


def read_result(fields: Fields, path: str, calls: Calls) -> ir.ToolResult:
    """{"name": "f", "response": {"output": "42"}} -> ToolResult(its call's id, (Text("42"),), name="f")"""
    where = f"{path}.functionResponse"
    own = fields_of(fields["functionResponse"], where)
    name = text(own.get("name", ""), f"{where}.name")
    id = calls.answered(text(own.get("id", ""), f"{where}.id"), name, path)
    response = obj(own.get("response", {}), f"{where}.response")
    parts: list[ir.Text | ir.Media | ir.Opaque] = [ir.Text(result_text(response))]
    parts += [read_result_part(each, f"{where}.parts[{index}]") for index, each in enumerate(many(own.get("parts"), where))]
    extras = {key: own[key] for key in ("willContinue", "scheduling") if key in own}
    return ir.ToolResult(
        id, tuple(parts), is_error=response.keys() == {"error"}, name=name, vendor=VENDOR,
        data=None if plain_result(response) is not None else response, extras={VENDOR: extras} if extras else ir.NOTHING,
    )  # fmt: skip


def read_code(fields: Fields, path: str, calls: Calls) -> ir.Opaque:
    own = fields["executableCode"]
    code = own.get("code") if isinstance(own, dict) else ""
    return ir.Opaque(VENDOR, "executableCode", {"executableCode": own}, f"```python\n{code}\n```" if code else "")


def read_code_result(fields: Fields, path: str, calls: Calls) -> ir.Opaque:
    own = fields["codeExecutionResult"]
    output = own.get("output") if isinstance(own, dict) else ""
    return ir.Opaque(VENDOR, "codeExecutionResult", {"codeExecutionResult": own}, f"```\n{output}\n```" if output else "")


def read_text(fields: Fields, path: str, calls: Calls) -> ir.Part:
    vendor, signature, data = signed(fields, path)
    words = text(fields["text"], f"{path}.text")
    if fields.get("thought") is True:
        return ir.Thinking(words, signature, vendor or VENDOR, data)
    return ir.Text(words, signature, vendor)


# the field that says what a part is -> its reader; in this order, since text can be beside others only by mistake
PART_READERS: Mapping[str, Callable[[Fields, str, Calls], ir.Part]] = {
    "functionCall": read_call,
    "functionResponse": read_result,
    "inlineData": read_inline,
    "fileData": read_file,
    "executableCode": read_code,
    "codeExecutionResult": read_code_result,
    "text": read_text,
}


def read_part(value: Any, path: str, calls: Calls) -> ir.Part:
    """One part of a content, of a request or of an answer."""
    fields = fields_of(value, path)
    for name, reader in PART_READERS.items():
        if name in fields:
            return reader(fields, path, calls)
    if "thoughtSignature" in fields:
        return read_text({"text": "", **fields}, path, calls)
    kind = next((name for name in fields if name not in ("thought", "videoMetadata", "mediaResolution")), "part")
    return ir.Opaque(VENDOR, kind, value)


# ---------------------------------------------------------------------------------------------------------- request, read


def read_content(value: Any, path: str, calls: Calls) -> ir.Message:
    fields = fields_of(value, path)
    role = ROLES.get(text(fields.get("role") or "user", f"{path}.role"))
    if role is None:
        refuse(f"{path}.role", "must be user or model")
    parts = enumerate(many(fields.get("parts"), f"{path}.parts"))
    return ir.Message(role, tuple(read_part(part, f"{path}.parts[{index}]", calls) for index, part in parts))


def joined(one: ir.Part, other: ir.Part) -> ir.Part | None:
    """Two pieces of one text or thought as one; None where they are two.

    joined(Thinking("Hm", "", "gemini"), Thinking("", "s", "anthropic")) -> Thinking("Hm", "s", "anthropic")
    """
    if isinstance(one, ir.Thinking) and isinstance(other, ir.Thinking) and not (one.signature or one.data or other.data):
        return replace(other, text=one.text + other.text)
    if isinstance(one, ir.Text) and isinstance(other, ir.Text) and not one.signature:
        return replace(other, text=one.text + other.text)
    return None


def model_turn(messages: Iterable[ir.Message]) -> ir.Message:
    """The model's contents in a row as one: Google's SDKs keep every chunk of a stream as a content of its own."""
    parts: list[ir.Part] = []
    for part in (part for message in messages for part in message.parts):
        whole = joined(parts[-1], part) if parts else None
        if whole is not None:
            parts[-1] = whole
        else:
            parts.append(part)
    return ir.Message("assistant", tuple(parts))


def read_contents(value: Any) -> tuple[ir.Message, ...]:
    contents = many(value, "contents")
    if not contents:
        refuse("contents", "must hold at least one content")
    calls = Calls()
    found = [read_content(content, f"contents[{index}]", calls) for index, content in enumerate(contents)]
    messages: list[ir.Message] = []
    for of_model, run in groupby(found, lambda message: message.role == "assistant"):
        turn = list(run)
        messages += [model_turn(turn)] if of_model else turn
    return tuple(messages)


def read_system(value: Any) -> tuple[ir.Part, ...]:
    if isinstance(value, str):
        return (ir.Text(value),)
    return read_content(value, "systemInstruction", Calls()).parts if value is not None else ()


def read_declaration(value: Any, path: str) -> ir.Tool:
    fields = fields_of(value, path)
    name = text(fields.pop("name", None), f"{path}.name")
    description = text(fields.pop("description", ""), f"{path}.description")
    schema, own = fields.pop("parametersJsonSchema", None), fields.pop("parameters", None)
    if schema is None and own is not None:
        schema = from_gemini(obj(own, f"{path}.parameters"))
    parameters = obj(schema, f"{path}.parametersJsonSchema") if schema is not None else None
    return ir.Tool(name, description, parameters, extras={VENDOR: fields} if fields else ir.NOTHING)


def read_tools(value: Any) -> tuple[ir.Tool, ...]:
    """[{"functionDeclarations": [...]}, {"googleSearch": {}}] -> the caller's tools and those that run at Google."""
    found: list[ir.Tool] = []
    for index, tool in enumerate(many(value, "tools")):
        path = f"tools[{index}]"
        fields = fields_of(tool, path)
        for place, declared in enumerate(many(fields.pop("functionDeclarations", None), f"{path}.functionDeclarations")):
            found.append(read_declaration(declared, f"{path}.functionDeclarations[{place}]"))
        found += [ir.Tool(name, vendor=VENDOR, value={name: own}) for name, own in fields.items()]
    return tuple(found)


def texts(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def read_choice(tool_config: Fields) -> ir.ToolChoice | None:
    """Mode AUTO and VALIDATED may call, ANY must, NONE must not."""
    config = fields_of(tool_config.get("functionCallingConfig", {}), "toolConfig.functionCallingConfig")
    mode = text(config.get("mode", ""), "toolConfig.functionCallingConfig.mode").upper()
    path = "toolConfig.functionCallingConfig.allowedFunctionNames"
    names = tuple(text(name, path) for name in texts(config.get("allowedFunctionNames")))
    if mode == "ANY":
        return ir.ToolChoice("required", names)
    if mode == "NONE":
        return ir.ToolChoice("none")
    return ir.ToolChoice("auto", names) if mode in ("AUTO", "VALIDATED") or names else None


def read_thinking(value: Any) -> ir.Reasoning | None:
    """{"thinkingBudget": -1} -> adaptive; {"thinkingLevel": "LOW"} -> effort "low"."""
    if value is None:
        return None
    path = "generationConfig.thinkingConfig"
    fields = fields_of(value, path)
    budget = integer(fields.get("thinkingBudget"), f"{path}.thinkingBudget")
    level = text(fields.get("thinkingLevel", ""), f"{path}.thinkingLevel").lower()
    shown = truth(fields.get("includeThoughts"), f"{path}.includeThoughts")
    effort = "" if level.endswith("unspecified") else level
    if budget is not None and budget < 0:
        return ir.Reasoning("adaptive", None, effort, shown)
    return ir.Reasoning("" if budget is None else "on" if budget else "off", budget, effort, shown)


def read_format(config: Fields) -> ir.ResponseFormat | None:
    """Answers in JSON. text/x.enum, a bare word out of some, is Gemini's own and stays in extras."""
    mime = config.get("responseMimeType", "")
    if mime == "text/x.enum":
        return None
    schema = config.get("responseJsonSchema")
    if schema is None and "responseSchema" in config:
        schema = from_gemini(obj(config["responseSchema"], "generationConfig.responseSchema"))
    if schema is not None:
        return ir.ResponseFormat("schema", obj(schema, "generationConfig.responseJsonSchema"))
    return ir.ResponseFormat("json") if mime == "application/json" else None


def read_extras(fields: Fields, config: Fields, tool_config: Fields) -> ir.Extras:
    """What has no neutral place, by its path: {"safetySettings": [...], "generationConfig.speechConfig": {...}}."""
    found = {name: value for name, value in fields.items() if name not in READ_FIELDS}
    read = set(READ_CONFIG)
    if config.get("responseMimeType") != "text/x.enum":
        read |= {"responseMimeType", "responseSchema", "responseJsonSchema"}
    if config.get("responseModalities") == ["TEXT"]:
        read.add("responseModalities")
    found.update((f"generationConfig.{name}", value) for name, value in config.items() if name not in read)
    calling = fields_of(tool_config.get("functionCallingConfig", {}), "toolConfig.functionCallingConfig")
    found.update((f"toolConfig.{name}", own) for name, own in tool_config.items() if name != "functionCallingConfig")
    for name, value in calling.items():
        if name not in ("mode", "allowedFunctionNames") or value == "VALIDATED":
            found[f"toolConfig.functionCallingConfig.{name}"] = value
    return {VENDOR: found} if found else ir.NOTHING


def read_request(body: Mapping[str, Any], *, model: str | None = None, stream: bool | None = None) -> ir.Request:
    """A caller's body. The model and whether to stream stand in Gemini's path, so they are given.

    BadRequest, with details["path"], where it cannot be understood; what is unknown is kept in extras.
    """
    fields = fields_of(body, "body")
    config = fields_of(fields.get("generationConfig", {}), "generationConfig")
    tool_config = fields_of(fields.get("toolConfig", {}), "toolConfig")
    sampling = {name: reader(config.get(wire), f"generationConfig.{wire}") for wire, (name, reader) in SAMPLING.items()}
    return ir.Request(
        model=model or text(fields.get("model", ""), "model").removeprefix("models/"),
        messages=read_contents(fields.get("contents")),
        system=read_system(fields.get("systemInstruction")),
        tools=read_tools(fields.get("tools")),
        tool_choice=read_choice(tool_config),
        stream=bool(stream),
        include_usage=True,
        stop=tuple(text(each, "generationConfig.stopSequences") for each in texts(config.get("stopSequences"))),
        reasoning=read_thinking(config.get("thinkingConfig")),
        response_format=read_format(config),
        metadata={key: str(value) for key, value in fields_of(fields.get("labels", {}), "labels").items()},
        service_tier=text(fields.get("serviceTier", ""), "serviceTier"),
        extras=read_extras(fields, config, tool_config),
        **sampling,
    )


# ------------------------------------------------------------------------------------------------------- request, written


@dataclass(frozen=True, slots=True)
class Target:
    """What the model that will be asked takes. Quirks of the provider decide where they say something:

    thinking     "budget", "level" or "none": how it is told how much to think (levels: the words it knows)
    signatures   whether calls in its history must be signed
    json_schema  whether schemas go as they are (parametersJsonSchema, responseJsonSchema), not as Gemini's own Schema
    labels       whether there is a place for metadata (Vertex AI has one)
    format_with_tools  whether JSON may be asked for beside tools
    """

    thinking: str
    levels: frozenset[str]
    max_budget: int
    signatures: bool
    json_schema: bool
    labels: bool
    format_with_tools: bool


def target_of(model: str, quirks: Mapping[str, Any]) -> Target:
    """target_of("gemini-2.5-flash", {}) thinks by budget; target_of("gemini-3-pro", {}) by level, and wants signatures."""
    found = re.search(r"gemini-(\d+)(?:\.(\d+))?", model)
    version = (int(found[1][:3]), int((found[2] or "0")[:3])) if found else (2, 5)
    style = "level" if version >= (3, 0) else "budget" if version >= (2, 5) and "gemma" not in model else "none"
    return Target(
        thinking=str(quirks.get("thinking", style)),
        levels=LEVELS if "flash" in model else LEVELS - {"minimal"} if version > (3, 0) else frozenset({"low", "high"}),
        max_budget=MAX_BUDGET_FLASH if "flash" in model else MAX_BUDGET_PRO,
        signatures=bool(quirks.get("signatures", version >= (3, 0))),
        json_schema=bool(quirks.get("json_schema", False)),
        labels=bool(quirks.get("labels", False)),
        format_with_tools=bool(quirks.get("format_with_tools", version >= (3, 0))),
    )


def wants_format_hint(request: ir.Request, target: Target) -> bool:
    """Models before 3 answer 400 to JSON beside tools."""
    wanted = request.response_format is not None and request.response_format.kind != "text"
    return wanted and bool(request.tools) and not target.format_with_tools


def note_text(part: ir.Text, lost: list[str]) -> None:
    """What a text has beside its words, and Gemini has no place for."""
    if part.cache_control is not None:
        name_lost(lost, "cache_control")
    if part.signature and part.vendor != VENDOR:
        name_lost(lost, "text.signature")
    if part.extras:
        lose_extras(part.extras, VENDOR, lost)


def format_hint(wanted: ir.ResponseFormat | None) -> str:
    if wanted is None or wanted.schema is None:
        return "Answer with one JSON object and nothing else."
    return f"Answer, when no tool is called, with JSON that fits this schema and nothing else: {compact(wanted.schema)}"


def write_system(request: ir.Request, target: Target, lost: list[str]) -> list[Fields]:
    written = []
    for part in request.system:
        if isinstance(part, ir.Text):
            note_text(part, lost)
            written += [{"text": part.text}] if part.text else []
        else:
            name_lost(lost, f"system.{type(part).__name__.lower()}")
    if wants_format_hint(request, target):
        written.append({"text": format_hint(request.response_format)})
    return written


def write_text(part: ir.Text, lost: list[str]) -> list[Fields]:
    note_text(part, lost)
    signature = part.signature if part.vendor == VENDOR else ""
    if not (part.text or signature):
        return []
    return [{"text": part.text, "thoughtSignature": signature}] if signature else [{"text": part.text}]


def write_thinking(part: ir.Thinking, lost: list[str]) -> list[Fields]:
    """Only Gemini's own thoughts go back; whose they are shows the signature's vendor."""
    if part.vendor != VENDOR:
        if part.text or part.signature or part.data:
            name_lost(lost, "thinking")
        return []
    made: Fields = {"text": part.text, "thought": True}
    if part.signature:
        made["thoughtSignature"] = part.signature
    return [made] if part.text or part.signature else []


def write_media(part: ir.Media, lost: list[str]) -> list[Fields]:
    """data -> inlineData; a URL or a file of Gemini's -> fileData. Nothing is fetched here: that would be anybody's URL."""
    if part.cache_control is not None:
        name_lost(lost, "cache_control")
    if part.detail in ("low", "high"):
        name_lost(lost, f"{part.kind}.detail={part.detail}")
    lose_extras(part.extras, VENDOR, lost)
    if part.text is not None:
        return [{"text": f"{part.name}\n{part.text}" if part.name else part.text}] if part.text else []
    media_type = part.media_type or type_of_url(part.url) or USUAL_TYPES[part.kind]
    own = dict(part.extras.get(VENDOR, {}))
    if part.signature and part.vendor == VENDOR:
        own["thoughtSignature"] = part.signature
    if part.data:
        return [{"inlineData": {"mimeType": media_type, "data": part.data}, **own}]
    if part.file_id and part.vendor != VENDOR:
        name_lost(lost, f"{part.kind}.file_id")
        return []
    uri = part.url or part.file_id
    return [{"fileData": {"mimeType": media_type, "fileUri": uri}, **own}] if uri else []


def id_of(call: ir.ToolCall) -> Fields:
    """{"id": ...} where Gemini gave it: before 3 it refuses an id, from then on it wants its own back."""
    return {"id": call.id} if call.vendor == VENDOR and not call.id.startswith(MINTED) else {}


def write_call(part: ir.ToolCall, lost: list[str]) -> list[Fields]:
    if part.cache_control is not None:
        name_lost(lost, "cache_control")
    arguments = dict(part.arguments) if part.arguments is not None else {"input": part.arguments_text}
    if part.arguments is None:
        name_lost(lost, "tool_call.arguments=text")  # not an object: Gemini has no place for another text
    made: Fields = {"functionCall": {**id_of(part), "name": safe_name(part.name), "args": arguments}}
    if part.signature and part.vendor == VENDOR:
        made["thoughtSignature"] = part.signature
    elif part.signature:
        name_lost(lost, "tool_call.signature")
    return [made]


def words_of(result: ir.ToolResult, lost: list[str]) -> str:
    """A result's texts."""
    words = []
    for part in result.parts:
        if isinstance(part, ir.Text):
            note_text(part, lost)
            words.append(part.text)
        elif isinstance(part, ir.Media | ir.Opaque) and part.text:
            words.append(part.text)
        elif isinstance(part, ir.Opaque):
            name_lost(lost, part.kind)
    return "\n".join(words)


def write_lone_result(part: ir.ToolResult, lost: list[str]) -> list[Fields]:
    """A result where none can be: in the model's own turn."""
    name_lost(lost, "tool_result=orphan")
    return [{"text": words_of(part, lost)}]


def write_refusal(part: ir.Refusal, lost: list[str]) -> list[Fields]:
    return [{"text": part.text}] if part.text else []


def write_opaque(part: ir.Opaque, lost: list[str]) -> list[Fields]:
    if part.vendor == VENDOR:
        return [dict(part.value)]
    name_lost(lost, part.kind)
    return [{"text": part.text}] if part.text else []


PART_WRITERS: Mapping[type, Callable[[Any, list[str]], list[Fields]]] = {
    ir.Text: write_text,
    ir.Thinking: write_thinking,
    ir.Media: write_media,
    ir.ToolCall: write_call,
    ir.ToolResult: write_lone_result,
    ir.Refusal: write_refusal,
    ir.Opaque: write_opaque,
}


def write_part(part: ir.Part, lost: list[str]) -> list[Fields]:
    """One part for the upstream: a list of one, or of none where Gemini would refuse it."""
    return PART_WRITERS[type(part)](part, lost)


def write_parts(parts: Iterable[ir.Part], lost: list[str]) -> list[Fields]:
    return [made for part in parts for made in write_part(part, lost)]


def reminder(message: ir.Message, lost: list[str]) -> list[Fields]:
    """A system message on the way is told as the user's: lifted to the front it would spoil every prompt cache."""
    name_lost(lost, f"role={message.role}")
    return [{"text": f"<system-reminder>\n{made['text']}\n</system-reminder>"} if "text" in made else made
            for made in write_parts(message.parts, lost)]  # fmt: skip


def signed_calls(written: list[Fields]) -> list[Fields]:
    """The first call of a turn must be signed from Gemini 3 on."""
    first = next((made for made in written if "functionCall" in made), None)
    if first is not None and "thoughtSignature" not in first:
        first["thoughtSignature"] = SIGNATURE_UNKNOWN
    return written


def write_response(call: ir.ToolCall, result: ir.ToolResult, lost: list[str]) -> Fields:
    """ToolResult("t1", (Text("42"),)) -> {"functionResponse": {"name": "f", "response": {"output": "42"}}}"""
    if result.cache_control is not None:
        name_lost(lost, "cache_control")
    lose_extras(result.extras, VENDOR, lost)
    words = words_of(result, lost)
    response = dict(result.data) if result.data is not None else {"error" if result.is_error else "output": words}
    return {"functionResponse": {**id_of(call), "name": safe_name(call.name), "response": response}}


def write_result_media(name: str, result: ir.ToolResult, lost: list[str]) -> list[Fields]:
    """Pictures in a result follow it as the user's: few models take them inside."""
    media_ = [part for part in result.parts if isinstance(part, ir.Media) and part.text is None]
    written = write_parts(media_, lost)
    return [{"text": f"[from the result of {name}]"}, *written] if written else []


def write_results(
    calls: Sequence[ir.ToolCall], parts: Sequence[ir.Part], lost: list[str]
) -> tuple[list[Fields], list[Fields]]:
    """(as many responses as there were calls, in their order, since without ids that is what tells; the pictures in them)."""
    results = {part.id: part for part in parts if isinstance(part, ir.ToolResult)}
    responses, pictures = [], []
    for call in calls:
        responses.append(write_response(call, results[call.id], lost))
        pictures += write_result_media(call.name, results[call.id], lost)
    return responses, pictures


def write_contents(request: ir.Request, target: Target, lost: list[str]) -> list[Fields]:
    """The turns. The results of a turn's calls are one content with nothing beside them; others of one side are joined."""
    contents: list[Fields] = []
    calls: list[ir.ToolCall] = []  # of the turn before
    for message in paired(request.messages, lost):
        lose_extras(message.extras, VENDOR, lost)
        if message.name:
            name_lost(lost, "name")
        if calls:  # `paired` has put all their results, and nothing else, right behind them
            responses, parts = write_results(calls, message.parts, lost)
            contents.append({"role": "user", "parts": responses})
        elif message.role in ("system", "developer"):
            parts = reminder(message, lost)
        else:
            parts = write_parts(message.parts, lost)
        calls = [part for part in message.parts if isinstance(part, ir.ToolCall)] if message.role == "assistant" else []
        role = "model" if message.role == "assistant" else "user"
        last = contents[-1] if contents else {"role": "", "parts": [{}]}
        if last["role"] == role and "functionResponse" not in last["parts"][0]:
            last["parts"] += parts
        elif parts:
            contents.append({"role": role, "parts": signed_calls(parts) if calls and target.signatures else parts})
    return contents


def write_choice(choice: ir.ToolChoice) -> Fields:
    """AUTO takes no names: the tools that are not among them are not declared."""
    if choice.mode == "required":
        return {"mode": "ANY", **({"allowedFunctionNames": [safe_name(name) for name in choice.names]} if choice.names else {})}
    return {"mode": "NONE" if choice.mode == "none" else "AUTO"}


def write_declaration(tool: ir.Tool, path: str, target: Target, lost: list[str]) -> Fields:
    made: Fields = {"name": safe_name(tool.name), **({"description": tool.description} if tool.description else {})}
    if tool.strict:
        name_lost(lost, "strict")
    if tool.cache_control is not None:
        name_lost(lost, "cache_control")
    lose_extras(tool.extras, VENDOR, lost)
    schema = tool.parameters or {}
    if schema.get("properties") or schema.keys() - {"type", "properties", "required", "$schema", "additionalProperties"}:
        name = "parametersJsonSchema" if target.json_schema else "parameters"
        made[name] = schema if target.json_schema else to_gemini(schema, f"{path}.parameters", lost)
    return {**made, **tool.extras.get(VENDOR, {})}  # without parameters: an object without properties is refused


def write_tools(body: Fields, request: ir.Request, target: Target, lost: list[str]) -> None:
    choice = request.tool_choice
    chosen = choice.names if choice is not None and choice.mode == "auto" else ()  # AUTO takes no names
    declared: list[Fields] = []
    others: list[Fields] = []
    for index, tool in enumerate(request.tools):
        path = f"tools[{index}]"
        if tool.vendor == VENDOR:
            others.append(dict(tool.value or {}))
        elif tool.vendor or tool.custom:
            name_lost(lost, f"{path}={'custom' if tool.custom else tool.name}")
        elif not chosen or tool.name in chosen:
            declared.append(write_declaration(tool, path, target, lost))
    tools = [*([{"functionDeclarations": declared}] if declared else []), *others]
    if tools:
        body["tools"] = tools
    if choice is not None and declared:
        body["toolConfig"] = {"functionCallingConfig": write_choice(choice)}
    elif choice is not None and choice.mode == "required":
        name_lost(lost, "tool_choice")
    if request.parallel_tool_calls is False and declared:
        name_lost(lost, "parallel_tool_calls=false")


def budget_of(reasoning: ir.Reasoning) -> int | None:
    """Tokens; 0 is none, -1 is as the model thinks fit."""
    if reasoning.mode == "off":
        return 0
    if reasoning.budget_tokens is not None:
        return reasoning.budget_tokens
    if reasoning.effort:
        return EFFORT_BUDGETS.get(reasoning.effort, -1)
    return -1 if reasoning.mode else None


def level_of(reasoning: ir.Reasoning, levels: frozenset[str]) -> str:
    """A level that the model knows; "" leaves it to the model.

    level_of(Reasoning("", effort="medium"), {"low", "high"}) -> "high";  ... budget_tokens=1024 -> "low"
    """
    level = reasoning.effort or ("minimal" if reasoning.mode == "off" else "")
    if not level and reasoning.budget_tokens is not None:
        level = "low" if reasoning.budget_tokens <= EFFORT_BUDGETS["medium"] else "high"
    while level not in levels and level in NEAREST_LEVEL:
        level = NEAREST_LEVEL[level]
    return level if level in levels else ""


def write_thinking_config(reasoning: ir.Reasoning, target: Target, lost: list[str]) -> Fields:
    """Effort and budget are turned into the one that the model knows."""
    if target.thinking == "none":
        if reasoning.mode != "off" and reasoning.effort != "none":
            name_lost(lost, "reasoning")
        return {}
    shown = reasoning.shown if reasoning.shown is not None else reasoning.mode in ("on", "adaptive")
    made: Fields = {"includeThoughts": True} if shown else {}
    if target.thinking == "level":
        level = level_of(reasoning, target.levels)
        return {**made, "thinkingLevel": level} if level else made
    budget = budget_of(reasoning)
    if budget is not None and budget > target.max_budget:
        name_lost(lost, f"reasoning.budget_tokens={budget}")
        budget = target.max_budget
    return made if budget is None else {**made, "thinkingBudget": budget}


def write_format(request: ir.Request, target: Target, lost: list[str]) -> Fields:
    wanted = request.response_format
    if wanted is None or wanted.kind == "text":
        return {}
    if wants_format_hint(request, target):
        name_lost(lost, "response_format=system")  # told in words instead
        return {}
    made: Fields = {"responseMimeType": "application/json"}
    if wanted.schema is not None and target.json_schema:
        made["responseJsonSchema"] = wanted.schema
    elif wanted.schema is not None:
        made["responseSchema"] = to_gemini(wanted.schema, "response_format", lost)
    return made


def write_config(request: ir.Request, target: Target, lost: list[str]) -> Fields:
    config: Fields = {wire: value for wire, (name, _) in SAMPLING.items() if (value := getattr(request, name)) is not None}
    if not -MAX_INT32 <= config.get("seed", 0) <= MAX_INT32:
        name_lost(lost, "seed")
        del config["seed"]
    if request.stop:
        config["stopSequences"] = list(request.stop[:MAX_STOP_SEQUENCES])
        if len(request.stop) > MAX_STOP_SEQUENCES:
            name_lost(lost, f"stop[{MAX_STOP_SEQUENCES}:]")
    if request.reasoning is not None:
        thinking = write_thinking_config(request.reasoning, target, lost)
        if thinking:
            config["thinkingConfig"] = thinking
    config.update(write_format(request, target, lost))
    return config


def write_rest(body: Fields, request: ir.Request, target: Target, lost: list[str]) -> None:
    """Metadata, and what has no place in any Gemini body."""
    if request.metadata and target.labels:
        body["labels"] = dict(request.metadata)
    for name in ("user", "service_tier", "cache_key", *(() if target.labels else ("metadata",))):
        value = getattr(request, name)
        if value and not (name == "service_tier" and value in ("auto", "default")):
            name_lost(lost, f"service_tier={value}" if name == "service_tier" else name)


def put(body: Fields, path: str, value: Any) -> None:
    """put(body, "generationConfig.speechConfig", {...})"""
    *way, last = path.split(".")
    for name in way:
        body = body.setdefault(name, {})
    body[last] = value


def write_request(request: ir.Request, *, model: str, quirks: Mapping[str, Any], lost: list[str]) -> Fields:
    """The body for the upstream; the model stands in the path. What cannot be said is named in `lost`."""
    target = target_of(model, quirks)
    system = write_system(request, target, lost)
    contents = write_contents(request, target, lost)
    if not contents:  # Gemini wants something to answer to
        contents, system = [{"role": "user", "parts": system or [{"text": " "}]}], []
    if contents[0]["role"] == "model":  # a call must follow a user's turn
        contents.insert(0, {"role": "user", "parts": [{"text": "(The conversation goes on.)"}]})
    body: Fields = {"contents": contents}
    if system:
        body["systemInstruction"] = {"parts": system}
    write_tools(body, request, target, lost)
    config = write_config(request, target, lost)
    if config:
        body["generationConfig"] = config
    write_rest(body, request, target, lost)
    for path, value in request.extras.get(VENDOR, {}).items():
        put(body, path, value)
    lose_extras(request.extras, VENDOR, lost)
    return body


# ----------------------------------------------------------------------------------------------------------- answer, read

CANDIDATE_EXTRAS = ("groundingMetadata", "citationMetadata", "urlContextMetadata", "safetyRatings", "logprobsResult",
                    "avgLogprobs", "finishMessage")  # fmt: skip
PLAIN_CANDIDATE = {"content", "index"}  # of a chunk on the way
ANSWER_EXTRAS = ("promptFeedback", "modelStatus")


def count(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0


def usage_of(value: Any) -> ir.Usage | None:
    """usageMetadata, in disjoint classes; None where it counts nothing yet.

    {"promptTokenCount": 10, "cachedContentTokenCount": 4, "toolUsePromptTokenCount": 3, "candidatesTokenCount": 2,
     "thoughtsTokenCount": 5}  -> Usage(input=9, cache_read=4, text=2, reasoning=5)

    The prompt's count holds the cached ones, but not those of tools' results at Google; the answer's holds no thoughts.
    """
    if not isinstance(value, dict) or not ("promptTokenCount" in value or "totalTokenCount" in value):
        return None
    prompt, cached = count(value.get("promptTokenCount")), count(value.get("cachedContentTokenCount"))
    tools = count(value.get("toolUsePromptTokenCount"))
    return ir.Usage(
        input=max(0, prompt - cached) + tools,
        cache_read=cached,
        text=count(value.get("candidatesTokenCount")),
        reasoning=count(value.get("thoughtsTokenCount")),
        extras={VENDOR: {"toolUsePromptTokenCount": tools}} if tools else ir.NOTHING,
    )


def usage_in(answer: Mapping[str, Any]) -> ir.Usage | None:
    """The usage of a whole answer that is relayed unread."""
    return usage_of(answer.get("usageMetadata"))


def stop_of(native: str, has_calls: bool, extras: ir.JSON = ir.NOTHING) -> ir.Stop:
    """stop_of("STOP", True) -> Stop("tool_calls", "STOP"); a word that is not known is "other"."""
    reason = FINISH.get(native, "other")
    if has_calls and reason == "end":
        reason = "tool_calls"
    return ir.Stop(reason, native)


def extras_in(fields: Mapping[str, Any], names: Iterable[str]) -> ir.Extras:
    found = {name: fields[name] for name in names if fields.get(name) not in (None, [], {})}
    return {VENDOR: found} if found else ir.NOTHING


def created_at(value: Any) -> int:
    """Unix seconds of a createTime; 0 where it tells none."""
    try:
        return int(datetime.fromisoformat(value).timestamp()) if isinstance(value, str) and "T" in value else 0
    except (ValueError, OverflowError):
        return 0


def block_reason(fields: Mapping[str, Any]) -> str:
    feedback = fields.get("promptFeedback")
    return str(feedback.get("blockReason") or "") if isinstance(feedback, dict) else ""


def seed_of(fields: Mapping[str, Any]) -> str:
    """What tells this answer from others of its conversation: its id, else how long it has become."""
    usage = fields.get("usageMetadata")
    return str(fields.get("responseId") or (usage.get("promptTokenCount") if isinstance(usage, dict) else "") or "")


def read_candidate(value: Any, path: str, calls: Calls) -> ir.Candidate:
    fields = fields_of(value, path)
    content = fields_of(fields.get("content", {}), f"{path}.content")
    where = enumerate(many(content.get("parts"), f"{path}.content.parts"))
    parts = tuple(read_part(part, f"{path}.content.parts[{index}]", calls) for index, part in where)
    has_calls = any(isinstance(part, ir.ToolCall) for part in parts)
    stop = stop_of(str(fields.get("finishReason", "")), has_calls)
    return ir.Candidate(parts, stop, extras_in(fields, CANDIDATE_EXTRAS))


def answer_in(body: Mapping[str, Any]) -> ir.Answer:
    if "error" in body:
        raise error_in(body["error"], 502)
    fields = fields_of(body, "answer")
    id, candidates = str(fields.get("responseId", "")), many(fields.get("candidates"), "candidates")
    calls = Calls(seed_of(fields))
    read = tuple(read_candidate(each, f"candidates[{index}]", calls) for index, each in enumerate(candidates))
    blocked = block_reason(fields)
    if not read and not blocked:
        raise UpstreamFailed("the upstream's answer has no candidates")
    return ir.Answer(
        id=id, model=str(fields.get("modelVersion", "")), usage=usage_of(fields.get("usageMetadata")),
        candidates=read or (ir.Candidate((), ir.Stop("refusal", blocked)),),
        created=created_at(fields.get("createTime")), extras=extras_in(fields, ANSWER_EXTRAS),
    )  # fmt: skip


def read_answer(body: Mapping[str, Any]) -> ir.Answer:
    """A whole answer. A prompt that was blocked is one candidate that refuses; an error under status 200 is raised."""
    try:
        return answer_in(body)
    except BadRequest as wrong:  # said of the upstream's fields, not of the caller's
        raise UpstreamFailed(f"the upstream's answer cannot be read: {wrong.message}") from None


# -------------------------------------------------------------------------------------------------------- answer, written


def shows_thoughts(request: ir.Request) -> bool:
    """Gemini shows them only to who asks for them."""
    return request.reasoning is not None and request.reasoning.shown is True


def write_usage(usage: ir.Usage) -> Fields:
    """Gemini's counts: the prompt's with what a cache gave, the answer's without thoughts."""
    made = {
        "promptTokenCount": usage.total_input,
        "cachedContentTokenCount": usage.cache_read,
        "candidatesTokenCount": usage.text,
        "thoughtsTokenCount": usage.reasoning,
        "totalTokenCount": usage.total,
    }
    return {name: value for name, value in made.items() if value or name not in OMITTED_ZEROS}


def write_stop(stop: ir.Stop, malformed: str, lost: list[str]) -> Fields:
    """finishReason, and in words what it cannot say. `malformed` names a call whose arguments are no object."""
    if malformed and stop.reason != "length":
        return {"finishReason": "MALFORMED_FUNCTION_CALL", "finishMessage": f"Malformed function call: {malformed}"}
    own = FINISH.get(stop.native) == stop.reason
    made: Fields = {"finishReason": stop.native if own else FINISH_OF[stop.reason]}
    if stop.reason not in UNTOLD and not own:
        name_lost(lost, f"stop_reason={stop.native or stop.reason}")
        made["finishMessage"] = stop.native or stop.reason
    return made


def answer_call(part: ir.ToolCall, names: Mapping[str, str], lost: list[str]) -> Fields | None:
    """A call for the caller, under the name that it gave its tool; None when the arguments are no object."""
    arguments = part.arguments if part.arguments is not None else ir.object_in(part.arguments_text)
    name = names.get(part.name, part.name)
    if part.custom or arguments is None:
        name_lost(lost, "functionCall.args")
        return None
    made: Fields = {"functionCall": {"id": part.id, "name": name, "args": arguments}}
    signature = packed_signature(part)
    return {**made, "thoughtSignature": signature} if signature else made


def answer_part(part: ir.Part, names: Mapping[str, str], shown: bool, lost: list[str]) -> Fields | None:
    """One part for the caller; None where there is nothing to show."""
    if isinstance(part, ir.ToolCall):
        return answer_call(part, names, lost)
    if isinstance(part, ir.Thinking):
        signature = packed_signature(part)
        if not shown or not (part.text or signature):
            return None
        return {"text": part.text, "thought": True, **({"thoughtSignature": signature} if signature else {})}
    if isinstance(part, ir.Text):
        signature = packed_signature(part)
        lose_extras(part.extras, VENDOR, lost)
        made = {"text": part.text, **({"thoughtSignature": signature} if signature else {})}
        return made if part.text or signature else None
    return next(iter(write_part(part, lost)), None)


def write_candidate(candidate: ir.Candidate, index: int, request: ir.Request, lost: list[str]) -> Fields:
    names, shown = own_names(request.tools), shows_thoughts(request)
    made, malformed = [], ""
    for part in candidate.parts:
        written = answer_part(part, names, shown, lost)
        if written is not None:
            made.append(written)
        elif isinstance(part, ir.ToolCall):
            malformed = names.get(part.name, part.name)
    lose_extras(candidate.extras, VENDOR, lost)
    stop = write_stop(candidate.stop, malformed, lost)
    content: Fields = {"parts": made or [{"text": ""}], "role": "model"}  # without a part Google's SDKs drop the turn
    return {"content": content, **stop, "index": index, **candidate.extras.get(VENDOR, {})}


def write_answer(answer: ir.Answer, request: ir.Request, lost: list[str]) -> Fields:
    """The whole answer for a Gemini client."""
    candidates = [write_candidate(each, index, request, lost) for index, each in enumerate(answer.candidates)]
    made: Fields = {"candidates": candidates}
    if answer.usage is not None:
        made["usageMetadata"] = write_usage(answer.usage)
    made["modelVersion"] = answer.model or request.model
    if answer.id:
        made["responseId"] = answer.id
    lose_extras(answer.extras, VENDOR, lost)
    return made


def write_count(tokens: int) -> Fields:
    """The answer of countTokens."""
    return {"totalTokens": tokens}


# ------------------------------------------------------------------------------------------------- a stream, relayed


class Scanner:
    """A relayed stream, read beside it: whether it said something, whether it is whole, its usage, its error."""

    __slots__ = ("_usage", "done", "error", "finish", "outputs")

    def __init__(self) -> None:
        self.outputs = 0
        self.done = False
        self.finish = ""  # the first candidate's finishReason
        self.error: GatewayError | None = None
        self._usage: Any = None

    @property
    def usage(self) -> ir.Usage | None:
        return usage_of(self._usage)

    def feed(self, events: Sequence[Event]) -> None:
        for event in events:
            try:
                chunk = json.loads(event.data)
            except (ValueError, RecursionError):
                continue  # not ours to judge: it goes on as it came
            if isinstance(chunk, dict):
                self._chunk(chunk)

    def _chunk(self, chunk: Fields) -> None:
        if "error" in chunk:
            self.error = error_in(chunk["error"], 502)
            return
        self._usage = chunk.get("usageMetadata", self._usage)
        if block_reason(chunk):
            self.done = True
        for candidate in dicts(chunk.get("candidates")):
            content = candidate.get("content")
            parts = dicts(content.get("parts")) if isinstance(content, dict) else []
            if any(part.get("text") != "" for part in parts):
                self.outputs += 1
            self.done = bool(candidate.get("finishReason"))
            if self.done:
                self.finish = self.finish or str(candidate["finishReason"])


# -------------------------------------------------------------------------------------------------- a stream, read


class ArgumentPieces:
    """Arguments that come as {"jsonPath": "$.a[0].b", "stringValue": "x"}; texts of one path are joined."""

    __slots__ = ("_more", "value")

    def __init__(self) -> None:
        self.value: Fields = {}
        self._more: set[str] = set()  # paths whose text goes on

    def add(self, piece: Fields) -> None:
        path = str(piece.get("jsonPath") or "")
        steps: list[str | int] = [int(index) if index else name or quoted for name, index, quoted in STEP.findall(path)]
        if not path.startswith("$") or not steps:
            return
        place, last = self._place(steps)
        text_ = piece.get("stringValue")
        if isinstance(text_, str):
            before = self._at(place, last) if path in self._more else ""
            self._set(place, last, (before if isinstance(before, str) else "") + text_)
        else:
            self._set(place, last, piece.get("numberValue", piece.get("boolValue")))
        (self._more.add if piece.get("willContinue") else self._more.discard)(path)

    def _place(self, steps: list[str | int]) -> tuple[Any, str | int]:
        """The object or list that the last step is in, made on the way."""
        place: Any = self.value
        for step, following in pairwise(steps):
            found = self._at(place, step)
            if not isinstance(found, list if isinstance(following, int) else dict):
                found = [] if isinstance(following, int) else {}
                self._set(place, step, found)
            place = found
        return place, steps[-1]

    @staticmethod
    def _at(place: Any, step: str | int) -> Any:
        if isinstance(place, list):
            return place[step] if isinstance(step, int) and step < len(place) else None
        return place.get(step)

    @staticmethod
    def _set(place: Any, step: str | int, value: Any) -> None:
        if isinstance(place, list) and isinstance(step, int):
            if step > MAX_ARGUMENT_ITEMS:
                raise UpstreamFailed(f"the upstream sent an argument with more than {MAX_ARGUMENT_ITEMS} items")
            place.extend([None] * (step + 1 - len(place)))
        place[step] = value


class Side:
    """One candidate of a stream: its parts so far, the one that is open, and why it ended."""

    __slots__ = ("arguments", "extras", "has_calls", "index", "native", "number", "open", "signed")

    def __init__(self, candidate: int) -> None:
        self.number = candidate
        self.index = -1  # of the last part
        self.open: type | None = None  # Text, Thinking or ToolCall
        self.signed = False  # the open part has its signature: another one is another part's
        self.arguments: ArgumentPieces | None = None  # of the open call
        self.has_calls = False
        self.native: str | None = None
        self.extras: Fields = {}

    def close_part(self) -> list[ir.StreamEvent]:
        if self.open is None:
            return []
        events: list[ir.StreamEvent] = []
        if self.arguments is not None:
            events.append(ir.PartDelta(self.index, compact(self.arguments.value), "", self.number))
            self.arguments = None
        self.open = None
        return [*events, ir.PartEnd(self.index, self.number)]

    def start(self, part: ir.Part) -> list[ir.StreamEvent]:
        events = self.close_part()
        self.index += 1
        self.open, self.signed = type(part), False
        return [*events, ir.PartStart(self.index, part, self.number)]

    def whole(self, part: ir.Part) -> list[ir.StreamEvent]:
        return [*self.start(part), *self.close_part()]

    def grow(self, kind: type, words: str, signature: str, vendor: str = VENDOR) -> list[ir.StreamEvent]:
        """Text or a thought: more of the open part, or the next one."""
        events: list[ir.StreamEvent] = []
        if self.open is not kind or (self.signed and (words or signature)):
            if not (words or signature):
                return events
            events = self.start(kind("", vendor=vendor))
        if words or signature:
            events.append(ir.PartDelta(self.index, words, signature, self.number))
            self.signed = bool(signature)
        return events

    def call(self, part: Fields, calls: Calls) -> list[ir.StreamEvent]:
        """A call: whole, or (Vertex AI) beginning, going on, or with {} at its end."""
        own = part["functionCall"] if isinstance(part["functionCall"], dict) else {}
        goes_on = "willContinue" in own or "partialArgs" in own
        if not goes_on and not (self.open is ir.ToolCall and not own):
            return self._whole_call(part, calls)
        events: list[ir.StreamEvent] = []
        if own.get("name"):
            events, _ = self._start_call(part, calls)
            self.arguments = ArgumentPieces()
        if self.arguments is not None:
            for piece in dicts(own.get("partialArgs")):
                self.arguments.add(piece)
        return events if goes_on and own.get("willContinue") else [*events, *self.close_part()]

    def _start_call(self, part: Fields, calls: Calls) -> tuple[list[ir.StreamEvent], str]:
        """(the events that begin a call, the arguments that came with it)."""
        found = read_call(fields_of(part, "part"), f"parts[{self.index + 1}]", calls)
        self.has_calls = True
        begun = ir.ToolCall(found.id, found.name, signature=found.signature, vendor=found.vendor)
        return self.start(begun), found.arguments_text

    def _whole_call(self, part: Fields, calls: Calls) -> list[ir.StreamEvent]:
        events, arguments = self._start_call(part, calls)
        return [*events, ir.PartDelta(self.index, arguments, "", self.number), *self.close_part()]

    def ended(self) -> list[ir.StreamEvent]:
        extras = {VENDOR: self.extras} if self.extras else ir.NOTHING
        return [*self.close_part(), ir.Stopped(stop_of(self.native or "", self.has_calls), self.number, extras)]


class StreamReader:
    """An upstream's stream -> neutral events. feed() each event, close() when the connection has ended.

    Gemini says no last word: a stream is whole when each candidate has its finishReason and the connection then ends.
    Some models repeat finishReason on every chunk, so it ends nothing by itself; `done` says that nothing more is needed.
    """

    __slots__ = ("_blocked", "_calls", "_over", "_sides", "_started", "_usage")

    def __init__(self) -> None:
        self._started = self._over = False
        self._sides: dict[int, Side] = {}
        self._calls = Calls()
        self._usage: Any = None
        self._blocked = ""

    @property
    def done(self) -> bool:
        """Whether the end of the connection would be the end of the answer."""
        ended = [side.native for side in self._sides.values()]
        return all(ended) if ended else bool(self._blocked)

    def feed(self, event: Event) -> list[ir.StreamEvent]:
        if self._over:
            return []
        try:
            chunk = json.loads(event.data)
        except (ValueError, RecursionError):
            # OpenAI's last word, which some proxies add to every protocol.
            return [] if event.data.strip() == "[DONE]" else self._fail(UpstreamFailed("the upstream's stream is not JSON"))
        if not isinstance(chunk, dict):
            return self._fail(UpstreamFailed("the upstream's stream holds what is no object"))
        if "error" in chunk:
            return self._fail(error_in(chunk["error"], 502))
        try:
            return self._chunk(chunk)
        except BadRequest as wrong:  # said of the upstream's fields, not of the caller's
            return self._fail(UpstreamFailed(f"the upstream's stream cannot be read: {wrong.message}"))
        except UpstreamFailed as wrong:
            return self._fail(wrong)

    def _chunk(self, chunk: Fields) -> list[ir.StreamEvent]:
        events: list[ir.StreamEvent] = [] if self._started else self._start(chunk)
        for candidate in dicts(chunk.get("candidates")):
            events += self._candidate(candidate)
        if "promptFeedback" in chunk:
            self._blocked = block_reason(chunk)
        usage = chunk.get("usageMetadata")
        if usage is not None and usage != self._usage:
            self._usage = usage
            seen = usage_of(usage)
            if seen is not None:
                events.append(ir.UsageSeen(seen))
        return events

    def _start(self, chunk: Fields) -> list[ir.StreamEvent]:
        self._started = True
        self._calls.seed = seed_of(chunk)
        model, created = str(chunk.get("modelVersion", "")), created_at(chunk.get("createTime"))
        return [ir.Started(str(chunk.get("responseId", "")), model, created, extras=extras_in(chunk, ANSWER_EXTRAS))]

    def _candidate(self, candidate: Fields) -> list[ir.StreamEvent]:
        place = count(candidate.get("index"))
        side = self._sides.get(place)
        if side is None:
            side = self._sides[place] = Side(place)
        content = candidate.get("content")
        events: list[ir.StreamEvent] = []
        for part in dicts(content.get("parts")) if isinstance(content, dict) else ():
            events += self._part(part, side)
        if not candidate.keys() <= PLAIN_CANDIDATE:
            side.native = str(candidate.get("finishReason") or "") or side.native
            side.extras.update(extras_in(candidate, CANDIDATE_EXTRAS).get(VENDOR, {}))
        return events

    def _part(self, part: Fields, side: Side) -> list[ir.StreamEvent]:
        words = part.get("text")
        if len(part) == 1 and side.open is ir.Text and type(words) is str:  # as nearly all come
            return side.grow(ir.Text, words, "")
        if part.get("functionCall") is not None:
            return side.call(part, self._calls)
        found = read_part(part, "part", self._calls)
        if isinstance(found, ir.Text | ir.Thinking):
            return side.grow(type(found), found.text, found.signature)
        return side.whole(found)

    def close(self) -> list[ir.StreamEvent]:
        """The end of the connection: the end of the answer where it was said why, else a failure."""
        if self._over:
            return []
        if not self.done:
            what = "before it said why" if self._started else "without an answer"
            return self._fail(StreamCut(f"the upstream ended the stream {what}"))
        self._over = True
        events: list[ir.StreamEvent] = []
        for side in self._sides.values():
            events += side.ended()
        if not self._sides:
            events.append(ir.Stopped(ir.Stop("refusal", self._blocked)))
        return [*events, ir.Finished()]

    def _fail(self, error: GatewayError) -> list[ir.StreamEvent]:
        self._over = True
        return [ir.Failed(error)]


# ----------------------------------------------------------------------------------------------- a stream, written

class Waiting:
    """The open part of a candidate, with what has to wait for its end: a call's text, a signature."""

    __slots__ = ("part", "signature", "texts")

    def __init__(self, part: ir.Part) -> None:
        self.part = part
        self.texts: list[str] = []
        self.signature = ""

    def whole(self) -> ir.Part:
        return ir.longer(self.part, ir.PartDelta(0, "".join(self.texts), self.signature))


METHODS: Mapping[type, str] = {  # of the writer, by what it is fed
    ir.Started: "_started", ir.PartStart: "_part_start", ir.PartEnd: "_part_end", ir.Stopped: "_stopped",
    ir.UsageSeen: "_usage_seen", ir.Finished: "_finished", ir.Failed: "_failed",
}  # fmt: skip


class StreamWriter:
    """Neutral events -> a Gemini client's stream: server-sent events, or the items of one JSON array.

    A text goes on as it comes; a call waits until it is whole, since Gemini has no pieces of one; so does a signature. Why it
    ended stands in the last chunk with the usage, and nothing follows: the connection's end is the end.
    """

    __slots__ = ("_array", "_began", "_head", "_lost", "_malformed", "_model", "_names", "_open", "_shown", "_stops",
                 "_tails", "_usage")  # fmt: skip

    def __init__(self, request: ir.Request, *, lost: list[str], array: bool = False) -> None:
        self._lost, self._array, self._began = lost, array, False
        self._names, self._shown = own_names(request.tools), shows_thoughts(request)
        self._model = request.model
        self._head: Fields = {"modelVersion": request.model}
        self._tails: dict[int, str] = {}
        self._open: dict[int, Waiting] = {}  # candidate -> its part
        self._stops: dict[int, ir.Stopped] = {}
        self._malformed: dict[int, str] = {}
        self._usage: ir.Usage | None = None

    def feed(self, event: ir.StreamEvent) -> bytes:
        if type(event) is ir.PartDelta:
            return self._delta(event)
        written: bytes = getattr(self, METHODS[type(event)])(event)
        return written

    def fail(self, error: GatewayError, request_id: str = "") -> bytes:
        """The last words of a stream that failed, in the form that this one has."""
        return self._framed(compact(write_error(error, request_id)[2])) + (b"]" if self._array else b"")

    def _framed(self, data: str) -> bytes:
        if not self._array:
            return framed(data)
        mark = ",\r\n" if self._began else "["
        self._began = True
        return (mark + data).encode("utf-8", "backslashreplace")

    def _chunk(self, part: Fields, candidate: int) -> bytes:
        return self._framed(f'{{"candidates":[{{"content":{{"parts":[{compact(part)}{self._tail(candidate)}')

    def _tail(self, candidate: int) -> str:
        """What stands behind the parts of every chunk, written once."""
        tail = self._tails.get(candidate)
        if tail is None:
            tail = f'],"role":"model"}},"index":{candidate}}}],{compact(self._head)[1:]}'
            self._tails[candidate] = tail
        return tail

    def _started(self, event: ir.Started) -> bytes:
        self._head = {"modelVersion": event.model or self._model, **({"responseId": event.id} if event.id else {})}
        lose_extras(event.extras, VENDOR, self._lost)
        return b""

    def _part_start(self, event: ir.PartStart) -> bytes:
        part = event.part
        self._open[event.candidate] = Waiting(part)
        if isinstance(part, ir.Text) and part.text:
            return self._chunk({"text": part.text}, event.candidate)
        if isinstance(part, ir.Text | ir.Thinking | ir.ToolCall):
            return b""
        made = answer_part(part, self._names, self._shown, self._lost)
        return self._chunk(made, event.candidate) if made is not None else b""

    def _delta(self, event: ir.PartDelta) -> bytes:
        waiting = self._open.get(event.candidate)
        if waiting is None:
            return b""
        waiting.signature += event.signature
        if event.extras:
            lose_extras(event.extras, VENDOR, self._lost)
        kind = type(waiting.part)
        if kind is ir.Text and event.text:
            return self._chunk({"text": event.text}, event.candidate)
        if kind is ir.ToolCall:
            waiting.texts.append(event.text)
        elif kind is ir.Thinking and self._shown and event.text:
            return self._chunk({"text": event.text, "thought": True}, event.candidate)
        return b""

    def _part_end(self, event: ir.PartEnd) -> bytes:
        waiting = self._open.pop(event.candidate, None)
        if waiting is None:
            return b""
        part = waiting.whole()
        made: Fields | None = None
        if isinstance(part, ir.ToolCall):
            made = answer_call(part, self._names, self._lost)
            if made is None:
                self._malformed[event.candidate] = self._names.get(part.name, part.name)
        elif isinstance(part, ir.Text) and part.signature:
            made = {"text": "", "thoughtSignature": packed_signature(part)}
        elif isinstance(part, ir.Thinking) and self._shown and (part.signature or part.data):
            made = {"text": "", "thought": True, "thoughtSignature": packed_signature(part)}
        return self._chunk(made, event.candidate) if made is not None else b""

    def _stopped(self, event: ir.Stopped) -> bytes:
        self._stops[event.candidate] = event
        lose_extras(event.extras, VENDOR, self._lost)
        return b""

    def _usage_seen(self, event: ir.UsageSeen) -> bytes:
        self._usage = event.usage
        return b""

    def _finished(self, event: ir.Finished) -> bytes:
        lose_extras(event.extras, VENDOR, self._lost)
        candidates = []
        for place, stopped in sorted(self._stops.items()):
            stop = write_stop(stopped.stop, self._malformed.get(place, ""), self._lost)
            own = stopped.extras.get(VENDOR, {})
            candidates.append({"content": {"parts": [{"text": ""}], "role": "model"}, **stop, "index": place, **own})
        chunk: Fields = {"candidates": candidates}
        if self._usage is not None:
            chunk["usageMetadata"] = write_usage(self._usage)
        return self._framed(compact({**chunk, **self._head})) + (b"]" if self._array else b"")

    def _failed(self, event: ir.Failed) -> bytes:
        return self.fail(event.error)
