"""Mending: a request that an endpoint refuses for one of its fields is sent once more without it, or with its other name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from llm_router_client import dump_json, schema_of, with_system, without

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llm_router_client import JSON, Call, LLMRouterError

TWINS = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
ABOUT_VALUE = r"between|less than|greater than|at most|at least|too (large|small|high|low)|[<>]=?|out of range"


def repair(body: JSON, error: LLMRouterError, added: Sequence[str] = ()) -> tuple[JSON, str] | None:
    """The body without the field that a 400 or 422 names, and a warning that tells; None where nothing can be repaired.

    repair({"max_tokens": 5}, <400 "max_tokens is not supported">) -> ({"max_completion_tokens": 5}, "max_tokens was ...")

    Only fields that we `added` or that have a twin, and not when the complaint is about the value.
    """
    text = f"{error.param} {error.message}"
    if error.status not in (400, 422) or error.code != "bad_request" or re.search(ABOUT_VALUE, text):
        return None
    fields = (*added, *TWINS, "temperature", "response_format")
    field = next((name for name in fields if name in body and re.search(rf"\b{name}\b", text)), "")
    rest = without(body, field)
    if field == "response_format":
        schema, text = schema_of(body), "Answer with one JSON object and nothing else."
        if schema is not None:
            rest[field] = {"type": "json_object"}
            text += f" It must satisfy this JSON Schema: {dump_json(schema).rstrip()}"
        rest["messages"] = with_system(text, *body["messages"])
        return rest, f"{field} was refused and given as an instruction"
    if field in TWINS and TWINS[field] not in body:
        return {**rest, TWINS[field]: body[field]}, f"{field} was refused and sent as {TWINS[field]}"
    return (rest, f"{field} was refused and left out") if field else None


def mend(call: Call, error: LLMRouterError) -> bool:
    """Whether the body of a call was mended after a refusal, which is done once: the call then asks again."""
    fixed = repair(call.body, error, call.added)
    if fixed:
        call.mended, call.body = True, fixed[0]
        call.warnings.append(f"{call.model_used}: {fixed[1]}")
    return bool(fixed)
