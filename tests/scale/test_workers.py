"""Two gateways with two workers each and one Redis: what one of the four workers knows or takes, the others know."""

from __future__ import annotations

from pathlib import Path

import pytest
from engines import need_redis
from postgres_server import PostgresServer
from postgres_server import missing as missing_postgres
from replicas import Replicas
from running import Process, http, sends, until
from spread import Kept, to_every_worker, workers_of

pytestmark = pytest.mark.slow
WORKERS = "workers = 2\n"


@pytest.fixture(autouse=True)
def _redis() -> None:
    need_redis()


def test_a_rate_limit_is_one_limit_for_all_workers_of_all_gateways(tmp_path: Path) -> None:
    with Replicas(tmp_path, settings=WORKERS, key="limits = { max_requests = 20, per_seconds = 100000 }") as group:
        assert [len(workers_of(each.pid)) for each in group.gateways] == [2, 2]
        found = group.outcomes(80)
        served = found[200]
        assert set(found) == {200, 429} and 15 <= served <= 20

        def calls_on() -> bool:
            nonlocal served
            served += group.chat(served % 2).status == 200
            return served == 20

        until(calls_on, "what a worker gave back is used by others")
        assert set(group.outcomes(20)) == {429}


def test_a_budget_is_not_over_spent_by_four_workers(tmp_path: Path) -> None:
    with Replicas(tmp_path, settings=WORKERS, key="budget = { usd_per_day = 0.02 }") as group:
        found = group.outcomes(60, max_tokens=90)  # each holds up to 0.0009 USD and costs 0.001
        assert found[200] * 0.001 <= 0.022 and found[200] >= 10
        assert set(found) <= {200, 402}


def test_a_gateway_with_workers_starts_without_postgresql_and_counts_keys_once_it_is_there(tmp_path: Path) -> None:
    if why := missing_postgres():
        pytest.skip(why)
    key = "budget = { usd_per_day = 5 }"
    with PostgresServer() as store, Replicas(tmp_path, count=0, settings=WORKERS, key=key) as group:
        group.config = group.config.replace('"router.db"', f'"{store.database()}"')
        first = group.add()
        assert group.chat(0).status == 200
        until(lambda: spent_by(first, group) > 0, "its own call is shown")
        store.kill()
        second = group.add()
        assert group.chat(1).status == 200  # Redis knows what the key has spent
        store.start()
        until(lambda: spent_by(first, group) == spent_by(second, group) == 0.002, "each shows what both have spent")
        assert all("Traceback" not in process.log for process in group.gateways)


def spent_by(process: Process, group: Replicas) -> float:
    """What the page says that the caller's key has spent today, in US dollars."""
    answer = process.get("/api-keys", authorization=f"Bearer {group.admin}")
    return next((item["spent"]["usd_day"] for item in answer.json["items"] if item["name"] == "caller"), 0.0)


def knows(way: Kept, key: str) -> bool:
    """Whether a worker would not send to the member now."""
    body = {"model": "o/m", "messages": [{"role": "user", "content": "hi"}]}
    return '"open"' in way.send("POST", "/route", body, authorization=f"Bearer {key}").data.decode()


def test_a_login_and_an_open_breaker_are_known_to_the_workers_of_the_other_gateway(tmp_path: Path) -> None:
    with Replicas(tmp_path, settings=WORKERS) as group:
        login = group.first.send("POST", "/monitor/login", b"", authorization=f"Bearer {group.admin}")
        cookie = login.headers["set-cookie"].partition(";")[0]
        group.second.token = ""
        until(lambda: {group.second.get("/v1/models", cookie=cookie).status for _ in range(6)} == {200}, "it holds on all")
        group.upstream.does(sends(http(b"{}", status="500 Oops")))
        for _ in range(12):
            group.chat(0)
        with to_every_worker(group.second) as both:
            for way in both:
                until(lambda way=way: knows(way, group.caller), "a worker of the other gateway knows", limit_s=20)
        group.first.send("POST", "/monitor/logout", b"", cookie=cookie, x_llm_router_csrf="1")
        group.second.token = ""
        until(lambda: {group.second.get("/v1/models", cookie=cookie).status for _ in range(6)} == {401}, "it has ended on all")
