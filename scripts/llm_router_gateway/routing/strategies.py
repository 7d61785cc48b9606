"""The strategies: which of several available models is chosen. Pure; the random number generator is an argument.

best_options(options, "cost")   -> those that are equally good: of the highest priority, and the cheapest of them
shares(options, "cost")         -> {"openai/gpt-x": 0.7, ...}: how much of the next requests each of them gets first
round_robin(options, turns)     -> (the next one in turn, the counters afterwards)
weighted_random(options, rng)   -> one of them, as likely as its weight
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from .table import Target

NEAR = {"latency": (0.1, 0.005)}  # strategy -> what counts as equal: part of the best, and seconds
EQUAL = (0.0, 1e-9)


class Rng(Protocol):
    """The part of random.Random that is used."""

    def random(self) -> float: ...


@dataclass(slots=True)
class Option:
    """A target that is available now, and its effective weight."""

    target: Target
    weight: float
    factor: float
    active: int
    latency_s: float


def rank_none(option: Option) -> float:
    return 0.0


def rank_leastconn(option: Option) -> float:
    return option.active / option.weight


def rank_latency(option: Option) -> float:
    """A target that was never measured comes first, with one request at a time."""
    if not option.latency_s:
        return 0.0 if not option.active else 1e9
    return option.latency_s / option.factor


def rank_cost(option: Option) -> float:
    return option.target.price


RANKS: Mapping[str, Callable[[Option], float]] = {
    "roundrobin": rank_none, "random": rank_none, "leastconn": rank_leastconn, "latency": rank_latency,
    "cost": rank_cost, "priority": rank_none,
}  # fmt: skip


def best_options(options: list[Option], strategy: str) -> list[Option]:
    """The options that the strategy ranks as equally good."""
    top = max(option.target.priority for option in options)
    first = [option for option in options if option.target.priority == top]
    rank = RANKS[strategy]
    if rank is rank_none or len(first) == 1:
        return first
    ranks = [rank(option) for option in first]
    part, absolute = NEAR.get(strategy, EQUAL)
    limit = min(ranks) * (1 + part) + absolute
    return [option for option, value in zip(first, ranks, strict=True) if value <= limit]


def round_robin(options: Sequence[Option], turns: Mapping[str, float]) -> tuple[Option, dict[str, float]]:
    """Smooth weighted round robin: the next option in turn, and the counters afterwards.

    Each option's counter grows by its weight, the largest is taken and pays for all (nginx's algorithm): weights
    5, 1, 1 give a a b a c a a, never five of a in a row. No random numbers: the shares are exact.
    """
    after: dict[str, float] = {}
    total, best, most = 0.0, options[0], float("-inf")
    for option in options:
        value = turns.get(option.target.name, 0.0) + option.weight
        after[option.target.name] = value
        total += option.weight
        if value > most + 1e-9:
            best, most = option, value
    after[best.target.name] -= total
    return best, after


def weighted_random(options: Sequence[Option], rng: Rng) -> Option:
    """One of them, as likely as its weight."""
    place = rng.random() * sum(option.weight for option in options)
    for option in options:
        place -= option.weight
        if place < 0:
            return option
    return options[-1]


def positive_weights(options: list[Option]) -> list[Option]:
    """The options without those of weight 0; when every weight is 0, all of them with equal weights."""
    if all(option.weight > 0 for option in options):
        return options
    heavy = [option for option in options if option.weight > 0]
    for option in options:
        option.weight = option.weight or option.factor
    return heavy or options


def shares(options: Sequence[Option], strategy: str) -> dict[str, float]:
    """The part of the next requests that each option is tried first for; what the strategy ranks lower is not there."""
    best = best_options(positive_weights([replace(option) for option in options]), strategy) if options else []
    total = sum(option.weight for option in best)
    return {option.target.name: option.weight / total for option in best}
