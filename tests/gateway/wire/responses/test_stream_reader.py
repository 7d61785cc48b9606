"""An upstream's Responses stream -> ir: each server leaves out something else, and interleaves, and breaks.

tests/corpus/wire/responses holds streams as servers send them, NAME.sse, beside what they say, NAME.sse.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from collected import answer_of
from responding import answer, sse, streamed, told_by

from llm_router_gateway.errors import BadRequest, GatewayError, RateLimited, StreamCut, UpstreamFailed
from llm_router_gateway.wire import ir
from llm_router_gateway.wire.anthropic import codec as anthropic
from llm_router_gateway.wire.gemini import codec as gemini
from llm_router_gateway.wire.ir import Refusal, Text, Thinking, ToolCall
from llm_router_gateway.wire.openai import codec as openai
from llm_router_gateway.wire.responses import codec as responses
from llm_router_gateway.wire.sse import SSEParser

CORPUS = Path(__file__).resolve().parents[3] / "corpus" / "wire" / "responses"


def said_by(*events: Mapping[str, Any]) -> ir.Answer:
    return answer_of(told_by(sse(*events)))


def parts_of(*events: Mapping[str, Any]) -> tuple[ir.Part, ...]:
    return said_by(*events).candidates[0].parts


def error_of(*events: Mapping[str, Any]) -> GatewayError:
    last = told_by(sse(*events))[-1]
    assert isinstance(last, ir.Failed)
    return last.error


# -------------------------------------------------------------------------------------------------------------- the corpus


def corpus() -> list[str]:
    names = sorted(path.name.removesuffix(".json") for path in CORPUS.glob("*.sse.json"))
    assert names and names == sorted(path.name for path in CORPUS.glob("*.sse")), f"each case is a pair in {CORPUS}"
    return names


def plain(value: Any) -> Any:
    """A value as JSON: the class, then what is not the default."""
    if is_dataclass(value) and not isinstance(value, type):
        told = {each.name: getattr(value, each.name) for each in fields(value)}
        return {"is": type(value).__name__} | {name: plain(each) for name, each in told.items() if each}
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    return {name: plain(each) for name, each in value.items()} if isinstance(value, Mapping) else value


def heard(*pieces: bytes) -> Any:
    events = told_by(*pieces)
    last = events[-1]
    if isinstance(last, ir.Failed):
        said = "".join(event.text for event in events if isinstance(event, ir.PartDelta))
        return {"failed": {"status": last.error.status, "message": last.error.message, "said": said}}
    return plain(answer_of(events))


@pytest.mark.parametrize("name", corpus())
def test_a_servers_stream_says_what_it_says_wherever_it_is_cut(name: str) -> None:
    data = (CORPUS / name).read_bytes()
    expected = json.loads((CORPUS / f"{name}.json").read_text(encoding="utf-8"))
    assert heard(data) == expected == heard(*(data[at : at + 1] for at in range(len(data))))
    for cut in range(0, len(data), max(1, len(data) // 200)):
        assert heard(data[:cut], data[cut:]) == expected, cut


@pytest.mark.parametrize("name", corpus())
def test_a_stream_without_its_end_is_no_answer(name: str) -> None:
    data = (CORPUS / name).read_bytes()
    end = max(data.rfind(b'"type":"response.completed"'), data.rfind(b'"type":"response.incomplete"'))
    for cut in range(0, end if end > 0 else len(data), max(1, len(data) // 50)):
        assert isinstance(told_by(data[:cut])[-1], ir.Failed), cut


@pytest.mark.parametrize("to", [openai, anthropic, gemini, responses])
@pytest.mark.parametrize("name", corpus())
def test_a_stream_says_the_same_to_every_caller(name: str, to: Any) -> None:
    events = told_by((CORPUS / name).read_bytes())
    if isinstance(events[-1], ir.Failed) or (to is gemini and name == "custom-tool.sse"):
        return  # a Gemini caller has no tools that take free text
    request = ir.Request("m", (), stream=True, include_usage=True, reasoning=ir.Reasoning(shown=True))
    writer, reader, parser = to.StreamWriter(request, lost=[]), to.StreamReader(), SSEParser()
    data = b"".join(map(writer.feed, events))
    again = [out for each in [*parser.feed(data), *parser.close()] for out in reader.feed(each)] + list(reader.close())
    one, other = (answer_of(each).candidates[0] for each in (events, again))
    kinds = {Text, ToolCall, Refusal} if to in (openai, responses) else {ToolCall}
    if one.stop.native == "content_filter":
        kinds.discard(Refusal)  # chat completions say in words why such an answer ends
    for kind in kinds:
        assert [(getattr(part, "text", ""), getattr(part, "arguments", "")) for part in other.parts if type(part) is kind] == [
            (getattr(part, "text", ""), getattr(part, "arguments", "")) for part in joined(one.parts, kind)
        ]


def joined(parts: tuple[ir.Part, ...], kind: type) -> list[ir.Part]:
    """Parts of a kind; texts in a row are one, as both of OpenAI's protocols tell them."""
    found = [part for part in parts if type(part) is kind]
    if kind is Text and found:
        return [Text("".join(part.text for part in found if isinstance(part, Text)))]
    return found


