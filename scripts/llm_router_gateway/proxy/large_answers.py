"""What a worker process does with a large answer of an upstream, and with texts and vectors: see `large_jobs`.

Each job gets the bytes as `Cached`, and gives (a small value, bytes): the bytes that go to the caller or to the upstream, b""
where those that came are right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from ..errors import GatewayError
from ..json_body import dump, read_body
from ..wire import ir
from ..wire.conversion import as_utf8
from ..wire.demands import Demands
from ..wire.pipes import MARK
from ..wire.registry import SPECS, vectors, wire
from ..wire.renaming import Renaming
from ..wire.think_tags import split_answer
from ..wire.token_estimate import weight
from ..wire.unmet import seen_in, unmet
from .answers import is_error, looks_streamed, parse_or_none, status_in, unmet_in
from .large_jobs import Cached, Head, head_of, read
from .mask import Mask
from .request import dump_json


class Said(NamedTuple):
    """What is known of a large answer."""

    kind: str  # answer; error: a status of 200 over one; flawed; streamed: events; unreadable
    flaw: GatewayError | None = None
    status: int = 0  # that an error names itself
    model: Any = None  # that the answer comes from, as it says
    usage: ir.Usage | None = None
    finish: ir.Stop | str = ""
    tokens: float = 0.0  # estimated, where there is no usage
    unmet: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


class Reading(NamedTuple):
    """What an answer is read and written by."""

    protocol: str  # the caller's
    api: str  # the upstream's
    request: ir.Request | None  # None: it is relayed
    demands: Demands | None
    lost: tuple[str, ...]  # before
    secrets: tuple[str, ...]  # of the provider
    now_s: int
    splits: bool = False  # thoughts stand in tags among the text: see wire/think_tags
    alias: str = ""  # the model's name that the answer is to have


def answer(cached: Cached, how: Reading) -> tuple[Said, bytes]:
    """What `plain_answer` does with a small one."""
    fields, codec, own = parse_or_none(cached.data), wire(how.api), wire(how.protocol)
    if fields is None:
        return Said("streamed" if looks_streamed(cached.data) else "unreadable"), b""
    if is_error(fields):
        return Said("error", status=status_in(fields)), b""
    flaw = codec.flaw_in(fields)
    if flaw is not None:
        return Said("flawed", flaw, usage=codec.usage_in(fields)), b""
    mask, said = Mask(how.secrets), Said("answer", model=fields.get(SPECS[how.api].model_field))
    if how.request is None:
        usage, data = own.usage_in(fields), mask(cached.data.removeprefix(MARK))
        data = Renaming(how.alias, ((SPECS[how.protocol].model_field,),)).whole(data) if how.alias else data
        tokens = weight(fields.get(SPECS[how.protocol].answer_field)) if usage is None else 0.0
        said = said._replace(
            usage=usage,
            tokens=tokens,
            finish=own.finish_in(fields),
            unmet=tuple(unmet_in(how.demands, how.protocol, fields) if how.demands is not None else ()),
            lost=how.lost,
        )
        return said, b"" if data == cached.data else data
    lost, result = list(how.lost), codec.read_answer(fields)
    result = split_answer(result) if how.splits else result
    missing = unmet(how.demands, seen_in(result)) if how.demands is not None else []
    result = result if result.created else replace(result, created=how.now_s)
    result = replace(result, model=how.alias) if how.alias else result
    made = own.write_answer(result, how.request, lost)
    tokens = weight(fields.get(SPECS[how.api].answer_field)) if result.usage is None else 0.0
    said = said._replace(usage=result.usage, tokens=tokens, finish=own.finish_in(made), unmet=tuple(missing), lost=tuple(lost))
    return said, mask(dump_json(made))


# ------------------------------------------------------------------------------------------------------------- embeddings


def carry(cached: Cached, protocol: str) -> tuple[Head, bytes]:
    """A body of texts as the upstream's protocol has it, in the place of the caller's."""
    body = cached.replace(read_body(dump_json(SPECS[protocol].embeddings_request(cached.body.fields))))
    return read(cached, wants_text=True)[0], body.text.encode("utf-8", "surrogatepass")


def texts(
    cached: Cached, reader: tuple[str, str], writer: tuple[str, str], changes: Mapping[str, Any] | None
) -> tuple[tuple[str, list[str], dict[str, Any]], bytes]:
    """((the upstream's call, what was lost, the head of the body), its bytes with `changes`, b"" without them).

    `reader` is the caller's protocol and action, `writer` the upstream's protocol and model.
    """
    found = vectors(reader[0]).read_texts(cached.body.fields, reader[1])
    call, body = vectors(writer[0]).write_texts(found, writer[1])
    lost: list[str] = list(found.lost)
    data = b"" if changes is None else as_utf8(dump({**body, **changes}), lost)
    return (call, lost, head_of(body)), data


def form(cached: Cached, protocol: str, wanted: Mapping[str, Any]) -> tuple[None, bytes]:
    """Vectors in the form that the caller's protocol and its body want."""
    data = SPECS[protocol].embeddings(cached.data, wanted)
    return None, b"" if data is cached.data else data


def rewrite(cached: Cached, api: str, carrier: str, model: str, action: str) -> tuple[Said, bytes]:
    """Vectors of an upstream as the caller's protocol has them."""
    fields = parse_or_none(cached.data)
    if fields is None:
        return Said("unreadable"), b""
    if is_error(fields):
        return Said("error", status=status_in(fields)), b""
    found = vectors(api).read_vectors(fields)
    usage = None if found.tokens is None else ir.Usage(input=found.tokens)
    return Said("answer", usage=usage), dump_json(vectors(carrier).write_vectors(found, model, action))


JOBS: Mapping[str, Callable[..., tuple[Any, bytes]]] = {
    "answer": answer, "carry": carry, "texts": texts, "form": form, "rewrite": rewrite,
}  # fmt: skip
