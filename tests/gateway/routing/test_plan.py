"""plan: who answers a request, in which order, and what is said about it."""

import json
from random import Random
from typing import Any

import pytest
from choices import PROVIDER, World, group, listed

from llm_router_gateway.config.kinds import Secret
from llm_router_gateway.errors import GatewayError, RateLimited, UnknownModel, of_status
from llm_router_gateway.policy import circuit_breaker
from llm_router_gateway.policy.rate_limits import NoSlot
from llm_router_gateway.proxy import model_list
from llm_router_gateway.routing import plan as groups
from llm_router_gateway.routing import state
from llm_router_gateway.wire.registry import SPECS, wire

ABC = PROVIDER + listed("a", "b", "c")


def world(*members: str, lines: str = "", more: str = "", models: str = ABC) -> World:
    return World(models + group("g", *members, lines=lines) + more)


def states(made: World, name: str = "g", **ask: object) -> dict[str, str]:
    return {row["model"]: row["state"] for row in made.plan(name, **ask).explain(made.now)["candidates"]}


def whys(made: World, name: str = "g", **ask: object) -> dict[str, str]:
    return {row["model"]: row["why"] for row in made.plan(name, **ask).explain(made.now)["candidates"]}


# -- names


def test_a_group_is_a_name_in_every_list_and_comes_before_a_model_of_the_same_name() -> None:
    made = World(ABC + group("a", "p/b") + group("fleet", "a", "b", lines='description = "both"'))
    assert made.ask("a") == ["p/b"]
    assert made.ask("models/a") == ["p/b"]
    assert made.ask("p/a") == ["p/a"]
    found = model_list.entries(made.table.routes, {}, made.table)
    assert [entry.name for entry in found] == ["a", "fleet", "p/a", "p/b", "p/c"]
    assert [entry.bare for entry in found] == ["a", "fleet", "", "b", "c"]
    for name in SPECS:
        assert "fleet" in json.dumps(wire(name).list_models(found, {}))
    assert model_list.find_entry(found, "fleet").owner == "llm-router"
    assert wire("openai").describe_model(found[1])["description"] == "both"


def test_a_group_is_described_by_what_its_members_have_in_common() -> None:
    sizes = {"a": 'tags=["x","y"]\nconfig={context_window="128k",supports_vision=true}',
             "b": 'tags=["y"]\nconfig={context_window="64k"}'}  # fmt: skip
    made = world("a", "b", models=PROVIDER + listed("a", "b", **sizes))
    model = model_list.entries(made.table.routes, {}, made.table)[0].model
    assert model is not None
    assert (model.context_window, model.tags, model.modalities) == (64_000, ("y",), ())


def test_a_plain_name_is_a_plan_of_one_that_is_always_tried_and_whose_health_is_known() -> None:
    made = world("a", "b")
    for _ in range(5):
        with pytest.raises(GatewayError):
            made.ask("p/a", fail={"p/a"})
    assert made.routing_state.report(made.table, made.now)[0]["state"] == "open"
    assert made.ask("p/a") == ["p/a"]


def test_an_unknown_name_is_a_404() -> None:
    with pytest.raises(UnknownModel):
        world("a").plan("nothing")


def test_a_model_of_a_provider_that_takes_any_name_can_be_a_member() -> None:
    made = World('[[providers]]\nname = "ollama"\nrename = {"llama9" = "llama9:8b"}\n' + group("g", "ollama/llama9"))
    plan = made.plan("g")
    attempt = plan.next(0)
    assert attempt is not None
    assert (attempt.candidate.name, attempt.candidate.remote_id) == ("ollama/llama9", "llama9:8b")


# -- selectors


def test_members_take_part_when_their_selector_is_true() -> None:
    made = world('a selector=".vip"', 'b selector="has(\\"tools\\")"', "c")
    assert made.shares("g", 30) == {"p/c": 1}
    assert set(made.shares("g", 30, body={"vip": True})) == {"p/a", "p/c"}
    assert set(made.shares("g", 30, body={"tools": []})) == {"p/b", "p/c"}


@pytest.mark.parametrize("value", ["true", 1, None, {}, [True], False, "yes"])
def test_only_true_selects(value: object) -> None:
    made = world('a selector=".x"', "b")
    assert made.shares("g", 4, body={"x": value}) == {"p/b": 1}


