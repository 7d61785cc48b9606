"""One chat body for an upstream: from the caller's fields to the upstream's bytes. Pure, and so done in any process.

wish = Wish("openai", "anthropic", named="p/m", model="m", stream=None)
out = write_as(read_as(fields, wish), wish, lost)      the body as the upstream's protocol has it
data = encode_body(out, {"max_tokens": 5}, frozenset(), lost)  its bytes, with what the configuration changes in it
body = without_ours(body, "anthropic", None, lost)     for an upstream of the caller's own protocol
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from typing import Any, NamedTuple

from ..json_body import Body, dump, read_body
from . import ir
from .envelope import MARK
from .losses import name_lost
from .registry import SPECS, UPSTREAMS, wire
from .token_estimate import input_tokens

SURROGATE = re.compile("[\ud800-\udfff]")


class Wish(NamedTuple):
    """What a body is to become."""

    protocol: str  # the caller's
    api: str  # the upstream's
    named: str  # the model as the caller named it
    model: str  # as the upstream knows it
    stream: bool | None  # None: as the body says
    quirks: Mapping[str, Any] = ir.NOTHING
    answer_id: str = ""


def read_as(fields: Mapping[str, Any], wish: Wish, more: Mapping[str, Any] = ir.NOTHING) -> ir.Request:
    """The caller's request. `more` is what the reader of a protocol that keeps answers wants."""
    request = wire(wish.protocol).read_request(fields, model=wish.named, stream=wish.stream, **more)
    estimate = input_tokens(fields) if wish.stream and SPECS[wish.protocol].counts_first else 0
    # Nothing else holds this request yet; dataclasses.replace would copy thirty fields, a tenth of a conversion's time.
    object.__setattr__(request, "answer_id", wish.answer_id)
    object.__setattr__(request, "input_estimate", estimate)
    return request


def write_as(request: ir.Request, wish: Wish, lost: list[str]) -> dict[str, Any]:
    """The body as the upstream's protocol has it."""
    return wire(wish.api).write_request(request, model=wish.model, quirks=wish.quirks, lost=lost)


def without_ours(body: Body, protocol: str, seal: ir.Seal | None, lost: list[str]) -> Body:
    """The same body without what the gateway put into the conversation for others, which its own vendor would refuse."""
    spec = SPECS[protocol]
    if spec.keeps_answers and wire(protocol).relay.is_marked(body.text):
        fields = wire(protocol).relay.fit(body.fields, seal, lost)
    elif spec.encloses and MARK in body.text:
        fields = wire(protocol).remove_foreign(body.fields, lost)
    else:
        return body
    return read_body(dump(fields).encode("utf-8", "backslashreplace"))


def encode_body(
    out: Mapping[str, Any], changes: Mapping[str, Any], dropped: Set[str], lost: list[str], count: Wish | None = None
) -> bytes:
    """The bytes of a body, changed; with `count`, those of the call that counts its tokens."""
    body = {name: value for name, value in out.items() if name not in dropped} | dict(changes)
    if count is not None:
        body = UPSTREAMS[count.api].count_request(body, count.model)
    return as_utf8(dump(body), lost)


def as_utf8(text: str, lost: list[str]) -> bytes:
    """The bytes of a text. Half of a surrogate pair, which most servers refuse, becomes U+FFFD and is named."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        name_lost(lost, "lone surrogate=U+FFFD")
        return SURROGATE.sub("\ufffd", text).encode()
