"""What an answer quotes of the web: from each vendor's form into each other's, whole and streamed, or named as lost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm_router_gateway.errors import GatewayError
from llm_router_gateway.wire import ir
from llm_router_gateway.wire.anthropic import codec as anthropic
from llm_router_gateway.wire.anthropic.relay import remove_foreign
from llm_router_gateway.wire.citations import Citation, Stretch, stretches
from llm_router_gateway.wire.completions import codec as completions
from llm_router_gateway.wire.envelope import MARK
from llm_router_gateway.wire.gemini import codec as gemini
from llm_router_gateway.wire.ollama import codec as ollama
from llm_router_gateway.wire.openai import codec as openai
from llm_router_gateway.wire.pipes import ConvertPipe
from llm_router_gateway.wire.responses import codec as responses

MODULES: dict[str, Any] = {"openai": openai, "anthropic": anthropic, "gemini": gemini, "responses": responses}
BEFORE, CITED, AFTER = "Über ", "Paris", "."  # "Ü" is two bytes
TEXT, START, END = BEFORE + CITED + AFTER, len(BEFORE), len(BEFORE) + len(CITED)
URL, TITLE = "https://a.org/p", "A page"
NOTE = {"type": "url_citation", "url": URL, "title": TITLE, "start_index": START, "end_index": END}
NESTED = {"type": "url_citation", "url_citation": {name: value for name, value in NOTE.items() if name != "type"}}
PAGE = {"type": "web_search_result_location", "url": URL, "title": TITLE, "cited_text": "It is so.", "encrypted_index": "E"}
GROUNDING = {
    "groundingChunks": [{"web": {"uri": URL, "title": TITLE}}],
    "groundingSupports": [
        {"segment": {"startIndex": START + 1, "endIndex": END + 1, "text": CITED}, "groundingChunkIndices": [0]}
    ],
}  # fmt: skip
USAGE = {"input_tokens": 1, "output_tokens": 1}


def message_of(text: str, notes: list[Any]) -> dict[str, Any]:
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": text, "annotations": notes}]}  # fmt: skip


WHOLE: dict[str, dict[str, Any]] = {
    "openai": {"id": "c", "model": "m", "choices": [{"index": 0, "finish_reason": "stop", "message": {
        "role": "assistant", "content": TEXT, "annotations": [NESTED]}}]},
    "anthropic": {"id": "m", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn", "usage": USAGE,
                  "content": [{"type": "text", "text": BEFORE}, {"type": "text", "text": CITED, "citations": [PAGE]},
                              {"type": "text", "text": AFTER}]},
    "gemini": {"candidates": [{"content": {"role": "model", "parts": [{"text": TEXT}]}, "finishReason": "STOP",
                               "groundingMetadata": GROUNDING}]},
    "responses": {"id": "resp_1", "object": "response", "status": "completed", "model": "m",
                  "output": [message_of(TEXT, [NOTE])]},
}  # fmt: skip


def sse(*values: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in values)


def named(*values: dict[str, Any]) -> bytes:
    return b"".join(f"event: {each['type']}\n".encode() + sse(each) for each in values)


def choice(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def block(index: int, text: str, *pages: Any) -> list[dict[str, Any]]:
    deltas = [{"type": "text_delta", "text": text}, *({"type": "citations_delta", "citation": page} for page in pages)]
    return [{"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}},
            *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
            {"type": "content_block_stop", "index": index}]  # fmt: skip


AT = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
STREAMED: dict[str, bytes] = {
    "openai": sse(choice({"role": "assistant", "content": BEFORE}), choice({"content": CITED + AFTER}),
                  choice({"annotations": [NESTED]}), choice({}, "stop")) + b"data: [DONE]\n\n",
    "anthropic": named(
        {"type": "message_start", "message": {**WHOLE["anthropic"], "content": [], "stop_reason": None}},
        *block(0, BEFORE), *block(1, CITED, PAGE), *block(2, AFTER),
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    ),
    "gemini": sse(
        {"candidates": [{"content": {"role": "model", "parts": [{"text": BEFORE + CITED}]}}]},
        {"candidates": [{"content": {"role": "model", "parts": [{"text": AFTER}]}, "finishReason": "STOP",
                         "groundingMetadata": GROUNDING}]},
    ),
    "responses": named(
        {"type": "response.created", "response": {**WHOLE["responses"], "status": "in_progress", "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": {**message_of("", []), "content": []}},
        {"type": "response.content_part.added", **AT, "part": {"type": "output_text", "text": "", "annotations": []}},
        {"type": "response.output_text.delta", **AT, "delta": TEXT},
        {"type": "response.output_text.annotation.added", **AT, "annotation_index": 0, "annotation": NOTE},
        {"type": "response.output_text.done", **AT, "text": TEXT},
        {"type": "response.content_part.done", **AT, "part": {"type": "output_text", "text": TEXT, "annotations": [NOTE]}},
        {"type": "response.output_item.done", "output_index": 0, "item": message_of(TEXT, [NOTE])},
        {"type": "response.completed", "response": WHOLE["responses"]},
    ),
}  # fmt: skip


def request(stream: bool = False) -> ir.Request:
    return ir.Request("m", (), stream=stream)


def events_in(data: bytes) -> list[Any]:
    return [json.loads(line[6:]) for line in data.decode().splitlines() if line.startswith("data: {")]


def assembled(caller: str, data: bytes) -> dict[str, Any]:
    """A caller's stream as the whole answer that it makes, by the reader of its own protocol."""
    collector = ir.Collector()
    reader = MODULES[caller].StreamReader()
    from llm_router_gateway.wire.sse import SSEParser

    parser = SSEParser(1 << 20)
    for event in [*parser.feed(data), *parser.close()]:
        for each in reader.feed(event):
            collector.feed(each)
    for each in reader.close():
        collector.feed(each)
    made: dict[str, Any] = MODULES[caller].write_answer(collector.answer(), request(), [])
    return made


