"""What a list of models says of one, before it has any protocol's shape.

Entry("openai/gpt-4.1", "gpt-4.1", "openai", model)  -> .short "gpt-4.1"; each protocol's `models` writes it in its way
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import BadRequest

MAX_PAGE = 1_000


class Model(Protocol):
    """What the configuration knows of a model; None and "" where it says nothing. Prices are US dollars a million tokens."""

    @property
    def display_name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def tags(self) -> tuple[str, ...]: ...
    @property
    def context_window(self) -> int | None: ...
    @property
    def max_output_tokens(self) -> int | None: ...
    @property
    def modalities(self) -> tuple[str, ...]: ...
    @property
    def supports_tools(self) -> bool | None: ...
    @property
    def input_usd_per_mtok(self) -> float | None: ...
    @property
    def output_usd_per_mtok(self) -> float | None: ...
    @property
    def cached_input_usd_per_mtok(self) -> float | None: ...
    @property
    def extra(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """One model, which callers name by `name`, or by `bare` where no other model has that name."""

    name: str
    bare: str
    owner: str
    model: Model | None = None

    @property
    def short(self) -> str:
        return self.bare or self.name


def present(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without the fields that nothing is known of."""
    return {name: value for name, value in values.items() if value not in (None, "", (), {}, [])}


def number(query: Mapping[str, str], name: str, default: int) -> int:
    """A page size or place from the query: 1 to 1,000."""
    try:
        return max(1, min(int(query.get(name) or default), MAX_PAGE))
    except ValueError:
        raise BadRequest(f"{name} is not a number", details={"path": name}) from None
