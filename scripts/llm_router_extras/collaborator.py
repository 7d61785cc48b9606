"""The base of what takes part in a call of the client: see collaborators.collaborators()."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llm_router_client import Attempt, Call


class Collaborator:
    """Takes part in a llm_router_client.Call. Each hook may leave warnings in call.warnings.

    before(attempt)  may change what is sent, put an answer in attempt.response (nothing is sent then), or raise
    after(attempt)   without attempt.error: the answer is whole; may raise. With one: may replace it, or set attempt.again
    done(call)       the call is over: call.outcome is "ok", an error's code, or "interrupted"; call.last what there is of it
    """

    def before(self, attempt: Attempt) -> None:
        """Called before each attempt, in the order of the collaborators, until one of them has the answer."""

    def after(self, attempt: Attempt) -> None:
        """Called after each attempt, and for a stream once more where it fails after its first output."""

    def done(self, call: Call) -> None:
        """Called once, however the call ends."""
