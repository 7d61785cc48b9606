"""models refresh: what the providers list, as [[models]] entries to paste, with window and price where they list them.

    llm-router-gateway models refresh -c router.toml               prints what the file does not list yet
    llm-router-gateway models refresh --prices prices.json         prices from LiteLLM's list where a provider lists none

Nothing is written: stdout has the proposals, stderr a line for each provider.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config.config import ConfigError, Provider
from ..config.imported import toml_text
from ..config.numbers import MAX_WHOLE
from ..config.price_list import per_million, price_config
from ..config.sources import Source, read_data_file
from ..errors import GatewayError, NotFound
from ..net.client import Pool
from ..proxy.answers import parse_answer
from ..proxy.key_commands import KeyCommands
from ..routing.resolve import Candidate
from .check import LIMIT_S, fetch
from .program import Parser, as_typed, program_name, report_unusable, say

NO_CHAT = ("embed", "rerank", "moderation", "whisper", "tts", "dall-e", "image-1", "realtime", "transcribe", "sora")
MAX_USD = 10_000.0  # a million tokens; OpenRouter writes -1 where a price is not fixed


def parser() -> argparse.ArgumentParser:
    made = Parser(
        f"{program_name()} models", allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Fetches every provider's list of models, and prints the [[models]] entries that the configuration lacks.",
        epilog=as_typed("examples:\n"
        "  python3 scripts/llm_router_gateway models refresh -c router.toml --provider openrouter --search qwen\n"
        "  python3 scripts/llm_router_gateway models refresh --prices model_prices_and_context_window.json\n\n"
        "exit codes: 0 printed, 1 a provider did not answer, 2 usage error or configuration"),
    )  # fmt: skip
    made.add_argument("command", choices=("refresh",), help="print proposals; nothing is written")
    made.add_argument("-c", "--config", default="", metavar="FILE", help="configuration (default: router.toml here)")
    made.add_argument("--provider", default="", metavar="NAME", help="only this provider")
    made.add_argument("--search", default="", metavar="TEXT", help="models with TEXT in their names")
    made.add_argument(
        "--prices", default="", metavar="FILE", help="LiteLLM's price list, for prices that a provider does not state"
    )
    made.add_argument(
        "--all", action="store_true", help="also models that do not look like chat models (embeddings, audio, images)"
    )
    return made


# ------------------------------------------------------------------------------------------------- what a list says


def whole(*values: Any) -> int | None:
    """The first that is a number of tokens."""
    numbers = (value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool))
    return next((int(value) for value in numbers if 0 < value <= MAX_WHOLE), None)


def usd(value: Any) -> float | None:
    """Dollars a token, as a number or a text, -> dollars a million tokens; None for what can be no price."""
    try:
        price = per_million(float(value))
    except (TypeError, ValueError, OverflowError):  # a whole number of 400 digits
        return None
    return price if price is not None and 0 <= price <= MAX_USD else None


def listed_config(entry: Mapping[str, Any]) -> dict[str, Any]:
    """`[models.config]` out of one entry of a provider's list, whatever shape it has.

    OpenRouter  {"context_length": 9, "pricing": {"prompt": "0.000001"}, "architecture": {"input_modalities": ["text"]}}
    vLLM        {"max_model_len": 9}        llama.cpp  {"meta": {"n_ctx": 9, "n_ctx_train": 99}}
    Gemini      {"inputTokenLimit": 9, "outputTokenLimit": 3}        Anthropic  {"max_input_tokens": 9, "max_tokens": 3}
    """

    def inner(name: str) -> Mapping[str, Any]:
        value = entry.get(name)
        return value if isinstance(value, dict) else {}

    meta, pricing, top = inner("meta"), inner("pricing"), inner("top_provider")
    window = whole(entry.get("context_length"), entry.get("max_model_len"), meta.get("n_ctx"), meta.get("n_ctx_train"),
                   entry.get("inputTokenLimit"), entry.get("max_input_tokens"), entry.get("context_window"))  # fmt: skip
    parameters = entry.get("supported_parameters")
    found = {
        "context_window": window,
        "max_output_tokens": whole(top.get("max_completion_tokens"), entry.get("outputTokenLimit"), entry.get("max_tokens")),
        "modalities": [each for each in inner("architecture").get("input_modalities") or () if isinstance(each, str)],
        "supports_tools": "tools" in parameters if isinstance(parameters, list) else None,
        "input_usd_per_mtok": usd(pricing.get("prompt", pricing.get("input"))),
        "output_usd_per_mtok": usd(pricing.get("completion", pricing.get("output"))),
        "cached_input_usd_per_mtok": usd(pricing.get("input_cache_read")),
    }
    return {name: value for name, value in found.items() if value not in (None, [], ())}


def entries_of(answer: Any) -> dict[str, Mapping[str, Any]]:
    """Name -> entry, of OpenAI's and Anthropic's `data` or Gemini's `models`."""
    rows = answer.get("data", answer.get("models")) if isinstance(answer, dict) else None
    found = {}
    for row in rows if isinstance(rows, list) else ():
        name = row.get("id") or row.get("name") if isinstance(row, dict) else None
        if isinstance(name, str) and name:
            found[name.removeprefix("models/")] = row
    return found


