"""A field that the gateway does not know reaches the upstream or is named as lost, wherever in a request it stands: in every
direction, whatever the caller speaks, in every object that a request may hold, and in recorded requests of real clients.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from material import material, needs
from rich_requests import BODIES, objects_in, steps, with_field

from llm_router_gateway.wire.conversion import Wish, read_as, write_as
from llm_router_gateway.wire.registry import UPSTREAMS

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


# ------------------------------------------------------------------------------------------------- every object of a request

UNKNOWN = "zzunknown"  # one word: as good in camelCase as in snake_case
MODELS = {"openai": "gpt-4o", "anthropic": "claude-sonnet-4-5", "gemini": "gemini-2.5-flash", "responses": "gpt-4o"}
EVERY_DIRECTION = [(one, other) for one in BODIES for other in MODELS if one != other]  # the same protocol is relayed
# What is named as a whole where it has no place, and with it all that lies in it, by the field that holds it or by its type.
WHOLE = frozenset({
    "annotations", "audio", "cache_control", "caller", "citations", "codeExecution", "codeExecutionResult", "compaction",
    "container", "context_management", "document", "executableCode", "fileSearch", "format", "googleSearch", "mcp_servers",
    "mediaResolution", "metadata", "modelArmorConfig", "moderation", "output_config", "prediction", "provider",
    "retrievalConfig", "safetySettings", "search_result", "server_tool_use", "speechConfig", "task_budget", "toolCall",
    "toolResponse", "transformations", "urlContext", "videoMetadata", "web_search_call", "web_search_options",
    "web_search_tool_result",
})  # fmt: skip
# A vendor's own tool is named by its name or its type, a film or the like that has no place by its kind.
TOOLS = frozenset({
    "advisor", "bash", "code_execution", "file_search", "memory", "openrouter:advisor", "openrouter:web_search", "web_fetch",
    "web_search",
})  # fmt: skip
KINDS = {"input_audio": "audio", "video_url": "video", "user_location": "location"}


def kind_of(medium: dict[str, Any]) -> str:
    """Of one of Gemini's, by its type or its address."""
    stated = medium.get("mimeType") or medium.get("mime_type") or ""
    url = str(medium.get("fileUri") or medium.get("file_uri"))
    is_video = stated.startswith("video/") or "youtu" in url
    return "video" if is_video else stated.partition("/")[0] if stated.startswith(("image/", "audio/")) else "document"


def names_along(body: dict[str, Any], path: str) -> Iterator[str]:
    """What an object and those around it would be called as a whole."""
    place: Any = body
    for step in steps(path):
        place = place[step]
        found = (
            {step, place.get("type"), place.get("name"), *place}
            if isinstance(place, dict) and isinstance(step, int)
            else {step}
        )
        yield from (name for name in found if name in WHOLE or name in TOOLS)
        yield from (KINDS[name] for name in found if name in KINDS)
        for each in ("fileData", "file_data", "inlineData", "inline_data"):
            if isinstance(place, dict) and isinstance(place.get(each), dict):
                yield kind_of(place[each])


def is_withheld(body: dict[str, Any], path: str) -> bool:
    """A tool that is to be loaded later, or is not among those that may be called, is not sent, and so is nothing of it."""
    found = re.match(r"tools\[(\d+)\]", path)
    return bool(found) and (bool(body["tools"][int(found[1])].get("defer_loading")) or "allowedFunctionNames" in str(body))


def silent_losses(protocol: str, api: str, body: dict[str, Any]) -> list[str]:
    """The objects of a body in which an unknown field would be lost without a word."""
    found = []
    for path in objects_in(protocol, body):
        wish, lost = Wish(protocol, api, "m", MODELS[api], None), list[str]()
        marked = {"model": "m", **with_field(body, path, UNKNOWN, 1)}
        out = json.dumps(write_as(read_as(marked, wish), wish, lost))
        assert f'.{UNKNOWN}"' not in out, "a path went out as a field"
        if UNKNOWN in out:
            continue
        words = {word for name in lost for word in re.split(r"[.=\[\]]", name)}
        if UNKNOWN not in words and words.isdisjoint(names_along(body, path)) and not is_withheld(body, path):
            found.append(path)
    return found


def test_the_requests_hold_what_they_are_to_hold_and_each_upstream_is_written_to() -> None:
    assert set(MODELS) == set(UPSTREAMS) and sum(len(objects_in(one, body)) for one in BODIES for body in BODIES[one]) > 250


@pytest.mark.parametrize(("protocol", "api"), EVERY_DIRECTION)
def test_an_unknown_field_of_any_object_reaches_the_upstream_or_is_named(protocol: str, api: str) -> None:
    assert [silent_losses(protocol, api, body) for body in BODIES[protocol]] == [[]] * len(BODIES[protocol])


@pytest.mark.parametrize(("body", "name"), [
    ({"content": [{"type": "image_url", "image_url": {"url": PICTURE, "x": 1}}]}, "image_url.x"),
    ({"content": [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav", "x": 1}}]}, "input_audio.x"),
    ({"content": [{"type": "file", "file": {"file_data": "AAAA", "x": {"y": 1}}}]}, "file.x"),
])  # fmt: skip
def test_a_name_is_the_path_in_its_part_without_numbers(body: dict[str, Any], name: str) -> None:
    assert name in losses("openai", "gemini", {"messages": [{"role": "user", **body}]})


def test_fields_without_content_have_no_name_and_each_name_appears_once() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}", "x": 1, "none": None, "empty": {}}}
    turns = [{"role": "assistant", "tool_calls": [{**call, "id": f"c{at}"}]} for at in range(3)]
    wish, lost = Wish("openai", "anthropic", "m", "m", False), list[str]()
    write_as(read_as({"model": "m", "messages": [{"role": "user", "content": "u"}, *turns]}, wish), wish, lost)
    assert [name for name in lost if name.startswith("tool_calls")] == ["tool_calls.function.x"]


RECORDED = {"openai-chat": "openai", "anthropic-messages": "anthropic", "gemini": "gemini", "openai-responses": "responses"}


def recorded_requests() -> list[Any]:
    folder = material("LLM_ROUTER_RECORDINGS")
    if folder is None:
        return [pytest.param("", {}, marks=needs("LLM_ROUTER_RECORDINGS"))]
    listed = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    found = [json.loads((folder / entry["file"]).read_text(encoding="utf-8")) for entry in listed]
    return [pytest.param(RECORDED[each["protocol"]], exchange["request"]["body"], id=f"{each['protocol']}-{at}")
            for at, each in enumerate(found) for exchange in each["exchanges"][:1]
            if each["protocol"] in RECORDED and exchange["request"].get("body")]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("protocol", "body"), recorded_requests())
def test_an_unknown_field_of_any_object_of_a_recorded_request_reaches_the_upstream_or_is_named(
    protocol: str, body: dict[str, Any],
) -> None:  # fmt: skip
    for api in MODELS:
        if api != protocol:
            assert silent_losses(protocol, api, body) == [], api
