"""What the tests of routing share: a configuration in a few words, and requests that need no network.

world = World(GROUP)               a table, a RoutingState, a seeded rng and a clock that the test moves
world.ask("g", fail={"p/a"})       -> ["p/a", "p/b"]: the members that were tried, until one answered
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Collection
from random import Random
from typing import Any

from llm_router_gateway.config import config
from llm_router_gateway.errors import GatewayError, of_status
from llm_router_gateway.limiter.local import LocalLimiter, Permit
from llm_router_gateway.routing import plan as groups
from llm_router_gateway.routing import resolve

SEED = 4


PROVIDER = '[[providers]]\nname = "p"\ntype = "ollama"\n'


def listed(*names: str, **more: str) -> str:
    """Models of provider p; `more` gives lines of TOML for some of them."""
    return "".join(f'[[p.models]]\nname = "{name}"\n{more.get(name, "")}\n' for name in names)


def group(name: str, *members: str, lines: str = "") -> str:
    """A group: member lines like 'a', 'a weight=5', 'a selector=".x"'."""
    text = f'[[groups]]\nname = "{name}"\n{lines}\n'
    for member in members:
        model, _, rest = member.partition(" ")
        fields = f", {rest.replace(';', ',')}" if rest else ""
        text += f'[[groups.members]]\nmodel = "{model}"\n' + fields.removeprefix(", ").replace(", ", "\n") + "\n"
    return text


def parse(text: str, **env: str) -> config.Config:
    return config.parse(tomllib.loads(text), env=env)


class World:
    """One configuration and the routing state that its requests leave behind."""

    def __init__(self, text: str, **env: str) -> None:
        self.env = env
        self.routing_state, self.rng, self.now = groups.RoutingState(), Random(SEED), 1_000.0
        self.limiter = LocalLimiter(lambda: self.now)
        self.swap(text)

    def swap(self, text: str) -> None:
        self.config = parse(text, **self.env)
        self.table = groups.table_of(self.config, resolve.routes_of(self.config))

    def plan(self, name: str, body: dict[str, Any] | None = None, **more: Any) -> groups.Plan:
        return groups.plan(self.table, self.routing_state, groups.RoutingRequest(name, body or {}, **more), self.now, self.rng,
                           self.limiter.forecast)  # fmt: skip

    def take(self, attempt: groups.Attempt, tokens: float = 0.0) -> Permit:
        """A permit under the member's limits, granted now or later."""
        return self.limiter.meters.take(attempt.target.scopes, lambda: tokens, self.now)

    def ask(
        self, name: str, body: dict[str, Any] | None = None, *, fail: Collection[str] = (), status: int = 500,
        retry_after_s: float | None = None, latency_s: Callable[[str], float] | None = None, **more: Any,
    ) -> list[str]:  # fmt: skip
        """The members that are tried, in order; those in `fail` fail. GatewayError when none answers."""
        plan, asked = self.plan(name, body, **more), []
        error: GatewayError | None = None
        while (attempt := plan.next(self.now)) is not None:
            asked.append(attempt.candidate.name)
            self.take(attempt).end(self.now)
            if attempt.candidate.name not in fail:
                attempt.mark_output(self.now + (latency_s(attempt.candidate.name) if latency_s else 0.0))
                attempt.succeed(self.now)
                return asked
            error = of_status(status, "made to fail", retry_after_s=retry_after_s)
            attempt.fail(self.now, error)
        raise error or plan.refusal(self.now)

    def shares(self, name: str, count: int, every_s: float = 0.0, **how: Any) -> dict[str, float]:
        """Each member's share of the answers."""
        answered: dict[str, int] = {}
        for _ in range(count):
            last = self.ask(name, **how)[-1]
            answered[last] = answered.get(last, 0) + 1
            self.now += every_s
        return {each: number / count for each, number in answered.items()}