def price_of(prices: Mapping[str, Any], provider: Provider, name: str) -> dict[str, Any]:
    """What LiteLLM's list says of a model: by its own name, or with the provider's before it."""
    for key in (f"{provider.name}/{name}", f"{provider.type}/{name}", name, name.rpartition("/")[2]):
        if isinstance(prices.get(key), dict):
            return price_config(prices[key])
    return {}


def proposals(
    provider: Provider, answer: Any, known: set[str], prices: Mapping[str, Any], options: argparse.Namespace
) -> list[Any]:
    """[[models]] entries for what a provider lists and the configuration does not."""
    made = []
    for name, entry in entries_of(answer).items():
        skipped = not options.all and any(word in name.lower() for word in NO_CHAT)
        if name in known or skipped or options.search.lower() not in name.lower():
            continue
        config = {**price_of(prices, provider, name), **listed_config(entry)}
        shown = entry.get("display_name") or entry.get("displayName")
        made.append({"name": name, "provider": provider.name, **({"display_name": shown} if isinstance(shown, str) else {}),
                     **({"config": config} if config else {})})  # fmt: skip
    return made


# ---------------------------------------------------------------------------------------------------------- the command


async def lists(chosen: Sequence[Provider]) -> dict[str, Any]:
    """Provider -> its list, or the GatewayError that came instead; all are queried at once."""
    pool, keys = Pool(), KeyCommands()

    async def one(provider: Provider) -> Any:
        candidate = Candidate(provider, "")
        try:
            if not candidate.url("models"):
                raise NotFound("it has no list of models")
            async with asyncio.timeout(LIMIT_S):
                return parse_answer(await fetch(pool, keys, "GET", candidate, candidate.url("models"), b""), provider.name)
        except (GatewayError, TimeoutError) as error:
            return error

    try:
        answers = await asyncio.gather(*map(one, chosen))
    finally:
        await keys.close()
        await pool.close()
    return dict(zip((provider.name for provider in chosen), answers, strict=True))


def run(arguments: Sequence[str]) -> int:
    """The exit code of `models ...`."""
    options = parser().parse_args(arguments)
    try:
        config = Source(options.config, flags={}, env=os.environ).load()
        prices = read_data_file(Path(options.prices), last_wins=True) if options.prices else {}
    except ConfigError as error:
        report_unusable(error)
        return 2
    chosen = [each for each in config.providers if each.is_active and options.provider in ("", each.name)]
    if not chosen or not isinstance(prices, dict):
        names = ", ".join(each.name for each in config.providers if each.is_active)
        wrong = f"{options.prices} is not a price list: a JSON object is expected" if chosen else ""
        name = f" {options.provider!r}" if options.provider else ""
        step = f"active providers: {names}" if names else "add [[providers]] to the file, or set a key such as OPENAI_API_KEY"
        wrong = wrong or f"there is no active provider{name}; {step}"
        say(wrong)
        return 2
    answers = asyncio.run(lists(chosen))
    found: list[Any] = []
    for provider in chosen:
        answer = answers[provider.name]
        if isinstance(answer, Exception):
            say(f"{provider.name}: {getattr(answer, 'message', '') or 'no answer in time'}")
            continue
        known = {name for model in config.models if model.provider == provider.name for name in (model.name, model.remote_id)}
        new = proposals(provider, answer, known, prices, options)
        count = len(entries_of(answer))
        unpriced = sum("input_usd_per_mtok" not in each.get("config", {}) for each in new)
        more = f", {unpriced} of them without a price" if unpriced else ""
        say(f"{provider.name}: lists {count}, {len(new)} proposed{more}")
        found += new
    sys.stdout.write(toml_text({"models": found}) if found else "")
    return 1 if any(isinstance(answer, Exception) for answer in answers.values()) else 0
