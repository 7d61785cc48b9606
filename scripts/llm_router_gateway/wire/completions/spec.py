"""OpenAI's text completions: what is its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..demands import Demands, demands_of
from ..spec import Line, Spec


def demands(body: Mapping[str, Any]) -> Demands | None:
    return demands_of(False, (), body.get("n"))


SPEC = Spec(
    name="completions",
    title="OpenAI text completions",
    lines=(Line("POST", "completions", "chat"),),
    private_headers=frozenset({"openai-organization", "openai-project"}),
    answer_headers=frozenset({"openai-organization", "openai-version", "openai-processing-ms"}),
    turns="prompt",
    keepalive=b"\n",  # a bare blank line is the one sign of life that every SDK takes
    too_long="This model's maximum context length is {window} tokens. However, your messages resulted in {tokens} tokens. "
    "Please reduce the length of the messages.",
    too_long_mark=b'"context_length_exceeded"',
    end_user=("user", "safety_identifier"),
    answer_field="choices",
    demands=demands,
    carried={"chat": ("openai", "completions")},
)
