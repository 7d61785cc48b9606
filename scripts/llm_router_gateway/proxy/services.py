"""What all requests share while the process lives, and how an internal fault is reported.

services = Services(pool, log, routing_state, watch, authenticator, limiter, budgets, clock=..., wall=..., rng=..., ...)
services.internal_error(context.record.request_id, error)  -> GatewayError, after a line in the log
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random

from ..access.authenticate import Authenticator
from ..errors import GatewayError
from ..net.client import Pool
from ..policy.budgets import Budgets
from ..policy.rate_limits import Limiter
from ..routing.plan import RoutingState
from ..routing.resolve import Candidate
from .faults import fault_line
from .key_commands import KeyCommands
from .log import Log
from .offload import Offload
from .streaming import Watch

MAX_KNOWN_NAMES = 1_024  # pairs of names that are remembered
WORD = re.compile(r"[a-z]{3,}")


@dataclass(frozen=True, slots=True)
class Services:
    """Handed to each step of a request's life; `clock` is for durations, `wall` is Unix seconds."""

    pool: Pool
    log: Log
    routing_state: RoutingState  # models' health, limits and conversations, by name: it outlives every Config
    watch: Watch
    authenticator: Authenticator
    limiter: Limiter
    budgets: Budgets
    clock: Callable[[], float]
    wall: Callable[[], float]
    new_id: Callable[[], str]
    rng: Random
    offload: Offload
    key_commands: KeyCommands
    # Models whose upstream refuses bodies of another protocol that others of its own protocol take (`carried` of a Spec).
    converted: set[str] = field(default_factory=set)

    def check_model(self, candidate: Candidate, said: object) -> None:
        """A line in the log, once, where the answer names a wholly different model: llama.cpp takes every name."""
        if isinstance(said, str) and is_other_model(candidate.remote_id, said):
            self.routing_state.note(f"{candidate.name}: the upstream says that {said[:100]!r} answered")
            for complaint in self.routing_state.take_notes():
                self.log.warn(complaint)

    def learn_converted(self, name: str) -> None:
        """A model that refused a body as it was has answered it converted; "" for none."""
        if name:
            self.converted.add(name)

    def internal_error(self, request_id: str, error: Exception) -> GatewayError:
        """The answer to a caller after a fault of the gateway's own; the log says where it is."""
        self.log.error(fault_line(f"request {request_id}", error, "its caller got an error"))
        return GatewayError(f"internal error of the gateway; its log has more under the request id {request_id}")


@lru_cache(maxsize=MAX_KNOWN_NAMES)
def is_other_model(wanted: str, said: str) -> bool:
    """Whether two names have no word in common.

    is_other_model("gpt-4o", "gpt-4o-2024-11-20") -> False;  is_other_model("gpt-4o", "qwen2.5-7b-q4") -> True
    """
    one, two = (set(WORD.findall(name.lower())) for name in (wanted, said))
    return bool(one and two) and one.isdisjoint(two)
