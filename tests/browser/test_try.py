"""Try it: streamed answers, the stop button, pictures, errors, and the reason for who answers."""

from __future__ import annotations

import json
import struct
import threading
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from pretend import piece

pytestmark = pytest.mark.slow

BROKEN = ("Failed to load resource",)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


# One grey pixel: PNG, https://www.w3.org/TR/png-3/
HEADER = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
DOT = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", HEADER) + chunk(b"IDAT", zlib.compress(b"\0\x80")) + chunk(b"IEND", b"")


def start(page: Any, gateway: Any, query: str = "view=try&model=smart") -> None:
    page.go(f"{gateway.url}?{query}")
    page.until("return document.querySelector('.composer') !== null")


def say(page: Any, text: str) -> None:
    page.field("Message").type(text)
    page.press("enter")


def whole(page: Any, number: int = 1) -> None:
    """Waits for the end of so many answers."""
    page.until("return document.querySelectorAll('.turn.assistant[aria-busy=false]').length === arguments[0]", number)


def sent(gateway: Any) -> list[Any]:
    found: list[Any] = gateway.came("POST", "chat/completions")
    return found


def test_a_streamed_answer_comes_with_its_maker_its_tokens_and_its_cost(page: Any, gateway: Any, shot: Any) -> None:
    start(page, gateway)
    say(page, "Hello?")
    page.until_text(".answer-text", "Hello from the pretended gateway.")
    page.until_text(".turn-foot", "cost $0.0042")
    assert "openai/gpt-4.1" in page.text(".turn-foot") and "800 in" in page.text(".turn-foot")
    assert page.text("#announcer") == "The answer is complete."
    shot("try-answer")
    (body,) = sent(gateway)
    assert body == {
        "model": "smart",
        "messages": [{"role": "user", "content": "Hello?"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert gateway.csrf == []
    page.labelled("The call").click()
    page.until_text("dialog", "req-0000")


def test_words_are_shown_as_they_come_and_stop_hangs_up(page: Any, gateway: Any) -> None:
    more = threading.Event()

    def endless(body: dict[str, Any]) -> Iterator[bytes]:
        yield piece("first words")
        more.wait(30)
        while True:  # until the reader goes
            yield piece(" and more" * 200)

    gateway.pieces = endless
    start(page, gateway)
    say(page, "Talk.")
    page.until_text(".answer-text", "first words")
    assert page.run("return document.querySelector('.turn.assistant').getAttribute('aria-busy')") == "true"
    page.labelled("Stop").click()
    page.until_text(".turn-foot", "stopped")
    more.set()
    assert gateway.gone.wait(20), "the gateway is told that nobody listens any more"
    assert page.find(".composer .primary").text == "Send"


def test_a_conversation_has_several_turns_a_system_prompt_and_parameters(page: Any, gateway: Any) -> None:
    start(page, gateway)
    page.field("System prompt").type("Be brief.")
    page.field("Temperature").type("0.2")
    page.field("Max tokens").type("50")
    say(page, "One")
    whole(page)
    say(page, "Two")
    whole(page, 2)
    last = sent(gateway)[-1]
    assert [each["role"] for each in last["messages"]] == ["system", "user", "assistant", "user"]
    assert last["messages"][2]["content"] == "Hello from the pretended gateway."
    assert (last["temperature"], last["max_tokens"]) == (0.2, 50)
    page.labelled("New conversation").click()
    page.until_text(".chat-log", "No messages yet.")


def test_a_picture_goes_along_as_a_data_address(page: Any, gateway: Any, tmp_path: Any) -> None:
    (tmp_path / "dot.png").write_bytes(DOT)
    (tmp_path / "huge.png").write_bytes(bytes(6_000_000))
    start(page, gateway)
    file = page.run("return document.querySelector('.composer input[type=file]')")
    file.type(str(tmp_path / "huge.png"))
    page.until_text("#toasts", "huge.png has 5.7 MiB; the limit is 5 MiB.")
    file.type(str(tmp_path / "dot.png"))
    page.find(".picture img")
    say(page, "What is this?")
    whole(page)
    text, image = sent(gateway)[0]["messages"][0]["content"]
    assert text == {"type": "text", "text": "What is this?"}
    assert image["image_url"]["url"].startswith("data:image/png;base64,")


def test_a_refusal_has_its_code_and_the_next_step_and_can_be_sent_again(page: Any, gateway: Any, shot: Any) -> None:
    page.allowed = BROKEN
    gateway.answers["POST chat/completions"] = (
        503,
        {"error": {"message": "smart: no healthy member available", "code": "no_member", "type": "x", "param": None}},
    )
    start(page, gateway)
    say(page, "Hello?")
    page.until_text(".turn .failure", "smart: no healthy member available")
    assert "no_member" in page.text(".turn .failure") and "See Models" in page.text(".turn .failure")
    shot("try-error")
    del gateway.answers["POST chat/completions"]
    say(page, "Again")
    whole(page, 2)
    assert [each["content"] for each in sent(gateway)[-1]["messages"]] == ["Again"]


def test_an_error_inside_a_stream_and_a_stream_that_is_cut_are_no_answers(page: Any, gateway: Any) -> None:
    error = {"error": {"message": "the provider failed", "code": "upstream_failed", "type": "x"}}
    gateway.pieces = lambda body: iter([piece("half "), b"data: " + json.dumps(error).encode() + b"\n\n"])
    start(page, gateway)
    say(page, "Hello?")
    page.until_text(".turn .failure", "the provider failed")
    assert "half" in page.text(".answer-text")
    gateway.pieces = lambda body: iter([piece("half ")])
    say(page, "And now?")
    whole(page, 2)
    page.until_text(".turn .failure", "The stream ended before the answer did.")


def test_a_plain_answer_is_shown_as_well(page: Any, gateway: Any) -> None:
    answer = {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "plain"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
    }
    gateway.answers["POST chat/completions"] = (200, answer)
    start(page, gateway)
    page.field("Streamed").click()
    say(page, "Hello?")
    page.until_text(".answer-text", "plain")
    assert "stream" not in sent(gateway)[0]


def test_the_routing_is_shown_before_anything_is_sent(page: Any, gateway: Any) -> None:
    page.allowed = BROKEN
    start(page, gateway)
    page.until_text(".candidates", "claude/sonnet")
    assert gateway.came("POST", "route")[-1]["model"] == "smart"
    page.until_text(".candidates", "only if the others fail")
    nobody = {
        "error": {"message": "smart: no healthy member available", "code": "no_member", "type": "x", "param": None},
        "model": None,
        "provider": None,
        "explain": {
            "group": "smart",
            "chosen": None,
            "candidates": [
                {
                    "model": "openai/gpt-4.1",
                    "state": "open",
                    "back_in_s": 9,
                    "weight": 1,
                    "effective_weight": 0,
                    "why": "its breaker is open",
                }
            ],
        },
    }
    gateway.answers["POST route"] = (503, nobody)
    page.labelled("Check again").click()
    page.until_text(".try-side", "smart: no healthy member available")
    page.until_text(".candidates", "its breaker is open")
    assert sent(gateway) == []


def test_an_answer_is_shown_with_its_markdown_and_its_raw_text_is_a_press_away(page: Any, gateway: Any) -> None:
    text = "# Head\n\nSome **bold** words and [a link](https://example.org)\n\n- one\n- two"
    gateway.pieces = lambda body: iter([*(piece(each) for each in text), piece("", "stop"), b"data: [DONE]\n\n"])
    start(page, gateway)
    say(page, "Hello?")
    page.until_text(".turn-foot", "cost")
    said = "return document.querySelector('.answer-text').innerText"
    assert page.text(".answer-text strong") == "bold" and "**" not in page.run(said)
    assert page.run("return document.querySelectorAll('.answer-text li').length") == 2
    link = page.find(".answer-text a")
    assert (link.attribute("rel"), link.attribute("target")) == ("noopener noreferrer", "_blank")
    page.labelled("Raw text").click()
    assert page.run(said) == text
    assert page.labelled("Raw text").attribute("aria-pressed") == "true"
    page.labelled("Raw text").click()
    assert page.text(".answer-text strong") == "bold"
