"""Conversations that go on by the id of an answer: what a request builds on, and what is kept of its answer.

    conversation = await conversations.begin(context)         None where the caller's protocol knows nothing of the kind
    body = conversation.body_for(candidate, key, lost)        for an upstream of the same protocol
    request = read_request(fields, **conversation.reading)    for one of another
    conversation.keep(response, candidate, key)               once the answer is whole

To an upstream that gave the answer before, in the caller's own protocol and with the same key, its id is enough. Every other
gets the whole conversation out of the gateway's copy. `context.body` has it from the beginning, so that routing, limits and
estimates see all that a model will.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ..config.settings import Secret
from ..errors import BadRequest, GatewayError
from ..json_body import Body, read_body
from ..routing.resolve import Candidate, candidates
from ..store.conversations import Conversations as Kept
from ..store.conversations import Turn, Unkept
from ..wire import ir
from ..wire.registry import SPECS, wire
from .headers import upstream_headers
from .outgoing import Outgoing
from .request import RequestContext, dump_json
from .services import Services
from .upstream import Upstream

ID_BYTES = 20
PAGE = 20  # items of an input, where the caller does not say
KNOWN_KEYS = 1_024  # of upstreams, whose marks are remembered
FORGOTTEN = "previous_response_not_found"  # what an upstream says of an answer that it no longer has
WHOLE = frozenset({"completed", "incomplete"})


@lru_cache(maxsize=KNOWN_KEYS)
def mark_of(key: Secret | None) -> str:
    """An identifier of an upstream key that reveals nothing about it."""
    return hashlib.sha256(key.reveal().encode()).hexdigest()[:16] if key is not None else ""


@dataclass(slots=True)
class Conversation:
    """One request's: what it builds on, and what signs what its caller must bring back. Most need neither seal nor id."""

    codec: Any
    kept: Kept
    owner: str
    given: Body  # as the caller sent it
    keeps: bool  # whether the answer is to be kept
    now: float
    turns: list[Turn] = field(default_factory=list)  # before this one, oldest first
    named: list[Turn] = field(default_factory=list)  # others whose items it names
    _seal: ir.Seal | None = None
    _id: str = ""
    is_forgotten: bool = False  # the upstream has lost what it gave: it gets our copy

    @property
    def seal(self) -> ir.Seal:
        if self._seal is None:
            self._seal = self.codec.Seal(self.kept.secret, self.owner)
        return self._seal

    @property
    def id(self) -> str:
        """Of an answer that the gateway makes."""
        self._id = self._id or f"resp_{os.urandom(ID_BYTES).hex()}"
        return self._id

    @property
    def builds(self) -> bool:
        return bool(self.turns or self.named)

    @property
    def home(self) -> str:
        """The model that knows the answer before by its id; "" for none."""
        return self.turns[-1].member if self.turns else ""

    def home_key(self, candidate: Candidate) -> Secret | None:
        """The key that the answer before was given to; None for another member, or where the key is gone."""
        if self.home != candidate.name:
            return None
        return next((key for key in candidate.provider.keys if mark_of(key) == self.turns[-1].key), None)

    @property
    def reading(self) -> Mapping[str, Any]:
        """The arguments of the protocol's `read_request` beside the body."""
        previous = self.given.fields.get("previous_response_id")
        return {"seal": self.seal, "reply_id": self.id, "echo": {"previous_response_id": previous} if previous else {}}

    def is_known_to(self, candidate: Candidate, key: Secret | None) -> bool:
        """Whether an upstream has everything that is only named here."""
        place = candidate.name, mark_of(key)
        last = [*self.turns[-1:], *self.named]
        return not self.is_forgotten and all((turn.member, turn.key) == place for turn in last)

    def unfold(self, change: Callable[[Turn], Mapping[str, Any]] = lambda turn: turn.value) -> dict[str, Any]:
        """The body with the whole conversation in it."""
        state = self.codec.state
        items = state.by_id([change(turn) if turn in self.turns else turn.value for turn in self.named])
        body: dict[str, Any] = state.unfold(self.given.fields, [change(turn) for turn in self.turns], items)
        return body

    def body_for(self, candidate: Candidate, key: Secret | None, lost: list[str]) -> Body:
        """For an upstream of the same protocol: as it came, where nothing of it is ours to resolve."""
        relay, body = self.codec.relay, self.given
        if self.builds and not self.is_known_to(candidate, key):
            place = candidate.name, mark_of(key)

            def portable(turn: Turn) -> Mapping[str, Any]:
                portable: dict[str, Any] = relay.portable(turn.value, (turn.member, turn.key) == place, lost)
                return portable

            body = read_body(dump_json(self.unfold(portable)))
        if relay.is_marked(body.text):
            body = read_body(dump_json(relay.fit(body.fields, self.seal, lost)))
        return body

    def forgets(self, error: GatewayError) -> bool:
        """Whether an upstream no longer has the conversation that was referenced; then the stored copy is sent."""
        if error.code != FORGOTTEN or self.is_forgotten or not self.builds:
            return False
        self.is_forgotten = True
        return True

    def keep(self, response: Mapping[str, Any] | None, candidate: Candidate | None = None, key: Secret | None = None) -> None:
        """Stores the answer for later turns. `candidate` gave it in the caller's own protocol, and so has its id."""
        if not self.keeps or not response or response.get("status") not in WHOLE or not isinstance(response.get("id"), str):
            return
        state, fields = self.codec.state, self.given.fields
        if self.builds:
            fields = state.resolve_references(fields, state.by_id(turn.value for turn in (*self.turns, *self.named)))
        value = state.turn_to_keep(fields, response)
        ids = tuple(str(item["id"]) for item in value["output"] if isinstance(item, dict) and item.get("id"))
        member, mark = (candidate.name, mark_of(key)) if candidate is not None else ("", "")
        self.kept.append(Turn(value["id"], self.owner, value["previous"], self.now, member, mark, value, ids))


