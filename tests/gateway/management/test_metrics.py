"""metrics: what Prometheus reads. Every text here goes through a small strict parser of its format."""

from __future__ import annotations

import math
import re
from types import SimpleNamespace
from typing import Any

import pytest

from llm_router_gateway.management import metrics
from llm_router_gateway.management.metrics import Gauges, Metrics

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"')
VALUE = re.compile(r"[+-]?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|Inf)|NaN")

Found = dict[tuple[str, frozenset[tuple[str, str]]], float]


def unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: {"n": "\n"}.get(match[1], match[1]), text)


def read(text: str) -> Found:
    """All samples; every rule of the format that a reader could stumble over is checked on the way."""
    assert text.endswith("\n") and text.encode()
    found: Found = {}
    kinds: dict[str, str] = {}
    family = ""
    for line in text.split("\n")[:-1]:
        if line.startswith("# HELP "):
            family = line.split(" ")[2]
            assert family not in kinds, f"{family} twice"
            continue
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == family and kind in ("counter", "gauge", "histogram")
            kinds[name] = kind
            continue
        series = NAME.match(line)
        assert series, line
        rest = line[series.end() :]
        labels: dict[str, str] = {}
        if rest.startswith("{"):
            at = 1
            while rest[at] != "}":
                label = LABEL.match(rest, at)
                assert label and label[1] not in labels, line
                labels[label[1]] = unescaped(label[2])
                at = label.end() + (rest[label.end()] == ",")
            rest = rest[at + 1 :]
        assert rest.startswith(" ") and VALUE.fullmatch(rest[1:]), line
        suffixes = ("_bucket", "_sum", "_count") if kinds[family] == "histogram" else ("",)
        assert series[0].removeprefix(family) in suffixes, line
        assert kinds[family] != "counter" or family.endswith("_total")
        key = (series[0], frozenset(labels.items()))
        assert key not in found, f"twice: {line}"
        found[key] = float(rest[1:])
    return found


def call(**values: Any) -> Any:
    plain: dict[str, Any] = {
        "kind": "chat", "protocol": "openai", "provider": "up", "served": "up/m", "error": "", "ended": "complete",
        "attempts": 1, "duration_ms": 120.0, "first_ms": None, "input_tokens": 10, "output_tokens": 5, "cached_tokens": None,
        "reasoning_tokens": None, "cost_usd": 0.25, "cost_source": "prices", "key_name": "team", "is_caller_error": False,
    }  # fmt: skip
    return SimpleNamespace(**{**plain, **values})


def of(found: Found, name: str, **labels: str) -> float:
    """The sum of a name's samples that have these labels."""
    name = f"llm_router_{name}"
    return sum(value for (each, have), value in found.items() if each == name and set(labels.items()) <= have)


def shown(made: Metrics, **moment: Any) -> Found:
    return read(made.render(Gauges(**moment)))


def test_calls_are_counted_by_what_they_were_and_what_came_of_them() -> None:
    made = Metrics()
    for one in (call(), call(), call(error="rate_limited", ended="error", cost_usd=None, attempts=3),
                call(ended="client_gone", error="client_gone"),
                call(protocol="gemini", served="up/n", cached_tokens=4)):  # fmt: skip
        made.observe(one)
    found = shown(made)
    assert of(found, "requests_total") == 5
    assert of(found, "requests_total", model="up/m", outcome="success") == 2
    assert of(found, "requests_total", model="up/m", outcome="error") == 1
    assert of(found, "requests_total", outcome="client_gone") == 1
    assert of(found, "requests_total", protocol="gemini", provider="up", kind="chat", model="up/n") == 1
    assert (of(found, "input_tokens_total"), of(found, "output_tokens_total")) == (50, 25)
    assert of(found, "cached_tokens_total") == 4
    assert (of(found, "cost_usd_total"), of(found, "unpriced_requests_total")) == (1.0, 0)
    assert of(found, "errors_total", code="rate_limited", model="up/m") == 1
    assert of(found, "errors_total") == 1
    assert of(found, "upstream_attempts_total") == 7
    assert of(found, "key_requests_total", key="team") == 5
    assert (of(found, "key_tokens_total", key="team"), of(found, "key_cost_usd_total", key="team")) == (75, 1.0)


def test_only_calls_that_succeeded_and_could_cost_something_lack_a_price() -> None:
    made = Metrics()
    failed = {"error": "internal", "ended": "error"}
    for more in ({}, failed, {"kind": "count"}, {"error": "client_gone", "ended": "client_gone"}, {"cost_usd": 0.0}):
        made.observe(call(**{"cost_usd": None, **more}))
    assert of(shown(made), "unpriced_requests_total", model="up/m") == 1


