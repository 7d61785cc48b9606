"""Files and batches at providers: each belongs to the caller's key that made it, and lives where it was made.

    files = OwnedFiles(services, upstream, failover, owned, receive)
    files.handlers      -> {"files": upload, "list_files": ..., "batch": ..., ...}     by the kind of a Line
    await files.look_up(context, files.names_in(context))    where the files are that a request to a model names; NotFound for
                                                             another key's

Requests go to providers that speak the caller's protocol, unchanged. A new file goes to the provider that the caller names in
the header x-llm-router-provider, else to [server] files_provider, else to the only one there is; a batch goes to where its file
is. The store remembers for each id whose it is, and which key of which provider reaches it: whatever another key names is an
unknown id. A batch names any model in its lines, which nothing here reads: so a key that is limited to models, parameters or
a budget makes neither files nor batches, unless it has allow_batches.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import quote

from ..config.config import Provider
from ..config.kinds import Secret
from ..errors import BadRequest, Forbidden, GatewayError, NotFound, Unsupported, UpstreamFailed
from ..json_body import Body, read_body
from ..net.client import Response
from ..routing.plan import Attempt, Target
from ..routing.resolve import Candidate
from ..store.owned import Owned, OwnedObjects, Wanted
from ..wire.registry import DEFAULT, SPECS, wire
from . import paths
from .answers import parse_answer
from .attempts import record_of
from .conversations import mark_of
from .failover import KEY_REFUSALS, Failover
from .headers import caller_headers, mask_secrets, upstream_headers
from .mask import mask_of
from .named_files import PATH, NamedFiles, together
from .outgoing import Outgoing
from .request import JSON_TYPE, Receive, RequestContext, dump_json
from .services import Services
from .stream_mask import PieceMask
from .streaming import Headers
from .upstream import MAX_ANSWER_BYTES, Upstream, refusal

PROVIDER_HEADER = "x-llm-router-provider"
FILES, BATCHES = "files", "batches"  # calls, as the paths of an Upstream name them
AT_ONCE = 8  # requests for objects of one list, whose state may have changed
MAX_NAMED = 8  # providers in one error text

Handler = Callable[[RequestContext], Awaitable[None]]


class Place(NamedTuple):
    """Where an object lives, or is to be made."""

    candidate: Candidate
    key: Secret | None
    call: str

    def url(self, *parts: str) -> str:
        return "/".join([self.candidate.url(self.call), *(quote(part, safe="") for part in parts)])


class OwnedFiles:
    """What callers keep at providers."""

    def __init__(
        self, services: Services, upstream: Upstream, failover: Failover, owned: OwnedObjects | None, receive: Receive
    ) -> None:  # fmt: skip
        """`owned`: None where there is no store; `receive` reads a body within the server's limits."""
        self._services, self._upstream, self._failover = services, upstream, failover
        self._kept, self._receive = owned, receive

    @property
    def handlers(self) -> Mapping[str, Handler]:
        handlers: dict[str, Handler] = {
            "files": self._upload, "list_files": self._list_files, "file": self._file, "file_content": self._content,
            "delete_file": self._delete, "batches": self._create, "list_batches": self._list_batches, "batch": self._batch,
            "cancel_batch": self._cancel,
        }  # fmt: skip
        return {kind: self._guarded(handler) for kind, handler in handlers.items()}

    def _guarded(self, handler: Handler) -> Handler:
        async def handle(context: RequestContext) -> None:
            check_protocol(context)
            async with self._failover.within_limits(context):
                await handler(context)

        return handle

    @property
    def _owned(self) -> OwnedObjects:
        if self._kept is None:
            raise Unsupported("files and batches need a store that records their owners: set [server] store")
        return self._kept

    def names_in(self, context: RequestContext) -> list[str]:
        """The files that a body names, where the gateway knows whose files are; callers of other protocols can name none."""
        text: str | bytes = context.large.data if context.large is not None else context.read.text
        found: list[str] = wire(DEFAULT).files.names_in(text) if self._kept is not None else []
        return found

    async def look_up(self, context: RequestContext, names: list[str]) -> None:
        """A file that another key uploaded here is unknown to this one; the caller's own bind the request to their provider. Of
        others the gateway knows nothing: they pass.
        """
        words = wire(DEFAULT).files
        found: list[tuple[str, NamedFiles]] = []
        for name in names:
            owners = await self._owned.owners(words.FILE, name)
            if owners and context.caller.key_id not in owners:
                raise words.not_found(words.FILE, name, PATH)
            own = await self._owned.find(context.caller.key_id, words.FILE, name) if owners else None
            if own is not None:
                found.append((name, NamedFiles(own.provider, own.key, name)))
        context.named_files = together(found)

    # -- make

    async def _upload(self, context: RequestContext) -> None:
        from ..wire.multipart import read_form  # with the parser of mail headers, which a start need not wait for

        check_rights(context)
        owned, said = self._owned, context.headers.get("content-type", "")
        data = await self._receive(context)
        read_form(data, said)
        place = Place(provider_for(context), None, FILES)
        answer = await self._make(context, place, data, said)
        await self._keep_new(context, answer, files_of(context).FILE, owned)

    async def _create(self, context: RequestContext) -> None:
        check_rights(context)
        words, owned = files_of(context), self._owned
        context.body = body = read_body(await self._receive(context))
        name = words.input_file(body.fields)
        found = await owned.find(context.caller.key_id, words.FILE, name)
        if found is None:
            raise words.not_found(words.FILE, name, "input_file_id")
        place = place_of(context, found, BATCHES)
        answer = await self._make(context, place, body.encode(), Body.content_type)
        await self._keep_new(context, answer, words.BATCH, owned)

    async def _make(self, context: RequestContext, place: Place, data: bytes, content_type: str) -> Answer:
        """The new object; with the provider's first key that is accepted, where the place has none."""
        if context.allowance is not None:
            context.allowance.check()
        if place.key is not None:
            return await self._whole(context, "POST", place, (), data, content_type)
        target, state, now = Target(place.candidate.name, place.candidate), self._services.routing_state, self._services.clock
        attempt = Attempt(target, state, context.state.table.routing.health, now())
        try:
            while True:
                try:
                    return await self._whole(context, "POST", place._replace(key=attempt.key), (), data, content_type)
                except GatewayError as error:
                    if error.status not in KEY_REFUSALS or not attempt.switch_key(now(), error):
                        raise
                    context.record.failed.append(f"{place.candidate.name} {error.code}, next key")
        finally:
            attempt.end(now())

    async def _keep_new(self, context: RequestContext, answer: Answer, kind: str, owned: OwnedObjects) -> None:
        """Answers with a new object once it is remembered whose it is; else takes it back: no caller would find it again."""
        words = files_of(context)
        name = words.id_of(answer.value)
        if not name:
            raise UpstreamFailed(f"{answer.place.candidate.name}: the upstream's answer has no id; check base_url")
        made = owned_of(context, answer.place, kind, name, answer.value, self._services.wall())
        try:
            await owned.put([made])
        except GatewayError:
            with suppress(GatewayError):
                if kind == words.FILE:
                    await self._whole(context, "DELETE", answer.place, (name,))
                else:
                    await self._whole(context, "POST", answer.place, (name, "cancel"))
            raise
        await context.respond(200, answer.headers, answer.data)

    # -- one object

    async def _found(self, context: RequestContext, kind: str) -> tuple[Owned, Place]:
        found = await self._owned.find(context.caller.key_id, kind, context.call.id)
        words = files_of(context)
        if found is None or (kind == words.FILE and words.is_over(found.value, self._services.wall())):
            raise words.not_found(kind, context.call.id)
        return found, place_of(context, found)

    async def _file(self, context: RequestContext) -> None:
        found, place = await self._found(context, files_of(context).FILE)
        answer = await self._whole(context, "GET", place, (found.id,))
        await context.respond(200, answer.headers, answer.data)

    async def _content(self, context: RequestContext) -> None:
        """Piece by piece, without the provider's key."""
        found, place = await self._found(context, files_of(context).FILE)
        place = await self._with_key(context, place)
        outgoing = self._outgoing(context, place, (found.id, "content"))
        exchange, mask = context.exchange, PieceMask(mask_of(place.candidate.provider.secrets))
        async with self._sent(context, "GET", outgoing) as response:
            headers = caller_headers(response.headers, place.candidate)
            async for piece in response.pieces():
                if not exchange.started:
                    start(context, headers)
                await exchange.send(mask(piece))
            if not exchange.started:
                start(context, headers)
            await exchange.send(mask.flush())
        await exchange.end()

    async def _delete(self, context: RequestContext) -> None:
        found, place = await self._found(context, files_of(context).FILE)
        try:
            answer = await self._whole(context, "DELETE", place, (found.id,))
        except GatewayError as error:
            if error.status == NotFound.status:  # it is gone there already
                await self._owned.delete(found.owner, found.kind, found.id)
            raise
        await self._owned.delete(found.owner, found.kind, found.id)
        await context.respond(200, answer.headers, answer.data)

    async def _batch(self, context: RequestContext) -> None:
        found, place = await self._found(context, files_of(context).BATCH)
        answer = await self._whole(context, "GET", place, (found.id,))
        await self._learn(context, found, answer.value)
        await context.respond(200, answer.headers, answer.data)

    async def _cancel(self, context: RequestContext) -> None:
        found, place = await self._found(context, files_of(context).BATCH)
        answer = await self._whole(context, "POST", place, (found.id, "cancel"))
        await self._learn(context, found, answer.value)
        await context.respond(200, answer.headers, answer.data)

    async def _learn(self, context: RequestContext, found: Owned, value: Mapping[str, Any]) -> None:
        """Remembers a batch as it is now. The files that it has made belong to its owner."""
        if value == found.value:
            return
        words, now = files_of(context), self._services.wall()
        have = set(words.files_of(found.value))
        new = [name for name in words.files_of(value) if name not in have]
        file = replace(found, kind=words.FILE, created=now, value={}, label=words.MADE_LABEL)
        made = [replace(file, id=name) for name in new]
        await self._owned.put([replace(found, value=value), *made])

    # -- lists

    async def _list_files(self, context: RequestContext) -> None:
        words, now = files_of(context), self._services.wall()
        shown, has_more = await self._page(context, words.FILE, lambda each: not each.value)
        values = [value for value in shown if value and not words.is_over(value, now)]
        await context.respond(200, [JSON_TYPE], dump_json(words.page(values, has_more)))

    async def _list_batches(self, context: RequestContext) -> None:
        words = files_of(context)
        shown, has_more = await self._page(context, words.BATCH, lambda each: not words.is_final(each.value))
        await context.respond(200, [JSON_TYPE], dump_json(words.page(shown, has_more)))

    async def _page(
        self, context: RequestContext, kind: str, is_stale: Callable[[Owned], bool]
    ) -> tuple[list[Mapping[str, Any]], bool]:
        """What the caller has of a kind; what may have changed is looked at again."""
        words, owned = files_of(context), self._owned
        wanted = words.read_listing(kind, context.query)
        owner, after = context.caller.key_id, wanted.after
        if after and await owned.find(owner, kind, after) is None:
            raise words.not_found(kind, after, "after")
        found = await owned.page(Wanted(owner, kind, after, wanted.limit + 1, wanted.is_ascending, wanted.label))
        gate = asyncio.Semaphore(AT_ONCE)

        async def fresh(each: Owned) -> Mapping[str, Any]:
            if not is_stale(each):
                return each.value
            async with gate:
                return await self._fresh(context, each)

        shown = await asyncio.gather(*map(fresh, found[: wanted.limit]))
        return shown, len(found) > wanted.limit

    async def _fresh(self, context: RequestContext, found: Owned) -> Mapping[str, Any]:
        """An object as it is now; as it was last, where its provider cannot be reached."""
        words = files_of(context)
        try:
            answer = await self._whole(context, "GET", place_of(context, found), (found.id,))
        except GatewayError as error:
            self._services.log.debug(f"{found.provider}: {found.kind} {found.id} could not be read: {error.code}")
            return found.value
        if found.kind == words.BATCH:
            await self._learn(context, found, answer.value)
        else:
            await self._owned.put([replace(found, value=answer.value, label=words.label_of(answer.value))])
        return answer.value

    # -- send

    async def _with_key(self, context: RequestContext, place: Place) -> Place:
        """With the key that its provider's command printed; unchanged where there is no such command."""
        if place.candidate.provider.key_command is None:
            return place
        candidate = await self._services.key_commands.with_key(place.candidate)
        context.printed_keys += candidate.provider.keys
        return place._replace(candidate=candidate, key=candidate.provider.keys[0])

    def _outgoing(
        self, context: RequestContext, place: Place, parts: Sequence[str] = (), data: bytes = b"",
        content_type: str = Body.content_type,
    ) -> Outgoing:  # fmt: skip
        headers = upstream_headers(
            place.candidate, context.exchange.headers, context.record.request_id, same=True, key=place.key,
            trace=context.trace_headers, content_type=content_type,
        )  # fmt: skip
        own = [pair for pair in headers if pair[0] != PROVIDER_HEADER]
        return Outgoing(place.candidate, place.url(*parts), own, data, key=place.key)

    @asynccontextmanager
    async def _sent(self, context: RequestContext, method: str, outgoing: Outgoing) -> AsyncIterator[Response]:
        """The response of a provider that agreed; else its refusal is raised. What came of it is on the record."""
        clock = self._services.clock
        failure: BaseException | None = None
        context.begin_attempt(outgoing.candidate, clock())
        context.mark_sent()
        try:
            response = await self._upstream.send(method, outgoing)
            try:
                if response.status != 200:
                    raise await refusal(outgoing, response)
                yield response
            finally:
                response.close()
        except BaseException as error:
            failure = error
            raise
        finally:
            ended = record_of(context, clock(), failure, None)
            if ended is not None:
                context.attempts.append(ended)

    async def _whole(
        self, context: RequestContext, method: str, place: Place, parts: Sequence[str] = (), data: bytes = b"",
        content_type: str = Body.content_type,
    ) -> Answer:  # fmt: skip
        place = await self._with_key(context, place)
        outgoing = self._outgoing(context, place, parts, data, content_type)
        async with self._sent(context, method, outgoing) as response:
            said = mask_secrets(await response.read(MAX_ANSWER_BYTES), place.candidate)
            headers = caller_headers(response.headers, place.candidate)
        return Answer(place, headers, said, parse_answer(said, place.candidate.name))


