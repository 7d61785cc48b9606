"""convert: the exact request that would go upstream, and what would be lost; nothing is sent.

    convert --from anthropic --to gemini < request.json
        -> {"request": {"method": "POST", "url": "...", "headers": {...}, "body": {...}}, "lost": ["top_k"]}

It goes the way of a real request: the same context, the same reader and writer, the same headers, the key masked.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from ..config.config import Config, ConfigError, parse
from ..config.kinds import Secret
from ..config.presets import PRESETS, preset_of
from ..config.sources import Source
from ..errors import BadRequest, GatewayError
from ..json_body import read_body
from ..proxy.key_commands import candidate_with_key
from ..proxy.outgoing import Outgoing, chat_call, convert_request, relay_request
from ..proxy.paths import Call
from ..proxy.request import Exchange, Record, RequestContext
from ..routing.resolve import Candidate, candidates
from ..routing.snapshot import snapshot_of
from ..wire.registry import SPECS, UPSTREAMS
from .program import Parser, as_typed, program_name, read_request, report_unusable, say

MASK = "***"
# Whose address a bare protocol stands for: its first preset's.
HOUSES = {api: next((name for name, preset in PRESETS.items() if preset.api == api), "") for api in UPSTREAMS}


class NullExchange:
    """The caller of a dry run."""

    method, path, query, client, started = "POST", "", "", "", False

    def __init__(self) -> None:
        self.headers: list[tuple[str, str]] = []


def parser() -> argparse.ArgumentParser:
    made = Parser(
        f"{program_name()} convert", allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Prints the exact upstream request for the request on standard input, and what would be lost. "
        "Nothing is sent.",
        epilog=as_typed("examples:\n"
        "  python3 scripts/llm_router_gateway convert --from anthropic --to gemini < request.json\n"
        "  python3 scripts/llm_router_gateway convert --from openai --to office/big -c router.toml < request.json\n\n"
        "exit codes: 0 converted, 1 the request cannot be converted, 2 usage error or configuration"),
    )  # fmt: skip
    made.add_argument("--from", dest="source", required=True, choices=tuple(SPECS), help="the protocol of the request")
    made.add_argument("--to", required=True, metavar="WHERE", help="a protocol, a preset, or a model of the configuration")
    made.add_argument("-m", "--model", default="", help="the model's name; else the request's")
    made.add_argument("--stream", action="store_true", help="treat it as a stream, where the request does not say (Gemini)")
    made.add_argument("-c", "--config", default="", metavar="FILE", help="configuration (default: router.toml here)")
    return made


def target(options: argparse.Namespace, wanted: str) -> tuple[Config, Candidate]:
    """The target of the request: a model of the configuration, else a provider of it, else a preset."""
    model = options.model or wanted
    if options.to in HOUSES or (not options.config and preset_of(options.to)):
        name = HOUSES.get(options.to, options.to)
        of = {"name": name, "type": name} if name else {"name": options.to, "api": options.to}
        config = parse({"providers": [{**of, "api_key": MASK, **address(name)}]})
        return config, Candidate(config.providers[0], model)
    config = Source(options.config, flags={}, env=os.environ).load()
    for provider in config.providers:
        if provider.name == options.to:
            return config, candidates(snapshot_of(config).routes, f"{provider.name}/{model}")[0]
    group = next((group for group in config.groups if group.name == options.to), None)
    if group is not None:
        names = ", ".join(member.model for member in group.members[:8])
        raise BadRequest(f"{options.to} is a group: give one of its members as --to: {names}; explain shows which would answer")
    return config, candidates(snapshot_of(config).routes, options.to)[0]


def address(name: str) -> dict[str, str]:
    """Local presets listen where this gateway may listen too; a dry run has no address of its own."""
    preset = preset_of(name)
    return {} if preset is not None and preset.base_url else {"base_url": "http://127.0.0.1:1"}


def outgoing(options: argparse.Namespace, data: bytes) -> tuple[Outgoing, Record]:
    body = read_body(data)
    wanted = body.fields.get("model")
    wanted = wanted if isinstance(wanted, str) else ""
    config, candidate = target(options, wanted)
    if not candidate.remote_id:
        raise BadRequest("model is missing: give --model or name one in the request")
    if candidate.provider.key_command is not None:  # a dry run does not run it
        candidate = candidate_with_key(candidate, Secret(MASK))
    record = Record("dry-run", "POST", "", "", 0.0, options.source, wanted or candidate.remote_id, candidate.name)
    spec = SPECS[options.source]
    record.stream = options.stream or spec.wants_stream(body.fields)
    call = Call("chat", options.source, wanted, options.stream, action=spec.chat_action)
    context = RequestContext(cast(Exchange, NullExchange()), snapshot_of(config), record, {}, {}, call, body)
    if candidate.provider.api != options.source:
        return convert_request(context, candidate, context.read.fields), record
    return relay_request(context, candidate, chat_call(candidate, record.stream)), record


def without_keys(value: str, keys: Iterable[Secret]) -> str:
    """A header's value without what is sent as a credential, however short."""
    for key in keys:
        value = value.replace(key.reveal(), MASK)
    return value


def result_json(out: Outgoing) -> dict[str, Any]:
    """The request as JSON, keys masked."""
    candidate = out.candidate
    headers = {name: without_keys(value, candidate.provider.secrets) for name, value in out.headers}
    configured = {name.lower() for name in (*candidate.provider.headers, *candidate.overrides.headers)}
    headers.update(dict.fromkeys(configured & headers.keys(), MASK))  # their values may be credentials too
    return {"method": "POST", "url": out.url, "headers": headers, "body": json.loads(out.body)}


def run(argv: Sequence[str]) -> int:
    options = parser().parse_args(argv)
    try:
        out, record = outgoing(options, read_request())
    except ConfigError as error:
        report_unusable(error)
        return 2
    except GatewayError as error:
        say(f"{error.status} {error.code}: {error.message}")
        return 1
    result: Mapping[str, Any] = {"request": result_json(out), "lost": record.lost}
    sys.stdout.write(json.dumps(result, indent=2, ensure_ascii=True) + "\n")
    return 0
