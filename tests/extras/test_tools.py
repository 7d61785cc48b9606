"""Tools: what a function's signature says to a model, rounds of calls, what goes back, and what bad servers do."""

from __future__ import annotations

import functools
import json
import sys
import threading
import time
from typing import Annotated, Any, Callable, Dict, List, Literal, Optional, Union

import pytest
from raw_server import DONE, RawServer, StillTransport, completion, delta, http, stream

import llm_router_client as c
from llm_router_extras import schema, tools

Serve = Callable[..., RawServer]
ASK = [{"role": "user", "content": "What is 2 and 3?"}]


def add(a: int, b: int = 1) -> int:
    """Adds two numbers,
    and nothing else.

    Told to nobody.

    Args:
        a: the first
        b (int): the second
    """
    return a + b


def weather(  # type: ignore[no-untyped-def]  # one argument without an annotation
    city: Annotated[str, "its name"], unit: Literal["C", "F"] = "C", days: Optional[List[int]] = None,
    more: Union[Dict[str, float], bool, None] = None, anything: Any = 0, untyped=1, *, plain: list = (),  # type: ignore[assignment, type-arg]
) -> str:  # fmt: skip
    """:param untyped: what you like"""
    return f"{city}: 21 {unit}"


def fails(why: str) -> None:
    """Never works."""
    raise ValueError(f"because {why}")


def test_a_signature_and_a_docstring_become_a_tool() -> None:
    assert tools.tool_spec(add) == {
        "name": "add", "description": "Adds two numbers,\nand nothing else.",
        "parameters": {
            "type": "object", "additionalProperties": False, "required": ["a"], "properties": {
                "a": {"type": "integer", "description": "the first"}, "b": {"type": "integer", "description": "the second"},
            },
        },
    }  # fmt: skip


