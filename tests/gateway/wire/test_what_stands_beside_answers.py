"""What an answer says beside its text reaches every caller or is named, whole and streamed: why it ended, its tokens, how it
was served, what a vendor signed. The answers are those of each upstream's own protocol.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from llm_router_gateway.wire import ir
from llm_router_gateway.wire.losses import rank_losses
from llm_router_gateway.wire.registry import wire
from llm_router_gateway.wire.sse import Event

CALLERS = ("openai", "anthropic", "gemini", "responses", "ollama", "completions")
REQUEST = ir.Request("m", (ir.Message("user", (ir.Text("hi"),)),), include_usage=True, reply=ir.Reply("resp_1"))
Body = dict[str, Any]


def claude(stop: Body, usage: Body | None = None) -> tuple[Body, list[Body]]:
    """(a whole answer, the same as a stream) of Anthropic's"""
    counted = {"input_tokens": 9, "output_tokens": 7, **(usage or {})}
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m"}
    whole = {**head, "content": [{"type": "text", "text": "Hi"}], **stop, "usage": counted}
    return whole, [
        {"type": "message_start", "message": {**head, "content": [], "usage": counted}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
        {"type": "message_delta", "delta": stop, "usage": {"output_tokens": 7}}, {"type": "message_stop"},
    ]  # fmt: skip


def chat(choice: Body, **more: Any) -> tuple[Body, list[Body]]:
    """The same of chat completions."""
    head = {"id": "c", "model": "m", **more}
    said = {"content": "Hi"}
    return {**head, "choices": [{"index": 0, "message": said, **choice}]}, [
        {**head, "choices": [{"index": 0, "delta": said}]}, {**head, "choices": [{"index": 0, "delta": {}, **choice}]},
    ]  # fmt: skip


def flash(usage: Body, *parts: Body) -> tuple[Body, list[Body]]:
    """The same of Gemini's."""
    candidate = {"content": {"role": "model", "parts": list(parts) or [{"text": "Hi"}]}, "finishReason": "STOP"}
    counted = {"promptTokenCount": 9, "candidatesTokenCount": 7, "totalTokenCount": 16, **usage}
    whole = {"candidates": [candidate], "responseId": "r", "usageMetadata": counted}
    return whole, [whole]


def written(protocol: str, both: tuple[Body, list[Body]], caller: str, streamed: bool) -> tuple[str, list[str]]:
    """(what the caller gets, what is named as lost)"""
    lost: list[str] = []
    if not streamed:
        return json.dumps(wire(caller).write_answer(wire(protocol).read_answer(both[0]), REQUEST, lost)), lost
    reader, writer = wire(protocol).StreamReader(), wire(caller).StreamWriter(REQUEST, lost=lost)
    events = [found for each in both[1] for found in reader.feed(Event(each.get("type", "message"), json.dumps(each)))]
    events += reader.close() if protocol != "openai" else reader.feed(Event("message", "[DONE]"))
    return b"".join(map(writer.feed, events)).decode(), lost


def every(*callers: str) -> Callable[..., Any]:
    return pytest.mark.parametrize(
        ("caller", "streamed"), [(each, way) for each in callers or CALLERS for way in (False, True)]
    )


NAMED = {"openai": (), "gemini": ("stop_sequence", "pause_turn", "zzunknown", "model_context_window_exceeded"),
         "responses": ("stop_sequence", "pause_turn", "zzunknown", "model_context_window_exceeded"),
         "ollama": ("stop_sequence", "pause_turn", "zzunknown", "model_context_window_exceeded", "refusal"),
         "completions": ("stop_sequence", "pause_turn", "zzunknown", "model_context_window_exceeded")}  # fmt: skip


@pytest.mark.parametrize("word", ["end_turn", "max_tokens", "stop_sequence", "pause_turn", "refusal", "zzunknown",
                                  "model_context_window_exceeded"])  # fmt: skip
@every("openai", "gemini", "responses", "ollama", "completions")
def test_why_an_answer_ended_is_said_or_named(word: str, caller: str, streamed: bool) -> None:
    stop = {"stop_reason": word, "stop_sequence": "###" if word == "stop_sequence" else None}
    out, lost = written("anthropic", claude(stop), caller, streamed)
    assert (f"stop_reason={word}" in lost) == (word in NAMED[caller] or (word == "refusal" and caller == "gemini")), lost
    assert caller != "openai" or f'"native_finish_reason":"{word}"' in out.replace('": ', '":')


REFUSED = {"stop_reason": "refusal", "stop_details": {"type": "refusal", "category": "bio", "explanation": "Not this."}}


@every("openai", "gemini", "responses", "ollama", "completions")
def test_what_a_vendor_says_of_a_refusal_is_carried_or_named(caller: str, streamed: bool) -> None:
    out, lost = written("anthropic", claude(REFUSED), caller, streamed)
    assert "stop_details.category" in lost
    assert ("Not this." in out) != ("stop_details.explanation" in lost)
    assert "Not this." in out or caller not in ("openai", "gemini")


@pytest.mark.parametrize("name", ["stop_reason", "matched_stop"])
@every("openai", "anthropic")
def test_the_stop_sequence_that_a_server_met_reaches_the_caller(name: str, caller: str, streamed: bool) -> None:
    out, _ = written("openai", chat({"finish_reason": "stop", name: "###"}), caller, streamed)
    assert "###" in out
    assert "151645" not in written("openai", chat({"finish_reason": "stop", name: 151645}), caller, streamed)[0]


AUDIO = {"prompt_tokens": 9, "completion_tokens": 7, "prompt_tokens_details": {"audio_tokens": 3, "cached_tokens": 1},
         "completion_tokens_details": {"audio_tokens": 0, "rejected_prediction_tokens": 2, "text_tokens": 5}}  # fmt: skip


@every("anthropic", "gemini", "responses", "ollama", "completions")
def test_counts_of_tokens_that_others_do_not_have_are_named(caller: str, streamed: bool) -> None:
    _, lost = written("openai", chat({"finish_reason": "stop"}, usage=AUDIO), caller, streamed)
    found = {name for name in lost if name.startswith("usage.")} - {"usage.cache_read"}
    assert found == {"usage.prompt_tokens_details.audio_tokens", "usage.completion_tokens_details.rejected_prediction_tokens"}


@every("openai", "anthropic", "responses", "ollama", "completions")
def test_tokens_of_geminis_that_are_no_text_are_named(caller: str, streamed: bool) -> None:
    details = [{"modality": "TEXT", "tokenCount": 4}, {"modality": "AUDIO", "tokenCount": 5}, {"modality": "IMAGE"},
               {"modality": ["zzunknown"], "tokenCount": 1}, "zzunknown"]  # fmt: skip
    usage = {"promptTokensDetails": details, "trafficType": "PROVISIONED_THROUGHPUT", "zzunknown": 1}
    _, lost = written("gemini", flash(usage), caller, streamed)
    named = {"usage.promptTokensDetails=AUDIO", "usage.promptTokensDetails", "usage.trafficType", "usage.zzunknown"}
    assert set(lost) == named
    usual = {"promptTokensDetails": details[:1], "trafficType": "ON_DEMAND"}
    assert written("gemini", flash(usual), caller, streamed)[1] == []


HOUR = {"cache_creation_input_tokens": 5, "cache_creation": {"ephemeral_1h_input_tokens": 3, "ephemeral_5m_input_tokens": 2},
        "server_tool_use": {"web_search_requests": 2}, "inference_geo": "us", "service_tier": "batch"}  # fmt: skip


@every("openai", "gemini", "responses", "ollama", "completions")
def test_what_anthropic_counts_and_others_do_not_is_named(caller: str, streamed: bool) -> None:
    _, lost = written("anthropic", claude({"stop_reason": "end_turn"}, HOUR), caller, streamed)
    written_ = {"usage.cache_write"} if caller in ("gemini", "ollama", "completions") else set()
    assert set(lost) == written_ | {
        "usage.cache_write_1h",
        "usage.server_tool_use",
        "usage.inference_geo",
        "service_tier=batch",
    }
    quiet = {"server_tool_use": {"web_search_requests": 0}, "inference_geo": "global", "speed": "standard",
             "service_tier": "standard"}  # fmt: skip
    assert written("anthropic", claude({"stop_reason": "end_turn"}, quiet), caller, streamed)[1] == []


def test_counts_are_named_behind_all_else() -> None:
    assert rank_losses(["usage.cost", "top_k", "image.url"]) == ["image.url", "top_k", "usage.cost"]


@every("openai", "anthropic", "responses", "ollama", "completions")
def test_a_signature_beside_the_words_that_it_signs_is_carried_or_named(caller: str, streamed: bool) -> None:
    out, lost = written("gemini", flash({}, {"text": "Hi", "thoughtSignature": "c2ln"}), caller, streamed)
    assert ("c2ln" in out) != ("signature" in lost)
    assert caller != "openai" or "c2ln" in out


@every("gemini", "ollama")
def test_a_signature_of_a_thought_that_the_caller_cannot_bring_back_is_named(caller: str, streamed: bool) -> None:
    whole, events = claude({"stop_reason": "end_turn"})
    thought = {"type": "thinking", "thinking": "Hm", "signature": "c2ln"}
    begun = {"type": "content_block_start", "index": 0, "content_block": thought}
    rest = [{**each, "index": 1} if "index" in each else each for each in events[1:]]
    both = {**whole, "content": [thought, *whole["content"]]}, [events[0], begun, *rest]
    assert written("anthropic", both, caller, streamed)[1] == ["thinking.signature"]


@every("anthropic", "gemini", "responses", "ollama", "completions")
def test_verdicts_of_a_filter_are_named(caller: str, streamed: bool) -> None:
    found = {"hate": {"filtered": False, "severity": "safe"}}
    both = chat({"finish_reason": "stop", "content_filter_results": found}, prompt_filter_results=[found])
    assert {"content_filter_results", "prompt_filter_results"} <= set(written("openai", both, caller, streamed)[1])


@pytest.mark.parametrize(("media_type", "stated"), [("image/jpeg", '"output_format":"jpeg"'), ("image/png", "")])
def test_the_kind_of_a_picture_reaches_callers_of_responses(media_type: str, stated: str) -> None:
    part = {"inlineData": {"mimeType": media_type, "data": "AAAA"}}
    for streamed in (False, True):
        out = written("gemini", flash({}, part), "responses", streamed)[0].replace('": ', '":')
        assert stated in out and (stated or "output_format" not in out)


CALL = {"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@every("anthropic", "gemini", "responses", "ollama", "completions")
def test_an_unknown_word_beside_a_call_is_named(caller: str, streamed: bool) -> None:
    whole, events = chat({"finish_reason": "zzunknown"})
    whole["choices"][0]["message"] = {"content": None, "tool_calls": [CALL]}
    events[0] = {**events[0], "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, **CALL}]}}]}
    assert "stop_reason=zzunknown" in written("openai", (whole, events), caller, streamed)[1]


@every("openai")
def test_a_word_that_reaches_the_caller_as_it_came_is_not_named(caller: str, streamed: bool) -> None:
    whole, events = claude({"stop_reason": "zzunknown"})
    block = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    both = {**whole, "content": [block]}, [events[0], {"type": "content_block_start", "index": 0, "content_block": block},
                                            *events[2:]]  # fmt: skip
    out, lost = written("anthropic", both, caller, streamed)
    assert '"native_finish_reason":"zzunknown"' in out.replace('": ', '":') and lost == []


@pytest.mark.parametrize(("protocol", "events"), [
    ("openai", [{"id": "c", "service_tier": "auto", "choices": [{"index": 0, "delta": {"content": "Hi"}}]},
                {"id": "c", "service_tier": "flex", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}]),
    ("responses", [{"type": "response.created", "response": {"id": "resp_1", "service_tier": "auto"}},
                   {"type": "response.completed", "response": {"id": "resp_1", "service_tier": "flex", "output": []}}]),
])  # fmt: skip
@pytest.mark.parametrize("last", ["flex", "default"])
def test_a_tier_that_a_stream_states_at_its_end_is_named(protocol: str, events: list[Body], last: str) -> None:
    made = json.loads(json.dumps(events).replace('"flex"', f'"{last}"'))
    lost = written(protocol, ({}, made), "anthropic", True)[1]
    assert [name for name in lost if "tier" in name] == ([f"service_tier={last}"] if last == "flex" else [])


@pytest.mark.parametrize("caller", ["openai", "ollama"])
@pytest.mark.parametrize("streamed", [True, False])
def test_words_behind_a_call_are_named_where_texts_and_calls_are_apart(caller: str, streamed: bool) -> None:
    """A stream keeps their order."""
    call = {"functionCall": {"name": "f", "args": {}}}
    assert written("gemini", flash({}, {"text": "a"}, call), caller, streamed)[1] == []
    lost = written("gemini", flash({}, call, {"text": "a"}), caller, streamed)[1]
    assert lost == ([] if streamed else ["message.order"])
