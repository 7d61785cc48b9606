"""The user's own words for models, and the model where none is named: `aliases` and `model` of the configuration."""

from __future__ import annotations

from typing import Any

from llm_router_client import UsageError, setting

from .config import user_config


def expand(word: str | None, aliases: dict[str, str]) -> str | None:
    """A model's name for an alias, also in a comma list: expand("fast,gpt-x", {"fast": "gpt-mini"}) -> "gpt-mini,gpt-x"."""
    if not word:
        return word
    return ",".join(aliases.get(part.strip(), part.strip()) for part in word.split(","))


def check(aliases: dict[str, str]) -> None:
    """UsageError for an alias that is one again: it would not be clear how far to follow."""
    for alias, model in aliases.items():
        if model in aliases:
            raise UsageError(f"the alias {alias[:40]} names {model[:40]}, which is an alias, too", next_step="Name a model.")


def resolve(args: Any) -> Any:
    """A command's options with aliases resolved; .usual is the user's default model if none is named.

    That is LLM_ROUTER_MODEL, then the configuration's; a model that is named wins, and --task and --prefer ask for a choice.
    """
    try:
        config = user_config()
    except UsageError:
        return args  # a command that needs it will report what is wrong; a named model needs nothing from it
    aliases = config.get("aliases", {})
    check(aliases)
    for option in ("model", "fallback", "models"):
        if getattr(args, option, None):
            setattr(args, option, expand(getattr(args, option), aliases))
    if not args.demo:
        args.usual = expand(setting("LLM_ROUTER_MODEL") or config.get("model"), aliases)
    return args


def usual() -> str:
    """The model that LLM_ROUTER_MODEL names, perhaps by an alias; "" if unset. UsageError: the file is unusable."""
    return expand(setting("LLM_ROUTER_MODEL"), user_config().get("aliases", {})) or ""
