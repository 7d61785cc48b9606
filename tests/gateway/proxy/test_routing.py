"""Routing at run time: groups, tags, limits and overrides as callers meet them. Fakes on both rims."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import ANSWER, DONE, FIRST, LAST, TEXT, Exchange, Upstream
from routed import Hosts, Story, Ways, chat, group, model, ok, play, provider, refusal, stream, streamed, trio

from llm_router_gateway.config import config
from llm_router_gateway.errors import BadRequest
from llm_router_gateway.proxy import route_api
from llm_router_gateway.proxy.charges import Charge
from llm_router_gateway.proxy.gateway import prepare
from llm_router_gateway.wire.ir import Usage

Run = Callable[..., Ways]
TURN = [{"role": "user", "content": "hi"}]
ASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "openai": ("/v1/chat/completions", {"model": "g", "messages": TURN}),
    "anthropic": ("/v1/messages", {"model": "g", "max_tokens": 9, "messages": TURN}),
    "gemini": ("/v1beta/models/g:generateContent", {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def runs(story: Story, document: dict[str, Any] | None = None, **scripts: Any) -> Ways:
        hosts = Hosts(**{"a": ok("a"), "b": ok("b"), "c": ok("c"), **scripts})
        return play(story, document or trio(), hosts, tmp_path, jumps=True)

    return runs


def tagged(**more: Any) -> dict[str, Any]:
    """Models with tags: a is fast and codes, b codes and is slow, c is off."""
    models = [
        model("a", tags=["coding", "fast"], config={"priority": 1, "input_usd_per_mtok": 10, "output_usd_per_mtok": 20}),
        model("b", tags=["coding", "slow"], config={"priority": 2}),
        model("c", tags=["vision"], is_active=False),
    ]
    return trio(models=models, groups=[], tasks={"code": "coding,-slow"}, **more)


def served(answer: Exchange) -> str:
    return answer.out_headers["x-llm-router-model"]


# -- groups


@pytest.mark.parametrize("protocol", ASKS)
def test_a_groups_name_is_a_models_name_in_every_protocol_and_list(run: Run, protocol: str) -> None:
    async def story(ways: Ways) -> None:
        path, body = ASKS[protocol]
        answer = await ways.post(path, body)
        assert (answer.status, served(answer), answer.out_headers["x-llm-router-attempts"]) == (200, "a/m", "1")
        headers = [("anthropic-version", "2023-06-01")] if protocol == "anthropic" else []
        base = "/v1beta" if protocol == "gemini" else "/v1"
        listing = (await ways.ask(Exchange("GET", f"{base}/models", headers=headers))).json
        names = [entry.get("id") or entry["name"].removeprefix("models/") for entry in listing.get("data") or listing["models"]]
        assert "g" in names
        one = (await ways.ask(Exchange("GET", f"{base}/models/g", headers=headers))).json
        assert (one.get("id") or one["name"].removeprefix("models/")) == "g"

    ways = run(story)
    assert json.loads(ways.hosts.sent[0]["body"])["model"] == "m"
    assert "g -> a/m" in ways.lines


def test_a_plain_model_says_which_member_served_it_too(run: Run) -> None:
    async def story(ways: Ways) -> None:
        for name in ("b/m", "g"):
            answer = await ways.ask(chat(name))
            assert served(answer) == ("b/m" if name == "b/m" else "a/m")
            assert answer.out_headers["x-llm-router-attempts"] == "1"
        assert "x-llm-router-model" not in (await ways.ask(chat("no/such"))).out_headers

    run(story)


def test_shares_follow_the_weights(run: Run) -> None:
    members = [{"model": "a/m", "weight": 50}, {"model": "b/m", "weight": 30}, {"model": "c/m", "weight": 20}]

    async def story(ways: Ways) -> None:
        found = Counter([served(await ways.ask(chat())) for _ in range(100)])
        assert found == {"a/m": 50, "b/m": 30, "c/m": 20}

    run(story, trio(groups=[group(*members, strategy="roundrobin")]))


def test_counting_tokens_goes_to_a_member_that_counts(run: Run) -> None:
    document = trio()
    document["providers"][0] = provider("a", api="anthropic", base_url="http://a.example")

    async def story(ways: Ways) -> None:
        body = {"model": "g", "messages": TURN}
        assert (await ways.post("/v1/messages/count_tokens", body)).json == {"input_tokens": 5}
        estimated = await ways.post("/v1/messages/count_tokens", body)  # a fails, b speaks another protocol
        assert estimated.json["input_tokens"] > 1

    assert run(story, document, a=[Upstream(200, b'{"input_tokens":5}'), refusal(500)]).hosts.hosts == ["a", "a"]


# -- selectors


def selecting(**selectors: str) -> dict[str, Any]:
    members = [{"model": f"{name}/m", "priority": 3 - place, "selector": selectors[name]} if name in selectors else
               {"model": f"{name}/m", "priority": 3 - place} for place, name in enumerate("abc")]  # fmt: skip
    return trio(groups=[group(*members)])


def test_a_selector_sees_the_body_as_it_came_and_the_headers_without_credentials(run: Run) -> None:
    selectors = {"a": ".odd.deep == 1", "b": '$headers["x-team"] == "red" and ($headers | has("authorization") | not)'}

    async def story(ways: Ways) -> None:
        assert served(await ways.ask(chat("g", ', "odd": {"deep": 1}'))) == "a/m"
        headers = [("x-team", "red"), ("authorization", "Bearer x")]
        assert served(await ways.ask(chat("g", headers=headers))) == "b/m"
        assert served(await ways.ask(chat("g"))) == "c/m"

    run(story, selecting(**selectors))


@pytest.mark.parametrize("protocol", ASKS)
def test_a_selector_knows_the_protocol_the_stream_and_the_name(run: Run, protocol: str) -> None:
    selectors = {"a": f'$protocol == "{protocol}" and $model == "g" and ($stream | not)', "b": "false", "c": "true"}

    async def story(ways: Ways) -> None:
        path, body = ASKS[protocol]
        assert served(await ways.post(path, body)) == "a/m"

    run(story, selecting(**selectors))


def test_only_true_selects(run: Run) -> None:
    async def story(ways: Ways) -> None:
        assert served(await ways.ask(chat())) == "c/m"

    run(story, selecting(a='"true"', b=".messages | length"))


def test_an_error_in_a_selector_does_not_select_and_is_logged_once(run: Run) -> None:
    async def story(ways: Ways) -> None:
        for _ in range(3):
            assert served(await ways.ask(chat())) == "b/m"

    assert run(story, selecting(a=".messages.none")).lines.count("selector '.messages.none'") == 1


def test_when_no_selector_is_true_the_answer_says_so(run: Run) -> None:
    async def story(ways: Ways) -> None:
        answer = await ways.ask(chat())
        assert answer.status == 503
        assert "selector" in answer.json["error"]["message"]

    assert run(story, selecting(a="false", b="false", c="false")).hosts.hosts == []


# -- tags


def test_tags_are_a_models_name_or_a_header(run: Run) -> None:
    async def story(ways: Ways) -> None:
        for name, who in (("tag:coding", "b/m"), ("tag:coding,-slow", "a/m"), ("tag:fast|slow", "b/m"), ("task:code", "a/m")):
            assert served(await ways.ask(chat(name))) == who
        assert served(await ways.ask(chat("anything", headers=[("x-llm-router-tags", "coding,fast")]))) == "a/m"
        path = "/v1beta/models/tag:coding,-slow:generateContent"
        assert served(await ways.post(path, ASKS["gemini"][1])) == "a/m"
        messages = {**ASKS["anthropic"][1], "model": "tag:CODING,-slow"}
        assert served(await ways.post("/v1/messages", messages)) == "a/m"

    ways = run(story, tagged())
    assert all(json.loads(sent["body"])["model"] == "m" for sent in ways.hosts.sent)
    assert not any(name.startswith("x-llm-router") for sent in ways.hosts.sent for name in sent["headers"])


@pytest.mark.parametrize("protocol", ASKS)
def test_no_match_is_a_404_that_names_what_there_is(run: Run, protocol: str) -> None:
    async def story(ways: Ways) -> None:
        path, body = ASKS[protocol]
        for name, named in (("tag:coding,painting", "painting"), ("task:cook", "code")):
            named_body = body | {"model": name} if "model" in body else body
            answer = await ways.post(path.replace("models/g:", f"models/{name}:"), named_body)
            assert answer.status == 404
            assert named in answer.json["error"]["message"]
            assert "coding" in answer.json["error"]["message"] or "code" in answer.json["error"]["message"]

    run(story, tagged())


def test_what_is_switched_off_or_unhealthy_is_a_503(run: Run) -> None:
    async def story(ways: Ways) -> None:
        off = await ways.ask(chat("tag:vision"))
        assert (off.status, "switched off" in off.json["error"]["message"]) == (503, True)
        for _ in range(4):
            last = await ways.ask(chat("tag:fast"))
        assert last.status == 503
        decided = await ways.post("/route", {"query": {"tags": ["fast"]}})
        assert decided.status == 503
        assert decided.json["explain"]["candidates"][0]["state"] == "open"

    run(story, tagged(), a=refusal(500))


def test_a_query_that_cannot_be_read_is_a_400(run: Run) -> None:
    async def story(ways: Ways) -> None:
        for name in ("tag:", "tag:,", "tag:-"):
            assert (await ways.ask(chat(name))).status == 400

    run(story, tagged())


# -- /route and /route/invoke


def test_route_decides_and_says_why_and_calls_none(run: Run) -> None:
    async def story(ways: Ways) -> None:
        for body in ({"query": {"tags": ["coding"]}}, {"query": {"tags": ["coding"]}, "request": {"prompt": "hi"}}):
            for _ in range(2):  # nothing changes by it
                decided = (await ways.post("/route", body)).json
                assert (decided["model"], decided["provider"]) == ("b/m", "b")
                assert [each["model"] for each in decided["explain"]["candidates"]] == ["a/m", "b/m"]
                assert all(each["why"] for each in decided["explain"]["candidates"])
        ordinary = (await ways.post("/v1/route", {"model": "a/m", "messages": TURN})).json
        assert ordinary["model"] == "a/m"
        assert "key-" not in json.dumps(ordinary)

    assert run(story, tagged()).hosts.hosts == []


def test_route_sees_an_ordinary_body_in_its_own_protocol(run: Run) -> None:
    async def story(ways: Ways) -> None:
        headers = [("anthropic-version", "2023-06-01")]
        decided = (await ways.post("/route", {"model": "g", "system": "x", "messages": TURN}, headers)).json
        assert decided["model"] == "a/m"
        assert (await ways.post("/route", {"model": "g", "messages": TURN})).json["model"] == "b/m"

    run(story, selecting(a='$protocol == "anthropic" and .system == "x"'))


def test_invoke_answers_in_its_own_shape(run: Run) -> None:
    async def story(ways: Ways) -> None:
        wish = {"query": {"tags": ["coding"], "none": ["slow"]}, "request": {"prompt": "hi", "parameters": {"temperature": 0}}}
        answer = await ways.post("/route/invoke", wish)
        assert (answer.status, served(answer)) == (200, "a/m")
        said = answer.json
        assert (said["model"], said["output_text"], said["usage"]) == ("a/m", "a", {"input_tokens": 3, "output_tokens": 4})
        assert said["cost"] == 0.1  # the upstream's own word
        assert said["raw"]["object"] == "chat.completion"

    sent = json.loads(run(story, tagged()).hosts.sent[0]["body"])
    assert sent == {"model": "m", "messages": TURN, "temperature": 0}


def test_invoke_streams_as_chat_does_and_fails_over(run: Run) -> None:
    async def story(ways: Ways) -> None:
        wish = {"query": {"any": ["coding", "slow"]}, "request": {"messages": TURN, "stream": True}}
        answer = await ways.post("/route/invoke", wish)
        assert (answer.out, served(answer)) == (FIRST + TEXT + LAST + DONE, "a/m")

    assert run(story, tagged(), b=refusal(503), a=streamed()).hosts.hosts == ["b", "a"]


def test_invoke_has_the_same_shape_over_another_protocol(run: Run) -> None:
    document = tagged()
    document["providers"][0] = provider("a", api="anthropic", base_url="http://a.example")

    async def story(ways: Ways) -> None:
        said = (await ways.post("/route/invoke", {"query": {"tags": ["fast"]}, "request": {"prompt": "hi"}})).json
        assert (said["output_text"], said["raw"]["object"]) == ("hello", "chat.completion")
        assert said["cost"] == pytest.approx((1_000 * 10 + 100 * 20) / 1_000_000)

    answer = {"type": "message", "id": "1", "role": "assistant", "model": "m", "stop_reason": "end_turn",
              "content": [{"type": "text", "text": "hello"}],
              "usage": {"input_tokens": 1000, "output_tokens": 100}}  # fmt: skip
    run(story, document, a=Upstream(200, json.dumps(answer).encode()))


@pytest.mark.parametrize(
    ("wish", "path"),
    [
        ({}, "query"),
        ({"request": {"prompt": "hi"}}, "query"),
        ({"query": {"tags": ["coding"]}}, "request"),
        ({"query": {"tags": "x", "colour": 1}, "request": {"prompt": "hi"}}, "query.colour"),
        ({"query": {"tags": [1]}, "request": {"prompt": "hi"}}, "query.tags"),
        ({"query": {"tags": ["coding"]}, "request": {"prompt": 5}}, "request.prompt"),
        ({"query": {"tags": ["coding"]}, "request": {"messages": {}}}, "request.messages"),
        ({"query": {"tags": ["coding"]}, "request": {"prompt": "hi", "temperature": 0}}, "request.temperature"),
        ({"query": {"tags": "coding"}, "request": {"prompt": "hi", "parameters": {"model": "x"}}}, "request.parameters.model"),
        ({"query": {"tags": ["coding"]}, "request": {"prompt": "hi", "stream": "yes"}}, "request.stream"),
        ({"query": {"tags": ["coding"]}, "model": "a/m", "request": {"prompt": "hi"}, "more": 1}, "more"),
    ],
)
def test_a_wish_that_is_none_names_its_field(run: Run, wish: dict[str, Any], path: str) -> None:
    async def story(ways: Ways) -> None:
        answer = await ways.post("/route/invoke", wish)
        assert answer.status == 400
        assert path in answer.json["error"]["message"]

    assert run(story, tagged()).hosts.hosts == []


def test_the_cost_of_an_invocation_is_what_the_log_has() -> None:
    charge = Charge(Usage(input=10, cache_read=5, text=2), 0.5, "upstream")
    told = route_api.invoke_response({}, "a/m", charge)
    assert (told["usage"], told["cost"], told["cost_source"]) == ({"input_tokens": 15, "output_tokens": 2}, 0.5, "upstream")
    assert route_api.invoke_response({}, "a/m", None)["cost"] is None


def test_what_the_model_said_is_found_in_any_answer() -> None:
    assert route_api.text_of({"choices": [{"message": {"content": [{"type": "text", "text": "a"}]}}]}) == "a"
    for odd in ({}, {"choices": []}, {"choices": [{}]}, {"choices": [{"message": {"content": None}}]}):
        assert route_api.text_of(odd) == ""
    with pytest.raises(BadRequest):
        route_api.read_route_query({"query": 5, "request": {"prompt": "x"}}, needs_request=True)


# -- limits


def limited(owner: str = "a", **limit: Any) -> dict[str, Any]:
    """The group's one member is limited."""
    return trio(models=[model(owner, limits=limit)], groups=[group(f"{owner}/m")])


