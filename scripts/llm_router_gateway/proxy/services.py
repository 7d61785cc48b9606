"""What all requests share, for as long as the process lives, and how a fault of the gateway itself is told.

    services = Services(pool, log, board, watch, keyring, limiter, budgets, clock=..., wall=..., new_id=..., rng=...)
    services.internal_error(context.record.request_id, error)  -> GatewayError, after a line in the log
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from ..access.authenticate import Keyring
from ..errors import GatewayError
from ..net.client import Pool
from ..policy.budgets import Budgets
from ..policy.rate_limits import Limiter
from ..routing.plan import Board
from .log import Log
from .offload import Offload
from .streaming import Watch

MAX_PLACES = 8  # of a fault's way through the code, in the log


@dataclass(frozen=True, slots=True)
class Services:
    """Handed to each step of a request's life; `clock` is for durations, `wall` is Unix seconds."""

    pool: Pool
    log: Log
    board: Board  # models' health, limits and conversations, by name: it outlives every Config
    watch: Watch
    keyring: Keyring
    limiter: Limiter
    budgets: Budgets
    clock: Callable[[], float]
    wall: Callable[[], float]
    new_id: Callable[[], str]
    rng: Random
    offload: Offload

    def internal_error(self, request_id: str, error: Exception) -> GatewayError:
        """What a caller hears of a fault that is the gateway's own; the log says where it is."""
        self.log.error(f"a fault of ours in request {request_id}: {fault(error)}")
        return GatewayError("the gateway failed; its log has the reason")


def fault(error: BaseException) -> str:
    """Where a fault is: its type and the places it came through; no message, which may hold a prompt."""
    places, at = [], error.__traceback__
    while at is not None:
        code = at.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('/')[2]}:{at.tb_lineno} {code.co_name}")
        at = at.tb_next
    return f"{type(error).__name__} at {' < '.join(reversed(places[-MAX_PLACES:]))}"
