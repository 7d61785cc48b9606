"""Health, cooldowns and conversations of several workers: what is passed on, what is not, and the sums that the home shows."""

from typing import Any

from configs import parse

from llm_router_gateway.cluster.routing import MemberViews, SharedRoutingState, absorb, whole_state
from llm_router_gateway.errors import Unauthorized
from llm_router_gateway.policy.circuit_breaker import HEALTHY, Rules, record_failure, record_latency, record_success, state
from llm_router_gateway.routing.notes import keys_by_mark
from llm_router_gateway.routing.resolve import candidates
from llm_router_gateway.routing.snapshot import snapshot_of
from llm_router_gateway.routing.state import RoutingState

RULES = Rules(failures_to_open=2, open_s=30.0)
CONFIG = parse('[[providers]]\nname = "p"\napi = "openai"\nbase_url = "http://h/v1"\napi_key = "k1,k2"\nany_model = true\n')
KEYS = keys_by_mark(CONFIG)
CANDIDATE = candidates(snapshot_of(CONFIG).routes, "p/m")[0]


class Worker:
    """One worker's state, and how often it called for others to hear at once."""

    def __init__(self) -> None:
        self.urgent = 0
        self.state = SharedRoutingState(self._call)

    def _call(self) -> None:
        self.urgent += 1

    def fail(self, now: float, times: int = 1, retry_after_s: float | None = None) -> None:
        for _ in range(times):
            self.state.keep("p/m", record_failure(self.state.health("p/m"), RULES, now, "503", retry_after_s))

    def succeed(self, now: float) -> None:
        self.state.keep("p/m", record_success(self.state.health("p/m"), RULES, now))

    def changes(self, now: float) -> dict[str, Any]:
        return self.state.take_changes(now) or {}


def pass_on(views: MemberViews, name: str, changes: dict[str, Any], others: list[Worker], now: float) -> None:
    """What the home does with a worker's changes; the others' clocks began 1,000 s later."""
    news = views.take(name, changes.get("members", {}), now)
    shared = {**{kind: values for kind, values in changes.items() if kind != "members"}, "members": news}
    for each in others:
        absorb(each.state, shared, KEYS, now - 1_000.0)


def test_an_open_breaker_opens_the_others_and_one_that_closed_closes_them() -> None:
    one, two, views = Worker(), Worker(), MemberViews()
    one.fail(2_000.0, times=2)
    assert one.urgent == 1
    pass_on(views, "one", one.changes(2_010.0), [two], 2_010.0)
    assert state(two.state.health("p/m"), 1_029.9) == "open" and state(two.state.health("p/m"), 1_030.1) == "probe"
    assert two.state.take_changes(1_010.0) is None, "what was heard is not told again"
    one.succeed(2_031.0)
    assert one.urgent == 2
    pass_on(views, "one", one.changes(2_031.0), [two], 2_031.0)
    assert state(two.state.health("p/m"), 1_031.0) == "ok"


def test_single_failures_and_latencies_stay_where_they_are() -> None:
    one, two, views = Worker(), Worker(), MemberViews()
    one.fail(2_000.0)
    one.state.keep("p/m", record_latency(one.state.health("p/m"), 0.5, 2_000.0))
    pass_on(views, "one", one.changes(2_000.0), [two], 2_000.0)
    assert one.urgent == 0 and two.state.health("p/m") == HEALTHY


def test_a_cooldown_lasts_everywhere_as_long_as_the_longer() -> None:
    one, two, views = Worker(), Worker(), MemberViews()
    one.fail(2_000.0, retry_after_s=20.0)
    pass_on(views, "one", one.changes(2_000.0), [two], 2_000.0)
    assert state(two.state.health("p/m"), 1_019.0) == "cooling" and state(two.state.health("p/m"), 1_021.0) == "ok"


