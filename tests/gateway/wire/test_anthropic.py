"""Anthropic Messages <-> ir. The corpus holds whole bodies and streams; here are the rules, one by one.

The rows are those of the table of conversion faults that gateways are known for. Rows that are not named belong to another
protocol (3, 4, 12, 17, 18, 19, 21, 22, 38, 48) or to the life of a request (16, 47, 50); row 14 is every stream of the corpus,
cut at every byte.
"""

import json
import time
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from collected import answer_of
from material import files_in, needs

from llm_router_gateway.errors import (
    BadRequest,
    GatewayError,
    Overloaded,
    RateLimited,
    StreamCut,
    UpstreamFailed,
    UpstreamTimeout,
    of_status,
)
from llm_router_gateway.wire import ir
from llm_router_gateway.wire.anthropic import codec as anthropic
from llm_router_gateway.wire.anthropic import common, request_reader, request_writer
from llm_router_gateway.wire.anthropic.abilities import claude_version
from llm_router_gateway.wire.anthropic.answer import read_stop, write_stop
from llm_router_gateway.wire.anthropic.schema import fit_schema
from llm_router_gateway.wire.envelope import open_envelope
from llm_router_gateway.wire.names import pack_id, safe_id
from llm_router_gateway.wire.registry import SPECS
from llm_router_gateway.wire.sse import Event, SSEParser

ROOT = Path(__file__).parents[3]
CORPUS = ROOT / "tests" / "corpus" / "wire" / "anthropic"
NEW, OLD, OTHER = "claude-sonnet-4-5", "claude-3-5-haiku-latest", "glm-4.6"


def corpus(kind: str) -> list[str]:
    names = sorted(path.stem for path in CORPUS.glob(f"{kind}-*.json"))
    assert names, f"no {kind} in {CORPUS}"
    return names


def pair(name: str) -> tuple[bytes, Any]:
    return (CORPUS / name).read_bytes(), json.loads((CORPUS / f"{name}.json").read_text(encoding="utf-8"))


def plain(value: Any) -> Any:
    """Events as JSON: the class first, then what is not the default."""
    if is_dataclass(value) and not isinstance(value, type):
        said = {each.name: getattr(value, each.name) for each in fields(value)}
        short = {name: plain(item) for name, item in said.items() if item not in ("", None, (), 0, False) and item != {}}
        return {"is": type(value).__name__, **short}
    if isinstance(value, GatewayError):
        return {"is": type(value).__name__, "status": value.status, "message": value.message}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return {name: plain(item) for name, item in value.items()} if hasattr(value, "items") else value


def parsed(stream: bytes) -> list[Event]:
    parser = SSEParser()
    return [*parser.feed(stream), *parser.close()]


def read(stream: bytes) -> list[ir.StreamEvent]:
    reader = anthropic.StreamReader()
    return [event for each in parsed(stream) for event in reader.feed(each)] + list(reader.close())


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join(common.event_bytes(event["type"], event) for event in events)


def start(**usage: int) -> dict[str, Any]:
    return {"type": "message_start", "message": {"id": "msg_1", "model": "m", "content": [], "usage": usage}}


