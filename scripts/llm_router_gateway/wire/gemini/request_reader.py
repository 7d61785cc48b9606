"""Gemini's generateContent: a caller's request body -> ir.Request."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from .. import ir
from ..fields import compact, integer, obj, refuse, text, truth
from ..losses import with_extras
from ..names import mint_id
from ..open_calls import OpenCalls
from ..shapes import Shape, all_unread, both, knows_below, unread, with_unread
from .common import (
    FILE_ID,
    MEDIA_TYPES,
    READ_CONFIG,
    READ_FIELDS,
    ROLES,
    SAMPLING,
    VENDOR,
    Fields,
    fields_of,
    many,
    normalize,
    standard_base64,
    unpack_signature,
)
from .schema import from_gemini
from .shapes import CONFIG, CONTENT, PART, SEARCH

# ------------------------------------------------------------------------------------------------------------ parts, read


@dataclass(slots=True)
class Calls:
    """The calls of a conversation or an answer: gives ids to those without, finds the call that a result belongs to."""

    seed: str = ""  # the answer's id: distinguishes equal calls of two answers
    waiting: OpenCalls[str] = field(default_factory=OpenCalls)  # their ids

    def call_id(self, id: str, name: str, *facts: object) -> str:
        """The call's id, minted where the wire had none."""
        made = id or mint_id(self.seed, name, *facts)
        self.waiting.add(made, [("id", made), ("name", name)])
        return made

    def result_id(self, id: str, name: str, path: str) -> str:
        """The id of the call that a result is for: by id, else the first waiting of that name, else the first at all."""
        take = self.waiting.take
        found = take(("id", id)) if id else take(("name", name)) or self.waiting.take_first()
        return found or id or mint_id(self.seed, name, path)


def read_signature(fields: Fields, path: str) -> tuple[str, str, str]:
    """(vendor, signature, data) of a part."""
    if "thoughtSignature" not in fields:
        return "", "", ""
    return unpack_signature(text(fields.get("thoughtSignature", ""), f"{path}.thoughtSignature"))


def read_call(fields: Fields, path: str, calls: Calls) -> ir.ToolCall:
    where = f"{path}.functionCall"
    own = fields_of(fields["functionCall"], where)
    name, arguments = text(own.get("name", ""), f"{where}.name"), obj(own.get("args", {}), f"{where}.args")
    stated = compact(arguments)
    id = calls.call_id(text(own.get("id", ""), f"{where}.id"), name, path, stated)
    vendor, signature, _ = read_signature(fields, path)
    return ir.ToolCall(id, name, stated, arguments, signature=signature, vendor=vendor or VENDOR)


def media(fields: Fields, path: str, **stated: Any) -> ir.Media:
    """A Media with the part's own fields beside it."""
    vendor, signature, _ = read_signature(fields, path)
    extras: Fields = {name: fields[name] for name in ("videoMetadata", "mediaResolution", "thought") if name in fields}
    vendor = VENDOR if stated.get("file_id") else vendor
    return ir.Media(**stated, vendor=vendor, signature=signature, extras={VENDOR: extras} if extras else ir.NOTHING)


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
    """The media type by a URL's ending; "" where it is unknown."""
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


def read_result(fields: Fields, path: str, calls: Calls) -> ir.ToolResult:
    """{"name": "f", "response": {"output": "42"}} -> ToolResult(its call's id, (Text("42"),), name="f")"""
    where = f"{path}.functionResponse"
    own = fields_of(fields["functionResponse"], where)
    name = text(own.get("name", ""), f"{where}.name")
    id = calls.result_id(text(own.get("id", ""), f"{where}.id"), name, path)
    response = obj(own.get("response", {}), f"{where}.response")
    plain = plain_result(response)
    parts: list[ir.Text | ir.Media | ir.Opaque] = [ir.Text(plain if plain is not None else compact(response))]
    if "parts" in own:
        parts += [read_result_part(each, f"{where}.parts[{index}]") for index, each in enumerate(many(own["parts"], where))]
    extras: Fields = {key: own[key] for key in ("willContinue", "scheduling") if key in own}
    return ir.ToolResult(
        id, tuple(parts), is_error=response.keys() == {"error"}, name=name, vendor=VENDOR,
        data=None if plain is not None else response, extras={VENDOR: extras} if extras else ir.NOTHING,
    )  # fmt: skip


