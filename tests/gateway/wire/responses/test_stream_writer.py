"""ir -> the events of a Responses stream and the response that they make: each thing is said wherever some client reads it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from responding import SEAL, answer, events_in, output_of, read, streamed, told_by

from llm_router_gateway.errors import BadRequest, GatewayError, NoCredit, Overloaded, RateLimited, StreamCut, UpstreamFailed
from llm_router_gateway.wire import ir
from llm_router_gateway.wire.gemini import codec as gemini
from llm_router_gateway.wire.ir import Media, Opaque, Refusal, Text, Thinking, ToolCall
from llm_router_gateway.wire.responses import codec as responses

USAGE = ir.Usage(5, 3, 1, text=6, reasoning=2)
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "name": "f"}, {"type": "custom", "name": "c"},
    {"type": "namespace", "name": "ns", "tools": [{"type": "function", "name": "g"}]},
]  # fmt: skip
FULL = answer(
    Thinking("Hm", "sig", "anthropic"), Text("Hel"), Text("lo"), ToolCall("t1", "f", '{"a":1}', {"a": 1}),
    ToolCall("t2", "ns__g", "", {}), ToolCall("t3", "c", "free", None, True), reason="tool_calls", usage=USAGE,
)  # fmt: skip


def caller(**fields: Any) -> ir.Request:
    return read("hi", tools=TOOLS, **fields)


def kinds(data: bytes) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events_in(data)]


# ------------------------------------------------------------------------------------------------------------- the sequence


def test_the_whole_sequence() -> None:
    """No client can do without all of it, though each does without some."""
    assert kinds(streamed(FULL, caller())) == [
        "created", "in_progress",
        "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta", "reasoning_summary_text.done",
        "reasoning_summary_part.done", "output_item.done",
        "output_item.added", "content_part.added", "output_text.delta", "output_text.delta", "output_text.done",
        "content_part.done", "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done",
        "output_item.added", "custom_tool_call_input.delta", "custom_tool_call_input.done", "output_item.done",
        "completed",
    ]  # fmt: skip


def test_each_thing_is_whole_wherever_it_is_said() -> None:
    events = events_in(streamed(FULL, caller()))
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert events[-1]["response"]["output"] == done
    assert [item["type"] for item in done] == ["reasoning", "message", "function_call", "function_call", "custom_tool_call"]
    text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    assert text == "Hello" == done[1]["content"][0]["text"]
    arguments = [event["arguments"] for event in events if event["type"] == "response.function_call_arguments.done"]
    assert arguments == ['{"a":1}', "{}"] == [item["arguments"] for item in done[2:4]]
    assert done[4]["input"] == "free"


def test_an_item_has_one_id_and_one_place_in_all_its_events() -> None:
    events = events_in(streamed(FULL, caller()))
    output = events[-1]["response"]["output"]
    assert len({item["id"] for item in output}) == len(output)
    for event in events:
        if "output_index" in event:
            assert output[event["output_index"]]["id"] == event.get("item_id", event.get("item", {}).get("id"))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


@pytest.mark.parametrize("event", [0, 1, -1])
def test_a_response_has_what_clients_cannot_do_without(event: int) -> None:
    found = events_in(streamed(FULL, caller(metadata={"a": "b"}, instructions="i")))[event]["response"]
    assert found["id"] == "resp_abc" and found["object"] == "response" and found["created_at"] == 1_700_000_000
    assert found["model"] == "m-1" and found["status"] == ("completed" if event == -1 else "in_progress")
    assert found["tools"] == TOOLS and found["metadata"] == {"a": "b"} and found["instructions"] == "i"
    assert found["error"] is None and found["incomplete_details"] is None and isinstance(found["parallel_tool_calls"], bool)


def test_usage_is_whole_or_not_there() -> None:
    assert events_in(streamed(FULL, caller()))[-1]["response"]["usage"] == {
        "input_tokens": 9, "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 1},
        "output_tokens": 8, "output_tokens_details": {"reasoning_tokens": 2}, "total_tokens": 17,
    }  # fmt: skip
    assert events_in(streamed(answer(Text("a"))))[-1]["response"]["usage"] is None


def test_a_plain_answer_is_the_streams_last_response() -> None:
    body = responses.write_answer(FULL, caller(), [])
    assert json.loads(json.dumps(body)) == events_in(streamed(FULL, caller()))[-1]["response"]


@pytest.mark.parametrize("text", ['"\\\n\u2028', "caf\u00e9 \U0001f600", "\ud800", "\x00"])
def test_any_text_arrives(text: str) -> None:
    data = streamed(answer(Text(text), ToolCall("t", "f", json.dumps({"a": text}), {"a": text})), caller())
    said = "".join(event.text for event in told_by(data) if isinstance(event, ir.PartDelta))
    assert said == text + json.dumps({"a": text})


def test_an_empty_text_makes_no_message() -> None:
    assert output_of(answer(Text(""), Thinking(""), ToolCall("t", "f"))) == output_of(answer(ToolCall("t", "f")))
    assert output_of(answer()) == []


# ----------------------------------------------------------------------------------------------------------------- thoughts


def test_what_another_vendor_signed_comes_back_to_the_letter() -> None:
    parts = (Thinking("Hm\n", "sig+/=", "anthropic"), Thinking("", "", "anthropic", "d"), Text("a"))
    output = output_of(answer(*parts), caller())
    assert [item["type"] for item in output] == ["reasoning", "reasoning", "message"]
    assert output[0]["summary"] == [{"type": "summary_text", "text": "Hm\n"}] and output[1]["summary"] == []
    assert read(output).messages[0].parts == parts


def test_a_signed_text_of_geminis_comes_back_beside_it() -> None:
    output = output_of(answer(Text("a", "c2ln", "gemini")), caller())
    found = read([{"role": "user", "content": "q"}, *output, {"role": "user", "content": "more"}])
    assert found.messages[1].parts == (Text("a"), Text("", "c2ln", "gemini"))
    body = gemini.write_request(found, model="gemini-3-pro", quirks={}, lost=[])
    assert {"text": "", "thoughtSignature": "c2ln"} in body["contents"][1]["parts"]


def test_a_signed_call_of_geminis_carries_it_in_its_id() -> None:
    call = ToolCall("x", "f", "{}", {}, signature="c2ln", vendor="gemini")
    output = output_of(answer(call), caller())
    assert output[0]["call_id"] == "x__gemini_c2ln" and read(output).messages[0].parts == (call,)


def test_openais_own_thought_through_another_server_stays_whole() -> None:
    parts = (Thinking("a", vendor="openai"), Thinking("b", vendor="openai"), Thinking("", "", "openai", "enc"), Text("t"))
    item = output_of(answer(*parts), caller())[0]
    assert [each["text"] for each in item["summary"]] == ["a", "b"] and item["encrypted_content"] == "enc"


def test_plain_thoughts_have_nothing_to_bring_back() -> None:
    item = output_of(answer(Thinking("Hm"), Text("a")), caller())[0]
    assert item["summary"] == [{"type": "summary_text", "text": "Hm"}] and "encrypted_content" not in item


def test_without_a_seal_a_signature_is_named_lost() -> None:
    lost: list[str] = []
    output = output_of(answer(Thinking("Hm", "s", "anthropic"), Text("a", "c2ln", "gemini")), read("hi", seal=None), lost)
    assert [item["type"] for item in output] == ["reasoning", "message"] and lost == ["thinking.signature", "signature"]


# -------------------------------------------------------------------------------------------------------------------- calls


def test_a_namespaced_call_has_its_two_names_apart() -> None:
    item = output_of(FULL, caller())[3]
    assert (item["namespace"], item["name"]) == ("ns", "g")
    assert "namespace" not in output_of(FULL, caller())[2]


def test_a_name_that_was_made_fit_comes_back() -> None:
    from llm_router_gateway.wire.names import safe_name

    request = read("hi", tools=[{"type": "namespace", "name": "my.ns", "tools": [{"type": "function", "name": "g.h"}]}])
    item = output_of(answer(ToolCall("t", safe_name("my.ns__g.h"), "{}", {})), request)[0]
    assert (item["namespace"], item["name"]) == ("my.ns", "g.h")


@pytest.mark.parametrize(
    ("given", "expected"), [('{"input":"a\\nb"}', "a\nb"), ('{"x":1}', '{"x":1}'), ("free", "free"), ("", "")]
)
def test_a_custom_tool_gets_its_text_from_a_vendor_that_has_objects_only(given: str, expected: str) -> None:
    data = streamed(answer(ToolCall("t", "c", given, ir.object_in(given))), caller())
    events = events_in(data)
    assert events[-1]["response"]["output"][0]["input"] == expected
    assert [event["delta"] for event in events if event["type"].endswith("input.delta")] == [expected]


# ------------------------------------------------------------------------------------------------------------ what else comes


def test_a_picture_is_an_item() -> None:
    item = output_of(answer(Media("image", "image/png", "AA==")))[0]
    assert item["type"] == "image_generation_call" and item["result"] == "AA==" and item["status"] == "completed"


def test_the_webs_search_of_anthropic_is_openais() -> None:
    use = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}}
    cited = {
        "anthropic": {
            "citations": [{"type": "web_search_result_location", "url": "https://h", "title": "T", "cited_text": "x"}]
        }
    }
    lost: list[str] = []
    output = output_of(answer(Opaque("anthropic", "server_tool_use", use), Text("See "), Text("this", extras=cited)), lost=lost)
    assert output[0]["type"] == "web_search_call" and output[0]["action"]["query"] == "q"
    note = {"type": "url_citation", "url": "https://h", "title": "T", "start_index": 4, "end_index": 8}
    assert (
        output[1]["content"] == [{"type": "output_text", "annotations": [note], "logprobs": [], "text": "See this"}]
        and lost == ["citations.cited_text"]  # OpenAI's have no place for a page's words
    )


def test_annotations_and_logprobs_of_chat_belong_to_the_text() -> None:
    note = {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 1}}
    probs = [{"token": "a", "bytes": [97], "logprob": -0.1, "top_logprobs": []}]
    extras = {"openai": {"annotations": [note], "logprobs": {"content": probs}}}
    events = events_in(streamed(answer(Text("a"), extras=extras)))
    part = events[-1]["response"]["output"][0]["content"][0]
    assert part["annotations"] == [{"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 1}]
    assert part["logprobs"] == probs
    assert [event["annotation_index"] for event in events if event["type"].endswith("annotation.added")] == [0]


@pytest.mark.parametrize(("part", "name"), [
    (Media("audio", "audio/wav", "AA=="), "audio"), (Opaque("gemini", "executableCode", {}), "executableCode"),
    (Media("image", url="https://h"), "image"),
])  # fmt: skip
def test_what_has_no_place_is_named(part: ir.Part, name: str) -> None:
    lost: list[str] = []
    assert output_of(answer(part), lost=lost) == [] and lost == [name]


def test_a_second_candidate_is_named() -> None:
    lost: list[str] = []
    one = ir.Candidate((Text("a"),), ir.Stop("end"))
    assert len(output_of(ir.Answer("a", "m", (one, one)), lost=lost)) == 1 and lost == ["n"]


# --------------------------------------------------------------------------------------------------------------------- ends


@pytest.mark.parametrize(("stop", "event", "details"), [
    (ir.Stop("end"), "completed", None), (ir.Stop("stop_sequence", "stop"), "completed", None),
    (ir.Stop("length", "max_tokens"), "incomplete", {"reason": "max_output_tokens"}),
    (ir.Stop("context"), "incomplete", {"reason": "max_output_tokens"}),
    (ir.Stop("refusal", "content_filter"), "incomplete", {"reason": "content_filter"}),
])  # fmt: skip
def test_length_and_filter_are_incomplete(stop: ir.Stop, event: str, details: Any) -> None:
    given = ir.Answer("a", "m", (ir.Candidate((Text("a"),), stop),))
    last = events_in(streamed(given))[-1]
    assert last["type"] == f"response.{event}" and last["response"]["status"] == event
    assert last["response"]["incomplete_details"] == details
    assert last["response"]["output"][0]["status"] == ("incomplete" if stop.reason in ("length", "context") else "completed")


def test_a_filter_that_let_nothing_through_says_why() -> None:
    given = ir.Answer("a", "m", (ir.Candidate((), ir.Stop("refusal", "SAFETY")),))
    last = events_in(streamed(given))[-1]["response"]
    assert last["output"][0]["content"] == [{"type": "refusal", "refusal": "The upstream ended the answer: SAFETY"}]


def test_what_the_model_refuses_itself_is_a_whole_answer() -> None:
    events = events_in(streamed(answer(Text("Well. "), Refusal("No."), reason="refusal")))
    last = events[-1]
    assert last["type"] == "response.completed"
    assert [part["type"] for part in last["response"]["output"][0]["content"]] == ["output_text", "refusal"]
    assert [event["content_index"] for event in events if "refusal" in event["type"]] == [1, 1]


@pytest.mark.parametrize(("error", "code", "words"), [
    (StreamCut("cut"), "server_error", "cut"), (Overloaded("busy"), "server_error", "busy"),
    (RateLimited("Slow down.", retry_after_s=1.5), "rate_limit_exceeded", "Slow down. Please try again in 1.5s."),
    (RateLimited("Please try again in 2s."), "rate_limit_exceeded", "Please try again in 2s."),
    (NoCredit("empty", code="no_credit"), "insufficient_quota", "empty"),
    (BadRequest("too long", code="context_length_exceeded"), "context_length_exceeded", "too long"),
    (BadRequest("bad"), "invalid_prompt", "bad"),
])  # fmt: skip
def test_a_broken_stream_ends_in_both_events(error: GatewayError, code: str, words: str) -> None:
    writer = responses.StreamWriter(caller())
    data = b"".join(map(writer.feed, ir.events_of(FULL)[:12]))
    before = len(events_in(data))
    failed, nested = events_in(writer.failure(error))
    assert failed["type"] == "response.failed" and failed["response"]["status"] == "failed"
    assert failed["response"]["error"] == {"code": code, "message": words}
    assert failed["response"]["id"] == "resp_abc" and failed["response"]["output"][0]["type"] == "reasoning"
    assert nested["type"] == "error" and nested["error"]["message"] == error.message and nested["error"]["type"]
    assert [failed["sequence_number"], nested["sequence_number"]] == [before, before + 1]
    assert isinstance(told_by(data + writer.failure(error))[-1], ir.Failed)


def test_a_stream_that_never_began_ends_in_both_events_too() -> None:
    for data in (responses.StreamWriter(read()).failure(StreamCut("cut")), responses.error_event(StreamCut("cut"), "req-1")):
        failed, nested = events_in(data)
        assert failed["response"]["id"].startswith("resp_") and failed["response"]["output"] == [] and nested["error"]


# --------------------------------------------------------------------------------------------------------------- compaction


def test_a_compaction_is_one_sealed_item_that_unfolds() -> None:
    items = [{"role": "user", "content": "Build it."}, {"role": "assistant", "content": "Done."}]
    request = read([*items, {"type": "compaction_trigger"}], tools=TOOLS)
    assert request.reply.compaction and request.tool_choice == ir.ToolChoice("none")
    assert len(request.messages) == 3 and request.messages[-1].role == "user"
    data = streamed(answer(Thinking("Hm"), Text("It was "), Text("built."), usage=USAGE), request)
    assert kinds(data) == ["created", "in_progress", "output_item.added", "output_item.done", "completed"]
    (item,) = events_in(data)[-1]["response"]["output"]
    assert item["type"] == "compaction" and item["id"] and events_in(data)[-1]["response"]["usage"]
    found = read([item, {"role": "user", "content": "Go on."}])
    told = found.messages[0].parts[0]
    assert isinstance(told, Text) and told.text.endswith("It was built.") and SEAL.open(item["encrypted_content"])


@pytest.mark.parametrize("parts", [(), (Text("  "),), (ToolCall("t", "f"),)])
def test_no_summary_is_no_compaction(parts: tuple[ir.Part, ...]) -> None:
    with pytest.raises(UpstreamFailed, match="no summary"):
        responses.write_answer(answer(*parts), read([{"type": "compaction_trigger"}]), [])


def test_a_compaction_needs_a_seal() -> None:
    with pytest.raises(BadRequest, match="store"):
        read([{"role": "user", "content": "a"}, {"type": "compaction_trigger"}], seal=None)


# --------------------------------------------------------------------------------------------------- searches of the web


def test_geminis_grounding_becomes_annotations_counted_in_characters() -> None:
    metadata = {
        "webSearchQueries": ["q"], "groundingChunks": [{"web": {"uri": "https://h", "title": "T"}}, {"web": None}],
        "groundingSupports": [
            {"segment": {"startIndex": 6, "endIndex": 9}, "groundingChunkIndices": [0, 1, 7]}, {"segment": None}],
    }  # fmt: skip
    lost: list[str] = []
    extras = {"gemini": {"groundingMetadata": metadata, "safetyRatings": []}}
    item = output_of(answer(Text("caf\u00e9 see"), extras=extras), lost=lost)[0]
    note = {"type": "url_citation", "url": "https://h", "title": "T", "start_index": 5, "end_index": 8}
    assert item["content"][0]["annotations"] == [note]
    assert lost == ["groundingMetadata.webSearchQueries", "safetyRatings"]


@pytest.mark.parametrize("metadata", [
    None, 5, {}, {"groundingSupports": 5}, {"groundingChunks": [5], "groundingSupports": [5]},
])  # fmt: skip
def test_grounding_that_says_nothing_is_named(metadata: Any) -> None:
    lost: list[str] = []
    item = output_of(answer(Text("a"), extras={"gemini": {"groundingMetadata": metadata}}), lost=lost)[0]
    assert item["content"][0]["annotations"] == [] and lost == ["groundingMetadata"]