def block(index: int, **content: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": content}


def delta(index: int, **content: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": content}


def stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def end(reason: str = "end_turn", **usage: int) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}, {"type": "message_stop"}


def ask(*messages: ir.Message, **more: Any) -> ir.Request:
    return ir.Request("m", messages or (said("hi"),), **more)


def said(text: str, role: Any = "user") -> ir.Message:
    return ir.Message(role, (ir.Text(text),))


def write(request: ir.Request, model: str = NEW, **quirks: Any) -> tuple[dict[str, Any], list[str]]:
    lost: list[str] = []
    return anthropic.write_request(request, model=model, quirks=quirks, lost=lost), lost


def turns(*messages: ir.Message) -> list[tuple[str, list[Any]]]:
    body, _ = write(ask(*messages))
    return [(turn["role"], [each.get("text", each["type"]) for each in turn["content"]]) for turn in body["messages"]]


def writer(*events: ir.StreamEvent, request: ir.Request | None = None) -> tuple[list[dict[str, Any]], list[str]]:
    lost: list[str] = []
    made = anthropic.StreamWriter(request or ask(), lost=lost)
    out = b"".join(map(made.feed, events))
    for event in parsed(out):
        assert event.event == json.loads(event.data)["type"]  # the SDKs skip events without their name
    return [json.loads(event.data) for event in parsed(out)], lost


def answer(*parts: ir.Part, reason: Any = "end", **more: Any) -> ir.Answer:
    return ir.Answer("a1", "m", (ir.Candidate(parts, ir.Stop(reason)),), **more)


CALL, CALL2 = ir.ToolCall("t1", "f", '{"a":1}', {"a": 1}), ir.ToolCall("t2", "g", "{}", {})
DONE = (ir.Stopped(ir.Stop("end")), ir.UsageSeen(ir.Usage(input=9, text=7)), ir.Finished())
TOOL = ir.Tool("f", "does", {"type": "object", "properties": {}})


# -------------------------------------------------------------------------------------------------------------- the corpus


@pytest.mark.parametrize("name", corpus("request"))
def test_a_request_read_and_written_again_is_what_the_api_takes(name: str) -> None:
    body, want = pair(name)
    request = anthropic.read_request(json.loads(body))
    lost: list[str] = []
    assert anthropic.write_request(request, model=want["model"], quirks=want["quirks"], lost=lost) == want["written"]
    assert lost == want["lost"]


@pytest.mark.parametrize("name", corpus("refused"))
def test_a_request_that_is_wrong_is_refused_with_its_path(name: str) -> None:
    body, want = pair(name)
    with pytest.raises(BadRequest) as caught:
        anthropic.read_request(json.loads(body))
    assert caught.value.details["path"] == want["path"]


@pytest.mark.parametrize("name", corpus("stream"))
def test_a_stream_gives_these_events(name: str) -> None:
    body, want = pair(name)
    assert plain(read(body)) == want["events"]


@pytest.mark.parametrize("name", corpus("stream"))
def test_a_stream_keeps_the_rules_of_streams(name: str) -> None:
    events = read(pair(name)[0])
    kinds = [type(event) for event in events]
    assert kinds[0] in (ir.Started, ir.Failed) and kinds.count(ir.Started) <= 1
    assert kinds[-1] in (ir.Finished, ir.Failed) and sum(kind in (ir.Finished, ir.Failed) for kind in kinds) == 1
    opened: list[int] = []
    for event in events:
        if isinstance(event, ir.PartStart):
            opened.append(event.index)
            assert event.index == len(opened) - 1
        elif isinstance(event, ir.PartDelta):
            assert opened[-1] == event.index and (event.text or event.signature or event.extras)


@pytest.mark.slow
@pytest.mark.parametrize("name", corpus("stream"))
def test_a_stream_does_not_depend_on_how_the_network_cut_it(name: str) -> None:
    body, _ = pair(name)
    whole = read(body)
    for cut in range(len(body) + 1):
        parser, reader = SSEParser(), anthropic.StreamReader()
        found = [event for piece in (body[:cut], body[cut:]) for each in parser.feed(piece) for event in reader.feed(each)]
        found += [event for each in parser.close() for event in reader.feed(each)]
        assert plain([*found, *reader.close()]) == plain(whole), cut


@pytest.mark.slow
@pytest.mark.parametrize("name", corpus("stream"))
def test_a_stream_that_ends_too_soon_is_an_error_wherever_it_ends(name: str) -> None:
    """Row 8: never a made-up end."""
    body, _ = pair(name)
    last = body.rfind(b"message_stop")
    for cut in range(last if last >= 0 else len(body)):
        events = read(body[:cut])
        assert isinstance(events[-1], ir.Failed), cut


@pytest.mark.parametrize("name", corpus("stream"))
def test_a_scan_sees_what_a_reader_sees(name: str) -> None:
    body, _ = pair(name)
    events, scanner = read(body), anthropic.Scanner()
    scanner.feed(parsed(body))
    usages = [event.usage for event in events if isinstance(event, ir.UsageSeen)]
    assert scanner.usage == (usages[-1] if usages else None)
    assert scanner.done == isinstance(events[-1], ir.Finished)
    failed = [event.error for event in events if isinstance(event, ir.Failed) and not isinstance(event.error, UpstreamFailed)]
    assert plain(scanner.error) == (plain(failed[0]) if failed else None)
    assert bool(scanner.outputs) == any(ir.is_output(event) for event in events)


@pytest.mark.parametrize("name", [name for name in corpus("stream") if pair(name)[1]["events"][-1]["is"] == "Finished"])
def test_a_stream_written_again_reads_the_same_and_agrees_with_the_plain_answer(name: str) -> None:
    events = read(pair(name)[0])
    whole = answer_of(events)
    made = anthropic.StreamWriter(ask(), lost=[])
    again = answer_of(read(b"".join(map(made.feed, events))))
    lost: list[str] = []
    as_plain = anthropic.read_answer(anthropic.write_answer(whole, ask(), lost))
    assert said_by(again) == said_by(whole) == said_by(as_plain)


def said_by(answer: ir.Answer) -> Any:
    """What an answer says: empty texts, and how arguments are spaced, say nothing."""
    first = answer.candidates[0]
    parts = [{**plain(part), "arguments_text": ""} for part in first.parts if not (isinstance(part, ir.Text) and not part.text)]
    stop = plain(replace(first.stop, native=""))  # the word is made to fit the parts
    return parts, stop, plain(answer.usage), answer.id, answer.model or "m"


@pytest.mark.parametrize("name", corpus("answer"))
def test_an_answer_gives_these_parts(name: str) -> None:
    body, want = pair(name)
    assert plain(anthropic.read_answer(json.loads(body))) == want["answer"]


# ------------------------------------------------------------------------------------------------------- reading a request


def test_system_is_text_or_blocks_or_stands_in_the_list() -> None:
    """Row 33: the leading ones are the system text, the later ones stay where they are."""
    body = {"system": [{"type": "text", "text": "a"}], "messages": [
        {"role": "system", "content": "b"}, {"role": "user", "content": "u"}, {"role": "system", "content": "c"},
    ]}  # fmt: skip
    request = anthropic.read_request(body, model="m")
    assert request.system == (ir.Text("a"), ir.Text("b"))
    assert [message.role for message in request.messages] == ["user", "system"]
    assert anthropic.read_request({**body, "system": "a"}, model="m").system == request.system


def test_a_result_knows_the_name_of_its_tool() -> None:
    request = anthropic.read_request({"model": "m", "messages": [
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t"}]},
    ]})  # fmt: skip
    assert request.messages[0].parts == (ir.ToolCall("t", "f", '{"a":1}', {"a": 1}),)
    assert request.messages[1].parts == (ir.ToolResult("t", (), name="f"),)


def test_an_issuer_and_its_signature_come_back_in_the_id_of_a_call() -> None:
    """Row 20: what the caller got in tool_use.id it sends in tool_use.id and tool_result.tool_use_id."""
    call = ir.ToolCall("x", "f", "{}", {}, signature="c2ln", vendor="gemini")
    shown = anthropic.write_answer(answer(call), ask(), [])["content"][0]
    assert shown["id"] == pack_id(call)
    request = anthropic.read_request({"model": "m", "messages": [
        {"role": "assistant", "content": [shown]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": shown["id"], "content": "1"}]},
    ]})  # fmt: skip
    assert request.messages[0].parts[0] == call
    assert request.messages[1].parts == (ir.ToolResult("x", (ir.Text("1"),), name="f", vendor="gemini"),)


def test_the_line_that_differs_in_every_request_is_kept_apart() -> None:
    """Row 34: other vendors' prefix caches never matched; Anthropic's own gets it back to the byte."""
    line = "x-anthropic-billing-header: cc_version=2.1; cch=0a1b2;"
    request = anthropic.read_request({
        "model": "m", "system": [{"type": "text", "text": line}, {"type": "text", "text": "Be brief."}],
        "messages": [{"role": "user", "content": "hi"}],
    })  # fmt: skip
    assert request.system == (ir.Text("Be brief."),)
    body, lost = write(request)
    assert [each["text"] for each in body["system"]] == [line, "Be brief."] and lost == []


def test_tools_that_run_at_the_vendor_are_kept_whole() -> None:
    """Row 31, 30: they are Tool.value; defer_loading and the like are extras, which other writers name."""
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
    mine = {"name": "f", "input_schema": {"type": "object"}, "defer_loading": True}
    request = anthropic.read_request({"model": "m", "messages": [{"role": "user", "content": "q"}], "tools": [search, mine]})
    assert request.tools[0] == ir.Tool("web_search", vendor="anthropic", value=search)
    assert request.tools[1].extras == {"anthropic": {"defer_loading": True}}
    assert write(request)[0]["tools"] == [search, mine]


def test_a_tool_reference_can_be_written_for_others() -> None:
    """Row 30."""
    part = request_reader.read_opaque({"type": "tool_reference", "tool_name": "f"}, "")
    assert part.text == "[tool f is loaded]"


def test_unknown_fields_never_refuse_a_request() -> None:
    """Row 42: they are the vendor's own, and go back to it."""
    body = {
        "model": NEW, "max_tokens": 5, "messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}],
        "context_management": {"edits": []}, "output_config": {"task_budget": {"total": 5}},
        "metadata": {"user_id": "u", "x": 1},
    }  # fmt: skip
    request = anthropic.read_request(body)
    assert request.extras["anthropic"].keys() == {"context_management", "output_config", "metadata"}
    assert write(request) == (body, [])


@pytest.mark.parametrize(("thinking", "effort", "want"), [
    ({"type": "enabled", "budget_tokens": 9}, None, ir.Reasoning("on", 9)),
    ({"type": "disabled"}, None, ir.Reasoning("off")),
    ({"type": "adaptive", "display": "omitted"}, "low", ir.Reasoning("adaptive", effort="low", shown=False)),
    (None, "high", ir.Reasoning("", effort="high")),
    (None, None, None),
])  # fmt: skip
def test_thinking_and_effort_are_one_thing(thinking: Any, effort: Any, want: Any) -> None:
    assert request_reader.read_reasoning(thinking, effort) == want


@pytest.mark.parametrize(("choice", "want"), [
    (None, (None, None)),
    ({"type": "any"}, (ir.ToolChoice("required"), None)),
    ({"type": "none"}, (ir.ToolChoice("none"), None)),
    ({"type": "tool", "name": "f", "disable_parallel_tool_use": True}, (ir.ToolChoice("required", ("f",)), False)),
    ({"type": "auto", "disable_parallel_tool_use": False}, (ir.ToolChoice("auto"), True)),
])  # fmt: skip
def test_tool_choice(choice: Any, want: Any) -> None:
    """Row 29."""
    assert request_reader.read_choice(choice) == want


# ------------------------------------------------------------------------------------------------------- writing a request


def test_turns_alternate_and_hold_no_blank_text() -> None:
    """Row 32."""
    assert turns(said("a"), said("b"), said(" ", "assistant"), said("c"), said("d", "assistant")) == [
        ("user", ["a", "b", "c"]), ("assistant", ["d"]),
    ]  # fmt: skip


def test_the_beginning_of_an_answer_does_not_end_in_space() -> None:
    assert turns(said("a"), said("So: \n", "assistant"))[-1] == ("assistant", ["So:"])


def test_a_conversation_without_words_gets_a_turn_and_one_without_anything_is_refused() -> None:
    """Other vendors answer to a system text alone; this API refuses a list without turns."""
    body, lost = write(ir.Request("m", (said("  "),), system=(ir.Text("Greet."),)))
    assert body["messages"][0]["content"][0]["text"] == common.EMPTY_TURN and lost == ["messages=empty"]
    with pytest.raises(BadRequest):
        write(ir.Request("m", ()))


@pytest.mark.parametrize("thread", [{"type": "create"}, {"type": "continue", "previous_message_id": "msg_1"}])
def test_a_conversation_kept_by_the_server_is_refused_in_the_words_that_make_an_sdk_send_all_of_it(thread: Any) -> None:
    with pytest.raises(BadRequest) as caught:
        anthropic.read_request({"model": "m", "messages": [{"role": "user", "content": "hi"}], "thread": thread})
    status, _, body = anthropic.write_error(caught.value, "r1")
    assert (status, body["error"]["type"]) == (400, "invalid_request_error")
    assert body["error"]["details"] == {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}


def test_an_empty_error_gets_words() -> None:
    """The API refuses is_error without content."""
    failed = ir.Message("user", (ir.ToolResult("t1", (), is_error=True),))
    body, _ = write(ask(ir.Message("assistant", (CALL,)), failed))
    assert body["messages"][1]["content"][0]["content"] == common.NO_WORDS


def test_what_a_server_tool_found_is_not_what_the_model_said() -> None:
    """In a history others may be told of it; in an answer it is not text."""
    hits = {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"title": "T", "url": "https://h"}]}
    assert request_reader.read_opaque(hits, "").text == "T https://h"
    assert anthropic.read_answer({"content": [hits]}).candidates[0].parts[0].text == ""  # type: ignore[union-attr]
    assert answer_of(read(sse(start(), block(0, **hits), stop(0), *end()))).candidates[0].parts[0].text == ""  # type: ignore[union-attr]


