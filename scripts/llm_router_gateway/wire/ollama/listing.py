"""What ollama's clients ask beside answers: which models there are, what one can do, embeddings.

tags(["p/m"])              -> {"models": [{"name": "p/m", "model": "p/m", "digest": ..., ...}]}
show("p/m", ["tools"], 128_000)  -> {"capabilities": ["completion", "tools"], "model_info": {...}, ...}
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..fields import items, refuse, text
from ..listing import Entry, Model

LONG_AGO = "2024-01-01T00:00:00Z"
FAMILY = "gateway"
CAPABILITIES = ("completion", "tools", "vision", "thinking", "embedding")  # ollama's words, in its order


def details() -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "",
        "family": FAMILY,
        "families": [FAMILY],
        "parameter_size": "",
        "quantization_level": "",
    }


def tags(names: Iterable[str]) -> dict[str, Any]:
    """GET /api/tags. Each has `name` and `model`, without which clients end in KeyError, and a digest of its own: llm-ollama
    takes models of one digest for one model."""
    return {"models": [
        {"name": name, "model": name, "modified_at": LONG_AGO, "size": 0,
         "digest": hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest(), "details": details()}
        for name in names
    ]}  # fmt: skip


def show(name: str, abilities: Sequence[str], context_tokens: int | None) -> dict[str, Any]:
    """POST /api/show: `abilities` are ollama's words; "completion" is always among them."""
    known = [each for each in CAPABILITIES if each == "completion" or each in abilities]
    info: dict[str, Any] = {"general.architecture": FAMILY, "general.basename": name}
    if context_tokens:
        info[f"{FAMILY}.context_length"] = context_tokens
    return {"license": "", "modelfile": "", "parameters": "", "template": "{{ .Prompt }}", "details": details(),
            "model_info": info, "capabilities": known, "modified_at": LONG_AGO}  # fmt: skip


def abilities_of(model: Model | None) -> list[str]:
    """What a model can do, in ollama's words; of one that nothing is known of, all that a chat may need."""
    if model is None:
        return ["tools", "vision", "thinking"]
    known = ["thinking"]
    if model.supports_tools is not False:
        known.append("tools")
    if not model.modalities or "image" in model.modalities:
        known.append("vision")
    return known


def list_models(found: Sequence[Entry], query: Mapping[str, str]) -> dict[str, Any]:
    """GET /api/tags."""
    return tags(entry.name for entry in found)


def describe_model(entry: Entry) -> dict[str, Any]:
    """POST /api/show."""
    return show(entry.name, abilities_of(entry.model), entry.model.context_window if entry.model is not None else None)


def embeddings_request(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The body of /api/embed, or of the older /api/embeddings (`prompt`), as OpenAI's: {"model", "input", "dimensions"}"""
    given = fields.get("input", fields.get("prompt"))
    if not isinstance(given, str):
        given = [text(each, f"input[{at}]") for at, each in enumerate(items(given, "input"))] or refuse(
            "input", "must hold text"
        )
    size = fields.get("dimensions")
    return {"model": text(fields.get("model"), "model"), "input": given} | ({"dimensions": size} if size else {})


def write_embeddings(answer: Mapping[str, Any], fields: Mapping[str, Any], model: str) -> dict[str, Any]:
    """OpenAI's answer in the form of /api/embed, or of the older /api/embeddings for a request to it."""
    data = answer.get("data")
    vectors = [each.get("embedding") for each in data if isinstance(each, dict)] if isinstance(data, list) else []
    if "prompt" in fields and "input" not in fields:
        return {"embedding": vectors[0] if vectors else []}
    usage = answer.get("usage")
    tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else 0
    return {"model": model, "embeddings": vectors, "total_duration": 1, "load_duration": 0, "prompt_eval_count": tokens or 0}
