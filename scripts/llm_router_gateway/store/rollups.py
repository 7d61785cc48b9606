"""What a batch of calls adds to the stored sums, and how its texts are kept, whatever stores them. Pure.

rollups(calls)               -> rows of (step_s, at_s, provider, model, key_id, *SUMS, duration_bins, first_bins)
totals(rollups(calls))       -> the same of all calls, of each model, of each key
bodies_row(7, call, bodies)  -> a row of `bodies`: redacted, cut, packed; unpack(data) is one of its texts
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from . import histogram
from .call import Call, counts_of
from .redaction import Bodies, redact

STEPS_S = (60, 3_600, 86_400)  # of the sums
ALL = "*"  # in `totals`: every provider, model or key; none of them is called so

Key = tuple[int, str, str, str]  # at_s, provider, model, key_id
Entry = tuple[Call, Bodies | None]
Sums = tuple[tuple[float, ...], bytes, bytes]  # SUMS, and the two histograms


def sums_of(calls: Sequence[Call]) -> Sums:
    """What calls of the same minute, model and key add to its row."""
    timed = [call for call in calls if call.is_timed]
    return (
        tuple(map(sum, zip(*map(counts_of, calls), strict=True))),
        histogram.of([call.duration_ms for call in timed]),
        histogram.of([call.first_ms for call in timed if call.first_ms is not None]),
    )


def both(one: Sums, other: Sums) -> Sums:
    numbers = tuple(map(sum, zip(one[0], other[0], strict=True)))
    return numbers, histogram.add_counts(one[1], other[1]), histogram.add_counts(one[2], other[2])


def rollups(calls: Iterable[Call], steps: Sequence[int] = STEPS_S) -> list[tuple[Any, ...]]:
    """The rows that a batch adds to `rollups`: of minutes, and of the hours and days that they are in."""
    minutes: dict[Key, list[Call]] = {}
    for call in calls:
        at_s = call.started_ms // 60_000 * 60
        minutes.setdefault((at_s, call.provider, call.model, call.key_id), []).append(call)
    found: dict[tuple[int, Key], Sums] = {}
    for (at_s, provider, model, key_id), members in minutes.items():
        sums = sums_of(members)
        for step_s in steps:
            key = (step_s, (at_s // step_s * step_s, provider, model, key_id))
            found[key] = both(found[key], sums) if key in found else sums
    return [(step_s, *key, *numbers, *bins) for (step_s, key), (numbers, *bins) in found.items()]


def totals(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The rows that rows of `rollups` add to `totals`: of all calls, of each model, of each key."""
    found: dict[tuple[Any, ...], Sums] = {}
    for step_s, at_s, provider, model, key_id, *rest in rows:
        sums = (tuple(rest[:-2]), rest[-2], rest[-1])
        for names in ((ALL, ALL, ALL), (provider, model, ALL), (ALL, ALL, key_id)):
            key = (step_s, at_s, *names)
            found[key] = both(found[key], sums) if key in found else sums
    return [(*key, *numbers, *bins) for key, (numbers, *bins) in found.items()]


def fold(rows: Iterable[tuple[Any, ...]], step_s: int) -> list[tuple[Any, ...]]:
    """Rows of smaller steps as those of a larger one."""
    found: dict[tuple[Any, ...], Sums] = {}
    for _, at_s, provider, model, key_id, *rest in rows:
        key = (step_s, at_s // step_s * step_s, provider, model, key_id)
        sums = (tuple(rest[:-2]), rest[-2], rest[-1])
        found[key] = both(found[key], sums) if key in found else sums
    return [(*key, *numbers, *bins) for key, (numbers, *bins) in found.items()]


def bodies_row(number: int, call: Call, bodies: Bodies) -> tuple[Any, ...]:
    """A row of `bodies`: redacted, cut, packed."""
    packed: list[bytes | None] = []
    cuts = []
    for text in (bodies.request, bodies.response):
        short, cut = (None, False) if text is None else redact(text, bodies.limit, bodies.secrets)
        packed.append(None if short is None else zlib.compress(short, 6))
        cuts.append(cut)
    return (number, call.started_ms, *packed, *cuts)


def unpack(data: bytes | None) -> str | None:
    """A text of `bodies`, as it was kept."""
    return None if data is None else zlib.decompress(data).decode("utf-8", "replace")
