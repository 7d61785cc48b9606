"""Collaborators: what this folder adds to a call of the client, each in a class of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_router_client import config_file, schema_of

from .cache import AnswerCache
from .collaborator import Collaborator
from .pricing import CostEstimate
from .schema import SchemaCheck
from .usage import BudgetGuard, UsageLog

if TYPE_CHECKING:
    from llm_router_client import Call


def collaborators(call: Call, cache_ttl_s: float | None) -> list[Collaborator]:
    """The requested ones, in the order in which they see an attempt."""
    schema, client = schema_of(call.body), call.client
    found: list[Collaborator] = []
    if schema is not None:
        found.append(SchemaCheck(schema))
    if cache_ttl_s is not None:
        found.append(AnswerCache(cache_ttl_s))
    if config_file():
        found.append(CostEstimate())
    if client.budget:
        found.append(BudgetGuard(call, client.budget))
    if client.usage_path:
        found.append(UsageLog(client.usage_path))
    return found
