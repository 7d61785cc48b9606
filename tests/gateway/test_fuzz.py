"""A bounded share of fuzz.py, the same every time. More of it: python3 tests/support/fuzz.py --rounds 100000."""

from __future__ import annotations

import json
from typing import Any

import fuzz
import pytest

from llm_router_gateway.errors import UpstreamFailed
from llm_router_gateway.json_body import dump
from llm_router_gateway.wire.gemini import codec as gemini
from llm_router_gateway.wire.pipes import Array, RelayPipe

ROUNDS = 400  # of each target; under a second each
SEED = 20_260_101


@pytest.mark.slow
@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_any_bytes_give_values_or_our_own_errors(name: str) -> None:
    assert not list(fuzz.run(name, ROUNDS, SEED))


def test_a_fault_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(rng: object) -> None:
        raise KeyError("index")

    monkeypatch.setitem(fuzz.TARGETS, "broken", broken)
    assert "KeyError: 'index'" in next(fuzz.run("broken", 1, 0))[1]


@pytest.mark.parametrize("protocol", fuzz.WIRES)
def test_there_is_enough_to_damage(protocol: str) -> None:
    assert len(fuzz.requests(protocol)) >= 15
    assert len(fuzz.answers(protocol)) >= 4
    assert len(fuzz.streams(protocol)) >= 15


# What long runs found; each stays as a case of its own.


def converted(upstream: str, caller: str, *events: Any, array: bool = False) -> tuple[bytes, str]:
    data = b"".join(b"data: " + (each if isinstance(each, bytes) else json.dumps(each).encode()) + b"\n\n" for each in events)
    return fuzz.piped(fuzz.converting(upstream, caller, array), [data])


@pytest.mark.parametrize("upstream", ["openai", "gemini"])
@pytest.mark.parametrize("caller", fuzz.WIRES)
def test_true_is_no_place_of_a_candidate(upstream: str, caller: str) -> None:
    event = {
        "openai": {"choices": [{"index": True, "delta": {"content": "hi"}, "finish_reason": "stop"}]},
        "gemini": {"candidates": [{"index": True, "content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP"}]},
    }
    data, error = converted(upstream, caller, event[upstream], b"[DONE]", array=caller == "gemini")
    assert not error
    assert b"True" not in data


@pytest.mark.parametrize("created", [b"1e999", b"-1e999", b"NaN", b"true", b'"x"', b"1e300"])
def test_a_time_that_is_none_is_not_reported(created: bytes) -> None:
    event = b'{"created": ' + created + b', "choices": [{"delta": {"content": "hi"}, "finish_reason": "stop"}]}'
    assert not converted("openai", "anthropic", event, b"[DONE]")[1]


def test_an_array_is_json_whatever_its_upstream_sent() -> None:
    pipe = RelayPipe(gemini.Scanner(), Array())
    assert pipe.feed(b'data: {"candidates": [{"content": {"parts": [{"text": "hi"}]}}]}\n\n').startswith(b"[{")
    with pytest.raises(UpstreamFailed, match="not JSON"):
        pipe.feed(b"data: {oops}\n\n")


@pytest.mark.parametrize("cut", [True, False])
def test_an_array_holds_all_of_an_answer_or_ends_in_an_error(cut: bool) -> None:
    last = b'data: {"candidates": [{"content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP"}]}\n\n'
    pipe = RelayPipe(gemini.Scanner(), Array())
    pieces = [b"data:\n\n", b"data: null\n\n", last, b"data: [DONE]\n\n"]
    pieces = pieces if cut else [b"".join(pieces)]
    said = json.loads(b"".join([*map(pipe.feed, pieces), pipe.close()]))
    assert [each["candidates"][0]["finishReason"] for each in said] == ["STOP"] and pipe.done
    pipe = RelayPipe(gemini.Scanner(), Array())
    with pytest.raises(UpstreamFailed, match="not JSON"):
        pipe.feed(last + b"data: {oops}\n\n")
    assert not pipe.done


def test_numbers_that_json_has_not_are_null() -> None:
    assert dump({"a": [float("nan"), float("-inf"), 1.5], "b": ("x",)}) == '{"a":[null,null,1.5],"b":["x"]}'
