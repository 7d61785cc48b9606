"""What a worker process does with a conversation whose turns are large, alone or together: see `large_jobs`.

The body is the caller's own; the turns before it come with the job, as the store has them. The same functions do it in the
gateway where all is small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ..config.kinds import Secret
from ..json_body import read_body
from ..store.conversations import Turn, text_of
from ..wire import ir
from ..wire.conversion import without_ours
from ..wire.registry import wire
from .answers import parse_or_none
from .large_jobs import Cached
from .mask import mask_of
from .request import dump_json

WHOLE = frozenset({"completed", "incomplete"})


class Past(NamedTuple):
    """What a request builds on."""

    turns: Sequence[Turn] = ()  # before it, oldest first
    named: Sequence[Turn] = ()  # others whose items it names

    @property
    def all(self) -> list[Turn]:
        return [*self.turns, *self.named]

    @property
    def size(self) -> int:
        return sum(len(turn.text) for turn in self.all)


class Place(NamedTuple):
    """Where an answer was given: a model's full name, and the mark of the key that was sent; "" for the gateway itself."""

    member: str = ""
    key: str = ""


class Kept(NamedTuple):
    """What is kept of an answer, beside the text of its turn."""

    id: str
    previous: str
    items: tuple[str, ...]


def unfold_body(fields: Mapping[str, Any], past: Past, protocol: str) -> dict[str, Any]:
    """A body with the whole conversation in it."""
    state = wire(protocol).state
    items = state.by_id(turn.value for turn in past.named)
    whole: dict[str, Any] = state.unfold(fields, [turn.value for turn in past.turns], items)
    return whole


def portable(fields: Mapping[str, Any], past: Past, protocol: str, place: Place, lost: list[str]) -> dict[str, Any]:
    """The same for a member that knows none of it by its ids."""
    codec, given = wire(protocol), fields.get("input")
    if isinstance(given, list):  # what is named of the turns has no id any more
        known = codec.state.by_id(turn.value for turn in past.turns)
        fields = {**fields, "input": codec.state.without_references(given, known)}
    items = codec.state.by_id(turn.value for turn in past.named)
    turns = [codec.relay.portable(turn.value, (turn.member, turn.key) == place, lost) for turn in past.turns]
    whole: dict[str, Any] = codec.state.unfold(fields, turns, items)
    return whole


def turn_of(
    fields: Mapping[str, Any], response: Mapping[str, Any], past: Past, protocol: str, secrets: tuple[Secret, ...]
) -> tuple[Kept | None, bytes]:
    """What is kept of an answer; (None, b"") where nothing is. It holds no key either, for its caller may read it again."""
    if response.get("status") not in WHOLE or not isinstance(response.get("id"), str):
        return None, b""
    state = wire(protocol).state
    if past.turns or past.named:
        fields = state.resolve_references(fields, state.by_id(turn.value for turn in past.all))
    value = state.turn_to_keep(fields, response)
    items = tuple(str(item["id"]) for item in value["output"] if isinstance(item, dict) and item.get("id"))
    return Kept(value["id"], value["previous"], items), mask_of(secrets)(text_of(value))


def input_page(turns: Iterable[Turn], protocol: str, page: Mapping[str, Any]) -> dict[str, Any]:
    """The items that were the input of the last of `turns`."""
    found: dict[str, Any] = wire(protocol).state.input_items_page([turn.value for turn in turns], **page)
    return found


# ------------------------------------------------------------------------------------------------------------------- jobs


def unfold(cached: Cached, past: Past, protocol: str) -> tuple[None, bytes]:
    return None, dump_json(unfold_body(cached.body.fields, past, protocol))


def carry_over(
    cached: Cached, past: Past, protocol: str, place: Place, changes: Mapping[str, Any], dropped: frozenset[str],
    seal: ir.Seal | None,
) -> tuple[list[str], bytes]:  # fmt: skip
    """(what was lost, the body for a member that knows none of it, changed)"""
    lost: list[str] = []
    body = read_body(dump_json(portable(cached.body.fields, past, protocol, place, lost)))
    return lost, without_ours(body, protocol, seal, lost).edit(changes, {}, dropped)


def keep(
    cached: Cached, response: Mapping[str, Any] | bytes, past: Past, protocol: str, secrets: tuple[Secret, ...]
) -> tuple[Kept | None, bytes]:
    answer = parse_or_none(response) if isinstance(response, bytes) else response
    return turn_of(cached.body.fields, answer or {}, past, protocol, secrets)


def show(cached: Cached, protocol: str) -> tuple[None, bytes]:
    """A kept answer as it was given."""
    return None, dump_json(wire(protocol).state.response_of(parse_or_none(cached.data) or {}))


def page(cached: Cached, turns: Sequence[Turn], protocol: str, wanted: Mapping[str, Any]) -> tuple[None, bytes]:
    return None, dump_json(input_page(turns, protocol, wanted))


def summarize(cached: Cached, protocol: str) -> tuple[None, bytes]:
    """The body that gets a summary of a conversation."""
    return None, dump_json(wire(protocol).compaction.compact_request(cached.body.fields))


def compaction(cached: Cached, protocol: str, response: Mapping[str, Any]) -> tuple[None, bytes]:
    """The answer to a call for a compaction, by the answer to the body that `summarize` made."""
    return None, dump_json(wire(protocol).compaction.compaction_response(response, cached.body.fields["input"]))


JOBS: Mapping[str, Callable[..., tuple[Any, bytes]]] = {
    "unfold": unfold, "carry_over": carry_over, "keep": keep, "show": show, "page": page, "summarize": summarize,
    "compaction": compaction,
}  # fmt: skip