def test_results_stand_first_and_in_one_turn() -> None:
    """Row 25: [result, text] is taken, [text, result] is not; neighbours become one turn."""
    found = turns(
        ir.Message("assistant", (CALL, CALL2)),
        ir.Message("user", (ir.Text("now"), ir.ToolResult("t2", (ir.Text("2"),)))),
        ir.Message("user", (ir.ToolResult("t1", (ir.Text("1"),)), ir.Text("go"))),
    )
    assert [role for role, _ in found] == ["assistant", "user"]
    assert found[1][1] == ["tool_result", "tool_result", "now", "go"]


def test_an_interrupted_session_goes_on() -> None:
    """Row 26: a call without result gets one that says so, a result without call is told as text."""
    orphan = ir.Message("user", (ir.ToolResult("zz", (ir.Text("9"),)),))
    body, lost = write(ask(ir.Message("assistant", (CALL,)), said("and?"), orphan))
    result, *rest = body["messages"][1]["content"]
    assert result["tool_use_id"] == "t1" and result["is_error"] is True and result["content"]
    assert all(each["type"] == "text" for each in rest) and "9" in [each["text"] for each in rest]
    assert sorted(lost) == ["tool_result=added", "tool_result=orphan"]
    assert write(ask(ir.Message("assistant", (CALL,)), said("and?")), repair=False)[0]["messages"][1]["content"] == [
        {"type": "text", "text": "and?"}
    ]


def test_results_hold_pictures_documents_and_errors() -> None:
    """Row 46."""
    picture = ir.Media("image", "image/png", data="AA==")
    result = ir.ToolResult("t1", (ir.Text("see"), picture, ir.Text("")), is_error=True)
    body, _ = write(ask(ir.Message("assistant", (CALL,)), ir.Message("user", (result,))))
    assert body["messages"][1]["content"] == [{
        "type": "tool_result", "tool_use_id": "t1", "is_error": True, "content": [
            {"type": "text", "text": "see"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}},
        ],
    }]  # fmt: skip


def test_ids_and_names_fit_and_stay_paired() -> None:
    """Rows 23, 24: the same on every turn."""
    call, result = ir.ToolCall("call:1/ä", "9.lives", "{}", {}), ir.ToolResult("call:1/ä", (ir.Text("x"),))
    body, _ = write(ask(ir.Message("assistant", (call,)), ir.Message("user", (result,)), tools=(ir.Tool("9.lives"),)))
    use, used = body["messages"][0]["content"][0], body["messages"][1]["content"][0]
    assert use["id"] == used["tool_use_id"] == safe_id("call:1/ä")
    name = body["tools"][0]["name"]
    assert use["name"] == name != "9.lives"
    shown = anthropic.write_answer(answer(ir.ToolCall("a", name, "{}", {})), ask(tools=(ir.Tool("9.lives"),)), [])
    assert shown["content"][0]["name"] == "9.lives"


@pytest.mark.parametrize(("part", "source"), [
    (ir.Media("image", url="https://h/a.png"), {"type": "url", "url": "https://h/a.png"}),
    (ir.Media("image", file_id="f", vendor="anthropic"), {"type": "file", "file_id": "f"}),
    (ir.Media("document", "application/pdf", data="AA=="), {"type": "base64", "media_type": "application/pdf", "data": "AA=="}),
    (ir.Media("document", "text/csv", data="YSxi"), {"type": "text", "media_type": "text/plain", "data": "a,b"}),
    (ir.Media("document", text="hi"), {"type": "text", "media_type": "text/plain", "data": "hi"}),
])  # fmt: skip
def test_pictures_and_documents(part: ir.Media, source: Any) -> None:
    """Row 46."""
    body, lost = write(ask(ir.Message("user", (part,))))
    assert body["messages"][0]["content"] == [{"type": part.kind, "source": source}] and lost == []


@pytest.mark.parametrize("part", [
    ir.Media("audio", "audio/wav", data="AA=="), ir.Media("image", file_id="f", vendor="openai"), ir.Media("image", url="gs://b/o"),
])  # fmt: skip
def test_media_that_cannot_go_is_named_and_noted(part: ir.Media) -> None:
    body, lost = write(ask(ir.Message("user", (part,))))
    assert lost == [part.kind] and part.kind in body["messages"][0]["content"][0]["text"]


def test_a_late_system_message_is_a_user_turn_where_the_model_accepts_no_other() -> None:
    """Row 33."""
    talk = (said("a"), said("b", "assistant"), said("mind", "system"), said("c"))
    assert turns(*talk)[-1] == ("user", ["<system-reminder>\nmind\n</system-reminder>", "c"])
    body, _ = write(ask(*talk), system_messages=True)
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "system", "user"]


