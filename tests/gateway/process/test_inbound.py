"""The protocols that callers alone speak, and what is particular to Responses, through a gateway that runs."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from running import PLAIN, Process, Upstream, chunked, data_event, http, made_up, openai_event, sends, verdict, whole_stream

KEY, TOKEN = made_up("upstream"), made_up("caller")
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
CHAT = {**PLAIN["openai"], "usage": USAGE}
CHAT_STREAM = chunked(openai_event("y"), openai_event("es", "stop"), data_event({"choices": [], "usage": USAGE}),
                      b"data: [DONE]\n\n")  # fmt: skip
TEXT = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m", "usage": USAGE,
        "choices": [{"text": "yes", "index": 0, "logprobs": None, "finish_reason": "stop"}]}  # fmt: skip


@pytest.fixture(scope="module")
def gateway(module_start: Callable[..., Process], upstream: Upstream) -> Iterator[Process]:
    config = f'[server]\ntoken = "{TOKEN}"\n'
    sides = (("chat", "openai", ""), ("claude", "anthropic", ""), ("both", "openai", '{ also = ["responses"] }'))
    for name, api, more in sides:
        root = "" if api == "anthropic" else "/v1"
        config += f'[[providers]]\nname = "{name}"\napi = "{api}"\nbase_url = "{upstream.url}{root}"\napi_key = "{KEY}"\n'
        config += f"settings = {more}\n" if more else ""
        config += f'[[models]]\nname = "m"\nprovider = "{name}"\nconfig = {{ context_window = 64000 }}\n'
    config += '[[models]]\nname = "newer"\nprovider = "chat"\nconfig = { endpoint = "responses" }\n'
    process = module_start(config)
    process.token = TOKEN
    yield process


def post(gateway: Process, path: str, **body: Any) -> Any:
    return gateway.send("POST", path, json.dumps(body).encode())


def path_of(upstream: Upstream) -> str:
    return str(upstream.requests[-1].line.split()[1])


# ------------------------------------------------------------------------------------------------------------- responses


@pytest.mark.parametrize(
    ("model", "path"), [("both/m", "/v1/responses"), ("chat/newer", "/v1/responses"), ("chat/m", "/v1/chat/completions")]
)
def test_a_provider_that_speaks_the_callers_protocol_is_called_in_it(
    model: str, path: str, gateway: Process, upstream: Upstream
) -> None:
    upstream.does(sends(http(json.dumps(PLAIN["responses"] if path.endswith("responses") else CHAT).encode())))
    answer = post(gateway, "/v1/responses", model=model, input="hi", store=False)
    assert (answer.status, answer.json["output"][0]["content"][0]["text"]) == (200, "yes")
    assert path_of(upstream) == path


@pytest.mark.parametrize(("model", "path"), [("both/m", "/v1/chat/completions"), ("chat/newer", "/v1/responses")])
def test_other_callers_are_converted_where_a_model_has_one_protocol(
    model: str, path: str, gateway: Process, upstream: Upstream
) -> None:
    upstream.does(sends(http(json.dumps(PLAIN["responses"] if path.endswith("responses") else CHAT).encode())))
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    assert post(gateway, "/v1/chat/completions", **body).json["choices"][0]["message"]["content"] == "yes"
    assert path_of(upstream) == path


def test_a_search_of_the_web_goes_where_a_provider_has_it(gateway: Process, upstream: Upstream) -> None:
    upstream.does(sends(http(json.dumps(PLAIN["responses"]).encode())))
    body = {"model": "both/m", "max_tokens": 99, "messages": [{"role": "user", "content": "hi"}]}
    tools = [{"type": "web_search_20250305", "name": "web_search"}]
    assert post(gateway, "/v1/messages", **body, tools=tools).json["content"][0]["text"] == "yes"
    assert path_of(upstream) == "/v1/responses" and upstream.requests[-1].json["tools"] == [{"type": "web_search"}]


def test_an_upstream_of_the_callers_protocol_gets_no_other_vendors_thoughts(gateway: Process, upstream: Upstream) -> None:
    """Here both answer one conversation: a Responses upstream first, whose encrypted reasoning Anthropic would refuse."""
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    told = {**PLAIN["responses"], "output": [thought, *PLAIN["responses"]["output"]]}
    upstream.does(sends(http(json.dumps(told).encode())))
    question = {"role": "user", "content": "hi"}
    content = post(gateway, "/v1/messages", model="chat/newer", max_tokens=99, messages=[question]).json["content"]
    assert [each["type"] for each in content] == ["redacted_thinking", "text"]
    for model, field in (("chat/newer", "input"), ("claude/m", "messages")):
        turns = [question, {"role": "assistant", "content": content}, question]
        upstream.does(sends(http(json.dumps(PLAIN["anthropic" if field == "messages" else "responses"]).encode())))
        answer = post(gateway, "/v1/messages", model=model, max_tokens=99, messages=turns)
        sent = json.dumps(upstream.requests[-1].json[field])
        assert ("gAAA" in sent) == (field == "input") and "redacted" not in sent and answer.status == 200
    assert answer.headers["x-llm-router-lost"] == "thinking"


def test_a_websocket_is_refused_so_that_callers_fall_back_at_once(gateway: Process) -> None:
    answer = gateway.get("/v1/responses", upgrade="websocket", connection="Upgrade")
    assert answer.status == 426 and "POST" in answer.json["error"]["message"]
    assert gateway.get("/v1/responses").status == 405


def test_tokens_are_counted(gateway: Process) -> None:
    answer = post(gateway, "/v1/responses/input_tokens", model="chat/m", input="how many?")
    assert answer.json["object"] == "response.input_tokens" and answer.json["input_tokens"] > 2


def test_a_failed_answer_under_status_200_is_a_status(gateway: Process, upstream: Upstream) -> None:
    failed = {**PLAIN["responses"], "status": "failed", "output": [],
              "error": {"code": "rate_limit_exceeded", "message": "slow down"}}  # fmt: skip
    upstream.does(sends(http(json.dumps(failed).encode())))
    answer = post(gateway, "/v1/responses", model="both/m", input="hi")
    assert (answer.status, answer.json["error"]["code"]) == (429, "rate_limit_exceeded")


# ------------------------------------------------------------------------------------------------------------ completions


@pytest.mark.parametrize("more", [{}, {"suffix": "end"}, {"echo": True}])
def test_text_completions_are_relayed_to_an_upstream_that_speaks_them(
    more: dict[str, Any], gateway: Process, upstream: Upstream
) -> None:
    upstream.does(sends(http(json.dumps(TEXT).encode())))
    answer = post(gateway, "/v1/completions", model="chat/m", prompt="Say", **more)
    assert answer.json == TEXT
    assert path_of(upstream) == "/v1/completions" and upstream.requests[-1].json == {"model": "m", "prompt": "Say", **more}


def test_a_relayed_stream_of_text_is_the_upstreams(gateway: Process, upstream: Upstream) -> None:
    events = [data_event({**TEXT, "choices": [{"text": "yes", "index": 0, "finish_reason": "stop"}]}), b"data: [DONE]\n\n"]
    upstream.does(sends(chunked(*events)))
    assert post(gateway, "/v1/completions", model="chat/m", prompt="Say", stream=True).data == b"".join(events)


def test_a_whole_text_becomes_the_stream_that_it_should_have_been(gateway: Process, upstream: Upstream) -> None:
    upstream.does(sends(http(json.dumps(TEXT).encode())))
    answer = post(gateway, "/v1/completions", model="chat/m", prompt="Say", stream=True)
    assert verdict("openai", answer.data) == "whole" and b'"text":"yes"' in answer.data


@pytest.mark.parametrize("stream", [False, True])
def test_text_completions_are_a_chat_elsewhere(stream: bool, gateway: Process, upstream: Upstream) -> None:
    upstream.does(sends(whole_stream("anthropic") if stream else http(json.dumps(PLAIN["anthropic"]).encode())))
    answer = post(gateway, "/v1/completions", model="claude/m", prompt="Say", stream=stream)
    assert upstream.requests[-1].json["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Say"}]}]
    if stream:
        assert verdict("openai", answer.data) == "whole" and b'"text":"y"' in answer.data
    else:
        assert answer.json["choices"][0]["text"] == "yes"


def test_what_only_a_text_model_can_do_is_refused_elsewhere(gateway: Process) -> None:
    answer = post(gateway, "/v1/completions", model="claude/m", prompt="Say", suffix="end")
    assert answer.status == 400 and answer.json["error"]["param"] == "suffix"


def refuses_texts(status: str, message: str, *, stream: bool) -> Any:
    """An upstream that knows only chats."""
    said = CHAT_STREAM if stream else http(json.dumps(CHAT).encode())

    def serve(sock: Any, asked: Any) -> Any:
        refusal = http(json.dumps({"error": {"message": message}}).encode(), status=status)
        return sends(refusal if asked.line.split()[1].endswith("/v1/completions") else said)(sock, asked)

    return serve


@pytest.fixture(scope="module")
def passing(module_start: Callable[..., Process], upstream: Upstream) -> Process:
    """A gateway whose provider takes any model's name."""
    return module_start(f'[[providers]]\nname = "o"\napi = "openai"\nbase_url = "{upstream.url}/v1"\napi_key = "{KEY}"\n')


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "message"),
    [
        ("404 Not Found", "This is a chat model and not supported in the v1/completions endpoint. Use v1/chat/completions."),
        ("405 Method Not Allowed", "Method Not Allowed"),
        ("400 Bad Request", "gpt-x: use the chat/completions endpoint"),
    ],
)
def test_a_model_of_openais_that_only_chats_gets_a_chat(
    status: str, message: str, stream: bool, passing: Process, upstream: Upstream
) -> None:
    model = f"o/{status[:3]}-{stream}"
    upstream.does(refuses_texts(status, message, stream=stream))
    before = len(upstream.requests)
    for _ in range(2):
        answer = post(passing, "/v1/completions", model=model, prompt="Say", stream=stream)
        said = answer.data if stream else answer.json["choices"][0]["text"].encode()
        assert answer.status == 200 and (b'"text":"y"' in said if stream else said == b"yes")
    paths = [each.line.split()[1] for each in upstream.requests[before:]]
    assert paths == ["/v1/completions", "/v1/chat/completions", "/v1/chat/completions"], "what was learnt is not tried again"
    assert upstream.requests[-1].json["messages"] == [{"role": "user", "content": "Say"}]
    refused = post(passing, "/v1/completions", model=model, prompt="Say", suffix="end")
    assert refused.status == 400 and "suffix" in refused.json["error"]["message"]


