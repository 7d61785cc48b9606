"""Responses that build on earlier ones, through a gateway that runs: kept by it, whoever answered; the caller's own alone."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from quick import every, slow
from running import PLAIN, ROOTS, Process, Upstream, http, made_up, sends, whole_stream

KEY = made_up("upstream")
SECRETS = {name: made_up(name) for name in ("alice", "bob")}
UPSTREAMS = ("openai", "anthropic", "gemini", "responses")
THEIRS = {**PLAIN["responses"], "id": "resp_theirs1"}


def config(url: str, server: str = "") -> str:
    text = f"[server]\n{server}\n"
    for api in UPSTREAMS:
        text += f'[[providers]]\nname = "{api}"\napi = "{api}"\nbase_url = "{url}{ROOTS[api]}"\napi_key = "{KEY}"\n'
        text += f'[[models]]\nname = "m"\nprovider = "{api}"\n[[models]]\nname = "n"\nprovider = "{api}"\n'
    text += '[[groups]]\nname = "both"\nmembers = [{ model = "responses/m" }, { model = "responses/n" }]\n'
    return text + "".join(f'[[keys]]\nname = "{name}"\nkey = "{secret}"\n' for name, secret in SECRETS.items())


@pytest.fixture(scope="module")
def gateway(module_start: Callable[..., Process], upstream: Upstream) -> Iterator[Process]:
    yield module_start(config(upstream.url), at_once=True)


def call(gateway: Process, method: str, path: str, who: str = "alice", **body: Any) -> Any:
    data = json.dumps(body).encode() if method == "POST" else None
    return gateway.send(method, path, data, authorization=f"Bearer {SECRETS[who]}")


def say(gateway: Process, model: str, who: str = "alice", **body: Any) -> Any:
    return call(gateway, "POST", "/v1/responses", who, model=model, **body)


def answers(upstream: Upstream, api: str, *, stream: bool = False, **more: Any) -> None:
    upstream.does(sends(whole_stream(api) if stream else http(json.dumps({**PLAIN[api], **more}).encode())))


def sent(upstream: Upstream) -> Any:
    return upstream.requests[-1].json


def id_of(answer: Any, stream: bool = False) -> str:
    assert answer.status == 200, answer.data
    if not stream:
        return str(answer.json["id"])
    last = [line for line in answer.data.decode().splitlines() if line.startswith("data: ")][-1]
    return str(json.loads(last[6:])["response"]["id"])


# ------------------------------------------------------------------------------------------------------------ unfolding


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("second", UPSTREAMS)
@pytest.mark.parametrize("first", every(3, UPSTREAMS))
def test_a_conversation_goes_on_wherever_it_began(
    first: str, second: str, stream: bool, gateway: Process, upstream: Upstream
) -> None:
    answers(upstream, first, stream=stream)
    before = id_of(say(gateway, f"{first}/m", input="What is it?", stream=stream), stream)
    answers(upstream, second, stream=stream)
    after = say(gateway, f"{second}/n", input="Really?", previous_response_id=before, stream=stream)
    id_of(after, stream)
    body = json.dumps(sent(upstream))
    assert body.index("What is it?") < body.index("yes") < body.index("Really?")
    assert "previous_response_id" not in body


def test_an_upstream_that_gave_the_answer_is_only_sent_its_id(gateway: Process, upstream: Upstream) -> None:
    answers(upstream, "responses", id="resp_theirs1")
    assert id_of(say(gateway, "responses/m", input="one")) == "resp_theirs1"
    answers(upstream, "responses", id="resp_theirs2")
    say(gateway, "responses/m", input="two", previous_response_id="resp_theirs1")
    assert sent(upstream) == {"model": "m", "input": "two", "previous_response_id": "resp_theirs1"}


def test_in_a_group_it_stays_with_the_member_that_has_it(gateway: Process, upstream: Upstream) -> None:
    for at in range(4):
        answers(upstream, "responses", id=f"resp_group{at}")
        first = say(gateway, "both", input="one")
        answers(upstream, "responses", id=f"resp_next{at}")
        second = say(gateway, "both", input="two", previous_response_id=f"resp_group{at}")
        assert first.headers["x-llm-router-model"] == second.headers["x-llm-router-model"]
        assert sent(upstream)["previous_response_id"] == f"resp_group{at}"


@pytest.mark.slow
def test_it_stays_with_the_key_that_it_began_with(start: Callable[..., Process], upstream: Upstream) -> None:
    other = made_up("other")
    before = config(upstream.url)
    first = start(before)
    answers(upstream, "responses", id="resp_kept")
    say(first, "responses/m", input="one")
    first.end()
    second = start(before.replace(f'api_key = "{KEY}"', f'api_key = "{other},{KEY}"'), folder=first.folder)
    for previous, key in (("resp_kept", KEY), ("", other)):
        answers(upstream, "responses")
        say(second, "responses/m", input="two", **({"previous_response_id": previous} if previous else {}))
        assert upstream.requests[-1].headers["authorization"] == f"Bearer {key}"
        assert sent(upstream).get("previous_response_id", "") == previous


@pytest.mark.parametrize("stream", [False, True])
def test_an_upstream_that_has_forgotten_gets_our_copy(stream: bool, gateway: Process, upstream: Upstream) -> None:
    answers(upstream, "responses", id="resp_forgotten")
    say(gateway, "responses/m", input="one")
    gone = {"error": {"message": "gone", "type": "invalid_request_error", "code": "previous_response_not_found"}}

    def refuses_ids(sock: Any, asked: Any) -> Any:
        if "previous_response_id" in asked.json:
            return sends(http(json.dumps(gone).encode(), status="400 Bad Request"))(sock, asked)
        return sends(whole_stream("responses") if stream else http(json.dumps(PLAIN["responses"]).encode()))(sock, asked)

    upstream.does(refuses_ids)
    answer = say(gateway, "responses/m", input="two", previous_response_id="resp_forgotten", stream=stream)
    assert answer.status == 200, answer.data
    contents = [item["content"] for item in sent(upstream)["input"]]
    said = [each if isinstance(each, str) else each[0]["text"] for each in contents]
    assert said == ["one", "yes", "two"]


def test_references_to_items_are_resolved(gateway: Process, upstream: Upstream) -> None:
    answers(upstream, "anthropic")
    first = say(gateway, "anthropic/m", input="one").json
    answers(upstream, "openai")
    reference = {"type": "item_reference", "id": first["output"][0]["id"]}
    given = [{"role": "user", "content": "one"}, reference, {"role": "user", "content": "two"}]
    assert say(gateway, "openai/m", input=given).status == 200
    assert [each["content"] for each in sent(upstream)["messages"]] == ["one", "yes", "two"]
    unknown = say(gateway, "openai/m", input=[{"type": "item_reference", "id": "msg_nobody_0"}])
    assert unknown.status == 404 and "msg_nobody_0" in unknown.json["error"]["message"]


def test_results_of_tools_find_their_calls_in_the_turn_before(gateway: Process, upstream: Upstream) -> None:
    block = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}
    answers(upstream, "anthropic", content=[block], stop_reason="tool_use")
    tools = [{"type": "function", "name": "f", "parameters": {"type": "object"}}]
    first = say(gateway, "anthropic/m", input="one", tools=tools).json
    output = {"type": "function_call_output", "call_id": first["output"][0]["call_id"], "output": "result"}
    answers(upstream, "anthropic")
    assert say(gateway, "anthropic/m", input=[output], tools=tools, previous_response_id=first["id"]).status == 200
    *_, called, result = sent(upstream)["messages"]
    assert called["content"][0]["id"] == result["content"][0]["tool_use_id"] == "toolu_1"


# ------------------------------------------------------------------------------------------------------------- ownership


@pytest.fixture
def kept(gateway: Process, upstream: Upstream) -> str:
    answers(upstream, "anthropic")
    return id_of(say(gateway, "anthropic/m", input="one", metadata={"a": "b"}))


def test_an_answer_is_read_back(gateway: Process, kept: str) -> None:
    found = call(gateway, "GET", f"/v1/responses/{kept}").json
    assert found["id"] == kept and found["output"][0]["content"][0]["text"] == "yes" and found["metadata"] == {"a": "b"}
    items = call(gateway, "GET", f"/responses/{kept}/input_items").json
    assert [each["content"][0]["text"] for each in items["data"]] == ["one"] and items["has_more"] is False
    cancelled = call(gateway, "POST", f"/v1/responses/{kept}/cancel")
    assert cancelled.status == 400 and "synchronous" in cancelled.json["error"]["message"]


@pytest.mark.parametrize("stored", ["kept", "another caller's", *slow("deleted", "not kept")])
def test_what_is_not_there_is_not_found(stored: str, gateway: Process, upstream: Upstream, kept: str) -> None:
    who, name = "alice", kept
    if stored == "deleted":
        assert call(gateway, "DELETE", f"/v1/responses/{kept}").json == {"id": kept, "object": "response", "deleted": True}
    elif stored == "not kept":
        answers(upstream, "anthropic")
        name = id_of(say(gateway, "anthropic/m", input="one", store=False))
    elif stored != "kept":
        who = "bob"
    status = 200 if stored == "kept" else 404
    assert call(gateway, "GET", f"/v1/responses/{name}", who).status == status
    answers(upstream, "anthropic")
    goes_on = say(gateway, "anthropic/m", who, input="two", previous_response_id=name)
    assert goes_on.status == (200 if status == 200 else 400)
    if status == 404:
        assert goes_on.json["error"]["code"] == "previous_response_not_found" and name in goes_on.json["error"]["message"]
        for method, path in (("GET", "/input_items"), ("POST", "/cancel"), ("DELETE", "")):
            assert call(gateway, method, f"/v1/responses/{name}{path}", who).status == 404


def test_what_is_deleted_here_is_deleted_at_the_upstream_that_has_it(gateway: Process, upstream: Upstream) -> None:
    answers(upstream, "responses", id="resp_both")
    say(gateway, "responses/m", input="one")
    upstream.does(sends(http(b"{}")))
    assert call(gateway, "DELETE", "/v1/responses/resp_both").json["deleted"] is True
    assert upstream.requests[-1].line.startswith("DELETE /v1/responses/resp_both ")
    assert upstream.requests[-1].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.slow
def test_conversations_and_seals_outlive_a_restart(start: Callable[..., Process], upstream: Upstream) -> None:
    first = start(config(upstream.url))
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "c2lnbmF0dXJl"}
    answers(upstream, "anthropic", content=[thought, {"type": "text", "text": "yes"}])
    before = id_of(say(first, "anthropic/m", input="one", reasoning={"effort": "low", "summary": "auto"}))
    first.end()
    second = start(config(upstream.url), folder=first.folder)
    answers(upstream, "anthropic")
    assert say(second, "anthropic/m", input="two", previous_response_id=before).status == 200
    assert sent(upstream)["messages"][1]["content"][0] == thought, "to the letter, or the vendor refuses it"


@pytest.mark.slow
def test_conversations_and_seals_are_known_to_every_worker(start: Callable[..., Process], upstream: Upstream) -> None:
    gateway = start(config(upstream.url, "workers = 2"))
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "c2lnbmF0dXJl"}
    answers(upstream, "anthropic", content=[thought, {"type": "text", "text": "yes"}])
    asked = {"input": [{"role": "user", "content": "one"}], "reasoning": {"effort": "low", "summary": "auto"}}
    first = say(gateway, "anthropic/m", **asked)
    before, output = id_of(first), first.json["output"]
    for _ in range(8):  # connections of their own, which either worker may take
        for more in ({"input": "two", "previous_response_id": before},
                     {"input": [*asked["input"], *output, {"role": "user", "content": "two"}]}):  # fmt: skip
            answers(upstream, "anthropic")
            assert say(gateway, "anthropic/m", **more).status == 200
            assert sent(upstream)["messages"][1]["content"][0] == thought


@pytest.mark.parametrize("server", ["keep_conversations_hours = 0", *slow('store = "off"')])
def test_nothing_is_kept_where_that_is_switched_off(server: str, start: Callable[..., Process], upstream: Upstream) -> None:
    gateway = start(config(upstream.url, server))
    answers(upstream, "anthropic")
    before = id_of(say(gateway, "anthropic/m", input="one"))
    assert call(gateway, "GET", f"/v1/responses/{before}").status == 404
    assert say(gateway, "anthropic/m", input="two", previous_response_id=before).status == 400
    answers(upstream, "responses")
    assert say(gateway, "responses/m", input="two", previous_response_id="resp_x").status == 200, "an upstream may know it"
    assert sent(upstream)["previous_response_id"] == "resp_x"


# ------------------------------------------------------------------------------------------------------------ compaction


def test_a_trigger_gives_one_compaction_that_unfolds_later(gateway: Process, upstream: Upstream) -> None:
    answers(upstream, "anthropic")
    given = [{"role": "user", "content": "one"}, {"type": "compaction_trigger"}]
    made = say(gateway, "anthropic/m", input=given, store=False).json["output"]
    assert [item["type"] for item in made] == ["compaction"]
    answers(upstream, "openai")
    assert say(gateway, "openai/m", input=[*made, {"role": "user", "content": "two"}]).status == 200
    assert "yes" in sent(upstream)["messages"][0]["content"]
    stolen = say(gateway, "openai/m", "bob", input=[*made, {"role": "user", "content": "two"}])
    assert stolen.status == 400 and stolen.json["error"]["code"] == "invalid_encrypted_content"


@pytest.mark.slow
def test_compact_is_a_summary_by_the_model_or_the_upstreams_own(gateway: Process, upstream: Upstream) -> None:
    answers(upstream, "gemini")
    made = call(gateway, "POST", "/v1/responses/compact", model="gemini/m", input="one").json
    assert made["object"] == "response.compaction"
    assert [item["type"] for item in made["output"]] == ["message", "compaction"]
    compacted = {
        "id": "resp_c",
        "object": "response.compaction",
        "output": [],
        "usage": {"input_tokens": 5000, "output_tokens": 50, "total_tokens": 5050},
    }
    upstream.does(sends(http(json.dumps(compacted).encode())))
    answer = call(gateway, "POST", "/v1/responses/compact", model="responses/m", input="one")
    assert answer.json["id"] == "resp_c" and upstream.requests[-1].line.startswith("POST /v1/responses/compact ")
    gateway.logged(f" in=5000 out=50 id={answer.headers['x-request-id']}")


def test_an_answer_that_is_fetched_later_is_refused(gateway: Process) -> None:
    for model in ("anthropic/m", "responses/m"):
        refused = say(gateway, model, input="one", background=True)
        assert refused.status == 400 and refused.json["error"]["param"] == "background"