def test_thoughts_go_back_when_they_are_signed() -> None:
    """Rows 36, 37: with or without text; redacted ones untouched; unsigned and others' are named."""
    kept = (ir.Thinking("", "s", "anthropic"), ir.Thinking("", "", "anthropic", "x"))
    body, lost = write(ask(ir.Message("assistant", (*kept, ir.Thinking("Hm"), ir.Thinking("Hm", "s", "gemini"), ir.Text("a")))))
    assert body["messages"][0]["content"] == [
        {"type": "thinking", "thinking": "", "signature": "s"}, {"type": "redacted_thinking", "data": "x"},
        {"type": "text", "text": "a"},
    ]  # fmt: skip
    assert lost == ["thinking"]
    body, lost = write(ask(ir.Message("assistant", (ir.Thinking("Hm"), ir.Text("a")))), OTHER, unsigned_thinking=True)
    assert body["messages"][0]["content"][0] == {"type": "thinking", "thinking": "Hm", "signature": ""} and lost == []


def test_a_tool_turn_without_its_thought_turns_thinking_off_for_that_call() -> None:
    """Row 37."""
    result = ir.Message("user", (ir.ToolResult("t1", (ir.Text("1"),)),))
    thought = ir.Thinking("Hm", "s", "anthropic")
    on = ir.Reasoning("on", 2000)
    body, lost = write(ask(ir.Message("assistant", (CALL,)), result, reasoning=on, tools=(TOOL,)))
    assert "thinking" not in body and lost == ["reasoning"]
    body, lost = write(ask(ir.Message("assistant", (thought, CALL)), result, reasoning=on, tools=(TOOL,)))
    assert body["thinking"]["budget_tokens"] == 2000 and lost == []


def test_no_call_can_be_forced_while_thinking() -> None:
    """Row 27; adaptive thinking takes both, as the real API does."""
    forced: dict[str, Any] = {"tools": (TOOL,), "tool_choice": ir.ToolChoice("required"), "parallel_tool_calls": False}
    body, lost = write(ask(reasoning=ir.Reasoning("on", 2000), **forced))
    assert body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True} and lost == ["tool_choice=required"]
    body, lost = write(ask(reasoning=ir.Reasoning("adaptive"), **forced), "claude-opus-4-6")
    assert body["tool_choice"]["type"] == "any" and lost == []


@pytest.mark.parametrize(("model", "reasoning", "thinking", "effort", "lost"), [
    (NEW, ir.Reasoning("on", 9), {"type": "enabled", "budget_tokens": 1024}, None, []),
    (NEW, ir.Reasoning("", effort="low"), {"type": "enabled", "budget_tokens": 2048}, None, []),
    (NEW, ir.Reasoning("adaptive", effort="high"), {"type": "enabled", "budget_tokens": 16384}, None,
     ["reasoning.mode=adaptive"]),
    ("claude-opus-4-6", ir.Reasoning("", effort="minimal"), {"type": "adaptive"}, "low", ["reasoning.effort=minimal"]),
    ("claude-fable-5", ir.Reasoning("", effort="none"), None, None, ["reasoning=off"]),
    ("claude-mythos-5", ir.Reasoning("off", 0), None, None, ["reasoning=off"]),
    ("claude-mythos-preview", ir.Reasoning("on", 3000), {"type": "adaptive"}, None, ["reasoning.budget_tokens"]),
    ("claude-fable-5", ir.Reasoning("", effort="xhigh"), {"type": "adaptive"}, "xhigh", []),
    ("claude-opus-4-6", ir.Reasoning("on", 3000), {"type": "enabled", "budget_tokens": 3000}, None, []),
    ("claude-opus-4-7", ir.Reasoning("on", 3000), {"type": "adaptive"}, None, ["reasoning.budget_tokens"]),
    ("claude-opus-4-7", ir.Reasoning("adaptive", effort="xhigh", shown=True), {"type": "adaptive", "display": "summarized"},
     "xhigh", []),
    (NEW, ir.Reasoning("off"), {"type": "disabled"}, None, []),
    (NEW, ir.Reasoning("", effort="none"), {"type": "disabled"}, None, []),
    (OLD, ir.Reasoning("on", 3000), None, None, ["reasoning"]),
    (OLD, ir.Reasoning("off"), None, None, []),
])  # fmt: skip
def test_thinking_in_the_form_that_the_model_takes(model: str, reasoning: Any, thinking: Any, effort: Any, lost: Any) -> None:
    """Row 39."""
    body, named = write(ask(reasoning=reasoning), model)
    assert (body.get("thinking"), body.get("output_config", {}).get("effort"), named) == (thinking, effort, lost)


@pytest.mark.parametrize(("asked", "limit", "budget", "lost"), [
    (None, 16384 + 3000, 3000, []), (9000, 9000, 3000, []), (2500, 2500, 1476, ["reasoning.budget_tokens=3000"]),
    (1025, 1025, 1024, ["reasoning.budget_tokens=3000"]), (1024, 1024, None, ["reasoning"]),
])  # fmt: skip
def test_the_budget_of_thoughts_is_below_max_tokens(asked: Any, limit: int, budget: Any, lost: Any) -> None:
    body, named = write(ask(max_tokens=asked, reasoning=ir.Reasoning("on", 3000)))
    assert (body["max_tokens"], body.get("thinking", {}).get("budget_tokens"), named) == (limit, budget, lost)


@pytest.mark.parametrize(("model", "quirks", "want"), [
    ("claude-3-haiku-20240307", {}, 4096), (OLD, {}, 8192), (NEW, {}, 16384), (OTHER, {}, 8192), (OTHER, {"max_tokens": 5}, 5),
])  # fmt: skip
def test_max_tokens_is_always_there(model: str, quirks: Any, want: int) -> None:
    """Row 41."""
    assert write(ask(), model, **quirks)[0]["max_tokens"] == want
    assert write(ask(max_tokens=7), model, **quirks)[0]["max_tokens"] == 7


@pytest.mark.parametrize(("model", "kept", "lost"), [
    (OLD, {"temperature", "top_p", "top_k"}, []),
    (NEW, {"temperature", "top_k"}, ["top_p"]),
    ("claude-opus-4-7", set(), ["temperature", "top_p", "top_k"]),
    (OTHER, {"temperature", "top_p", "top_k"}, []),
])  # fmt: skip
def test_sampling_as_far_as_the_model_takes_it(model: str, kept: Any, lost: Any) -> None:
    """Row 40."""
    body, named = write(ask(temperature=0.5, top_p=0.9, top_k=4), model)
    assert body.keys() & {"temperature", "top_p", "top_k"} == kept and named == lost


def test_a_temperature_above_the_range_is_the_highest() -> None:
    body, lost = write(ask(temperature=1.7))
    assert body["temperature"] == 1 and lost == ["temperature=1.7"]


def test_what_the_protocol_has_not_is_named() -> None:
    """Row 13 for n."""
    _, lost = write(ask(
        n=2, seed=1, presence_penalty=0.5, frequency_penalty=0.5, logprobs=True, top_logprobs=2, metadata={"a": "b"},
        cache_key="k", service_tier="flex", stop=(" ", "x"), extras={"openai": {"logit_bias": {}}},
    ))  # fmt: skip
    assert sorted(lost) == [
        "frequency_penalty", "logit_bias", "logprobs", "metadata", "n", "presence_penalty", "prompt_cache_key", "seed",
        "service_tier=flex", "stop", "top_logprobs",
    ]  # fmt: skip


