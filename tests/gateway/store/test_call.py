"""One call as a row, as JSON and as what it adds to sums; the histogram of times; what is kept of texts."""

from __future__ import annotations

import json
import math
import random
from datetime import UTC, datetime

import pytest
from running import made_up
from storing import AT_MS, call

from llm_router_gateway.store import histogram
from llm_router_gateway.store.call import SUMS, civil, counts_of, ended_of, stamp, texts, tokens_of, view
from llm_router_gateway.store.redaction import Bodies, redact
from llm_router_gateway.store.rollups import bodies_row, minutes, rows_of, unpack
from llm_router_gateway.store.sqlite.migrations import MIGRATIONS
from llm_router_gateway.wire.ir import Usage


def test_a_call_as_json() -> None:
    shown = view(7, call(failed=texts(["a/b 503"]), lost=texts(["top_k"])))
    assert shown == json.loads(json.dumps(shown))
    assert shown["id"], shown["started_at"] == (7, "2026-10-21T07:28:00.123Z")
    assert shown["tokens"] == {"input": 10, "output": 5, "cached": 4, "cache_write": 0, "reasoning": 2, "total": 15}
    assert (shown["failed"], shown["lost"], shown["stream"]) == (["a/b 503"], ["top_k"], True)


def test_what_was_not_said_is_null() -> None:
    shown = view(1, call(input_tokens=None, output_tokens=None, cached_tokens=None, cost_usd=None, first_ms=None))
    assert (shown["tokens"]["total"], shown["cost_usd"], shown["first_output_ms"]) == (None, None, None)


@pytest.mark.parametrize("ms", [0, 1, 951_782_399_999, 951_782_400_000, 1_709_164_800_000, AT_MS, 4_102_444_800_000])
def test_times_are_those_of_the_calendar(ms: int) -> None:
    told = datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    assert stamp(ms) == f"{told}.{ms % 1000:03d}Z"


def test_times_outside_the_calendar_are_reported_too() -> None:
    assert stamp(-1) == "1969-12-31T23:59:59.999Z"
    assert civil(-719_468) == (0, 3, 1)


def test_tokens_are_reported_as_whole_and_parts() -> None:
    assert tokens_of(Usage(6, 4, 2, 1, 20, 5)) == (13, 25, 4, 3, 5)
    assert tokens_of(None) == (None,) * 5


@pytest.mark.parametrize("error, refused, began, expected", [
    ("", False, True, "complete"), ("client_gone", False, True, "client_gone"), ("unauthorized", True, False, "refused"),
    ("stream_cut", False, True, "cut"), ("upstream_failed", False, False, "error"),
])  # fmt: skip
def test_how_a_call_ended(error: str, refused: bool, began: bool, expected: str) -> None:
    assert ended_of(error, refused=refused, output_began=began) == expected


def sums(**changes: object) -> dict[str, float]:
    return dict(zip(SUMS, counts_of(call(**changes)), strict=True))


def test_a_success_an_error_and_a_caller_that_left_are_three_things() -> None:
    names = ("calls", "success", "errors", "client_gone", "timed")
    assert [sums()[name] for name in names] == [1, 1, 0, 0, 1]
    assert [sums(error="upstream_failed", ended="error")[name] for name in names] == [1, 0, 1, 0, 0]
    assert [sums(error="client_gone", ended="client_gone")[name] for name in names] == [1, 0, 0, 1, 0]


@pytest.mark.parametrize("status, attempts, ended, expected", [
    (400, 0, "error", 1), (404, 0, "error", 1), (429, 0, "refused", 1), (402, 0, "refused", 1), (200, 0, "refused", 1),
    (400, 1, "error", 1), (422, 2, "error", 1), (413, 1, "error", 1),
    (401, 1, "error", 0), (402, 1, "error", 0), (403, 1, "error", 0), (404, 1, "error", 0), (408, 1, "error", 0),
    (429, 1, "error", 0), (502, 1, "error", 0), (503, 0, "error", 0), (200, 1, "cut", 0), (499, 1, "client_gone", 0),
])  # fmt: skip
def test_errors_of_callers_are_what_was_refused_here_or_sent_back_as_wrong(
    status: int, attempts: int, ended: str, expected: int
) -> None:
    error = "client_gone" if ended == "client_gone" else "any"
    facts = {"error": error, "status": status, "attempts": attempts, "ended": ended}
    assert sums(**facts)["caller_errors"] == expected
    assert view(1, call(**facts))["is_caller_error"] is bool(expected)
    assert sums()["caller_errors"] == 0


def test_what_only_counts_tokens_is_no_latency_and_needs_no_price() -> None:
    assert (sums(kind="count", cost_usd=None)["timed"], sums(kind="count", cost_usd=None)["unpriced"]) == (0, 0)
    assert (sums(cost_usd=None)["unpriced"], sums(first_ms=None)["firsts"]) == (1, 0)


def test_the_sums_have_their_columns() -> None:
    table = next(each for _, statements in MIGRATIONS for each in statements if "CREATE TABLE rollups" in each)
    added = [
        name
        for name in SUMS
        if any(f"ALTER TABLE rollups ADD COLUMN {name} " in each for _, all_ in MIGRATIONS for each in all_)
    ]
    first = [name for name in SUMS if name not in added]
    columns = ("step_s", "at_s", "provider", "model", "key_id", *first, "duration_bins", "first_bins")
    at = [table.index(f" {name} ") for name in columns]
    assert at == sorted(at) and added == ["caller_errors"]


# -- rollups