# -------------------------------------------------------------------------------------------------- what servers leave out

CREATED = {"type": "response.created", "response": {"id": "r", "model": "m", "created_at": 5, "status": "in_progress"}}
TEXT = {"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": '{"a":1}'}
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm"}]}
BARE = {**CALL, "arguments": ""}


def completed(*output: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "type": "response.completed",
        "response": {"id": "r", "model": "m", "status": "completed", "output": output, **more},
    }


def item(kind: str, given: Mapping[str, Any], index: int = 0) -> dict[str, Any]:
    return {"type": f"response.output_item.{kind}", "output_index": index, "item": given}


def delta(kind: str, said: str, id: str, index: int = 0, **more: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "item_id": id, "output_index": index, "delta": said, **more}


TEXT_DELTA = delta("output_text.delta", "Hello", "msg_1", content_index=0)
ARGUMENTS = delta("function_call_arguments.delta", '{"a":1}', "fc_1")
ARGUMENTS_DONE = {"type": "response.function_call_arguments.done", "item_id": "fc_1", "output_index": 0, "arguments": '{"a":1}'}


@pytest.mark.parametrize("events", [
    (CREATED, item("added", TEXT | {"content": []}), TEXT_DELTA, item("done", TEXT), completed(TEXT)),
    (CREATED, TEXT_DELTA, completed()),                       # deltas alone
    (CREATED, item("done", TEXT), completed()),               # the item alone
    (completed(TEXT),),                                       # the last event alone
    (CREATED, delta("output_text.delta", "Hel", "msg_1"), item("done", TEXT), completed(TEXT)),  # a delta is missing
    (CREATED, delta("output_text.delta", "Hel", "msg_1"),
     {"type": "response.output_text.done", "item_id": "msg_1", "output_index": 0, "text": "Hello"}, completed()),
    (CREATED, delta("output_text.delta", "Hello", "other"), item("done", TEXT), completed(TEXT)),  # ids that do not fit
    (CREATED, {"type": "response.output_text.delta", "delta": "Hello"}, completed()),            # without id and place
])  # fmt: skip
def test_a_text_comes_from_wherever_it_is_stated(events: tuple[Mapping[str, Any], ...]) -> None:
    assert parts_of(*events) == (Text("Hello"),)


@pytest.mark.parametrize("events", [
    (CREATED, item("added", BARE), ARGUMENTS, ARGUMENTS_DONE, item("done", CALL), completed(CALL)),
    (CREATED, item("added", BARE), ARGUMENTS_DONE, completed()),          # done alone, as some bridges send
    (CREATED, item("added", BARE), item("done", CALL), completed()),
    (CREATED, item("done", CALL), completed()),
    (CREATED, item("added", BARE), completed(CALL)),
    (completed(CALL),),
    (CREATED, item("added", BARE), delta("function_call_arguments.delta", '{"a"', "fc_1"), ARGUMENTS_DONE, completed()),
    (CREATED, {**ARGUMENTS_DONE, "name": "f"}, item("done", CALL), completed()),
])  # fmt: skip
def test_a_call_comes_from_wherever_it_is_stated(events: tuple[Mapping[str, Any], ...]) -> None:
    (call,) = parts_of(*events)
    assert isinstance(call, ToolCall) and (call.name, call.arguments_text, call.arguments) == ("f", '{"a":1}', {"a": 1})
    assert call.id in ("c1", "fc_1")


@pytest.mark.parametrize("events", [
    (CREATED, item("added", THOUGHT), delta("reasoning_summary_text.delta", "Hm", "rs_1", summary_index=0), completed()),
    (CREATED, delta("reasoning_text.delta", "Hm", "rs_1", content_index=0), item("done", THOUGHT), completed()),
    (CREATED, item("done", THOUGHT), completed(THOUGHT)),
])  # fmt: skip
def test_a_thought_comes_from_wherever_it_is_stated_and_once(events: tuple[Mapping[str, Any], ...]) -> None:
    assert parts_of(*events) == (Thinking("Hm"),)


