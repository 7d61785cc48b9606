"""Which models and groups are for a caller's key, where a choice is made. Pure.

    rights = rights_of(key)              None for most keys: everything is for them
    rights.why_not(candidate)            -> "" or "not allowed for this key"
    rights.check_group("gpt_models")     Forbidden, naming what the key may use

What does not exist stays a 404: these are asked about what was found.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..config.keys import Key
from ..errors import GatewayError
from ..policy.budgets import no_price
from ..store.pricing import dearest
from .resolve import Candidate

NOT_ALLOWED = "not allowed for this key"
NO_PRICE = "it has no price, and this key's budget is in US dollars"


@dataclass(frozen=True, slots=True)
class Rights:
    """Those of one key."""

    key: Key

    def why_not(self, candidate: Candidate) -> str:
        """Why a model is not for this key when it is reached through a group or a query; "" when it is."""
        if not self.key.may_model(candidate.name, candidate.model.tags if candidate.model else ()):
            return NOT_ALLOWED
        return NO_PRICE if self._needs_price and dearest(candidate.model, 0) is None else ""

    @property
    def _needs_price(self) -> bool:
        return self.key.budget is not None and self.key.budget.in_usd

    def check_named(self, candidate: Candidate) -> None:
        """Of a model that was asked for itself: Forbidden, or NoCredit where a price is missing."""
        self.check_some(candidate.name, None, (candidate,))

    def check_some(self, what: str, group: str | None, candidates: Iterable[Candidate]) -> None:
        """Of a group, by its name, or of models: at least one of the candidates is for this key."""
        if group is not None and not self.key.may_group(group):
            raise self.key.refuse(group)
        if group is None and self.key.only_groups:
            raise self.key.refuse(what)
        reasons = [self.why_not(candidate) for candidate in candidates]
        if reasons and all(reasons):
            raise self._refusal(what, reasons)

    def _refusal(self, what: str, reasons: list[str]) -> GatewayError:
        return no_price(what) if NO_PRICE in reasons else self.key.refuse(what)

    def may_see(self, candidate: Candidate | None, name: str) -> bool:
        return self.key.may_model(name, candidate.model.tags if candidate and candidate.model else ())

    def lists(self, name: str, tags: Iterable[str]) -> bool:
        """Whether a list of models has it."""
        return self.key.may_name(name, tags)


def rights_of(key: Key | None) -> Rights | None:
    if key is None or not (key.is_bound or (key.budget is not None and key.budget.in_usd)):
        return None
    return Rights(key)
