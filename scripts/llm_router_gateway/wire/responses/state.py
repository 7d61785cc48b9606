"""What the gateway keeps of Responses conversations, as values: which turns a request builds on, and it with them inside.

    refs = references(fields)                      what must be looked up: the turn before, and items by their ids
    turns = chain ...                              the store's: every turn back to the first, oldest first
    unfold(fields, turns)                        the body with the whole conversation as its input
    turn_to_keep(fields, response)                    what the store keeps of an answer
    input_items_page(turn, ...), deletion(id), not_found(id)  GET .../input_items, DELETE, an unknown id

A turn is {"id", "previous", "input": [...], "output": [...], "response": {...}}: input holds what this turn added, each item
with an id; response is the answer without its output. Instructions are not carried over, as with the API. All of it is the
caller's own JSON; none is read into ir here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ...errors import BadRequest, GatewayError, NotFound
from .common import RESPONSE

Turn = Mapping[str, Any]
MAX_LISTED = 100


class References(NamedTuple):
    """What a request builds on: the id of the turn before ("" for none), and ids of items."""

    previous: str
    items: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.previous or self.items)


def references(fields: Mapping[str, Any]) -> References:
    """{"previous_response_id": "resp_1", "input": [{"type": "item_reference", "id": "msg_1"}]}
    -> References("resp_1", ("msg_1",))
    """
    given = fields.get("input")
    found = [item.get("id") for item in given if is_reference(item)] if isinstance(given, list) else []
    previous = fields.get("previous_response_id")
    if previous is not None and not isinstance(previous, str):
        raise BadRequest("previous_response_id must be text", details={"path": "previous_response_id"})
    return References(previous or "", tuple(each for each in found if isinstance(each, str)))


def is_reference(item: Any) -> bool:
    """{"type": "item_reference", "id": ...}, or the id alone, as the API takes it too."""
    if not isinstance(item, dict):
        return False
    return item.get("type") == "item_reference" or (len(item) == 1 and "id" in item)


def wants_store(fields: Mapping[str, Any]) -> bool:
    """Whether the answer is to be kept: unless the caller says no."""
    return fields.get("store") is not False


def input_items(fields: Mapping[str, Any], response_id: str) -> list[dict[str, Any]]:
    """The items of a body's input, each with its type and an id, as they are kept and listed."""
    given = fields.get("input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given if isinstance(given, list) else []
    suffix = response_id.removeprefix(RESPONSE).replace("_", "-")
    made = []
    for at, item in enumerate(items):
        if not isinstance(item, dict):
            continue
        said = {name: each for name, each in item.items() if each is not None} if None in item.values() else item
        kept = {"id": f"in_{suffix}_{at}", "type": "message", **said}
        if kept["type"] == "message" and isinstance(kept.get("content"), str):
            kind = "output_text" if kept.get("role") == "assistant" else "input_text"
            kept["content"] = [{"type": kind, "text": kept["content"]}]
        made.append(kept)
    return made


def turn_to_keep(fields: Mapping[str, Any], response: Mapping[str, Any]) -> dict[str, Any]:
    """What the store keeps: `fields` as the caller sent them (references resolved, the turns before not among them)."""
    response_id = str(response.get("id") or "")
    rest = dict(response)
    output = rest.pop("output", None)
    return {
        "id": response_id, "previous": fields.get("previous_response_id") or "",
        "input": [item for item in input_items(fields, response_id) if item.get("type") != "compaction_trigger"],
        "output": list(output) if isinstance(output, list) else [], "response": rest,
    }  # fmt: skip


def response_of(turn: Turn) -> dict[str, Any]:
    """The response as it was answered."""
    return {**turn["response"], "output": turn["output"]}


def items_of(turns: Iterable[Turn]) -> list[Mapping[str, Any]]:
    """Everything that was said in some turns, in order."""
    return [item for turn in turns for item in (*turn.get("input", ()), *turn.get("output", ()))]


def after_compaction(items: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """From the last compaction on: it replaces everything before it."""
    last = max((at for at, item in enumerate(items) if item.get("type") == "compaction"), default=0)
    return items[last:]


def resolve_references(fields: Mapping[str, Any], items: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The body with its item references replaced by `items`, by id; NotFound in the API's words where one is missing."""
    given = fields.get("input")
    if not isinstance(given, list):
        return dict(fields)
    made = []
    for at, item in enumerate(given):
        if not is_reference(item):
            made.append(item)
            continue
        found = items.get(str(item.get("id")))
        if found is None:
            raise item_not_found(str(item.get("id")), f"input[{at}].id")
        made.append(dict(found))
    return {**fields, "input": made}


def unfold(
    fields: Mapping[str, Any], turns: Sequence[Turn], items: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """The body with the whole conversation as its input, and nothing that only a store can resolve.

    {"previous_response_id": "resp_1", "input": "and now?"}, [turn of resp_1]
        -> {"input": [its input, its output, {"type": "message", "role": "user", "content": "and now?"}]}

    `turns` are those before, oldest first; `items` are referenced ones of other turns. A referenced item that is
    already in the turns is not repeated.
    """
    before = after_compaction(items_of(turns))
    known = {str(item["id"]): item for item in before if item.get("id")}
    given = fields.get("input")
    if isinstance(given, str):
        new: Any = [{"type": "message", "role": "user", "content": given}] if given or not before else []
    else:
        new = without_references(given, known) if isinstance(given, list) else []
    rest = {name: value for name, value in fields.items() if name != "previous_response_id"}
    return resolve_references({**rest, "input": [*before, *new]}, dict(items or {}))


def without_references(items: Sequence[Any], known: Mapping[str, Any]) -> list[Any]:
    """Items of an input but for references to `known` ones."""
    return [item for item in items if not (is_reference(item) and str(item.get("id")) in known)]


def by_id(turns: Iterable[Turn]) -> dict[str, Mapping[str, Any]]:
    """The items of some turns by their ids."""
    return {str(item["id"]): item for item in items_of(turns) if item.get("id")}


# ------------------------------------------------------------------------------------------------------- what the API says


def previous_not_found(response_id: str) -> GatewayError:
    """A turn to build on that is unknown here; users of agent-framework then set store to false."""
    return BadRequest(
        f"Previous response with id '{response_id}' not found.", code="previous_response_not_found",
        details={"path": "previous_response_id"},
    )  # fmt: skip


def not_found(response_id: str) -> GatewayError:
    """GET, DELETE and the like of an unknown id."""
    return NotFound(f"Response with id '{response_id}' not found.")


def item_not_found(item_id: str, path: str) -> GatewayError:
    return NotFound(
        f"Item with id '{item_id}' not found. Items are not persisted when `store` is set to false. Try again with `store` set "
        "to true, or remove this item from your input.",
        details={"path": path},
    )


def cannot_cancel() -> GatewayError:
    """POST .../cancel: every response of the gateway is over when its id is known."""
    return BadRequest("Cannot cancel a synchronous response.")


def deletion(response_id: str) -> dict[str, Any]:
    return {"id": response_id, "object": "response", "deleted": True}


def input_items_page(turns: Sequence[Turn], *, after: str = "", limit: int = 20, order: str = "desc") -> dict[str, Any]:
    """GET .../input_items: all that was the input of the last of `turns`, the turns before it included; newest first.

    NotFound for an `after` that is not among them, BadRequest for a limit or order that the API does not have.
    """
    if order not in ("asc", "desc"):
        raise BadRequest("order must be asc or desc", details={"path": "order"})
    if not 1 <= limit <= MAX_LISTED:
        raise BadRequest(f"limit must be between 1 and {MAX_LISTED}", details={"path": "limit"})
    items = [*items_of(turns[:-1]), *(turns[-1].get("input", ()) if turns else ())]
    items = items if order == "asc" else items[::-1]
    if after:
        places = [at for at, item in enumerate(items) if item.get("id") == after]
        if not places:
            raise item_not_found(after, "after")
        items = items[places[0] + 1 :]
    page = items[:limit]
    return {
        "object": "list", "data": page, "first_id": page[0].get("id") if page else None,
        "last_id": page[-1].get("id") if page else None, "has_more": len(items) > limit,
    }  # fmt: skip
