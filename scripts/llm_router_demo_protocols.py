"""The mock server's other protocols: OpenAI's text completions, embeddings and Responses, Anthropic's messages and Gemini.

llm_router_demo.py imports this file when the first request for one of them comes; an agent's skill does without. Of the last
three it refuses what the real APIs refuse, in their words. Other makers' servers take more than OpenAI's chat completions,
so these are strict only for models called demo-strict..., and with --strict for all. Sections: completions of text, and
embeddings; what is refused (OpenAI chat, Responses, Anthropic, Gemini); protocols; routes.
"""

from __future__ import annotations

import json
import re
import threading
from itertools import chain, count, islice, repeat
from typing import Any, Callable, ClassVar, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

from llm_router_demo import (
    CHOICES_EMPTY,
    CREATED,
    ERROR_BESIDE,
    FRAGMENT_CHARS,
    INFINITE,
    JSON,
    MAX_CHOICES,
    START_TWICE,
    TOOLS_HALF,
    WRONG_SHAPE,
    Answer,
    Call,
    Failure,
    Headers,
    OpenAI,
    Prompt,
    Protocol,
    Rejected,
    Reply,
    Request,
    Route,
    Wire,
    append_images,
    bad_request,
    count_usage,
    custom_tool,
    dump,
    error_reply,
    image_size,
    join_text,
    json_reply,
    list_model_names,
    lookup,
    money,
    objects,
    post_to,
    schema_type,
    send_models,
    send_whole,
    split_arguments,
    split_pieces,
    spoil,
    token_logprobs,
    word_count,
)

MAX_STORED = 1000  # responses of which a server keeps the conversation
MAX_EMBEDDING_SIZE = 4096
EMBEDDING_SIZE = 8  # numbers of a vector, where the request names no other size
OBFUSCATION = "mock"  # beside each text delta of Responses; the real API pads with it


def count_role(messages: Sequence[JSON], role: str) -> int:
    return sum(message.get("role") == role for message in messages)


def parse_arguments(call: Call) -> Any:
    """A call's arguments where they are no text but an object: nothing can be cut off in it."""
    try:
        return json.loads(call.arguments or "{}")
    except ValueError:
        return {}


# ---------------------------------------------------------------------------------- completions of text, and embeddings


class Completions(OpenAI):
    """POST /v1/completions: text in, text out, several prompts at once. platform.openai.com/docs/api-reference/completions"""

    def read_request(self, request: Request) -> Prompt:
        body = request.body
        if not isinstance(body, dict) or not isinstance(body.get("model"), str) or not body["model"]:
            raise bad_request("you must provide a model parameter", "model")
        texts, stops = self._prompts(body), body.get("stop") or []
        if not texts or not all(isinstance(each, (str, list)) for each in texts):
            raise bad_request("Invalid type for 'prompt': expected a string, or an array of strings or tokens.", "prompt")
        choices = min(int(body.get("n") or 1) * len(texts), MAX_CHOICES)
        return Prompt(
            model=body["model"], request=request, stream=bool(body.get("stream")), text=self._text(texts[0], body),
            stops=[stops] if isinstance(stops, str) else stops, choices=choices, prompt_tokens=word_count(texts), turn=1,
            include_usage=bool(lookup(body, "stream_options", "include_usage")),
        )  # fmt: skip

    @staticmethod
    def _prompts(body: JSON) -> List[Any]:
        """Each prompt: a text or a list of tokens."""
        given = body.get("prompt", "<|endoftext|>")
        many = isinstance(given, list) and not (given and all(isinstance(each, int) for each in given))
        return given if many else [given]

    @staticmethod
    def _text(given: Any, body: JSON) -> str:
        """What the answer repeats: a prompt, with the suffix of fill-in-the-middle behind it."""
        text = given if isinstance(given, str) else " ".join(map(str, given))
        return f"{text} [...] {body['suffix']}" if body.get("suffix") else text

    def _texts(self, prompt: Prompt, answer: Answer) -> List[str]:
        """The answer to each prompt, n times each."""
        body, whole = prompt.request.body, "".join(answer.text) + answer.refusal
        found = []
        for given in self._prompts(body):
            text = whole.replace(prompt.text, self._text(given, body)) if prompt.text else whole
            found += [(given if body.get("echo") and isinstance(given, str) else "") + text] * int(body.get("n") or 1)
        return found[: prompt.choices]

    def plain(self, prompt: Prompt, answer: Answer) -> JSON:
        if answer.error and not answer.text:
            return self.error_body(answer.error)
        finish = {"finish_reason": "error" if answer.error else answer.finish or "stop"}
        beside = self.error_body(answer.error) if answer.error else {}
        choices = [
            {"text": text, "index": index, "logprobs": self._logprobs(prompt, text), **finish, **beside}
            for index, text in enumerate(self._texts(prompt, answer))
        ]
        choices = [] if answer.oddity == CHOICES_EMPTY else choices
        usage = spoil(self._usage(prompt, answer), answer)
        return {**self._head(prompt, answer, "text_completion"), "choices": choices, "usage": usage}

    @staticmethod
    def _logprobs(prompt: Prompt, text: str) -> Optional[JSON]:
        if prompt.request.body.get("logprobs") is None:
            return None
        tokens = split_pieces(text)
        offsets = [sum(map(len, tokens[:number])) for number in range(len(tokens))]
        return {"tokens": tokens, "token_logprobs": [0.0] * len(tokens), "top_logprobs": None, "text_offset": offsets}

    def stream_start(self, prompt: Prompt, answer: Answer) -> Iterator[bytes]:
        for index, text in enumerate(self._texts(prompt, answer)):
            for piece in split_pieces(text):
                yield self._text_chunk(prompt, answer, [{"text": piece, "index": index, "finish_reason": None}])

    def stream_end(self, prompt: Prompt, answer: Answer) -> Iterator[bytes]:
        if answer.error:
            yield b"data: " + dump(self.error_body(answer.error)) + b"\n\n"
            return
        for index in range(prompt.choices if answer.finish and answer.oddity != CHOICES_EMPTY else 0):
            yield self._text_chunk(prompt, answer, [{"text": "", "index": index, "finish_reason": answer.finish}])
        if prompt.include_usage:
            yield self._text_chunk(prompt, answer, [], usage=spoil(self._usage(prompt, answer), answer))
        if answer.oddity != "fail-nodone":
            yield b"data: [DONE]\n\n"

    def _text_chunk(self, prompt: Prompt, answer: Answer, choices: List[JSON], **more: Any) -> bytes:
        choices = [{**each, "logprobs": self._logprobs(prompt, each["text"])} for each in choices]
        head = self._head(prompt, answer, "text_completion")
        return b"data: " + dump({**head, "choices": choices, **more}) + b"\n\n"

    @staticmethod
    def _head(prompt: Prompt, answer: Answer, kind: str) -> JSON:
        return {"id": f"cmpl-{prompt.request.id}", "object": kind, "created": CREATED, "model": answer.model or prompt.model}


def embed(text: Any, size: int) -> List[float]:
    """A vector that depends on the text alone."""
    from zlib import crc32

    return [crc32(dump(text), index) / 2**31 - 1 for index in range(size)]


def check_embedding_size(size: Any, name: str) -> int:
    if not 0 < int(size or EMBEDDING_SIZE) <= MAX_EMBEDDING_SIZE:
        raise bad_request(f"Invalid '{name}'.", name)
    return int(size or EMBEDDING_SIZE)


class Embeddings(OpenAI):
    """POST /v1/embeddings. platform.openai.com/docs/api-reference/embeddings"""

    def read_request(self, request: Request) -> Prompt:
        body = request.body
        given = body.get("input") if isinstance(body, dict) else None
        if not isinstance(body, dict) or not body.get("model"):
            raise bad_request("you must provide a model parameter", "model")
        if given is None or given in ("", []):
            raise bad_request("'$.input' is invalid. Please check the API reference.", "input")
        check_embedding_size(body.get("dimensions"), "dimensions")
        return Prompt(model=str(body["model"]), request=request, prompt_tokens=word_count(given))

    def plain(self, prompt: Prompt, answer: Answer) -> JSON:
        body = prompt.request.body
        many = isinstance(body["input"], list) and not all(isinstance(each, int) for each in body["input"])
        vectors = [self._vector(body, each) for each in (body["input"] if many else [body["input"]])]
        data = [{"object": "embedding", "index": index, "embedding": each} for index, each in enumerate(vectors)]
        usage = spoil({"prompt_tokens": prompt.prompt_tokens, "total_tokens": prompt.prompt_tokens}, answer)
        return {"object": "list", "data": data, "model": answer.model or prompt.model, "usage": usage}

    @staticmethod
    def _vector(body: JSON, text: Any) -> Any:
        """Numbers, or their four bytes each in base64."""
        from base64 import b64encode
        from struct import pack

        numbers = embed(text, int(body.get("dimensions") or EMBEDDING_SIZE))
        as_bytes = body.get("encoding_format") == "base64"
        return b64encode(pack(f"<{len(numbers)}f", *numbers)).decode() if as_bytes else numbers


COMPLETIONS, EMBEDDINGS = Completions(), Embeddings()

# ------------------------------------------------------------------------------------------ what the real APIs refuse


def rejection(message: str, param: str = "", code: str = "", details: Any = None) -> Rejected:
    return Rejected(Failure(400, code, message, param=param, details=details))


def quote_names(names: Iterable[str], last: str) -> str:
    """Names in quotes, as the vendors list them: listed(["a", "b", "c"], "or") -> "'a', 'b' or 'c'" """
    quoted = [f"'{name}'" for name in names]
    return f" {last} ".join(filter(None, [", ".join(quoted[:-1]), *quoted[-1:]]))


def signature_of(text: str) -> str:
    """What the mock server signs a thought with."""
    from base64 import b64encode
    from zlib import crc32

    return b64encode(b"mock-server %08x" % crc32(text.encode("utf-8", "replace"))).decode()


def is_signature(signature: str) -> bool:
    from base64 import b64decode

    try:
        return b64decode(signature, validate=True).startswith(b"mock-server ")
    except ValueError:
        return False


# ----------------------------------------------------------------------------------------------- refused: OpenAI chat

# api.openai.com, for models called demo-strict... and servers that are strict: other makers' servers take more, and
# what they take differs. The messages are OpenAI's.

OPENAI_FIELDS = {
    "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs", "max_completion_tokens",
    "max_tokens", "messages", "metadata", "modalities", "model", "moderation", "n", "parallel_tool_calls",
    "prediction", "presence_penalty", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning_effort",
    "response_format", "safety_identifier", "seed", "service_tier", "stop", "store", "stream", "stream_options",
    "temperature", "tool_choice", "tools", "top_logprobs", "top_p", "user", "verbosity", "web_search_options",
}  # fmt: skip
OPENAI_MESSAGES = {  # role -> its fields
    "system": {"content", "name"}, "developer": {"content", "name"}, "user": {"content", "name"},
    "assistant": {"content", "name", "refusal", "tool_calls", "function_call", "audio", "annotations"},
    "tool": {"content", "tool_call_id", "name"}, "function": {"content", "name"},
}  # fmt: skip
OPENAI_PARTS = {  # type -> its fields
    "text": {"text"}, "image_url": {"image_url"}, "input_audio": {"input_audio"}, "file": {"file"},
    "refusal": {"refusal"},
}  # fmt: skip
OPENAI_TOOLS = {  # type -> the fields of its object
    "function": {"name", "description", "parameters", "strict"}, "custom": {"name", "description", "format"},
}  # fmt: skip
OPENAI_NAME = r"[a-zA-Z0-9_-]+"
OPENAI_ID_CHARS, OPENAI_NAME_CHARS = 40, 64  # of a tool call's id, of a function's name
OPENAI_RANGES: Dict[str, Tuple[float, float]] = {  # field -> least, most
    "temperature": (0, 2), "top_p": (0, 1), "presence_penalty": (-2, 2), "frequency_penalty": (-2, 2), "n": (1, 128),
    "max_tokens": (1, INFINITE), "max_completion_tokens": (1, INFINITE), "top_logprobs": (0, 20),
}  # fmt: skip


def check_openai(body: JSON) -> None:
    """Refuse what api.openai.com refuses."""
    unknown = [name for name in body if name not in OPENAI_FIELDS]
    if unknown:
        plural = "s" if unknown[1:] else ""
        raise rejection(f"Unrecognized request argument{plural} supplied: {', '.join(unknown)}")
    body = drop_nulls(body)  # null is the same as leaving a field out
    for number, message in enumerate(body["messages"]):
        check_openai_message(message, f"messages[{number}]")
    check_openai_turns(body["messages"])
    check_openai_tools(body)
    check_openai_options(body)
    check_openai_format(body)


def drop_nulls(value: JSON) -> JSON:
    return {name: each for name, each in value.items() if each is not None}


def check_openai_known(value: JSON, known: Iterable[str], path: str) -> None:
    for name in value:
        if name not in known:
            raise rejection(f"Unknown parameter: '{path}.{name}'.", f"{path}.{name}", "unknown_parameter")


def check_openai_choice(value: Any, known: Iterable[str], path: str) -> None:
    """Reject a value that is not one of the known ones."""
    if value is None:
        raise rejection(f"Missing required parameter: '{path}'.", path, "missing_required_parameter")
    if value not in known:
        message = f"Invalid value: '{value}'. Supported values are: {quote_names(known, 'and')}."
        raise rejection(message, path, "invalid_value")


def check_openai_size(value: Any, path: str, most: float = INFINITE) -> None:
    """An array or a string that is not empty, and not too long."""
    kind, article = ("array", "an array") if isinstance(value, list) else ("string", "a string")
    if not value:
        message = f"empty {kind}. Expected {article} with minimum length 1, but got an empty {kind} instead."
        raise rejection(f"Invalid '{path}': {message}", path, f"empty_{kind}")
    if len(value) > most:
        message = f"{kind} too long. Expected {article} with maximum length {most}, but got {article} with length"
        raise rejection(f"Invalid '{path}': {message} {len(value)} instead.", path, f"{kind}_above_max_length")


def check_openai_message(message: JSON, path: str) -> None:
    role, content = message.get("role"), message.get("content")
    check_openai_choice(role, OPENAI_MESSAGES, f"{path}.role")
    check_openai_known(message, {"role", *OPENAI_MESSAGES[str(role)]}, path)
    if content is None and not (role == "assistant" and {"tool_calls", "function_call", "audio"} & set(drop_nulls(message))):
        raise rejection("Invalid value for 'content': expected a string, got null.", f"{path}.content")
    if isinstance(content, list):
        check_openai_size(content, f"{path}.content")
        for number, part in enumerate(content):
            check_openai_part(part, str(role), f"{path}.content[{number}]")
    if "tool_calls" in message:
        if message["tool_calls"] is None:
            text = f"Invalid type for '{path}.tool_calls': expected an array of objects, but got null instead."
            raise rejection(text, f"{path}.tool_calls", "invalid_type")
        check_openai_size(message["tool_calls"], f"{path}.tool_calls")
        for number, call in enumerate(message["tool_calls"]):
            check_openai_call(call, f"{path}.tool_calls[{number}]")


def check_openai_part(part: JSON, role: str, path: str) -> None:
    kind = part.get("type")
    check_openai_choice(kind, OPENAI_PARTS, f"{path}.type")
    check_openai_known(part, {"type", *OPENAI_PARTS[str(kind)]}, path)
    if kind == "image_url" and role != "user":
        message = f"messages with role 'user', but this message with role '{role}' contains an image URL."
        raise rejection(f"Image URLs are only allowed for {message}", path)
    if kind == "image_url" and isinstance(part.get("image_url"), str):
        return  # not documented, but taken as {"url": ...}
    if kind == "image_url":
        check_openai_known(part["image_url"], ("url", "detail"), f"{path}.image_url")
    if not isinstance(part.get(str(kind)), str if kind in ("text", "refusal") else dict):
        raise rejection(f"Missing required parameter: '{path}.{kind}'.", f"{path}.{kind}", "missing_required_parameter")


