"""The pages of the web that an answer cites, in the vendors' forms: OpenAI's annotations, Anthropic's citations, Gemini's
grounding.

    quoted = Quoted("openai")                  of one candidate, for a caller of this vendor's protocol
    quoted.begin(part.extras)                  a text begins
    quoted.say("Paris.")                       more of it
    rest = quoted.more(delta.extras)           what it quotes; what is left has no equal, and is lost
    quoted.end()                               the text is whole
    found, rest = quoted.close(stopped.extras) every quotation of the candidate that other vendors' forms told

    gather(candidate, "openai")                -> (the candidate without them, [Citation, ...])    of a whole answer

Places are characters of the candidate's whole text; None where a form tells none. OpenAI and Gemini tell which part of the
answer rests on a page, Anthropic which block of text does. What is no page of the web (a place in a document, a file) has no
equal elsewhere and is left as it is. Own forms are never touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from . import ir
from .losses import name_lost
from .shapes import Shape, both, shape, unread

ANNOTATIONS, CITATIONS, GROUNDING = "annotations", "citations", "groundingMetadata"
PIECES = 64  # of a text that are put together
MAX_CITATIONS = 1_000  # of one answer; more than a page shows

# What is read of a citation of a page, in each form; all else of it is named. A page's words (cited_text) have a place only in
# Anthropic's form, and its index means nothing to others.
READ: Mapping[str, Shape] = {
    ANNOTATIONS: shape(annotations=shape("type", url_citation=shape("url", "title", "start_index", "end_index"))),
    CITATIONS: shape(citations=shape("type", "url", "title", "encrypted_index")),
    GROUNDING: shape(groundingMetadata=shape(
        groundingChunks=shape(web=shape("uri", "title")),
        groundingSupports=shape("groundingChunkIndices", segment=shape("startIndex", "endIndex", "text", "partIndex")),
    )),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Citation:
    """A page that a stretch of the text rests on. `quote` are the page's own words, where they are known."""

    url: str
    title: str = ""
    start: int | None = None
    end: int | None = None
    quote: str = ""


def page_of(url: object, title: object, start: object = None, end: object = None, quote: object = "") -> Citation | None:
    """None where there is no address."""
    if not isinstance(url, str) or not url:
        return None
    first, last = (place if type(place) is int and place >= 0 else None for place in (start, end))
    if first is None or last is None or first > last:
        first = last = None
    return Citation(url, title if isinstance(title, str) else "", first, last, quote if isinstance(quote, str) else "")


# --------------------------------------------------------------------------------------------------------------- reading


def of_annotations(notes: Any) -> tuple[list[Citation], list[Any]]:
    """(pages, what else there is) of chat completions' annotations.

    [{"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 3}}]
        -> ([Citation("u", "t", 0, 3)], [])
    """
    pages, rest = [], []
    for note in notes if isinstance(notes, list) else ():
        inner = note.get("url_citation") if isinstance(note, dict) else None
        found = None
        if isinstance(inner, dict):
            found = page_of(inner.get("url"), inner.get("title"), inner.get("start_index"), inner.get("end_index"))
        if found is None:
            rest.append(note)
        else:
            pages.append(found)
    return pages, rest


def of_citations(cited: Any, start: int, end: int) -> tuple[list[Citation], list[Any]]:
    """The same for a text of Anthropic's that runs from `start` to `end`."""
    pages, rest = [], []
    for each in cited if isinstance(cited, list) else ():
        found = None
        if isinstance(each, dict):
            found = page_of(each.get("url"), each.get("title"), start, end, each.get("cited_text"))
        if found is None:
            rest.append(each)
        else:
            pages.append(found)
    return pages, rest


def of_grounding(metadata: Any, said: str) -> list[Citation]:
    """Of Gemini's grounding, which counts in bytes of UTF-8; pages that no stretch rests on have no place."""
    given = metadata if isinstance(metadata, dict) else {}
    chunks, supports = given.get("groundingChunks"), given.get("groundingSupports")
    webs = [each.get("web") if isinstance(each, dict) else None for each in chunks] if isinstance(chunks, list) else []
    data, pages, used = said.encode("utf-8", "surrogatepass"), list[Citation](), set[int]()
    for support in supports if isinstance(supports, list) else ():
        segment = support.get("segment") if isinstance(support, dict) else None
        if not isinstance(segment, dict):
            continue
        start, end = (character_at(data, segment.get(name)) for name in ("startIndex", "endIndex"))
        indices = support.get("groundingChunkIndices")
        for index in indices if isinstance(indices, list) else ():
            web = webs[index] if type(index) is int and 0 <= index < len(webs) else None
            found = page_of(web.get("uri"), web.get("title"), start, end) if isinstance(web, dict) else None
            if found is not None:
                pages.append(found)
                used.add(index)
    for index, web in enumerate(webs):
        found = page_of(web.get("uri"), web.get("title")) if isinstance(web, dict) and index not in used else None
        if found is not None:
            pages.append(found)
    return pages


