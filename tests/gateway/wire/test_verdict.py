"""verdict: what is an answer, by the table that also holds the client (tests/corpus/complete.json), relayed and converted."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from llm_router_gateway.errors import GatewayError, StreamCut
from llm_router_gateway.wire import ir, verdict
from llm_router_gateway.wire.pipes import ConvertPipe, RelayPipe
from llm_router_gateway.wire.registry import wire

TURNS: list[dict[str, Any]] = json.loads((Path(__file__).parents[2] / "corpus" / "complete.json").read_text())
REQUEST = ir.Request("m", (ir.Message("user", (ir.Text("hi"),)),), stream=True)
CALLERS = ("openai", "anthropic", "gemini")
Pipe = RelayPipe | ConvertPipe


def events(turn: list[Any]) -> bytes:
    texts = [each.removeprefix("raw:") if isinstance(each, str) else json.dumps(each) for each in turn]
    return "".join(f"data: {text}\n\n" for text in texts).encode()


def relay(api: str) -> RelayPipe:
    return RelayPipe(wire(api).Scanner())


def convert(api: str, caller: str) -> ConvertPipe:
    return ConvertPipe(wire(api).StreamReader(), wire(caller).StreamWriter(REQUEST, lost=[]))


def run(pipe: Pipe, data: bytes, step: int = 0) -> tuple[bytes, GatewayError | None]:
    """What went out, and the error; `step`: bytes at a time, 0 for all at once."""
    out = b""
    for at in range(0, len(data), step or len(data)):
        out += pipe.feed(data[at : at + (step or len(data))])
        if pipe.error is not None:
            return out, pipe.error
    return out + pipe.close(), pipe.error


def judged(pipe: Pipe, data: bytes) -> str:
    error = run(pipe, data)[1]
    return "answer" if error is None else "incomplete" if pipe.outputs else "failed"


@pytest.mark.parametrize("turn", TURNS, ids=[f"{turn['protocol']}: {turn['name']}" for turn in TURNS])
@pytest.mark.parametrize("caller", [None, *CALLERS])
def test_a_turn_is_what_the_upstream_says_it_is(turn: dict[str, Any], caller: str | None) -> None:
    """complete and refused turns go to the caller; the others are errors, before output or after it."""
    api, wanted = turn["protocol"], turn.get("gateway", turn["verdict"])
    pipe = relay(api) if caller is None else convert(api, caller)
    assert judged(pipe, events(turn["events"])) == {"complete": "answer", "refused": "answer"}.get(wanted, wanted)


BROKEN = {
    "openai": ({"choices": [{"index": 0, "delta": {"content": "half"}, "finish_reason": None}]},
               {"choices": [{"index": 0, "delta": {}, "finish_reason": "abort"}]}),
    "gemini": ({"candidates": [{"content": {"parts": [{"text": "half"}]}}]}, {"candidates": [{"finishReason": "OTHER"}]}),
    "anthropic": ({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "half"}},
                  {"type": "message_delta", "delta": {"stop_reason": "error"}}),
}  # fmt: skip


@pytest.mark.parametrize("api", BROKEN)
@pytest.mark.parametrize("step", [0, 1, 7])
def test_a_relay_passes_on_what_came_before_a_flaw_and_nothing_of_it(api: str, step: int) -> None:
    good, bad = (events([each]) for each in BROKEN[api])
    out, error = run(relay(api), good + b": alive\n\n" + bad + b"data: [DONE]\n\n", step)
    assert out.startswith(good) and out.removeprefix(good) in (b"", b": alive\n\n")
    assert error is not None and error.code.startswith("unfinished_")


STARTED = [{"type": "message_start", "message": {"id": "a", "model": "m"}},
           {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
           {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}}]  # fmt: skip


@pytest.mark.parametrize("caller", [None, *CALLERS])
@pytest.mark.parametrize("again,code", [("b", "second_start"), ("a", "")])
def test_a_second_start_with_another_id_is_another_answer(caller: str | None, again: str, code: str) -> None:
    pipe = relay("anthropic") if caller is None else convert("anthropic", caller)
    pipe.feed(events([*STARTED, {"type": "message_start", "message": {"id": again, "model": "m"}}]))
    assert (pipe.error.code if pipe.error else "") == code


def openai_call(*pieces: str, finish: str) -> bytes:
    calls = [{"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "c", "function": {
        "name": "f", "arguments": piece}}]}, "finish_reason": None}]} for piece in pieces]  # fmt: skip
    return events([*calls, {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}, "[DONE]"])


def anthropic_call(*pieces: str, finish: str) -> bytes:
    block = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    deltas = [{"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": piece}}
              for piece in pieces]  # fmt: skip
    return events([
        STARTED[0], {"type": "content_block_start", "index": 0, "content_block": block}, *deltas,
        {"type": "content_block_stop", "index": 0}, {"type": "message_delta", "delta": {"stop_reason": finish}},
        {"type": "message_stop"},
    ])  # fmt: skip


@pytest.mark.parametrize("caller", [None, *CALLERS])
@pytest.mark.parametrize("pieces,is_cut,code", [
    (['{"city"', ': "Par'], False, "half_tool_call"), (['{"city"', ': "Paris"}'], False, ""), ([""], False, ""),
    (["no JSON at all"], False, ""), (['{"city"', ': "Par'], True, ""),
])  # fmt: skip
def test_a_call_that_breaks_off_is_an_error_unless_the_answer_was_cut_by_its_length(
    caller: str | None, pieces: list[str], is_cut: bool, code: str
) -> None:
    ends = {"openai": ("tool_calls", "length"), "anthropic": ("tool_use", "max_tokens")}
    for api, call in (("openai", openai_call), ("anthropic", anthropic_call)):
        pipe = relay(api) if caller is None else convert(api, caller)
        error = run(pipe, call(*pieces, finish=ends[api][is_cut]))[1]
        assert (error.code if error else "") == code, api


@pytest.mark.parametrize("text,half", [
    ("", False), ("{}", False), ('{"a": 1}', False), ("{", True), ('{"a', True), ('{"a":', True), ('{"a": 1', True),
    ('{"a": tr', True), ('{"a": "\\', True), ('{"a": "\\u00', True), ('{"a": [1, ', True), ("nonsense", False),
    ("{a: 1}", False), ('{"a": 1}{"b": 2}', False), ('{"a": 1} {"b"', True), ("[" * 100_000, False),
])  # fmt: skip
def test_half_a_call_is_json_that_goes_on(text: str, half: bool) -> None:
    assert verdict.half_call(text) is half


TEXT = {"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": None}]}
STOP = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


@pytest.mark.parametrize("caller", [None, *CALLERS])
def test_the_end_of_input_ends_an_event_that_is_whole_and_no_other(caller: str | None) -> None:
    def made(*turn: Any) -> bytes:
        return events(list(turn))

    whole = [made(TEXT, STOP)[:-1], made(TEXT, STOP)[:-2], made(TEXT, "[DONE]")[:-2]]
    half = [made(TEXT, STOP)[:-3], made(TEXT)[:-2] + b"\n\ndata: [DO", made(TEXT)]
    for data in whole:
        assert run(relay("openai") if caller is None else convert("openai", caller), data)[1] is None, data
    for data in half:
        assert isinstance(run(relay("openai") if caller is None else convert("openai", caller), data)[1], StreamCut), data


@pytest.mark.parametrize("caller,step", [*product([None, "anthropic"], [1, 2, 3, 4, 1_000])])
def test_a_byte_order_mark_is_left_out(caller: str | None, step: int) -> None:
    data = events([TEXT, STOP, "[DONE]"])
    out, error = run(relay("openai") if caller is None else convert("openai", caller), b"\xef\xbb\xbf" + data, step)
    assert error is None and (caller or out == data)


WHOLE = {
    "openai": lambda word: {"choices": [{"index": 0, "message": {"content": "half"}, "finish_reason": word}]},
    "anthropic": lambda word: {"type": "message", "content": [{"type": "text", "text": "half"}], "stop_reason": word},
    "gemini": lambda word: {"candidates": [{"content": {"parts": [{"text": "half"}]}, "finishReason": word}]},
}


@pytest.mark.parametrize("api", WHOLE)
def test_a_whole_answer_is_held_to_the_same_words(api: str) -> None:
    for word in sorted(verdict.UNFINISHED):
        flaw = wire(api).flaw_in(WHOLE[api](word))
        assert flaw is not None and (flaw.status, flaw.code) == (502, f"unfinished_{word}")
    for ended in ("stop", "end_turn", "STOP", "length", None):
        assert wire(api).flaw_in(WHOLE[api](ended)) is None


@pytest.mark.parametrize("api,answer,code", [
    ("openai", {"choices": []}, "empty_answer"), ("openai", {}, "empty_answer"), ("gemini", {"candidates": []}, "empty_answer"),
    ("gemini", {"promptFeedback": {"blockReason": "SAFETY"}}, ""),
    ("openai", {"choices": [{"message": {"content": ""}, "finish_reason": "stop"}]}, ""),
    ("openai", {"choices": [{"message": {}, "finish_reason": "stop", "native_finish_reason": "abort"}]}, "unfinished_abort"),
    ("openai", {"choices": [{"message": {"tool_calls": [{"function": {"arguments": '{"a'}}]}, "finish_reason": "tool_calls"}]},
     "half_tool_call"),
])  # fmt: skip
def test_an_answer_without_a_turn_is_none(api: str, answer: dict[str, Any], code: str) -> None:
    flaw = wire(api).flaw_in(answer)
    assert (flaw.code if flaw else "") == code


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_whole_events_are_separate_whatever_ends_their_lines(line_end: str) -> None:
    stream = [": c\n\nevent: x\ndata: 1\nid: 7\n\n", "data: 2\ndata: 3\n\n", "data: [DONE]\n\n"]
    raw = [event.replace("\n", line_end).encode() for event in stream]
    assert list(verdict.raw_events(b"".join(raw))) == raw
