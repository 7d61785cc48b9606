"""How many connections each of several processes has that accept from the same sockets, in memory that they share.

    shares = Shares(shared_memory(), 0)      in each process, with a place of its own
    shares.set(5)                            the connections of this process now
    shares.is_ahead, shares.others           more than the average? what do the others have?
    shares.leave()                           it accepts no more

Processes that wait for the same socket are woken together, and the one that runs takes what is there: without a rule one of two
may get every connection that is kept. One that is ahead waits a moment after each connection, in which another takes the next.
The numbers are one word each, written by one process; one that is a moment old does no harm.
"""

from __future__ import annotations

import mmap
import os
import tempfile

PLACES = 256  # the most processes at once, old and new ones of a restart together
WORD_BYTES = 4


def shared_memory() -> int:
    """A descriptor of zeros that child processes can inherit; the file behind it has no name."""
    with tempfile.TemporaryFile() as file:
        file.truncate(PLACES * WORD_BYTES)
        return os.dup(file.fileno())


class Shares:
    """The table, and this process's place in it. Each word: 0 = not there, else the connections and one."""

    def __init__(self, descriptor: int, place: int) -> None:
        self._map = mmap.mmap(descriptor, PLACES * WORD_BYTES)
        self._words = memoryview(self._map).cast("I")
        self._place = place

    def set(self, connections: int) -> None:
        self._words[self._place] = connections + 1

    def leave(self) -> None:
        self._words[self._place] = 0

    def clear(self, place: int) -> None:
        """Of a process that is gone."""
        self._words[place] = 0

    @property
    def is_ahead(self) -> bool:
        """Whether this process has more connections than the average."""
        present = [word for word in self._words if word]
        return (self._words[self._place] - 1) * len(present) > sum(present) - len(present)

    @property
    def others(self) -> int:
        """Connections of all other processes together."""
        present = [word for place, word in enumerate(self._words) if word and place != self._place]
        return sum(present) - len(present)

    def close(self) -> None:
        self._words.release()
        self._map.close()
