"""Provider keys that a stream spreads over several events: masked however they are cut, and everything else as it came."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from fakes import DONE, FIRST, LAST, STREAM, Exchange, Upstream, chunk
from routed import Hosts, Ways, play, provider
from running import made_up

from llm_router_gateway.proxy.mask import Mask
from llm_router_gateway.proxy.stream_mask import MAX_OTHERS, PieceMask, StreamMask

KEY, OTHER = "sk-" + made_up("one"), "sk-" + made_up("two")
TEXTS = {
    "openai": lambda text: event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}),
    "anthropic": lambda text: b"event: content_block_delta\n" + event(
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}),
    "gemini": lambda text: event({"candidates": [{"content": {"parts": [{"text": text}]}, "index": 0}]}),
    "responses": lambda text: event({"type": "response.output_text.delta", "output_index": 0, "delta": text}),
    "ollama": lambda text: json.dumps({"message": {"role": "assistant", "content": text}, "done": False}).encode() + b"\n",
}  # fmt: skip
FIELDS = {"openai": "content", "anthropic": "text", "gemini": "text", "responses": "delta", "ollama": "content"}


def event(value: object, spaces: bool = False) -> bytes:
    separators = (", ", ": ") if spaces else (",", ":")
    return b"data: " + json.dumps(value, separators=separators).encode() + b"\n\n"


def mask(*secrets: str) -> StreamMask:
    return StreamMask(Mask(secrets or (KEY, OTHER)))


def through(pieces: Sequence[bytes], made: StreamMask | None = None) -> bytes:
    made = made or mask()
    return b"".join([*map(made, pieces), made.flush()])


def said(protocol: str, data: bytes) -> str:
    """The text that a stream of these events says."""
    found = []
    for line in data.splitlines():
        if line.startswith((b"data: ", b"{")):
            text = json.dumps(json.loads(line.removeprefix(b"data: ")))
            found.append(
                json.loads(text[text.index(f'"{FIELDS[protocol]}": ') + len(FIELDS[protocol]) + 4 :].split('"}')[0] + '"')
                if '"}' in text
                else ""
            )
    return "".join(found)


def cuts(text: str, *places: int) -> list[str]:
    return [text[a:b] for a, b in zip((0, *places), (*places, len(text)), strict=True)]


@pytest.mark.parametrize("protocol", TEXTS)
def test_a_key_is_masked_wherever_it_is_cut(protocol: str) -> None:
    text = f"the key is {KEY}, keep it"
    for place in range(len(text) + 1):
        data = through([TEXTS[protocol](part) for part in cuts(text, place)])
        assert said(protocol, data) == "the key is ***, keep it", place


@pytest.mark.parametrize("protocol", TEXTS)
def test_a_key_in_many_pieces_is_masked_alone_or_several_at_once(protocol: str) -> None:
    rng = random.Random(7)
    text = f"as {KEY}{OTHER} is s{KEY[:-1]} sk-sk-{OTHER}s"
    for _ in range(50):
        places = sorted(rng.sample(range(len(text)), rng.randrange(1, 30)))
        events = [TEXTS[protocol](part) for part in cuts(text, *places)]
        wanted = f"as ****** is s{KEY[:-1]} sk-sk-***s"
        assert said(protocol, through(events)) == wanted
        assert said(protocol, through([b"".join(events)])) == wanted
        made = rng.randrange(1, len(events))
        assert said(protocol, through([b"".join(events[:made]), b"".join(events[made:])])) == wanted


def test_characters_that_json_escapes_are_the_same() -> None:
    half = len(KEY) // 2
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in KEY[half:])
    pieces = [b'data: {"text":"a ' + KEY[:half].encode() + b'"}\n\n', b'data: {"text":"' + escaped.encode() + b' b"}\n\n']
    assert through(pieces) == b'data: {"text":"a ***"}\n\ndata: {"text":" b"}\n\n'
    head = "".join(f"\\u{ord(letter):04x}" for letter in KEY[:half])
    pieces = [b'data: {"text":"' + head.encode() + b'"}\n\n', b'data: {"text":"' + KEY[half:].encode() + b'"}\n\n']
    assert through(pieces) == b'data: {"text":"***"}\n\ndata: {"text":""}\n\n'


@pytest.mark.parametrize(("character", "escaped"), [("/", r"\/"), ("/", r"\u002F"), ("&", r"\u0026"), ("'", r"\u0027")])
def test_characters_that_only_some_encoders_escape_are_the_same(character: str, escaped: str) -> None:
    secret = f"{KEY}{character}end"
    written = secret.replace(character, escaped)
    assert Mask((secret,))(f'{{"m":"bad key {written}"}}'.encode()) == b'{"m":"bad key ***"}'
    for place in range(len(KEY) + 1):
        parts = (written[:place], written[place:])
        data = through([f'data: {{"text":"{part}"}}\n\n'.encode() for part in parts], mask(secret))
        assert b"***" in data and KEY[:8].encode() not in data, place


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_lines_end_in_any_way_and_pieces_hold_several(end: bytes) -> None:
    texts = ["hello", KEY[:5], KEY[5:], " it is"]
    events = [TEXTS["openai"](text).replace(b"\n", end) for text in texts]
    for cut in range(1, len(events)):
        data = through([b"".join(events[:cut]), *events[cut:]])
        assert b"***" in data and KEY[5:].encode() not in data and data.endswith(events[-1]), cut


def test_texts_of_several_choices_come_in_turns() -> None:
    def piece(index: int, text: str) -> bytes:
        return event({"choices": [{"index": index, "delta": {"content": text}}]}, spaces=True)

    half = len(KEY) // 2
    data = through([piece(0, KEY[:half]), piece(1, "see " + KEY[:4]), piece(0, KEY[half:]), piece(1, KEY[4:] + "!")])
    assert KEY[half:].encode() not in data and data.count(b"***") == 2 and b"see ***" in data and b'"!"' in data


def test_only_what_may_be_a_key_waits_and_only_for_the_next_text() -> None:
    made = mask()
    plain, ends_so, goes_on = (TEXTS["openai"](text) for text in ("hello", " yes", " indeed"))
    assert made(plain) == plain
    assert made(plain + ends_so) == plain
    assert made(goes_on) == ends_so + goes_on
    assert made(ends_so) == b"" and made.flush() == ends_so and made.flush() == b""
    others = [event({"type": "ping", "number": number}) for number in range(MAX_OTHERS + 1)]
    assert made(ends_so) == b""
    assert b"".join(map(made, others)) == ends_so + b"".join(others)


def test_names_of_fields_and_words_inside_a_text_hold_nothing() -> None:
    made = mask()
    for data in (
        event({"choices": [], "ids": {}, "s": 1}),
        TEXTS["openai"]('as "sk" is: s.'),
        event({"a": "sk-x y"}),
        b": s\n\n",
    ):
        assert made(data) == data


def test_everything_else_passes_to_the_byte() -> None:
    rng = random.Random(3)
    words = ["s", "sk", "sk-", "\u00e9s", '"s', "\\s", "\u4f60", KEY[:9], KEY[:-1], "\n", " is"]
    events = [event({"choices": [{"index": rng.randrange(2), "delta": {"content": rng.choice(words)}}]}, rng.random() < 0.5)
              for _ in range(2_000)]  # fmt: skip
    assert through(events) == b"".join(events)


def test_without_a_key_worth_hiding_nothing_is_looked_at() -> None:
    made = StreamMask(Mask(("short",)))
    assert made(TEXTS["openai"]("short s")) == TEXTS["openai"]("short s")


def in_codes(text: str) -> str:
    return "".join(f"\\u{ord(letter):04x}" for letter in text)


@pytest.mark.parametrize("written", [KEY, in_codes(KEY), KEY[:4] + in_codes(KEY[4]) + KEY[5:]])
def test_bytes_that_are_no_events_are_masked_wherever_they_are_cut(written: str) -> None:
    text = f"the key is {written}, keep it".encode()
    for place in range(len(text)):
        made = PieceMask(Mask((KEY, OTHER)))
        pieces = [text[:place], *(text[at : at + 1] for at in range(place, len(text)))]
        assert b"".join([*map(made, pieces), made.flush()]) == b"the key is ***, keep it", place


def test_only_bytes_that_may_begin_a_key_wait() -> None:
    made = PieceMask(Mask((KEY,)))
    assert [made(b"\xff\xfb\0sk"), made(b"y"), made(b"sk-"), made.flush()] == [b"\xff\xfb\0", b"sky", b"", b"sk-"]
    assert made.flush() == b""
    assert PieceMask(Mask(("short",)))(b"short sh") == b"short sh"


@pytest.mark.slow
def test_long_texts_cost_little_and_their_ends_count() -> None:
    made, long = mask(), "x" * 500_000
    assert made(TEXTS["openai"](long + KEY[:5])) == b""
    data = made(TEXTS["openai"](KEY[5:] + long)) + made.flush()
    assert KEY.encode() not in data and (long + "***").encode() in data
    begins = event({"text": KEY[:20] * 100_000})
    assert through([begins]) == begins


# ------------------------------------------------------------------------------------------------- through the whole gateway

HALF = len(KEY) // 2


def asked(tmp_path: Path, path: str, *pieces: bytes) -> tuple[Exchange, str]:
    """(what a caller got whose upstream sends these pieces, the log)"""
    got: list[Exchange] = []
    body = {"model": "o/m", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "hi"}], "input": "hi"}

    async def story(ways: Ways) -> None:
        got.append(await ways.ask(Exchange("POST", path, json.dumps(body).encode())))

    owner = provider("o", any_model=True, api_key=KEY)
    ways = play(story, {"providers": [owner]}, Hosts(o=Upstream(200, list(pieces), **STREAM)), tmp_path)
    return got[0], ways.path.read_text()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/api/chat"])
def test_no_caller_sees_a_key_that_a_stream_spreads(tmp_path: Path, path: str) -> None:
    parts = [chunk({"content": text}) for text in (f"it is {KEY[:3]}", KEY[3:HALF], KEY[HALF:], " so it is")]
    answer, _ = asked(tmp_path, path, FIRST, *parts, LAST, DONE)
    assert answer.status == 200 and b"***" in answer.out and b" so it is" in answer.out
    assert not [at for at in range(len(KEY) - 7) if KEY[at : at + 8].encode() in answer.out]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/api/chat"])
def test_what_was_held_goes_out_before_the_end_and_before_an_error(tmp_path: Path, path: str) -> None:
    said = [FIRST, chunk({"content": "the"}), chunk({"content": " yes"})]
    answer, log = asked(tmp_path, path, *said, LAST, DONE)
    assert b" yes" in answer.out and "error" not in log
    for more in ([], [b"data: {broken\n\n"], [event({"error": {"message": "no", "code": 500}})]):
        answer, log = asked(tmp_path, path, *said, *more)
        assert b" yes" in answer.out and answer.out.index(b" yes") < answer.out.rindex(b"error"), more


def test_a_relayed_stream_without_a_key_is_the_upstreams_to_the_byte(tmp_path: Path) -> None:
    said = [FIRST, *(chunk({"content": text}) for text in ("It", " is", " yes", " sk", "-", " so", "s")), LAST, DONE]
    answer, _ = asked(tmp_path, "/v1/chat/completions", *said)
    assert answer.out == b"".join(said)
