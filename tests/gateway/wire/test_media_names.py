"""The name of a file or a picture: it goes along where the protocol has a place for it, or is named as lost."""

from __future__ import annotations

from typing import Any

import pytest

from llm_router_gateway.wire import ir
from llm_router_gateway.wire.registry import SPECS, wire

MODELS = {"openai": "gpt-4o", "anthropic": "claude-sonnet-4-5", "gemini": "gemini-2.5-flash", "responses": "gpt-4o"}
PDF = ir.Media("document", media_type="application/pdf", data="JVBERi0=", name="plan.pdf")
LINK = ir.Media("document", media_type="application/pdf", url="https://h.example/p", name="plan.pdf")
PICTURE = ir.Media("image", media_type="image/png", data="iVBORw0=", name="plan.png")
SOUND = ir.Media("audio", media_type="audio/wav", data="UklGRg==", name="plan.wav")


def write(protocol: str, *parts: ir.Part) -> tuple[Any, list[str]]:
    lost: list[str] = []
    request = ir.Request(model="m", messages=(ir.Message("user", (ir.Text("Read."), *parts)),), max_tokens=99)
    return wire(protocol).write_request(request, model=MODELS[protocol], quirks={}, lost=lost), lost


@pytest.mark.parametrize("part", [PDF, LINK, PICTURE, SOUND], ids=["data", "address", "picture", "sound"])
@pytest.mark.parametrize("protocol", MODELS)
def test_a_name_arrives_or_is_named(protocol: str, part: ir.Media) -> None:
    body, lost = write(protocol, part)
    whole = {part.kind, f"{part.kind}.url", f"{part.kind}.name"}  # what cannot be sent is named itself
    assert part.name in str(body) or whole.intersection(lost), (body, lost)


def test_what_has_no_name_loses_none() -> None:
    for protocol in MODELS:
        _, lost = write(protocol, ir.Media("image", media_type="image/png", data="iVBORw0="))
        assert lost == [], (protocol, lost)
    assert MODELS.keys() <= SPECS.keys()
