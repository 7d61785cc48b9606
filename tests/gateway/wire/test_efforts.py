"""efforts: which words for effort a model takes."""

import pytest

from llm_router_gateway.wire.efforts import ORDER, ROWS, efforts_of, nearest, nearest_effort


@pytest.mark.parametrize(("model", "efforts"), [
    ("gpt-5", "minimal low medium high"), ("gpt-5-mini-2025-08-07", "minimal low medium high"), ("gpt-5-pro", "high"),
    ("gpt-5-codex", "low medium high"), ("gpt-5.1", "none low medium high"), ("gpt-5.1-codex-max", "low medium high xhigh"),
    ("gpt-5.2", "none low medium high xhigh"), ("openai/gpt-5.4", "none low medium high xhigh"),
    ("gpt-5.4-pro", "medium high xhigh"), ("gpt-5.1-chat-latest", "medium"), ("gpt-6.2-sol", "none low medium high xhigh"),
    ("o1", "low medium high"), ("O3-mini", "low medium high"), ("openai/gpt-oss-120b", "low medium high"),
    ("gemini-2.5-pro", "minimal low medium high"), ("gemini-2.5-flash", "none minimal low medium high"),
    ("gemini-3-pro-preview", "minimal low medium high"),
])  # fmt: skip
def test_each_family_has_its_own_words(model: str, efforts: str) -> None:
    assert efforts_of(model) == tuple(efforts.split())


@pytest.mark.parametrize("model", ["gpt-4.1", "glm-4.6", "claude-opus-4-7", "turbo3", "go1"])
def test_of_other_models_nothing_is_known(model: str) -> None:
    assert efforts_of(model) is None


@pytest.mark.parametrize(("word", "known", "found"), [
    ("minimal", "none low medium high", "low"),        # thought was asked for: none is no neighbour
    ("xhigh", "low medium high max", "high"),          # nor is max
    ("none", "minimal low", "minimal"), ("none", "high", "high"), ("max", "none low xhigh", "xhigh"),
    ("medium", "low high", "high"), ("low", "low", "low"), ("odd", "low", "odd"), ("", "low", ""),
])  # fmt: skip
def test_the_nearest_word_is_taken(word: str, known: str, found: str) -> None:
    assert nearest(word, known.split()) == found


def test_another_word_than_the_callers_is_named() -> None:
    lost: list[str] = []
    assert [nearest_effort(word, ("low", "high"), lost) for word in ("low", "none", "xhigh")] == ["low", "low", "high"]
    assert lost == ["reasoning=off", "reasoning.effort=xhigh"]


def test_every_row_says_where_it_is_from_and_has_known_words_in_order() -> None:
    for row in ROWS:
        assert row.source and list(row.efforts) == sorted(row.efforts, key=ORDER.index), row