@pytest.mark.parametrize("protocol", ASKS)
def test_a_reached_limit_is_a_429_in_the_callers_protocol(run: Run, protocol: str) -> None:
    async def story(ways: Ways) -> None:
        path, body = ASKS[protocol]
        assert [(await ways.post(path, body)).status for _ in range(2)] == [200, 200]
        answer = await ways.post(path, body)
        assert answer.status == 429
        assert int(answer.out_headers["retry-after"]) in (29, 30)
        assert "2 requests in 60 s" in answer.json["error"]["message"]
        ways.skip(31)
        assert (await ways.post(path, body)).status == 200

    assert run(story, limited(max_requests=2, per_seconds=60)).hosts.hosts == ["a"] * 3


def test_a_limit_holds_for_the_model_however_it_is_called(run: Run) -> None:
    async def story(ways: Ways) -> None:
        assert [(await ways.ask(chat(name))).status for name in ("g", "a/m", "m", "tag:x", "g")] == [200, 200, 200, 200, 429]

    run(story, trio(models=[model("a", tags=["x"], limits={"max_requests": 4, "per_seconds": 60})], groups=[group("a/m")]))


def test_a_limited_member_is_followed_by_one_that_is_not(run: Run) -> None:
    document = trio()
    document["models"][0] = model("a", limits={"max_requests": 1, "per_seconds": 60})

    async def story(ways: Ways) -> None:
        assert [served(await ways.ask(chat())) for _ in range(3)] == ["a/m", "b/m", "b/m"]

    run(story, document)