def test_annotations_become_schemas() -> None:
    shape = tools.tool_spec(weather)["parameters"]
    assert shape["required"] == ["city"]
    assert shape["properties"] == {
        "city": {"type": "string", "description": "its name"}, "unit": {"enum": ["C", "F"]},
        "days": {"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "null"}]},
        "more": {"anyOf": [
            {"type": "object", "additionalProperties": {"type": "number"}}, {"type": "boolean"}, {"type": "null"},
        ]},
        "anything": {}, "untyped": {"description": "what you like"}, "plain": {"type": "array"},
    }  # fmt: skip
    schema.check_schema(shape)


@pytest.mark.skipif(sys.version_info < (3, 10), reason="int | None is newer")
def test_a_union_with_a_bar_is_a_union() -> None:
    def newer(a: int | None) -> None: ...

    assert tools.tool_spec(newer)["parameters"]["properties"]["a"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}


def star(*words: str) -> None: ...
def stars(**words: str) -> None: ...
def only(a: int, /) -> None: ...
def unknown(a: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821
def odd(a: bytes) -> None: ...
def keyed(a: Dict[int, str]) -> None: ...
async def later(a: int) -> None: ...


@pytest.mark.parametrize("function", [
    star, stars, only, unknown, odd, keyed, later, lambda a: a, functools.partial(add, 1), "add", None, int,
], ids=str)  # fmt: skip
def test_what_no_model_could_call_is_refused(function: Any) -> None:
    with pytest.raises(c.UsageError):
        tools.tool_spec(function)


def call(name: str, parsed: Any, function: Any = add) -> Any:
    made = tools.call_tool({"id": "1", "name": name, "parsed": parsed}, {"add": (function, tools.tool_spec(add))})
    return made["error"] or made["result"]


@pytest.mark.parametrize("name,parsed,said", [
    ("add", {"a": 2}, "3"), ("add", {"a": 2, "b": 3}, "5"), ("sub", {"a": 1}, "there is no tool of this name; there are add"),
    ("", {}, "no tool"), ("add", None, "arguments must be object"), ("add", [1], "arguments must be object"),
    ("add", {}, "arguments.a is missing"),
    ("add", {"a": "2"}, "arguments.a must be integer"), ("add", {"a": 1, "c": 2}, "arguments.c is not allowed"),
])  # fmt: skip
def test_only_arguments_that_fit_reach_a_function(name: str, parsed: Any, said: str) -> None:
    assert said in call(name, parsed)


def test_results_are_text_or_json_and_every_exception_is_reported() -> None:
    def raising(error: Any) -> Callable[..., Any]:
        def function(a: int) -> Any:
            raise error

        return function

    assert call("add", {"a": 1}, lambda a: "text") == "text"
    assert call("add", {"a": 1}, lambda a: {"n": [1, None]}) == '{"n": [1, null]}'
    assert call("add", {"a": 1}, raising(KeyError("x"))) == "KeyError: 'x'"
    assert call("add", {"a": 1}, raising(SystemExit(3))) == "SystemExit: 3"
    assert "not JSON serializable" in call("add", {"a": 1}, lambda a: object())
    with pytest.raises(KeyboardInterrupt):
        call("add", {"a": 1}, raising(KeyboardInterrupt()))


def answer(calls: Any, **message: Any) -> c.Answer:
    reader = c.Reader()
    reader.take(completion(None, "tool_calls", tool_calls=calls, **message))
    reader.raw = b"x"
    reader._head = completion(None, "tool_calls", tool_calls=calls, **message)
    return c.Answer(reader)


def test_tools_are_functions_each_with_a_name_of_its_own() -> None:
    def look(place: str) -> str:
        """Look there."""
        return place

    assert list(tools.tools_by_name([look])) == ["look"]
    for wrong in (None, [], [look, look]):
        with pytest.raises(c.UsageError, match="one tool or more"):
            tools.tools_by_name(wrong)
    with pytest.raises(c.UsageError, match="tools must be a list of functions"):
        tools.tools_by_name(5)


def test_what_goes_back_has_ids_types_and_arguments_that_are_json() -> None:
    calls = [{"index": 0, "function": {"name": "add", "arguments": '{"a":'}},
             {"index": 1, "id": "2", "extra": {"sign": "x"}, "function": {"name": "add", "arguments": '{"a": 1}'}}]  # fmt: skip
    given = answer(calls, reasoning_content="hm", function_call=None)
    made = [{"id": "call_0", "error": "no", "result": ""}, {"id": "2", "error": None, "result": "5"}]
    turn, *results = tools.turns_of(given, made)
    assert turn == {
        "role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [
            {"id": "call_0", "type": "function", "function": {"name": "add", "arguments": "{}"}},
            {"id": "2", "type": "function", "extra": {"sign": "x"}, "function": {"name": "add", "arguments": '{"a": 1}'}},
        ],
    }  # fmt: skip
    assert results == [{"role": "tool", "tool_call_id": "call_0", "content": "Error: no"},
                       {"role": "tool", "tool_call_id": "2", "content": "5"}]  # fmt: skip


def test_a_message_with_other_calls_than_we_read_is_put_together_anew() -> None:
    given = answer([{"id": "1", "function": {"name": "add", "arguments": ""}}])
    given["choices"][0]["message"]["tool_calls"] = None
    function = {"name": "add", "arguments": "{}"}
    assert tools.turns_of(given, [])[0]["tool_calls"] == [{"id": "1", "type": "function", "function": function}]
    given["choices"] = []
    given.tool_calls, given.text = [], "done"
    assert tools.turns_of(given, []) == [{"role": "assistant", "content": "done"}]


# ------------------------------------------------------------------------------------------------------------ library


def client(server: Any, **options: Any) -> c.LLMRouterClient:
    return c.LLMRouterClient(base_url=server.base_url, **{"transport": StillTransport(), **options})


def calling(*calls: Any, **more: Any) -> bytes:
    """A plain answer that calls tools: (name, arguments) each."""
    wire = [{"id": f"id{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for number, (name, arguments) in enumerate(calls)]  # fmt: skip
    return http(completion(None, "tool_calls", tool_calls=wire, **more))


@pytest.mark.parametrize("streamed", [False, True])
def test_tools_are_called_until_the_model_answers_in_words(demo: Any, streamed: bool) -> None:
    events: List[Any] = []
    given = client(demo).run_tools("demo-rounds-3", ASK, [add, weather], stream=streamed, on_event=events.append)
    assert [(each["round"], each["name"], each["error"]) for each in given.calls] == [
        (number, name, None) for number in (1, 2, 3) for name in ("add", "weather")
    ]
    assert given.calls[0]["arguments"] == {"a": 1, "b": 1} and given.calls[0]["result"] == "2"
    assert "add said: 2; weather said: mock: 21 C" in given.text and given.finish_reason == "stop"
    assert len(given.attempts) == 4 and given.messages[-1]["content"] == given.text
    assert [turn["role"] for turn in given.messages] == ["user", *["assistant", "tool", "tool"] * 3, "assistant"]
    assert given.cost and given.cost > given.usage["cost"] and ASK == [{"role": "user", "content": "What is 2 and 3?"}]
    assert bool(events) == streamed and all(request["body"]["stream"] is streamed for request in demo.requests)


@pytest.mark.parametrize("odd", ["noindex", "index0", "sameindex-newname", "repeatid", "ids", "stop", "null-args"])
@pytest.mark.parametrize("streamed", [False, True])
def test_odd_servers_calls_are_assembled(demo: Any, odd: str, streamed: bool) -> None:
    seen: List[str] = []

    def first(text: str = "") -> str:
        seen.append("first")
        return "one"

    def second(text: str = "") -> str:
        seen.append("second")
        return "two"

    given = client(demo).run_tools(f"demo-tools-{odd}", ASK, [first, second], stream=streamed)
    assert sorted(seen) == ["first", "second"] and "first said: one; second said: two" in given.text


@pytest.mark.parametrize("streamed", [False, True])
def test_arguments_that_break_off_end_the_rounds_and_reach_no_function(demo: Any, streamed: bool) -> None:
    with pytest.raises(c.IncompleteError, match="inside a tool call") as caught:
        client(demo).run_tools("demo-tools-cut-args", ASK, [add], stream=streamed)
    assert caught.value.code == "stream_cut" and caught.value.calls == []


def test_arguments_that_are_no_object_go_back_as_an_error(serve: Serve) -> None:
    server = serve(calling(("add", "[1]")), http(completion("sorry")))
    given = client(server).run_tools("m", ASK, [add])
    assert [each["error"] for each in given.calls] == ["arguments must be object"]
    sent = server.bodies()[1]["messages"]
    assert sent[-1]["content"] == "Error: arguments must be object"
    assert sent[-2]["tool_calls"][0]["function"]["arguments"] == "{}"


def test_exceptions_and_unknown_names_go_back_to_the_model(serve: Serve) -> None:
    server = serve(calling(("fails", '{"why": "so"}'), ("nothing", "{}"), ("add", '{"a": 2}')), http(completion("sorry")))
    given = client(server).run_tools("m", ASK, [fails, add])
    assert [bool(each["error"]) for each in given.calls] == [True, True, False]
    sent = server.bodies()[1]["messages"]
    assert [turn["content"] for turn in sent[2:]] == [
        "Error: ValueError: because so",
        "Error: there is no tool of this name; there are fails, add",
        "3",
    ]
    assert [turn["tool_call_id"] for turn in sent[2:]] == ["id0", "id1", "id2"] and given.text == "sorry"


def test_calls_of_one_answer_run_at_once_and_keep_their_order(serve: Serve) -> None:
    barrier = threading.Barrier(3, timeout=30)

    def meet(number: int) -> int:
        barrier.wait()
        time.sleep(0.01 * (3 - number))
        return number

    server = serve(calling(*(("meet", json.dumps({"number": number})) for number in range(3))), http(completion()))
    assert [each["result"] for each in client(server).run_tools("m", ASK, [meet]).calls] == ["0", "1", "2"]


def test_endless_rounds_end_in_an_error_that_lists_the_calls(serve: Serve) -> None:
    server = serve(calling(("add", '{"a": 1}')))
    with pytest.raises(c.BadUpstreamError, match="after 2 rounds") as caught:
        client(server).run_tools("m", ASK, [add], max_rounds=2)
    assert [each["round"] for each in caught.value.calls] == [1, 2] and len(server.requests) == 3
    assert len(caught.value.attempts) == 3 and caught.value.response and caught.value.response.tool_calls


def test_a_failure_between_rounds_keeps_what_was_called(serve: Serve) -> None:
    server = serve(calling(("add", '{"a": 1}')), http({"error": {"message": "no"}}, "402 Pay"))
    with pytest.raises(c.CreditsError) as caught:
        client(server).run_tools("m", ASK, [add])
    assert [each["result"] for each in caught.value.calls] == ["2"]
    assert [each["cause"] for each in caught.value.attempts] == ["ok", "no_credit"]


def test_the_model_that_began_goes_on_and_the_chain_stays(serve: Serve) -> None:
    listed = http({"data": [{"id": name} for name in ("gpt-4o-mini", "gpt-4o", "gpt-4.1")]})
    refused = http({"error": {"message": "no"}}, "402 Pay")
    server = serve(listed, refused, calling(("add", '{"a": 1}')), refused, http(completion()))
    given = client(server).run_tools("auto", ASK, [add], prefer="cost")
    assert [each["model"] for each in given.attempts] == ["gpt-4o-mini", "gpt-4o", "gpt-4o", "gpt-4.1"]
    assert {"task", "prefer"} & set(json.loads(server.requests[-1]["body"])) == set()


def test_streamed_calls_in_fragments_are_whole_before_they_run(serve: Serve) -> None:
    def fragment(**function: Any) -> bytes:
        return delta(tool_calls=[{"index": 0, **({"id": "x"} if "name" in function else {}), "function": function}])

    pieces = [fragment(name="add", arguments=""), fragment(arguments='{"a"'), fragment(arguments=": 4}")]
    server = serve(stream(*pieces, delta(finish="tool_calls"), DONE), stream(delta("five", "stop"), DONE))
    given = client(server).run_tools("m", ASK, [add], stream=True)
    assert given.calls[0]["arguments"] == {"a": 4} and given.text == "five" and given.cost is None


@pytest.mark.parametrize("tools,rounds", [([], 3), ([add, add], 3), ([add], 0), ([star], 3)])
def test_nothing_to_call_is_refused_before_anything_is_sent(demo: Any, tools: Any, rounds: int) -> None:
    with pytest.raises(c.UsageError):
        client(demo).run_tools("demo", ASK, tools, max_rounds=rounds)
    assert demo.requests == []


def test_data_of_the_last_answer_is_checked_too(demo: Any) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    wish = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    assert client(demo).run_tools("demo-tools", ASK, [add], response_format=wish).data == {"n": 1}


# ------------------------------------------------------------------------------------------------------- command line


def test_the_command_line_prints_calls_and_executes_nothing(cli: Any, demo: Any) -> None:
    (cli.cwd / "t.json").write_text(json.dumps([{"type": "function", "function": tools.tool_spec(add)}]), encoding="utf-8")
    words = ["chat", "-m", "demo-rounds-9", "--message", "x", "--tools", "t.json", "--base-url", demo.base_url]
    for more in ([], ["--stream"]):
        ran = cli(*words, *more)
        assert ran.code == 0 and json.loads(ran.out.splitlines()[-1])["parsed"] == {"a": 1, "b": 1}
    assert cli(*words, "--json").json["tool_calls"][0]["name"] == "add" and len(demo.requests) == 3


@pytest.mark.parametrize("text,code", [("{", 2), ("{}", 2), ('"add"', 2)])
def test_a_bad_tools_file_is_wrong_usage(cli: Any, demo: Any, text: str, code: int) -> None:
    (cli.cwd / "t.json").write_text(text, encoding="utf-8")
    ran = cli("chat", "-m", "demo", "--message", "x", "--tools", "t.json", "--base-url", demo.base_url)
    assert ran.code == code and ran.out == b"" and b"--tools" in ran.err and demo.requests == []
