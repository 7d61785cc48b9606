"""ir: whole answers and streams say the same; what is output; what nothing is."""

import dataclasses
import typing

import pytest
from collected import answer_of

from llm_router_gateway.errors import StreamCut
from llm_router_gateway.wire import ir, sse

ANSWER = ir.Answer(
    "a1",
    "m",
    (
        ir.Candidate(
            (
                ir.Thinking("Hm", "c2ln", "anthropic"),
                ir.Thinking("", "", "anthropic", data="xx"),
                ir.Text("Hello", extras={"anthropic": {"citations": [1, 2]}}),
                ir.Text("signed", "c2ln", "gemini"),
                ir.ToolCall("t1", "f", '{"a":1}', {"a": 1}, signature="s", vendor="gemini"),
                ir.ToolCall("t2", "g", "", {}),
                ir.Media("image", "image/png", "AA=="),
                ir.Opaque("gemini", "executableCode", {"executableCode": {}}),
                ir.Refusal("No."),
            ),
            ir.Stop("tool_calls", "tool_use"),
            {"openai": {"logprobs": {}}},
        ),
        ir.Candidate((ir.Text(""),), ir.Stop("stop_sequence", "stop_sequence", "###")),
    ),
    ir.Usage(6, 4, 2, 1, 7, 5, 0.25),
    1_700_000_000,
    "flex",
    {"openai": {"system_fingerprint": "fp"}},
)


def test_a_whole_answer_and_its_stream_say_the_same() -> None:
    assert answer_of(ir.events_of(ANSWER)) == ANSWER


def test_a_stream_opens_one_part_at_a_time_and_ends_once() -> None:
    kinds = [type(event) for event in ir.events_of(ANSWER)]
    assert kinds[0] is ir.Started and kinds[-1] is ir.Finished
    assert kinds.count(ir.PartStart) == kinds.count(ir.PartEnd) == 10
    assert kinds.count(ir.Stopped) == 2


def test_a_stream_without_its_end_is_no_answer() -> None:
    with pytest.raises(ValueError):
        answer_of(ir.events_of(ANSWER)[:-1])
    with pytest.raises(StreamCut):
        answer_of([*ir.events_of(ANSWER)[:5], ir.Failed(StreamCut("cut"))])


def test_output_is_what_the_model_said() -> None:
    said: list[ir.StreamEvent] = [
        ir.PartDelta(0, "a"),
        ir.PartDelta(0, "", "signature"),
        ir.PartStart(0, ir.Text("a")),
        ir.PartStart(0, ir.ToolCall("t", "f")),
        ir.PartStart(0, ir.Thinking("", data="x")),
        ir.PartStart(0, ir.Refusal("No.")),
    ]
    silent: list[ir.StreamEvent] = [
        ir.Started("a", "m"),
        ir.PartStart(0, ir.Text("")),
        ir.PartStart(0, ir.Thinking("")),
        ir.PartEnd(0),
        ir.Stopped(ir.Stop("end")),
        ir.UsageSeen(ir.Usage()),
        ir.Finished(),
        ir.Failed(StreamCut("cut")),
    ]
    assert all(ir.is_output(event) for event in said)
    assert not any(ir.is_output(event) for event in silent)


@pytest.mark.parametrize(
    ("text", "arguments"),
    [("", {}), (" ", {}), ('{"a":1}', {"a": 1}), ('{"a"', None), ("[1]", None), ("[" * 200_000, None), ("null", None)],
)
def test_arguments_are_an_object_or_none(text: str, arguments: object) -> None:
    assert ir.object_in(text) == arguments


def test_usage_counts_every_token_once() -> None:
    usage = ir.Usage(input=6, cache_read=4, cache_write=2, cache_write_1h=1, text=7, reasoning=5)
    assert (usage.total_input, usage.output, usage.total) == (13, 12, 25)


VALUES = {name: kind for name, kind in vars(ir).items() if dataclasses.is_dataclass(kind) and isinstance(kind, type)}


def test_values_hold_nothing_else_and_can_be_hashed() -> None:
    for name, kind in VALUES.items():
        assert "__slots__" in vars(kind) and kind.__hash__ is not None, name


def test_values_are_frozen_for_types() -> None:
    """So that mypy refuses an assignment; when it runs nothing does, which makes long conversations cheap."""
    told = ir.value.__dataclass_transform__  # type: ignore[attr-defined]  # PEP 681
    assert {**told, **told["kwargs"]}["frozen_default"] is True  # among the others up to Python 3.11


def test_the_unions_hold_every_part_and_event() -> None:
    assert {ir.Text, ir.Thinking, ir.Media, ir.ToolCall, ir.ToolResult, ir.Refusal, ir.Opaque} == set(typing.get_args(ir.Part))
    assert len(typing.get_args(ir.StreamEvent)) == 8


def test_nothing_is_an_empty_object() -> None:
    assert ir.NOTHING == {} and not ir.NOTHING and dict(ir.NOTHING) == {}
    assert ir.Text("a") == ir.Text("a", extras={})


def test_extras_of_two_objects_are_put_together() -> None:
    merged = ir.merge_extras({"v": {"a": [1], "b": 1}}, {"v": {"a": [2], "b": 2}, "w": {}})
    assert merged == {"v": {"a": [1, 2], "b": 2}, "w": {}}


def test_extras_of_a_delta_hold_all_so_far() -> None:
    deltas = [ir.PartDelta(0, "hi", extras={"v": {"a": pages}}) for pages in ([1], [1, 2])]
    assert ir.longer(ir.Text("", extras={"v": {"b": 1}}), *deltas) == ir.Text("hihi", extras={"v": {"a": [1, 2], "b": 1}})


def test_a_list_that_does_not_begin_with_the_one_before_is_joined_to_it() -> None:
    assert ir.update_extras({"v": {"a": [1]}}, {"v": {"a": [1, 2]}, "w": {}}) == {"v": {"a": [1, 2]}, "w": {}}
    assert ir.update_extras({"v": {"a": [1]}}, {"v": {"a": [2]}}) == {"v": {"a": [1, 2]}}
    assert ir.update_extras({"v": {"a": [1], "b": 1}}, {"v": {"a": 3}}) == {"v": {"a": 3, "b": 1}}


def test_the_door_to_the_client_file_has_two_things_behind_it() -> None:
    assert sse.__all__ == ["Event", "SSEParser"]
    (event,) = sse.SSEParser().feed(b'data: {"a":1}\n\n')
    assert (event.event, event.data) == ("message", '{"a":1}')