def converted(caller: str, upstream: str, *, stream: bool) -> tuple[dict[str, Any], list[str]]:
    """(the caller's answer, what was lost)."""
    lost: list[str] = []
    if not stream:
        answer = MODULES[upstream].read_answer(WHOLE[upstream])
        return MODULES[caller].write_answer(answer, request(), lost), lost
    writer = MODULES[caller].StreamWriter(request(stream=True), lost=lost)
    pipe = ConvertPipe(MODULES[upstream].StreamReader(), writer)
    data = pipe.feed(STREAMED[upstream]) + pipe.close()
    assert pipe.error is None, pipe.error
    return assembled(caller, data), lost


def pages_in(caller: str, answer: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(address, title, the stretch of text that rests on it) of each quotation in a caller's answer."""
    if caller == "openai":
        message = answer["choices"][0]["message"]
        inner = [note["url_citation"] for note in message.get("annotations", ())]
        return [(each["url"], each["title"], message["content"][each["start_index"] : each["end_index"]]) for each in inner]
    if caller == "responses":
        parts = [part for item in answer["output"] for part in item.get("content", ()) if part["type"] == "output_text"]
        return [(note["url"], note["title"], part["text"][note["start_index"] : note["end_index"]])
                for part in parts for note in part["annotations"]]  # fmt: skip
    if caller == "anthropic":
        return [(page["url"], page["title"], each["text"]) for each in answer["content"] for page in each.get("citations", ())]
    candidate = answer["candidates"][0]
    said = "".join(part["text"] for part in candidate["content"]["parts"]).encode()
    found = candidate.get("groundingMetadata", {})
    return [
        (found["groundingChunks"][index]["web"]["uri"], found["groundingChunks"][index]["web"]["title"],
         said[support["segment"]["startIndex"] : support["segment"]["endIndex"]].decode())
        for support in found.get("groundingSupports", ()) for index in support["groundingChunkIndices"]
    ]  # fmt: skip


PAIRS = [(caller, upstream) for caller in MODULES for upstream in MODULES if caller != upstream]


@pytest.mark.parametrize(("caller", "upstream"), PAIRS)
def test_a_whole_answer_says_what_rests_on_which_page(caller: str, upstream: str) -> None:
    answer, lost = converted(caller, upstream, stream=False)
    assert pages_in(caller, answer) == [(URL, TITLE, CITED)]
    assert not {"annotations", "citations", "groundingMetadata"} & set(lost)


@pytest.mark.parametrize(("caller", "upstream"), PAIRS)
def test_a_stream_does_too(caller: str, upstream: str) -> None:
    answer, lost = converted(caller, upstream, stream=True)
    # Anthropic's form gives a page to a block of text, and the text was out before the page came.
    stretch = TEXT if caller == "anthropic" else CITED
    assert pages_in(caller, answer) == [(URL, TITLE, stretch)]
    assert not {"annotations", "citations", "groundingMetadata"} & set(lost)
    assert ("citations.position" in lost) is (caller == "anthropic")


@pytest.mark.parametrize("caller", ["openai", "gemini", "responses"])
def test_a_place_is_right_in_a_stream_of_many_pieces(caller: str) -> None:
    pieces = [f"é{number:03}" for number in range(300)]
    words = [{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}} for piece in pieces]
    begin, *_, end = block(0, "")
    data = named(
        {"type": "message_start", "message": {**WHOLE["anthropic"], "content": [], "stop_reason": None}}, begin, *words, end,
        *block(1, CITED, PAGE),
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    )  # fmt: skip
    pipe = ConvertPipe(anthropic.StreamReader(), MODULES[caller].StreamWriter(request(stream=True), lost=[]))
    assert pages_in(caller, assembled(caller, pipe.feed(data) + pipe.close())) == [(URL, TITLE, CITED)]