@pytest.mark.parametrize("ask", [chat, stream])
def test_a_limit_may_be_waited_for_and_no_longer_than_it_says(run: Run, ask: Callable[[], Exchange]) -> None:
    async def story(ways: Ways) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        answers = await asyncio.gather(*(ways.ask(ask()) for _ in range(4)))
        assert sorted(answer.status for answer in answers) == [200, 200, 200, 429]
        assert clock() - began == pytest.approx(0.12)

    good = streamed() if ask is stream else ok()
    run(story, limited(max_requests=1, per_seconds=0.06, wait_s=0.13), a=good)


def test_a_stream_that_waits_for_its_turn_is_kept_alive(run: Run) -> None:
    document = limited(max_requests=1, per_seconds=0.1, wait_s=1)
    document["server"] = {"keepalive_s": 0.02}

    async def story(ways: Ways) -> None:
        began = ways.gateway._clock()
        await ways.ask(stream())
        ways.skip(began - ways.gateway._clock())  # however long that took, the next one waits for its whole turn
        answer = await ways.ask(stream())
        assert answer.out.startswith(b"\n")
        assert answer.out.endswith(FIRST + TEXT + LAST + DONE)

    run(story, document, a=streamed())


def test_at_most_so_many_at_once_and_so_many_in_the_queue(run: Run) -> None:
    open_now, most = 0, 0

    async def slow() -> Upstream:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await asyncio.sleep(0.02)
        open_now -= 1
        return ok()

    async def story(ways: Ways) -> None:
        answers = await asyncio.gather(*(ways.ask(chat()) for _ in range(6)))
        assert Counter(answer.status for answer in answers) == {200: 5, 429: 1}
        assert most == 2
        assert all(answer.out_headers["retry-after"] for answer in answers if answer.status == 429)
        assert (await ways.ask(chat())).status == 200

    run(story, limited(max_concurrent=2, queue=3, wait_s=5), a=lambda sent: slow())