def check_openai_call(call: JSON, path: str) -> None:
    kind = str(call.get("type"))
    check_openai_choice(call.get("type"), ("function", "custom"), f"{path}.type")
    check_openai_known(call, ("id", "type", kind), path)
    check_openai_size(call["id"], f"{path}.id", OPENAI_ID_CHARS)
    text = "arguments" if kind == "function" else "input"
    check_openai_known(call[kind], ("name", text), f"{path}.{kind}")
    check_openai_name(call[kind]["name"], f"{path}.{kind}.name")
    if not isinstance(call[kind].get(text), str):
        path = f"{path}.{kind}.{text}"
        raise rejection(f"Invalid type for '{path}': expected a string.", path, "invalid_type")


def check_openai_name(name: Any, path: str) -> None:
    check_openai_size(name, path, OPENAI_NAME_CHARS)
    if not re.fullmatch(OPENAI_NAME, name):
        message = f"Expected a string that matches the pattern '^{OPENAI_NAME}$'."
        raise rejection(f"Invalid '{path}': string does not match pattern. {message}", path, "invalid_value")


def check_openai_turns(messages: List[JSON]) -> None:
    """Calls are answered at once, each by a message of its own, and nothing else is."""
    open_ids: List[str] = []
    ids: List[str] = []  # of the calls that may be answered here
    for number, message in enumerate([*messages, {"role": "end"}]):
        if message["role"] == "tool":
            call_id = message.get("tool_call_id")
            if not ids:
                text = "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
                raise rejection(f"Invalid parameter: {text}", f"messages.[{number}].role")
            if call_id not in ids:
                text = f"'tool_call_id' of '{call_id}' not found in 'tool_calls' of previous message."
                raise rejection(f"Invalid parameter: {text}", f"messages.[{number}].tool_call_id")
            open_ids = [each for each in open_ids if each != call_id]
            continue
        if open_ids:
            text = "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            text += "'tool_call_id'. The following tool_call_ids did not have response messages: "
            raise rejection(text + ", ".join(open_ids), f"messages.[{number}].role")
        ids = [call["id"] for call in message.get("tool_calls") or ()]
        open_ids = ids


def check_openai_tools(body: JSON) -> None:
    for name in ("tool_choice", "parallel_tool_calls"):
        if name in body and not body.get("tools"):
            message = f"Invalid value for '{name}': '{name}' is only allowed when 'tools' are specified."
            raise rejection(message, name)
    if "tools" in body:
        check_openai_size(body["tools"], "tools", 128)
    names: List[Tuple[str, str]] = []
    for number, tool in enumerate(body.get("tools", ())):
        path, kind = f"tools[{number}]", str(tool.get("type"))
        check_openai_choice(tool.get("type"), OPENAI_TOOLS, f"{path}.type")
        check_openai_known(tool, ("type", kind), path)
        check_openai_known(tool[kind], OPENAI_TOOLS[kind], f"{path}.{kind}")
        check_openai_name(tool[kind]["name"], f"{path}.{kind}.name")
        names.append((kind, tool[kind]["name"]))
    check_openai_tool_choice(body.get("tool_choice"), names)


def check_openai_tool_choice(choice: Any, names: List[Tuple[str, str]]) -> None:
    """A choice that names a tool names one of `names`: (type, name) of each tool."""
    kind = lookup(choice, "type")
    if not isinstance(choice, dict):
        check_openai_choice(choice or "auto", ("none", "auto", "required"), "tool_choice")
        return
    check_openai_choice(kind, ("allowed_tools", "function", "custom"), "tool_choice.type")
    wanted = [choice] if kind != "allowed_tools" else choice["allowed_tools"]["tools"]
    for each in wanted:
        name = each[each["type"]]["name"]
        if (each["type"], name) not in names:
            message = f"Tool choice '{name}' not found in 'tools' parameter."
            raise rejection(f"Invalid value for 'tool_choice': {message}", "tool_choice")


def check_openai_options(body: JSON) -> None:
    if "stream_options" in body and not body.get("stream"):
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise rejection(message, "stream_options")
    check_openai_ranges(body, OPENAI_RANGES)
    if isinstance(body.get("stop"), list):
        check_openai_size(body["stop"], "stop", 4)


def check_openai_ranges(body: JSON, ranges: Dict[str, Tuple[float, float]]) -> None:
    for name, (least, most) in ranges.items():
        value = body.get(name)
        if value is None or least <= value <= most:
            continue
        kind = "integer" if name.startswith(("max_", "n", "top_l")) else "decimal"
        side, sign, limit = ("below minimum", ">=", least) if value < least else ("above maximum", "<=", most)
        message = f"{kind} {side} value. Expected a value {sign} {limit}, but got {value} instead."
        raise rejection(f"Invalid '{name}': {message}", name, f"{kind}_{side[:9].strip().replace(' ', '_')}_value")


def check_openai_format(body: JSON) -> None:
    wanted = body.get("response_format") or {"type": "text"}
    check_openai_choice(wanted.get("type"), ("json_object", "json_schema", "text"), "response_format.type")
    if wanted["type"] == "json_object" and "json" not in json.dumps(body["messages"]).lower():
        message = "must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
        raise rejection(f"'messages' {message}", "messages")
    if wanted["type"] == "json_schema":
        path = "response_format.json_schema"
        if not isinstance(lookup(wanted, "json_schema", "name"), str):
            raise rejection(f"Missing required parameter: '{path}.name'.", f"{path}.name", "missing_required_parameter")
        check_openai_known(wanted["json_schema"], ("name", "description", "schema", "strict"), path)
        if wanted["json_schema"].get("strict"):
            owner = f"response_format '{wanted['json_schema']['name']}'"
            check_openai_strict_schema(wanted["json_schema"]["schema"], owner, (), "response_format")


def check_openai_strict_schema(schema: Any, owner: str, context: Tuple[str, ...], param: str) -> None:
    """With strict: true every object is closed, and every property required."""
    if not isinstance(schema, dict):
        return
    start = f"Invalid schema for {owner}: In context={context}, "
    if schema_type(schema) == "object":
        if schema.get("additionalProperties") is not False:
            message = "'additionalProperties' is required to be supplied and to be false."
            raise rejection(start + message, param)
        missing = [each for each in schema.get("properties", ()) if each not in schema.get("required", ())]
        if missing:
            message = "'required' is required to be supplied and to be an array including every key in properties. "
            raise rejection(f"{start}{message}Missing '{missing[0]}'.", param)
    for key, value in schema.get("properties", {}).items():
        check_openai_strict_schema(value, owner, (*context, "properties", key), param)
    check_openai_strict_schema(schema.get("items"), owner, (*context, "items"), param)


# ------------------------------------------------------------------------------------------ refused: OpenAI Responses

# POST /v1/responses of api.openai.com: fields and items are those of the openai package, 3.57. Conversations that the
# server keeps and the ids in them are looked up in a ResponseStore.

RESPONSES_FIELDS = {
    "access_programs", "background", "client_metadata", "context_management", "conversation", "image", "include", "input",
    "instructions", "max_output_tokens", "max_tool_calls", "metadata", "model", "moderation", "parallel_tool_calls",
    "previous_response_id", "prompt", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning",
    "safety_identifier", "service_tier", "store", "stream", "stream_options", "temperature", "text", "tool_choice",
    "tools", "top_logprobs", "top_p", "truncation", "user",
}  # fmt: skip
RESPONSES_COUNTED = {  # what input_tokens takes of these
    "conversation", "input", "instructions", "model", "parallel_tool_calls", "personality", "previous_response_id",
    "reasoning", "text", "tool_choice", "tools", "truncation",
}  # fmt: skip
RESPONSES_COMPACTED = {
    "image", "input", "instructions", "model", "previous_response_id", "prompt_cache_key", "prompt_cache_options",
    "prompt_cache_retention", "service_tier",
}  # fmt: skip
RESPONSES_MOVED = {  # field of chat completions -> its place here
    "max_tokens": "max_output_tokens", "max_completion_tokens": "max_output_tokens", "messages": "input",
    "response_format": "text.format", "reasoning_effort": "reasoning.effort", "verbosity": "text.verbosity",
}  # fmt: skip
RESPONSES_ITEMS: Dict[str, Tuple[Set[str], Set[str]]] = {  # type -> fields that it must have, and may have
    "message": ({"role", "content"}, {"id", "status", "phase", "internal_chat_message_metadata_passthrough"}),
    "function_call": ({"call_id", "name", "arguments"}, {"id", "status", "namespace", "caller", "async"}),
    "function_call_output": ({"call_id", "output"}, {"id", "status", "namespace", "caller", "name"}),
    "custom_tool_call": ({"call_id", "name", "input"}, {"id", "status", "namespace", "caller", "async"}),
    "custom_tool_call_output": ({"call_id", "output"}, {"id", "status", "namespace", "caller", "name"}),
    "reasoning": ({"id", "summary"}, {"encrypted_content", "content", "status"}),
    "item_reference": ({"id"}, set()),
    "compaction": ({"encrypted_content"}, {"id", "created_by"}),
    "compaction_trigger": (set(), {"id"}),
    "additional_tools": ({"role", "tools"}, {"id"}),
}  # fmt: skip
RESPONSES_OWN_ITEMS = (  # of OpenAI's own tools, which the mock server does not have
    r"(apply_patch|code_interpreter|computer|file_search|image_generation|local_shell|mcp|shell|tool_search|web_search)_call"
    r"(_output)?|mcp_list_tools|mcp_approval_(request|response)|tool_search_output|program(_output)?|configuration_update"
)
RESPONSES_PREFIXES = {"message": "msg", "function_call": "fc", "custom_tool_call": "ctc", "reasoning": "rs"}  # of their ids
RESPONSES_PARTS: Dict[str, Dict[str, Set[str]]] = {  # role -> type of a part -> its fields
    "assistant": {"output_text": {"text", "annotations", "logprobs"}, "refusal": {"refusal"}},
    "user": {
        "input_text": {"text"}, "input_image": {"image_url", "file_id", "detail"}, "input_audio": {"input_audio"},
        "input_file": {"file_id", "file_data", "file_url", "filename", "detail"},
    },
}  # fmt: skip
RESPONSES_TOOLS: Dict[str, Set[str]] = {  # type -> its fields
    "function": {"name", "description", "parameters", "strict", "defer_loading", "allowed_callers", "output_schema"},
    "custom": {"name", "description", "format", "defer_loading", "allowed_callers"},
    "namespace": {"name", "description", "tools"},
}
RESPONSES_OWN_TOOLS = (
    r"web_search\w*|file_search|code_interpreter|computer\w*|mcp|image_generation|local_shell|shell|apply_patch|tool_search"
    r"|programmatic_tool_calling"
)
RESPONSES_RANGES: Dict[str, Tuple[float, float]] = {
    "temperature": (0, 2), "top_p": (0, 1), "top_logprobs": (0, 20), "max_output_tokens": (16, INFINITE),
    "max_tool_calls": (1, INFINITE),
}  # fmt: skip
RESPONSES_INCLUDES = (
    "code_interpreter_call.outputs", "computer_call_output.output.image_url", "file_search_call.results",
    "message.input_image.image_url", "message.output_text.logprobs", "reasoning.encrypted_content",
    "web_search_call.action.sources", "web_search_call.results",
)  # fmt: skip
RESPONSES_ID_CHARS = 64  # of an item's id and of a call_id
CALLS = {"function_call": "function call", "custom_tool_call": "custom tool call"}  # type -> OpenAI's words for it
OUTPUTS = {"function_call_output": "function_call", "custom_tool_call_output": "custom_tool_call"}
NOT_STORED = (
    " Items are not persisted when `store` is set to false. Try again with `store` set to true, or remove this item from"
    " your input."
)


class StoredResponse(NamedTuple):
    """A response that can be continued: what GET answers, and the conversation up to its end."""

    response: JSON
    input: List[JSON]  # all that the model saw, items of earlier responses included
    prompt: Prompt
    answer: Answer
    waiting: bool = False  # a background response that was not read yet
    cancelled: bool = False


class ResponseStore:
    """The responses that a server keeps, newest last, up to MAX_STORED."""

    def __init__(self) -> None:
        self._responses: Dict[str, StoredResponse] = {}
        self._lock = threading.Lock()

    def put(self, stored: StoredResponse) -> None:
        with self._lock:
            self._responses[stored.response["id"]] = stored
            while len(self._responses) > MAX_STORED:
                del self._responses[next(iter(self._responses))]

    def get(self, response_id: str) -> Optional[StoredResponse]:
        return self._responses.get(response_id)

    def delete(self, response_id: str) -> bool:
        with self._lock:
            return self._responses.pop(response_id, None) is not None

    def find_item(self, item_id: str) -> Tuple[Optional[JSON], str]:
        """(item, id of the reasoning that it needs before it), or (None, "")."""
        with self._lock:
            stored = list(self._responses.values())
        for each in reversed(stored):
            reasoning = ""
            for item in each.input + each.response["output"]:
                if item.get("id") == item_id:
                    return item, reasoning
                reasoning = item["id"] if item["type"] == "reasoning" else ""
        return None, ""


def store_of(request: Request) -> ResponseStore:
    """The responses that the server of a request keeps."""
    store: ResponseStore = request.kept.setdefault("responses", ResponseStore())  # atomic: requests come in threads
    return store


def check_responses(body: Any, fields: Set[str], store: ResponseStore) -> List[JSON]:
    """Refuse what OpenAI's Responses API refuses; returns all items of the conversation, each with its type."""
    if not isinstance(body, dict):
        raise rejection("We could not parse the JSON body of your request. The API expects a JSON payload.")
    check_responses_fields(body, fields)
    before = find_previous(body, store)
    given = body.get("input")
    if given in (None, []) and not before:
        message = "One of \"input\" or \"previous_response_id\" or 'prompt' or 'conversation' must be provided."
        raise rejection(message, "input", "missing_required_parameter")
    items: List[JSON] = [{"role": "user", "content": given}] if isinstance(given, str) else given or []
    items = [read_item(item, f"input[{number}]") for number, item in enumerate(items)]
    items = [resolve_reference(item, store, body) for item in items]
    check_item_ids(items, store, body)
    items = before + items
    check_item_turns(items)
    for number, item in enumerate(items[:-1]):
        if item["type"] == "compaction_trigger":
            raise rejection("A 'compaction_trigger' item must be the last item of the input.", f"input[{number}]")
    check_responses_tools(body, items)
    check_responses_options(body, items)
    return items


def check_responses_fields(body: JSON, fields: Set[str]) -> None:
    for name in body:
        if name in RESPONSES_MOVED and name not in fields:
            moved = RESPONSES_MOVED[name]
            message = f"In the Responses API, this parameter has moved to '{moved}'. Try again with the new parameter."
            message += " See the API documentation for more information:"
            message += " https://platform.openai.com/docs/api-reference/responses/create."
            raise rejection(f"Unsupported parameter: '{name}'. {message}", name, "unsupported_parameter")
        if name not in fields:
            raise rejection(f"Unknown parameter: '{name}'.", name, "unknown_parameter")
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise rejection("Missing required parameter: 'model'.", "model", "missing_required_parameter")
    if not isinstance(body.get("input", ""), (str, list, type(None))):
        message = "Invalid type for 'input': expected one of an array of objects or string."
        raise rejection(message, "input", "invalid_type")
    for name in ("stream", "store", "background", "parallel_tool_calls"):
        if not isinstance(body.get(name, False), (bool, type(None))):
            raise rejection(f"Invalid type for '{name}': expected a boolean.", name, "invalid_type")


