"""What OpenAI's own SDK makes of our streams and answers: its accumulator, its types. Skipped where it is not installed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from responding import answer, events_in, read, streamed

from llm_router_gateway.errors import RateLimited
from llm_router_gateway.wire import ir
from llm_router_gateway.wire.anthropic import codec as anthropic
from llm_router_gateway.wire.ir import Media, Refusal, Text, Thinking, ToolCall
from llm_router_gateway.wire.responses import codec as responses

openai = pytest.importorskip("openai", reason="the SDK is not installed: pip install openai")
pytest.importorskip("pydantic", reason="comes with the SDK")

TOOLS = [{"type": "function", "name": "f"}, {"type": "custom", "name": "c"},
         {"type": "namespace", "name": "ns", "description": "d", "tools": [{"type": "function", "name": "g"}]}]  # fmt: skip
ANSWERS: dict[str, ir.Answer] = {
    "text": answer(Text("Hel"), Text("lo"), usage=ir.Usage(5, 3, 1, text=6, reasoning=2)),
    "thoughts": answer(Thinking("Hm", "sig", "anthropic"), Thinking("plain"), Text("a", "c2ln", "gemini")),
    "calls": answer(ToolCall("t1", "f", '{"a":1}', {"a": 1}), ToolCall("t2", "ns__g", "", {}), ToolCall("t3", "c",
    '{"input":"x"}'),
                    reason="tool_calls"),
    "refusal": answer(Text("Well."), Refusal("No."), reason="refusal"),
    "picture": answer(Media("image", "image/png", "AA=="), Text("see")),
    "annotations": answer(Text("abc"), extras={"openai": {"annotations": [
        {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 1}}]}}),
    "nothing": answer(),
}  # fmt: skip


@contextmanager
def client(body: bytes, content_type: str) -> Iterator[Any]:
    """The SDK, answered from memory by whichever HTTP library it stands on."""

    http = pytest.importorskip("httpx", reason="the HTTP library is not installed: pip install httpx")

    def answered(request: Any) -> Any:
        return http.Response(200, headers={"content-type": content_type}, content=body)

    with http.Client(transport=http.MockTransport(answered)) as inner:
        yield openai.OpenAI(api_key="k", base_url="http://127.0.0.1/v1", http_client=inner, max_retries=0)


@pytest.mark.parametrize("name", ANSWERS)
def test_every_event_is_one_of_the_sdks(name: str) -> None:
    from openai.types.responses import ResponseStreamEvent
    from pydantic import TypeAdapter

    adapter: Any = TypeAdapter(ResponseStreamEvent)
    for event in events_in(streamed(ANSWERS[name], read("hi", tools=TOOLS))):
        adapter.validate_python(event)


@pytest.mark.parametrize("name", ANSWERS)
def test_a_plain_answer_is_the_sdks_response(name: str) -> None:
    from openai.types.responses import Response

    Response.model_validate(responses.write_answer(ANSWERS[name], read("hi", tools=TOOLS), []))


@pytest.mark.parametrize("name", ANSWERS)
def test_the_sdks_accumulator_makes_the_same_of_the_events(name: str) -> None:
    request = read("hi", tools=TOOLS)
    with (
        client(streamed(ANSWERS[name], request), "text/event-stream") as sdk,
        sdk.responses.stream(model="m", input="hi") as stream,
    ):
        snapshots = list(stream)
        final = stream.get_final_response()
    expected = json.loads(json.dumps(responses.write_answer(ANSWERS[name], request, [])))
    got = final.to_dict()
    assert [item["id"] for item in got["output"]] == [item["id"] for item in expected["output"]] and snapshots
    text = "".join(
        part["text"] for item in expected["output"] for part in item.get("content", ()) if part["type"] == "output_text"
    )
    assert final.output_text == text and final.usage == (None if expected["usage"] is None else final.usage)


def test_a_broken_stream_raises_in_the_sdk() -> None:
    writer = responses.StreamWriter(read())
    data = b"".join(map(writer.feed, ir.events_of(ANSWERS["text"])[:4])) + writer.failure(RateLimited("Slow down."))
    with client(data, "text/event-stream") as sdk, pytest.raises(openai.APIError, match=r"Slow down\."):
        for _ in sdk.responses.create(model="m", input="hi", stream=True):
            pass


CORPUS = Path(__file__).resolve().parents[3] / "corpus" / "wire" / "anthropic"


def corpus(kind: str) -> list[Path]:
    found = [path for path in sorted(CORPUS.glob(f"{kind}-*")) if path.suffix != ".json"]
    assert found
    return found


@pytest.mark.parametrize("path", corpus("request"), ids=lambda path: path.name)
def test_a_request_for_an_upstream_has_the_sdks_types(path: Path) -> None:
    """Servers that check their input (vLLM) do it with these types."""
    from openai.types.responses import response_create_params as params
    from pydantic import TypeAdapter

    request = anthropic.read_request(json.loads(path.read_bytes()), model="m")
    body = json.loads(json.dumps(responses.write_request(request, model="gpt-5.5", quirks={}, lost=[])))
    kind: Any = params.ResponseCreateParamsStreaming if body.get("stream") else params.ResponseCreateParamsNonStreaming
    TypeAdapter(kind).validate_python(body)


@pytest.mark.parametrize("path", corpus("answer"), ids=lambda path: path.name)
def test_any_answer_is_the_sdks_response(path: Path) -> None:
    from openai.types.responses import Response

    given = anthropic.read_answer(json.loads(path.read_bytes()))
    Response.model_validate(responses.write_answer(given, read("hi", tools=TOOLS), []))