def test_an_error_does_not_select_and_is_reported_once() -> None:
    made = world('a selector="error"', "b")
    for _ in range(3):
        assert made.ask("g", {"x": 1}) == ["p/b"]
    told = made.routing_state.take_notes()
    assert len(told) == 1 and "error" in told[0]
    assert made.routing_state.take_notes() == []
    assert "selector failed" in whys(made)["p/a"]


@pytest.mark.parametrize(
    ("selector", "why"),
    [
        (".x", "selector returned an array; only true selects"),
        (".x | length", "selector returned a number; only true selects"),
        (".t | tostring", "selector returned a text; only true selects"),
        ("{a: 1}", "selector returned an object; only true selects"),
        (".none", "selector did not match"),
        ("empty", "selector did not match"),
        (".x == 5", "selector did not match"),
        ("error", "selector failed: "),
    ],
)
def test_a_selector_that_gives_neither_true_nor_false_is_explained(selector: str, why: str) -> None:
    made = world(f"a selector='{selector}'", "b")
    made.ask("g", {"x": [1], "t": 1})
    assert whys(made, body={"x": [1], "t": 1})["p/a"].startswith(why)


def test_a_selector_sees_numbers_as_the_caller_wrote_them() -> None:
    made = world("a selector='(.t | tostring) == \"1.10\"'", "b")
    assert made.ask("g", {"t": 1.1}, text='{"t": 1.10}') == ["p/a"]
    assert world("a selector='(.t | tostring) == \"1.10\"'", "b").ask("g", {"t": 1.1}, text='{"t": 1.1}') == ["p/b"]


def test_a_fault_inside_a_selector_or_an_affinity_does_not_select_and_is_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from llm_router_gateway.jq import functions

    def failing(*_: object) -> object:
        raise OverflowError

    monkeypatch.setitem(functions.LAST, "length/0", failing)
    made = world("a selector='length > 0'", "b", lines='affinity = "(length)"')
    for _ in range(3):
        assert made.ask("g", {"x": 1}) == ["p/b"]
    assert sorted(line.split()[0] for line in made.routing_state.take_notes()) == ["affinity", "selector"]


def test_what_a_selector_may_name_and_that_credentials_are_not_among_it() -> None:
    made = world('a selector="$stream"')
    assert made.ask("g", stream=True) == ["p/a"]
    headers = {"authorization": "Bearer x", "x-api-key": "x", "x-goog-api-key": "x", "cookie": "x", "x-team": "t"}
    given = groups.RoutingRequest("g", {}, "gemini", True, headers, key_name="alice").variables()
    assert given == {"model": "g", "protocol": "gemini", "stream": True, "headers": {"x-team": "t"}, "key": "alice"}


def test_when_no_selector_is_true_the_fallbacks_are_tried_and_without_any_it_is_a_503_that_says_so() -> None:
    made = world('a selector=".x"')
    with pytest.raises(GatewayError, match="no selector matched") as caught:
        made.ask("g")
    assert (caught.value.status, caught.value.code) == (503, "no_member") and "failed" not in caught.value.message
    with pytest.raises(GatewayError, match="no selector matched, and 1 of them failed on it"):
        world('a selector="error"', 'b selector="error"', 'c selector=".x"').ask("g")
    assert world('a selector=".x"', lines='fallbacks = ["c"]').ask("g") == ["p/c"]


# -- one after the other


def test_each_member_is_tried_once_until_one_answers() -> None:
    made = world("a", "b", "c")
    for _ in range(10):
        asked = made.ask("g", fail={"p/a", "p/b"})
        assert asked[-1] == "p/c" and len(asked) == len(set(asked))
    with pytest.raises(GatewayError):
        made.ask("g", fail={"p/a", "p/b", "p/c"})


def test_fallbacks_in_order_models_and_groups_each_once_and_round_in_a_circle() -> None:
    text = ABC + group("g", "a", lines='fallbacks = ["h", "c"]') + group("h", "b", "a", lines='fallbacks = ["g"]')
    made = World(text)
    assert made.ask("g", fail={"p/a"}) == ["p/a", "p/b"]
    assert made.ask("g", fail={"p/a", "p/b"})[-1] == "p/c"
    assert World(text).ask("h", fail={"p/b"}) == ["p/b", "p/a"]
    with pytest.raises(GatewayError):
        made.ask("g", fail={"p/a", "p/b", "p/c"})