def test_a_batch_adds_to_minutes_hours_and_days() -> None:
    later_ms = (0, 1, 60_000)
    batch = [*(call(started_ms=AT_MS + ms) for ms in later_ms), call(started_ms=AT_MS + 3_600_000, key_id="z")]
    rows = {row[:2] + row[4:5]: row for row in rows_of(minutes(batch))}
    minute, hour, day = (AT_MS // 1000 // step * step for step in (60, 3_600, 86_400))
    counted = {key: row[5] for key, row in rows.items()}
    assert counted == {
        (60, minute, "k"): 2, (60, minute + 60, "k"): 1, (60, minute + 3_600, "z"): 1, (3_600, hour, "k"): 3,
        (3_600, hour + 3_600, "z"): 1, (86_400, day, "k"): 3, (86_400, day, "z"): 1,
    }  # fmt: skip
    assert sum(count for _, count in histogram.counts(rows[86_400, day, "k"][-2])) == 3


# -- histograms


def percentile(bins: bytes, share: float) -> float | None:
    """The time that `share` (0 to 1) of all do not exceed; None when nothing was counted."""
    rank = max(1, math.ceil(share * sum(count for _, count in histogram.counts(bins))))
    for number, count in histogram.counts(bins):
        rank -= count
        if rank <= 0:
            return histogram.middle(number)
    return None


def test_a_percentile_is_right_to_five_percent() -> None:
    rng = random.Random(5)
    times = [rng.lognormvariate(6.5, 1.2) + 1 for _ in range(20_000)]
    bins = histogram.of(times)
    times.sort()
    for share in (0.01, 0.5, 0.9, 0.95, 0.99, 1.0):
        true = times[max(0, -(-int(share * 1e9) * len(times) // 10**9) - 1)]
        assert percentile(bins, share) == pytest.approx(true, rel=0.05), share


def test_bins_begin_where_they_say() -> None:
    for number in range(1, histogram.LAST_BIN):
        assert histogram.bin_of(histogram.RATIO**number * 1.0001) == number
        assert histogram.bin_of(histogram.RATIO ** (number + 1) * 0.9999) == number
    assert [histogram.bin_of(ms) for ms in (-1.0, 0.0, 1.0, 1e12)] == [0, 0, 0, histogram.LAST_BIN]


def test_histograms_added_are_the_histogram_of_all() -> None:
    rng = random.Random(7)
    for _ in range(200):
        parts = [[rng.expovariate(0.001) for _ in range(rng.randrange(6))] for _ in range(4)]
        total = histogram.Sum()
        added = b""
        for part in parts:
            added = histogram.add_counts(added, histogram.of(part))
            total.step(histogram.of(part))
        everything = histogram.of([ms for part in parts for ms in part])
        assert added == everything == total.finalize()
        assert sum(count for _, count in histogram.counts(everything)) == sum(map(len, parts))


def test_nothing_has_no_percentile() -> None:
    assert (histogram.of([]), percentile(b"", 0.5), histogram.Sum().finalize()) == (b"", None, b"")


# -- texts


def test_keys_are_never_kept() -> None:
    key, other, third = made_up("key"), made_up("other"), made_up("third")
    text = json.dumps({
        "a": f"my key is {key}, yes", "b": f"Authorization: Bearer {other}", "x-api-key": third,
        "c": f'{{"api_key": "{third}"}}', "d": f"authorization: basic {third}", "e": f"curl -H 'x-goog-api-key: {other}'",
    }).encode()  # fmt: skip
    short, cut = redact(text, 10_000, [key.encode()])
    assert not cut
    for secret in (key, other, third):
        assert secret.encode() not in short
    assert json.loads(short)["a"] == "my key is ***, yes"


def test_a_key_across_the_end_leaves_nothing() -> None:
    key = made_up("k")
    for limit in range(280, 320):
        short, cut = redact(b"a" * 290 + key.encode() + b"b" * 300, limit, [key.encode()])
        assert cut and key[:6].encode() not in short, limit


@pytest.mark.parametrize("text, expected", [
    (b'{"url": "data:image/png;base64,%b"}', b'{"url": "data:image/png;base64,[4000 characters]"}'),
    (b'{"type": "base64", "data": "%b"}', b'{"type": "base64", "data": "[4000 characters]"}'),
    (b'{"file_data":"%b", "x": 1}', b'{"file_data":"[4000 characters]", "x": 1}'),
    (b'"data:image/svg+xml;charset=utf-8;base64,%b', b'"data:image/svg+xml;charset=utf-8;base64,[4000 characters]'),
    (b'["%b"]', b'["%b"]'),
])  # fmt: skip
def test_pictures_are_reported_by_their_length(text: bytes, expected: bytes) -> None:
    picture = b"iVBOR/+A" * 500
    assert redact(text.replace(b"%b", picture), 100_000) == (expected.replace(b"%b", picture), False)


def test_what_stands_behind_a_large_picture_is_kept() -> None:
    text = b'{"a": "data:image/png;base64,' + b"QUJD" * 1_000_000 + b'", "b": "the question"}'
    assert redact(text, 256) == (b'{"a": "data:image/png;base64,[4000000 characters]", "b": "the question"}', False)


def test_words_that_only_look_like_pictures_stay() -> None:
    for text in (b'{"data": "short"}', b"data: x", b'"data": ', b"data:image/png;base64,", b'{"data": {"data": []}}'):
        assert redact(text, 10_000) == (text, False)


def test_a_cut_leaves_whole_characters() -> None:
    text = "é€𝄞".encode() * 200
    for limit in range(256, 270):
        short, cut = redact(text, limit)
        assert cut and limit - 4 < len(short) <= limit
        short.decode()


def test_texts_come_back_as_they_were_kept() -> None:
    row = bodies_row(3, call(), Bodies("é".encode(), None, 1_000))
    assert (row[:2], unpack(row[2]), unpack(row[3]), row[4:]) == ((3, AT_MS), "é", None, (False, False))