def read_code(fields: Fields, path: str, calls: Calls) -> ir.Opaque:
    own = fields["executableCode"]
    given = own if isinstance(own, dict) else {}
    code, language = given.get("code"), str(given.get("language") or "python").lower()
    return ir.Opaque(VENDOR, "executableCode", {"executableCode": own}, f"```{language}\n{code}\n```" if code else "")


def read_code_result(fields: Fields, path: str, calls: Calls) -> ir.Opaque:
    """What the code printed; how it ended too, where it failed."""
    own = fields["codeExecutionResult"]
    given = own if isinstance(own, dict) else {}
    outcome = given.get("outcome")
    words = [str(each) for each in (outcome if outcome != "OUTCOME_OK" else "", given.get("output")) if each]
    told = "```\n" + "\n".join(words) + "\n```" if words else ""
    return ir.Opaque(VENDOR, "codeExecutionResult", {"codeExecutionResult": own}, told)


def read_text(fields: Fields, path: str, calls: Calls) -> ir.Part:
    vendor, signature, data = read_signature(fields, path)
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


def own(fields: Fields, known: Shape) -> ir.Extras:
    """The fields that have no neutral place; nulls say nothing."""
    if known.fields.issuperset(fields):
        return ir.NOTHING if known.is_leaf or knows_below(known, fields) else with_unread(ir.NOTHING, fields, known, normalize)
    return with_unread({VENDOR: {name: fields[name] for name in fields if name not in known.fields}}, fields, known, normalize)


def read_part(value: Any, path: str, calls: Calls) -> ir.Part:
    """One part of a content, of a request or of an answer."""
    fields = fields_of(value, path)
    for name, reader in PART_READERS.items():
        if name in fields:
            extras = own(fields, PART)
            if name != "text":  # the last one: there is no other beside it
                others = {each: True for each in fields if each != name and each in PART_READERS}
                extras = both(extras, {ir.UNREAD: others} if others else ir.NOTHING)
            return with_extras(reader(fields, path, calls), extras)
    if "thoughtSignature" in fields:
        return with_extras(read_text({"text": "", **fields}, path, calls), own(fields, PART))
    kind = next((name for name in fields if name not in ("thought", "videoMetadata", "mediaResolution")), "part")
    return ir.Opaque(VENDOR, kind, value)


# ---------------------------------------------------------------------------------------------------------- request, read


def plain_content(value: Any) -> ir.Message | None:
    """A content that is one text, as nearly all of a long conversation are; None for others."""
    if type(value) is not dict or len(value) != 2:
        return None
    role, parts = value.get("role"), value.get("parts")
    if (role != "user" and role != "model") or type(parts) is not list or len(parts) != 1:  # in a set: slower
        return None
    part = parts[0]
    text_ = part.get("text") if type(part) is dict and len(part) == 1 else None
    return ir.Message("user" if role == "user" else "assistant", (ir.Text(text_),)) if type(text_) is str else None


def read_content(value: Any, path: str, calls: Calls) -> ir.Message:
    fields = fields_of(value, path)
    role = ROLES.get(text(fields.get("role") or "user", f"{path}.role"))
    if role is None:
        refuse(f"{path}.role", "must be user or model")
    parts = enumerate(many(fields.get("parts"), f"{path}.parts"))
    found = tuple(read_part(part, f"{path}.parts[{at}]", calls) for at, part in parts)
    return ir.Message(role, found, extras=own(fields, CONTENT))


def joins(one: ir.Part, other: ir.Part) -> bool:
    """Whether two parts are pieces of one text or thought: a signature ends it."""
    if isinstance(one, ir.Thinking) and isinstance(other, ir.Thinking):
        return not (one.signature or one.data or other.data)
    return isinstance(one, ir.Text) and isinstance(other, ir.Text) and not one.signature


def join_parts(run: Sequence[ir.Part]) -> ir.Part:
    """Pieces of one text or thought as one: the last of them, which may be signed, with all that they say.

    join_parts([Thinking("Hm", "", "gemini"), Thinking("", "s", "anthropic")]) -> Thinking("Hm", "s", "anthropic")
    """
    said = "".join(part.text for part in run if isinstance(part, ir.Text | ir.Thinking))
    last, extras = run[-1], run[-1].extras
    for part in run[:-1]:
        extras = both(extras, all_unread(part.extras))
    return replace(last, text=said, extras=extras) if isinstance(last, ir.Text | ir.Thinking) else last