def test_a_fallback_is_not_tried_while_a_member_is_left() -> None:
    made = world("a", "b", lines='fallbacks = ["c"]')
    assert set(made.shares("g", 40)) == {"p/a", "p/b"}
    assert made.ask("g", fail={"p/a"})[-1] == "p/b"


def test_a_member_that_is_unhealthy_is_left_out_and_a_fallback_comes_before_it() -> None:
    made = world("a", lines='fallbacks = ["c"]')
    for _ in range(3):
        assert made.ask("g", fail={"p/a"}) == ["p/a", "p/c"]
    assert made.ask("g") == ["p/c"]
    assert states(made)["p/a"] == "open"
    assert made.ask("g", fail={"p/c"}) == ["p/c", "p/a"]  # and it is tried last, for it may be well again


def test_the_last_member_is_always_tried_soonest_back_first() -> None:
    made = world("a", "b")
    for _ in range(4):
        with pytest.raises(GatewayError):
            made.ask("g", fail={"p/a", "p/b"})
        made.now += 1
    known = made.routing_state.health("p/a")
    made.routing_state.healths["p/a"] = circuit_breaker.record_failure(known, circuit_breaker.Rules(), made.now, "x", 90)
    assert states(made) == {"p/a": "cooling", "p/b": "open"}
    assert made.ask("g") == ["p/b"]


def test_half_open_one_probe_at_a_time() -> None:
    made = world("a", lines='fallbacks = ["c"]')
    for _ in range(3):
        made.ask("g", fail={"p/a"})
    made.now += 30
    probe = made.plan("g").next(made.now)
    assert probe is not None and probe.candidate.name == "p/a"
    assert states(made)["p/a"] == "probing"
    assert made.ask("g") == ["p/c"]  # the others go elsewhere meanwhile
    probe.end(made.now)  # the caller left: nothing was learnt
    again = made.plan("g").next(made.now)
    assert again is not None and again.candidate.name == "p/a"
    again.mark_output(made.now)
    assert states(made)["p/a"] == "probe"  # it talks: one more may try
    again.succeed(made.now)
    assert states(made)["p/a"] == "ok"


def test_a_probe_that_fails_is_followed_by_another_member_in_the_same_request() -> None:
    made = world("a", "c weight=1")
    for _ in range(60):
        made.ask("g", fail={"p/a"})
    assert states(made)["p/a"] == "open"
    made.now += 31
    for _ in range(9):
        assert made.ask("g", fail={"p/a"})[-1] == "p/c"
    assert made.routing_state.health("p/a").opens == 2


def test_retry_after_cools_a_member_for_that_long() -> None:
    made = world("a", "b weight=1")
    assert made.ask("g", fail={"p/a"}, status=429, retry_after_s=20) == ["p/a", "p/b"]
    assert made.shares("g", 50) == {"p/b": 1}
    made.now += 20
    assert made.shares("g", 50)["p/a"] > 0.9


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422])
def test_a_callers_mistake_is_not_held_against_the_member(status: int) -> None:
    made = world("a")
    for _ in range(9):
        with pytest.raises(GatewayError):
            made.ask("g", fail={"p/a"}, status=status)
    assert made.routing_state.health("p/a").in_a_row == 0
    assert states(made)["p/a"] in ("ok", "cooling")  # 401 lets the key rest, where there is one


def test_what_was_on_its_way_ends_once() -> None:
    made = world("a")
    attempt = made.plan("g").next(made.now)
    assert attempt is not None
    assert made.routing_state.active == {"p/a": 1}
    attempt.fail(made.now, of_status(500, "x"))
    attempt.succeed(made.now)
    attempt.end(made.now)
    assert made.routing_state.active == {}
    assert (made.routing_state.health("p/a").failures, made.routing_state.health("p/a").successes) == (1, 0)


# -- what is switched off or has no key


