"""What a batch of calls adds to the stored sums, and how its texts are kept, whatever stores them. Pure.

minutes(calls)               -> {(at_s, provider, model, key_id): sums}, of each minute, model and key
alone(minutes(calls))        -> the same of all calls, of each model, of each key
rows_of(minutes(calls))      -> rows of (step_s, at_s, provider, model, key_id, *SUMS, duration_bins, first_bins), in all steps
label_sums(calls, known)     -> such rows of each tag and each end user, in days
bodies_row(7, call, bodies)  -> a row of `bodies`: redacted, cut, packed; unpack(data) is one of its texts
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from . import histogram
from .call import Call, counts_of
from .query import DAY_S
from .redaction import Bodies, redact

STEPS_S = (60, 3_600, 86_400)  # of the sums
ALL = "*"  # in `totals`: every provider, model or key; none of them is called so
MAX_LABELS = 5_000  # of one kind in a day; what comes after them is summed up as OTHER_LABELS
OTHER_LABELS = "(other)"

Key = tuple[int, str, str, str]  # at_s, provider, model, key_id
Entry = tuple[Call, Bodies | None]
Sums = tuple[tuple[float, ...], int, int]  # SUMS, and the two histograms as `histogram.number_of` has them
Row = tuple[Any, ...]


def sums_of(calls: Sequence[Call]) -> Sums:
    """What calls of the same minute, model and key add to its row."""
    timed = [call for call in calls if call.is_timed]
    return (
        tuple(map(sum, zip(*map(counts_of, calls), strict=True))),
        histogram.number_of_times([call.duration_ms for call in timed]),
        histogram.number_of_times([call.first_ms for call in timed if call.first_ms is not None]),
    )


def merge_keys(parts: Iterable[tuple[Key, Sums]]) -> dict[Key, Sums]:
    """The sums of each key, together."""
    by_key: dict[Key, list[Sums]] = {}
    for key, sums in parts:
        by_key.setdefault(key, []).append(sums)
    return {key: members[0] if len(members) == 1 else add_up(members) for key, members in by_key.items()}


def add_up(members: Iterable[Sums]) -> Sums:
    numbers, durations, firsts = zip(*members, strict=True)
    return tuple(map(sum, zip(*numbers, strict=True))), sum(durations), sum(firsts)


def minutes(calls: Iterable[Call]) -> dict[Key, Sums]:
    """Of each minute, model and key."""
    by_key: dict[Key, list[Call]] = {}
    for call in calls:
        by_key.setdefault((call.started_ms // 60_000 * 60, call.provider, call.model, call.key_id), []).append(call)
    return {key: sums_of(members) for key, members in by_key.items()}


def alone(found: Mapping[Key, Sums]) -> dict[Key, Sums]:
    """What goes to `totals`: sums of all calls, of each model, of each key."""
    return merge_keys(
        ((at_s, *names), sums) for (at_s, provider, model, key_id), sums in found.items()
        for names in ((ALL, ALL, ALL), (provider, model, ALL), (ALL, ALL, key_id))
    )  # fmt: skip


def rows_of(found: Mapping[Key, Sums], steps: Sequence[int] = STEPS_S) -> list[Row]:
    """Sums of minutes as rows of tables: of these steps."""
    rows = []
    for step_s in steps:
        larger = merge_keys(((key[0] // step_s * step_s, *key[1:]), sums) for key, sums in found.items())
        rows += [row_of(step_s, key, sums) for key, sums in larger.items()]
    return rows


def row_of(step_s: int, key: tuple[Any, ...], sums: Sums) -> Row:
    numbers, durations, firsts = sums
    return (step_s, *key, *numbers, histogram.from_number(durations), histogram.from_number(firsts))


def labels_of(call: Call) -> list[tuple[str, str]]:
    """labels_of(call) -> [("tag", "team-a"), ("user", "u-17")]"""
    tags = json.loads(call.tags) if call.tags != "[]" else []
    return [*(("tag", tag) for tag in dict.fromkeys(tags)), *([("user", call.end_user)] if call.end_user else [])]


def label_sums(calls: Iterable[Call], known: Callable[[int, str, Iterable[str]], set[str]]) -> list[Row]:
    """The rows that a batch adds to `label_sums`: a day of a tag, a day of an end user.

    `known(at_s, kind, labels)`: those that have a row of that day already, `labels` being those of the batch.
    """
    found: dict[tuple[int, str], dict[str, list[Call]]] = {}
    for call in calls:
        if call.end_user or call.tags != "[]":
            for kind, label in labels_of(call):
                found.setdefault((call.started_ms // 86_400_000 * DAY_S, kind), {}).setdefault(label, []).append(call)
    rows: list[Row] = []
    for (at_s, kind), by_label in found.items():
        have = known(at_s, kind, by_label)
        others: dict[int, Call] = {}
        for label, members in by_label.items():
            if label in have or len(have) < MAX_LABELS:
                have.add(label)
                rows.append(row_of(DAY_S, (at_s, kind, label, ""), sums_of(members)))
            else:
                others |= {id(call): call for call in members}
        if others:
            rows.append(row_of(DAY_S, (at_s, kind, OTHER_LABELS, ""), sums_of(list(others.values()))))
    return rows


def bodies_row(number: int, call: Call, bodies: Bodies) -> Row:
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
