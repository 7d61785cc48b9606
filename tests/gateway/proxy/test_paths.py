"""paths: what a request line asks for."""

import pytest

from llm_router_gateway.errors import BadMethod, NotFound
from llm_router_gateway.proxy.paths import KNOWN, Call, protocol_of, read_call
from llm_router_gateway.wire.registry import SPECS

ANTHROPIC, GOOGLE = {"anthropic-version": "2023-06-01"}, {"x-goog-api-key": "k"}


@pytest.mark.parametrize(
    ("method", "path", "call"),
    [
        ("POST", "/v1/chat/completions", Call("chat", "openai")),
        ("POST", "/chat/completions", Call("chat", "openai")),
        ("POST", "/v1/v1/messages", Call("chat", "anthropic")),
        ("POST", "/v1/messages", Call("chat", "anthropic")),
        ("POST", "/v1/messages/count_tokens", Call("count", "anthropic")),
        ("POST", "/v1/embeddings", Call("embeddings", "openai")),
        ("POST", "/v1beta/models/m:generateContent", Call("chat", "gemini", "m", action="generateContent")),
        ("POST", "/v1/models/p/m:generateContent", Call("chat", "gemini", "p/m", action="generateContent")),
        ("POST", "/models/p%2Fm:countTokens", Call("count", "gemini", "p/m", action="countTokens")),
        ("POST", "/v1beta/models/ollama/llama3:8b:generateContent",
         Call("chat", "gemini", "ollama/llama3:8b", action="generateContent")),
        ("POST", "/v1beta/models/m:streamGenerateContent",
         Call("chat", "gemini", "m", True, True, "streamGenerateContent")),
        ("POST", "/v1beta/oai/gpt-4.1:generateContent", Call("chat", "gemini", "oai/gpt-4.1", action="generateContent")),
        ("POST", "/v1beta/openai/gpt-4.1:countTokens", Call("count", "gemini", "openai/gpt-4.1", action="countTokens")),
        ("POST", "/gemini/v1beta/models/p/m:countTokens", Call("count", "gemini", "p/m", action="countTokens")),
        ("POST", "/v1beta/models/tf//models/x:generateContent",
         Call("chat", "gemini", "tf//models/x", action="generateContent")),
        ("POST", "/v1beta/tf//models/x:generateContent", Call("chat", "gemini", "tf//models/x", action="generateContent")),
        ("POST", "/v1beta/models//models/x:generateContent", Call("chat", "gemini", "/models/x", action="generateContent")),
        ("POST", "/v1/projects/p/locations/l/publishers/google/models/m:generateContent",
         Call("chat", "gemini", "m", action="generateContent")),
        ("POST", "/v1beta/models/p/m%C3%BC%20%5B1%5D:generateContent",
         Call("chat", "gemini", "p/m\u00fc [1]", action="generateContent")),
        ("POST", "/openai/v1/chat/completions", Call("chat", "openai")),
        ("POST", "/v1beta/openai/chat/completions", Call("chat", "openai")),
        ("POST", "/anthropic/v1/messages", Call("chat", "anthropic")),
        ("GET", "/openai/v1/models", Call("models", "openai")),
        ("GET", "/v1/models/tf//models/x", Call("model", "openai", "tf//models/x")),
        ("GET", "/v1/models", Call("models", "openai")),
        ("GET", "/v1beta/models", Call("models", "gemini")),
        ("GET", "/v1/models/p/m", Call("model", "openai", "p/m")),
        ("GET", "/v1/models/llama3%3A8b", Call("model", "openai", "llama3:8b")),
        ("HEAD", "/", Call("root", "openai")),
        ("GET", "/health", Call("health", "openai")),
        ("GET", "/health/live", Call("live", "openai")),
        ("HEAD", "/v1/health/ready", Call("ready", "openai")),
        ("POST", "/api/event_logging/batch", Call("ignored", "anthropic")),
        ("POST", "/v1/responses", Call("chat", "responses")),
        ("POST", "/responses/input_tokens", Call("count", "responses")),
        ("POST", "/v1/completions", Call("chat", "completions")),
        ("POST", "/api/chat", Call("chat", "ollama")),
        ("POST", "/v1/api/generate", Call("chat", "ollama")),
        ("GET", "/api/tags", Call("models", "ollama")),
        ("POST", "/api/show", Call("show", "ollama")),
    ],
)  # fmt: skip
def test_a_path_is_one_call_with_and_without_its_version(method: str, path: str, call: Call) -> None:
    assert read_call(method, path, {}, {}) == call


def test_the_usual_paths_are_known_for_what_reading_them_says() -> None:
    assert KNOWN["POST", "/v1/chat/completions"] == Call("chat", "openai")
    for (method, path), call in KNOWN.items():
        assert read_call(method, path, {}, {}) == call == read_call(method, f"{path}//", {}, {})


def test_a_gemini_stream_is_events_only_on_request() -> None:
    call = read_call("POST", "/v1beta/models/m:streamGenerateContent", {"alt": "sse"}, {})
    assert (call.stream, call.array) == (True, False)


def test_lists_have_the_shape_of_the_caller() -> None:
    assert read_call("GET", "/v1/models", {}, ANTHROPIC).protocol == "anthropic"
    assert read_call("GET", "/v1/models/x", {}, GOOGLE).protocol == "gemini"
    assert protocol_of("/nowhere", {}) == "openai"


@pytest.mark.parametrize(
    ("method", "path", "error"),
    [
        ("GET", "/v1/chat/completions", BadMethod),
        ("POST", "/health", BadMethod),
        ("POST", "/v1/models/m:predict", NotFound),
        ("POST", "/v1beta/models/:generateContent", NotFound),
        ("PUT", "/v1/responses", BadMethod),
        ("GET", "/v2/models", NotFound),
    ],
)
def test_everything_else_is_not_found_or_another_method(method: str, path: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        read_call(method, path, {}, {})


@pytest.mark.parametrize("prefix", ["", "/v1", "/v1/v1", "/openai/v1", "/openai", "/v1beta", "/v1beta/openai", "/anthropic/v1"])
def test_whatever_stands_before_a_chat_may_stand_before_every_path_of_a_protocol(prefix: str) -> None:
    assert read_call("POST", f"{prefix}/chat/completions", {}, {}) == Call("chat", "openai")
    for line in SPECS["responses"].lines:
        called = read_call(line.method, f"{prefix}/{line.path.replace('{id}', 'resp_1')}", {}, {})
        assert called == Call(line.kind, "responses", id="resp_1" if "{id}" in line.path else ""), line.path
