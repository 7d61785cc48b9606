"""Conversations that go on by the id of an answer: what a request builds on, and what is kept of its answer.

    conversation = await conversations.begin(context)         None where the caller's protocol knows nothing of the kind
    body = conversation.body_for(candidate, key, lost)        for an upstream of the same protocol
    request = read_request(fields, **conversation.reading)    for one of another
    conversation.keep(response, secrets)                      once the answer is whole
    await conversation.wait_settled()                         it may be built on

To an upstream that gave the answer before, in the caller's own protocol and with the same key, its id is enough. Every other
gets the whole conversation out of the gateway's copy. `context.body` has it from the beginning, so that routing, limits and
estimates see all that a model will. Where body and turns together are large, workers do all of it: see large_conversations.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..config.kinds import Secret
from ..errors import BadRequest, GatewayError
from ..json_body import Body, read_body
from ..routing.resolve import Candidate, candidates
from ..store.conversations import Conversations as Kept
from ..store.conversations import Turn, Unkept
from ..wire import ir
from ..wire.conversion import without_ours
from ..wire.registry import wire
from .headers import upstream_headers
from .large_conversations import Past, Place, input_page, portable, turn_of, unfold_body
from .offload import LargeBody, is_large
from .outgoing import Outgoing
from .request import JSON_TYPE, RequestContext, dump_json
from .services import Services
from .upstream import Upstream

ID_BYTES = 20
PAGE = 20  # items of an input, where the caller does not say
KNOWN_KEYS = 1_024  # of upstreams, whose marks are remembered
FORGOTTEN = "previous_response_not_found"  # what an upstream says of an answer that it no longer has
HERE = Place()  # the gateway itself
NO_PAST = Past()


@lru_cache(maxsize=KNOWN_KEYS)
def mark_of(key: Secret | None) -> str:
    """An identifier of an upstream key that reveals nothing about it."""
    return hashlib.sha256(key.reveal().encode()).hexdigest()[:16] if key is not None else ""


def place_of(candidate: Candidate, key: Secret | None) -> Place:
    return Place(candidate.name, mark_of(key))


@dataclass(slots=True)
class Conversation:
    """One request's: what it builds on, and what signs what its caller must bring back. Most need neither seal nor id."""

    services: Services
    protocol: str  # the caller's
    codec: Any
    kept: Kept
    owner: str
    given: Body  # as the caller sent it; of a large one the head
    large: LargeBody | None  # the whole of that, in a worker
    keeps: bool  # whether the answer is to be kept
    now: float
    past: Past = NO_PAST
    _seal: ir.Seal | None = None
    _id: str = ""
    is_forgotten: bool = False  # the upstream has lost what it gave: it gets our copy
    keeping: asyncio.Task[None] | None = None  # what a worker does before the answer can be built on

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
        return bool(self.past.turns or self.past.named)

    @property
    def home(self) -> str:
        """The model that knows the answer before by its id; "" for none."""
        return self.past.turns[-1].member if self.past.turns else ""

    def home_key(self, candidate: Candidate) -> Secret | None:
        """The key that the answer before was given to; None for another member, or where the key is gone."""
        if self.home != candidate.name:
            return None
        return next((key for key in candidate.provider.keys if mark_of(key) == self.past.turns[-1].key), None)

    @property
    def reading(self) -> Mapping[str, Any]:
        """The arguments of the protocol's `read_request` beside the body."""
        previous = self.given.fields.get("previous_response_id")
        return {"seal": self.seal, "reply_id": self.id, "echo": {"previous_response_id": previous} if previous else {}}

    def passes(self, candidate: Candidate, key: Secret | None) -> bool:
        """Whether an upstream has everything that is only named here, so that it gets what the caller sent."""
        place = place_of(candidate, key)
        last = [*self.past.turns[-1:], *self.past.named]
        return not last or (not self.is_forgotten and all((turn.member, turn.key) == place for turn in last))

    def body_for(self, candidate: Candidate, key: Secret | None, lost: list[str]) -> Body:
        """For an upstream of the same protocol: as it came, where nothing of it is ours to resolve."""
        body = self.given
        if not self.passes(candidate, key):
            fields = portable(body.fields, self.past, self.protocol, place_of(candidate, key), lost)
            body = read_body(dump_json(fields))
        if self.codec.relay.is_marked(body.text):
            body = without_ours(body, self.protocol, self.seal, lost)
        return body

    async def carry_over(
        self, candidate: Candidate, key: Secret | None, changes: Mapping[str, Any], dropped: frozenset[str], lost: list[str]
    ) -> bytes:
        """The same of a large one that the upstream does not know, changed."""
        if self.large is None:
            raise RuntimeError("only a large conversation is carried over by a worker")
        how = (self.past, self.protocol, place_of(candidate, key), changes, dropped, self.seal)
        return await self.large.write_job(lost, "carry_over", *how)

    def forgets(self, error: GatewayError) -> bool:
        """Whether an upstream no longer has the conversation that was referenced; then the stored copy is sent."""
        if error.code != FORGOTTEN or self.is_forgotten or not self.builds:
            return False
        self.is_forgotten = True
        return True

    def keep(self, response: Mapping[str, Any] | bytes | None, secrets: tuple[Secret, ...], place: Place = HERE) -> None:
        """Stores the answer for later turns. `place` gave it in the caller's own protocol, and so has its id. A worker does it
        where the body or the answer, which is bytes then, is large: wait until that is `settled`."""
        if not self.keeps or not response:
            return
        if self.large is not None or isinstance(response, bytes):
            self.keeping = asyncio.ensure_future(self._keep_large(response, secrets, place))
        else:
            self._append(*turn_of(self.given.fields, response, self.past, self.protocol, secrets), place)

    async def _keep_large(self, response: Mapping[str, Any] | bytes, secrets: tuple[Secret, ...], place: Place) -> None:
        offload, how = self.services.offload, (response, self.past, self.protocol, secrets)
        try:
            if self.large is not None:
                found = await offload.run(self.large, "keep", *how)
            else:
                found = await offload.once(self.given.encode(), "keep", *how)
        except GatewayError as error:
            self.services.log.warn(f"an answer cannot be continued, since it was not kept: {error.message}")
            return
        self._append(*found, place)

    def _append(self, found: Any, text: bytes, place: Place) -> None:
        if found is not None:
            self.kept.append(Turn(found.id, self.owner, found.previous, self.now, place.member, place.key, text, found.items))

    async def wait_settled(self) -> None:
        if self.keeping is not None:
            await asyncio.wait({self.keeping})

    def close(self) -> None:
        """What workers have of it is let go, once they are done with it."""
        large = self.large
        if large is not None and self.keeping is not None and not self.keeping.done():
            self.keeping.add_done_callback(lambda _: large.close())
        elif large is not None:
            large.close()


