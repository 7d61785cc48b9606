"""The command `prices`: the user's own price list, and how LiteLLM's becomes it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from llm_router_client import MAX_COST_USD, UsageError, clean, parse_json, read_upload, usd

from .config import own_config_file, user_config, write_config

if TYPE_CHECKING:
    from llm_router_client import JSON, Console

MAX_LIST_BYTES = 33_554_432  # LiteLLM's list has 1.5 MB
NAMES = {  # ours, USD a million tokens -> LiteLLM's, USD a token
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cached_input": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
    "cache_write_1h": "cache_creation_input_token_cost_above_1hr",
}
LONG = {"_above_128k_tokens": 128_000, "_above_200k_tokens": 200_000, "_above_272k_tokens": 272_000}  # endings of its names


def per_million(value: Any) -> float | None:
    """USD a token -> USD a million tokens; None for what can be no price."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value * 1_000_000 <= MAX_COST_USD:
        return None
    return round(float(value) * 1_000_000, 6)


def price_of(entry: Any, ending: str = "") -> JSON | None:
    """One entry of LiteLLM's list as a price of ours; None where it has no price for tokens.

    price_of({"input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05}) -> {"input": 2.5, "output": 10.0}
    """
    if not isinstance(entry, dict):
        return None
    found = {ours: per_million(entry.get(theirs + ending)) for ours, theirs in NAMES.items()}
    price = {name: value for name, value in found.items() if value is not None}
    if "input" not in price or "output" not in price:
        return None
    tiers = [(above, price_of(entry, of)) for of, above in LONG.items()] if not ending else []
    long_context = [{"above": above, **tier} for above, tier in tiers if tier]
    return {**price, **({"long_context": long_context} if long_context else {})}


def prices_in(data: bytes, path: str) -> JSON:
    """Model -> price, of LiteLLM's model_prices_and_context_window.json; models that it counts otherwise are left out."""
    try:
        entries = parse_json(data)
    except ValueError as error:
        raise UsageError(f"{path} is not JSON: {error}") from None
    found = {name: price_of(entry) for name, entry in entries.items()} if isinstance(entries, dict) else {}
    prices = {name: price for name, price in found.items() if price and name != "sample_spec"}
    if not prices:
        step = "It takes LiteLLM's model_prices_and_context_window.json."
        raise UsageError(f"{path} holds no prices of tokens", next_step=step)
    return prices


def import_prices(args: Any, console: Console) -> int:
    """`prices import FILE`: what the user set stays, unless --replace says otherwise."""
    if not args.file:
        raise UsageError("no file named", next_step="Write prices import FILE, with LiteLLM's price list.")
    path = os.path.abspath(os.path.expanduser(args.file))
    prices = prices_in(read_upload(path, MAX_LIST_BYTES, anywhere=True), args.file)
    prices = {name: price for name, price in prices.items() if (args.search or "").lower() in name.lower()}
    config = user_config()
    before = config.get("prices", {})
    kept = {} if args.replace else {name: price for name, price in before.items() if name in prices and price != prices[name]}
    written = write_config({**config, "prices": {**before, **prices, **kept}}) if prices else own_config_file()
    facts = {"file": written, "imported": len(prices) - len(kept), "kept": sorted(kept)}
    console.show(facts, f"{written}: {facts['imported']} prices imported\n")
    if kept:
        console.note(f"{len(kept)} prices of your own were kept (--replace takes the list's): {', '.join(sorted(kept)[:10])}")
    return 0


def list_prices(args: Any, console: Console) -> int:
    """`prices list`: what the user's configuration says."""
    prices = user_config().get("prices", {})
    found = {name: prices[name] for name in sorted(prices) if (args.search or "").lower() in name.lower()}
    rows = [f"{name}\t{usd(float(price['input']))}\t{usd(float(price['output']))}\n" for name, price in found.items()]
    console.show({"file": own_config_file(), "prices": found}, clean("".join(rows)))
    if not found:
        console.note(f"no such prices in {own_config_file()}; prices import FILE puts some there")
    return 0


def add_arguments(parser: Any) -> None:
    """Options of the command `prices`, for an argparse parser."""
    parser.words = {"import": "take prices from LiteLLM's list FILE", "list": "show them: USD a million tokens in and out"}
    parser.add_argument("action", nargs="?", choices=parser.words, help="; ".join(map(": ".join, parser.words.items())))
    parser.add_argument("--file", metavar="FILE", help="the same as FILE alone")
    parser.add_argument("--search", metavar="TEXT", help="only models with TEXT in their names")
    parser.add_argument("--replace", action="store_true", help="overwrite your own prices, too")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.free = "--file"


def run(args: Any, console: Console) -> int:
    """The command `prices`: args.action is "import", "list", or None."""
    if args.action is None:
        raise UsageError("say what to do with the prices", next_step="Write prices import FILE or prices list.")
    return import_prices(args, console) if args.action == "import" else list_prices(args, console)