def test_a_refused_key_of_a_provider_rests_everywhere_until_it_is_accepted() -> None:
    one, two, views = Worker(), Worker(), MemberViews()
    key = CANDIDATE.provider.keys[0]
    one.state.cool_key(CANDIDATE, key, 2_000.0, Unauthorized("no"))
    changes = one.changes(2_000.0)
    assert "k1" not in str(changes)
    pass_on(views, "one", changes, [two], 2_000.0)
    assert two.state.key_available_at(CANDIDATE, key) == 1_300.0
    one.state.clear_key_cooldown(CANDIDATE, key)
    pass_on(views, "one", one.changes(2_001.0), [two], 2_001.0)
    assert two.state.key_available_at(CANDIDATE, key) == 0.0


def test_a_conversation_is_sent_once_and_again_only_when_it_moves_or_gets_old() -> None:
    one, two, views = Worker(), Worker(), MemberViews()
    one.state.keep_session(("g", "s"), "p/m", 2_000.0)
    pass_on(views, "one", one.changes(2_000.0), [two], 2_000.0)
    assert two.state.session(("g", "s"), 1_000.0) == "p/m"
    one.state.keep_session(("g", "s"), "p/m", 2_100.0)
    assert "sessions" not in one.changes(2_100.0)
    one.state.keep_session(("g", "s"), "p/n", 2_101.0)
    assert one.changes(2_101.0)["sessions"] == [["g", "s", "p/n"]]


def test_a_learned_window_is_sent_once() -> None:
    one = Worker()
    one.state.learn_window("p/m", 8_000)
    one.state.learn_window("p/m", 8_000)
    assert one.changes(0.0)["windows"] == {"p/m": 8_000}
    assert one.state.take_changes(0.0) is None


def test_the_home_shows_sums_and_keeps_those_of_workers_that_ended() -> None:
    one, two, views, home = Worker(), Worker(), MemberViews(), RoutingState()
    one.succeed(0.0)
    one.succeed(0.0)
    two.fail(0.0)
    one.state.active["p/m"] = 3
    for name, worker in (("one", one), ("two", two)):
        views.take(name, worker.changes(5.0)["members"], 5.0)
    views.fill(home, ["p/m"])
    health = home.health("p/m")
    assert (health.successes, health.failures, health.factor, home.active["p/m"]) == (2, 1, 0.75, 3)
    views.fill(home, views.forget("one"))
    views.fill(home, views.forget("two"))
    assert (home.health("p/m").successes, home.health("p/m").failures, home.active) == (2, 1, {})


def test_a_breaker_that_another_gateway_opened_is_not_closed_by_workers_without_that_news() -> None:
    one, views, home = Worker(), MemberViews(), RoutingState()
    home.keep("p/m", HEALTHY._replace(opens=1, open_until=30.0))
    one.succeed(1.0)
    views.take("one", one.changes(1.0)["members"], 1.0)
    views.fill(home, ["p/m"])
    assert state(home.health("p/m"), 2.0) == "open"
    one.fail(3.0, times=2)
    views.take("one", one.changes(3.0)["members"], 3.0)
    one.succeed(40.0)
    views.take("one", one.changes(40.0)["members"], 40.0)
    views.fill(home, ["p/m"])
    assert state(home.health("p/m"), 41.0) == "ok"


def test_a_new_worker_hears_of_everything_that_is_not_as_usual() -> None:
    home, new = RoutingState(), Worker()
    home.keep("p/m", HEALTHY._replace(opens=1, open_until=30.0))
    home.keep("p/well", HEALTHY)
    home.keep_session(("g", "s"), "p/m", 0.0)
    home.learn_window("p/m", 10)
    home.cool_key(CANDIDATE, CANDIDATE.provider.keys[1], 0.0, Unauthorized("no"))
    found = whole_state(home, 10.0)
    assert list(found["members"]) == ["p/m"]
    absorb(new.state, found, KEYS, 500.0)
    assert state(new.state.health("p/m"), 519.0) == "open"
    assert new.state.session(("g", "s"), 500.0) == "p/m" and new.state.windows == {"p/m": 10}
    assert new.state.key_available_at(CANDIDATE, CANDIDATE.provider.keys[1]) == 790.0
