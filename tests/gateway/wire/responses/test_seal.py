"""seal: what a caller brings back is what it was given, and its own."""

import json

import pytest

from llm_router_gateway.errors import BadRequest
from llm_router_gateway.wire.responses.seal import Seal, decode, encode

SECRET = b"0123456789abcdef0123456789abcdef"  # pragma: allowlist secret
VALUE = {"kind": "thinking", "vendor": "anthropic", "text": "Hm\u2028 \U0001f600 \ud800", "signature": "c2ln/+=="}


def seal(owner: str = "key-1", secret: bytes = SECRET) -> Seal:
    return Seal(secret, owner)


def test_what_was_closed_comes_back_to_the_letter() -> None:
    assert seal().open(seal().close(VALUE)) == VALUE


def test_the_text_survives_json_and_a_query_string() -> None:
    text = seal().close(VALUE)
    assert json.loads(json.dumps(text)) == text and text.isascii() and not set(text) & set("+/=&?# ")


@pytest.mark.parametrize("text", ["", "gAAAAABowf2_AHOX", "llmr", "llmr2.a.b", "x.llmr1.a.b"])
def test_another_vendors_text_is_not_sealed(text: str) -> None:
    assert seal().open(text) is None


@pytest.mark.parametrize("other", [seal("key-2"), seal("key-1", b"f" * 32), seal("")])
def test_another_owner_cannot_use_it(other: Seal) -> None:
    with pytest.raises(BadRequest) as caught:
        other.open(seal().close(VALUE))
    assert caught.value.code == "invalid_encrypted_content" and caught.value.details["path"]


def test_no_letter_of_it_can_be_changed() -> None:
    text = seal().close(VALUE)
    for at in range(len("llmr1."), len(text)):
        made = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
        if at == len(text) - 1 and decode(made.rpartition(".")[2]) == decode(text.rpartition(".")[2]):
            continue  # base64's spare bits of the last letter say nothing
        with pytest.raises(BadRequest):
            seal().open(made)


@pytest.mark.parametrize(
    "text", ["llmr1.", "llmr1.e30", "llmr1.e30.AA", "llmr1.e30.AA.AA", "llmr1.\u00e4.AA", "llmr1..", "llmr1.e30.A"]
)
def test_half_of_one_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        seal().open(text)


def test_an_owners_name_cannot_be_moved_into_the_text() -> None:
    """Neither ("a", "bc") and ("ab", "c") nor any other split may have one signature."""
    one, other = seal("a").close({"x": 1}), seal("a:").close({"x": 1})
    assert one.rpartition(".")[2] != other.rpartition(".")[2]


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        Seal(b"short", "k")


def test_base64_without_padding() -> None:
    for size in range(5):
        assert decode(encode(b"\xff" * size)) == b"\xff" * size
