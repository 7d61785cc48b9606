"""Which models and groups a caller's key may use, where a choice is made. Pure.

    rights = rights_of(key)              None for most keys: they may use everything
    rights.denial(candidate)              -> "" or "not allowed for this key"
    rights.check_group("gpt_models")     Forbidden, naming what the key may use

What does not exist stays a 404: only models and groups that were found are checked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..config.keys import Key
from ..errors import GatewayError
from ..policy.budgets import no_price
from ..store.pricing import highest_price
from .resolve import Candidate

NOT_ALLOWED = "not allowed for this key"
NO_PRICE = "it has no price, and this key's budget is in US dollars"


@dataclass(frozen=True, slots=True)
class Rights:
    """The rights of one key."""

    key: Key

    def denial(self, candidate: Candidate) -> str:
        """Why this key may not use a model that a group or query leads to; "" when it may."""
        if not self.key.may_model(candidate.name, candidate.model.tags if candidate.model else ()):
            return NOT_ALLOWED
        return NO_PRICE if self._needs_price and highest_price(candidate.model, 0) is None else ""

    @property
    def _needs_price(self) -> bool:
        return self.key.budget is not None and self.key.budget.in_usd

    def check_named(self, candidate: Candidate) -> None:
        """Of a model that the request names: Forbidden, or NoCredit where a price is missing."""
        self.check_some(candidate.name, None, (candidate,))

    def check_some(self, what: str, group: str | None, candidates: Iterable[Candidate]) -> None:
        """Forbidden or NoCredit unless the key may use the group and at least one of its candidates."""
        if group is not None and not self.key.may_group(group):
            raise self.key.refuse(group)
        if group is None and self.key.only_groups:
            raise self.key.refuse(what)
        reasons = [self.denial(candidate) for candidate in candidates]
        if reasons and all(reasons):
            raise self._refusal(what, reasons)

    def _refusal(self, what: str, reasons: list[str]) -> GatewayError:
        return no_price(what) if NO_PRICE in reasons else self.key.refuse(what)

    def may_see(self, candidate: Candidate | None, name: str) -> bool:
        return self.key.may_model(name, candidate.model.tags if candidate and candidate.model else ())

    def lists(self, name: str, tags: Iterable[str]) -> bool:
        """Whether a list of models shows it to this key."""
        return self.key.may_name(name, tags)


def rights_of(key: Key | None) -> Rights | None:
    if key is None or not (key.is_bound or (key.budget is not None and key.budget.in_usd)):
        return None
    return Rights(key)
