"""Answers and streams that hold every kind of object that a protocol's answers have; the same functions as for requests.

ANSWERS["openai"]  -> [a whole answer, ...]
STREAMS["openai"]  -> [[an event's object, ...], ...]; as server-sent events: `sse`

Read from the vendors' own types, as `rich_requests`.
"""

from __future__ import annotations

import json

from rich_requests import PIXEL, Body

OPENAI_USAGE: Body = {"prompt_tokens": 9, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 4}}
OPENAI_CALL: Body = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
OPENAI_DETAIL: Body = {"type": "reasoning.text", "text": "Hm", "signature": "s", "format": "anthropic-claude-v1", "index": 0}
OPENAI_HEAD: Body = {"id": "chatcmpl-1", "created": 5, "model": "m", "service_tier": "default"}
CITED: Body = {
    "type": "url_citation",
    "url_citation": {"url": "https://h.example", "title": "T", "start_index": 0, "end_index": 1},
}


def openai_chunk(delta: Body, finish: str | None = None) -> Body:
    return {
        **OPENAI_HEAD,
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }


OPENAI: list[Body] = [{**OPENAI_HEAD, "object": "chat.completion", "usage": OPENAI_USAGE, "choices": [
    {"index": 0, "finish_reason": "tool_calls", "logprobs": {"content": [{"token": "a", "logprob": 0, "top_logprobs": []}]},
     "message": {"role": "assistant", "content": "Hi", "reasoning_details": [OPENAI_DETAIL], "tool_calls": [OPENAI_CALL],
                 "annotations": [CITED], "audio": {"id": "a", "data": "AA==", "transcript": "t"},
                 "images": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}]}},
]}, {**OPENAI_HEAD, "choices": [{"index": 0, "finish_reason": "stop", "message": {
    "role": "assistant", "content": [{"type": "text", "text": "Hi"}]}}]}]  # fmt: skip
OPENAI_STREAM: list[Body] = [
    openai_chunk({"role": "assistant", "content": ""}), openai_chunk({"reasoning_details": [OPENAI_DETAIL]}),
    openai_chunk({"content": "Hi"}), openai_chunk({"content": [{"type": "text", "text": "Hi"}]}),
    openai_chunk({"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}]}),
    openai_chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"a": 1}'}}]}),
    openai_chunk({"images": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}]}),
    openai_chunk({"annotations": [CITED]}, "tool_calls"), {**OPENAI_HEAD, "choices": [], "usage": OPENAI_USAGE},
]  # fmt: skip

ANTHROPIC_USAGE: Body = {"input_tokens": 9, "output_tokens": 7, "cache_creation": {"ephemeral_5m_input_tokens": 1}}
ANTHROPIC_BLOCKS: list[Body] = [
    {"type": "thinking", "thinking": "Hm", "signature": "s"}, {"type": "redacted_thinking", "data": "ZGF0YQ=="},
    {"type": "text", "text": "Hi", "citations": [
        {"type": "char_location", "cited_text": "hi", "document_index": 0, "start_char_index": 0, "end_char_index": 2}]},
    {"type": "text", "text": "Hi", "citations": [
        {"type": "web_search_result_location", "url": "https://h.example", "title": "T", "encrypted_index": "e"}]},
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_fetch", "input": {"url": "u"}},
    {"type": "web_fetch_tool_result", "tool_use_id": "srvtoolu_1", "content": {"type": "web_fetch_result", "url": "u"}},
    {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}, "caller": {"type": "direct"}},
]  # fmt: skip
ANTHROPIC_HEAD: Body = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m"}
ANTHROPIC: list[Body] = [{**ANTHROPIC_HEAD, "content": ANTHROPIC_BLOCKS, "stop_reason": "tool_use", "stop_sequence": None,
                          "usage": ANTHROPIC_USAGE, "container": {"id": "c", "expires_at": "t"},
                          "context_management": {"applied_edits": [{"type": "clear_tool_uses_20250919"}]}}]  # fmt: skip
ANTHROPIC_DELTAS: list[Body] = [
    {"type": "thinking_delta", "thinking": "Hm"}, {}, *({"type": "text_delta", "text": "Hi"} for _ in range(2)),
    {"type": "input_json_delta", "partial_json": '{"url": "u"}'}, {}, {"type": "input_json_delta", "partial_json": '{"a": 1}'},
]  # fmt: skip
ANTHROPIC_STREAM: list[Body] = [
    {"type": "message_start", "message": {**ANTHROPIC_HEAD, "content": [], "stop_reason": None, "usage": ANTHROPIC_USAGE}},
    *(event for at, (block, delta) in enumerate(zip(ANTHROPIC_BLOCKS, ANTHROPIC_DELTAS, strict=True)) for event in (
        {"type": "content_block_start", "index": at, "content_block": {
            **block, **{name: empty for name, empty in (("thinking", ""), ("text", ""), ("input", {})) if name in block}}},
        *([{"type": "content_block_delta", "index": at, "delta": delta}] if delta else []),
        {"type": "content_block_stop", "index": at})),
    {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None, "container": {"id": "c"}},
     "usage": {"output_tokens": 7}, "context_management": {"applied_edits": []}},
    {"type": "message_stop"},
]  # fmt: skip

