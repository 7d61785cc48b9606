"""A search of the web that runs at the vendor's: one vendor's takes the place of another's, with what it can be told."""

from __future__ import annotations

from typing import Any

import pytest

from llm_router_gateway.wire import ir
from llm_router_gateway.wire.anthropic import codec as anthropic
from llm_router_gateway.wire.gemini import codec as gemini
from llm_router_gateway.wire.openai import codec as openai
from llm_router_gateway.wire.responses import codec as responses

PLACE = {"type": "approximate", "city": "Oslo", "country": "NO"}
TOOLS: dict[str, dict[str, Any]] = {
    "responses": {"type": "web_search", "filters": {"allowed_domains": ["a.org"]}, "user_location": PLACE},
    "anthropic": {"type": "web_search_20250305", "name": "web_search", "allowed_domains": ["a.org"], "user_location": PLACE},
    "gemini": {"googleSearch": {}},
}  # fmt: skip
MODULES: dict[str, Any] = {"responses": responses, "anthropic": anthropic, "gemini": gemini}
MODELS = {"responses": "gpt-5.5", "anthropic": "claude-sonnet-4-5", "gemini": "gemini-2.5-pro"}


def asked(protocol: str, tool: dict[str, Any], **fields: Any) -> ir.Request:
    bodies: dict[str, dict[str, Any]] = {
        "responses": {"input": "q"}, "anthropic": {"messages": [{"role": "user", "content": "q"}], "max_tokens": 99},
        "gemini": {"contents": [{"role": "user", "parts": [{"text": "q"}]}]},
    }  # fmt: skip
    request: ir.Request = MODULES[protocol].read_request({**bodies[protocol], "tools": [tool], **fields}, model="m")
    return request


@pytest.mark.parametrize("to", MODULES)
@pytest.mark.parametrize("protocol", MODULES)
def test_each_vendors_search_becomes_the_others(protocol: str, to: str) -> None:
    lost: list[str] = []
    body = MODULES[to].write_request(asked(protocol, TOOLS[protocol]), model=MODELS[to], quirks={}, lost=lost)
    plain = {"responses": {"type": "web_search"}, "anthropic": {"type": "web_search_20250305", "name": "web_search"}}
    expected = TOOLS[to] if "gemini" not in (protocol, to) or protocol == to else plain.get(to, TOOLS["gemini"])
    assert body["tools"] == [expected]
    assert lost == (["web_search.allowed_domains", "web_search.location"] if to == "gemini" != protocol else [])


@pytest.mark.parametrize("protocol", MODULES)
def test_a_chat_has_none(protocol: str) -> None:
    lost: list[str] = []
    body = openai.write_request(asked(protocol, TOOLS[protocol]), model="gpt-4o", quirks={}, lost=lost)
    assert "tools" not in body and len(lost) == 1 and lost[0].startswith("tools=")


OPTIONS = {"user_location": {"type": "approximate", "approximate": {"city": "Oslo", "country": "NO"}}}


@pytest.mark.parametrize("protocol", MODULES)
def test_a_chat_model_that_searches_gets_its_options(protocol: str) -> None:
    lost: list[str] = []
    body = openai.write_request(asked(protocol, TOOLS[protocol]), model="gpt-4o-search-preview", quirks={}, lost=lost)
    assert body["web_search_options"] == ({} if protocol == "gemini" else OPTIONS) and "tools" not in body
    assert lost == ([] if protocol == "gemini" else ["web_search.allowed_domains"])


@pytest.mark.parametrize("to", MODULES)
def test_a_chats_options_become_a_search_and_what_has_no_place_is_named(to: str) -> None:
    fields = {"model": "m", "messages": [{"role": "user", "content": "q"}]}
    request = openai.read_request({**fields, "web_search_options": {**OPTIONS, "search_context_size": "low"}})
    lost: list[str] = []
    body = MODULES[to].write_request(request, model=MODELS[to], quirks={}, lost=lost)
    expected = {name: value for name, value in TOOLS[to].items() if name not in ("filters", "allowed_domains")}
    assert body["tools"] == [expected]
    assert set(lost) == {"web_search_options.search_context_size", *(["web_search.location"] if to == "gemini" else [])}
    switched_on = openai.read_request({**fields, "web_search_options": {}})
    assert len(MODULES[to].write_request(switched_on, model=MODELS[to], quirks={}, lost=[])["tools"]) == 1


def test_a_chats_options_stay_a_chats() -> None:
    body = {"model": "gpt-4o-search-preview", "messages": [{"role": "user", "content": "q"}], "web_search_options": OPTIONS,
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]}  # fmt: skip
    assert openai.write_request(openai.read_request(body), model="gpt-4o-search-preview", quirks={}, lost=[]) == body


def test_a_server_that_only_speaks_the_protocol_has_none() -> None:
    lost: list[str] = []
    body = anthropic.write_request(asked("responses", TOOLS["responses"]), model="glm-4.6", quirks={}, lost=lost)
    assert "tools" not in body and lost == ["tools=web_search"]


def test_gemini_takes_no_search_beside_functions() -> None:
    tools = [TOOLS["responses"], {"type": "function", "name": "f"}]
    request = responses.read_request({"model": "m", "input": "q", "tools": tools})
    lost: list[str] = []
    body = gemini.write_request(request, model="gemini-2.5-pro", quirks={}, lost=lost)
    assert body["tools"] == [{"functionDeclarations": [{"name": "f"}]}] and lost == ["tools[0]=web_search"]


def test_a_forced_search_of_anthropics_is_forced_at_openai() -> None:
    request = asked("anthropic", TOOLS["anthropic"], tool_choice={"type": "tool", "name": "web_search"})
    assert responses.write_request(request, model="gpt-5.5", quirks={}, lost=[])["tool_choice"] == "required"
