"""How long calls and conversations are kept, and how much of them, whatever stores them. Values only."""

from __future__ import annotations

from dataclasses import dataclass

FOREVER = float("inf")


@dataclass(frozen=True, slots=True)
class Keep:
    """How long and how much is kept."""

    days: float = FOREVER
    bodies_days: float = FOREVER
    max_bytes: float = FOREVER
    turns_hours: float = FOREVER  # conversations that callers may build on
    turns_bytes: float = FOREVER
    owned_days: float = FOREVER  # whose a file or batch at a provider is
