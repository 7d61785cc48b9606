"""The calls of a conversation that wait for their results: found by a name that the result gives, else the first of all.

    calls = OpenCalls()
    calls.add(call, ["t1"])
    calls.take("t1")    -> call, once; None for a name that no waiting call has
    calls.take_first()  -> the one that waits longest, None where none does

A conversation may hold as many calls as its caller likes: each step here costs the same, however many wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

Call = TypeVar("Call")


class OpenCalls(Generic[Call]):
    def __init__(self) -> None:
        self._waiting: dict[int, Call] = {}  # by their number
        self._named: dict[Hashable, deque[int]] = {}  # name -> numbers, some of them taken already
        self._order: deque[int] = deque()  # the same of all
        self._next = 0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, call: Call, names: Iterable[Hashable]) -> None:
        number, self._next = self._next, self._next + 1
        self._waiting[number] = call
        self._order.append(number)
        for name in names:
            self._named.setdefault(name, deque()).append(number)

    def take(self, name: Hashable) -> Call | None:
        numbers = self._named.get(name)
        return self._first(numbers) if numbers else None

    def take_first(self) -> Call | None:
        return self._first(self._order)

    def _first(self, numbers: deque[int]) -> Call | None:
        while numbers:
            number = numbers.popleft()
            if number in self._waiting:
                return self._waiting.pop(number)
        return None

    def clear(self) -> None:
        self._waiting.clear()
        self._named.clear()
        self._order.clear()