def test_encrypted_thoughts_come_whole() -> None:
    given = {**THOUGHT, "encrypted_content": "e"}
    events = (CREATED, item("added", given), delta("reasoning_summary_text.delta", "H", "rs_1", summary_index=0),
              item("done", given), completed(given))  # fmt: skip
    assert parts_of(*events) == (Thinking("Hm"), Thinking("", "", "openai", "e", {"openai": {"id": "rs_1"}}))


def test_calls_that_grow_at_once_are_put_in_order() -> None:
    one, two = BARE, {**BARE, "id": "fc_2", "call_id": "c2", "name": "g"}
    found = parts_of(CREATED, item("added", one), item("added", two, 1), delta("function_call_arguments.delta", '{"a"', "fc_1"),
                     delta("function_call_arguments.delta", '{"b"', "fc_2", 1), delta("function_call_arguments.delta",
                     ":1}", "fc_1"),
                     delta("function_call_arguments.delta", ":2}", "fc_2", 1), completed())  # fmt: skip
    assert [(call.name, call.arguments) for call in found if isinstance(call, ToolCall)] == [("f", {"a": 1}), ("g", {"b": 2})]


def test_calls_under_one_id_get_their_own() -> None:
    one, two = CALL, {**CALL, "id": "fc_2", "name": "g"}
    found = parts_of(item("done", one), item("done", two, 1), completed(one, two))
    assert len({call.id for call in found if isinstance(call, ToolCall)}) == 2


def test_two_messages_stay_two_texts_and_a_refusal_comes_whole() -> None:
    other = {"type": "message", "id": "msg_2", "content": [{"type": "refusal", "refusal": "No."}]}
    refusal = [delta("refusal.delta", "N", "msg_2", 1), delta("refusal.delta", "o.", "msg_2", 1),
               {"type": "response.refusal.done", "item_id": "msg_2", "output_index": 1, "content_index": 0,
               "refusal": "No."}]  # fmt: skip
    found = said_by(CREATED, TEXT_DELTA, item("done", TEXT), item("added", other, 1), *refusal, item("done", other, 1),
                    completed(TEXT, other))  # fmt: skip
    assert found.candidates[0].parts == (Text("Hello"), Refusal("No.")) and found.candidates[0].stop.reason == "refusal"


def test_what_runs_at_openai_stays_as_it_is_and_pictures_are_media() -> None:
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    picture = {"type": "image_generation_call", "id": "ig_1", "result": "AA==", "status": "completed"}
    found = parts_of(CREATED, {"type": "response.web_search_call.searching"}, item("done", search), item("done", picture, 1),
                     completed(search, picture))  # fmt: skip
    assert found == (ir.Opaque("responses", "web_search_call", search), ir.Media("image", "image/png", "AA=="))


# -------------------------------------------------------------------------------------------------------------------- ends


@pytest.mark.parametrize(("details", "reason"), [
    ({"reason": "max_output_tokens"}, "length"), ({"reason": "content_filter"}, "refusal"), (None, "other"),
])  # fmt: skip
def test_an_incomplete_response(details: Any, reason: str) -> None:
    end = {"type": "response.incomplete", "response": {"status": "incomplete", "incomplete_details": details, "output": []}}
    assert said_by(CREATED, TEXT_DELTA, end).candidates[0].stop.reason == reason


@pytest.mark.parametrize(("event", "kind", "status"), [
    ({"type": "response.failed", "response": {"error": {"code": "rate_limit_exceeded", "message": "m"}}}, RateLimited, 429),
    ({"type": "response.failed", "response": {"error": {"code": "context_length_exceeded", "message": "m"}}}, BadRequest, 400),
    ({"type": "error", "code": "server_error", "message": "m"}, GatewayError, 500),
    ({"type": "error", "error": {"type": "rate_limit_error", "message": "m"}}, RateLimited, 429),
    ({"error": {"message": "m"}}, UpstreamFailed, 502), ({"type": "response.failed"}, UpstreamFailed, 502),
])  # fmt: skip
def test_an_upstreams_failure(event: Mapping[str, Any], kind: type, status: int) -> None:
    error = error_of(CREATED, TEXT_DELTA, event)
    assert isinstance(error, kind) and error.status == status


def test_a_connection_that_ends_early_is_cut() -> None:
    assert isinstance(error_of(CREATED, TEXT_DELTA, item("done", TEXT)), StreamCut)
    assert "without an answer" in error_of().message


