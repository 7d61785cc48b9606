"""OpenAI's text completions: what is its own."""

from __future__ import annotations

from ..spec import Line, Spec

SPEC = Spec(
    name="completions",
    title="OpenAI text completions",
    lines=(Line("POST", "completions", "chat"),),
    private_headers=frozenset({"openai-organization", "openai-project"}),
    account_headers=frozenset({"openai-organization", "openai-project"}),
    turns="prompt",
    keepalive=b"\n",  # a bare blank line is the one sign of life that every SDK takes
    answer_field="choices",
    carried={"chat": ("openai", "completions")},
)