def test_a_member_that_is_switched_off_or_has_no_key_is_not_tried() -> None:
    text = PROVIDER + listed("a", "off", off="is_active = false") + '[[providers]]\nname = "openai"\n'
    made = World(text + group("g", "a", "p/off", "openai/x"))
    assert states(made) == {"p/a": "ok", "p/off": "off", "openai/x": "no_key"}
    assert made.ask("g") == ["p/a"]
    assert World(text + group("g", "p/off")).plan("g").refusal(0).status == 503
    with pytest.raises(GatewayError, match="OPENAI_API_KEY") as caught:
        World(text + group("g", "openai/x")).ask("g")
    assert (caught.value.status, caught.value.code) == (503, "no_key")


# -- keys

KEYED = '[[providers]]\nname = "k"\ntype = "openai"\napi_key_env = "K"\n[[k.models]]\nname = "m"\n[[k.models]]\nname = "n"\n'


def key_of(made: World, name: str = "k/m") -> tuple[groups.Attempt, str]:
    attempt = made.plan(name).next(made.now)
    assert attempt is not None and attempt.key is not None
    return attempt, attempt.key.reveal()


@pytest.mark.parametrize(("status", "everywhere"), [(401, True), (402, True), (403, False), (429, False)])
def test_a_refused_key_is_followed_by_the_next_and_is_not_the_first_one_again(status: int, everywhere: bool) -> None:
    made = World(KEYED, K="one,two,three")
    attempt, key = key_of(made)
    assert key == "one"
    assert attempt.switch_key(made.now, of_status(status, "x")) and attempt.key == Secret("two")
    attempt.succeed(made.now)
    assert key_of(made)[1] == "two"
    assert key_of(made, "k/n")[1] == ("two" if everywhere else "one")
    made.now += 400
    assert key_of(made)[1] == "one"


def test_when_every_key_was_refused_the_request_goes_on_to_the_next_member() -> None:
    made = World(KEYED + ABC + group("g", "k/m", "a weight=1"), K="one,two")
    attempt = made.plan("g").next(made.now)
    assert attempt is not None
    refused = of_status(401, "x")
    assert attempt.switch_key(made.now, refused)
    assert not attempt.switch_key(made.now, refused)
    attempt.fail(made.now, refused)
    assert made.routing_state.health("k/m").failures == 0
    assert made.ask("g") == ["p/a"]
    assert states(made)["k/m"] == "cooling"
    assert made.ask("g", fail={"p/a"}) == ["p/a", "k/m"]
    assert states(made)["k/m"] == "ok"  # it answered: its key is good


def test_other_errors_rotate_no_key() -> None:
    made = World(KEYED, K="one,two")
    attempt, _ = key_of(made)
    assert not attempt.switch_key(made.now, of_status(500, "x"))
    assert not attempt.switch_key(made.now, of_status(400, "x"))
    assert made.routing_state.key_cooldowns == {}


def test_retry_after_of_a_key_is_believed_and_a_new_key_in_the_file_is_fresh() -> None:
    made = World(KEYED, K="one,two")
    attempt, _ = key_of(made)
    attempt.switch_key(made.now, of_status(429, "x", retry_after_s=5))
    assert key_of(made)[1] == "two"
    made.now += 5
    assert key_of(made)[1] == "one"
    attempt.switch_key(made.now, of_status(401, "x"))
    made.env = {"K": "three,two"}
    made.swap(KEYED)
    assert key_of(made)[1] == "three"


# -- strategies


def test_smooth_weighted_round_robin_never_sends_a_burst_to_one() -> None:
    made = world("a weight=5", "b weight=1", "c weight=1")
    assert "".join(made.ask("g")[0][-1] for _ in range(14)) == "aabacaa" * 2


def test_weight_0_is_tried_only_when_no_other_is_left() -> None:
    made = world("a", "b weight=0")
    assert made.shares("g", 20) == {"p/a": 1}
    assert made.ask("g", fail={"p/a"}) == ["p/a", "p/b"]
    assert set(world("a weight=0", "b weight=0").shares("g", 20)) == {"p/a", "p/b"}