def test_a_place_in_the_queue_is_not_kept_for_ever_nor_for_a_caller_that_left(run: Run) -> None:
    gate = asyncio.Event()

    async def waits() -> Upstream:
        await gate.wait()
        return ok()

    async def story(ways: Ways) -> None:
        first = asyncio.create_task(ways.ask(chat()))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(ways.ask(chat()))
        await asyncio.sleep(0.01)
        second.cancel()
        third = asyncio.create_task(ways.ask(stream()))
        assert (await third).status == 429
        gate.set()
        assert (await first).status == 200
        assert (await ways.ask(chat())).status == 200

    run(story, limited(max_concurrent=1, queue=1, wait_s=0.05), a=[lambda sent: waits(), ok()])


def test_each_key_of_callers_has_its_own_limit(run: Run) -> None:
    tokens = ["token" + "-1" * 6, "token" + "-2" * 6]
    document = trio(server={"token": ",".join(tokens), "key_limits": {"max_requests": 2, "per_seconds": 60}})

    async def story(ways: Ways) -> None:
        for token in tokens:
            headers = [("authorization", f"Bearer {token}")]
            found = [(await ways.ask(chat("a/m", headers=headers))).status for _ in range(3)]
            assert found == [200, 200, 429]

    run(story, document)


def test_tokens_are_counted_as_they_were_used(run: Run) -> None:
    async def story(ways: Ways) -> None:
        for status in (200, 200, 429):  # each estimated at 10 and found to have used 7
            assert (await ways.ask(chat())).status == status

    run(story, limited(tokens_per_minute=18))


