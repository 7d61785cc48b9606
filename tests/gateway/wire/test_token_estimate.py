"""token_estimate: tokens of a request, a bit high rather than too low."""

import pytest

from llm_router_gateway.wire.token_estimate import input_tokens

PROSE = "The quick brown fox jumps over the lazy dog near the river bank. "  # 14 tokens with the vendors' tokenizers


def body(content: object) -> dict[str, object]:
    return {"model": "m", "messages": [{"role": "user", "content": content}]}


def test_prose_is_estimated_high_and_not_twice_as_high() -> None:
    assert 14 * 50 < input_tokens(body(PROSE * 50)) < 2 * 14 * 50


def test_the_protocols_agree_about() -> None:
    text = PROSE * 20
    counts = [
        input_tokens(body(text)),
        input_tokens(body([{"type": "text", "text": text}])),
        input_tokens({"contents": [{"role": "user", "parts": [{"text": text}]}]}),
        input_tokens({"input": [{"role": "user", "content": [{"type": "input_text", "text": text}]}]}),
        input_tokens({"input": text}),
    ]
    assert max(counts) - min(counts) < 20


def test_chinese_counts_by_the_character() -> None:
    assert input_tokens(body("你好世界" * 100)) >= 400


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 900_000}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 900_000}},
        {"inlineData": {"mimeType": "image/png", "data": "A" * 900_000}},
        {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 900_000},
        {"images": ["A" * 900_000]},
    ],
)
def test_a_picture_costs_what_a_picture_costs_whatever_its_bytes(part: dict[str, object]) -> None:
    assert 1_600 <= input_tokens(body([part])) < 1_700


def test_depth_is_no_danger() -> None:
    value: object = "x"
    for _ in range(100_000):
        value = [value]
    assert input_tokens(body(value)) > 0
    while isinstance(value, list):  # taken apart by hand: freeing it in one go is as deep
        value = value.pop()


@pytest.mark.parametrize(("text", "tokens"), [  # of cl100k_base
    ("deadbeef0123456789" * 50, 350),  # pragma: allowlist secret
    ("Сегодня хорошая погода, и мы пойдём гулять. " * 20, 501), ("😀🎉🚀" * 50, 400),
    ('{"id":7,"name":"user 7","tags":["a","b"]},\n' * 20, 360),
])  # fmt: skip
def test_numbers_json_and_other_scripts_are_not_far_off(text: str, tokens: int) -> None:
    assert 0.8 * tokens < input_tokens(body(text)) < 1.4 * tokens + 10