def test_the_rest_of_the_request() -> None:
    body, lost = write(ask(stream=True, user="u", service_tier="default", stop=("x",), n=1, system=(ir.Text("s"),)))
    assert lost == []
    assert body == {
        "model": NEW, "max_tokens": 16384, "system": "s",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "stream": True, "metadata": {"user_id": "u"}, "service_tier": "standard_only", "stop_sequences": ["x"],
    }  # fmt: skip


def test_marks_of_the_cache_are_kept() -> None:
    """Row 35."""
    mark = {"type": "ephemeral", "ttl": "1h"}
    request = ask(
        ir.Message("user", (ir.Text("a", cache_control=mark), ir.Media("image", "image/png", "AA==", cache_control=mark))),
        system=(ir.Text("s", cache_control=mark),), tools=(ir.Tool("f", cache_control=mark),),
    )  # fmt: skip
    body, lost = write(request)
    marked = [*body["system"], *body["tools"], *body["messages"][0]["content"]]
    assert [each["cache_control"] for each in marked] == [mark] * 4 and lost == []


@pytest.mark.parametrize(("choice", "parallel", "want", "left"), [
    (None, None, None, ["f", "g"]),
    (None, False, {"type": "auto", "disable_parallel_tool_use": True}, ["f", "g"]),
    (ir.ToolChoice("required"), None, {"type": "any"}, ["f", "g"]),
    (ir.ToolChoice("required", ("g",)), None, {"type": "tool", "name": "g"}, ["f", "g"]),
    (ir.ToolChoice("required", ("g", "h")), None, {"type": "any"}, ["g"]),
    (ir.ToolChoice("auto", ("g",)), True, {"type": "auto"}, ["g"]),
    (ir.ToolChoice("none"), False, {"type": "none"}, ["f", "g"]),
])  # fmt: skip
def test_which_tools_may_be_called(choice: Any, parallel: Any, want: Any, left: Any) -> None:
    """Row 29: several allowed ones are all that is left."""
    body, lost = write(ask(tools=(TOOL, ir.Tool("g")), tool_choice=choice, parallel_tool_calls=parallel))
    assert body.get("tool_choice") == want and [tool["name"] for tool in body["tools"]] == left and lost == []


def test_a_conversation_with_calls_declares_their_tools_even_when_none_is_offered() -> None:
    talk = ir.Message("assistant", (CALL,)), ir.Message("user", (ir.ToolResult("t1", (ir.Text("1"),)),))
    body, lost = write(ask(*talk))
    assert [tool["name"] for tool in body["tools"]] == ["f"] and body["tool_choice"] == {"type": "none"} and lost == []


def test_tools_that_others_run_are_named_and_free_text_becomes_a_field() -> None:
    """Row 31."""
    theirs = ir.Tool("web_search", vendor="openai", value={"type": "web_search"})
    body, lost = write(ask(tools=(theirs, ir.Tool("p", custom=True))))
    assert [tool["name"] for tool in body["tools"]] == ["p"] and lost == ["tools=web_search"]
    assert body["tools"][0]["input_schema"]["properties"] == {"input": {"type": "string"}}
    free = ir.ToolCall("t1", "p", "*** begin", custom=True)
    body, lost = write(ask(ir.Message("assistant", (free,)), tools=(ir.Tool("p", custom=True),)))
    assert body["messages"][0]["content"][0]["input"] == {"input": "*** begin"}


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 0}}, "required": ["n"]}
FITTED = {"type": "object", "properties": {"n": {"type": "integer", "description": "{minimum: 0}"}}, "required": ["n"],
          "additionalProperties": False}  # fmt: skip


def test_a_schema_is_demanded_in_the_way_that_the_model_has() -> None:
    """Row 43."""
    wanted = ir.ResponseFormat("schema", SCHEMA, "answer")
    body, lost = write(ask(response_format=wanted))
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": FITTED}} and lost == ["schema.minimum"]
    body, lost = write(ask(response_format=wanted), OLD)
    assert body["tools"][0]["input_schema"] == SCHEMA and lost == []
    assert body["tool_choice"] == {"type": "tool", "name": body["tools"][0]["name"]}
    body, lost = write(ask(response_format=wanted, tools=(TOOL,)), OLD)  # a forced call would leave no room for others
    assert '"minimum":0' in body["system"] and lost == ["response_format=schema"]
    body, lost = write(ask(response_format=ir.ResponseFormat("json"), system=(ir.Text("s"),)))
    assert [each["text"] for each in body["system"]] == ["s", request_writer.JSON_HINT] and lost == ["response_format=json"]


def test_the_call_that_gives_the_answer_its_form_is_the_answer() -> None:
    content = [{"type": "tool_use", "id": "t", "name": common.SCHEMA_TOOL, "input": {"n": 1}}]
    found = anthropic.read_answer({"content": content, "stop_reason": "tool_use"}).candidates[0]
    assert found.parts == (ir.Text('{"n":1}'),) and found.stop.reason == "end"
    events = read(sse(
        start(), block(0, **content[0] | {"input": {}}), delta(0, type="input_json_delta", partial_json='{"n":1}'), stop(0),
        *end("tool_use"),
    ))  # fmt: skip
    assert answer_of(events).candidates[0] == found


@pytest.mark.parametrize(("schema", "want", "lost"), [
    ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}, []),
    ({"type": "string", "format": "x", "description": "d"}, {"type": "string", "description": 'd\n\n{format: "x"}'},
     ["schema.format"]),
    ({"oneOf": [{"type": "object"}]}, {"anyOf": [{"type": "object", "additionalProperties": False}]}, []),
    ({"type": "array", "minItems": 1, "items": {"type": "string", "pattern": "a"}},
     {"type": "array", "minItems": 1, "items": {"type": "string", "description": '{pattern: "a"}'}}, ["schema.pattern"]),
    ({"type": "object", "$schema": "s", "properties": {"minimum": {"type": "string"}}, "$defs": {"a": {"maximum": 1}}},
     {"type": "object", "properties": {"minimum": {"type": "string"}}, "$defs": {"a": {"description": "{maximum: 1}"}},
      "additionalProperties": False}, ["schema.maximum"]),
])  # fmt: skip
def test_schemas_fit_the_decoder(schema: Any, want: Any, lost: Any) -> None:
    """A property that is named like a keyword is a property."""
    named: list[str] = []
    assert fit_schema(schema, named) == want and named == lost


@pytest.mark.parametrize(("name", "version"), [
    ("claude-3-5-sonnet-20241022", (3, 5)), ("claude-sonnet-4-20250514", (4, 0)), ("anthropic/claude-opus-4.6", (4, 6)),
    ("claude-opus-5", (5, 0)), ("us.anthropic.claude-haiku-4-5-20251001-v1:0", (4, 5)), ("claude-2.1", (2, 1)),
    ("glm-4.6", None),
])  # fmt: skip
def test_the_version_of_a_model_is_in_its_name(name: str, version: Any) -> None:
    assert claude_version(name) == version


# -------------------------------------------------------------------------------------------------------- reading an answer


@pytest.mark.parametrize(("native", "called", "reason"), [
    ("end_turn", False, "end"), ("end_turn", True, "tool_calls"), ("tool_use", False, "end"), ("tool_use", True, "tool_calls"),
    ("max_tokens", True, "length"), ("stop_sequence", False, "stop_sequence"), ("refusal", False, "refusal"),
    ("pause_turn", False, "pause"), ("model_context_window_exceeded", False, "context"), ("brand_new", False, "other"),
])  # fmt: skip
def test_why_it_ended(native: str, called: bool, reason: str) -> None:
    """Rows 28 and 44."""
    found = read_stop({"stop_reason": native}, called)
    assert (found.reason, found.native) == (reason, native)


