"""Requests that hold every kind of object that a protocol has, several for what cannot stand in one.

bodies("openai")             -> [{"messages": [...], ...}, ...]     without the model's name
objects_in("openai", body)   -> ["", "messages[0]", "messages[0].content[1].image_url", ...]
with_field(body, "messages[0]", "zz", 1)  -> the body with that field in that object, a copy

Read from the vendors' own types (openai 3.52, anthropic 2.11, google-genai 3.4, ollama's API), with what OpenAI-compatible
servers add. Objects whose content belongs to the caller (JSON schemas, arguments, labels) are named but not entered.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

Body = dict[str, Any]
PIXEL = "iVBORw0KGgo="
SCHEMA: Body = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
CACHED: Body = {"type": "ephemeral", "ttl": "1h"}
USER: Body = {"role": "user", "content": "hi"}


def openai_call(name: str) -> Body:
    return {"id": f"call_{name}", "type": "function", "function": {"name": name, "arguments": '{"a": 1}'}}


OPENAI_CONVERSATION: list[Body] = [
    {"role": "system", "content": [{"type": "text", "text": "Be short.", "cache_control": CACHED}], "name": "operator"},
    {"role": "developer", "content": "Be kind."},
    {"role": "user", "name": "ann", "content": [
        {"type": "text", "text": "Look.", "cache_control": CACHED},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}", "detail": "low"}, "cache_control": CACHED},
        {"type": "input_audio", "input_audio": {"data": PIXEL, "format": "wav"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PIXEL}"}},
        {"type": "video_url", "video_url": {"url": "https://films.example/a.mp4"}},
    ]},
    {"role": "assistant", "content": [{"type": "text", "text": "I looked."}], "reasoning_content": "Hm",
     "tool_calls": [openai_call("f"), {**openai_call("g"), "extra_content": {"google": {"thought_signature": "c2ln"}}},
                    {"id": "call_c", "type": "custom", "custom": {"name": "c", "input": "free text"}}]},
    {"role": "tool", "tool_call_id": "call_f", "content": [{"type": "text", "text": "42"}], "cache_control": CACHED},
    {"role": "tool", "tool_call_id": "call_g", "content": "43"},
    {"role": "tool", "tool_call_id": "call_c", "content": "44"},
    {"role": "assistant", "content": [{"type": "refusal", "refusal": "I will not."}]},
    {"role": "system", "content": "Be quick."},
    {"role": "user", "content": "On."},
    {"role": "assistant", "content": "So", "reasoning_details": [
        {"type": "reasoning.text", "text": "Hm", "signature": "s", "format": "anthropic-claude-v1", "index": 0},
        {"type": "reasoning.encrypted", "data": "ZGF0YQ==", "id": "r", "format": "openai-responses-v1", "index": 1}]},
    {"role": "assistant", "content": "So", "thinking_blocks": [{"type": "thinking", "thinking": "Hm", "signature": "s"}],
     "images": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}]},
    {"role": "assistant", "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}], "name": "bob"},
    {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
    {"role": "function", "name": "f", "content": "42"},
    USER,
]  # fmt: skip
OPENAI: list[Body] = [
    {
        "messages": OPENAI_CONVERSATION, "stream": True, "stream_options": {"include_usage": True},
        "tools": [
            {"type": "function", "cache_control": CACHED, "function": {
                "name": "f", "description": "F", "parameters": SCHEMA, "strict": True}},
            {"type": "function", "function": {"name": "g"}},
            {"type": "custom", "custom": {"name": "c", "description": "C", "format": {
                "type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /a/"}}}},
        ],
        "tool_choice": {"type": "function", "function": {"name": "f"}}, "reasoning": {"max_tokens": 2000, "exclude": True},
        "response_format": {"type": "json_schema", "json_schema": {
            "name": "n", "description": "d", "schema": SCHEMA, "strict": True}},
        "metadata": {"a": "1"}, "prediction": {"type": "content", "content": [{"type": "text", "text": "I predict"}]},
        "web_search_options": {"user_location": {"type": "approximate", "approximate": {"city": "Oslo"}}},
        "audio": {"voice": "v", "format": "wav"}, "provider": {"only": ["p"]}, "logit_bias": {"5": 1},
    },
    {"messages": [USER], "thinking": {"type": "enabled", "budget_tokens": 2000}, "response_format": {"type": "json_object"},
     "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}],
     "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [
         {"type": "function", "function": {"name": "f"}}]}}},
    {"messages": [USER], "functions": [{"name": "f", "parameters": SCHEMA}], "function_call": {"name": "f"}},
    {"messages": [USER], "tools": [{"type": "openrouter:web_search", "parameters": {"max_results": 3}}]},
]  # fmt: skip

ANTHROPIC_CONVERSATION: list[Body] = [
    {"role": "user", "content": [
        {"type": "text", "text": "Look.", "cache_control": CACHED},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}, "cache_control": CACHED,
         "transformations": {"oversized_image": "resize"}},
        {"type": "image", "source": {"type": "url", "url": "https://pictures.example/a.png"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hi"}, "title": "t",
         "context": "c", "citations": {"enabled": True}},
        {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "hi"}]}},
        {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "found"}],
         "citations": {"enabled": True}},
    ]},
    {"role": "assistant", "content": [
        {"type": "thinking", "thinking": "Hm", "signature": "s"}, {"type": "redacted_thinking", "data": "ZGF0YQ=="},
        {"type": "text", "text": "I looked.", "citations": [
            {"type": "char_location", "cited_text": "hi", "document_index": 0, "start_char_index": 0, "end_char_index": 2}]},
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [
            {"type": "web_search_result", "url": "https://h.example", "title": "T", "encrypted_content": "e"}]},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}, "cache_control": CACHED,
         "caller": {"type": "direct"}},
    ]},
    {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": True, "cache_control": CACHED, "content": [
            {"type": "text", "text": "no"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
            {"type": "tool_reference", "tool_name": "f"}]},
        {"type": "text", "text": "On."},
    ]},
    {"role": "system", "content": [
        {"type": "text", "text": "Be quick."},
        {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": {"name": "h", "input_schema": SCHEMA}}},
        {"type": "tool_removal", "tool": {"type": "tool_reference", "name": "no"}}]},
    USER,
]  # fmt: skip
ANTHROPIC: list[Body] = [
    {
        "max_tokens": 9000, "system": [{"type": "text", "text": "Be short.", "cache_control": CACHED}],
        "messages": ANTHROPIC_CONVERSATION, "metadata": {"user_id": "u"}, "tool_choice": {"type": "tool", "name": "f"},
        "tools": [
            {"name": "f", "description": "F", "input_schema": SCHEMA, "strict": True, "cache_control": CACHED},
            {"type": "custom", "name": "g", "input_schema": SCHEMA, "input_examples": [{"a": 1}]},
            {"type": "bash_20250124", "name": "bash"},
        ],
        "thinking": {"type": "enabled", "budget_tokens": 2000, "display": "summarized"},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA},
                          "task_budget": {"type": "tokens", "total": 9}},
        "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}, "container": {"id": "c", "skills": []},
        "mcp_servers": [{"type": "url", "url": "https://mcp.example", "name": "n"}],
    },
    {"max_tokens": 9, "messages": [USER], "output_format": {"type": "json_schema", "schema": SCHEMA}},
    {"max_tokens": 9, "messages": [USER], "tools": [
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 3, "allowed_domains": ["h.example"],
         "user_location": {"type": "approximate", "city": "Oslo"}, "cache_control": CACHED}]},
]  # fmt: skip

GEMINI_CONVERSATION: list[Body] = [
    {"role": "user", "parts": [
        {"text": "Look."},
        {"inlineData": {"mimeType": "image/png", "data": PIXEL, "displayName": "a.png"}, "mediaResolution": {"level": "LOW"}},
        {"fileData": {"mimeType": "video/mp4", "fileUri": "https://films.example/a.mp4"}, "videoMetadata": {"fps": 1}},
        {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/a", "mimeType": "image/png"}},
    ]},
    {"role": "model", "parts": [
        {"text": "Hm", "thought": True, "thoughtSignature": "c2ln"}, {"text": "I looked.", "thoughtSignature": "c2ln"},
        {"executableCode": {"language": "PYTHON", "code": "print(1)"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
        {"toolCall": {"toolType": "GOOGLE_SEARCH", "id": "t", "args": {"q": "q"}}},
        {"functionCall": {"id": "f1", "name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"},
    ]},
    {"role": "user", "parts": [
        {"functionResponse": {"id": "f1", "name": "f", "response": {"output": "42"}, "scheduling": "SILENT", "parts": [
            {"inlineData": {"mimeType": "image/png", "data": PIXEL}},
            {"fileData": {"mimeType": "image/png", "fileUri": "https://pictures.example/a.png"}}]}},
    ]},
    {"role": "model", "parts": [{"text": "So"}]},
    {"role": "model", "parts": [{"text": "."}]},
    {"role": "user", "parts": [{"text": "On."}]},
]  # fmt: skip
GEMINI: list[Body] = [
    {
        "contents": GEMINI_CONVERSATION, "systemInstruction": {"role": "system", "parts": [{"text": "Be short."}]},
        "tools": [{"functionDeclarations": [
            {"name": "f", "description": "F", "parameters": SCHEMA, "response": SCHEMA, "behavior": "BLOCKING"},
            {"name": "g", "parametersJsonSchema": SCHEMA}]}, {"urlContext": {}}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]},
                       "retrievalConfig": {"languageCode": "en", "latLng": {"latitude": 1, "longitude": 1}}},
        "generationConfig": {
            "temperature": 1, "responseMimeType": "application/json", "responseJsonSchema": SCHEMA,
            "thinkingConfig": {"includeThoughts": True, "thinkingBudget": 2000},
            "speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "v"}}}},
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}], "labels": {"a": "1"},
    },
    {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "tools": [
        {"googleSearch": {"timeRangeFilter": {"startTime": "2026-01-01T00:00:00Z"}}}]},
]  # fmt: skip

RESPONSES_CONVERSATION: list[Body] = [
    {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Be kind."}]},
    {"role": "user", "content": [
        {"type": "input_text", "text": "Look.", "prompt_cache_breakpoint": {"mode": "explicit"}},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "low",
         "prompt_cache_breakpoint": {"mode": "explicit"}},
        {"type": "input_image", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
        {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PIXEL}"},
        {"type": "input_audio", "input_audio": {"data": PIXEL, "format": "wav"}},
    ]},
    {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm"}], "encrypted_content": "gAAAA"},
    {"type": "reasoning", "id": "rs_2", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm"}]},
    {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [
        {"type": "output_text", "text": "I looked.", "logprobs": [], "annotations": [
            {"type": "url_citation", "url": "https://h.example", "title": "T", "start_index": 0, "end_index": 1}]},
        {"type": "refusal", "refusal": "I will not."}]},
    {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}},
    {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": '{"a": 1}', "status": "completed"},
    {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c2", "name": "c", "input": "free text"},
    {"type": "function_call_output", "call_id": "c1", "output": [
        {"type": "input_text", "text": "42"}, {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}"}]},
    {"type": "custom_tool_call_output", "call_id": "c2", "output": "43"},
    {"type": "additional_tools", "tools": [{"type": "function", "name": "h", "parameters": SCHEMA}]},
    {"role": "user", "content": "On."},
]  # fmt: skip
RESPONSES: list[Body] = [
    {
        "input": RESPONSES_CONVERSATION, "instructions": "Be short.", "stream": True,
        "stream_options": {"include_obfuscation": False}, "metadata": {"a": "1"},
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"verbosity": "low", "format": {
            "type": "json_schema", "name": "n", "description": "d", "schema": SCHEMA, "strict": True}},
        "tools": [
            {"type": "function", "name": "f", "description": "F", "parameters": SCHEMA, "strict": True},
            {"type": "custom", "name": "c", "format": {"type": "grammar", "syntax": "lark", "definition": "start: /a/"}},
            {"type": "namespace", "name": "ns", "description": "N", "tools": [
                {"type": "function", "name": "i", "parameters": SCHEMA}]},
            {"type": "file_search", "vector_store_ids": ["v"], "ranking_options": {"score_threshold": 1}},
        ],
    },
    {"input": "hi", "tools": [{"type": "function", "name": "f"}],
     "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}},
    {"input": "hi", "tools": [{"type": "function", "name": "f"}], "tool_choice": {"type": "function", "name": "f"}},
    {"input": "hi", "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}], "tool_choice": "auto",
     "text": {"format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}}},
    {"input": "hi", "tools": [
        {"type": "web_search", "filters": {"allowed_domains": ["h.example"]}, "search_context_size": "low",
         "user_location": {"type": "approximate", "city": "Oslo"}}]},
]  # fmt: skip

OLLAMA: list[Body] = [
    {
        "messages": [
            {"role": "system", "content": "Be short."}, {"role": "user", "content": "Look.", "images": [PIXEL]},
            {"role": "assistant", "content": "So", "thinking": "Hm", "tool_calls": [
                {"id": "c1", "function": {"name": "f", "arguments": {"a": 1}}}]},
            {"role": "tool", "tool_name": "f", "content": "42"}, {"role": "user", "content": "On."},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "description": "F", "parameters": SCHEMA}}],
        "format": SCHEMA, "options": {"temperature": 1, "num_ctx": 4096}, "stream": True, "think": True,
    },
    {"prompt": "hi", "system": "Be short.", "options": {"top_k": 3}},
]  # fmt: skip
COMPLETIONS: list[Body] = [{"prompt": "hi", "stream": True, "stream_options": {"include_usage": True}, "logit_bias": {"5": 1}}]

BODIES: dict[str, list[Body]] = {
    "openai": OPENAI, "anthropic": ANTHROPIC, "gemini": GEMINI, "responses": RESPONSES, "ollama": OLLAMA,
    "completions": COMPLETIONS,
}  # fmt: skip

# Their content is the caller's: schemas, arguments, labels.
FREE = re.compile(
    r"(^|\.)(parameters|parametersJsonSchema|input_schema|schema|responseJsonSchema|responseSchema|response|args|arguments"
    r"|labels|logit_bias)$|(\]|content_block)\.input$|input_examples\[\d+\]$"
)
FREE_AT_TOP = {"openai": ("metadata",), "responses": ("metadata",), "ollama": ("format",)}


def is_free(protocol: str, path: str, value: Body) -> bool:
    if path in FREE_AT_TOP.get(protocol, ()):
        return True
    return bool(FREE.search(path)) and value.get("type") not in ("grammar", "json_schema")


def walk(protocol: str, value: Any, path: str) -> Iterator[str]:
    if isinstance(value, list):
        for at, each in enumerate(value):
            yield from walk(protocol, each, f"{path}[{at}]")
    elif isinstance(value, dict) and not is_free(protocol, path, value):
        yield path
        for name, each in value.items():
            yield from walk(protocol, each, f"{path}.{name}" if path else name)


def objects_in(protocol: str, body: Body) -> list[str]:
    """The paths of all objects of a body whose fields the protocol names; "" is the body."""
    return list(walk(protocol, body, ""))


def steps(path: str) -> list[str | int]:
    return [int(index) if index else name for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path)]


def with_field(body: Body, path: str, name: str, value: Any) -> Body:
    """A copy of the body in which the object at `path` has one more field."""
    made = copy.deepcopy(body)
    place: Any = made
    for step in steps(path):
        place = place[step]
    place[name] = value
    return made