def find_previous(body: JSON, store: ResponseStore) -> List[JSON]:
    """The conversation that previous_response_id continues; [] if it is not given."""
    if body.get("conversation"):
        name = lookup(body["conversation"], "id") or body["conversation"]
        raise Rejected(Failure(404, "", f"Conversation with id '{name}' not found."))
    if body.get("prompt"):
        raise Rejected(Failure(404, "", f"Prompt with id '{lookup(body['prompt'], 'id')}' not found."))
    previous = body.get("previous_response_id")
    if previous is None:
        return []
    found = store.get(str(previous))
    if found is None:
        message = f"Previous response with id '{previous}' not found."
        raise rejection(message, "previous_response_id", "previous_response_not_found")
    output: List[JSON] = found.response["output"]
    return found.input + output


def read_item(item: Any, path: str) -> JSON:
    """An input item with its type, which messages and references may leave out; refuses wrong fields."""
    if not isinstance(item, dict):
        raise rejection(f"Invalid type for '{path}': expected an object.", path, "invalid_type")
    kind = item.get("type") or ("message" if "role" in item else "item_reference" if set(item) <= {"id", "type"} else None)
    if isinstance(kind, str) and re.fullmatch(RESPONSES_OWN_ITEMS, kind):
        return dict(item)
    check_openai_choice(kind, RESPONSES_ITEMS, f"{path}.type" if "type" in item else path)
    needed, allowed = RESPONSES_ITEMS[str(kind)]
    for name in sorted(needed):
        if item.get(name) is None:
            raise rejection(f"Missing required parameter: '{path}.{name}'.", f"{path}.{name}", "missing_required_parameter")
    check_openai_known(item, {"type"} | needed | allowed, path)
    check_item_names(item, str(kind), path)
    whole: JSON = {**item, "type": kind}
    check = RESPONSES_ITEM_CHECKS.get(str(kind))
    if check:
        check(whole, path)
    return whole


def check_item_names(item: JSON, kind: str, path: str) -> None:
    prefix, name = RESPONSES_PREFIXES.get(kind, ""), item.get("id")
    if name is not None:
        check_openai_size(name, f"{path}.id", RESPONSES_ID_CHARS)
        if not name.startswith(prefix):
            message = f"Invalid '{path}.id': '{name}'. Expected an ID that begins with '{prefix}'."
            raise rejection(message, f"{path}.id", "invalid_value")
    if "call_id" in item:
        check_openai_size(item["call_id"], f"{path}.call_id", RESPONSES_ID_CHARS)
    if kind in CALLS:
        check_openai_name(item["name"], f"{path}.name")
    if item.get("status") is not None:
        check_openai_choice(item["status"], ("in_progress", "completed", "incomplete"), f"{path}.status")
    for text in ("arguments", "input", "encrypted_content"):
        if item.get(text) is not None and not isinstance(item[text], str):
            message = f"Invalid type for '{path}.{text}': expected a string."
            raise rejection(message, f"{path}.{text}", "invalid_type")


def check_message_item(item: JSON, path: str) -> None:
    role, content = item["role"], item["content"]
    check_openai_choice(role, ("assistant", "system", "developer", "user"), f"{path}.role")
    if not isinstance(content, str):
        check_item_parts(content, "assistant" if role == "assistant" else "user", f"{path}.content")


def check_output_item(item: JSON, path: str) -> None:
    if not isinstance(item["output"], str):
        check_item_parts(item["output"], "user", f"{path}.output")


def check_item_parts(parts: Any, role: str, path: str) -> None:
    if not isinstance(parts, list):
        message = f"Invalid type for '{path}': expected one of an array of objects or string."
        raise rejection(message, path, "invalid_type")
    known = RESPONSES_PARTS[role]
    for number, part in enumerate(parts):
        place = f"{path}[{number}]"
        check_openai_choice(part.get("type"), known, f"{place}.type")
        check_openai_known(part, {"type", "prompt_cache_breakpoint"} | known[part["type"]], place)
        text = "refusal" if part["type"] == "refusal" else "text"
        if text in known[part["type"]] and not isinstance(part.get(text), str):
            raise rejection(f"Missing required parameter: '{place}.{text}'.", f"{place}.{text}", "missing_required_parameter")
        if part["type"] == "input_image":
            check_item_image(part, place)


def check_item_image(part: JSON, path: str) -> None:
    url = part.get("image_url")
    if url is None and not part.get("file_id"):
        message = f"Missing required parameter: '{path}.image_url'."
        raise rejection(message, f"{path}.image_url", "missing_required_parameter")
    if url is not None and not isinstance(url, str):
        message = f"Invalid type for '{path}.image_url': expected an image URL, but got an object instead."
        raise rejection(message, f"{path}.image_url", "invalid_type")
    if url is not None and not re.match(r"https?://|data:image/", url):
        message = f"Invalid '{path}.image_url'. Expected a valid URL, but got a value with an invalid format."
        raise rejection(message, f"{path}.image_url", "invalid_value")


def check_sealed_item(item: JSON, path: str) -> None:
    """Encrypted content is this server's own."""
    sealed = item.get("encrypted_content")
    if sealed is not None and not is_signature(sealed):
        message = f"The encrypted content {sealed[:4]}... could not be verified. Reason: Encrypted content could not be"
        raise rejection(f"{message} decrypted or parsed.", path, "invalid_encrypted_content")
    if not isinstance(item.get("summary", []), list):
        raise rejection(f"Invalid type for '{path}.summary': expected an array.", f"{path}.summary", "invalid_type")


RESPONSES_ITEM_CHECKS: Dict[str, Callable[[JSON, str], None]] = {
    "message": check_message_item,
    "function_call_output": check_output_item,
    "custom_tool_call_output": check_output_item,
    "reasoning": check_sealed_item,
    "compaction": check_sealed_item,
}


def item_not_found(name: str, body: JSON) -> Rejected:
    hint = NOT_STORED if body.get("store") is False else ""
    return Rejected(Failure(404, "", f"Item with id '{name}' not found.{hint}", param="input"))


def resolve_reference(item: JSON, store: ResponseStore, body: JSON) -> JSON:
    """The stored item that a reference names; any other item as it is."""
    if item["type"] != "item_reference":
        return item
    found, _ = store.find_item(item["id"])
    if found is None:
        raise item_not_found(item["id"], body)
    return found


def check_item_ids(items: List[JSON], store: ResponseStore, body: JSON) -> None:
    """An id occurs once; reasoning is sealed or stored, and precedes the stored item that came with it."""
    seen: Set[str] = set()
    for number, item in enumerate(items):
        name = str(item.get("id") or "")
        if name and name in seen:
            message = f"Duplicate item found with id {name}. Remove duplicate items from your input and try again."
            raise rejection(message, "input")
        seen.add(name)
        stored, reasoning = store.find_item(name) if name else (None, "")
        if item["type"] == "reasoning" and not item.get("encrypted_content") and stored is None:
            raise item_not_found(name, body)
        if reasoning and (number == 0 or items[number - 1].get("id") != reasoning) and not body.get("previous_response_id"):
            message = f"Item '{name}' of type '{item['type']}' was provided without its required 'reasoning' item:"
            raise rejection(f"{message} '{reasoning}'.", "input")


def check_item_turns(items: List[JSON]) -> None:
    """Each output follows its call, each call has an output, and no turn ends with reasoning."""
    calls: Dict[str, str] = {}  # call_id -> type
    answered: Set[str] = set()
    for number, item in enumerate(items):
        kind = item["type"]
        if kind in CALLS:
            calls[item["call_id"]] = kind
        if kind in OUTPUTS:
            if calls.get(item["call_id"]) != OUTPUTS[kind]:
                words = CALLS[OUTPUTS[kind]]
                raise rejection(f"No tool call found for {words} output with call_id {item['call_id']}.", "input")
            answered.add(item["call_id"])
        if kind == "reasoning" and not is_model_item(items[number + 1] if number + 1 < len(items) else {}):
            message = f"Item '{item['id']}' of type 'reasoning' was provided without its required following item."
            raise rejection(message, "input")
    for call_id, kind in calls.items():
        if call_id not in answered:
            raise rejection(f"No tool output found for {CALLS[kind]} {call_id}.", "input")


def is_model_item(item: JSON) -> bool:
    """An item that a model wrote, as opposed to the caller's."""
    kind = item.get("type", "")
    return kind in CALLS or kind in ("reasoning", "compaction") or item.get("role") == "assistant" or kind.endswith("_call")


def flat_tools(tools: Any, path: str = "tools") -> Iterator[Tuple[str, str, JSON]]:
    """(place, namespace, tool) of each function and custom tool; refuses what is none."""
    for number, tool in enumerate(tools or ()):
        place, kind = f"{path}[{number}]", tool.get("type")
        if isinstance(kind, str) and re.fullmatch(RESPONSES_OWN_TOOLS, kind):
            continue
        check_openai_choice(kind, RESPONSES_TOOLS, f"{place}.type")
        if "function" in tool:
            message = f"Missing required parameter: '{place}.name'."
            raise rejection(message, f"{place}.name", "missing_required_parameter")
        check_openai_known(tool, {"type"} | RESPONSES_TOOLS[kind], place)
        check_openai_name(tool.get("name"), f"{place}.name")
        if kind != "namespace":
            yield place, "", tool
            continue
        for inner_place, _, each in flat_tools(tool.get("tools"), f"{place}.tools"):
            yield inner_place, tool["name"], each


def all_tools(body: JSON, items: List[JSON]) -> List[Tuple[str, str, JSON]]:
    """flat_tools of the request and of its additional_tools items."""
    found = list(flat_tools(body.get("tools")))
    for number, item in enumerate(items):
        if item["type"] == "additional_tools":
            found += flat_tools(item["tools"], f"input[{number}].tools")
    return found


def check_responses_tools(body: JSON, items: List[JSON]) -> None:
    tools = all_tools(body, items)
    for place, _, tool in tools:
        if tool["type"] == "function" and tool.get("strict"):
            schema = tool.get("parameters")
            check_openai_strict_schema(schema, f"function '{tool['name']}'", (), f"{place}.parameters")
    choice = body.get("tool_choice")
    if choice is None or choice in ("auto", "none"):
        return
    if not isinstance(choice, dict):
        check_openai_choice(choice, ("none", "auto", "required"), "tool_choice")
    if not tools and not body.get("tools"):
        raise rejection(f"Tool choice '{choice}' must be specified with 'tools' parameter.", "tool_choice")
    names = {(tool["type"], tool["name"]) for _, _, tool in tools}
    wanted = choice["tools"] if lookup(choice, "type") == "allowed_tools" else [choice] if isinstance(choice, dict) else []
    for each in wanted:
        if each["type"] in ("function", "custom") and (each["type"], each["name"]) not in names:
            raise rejection(f"Tool choice '{each['name']}' not found in 'tools' parameter.", "tool_choice")


def check_responses_options(body: JSON, items: List[JSON]) -> None:
    check_openai_ranges(body, RESPONSES_RANGES)
    for number, each in enumerate(body.get("include") or ()):
        check_openai_choice(each, RESPONSES_INCLUDES, f"include[{number}]")
    if body.get("background") and body.get("store") is False:
        raise rejection("Background mode requires 'store' to be true.", "background")
    for name in ("text", "reasoning", "stream_options"):
        if not isinstance(body.get(name) or {}, dict):
            raise rejection(f"Invalid type for '{name}': expected an object.", name, "invalid_type")
    known = {"text": {"format", "verbosity"}, "reasoning": {"effort", "summary", "generate_summary", "context", "mode"}}
    for name, allowed in known.items():
        check_openai_known(body.get(name) or {}, allowed, name)
    if body.get("stream_options") and not body.get("stream"):
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise rejection(message, "stream_options")
    wanted = lookup(body, "text", "format") or {"type": "text"}
    check_openai_choice(wanted.get("type"), ("text", "json_object", "json_schema"), "text.format.type")
    if wanted["type"] == "json_object" and "json" not in json.dumps(items).lower():
        message = "Response input messages must contain the word 'json' in some form to use 'text.format' of type"
        raise rejection(f"{message} 'json_object'.", "input")
    if wanted["type"] == "json_schema":
        for name in ("name", "schema"):
            if wanted.get(name) is None:
                path = f"text.format.{name}"
                raise rejection(f"Missing required parameter: '{path}'.", path, "missing_required_parameter")
        check_openai_known(wanted, {"type", "name", "description", "schema", "strict"}, "text.format")
        if wanted.get("strict"):
            check_openai_strict_schema(wanted["schema"], f"response_format '{wanted['name']}'", (), "text.format.schema")


# ------------------------------------------------------------------------------------------------- refused: Anthropic

# api.anthropic.com. Its messages name the place with dots: messages.0.content.1.text.cache

ANTHROPIC_FIELDS = {  # field -> the types of its JSON value
    "model": str, "messages": list, "max_tokens": int, "system": (str, list), "metadata": dict, "stop_sequences": list,
    "stream": bool, "temperature": (int, float), "top_k": int, "top_p": (int, float), "thinking": dict, "tools": list,
    "tool_choice": dict, "service_tier": str, "container": (str, dict), "output_config": dict, "cache_control": dict,
    "inference_geo": str, "speed": str, "diagnostics": dict,
}  # fmt: skip
ANTHROPIC_NULLABLE = {"cache_control", "container", "diagnostics", "inference_geo", "speed"}  # null as in its SDK's types
ANTHROPIC_COUNTED = {  # what count_tokens takes of these
    name: ANTHROPIC_FIELDS[name]
    for name in ("model", "messages", "system", "thinking", "tools", "tool_choice", "output_config", "cache_control")
}
ANTHROPIC_BETA = {  # field -> the beginning of the anthropic-beta that it takes
    "compaction": "compact-", "context_management": "context-management-", "fallbacks": "server-side-fallback-",
    "fallback_credit_token": "fallback-credit-", "mcp_servers": "mcp-client-",  # nosec B105  # no password
    "output_format": "structured-outputs-",
    "user_profile_id": "user-profiles-",
}  # fmt: skip
PYDANTIC = {str: "string", int: "integer", bool: "boolean", list: "list", dict: "dictionary", (int, float): "number"}
ANTHROPIC_NAME, ANTHROPIC_ID = r"[a-zA-Z0-9_-]{1,128}", r"[a-zA-Z0-9_-]+"
ANTHROPIC_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
CACHED = {"cache_control"}
ANTHROPIC_BLOCKS: Dict[str, Tuple[Set[str], Set[str]]] = {  # type -> fields that it must have, and may have
    "text": ({"text"}, CACHED | {"citations"}), "image": ({"source"}, CACHED | {"transformations"}),
    "document": ({"source"}, CACHED | {"title", "context", "citations"}),
    "search_result": ({"source", "title", "content"}, CACHED | {"citations"}),
    "tool_use": ({"id", "name", "input"}, CACHED | {"caller", "toolset_name"}),
    "tool_result": ({"tool_use_id"}, CACHED | {"content", "is_error", "toolset_name"}),
    "thinking": ({"thinking", "signature"}, set()), "redacted_thinking": ({"data"}, set()),
    "tool_reference": ({"tool_name"}, CACHED), "tool_addition": ({"tool"}, set()), "tool_removal": ({"tool"}, set()),
}  # fmt: skip
ANTHROPIC_OWN_BLOCKS = (  # of Anthropic's own tools, which the mock server does not have
    "_tool_result", "server_tool_use", "mcp_tool_use", "container_upload", "compaction",
)  # fmt: skip
ANTHROPIC_SOURCES: Dict[str, Set[str]] = {
    "base64": {"media_type", "data"}, "url": {"url"}, "text": {"media_type", "data"}, "file": {"file_id"},
    "content": {"content"},
}  # fmt: skip
ANTHROPIC_OWNERS = {  # type of a block -> the only role whose messages may hold it
    "tool_use": "assistant", "thinking": "assistant", "tool_result": "user", "tool_addition": "system",
    "tool_removal": "system",
}  # fmt: skip
OWN_TOOLS = r"(bash|text_editor|computer|web_search|web_fetch|code_execution|memory|tool_search_tool_\w+|advisor)_\d{8}"
THINK_DOCS = "Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking"