def unread_of(name: str, given: Any, left: Sequence[Any] = ()) -> ir.Extras:
    """The names of what nothing reads of citations that became pages; those that are `left` did not.

    unread_of("citations", [{"type": "web_search_result_location", "url": "u", "x": 1}]) -> {"unread": {"citations.x": True}}
    """
    others = set(map(id, left))
    taken = [each for each in given if id(each) not in others] if others else given
    return unread({name: taken}, READ[name])


def character_at(data: bytes, index: Any) -> int:
    """The character at a byte's place."""
    return len(data[: index if type(index) is int and index > 0 else 0].decode("utf-8", "ignore"))


def without(extras: ir.Extras, vendor: str, name: str, left: Any = None) -> ir.Extras:
    """Extras in which a field has only what is `left` of it."""
    fields = {each: value for each, value in extras.get(vendor, ir.NOTHING).items() if each != name}
    if left:
        fields[name] = left
    rest = {each: value for each, value in extras.items() if each != vendor}
    return rest | {vendor: fields} if fields else rest or ir.NOTHING


class Quoted:
    """What one candidate quotes, gathered as its parts come; see the module."""

    __slots__ = ("_found", "_open", "_own", "_said", "_start", "_tail")

    def __init__(self, own: str) -> None:
        self._own = own
        self._said: list[str] = []
        self._tail: list[str] = []  # the last pieces, which are put together now and then: a stream has thousands
        self._start = 0
        self._open: list[Any] = []  # what the open text quotes in Anthropic's form, all of it so far
        self._found: list[Citation] = []

    def say(self, text: str) -> None:
        self._tail.append(text)
        if len(self._tail) == PIECES:
            self._gather()

    def _gather(self) -> None:
        self._said.append("".join(self._tail))
        self._tail.clear()

    @property
    def text(self) -> str:
        if self._tail:
            self._gather()
        if len(self._said) > 1:
            self._said = ["".join(self._said)]
        return self._said[0] if self._said else ""

    def begin(self, extras: ir.Extras = ir.NOTHING) -> ir.Extras:
        self._open, self._start = [], len(self.text)
        return extras if extras is ir.NOTHING else self.more(extras)

    def more(self, extras: ir.Extras) -> ir.Extras:
        cited = extras.get("anthropic", ir.NOTHING).get(CITATIONS) if self._own != "anthropic" else None
        if not isinstance(cited, list):
            return extras
        pages, rest = of_citations(cited, 0, 0)
        if not pages:
            return extras
        self._open = cited
        return both(without(extras, "anthropic", CITATIONS, rest), unread_of(CITATIONS, cited, rest))

    def end(self) -> None:
        if self._open:
            self._found += of_citations(self._open, self._start, len(self.text))[0]
            self._open = []

    def close(self, extras: ir.Extras = ir.NOTHING) -> tuple[list[Citation], ir.Extras]:
        self.end()
        if extras is not ir.NOTHING and (self._said or self._tail):
            extras = self._of_candidate(extras)
        return list(dict.fromkeys(self._found))[:MAX_CITATIONS], extras

    def _of_candidate(self, extras: ir.Extras) -> ir.Extras:
        if self._own != "openai" and ANNOTATIONS in extras.get("openai", ir.NOTHING):
            notes = extras["openai"][ANNOTATIONS]
            pages, rest = of_annotations(notes)
            self._found += pages
            if pages:
                extras = both(without(extras, "openai", ANNOTATIONS, rest), unread_of(ANNOTATIONS, notes, rest))
        if self._own != "gemini" and GROUNDING in extras.get("gemini", ir.NOTHING):
            metadata = extras["gemini"][GROUNDING]
            pages = of_grounding(metadata, self.text)
            self._found += pages
            extras = both(without(extras, "gemini", GROUNDING), unread_of(GROUNDING, metadata)) if pages else extras
        return extras