class Conversations:
    """The conversations of all callers, and the requests about earlier answers."""

    def __init__(self, services: Services, upstream: Upstream, kept: Kept | None) -> None:
        """`kept`: None where there is no store."""
        self._services, self._upstream = services, upstream
        self._kept: Kept = kept or Unkept()
        self._is_kept = kept is not None

    def keeps(self, context: RequestContext) -> bool:
        return self._is_kept and context.state.config.server.keep_conversations_hours > 0

    async def begin(self, context: RequestContext) -> Conversation:
        """What a request builds on, in a protocol that keeps answers. BadRequest and NotFound in the API's words where that is
        unknown."""
        protocol = context.call.protocol
        codec, fields, owner = wire(protocol), context.fields, context.caller.key_id
        codec.refuse_unsupported(fields)
        keeps = self.keeps(context)
        is_kept = keeps and codec.state.wants_store(fields)
        made = Conversation(
            self._services, protocol, codec, self._kept, owner, context.read, context.large, is_kept, self._services.wall()
        )
        named = context.large.head.references if context.large is not None else codec.state.references(fields)
        if named and keeps:
            made.past = await self._find(made, named.previous, named.items)
            await self._unfold(made, context)
        return made

    async def _find(self, made: Conversation, previous: str, items: tuple[str, ...]) -> Past:
        state, owner = made.codec.state, made.owner
        turns = await self._kept.chain(owner, previous) if previous else []
        if previous and not turns:
            raise state.previous_not_found(previous)
        missing = set(items)
        if missing and not is_large(Past(turns).size):
            missing -= state.by_id(turn.value for turn in turns).keys()
        known = {turn.id for turn in turns}
        found = await self._kept.holding(owner, missing) if missing else []
        return Past(turns, [turn for turn in found if turn.id not in known])

    async def _unfold(self, made: Conversation, context: RequestContext) -> None:
        """Puts the whole conversation in the place of the body."""
        size = len(context.large.data) if context.large is not None else len(context.read.text)
        if not is_large(size + made.past.size):
            context.body = read_body(dump_json(unfold_body(made.given.fields, made.past, made.protocol)))
            return
        wants_text = context.allowance is not None
        try:
            made.large = made.large or await self._services.offload.open(context.read.encode(), wants_text=wants_text)
            whole = await self._services.offload.derive(made.large, "unfold", made.past, made.protocol, wants_text=wants_text)
        except BaseException:
            made.close()
            raise
        context.large, context.body = whole, whole.head_body

    # -- calls about an earlier answer

    async def _turn(self, context: RequestContext) -> Turn:
        turn = await self._kept.find(context.caller.key_id, context.call.id) if self.keeps(context) else None
        if turn is None:
            raise wire(context.call.protocol).state.not_found(context.call.id)
        return turn

    async def get(self, context: RequestContext) -> None:
        if context.query.get("stream") == "true":
            raise BadRequest("a stored answer is not streamed again: leave out stream", details={"path": "stream"})
        turn, protocol = await self._turn(context), context.call.protocol
        if is_large(len(turn.text)):
            await context.respond(200, [JSON_TYPE], (await self._services.offload.once(turn.text, "show", protocol))[1])
        else:
            await context.respond_json(wire(protocol).state.response_of(turn.value))

    async def input_items(self, context: RequestContext) -> None:
        turn, query = await self._turn(context), context.query
        turns = await self._kept.chain(turn.owner, turn.id) or [turn]  # one before it may be deleted
        try:
            limit = int(query.get("limit") or PAGE)
        except ValueError:
            raise BadRequest("limit is not a number", details={"path": "limit"}) from None
        protocol = context.call.protocol
        wanted = {"after": query.get("after", ""), "limit": limit, "order": query.get("order") or "desc"}
        if is_large(Past(turns).size):
            _, data = await self._services.offload.once(b"{}", "page", turns, protocol, wanted)
            await context.respond(200, [JSON_TYPE], data)
        else:
            await context.respond_json(input_page(turns, protocol, wanted))

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
