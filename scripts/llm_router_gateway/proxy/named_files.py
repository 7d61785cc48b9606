"""Where the files are that a request to a model names: one provider has them, and one of its keys reaches them.

context.named_files = NamedFiles("openai", mark, "file-1")
context.named_files.check(what, providers)      BadRequest where none of the models behind `what` is that provider's
context.named_files.key_of(candidate)           the key that uploaded them, where its provider still has it
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..config.kinds import Secret
from ..errors import BadRequest
from ..routing.resolve import Candidate
from .conversations import mark_of

PATH = "file_id"  # the field that an error names


@dataclass(frozen=True, slots=True)
class NamedFiles:
    """Those of one request."""

    provider: str
    key: str  # the mark of the provider's key that uploaded them
    file: str  # the first of them, for error texts

    def check(self, what: str, providers: Iterable[str]) -> None:
        """BadRequest unless one of the providers has the files."""
        if self.provider not in providers:
            raise BadRequest(
                f"{what} has no model of {self.provider}, where the file {self.file[:100]} is: name a model of "
                f"{self.provider}, or upload the file to the provider of this one (header x-llm-router-provider)",
                details={"path": PATH},
            )  # fmt: skip

    def key_of(self, candidate: Candidate) -> Secret | None:
        return next((key for key in candidate.provider.keys if mark_of(key) == self.key), None)


def together(found: Iterable[tuple[str, NamedFiles]]) -> NamedFiles | None:
    """All files of a request, which one provider must have; None where it names none. (id, where it is) each."""
    first: NamedFiles | None = None
    for name, each in found:
        if first is not None and each.provider != first.provider:
            raise BadRequest(
                f"the file {first.file[:100]} is at {first.provider} and {name[:100]} at {each.provider}: a request goes to "
                "one provider, so upload both to the same one (header x-llm-router-provider)", details={"path": PATH},
            )  # fmt: skip
        first = first or each
    return first