def test_errors_of_callers_are_a_part_of_the_errors_and_a_series_from_the_first_call_on() -> None:
    made = Metrics()
    made.observe(call())
    assert of(shown(made), "caller_errors_total", model="up/m") == 0 and ("caller_errors_total" in made.render(Gauges()))
    wrong = {"error": "bad_request", "ended": "error", "is_caller_error": True}
    for one in (
        call(**wrong),
        call(**wrong),
        call(error="upstream_failed", ended="error"),
        call(served="", provider="", **wrong),
    ):
        made.observe(one)
    found = shown(made)
    assert of(found, "requests_total", outcome="error") == 4 and of(found, "requests_total") == 5
    assert of(found, "caller_errors_total", model="up/m", provider="up", kind="chat", protocol="openai") == 2
    assert of(found, "caller_errors_total") == 3
    assert {which for name, which in found if name == "llm_router_caller_errors_total"} == {
        frozenset(pair for pair in which if pair[0] != "outcome")
        for name, which in found
        if name == "llm_router_requests_total"
    }, "the same labels, so that the one can be subtracted from the other"


def test_attempts_that_failed_for_what_the_caller_sent_are_counted_apart_also_those_of_workers() -> None:
    made = Metrics(lambda name: name == "up/m")
    made.observe_attempts([attempt("up/m"), attempt("up/m", "bad_request"), attempt("up/m", "rate_limited")])
    made.add_attempts([("up/m", "up", "context_length_exceeded", True, 3), ("up/m", "up", "", False, 2)])
    found = shown(made)
    assert of(found, "attempts_total", provider="up") == 8
    assert of(found, "attempt_caller_errors_total", provider="up", model="up/m") == 4
    made.observe_attempts([attempt("idle/m")])
    assert of(shown(made), "attempt_caller_errors_total", provider="idle") == 0


def test_answers_that_the_cache_gave_again_are_counted_by_model() -> None:
    made = Metrics()
    for source in ("cache", "prices", "cache"):
        made.observe(call(cost_usd=0.0, cost_source=source, attempts=0 if source == "cache" else 1))
    found = shown(made)
    assert of(found, "cached_answers_total", model="up/m") == 2 and of(found, "requests_total") == 3


def test_buckets_hold_all_at_or_under_their_bound() -> None:
    made = Metrics()
    for duration_ms in (0.0, 50.0, 50.1, 600_000.0, 600_001.0, -7.0):  # the last: a clock that went backwards
        made.observe(call(duration_ms=duration_ms, first_ms=50.0))
    found = shown(made)
    assert of(found, "request_duration_seconds_bucket", le="0.05") == 3
    assert of(found, "request_duration_seconds_bucket", le="0.1") == 4
    assert of(found, "request_duration_seconds_bucket", le="600") == 5
    assert of(found, "request_duration_seconds_bucket", le="+Inf") == of(found, "request_duration_seconds_count") == 6
    assert math.isclose(of(found, "request_duration_seconds_sum"), 1200.1011)
    assert of(found, "first_output_seconds_count") == 6
    rising = [of(found, "request_duration_seconds_bucket", le=metrics.number(bound)) for bound in metrics.DURATION_S]
    assert rising == sorted(rising)


def test_a_call_that_was_not_streamed_has_no_first_output() -> None:
    made = Metrics()
    made.observe(call())
    assert "first_output" not in made.render(Gauges())


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb", "a\\nb", 'x"} 1\nllm_router_evil_total{a="', "caf\u00e9", "\ud800",
                                  "a\u2028b\x85c\x1b[2J", "", "," * 500])  # fmt: skip
def test_no_name_breaks_out_of_its_label(name: str) -> None:
    made = Metrics()
    made.observe(call(served=name, provider=name, key_name=name))
    made.observe(call(served=name, provider=name, key_name=name, error=name or "x"))
    found = shown(made, members=[{"model": name, "state": name, "factor": 1}], version=name)
    assert "llm_router_evil_total" not in {each for each, _ in found}
    assert of(found, "requests_total") == 2
    told = {value for _, have in found for _, value in have}
    assert metrics.clean(name) in told and all(len(value) <= metrics.MAX_LABEL for value in told)


def test_quotes_and_backslashes_come_back_as_they_were() -> None:
    made = Metrics()
    made.observe(call(served='up/a"b\\c'))
    assert of(shown(made), "requests_total", model='up/a"b\\c') == 1


def test_made_up_names_have_no_series_of_their_own_and_are_counted_all_the_same() -> None:
    made = Metrics(is_listed=lambda name: name == "up/listed")
    for number in range(5_000):
        made.observe(call(served=f"up/made-up-{number}", error="model_not_found", ended="error"))
    made.observe(call(served="up/listed", error="rate_limited", ended="error"))
    made.observe(call(served="up/answered"))
    made.observe(call(served="up/answered", error="rate_limited", ended="error"))
    found = shown(made)
    assert of(found, "requests_total", model="other", provider="up") == 5_000, "callers make up models, not providers"
    assert of(found, "requests_total", model="up/listed") == 1
    assert of(found, "requests_total", model="up/answered") == 2
    assert len(found) < 200