@pytest.mark.parametrize("upstream", MODULES)
@pytest.mark.parametrize("caller", [ollama, completions], ids=["ollama", "completions"])
def test_a_protocol_without_a_place_for_them_names_the_loss(caller: Any, upstream: str) -> None:
    lost: list[str] = []
    caller.write_answer(MODULES[upstream].read_answer(WHOLE[upstream]), request(), lost)
    assert lost == ["citations"]
    lost = []
    pipe = ConvertPipe(MODULES[upstream].StreamReader(), caller.StreamWriter(request(stream=True), lost=lost))
    pipe.feed(STREAMED[upstream])
    pipe.close()
    assert lost == ["citations"] and pipe.error is None


def test_a_place_in_a_document_has_no_equal_and_is_named() -> None:
    place = {"type": "char_location", "cited_text": "so", "document_index": 0, "document_title": "D", "start_char_index": 0,
             "end_char_index": 2}  # fmt: skip
    content = [{"type": "text", "text": CITED, "citations": [place, PAGE]}]
    for caller in ("openai", "gemini", "responses"):
        lost: list[str] = []
        answer = anthropic.read_answer({**WHOLE["anthropic"], "content": content})
        made = MODULES[caller].write_answer(answer, request(), lost)
        assert pages_in(caller, made) == [(URL, TITLE, CITED)] and "citations" in lost, caller


def test_a_file_that_an_answer_quotes_is_named() -> None:
    note = {"type": "file_citation", "file_id": "file-1", "filename": "f", "index": 0}
    message = {"role": "assistant", "content": TEXT, "annotations": [note, NESTED]}
    answer = openai.read_answer({"id": "c", "choices": [{"index": 0, "finish_reason": "stop", "message": message}]})
    for caller in ("anthropic", "gemini"):
        lost: list[str] = []
        made = MODULES[caller].write_answer(answer, request(), lost)
        assert pages_in(caller, made) == [(URL, TITLE, CITED)] and "annotations" in lost, (caller, lost)


