"""What a line of the input may be, what it becomes, and what is said of a bad one: pure functions."""

from __future__ import annotations

import io
import json
from typing import Any, Dict, List

import pytest

import llm_router_batch as b
import llm_router_client as c

SYSTEM = {"role": "system", "content": "Be brief."}
BASE: Dict[str, Any] = {"model": "demo", "messages": [SYSTEM], "temperature": 0}


def said(text: str) -> Dict[str, str]:
    return {"role": "user", "content": text}


def line(value: Any, base: Dict[str, Any] = BASE) -> b.Line:
    return b.line_of(7, json.dumps(value).encode(), base)


def test_a_line_is_a_message_messages_or_a_body() -> None:
    turns = [said("One"), {"role": "assistant", "content": "Two"}]
    cases: List[Any] = [
        ({"message": "Hi"}, [SYSTEM, said("Hi")]),
        ({"messages": turns}, [SYSTEM, *turns]),
        ({"messages": turns, "message": "Hi"}, [SYSTEM, *turns, said("Hi")]),
        ({"body": {"messages": turns}}, [SYSTEM, *turns]),
        ({"body": {"max_tokens": 5}, "message": "Hi"}, [SYSTEM, said("Hi")]),
    ]
    for value, messages in cases:
        assert line(value).request["messages"] == messages, value


def test_a_line_s_own_settings_lie_over_the_command_s() -> None:
    assert line({"message": "Hi"}).request["temperature"] == 0
    found = line({"body": {"model": "x", "temperature": 1, "messages": [said("Hi")], "stream": True}}).request
    assert (found["model"], found["temperature"], "stream" in found) == ("x", 1, False)
    assert line({"model": "y", "body": {"model": "x"}, "message": "Hi"}).request["model"] == "y"


def test_a_line_of_the_batch_api_is_taken_as_it_is() -> None:
    value = {"custom_id": "r-1", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": [said("Hi")]}}
    assert line(value).id == "r-1"


def test_ids_are_texts_or_whole_numbers_and_the_line_s_number_stands_in() -> None:
    assert [line({**value, "message": "Hi"}).id for value in ({"id": "a"}, {"id": 3}, {})] == ["a", 3, "line-7"]
    assert line({"id": 1, "message": "Hi"}).key != line({"id": "1", "message": "Hi"}).key


def test_the_digest_is_of_the_question_and_of_nothing_else() -> None:
    first = line({"id": 1, "message": "Hi", "metadata": 1})
    assert first.digest == line({"metadata": 2, "message": "Hi", "id": 2}, {**BASE, "temperature": 1}).digest
    assert first.digest != line({"id": 1, "message": "Ho"}).digest != line({"id": 1, "message": "Hi", "model": "x"}).digest


BAD: Dict[bytes, str] = {
    b"nonsense": "is not JSON",
    b'{"message": "Hi"': "is not JSON",
    b'{"message": "Hi", "body": {"temperature": NaN}}': "is not JSON",
    b'{"message": 1e999}': "is not JSON",
    b"[" * 100_000: "is not JSON",
    b"\xff\xfe": "is not UTF-8",
    b'{"message": "caf\xe9"}': "is not UTF-8",
    b"[]": "not an object",
    b'"Hello"': "not an object",
    b"{}": "nothing to ask",
    b'{"id": 1}': "nothing to ask",
    b'{"mesage": "Hi"}': "unknown field 'mesage'; Did you mean message?",
    b'{"message": ""}': "not a text, or is empty",
    b'{"message": " "}': "not a text, or is empty",
    b'{"message": 5}': "not a text, or is empty",
    b'{"messages": []}': "messages must be a list",
    b'{"messages": "Hi"}': "messages must be a list",
    b'{"messages": [{"content": "Hi"}]}': "messages[0]",
    b'{"messages": [{"role": "system", "content": "x"}]}': "nothing to ask",
    b'{"body": []}': "body that is not an object",
    b'{"body": {"messages": [{"role": "user"}], "deadline_s": 1}}': "deadline_s",
    b'{"body": {"fallback": "x"}, "message": "Hi"}': "fallback",
    b'{"id": null, "message": "Hi"}': "id that is neither a text",
    b'{"id": true, "message": "Hi"}': "id that is neither a text",
    b'{"id": "", "message": "Hi"}': "id that is neither a text",
    b'{"id": 1.5, "message": "Hi"}': "id that is neither a text",
    b'{"id": {"a": 1}, "message": "Hi"}': "id that is neither a text",
    b'{"model": "../x", "message": "Hi"}': "not a model name",
    b'{"model": 5, "message": "Hi"}': "not a model name",
    b'{"url": "/v1/embeddings", "body": {"input": "x"}, "message": "Hi"}': "url",
}


@pytest.mark.parametrize("raw", BAD, ids=lambda raw: raw[:40].decode("latin-1"))
def test_a_bad_line_is_reported_with_its_reason(raw: bytes) -> None:
    with pytest.raises(c.UsageError) as caught:
        b.line_of(1, raw, BASE)
    assert BAD[raw] in caught.value.message


def test_a_line_without_a_model_anywhere_is_bad() -> None:
    with pytest.raises(c.UsageError, match="names no model"):
        line({"message": "Hi"}, {"model": "", "messages": []})


def test_lines_are_numbered_as_an_editor_does_and_blank_ones_count(monkeypatch: pytest.MonkeyPatch) -> None:
    text = b'\xef\xbb\xbf{"message": "a"}\r\n\n  \n{"message": "b"}'
    assert [number for number, _ in b.numbered(io.BytesIO(text))] == [1, 4]
    assert b.line_of(1, text.splitlines()[0], BASE).request["messages"][-1] == said("a")
    monkeypatch.setattr(b, "MAX_LINE_BYTES", 10)
    long = list(b.numbered(io.BytesIO(b"x" * 35 + b"\nshort\n" + b"y" * 25)))
    assert [(number, len(raw)) for number, raw in long] == [(1, 11), (2, 6), (3, 11)]
    with pytest.raises(c.UsageError, match="longer than 10 bytes"):
        b.object_in(long[0][1])
