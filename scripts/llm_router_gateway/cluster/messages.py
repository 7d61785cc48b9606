"""The messages between the home and its workers over a `net/link`, and how their values look in JSON. Pure.

From a worker to the home:

    call  hello(name, pid, version)          -> the welcome: all that it must know, see `cluster.home`
    send  ready(port)                        it accepts callers
    call  batch(number, calls, lines, used)  -> true: records, log lines, uses of keys. The numbers of one worker grow by one;
                                             a number that the home has seen is acknowledged and not counted again
    send  open(requests)                     how many requests it is answering
    send  leased(sums)                       what it has of limits and budgets: {"keys", "usd", "tokens", "slots"}
    send  routing(changes)                   health of members, cooldowns of keys, conversations: see `cluster.routing`
    call  kept(name, arguments)              conversations: chain, find, holding, delete
    call  owned(name, arguments)             whose files and batches are: put, find, owners, page, delete
    send  keep(turn)                         a turn of a conversation, found from then on
    call  lease(name, values), sums(since), settle()     limits and budgets: see `cluster.leases`

From the home to each worker:

    call  config(text)                       -> true once the new Config is in force; `config.sources.from_portable`
    call  keys(rows, generation, sealed, unknown, expired)    -> true; all keys of the store, and whether it is out of reach
    call  sessions(logins)                   -> true; all logins of the page
    send  routing(changes)                   what other workers found
    send  notes(list)                        what other gateways found, see `routing.notes`
    call  report()                           -> true once all is sent that the home has not heard yet
    send  drain()                            no new requests; it ends when the open ones have

Times that cross are Unix seconds, or durations; never a monotonic clock's. Bytes are texts of code points 0 to 255.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..access.sessions import Logins
from ..config.keys import Key, read_json, terms_json
from ..errors import BadRequest
from ..store.call import Call
from ..store.conversations import Turn
from ..store.keys import Row
from ..store.owned import Owned
from ..store.redaction import MARGIN_BYTES, Bodies, without_pictures

UNREADABLE = "the worker processes cannot read it"

Record = tuple[Call, Bodies | None]


def text_of(data: bytes | None) -> str | None:
    return None if data is None else data.decode("latin-1")


def bytes_of(text: str | None) -> bytes | None:
    return None if text is None else text.encode("latin-1")


# ------------------------------------------------------------------------------------------------------------- calls


def pack_record(record: Record) -> list[Any]:
    """A call, and what is kept of its texts. Pictures are left out here already: a batch stays short."""
    call, bodies = record
    if bodies is None:
        return [list(call), None]
    most = bodies.limit + MARGIN_BYTES
    texts = (None if data is None else without_pictures(data, most) for data in (bodies.request, bodies.response))
    return [list(call), [*map(text_of, texts), bodies.limit, [text_of(secret) for secret in bodies.secrets]]]


def unpack_record(values: Sequence[Any]) -> Record:
    fields, kept = values
    if kept is None:
        return Call._make(fields), None
    request, response, limit, secrets = kept
    known = tuple(secret.encode("latin-1") for secret in secrets)
    return Call._make(fields), Bodies(bytes_of(request), bytes_of(response), limit, known)


# -------------------------------------------------------------------------------------------------------------- keys


def pack_row(row: Row) -> list[Any]:
    key = row.key
    return [key.id, key.name, row.digest.hex(), key.hint, key.created, row.last_used, terms_json(key)]


def unpack_row(values: Sequence[Any]) -> Row:
    """A row that cannot be read is a key that is refused."""
    key_id, name, digest, hint, created, last_used, terms = values
    try:
        key = read_json(terms)
    except BadRequest:
        key = Key(key_id, name, note=UNREADABLE, is_active=False)
    return Row(replace(key, id=key_id, name=name, hint=hint, created=created), bytes.fromhex(digest), last_used)


def pack_logins(logins: Logins) -> list[Any]:
    rows = [[name.hex(), digest.hex(), until] for name, digest, until in logins.open]
    return [rows, logins.secret.hex(), [name.hex() for name in logins.ended]]


def unpack_logins(values: Sequence[Any]) -> Logins:
    rows, secret, ended = values
    found = [(bytes.fromhex(name), bytes.fromhex(digest), until) for name, digest, until in rows]
    return Logins(found, bytes.fromhex(secret), [bytes.fromhex(name) for name in ended])


# ----------------------------------------------------------------------------------------------------- conversations


def pack_turn(turn: Turn) -> list[Any]:
    text = turn.text.decode("utf-8", "surrogatepass")
    return [turn.id, turn.owner, turn.previous, turn.created, turn.member, turn.key, text, list(turn.items)]


def unpack_turn(values: Sequence[Any]) -> Turn:
    turn_id, owner, previous, created, member, key, text, items = values
    return Turn(turn_id, owner, previous, created, member, key, text.encode("utf-8", "surrogatepass"), tuple(items))


# ---------------------------------------------------------------------------------------------------- files and batches


def pack_owned(owned: Owned) -> list[Any]:
    return [owned.owner, owned.kind, owned.id, owned.created, owned.provider, owned.key, owned.value, owned.label]


def unpack_owned(values: Sequence[Any]) -> Owned:
    return Owned(*values)
