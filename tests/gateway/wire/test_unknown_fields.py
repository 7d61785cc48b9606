"""A field that the gateway does not know is named as lost, wherever in a conversation it stands: in every direction."""

from __future__ import annotations

from typing import Any

import pytest

from llm_router_gateway.wire.conversion import Wish, read_as, write_as

PICTURE = "data:image/png;base64,AAAA"
TEXTS: dict[str, dict[str, Any]] = {
    "openai": {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "in_part": 1}], "in_message": 1}]},
    "anthropic": {
        "max_tokens": 50,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "x", "in_part": 1}], "in_message": 1}],
    },
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "x", "inPart": 1}], "inMessage": 1}]},
    "responses": {"input": [{"role": "user", "content": [{"type": "input_text", "text": "x", "in_part": 1}], "in_message": 1}]},
}
IMAGES: dict[str, Any] = {
    "openai": {"messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": PICTURE}, "in_part": 1}]}]},
    "anthropic": {"max_tokens": 50, "messages": [{"role": "user", "content": [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}, "in_part": 1}]}]},
    "gemini": {"contents": [{"role": "user", "parts": [
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}, "inPart": 1}]}]},
    "responses": {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": PICTURE, "in_part": 1}]}]},
}  # fmt: skip
DIRECTIONS = [(one, other) for one in TEXTS for other in TEXTS if one != other]


def losses(protocol: str, api: str, body: dict[str, Any]) -> set[str]:
    wish, lost = Wish(protocol, api, "m", "m", False), list[str]()
    write_as(read_as({"model": "m", **body}, wish), wish, lost)
    return {name.replace("inPart", "in_part").replace("inMessage", "in_message") for name in lost}


@pytest.mark.parametrize(("protocol", "api"), DIRECTIONS)
def test_unknown_fields_of_a_text_and_of_its_message_are_named(protocol: str, api: str) -> None:
    assert losses(protocol, api, TEXTS[protocol]) == {"in_part", "in_message"}


@pytest.mark.parametrize(("protocol", "api"), DIRECTIONS)
def test_unknown_fields_of_a_picture_are_named(protocol: str, api: str) -> None:
    assert losses(protocol, api, IMAGES[protocol]) == {"in_part"}


@pytest.mark.parametrize("api", ["anthropic", "gemini", "responses"])
def test_unknown_fields_of_a_tool_are_named(api: str) -> None:
    tool = {"type": "function", "function": {"name": "f", "in_function": 1}, "in_tool": 1}
    found = losses("openai", api, {"messages": [{"role": "user", "content": "x"}], "tools": [tool]})
    assert {name.removeprefix("tools.") for name in found} == {"in_function", "in_tool"}
