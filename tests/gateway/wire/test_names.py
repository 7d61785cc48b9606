"""names, fields, losses, pairing, retry_after: what all protocols do alike with ids, calls, results and waiting times."""

import re

import pytest

from llm_router_gateway.errors import BadRequest
from llm_router_gateway.wire import fields, ir, losses, pairing, retry_after
from llm_router_gateway.wire.names import ID, MINTED, NAME, mint_id, own_names, pack_id, safe_id, safe_name, unpack_id


@pytest.mark.parametrize("name", ["f", "get_weather", "_x", "a-b", "A" * 64])
def test_a_name_that_all_take_stays(name: str) -> None:
    assert safe_name(name) == name


@pytest.mark.parametrize("name", ["9lives", "a.b", "mcp:tool", "naïve", "A" * 65, "", "天気", "a b"])
def test_any_other_name_is_made_fit_and_comes_back(name: str) -> None:
    safe = safe_name(name)
    assert NAME.fullmatch(safe)
    assert own_names([ir.Tool(name)])[safe] == name


def test_two_names_never_become_one() -> None:
    names = ["a.b", "a_b", "a:b", "a b", "A" * 64 + "x", "A" * 64 + "y"]
    assert len({safe_name(name) for name in names}) == len(names)


@pytest.mark.parametrize("came", ["toolu_01", "call_1", "x" * 64])
def test_an_id_that_all_take_stays(came: str) -> None:
    assert safe_id(came) == came


@pytest.mark.parametrize("came", ["call:1", "a|b", "x" * 65, "", "ü"])
def test_any_other_id_becomes_one_the_same_each_time(came: str) -> None:
    assert ID.fullmatch(safe_id(came)) and safe_id(came) == safe_id(came)
    assert safe_id("x" * 70 + "a") != safe_id("x" * 70 + "b")


@pytest.mark.parametrize("signature", ["", "c2lnbmF0dXJl", "c2ln/+A=", "QQ=="])
def test_a_signature_comes_back_through_a_caller_that_knows_nothing_of_it(signature: str) -> None:
    call = ir.ToolCall("id_1", "f", signature=signature, vendor="gemini")
    assert unpack_id(pack_id(call)) == ("id_1", "gemini", signature)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", pack_id(call))


@pytest.mark.parametrize("text", ["toolu_01", "", "__gemini", "x__gemini_", "x__geminiy", "x__gemini_A"])
def test_other_ids_are_left_alone(text: str) -> None:
    assert unpack_id(text) == (text, "", "")


def test_minted_ids_depend_on_their_facts() -> None:
    assert mint_id("r", 0, "f") == mint_id("r", 0, "f") != mint_id("r", 1, "f")
    assert mint_id("r").startswith(MINTED) and ID.fullmatch(mint_id("r"))


# -- calls and their results

A, B = ir.ToolCall("a", "f", "{}", {}), ir.ToolCall("b", "g", "{}", {})


def result(id_: str, text: str = "42") -> ir.ToolResult:
    return ir.ToolResult(id_, (ir.Text(text),))


def turn(*parts: ir.Part) -> ir.Message:
    return ir.Message("assistant", parts)


def user(*parts: ir.Part) -> ir.Message:
    return ir.Message("user", parts)


def test_results_stand_alone_right_behind_their_calls() -> None:
    lost: list[str] = []
    got = pairing.pair_results([user(ir.Text("q")), turn(A, B), user(ir.Text("and"), result("b"), result("a"))], lost)
    assert got == [user(ir.Text("q")), turn(A, B), user(result("b"), result("a")), user(ir.Text("and"))]
    assert lost == []


def test_results_in_several_messages_become_one_batch() -> None:
    got = pairing.pair_results([turn(A, B), user(result("a")), user(ir.Text("and")), user(result("b"))], [])
    assert got == [turn(A, B), user(result("a"), result("b")), user(ir.Text("and"))]


def test_calls_in_a_row_of_assistant_messages_are_one_turn() -> None:
    got = pairing.pair_results([turn(A), turn(B), user(result("a"), result("b"))], [])
    assert got == [turn(A, B), user(result("a"), result("b"))]


def test_a_call_without_a_result_gets_an_error_as_its_result() -> None:
    lost: list[str] = []
    got = pairing.pair_results([turn(A), user(ir.Text("never mind"))], lost)
    (added,) = got[1].parts
    assert isinstance(added, ir.ToolResult) and added.is_error and added.id == "a"
    assert got[2] == user(ir.Text("never mind")) and lost == ["tool_result=added"]
    assert len(pairing.pair_results([turn(A)], [])) == 2


def test_a_result_without_a_call_is_written_as_text() -> None:
    lost: list[str] = []
    (message,) = pairing.pair_results([user(result("z", "what it said"))], lost)
    assert all(isinstance(part, ir.Text) for part in message.parts) and lost == ["tool_result=orphan"]
    assert message.parts[-1] == ir.Text("what it said")


def test_messages_without_tools_pass_as_they_are() -> None:
    messages = [user(ir.Text("a")), turn(ir.Text("b")), turn(ir.Text("c")), ir.Message("system", (ir.Text("s"),)), user()]
    assert pairing.pair_results(messages, []) == messages


# -- the rest


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:12 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 12.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:12 GMT"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
    ],
)
def test_how_long_an_upstream_asks_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after.retry_after_s(headers) == seconds


def test_a_wrong_field_is_named_by_its_path() -> None:
    with pytest.raises(BadRequest) as caught:
        fields.text(5, "messages[0].role")
    assert caught.value.details == {"path": "messages[0].role"}
    for wrong in (lambda: fields.number(True, "n"), lambda: fields.integer(1.5, "n"), lambda: fields.obj([], "o"),
                  lambda: fields.items({}, "l"), lambda: fields.truth(1, "t")):  # fmt: skip
        with pytest.raises(BadRequest):
            wrong()
    assert fields.integer(8.0, "n") == 8 and fields.number(None, "n") is None and fields.items(None, "l") == []


def test_each_loss_is_named_once() -> None:
    lost: list[str] = []
    losses.lose_extras({"gemini": {"safetySettings": 1}, "openai": {"store": True}}, "openai", lost)
    losses.name_lost(lost, "safetySettings")
    assert lost == ["safetySettings"]


def test_documents_that_a_vendor_keeps_are_refused_not_left_out() -> None:
    lost: list[str] = []
    for own in ("openai", "anthropic"):
        with pytest.raises(BadRequest, match="cachedContent"):
            losses.lose_extras({"gemini": {"cachedContent": "cachedContents/1"}}, own, lost)
    losses.lose_extras({"gemini": {"cachedContent": "cachedContents/1"}}, "gemini", lost)
    assert lost == []