def model_turn(messages: Sequence[ir.Message]) -> ir.Message:
    """The model's contents in a row as one: Google's SDKs keep every chunk of a stream as a content of its own."""
    runs: list[list[ir.Part]] = []
    for part in (part for message in messages for part in message.parts):
        if runs and joins(runs[-1][-1], part):
            runs[-1].append(part)
        else:
            runs.append([part])
    extras: ir.Extras = ir.NOTHING
    for message in messages:
        extras = both(extras, all_unread(message.extras))
    return ir.Message("assistant", tuple(run[0] if len(run) == 1 else join_parts(run) for run in runs), extras=extras)


def read_contents(value: Any) -> tuple[ir.Message, ...]:
    contents = many(value, "contents")
    if not contents:
        refuse("contents", "must hold at least one content")
    calls = Calls()
    found = [plain_content(content) or read_content(content, f"contents[{index}]", calls)
             for index, content in enumerate(contents)]  # fmt: skip
    messages: list[ir.Message] = []
    for of_model, run in groupby(found, lambda message: message.role == "assistant"):
        turn = list(run)
        messages += [model_turn(turn)] if of_model and len(turn) > 1 else turn
    return tuple(messages)


def read_system(value: Any) -> ir.Message:
    if isinstance(value, str):
        return ir.Message("system", (ir.Text(value),))
    return read_content(value, "systemInstruction", Calls()) if value is not None else ir.Message("system", ())


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
        for name, own in fields.items():
            search = ir.WebSearch() if name == "googleSearch" else None
            unsaid = unread(own, SEARCH, f"{name}.", normalize) if search is not None and isinstance(own, dict) else ir.NOTHING
            found.append(ir.Tool(name, vendor=VENDOR, value={name: own}, extras=unsaid, search=search))
    return tuple(found)


def texts(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


READ_MODES = frozenset({"AUTO", "ANY", "NONE", "MODE_UNSPECIFIED"})
READ_TYPES = ("", "text/plain", "application/json")  # of an answer


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
    """Answers in JSON. text/x.enum, a bare word out of some, and other types are Gemini's own and stay in extras."""
    mime = config.get("responseMimeType", "")
    if mime not in READ_TYPES:
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
    if config.get("responseMimeType", "") in READ_TYPES:
        read |= {"responseMimeType", "responseSchema", "responseJsonSchema"}
    if config.get("responseModalities") == ["TEXT"]:
        read.add("responseModalities")
    found.update((f"generationConfig.{name}", value) for name, value in config.items() if name not in read)
    calling = fields_of(tool_config.get("functionCallingConfig", {}), "toolConfig.functionCallingConfig")
    found.update((f"toolConfig.{name}", own) for name, own in tool_config.items() if name != "functionCallingConfig")
    for name, value in calling.items():
        if name not in ("mode", "allowedFunctionNames") or (name == "mode" and str(value).upper() not in READ_MODES):
            found[f"toolConfig.functionCallingConfig.{name}"] = value
    return both({VENDOR: found} if found else ir.NOTHING, unread(config, CONFIG, "generationConfig.", normalize))


def read_request(body: Mapping[str, Any], *, model: str | None = None, stream: bool | None = None) -> ir.Request:
    """A caller's body. The model and whether to stream stand in Gemini's path, so they are given.

    BadRequest, with details["path"], where it cannot be understood; what is unknown is kept in extras.
    """
    fields = fields_of(body, "body")
    config = fields_of(fields.get("generationConfig", {}), "generationConfig")
    tool_config = fields_of(fields.get("toolConfig", {}), "toolConfig")
    system = read_system(fields.get("systemInstruction"))
    sampling = {name: reader(config.get(wire), f"generationConfig.{wire}") for wire, (name, reader) in SAMPLING.items()}
    return ir.Request(
        model=model or text(fields.get("model", ""), "model").removeprefix("models/"),
        messages=read_contents(fields.get("contents")),
        system=system.parts,
        tools=read_tools(fields.get("tools")),
        tool_choice=read_choice(tool_config),
        stream=bool(stream),
        include_usage=True,
        stop=tuple(text(each, "generationConfig.stopSequences") for each in texts(config.get("stopSequences"))),
        reasoning=read_thinking(config.get("thinkingConfig")),
        response_format=read_format(config),
        metadata={key: str(value) for key, value in fields_of(fields.get("labels", {}), "labels").items()},
        service_tier=text(fields.get("serviceTier", ""), "serviceTier").lower().replace("unspecified", ""),
        extras=both(read_extras(fields, config, tool_config), all_unread(system.extras)),
        **sampling,
    )
