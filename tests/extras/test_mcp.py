"""The command `mcp`: tools over standard input and output, one JSON-RPC message a line."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Dict, Iterator, List

import pytest
from quick import every

import llm_router_client as c
from llm_router_extras import mcp

META = {mcp.REVISION_KEY: mcp.STATELESS_REVISIONS[0], mcp.CAPABILITIES_KEY: {}}
PNG = b"\x89PNG\r\n\x1a\n" + bytes(32)


def request(number: Any, method: str, **params: Any) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params})


def call(number: Any, name: str, **arguments: Any) -> str:
    return request(number, "tools/call", name=name, arguments=arguments)


def exchange(cli: Any, *lines: str, words: List[str] = ["--demo"]) -> Dict[Any, Any]:  # noqa: B006  (it is never changed)
    """Response by id."""
    done = cli("mcp", *words, stdin="\n".join(lines).encode() + b"\n")
    assert done.code == 0, done
    return {response["id"]: response for response in map(json.loads, done.out.splitlines())}


def texts(response: Any) -> List[str]:
    return [block["text"] for block in response["result"]["content"]]


@pytest.mark.parametrize(
    ("wanted", "spoken"),
    every(2, [("2025-06-18", "2025-06-18"), ("2024-11-05", "2024-11-05"), ("1999-01-01", "2025-11-25"), (None, "2025-11-25")]),
)
def test_the_handshake_settles_on_a_revision_that_is_spoken(cli: Any, wanted: Any, spoken: str) -> None:
    found = exchange(cli, request(1, "initialize", protocolVersion=wanted), request("two", "tools/list"), request(3, "ping"))
    assert found[1]["result"]["protocolVersion"] == spoken and found[1]["result"]["serverInfo"]["version"] == c.VERSION
    assert [tool["name"] for tool in found["two"]["result"]["tools"]] == ["chat", "vision", "compare", "models"]
    assert found[3]["result"] == {} and "ttlMs" not in found["two"]["result"]


def test_a_stateless_request_needs_no_handshake(cli: Any) -> None:
    arguments = {"name": "chat", "arguments": {"message": "Hi"}}
    older = {**META, mcp.REVISION_KEY: "2026-01-01"}
    found = exchange(
        cli,
        request(1, "server/discover", _meta=META),
        request(2, "tools/list", _meta=META),
        request(3, "tools/call", _meta=META, **arguments),
        request(4, "server/discover", _meta=older),
        request(5, "server/discover"),
    )
    assert found[1]["result"]["supportedVersions"] == ["2026-07-28"]
    assert all(found[number]["result"]["resultType"] == "complete" for number in (1, 2, 3))
    assert found[2]["result"]["cacheScope"] == "public" and found[2]["result"]["ttlMs"] > 0
    assert found[4]["error"]["code"] == -32022 and found[4]["error"]["data"]["requested"] == "2026-01-01"
    assert found[5]["error"]["code"] == mcp.INVALID_PARAMS


def test_each_tool_answers(cli: Any, tmp_path: Any) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    found = exchange(
        cli,
        call(1, "chat", message="Hi", system="Be brief."),
        call(2, "vision", images=["a.png"], prompt="What?"),
        call(3, "compare", models=["demo", "demo-reasoning"], message="Hi"),
        call(4, "models", search="demo-r", limit=1),
        call(5, "models", search="nothing"),
    )
    assert "You said: Hi" in texts(found[1])[0] and found[1]["result"]["_meta"]["llm-router/model"] == "demo"
    assert "What?" in texts(found[2])[0]
    assert "== demo (" in texts(found[3])[0] and "== demo-reasoning (" in texts(found[3])[0]
    assert texts(found[4])[0] == "demo-reasoning" and "1 are shown; `limit` and `search` change that" in texts(found[4])[1]
    assert "0 are shown; without `search` all are listed" in texts(found[5])[0]
    assert not any(found[number]["result"]["isError"] for number in found)


def test_what_costs_and_asks_nothing_is_refused_in_words_for_a_program(cli: Any) -> None:
    found = exchange(
        cli, call(1, "chat", message=" \n"), call(2, "vision", images=["https://example.com/a.png"], prompt=" "),
        call(3, "compare", models=["demo"], message="\t"), call(4, "chat", message="Hi", schema={"type": "nonsense"}),
        call(5, "vision", images=["."]),
    )  # fmt: skip
    said = {number: texts(result)[0] for number, result in found.items()}
    assert all(found[number]["result"]["isError"] for number in found), found
    assert said[1] == "[llm-router] chat: $.message is blank; correct the arguments"
    assert "$.prompt is blank" in said[2] and "$.message is blank" in said[3]
    assert "not a JSON schema" in said[4] and "Correct the arguments." in said[4] and "--help" not in str(said)
    assert ". is a directory" in said[5]


def test_a_call_that_fails_is_a_result_that_says_what_to_do(cli: Any) -> None:
    found = exchange(
        cli,
        call(1, "chat", message="Hi", model="fail-cut"),
        call(2, "chat", massage="Hi"),
        call(3, "vision", images=["/etc/hostname"]),
        call(4, "compare", models=["fail-401", "fail-403"], message="Hi"),
        call(5, "chat", message="Hi", model="fail-length"),
    )
    assert all(found[number]["result"]["isError"] for number in (1, 2, 3, 4)), found
    assert texts(found[2]) == ["[llm-router] chat: $.message is missing; correct the arguments"]
    assert "outside the working directory" in texts(found[3])[0] and "next: " in texts(found[3])[0]
    assert "incomplete" in texts(found[1])[-1] and len(texts(found[1])) == 2
    assert not found[5]["result"]["isError"] and "cut at the token limit" in texts(found[5])[1]


def test_arguments_may_be_null_and_what_is_no_object_is_named(cli: Any) -> None:
    given = ((1, "models", None), (2, "chat", [1]), (3, "vision", {"images": ["a\0b.png"]}))
    cancelled = json.dumps({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": {}}})
    found = exchange(
        cli, cancelled, *(request(number, "tools/call", name=name, arguments=each) for number, name, each in given)
    )
    assert not found[1]["result"]["isError"] and "demo" in texts(found[1])[0]
    assert texts(found[2]) == ["[llm-router] chat: $ must be object; correct the arguments"]
    assert found[3]["result"]["isError"] and "cannot read a" in texts(found[3])[0]


@pytest.mark.parametrize(
    ("line", "number", "code"),
    every(3, [
        ("{", None, mcp.PARSE_ERROR),
        ("[1]", None, mcp.INVALID_REQUEST),
        ("null", None, mcp.INVALID_REQUEST),
        (request(True, "ping"), None, mcp.INVALID_REQUEST),
        (request(None, "ping"), None, mcp.INVALID_REQUEST),
        (request(1, "resources/list"), 1, mcp.NO_METHOD),
        (request(1, "tools/call", name="rm"), 1, mcp.INVALID_PARAMS),
        (request(1, "tools/call", name={}), 1, mcp.INVALID_PARAMS),
    ]),
)  # fmt: skip
def test_what_is_no_call_is_an_error_of_the_protocol_and_ends_nothing(cli: Any, line: str, number: Any, code: int) -> None:
    found = exchange(cli, line, request("after", "ping"), '{"jsonrpc": "2.0", "method": "notifications/initialized"}')
    assert found[number]["error"]["code"] == code and found["after"]["result"] == {} and len(found) == 2


def test_a_schema_gives_json_that_fits(cli: Any) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    text = texts(exchange(cli, call(1, "chat", message="Hi", model="demo-schema-repair", schema=schema))[1])[0]
    assert isinstance(json.loads(text)["name"], str)


@pytest.fixture
def peer(cli: Any, demo: Any) -> Iterator[Any]:
    """The program as an agent runs it: write(line), read() -> message, while both ends stay open."""
    process = cli.start("mcp", "--base-url", demo.base_url, stdin=subprocess.PIPE)

    class Ends:
        @staticmethod
        def write(line: str) -> None:
            process.stdin.write(line.encode() + b"\n")
            process.stdin.flush()

        @staticmethod
        def read() -> Any:
            return json.loads(process.stdout.readline())

    yield Ends
    process.stdin.close()
    try:
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


@pytest.mark.slow
def test_a_cancelled_call_hangs_up_and_is_not_answered(peer: Any, demo: Any) -> None:
    parameters = {"name": "chat", "arguments": {"message": "Hi", "model": "demo-slow-500"}, "_meta": {"progressToken": "p"}}
    peer.write(request("long", "tools/call", **parameters))
    progress = peer.read()
    assert progress["method"] == "notifications/progress" and progress["params"]["progressToken"] == "p"
    assert progress["params"]["progress"] > 0
    peer.write(json.dumps({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "long"}}))
    peer.write(call("next", "chat", message="Hi", model="demo"))
    message = peer.read()
    while message.get("method"):  # progress that was on its way
        message = peer.read()
    assert message["id"] == "next" and "You said: Hi" in texts(message)[0]


@pytest.mark.slow
def test_calls_run_side_by_side(peer: Any) -> None:
    peer.write(call("slow", "chat", message="Hi", model="demo-sleep-700"))
    peer.write(call("quick", "chat", message="Hi", model="demo"))
    assert [peer.read()["id"], peer.read()["id"]] == ["quick", "slow"]


def test_the_limit_of_cost_counts_all_calls(cli: Any) -> None:
    lines = [call(number, "chat", message="Hi " * 4000) for number in range(1, 4)]
    found = exchange(cli, *lines, words=["--demo", "-m", "gpt-4o", "--max-cost", "0.0001"])
    assert any(found[number]["result"]["isError"] for number in found)


def test_a_terminal_is_refused() -> None:
    class Terminal:
        isatty = staticmethod(lambda: True)

    before, sys.stdin = sys.stdin, Terminal()  # type: ignore[assignment]
    try:
        with pytest.raises(c.UsageError, match="over pipes"):
            mcp.run(None, None)  # type: ignore[arg-type]
    finally:
        sys.stdin = before