class Conversations:
    """The conversations of all callers, and the requests about earlier answers."""

    def __init__(self, services: Services, upstream: Upstream, kept: Kept | None) -> None:
        """`kept`: None where there is no store."""
        self._services, self._upstream = services, upstream
        self._kept: Kept = kept or Unkept()
        self._is_kept = kept is not None

    def keeps(self, context: RequestContext) -> bool:
        return self._is_kept and context.state.config.server.keep_conversations_hours > 0

    def needs_whole(self, context: RequestContext, builds: bool) -> bool:
        """Whether a large body is needed here and not only in a worker: it builds on what is kept, or is to be kept."""
        return builds or (self.keeps(context) and wire(context.call.protocol).state.wants_store(context.fields))

    async def begin(self, context: RequestContext) -> Conversation | None:
        """What a request that was read builds on. BadRequest and NotFound in the API's words where that is unknown."""
        if not SPECS[context.call.protocol].keeps_answers:
            return None
        codec, fields, owner = wire(context.call.protocol), context.fields, context.caller.key_id
        codec.refuse_unsupported(fields)
        keeps = self.keeps(context)
        is_kept = keeps and codec.state.wants_store(fields)
        made = Conversation(codec, self._kept, owner, context.read, is_kept, self._services.wall())
        named = codec.state.references(fields)
        if named and keeps:
            await self._find(made, named.previous, named.items)
            context.body = read_body(dump_json(made.unfold()))
        return made

    async def _find(self, made: Conversation, previous: str, items: tuple[str, ...]) -> None:
        state, owner = made.codec.state, made.owner
        if previous:
            made.turns = await self._kept.chain(owner, previous)
            if not made.turns:
                raise state.previous_not_found(previous)
        missing = set(items) - state.by_id(turn.value for turn in made.turns).keys()
        if missing:
            made.named = await self._kept.holding(owner, missing)

    # -- calls about an earlier answer

    async def _turn(self, context: RequestContext) -> Turn:
        turn = await self._kept.find(context.caller.key_id, context.call.id) if self.keeps(context) else None
        if turn is None:
            raise wire(context.call.protocol).state.not_found(context.call.id)
        return turn

    async def get(self, context: RequestContext) -> None:
        if context.query.get("stream") == "true":
            raise BadRequest("an answer that is kept is not streamed again: leave stream out", details={"path": "stream"})
        await context.respond_json(wire(context.call.protocol).state.response_of((await self._turn(context)).value))

    async def input_items(self, context: RequestContext) -> None:
        turn, query = await self._turn(context), context.query
        turns = await self._kept.chain(turn.owner, turn.id) or [turn]  # one before it may be deleted
        try:
            limit = int(query.get("limit") or PAGE)
        except ValueError:
            raise BadRequest("limit is not a number", details={"path": "limit"}) from None
        page = wire(context.call.protocol).state.input_items_page(
            [each.value for each in turns], after=query.get("after", ""), limit=limit, order=query.get("order") or "desc"
        )
        await context.respond_json(page)

    async def delete(self, context: RequestContext) -> None:
        """Here, and at the upstream that has it too."""
        turn = await self._turn(context)
        await self._kept.delete(turn.owner, turn.id)
        if turn.member:
            await self._delete_upstream(context, turn)
        await context.respond_json(wire(context.call.protocol).state.deletion(turn.id))

    async def _delete_upstream(self, context: RequestContext, turn: Turn) -> None:
        """A failure there goes only to the log: the caller's copy is deleted."""
        try:
            candidate = candidates(context.state.routes, turn.member)[0].speaking(context.call.protocol)
            candidate = await self._services.key_commands.with_key(candidate)
            provider = candidate.provider
            key = next((each for each in provider.keys if mark_of(each) == turn.key), None)
            if provider.api != context.call.protocol or (key is None and turn.key):
                return
            headers = upstream_headers(candidate, (), context.record.request_id, same=False, key=key)
            url = f"{candidate.url('chat')}/{turn.id}"
            (await self._upstream.send("DELETE", Outgoing(candidate, url, headers, b""))).close()
        except GatewayError as error:
            self._services.log.debug(f"{turn.member}: an answer was not deleted there: {error.code}")

    async def cancel(self, context: RequestContext) -> None:
        await self._turn(context)
        error: GatewayError = wire(context.call.protocol).state.cannot_cancel()
        raise error
