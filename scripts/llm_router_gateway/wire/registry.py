"""The protocols by name, and tables over all of them. Code that depends on a protocol looks it up here and compares no names.

    SPECS["anthropic"].title                           -> "Anthropic"
    wire("openai").read_request(body, model="m")       -> ir.Request     its functions, loaded when they are first needed

`spec` explains how to add a protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any, cast

from .spec import Codec, Spec, Upstream

PROTOCOLS = (
    "openai",
    "anthropic",
    "gemini",
    "responses",
    "completions",
    "ollama",
)

SPECS: Mapping[str, Spec] = {name: import_module(f".{name}.spec", __package__).SPEC for name in PROTOCOLS}
DEFAULT = PROTOCOLS[0]  # for requests that show no other, and for the gateway's own paths
UPSTREAMS: Mapping[str, Upstream] = {name: spec.upstream for name, spec in SPECS.items() if spec.upstream is not None}

# Unions over all protocols, for decisions made before the protocol is known.
KEY_HEADERS = tuple(dict.fromkeys(name for spec in SPECS.values() for name in spec.key_headers))
KEY_QUERIES = tuple(dict.fromkeys(spec.key_query for spec in SPECS.values() if spec.key_query))
# Headers that may carry a caller's credential: never passed on.
PRIVATE_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", *KEY_HEADERS})
ANSWER_HEADERS = frozenset(name for spec in SPECS.values() for name in spec.answer_headers)
CALLERS_ACCOUNT = frozenset(name for spec in SPECS.values() for name in spec.private_headers)
OWN_QUERY = frozenset({*KEY_QUERIES, *(spec.events_query[0] for spec in SPECS.values() if spec.events_query)})
ACTING_FIELDS = frozenset(name for spec in SPECS.values() for name in spec.acting_fields)
TURNS = tuple(dict.fromkeys(spec.turns for spec in SPECS.values()))


@cache
def wire(protocol: str) -> Codec:
    """The functions of a protocol, loaded when they are first needed: the module `codec`, or the object CODEC in it."""
    module = import_module(f".{protocol}.codec", __package__)
    return cast(Codec, getattr(module, "CODEC", module))


@cache
def vectors(protocol: str) -> Any:
    """The functions for embeddings of a protocol that has them (`embeds`): see `embeddings`."""
    return import_module(f".{protocol}.embeddings", __package__)
