"""The user's own tiers, tasks and prices: one JSON file, checked whole before any of it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_router_client import UsageError, config_file, one_line, parse_json, read_upload

from .schema import first_fault

if TYPE_CHECKING:
    from llm_router_client import JSON

MAX_CONFIG_BYTES = 1_048_576
PRICES: JSON = {  # USD for a million tokens; see pricing.cost_usd() for what counts where one is missing
    name: {"$ref": "#/$defs/usd"} for name in ("input", "output", "cached_input", "cache_write", "cache_write_1h")
}
CONFIG_RULES: JSON = {  # a JSON schema
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "tiers": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "cheap": {"$ref": "#/$defs/models"},
                "middle": {"$ref": "#/$defs/models"},
                "strong": {"$ref": "#/$defs/models"},
            },
        },
        "tasks": {"type": "object", "additionalProperties": {"$ref": "#/$defs/models"}},
        "prices": {"type": "object", "additionalProperties": {"$ref": "#/$defs/price"}},
    },
    "$defs": {
        "models": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "string", "pattern": "^[A-Za-z0-9_@+][A-Za-z0-9_.:/@+-]*$"},
        },
        "usd": {"type": "number", "minimum": 0},
        "price": {
            "type": "object",
            "additionalProperties": False,
            "required": ["input", "output"],
            "properties": {
                **PRICES,
                "long_context": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/long_context"}},
            },
        },
        "long_context": {  # the price of all tokens of a request with more than `above` input tokens
            "type": "object",
            "additionalProperties": False,
            "required": ["above", "input", "output"],
            "properties": {"above": {"type": "integer", "minimum": 1}, **PRICES},
        },
    },
}


def user_config() -> JSON:
    """The user's own tiers, tasks and prices (see CONFIG_RULES), {} where there is no such file.

    LLM_ROUTER_CONFIG names it, else it is llm-router/config.json in the user's configuration directory: never one in
    the working directory, which may be another's.
    """
    path = config_file()
    if not path:
        return {}
    fault, config, data = "", {}, read_upload(path, MAX_CONFIG_BYTES, anywhere=True)
    try:
        config = parse_json(data)
        fault = first_fault(config, CONFIG_RULES, "the configuration")
    except ValueError as error:
        fault = f"not JSON: {error}"
    if fault:
        raise UsageError(f"{path}: {one_line(fault, 160)}", next_step="See references/routing.md.")
    return config
