"""How times are spread, in few bytes: counts in bins that grow by a tenth, so that any percentile is right to 5 %.

    bins = of([812.0, 95.5, 812.4])     -> bytes; bin i counts the milliseconds in [1.1 ** i, 1.1 ** (i + 1))
    add_counts(bins, of([10_000.0]))         -> both together

Bytes: the number of the first bin, then a count of four bytes, little-endian, for each bin up to the last that has one.
As one whole number they are added without looking at any bin. b"" counts nothing.
"""

from __future__ import annotations

import math
import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

RATIO = 1.1
LAST_BIN = 190  # 1.1 ** 190 ms is 20 hours: longer times are counted there
COUNT_BYTES = 4
COUNT_BITS = 8 * COUNT_BYTES
MAX_COUNT = 0xFFFFFFFF
_BOUNDS = [math.pow(RATIO, number - 1e-9) for number in range(1, LAST_BIN + 1)]  # where bins begin, but for the first
_ONES = [1 << (COUNT_BITS * number) for number in range(LAST_BIN + 1)]  # a time in each bin


def bin_of(ms: float) -> int:
    """bin_of(0.2) -> 0, bin_of(1.0) -> 0, bin_of(1.1) -> 1, bin_of(1000) -> 72"""
    return bisect_right(_BOUNDS, ms)


def middle(number: int) -> float:
    """The milliseconds that stand for all in a bin: none is further from it than 4.9 %."""
    return math.pow(RATIO, number + 0.5)


def of(times_ms: Iterable[float]) -> bytes:
    counts: dict[int, int] = {}
    for ms in times_ms:
        number = bin_of(ms)
        counts[number] = counts.get(number, 0) + 1
    return pack(counts)


def pack(counts: dict[int, int]) -> bytes:
    """pack({72: 3}) -> b"\\x48\\x03\\x00\\x00\\x00" """
    if not counts:
        return b""
    first, last = min(counts), max(counts)
    return bytes((first,)) + b"".join(
        min(MAX_COUNT, counts.get(number, 0)).to_bytes(COUNT_BYTES, "little") for number in range(first, last + 1)
    )


def number_of(bins: bytes) -> int:
    """All counts as one whole number: the sum of two such numbers is both together."""
    return int.from_bytes(bins[1:], "little") << (COUNT_BITS * bins[0]) if bins else 0


def number_of_times(times_ms: Iterable[float]) -> int:
    """number_of(of(times_ms))"""
    return sum(_ONES[bisect_right(_BOUNDS, ms)] for ms in times_ms)


def from_number(number: int) -> bytes:
    if not number:
        return b""
    first = ((number & -number).bit_length() - 1) // COUNT_BITS
    number >>= COUNT_BITS * first
    return bytes((first,)) + number.to_bytes((number.bit_length() + COUNT_BITS - 1) // COUNT_BITS * COUNT_BYTES, "little")


def counts_from_zero(bins: bytes) -> list[int]:
    """counts_from_zero(of([1.15, 1.3])) -> [0, 1, 1]"""
    return [0] * bins[0] + list(struct.unpack_from(f"<{len(bins) // COUNT_BYTES}I", bins, 1)) if bins else []


def number_of_counts(counts: Sequence[int]) -> int:
    """number_of(bins), from counts_from_zero(bins)."""
    return int.from_bytes(struct.pack(f"<{len(counts)}I", *counts), "little")


def add_counts(one: bytes, other: bytes) -> bytes:
    if not one or not other:
        return one or other
    return from_number(number_of(one) + number_of(other))


def counts(bins: bytes) -> Iterator[tuple[int, int]]:
    """(bin, how many) for the bins that have any, in order."""
    for at in range(1, len(bins), COUNT_BYTES):
        count = int.from_bytes(bins[at : at + COUNT_BYTES], "little")
        if count:
            yield bins[0] + at // COUNT_BYTES, count


class Sum:
    """An aggregate for SQLite: db.create_aggregate("bins_sum", 1, histogram.Sum); SELECT bins_sum(duration_bins)."""

    def __init__(self) -> None:
        self._number = 0

    def step(self, bins: bytes | None) -> None:
        if bins:
            self._number += int.from_bytes(bins[1:], "little") << (COUNT_BITS * bins[0])

    def finalize(self) -> bytes:
        return from_number(self._number)