def test_random_honours_health_and_breaker() -> None:
    made = world("a", "b", lines='strategy = "random"')
    made.routing_state.healths["p/a"] = circuit_breaker.Health(factor=0.25, at=made.now)
    shares = [made.plan("g").next(made.now) for _ in range(2000)]
    part = sum(each is not None and each.candidate.name == "p/a" for each in shares) / 2000
    assert part == pytest.approx(0.2, abs=0.03)
    made.routing_state.healths["p/a"] = circuit_breaker.Health(open_until=made.now + 9)
    assert made.shares("g", 50) == {"p/b": 1}


def test_leastconn_counts_a_stream_until_it_ends_and_one_that_left_until_then() -> None:
    made = world("a", "b", lines='strategy = "leastconn"')
    first = made.plan("g").next(made.now)
    assert first is not None and first.candidate.name == "p/a"
    first.mark_output(made.now)  # headers are out: the stream goes on
    assert made.shares("g", 10) == {"p/b": 1}
    first.end(made.now)  # the caller left
    assert set(made.shares("g", 10)) == {"p/a", "p/b"}


def test_leastconn_keeps_open_requests_in_the_ratio_of_the_weights() -> None:
    made = world("a weight=300", "b weight=100", lines='strategy = "leastconn"')
    for _ in range(40):
        made.plan("g").next(made.now)
    assert made.routing_state.active == {"p/a": 30, "p/b": 10}


def test_latency_prefers_the_fastest_and_looks_at_the_others_again() -> None:
    made = world("a", "b", "c", lines='strategy = "latency"')
    speed = {"p/a": 3.0, "p/b": 1.0, "p/c": 1.05}
    first = {made.ask("g", latency_s=speed.__getitem__)[0] for _ in range(3)}
    assert first == {"p/a", "p/b", "p/c"}
    assert set(made.shares("g", 50, latency_s=speed.__getitem__)) == {"p/b", "p/c"}  # near enough to share
    speed["p/a"] = 0.1
    shares = made.shares("g", 300, every_s=1, latency_s=speed.__getitem__)
    assert shares["p/a"] > 0.5


def test_latency_sends_one_request_at_a_time_to_one_that_was_never_measured() -> None:
    made = world("a", "b", lines='strategy = "latency"')
    made.routing_state.healths["p/a"] = circuit_breaker.record_latency(circuit_breaker.HEALTHY, 1.0, made.now)
    asked = [made.plan("g").next(made.now) for _ in range(4)]
    assert [each and each.candidate.name for each in asked] == ["p/b", "p/a", "p/a", "p/a"]


def test_cost_prefers_the_cheapest_and_an_unknown_price_comes_last() -> None:
    prices = {"a": "config={input_usd_per_mtok=3,output_usd_per_mtok=15}", "b": "config={cost_per_1k_tokens=0.001}"}
    made = world("a", "b", "c", lines='strategy = "cost"', models=PROVIDER + listed("a", "b", "c", **prices))
    assert made.ask("g", fail={"p/a", "p/b"}) == ["p/b", "p/a", "p/c"]


def test_priority_is_a_ladder_and_equal_ones_share() -> None:
    made = world("a priority=1", "b priority=2", "c priority=2", lines='strategy = "priority"')
    assert made.shares("g", 20) == {"p/b": 0.5, "p/c": 0.5}
    assert made.ask("g", fail={"p/b", "p/c"})[-1] == "p/a"


# -- affinity


def test_a_conversation_stays_where_it_is_and_others_are_shared() -> None:
    made = world("a", "b", "c", lines='affinity = "x-claude-code-session-id"')
    homes = {}
    for number in range(30):
        headers = {"x-claude-code-session-id": f"s{number}"}
        homes[number] = made.ask("g", headers=headers)
        assert {tuple(made.ask("g", headers=headers)) for _ in range(5)} == {tuple(homes[number])}
    assert sorted(map(list(homes.values()).count, (["p/a"], ["p/b"], ["p/c"]))) == [10, 10, 10]
    assert set(made.shares("g", 9)) == {"p/a", "p/b", "p/c"}  # who has no name is nobody's


def test_a_conversation_moves_when_its_member_fails_and_then_stays_there() -> None:
    made = world("a", "b", lines='affinity = "x-s"')
    headers = {"x-s": "1"}
    assert made.ask("g", headers=headers) == ["p/a"]
    assert made.ask("g", headers=headers, fail={"p/a"}) == ["p/a", "p/b"]
    assert made.ask("g", headers=headers) == ["p/b"]
    assert made.plan("g", headers=headers).explain(made.now)["affinity"] == {"conversation": "1", "member": "p/b"}