def test_a_model_that_is_not_there_is_not_tried_twice(gateway: Process, upstream: Upstream) -> None:
    missing = {"error": {"message": "The model `m` does not exist", "code": "model_not_found"}}
    upstream.does(sends(http(json.dumps(missing).encode(), status="404 Not Found")))
    before = len(upstream.requests)
    assert post(gateway, "/v1/completions", model="chat/m", prompt="Say").status == 404
    assert len(upstream.requests) == before + 1


# ----------------------------------------------------------------------------------------------------------------- ollama

HI = [{"role": "user", "content": "hi"}]


def lines(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


@pytest.mark.parametrize("model", ["chat/m", "claude/m"])
def test_an_ollama_chat_streams_by_default(model: str, gateway: Process, upstream: Upstream) -> None:
    upstream.does(sends(CHAT_STREAM if model == "chat/m" else whole_stream("anthropic")))
    answer = post(gateway, "/api/chat", model=model, messages=HI)
    assert answer.headers["content-type"] == "application/x-ndjson"
    said = lines(answer.data)
    assert "".join(each["message"]["content"] for each in said) == "yes" and said[-1]["done"] is True


def test_an_ollama_answer_is_one_object_where_no_stream_is_wanted(gateway: Process, upstream: Upstream) -> None:
    upstream.does(sends(http(json.dumps(CHAT).encode())))
    assert post(gateway, "/api/chat", model="chat/m", messages=HI, stream=False).json["message"]["content"] == "yes"
    upstream.does(sends(http(json.dumps(CHAT).encode())))
    assert post(gateway, "/api/generate", model="chat/m", prompt="hi", stream=False).json["response"] == "yes"


def test_ollamas_listings(gateway: Process) -> None:
    names = [each["model"] for each in gateway.get("/api/tags").json["models"]]
    assert names == ["chat/m", "claude/m", "both/m", "chat/newer"]
    for name in ("model", "name"):
        shown = post(gateway, "/api/show", **{name: "chat/m"}).json
        assert "completion" in shown["capabilities"] and shown["model_info"]["gateway.context_length"] == 64000
    assert gateway.get("/api/version").json["version"] and gateway.get("/api/ps").json == {"models": []}
    missing = post(gateway, "/api/show", model="no/such")
    assert missing.status == 404 and isinstance(missing.json["error"], str)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [("/api/embed", {"input": ["a"]}, "embeddings"), ("/api/embeddings", {"prompt": "a"}, "embedding")],
)
def test_ollamas_embeddings_are_openais(
    path: str, body: dict[str, Any], field: str, gateway: Process, upstream: Upstream
) -> None:
    upstream.does(sends(http(json.dumps({"data": [{"embedding": [0.5, 1.0]}], "usage": USAGE}).encode())))
    answer = post(gateway, path, model="chat/m", **body)
    assert answer.json[field] in ([0.5, 1.0], [[0.5, 1.0]])
    assert path_of(upstream) == "/v1/embeddings" and upstream.requests[-1].json["model"] == "m"


def test_an_ollama_error_is_a_text(gateway: Process, upstream: Upstream) -> None:
    upstream.does(sends(http(b'{"error": {"message": "no"}}', status="401 Unauthorized")))
    answer = post(gateway, "/api/chat", model="chat/m", messages=HI)
    assert answer.status == 401 and isinstance(answer.json["error"], str)