@pytest.mark.parametrize("event", [
    {"type": "response.output_item.done", "item": 5}, {"type": "response.output_item.added"}, {"type": "response.completed"},
    {"type": "response.function_call_arguments.delta", "delta": "{}"}, [1], "x",
    {"type": "response.output_item.done", "item": {"type": "message", "content": [5]}},
])  # fmt: skip
def test_nonsense_is_a_failure_and_no_other_exception(event: Any) -> None:
    assert isinstance(error_of(CREATED, event), UpstreamFailed)


@pytest.mark.parametrize(
    "event", [{"type": "response.new"}, {"type": "response.code_interpreter_call.completed"}, {"type": "keepalive"}]
)
def test_an_unknown_event_is_passed_over(event: Mapping[str, Any]) -> None:
    assert parts_of(CREATED, event, TEXT_DELTA, completed()) == (Text("Hello"),)


# ---------------------------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize(("body", "words"), [
    ({"status": "failed", "error": {"code": "server_error", "message": "m"}, "output": []}, "m"),
    ({"status": "in_progress", "output": []}, "not complete"), ({"id": "x"}, "no output"),
    ({"status": "completed", "output": [5]}, "not an object"),
    ({"status": "completed", "output": [{"type": "function_call"}]}, "name"),
])  # fmt: skip
def test_an_answer_that_is_none(body: Mapping[str, Any], words: str) -> None:
    with pytest.raises(GatewayError, match=words):
        responses.read_answer(body)


def test_an_answer_and_the_stream_of_it_say_the_same() -> None:
    body = {"id": "r", "model": "m", "created_at": 5, "status": "completed", "output": [
        {**TEXT, "content": [{"type": "output_text", "text": "Hello", "annotations": [
            {"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 2}]}]}, CALL],
        "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}}  # fmt: skip
    one = responses.read_answer(body)
    assert one == said_by(CREATED, {"type": "response.completed", "response": body})
    assert one.candidates[0].extras["openai"]["annotations"][0]["url_citation"]["end_index"] == 2
    assert one.usage == ir.Usage(3, text=4) and one.candidates[0].stop == ir.Stop("tool_calls", "completed")


# ------------------------------------------------------------------------------------------------------------------ relayed


def scanned(data: bytes) -> responses.Scanner:
    scanner, parser = responses.Scanner(), SSEParser()
    scanner.feed([*parser.feed(data), *parser.close()])
    return scanner


def test_a_scanner_sees_output_usage_end_and_the_whole_response() -> None:
    data = streamed(answer(Text("Hello"), ToolCall("t", "f", "{}", {}), usage=ir.Usage(3, text=4)))
    found = scanned(data)
    assert found.outputs >= 3 and found.done and found.finish == "completed" and found.usage == ir.Usage(3, text=4)
    assert [each["type"] for each in found.response["output"]] == ["message", "function_call"]


def test_a_scanner_counts_pieces_by_a_glance() -> None:
    scanner = responses.Scanner()
    event = b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"a"}\n\n'
    assert not scanner.glance(event)  # the first one is parsed
    scanner.feed(SSEParser().feed(event))
    assert scanner.glance(event) and scanner.outputs == 2
    assert not scanner.glance(event.replace(b'"a"', b'""')) and not scanner.glance(b'event: error\ndata: {"message":"m"}\n\n')


@pytest.mark.parametrize(("events", "missing"), [
    ([{"type": "response.failed", "sequence_number": 7, "response": {"id": "r", "error": {"code": "x",
    "message": "m"}}}], ["error"]),
    ([{"type": "error", "sequence_number": 7, "code": "x", "message": "m"}], ["response.failed", "error"]),
    ([{"type": "error", "sequence_number": 7, "error": {"message": "m"}}], ["response.failed"]),
    ([], ["response.failed", "error"]),
])  # fmt: skip
def test_a_relayed_stream_that_broke_ends_in_both_events(events: list[dict[str, Any]], missing: list[str]) -> None:
    scanner = scanned(sse({**CREATED, "sequence_number": 6}, *events))
    assert (scanner.error is not None) == bool(events)
    made = [json.loads(each.data) for each in SSEParser().feed(scanner.failure(StreamCut("cut"), "req-1"))]
    assert [each["type"] for each in made] == missing
    assert [each["sequence_number"] for each in made] == list(range(7 + len(events), 7 + len(events) + len(missing)))
    assert all(each["response"]["id"] == "r" for each in made if "response" in each)