def test_affinity_by_an_expression() -> None:
    made = world("a", "b", lines='affinity = ".user"')
    assert {made.ask("g", {"user": "u"})[0] for _ in range(6)} == {"p/a"}
    assert {made.ask("g", {"user": None})[0] for _ in range(6)} == {"p/a", "p/b"}


def test_conversations_are_forgotten_after_an_hour_and_never_more_than_so_many() -> None:
    made = world("a", "b", lines='affinity = "x-s"')
    made.ask("g", headers={"x-s": "1"})
    assert made.routing_state.session(("group:g", "1"), made.now + 3599) == "p/a"
    assert made.routing_state.session(("group:g", "1"), made.now + 3600) == ""
    for number in range(state.MAX_SESSIONS + 50):
        made.routing_state.keep_session(("group:g", str(number)), "p/a", made.now)
    assert len(made.routing_state.sessions) == state.MAX_SESSIONS


# -- limits

LIMITED = PROVIDER + listed("a", "b", a="limits = {max_requests = 2, per_seconds = 10}")


def test_a_member_at_its_limit_is_passed_over_and_comes_back() -> None:
    made = world("a", "b weight=1", models=LIMITED)
    assert [made.ask("g")[0] for _ in range(4)] == ["p/a", "p/a", "p/b", "p/b"]
    assert states(made)["p/a"] == "limited"
    made.now += 5
    assert made.ask("g") == ["p/a"]


def test_when_every_member_is_at_its_limit_it_is_a_429_with_retry_after() -> None:
    made = world("a", models=LIMITED)
    made.shares("g", 2)
    with pytest.raises(RateLimited, match="model p/a: 2 requests in 10 s") as caught:
        made.ask("g")
    assert caught.value.retry_after_s == 5


def test_a_wait_is_taken_only_when_no_other_is_there() -> None:
    text = PROVIDER + listed("a", "b", a="limits = {max_requests = 1, per_seconds = 4, wait_s = 9}")
    made = world("a", "b weight=1", models=text)
    assert [made.ask("g")[0] for _ in range(3)] == ["p/a", "p/b", "p/b"]
    alone = world("a", models=text)
    alone.ask("g")
    attempt = alone.plan("g").next(alone.now)
    assert attempt is not None and alone.take(attempt).wait_s == 4


def test_a_providers_limit_is_for_all_its_models() -> None:
    made = World(PROVIDER + "limits = {max_concurrent = 1}\n" + listed("a", "b") + group("g", "a", "b"))
    held = made.plan("p/a").next(made.now)
    assert held is not None
    permit = made.take(held)
    with pytest.raises(RateLimited):
        made.ask("g")
    permit.end(made.now)
    assert made.ask("g")


def test_a_place_in_the_queue_that_never_came_is_a_429() -> None:
    text = PROVIDER + listed("a", a="limits = {max_concurrent = 1, queue = 3, wait_s = 2}")
    made = world("a", models=text)
    first = made.plan("g").next(made.now)
    assert first is not None
    made.take(first)
    plan = made.plan("g")
    attempt = plan.next(made.now)
    assert attempt is not None and made.take(attempt).queue_wait_s == 2
    attempt.limited = NoSlot("no slot", retry_after_s=2)
    attempt.end(made.now + 2)
    assert plan.next(made.now + 2) is None
    assert isinstance(plan.refusal(made.now + 2), RateLimited)


def test_a_member_whose_limits_refuse_after_all_is_followed_by_the_next_and_named_when_none_is_left() -> None:
    made = world("a", "b")
    plan = made.plan("g")
    for after_s in (7.0, 3.0):
        attempt = plan.next(made.now)
        assert attempt is not None
        attempt.limited = RateLimited("taken by another worker", retry_after_s=after_s)
        attempt.end(made.now)
    assert plan.next(made.now) is None
    assert plan.refusal(made.now).retry_after_s == 3 and not made.routing_state.healths and not made.routing_state.active