GEMINI_PARTS: list[Body] = [
    {"text": "Hm", "thought": True, "thoughtSignature": "c2ln"}, {"text": "Hi"},
    {"executableCode": {"language": "PYTHON", "code": "print(1)"}},
    {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
    {"inlineData": {"mimeType": "image/png", "data": PIXEL}},
    {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"},
]  # fmt: skip
GEMINI_USAGE: Body = {"promptTokenCount": 9, "candidatesTokenCount": 7, "totalTokenCount": 16,
                      "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 9}]}  # fmt: skip
GEMINI_HEAD: Body = {"modelVersion": "m", "responseId": "r", "usageMetadata": GEMINI_USAGE}
GEMINI: list[Body] = [{**GEMINI_HEAD, "promptFeedback": {"safetyRatings": [{"category": "HARM_CATEGORY_HARASSMENT"}]},
                       "candidates": [{"content": {"role": "model", "parts": GEMINI_PARTS}, "finishReason": "STOP", "index": 0,
                                       "safetyRatings": [{"category": "HARM_CATEGORY_HARASSMENT", "probability": "LOW"}],
                                       "citationMetadata": {"citationSources": [{"uri": "u"}]},
                                       "groundingMetadata": {"groundingChunks": [{"web": {"uri": "u", "title": "t"}}],
                                                             "groundingSupports": [{"segment": {"endIndex": 2},
                                                                                    "groundingChunkIndices": [0]}]},
                                       "logprobsResult": {"chosenCandidates": [{"token": "a"}]}}]}]  # fmt: skip
GEMINI_STREAM: list[Body] = [
    *({**GEMINI_HEAD, "candidates": [{"content": {"role": "model", "parts": [part]}, "index": 0}]} for part in GEMINI_PARTS),
    GEMINI[0],
]  # fmt: skip

RESPONSES_TEXT: Body = {"type": "output_text", "text": "Hi", "logprobs": [], "annotations": [
    {"type": "url_citation", "url": "https://h.example", "title": "T", "start_index": 0, "end_index": 1}]}  # fmt: skip
RESPONSES_OUTPUT: list[Body] = [
    {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm"}], "encrypted_content": "gAAAA"},
    {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [RESPONSES_TEXT]},
    {"type": "code_interpreter_call", "id": "ci_1", "code": "1", "outputs": [{"type": "logs", "logs": "1"}]},
    {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": PIXEL},
    {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": '{"a": 1}', "status": "completed"},
    {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c2", "name": "c", "input": "free text"},
]  # fmt: skip
RESPONSES_USAGE: Body = {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 7,
                         "output_tokens_details": {"reasoning_tokens": 5}, "total_tokens": 16}  # fmt: skip
RESPONSES_HEAD: Body = {"id": "resp_1", "object": "response", "created_at": 5, "model": "m", "service_tier": "default"}
RESPONSES: list[Body] = [{**RESPONSES_HEAD, "status": "completed", "output": RESPONSES_OUTPUT, "usage": RESPONSES_USAGE}]
RESPONSES_PIECE: Body = {"item_id": "msg_1", "output_index": 1, "content_index": 0}
RESPONSES_BEGUN: Body = {**RESPONSES_OUTPUT[1], "content": []}
RESPONSES_STREAM: list[Body] = [
    {"type": "response.created", "response": {**RESPONSES_HEAD, "status": "in_progress", "output": []}},
    {"type": "response.output_item.added", "output_index": 1, "item": RESPONSES_BEGUN},
    {"type": "response.content_part.added", **RESPONSES_PIECE, "part": {"type": "output_text", "text": ""}},
    {"type": "response.output_text.delta", **RESPONSES_PIECE, "delta": "Hi", "logprobs": []},
    {"type": "response.output_text.done", **RESPONSES_PIECE, "text": "Hi"},
    {"type": "response.code_interpreter_call.interpreting", "item_id": "ci_1", "output_index": 2},
    {"type": "response.function_call_arguments.done", "item_id": "fc_1", "output_index": 4, "name": "f", "arguments": "{}"},
    *({"type": "response.output_item.done", "output_index": at, "item": item} for at, item in enumerate(RESPONSES_OUTPUT)),
    {"type": "response.completed", "response": RESPONSES[0]},
]  # fmt: skip

ANSWERS: dict[str, list[Body]] = {"openai": OPENAI, "anthropic": ANTHROPIC, "gemini": GEMINI, "responses": RESPONSES}
STREAMS: dict[str, list[Body]] = {
    "openai": OPENAI_STREAM, "anthropic": ANTHROPIC_STREAM, "gemini": GEMINI_STREAM, "responses": RESPONSES_STREAM,
}  # fmt: skip


def sse(protocol: str, events: list[Body]) -> bytes:
    """The events as their API sends them."""
    made = b"".join(f"event: {event.get('type', 'message')}\ndata: {json.dumps(event)}\n\n".encode() for event in events)
    return made + (b"data: [DONE]\n\n" if protocol == "openai" else b"")
