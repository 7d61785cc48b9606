"""Unmet demands: a prescribed tool call that does not come, and fewer choices than were asked for, are warnings."""

from __future__ import annotations

from typing import Any, Dict, List

import pytest
from raw_server import DONE, completion, delta, http, stream

import llm_router_client as c
from llm_router_extras.unmet import prescribed_call, warnings

CALL = [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
NAMED = {"type": "function", "function": {"name": "f"}}
ALLOWED = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [NAMED]}}


@pytest.mark.parametrize("body,found", [
    ({}, ("", "", [])), ({"tool_choice": "auto"}, ("tool_choice", "", [])), ({"tool_choice": None}, ("tool_choice", "", [])),
    ({"tool_choice": "required"}, ("tool_choice", "any", [])), ({"tool_choice": "any"}, ("tool_choice", "any", [])),
    ({"tool_choice": NAMED}, ("tool_choice", "any", ["f"])), ({"tool_choice": ALLOWED}, ("tool_choice", "any", ["f"])),
    ({"tool_choice": {"type": "custom", "custom": {"name": "f"}}}, ("tool_choice", "any", [])),
    ({"function_call": {"name": "f"}}, ("function_call", "any", ["f"])),
    ({"function_call": "none"}, ("function_call", "none", [])),
    ({"toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f", "g"]}}},
     ("toolConfig", "any", ["f", "g"])),
    ({"toolConfig": {"functionCallingConfig": {"mode": "AUTO"}}}, ("toolConfig", "", [])),
])  # fmt: skip
def test_a_request_prescribes_a_call_in_the_words_of_each_api(body: Dict[str, Any], found: Any) -> None:
    assert prescribed_call(body) == found


GEMINI_CALL = {"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "args": {}}}]}, "finishReason": "STOP"}]}


@pytest.mark.parametrize("body,gemini,chunk,warned", [
    ({}, False, {"choices": [{"index": 0, "delta": {"content": "Hi"}}]}, []),
    ({"tool_choice": "required"}, False, {"choices": [{"index": 0, "delta": {"content": "Hi"}}]},
     ["tool_choice prescribes a call of a tool, and the answer has none"]),
    ({"tool_choice": NAMED}, False, {"choices": [{"index": 0, "delta": {"tool_calls": CALL}}]}, []),
    ({"tool_choice": "none"}, False, {"choices": [{"index": 0, "delta": {"tool_calls": CALL}}]},
     ["tool_choice allows no tool call, and the answer has one"]),
    ({"n": 2}, False, {"choices": [{"index": 0, "delta": {"content": "Hi"}}]},
     ["n asks for 2 choices, and the answer has 1"]),
    ({"toolConfig": {"functionCallingConfig": {"mode": "NONE"}}, "generationConfig": {"candidateCount": 2}}, True, GEMINI_CALL,
     ["toolConfig allows no tool call, and the answer has one", "candidateCount asks for 2 choices, and the answer has 1"]),
])  # fmt: skip
def test_what_an_answer_lacks_is_named(body: Any, gemini: bool, chunk: Any, warned: List[str]) -> None:
    reader = c.Reader(gemini)
    reader.raw = b"{}" if gemini else b""  # the body of a whole answer: of a stream the candidates cannot be counted
    reader.take(chunk)
    assert warnings(body, reader) == warned


def replies(text: Any, **message: Any) -> List[bytes]:
    """One answer as a whole and as a stream."""
    finish = "tool_calls" if message else "stop"
    return [http(completion(text, finish, **message)), stream(delta(text, **message), delta(finish=finish), DONE)]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("choice,calls,warned", [
    ("required", [], "tool_choice prescribes a call of a tool, and the answer has none"),
    (NAMED, [], "tool_choice prescribes a call of f, and the answer has none"),
    ({"type": "function", "function": {"name": "g"}}, CALL, "tool_choice prescribes a call of g, and the answer has none"),
    ("none", CALL, "tool_choice allows no tool call, and the answer has one"),
    ("required", CALL, ""), (NAMED, CALL, ""), ("auto", [], ""), ("none", [], ""), (None, CALL, ""),
])  # fmt: skip
def test_a_prescribed_call_that_does_not_come_is_a_warning(
    serve: Any, streamed: bool, choice: Any, calls: List[Any], warned: str
) -> None:
    message = {"tool_calls": calls} if calls else {}
    server = serve(replies(None if calls else "Hi", **message)[streamed])
    answer = c.LLMRouterClient(base_url=server.base_url).chat(
        "m", [{"role": "user", "content": "Hi"}], tool_choice=choice, stream=streamed
    )
    answer = answer.answer() if streamed else answer
    assert answer.warnings == ([warned] if warned else [])


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("wanted,came,warned", [
    (3, 1, ["n asks for 3 choices, and the answer has 1"]), (2, 2, []), (1, 1, []), (1, 2, []), (None, 1, []),
])  # fmt: skip
def test_fewer_choices_than_requested_are_a_warning(
    serve: Any, streamed: bool, wanted: Any, came: int, warned: List[str]
) -> None:
    whole = completion()
    whole["choices"] = [{**whole["choices"][0], "index": number} for number in range(came)]
    events = [delta("Hi", "stop").replace(b'"index": 0', b'"index": %d' % number) for number in range(came)]
    server = serve(stream(*events, DONE) if streamed else http(whole))
    answer = c.LLMRouterClient(base_url=server.base_url).chat(
        "m", [{"role": "user", "content": "Hi"}], n=wanted, stream=streamed
    )
    assert (answer.answer() if streamed else answer).warnings == warned


@pytest.mark.parametrize("streamed", [False, True])
def test_geminis_own_format_too(serve: Any, streamed: bool) -> None:
    whole = {"candidates": [{"content": {"parts": [{"text": "Hi"}]}, "finishReason": "STOP"}]}
    server = serve(stream(b"data: %s\n\n" % http(whole).partition(b"\r\n\r\n")[2]) if streamed else http(whole))
    body = {"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}, "generation_config": {"candidateCount": 2}}
    answer = c.LLMRouterClient(base_url=server.base_url).generate_content("m", "Hi", stream=streamed, **body)
    few = [] if streamed else ["candidateCount asks for 2 choices, and the answer has 1"]
    said = (answer.answer() if streamed else answer).warnings
    assert said == ["toolConfig prescribes a call of a tool, and the answer has none", *few]


@pytest.mark.parametrize("more", [[], ["--stream"]])
def test_the_command_line_says_so_beside_the_answer(cli: Any, serve: Any, more: List[str]) -> None:
    server = serve(*replies("Hi")[len(more) :])
    cli.env["LLM_ROUTER_BASE_URL"] = server.base_url
    (cli.cwd / "body.json").write_text('{"n": 2}')
    words = ["chat", "-m", "m", "--message", "Hi", "--tool-choice", "required", "--body-file", "body.json", *more]
    warned = ["tool_choice prescribes a call of a tool, and the answer has none", "n asks for 2 choices, and the answer has 1"]
    ran = cli(*words)
    assert (ran.code, ran.out, ran.err.decode()) == (0, b"Hi\n", "".join(f"llm-router: {text}\n" for text in warned))
    ran = cli(*words, "--json")
    assert (ran.events[-1] if more else ran.json)["warnings"] == warned
