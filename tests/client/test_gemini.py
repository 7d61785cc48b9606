"""Gemini's native format: how its answers and streams are read, and generate_content()."""

from __future__ import annotations

from typing import Any, Dict

import pytest

import llm_router_client as c


def client(server: Any) -> c.LLMRouterClient:
    return c.LLMRouterClient(base_url=server.base_url)


def gemini(*parts: Any, finish: str = "", **more: Any) -> Dict[str, Any]:
    candidate = {"content": {"role": "model", "parts": list(parts)}, **({"finishReason": finish} if finish else {})}
    return {"candidates": [candidate], "modelVersion": "g", "responseId": "r", **more}


def test_gemini_chunks_become_one_answer_in_gemini_s_shape() -> None:
    reader = c.Reader(gemini=True)
    events = (
        reader.take(gemini({"text": "th", "thought": True}))
        + reader.take(gemini({"text": "Hel"}))
        + reader.take(gemini({"text": "lo"}))
    )
    events += reader.take(
        gemini({"functionCall": {"name": "f", "args": {"a": 1}}}, finish="STOP", usageMetadata={"totalTokenCount": 9})
    )
    assert [event["type"] for event in events] == ["reasoning", "text", "text", "tool_call", "finish"]
    answer = c.Answer(reader, "g")
    parts = [{"text": "th", "thought": True}, {"text": "Hello"}, {"functionCall": {"name": "f", "args": {"a": 1}}}]
    assert answer["candidates"] == [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}]
    assert (answer.text, answer.reasoning, answer.finish_reason, answer.tokens, answer.request_id) == (
        "Hello",
        "th",
        "stop",
        9,
        "r",
    )
    assert answer.tool_calls == [{"id": "call_0", "name": "f", "arguments": '{"a": 1}', "parsed": {"a": 1}}]


@pytest.mark.parametrize(
    "finish,reason", [("STOP", "stop"), ("MAX_TOKENS", "length"), ("SAFETY", "content_filter"), ("NEW_ONE", "new_one")]
)
def test_gemini_finish_reasons(finish: str, reason: str) -> None:
    reader = c.Reader(gemini=True)
    reader.take(gemini({"text": "x"}, finish=finish))
    assert reader.finish == reason


def test_a_prompt_that_gemini_blocks_is_filtered_and_an_answer_it_breaks_is_an_error() -> None:
    reader = c.Reader(gemini=True)
    reader.take({"promptFeedback": {"blockReason": "SAFETY"}})
    with pytest.raises(c.ContentFilterError):
        c.judge(reader, False)
    broken = c.Reader(gemini=True)
    broken.take(gemini(finish="MALFORMED_FUNCTION_CALL"))
    with pytest.raises(c.IncompleteError, match="malformed_function_call") as caught:
        c.judge(broken, False)
    assert caught.value.retryable  # nothing of it was handed over


@pytest.mark.parametrize("version,streamed", [("v1beta", False), ("v1beta", True), ("v1", False)])
def test_gemini_s_native_format(demo: Any, version: str, streamed: bool) -> None:
    config = {"maxOutputTokens": 50}
    answer = client(demo).generate_content("demo", "Hello", generation_config=config, stream=streamed, api_version=version)
    if streamed:
        assert "You said: Hello" in "".join(answer)
        answer = answer.response
    assert answer["candidates"][0]["content"]["parts"][0]["text"] == answer.text
    assert (answer.finish_reason, answer.complete, bool(answer.tokens)) == ("stop", True, True)
    request = demo.requests[0]
    method = "streamGenerateContent?alt=sse" if streamed else "generateContent"
    assert request["path"] == f"/{version}/models/demo:{method}" and request["body"]["generationConfig"] == config
    assert "model" not in request["body"] and "stream" not in request["body"]


def test_gemini_s_failures_and_fallback(demo: Any) -> None:
    assert (
        client(demo).generate_content("fail-402", [{"role": "user", "parts": [{"text": "Hi"}]}], fallback="demo").model_used
        == "demo"
    )


@pytest.mark.parametrize("contents", [None, 5, "", " \n", [], (), {"role": "user"}, ["Hi"], [{"parts": []}, None], iter(())])
def test_what_gemini_s_format_cannot_contain_is_refused_before_it_is_sent(demo: Any, contents: Any) -> None:
    with pytest.raises(c.UsageError, match="contents must be a text, or a list like"):
        client(demo).generate_content("demo", contents)
    assert not demo.requests


def test_an_unknown_version_or_name_is_refused_before_it_is_sent(demo: Any) -> None:
    for wrong, said in (({"api_version": "v2"}, "api_version must be"), ({"model": "a/../b"}, "not a model name")):
        with pytest.raises(c.UsageError, match=said):
            client(demo).generate_content(**{"model": "demo", "contents": "Hi", **wrong})
    assert not demo.requests
