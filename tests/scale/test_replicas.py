"""Two gateways and one Redis, as processes: limits and budgets hold together; health, conversations and logins are shared."""

from __future__ import annotations

import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from engines import need_redis
from replicas import Replicas, answer_of
from running import close, command, http, sends, until

pytestmark = pytest.mark.slow

QUICKLY = "timeout_s = 0.05\n"


@pytest.fixture(autouse=True)
def _redis() -> None:
    need_redis()


# -- limits


def test_a_rate_limit_is_one_limit_however_many_gateways_count(tmp_path: Path) -> None:
    with Replicas(tmp_path, key="limits = { max_requests = 20, per_seconds = 600 }") as group:
        assert group.outcomes(80) == {200: 20, 429: 60}
        refused = group.chat(0)
        assert int(refused.headers["retry-after"]) > 1
        assert "20 requests in 600 s" in refused.json["error"]["message"]


def test_slots_are_counted_together_and_those_of_a_killed_gateway_come_back(tmp_path: Path) -> None:
    with Replicas(tmp_path, key="limits = { max_concurrent = 3 }") as group:
        group.upstream.does(lambda sock, _: time.sleep(3_600))
        with ThreadPoolExecutor(8) as pool:
            opened = [pool.submit(group.chat, place) for place in (0, 1, 0)]
            until(lambda: len(group.upstream.requests) == 3, "three calls under way")
            assert {group.chat(place).status for place in (0, 1)} == {429}
            group.restart(0)
            group.upstream.act = sends(answer_of())
            until(lambda: group.chat(1).status == 200, "the slots of the dead one", limit_s=30)
            group.gateways[1].end()
            for each in opened:
                each.exception(30)


def test_tokens_that_were_estimated_are_corrected_for_all(tmp_path: Path) -> None:
    with Replicas(tmp_path, key="limits = { tokens_per_minute = 5000 }") as group:
        group.upstream.does(sends(answer_of(tokens=3_000)))
        assert group.chat(0).status == 200
        time.sleep(0)  # the correction leaves with the next report
        until(lambda: group.chat(1).status == 429 or group.chat(0).status == 429, "6,000 tokens were used")


# -- budgets


def test_a_budget_is_one_budget_and_almost_all_of_it_can_be_spent(tmp_path: Path) -> None:
    with Replicas(tmp_path, key="budget = { usd_per_day = 0.2 }") as group:
        group.upstream.does(sends(answer_of(cost_usd=0.0005)))
        seen = group.outcomes(600)
        spent = seen[200] * 0.0005
        assert seen[402] > 0 and set(seen) == {200, 402}, seen
        assert 0.19 <= spent <= 0.2 + 1e-9, seen
        refused = group.chat(0)
        assert refused.status == 402 and refused.json["error"]["code"] == "budget_used_up"


def test_a_budget_in_tokens_and_by_month_is_shared_as_well(tmp_path: Path) -> None:
    with Replicas(tmp_path, key="budget = { tokens_per_month = 20000 }") as group:
        group.upstream.does(sends(answer_of(tokens=50)))
        seen = group.outcomes(600)
        assert set(seen) == {200, 402} and 19_000 <= seen[200] * 50 <= 20_000, seen


def test_what_was_spent_before_redis_came_counts(tmp_path: Path) -> None:
    with Replicas(tmp_path, key="budget = { usd_per_day = 0.018 }") as group:
        group.upstream.does(sends(answer_of(cost_usd=0.009)))
        assert group.chat(0).status == group.chat(0).status == 200
        until(lambda: group.chat(1).status == 402, "the budget is spent at the other one, too")
        group.server.say("FLUSHALL")
        until(lambda: group.metrics(0).get("llm_router_state_engine_memory_losses_total") == 1, "the loss is known")
        until(lambda: group.metrics(0)["llm_router_state_engine_open"] == 1, "leases are granted again")
        # The second gateway has a log of its own. What the first one spent is known as soon as that one counts the key again.
        assert until(lambda: group.chat(0).status, "an answer") == 402


# -- the engine goes away


def test_a_frozen_engine_holds_up_three_requests_for_a_twentieth_of_a_second_and_then_none(tmp_path: Path) -> None:
    limits = "limits = { max_requests = 1000000, per_seconds = 1, tokens_per_minute = 900000000 }"
    with Replicas(tmp_path, state=QUICKLY, key=limits) as group:
        assert group.chat(0).status == 200
        group.server.freeze()
        began = time.monotonic()
        assert {group.chat(0).status for _ in range(40)} == {200}
        assert time.monotonic() - began < 15, "each of 40 calls would wait for seconds"
        until(lambda: not group.is_up(0), "the gateway says that the engine is away")
        view = group.shared(0)
        assert not view["is_up"] and "nothing within 50 ms" in view["why"] and group.server.url in view["why"]
        group.first.logged("does not answer: nothing within 50 ms: leased parts of budgets are spent")
        group.server.thaw()
        until(lambda: group.is_up(0), "it is found again")
        group.first.logged("answers again")


def test_without_the_engine_leases_are_spent_and_then_budgets_refuse_with_the_reason(tmp_path: Path) -> None:
    with Replicas(tmp_path, key="budget = { usd_per_day = 5 }") as group:
        assert [group.chat(0).status for _ in range(3)] == [200] * 3
        group.server.kill()
        seen = []
        for _ in range(400):
            answer = group.chat(0)
            seen.append(answer.status)
            if answer.status != 200:
                break
        assert seen[-1] == 503 and seen[0] == 200, seen
        assert answer.json["error"]["code"] == "budget_unknown" and "does not answer" in answer.json["error"]["message"]
        assert answer.headers["retry-after"] == "1"
        assert "127.0.0.1" in answer.json["error"]["message"] and group.caller not in answer.json["error"]["message"]
        group.server.run()
        until(lambda: group.chat(0).status == 200, "budgets are granted again", limit_s=40)


