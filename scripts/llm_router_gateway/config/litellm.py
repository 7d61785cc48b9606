"""What the settings of LiteLLM's proxy beside its models are here: [server], [health], or a word of advice. Pure.

    carry({"router_settings": {"timeout": 30, "allowed_fails": 2}}, lost, notes)
        -> {"server": {"timeout_s": 30}, "health": {"failures_to_open": 3}}
    ADVICE["num_retries"]  -> "a failed request is tried once at each other member ...", for a setting that has no place here

Its own pages: https://docs.litellm.ai/docs/proxy/config_settings, .../proxy/timeout, .../router/learn/reliability.
"""

from __future__ import annotations

from collections.abc import Mapping
from sys import float_info
from typing import Any

Table = dict[str, Any]
PARTS = ("router_settings", "litellm_settings", "general_settings")
VARIABLE = "os.environ/"
STRATEGIES = {
    "simple-shuffle": "random",
    "least-busy": "leastconn",
    "latency-based-routing": "latency",
    "cost-based-routing": "cost",
}
# (table and setting here, their names of which the first that is given counts, what is added to the number, what differs)
NUMBERS = (
    ("server", "timeout_s", ("router_settings.timeout", "litellm_settings.request_timeout"), 0,
     "{name} bounds a whole call there; [server] timeout_s is the longest silence of a provider"),
    ("server", "first_output_timeout_s", ("router_settings.stream_timeout",), 0, ""),
    ("health", "failures_to_open", ("router_settings.allowed_fails", "litellm_settings.allowed_fails"), 1,
     "{name} counts the failures of a minute there; [health] failures_to_open counts those in a row"),
    ("health", "open_s", ("router_settings.cooldown_time",), 0,
     "after {name} all requests come back there; after [health] open_s one does, and if it fails the pause is doubled"),
)  # fmt: skip
CARRIED = {
    "router_settings": {"routing_strategy", "fallbacks", "default_fallbacks", "model_group_alias"},
    "litellm_settings": {"fallbacks", "default_fallbacks", "json_logs"},
    "general_settings": {"master_key"},
}

RETRIES = (
    "a failed request is tried once at each other member of its group and then at its fallbacks; "
    "a single model is tried once more, after [server] retry_alone_s"
)
SHARED = 'several gateways share limits, budgets and health through [state] url = "redis://:PASSWORD@HOST:PORT"'
TRACES = "[telemetry] sends traces and metrics in OpenTelemetry's protocol, and /metrics is for Prometheus"
CACHE = "[server] cache_ttl_s answers the same request of the same key from memory"
BUDGETS = "a budget belongs to a key: keys create --usd-per-day, --usd-per-month"
WINDOW = (
    "a prompt too long for a member goes to one with a larger window: name the larger model in the group or in its fallbacks"
)
ADVICE: Mapping[str, str] = {
    "num_retries": RETRIES, "max_retries": RETRIES, "retry_policy": RETRIES, "model_group_retry_policy": RETRIES,
    "retry_after": RETRIES,
    "allowed_fails_policy": "[health] failures_to_open counts every failure that is the provider's own",
    "disable_cooldowns": "[health] failures_to_open = 1000000 keeps members in use however often they fail",
    "max_fallbacks": "all fallbacks of a group are tried, in order",
    "context_window_fallbacks": WINDOW, "enable_pre_call_checks": WINDOW,
    "content_policy_fallbacks": "a refusal is an answer, and is passed on",
    **dict.fromkeys(("redis_host", "redis_port", "redis_password", "redis_url", "redis_db", "redis_username"), SHARED),
    "enable_tag_filtering": "give models tags, which callers request as tag:NAME, and keys allowed_tags",
    "default_max_parallel_requests": "give models limits = { max_concurrent = N }",
    "default_litellm_params": "give providers default_params",
    "provider_budget_config": BUDGETS, "max_budget": BUDGETS, "budget_duration": BUDGETS,
    "cache": CACHE, "cache_params": CACHE,
    "drop_params": "conversions leave out what a provider lacks, and report it; drop_params of a model removes more",
    **dict.fromkeys(("success_callback", "failure_callback", "callbacks", "service_callbacks"), TRACES),
    "set_verbose": '[server] log_level = "debug"',
    "turn_off_message_logging": "messages are stored or sent only if log_bodies or [telemetry] content is set",
    "database_url": "its keys stay there: make new ones with keys create; [server] store names this gateway's own",
    "store_model_in_db": "models that were added on LiteLLM's page are in its database, not in this file",
    "alerting": "[alerts] webhook is called when a key has used a part of its budget",
    "max_parallel_requests": "give models limits = { max_concurrent = N }",
    "global_max_parallel_requests": "[server.key_limits] max_concurrent bounds each key",
    "max_request_size_mb": "[server] max_body_bytes",
    "allowed_ips": "give keys networks",
    "environment_variables": "write them into .env beside router.toml, as NAME=value",
    "include": "import each of these files and merge the results",
}  # fmt: skip


def number(value: Any) -> float | None:
    """A number, or the text of one: LiteLLM takes both; None for anything else."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
        if value.is_integer():
            return int(value)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if is_number and abs(value) <= float_info.max else None  # NaN is not


def number_at(where: str, value: Any, lost: list[str]) -> float | None:
    """The number at a place, or None, with a note of the loss if the value is not a number."""
    found = number(value)
    if found is None and value is not None:
        source = f"which comes from {value}" if str(value).startswith(VARIABLE) else "which is not a number"
        lost.append(f"{where}, {source}; write the number")
    return found


def carry(parts: Mapping[str, Mapping[str, Any]], lost: list[str], notes: list[str]) -> dict[str, Table]:
    """[server] and [health], of the parts of the file by their names."""
    found: dict[str, Table] = {"server": {}, "health": {}}
    for place, setting, names, more, note in NUMBERS:
        given = ((name, parts[name.partition(".")[0]].get(name.partition(".")[2])) for name in names)
        name, value = next(((name, value) for name, value in given if value is not None), ("", None))
        amount = number_at(name, value, lost)
        if amount is not None:
            found[place][setting] = amount + more
            notes += [note.format(name=name)] if note else []
    if parts["litellm_settings"].get("json_logs") is True:
        found["server"]["log_format"] = "json"
    return {place: settings for place, settings in found.items() if settings}


def known_of(part: str) -> set[str]:
    """The settings of a part that are carried, or lost with a line of their own."""
    numbers = {name.partition(".")[2] for _, _, names, _, _ in NUMBERS for name in names if name.startswith(f"{part}.")}
    return CARRIED[part] | numbers