@pytest.mark.parametrize(("usage", "want"), [
    ({"input_tokens": 6, "cache_read_input_tokens": 4, "output_tokens": 7}, ir.Usage(6, 4, text=7)),
    ({"input_tokens": 1, "cache_creation_input_tokens": 9, "cache_creation": {"ephemeral_1h_input_tokens": 4}},
     ir.Usage(1, 0, 5, 4)),
    ({"cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4}}, ir.Usage(0, 0, 3, 4)),
    ({"output_tokens": 9, "output_tokens_details": {"thinking_tokens": 5}}, ir.Usage(text=4, reasoning=5)),
    ({"input_tokens": None, "output_tokens": True}, ir.Usage()),
])  # fmt: skip
def test_tokens_are_counted_once(usage: Any, want: ir.Usage) -> None:
    """Row 45."""
    found = anthropic.usage_in({"usage": usage})
    assert found == want
    assert common.read_usage(common.write_usage(found)) == want


def test_no_usage_is_not_zero() -> None:
    assert anthropic.usage_in({}) is None and anthropic.read_answer({"content": []}).usage is None
    lost: list[str] = []
    assert anthropic.write_answer(answer(ir.Text("a")), ask(), lost)["usage"] == {"input_tokens": 0, "output_tokens": 0}
    assert lost == ["usage"]


@pytest.mark.parametrize(("body", "kind"), [
    ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, Overloaded),
    ({"error": {"message": "no"}}, UpstreamFailed), ({"choices": []}, UpstreamFailed),
    ({"content": [{"type": "text"}]}, UpstreamFailed),
    ({"content": [7]}, UpstreamFailed),
])  # fmt: skip
def test_what_is_no_answer_is_an_error(body: Any, kind: Any) -> None:
    with pytest.raises(kind):
        anthropic.read_answer(body)


# -------------------------------------------------------------------------------------------------------- writing an answer


def test_a_whole_answer() -> None:
    lost: list[str] = []
    made = answer(ir.Thinking("Hm"), ir.Text(""), ir.Text("a"), CALL, usage=ir.Usage(6, 4, 2, 1, 5, 2))
    assert anthropic.write_answer(made, ask(), lost) == {
        "id": "a1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "tool_use", "stop_sequence": None,
        "content": [
            {"type": "thinking", "thinking": "Hm", "signature": ""}, {"type": "text", "text": "a"},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
        ],
        "usage": {
            "input_tokens": 6, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 4, "output_tokens": 7,
            "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 1},
            "output_tokens_details": {"thinking_tokens": 2},
        },
    }  # fmt: skip
    assert lost == []


def test_what_an_answer_cannot_show_is_named() -> None:
    """Row 13: one candidate."""
    lost: list[str] = []
    other = ir.Opaque("gemini", "executableCode", {}, "print(1)")
    parts = (ir.Media("image", "image/png", "AA=="), other, ir.Thinking("", data="x", vendor="openai"),
             ir.ToolCall("t", "f", '{"a"', None), ir.Text("a", "s", "gemini"))  # fmt: skip
    made = ir.Answer("a", "m", (ir.Candidate(parts, ir.Stop("other", "odd")), ir.Candidate((), ir.Stop("end"))), ir.Usage())
    content = anthropic.write_answer(made, ask(), lost)["content"]
    assert [each["type"] for each in content] == ["text", "redacted_thinking", "tool_use", "text"]
    assert content[2]["input"] == {}
    assert sorted(lost) == [
        "executableCode", "image", "n", "signature", "stop_reason=odd", "tool_use.input",
    ]  # fmt: skip


@pytest.mark.parametrize(("reason", "called", "native"), [
    ("end", False, "end_turn"), ("end", True, "tool_use"), ("tool_calls", False, "end_turn"), ("length", True, "max_tokens"),
    ("refusal", False, "refusal"), ("context", False, "model_context_window_exceeded"), ("pause", False, "pause_turn"),
    ("stop_sequence", False, "stop_sequence"), ("other", False, "end_turn"),
])  # fmt: skip
def test_the_word_for_why_it_ended(reason: Any, called: bool, native: str) -> None:
    """Rows 28 and 44."""
    assert write_stop(ir.Stop(reason), called, [])["stop_reason"] == native


def test_a_refusal_shows_its_words() -> None:
    """Row 44."""
    shown = anthropic.write_answer(answer(ir.Refusal("I can't."), reason="refusal"), ask(), [])
    assert shown["content"] == [{"type": "text", "text": "I can't."}] and shown["stop_reason"] == "refusal"


# -------------------------------------------------------------------------------------------------------- reading a stream


def test_a_kind_that_changes_inside_a_block_begins_the_next_part() -> None:
    """Row 7: thoughts in a text block, a block without its start, a start that comes twice."""
    events = read(sse(
        start(), start(), block(0, type="text", text=""), delta(0, type="thinking_delta", thinking="Hm"),
        delta(0, type="text_delta", text="a"), delta(3, type="text_delta", text="b"), *end(),
    ))  # fmt: skip
    assert sum(isinstance(event, ir.Started) for event in events) == 1
    assert answer_of(events).candidates[0].parts == (
        ir.Text(""), ir.Thinking("Hm", "", "anthropic"), ir.Text("a"), ir.Text("b"),
    )  # fmt: skip


def test_calls_that_grow_at_once_come_one_after_the_other() -> None:
    """Row 1."""

    def args(index: int, piece: str) -> dict[str, Any]:
        return delta(index, type="input_json_delta", partial_json=piece)

    events = read(sse(
        start(), block(0, type="tool_use", id="a", name="f", input={}), args(0, '{"x"'),
        block(1, type="tool_use", id="b", name="g", input={}), args(1, '{"y"'), block(2, type="text", text="z"), args(0, ":1}"),
        stop(0), args(1, ":2}"), stop(1), stop(2), *end("tool_use"),
    ))  # fmt: skip
    assert answer_of(events).candidates[0].parts == (
        ir.ToolCall("a", "f", '{"x":1}', {"x": 1}), ir.ToolCall("b", "g", '{"y":2}', {"y": 2}), ir.Text("z"),
    )  # fmt: skip


def test_what_the_start_of_a_block_says_is_not_lost() -> None:
    """Row 6."""
    events = read(sse(
        start(), block(0, type="text", text="a"), delta(0, type="text_delta", text="b"), stop(0),
        block(1, type="thinking", thinking="Hm", signature="s"), stop(1),
        block(2, type="tool_use", id="t", name="f", input={"x": 1}), stop(2), *end(),
    ))  # fmt: skip
    assert answer_of(events).candidates[0].parts == (
        ir.Text("ab"), ir.Thinking("Hm", "s", "anthropic"), ir.ToolCall("t", "f", '{"x":1}', {"x": 1}),
    )  # fmt: skip


def test_empty_deltas_say_nothing() -> None:
    """Row 5."""
    reader = anthropic.StreamReader()
    for event in parsed(sse(start(), block(0, type="text", text=""))):
        reader.feed(event)
    silent = parsed(sse(delta(0, type="text_delta", text=""), {"type": "ping"}))
    assert [list(reader.feed(event)) for event in silent] == [[], []]


def test_the_last_word_on_usage_counts_field_by_field() -> None:
    """Rows 11 and 45: the start is the base, what follows are running totals."""
    events = read(sse(start(input_tokens=5, output_tokens=1, cache_read_input_tokens=3), *end(output_tokens=9)))
    assert [event.usage for event in events if isinstance(event, ir.UsageSeen)][-1] == ir.Usage(5, 3, text=9)


@pytest.mark.parametrize(("tail", "kind"), [
    (sse({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}), Overloaded),
    (sse({"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}}), RateLimited),
    (b"event: content_block_delta\ndata: {oops\n\n", UpstreamFailed),
    (sse(delta(0, type="input_json_delta", partial_json="{")), UpstreamFailed),
    (sse(end()[0]), StreamCut),
    (b"", StreamCut),
])  # fmt: skip
def test_a_stream_that_breaks_is_never_a_success(tail: bytes, kind: Any) -> None:
    """Rows 8 and 9."""
    events = read(sse(start()) + tail)
    assert isinstance(events[-1], ir.Failed) and type(events[-1].error) is kind
    assert not any(isinstance(event, ir.Finished) for event in events)


def test_a_failure_in_what_waited_is_the_only_end() -> None:
    """Arguments for a call that never began, met only when the call before them is closed by the end of the answer."""
    events = read(sse(
        start(), block(0, type="tool_use", id="a", name="f", input={}), delta(1, type="input_json_delta", partial_json="{"),
        *end(),
    ))  # fmt: skip
    assert isinstance(events[-1], ir.Failed) and [type(event) for event in events].count(ir.Failed) == 1
    assert not any(isinstance(event, ir.Stopped | ir.Finished) for event in events)


def test_nothing_comes_after_the_end() -> None:
    reader = anthropic.StreamReader()
    for event in parsed(sse(start(), *end())):
        reader.feed(event)
    assert [list(reader.feed(event)) for event in parsed(sse(start(), block(0, type="text", text="x")))] == [[], []]
    assert list(reader.close()) == []


@pytest.mark.parametrize("data", [
    "[]", "1", '{"type":[]}', '{"type":"content_block_delta"}', '{"type":"content_block_delta","delta":{"type":{}}}',
    '{"type":"content_block_start","content_block":7}', '{"type":"message_delta","delta":5,"usage":[]}',
    '{"type":"content_block_start","index":{},"content_block":{"type":"tool_use","id":5,"name":{},"input":"x"}}',
    '{"type":"content_block_delta","index":[],"delta":{"type":"text_delta","text":"x"}}', '{"type":"error","error":"x"}',
    '{"type":"content_block_start","content_block":{"type":["x"]}}', '{"type":"content_block_start","content_block":{}}',
    '{"type":"message_start","message":[]}', '{"type":"content_block_delta","delta":{"type":"citations_delta"}}', "[" * 100_000,
])  # fmt: skip
def test_any_event_gives_values_or_our_own_error(data: str) -> None:
    for before in (b"", sse(start()), sse(start(), block(0, type="text", text="")), sse(start(), block(0, type="odd_new"))):
        reader, scanner = anthropic.StreamReader(), anthropic.Scanner()
        for event in [*parsed(before), Event("message", data), *parsed(sse(*end()))]:
            reader.feed(event)
            scanner.feed([event])
        reader.close()


# --------------------------------------------------------------------------------------------------------- writing a stream


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("content_block_") for event in events]


def test_one_start_and_one_end() -> None:
    """Rows 7 and 10: usage that came before the text is in the start, the rest in message_delta."""
    events, lost = writer(
        ir.Started("a1", "m"), ir.UsageSeen(ir.Usage(input=4)), ir.PartStart(0, ir.Text("")), ir.PartDelta(0, "Hé"),
        ir.PartDelta(0, "\u2028\ud83d"), ir.PartEnd(0), *DONE, ir.Finished(), ir.PartStart(1, ir.Text("late")),
    )  # fmt: skip
    assert kinds(events) == ["message_start", "start", "delta", "delta", "stop", "message_delta", "message_stop"]
    assert events[0]["message"]["usage"]["input_tokens"] == 4 and events[0]["message"]["id"] == "a1"
    assert events[2] == {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hé"}}
    assert events[3]["delta"]["text"] == "\u2028\ud83d"
    assert events[5] == {
        "type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"input_tokens": 9, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 7},
    }  # fmt: skip
    assert lost == []


def test_calls_are_blocks_of_their_own() -> None:
    """Row 1, and row 2's other side: the index is that of the block."""
    events, _ = writer(
        ir.Started("a1", "m"), ir.PartStart(0, ir.Text("")), ir.PartEnd(0), ir.PartStart(1, ir.ToolCall("t1", "f")),
        ir.PartDelta(1, '{"a"'), ir.PartDelta(1, ":1}"), ir.PartEnd(1), ir.PartStart(2, ir.ToolCall("t2", "g")),
        ir.PartEnd(2), *DONE,
    )  # fmt: skip
    assert kinds(events) == [
        "message_start", "start", "delta", "delta", "stop", "start", "stop", "message_delta", "message_stop",
    ]  # fmt: skip
    assert events[1]["content_block"] == {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
    assert [event["index"] for event in events if "index" in event] == [0, 0, 0, 0, 1, 1]
    assert events[-2]["delta"]["stop_reason"] == "tool_use"


def test_thoughts_and_their_signatures() -> None:
    events, lost = writer(
        ir.Started("a1", "m"), ir.PartStart(0, ir.Thinking("", vendor="anthropic")), ir.PartDelta(0, "Hm"),
        ir.PartDelta(0, "", "sig"),
        ir.PartEnd(0), ir.PartStart(1, ir.Thinking("", "", "anthropic", "x")), ir.PartEnd(1),
        ir.PartStart(2, ir.Thinking("")), ir.PartDelta(2, "Ah"), ir.PartEnd(2), *DONE,
    )  # fmt: skip
    assert kinds(events)[1:-2] == ["start", "delta", "delta", "stop", "start", "stop", "start", "delta", "stop"]
    assert events[3]["delta"] == {"type": "signature_delta", "signature": "sig"}
    assert events[5]["content_block"] == {"type": "redacted_thinking", "data": "x"} and lost == []


def test_a_signature_without_text_is_a_block() -> None:
    """Row 36; another vendor's goes in an envelope."""
    thought = ir.Thinking("", vendor="anthropic")
    events, lost = writer(ir.Started("a", "m"), ir.PartStart(0, thought), ir.PartDelta(0, "", "s"), ir.PartEnd(0), *DONE)
    assert kinds(events)[1:4] == ["start", "delta", "stop"] and lost == []
    other = ir.Thinking("", vendor="gemini")
    events, lost = writer(ir.Started("a", "m"), ir.PartStart(0, other), ir.PartDelta(0, "", "s"), ir.PartEnd(0), *DONE)
    assert kinds(events)[1:4] == ["start", "delta", "stop"] and lost == []
    assert open_envelope(events[2]["delta"]["signature"]) == ("gemini", "s", "")


def test_further_candidates_and_pictures_are_named() -> None:
    """Row 13."""
    picture = ir.Media("image", "image/png", "AA==")
    events, lost = writer(
        ir.Started("a", "m"), ir.PartStart(0, picture), ir.PartEnd(0), ir.PartStart(0, ir.Text(""), 1),
        ir.PartDelta(0, "x", "", 1), ir.PartEnd(0, 1), ir.Stopped(ir.Stop("length"), 1), *DONE,
    )  # fmt: skip
    assert kinds(events) == ["message_start", "message_delta", "message_stop"] and lost == ["image", "n"]
    assert events[1]["delta"]["stop_reason"] == "end_turn"


def test_a_failure_ends_the_stream_as_the_protocol_ends_it() -> None:
    """Row 8."""
    events, _ = writer(ir.Started("a", "m"), ir.PartStart(0, ir.Text("a")), ir.Failed(Overloaded("busy")), *DONE)
    assert kinds(events)[-1] == "error" and events[-1]["error"] == {"type": "overloaded_error", "message": "busy"}


# --------------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(("status", "kind"), [
    (400, "invalid_request_error"), (401, "authentication_error"), (402, "billing_error"), (403, "permission_error"),
    (404, "not_found_error"), (405, "invalid_request_error"), (408, "timeout_error"), (413, "request_too_large"),
    (422, "invalid_request_error"), (429, "rate_limit_error"), (500, "api_error"), (502, "api_error"),
    (503, "overloaded_error"),
    (504, "timeout_error"), (529, "overloaded_error"),
])  # fmt: skip
def test_errors_keep_their_status_and_have_their_type(status: int, kind: str) -> None:
    made, headers, body = anthropic.write_error(of_status(status, "no", retry_after_s=1.2), "req_1")
    assert made == status and ("retry-after", "2") in headers and ("content-type", "application/json") in headers
    assert body == {"type": "error", "error": {"type": kind, "message": "no"}, "request_id": "req_1"}
    again = anthropic.read_error(status, {}, json.dumps(body).encode())
    assert (again.status, again.message) == (status, "no")


def test_an_error_in_a_stream_gets_its_status_from_its_type() -> None:
    event = parsed(anthropic.error_event(UpstreamTimeout("silent"), "r"))[0]
    assert event.event == "error" and common.error_of(json.loads(event.data), 200).status == 504


@pytest.mark.parametrize(("status", "headers", "body", "want"), [
    (429, {"retry-after": "7"}, b'{"type":"error","error":{"type":"rate_limit_error","message":"slow"}}', (429, "slow", 7.0)),
    (503, {}, b"<html>  Bad\n gateway</html>", (503, "<html> Bad gateway</html>", None)),
    (500, {}, b"", (500, "the upstream answered 500", None)),
    (400, {}, b'{"error":"plain words"}', (400, "plain words", None)),
    (529, {}, b'{"message":"m"}', (529, "m", None)),
    (500, {}, b"\xff\xfe[1]", (500, "\ufffd\ufffd[1]", None)),
])  # fmt: skip
def test_an_upstreams_refusal(status: int, headers: Any, body: bytes, want: Any) -> None:
    error = anthropic.read_error(status, headers, body)
    assert (error.status, error.message, error.retry_after_s) == want


def test_the_small_things() -> None:
    assert anthropic.write_count(7) == {"input_tokens": 7}  # row 49
    event = parsed(SPECS["anthropic"].keepalive)[0]
    assert event.event == "ping" and json.loads(event.data) == {"type": "ping"}  # row 15


# ----------------------------------------------------------------------------------------------------- real exchanges, speed


def recordings() -> list[Path]:
    return files_in("LLM_ROUTER_RECORDINGS", "*-anthropic-messages-*.json")


def exchanges() -> list[tuple[str, Any]]:
    found = [(path.name, json.loads(path.read_text(encoding="utf-8"))["exchanges"]) for path in recordings()]
    return [(name, each) for name, all_of in found for each in all_of]


@needs("LLM_ROUTER_RECORDINGS")
def test_real_requests_come_back_as_they_went() -> None:
    count = 0
    for name, exchange in exchanges():
        body = (exchange.get("request") or {}).get("body")
        if isinstance(body, dict) and "messages" in body:
            lost: list[str] = []
            made = anthropic.write_request(anthropic.read_request(body), model=body["model"], quirks={}, lost=lost)
            assert lost == [] and normal(made) == normal(body), name
            count += 1
    assert count > 50


def normal(body: Any) -> Any:
    """A request without what says nothing: the form of one text, neighbours apart, false, blank text, effort's thinking."""
    messages: list[Any] = []
    for message in body["messages"]:
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        blocks = [bare(each) for each in blocks if each.get("text", "x").strip()]
        if messages and messages[-1][0] == message["role"]:
            messages[-1][1].extend(blocks)
        else:
            messages.append((message["role"], blocks))
    system = body.get("system") or []
    tools = [{name: value for name, value in tool.items() if value != ""} for tool in body.get("tools", [])]
    rest = {name: value for name, value in body.items() if name not in ("messages", "system", "tools", "stream", "max_tokens")}
    if "effort" in rest.get("output_config", {}):
        rest.pop("thinking", None)
    return messages, [system] if isinstance(system, str) else [each["text"] for each in system], tools, rest


def bare(block: Any) -> Any:
    if block.get("type") != "tool_result":
        return block
    content = block.get("content") or []
    texts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return {**block, "content": texts, "is_error": bool(block.get("is_error"))}


@needs("LLM_ROUTER_RECORDINGS")
def test_real_answers_survive_as_plain_and_as_streams() -> None:
    count = 0
    for name, exchange in exchanges():
        body = exchange["response"].get("body")
        if exchange["response"]["status"] != 200 or not body:
            continue
        streamed = isinstance(body, str) and body.startswith("event:")
        fields_ = {} if streamed else json.loads(body) if isinstance(body, str) else body
        whole = answer_of(read(body.encode() + b"\n\n")) if streamed else anthropic.read_answer(fields_)
        lost: list[str] = []
        made = anthropic.StreamWriter(ask(), lost=lost)
        again = answer_of(read(b"".join(map(made.feed, ir.events_of(whole)))))
        as_plain = anthropic.read_answer(anthropic.write_answer(whole, ask(), lost))
        assert said_by(again) == said_by(whole) == said_by(as_plain), name
        assert lost == (["tool_use.input"] if whole.candidates[0].stop.reason == "length" else []), name  # half a call
        count += 1
    assert count > 50


MAX_PIECE = 4.0  # CPU of a piece that is read and written here, in the time in which json reads and writes its event


def test_a_streamed_piece_costs_little() -> None:
    event = parsed(sse(delta(0, type="text_delta", text="some words of an answer, ")))[0]
    best = 1e9
    for _ in range(5):
        reader, made = anthropic.StreamReader(), anthropic.StreamWriter(ask(), lost=[])
        for each in parsed(sse(start(), block(0, type="text", text=""), delta(0, type="text_delta", text="x"))):
            list(map(made.feed, reader.feed(each)))
        began = time.process_time()
        for _ in range(2000):
            for neutral in reader.feed(event):
                made.feed(neutral)
        spent = time.process_time() - began
        began = time.process_time()
        for _ in range(2000):
            json.dumps(json.loads(event.data))
        best = min(best, spent / (time.process_time() - began))
    assert best < MAX_PIECE, f"{best:.1f}"


def test_values_are_values() -> None:
    """Reading twice gives equal values: nothing is shared that could change."""
    body, _ = pair(corpus("request")[0])
    fields_ = json.loads(body)
    first = anthropic.read_request(fields_)
    anthropic.write_request(first, model=NEW, quirks={}, lost=[])
    assert anthropic.read_request(json.loads(body)) == first and fields_ == json.loads(body)
    assert asdict(ir.Usage())["input"] == 0
