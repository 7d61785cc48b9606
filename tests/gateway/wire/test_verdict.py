"""verdict: what is an answer, by the table that also holds the client (tests/corpus/complete.json), relayed and converted."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from llm_router_gateway.errors import GatewayError, StreamCut
from llm_router_gateway.proxy.whole_answers import Reading
from llm_router_gateway.proxy.whole_answers import answer as whole_answer
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


# (an error where OpenAI's clients would not look for it, its status, its words)
ELSEWHERE: list[tuple[dict[str, Any], int, str]] = [
    ({"x_groq": {"id": "r", "error": "over capacity"}}, 502, "over capacity"),
    ({"choices": [{"index": 0, "delta": {}, "finish_reason": "error", "error": {"code": 429, "message": "s"}}]}, 429, "s"),
    ({"choices": [{"index": 0, "delta": {}, "finish_reason": None, "error": {"message": "died"}}]}, 502, "died"),
    ({"object": "error", "message": "EngineCore died", "code": 500}, 500, "EngineCore died"),
    ({"object": "error", "message": "EngineCore died", "code": 500, "choices": []}, 500, "EngineCore died"),
    ({"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}, "choices": None}, 402, "insufficient balance"),
    ({"base_resp": {"status_code": 1000, "status_msg": "unknown error"}}, 502, "unknown error"),
    ({"code": 401, "msg": "token expired", "success": False}, 401, "token expired"),
    ({"detail": "overloaded", "status": 503}, 503, "overloaded"), ({"status": 429}, 429, '{"status":429}'),
]  # fmt: skip


@pytest.mark.parametrize("chunk,status,words", ELSEWHERE)
@pytest.mark.parametrize("caller", [None, *CALLERS])
def test_an_error_in_any_place_has_its_status_and_goes_on_in_the_callers_form_alone(
    chunk: dict[str, Any], status: int, words: str, caller: str | None
) -> None:
    pipe = relay("openai") if caller is None else convert("openai", caller)
    out, error = run(pipe, events([TEXT, chunk, "[DONE]"]))
    assert error is not None and (error.status, error.message) == (status, words)
    assert not pipe.error_passed and (caller or out == events([TEXT]))


def test_an_error_event_as_openai_writes_it_goes_on_as_it_is() -> None:
    pipe, data = relay("openai"), events([TEXT, {"error": {"message": "busy", "code": 503}}])
    assert run(pipe, data + events(["[DONE]"]))[0] == data and pipe.error_passed


@pytest.mark.parametrize("answer,status,words", ELSEWHERE)
def test_an_error_in_any_place_of_a_whole_answer_has_its_status(answer: dict[str, Any], status: int, words: str) -> None:
    how = Reading("openai", "openai", None, None, (), (), 0)
    said, made = whole_answer(json.dumps(answer).encode(), how)
    assert (said.kind, said.status, made) == ("error", status, b"")
    assert wire("openai").read_error(said.status, {}, json.dumps(answer).encode()).message == words
    beside = {**answer, "choices": [{**TEXT["choices"][0], "message": {"content": "hi"}, "finish_reason": "stop"}]}
    is_part = "x_groq" in answer or answer.get("object") == "error"
    assert whole_answer(json.dumps(beside).encode(), how)[0].kind == ("error" if is_part else "answer")


def test_a_turn_in_anothers_form_is_no_error_that_repeats_it() -> None:
    foreign = json.dumps({"message": {"role": "assistant", "content": "secret"}, "done": True}).encode()
    said, _ = whole_answer(foreign, Reading("openai", "openai", None, None, (), (), 0))
    assert said.flaw is not None and said.flaw.code == verdict.EMPTY


def test_of_several_choices_all_say_why_they_ended_or_none() -> None:
    def flaw(*words: str | None) -> GatewayError | None:
        found: GatewayError | None = wire("openai").flaw_in(
            {"choices": [{"message": {"content": "hi"}, "finish_reason": word} for word in words]}
        )
        return found

    cut = flaw("stop", None)
    assert cut is not None and cut.code == "unfinished_choice"
    assert flaw("stop", "length") is None and flaw(None, None) is None


@pytest.mark.parametrize("caller", [None, *CALLERS])
def test_a_stream_is_over_at_its_last_reason_unless_one_came_too_early(caller: str | None) -> None:
    pipe = relay("openai") if caller is None else convert("openai", caller)
    early = {"choices": [{**TEXT["choices"][0], "finish_reason": "length"}]}
    seen = []
    for event in (TEXT, STOP, TEXT, early, "[DONE]"):
        pipe.feed(events([event]))
        seen.append(pipe.done)
    assert seen == [False, True, False, False, True]


SEVERAL: dict[str, Any] = {
    "openai": lambda index, text, word: {"choices": [{"index": index, "delta": {"content": text}, "finish_reason": word}]},
    "completions": lambda index, text, word: {"choices": [{"index": index, "text": text, "finish_reason": word}]},
    "gemini": lambda index, text, word: {"candidates": [
        {"index": index, "content": {"parts": [{"text": text}]}, **({"finishReason": word} if word else {})}]},
}  # fmt: skip


@pytest.mark.parametrize("api", SEVERAL)
def test_of_several_choices_each_has_to_end(api: str) -> None:
    choice, stop = SEVERAL[api], "STOP" if api == "gemini" else "stop"
    cut = [choice(1, "b", None), choice(0, "a", None), choice(0, "", stop)]
    for turn, is_whole in ((cut, False), ([*cut, choice(1, "", stop)], True), ([cut[1], cut[2]], True)):
        pipe = relay(api)
        error = run(pipe, events(turn))[1]
        assert (error is None) is pipe.done is is_whole, turn
        assert pipe.finish == stop


@pytest.mark.parametrize("turn,whole", [
    (["h", "i"], False), (["h", "i", "[DONE]"], True), (["h:stop", "i:stop"], True), (["h:stop", "i"], False),
    (["h:abort"], False),
])  # fmt: skip
def test_a_text_completion_is_held_to_the_same_rules(turn: list[str], whole: bool) -> None:
    chunks = [each if each == "[DONE]" else SEVERAL["completions"](0, each[0], each[2:] or None) for each in turn]
    pipe, done = relay("completions"), []
    for chunk in chunks:
        pipe.feed(events([chunk]))
        done.append(pipe.done)
    pipe.close()
    assert (pipe.error is None) is whole
    assert done[1:] != [True] or turn[-1] == "[DONE]", "a reason on every chunk ends nothing before the response ends"


@pytest.mark.parametrize("caller", [None, *CALLERS])
@pytest.mark.parametrize("words,finish", [(("length", "length", "stop"), "stop"), ((None, "length", "stop"), "length")])
def test_the_first_reason_counts_unless_every_chunk_has_one(
    caller: str | None, words: tuple[str | None, ...], finish: str
) -> None:
    pipe = relay("openai") if caller is None else convert("openai", caller)
    chunks = [{"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": word}]}
              for text, word in zip(("a", "b", "" if finish == "length" else "c"), words, strict=True)]  # fmt: skip
    assert run(pipe, events([*chunks, "[DONE]"]))[1] is None
    assert finish == (pipe.finish.native if isinstance(pipe.finish, ir.Stop) else pipe.finish)


@pytest.mark.parametrize("where", ["x_groq", "choice"])
@pytest.mark.parametrize("caller", [None, *CALLERS])
def test_usage_counts_wherever_it_stands(caller: str | None, where: str) -> None:
    usage = {"prompt_tokens": 2, "completion_tokens": 3}
    ends = [{"index": index, "delta": {"content": "hi"}, "finish_reason": "stop"} for index in (0, 1)]
    if where == "choice":
        ends[1]["usage"] = usage
    last = {"choices": ends, **({"x_groq": {"usage": usage, "error": None}} if where == "x_groq" else {})}
    pipe = relay("openai") if caller is None else convert("openai", caller)
    assert run(pipe, events([last, "[DONE]"]))[1] is None and pipe.usage == ir.Usage(2, text=3)
    body = {**last, "choices": [{**end, "message": {"content": "hi"}} for end in ends]}
    assert wire("openai").usage_in(body) == wire("openai").read_answer(body).usage == ir.Usage(2, text=3)


def test_a_call_that_is_written_in_both_forms_is_one() -> None:
    function = {"name": "f", "arguments": '{"a":1}'}
    message = {"role": "assistant", "tool_calls": [{"index": 0, "id": "c", "function": function}], "function_call": function}
    [part] = wire("openai").read_answer({"choices": [{"message": message, "finish_reason": "tool_calls"}]}).candidates[0].parts
    assert isinstance(part, ir.ToolCall) and part.arguments == {"a": 1}
    chunk = {"choices": [{"index": 0, "delta": message, "finish_reason": "tool_calls"}]}
    out = run(convert("openai", "anthropic"), events([chunk, "[DONE]"]))[0]
    assert out.count(b'"tool_use","id"') == 1 and out.count(b"input_json_delta") == 1


@pytest.mark.parametrize("call", [{"function_call": {"name": "f", "arguments": '{"a'}},
                                  {"tool_calls": [{"function": {"name": "f", "arguments": '{"a'}}]}])  # fmt: skip
def test_half_a_call_of_a_whole_answer_is_found_in_either_form(call: dict[str, Any]) -> None:
    flaw = wire("openai").flaw_in({"choices": [{"message": call, "finish_reason": "stop"}]})
    assert flaw is not None and flaw.code == "half_tool_call"


TEXT: dict[str, Any] = {"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": None}]}
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
