"""registry, spec: what every protocol must say of itself, and that no two of them claim the same."""

import re
from itertools import combinations
from pathlib import Path

import pytest

from llm_router_gateway.policy import parameter_limits
from llm_router_gateway.wire import spec as specs
from llm_router_gateway.wire.anthropic.abilities import Abilities
from llm_router_gateway.wire.registry import DEFAULT, SPECS, UPSTREAMS, wire

OF_CALLERS = {"FINISH_WORDS", "StreamWriter", "read_request", "write_answer", "write_error", "error_event", "write_count",
              "describe_model", "list_models", "finish_in"}  # fmt: skip
OF_UPSTREAMS = {"Scanner", "StreamReader", "write_request", "read_answer", "flaw_in", "usage_in", "read_error"}
OF_THOSE_CARRIED = {"lacks_call", "only_upstream"}  # whose bodies upstreams of another protocol take as they are
OF_ENCLOSERS = {"remove_foreign"}  # whose callers bring other vendors' thoughts back in envelopes
OF_FILE_HOLDERS = {"files"}  # whose callers upload files and start batches
OF_KEEPERS = {"Seal", "compaction", "refuse_unsupported", "relay", "state"}  # whose callers build on earlier answers


def test_the_functions_of_a_protocol_are_those_of_codec() -> None:
    named = {*specs.Codec.__annotations__, *(name for name in vars(specs.Codec) if not name.startswith("_"))}
    assert named == OF_CALLERS | OF_UPSTREAMS | OF_KEEPERS | OF_THOSE_CARRIED | OF_ENCLOSERS | OF_FILE_HOLDERS


@pytest.mark.parametrize("name", SPECS)
def test_every_protocol_has_the_functions_of_its_sides(name: str) -> None:
    wanted = OF_CALLERS | (OF_UPSTREAMS if name in UPSTREAMS else set())
    wanted |= OF_KEEPERS if SPECS[name].keeps_answers else set()
    wanted |= OF_THOSE_CARRIED if "chat" in SPECS[name].carried else set()
    wanted |= OF_ENCLOSERS if SPECS[name].encloses else set()
    wanted |= OF_FILE_HOLDERS if any(line.kind in specs.CREATING_KINDS for line in SPECS[name].lines) else set()
    assert not {each for each in wanted if not hasattr(wire(name), each)}


def test_no_two_protocols_claim_the_same() -> None:
    for one, two in combinations(SPECS.values(), 2):
        assert not {(line.method, line.path) for line in one.lines} & {(line.method, line.path) for line in two.lines}
        assert not one.actions.keys() & two.actions.keys() and not one.marks & two.marks


@pytest.mark.parametrize("name", SPECS)
def test_a_protocol_is_whole(name: str) -> None:
    spec = SPECS[name]
    assert spec.title and spec.turns
    assert spec.keepalive.endswith(b"\n") or spec.keepalive.isspace()  # between two objects a space is none of either
    assert all(each == each.lower() for each in (*spec.marks, *spec.key_headers, *spec.private_headers, *spec.answer_headers))
    assert spec.lines or spec.chat_action


@pytest.mark.parametrize("name", UPSTREAMS)
def test_a_provider_s_side_is_whole(name: str) -> None:
    upstream = UPSTREAMS[name]
    assert upstream.paths.keys() >= {"chat", "models"} and upstream.event_tokens > 0 and SPECS[name].answer_field
    assert upstream.parameters.keys() <= parameter_limits.DEFAULTS.keys()
    assert upstream.output_field("some-model", {}) in ("", *upstream.parameters["max_tokens"])
    if "stream" in upstream.paths:
        assert upstream.stream_path(upstream.paths["chat"]) == upstream.paths["stream"]


def test_the_protocol_of_callers_that_show_none_is_one_of_them() -> None:
    assert DEFAULT in SPECS


@pytest.mark.parametrize(
    ("model", "quirks", "field"),
    [("gpt-4.1", {}, "max_tokens"), ("gpt-5-mini", {}, "max_completion_tokens"), ("p/O3", {}, "max_completion_tokens"),
     ("gpt-5", {"max_tokens_field": "max_tokens"}, "max_tokens")],
)  # fmt: skip
def test_the_output_limit_has_the_name_that_a_model_knows(model: str, quirks: dict[str, str], field: str) -> None:
    assert UPSTREAMS["openai"].output_field(model, quirks) == field


def test_a_body_says_whether_it_is_a_stream_where_the_path_does_not() -> None:
    assert SPECS["openai"].wants_stream({"stream": True}) and not SPECS["openai"].wants_stream({"stream": "yes"})
    assert not SPECS["gemini"].wants_stream({"stream": True})


@pytest.mark.parametrize("name", UPSTREAMS)
def test_the_quirks_that_a_protocol_lists_are_those_that_it_reads(name: str) -> None:
    package = Path(specs.__file__).parents[1]
    files = [path for path in (package / "wire" / name).glob("*.py") if path.name != "spec.py"]
    texts = [path.read_text("utf-8") for path in (*files, package / "proxy" / "answers.py")]
    asked = {word for text in texts for word in re.findall(r'quirks\.get\("(\w+)"', text)}
    asked |= set(Abilities.__slots__) if name == "anthropic" else set()
    listed = set(UPSTREAMS[name].quirks)
    assert asked - {"think_tags"} <= listed <= asked
