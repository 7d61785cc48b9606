"""tag_query: models by what they can do; and tag queries as requests."""

from typing import Any

import pytest
from choices import PROVIDER, World, listed

from llm_router_gateway.errors import BadRequest, GatewayError, UnknownModel
from llm_router_gateway.policy.tag_query import Query, parse_tags, query_in, read_query
from llm_router_gateway.routing.plan import Plan

CONFIG = (
    PROVIDER
    + listed(
        "fast", "deep", "chat", "gone",
        fast='tags = ["Coding", "fast", "cheap"]', deep='tags = ["coding", "slow", "high-quality"]',
        chat='tags = ["chat"]', gone='tags = ["old"]\nis_active = false',
    )
    + '[[providers]]\nname = "c"\ntype = "claude"\napi_key = "k"\n'
    + '[[c.models]]\nname = "big"\ntags = ["coding", "high-quality"]\n'
    + '[tasks]\ncode = "coding,-slow"\nTalk = "chat"\n'
)  # fmt: skip


def names(plan: Plan, now: float = 0) -> set[str]:
    return {row["model"] for row in plan.explain(now)["candidates"]}


# -- the query


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("coding", Query(("coding",))),
        (" Coding , FAST ", Query(("coding", "fast"))),
        ("a|b,c,-d", Query(("c",), (("a", "b"),), ("d",))),
        ("a| ,b", Query(("a", "b"))),
        ("-slow", Query(none=("slow",))),
        ("long-context", Query(("long-context",))),
    ],
)
def test_a_query_as_text(text: str, query: Query) -> None:
    assert parse_tags(text) == query
    assert parse_tags(str(query)) == query


@pytest.mark.parametrize("text", ["", " ", ",", "-", "a,-", "|", ",".join("a" * 200), "x" * 2000])
def test_a_text_that_asks_for_nothing_or_too_much_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        parse_tags(text)


def test_a_query_as_json() -> None:
    table = {"tags": ["A"], "all": ["b"], "any": ["c", "d"], "none": "e", "name": "m", "provider_types": ["Claude"],
             "task": "Code"}  # fmt: skip
    assert read_query(table) == Query(("a", "b"), (("c", "d"),), ("e",), "m", ("claude",), "code")


@pytest.mark.parametrize(
    ("table", "path"),
    [
        ([], "query"), ({}, "query"), ({"tags": []}, "query"), ({"tags": 1}, "query.tags"), ({"tags": [1]}, "query.tags"),
        ({"any": [""]}, "query.any"), ({"name": 1}, "query.name"), ({"tag": ["a"]}, "query.tag"), (None, "query"),
        ({"tags": ["a"] * 99}, "query.tags"),
    ],
)  # fmt: skip
def test_a_wrong_query_says_where(table: Any, path: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_query(table)
    assert caught.value.details["path"] == path


def test_which_names_are_queries() -> None:
    assert query_in("tag:a,-b") == Query(("a",), none=("b",))
    assert query_in("task:Code") == Query(task="code")
    assert query_in("tagged") is None


# -- as a request


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("tag:coding", {"p/fast", "p/deep", "c/big"}),
        ("tag:CODING,high-quality", {"p/deep", "c/big"}),
        ("tag:coding,-slow", {"p/fast", "c/big"}),
        ("tag:cheap|chat", {"p/fast", "p/chat"}),
        ("tag:coding,cheap|slow", {"p/fast", "p/deep"}),
        ("tag:-coding,-old", {"p/chat"}),
        ("task:code", {"p/fast", "c/big"}),
        ("task:talk", {"p/chat"}),
    ],
)
def test_all_any_none_and_tasks_in_a_models_name(name: str, found: set[str]) -> None:
    assert names(World(CONFIG).plan(name)) == found


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ({"tags": ["coding"], "provider_types": ["claude"]}, {"c/big"}),
        ({"provider_types": ["claude", "ollama"], "none": ["coding", "old"]}, {"p/chat"}),
        ({"name": "deep"}, {"p/deep"}),
        ({"name": "p/deep", "tags": ["coding"]}, {"p/deep"}),
        ({"task": "code", "tags": ["high-quality"]}, {"c/big"}),
    ],
)
def test_a_query_beside_the_request(table: Any, found: set[str]) -> None:
    assert names(World(CONFIG).plan("", query=read_query(table))) == found


@pytest.mark.parametrize("name", ["tag:poetry", "tag:coding,chat", "task:cook"])
def test_no_match_is_a_404_that_names_what_there_is(name: str) -> None:
    with pytest.raises(UnknownModel) as caught:
        World(CONFIG).plan(name)
    assert caught.value.status == 404
    assert ("code, talk" if name == "task:cook" else "cheap, coding") in caught.value.message


def test_a_match_that_is_switched_off_is_a_503() -> None:
    with pytest.raises(GatewayError) as caught:
        World(CONFIG).ask("tag:old")
    assert caught.value.status == 503 and "switched off" in caught.value.message


def test_matches_that_are_unhealthy_are_marked_so_and_tried_all_the_same() -> None:
    world = World(CONFIG)
    for _ in range(3):
        with pytest.raises(GatewayError):
            world.ask("tag:chat", fail={"p/chat"})
    plan = world.plan("tag:chat")
    assert (plan.healthy(), plan.refusal(world.now).status) == (False, 503)
    assert plan.refusal(world.now).retry_after_s == 30
    assert world.ask("tag:chat") == ["p/chat"]


def test_matches_share_the_work_and_stand_in_for_each_other() -> None:
    world = World(CONFIG)
    assert world.shares("tag:coding", 300) == {name: pytest.approx(1 / 3) for name in ("p/fast", "p/deep", "c/big")}
    assert len(set(world.ask("tag:coding", fail={"p/fast", "c/big"}))) >= 1
    assert world.ask("tag:coding", fail={"p/fast", "c/big"})[-1] == "p/deep"


def test_the_higher_priority_is_tried_first_and_the_next_when_it_fails() -> None:
    text = PROVIDER + listed("a", "z", "b", a='tags=["x"]', z='tags=["x"]\nconfig={priority=5}', b='tags=["x"]')
    world = World(text)
    assert world.shares("tag:x", 50) == {"p/z": 1}
    assert world.ask("tag:x", fail={"p/z"})[0] == "p/z"
    assert world.ask("tag:x", fail={"p/z"})[-1] in ("p/a", "p/b")


def test_the_strategy_of_tag_queries_can_be_chosen() -> None:
    prices = {name: f'tags=["x"]\nconfig={{input_usd_per_mtok={usd}}}' for name, usd in (("a", 3), ("b", 1))}
    world = World(PROVIDER + listed("a", "b", **prices) + '[routing]\ntag_strategy = "cost"\n')
    assert world.shares("tag:x", 10) == {"p/b": 1}


def test_tag_counters_do_not_grow_with_what_callers_write() -> None:
    world = World(CONFIG)
    for number in range(50):
        world.ask(f"tag:coding,-none{number}")
    assert list(world.routing_state.turns) == ["tag:"]
