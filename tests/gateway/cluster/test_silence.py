"""Which silence of a worker is a hang, and which a busy machine's."""

from __future__ import annotations

import pytest

from llm_router_gateway.cluster.silence import HUNG_CPU_S, HUNG_LOOKS, SILENT_LOOKS, Doing, Silence


def looks_until_ended(silence: Silence, state: str, cpu_s: float = 0.0, most: int = 100) -> tuple[int, str]:
    """How many silent looks it takes, and the reason; `cpu_s` is used between two looks."""
    for number in range(1, most + 1):
        why = silence.look(False, Doing(state, 7.0 + number * cpu_s) if state else None)
        if why:
            return number, why
    return most + 1, ""


@pytest.mark.parametrize(
    ("state", "cpu_s", "looks", "words"),
    [
        ("T", 0.0, HUNG_LOOKS, "it was stopped"),
        ("S", 0.0, HUNG_LOOKS, "waited for something else"),
        ("R", 1.0, 1 + HUNG_CPU_S, "used 5 s of processor time"),  # a loop without end on a processor of its own
        ("R", 0.25, 1 + HUNG_CPU_S * 4, "used 5 s of processor time"),  # on a quarter of one
        ("R", 0.05, SILENT_LOOKS, "no sign of life for 30 s"),  # held up by everything else
        ("D", 0.0, SILENT_LOOKS, "no sign of life for 30 s"),  # a disk that is slow
        ("t", 0.0, SILENT_LOOKS, "no sign of life for 30 s"),  # a debugger
        ("", 0.0, SILENT_LOOKS, "no sign of life for 30 s"),  # a system that does not say
    ],
)
def test_what_a_silent_worker_does_says_how_soon_it_counts_as_hung(state: str, cpu_s: float, looks: float, words: str) -> None:
    number, why = looks_until_ended(Silence(), state, cpu_s)
    assert (number, words in why) == (looks, True), why


def test_a_worker_that_waits_for_the_processor_between_two_rests_is_not_hung() -> None:
    silence = Silence()
    states = (["S"] * (HUNG_LOOKS - 1) + ["R"]) * 5
    assert not any(silence.look(False, Doing(state, 0.0)) for state in states)


def test_a_sign_of_life_begins_anew() -> None:
    silence = Silence()
    for _ in range(10):
        assert not any(silence.look(False, Doing("T", 9.0)) for _ in range(HUNG_LOOKS - 1))
        assert not silence.look(True, None)
    assert looks_until_ended(silence, "T")[0] == HUNG_LOOKS