def test_a_new_configuration_does_not_refill_a_bucket(run: Run) -> None:
    document = limited(max_requests=1, per_seconds=60)

    async def story(ways: Ways) -> None:
        assert (await ways.ask(chat())).status == 200
        ways.gateway.swap(prepare(config.parse(document)))
        assert (await ways.ask(chat())).status == 429

    run(story, document)


# -- overrides


OVERRIDES = {
    "drop_params": ["top_k", "seed"],
    "default_params": {"temperature": 0.5, "seed": 1, "metadata": {"a": 1}},
    "rewrite_body": {"user": "us", "metadata": {"b": 2}},
    "rewrite_header": {"X-Request-ID": "ours", "x-gone": "no", "authorization": "Basic x"},
}


def overriding(api: str = "openai", **overrides: Any) -> dict[str, Any]:
    document = trio(models=[model("a", **overrides)], groups=[group("a/m")])
    document["providers"][0] = provider("a", api=api, base_url="http://a.example/v1")
    return document


@pytest.mark.parametrize("name", ["g", "a/m"])
def test_overrides_change_a_relayed_body_and_nothing_else_of_it(run: Run, name: str) -> None:
    async def story(ways: Ways) -> None:
        await ways.ask(chat(name, ', "seed": 9, "odd" : 1.0e0, "user": "me"', headers=[("x-gone", "yes")]))

    sent = run(story, overriding(**OVERRIDES)).hosts.sent[0]
    body = json.loads(sent["body"])
    assert body == {"messages": TURN, "model": "m", "odd": 1.0, "user": "us", "temperature": 0.5, "seed": 1,
                    "metadata": {"a": 1, "b": 2}}  # fmt: skip
    assert b"1.0e0" in sent["body"]
    assert (sent["headers"]["x-request-id"], sent["headers"]["x-gone"]) == ("ours", "no")
    assert sent["headers"]["authorization"] == "Basic x"  # in the place of ours, not behind it


