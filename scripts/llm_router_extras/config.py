"""The user's own model, aliases, tiers, tasks and prices: one JSON file, checked whole before any of it is used."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from llm_router_client import UsageError, config_file, dump_json, one_line, own_file, parse_json, read_upload, setting

from .files import private_file
from .schema import first_fault

if TYPE_CHECKING:
    from llm_router_client import JSON

MAX_CONFIG_BYTES = 4_194_304  # a price list of all models that there are takes 400 KB
MAX_PRICE_USD = 1_000_000_000  # for a million tokens; above it a sum could not be counted
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
        "model": {"type": "string", "minLength": 1},
        "aliases": {"type": "object", "additionalProperties": {"type": "string", "minLength": 1}},
        "tasks": {"type": "object", "additionalProperties": {"$ref": "#/$defs/models"}},
        "prices": {"type": "object", "additionalProperties": {"$ref": "#/$defs/price"}},
    },
    "$defs": {
        "models": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "string", "pattern": "^[A-Za-z0-9_:@+~./][A-Za-z0-9_.:/@+~-]*$"},
        },
        "usd": {"type": "number", "minimum": 0, "maximum": MAX_PRICE_USD},
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
    """The user's own tiers, tasks and prices (see CONFIG_RULES), {} if there is no such file.

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


def own_config_file() -> str:
    """Where the user's configuration is, or would be written."""
    return config_file() or own_file(setting("LLM_ROUTER_CONFIG"), "XDG_CONFIG_HOME", ".config", "config.json", "APPDATA")


def write_config(config: JSON) -> str:
    """Replace the configuration, whole or not at all; its path. UsageError where it cannot be written, or would be wrong."""
    path, data = own_config_file(), dump_json(config, indent=1).encode()
    fault = first_fault(config, CONFIG_RULES, "the configuration")
    if fault or len(data) > MAX_CONFIG_BYTES:
        raise UsageError(f"{path} was not changed: {fault or f'it would be over {MAX_CONFIG_BYTES} bytes'}")
    new = f"{path}.{os.urandom(4).hex()}.part"
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), mode=0o700, exist_ok=True)
        with open(private_file(new, os.O_EXCL), "wb") as file:
            file.write(data)
        os.replace(new, os.path.realpath(path))
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        if os.path.lexists(new):
            os.unlink(new)
    return path
