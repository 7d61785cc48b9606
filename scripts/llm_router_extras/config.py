"""The user's own tiers, tasks and prices: one JSON file, checked whole before any of it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_router_client import UsageError, config_file, one_line, parse_json, read_upload

from .schema import first_fault

if TYPE_CHECKING:
    from llm_router_client import JSON

MAX_CONFIG_BYTES = 1_048_576
CONFIG_RULES: JSON = {  # a JSON schema; prices are USD for a million tokens
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
                "input": {"$ref": "#/$defs/usd"},
                "output": {"$ref": "#/$defs/usd"},
                "cached_input": {"$ref": "#/$defs/usd"},
            },
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
