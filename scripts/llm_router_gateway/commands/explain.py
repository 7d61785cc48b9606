"""explain: which member would answer a request, and why; nothing is sent.

    explain --model gpt_models < body.json
        gpt_models (roundrobin): openai/gpt-4.1 would be tried first
        take  openai/gpt-4.1   weight 70, 70 % of requests  ok  chosen
        -     claude/claude-x  weight 30, 30 % of requests  ok  another candidate ranked higher ...

It reads the configuration and knows no running gateway's health; `POST /route` of a running one does.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from ..config.config import ConfigError
from ..config.kinds import HEADER_NAME
from ..config.sources import Source
from ..errors import BadRequest, GatewayError
from ..json_body import read_body
from ..proxy.log import escape
from ..routing.permissions import rights_of
from ..routing.plan import RoutingRequest, RoutingState, plan
from ..routing.snapshot import snapshot_of
from ..wire.registry import DEFAULT, SPECS
from ..wire.token_estimate import input_tokens
from .program import Parser, as_typed, program_name, read_request, report_unusable, say


def header(text: str) -> str:
    """The text, where it is a header; its value, which may be a credential, is not repeated."""
    name, colon, _ = text.partition(":")
    if not colon or not HEADER_NAME.fullmatch(name.strip()):
        raise argparse.ArgumentTypeError("it is not NAME:VALUE")
    return text


def parser() -> argparse.ArgumentParser:
    made = Parser(
        f"{program_name()} explain", allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Prints every model that could answer the request on standard input, and why one would or would "
        "not. Nothing is sent.",
        epilog=as_typed("examples:\n"
        "  python3 scripts/llm_router_gateway explain --model gpt_models < body.json\n"
        "  python3 scripts/llm_router_gateway explain --model tag:coding,-slow -c router.toml --json < body.json\n\n"
        "exit codes: 0 a member would be tried, 1 none would, 2 usage or configuration error"),
    )  # fmt: skip
    made.add_argument("-m", "--model", default="", help="a model, a group, tag:a,b or task:NAME; else the request's")
    made.add_argument("--from", dest="source", default=DEFAULT, choices=tuple(SPECS), help="the protocol of the request")
    made.add_argument("--stream", action="store_true", help="treat it as a stream, where the request does not say (Gemini)")
    made.add_argument(
        "-H", "--header", action="append", default=[], metavar="NAME:VALUE", type=header, help="a header of the request"
    )
    made.add_argument("--key", default="", metavar="NAME", help="as a caller with this key of [[keys]]")
    made.add_argument("-c", "--config", default="", metavar="FILE", help="configuration (default: router.toml here)")
    made.add_argument("--json", action="store_true", help="everything, for programs")
    return made


def headers_of(lines: Sequence[str]) -> dict[str, str]:
    """headers_of(["X-Team: a"]) -> {"x-team": "a"}"""
    pairs = (line.partition(":") for line in lines)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def explain(options: argparse.Namespace, data: bytes) -> dict[str, Any]:
    """The decision on one request, in the form of `POST /route`."""
    body = read_body(data) if data.strip() else None
    fields = body.fields if body else {}
    name = options.model or fields.get("model")
    if not isinstance(name, str) or not name:
        raise BadRequest("model is missing: give --model or name one in the request")
    state = snapshot_of(Source(options.config, flags={}, env=os.environ).load())
    held = {key.name: key for key, _ in state.config.keys}
    if options.key and options.key not in held:
        raise BadRequest(f"no key {options.key!r} in [[keys]]; the keys are {', '.join(held) or 'none'}")
    stream = options.stream or SPECS[options.source].wants_stream(fields)
    ask = RoutingRequest(name=name, body=fields, protocol=options.source, stream=stream, headers=headers_of(options.header),
              key_name=options.key, tokens=lambda: input_tokens(fields), rights=rights_of(held.get(options.key)),
              text=body.text if body else "")  # fmt: skip
    return plan(state.table, RoutingState(), ask, 0.0, Random(0)).explain(0.0)  # nosec B311  # one choice to show, the same each time


def row(candidate: Mapping[str, Any], chosen: object, *, is_alone: bool) -> list[str]:
    """One candidate: taken or not, its name, weight and share of such requests, state, and the reason."""
    weight = f"weight {candidate['weight']:.9g}, {candidate['share'] * 100:.3g} % of requests"
    mark = "take" if candidate["model"] == chosen else "-"
    shown = () if is_alone else (weight,)  # of one alone the weight decides nothing
    return [mark, str(candidate["model"]), *shown, str(candidate.get("state", "")), str(candidate.get("why") or "")]


def text_of(decision: Mapping[str, Any]) -> str:
    """The decision as text: a line with the chosen member, then a line for each candidate."""
    chosen, group = decision.get("chosen"), decision.get("group")
    what = f"{decision['model']} ({decision.get('strategy')})" if group else str(decision["model"])
    candidates = decision["candidates"]
    rows = [row(candidate, chosen, is_alone=len(candidates) == 1) for candidate in candidates]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)] if rows else []
    lines = [f"{what}: {f'{chosen} would be tried first' if chosen else 'no member would be tried'}"]
    for cells in rows:
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
    return "".join(escape(line) + "\n" for line in lines)


def run(argv: Sequence[str]) -> int:
    options = parser().parse_args(argv)
    try:
        decision = explain(options, read_request())
    except ConfigError as error:
        report_unusable(error)
        return 2
    except GatewayError as error:
        say(f"{error.status} {error.code}: {error.message}")
        return 1
    sys.stdout.write(json.dumps(decision, indent=2) + "\n" if options.json else text_of(decision))
    return 0 if decision.get("chosen") else 1
