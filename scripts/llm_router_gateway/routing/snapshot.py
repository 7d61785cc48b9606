"""One configuration with all that routing computes from it once.

snapshot_of(config) -> Snapshot(config, routes, table, on_loopback)
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..config.config import Config
from ..config.kinds import LOOPBACK
from .plan import Table, Target, table_of
from .resolve import Routes, routes_of


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A Config and what is computed from it once. One assignment swaps it."""

    config: Config
    routes: Routes
    table: Table
    on_loopback: bool
    has_cache: bool = False  # whether any model's answer may be given again
    lone: dict[str, Target] = field(default_factory=dict)  # models by the name that callers use


def snapshot_of(config: Config) -> Snapshot:
    routes = routes_of(config)
    has_cache = config.server.cache_ttl_s > 0 or any(model.cache_ttl_s for model in config.models)
    return Snapshot(config, routes, table_of(config, routes), LOOPBACK.fullmatch(config.server.host) is not None, has_cache)
