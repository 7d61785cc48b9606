"""What the mock server was asked, read back from each protocol: the system text, the turns, the limits, the key.

turns_of("anthropic", body)  -> [("user", "Hello"), ("model", "This is ..."), ("user", "And?")]
"""

from __future__ import annotations

from typing import Any


def texts(content: Any) -> str:
    """The text of a string, or of a list of parts."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content or () if isinstance(part, dict))


def system_of(api: str, body: dict[str, Any]) -> str:
    if api == "openai":
        return "".join(texts(each["content"]) for each in body["messages"] if each["role"] in ("system", "developer"))
    if api == "anthropic":
        return texts(body.get("system"))
    if api == "responses":
        told = [texts(each["content"]) for each in body["input"] if each.get("role") in ("system", "developer")]
        return (body.get("instructions") or "") + "".join(told)
    return texts((body.get("systemInstruction") or {}).get("parts"))


def turns_of(api: str, body: dict[str, Any]) -> list[tuple[str, str]]:
    """(user or model, text) of each turn but the system's; messages of one role in a row are one turn."""
    names = {"user": "user", "assistant": "model", "model": "model"}
    messages = body[{"gemini": "contents", "responses": "input"}.get(api, "messages")]
    if isinstance(messages, str):
        return [("user", messages)]
    turns: list[tuple[str, str]] = []
    for message in messages:
        name, text = names.get(message.get("role", "")), texts(message.get("parts") or message.get("content"))
        if name and turns and turns[-1][0] == name:
            turns[-1] = (name, turns[-1][1] + text)
        elif name:
            turns.append((name, text))
    return turns


def limits_of(api: str, body: dict[str, Any]) -> tuple[int | None, list[str]]:
    """(most tokens of the answer, stop sequences)"""
    if api == "openai":
        stop = body.get("stop") or []
        return body.get("max_completion_tokens", body.get("max_tokens")), [stop] if isinstance(stop, str) else stop
    if api == "anthropic":
        return body["max_tokens"], body.get("stop_sequences", [])
    if api == "responses":
        return body.get("max_output_tokens"), []
    wish = body.get("generationConfig", {})
    return wish.get("maxOutputTokens"), wish.get("stopSequences", [])


def key_of(headers: Any) -> str:
    """The one credential of a request."""
    given = [headers.get("authorization", "").removeprefix("Bearer "), headers.get("x-api-key"), headers.get("x-goog-api-key")]
    found = [each for each in given if each]
    assert len(found) == 1, f"{len(found)} credentials"
    return str(found[0])