@pytest.mark.parametrize("stream", [False, True])
def test_pages_of_another_vendor_come_back_and_never_reach_anthropic(stream: bool) -> None:
    answer, _ = converted("anthropic", "openai", stream=stream)
    (page,) = [page for each in answer["content"] for page in each.get("citations", ())]
    assert page["encrypted_index"].startswith(MARK) and page["cited_text"] == ""
    said = {"role": "assistant", "content": answer["content"]}
    question = {"role": "user", "content": "q"}
    body: dict[str, Any] = {"model": "m", "max_tokens": 9, "messages": [question, said, question]}
    lost: list[str] = []
    relayed = remove_foreign(body, lost)["messages"][1]["content"]
    assert "".join(each["text"] for each in relayed) == TEXT and all("citations" not in each for each in relayed) and not lost
    openai.write_request(anthropic.read_request(body), model="m", quirks={}, lost=lost)
    assert not lost
    own = {**body, "messages": [{"role": "assistant", "content": [{"type": "text", "text": "a", "citations": [PAGE]}]}]}
    assert remove_foreign(own, lost) == own


CUTS = [
    ([Citation("u", "", 1, 3)], [Stretch("a"), Stretch("bc", [Citation("u", "", 1, 3)]), Stretch("def")]),
    ([Citation("u", "", 4, 6), Citation("v", "", 0, 2)],
     [Stretch("ab", [Citation("v", "", 0, 2)]), Stretch("cd"), Stretch("ef", [Citation("u", "", 4, 6)])]),
    ([Citation("u", "", 0, 4), Citation("v", "", 2, 6)],
     [Stretch("abcd", [Citation("u", "", 0, 4), Citation("v", "", 2, 6)]), Stretch("ef")]),
    ([Citation("u", "", 2, 99)], [Stretch("ab"), Stretch("cdef", [Citation("u", "", 2, 99)])]),
    ([Citation("u")], [Stretch("abcdef")]), ([Citation("u", "", 9, 12)], [Stretch("abcdef")]),
    ([Citation("u", "", 2, 2)], [Stretch("abcdef")]),
]  # fmt: skip


@pytest.mark.parametrize(("found", "pieces"), CUTS)
def test_a_text_is_cut_where_quotations_begin_and_end(found: list[Citation], pieces: list[Stretch]) -> None:
    assert stretches("abcdef", 0, found) == pieces
    assert "".join(piece.text for piece in stretches("cd", 2, found)) == "cd"


BROKEN: list[tuple[str, Any]] = [
    ("openai", [None, 7, {}, {"type": "url_citation"}, {"type": "url_citation", "url_citation": {"url": 5}}]),
    ("openai", [{"type": "url_citation", "url_citation": {"url": "u", "title": None, "start_index": "x", "end_index": -1}}]),
    ("gemini", {"groundingChunks": [None, {"web": 5}, {"web": {"uri": 7}}], "groundingSupports": [None, {"segment": {}}]}),
    ("gemini", {"groundingChunks": "x",
                "groundingSupports": [{"segment": {"endIndex": "9"}, "groundingChunkIndices": [7, None]}]}),
    ("gemini", {"groundingChunks": [{"web": {"uri": "u"}}], "groundingSupports": [{"segment": {"endIndex": 10**9},
                "groundingChunkIndices": 5}]}),
    ("anthropic", [None, {}, {"url": 7}, {"url": "u", "title": 3, "cited_text": None}]),
]  # fmt: skip


@pytest.mark.parametrize(("upstream", "value"), BROKEN)
def test_forms_that_are_none_break_no_answer(upstream: str, value: Any) -> None:
    answer = json.loads(json.dumps(WHOLE[upstream]))
    if upstream == "openai":
        answer["choices"][0]["message"]["annotations"] = value
    elif upstream == "gemini":
        answer["candidates"][0]["groundingMetadata"] = value
    else:
        answer["content"][1]["citations"] = value
    for caller in MODULES:
        try:
            made = MODULES[caller].write_answer(MODULES[upstream].read_answer(answer), request(), [])
        except GatewayError as error:
            pytest.fail(f"{caller}: {error.message}")
        assert made