def check_anthropic(request: Request, fields: JSON) -> None:
    """Refuse what api.anthropic.com refuses; `fields` are those of the path."""
    version = request.headers.get("anthropic-version")
    if version is None:
        raise rejection("anthropic-version: header is required")
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", version):
        raise rejection(f'anthropic-version: "{version}" is not a valid version')
    body, beta = request.body, str(request.headers.get("anthropic-beta", ""))
    if not isinstance(body, dict):
        raise rejection("The request body is not valid JSON")
    check_anthropic_fields(body, fields, beta)
    for number, message in enumerate(body["messages"]):
        check_anthropic_message(message, f"messages.{number}", number > 0 and "mid-conversation-" in beta)
    check_anthropic_system(body.get("system", ""))
    check_anthropic_turns(body["messages"])
    check_anthropic_tools(body)
    check_anthropic_thinking(body)
    marks = json.dumps(body).count('"cache_control": {')
    if marks > 4:
        raise rejection(f"A maximum of 4 blocks with cache_control may be provided. Found {marks}.")


def check_anthropic_fields(body: JSON, fields: JSON, beta: str) -> None:
    for name in ("model", "messages", "max_tokens"):
        if name in fields and name not in body:
            raise rejection(f"{name}: Field required")
    for name, value in body.items():
        if name in ANTHROPIC_BETA and ANTHROPIC_BETA[name] in beta:
            continue
        if name == "thread" and "message-threads-" in beta:  # Anthropic's SDK then sends the whole conversation instead
            facts = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
            raise rejection("thread: the mock server keeps no conversations", details=facts)
        if name not in fields:
            raise rejection(f"{name}: Extra inputs are not permitted")
        if value is None and name in ANTHROPIC_NULLABLE:
            continue
        right = isinstance(value, fields[name]) and (not isinstance(value, bool) or fields[name] is bool)
        if not right:
            raise rejection(f"{name}: Input should be a valid {PYDANTIC.get(fields[name], 'list')}")
    for name, least in (("max_tokens", 1), ("top_k", 0)):
        if body.get(name, least) < least:
            raise rejection(f"{name}: Input should be greater than or equal to {least}")
    for name in ("temperature", "top_p"):
        if not 0 <= body.get(name, 0) <= 1:
            raise rejection(f"{name}: range: 0..1")
    check_extra(body.get("metadata", {}), {"user_id"}, "metadata")
    if not all(isinstance(each, str) and each.strip() for each in body.get("stop_sequences", ())):
        raise rejection("stop_sequences: each stop sequence must contain non-whitespace")
    if not body["messages"]:
        raise rejection("messages: at least one message is required")


def check_extra(value: JSON, known: Iterable[str], path: str, required: Iterable[str] = ()) -> None:
    """Reject missing and unknown fields, in pydantic's words."""
    for name in sorted(required):
        if name not in value:
            raise rejection(f"{path}.{name}: Field required")
    for name in value:
        if name not in known:
            raise rejection(f"{path}.{name}: Extra inputs are not permitted")


def check_anthropic_message(message: JSON, path: str, system: bool) -> None:
    """`system`: a system message is allowed here."""
    check_extra(message, {"role", "content"}, path, {"role", "content"})
    role, content = message["role"], message["content"]
    if role == "system" and not system:
        text = 'The Messages API accepts a top-level `system` parameter, not "system" as an input message role.'
        raise rejection(f'messages: Unexpected role "system". {text}')
    if role not in ("user", "assistant", "system"):
        raise rejection(f"{path}.role: Input should be 'user' or 'assistant'")
    if not content and role != "assistant":
        raise rejection(f"{path}: all messages must have non-empty content except for the optional final assistant message")
    if not isinstance(content, (str, list)):
        raise rejection(f"{path}.content: Input should be a valid list")
    if content and (isinstance(content, str) or all(block.get("type") == "text" for block in content)):
        check_anthropic_blank(join_text(content))
    for number, block in enumerate(objects(content)):
        check_anthropic_block(block, f"{path}.content.{number}", ANTHROPIC_BLOCKS)
        owner = ANTHROPIC_OWNERS.get(block["type"], role)
        if owner != role:
            raise rejection(f"{path}: `{block['type']}` blocks can only be in `{owner}` messages")


def check_anthropic_text(text: Any, where: str) -> None:
    if text == "":
        raise rejection(f"{where}: text content blocks must be non-empty")
    if not isinstance(text, str):
        raise rejection(f"{where}: Input should be a valid string")


def check_anthropic_blank(text: str) -> None:
    """Blanks are taken beside other blocks, but are no message of their own."""
    if text and not text.strip():
        raise rejection("messages: text content blocks must contain non-whitespace text")


def check_anthropic_block(block: JSON, path: str, kinds: Iterable[str]) -> None:
    kind = block.get("type")
    if kind is None:
        raise rejection(f"{path}.type: Field required")
    if isinstance(kind, str) and kind.endswith(ANTHROPIC_OWN_BLOCKS):
        return
    if kind not in kinds:
        message = f"does not match any of the expected tags: {', '.join(map(repr, kinds))}"
        raise rejection(f"{path}: Input tag '{kind}' found using 'type' {message}")
    needed, allowed = ANTHROPIC_BLOCKS[kind]
    check_extra(block, {"type"} | needed | allowed, f"{path}.{kind}", needed)
    check = ANTHROPIC_BLOCK_CHECKS.get(kind)
    if check:
        check(block, f"{path}.{kind}")


def check_anthropic_source(block: JSON, path: str) -> None:
    """An image's or a document's bytes, address or text."""
    source = block["source"]
    kind = source.get("type")
    if kind not in ANTHROPIC_SOURCES:
        tags = ", ".join(map(repr, ANTHROPIC_SOURCES))
        message = f"Input tag '{kind}' found using 'type' does not match any of the expected tags: {tags}"
        raise rejection(f"{path}.source: {message}")
    path = f"{path}.source.{kind}"
    check_extra(source, {"type"} | ANTHROPIC_SOURCES[kind], path, ANTHROPIC_SOURCES[kind])
    if kind == "url" and not source["url"].startswith("https://"):
        raise rejection(f"{path}.url: Only HTTPS URLs are supported.")
    if kind == "base64":
        check_anthropic_bytes(block["type"], source, path)


def check_anthropic_bytes(kind: str, source: JSON, path: str) -> None:
    from base64 import b64decode

    wanted = ANTHROPIC_IMAGES if kind == "image" else ("application/pdf",)
    if source["media_type"] not in wanted:
        raise rejection(f"{path}.media_type: Input should be {quote_names(wanted, 'or')}")
    try:
        seen = f"image/{image_size(b64decode(source['data'], validate=True))[0].lower()}"
    except ValueError:
        raise rejection(f"{path}.data: Invalid base64 data") from None
    if seen in ANTHROPIC_IMAGES and seen != source["media_type"]:
        message = f"using the {source['media_type']} media type, but the image appears to be a {seen} image"
        raise rejection(f"{path}: The image was specified {message}")


def check_anthropic_use(block: JSON, path: str) -> None:
    for name, pattern in (("id", ANTHROPIC_ID), ("name", ANTHROPIC_NAME)):
        if not re.fullmatch(pattern, block[name]):
            raise rejection(f"{path}.{name}: String should match pattern '^{pattern}$'")
    if not isinstance(block["input"], dict):
        raise rejection(f"{path}.input: Input should be a valid dictionary")


def check_anthropic_result(block: JSON, path: str) -> None:
    content = block.get("content", "")
    for number, each in enumerate(content if isinstance(content, list) else ()):
        kinds = ("document", "image", "search_result", "text", "tool_reference")
        check_anthropic_block(each, f"{path}.content.{number}", kinds)


def check_anthropic_signature(block: JSON, path: str) -> None:
    text, signature = block["thinking"], block["signature"]
    if not is_signature(signature) or (text and signature != signature_of(text)):
        raise rejection(f"{path.rpartition('.')[0]}: Invalid `signature` in `thinking` block")


ANTHROPIC_BLOCK_CHECKS: Dict[str, Callable[[JSON, str], None]] = {
    "text": lambda block, path: check_anthropic_text(block["text"], "messages"),
    "image": check_anthropic_source,
    "document": check_anthropic_source,
    "tool_use": check_anthropic_use,
    "tool_result": check_anthropic_result,
    "thinking": check_anthropic_signature,
}


def check_anthropic_system(system: Any) -> None:
    for number, block in enumerate(system if isinstance(system, list) else ()):
        if block.get("type") != "text":
            raise rejection(f"system.{number}.type: Input should be 'text'")
        check_extra(block, {"type", "text", "cache_control", "citations"}, f"system.{number}", {"text"})
        check_anthropic_text(block["text"], "system")


def anthropic_ids(message: JSON, kind: str, name: str) -> List[str]:
    return [block[name] for block in objects(message.get("content")) if block["type"] == kind]


def leading_results(message: JSON) -> List[str]:
    """The ids of the tool results that a message begins with: those behind other blocks do not count."""
    found: List[str] = []
    for block in objects(message.get("content")):
        if block["type"] != "tool_result":
            break
        found.append(block["tool_use_id"])
    return found


def check_anthropic_turns(messages: List[JSON]) -> None:
    """A user begins (newer models take less); calls are answered at once, in one message, before anything else in it."""
    if messages[0]["role"] != "user":
        raise rejection('messages: first message must use the "user" role')
    open_calls: List[str] = []
    for number, message in enumerate([*messages, {"role": "end", "content": []}]):
        answered = leading_results(message)
        left = [each for each in open_calls if each not in answered]
        if left:
            text = f"`tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(left)}."
            text += " Each `tool_use` block must have a corresponding `tool_result` block in the next message."
            raise rejection(f"messages.{number - 1}: {text}")
        check_anthropic_answers(message, open_calls, f"messages.{number}")
        open_calls = anthropic_ids(message, "tool_use", "id")
        if len(set(open_calls)) < len(open_calls):
            raise rejection(f"messages.{number}: `tool_use` ids must be unique")
    last = messages[-1]["content"]
    text = last if isinstance(last, str) else str(objects(last)[-1].get("text", "")) if last else ""
    if messages[-1]["role"] == "assistant" and text != text.rstrip():
        raise rejection("messages: final assistant content cannot end with trailing whitespace")


def check_anthropic_answers(message: JSON, open_calls: List[str], path: str) -> None:
    seen: Set[str] = set()
    for number, block in enumerate(objects(message["content"])):
        if block["type"] != "tool_result":
            continue
        found = block["tool_use_id"]
        if found not in open_calls:
            text = f"unexpected `tool_use_id` found in `tool_result` blocks: {found}."
            text += " Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
            raise rejection(f"{path}.content.{number}: {text}")
        if found in seen:
            text = "each tool_use must have a single result. Found multiple `tool_result` blocks with id:"
            raise rejection(f"{path}.content.{number}: {text} {found}")
        seen.add(found)


def check_anthropic_tools(body: JSON) -> None:
    tools, choice = body.get("tools") or [], body.get("tool_choice")
    for number, tool in enumerate(tools):
        check_anthropic_tool(tool, f"tools.{number}")
    names = [tool.get("name") for tool in tools]
    if len(set(names)) < len(names):
        raise rejection("tools: Tool names must be unique.")
    if choice is None:
        return
    if not tools:
        raise rejection("tool_choice: tool_choice may only be specified while providing tools")
    if choice.get("type") not in ("auto", "any", "tool", "none"):
        message = "does not match any of the expected tags: 'any', 'auto', 'none', 'tool'"
        raise rejection(f"tool_choice: Input tag '{choice.get('type')}' found using 'type' {message}")
    check_extra(choice, {"type", "name", "disable_parallel_tool_use"}, f"tool_choice.{choice['type']}")
    if choice["type"] == "tool" and choice.get("name") not in names:
        raise rejection(f"tool_choice: Tool '{choice.get('name')}' not found in provided tools")


def check_anthropic_tool(tool: JSON, path: str) -> None:
    kind = tool.get("type") or "custom"
    if re.fullmatch(OWN_TOOLS, kind):
        return
    if kind != "custom":
        message = "does not match any of the expected tags: 'bash_20250124', 'custom', 'web_search_20250305', ..."
        raise rejection(f"{path}: Input tag '{kind}' found using 'type' {message}")
    path = f"{path}.custom"
    known = {"type", "name", "description", "input_schema", "cache_control", "strict", "defer_loading"}
    known |= {"allowed_callers", "input_examples", "eager_input_streaming"}
    check_extra(tool, known, path, {"name", "input_schema"})
    if not re.fullmatch(ANTHROPIC_NAME, tool["name"]):
        raise rejection(f"{path}.name: String should match pattern '^{ANTHROPIC_NAME}$'")
    if "type" not in tool["input_schema"]:
        raise rejection(f"{path}.input_schema.type: Field required")
    if tool["input_schema"]["type"] != "object":
        raise rejection(f"{path}.input_schema.type: Input should be 'object'")
    if {"oneOf", "allOf", "anyOf"} & set(tool["input_schema"]):
        message = "input_schema does not support oneOf, allOf, or anyOf at the top level"
        raise rejection(f"{path}.input_schema: {message}")