def test_every_label_is_bounded() -> None:
    made = Metrics()
    for number in range(2_000):
        made.observe(call(served=f"up/{number}", provider=f"p{number}", key_name=f"k{number}"))
        made.observe(call(served="up/1", error=f"e{number}", ended="error"))
    found = shown(made, members=[{"model": f"m{number}"} for number in range(2_000)])
    for label, most in (("model", metrics.MAX_MODELS + metrics.MAX_MEMBERS), ("provider", metrics.MAX_PROVIDERS),
                        ("key", metrics.MAX_KEYS), ("code", metrics.MAX_CODES)):  # fmt: skip
        assert len({value for _, have in found for name, value in have if name == label}) <= most + 2, label
    assert of(found, "requests_total") == of(found, "key_requests_total") == 4_000
    assert of(found, "errors_total") == 2_000
    assert of(found, "members_left_out") == 1_500


def test_counters_never_fall() -> None:
    made = Metrics()
    before: Found = {}
    for number in range(30):
        made.observe(call(cost_usd=[-1.0, 0.5, float("nan"), float("inf"), None][number % 5], duration_ms=-5.0 * number,
                          input_tokens=None if number % 2 else 3))  # fmt: skip
        now = {key: value for key, value in shown(made).items() if not key[0].endswith("_seconds")}
        assert all(now[key] >= value for key, value in before.items())
        before = now
    assert of(before, "cost_usd_total") == 3.0


def test_the_moment_is_reported_as_it_is() -> None:
    members = [{"model": "up/m", "state": "open", "factor": 0.5, "active": 2, "consecutive_failures": 3, "back_in_s": 1.5},
               {"model": "up/m", "state": "twice"}]  # fmt: skip
    store = {"path": "x", "rows_waiting": 3, "written": 10, "dropped": 1, "broken": "disk full", "bytes": 4096}
    found = shown(Metrics(), open_requests=4, members=members, store=store, version="1.2", started_at=1000.5)
    assert of(found, "open_requests") == 4
    assert of(found, "member_health_factor", model="up/m") == 0, "it is left out"
    assert of(shown(Metrics(), members=[{**members[0], "state": "probe"}]), "member_health_factor", model="up/m") == 0.5
    assert of(found, "member_state", model="up/m", state="open") == 1
    assert of(found, "member_active_requests") == 2 and of(found, "member_consecutive_failures") == 3
    assert of(found, "store_rows_written_total") == 10 and of(found, "store_rows_dropped_total") == 1
    assert of(found, "store_rows_waiting") == 3 and of(found, "store_bytes") == 4096 and of(found, "store_ok") == 0
    mended = shown(Metrics(), store={**store, "broken": "", "last_error": "disk full"})
    assert of(mended, "store_ok") == 1, "what was wrong once is not wrong for ever"
    assert of(found, "build_info", version="1.2") == 1 and of(found, "start_time_seconds") == 1000.5


def test_nothing_counted_is_a_text_all_the_same() -> None:
    found = shown(Metrics())
    assert of(found, "open_requests") == 0 and of(found, "upstream_attempts_total") == 0


def test_numbers_are_written_as_the_format_wants_them() -> None:
    for value, text in ((1, "1"), (0.25, "0.25"), (3.0, "3"), (1e300, "1e+300"), (math.inf, "+Inf"), (-math.inf, "-Inf"),
                        (math.nan, "NaN"), (True, "1"), (2**63, "9223372036854775808")):  # fmt: skip
        assert metrics.number(value) == text


# -- attempts


def attempt(name: str, cause: str = "") -> Any:
    return SimpleNamespace(name=name, provider=name.partition("/")[0], cause=cause, is_caller_error=cause == "bad_request")


def test_attempts_are_counted_by_provider_model_and_cause() -> None:
    made = Metrics(lambda name: name == "down/m")
    made.observe_attempts([attempt("down/m", "rate_limited"), attempt("up/m")])
    made.observe_attempts([attempt("down/m", "rate_limited"), attempt("listed/made-up", "model_not_found")])
    made.add_attempts([("up/m", "up", "", False, 3), ("down/m", "down", "upstream_timeout", False, 1)])
    found = shown(made)
    assert of(found, "attempts_total", provider="down", model="down/m", cause="rate_limited") == 2
    assert of(found, "attempts_total", provider="down", cause="upstream_timeout") == 1
    assert of(found, "attempts_total", provider="up", cause="success") == 4
    assert of(found, "attempts_total", provider="listed", model="other", cause="model_not_found") == 1


def test_the_spans_of_a_collector_are_counted_where_there_is_one() -> None:
    assert not [name for name, _ in shown(Metrics()) if "telemetry" in name]
    found = shown(Metrics(), telemetry={"exported": 5, "dropped": 1, "waiting": 2})
    assert (of(found, "telemetry_spans_exported_total"), of(found, "telemetry_spans_dropped_total")) == (5, 1)
    assert of(found, "telemetry_spans_waiting") == 2