def test_overrides_change_a_converted_body_in_the_upstreams_words(run: Run) -> None:
    patch = {"generationConfig": {"topK": 5}}

    async def story(ways: Ways) -> None:
        await ways.ask(chat("g", ', "temperature": 0.25, "max_tokens": 9'))

    sent = run(story, overriding("gemini", rewrite_body=patch), a=Upstream(200, b"{}")).hosts.sent[0]
    assert json.loads(sent["body"])["generationConfig"] == {"temperature": 0.25, "maxOutputTokens": 9, "topK": 5}


def test_null_removes_a_field_or_a_header(run: Run) -> None:
    async def story(ways: Ways) -> None:
        await ways.ask(chat("g", ', "user": "me"', headers=[("openai-beta", "x")]))

    overrides = {"rewrite_body": '{"user": null}', "rewrite_header": '{"openai-beta": null}'}
    sent = run(story, overriding(**overrides)).hosts.sent[0]
    assert "user" not in json.loads(sent["body"])
    assert "openai-beta" not in sent["headers"]


# -- affinity


@pytest.mark.parametrize("affinity", ["x-claude-code-session-id", ".user"])
def test_a_conversation_stays_with_its_member_while_that_is_healthy(run: Run, affinity: str) -> None:
    document = trio(groups=[group("a/m", "b/m", "c/m", strategy="roundrobin", affinity=affinity)])

    def turn(name: str) -> Exchange:
        return chat("g", f', "user": "{name}"', headers=[("x-claude-code-session-id", name)])

    async def story(ways: Ways) -> None:
        homes = {name: served(await ways.ask(turn(name))) for name in ("one", "two", "three")}
        assert len(set(homes.values())) == 3
        for _ in range(4):
            for name, home in homes.items():
                assert served(await ways.ask(turn(name))) == home
        sick = homes["one"].partition("/")[0]
        ways.hosts.scripts[sick] = [refusal(500)]
        new = {served(await ways.ask(turn("one"))) for _ in range(4)}
        assert len(new) == 1
        assert homes["one"] not in new

    run(story, document)


# -- /health/models


def test_health_is_reported_by_model_and_needs_the_token(run: Run) -> None:
    token = "our" + "-token" * 3
    document = trio(server={"token": token})
    mine = [("x-api-key", token)]

    async def story(ways: Ways) -> None:
        assert (await ways.ask(Exchange("GET", "/health/models"))).status == 401
        await ways.ask(chat(headers=mine))
        await ways.ask(chat("b/m", headers=mine))
        models = (await ways.ask(Exchange("GET", "/health/models", headers=mine))).json["models"]
        found = {each["model"]: (each["state"], each["successes"], each["failures"], each["groups"]) for each in models}
        assert found == {"a/m": ("ok", 0, 1, ["g"]), "b/m": ("ok", 2, 0, ["g"]), "c/m": ("ok", 0, 0, ["g"])}
        assert "key-" not in json.dumps(models)

    run(story, document, a=refusal(502))


def test_a_configuration_without_groups_is_as_before(run: Run) -> None:
    async def story(ways: Ways) -> None:
        answer = await ways.ask(chat("a/anything"))
        assert (answer.status, answer.out) == (200, ANSWER.replace(b'"hi"', b'"a"'))

    run(story, {"providers": [provider("a")]})