def check_anthropic_thinking(body: JSON) -> None:
    thinking = body.get("thinking") or {"type": "disabled"}
    kind = thinking.get("type")
    if kind not in ("enabled", "disabled", "adaptive"):
        message = "does not match any of the expected tags: 'adaptive', 'disabled', 'enabled'"
        raise rejection(f"thinking: Input tag '{kind}' found using 'type' {message}")
    wanted = lookup(body, "output_config", "format", "schema")
    if wanted is not None and schema_type(wanted) == "object" and wanted.get("additionalProperties") is not False:
        message = "For 'object' type, 'additionalProperties' must be explicitly set to false"
        raise rejection(f"output_config.format.schema: {message}")
    if kind == "disabled":
        return
    if kind == "enabled":
        check_extra(thinking, {"type", "budget_tokens", "display"}, "thinking.enabled", {"budget_tokens"})
        if thinking["budget_tokens"] < 1024:
            raise rejection("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
        if thinking["budget_tokens"] >= body.get("max_tokens", INFINITE):
            raise rejection(f"`max_tokens` must be greater than `thinking.budget_tokens`. {THINK_DOCS}")
    if body.get("temperature", 1) != 1:
        raise rejection(f"`temperature` may only be set to 1 when thinking is enabled. {THINK_DOCS}")
    if "top_k" in body:
        raise rejection(f"`top_k` must be unset when thinking is enabled. {THINK_DOCS}")
    if kind == "enabled" and lookup(body, "tool_choice", "type") in ("any", "tool"):
        raise rejection("Thinking may not be enabled when tool_choice forces tool use.")
    if kind == "enabled":
        check_anthropic_thought_first(body["messages"])


def check_anthropic_thought_first(messages: List[JSON]) -> None:
    """While thinking is on, the calls that are being answered stand behind the thought that led to them."""
    if len(messages) < 2 or not leading_results(messages[-1]):
        return
    found = messages[-2]["content"][0]["type"]
    if found not in ("thinking", "redacted_thinking"):
        text = "When `thinking` is enabled, a final `assistant` message must start with a thinking block (preceeding"
        text += " the lastmost set of `tool_use` and `tool_result` blocks). To avoid this requirement, disable `thinking`."
        place = f"messages.{len(messages) - 2}.content.0.type"
        raise rejection(f"{place}: Expected `thinking` or `redacted_thinking`, but found `{found}`. {text} {THINK_DOCS}")


# ---------------------------------------------------------------------------------------------------- refused: Gemini

# generativelanguage.googleapis.com: protobuf as JSON. A name in lower case with underscores is as good as its own.

GOOGLE_TYPES = ("string", "number", "integer", "boolean", "array", "object", "null", "type_unspecified")
SCALARS: Dict[str, Tuple[str, Callable[[Any], bool]]] = {  # kind -> Google's name, and what a value must be
    "string": ("TYPE_STRING", lambda value: isinstance(value, str)),
    "bool": ("TYPE_BOOL", lambda value: isinstance(value, bool)),
    "float": ("TYPE_FLOAT", lambda value: isinstance(value, (int, float)) and not isinstance(value, bool)),
    "int": ("TYPE_INT32", lambda value: re.fullmatch(r"-?\d+(\.0+)?", str(value)) is not None),
    "bytes": ("TYPE_BYTES", lambda value: isinstance(value, str) and re.fullmatch(r"[\w+/-]*=*", value) is not None),
    "struct": ("type.googleapis.com/google.protobuf.Struct", lambda value: isinstance(value, dict)),
    "any": ("", lambda value: True),
    "type": (
        "type.googleapis.com/google.ai.generativelanguage.v1beta.Type", lambda value: str(value).lower() in GOOGLE_TYPES
    ),
}  # fmt: skip
Proto = Dict[str, Any]  # field -> scalar or message; [one] where it repeats, {"": one} for a map
PROTO: Dict[str, Proto] = {
    "GenerateContentRequest": {
        "model": "string", "contents": ["Content"], "systemInstruction": "Content", "tools": ["Tool"],
        "toolConfig": "ToolConfig", "safetySettings": ["SafetySetting"], "generationConfig": "GenerationConfig",
        "cachedContent": "string", "serviceTier": "string", "store": "bool",
    },
    "CountTokensRequest": {
        "model": "string", "contents": ["Content"], "generateContentRequest": "GenerateContentRequest",
    },
    "EmbedContentRequest": {
        "model": "string", "content": "Content", "taskType": "string", "title": "string", "outputDimensionality": "int",
    },
    "BatchEmbedContentsRequest": {"model": "string", "requests": ["EmbedContentRequest"]},
    "Content": {"role": "string", "parts": ["Part"]},
    "Part": {
        "text": "string", "inlineData": "Blob", "fileData": "FileData", "functionCall": "FunctionCall",
        "functionResponse": "FunctionResponse", "executableCode": "any", "codeExecutionResult": "any",
        "toolCall": "any", "toolResponse": "any", "thought": "bool", "thoughtSignature": "bytes",
        "videoMetadata": "any", "partMetadata": "struct", "mediaResolution": "any",
    },
    "Blob": {"mimeType": "string", "data": "bytes"},
    "FileData": {"mimeType": "string", "fileUri": "string"},
    "FunctionCall": {"id": "string", "name": "string", "args": "struct"},
    "FunctionResponse": {
        "id": "string", "name": "string", "response": "struct", "parts": ["FunctionResponsePart"],
        "willContinue": "bool", "scheduling": "string",
    },
    "FunctionResponsePart": {"inlineData": "Blob", "fileData": "FileData"},
    "Tool": {
        "functionDeclarations": ["FunctionDeclaration"], "googleSearch": "any", "googleSearchRetrieval": "any",
        "codeExecution": "any", "urlContext": "any", "computerUse": "any", "fileSearch": "any", "googleMaps": "any",
        "mcpServers": "any",
    },
    "FunctionDeclaration": {
        "name": "string", "description": "string", "parameters": "Schema", "response": "Schema",
        "parametersJsonSchema": "any", "responseJsonSchema": "any", "behavior": "string",
    },
    "Schema": {
        "type": "type", "format": "string", "title": "string", "description": "string", "nullable": "bool",
        "enum": ["string"], "items": "Schema", "minItems": "int", "maxItems": "int", "properties": {"": "Schema"},
        "required": ["string"], "minProperties": "int", "maxProperties": "int", "minimum": "float",
        "maximum": "float", "minLength": "int", "maxLength": "int", "pattern": "string", "example": "any",
        "anyOf": ["Schema"], "propertyOrdering": ["string"], "default": "any",
    },
    "ToolConfig": {
        "functionCallingConfig": "FunctionCallingConfig", "retrievalConfig": "any",
        "includeServerSideToolInvocations": "bool",
    },
    "FunctionCallingConfig": {"mode": "string", "allowedFunctionNames": ["string"]},
    "SafetySetting": {"category": "string", "threshold": "string"},
    "GenerationConfig": {
        "stopSequences": ["string"], "responseMimeType": "string", "responseSchema": "Schema",
        "responseJsonSchema": "any", "responseModalities": ["string"], "candidateCount": "int",
        "maxOutputTokens": "int", "temperature": "float", "topP": "float", "topK": "int", "seed": "int",
        "presencePenalty": "float", "frequencyPenalty": "float", "responseLogprobs": "bool", "logprobs": "int",
        "enableEnhancedCivicAnswers": "bool", "speechConfig": "any", "thinkingConfig": "ThinkingConfig",
        "imageConfig": "any", "mediaResolution": "string",
    },
    "ThinkingConfig": {"includeThoughts": "bool", "thinkingBudget": "int", "thinkingLevel": "string"},
}  # fmt: skip
GEMINI_NAME = r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}"
GEMINI_NAME_RULE = (
    "Invalid function name. Must start with a letter or an underscore. Must be alphanumeric (a-z, A-Z, 0-9), underscores"
    " (_), dots (.), colons (:), or dashes (-), with a maximum length of 64."
)
UNSIGNED = (  # Google takes these as well, as they are and as Python's SDK writes their bytes, in base64
    "skip_thought_signature_validator", "context_engineering_is_the_way_to_go",
    "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I=", "Y29udGV4dF9lbmdpbmVlcmluZ19pc190aGVfd2F5X3RvX2dv",
)  # fmt: skip
DATA = ("text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode", "codeExecutionResult",
        "toolCall", "toolResponse")  # fmt: skip
Violations = List[Tuple[str, str]]  # place, what is wrong there


def camel(name: str) -> str:
    """camel("inline_data") -> "inlineData" """
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), name)


def snake(name: str) -> str:
    """snake("inlineData") -> "inline_data" """
    return re.sub(r"([A-Z])", lambda found: "_" + found[1].lower(), name)


def read_proto(kind: str, body: Any) -> JSON:
    """A message whose names are all in camelCase; refuses what its protobuf does not have, all of it in one error."""
    if not isinstance(body, dict):
        raise rejection("Invalid JSON payload received. Unexpected token.")
    violations: Violations = []
    message = proto_message(kind, body, "", violations)
    if violations:
        fields = [{"field": path, "description": text} for path, text in violations]
        details = [{"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": fields}]
        raise rejection("\n".join(text for _, text in violations), violations[0][0], details=details)
    return message


def report_unknown_name(name: str, path: str, why: str, violations: Violations) -> None:
    place = f" at '{path}'" if path else ""
    violations.append((path, f'Invalid JSON payload received. Unknown name "{name}"{place}: {why}'))


def proto_message(kind: str, value: JSON, path: str, violations: Violations) -> JSON:
    read: JSON = {}
    for name, each in value.items():
        shape = PROTO[kind].get(camel(name))
        if shape is None:
            report_unknown_name(name, path, "Cannot find field.", violations)
        elif isinstance(each, list) and not isinstance(shape, list) and shape not in ("any", "struct"):
            report_unknown_name(name, path, "Proto field is not repeating, cannot start list.", violations)
        elif each is not None:
            place = f"{path}.{snake(camel(name))}".lstrip(".")
            read[camel(name)] = proto_value(shape, each, place, violations)
    return read


def proto_value(shape: Any, value: Any, path: str, violations: Violations) -> Any:
    if isinstance(shape, list):
        values = value if isinstance(value, list) else [value]
        return [proto_value(shape[0], each, f"{path}[{number}]", violations) for number, each in enumerate(values)]
    if isinstance(shape, dict) and isinstance(value, dict):
        pairs = enumerate(value.items())
        return {name: proto_value(shape[""], each, f"{path}[{n}].value", violations) for n, (name, each) in pairs}
    if shape in SCALARS:
        kind, right = SCALARS[shape]
    elif isinstance(value, dict) and isinstance(shape, str):
        return proto_message(shape, value, path, violations)
    else:
        kind, right = f"type.googleapis.com/google.ai.generativelanguage.v1beta.{shape}", lambda value: False
    if not right(value):
        why = f'Base64 decoding failed for "{value}"' if shape == "bytes" else json.dumps(value)
        violations.append((path, f"Invalid value at '{path}' ({kind}), {why}"))
    return value


def gemini_violation(place: str, text: str) -> Rejected:
    return rejection(f"* GenerateContentRequest.{place}: {text}\n", place)


def check_gemini(body: JSON, model: str) -> None:
    """Refuse what Google refuses beyond its protobuf; `body` as read_proto gives it."""
    if not body.get("contents"):
        raise gemini_violation("contents", "contents is not specified")
    for number, content in enumerate(body["contents"]):
        check_gemini_content(content, f"contents[{number}]")
    check_gemini_turns(join_turns(body["contents"]), ("name", "id") if model.endswith("-ids") else ("name",))
    if model.startswith("demo-reasoning"):
        check_gemini_signed(join_turns(body["contents"]))
    declared = [each for tool in body.get("tools", ()) for each in tool.get("functionDeclarations", ())]
    for number, tool in enumerate(body.get("tools", ())):
        for place, each in enumerate(tool.get("functionDeclarations", ())):
            check_gemini_function(each, f"tools[{number}].function_declarations[{place}]")
    names = [each["name"] for each in declared]
    for name in names:
        if names.count(name) > 1:
            raise rejection(f"Duplicate function declaration found: {name}")
    check_gemini_choice(lookup(body, "toolConfig", "functionCallingConfig") or {}, names)
    check_gemini_options(body.get("generationConfig") or {})


def check_gemini_content(content: JSON, path: str) -> None:
    if content.get("role", "user") not in ("user", "model"):
        raise rejection("Please use a valid role: user, model.")
    if not content.get("parts"):
        raise gemini_violation(f"{path}.parts", "contents.parts must not be empty.")
    for number, part in enumerate(content["parts"]):
        check_gemini_part(part, f"{path}.parts[{number}]")


def check_gemini_part(part: JSON, path: str) -> None:
    found = [name for name in DATA if name in part]
    if len(found) > 1:
        raise rejection(f"Invalid value at '{path}' (oneof), oneof field 'data' is already set. Cannot set '{snake(found[1])}'")
    if not found and "thoughtSignature" not in part:
        raise gemini_violation(f"{path}.data", "required oneof field 'data' must have one initialized field")
    if "inlineData" in part and not part["inlineData"].get("mimeType"):
        raise gemini_violation(f"{path}.inline_data.mime_type", "mimeType must not be empty.")
    for name in ("functionCall", "functionResponse"):
        if name in part and not part[name].get("name"):
            raise gemini_violation(f"{path}.{snake(name)}.name", "Name cannot be empty.")
    signature = part.get("thoughtSignature", "")
    if signature and signature not in UNSIGNED and not is_signature(signature):
        raise rejection("Corrupted thought signature.")


def join_turns(contents: List[JSON]) -> List[JSON]:
    """Contents with consecutive model turns joined: Google's own clients send each piece of a stream back as a turn."""
    turns: List[JSON] = []
    for content in contents:
        if turns and content.get("role") == turns[-1].get("role") == "model":
            turns[-1] = {"role": "model", "parts": turns[-1]["parts"] + content["parts"]}
        else:
            turns.append(content)
    return turns


def find_calls(content: JSON, name: str) -> List[JSON]:
    return [part[name] for part in content["parts"] if name in part]


def check_gemini_turns(contents: List[JSON], keys: Sequence[str]) -> None:
    """Every call is answered in the next turn, all calls of a turn in one, and nothing else is.

    A response and its call agree in `keys`: older models ignore the id that a client made up, newer ones check their own.
    """
    open_calls: List[JSON] = []
    for number, content in enumerate(contents):
        answered = find_calls(content, "functionResponse")
        if answered and not open_calls:
            raise rejection("Please ensure that function response turn comes immediately after a function call turn.")
        if len(answered) != len(open_calls) or (answered and content.get("role") == "model"):
            message = "Please ensure that the number of function response parts is equal to the number of function call"
            raise rejection(f"{message} parts of the function call turn.")
        if answered and any("text" in part for part in content["parts"]):
            raise rejection("Please ensure that function response turn comes immediately after a function call turn.")
        for name in keys:
            if sorted(str(each.get(name)) for each in answered) != sorted(str(each.get(name)) for each in open_calls):
                place = f"contents[{number}].parts[0].function_response.{name}"
                raise gemini_violation(place, f"does not match the {name} of a function call of the function call turn.")
        open_calls = find_calls(content, "functionCall")
        if open_calls and (content.get("role") != "model" or number == 0):
            message = "Please ensure that function call turn comes immediately after a user turn or after a function"
            raise rejection(f"{message} response turn.")
    if open_calls:
        raise rejection("Please ensure that function response turn comes immediately after a function call turn.")


def check_gemini_signed(contents: List[JSON]) -> None:
    """A thinking model requires its signature on the first call of each step since the last user turn."""
    users = [number for number, each in enumerate(contents) if each.get("role") != "model"]
    user_turns = [number for number in users if not find_calls(contents[number], "functionResponse")]
    for number in range(user_turns[-1] if user_turns else 0, len(contents)):
        parts = [part for part in contents[number]["parts"] if "functionCall" in part]
        if parts and not parts[0].get("thoughtSignature"):
            name = parts[0]["functionCall"]["name"]
            message = "Function call is missing a thought_signature in functionCall parts. This is required for tools to"
            message += " work correctly, and missing thought_signature may lead to degraded model performance. Additional"
            message += f" data, function call `default_api:{name}` , position {number + 1}. Please refer to"
            raise rejection(f"{message} https://ai.google.dev/gemini-api/docs/thought-signatures for more details.")


def check_gemini_function(function: JSON, path: str) -> None:
    if not re.fullmatch(GEMINI_NAME, function.get("name", "")):
        raise gemini_violation(f"{path}.name", GEMINI_NAME_RULE)
    if "parameters" in function and "parametersJsonSchema" in function:
        raise rejection("parameters and parameters_json_schema are mutually exclusive.")
    if "parameters" in function:
        check_gemini_schema(function["parameters"], f"{path}.parameters")


