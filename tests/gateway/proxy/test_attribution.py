"""attribution: what of a request are tags and the end user, in every protocol, and how much of it at most."""

from __future__ import annotations

from typing import Any

import pytest

from llm_router_gateway.proxy.attribution import MAX_TAG, MAX_TAGS, MAX_USER, attribution_of
from llm_router_gateway.wire.registry import SPECS

HEADER = "x-llm-router-labels"


@pytest.mark.parametrize(
    "protocol, fields, tags, user",
    [
        ("openai", {"user": "u-17", "metadata": {"team": "search", "tags": ["beta", 7]}}, ("beta", "team:search"), "u-17"),
        ("openai", {"safety_identifier": "s-1"}, (), "s-1"),
        ("openai", {"user": " ", "safety_identifier": "s-1", "metadata": None}, (), "s-1"),
        ("openai", {"metadata": {"tags": "a, b,,a", "n": 3, "deep": {"x": 1}, "yes": True}}, ("a", "b", "n:3"), ""),
        ("responses", {"user": "u", "metadata": {"team": "x"}}, ("team:x",), "u"),
        ("completions", {"user": "u"}, (), "u"),
        ("anthropic", {"metadata": {"user_id": "u-17", "team": "x"}}, ("team:x",), "u-17"),
        ("anthropic", {"metadata": {"user_id": '{"device_id": "d", "account_uuid": "a", "session_id": "s"}'}}, (), "a"),
        ("anthropic", {"metadata": {"user_id": '{"device_id": "d", "account_uuid": ""}'}}, (), "d"),
        ("anthropic", {"metadata": {"user_id": "{no JSON"}}, (), "{no JSON"),
        ("anthropic", {"user": "not Anthropic's", "metadata": {}}, (), ""),
        ("gemini", {"labels": {"team": "x"}, "metadata": {"no": "y"}}, ("team:x",), ""),
        ("openai", {"user": {"id": 1}, "metadata": ["x"]}, (), ""),
        ("openai", {}, (), ""),
    ],
)
def test_each_protocol_has_its_place_for_them(protocol: str, fields: dict[str, Any], tags: tuple[str, ...], user: str) -> None:
    assert attribution_of(SPECS[protocol], fields, {}, HEADER) == (tags, user)


def test_a_header_adds_tags_and_another_may_be_named() -> None:
    fields = {"metadata": {"team": "x"}}
    headers = {HEADER: "a, b,,", "x-my-tags": "c"}
    assert attribution_of(SPECS["openai"], fields, headers, HEADER).tags == ("a", "b", "team:x")
    assert attribution_of(SPECS["openai"], {}, headers, "x-my-tags").tags == ("c",)


def test_what_a_caller_sends_is_bounded() -> None:
    fields = {"user": "u" * 999, "metadata": {"tags": [f"{number}-{'x' * 999}" for number in range(99)]}}
    found = attribution_of(SPECS["openai"], fields, {}, HEADER)
    assert len(found.tags) == MAX_TAGS and max(map(len, found.tags)) == MAX_TAG and len(found.end_user) == MAX_USER


def test_tags_and_users_are_text_that_a_database_can_hold() -> None:
    fields = {"user": "u\0\ud800", "metadata": {"tags": ["a\0b"]}}
    assert attribution_of(SPECS["openai"], fields, {}, HEADER) == (("a\ufffdb",), "u\ufffd?")