class Answer(NamedTuple):
    """A provider's description of an object, as it came and as it reads."""

    place: Place
    headers: Headers
    data: bytes
    value: Mapping[str, Any]


def files_of(context: RequestContext) -> Any:
    """The words of the caller's protocol for files and batches."""
    return wire(context.call.protocol).files


def check_protocol(context: RequestContext) -> None:
    """Callers of another protocol have files of their own under the same path, which are not relayed."""
    named = next((name for mark, name in paths.MARKS.items() if mark in context.headers), context.call.protocol)
    if named != context.call.protocol:
        context.record.protocol = named
        raise NotFound(f"files and batches of {SPECS[named].title}'s protocol are not relayed here; those of "
                       f"{SPECS[context.call.protocol].title}'s are")  # fmt: skip


def check_rights(context: RequestContext) -> None:
    key = context.caller.key
    if key is None or key.allow_batches:
        return
    limits = {"the models": key.is_bound, "the parameters": bool(key.parameter_limits), "the spending": key.budget is not None}
    reasons = [name for name, is_limited in limits.items() if is_limited]
    if reasons:
        what = " and ".join(reasons)
        raise Forbidden(f"this key may not upload files or start batches: {what} of its calls are limited, and a batch can "
                        "name any model. An administrator can set allow_batches for it", code="not_allowed")  # fmt: skip