def check_gemini_schema(schema: JSON, path: str) -> None:
    kind = str(schema.get("type", "")).lower()
    if kind == "array" and "items" not in schema:
        raise gemini_violation(f"{path}.items", "missing field.")
    if schema.get("enum") and kind not in ("string", ""):
        raise gemini_violation(f"{path}.enum", "only allowed for STRING type")
    if "" in schema.get("enum", ()):
        raise gemini_violation(f"{path}.enum[{schema['enum'].index('')}]", "cannot be empty")
    if kind == "string" and schema.get("format", "enum") not in ("enum", "date-time"):
        raise gemini_violation(f"{path}.format", "only 'enum' and 'date-time' are supported for STRING type")
    for name in schema.get("required", ()):
        if name not in schema.get("properties", {}):
            raise gemini_violation(f"{path}.required[{schema['required'].index(name)}]", "property is not defined")
    inside = [(f"{path}.properties[{name}]", each) for name, each in schema.get("properties", {}).items()]
    inside += [(f"{path}.any_of[{number}]", each) for number, each in enumerate(schema.get("anyOf", ()))]
    inside += [(f"{path}.items", schema["items"])] if "items" in schema else []
    for place, each in inside:
        check_gemini_schema(each, place)


def check_gemini_choice(wanted: JSON, names: List[str]) -> None:
    mode = wanted.get("mode", "AUTO")
    if mode not in ("MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"):
        kind = "type.googleapis.com/google.ai.generativelanguage.v1beta.FunctionCallingConfig.Mode"
        place = "tool_config.function_calling_config.mode"
        raise rejection(f"Invalid value at '{place}' ({kind}), \"{mode}\"", place)
    if mode in ("ANY", "VALIDATED") and not names:
        raise rejection("Function calling config is set without function_declarations.")
    allowed = wanted.get("allowedFunctionNames") or []
    if allowed and mode not in ("ANY", "VALIDATED"):
        raise rejection("Please set allowed_function_names only when function calling mode is ANY.")
    if set(allowed) - set(names):
        raise rejection("allowed_function_names should be a subset of [FunctionDeclaration.name].")


def check_gemini_options(options: JSON) -> None:
    for name, most in (("temperature", 2), ("topP", 1)):
        if not 0 <= options.get(name, 0) <= most:
            raise gemini_violation(f"generation_config.{snake(name)}", f"must be in the range [0.0, {most}.0].")
    if len(options.get("stopSequences", ())) > 5:
        raise gemini_violation("generation_config.stop_sequences", "must have at most 5 elements.")
    if int(options.get("maxOutputTokens", 1)) < 1:
        raise gemini_violation("generation_config.max_output_tokens", "must be positive.")
    mime = options.get("responseMimeType", "text/plain")
    if mime not in ("text/plain", "application/json", "text/x.enum"):
        message = "allowed mimetypes are `text/plain`, `application/json`, `application/xml`, `application/yaml` and"
        raise gemini_violation("generation_config.response_mime_type", f"{message} `text/x.enum`.")
    for name in ("responseSchema", "responseJsonSchema"):
        if options.get(name) and mime == "text/plain":
            message = "only allowed when response_mime_type is 'application/json' or 'text/x.enum'."
            raise gemini_violation(f"generation_config.{snake(name)}", message)
    if "responseSchema" in options and "responseJsonSchema" in options:
        raise rejection("response_schema and response_json_schema are mutually exclusive.")
    check_gemini_schema(options.get("responseSchema", {}), "generation_config.response_schema")


# ------------------------------------------------------------------------------------------------------------- protocols


RESPONSES_ERRORS = {  # codes that a failed response may have; anything else is a server_error
    "server_error", "rate_limit_exceeded", "invalid_prompt", "context_length_exceeded", "insufficient_quota",
    "server_is_overloaded", "slow_down", "usage_limit_reached",
}  # fmt: skip
RESPONSES_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
RESPONSES_DEFAULTS: JSON = {  # what a response repeats of its request, and what it has where the request has nothing
    "background": False, "instructions": None, "max_output_tokens": None, "max_tool_calls": None, "metadata": {},
    "parallel_tool_calls": True, "previous_response_id": None, "prompt_cache_key": None, "safety_identifier": None,
    "service_tier": "default", "store": True, "temperature": 1.0, "tool_choice": "auto", "tools": [], "top_logprobs": 0,
    "top_p": 1.0, "truncation": "disabled", "user": None,
}  # fmt: skip
Event = Tuple[str, JSON]  # type, the other fields


class Responses(OpenAI):
    """POST /v1/responses; what is stored can be continued. platform.openai.com/docs/api-reference/responses"""

    broken = b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","del\n\n'
    fields: ClassVar[Set[str]] = RESPONSES_FIELDS
    wording: ClassVar[Dict[str, str]] = {
        **OpenAI.wording,
        "context_length_exceeded": "Your input exceeds the context window of this model. Please adjust your input and try"
        " again.",
    }

    def read_request(self, request: Request) -> Prompt:
        items = check_responses(request.body, self.fields, store_of(request))
        body = request.body
        last: List[JSON] = [each for each in items if each.get("role") == "user"]
        content = last[-1]["content"] if last else ""
        urls = [part.get("image_url") for part in objects(content)]
        tools, forced = self._choose_tools(body, items)
        ours = [is_model_item(each) for each in items]
        turns = sum(now and not before for before, now in zip([False, *ours], ours))
        return Prompt(
            model=body["model"], request=request, stream=bool(body.get("stream")), text=join_text(content), items=items,
            images=[url for url in urls if isinstance(url, str)], results=self._item_results(items), tools=tools,
            forced=forced, schema=self._text_schema(body), turn=len(items), model_turns=turns,
            prompt_tokens=word_count([body.get("instructions"), items]), prefilled=items[-1].get("role") == "assistant",
        )  # fmt: skip

    @staticmethod
    def _item_results(items: List[JSON]) -> List[Tuple[str, str]]:
        """(tool's name, its output) of the items at the end."""
        names = {item["call_id"]: item["name"] for item in items if item["type"] in CALLS}
        found: List[Tuple[str, str]] = []
        for item in reversed(items):
            if item["type"] not in OUTPUTS:
                break
            urls = [part["image_url"] for part in objects(item["output"]) if part.get("image_url")]
            found.insert(0, (names[item["call_id"]], append_images(join_text(item["output"]), urls)))
        return found

    @staticmethod
    def _choose_tools(body: JSON, items: List[JSON]) -> Tuple[List[JSON], bool]:
        """The tools that may be called, and whether one must be."""
        tools: List[JSON] = []
        for _, namespace, tool in all_tools(body, items):
            tools.append({**(custom_tool(tool) if tool["type"] == "custom" else tool), "namespace": namespace})
        choice: Any = body.get("tool_choice")
        if lookup(choice, "type") == "allowed_tools":
            names = [each.get("name") for each in choice["tools"]]
            tools, choice = [tool for tool in tools if tool["name"] in names], choice["mode"]
        if choice == "none":
            return [], False
        if lookup(choice, "name"):
            return [tool for tool in tools if tool["name"] == choice["name"]], True
        return tools[: 1 if body.get("parallel_tool_calls") is False else None], choice == "required"

    @staticmethod
    def _text_schema(body: JSON) -> Optional[JSON]:
        wanted = lookup(body, "text", "format") or {}
        return wanted.get("schema") or {} if wanted.get("type", "text") != "text" else None

    def plain(self, prompt: Prompt, answer: Answer) -> JSON:
        if prompt.request.body.get("background"):
            return self._response(prompt, answer, "queued", [])
        return self.whole(prompt, answer)

    def whole(self, prompt: Prompt, answer: Answer) -> JSON:
        """The response at its end."""
        return self._response(prompt, answer, self._status(answer), self.output(prompt, answer))

    def _status(self, answer: Answer) -> str:
        if answer.error and answer.oddity != ERROR_BESIDE:
            return "failed"
        return "completed" if answer.finish in ("stop", "tool_calls", "") else "incomplete"

    def _response(self, prompt: Prompt, answer: Answer, status: str, output: List[JSON]) -> JSON:
        body, ended = prompt.request.body, status in ("completed", "incomplete", "failed")
        given = drop_nulls({name: body[name] for name in RESPONSES_DEFAULTS if name in body})
        wanted = body.get("text") or {}
        reasoning = {"effort": None, "summary": None, **(body.get("reasoning") or {})}
        incomplete = {"reason": RESPONSES_INCOMPLETE.get(answer.finish, answer.finish)} if status == "incomplete" else None
        failed = answer.error and (status == "failed" or (ended and answer.oddity == ERROR_BESIDE))
        id = self._id(prompt, "resp") + ("2" if answer.other_id else "")
        return {
            "id": id, "object": "response", "created_at": CREATED, "status": status, **RESPONSES_DEFAULTS, **given,
            "completed_at": CREATED + 1 if status == "completed" else None, "incomplete_details": incomplete,
            "error": self._error(answer.error) if failed and answer.error else None, "model": answer.model or prompt.model,
            "output": output, "reasoning": reasoning,
            "text": {"format": {"type": "text"}, "verbosity": "medium", **drop_nulls(wanted)},
            "usage": spoil(self._usage(prompt, answer), answer) if ended else None,
        }  # fmt: skip

    @staticmethod
    def _error(failure: Failure) -> JSON:
        message = failure.message.format(*failure.values) if failure.values else failure.message
        return {"code": failure.code if failure.code in RESPONSES_ERRORS else "server_error", "message": message}

    @staticmethod
    def _usage(prompt: Prompt, answer: Answer) -> JSON:
        usage = count_usage(prompt, answer)
        written = usage.cache_write + usage.cache_write_1h
        return {
            "input_tokens": usage.prompt,
            "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": written},
            "output_tokens": usage.completion,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning},
            "total_tokens": usage.prompt + usage.completion,
            **money(usage),
        }

    @staticmethod
    def _id(prompt: Prompt, kind: str, number: Any = "") -> str:
        return f"{kind}_{prompt.request.id.replace('-', '')}{number}"

    def output(self, prompt: Prompt, answer: Answer) -> List[JSON]:
        """The output items as they are at the end."""
        if prompt.items and prompt.items[-1]["type"] == "compaction_trigger":
            return [{"id": self._id(prompt, "cmp"), "type": "compaction", "encrypted_content": signature_of(prompt.text)}]
        items: List[JSON] = [self._reasoning(prompt, answer)] if answer.reasoning else []
        text, refusal = "".join(answer.text), answer.refusal
        part: JSON = {"type": "output_text", "annotations": [], "logprobs": self._text_logprobs(prompt, text), "text": text}
        if refusal:
            part = {"type": "refusal", "refusal": refusal}
        status = "completed" if self._status(answer) == "completed" else "incomplete"
        silent = not (text or refusal) and (answer.error or answer.finish not in ("stop", ""))
        empty = answer.oddity == CHOICES_EMPTY or silent
        if not answer.calls and not empty:
            head = {"id": self._id(prompt, "msg", len(items)), "type": "message", "status": status, "role": "assistant"}
            items.append({**head, "content": [part], "phase": "final_answer"})
        return items + [self._item_call(prompt, answer, call, len(items) + number) for number, call in enumerate(answer.calls)]

    @staticmethod
    def _text_logprobs(prompt: Prompt, text: str) -> List[JSON]:
        wanted = "message.output_text.logprobs" in (prompt.request.body.get("include") or ())
        return token_logprobs(text) if wanted else []

    def _reasoning(self, prompt: Prompt, answer: Answer) -> JSON:
        """The summary only where the request wants one, the sealed text only where it includes it."""
        text, body = "".join(answer.reasoning), prompt.request.body
        summary = [{"type": "summary_text", "text": text}] if lookup(body, "reasoning", "summary") else []
        sealed = "reasoning.encrypted_content" in (body.get("include") or ())
        item = {"id": self._id(prompt, "rs", 0), "type": "reasoning", "summary": summary}
        return {**item, "encrypted_content": signature_of(text)} if sealed else item

    def _item_call(self, prompt: Prompt, answer: Answer, call: Call, number: int) -> JSON:
        kind, text, prefix = ("custom_tool_call", "input", "ctc") if call.custom else ("function_call", "arguments", "fc")
        status = "incomplete" if answer.oddity == TOOLS_HALF else "completed"
        item = {"id": self._id(prompt, prefix, number), "type": kind, "status": status, "call_id": call.id, "name": call.name}
        item.update({"namespace": call.namespace} if call.namespace else {})
        return {**item, text: "".join(split_arguments(call, answer))}

    def stream(self, prompt: Prompt, answer: Answer) -> Tuple[Iterator[bytes], Iterator[bytes]]:
        numbers = count()
        known: Dict[Any, bytes] = {}  # demo-words-N repeats four words

        def write(events: Iterator[Event]) -> Iterator[bytes]:
            for kind, fields in events:
                key = (kind, fields.get("output_index"), fields["delta"]) if "delta" in fields else None
                rest = known.get(key) or dump(fields)[1:]
                known.update({key: rest} if key else {})
                head = f'event: {kind}\ndata: {{"type":"{kind}","sequence_number":{next(numbers)},'
                yield head.encode() + rest + b"\n\n"

        return write(self._start(prompt, answer)), write(self._end(prompt, answer))

    def _start(self, prompt: Prompt, answer: Answer) -> Iterator[Event]:
        """All but the end of the last item, which an error or a cut would not let come."""
        response = self._response(prompt, answer, "in_progress", [])
        yield "response.created", {"response": response}
        yield "response.in_progress", {"response": response}
        items = self.output(prompt, answer)
        for number, item in enumerate(items):
            yield from self._item_start(number, item, answer)
            if number < len(items) - 1:
                yield from self._item_end(number, item)

    def _item_start(self, number: int, item: JSON, answer: Answer) -> Iterator[Event]:
        """An item up to its last delta."""
        kind, place = item["type"], {"output_index": number, "item_id": item["id"]}
        empty = {name: {"content": [], "summary": [], "arguments": "", "input": ""}.get(name, item[name]) for name in item}
        empty.update({"status": "in_progress"} if "status" in item else {})
        yield "response.output_item.added", {"output_index": number, "item": empty}
        if kind == "reasoning":
            for index, _ in enumerate(item["summary"]):
                at = {**place, "summary_index": index}
                yield "response.reasoning_summary_part.added", {**at, "part": {"type": "summary_text", "text": ""}}
                for piece in answer.reasoning:
                    yield "response.reasoning_summary_text.delta", {**at, "delta": piece}
        if kind == "message":
            at, part = {**place, "content_index": 0}, item["content"][0]
            refused = part["type"] == "refusal"
            empty_part: Dict[str, Any] = {"refusal": ""} if refused else {"text": "", "logprobs": []}
            yield "response.content_part.added", {**at, "part": {**part, **empty_part}}
            for piece in split_pieces(answer.refusal) if refused else answer.text:
                if refused:
                    yield "response.refusal.delta", {**at, "delta": piece}
                else:
                    tokens = token_logprobs(piece) if part["logprobs"] else []
                    yield "response.output_text.delta", {**at, "delta": piece, "logprobs": tokens, "obfuscation": OBFUSCATION}
        if kind in CALLS:
            text, event = ("arguments", "function_call_arguments") if kind == "function_call" else ("input", f"{kind}_input")
            for at_char in range(0, len(item[text]), FRAGMENT_CHARS):
                yield f"response.{event}.delta", {**place, "delta": item[text][at_char : at_char + FRAGMENT_CHARS]}

    def _item_end(self, number: int, item: JSON) -> Iterator[Event]:
        """What follows an item's last delta."""
        kind, place = item["type"], {"output_index": number, "item_id": item["id"]}
        for index, part in enumerate(item.get("summary", ())):
            at = {**place, "summary_index": index}
            yield "response.reasoning_summary_text.done", {**at, "text": part["text"]}
            yield "response.reasoning_summary_part.done", {**at, "part": part}
        for index, part in enumerate(item.get("content", ())):
            at = {**place, "content_index": index}
            if part["type"] == "refusal":
                yield "response.refusal.done", {**at, "refusal": part["refusal"]}
            else:
                yield "response.output_text.done", {**at, "text": part["text"], "logprobs": part["logprobs"]}
            yield "response.content_part.done", {**at, "part": part}
        if kind == "function_call":
            yield "response.function_call_arguments.done", {**place, "name": item["name"], "arguments": item["arguments"]}
        if kind == "custom_tool_call":
            yield "response.custom_tool_call_input.done", {**place, "input": item["input"]}
        yield "response.output_item.done", {"output_index": number, "item": item}

    def _end(self, prompt: Prompt, answer: Answer) -> Iterator[Event]:
        if answer.error and answer.oddity != ERROR_BESIDE:
            yield self._error_event(prompt, answer, answer.error)
            return
        items = self.output(prompt, answer)
        if items and answer.oddity != TOOLS_HALF:
            yield from self._item_end(len(items) - 1, items[-1])
        if answer.oddity == START_TWICE:
            answer = answer._replace(other_id=True)
            yield "response.created", {"response": self._response(prompt, answer, "in_progress", [])}
        if answer.finish:
            response = self._response(prompt, answer, self._status(answer), items)
            yield f"response.{response['status']}", {"response": response}

    def _error_event(self, prompt: Prompt, answer: Answer, failure: Failure) -> Event:
        """The three ways in which streams are seen to fail."""
        error = self._error(failure)
        if answer.oddity == "fail-error-choice":
            return "error", {**error, "param": failure.param or None}
        if answer.oddity == "fail-error-first":
            return "error", {"error": {"type": failure.kind, **error, "param": failure.param or None}}
        return "response.failed", {"response": self._response(prompt, answer, "failed", self.output(prompt, answer))}

    def keep(self, prompt: Prompt, answer: Answer) -> None:
        body = prompt.request.body
        if body.get("store") is False:
            return
        items: List[JSON] = []
        for number, item in enumerate(prompt.items):
            prefix = RESPONSES_PREFIXES.get(item["type"], item["type"].rpartition("_")[2])
            items.append(item if item.get("id") else {**item, "id": self._id(prompt, prefix, f"i{number}")})
        response = self.whole(prompt, answer)
        store_of(prompt.request).put(StoredResponse(response, items, prompt, answer, bool(body.get("background"))))