def test_a_choice_changes_nothing_until_it_is_begun() -> None:
    made = world("a", "b", lines='affinity = "x-s"')
    plan = made.plan("g", headers={"x-s": "1"})
    choice = plan.choose(made.now)
    assert choice is not None and plan.choose(made.now) == choice
    assert not made.routing_state.turns and not made.routing_state.sessions and not made.routing_state.active
    assert plan.begin(choice, made.now).target is choice.target
    assert made.routing_state.turns and made.routing_state.sessions and made.routing_state.active


# -- what is remembered


def test_a_swap_keeps_what_is_known_by_name() -> None:
    made = world("a", "b", lines='affinity = "x-s"', models=LIMITED)
    made.ask("g", headers={"x-s": "1"})
    made.ask("g", fail={"p/b"}, headers={"x-s": "2"})
    known, active = made.routing_state.health("p/b"), made.plan("g").next(made.now)
    made.swap(LIMITED + group("g", "b", "a", lines='affinity = "x-s"') + group("h", "a"))
    assert made.routing_state.health("p/b") == known
    assert made.routing_state.session(("group:g", "1"), made.now) == "p/a"
    assert sum(made.routing_state.active.values()) == 1
    assert made.limiter.meters.buckets["model:p/a requests"].level < 2
    assert active is not None
    active.end(made.now)


def test_an_old_request_keeps_its_plan_over_a_swap() -> None:
    made = world("a", "b")
    plan = made.plan("g")
    made.swap(PROVIDER + listed("z"))
    assert [plan.next(made.now), plan.next(made.now), plan.next(made.now)][2] is None


# -- explain and health


def test_explain_names_every_candidate_and_changes_nothing() -> None:
    made = world("a", 'b selector=".x"', "c weight=50", lines='strategy = "random"', more="")
    made.ask("g", fail={"p/c"})
    known = made.routing_state
    before = (dict(known.healths), dict(known.active), made.rng.getstate(), json.dumps(known.turns))
    plan = made.plan("g")
    told = plan.explain(made.now)
    assert json.loads(json.dumps(told)) == told
    assert [row["model"] for row in told["candidates"]] == ["p/a", "p/b", "p/c"]
    assert told["group"] == "g" and told["strategy"] == "random" and told["chosen"] in ("p/a", "p/c")
    row = told["candidates"][1]
    assert (row["selector"], row["selected"], row["why"]) == (".x", False, "selector did not match")
    assert sum(row["share"] for row in told["candidates"]) == pytest.approx(1, abs=1e-3)
    after = (dict(known.healths), dict(known.active), made.rng.getstate(), json.dumps(known.turns))
    assert after == before
    attempt = plan.next(made.now)
    assert attempt is not None and attempt.candidate.name == told["chosen"]


@pytest.mark.parametrize("strategy", ["roundrobin", "random", "leastconn", "latency", "cost", "priority"])
def test_what_explain_says_is_what_is_done(strategy: str) -> None:
    made = world("a weight=3", "b weight=2", "c", lines=f'strategy = "{strategy}"')
    rng = Random(1)
    for _ in range(60):
        plan = made.plan("g")
        told = plan.explain(made.now)["chosen"]
        attempt = plan.next(made.now)
        assert attempt is not None and attempt.candidate.name == told
        if rng.random() < 0.3:
            attempt.fail(made.now, of_status(500, "x"))
        elif rng.random() < 0.7:
            attempt.succeed(made.now)
        made.now += 5 * rng.random()


def test_explain_says_why_each_one_is_not_taken() -> None:
    text = ABC + listed("off", "lim", off="is_active = false", lim="limits = {max_requests = 1, per_seconds = 60}")
    made = World(text + group("g", "a", "b", "p/off", "lim", 'c selector="error"'))
    made.ask("p/lim")
    made.routing_state.healths["p/b"] = circuit_breaker.Health(open_until=made.now + 5, in_a_row=3)
    told = whys(made)
    assert told["p/a"] == "chosen"
    assert "circuit breaker open" in told["p/b"]
    assert told["p/off"] == "switched off"
    assert "1 request in 60 s" in told["p/lim"]
    assert "told to fail" in told["p/c"] or "selector failed" in told["p/c"]


