"""alerts: which part of which budget is used up, once each; what the webhook is sent, and what happens when it fails."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from configs import parse, problems
from fakes import Pool
from fakes import Upstream as Answer
from quick import slow
from running import PLAIN, Process, Upstream, hold, http, made_up, sends, until
from storing import call

from llm_router_gateway.config.alerts import Alerts
from llm_router_gateway.config.describe import config_text
from llm_router_gateway.config.keys import Key, read_json, terms_json
from llm_router_gateway.config.kinds import Secret
from llm_router_gateway.errors import UpstreamFailed
from llm_router_gateway.limiter.budgets import LocalBudgets
from llm_router_gateway.management.alerts import SpendAlerts, body_of
from llm_router_gateway.policy.budgets import Amount, Budget, Crossing, crossings

NOW = 1_795_946_400.0  # 2026-11-29T10:00:00Z
SECRET = "T0/hook" * 3  # pragma: allowlist secret
NONE = dict.fromkeys(("usd_per_day", "usd_per_month", "tokens_per_day", "tokens_per_month"), 0.0)


@pytest.mark.parametrize(
    "before, after, shares",
    [(3.9, 4.0, [0.8]), (4.0, 4.9, []), (4.9, 5.0, [1.0]), (0.0, 6.0, [1.0]), (5.0, 9.0, []), (0.0, 3.9, [])],
)
def test_a_part_counts_when_it_is_passed_and_of_several_the_largest(before: float, after: float, shares: list[float]) -> None:
    found = crossings(Budget(usd_per_day=5.0), {**NONE, "usd_per_day": before}, {**NONE, "usd_per_day": after}, (0.8, 1.0))
    assert [each.share for each in found] == shares


class Watching:
    """Alerts over a ledger, and what their webhook got."""

    def __init__(self, key: Key, *answers: Any, at: tuple[float, ...] = (0.8, 1.0)) -> None:
        self.pool, self.budgets, self.warned, self.pauses = Pool(*(answers or (Answer(),))), LocalBudgets(), [], []  # type: ignore[var-annotated]
        self.key, self.now = key, NOW
        settings = Alerts(Secret(f"https://hooks.example/{SECRET}"), at, {"x-key": Secret("k")})
        self.alerts = SpendAlerts(
            settings, self.pool, lambda name: key if name == key.id else None, self.budgets,  # type: ignore[arg-type]
            wall=lambda: self.now, warn=self.warned.append, pause=self.pause,
        )  # fmt: skip

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def spend(self, usd: float, tokens: int = 10, error: str = "") -> None:
        """One call that ends."""
        if not error:
            await self.budgets.spend(self.key.id, Amount(usd, tokens), self.now)
        spent = {"cost_usd": usd, "input_tokens": tokens, "output_tokens": 0}
        refused = {"error": error, "attempts": 0, "cost_usd": None, "input_tokens": None, "output_tokens": None}
        self.alerts.observe(call(key_id=self.key.id, **(refused if error else spent)))
        while self.alerts._waiting:
            await self.alerts.send(self.alerts._waiting.popleft())

    @property
    def got(self) -> list[tuple[str, str, float]]:
        bodies = [json.loads(each["body"]) for each in self.pool.sent]
        return [(body["kind"], body["limit"], body["share"]) for body in bodies]


def key_with(budget: Budget | None = None, soft: Budget | None = None) -> Key:
    return Key("key_1", "ci", owner="Ann", budget=budget, soft_budget=soft)


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story())


def test_each_part_is_sent_once_a_period_and_again_in_the_next() -> None:
    async def story() -> None:
        seen = Watching(key_with(Budget(usd_per_day=5.0)))
        for usd in (3.0, 1.1, 0.1, 0.9, 1.0):
            await seen.spend(usd)
        assert seen.got == [("budget", "usd_per_day", 0.8), ("budget", "usd_per_day", 1.0)]
        seen.now += 86_400
        await seen.spend(4.5)
        assert seen.got[2:] == [("budget", "usd_per_day", 0.8)]

    run(story)


def test_the_body_says_all_and_holds_no_secret() -> None:
    async def story() -> None:
        seen = Watching(key_with(Budget(usd_per_day=5.0)))
        await seen.spend(4.1)
        (sent,) = seen.pool.sent
        assert json.loads(sent["body"]) == {
            "event": "budget.threshold", "id": "key_1:budget:usd_per_day:2026-11-29:80", "at": "2026-11-29T10:00:00Z",
            "key": {"id": "key_1", "name": "ci", "owner": "Ann"}, "kind": "budget", "limit": "usd_per_day", "most": 5.0,
            "share": 0.8, "spent": 4.1, "resets_at": "2026-11-30T00:00:00Z", "text": "ci has used 82 % of 5 USD a day",
        }  # fmt: skip
        assert (sent["method"], sent["url"], sent["headers"]["x-key"]) == ("POST", f"https://hooks.example/{SECRET}", "k")

    run(story)


def test_a_refusal_short_of_the_whole_budget_is_named_as_such() -> None:
    crossing = Crossing("usd_per_day", 5.0, 1.0, 4.9)
    body = body_of(key_with(Budget(usd_per_day=5.0)), "budget", crossing, 0.0)
    assert body["text"] == "ci has used 98 % of 5 USD a day, and the rest was too little for a call"
    assert (
        body_of(key_with(Budget()), "budget", crossing._replace(spent=5.1), 0.0)["text"] == "ci has used 102 % of 5 USD a day"
    )


def test_soft_budgets_tokens_months_and_other_parts() -> None:
    async def story() -> None:
        seen = Watching(key_with(soft=Budget(tokens_per_month=100)), at=(0.5,))
        await seen.spend(0.0, 60)
        assert seen.got == [("soft_budget", "tokens_per_month", 0.5)]
        body = json.loads(seen.pool.sent[0]["body"])
        assert (body["text"], body["resets_at"]) == (
            "ci has used 60 % of 100 tokens a month (soft budget)", "2026-12-01T00:00:00Z")  # fmt: skip

    run(story)


def test_a_restart_tells_nothing_again_and_a_refusal_is_the_whole() -> None:
    async def story() -> None:
        seen = Watching(key_with(Budget(usd_per_day=5.0)))
        seen.budgets.load([("key_1", "day", 4.5, 0), ("key_1", "month", 4.5, 0)], NOW)
        await seen.spend(0.1)
        assert not seen.got, "80 % was passed before the start"
        await seen.spend(0.0, error="budget_used_up")
        await seen.spend(0.0, error="budget_used_up")
        assert seen.got == [("budget", "usd_per_day", 1.0)], "less is left than a call takes"
        busy = Watching(key_with(Budget(usd_per_day=5.0)))
        await busy.spend(0.0, error="budget_used_up")
        assert not busy.got, "all of it is on hold for calls in progress"

    run(story)


def test_a_webhook_that_fails_is_tried_again_then_logged_once_without_its_address() -> None:
    async def story() -> None:
        seen = Watching(
            key_with(Budget(usd_per_day=5.0)), UpstreamFailed("hooks.example: cannot connect"), Answer(503), Answer()
        )
        await seen.spend(4.1)
        assert len(seen.pool.sent) == 3 and seen.pauses == [1.0, 5.0] and not seen.warned
        seen = Watching(key_with(Budget(usd_per_day=5.0)), Answer(500))
        await seen.spend(4.1)
        await seen.spend(1.0)
        assert len(seen.pool.sent) == 8 and len(seen.warned) == 1
        assert "status 500" in seen.warned[0] and "82 % of 5 USD a day" in seen.warned[0] and SECRET not in str(seen.warned)

    run(story)


def test_the_configuration_hides_the_address_and_knows_soft_budgets() -> None:
    url = f"https://hooks.example/{SECRET}?sig=x"
    config = parse(f"[alerts]\nwebhook = '{url}'\nat = [1, 0.5]\nheaders = {{x-key = 'secret-word'}}")
    assert config.alerts is not None
    assert (config.alerts.webhook.reveal(), config.alerts.at) == (url, (0.5, 1.0))
    assert SECRET not in config_text(config) + repr(config) and "secret-word" not in config_text(config)
    named = parse(LLM_ROUTER_ALERT_WEBHOOK=url).alerts
    assert named is not None and named.at == (0.8, 1.0) and parse().alerts is None
    found = problems(f"[alerts]\nwebhook = 'ftp://{SECRET}'\nat = [0]")
    assert set(found) == {"alerts.webhook", "alerts.at"} and SECRET not in str(found)
    assert "LLM_ROUTER_ALERT_WEBHOOK" in problems("[alerts]\nat = [0.5]")["alerts.webhook"]
    key = read_json({"name": "ci", "soft_budget": {"usd_per_day": 2}})
    assert key.soft_budget == Budget(usd_per_day=2) and key.budget is None
    assert read_json(terms_json(key)).soft_budget == key.soft_budget


@pytest.mark.parametrize("workers", [1, *slow(2)])
def test_from_end_to_end_a_call_is_not_held_up(start: Callable[..., Process], upstream: Upstream, workers: int) -> None:
    key, hook = made_up("caller"), Upstream()
    hook.act = sends(http(b"ok"))
    upstream.does(
        sends(http(json.dumps({**PLAIN["openai"], "usage": {"prompt_tokens": 50, "completion_tokens": 40}}).encode()))
    )
    gateway = start(
        f'[server]\nworkers = {workers}\n[alerts]\nwebhook = "{hook.url}/T0"\n'
        f'[[providers]]\nname = "up"\napi = "openai"\nbase_url = "{upstream.url}/v1"\n'
        'api_key = "x"\n[[models]]\nname = "m"\nprovider = "up"\n'
        f'[[keys]]\nname = "ci"\nkey = "{key}"\nsoft_budget = {{ tokens_per_day = 100 }}\n'
    )
    gateway.token = key
    for _ in range(3):
        assert gateway.chat("openai", "up/m").status == 200, "a soft budget refuses nothing"
    until(lambda: len(hook.requests) == 2, "both parts")
    assert [each.json["share"] for each in hook.requests] == [0.8, 1.0]
    hook.__exit__()


@pytest.mark.slow
def test_a_webhook_that_never_answers_holds_up_neither_calls_nor_the_stop(
    start: Callable[..., Process], upstream: Upstream
) -> None:
    key = made_up("caller")
    upstream.does(
        sends(http(json.dumps({**PLAIN["openai"], "usage": {"prompt_tokens": 50, "completion_tokens": 40}}).encode()))
    )
    with Upstream() as hook:
        hook.act = lambda sock, _: hold(sock)
        gateway = start(
            f'[alerts]\nwebhook = "{hook.url}/T0"\n[[providers]]\nname = "up"\napi = "openai"\nbase_url = "{upstream.url}/v1"\n'
            'api_key = "x"\n[[models]]\nname = "m"\nprovider = "up"\n'
            f'[[keys]]\nname = "ci"\nkey = "{key}"\nsoft_budget = {{ tokens_per_day = 100 }}\n'
        )
        gateway.token = key
        assert gateway.chat("openai", "up/m").status == 200
        until(lambda: hook.requests, "the webhook has the first")
        assert [gateway.chat("openai", "up/m").status for _ in range(3)] == [200] * 3
        gateway.signal(signal.SIGTERM)
        assert gateway.ended() == 0
        assert len(hook.requests) == 1 and hook.open <= 1
