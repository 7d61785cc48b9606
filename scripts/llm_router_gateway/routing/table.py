"""The configuration as routing looks things up in it: groups with their fallbacks, and models with their tags. Pure.

table = table_of(config, routes_of(config))
table.chains["gpt_models"]  -> (Pool("group:gpt_models", "roundrobin", (Target("openai/gpt-4.1", ...), ...)), ...)
table.listed                -> (ListedModel(Target(...), tags, provider_type), ...)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..config.config import Config
from ..config.groups import Group, Member, Routing, Selector
from ..errors import UnknownModel
from ..policy.rate_limits import Limit, Scope
from .resolve import Candidate, Routes, Unlisted, candidates

INPUTS_PER_OUTPUT = 3.0  # tokens, for comparing prices


@dataclass(frozen=True, slots=True)
class Target:
    """One model in one group, with everything that choosing it needs."""

    name: str
    candidate: Candidate | None  # None: switched off
    weight: float = 100
    priority: float = 0
    selector: Selector | None = None
    scopes: tuple[Scope, ...] = ()
    price: float = float("inf")  # USD for a million tokens, mixed


@dataclass(frozen=True, slots=True)
class Pool:
    """Targets among which one strategy chooses. `name` is the key of its counters."""

    name: str
    strategy: str
    targets: tuple[Target, ...]
    group: Group | None = None


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A listed model, as tag queries see it."""

    target: Target
    tags: frozenset[str]
    provider_type: str


@dataclass(frozen=True, slots=True)
class Table:
    """A Config turned into look-ups for routing."""

    routes: Routes
    routing: Routing
    chains: Mapping[str, tuple[Pool, ...]]  # a group and, behind it, its fallbacks
    listed: tuple[ListedModel, ...]

    @property
    def groups(self) -> tuple[Group, ...]:
        return tuple(chain[0].group for chain in self.chains.values() if chain[0].group)

    def targets(self) -> dict[str, Target]:
        """Every model of the configuration, by name."""
        found = {target.name: target for chain in self.chains.values() for pool in chain for target in pool.targets}
        return found | {each.target.name: each.target for each in self.listed}


def price_of(candidate: Candidate) -> float:
    model = candidate.model
    if model is None or (model.input_usd_per_mtok is None and model.output_usd_per_mtok is None):
        return float("inf")  # unknown: after everything that has a price
    input_price, output_price = model.input_usd_per_mtok or 0.0, model.output_usd_per_mtok
    return (INPUTS_PER_OUTPUT * input_price + (input_price if output_price is None else output_price)) / (INPUTS_PER_OUTPUT + 1)


def scopes_of(candidate: Candidate) -> tuple[Scope, ...]:
    model, provider = candidate.model, candidate.provider
    found: list[tuple[str, Limit | None]] = [
        (f"model:{candidate.name}", model.limit if model else None), (f"provider:{provider.name}", provider.limit),
    ]  # fmt: skip
    return tuple((name, limit) for name, limit in found if limit is not None)


def target_of(routes: Routes, member: Member) -> Target:
    try:
        candidate = candidates(routes, member.model)[0]
    except UnknownModel:
        return Target(member.model, None, member.weight, member.priority, member.selector)
    return Target(
        candidate.name, candidate, member.weight, member.priority, member.selector, scopes_of(candidate),
        price_of(candidate),
    )  # fmt: skip


def pool_of(routes: Routes, group: Group) -> Pool:
    targets = tuple(target_of(routes, member) for member in group.members)
    return Pool(f"group:{group.name}", group.strategy, targets, group)


def is_fallback(pool: Pool, target: Target) -> bool:
    """Whether it answers only when others do not: its priority is lower, its weight is 0, or a cheaper one is to answer."""
    others = [each for each in pool.targets if each.candidate is not None]
    first = [each for each in others if each.priority == max(other.priority for other in others)]
    heavy = [each for each in first if each.weight] or first
    if not first:
        return False
    is_dear = pool.strategy == "cost" and target.price > min(each.price for each in heavy)
    return target.priority < first[0].priority or (not target.weight and any(each.weight for each in first)) or is_dear


def single_pool(routes: Routes, name: str) -> Pool:
    return Pool(f"model:{name}", "priority", (target_of(routes, Member(name)),))


def chain_of(name: str, groups: Mapping[str, Group], routes: Routes, seen: set[str]) -> list[Pool]:
    """The pools of a name and of its fallbacks, each once, in the order they are tried."""
    if name in seen:
        return []
    seen.add(name)
    if name not in groups:
        return [single_pool(routes, name)]
    chain = [pool_of(routes, groups[name])]
    for fallback in groups[name].fallbacks:
        chain += chain_of(fallback, groups, routes, seen)
    return chain


def listed_models(config: Config, routes: Routes) -> tuple[ListedModel, ...]:
    types = {provider.name: provider.type for provider in config.providers}
    return tuple(
        ListedModel(target_of(routes, Member(f"{model.provider}/{model.name}", priority=model.priority)),
               frozenset(map(str.casefold, model.tags)), types[model.provider])
        for model in config.models
    )  # fmt: skip


def served_name(table: Table, name: str) -> str:
    """The served name of a requested one: the same, or the default model where no provider has it."""
    default = table.routing.default_model
    if not default or name in table.chains:
        return name
    try:
        candidates(table.routes, name)
    except Unlisted:
        return default
    return name


def table_of(config: Config, routes: Routes) -> Table:
    groups = {group.name: group for group in config.groups}
    chains = {name: tuple(chain_of(name, groups, routes, set())) for name in groups}
    return Table(routes, config.routing, chains, listed_models(config, routes))