def provider_for(context: RequestContext) -> Candidate:
    """The provider of a new file, in the place of a model; BadRequest, Forbidden if there is none for it."""
    protocol, config, key = context.call.protocol, context.state.config, context.caller.key
    able = {provider.name: provider for provider in config.providers if takes_files(provider, protocol)}
    name = context.headers.get(PROVIDER_HEADER, "") or config.server.files_provider
    allowed = [each for each in able if key is None or key.may_provider(each)]
    if not name and len(allowed) == 1:
        name = allowed[0]
    if name in able and name not in allowed:
        raise key.refuse(name)
    if name not in able:
        title = SPECS[protocol].title
        there = f"there are {', '.join(allowed[:MAX_NAMED])}" if allowed else f"no provider here speaks {title}'s protocol"
        what = f"{name[:100]} takes no files in {title}'s protocol" if name else "the provider for the file is not clear"
        raise BadRequest(f"{what}: {there}; name one in the header {PROVIDER_HEADER}, or set [server] files_provider",
                         details={"path": PROVIDER_HEADER})  # fmt: skip
    return Candidate(able[name], FILES).speaking(protocol)


def takes_files(provider: Provider, protocol: str) -> bool:
    spoken = provider if provider.api == protocol else provider.also.get(protocol)
    has_key = bool(provider.keys or not provider.needs_key or provider.key_command)
    return provider.is_active and spoken is not None and FILES in spoken.paths and has_key


def place_of(context: RequestContext, found: Owned, call: str = "") -> Place:
    """Where an object is, or another beside it. Its key may have been replaced by another of the same account."""
    words = files_of(context)
    call = call or (FILES if found.kind == words.FILE else BATCHES)
    provider = next((each for each in context.state.config.providers if each.name == found.provider), None)
    if provider is None or not takes_files(provider, context.call.protocol):
        raise NotFound(f"{found.kind} {found.id} is at {found.provider}, which this gateway no longer has")
    candidate = Candidate(provider, call).speaking(context.call.protocol)
    keys = provider.keys
    return Place(candidate, next((key for key in keys if mark_of(key) == found.key), keys[0] if keys else None), call)


def owned_of(context: RequestContext, place: Place, kind: str, name: str, value: Mapping[str, Any], now: float) -> Owned:
    label = files_of(context).label_of(value)
    return Owned(context.caller.key_id, kind, name, now, place.candidate.provider.name, mark_of(place.key), value, label)


def start(context: RequestContext, headers: Headers) -> None:
    context.answering, context.record.status = True, 200
    own = context.own_headers
    names = {name for name, _ in own}
    context.exchange.start(200, [pair for pair in headers if pair[0] not in names] + own)
