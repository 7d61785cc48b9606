"""A log that keeps its lines."""

from __future__ import annotations


class Lines:
    """What was logged, at any level."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, text: str) -> None:
        self.lines.append(text)

    info = error = warn