def test_without_the_engine_a_rate_limit_goes_on_at_its_part(tmp_path: Path) -> None:
    with Replicas(tmp_path, key="limits = { max_requests = 40, per_seconds = 3600 }") as group:
        until(lambda: [group.metrics(place)["llm_router_state_replicas"] for place in (0, 1)] == [2, 2], "they know each other")
        group.server.kill()
        until(lambda: not group.is_up(0) and not group.is_up(1), "both know that it is away")
        seen = Counter(group.chat(number % 2).status for number in range(100))
        assert seen == {200: 40, 429: 60}, seen


def test_an_engine_that_is_not_there_at_the_start_is_found_later(tmp_path: Path) -> None:
    with Replicas(tmp_path, count=1, key="budget = { usd_per_day = 5 }") as group:
        group.server.kill()
        late = group.add()
        late.logged("does not answer")
        assert group.chat(1).status == 503
        group.server.run()
        until(lambda: group.chat(1).status == 200, "the engine that came later", limit_s=40)


# -- health, conversations, logins


def test_a_breaker_that_opened_is_known_to_the_other_within_a_second(tmp_path: Path) -> None:
    models = '[[groups]]\nname = "g"\nmembers = [{ model = "o/m" }, { model = "o/n" }]\n'
    models = '[[o.models]]\nname = "n"\n' + models + "[health]\nfailures_to_open = 3\nopen_s = 600\n"
    with Replicas(tmp_path, models=models) as group:
        until(lambda: group.is_up(1), "it is there")
        group.upstream.does(sends(http(b"{}", status="500 No"), close))
        for _ in range(4):
            group.chat(0)

        def states(place: int) -> dict[str, str]:
            found = group.gateways[place].get("/health/models", authorization=f"Bearer {group.admin}").json["models"]
            return {line["model"]: line["state"] for line in found}

        assert states(0)["o/m"] == "open"
        began = time.monotonic()
        until(lambda: states(1)["o/m"] == "open", "the other one knows", limit_s=30)
        print(f"known after {time.monotonic() - began:.2f} s")


def test_a_conversation_stays_on_its_member_at_every_gateway(tmp_path: Path) -> None:
    models = '[[o.models]]\nname = "n"\n[[groups]]\nname = "g"\naffinity = "x-talk"\n'
    models += 'members = [{ model = "o/m" }, { model = "o/n" }]\n'
    with Replicas(tmp_path, models=models) as group:

        def served(place: int, talk: str) -> str:
            body = json.dumps({"model": "g", "messages": [{"role": "user", "content": "hi"}]}).encode()
            group.gateways[place].send("POST", "/v1/chat/completions", body, x_talk=talk)
            return str(group.upstream.requests[-1].json["model"])

        first = {f"talk-{number}": served(0, f"talk-{number}") for number in range(8)}
        assert len(set(first.values())) == 2
        time.sleep(1.0)  # one round of notes; there is nothing that says that they have arrived
        assert {talk: served(1, talk) for talk in first} == first


def test_a_login_holds_at_every_gateway_and_so_does_its_end(tmp_path: Path) -> None:
    with Replicas(tmp_path) as group:
        until(lambda: group.is_up(0) and group.is_up(1), "both are there")
        for process in group.gateways:
            process.token = ""
        answer = group.first.send("POST", "/auth/login", json.dumps({"key": group.admin}).encode())
        assert answer.status == 204, answer
        cookie = answer.headers["set-cookie"].partition(";")[0]
        assert group.admin not in cookie
        assert group.second.get("/api-keys", cookie=cookie).status == 200
        forged = cookie[:-1] + ("0" if cookie[-1] != "0" else "1")
        assert group.second.get("/api-keys", cookie=forged).status == 401
        assert group.second.send("POST", "/auth/logout", b"", cookie=cookie, x_llm_router_csrf="1").status == 204
        until(lambda: group.first.get("/api-keys", cookie=cookie).status == 401, "it has ended at the first one")


# -- what is said beforehand, and what a restart changes


def check(group: Replicas, url: str = "") -> tuple[int, str, str]:
    """`--check`: its exit code, and what it prints."""
    folder = group.folder / "check"
    folder.mkdir(exist_ok=True)
    text = group.config.replace(group.server.url, url or group.server.url)
    (folder / "router.toml").write_text(text)
    done = command(folder, "-c", "router.toml", "--check", CALLER=group.caller)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_check_says_whether_the_engine_answers_and_what_budgets_need(tmp_path: Path) -> None:
    with Replicas(tmp_path, count=0) as group:
        code, out, err = check(group)
        assert code == 0 and f"ok    {group.server.url}" in out and ("Redis 7" in out or "Redis 8" in out or "Valkey" in out), (
            out
        )
        assert 'need a common log: [server] store = "postgresql://..."' in err
        code, out, _ = check(group, "redis://:pass-word@127.0.0.1:1/0")
        assert code == 1 and "FAIL  redis://127.0.0.1:1/0" in out and "check [state] url" in out and "pass-word" not in out


def test_a_gateway_that_begins_again_takes_nothing_from_what_was_spent(tmp_path: Path) -> None:
    with Replicas(tmp_path, key="budget = { usd_per_day = 0.018 }") as group:
        group.upstream.does(sends(answer_of(cost_usd=0.0005)))
        assert group.outcomes(60)[402] > 0
        group.restart(0)
        assert group.outcomes(40)[402] > 0
        assert 30 <= len(group.upstream.requests) <= 36  # of 0.0005 USD each
