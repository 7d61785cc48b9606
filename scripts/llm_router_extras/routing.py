"""Automatic routing: which model a request goes to when none is named, which ones after it, and why.

choose() is pure; Router adds what it needs to know of the world: the endpoint's list of models and the user's configuration.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from llm_router_client import (
    AUTO,
    BadRequestError,
    BadUpstreamError,
    SafetyError,
    UnknownModelError,
    UsageError,
    builtin_models,
    check,
    check_messages,
    clean,
    dicts,
    open_client,
    request_of,
    schema_of,
    text_of,
)

from .config import user_config
from .pricing import prices_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llm_router_client import JSON, Console, LLMRouterClient, Parser

# In the form of the user's configuration, which replaces them entry by entry. Names of late 2026 first (packages openai 3.57,
# anthropic 2.14, google-genai 3.6), then those that the default endpoint documents: only listed models are used.
TIERS = {
    "cheap": ["gpt-5.4-mini", "claude-haiku-5-5", "gemini-3.8-flash", "gpt-4o-mini", "gemini-3.5-flash", "deepseek-chat"],
    "middle": ["gpt-5.4", "claude-sonnet-5-5", "gpt-4o", "claude-3-5-sonnet", "qwen-max"],
    "strong": ["gpt-6.2-sol", "claude-opus-5-5", "gemini-4-argon", "gpt-4.1", "gemini-3-pro-preview", "claude-3-opus"],
}
TASKS = {
    "code": ["claude-sonnet-5-5", "gpt-6.2-sol", "deepseek-coder", "claude-3-5-sonnet", "gpt-4.1"],
    "creative": ["claude-opus-5-5", "claude-sonnet-5-5", "claude-3-opus", "claude-3-5-sonnet", "gpt-4o"],
    "fast": ["gpt-5.4-mini", "gemini-3.5-flash-lite", "gpt-4o-mini", "gemini-3.5-flash", "deepseek-chat"],
    "vision": ["gpt-5.4", "claude-sonnet-5-5", "gemini-3.8-flash", "gpt-4o", "gemini-3.5-flash", "gpt-4.1", "claude-3-5-sonnet",
               "gpt-4o-mini", "gemini-3-pro-preview"],
    "chinese": ["qwen-max", "deepseek-chat", "qwen2.5-72b-instruct"],
    "reasoning": ["gpt-6.2-sol", "claude-opus-5-5", "gemini-4-carbon", "gpt-4.1", "deepseek-r1", "gemini-3-pro-preview"],
}  # fmt: skip
MOCK_MODELS = ("demo", "demo-reasoning")  # last of all, where they are listed: only the mock server does
PREFER = {"cost": -1, "speed": -1, "quality": 1}  # tiers up from the one that the score calls for
MIDDLE, STRONG = 2, 5  # points from which these tiers are used
LENGTHS = ((4, 30_000), (2, 6_000), (1, 1_000))  # points, from so many characters in all turns
LONG_ANSWER = 2_000  # tokens of max_tokens
SIGNS = (  # points, name, pattern in the last turn; each is linear in the text, as that may be long
    (2, "code", r"```|Traceback|(?m:[{};][ \t]*$|^[ \t]*(?:def|class|import|from|SELECT|#include|function|const) )"),
    (2, "about code", r"(?i)\b(?:refactor|debug|compil|regex|unit test|stack trace)"),
    (3, "said to be hard",
     r"(?i)\b(?:difficult|complex|prove|proof|derive|step by step|in depth|rigorous|trade-?offs?)\b"),
    (-2, "said to be easy",
     r"(?i)\b(?:easy|simple|trivial|briefly|in short|yes or no|(?:one|a single) (?:word|sentence))\b"),
)  # fmt: skip
CHAIN = 4  # models in one choice: the first, and those after it
FEW_MODELS = 8  # an endpoint with so few has no costly surprise: without a table for them they are used in its order
LIST_FRESH_S = 300.0  # how long a client relies on the endpoint's list of models


def shows_images(body: JSON) -> bool:
    parts = [part for turn in dicts(body.get("messages")) for part in dicts(turn.get("content"))]
    return any(part.get("type") == "image_url" for part in parts)


def points_of(body: JSON) -> list[tuple[int, str]]:
    """What in a request speaks for a stronger model, or (below 0) for a weaker: [(2, "code"), (1, "1200 characters")]."""
    texts = [text_of(turn.get("content")) for turn in dicts(body.get("messages")) if turn.get("role") != "system"]
    last = texts[-1] if texts else ""
    chars = sum(map(len, texts))
    max_tokens = body.get("max_tokens") or body.get("max_completion_tokens")
    found = [(points, f"{chars} characters") for points, least in LENGTHS if chars >= least][:1]
    found += [(points, name) for points, name, pattern in SIGNS if re.search(pattern, last)]
    others = {
        f"up to {max_tokens} tokens": isinstance(max_tokens, int) and max_tokens >= LONG_ANSWER,
        "images": shows_images(body),
        "tools": body.get("tools") or body.get("functions"),
        "a schema": schema_of(body) is not None,
    }
    return found + [(1, name) for name, present in others.items() if present]


def wanted_models(
    tiers: dict[str, list[str]], tasks: dict[str, list[str]], level: int, task: str | None, sign: int, images: bool
) -> list[str]:
    """Every model that could answer, best first: the task's (sign 1: the stronger first), then the tier's, then the others."""
    ranked = list(tiers.values())
    rank = {model: number for number, tier in enumerate(ranked) for model in tier}
    wanted = sorted(tasks[task] if task else (), key=lambda model: -sign * rank.get(model, 1))
    wanted += [model for tier in ranked[level:] + ranked[:level][::-1] for model in tier]
    if images:
        sees = tasks["vision"]
        wanted = [model for model in wanted if model in sees] + sees
    return list(dict.fromkeys(wanted))


def known_here(wanted: Sequence[str], offered: Sequence[str] | None, why: list[str]) -> list[str]:
    """The wanted models under the names that the endpoint has for them; what is missing is added to `why`."""
    if offered is None:
        why.append("the endpoint's models are not known")
        return list(wanted)
    names = {name.rpartition("/")[2]: name for name in reversed(offered)} | dict(zip(offered, offered))
    found = [names[model] for model in (*wanted, *MOCK_MODELS) if model in names]
    missing = ", ".join([model for model in wanted if model not in names][:CHAIN])
    if wanted[0] not in names:
        why.append(f"not offered here: {missing}")
    if found or 0 < len(offered) <= FEW_MODELS:
        return found or list(offered)
    step = "Name some of its models in LLM_ROUTER_CONFIG, or add --model NAME; `models` lists them."
    raise UnknownModelError(f"the endpoint offers none of the models to choose from: {missing}", next_step=step)


def check_known(what: str, name: str | None, known: dict[str, Any]) -> None:
    if name is not None and name not in known:
        raise UsageError(f"no {what} is called {str(name)[:40]!r}", next_step=f"Known are {', '.join(known)}.")


def choose(body: JSON, config: JSON, offered: Sequence[str] | None, task: str | None = None, prefer: str | None = None) -> JSON:
    """Which model a request should go to, which ones after it, and why.

    -> {"model", "fallback" [names], "task", "tier", "prefer", "score", "reason" (one line)}

    `offered` are the names that the endpoint lists, None where it has no list; "gpt-4o" stands for "openai/gpt-4o", too.
    """
    tiers, tasks = {**TIERS, **config.get("tiers", {})}, {**TASKS, **config.get("tasks", {})}
    check_known("task", task, tasks)
    check_known("preference", prefer, PREFER)
    points, sign = points_of(body), PREFER.get(prefer or "", 0)
    score = sum(number for number, _ in points)
    level = min(max((score >= MIDDLE) + (score >= STRONG) + sign, 0), 2)
    task = "fast" if prefer == "speed" and not task else task
    tier = None if task else list(tiers)[level]
    signs = ", ".join(f"{name} {number:+d}" for number, name in points) or "nothing special"
    why = [f"task {task}" if task else f"tier {tier} by score {score} ({signs})"]
    if prefer:
        why.append(f"preferred is {prefer}")
    wanted = wanted_models(tiers, tasks, level, task, sign, shows_images(body))
    model, *others = known_here(wanted, offered, why)
    choice = {"model": model, "fallback": others[: CHAIN - 1], "task": task, "tier": tier, "prefer": prefer, "score": score}
    return {**choice, "reason": "; ".join(why)}


class Router:
    """LLMRouterClient.route(): choose() with the endpoint's list, kept for LIST_FRESH_S, and the user's configuration."""

    def __init__(self, client: LLMRouterClient) -> None:
        self.client = client
        self._offered: list[str] | None = None
        self._fresh_until = 0.0  # on the transport's monotonic() clock

    def route(
        self, messages: Any, *, task: str | None = None, prefer: str | None = None, offline: bool = False,
        deadline_s: float | None = None, **body: Any,
    ) -> JSON:  # fmt: skip
        """Which model chat("auto", ...) would ask, and why (see choose()). Asks no model, only for the endpoint's list.

        task: code, creative, fast, vision, chinese, reasoning, or one of the user's configuration; prefer: cost, speed or
        quality; offline: without the list. Under max_cost_usd only models with a price are chosen from.
        """
        check("a text", str, task=task, prefer=prefer)
        body["messages"] = check_messages(messages)
        offered = None if offline else self._models_offered(deadline_s)
        if self.client.budget:
            offered = self._with_price(offered)
        return choose(body, user_config(), offered, task, prefer)

    def _with_price(self, offered: Sequence[str] | None) -> list[str]:
        """Under max_cost_usd only a model with a price can be used."""
        prices = prices_of(self.client)
        models = [model for model in (prices if offered is None else offered) if model in prices]
        if not models:
            step = "Set prices in the configuration, see references/cost.md."
            raise SafetyError("no model to choose from has a price, so --max-cost cannot be guaranteed", next_step=step)
        return models

    def _models_offered(self, deadline_s: float | None) -> list[str] | None:
        """The names in the endpoint's list, None where it has none."""
        now = self.client.transport.monotonic()
        if now >= self._fresh_until:
            try:
                listed = self.client.list_models(deadline_s=deadline_s)
            except (UnknownModelError, BadRequestError, BadUpstreamError) as error:
                listed = builtin_models(error.message)
            names = [model["id"] for model in listed if model["id"].isprintable()]
            self._offered = names if listed.source == "live" else None
            self._fresh_until = now + LIST_FRESH_S
        return self._offered


def add_arguments(parser: Parser) -> None:
    """Options of the command `route`."""
    parser.take("model", "question", "context", "API parameters", "endpoint", "output", but=["-m --model", "--fallback"])


def run(args: Any, console: Console) -> int:
    """The command `route`: which model would be used, and why; calls none."""
    args.model = AUTO
    request = request_of(args)
    route = open_client(args, console).route(**request, offline=args.dry_run)
    text = f"{route['model']}\nthen: {', '.join(route['fallback']) or 'none'}\nwhy: {route['reason']}\n"
    console.show({"route": route}, clean(text))
    return 0