class ResponsesCount(Responses):
    """POST /v1/responses/input_tokens: the same number as the answer's usage."""

    fields = RESPONSES_COUNTED

    def plain(self, prompt: Prompt, answer: Answer) -> JSON:
        return {"object": "response.input_tokens", "input_tokens": prompt.prompt_tokens}

    def keep(self, prompt: Prompt, answer: Answer) -> None:
        """Nothing: a count is no response."""


class ResponsesCompact(Responses):
    """POST /v1/responses/compact: the user's messages, and the rest of the conversation as one sealed item."""

    fields = RESPONSES_COMPACTED

    def plain(self, prompt: Prompt, answer: Answer) -> JSON:
        kept: List[JSON] = []
        for number, item in enumerate(each for each in prompt.items if each.get("role") == "user"):
            parts = item["content"]
            parts = [{"type": "input_text", "text": parts}] if isinstance(parts, str) else parts
            kept.append({**item, "id": self._id(prompt, "msg", number), "status": "completed", "content": parts})
        sealed = {"id": self._id(prompt, "cmp"), "type": "compaction", "encrypted_content": signature_of(prompt.text)}
        head = {"id": self._id(prompt, "resp"), "object": "response.compaction", "created_at": CREATED}
        return {**head, "output": [*kept, sealed], "usage": spoil(self._usage(prompt, answer), answer)}

    def keep(self, prompt: Prompt, answer: Answer) -> None:
        """Nothing: the caller sends the items back."""


ANTHROPIC_STOP = {"stop": "end_turn", "tool_calls": "tool_use", "length": "max_tokens", "content_filter": "refusal"}
ANTHROPIC_ERRORS = {  # status -> the error's type
    400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error",
    404: "not_found_error", 408: "timeout_error", 413: "request_too_large", 429: "rate_limit_error", 500: "api_error",
    504: "timeout_error", 529: "overloaded_error",
}  # fmt: skip
EMPTY: JSON = {"thinking": "", "signature": "", "text": "", "input": {}}  # how a block's fields are when it starts


class Anthropic(Protocol):
    """POST /v1/messages. docs.claude.com/en/api/messages"""

    sign = b'event: ping\ndata: {"type": "ping"}\n\n'
    broken = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"del\n\n'
    fields: JSON = ANTHROPIC_FIELDS
    wording: ClassVar[Dict[str, str]] = {
        "context_length_exceeded": "prompt is too long: {0} tokens > {1} maximum",
        "model_not_found": "model: {0}",
        "billing_hard_limit_reached": "Your credit balance is too low to access the Anthropic API. Please go to Plans &"
        " Billing to upgrade or purchase credits.",
        "usage_limit_reached": "You have reached your specified API usage limits. You will regain access on 2026-12-01 at"
        " 00:00 UTC.",
        "organization_disabled": "This organization has been disabled.",
    }

    def read_request(self, request: Request) -> Prompt:
        check_anthropic(request, self.fields)
        body = request.body
        messages = body["messages"]
        last = next((each["content"] for each in reversed(messages) if each["role"] == "user"), "")
        tools, forced = self._tools(body)
        return Prompt(
            model=body["model"], stream=bool(body.get("stream")), text=join_text(last), images=self._images(last),
            results=self._results(messages), tools=tools, forced=forced, schema=self._schema(body),
            prompt_tokens=word_count([body.get("system"), messages, body.get("tools")]), turn=len(messages),
            model_turns=count_role(messages, "assistant"), prefilled=messages[-1]["role"] == "assistant",
            stops=body.get("stop_sequences") or (), request=request,
        )  # fmt: skip

    @staticmethod
    def _images(content: Any) -> List[str]:
        """The images of a message or a tool result, as data URLs and URLs."""
        sources = [block["source"] for block in objects(content) if block["type"] == "image"]
        return [each.get("url") or f"data:;base64,{each.get('data')}" for each in sources]

    def _results(self, messages: List[JSON]) -> List[Tuple[str, str]]:
        """(tool's name, its result) of the last message."""
        names = {block["id"]: block["name"] for each in messages for block in objects(each["content"]) if "input" in block}
        found = []
        for block in objects(messages[-1]["content"]):
            if block["type"] == "tool_result":
                text = append_images(join_text(block.get("content")), self._images(block.get("content")))
                found.append((names[block["tool_use_id"]], text))
        return found

    @staticmethod
    def _tools(body: JSON) -> Tuple[List[JSON], bool]:
        """The tools that may be called, and whether one must be; Anthropic's own are none of the mock server's."""
        own = [tool for tool in body.get("tools") or () if "input_schema" in tool]
        tools = [{"name": tool["name"], "parameters": tool["input_schema"]} for tool in own]
        choice = body.get("tool_choice") or {"type": "auto"}
        if choice["type"] == "tool":
            tools = [tool for tool in tools if tool["name"] == choice["name"]]
        one = choice.get("disable_parallel_tool_use")
        tools = [] if choice["type"] == "none" else tools[: 1 if one else None]
        return tools, choice["type"] in ("any", "tool")

    @staticmethod
    def _schema(body: JSON) -> Optional[JSON]:
        wanted = lookup(body, "output_config", "format") or body.get("output_format")
        return lookup(wanted, "schema") or None

    def plain(self, prompt: Prompt, answer: Answer) -> JSON:
        if answer.error and answer.oddity != ERROR_BESIDE:
            return self.error_body(answer.error, prompt.request.id)
        content = [block for block, _ in self._blocks(prompt, answer)]
        usage = spoil(self._usage(prompt, answer), answer)
        message = self._message(prompt, answer, content, self._stop(answer), answer.stop or None, usage)
        return {**message, **self._beside(answer)}

    def _beside(self, answer: Answer) -> JSON:
        return {"error": self.error_body(answer.error)["error"]} if answer.error and answer.oddity == ERROR_BESIDE else {}

    def stream_start(self, prompt: Prompt, answer: Answer) -> Iterator[bytes]:
        """All but the end of the last block, which an error or a cut would not let come."""
        yield self._message_start(prompt, answer)
        for index, (block, deltas) in enumerate(self._blocks(prompt, answer)):
            if index:
                yield self._event("content_block_stop", index=index - 1)
            empty = {name: EMPTY.get(name, value) for name, value in block.items()}
            yield self._event("content_block_start", index=index, content_block=empty)
            if not index:
                yield self.sign
            known: Dict[str, bytes] = {}  # demo-words-N repeats four words
            for delta in deltas:
                key = str(delta)
                if key not in known:
                    known[key] = self._event("content_block_delta", index=index, delta=delta)
                yield known[key]

    def stream_end(self, prompt: Prompt, answer: Answer) -> Iterator[bytes]:
        if answer.error and answer.oddity != ERROR_BESIDE:
            yield b"event: error\ndata: " + dump(self.error_body(answer.error, prompt.request.id)) + b"\n\n"
            return
        blocks = len(self._blocks(prompt, answer))
        if blocks and answer.oddity != TOOLS_HALF:
            yield self._event("content_block_stop", index=blocks - 1)
        if answer.oddity == START_TWICE:
            yield self._message_start(prompt, answer._replace(other_id=True))
        delta = {"stop_reason": self._stop(answer), "stop_sequence": answer.stop or None}
        usage = spoil(self._usage(prompt, answer), answer)
        counts = {name: usage[name] for name in usage if name.endswith("_tokens")}
        yield self._event("message_delta", delta=delta, usage=counts, **self._beside(answer))
        if answer.oddity != "fail-nodone":
            yield self._event("message_stop")

    def error_body(self, failure: Failure, id: str = "") -> JSON:
        kind = ANTHROPIC_ERRORS.get(failure.status, "invalid_request_error" if failure.status < 500 else "api_error")
        message = self.message(failure)
        details = {"details": failure.details} if failure.details else {}
        return {"type": "error", "error": {"type": kind, "message": message, **details}, "request_id": f"req_{id}"}

    def headers(self, request: Request) -> Headers:
        return (("request-id", f"req_{request.id}"),)

    @staticmethod
    def _event(kind: str, **fields: Any) -> bytes:
        return f"event: {kind}\n".encode() + b"data: " + dump({"type": kind, **fields}) + b"\n\n"

    def _message_start(self, prompt: Prompt, answer: Answer) -> bytes:
        usage = spoil({**self._usage(prompt, answer), "output_tokens": 1}, answer)
        return self._event("message_start", message=self._message(prompt, answer, [], None, None, usage))

    @staticmethod
    def _message(prompt: Prompt, answer: Answer, content: List[JSON], reason: Any, stop: Any, usage: JSON) -> JSON:
        id = f"msg_{prompt.request.id}" + ("-2" if answer.other_id else "")
        head = {"id": id, "type": "message", "role": "assistant", "model": answer.model or prompt.model}
        return {**head, "content": content, "stop_reason": reason, "stop_sequence": stop, "usage": usage}

    @staticmethod
    def _stop(answer: Answer) -> Optional[str]:
        if answer.stop:
            return "stop_sequence"
        return "refusal" if answer.refusal else ANTHROPIC_STOP.get(answer.finish, answer.finish) or None

    @staticmethod
    def _usage(prompt: Prompt, answer: Answer) -> JSON:
        """Tokens from the cache and into it are not among input_tokens."""
        usage = count_usage(prompt, answer)
        written, hour = usage.cache_write, usage.cache_write_1h
        return {
            "input_tokens": usage.prompt - usage.cache_read - written - hour,
            "cache_creation_input_tokens": written + hour,
            "cache_read_input_tokens": usage.cache_read,
            "cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": hour},
            "output_tokens": usage.completion,
            "service_tier": "standard",
        }

    def _blocks(self, prompt: Prompt, answer: Answer) -> List[Tuple[JSON, Iterable[JSON]]]:
        """The blocks of the answer's content, and what comes of each in a stream after its start."""
        found: List[Tuple[JSON, Iterable[JSON]]] = []
        if answer.reasoning and lookup(prompt.request.body, "thinking", "type") != "disabled":
            signed = {"thinking": "".join(answer.reasoning), "signature": signature_of("".join(answer.reasoning))}
            deltas: Iterable[JSON] = ({"type": "thinking_delta", "thinking": piece} for piece in answer.reasoning)
            last = [{"type": "signature_delta", "signature": signed["signature"]}]
            found.append(({"type": "thinking", **signed}, chain(deltas, last)))
        text = answer.text or split_pieces(answer.refusal)
        if text:
            deltas = ({"type": "text_delta", "text": piece} for piece in text)
            found.append(({"type": "text", "text": "".join(text)}, deltas))
        found += [(self._call(call), self._fragments(call, answer)) for call in answer.calls]
        return [] if answer.oddity == CHOICES_EMPTY else found

    @staticmethod
    def _call(call: Call) -> JSON:
        return {"type": "tool_use", "id": f"toolu_{call.id[5:]}", "name": call.name, "input": parse_arguments(call)}

    @staticmethod
    def _fragments(call: Call, answer: Answer) -> Iterator[JSON]:
        """The arguments a few characters at a time, behind an empty piece; {} is what no piece at all means."""
        pieces = [] if call.arguments in (None, "{}") else split_arguments(call, answer)
        for piece in ["", *pieces]:
            yield {"type": "input_json_delta", "partial_json": piece}


class AnthropicCount(Anthropic):
    """POST /v1/messages/count_tokens: the same number as the answer's usage. docs.claude.com/en/api/messages-count-tokens"""

    fields: JSON = ANTHROPIC_COUNTED

    def plain(self, prompt: Prompt, answer: Answer) -> JSON:
        if answer.error:
            return self.error_body(answer.error, prompt.request.id)
        return {"input_tokens": prompt.prompt_tokens}