def test_the_report_shows_every_model_and_no_key() -> None:
    made = World(KEYED + ABC + group("g", "k/m", "a"), K="secret-one,secret-two")
    attempt, _ = key_of(made)
    attempt.switch_key(made.now, of_status(429, "x", retry_after_s=5))
    attempt.fail(made.now, of_status(503, "x"))
    told = {line["model"]: line for line in made.routing_state.report(made.table, made.now)}
    assert set(told) == {"k/m", "k/n", "p/a", "p/b", "p/c"}
    line = told["k/m"]
    assert (line["factor"], line["failures"], line["last_error"], line["groups"]) == (0.5, 1, "503 unavailable", ["g"])
    assert line["keys"][0] == {"key": 1, "state": "resting", "back_in_s": 5}
    assert "secret" not in json.dumps(list(told.values()))


def test_what_is_remembered_does_not_grow_with_the_names_that_callers_make_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "MAX_MODELS", 20)
    made = World('[[providers]]\nname = "ollama"\n' + group("g", "ollama/a"))
    held = made.plan("ollama/held").next(made.now)
    assert held is not None
    held.mark_output(made.now)
    for number in range(100):
        made.ask(f"ollama/{number}")
    assert len(made.routing_state.healths) == 20 and len(made.routing_state.active) == 1
    assert "ollama/held" in made.routing_state.healths and "ollama/99" in made.routing_state.healths


# -- as configurations have been written for the older servers


OPENAI = {"model": "g", "tools": [{"function": {"name": "f"}}], "messages": [{"role": "user", "name": "n", "content": "x"}]}
ANTHROPIC = {"model": "g", "tools": [{"name": "f"}], "system": [{"type": "text", "text": "x", "cache_control": {}}]}


@pytest.mark.parametrize(
    ("selector", "body", "selected"),
    [
        ('has("tools")', OPENAI, True), ('has("k")', OPENAI, False), (".tools", OPENAI, False),
        ('.model == "g"', OPENAI, True), (".tools | length == 0", {}, True), (".tools | length > 0", OPENAI, True),
        ('.tools[].function.name == "f"', OPENAI, True), ('.tools[].name == "f"', ANTHROPIC, True),
        ('.messages[0].name == "n"', OPENAI, True), (".system[0].cache_control == {}", ANTHROPIC, True),
        ("true, false", {}, True), ("false, true", {}, False), ("empty", {}, False), ('"true"', {}, False),
        ('$model == "g" and ($stream | not)', {}, True), ('$protocol == "gemini"', {}, False),
        ('$headers["x-team"] == "t"', {}, True), ('$headers | has("authorization") | not', {}, True),
        ('$key == "alice"', {}, True), (".a.b.c == null", {}, True), (".model.x == 1", OPENAI, False),
    ],
)  # fmt: skip
def test_selectors_over_the_body_as_received(selector: str, body: dict[str, Any], selected: bool) -> None:
    text = ABC + '[[groups]]\nname = "g"\nmembers = [{model = "b"}, {model = "a", selector = \'' + selector + "'}]"
    told = World(text).plan(
        "g", body, protocol="openai", headers={"x-team": "t", "authorization": "Bearer x"}, key_name="alice"
    )
    assert told.explain(0)["candidates"][1]["selected"] is selected


def test_a_selector_without_end_is_stopped_and_does_not_select() -> None:
    made = world('a selector="[range(1e9)] | length > 0"', "b")
    assert made.ask("g") == ["p/b"]
    assert len(made.routing_state.take_notes()) == 1


def test_what_a_new_configuration_leaves_out_is_gone() -> None:
    made = world("a", "b")
    made.ask("g")
    made.swap(PROVIDER + listed("a") + group("h", "a"))
    for name in ("g", "b", "p/b"):
        with pytest.raises(UnknownModel):
            made.plan(name)
    assert {line["model"] for line in made.routing_state.report(made.table, made.now)} == {"p/a"}


def test_a_failure_does_not_bring_its_members_turn_forward() -> None:
    """The counter of the one that failed is not lifted: its next turn is not sooner than without the failure."""
    made = world("a", "b", "c", "d", models=PROVIDER + listed("a", "b", "c", "d"))
    order = [made.ask("g", fail={"p/a"} if turn == 0 else ())[0] for turn in range(12)]
    assert order[0] == "p/a" and "p/a" not in order[1:4]
    assert "p/a" in order[4:]
