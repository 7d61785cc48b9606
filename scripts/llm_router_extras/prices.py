"""The command `prices`: the user's own price list, and how LiteLLM's becomes it."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from llm_router_client import MAX_COST_USD, UsageError, clean, is_amount, parse_json, read_upload, usd

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
# The price over so many thousand tokens of input.
ABOVE = re.compile(r"(?:input|output)_cost_per_token(_above_([0-9]{1,9})k_tokens)")


def per_million(value: Any) -> float | None:
    """USD a token -> USD a million tokens; None for what can be no price."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value * 1_000_000 <= MAX_COST_USD:
        return None
    return round(float(value) * 1_000_000, 6)


def rates(entry: JSON, ending: str = "") -> JSON:
    """What an entry says of each kind of token, USD a million, under names that end so."""
    found = {ours: per_million(entry.get(theirs + ending)) for ours, theirs in NAMES.items()}
    return {name: value for name, value in found.items() if value is not None}


def tiers_of(entry: JSON) -> dict[int, JSON]:
    """Tokens of input -> the price of a request that has more, for all of its tokens. The list has two forms of it.

    Names that end in `_above_200k_tokens` change some of the entry's prices. A table `tiered_pricing` replaces them: its
    ranges are (more than, up to), and what a range does not say of caches costs what its input does.
    """
    flat, table = rates(entry), entry.get("tiered_pricing")
    if isinstance(table, list):
        own = {name: value for name, value in flat.items() if name == "output"}
        steps = [step for step in table if isinstance(step, dict) and is_range(step.get("range"))]
        return {int(step["range"][0]): {**own, **rates(step)} for step in steps} or {0: flat}
    endings = filter(None, map(ABOVE.fullmatch, entry))
    return {0: flat, **{int(found[2]) * 1_000: {**flat, **rates(entry, found[1])} for found in endings}}


def is_range(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(is_amount(end) for end in value)


def price_of(entry: Any) -> JSON | None:
    """One entry of LiteLLM's list as a price of ours; None where it has no price for tokens.

    price_of({"input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05}) -> {"input": 2.5, "output": 10.0}
    """
    tiers = tiers_of(entry) if isinstance(entry, dict) else {}
    found = [(above, tiers[above]) for above in sorted(tiers) if "input" in tiers[above] and "output" in tiers[above]]
    if not found or found[0][0] > 0:
        return None
    long_context = [{"above": above, **price} for above, price in found[1:]]
    return {**found[0][1], **({"long_context": long_context} if long_context else {})}


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
        raise UsageError(f"{path} contains no prices of tokens", next_step=step)
    return prices


def import_prices(args: Any, console: Console) -> int:
    """`prices import FILE`: what the user set stays, unless --replace says otherwise."""
    if not args.file:
        raise UsageError("no file named", next_step="Write prices import FILE, with LiteLLM's price list.")
    path = os.path.abspath(os.path.expanduser(args.file))
    prices = prices_in(read_upload(path, MAX_LIST_BYTES, anywhere=True), args.file)
    prices = {name: price for name, price in prices.items() if (args.search or "").lower() in name.lower()}
    config = user_config() if os.path.lexists(own_config_file()) else {}  # a file that is named may still have to be made
    before = config.get("prices", {})
    kept = {} if args.replace else {name: price for name, price in before.items() if name in prices and price != prices[name]}
    written = write_config({**config, "prices": {**before, **prices, **kept}}) if prices else own_config_file()
    facts = {"file": written, "imported": len(prices) - len(kept), "kept": sorted(kept)}
    console.show(facts, f"{written}: {facts['imported']} prices imported\n")
    if kept:
        console.note(
            f"{len(kept)} prices of your own were kept (--replace takes those of the list): {', '.join(sorted(kept)[:10])}"
        )
    return 0


def list_prices(args: Any, console: Console) -> int:
    """`prices list`: what the user's configuration says."""
    prices = user_config().get("prices", {})
    found = {name: prices[name] for name in sorted(prices) if (args.search or "").lower() in name.lower()}
    rows = [f"{name}\t{usd(float(price['input']))}\t{usd(float(price['output']))}\n" for name, price in found.items()]
    console.show({"file": own_config_file(), "prices": found}, clean("".join(rows)))
    if not found:
        what, step = "no prices", "prices import FILE puts some there"
        if prices:
            what, step = f"none of {len(prices)} prices match {args.search!r}", "without --search all are listed"
        console.note(f"{own_config_file()} holds {what}; {step}")
    return 0


def add_arguments(parser: Any) -> None:
    """Options of the command `prices`, for an argparse parser."""
    parser.words = {"import": "take prices from LiteLLM's list FILE", "list": "show prices: USD per million tokens in and out"}
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