GEMINI_FINISH = {"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}
GEMINI_STATUS = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip
GEMINI_PRECONDITIONS = ("billing_hard_limit_reached", "usage_limit_reached", "unsupported_country_region_territory")


class Gemini(Protocol):
    """POST /v1beta/models/{model}:generateContent and :streamGenerateContent. ai.google.dev/api/generate-content"""

    sign = b"\r\n"  # its clients take no comments
    broken = b'data: {"candidates": [{"con\r\n\r\n'
    wording: ClassVar[Dict[str, str]] = {
        "context_length_exceeded": "The input token count ({0}) exceeds the maximum number of tokens allowed ({1}).",
        "model_not_found": "models/{0} is not found for API version v1beta, or is not supported for generateContent. Call"
        " ListModels to see the list of available models and their supported methods.",
        "billing_hard_limit_reached": "Gemini API free tier is not available in your country. Please enable billing on your"
        " project in Google AI Studio.",
        "unsupported_country_region_territory": "User location is not supported for the API use.",
    }

    def read_request(self, request: Request) -> Prompt:
        model, _, action = request.path.rpartition("/")[2].rpartition(":")
        body = self._body(request.body)
        check_gemini(body, model.replace("demo-strict-", "demo-", 1))
        contents = body["contents"]
        last: List[JSON] = next((each["parts"] for each in contents[::-1] if each.get("role", "user") == "user"), [])
        tools, forced = self._tools(body)
        options = body.get("generationConfig") or {}
        return Prompt(
            model=model, stream=action == "streamGenerateContent", text=join_text(last), images=self._images(last),
            results=self._results(contents[-1]["parts"]), tools=tools, forced=forced, schema=self._schema(options),
            prompt_tokens=word_count([body.get("systemInstruction"), contents]), turn=len(contents), request=request,
            stops=options.get("stopSequences") or (), choices=min(int(options.get("candidateCount", 1)), MAX_CHOICES),
            model_turns=count_role(contents, "model"), prefilled=contents[-1].get("role") == "model",
        )  # fmt: skip

    @staticmethod
    def _body(body: Any) -> JSON:
        return read_proto("GenerateContentRequest", body)

    @staticmethod
    def _images(parts: List[JSON]) -> List[str]:
        """Images as data URLs and URLs."""
        found = []
        for part in parts:
            data = str(part["inlineData"].get("data")) if "inlineData" in part else ""
            found += [f"data:;base64,{data.replace('-', '+').replace('_', '/')}"] if data else []  # either alphabet is taken
            found += [str(part["fileData"].get("fileUri"))] if "fileData" in part else []
        return found

    def _results(self, parts: List[JSON]) -> List[Tuple[str, str]]:
        """(function's name, its response) of the last turn; images stand in a response or behind it."""
        found: List[Tuple[str, str]] = []
        for part in parts:
            if "functionResponse" in part:
                result = part["functionResponse"]
                text = dump(result.get("response")).decode()
                found.append((result["name"], append_images(text, self._images(result.get("parts") or []))))
            elif found:
                found[-1] = (found[-1][0], append_images(found[-1][1], self._images([part])))
        return found

    @staticmethod
    def _tools(body: JSON) -> Tuple[List[JSON], bool]:
        tools = [each for tool in body.get("tools", ()) for each in tool.get("functionDeclarations", ())]
        tools = [{**tool, "parameters": tool.get("parameters") or tool.get("parametersJsonSchema")} for tool in tools]
        wanted = lookup(body, "toolConfig", "functionCallingConfig") or {}
        names = wanted.get("allowedFunctionNames")
        allowed = [tool for tool in tools if not names or tool.get("name") in names]
        return [] if wanted.get("mode") == "NONE" else allowed, wanted.get("mode") == "ANY"

    @staticmethod
    def _schema(options: JSON) -> Optional[JSON]:
        schema = options.get("responseJsonSchema") or options.get("responseSchema")
        return schema or ({} if options.get("responseMimeType") == "application/json" else None)

    def plain(self, prompt: Prompt, answer: Answer) -> JSON:
        if answer.error and answer.oddity != ERROR_BESIDE:
            return self.error_body(answer.error)
        parts = [{"text": "".join(answer.reasoning), "thought": True}] if answer.reasoning else []
        parts += [{"text": "".join(answer.text) + answer.refusal}] if answer.text or answer.refusal else []
        parts += self._calls(answer)
        if answer.reasoning and not answer.calls:
            parts[-1]["thoughtSignature"] = signature_of("".join(answer.reasoning))
        return self._chunk(prompt, answer, parts, answer.finish or "stop")

    def stream_start(self, prompt: Prompt, answer: Answer) -> Iterator[bytes]:
        parts: Iterable[JSON] = chain(
            ({"text": piece, "thought": True} for piece in answer.reasoning),
            ({"text": piece} for piece in chain(answer.text, split_pieces(answer.refusal))),
            self._calls(answer),
        )
        known: Dict[str, bytes] = {}  # demo-words-N repeats four words
        for part in parts:
            key = str(part)
            if key not in known:
                known[key] = self._event(self._chunk(prompt, answer, [part]))
            yield known[key]

    def stream_end(self, prompt: Prompt, answer: Answer) -> Iterator[bytes]:
        signed = answer.reasoning and not answer.calls
        last: List[JSON] = [{"text": ""}] if answer.text or answer.calls else []
        if signed and last:
            last[0]["thoughtSignature"] = signature_of("".join(answer.reasoning))
        if answer.oddity == START_TWICE:
            answer = answer._replace(other_id=True)
        if answer.error and answer.oddity != ERROR_BESIDE:
            yield self._event(self.error_body(answer.error))
        elif answer.finish:
            yield self._event(self._chunk(prompt, answer, last, answer.finish))

    def error_body(self, failure: Failure, id: str = "") -> JSON:
        status = GEMINI_STATUS.get(failure.status, "FAILED_PRECONDITION" if failure.status < 500 else "INTERNAL")
        status = "FAILED_PRECONDITION" if failure.code in GEMINI_PRECONDITIONS else status
        message, retry_after = self.message(failure), dict(failure.headers).get("Retry-After")
        retry = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{retry_after}s"}] if retry_after else []
        details = {"details": failure.details or retry} if failure.details or retry else {}
        return {"error": {"code": failure.status, "message": message, "status": status, **details}}

    def frame(self, prompt: Prompt, reply: Reply) -> Reply:
        """Without alt=sse Google sends the same objects as one JSON array."""
        if "alt=sse" in prompt.request.query.split("&") or not prompt.stream:
            return reply
        marks = chain([b"["], repeat(b",\n"))
        first, rest = ((next(marks) + event[len(b"data: ") :].strip() for event in part) for part in (reply.first, reply.rest))
        reply = reply._replace(first=first, rest=chain(rest, [b"]"]), content_type="application/json")
        return reply._replace(sign=b" \n", broken=b',\n{"candidates": [{"con')

    @staticmethod
    def _event(value: JSON) -> bytes:
        return b"data: " + dump(value) + b"\r\n\r\n"  # Google ends its lines so

    @staticmethod
    def _calls(answer: Answer) -> List[JSON]:
        """The calls as parts: only the first of them is signed."""
        parts: List[JSON] = []
        for call in answer.calls:
            found = {"name": call.name, "args": parse_arguments(call)}
            if answer.oddity == "demo-tools-ids":
                found = {"id": call.id, **found}
            if answer.oddity == TOOLS_HALF:
                del found["name"]
            parts.append({"functionCall": found})
        if parts and answer.reasoning:
            parts[0]["thoughtSignature"] = signature_of("".join(answer.reasoning))
        return parts

    @staticmethod
    def _counts(prompt: Prompt, answer: Answer) -> JSON:
        """Thoughts are not among the candidates' tokens."""
        usage = count_usage(prompt, answer)
        counts = {
            "promptTokenCount": usage.prompt,
            "candidatesTokenCount": usage.completion - usage.reasoning,
            "totalTokenCount": usage.prompt + usage.completion,
        }
        counts.update({"thoughtsTokenCount": usage.reasoning} if usage.reasoning else {})
        counts.update({"cachedContentTokenCount": usage.cache_read} if usage.cache_read else {})
        return {**counts, **money(usage)}

    def _chunk(self, prompt: Prompt, answer: Answer, parts: List[JSON], finish: str = "") -> JSON:
        candidate: JSON = {"content": {**({"parts": parts} if parts else {}), "role": "model"}}
        if finish:
            candidate["finishReason"] = GEMINI_FINISH.get(finish, finish)
        candidates = [{**candidate, "index": index} for index in range(prompt.choices)]
        head: JSON = {"candidates": [] if answer.oddity == CHOICES_EMPTY else candidates}
        if answer.oddity == "demo-blocked":
            head = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
        if answer.error and finish and answer.oddity == ERROR_BESIDE:
            head.update(self.error_body(answer.error))
        id = prompt.request.id + ("-2" if answer.other_id else "")
        counts = spoil(self._counts(prompt, answer), answer)
        return {**head, "usageMetadata": counts, "modelVersion": answer.model or prompt.model, "responseId": id}


class GeminiCount(Gemini):
    """POST /v1beta/models/{model}:countTokens: contents, or a whole request. ai.google.dev/api/tokens"""

    @staticmethod
    def _body(body: Any) -> JSON:
        read = read_proto("CountTokensRequest", body)
        whole: JSON = read.get("generateContentRequest") or {}
        if "contents" in read and whole:
            raise rejection("Please set either contents or generate_content_request, not both.")
        return whole or read

    def plain(self, prompt: Prompt, answer: Answer) -> JSON:
        if answer.error:
            return self.error_body(answer.error)
        details = [{"modality": "TEXT", "tokenCount": prompt.prompt_tokens}]
        return {"totalTokens": prompt.prompt_tokens, "promptTokensDetails": details}


class GeminiEmbeddings(Gemini):
    """POST /v1beta/models/{model}:embedContent and :batchEmbedContents. ai.google.dev/api/embeddings"""

    def read_request(self, request: Request) -> Prompt:
        model, _, action = request.path.rpartition("/")[2].rpartition(":")
        batch = action == "batchEmbedContents"
        body = read_proto("BatchEmbedContentsRequest" if batch else "EmbedContentRequest", request.body)
        requests = body.get("requests") or [] if batch else [body]
        if not requests:
            raise rejection("* BatchEmbedContentsRequest.requests: at least one request is required\n", "requests")
        for number, each in enumerate(requests):
            if not lookup(each, "content", "parts"):
                place = f"requests[{number}].content" if batch else "content"
                raise rejection(f"* EmbedContentRequest.{place}: contents is not specified\n", place)
            check_embedding_size(each.get("outputDimensionality"), "output_dimensionality")
        contents = [each["content"]["parts"] for each in requests]
        return Prompt(model=model, request=request, prompt_tokens=word_count(contents), items=requests)

    def plain(self, prompt: Prompt, answer: Answer) -> JSON:
        if answer.error:
            return self.error_body(answer.error)
        sizes = [int(each.get("outputDimensionality") or EMBEDDING_SIZE) for each in prompt.items]
        texts = [join_text(each["content"]["parts"]) for each in prompt.items]
        vectors = [{"values": embed(text, size)} for text, size in zip(texts, sizes)]
        batch = prompt.request.path.endswith(":batchEmbedContents")
        return {"embeddings": vectors} if batch else {"embedding": vectors[0]}


RESPONSES, RESPONSES_COUNT, RESPONSES_COMPACT = Responses(), ResponsesCount(), ResponsesCompact()
ANTHROPIC, ANTHROPIC_COUNT = Anthropic(), AnthropicCount()
GEMINI, GEMINI_COUNT, GEMINI_EMBEDDINGS = Gemini(), GeminiCount(), GeminiEmbeddings()

# ---------------------------------------------------------------------------------------------------------------- routes


def get_anthropic_models(wire: Wire, request: Request) -> None:
    """Anthropic's list, in pages of ?limit=20 behind ?after_id=."""
    given = dict(pair.partition("=")[::2] for pair in request.query.split("&"))
    made = {"type": "model", "created_at": "2023-11-14T22:13:20Z"}  # CREATED
    models = {name: {**made, "id": name, "display_name": name.title()} for name in list_model_names(wire.server)}
    names = list(models)
    after = names.index(given["after_id"]) + 1 if given.get("after_id") in names else 0
    end = after + int(given.get("limit") or 20)
    page = names[after:end]
    whole: JSON = {"data": [models[name] for name in page], "has_more": end < len(names)}
    whole.update(first_id=page[0] if page else None, last_id=page[-1] if page else None)
    send_models(wire, request, ANTHROPIC, models, whole)


def get_gemini_models(wire: Wire, request: Request) -> None:
    """Google's list."""
    can = {"supportedGenerationMethods": ["generateContent", "countTokens"]}
    limits = {"inputTokenLimit": 1_048_576, "outputTokenLimit": 65_536}
    names = list_model_names(wire.server)
    models = {name: {"name": f"models/{name}", "displayName": name.title(), **limits, **can} for name in names}
    send_models(wire, request, GEMINI, models, {"models": list(models.values())})


def read_query(request: Request) -> Dict[str, str]:
    return dict(pair.partition("=")[::2] for pair in request.query.split("&") if pair)


def find_response(request: Request) -> StoredResponse:
    """The stored response that the path names; raises Rejected."""
    name = request.path.split("/")[3]
    if not name.startswith("resp"):
        message = f"Invalid 'response_id': '{name}'. Expected an ID that begins with 'resp'."
        raise rejection(message, "response_id", "invalid_value")
    found: Optional[StoredResponse] = store_of(request).get(name)
    if found is None:
        raise Rejected(Failure(404, "", f"Response with id '{name}' not found."))
    return found


def get_response(request: Request) -> Reply:
    """A response, or with ?stream=true its events again; a background response is done when it is first read."""
    stored, query = find_response(request), read_query(request)
    if stored.cancelled:
        return json_reply({**stored.response, "status": "cancelled", "output": [], "usage": None})
    store_of(request).put(stored._replace(waiting=False))
    if query.get("stream") == "true":
        events = chain(*RESPONSES.stream(stored.prompt, stored.answer))
        after = int(query.get("starting_after") or -1)
        return Reply(islice(events, after + 1, None), content_type="text/event-stream", streamed=True)
    return json_reply(stored.response)


def delete_response(request: Request) -> Reply:
    name = find_response(request).response["id"]
    store_of(request).delete(name)
    return json_reply({"id": name, "object": "response", "deleted": True})


def cancel_response(request: Request) -> Reply:
    stored = find_response(request)
    if not stored.prompt.request.body.get("background"):
        raise rejection("Cannot cancel a synchronous response.", "response_id")
    if stored.waiting:
        store_of(request).put(stored._replace(cancelled=True))
    return get_response(request)


def get_input_items(request: Request) -> Reply:
    """The items that the model saw, in pages of ?limit=20 behind ?after=, the newest first."""
    stored, query = find_response(request), read_query(request)
    items = stored.input if query.get("order") == "asc" else stored.input[::-1]
    names = [item["id"] for item in items]
    start = names.index(query["after"]) + 1 if query.get("after") in names else 0
    page = items[start : start + int(query.get("limit") or 20)]
    ends = {"first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}
    return json_reply({"object": "list", "data": page, **ends, "has_more": start + len(page) < len(items)})


def refuse_websocket(request: Request) -> Reply:
    message = "This server does not speak websockets; send a POST request."
    raise Rejected(Failure(426, "", message, headers=(("Upgrade", "HTTP/1.1"),)))


def answer_with(read: Callable[[Request], Reply]) -> Callable[[Wire, Request], None]:
    """A route that sends what `read` returns, or the error that it raises."""

    def answer(wire: Wire, request: Request) -> None:
        try:
            reply = read(request)
        except Rejected as error:
            reply = error_reply(RESPONSES, error.failure)
        except WRONG_SHAPE as error:
            reply = error_reply(RESPONSES, bad_request(f"The request has a wrong shape: {error}").failure)
        send_whole(wire, reply)

    return answer


ROUTES: List[Route] = [
    ("POST", r"/v1/completions", post_to(COMPLETIONS)),
    ("POST", r"/v1/embeddings", post_to(EMBEDDINGS)),
    ("POST", r"/v1/responses", post_to(RESPONSES)),
    ("POST", r"/v1/responses/input_tokens", post_to(RESPONSES_COUNT)),
    ("POST", r"/v1/responses/compact", post_to(RESPONSES_COMPACT)),
    ("POST", r"/v1/responses/[^/]+/cancel", answer_with(cancel_response)),
    ("GET", r"/v1/responses", answer_with(refuse_websocket)),
    ("GET", r"/v1/responses/[^/]+", answer_with(get_response)),
    ("GET", r"/v1/responses/[^/]+/input_items", answer_with(get_input_items)),
    ("DELETE", r"/v1/responses/[^/]+", answer_with(delete_response)),
    ("POST", r"/v1/messages", post_to(ANTHROPIC)),
    ("POST", r"/v1/messages/count_tokens", post_to(ANTHROPIC_COUNT)),
    ("POST", r"/(v1|v1beta)/models/[^/]+:(generateContent|streamGenerateContent)", post_to(GEMINI)),
    ("POST", r"/(v1|v1beta)/models/[^/]+:countTokens", post_to(GEMINI_COUNT)),
    ("POST", r"/(v1|v1beta)/models/[^/]+:(embedContent|batchEmbedContents)", post_to(GEMINI_EMBEDDINGS)),
    ("GET", r"/v1beta/models(/[^/]+)?", get_gemini_models),
]
