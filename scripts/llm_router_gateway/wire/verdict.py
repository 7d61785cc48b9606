"""Whether a turn is an answer: one check for relays and conversions, plain and streamed, fed with what was seen of the turn.

    finish_failure("MALFORMED_FUNCTION_CALL")              -> BrokenAnswer: the upstream says itself that it did not finish
    finish_failure("stop")                                 -> None
    finish_failure("stop", "abort", said=False)            -> BrokenAnswer: its own vendor's word, beside a stop with nothing
    half_call('{"city": "Par')                         -> True: what came of a call's arguments breaks off
    Calls().add(0, "{}"), .flaw("tool_calls")          -> None, or BrokenAnswer for a call that broke off

Where nothing was sent to the caller yet the next member may answer; afterwards it is the stream's last event. An empty turn
that the model itself ended (`stop`, `end_turn`) is an answer: models end the turns of agents so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from ..errors import BrokenAnswer, StreamCut

# Words by which servers say that they did not finish: vLLM (abort), OpenRouter and SGLang (error), GLM (network_error),
# DeepSeek (insufficient_system_resource); ai.google.dev/api/generate-content#FinishReason. In lower case.
UNFINISHED = frozenset({
    "error", "abort", "aborted", "cancelled", "network_error", "insufficient_system_resource", "malformed_function_call",
    "unexpected_tool_call", "too_many_tool_calls", "missing_thought_signature", "malformed_response", "other", "no_image",
    "image_other", "language",
})  # fmt: skip
CUT_SHORT = frozenset({"length", "max_tokens", "model_length", "content_filter", "refusal", "model_context_window_exceeded"})
LITERAL_STARTS = re.compile(r"(?:-|t(?:ru?)?|f(?:a(?:ls?)?)?|n(?:ul?)?)\Z")  # of true, false, null and negative numbers
EMPTY = "empty_answer"  # the code of a turn without content
MARKS = ("null", "[]", "{}")  # data of events that are signs of life and carry nothing (Azure and others)


def finish_failure(word: object, native: object = "", *, said: bool = True) -> BrokenAnswer | None:
    """The failure that a finish word means. `native`, the vendor's own word behind a proxy, counts if there was no output."""
    for each in (word,) if said else (word, native):
        if isinstance(each, str) and each.lower() in UNFINISHED:
            return BrokenAnswer(f"the upstream did not finish its answer: {each}", code=f"unfinished_{each.lower()}")
    return None


def no_answer() -> BrokenAnswer:
    """A turn that is over and held nothing: no choice, no candidate, no block reason."""
    return BrokenAnswer("the upstream's answer is empty: it holds no choices or candidates", code=EMPTY)


def half_choices() -> BrokenAnswer:
    """Some choices have a finish_reason and others do not."""
    return BrokenAnswer("the upstream did not finish its answer: a choice has no finish_reason", code="unfinished_choice")


def second_start() -> BrokenAnswer:
    return BrokenAnswer("the upstream began a second answer inside the first", code="second_start")


def cut_inside() -> StreamCut:
    return StreamCut("the upstream ended the stream in the middle of an event")


def carries_nothing(data: str) -> bool:
    """Whether an event is a sign of life: carries_nothing("null"), carries_nothing("[]"), carries_nothing("  ") -> True"""
    return len(data) < 8 and (not data.strip() or data.strip() in MARKS)


def half_call(arguments: str) -> bool:
    """Whether arguments are the beginning of JSON that goes on; other nonsense is the model's own and goes to the caller."""
    decoder, at = json.JSONDecoder(), 0
    text = arguments.strip()
    while at < len(text):
        try:
            _, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            is_open = error.msg.startswith(("Unterminated string", "Invalid \\escape: '\\'", "Invalid \\u"))
            return is_open or error.pos >= len(text) or LITERAL_STARTS.match(text, error.pos) is not None
        except RecursionError:
            return False
        while at < len(text) and text[at].isspace():
            at += 1
    return False


class Calls:
    """The arguments of a turn's calls, as their pieces come; `add` with the call's place in the turn."""

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        self._pieces: dict[object, list[str]] = {}

    def add(self, place: object, piece: object) -> None:
        if isinstance(piece, str):
            named = place if isinstance(place, (int, str, tuple)) else repr(place)  # an upstream may send any JSON as an index
            self._pieces.setdefault(named, []).append(piece)

    def flaw(self, word: str) -> BrokenAnswer | None:
        """At the end of the turn: a call that broke off. A turn that ended at its limit or was filtered may hold one."""
        if word in CUT_SHORT or not any(half_call("".join(pieces)) for pieces in self._pieces.values()):
            return None
        return BrokenAnswer("the upstream ended its answer inside a tool call", code="half_tool_call")


EVENT_END = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")
DATA_LINE = re.compile(rb"(?:^|(?<=\r))(?:\xef\xbb\xbf)?data(?::|\r|\n)", re.MULTILINE)


def raw_events(data: bytes) -> Iterator[bytes]:
    """Whole events, each with its blank line; comments stay with the event behind them."""
    start = at = 0
    for end in EVENT_END.finditer(data):
        if DATA_LINE.search(data, at, end.end()):
            yield data[start : end.end()]
            start = end.end()
        at = end.end()
    if start < len(data):
        yield data[start:]


def first_events(data: bytes, count: int) -> bytes:
    """The first `count` events of whole ones."""
    return b"".join(event for number, event in enumerate(raw_events(data)) if number < count)
