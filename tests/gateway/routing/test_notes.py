"""routing/notes: what replicas send each other about members, keys and conversations."""

import json
from typing import Any

import pytest
from choices import World, parse

from llm_router_gateway.config.kinds import Secret
from llm_router_gateway.errors import of_status
from llm_router_gateway.policy import circuit_breaker
from llm_router_gateway.policy.circuit_breaker import Rules
from llm_router_gateway.routing.notes import SESSION_AGAIN_S, Notes, keys_by_mark, mark_of
from llm_router_gateway.routing.state import SESSION_S, RoutingState

RULES = Rules(failures_to_open=1, open_s=30.0)
CONFIG = """
[[providers]]
name = "p"
api = "openai"
base_url = "http://127.0.0.1:1/v1"
api_key = "first-key, second-key" # pragma: allowlist secret
"""
KEYS = keys_by_mark(parse(CONFIG))


class Replica:
    def __init__(self, name: str, clock: float) -> None:
        self.state, self.notes, self.now = RoutingState(), Notes(name), clock

    def tells(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(json.dumps(self.notes.changes(self.state, self.now)))
        return found

    def hears(self, notes: list[dict[str, Any]], age_s: float = 0.5) -> None:
        for note in notes:
            self.notes.absorb(self.state, note, age_s, KEYS, self.now)

    def fails(self, name: str = "p/m", **terms: float) -> None:
        self.state.keep(name, circuit_breaker.record_failure(self.state.health(name), RULES, self.now, "503 broken", **terms))

    def health(self, name: str = "p/m") -> str:
        return circuit_breaker.state(self.state.health(name), self.now)


@pytest.fixture
def pair() -> tuple[Replica, Replica]:
    return Replica("one", 1_000.0), Replica("two", 5.0)  # their clocks have nothing in common


def test_an_open_breaker_is_reported_once_with_what_is_left_of_it_and_taken_over(pair: tuple[Replica, Replica]) -> None:
    one, two = pair
    one.fails()
    told = one.tells()
    assert [(note["kind"], note["name"], note["open_s"], note["from"]) for note in told] == [("member", "p/m", 30.0, "one")]
    assert one.tells() == []
    two.hears(told)
    assert two.health() == "open" and circuit_breaker.back_in_s(two.state.health("p/m"), two.now) == 29.5
    assert two.state.health("p/m").last_error == "503 broken" and two.state.health("p/m").factor == 1.0
    assert two.tells() == []  # no echo
    one.hears(told)
    assert one.state.health("p/m").failures == 1  # its own note changes nothing


def test_a_breaker_that_a_trial_closed_is_closed_everywhere(pair: tuple[Replica, Replica]) -> None:
    one, two = pair
    one.fails()
    two.hears(one.tells())
    one.now += 31
    one.state.keep("p/m", circuit_breaker.record_success(one.state.health("p/m"), RULES, one.now))
    two.hears(one.tells())
    assert two.health() == "ok"
    assert one.tells() == two.tells() == []


def test_a_cooldown_of_a_member_is_shared_and_an_old_note_is_not(pair: tuple[Replica, Replica]) -> None:
    one, two = pair
    one.state.keep("p/m", circuit_breaker.HEALTHY._replace(cool_until=one.now + 10))
    told = one.tells()
    two.hears(told, age_s=10.5)
    assert two.health() == "ok"
    two.hears(told, age_s=1.0)
    assert two.health() == "cooling"


def test_a_keys_cooldown_is_shared_without_the_key(pair: tuple[Replica, Replica]) -> None:
    one, two = pair
    key = Secret("second-key")
    candidate = World(CONFIG + '[[p.models]]\nname = "m"\n').table.routes.full["p/m"]
    one.state.cool_key(candidate, key, one.now, of_status(401, "no"))
    told = one.tells()
    assert told[0]["mark"] == mark_of(key) and "second-key" not in json.dumps(told)
    two.hears(told)
    assert two.state.key_cooldowns == {("p", key): two.now + 299.5}
    one.state.clear_key_cooldown(candidate, key)
    two.hears(one.tells())
    assert two.state.key_cooldowns == {} and two.tells() == []
    two.hears([{**told[0], "mark": "of another configuration"}])
    assert two.state.key_cooldowns == {}


def test_a_conversation_keeps_its_member_and_is_sent_again_while_it_goes_on(pair: tuple[Replica, Replica]) -> None:
    one, two = pair
    one.state.keep_session(("g", "talk"), "p/m", one.now)
    two.hears(one.tells())
    assert two.state.session(("g", "talk"), two.now) == "p/m"
    one.now += 1
    one.state.keep_session(("g", "talk"), "p/m", one.now)
    assert one.tells() == []
    one.now += SESSION_AGAIN_S
    one.state.keep_session(("g", "talk"), "p/m", one.now)
    assert [note["session"] for note in one.tells()] == ["talk"]


def test_a_newer_choice_of_ones_own_is_not_undone(pair: tuple[Replica, Replica]) -> None:
    one, two = pair
    one.state.keep_session(("g", "talk"), "p/old", one.now)
    told = one.tells()
    two.state.keep_session(("g", "talk"), "p/new", two.now)
    two.hears(told, age_s=0.5)
    assert two.state.session(("g", "talk"), two.now) == "p/new"
    two.hears([{"kind": "session", "group": "g", "session": "other", "name": "p/m"}], age_s=SESSION_S)
    assert two.state.session(("g", "other"), two.now) == ""


def test_after_a_loss_everything_that_holds_is_sent_again(pair: tuple[Replica, Replica]) -> None:
    one, _ = pair
    one.fails()
    one.state.keep_session(("g", "talk"), "p/m", one.now)
    assert len(one.tells()) == 2 and one.tells() == []
    one.notes.forget()
    assert len(one.tells()) == 2


def test_a_note_of_a_kind_that_is_not_known_is_passed_over(pair: tuple[Replica, Replica]) -> None:
    two = pair[1]
    two.hears([{"kind": "later", "name": "x"}])
    assert two.tells() == []
