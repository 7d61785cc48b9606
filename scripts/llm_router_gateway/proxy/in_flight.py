"""How many bytes of request bodies are in memory, of all callers together, and which request finds no more room.

bodies = BytesInFlight()
taken = bodies.reserve(length, most)    Unavailable (503) where there is no room for it now
bodies.give_back(taken)
"""

from __future__ import annotations

from ..errors import Unavailable


class BytesInFlight:
    def __init__(self) -> None:
        self.bytes = 0

    def reserve(self, length: int, most: int) -> int:
        """The bytes that are taken now. A body that is larger than `most` finds room when there is no other."""
        if length > 0 and self.bytes and self.bytes + length > most:
            raise Unavailable("too many large requests at once; try again in a moment", code="too_busy", retry_after_s=1)
        self.bytes += length
        return length

    def give_back(self, length: int) -> None:
        self.bytes -= length