def gather(candidate: ir.Candidate, own: str) -> tuple[ir.Candidate, list[Citation]]:
    """A whole candidate without what other vendors' forms tell of pages, and these."""
    if candidate.extras is ir.NOTHING and all(getattr(part, "extras", ir.NOTHING) is ir.NOTHING for part in candidate.parts):
        return candidate, []  # as most
    quoted, parts = Quoted(own), list[ir.Part]()
    for part in candidate.parts:
        if isinstance(part, ir.Text):
            rest = quoted.begin(part.extras)
            quoted.say(part.text)
            quoted.end()
            part = replace(part, extras=rest) if rest is not part.extras else part
        parts.append(part)
    found, rest = quoted.close(candidate.extras)
    return (replace(candidate, parts=tuple(parts), extras=rest), found) if found else (candidate, [])


QUOTING = frozenset({ANNOTATIONS, CITATIONS, GROUNDING})


def lose_all_extras(said: ir.Answer | ir.Candidate | ir.StreamEvent, lost: list[str]) -> None:
    """Names all that is said beside texts and calls, for a protocol that has no place for any: citations by that name."""
    found = [getattr(said, "extras", ir.NOTHING)]
    if isinstance(said, ir.Candidate):
        found += [part.extras for part in said.parts if isinstance(part, ir.Text)]
    elif isinstance(said, ir.PartStart) and isinstance(said.part, ir.Text):
        found.append(said.part.extras)
    for extras in found:
        if extras is not ir.NOTHING:
            for name in (name for fields in extras.values() for name in fields):
                name_lost(lost, CITATIONS if name in QUOTING else name)


# --------------------------------------------------------------------------------------------------------------- writing


def write_annotations(found: Iterable[Citation]) -> list[dict[str, Any]]:
    """As chat completions have them: the place is 0 to 0 where it is not known, for SDKs want numbers."""
    return [
        {"type": "url_citation", "url_citation": {
            "url": each.url, "title": each.title, "start_index": each.start or 0, "end_index": each.end or 0,
        }} for each in found
    ]  # fmt: skip


def grounding(found: Sequence[Citation], said: str) -> dict[str, Any]:
    """As Gemini has them."""
    pages = list(dict.fromkeys((each.url, each.title) for each in found))
    index = {page: number for number, page in enumerate(pages)}
    places: dict[tuple[int, int], list[int]] = {}
    for each in found:
        if each.start is not None and each.end is not None:
            numbers = places.setdefault((each.start, each.end), [])
            if index[each.url, each.title] not in numbers:
                numbers.append(index[each.url, each.title])
    supports = [
        {"segment": {"startIndex": len(encode(said[:start])), "endIndex": len(encode(said[:end])), "text": said[start:end]},
         "groundingChunkIndices": numbers} for (start, end), numbers in places.items()
    ]  # fmt: skip
    made: dict[str, Any] = {"groundingChunks": [{"web": {"uri": url, "title": title}} for url, title in pages]}
    return made | ({"groundingSupports": supports} if supports else {})


def encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@dataclass(frozen=True, slots=True)
class Stretch:
    """A piece of a text and the pages that it rests on."""

    text: str
    pages: Sequence[Citation] = ()


def stretches(text: str, offset: int, found: Sequence[Citation]) -> list[Stretch]:
    """A text that begins at `offset` of the whole, cut where quotations begin and end, as Anthropic's blocks are.

    stretches("It is Paris.", 0, [Citation("u", "t", 6, 11)]) -> [Stretch("It is "), Stretch("Paris", [...]), Stretch(".")]

    Of those that overlap, the later belongs to the stretch of the one before.
    """
    spans: list[tuple[int, int, list[Citation]]] = []
    at, limit = offset, offset + len(text)
    for each in sorted((each for each in found if each.start is not None), key=place_of):
        start, end = place_of(each)
        end = min(end, limit)  # one that goes on in the next text belongs to this one
        if spans and start < at:
            spans[-1][2].append(each)
        elif at <= start < end:
            spans.append((start, end, [each]))
            at = end
    made, at = list[Stretch](), offset
    for start, end, pages in spans:
        if start > at:
            made.append(Stretch(text[at - offset : start - offset]))
        made.append(Stretch(text[start - offset : end - offset], pages))
        at = end
    return [*made, Stretch(text[at - offset :])] if at < limit else made


def place_of(each: Citation) -> tuple[int, int]:
    return each.start or 0, each.end or 0
