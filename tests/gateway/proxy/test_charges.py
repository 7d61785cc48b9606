"""charges: what was sent and not refused by a status is paid, the same in the log and on the key's account."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import FIRST, LAST, TEXT, Exchange, Upstream
from routed import Hosts, Ways, chat, ok, play, refusal, stream, streamed, trio

from llm_router_gateway.errors import UpstreamFailed, UpstreamTimeout
from llm_router_gateway.net.client import mark_unsent
from llm_router_gateway.proxy import failover
from llm_router_gateway.proxy.charges import COUNTS, Charge, cache_lifetime, sum_charges
from llm_router_gateway.store.call import Call
from llm_router_gateway.wire.ir import Usage

PRICES = {"input_usd_per_mtok": 1_000, "output_usd_per_mtok": 10_000}
NO_USAGE = b'{"id":"1","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"%s"},\
"finish_reason":"stop"}]}'


def document(budget: dict[str, Any] | None) -> dict[str, Any]:
    made = trio()
    made["models"] = [{**model, "config": PRICES} for model in made["models"]]
    return {**made, "keys": [{"name": "k", "key": "sk-of-the-caller-k", **({"budget": budget} if budget else {})}]}


BUDGETS: dict[str, Any] = {"no budget": None, "dollars": {"usd_per_day": 500}, "tokens": {"tokens_per_day": 100_000}}
Outcome = tuple[Call, dict[str, Any]]  # the row, and what the key spent


@pytest.fixture(params=list(BUDGETS.values()), ids=list(BUDGETS))
def paid(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Outcome]:
    """Runs one exchange; the row and the key's account."""

    def runs(exchange: Exchange, *, leaves: bool = False, **scripts: Any) -> Outcome:
        calls: list[Call] = []
        exchange.headers.append(("authorization", "Bearer sk-of-the-caller-k"))
        spent: dict[str, Any] = {}

        async def story(ways: Ways) -> None:
            ways.gateway.on_call = lambda call, bodies: calls.append(call)
            asked = asyncio.create_task(ways.ask(exchange))
            if leaves:
                while not ways.hosts.given or (exchange.started and b"hi" not in exchange.out):
                    await asyncio.sleep(0)
                for _ in range(20):
                    await asyncio.sleep(0)
                asked.cancel()
            await asyncio.wait([asked])
            key = ways.gateway.authenticator.file_keys[0][0]
            spent.update(ways.gateway.budgets.spent(key.id, time.time()))
            if key.budget is not None:
                left = ways.gateway.budgets.left(key.id, key.budget, time.time())
                assert not left.is_held, "a hold was left behind"

        play(story, document(request.param), Hosts(**scripts), tmp_path)
        (call,) = calls
        return call, spent

    return runs


def agrees(outcome: Outcome) -> Call:
    """The row, after a look that the account says the same."""
    call, spent = outcome
    assert spent["usd_day"] == pytest.approx(call.cost_usd or 0.0)
    assert spent["tokens_day"] == (call.input_tokens or 0) + (call.output_tokens or 0)
    return call


def test_a_whole_answer_costs_what_it_says(paid: Callable[..., Outcome]) -> None:
    call = agrees(paid(chat("a/m"), a=ok()))
    assert (call.input_tokens, call.output_tokens, call.cost_usd, call.cost_source) == (3, 4, 0.1, "upstream")


def test_a_compaction_is_a_row_like_every_call_that_costs(paid: Callable[..., Outcome]) -> None:
    exchange = Exchange("POST", "/v1/responses/compact", b'{"model":"a/m","input":"one"}')
    call = agrees(paid(exchange, a=ok()))
    assert (call.kind, call.input_tokens, call.output_tokens, call.cost_usd) == ("compact", 3, 4, 0.1)


def test_a_fault_in_counting_leaves_nothing_on_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(*_: object) -> None:
        raise KeyError("a fault")

    async def story() -> None:
        ways, exchange = Ways(document({"usd_per_day": 500}), Hosts(a=ok()), tmp_path), chat("a/m")
        exchange.headers.append(("authorization", "Bearer sk-of-the-caller-k"))
        await ways.ask(exchange)
        key = ways.gateway.authenticator.file_keys[0][0]
        assert exchange.status == 500 and key.budget is not None
        left = ways.gateway.budgets.left(key.id, key.budget, time.time())
        assert (left.usd, left.is_held) == (500, False)
        ways.log.close()

    monkeypatch.setattr(failover, "charge_of", faulty)
    asyncio.run(story())


@pytest.mark.parametrize("failure", [
    refusal(429), refusal(500), refusal(400), mark_unsent(UpstreamFailed("a: cannot connect")),
    Upstream(200, b'{"error":{"message":"no luck"}}'), Upstream(302, b""),
])  # fmt: skip
def test_what_a_status_refused_or_no_upstream_saw_costs_nothing(paid: Callable[..., Outcome], failure: Any) -> None:
    call = agrees(paid(chat("a/m"), a=failure))
    assert (call.input_tokens, call.cost_usd, call.cost_source) == (None, None, "")


@pytest.mark.parametrize("failure", [UpstreamTimeout("a: no answer began"), UpstreamFailed("a: closed without an answer"),
                                     Upstream(200, b"<html>")])  # fmt: skip
def test_what_was_sent_and_never_answered_costs_its_input(paid: Callable[..., Outcome], failure: Any) -> None:
    call = agrees(paid(chat("a/m"), a=failure))
    assert call.error and call.cost_source == "estimated" and call.output_tokens == 0
    assert call.input_tokens and call.cost_usd == pytest.approx(call.input_tokens / 1_000)


def test_a_stream_that_is_cut_costs_its_input_and_what_was_seen(paid: Callable[..., Outcome]) -> None:
    call = agrees(paid(stream("a/m"), a=streamed(FIRST, *[TEXT] * 10)))
    assert (call.ended, call.cost_source) == ("cut", "estimated")
    assert call.input_tokens and call.output_tokens and 10 <= call.output_tokens <= 40


def test_a_stream_that_is_cut_before_its_output_costs_its_input(paid: Callable[..., Outcome]) -> None:
    call = agrees(paid(stream("a/m"), a=streamed(FIRST)))
    assert call.input_tokens and call.output_tokens == 0 and call.cost_source == "estimated"


def test_an_error_event_in_the_place_of_an_answer_is_a_refusal(paid: Callable[..., Outcome]) -> None:
    call = agrees(paid(stream("a/m"), a=streamed(b'data: {"error":{"message":"overloaded","code":503}}\n\n')))
    assert (call.input_tokens, call.cost_usd) == (None, None)


@pytest.mark.parametrize("exchange, answer", [
    (chat, Upstream(200, [None])), (stream, streamed(FIRST, None)), (stream, streamed(FIRST, TEXT, TEXT, None)),
])  # fmt: skip
def test_a_caller_that_leaves_pays_for_what_was_sent_for_it(paid: Callable[..., Outcome], exchange: Any, answer: Any) -> None:
    call = agrees(paid(exchange("a/m"), leaves=True, a=answer))
    assert (call.error, call.cost_source) == ("client_gone", "estimated") and call.input_tokens
    assert bool(call.output_tokens) == (TEXT in answer.pieces_)


def test_an_answer_that_does_not_say_what_it_used_is_estimated(paid: Callable[..., Outcome]) -> None:
    plain = agrees(paid(chat("a/m"), a=Upstream(200, NO_USAGE % (b"some words " * 100))))
    assert plain.cost_source == "estimated" and plain.output_tokens and 200 < plain.output_tokens < 600


def test_a_stream_that_does_not_say_what_it_used_is_estimated(paid: Callable[..., Outcome]) -> None:
    call = agrees(paid(stream("a/m"), a=streamed(FIRST, *[TEXT] * 10, LAST, b"data: [DONE]\n\n")))
    assert (call.error, call.cost_source) == ("", "estimated") and call.output_tokens and 10 <= call.output_tokens <= 40


def test_every_attempt_is_paid_and_the_request_has_one_row(paid: Callable[..., Outcome]) -> None:
    call = agrees(paid(chat("g"), a=UpstreamTimeout("a: no answer"), b=refusal(503), c=ok("c")))
    assert (call.served, call.attempts, call.cost_source) == ("c/m", 3, "estimated")
    assert call.input_tokens and call.input_tokens > 3 and call.cost_usd and call.cost_usd > 0.1


TEXTS_REFUSED = Upstream(404, b'{"error":{"message":"This is a chat model and not supported in the v1/completions endpoint"}}')


def text(prompt: object) -> Exchange:
    return Exchange("POST", "/v1/completions", json.dumps({"model": "a/m", "prompt": prompt}).encode())


def test_of_two_forms_of_a_request_only_the_answered_one_is_paid(paid: Callable[..., Outcome]) -> None:
    call = agrees(paid(text("hi"), a=[TEXTS_REFUSED, ok()]))
    assert (call.attempts, call.input_tokens, call.output_tokens, call.cost_usd) == (2, 3, 4, 0.1)
    assert call.cost_source == "upstream"


def test_a_refused_form_costs_nothing_where_the_next_one_cannot_be_written(paid: Callable[..., Outcome]) -> None:
    call = agrees(paid(text(["one", "two"]), a=[TEXTS_REFUSED, ok()]))
    assert (call.status, call.attempts, call.cost_usd, call.cost_source) == (400, 1, None, "")


def test_input_that_a_cache_was_meant_to_keep_is_estimated_at_that_price(paid: Callable[..., Outcome]) -> None:
    mark = ', "metadata": {"cache_control": {"type": "ephemeral", "ttl": "1h"}}'
    call = agrees(paid(chat("a/m", mark), a=UpstreamTimeout("a: no answer")))
    assert call.cost_usd == pytest.approx(2 * (call.input_tokens or 0) / 1_000) and call.cache_write_tokens


def test_the_classes_of_several_attempts_are_added() -> None:
    ones = Usage(1, 1, 1, 1, 1, 1)
    assert sum_charges([]) is None and sum_charges([Charge(ones, None, "")]) == Charge(ones, None, "")
    both = sum_charges([Charge(ones, 0.5, "estimated"), Charge(ones, None, "")])
    assert both == Charge(Usage(2, 2, 2, 2, 2, 2), 0.5, "estimated") and len(COUNTS) == 6


@pytest.mark.parametrize("body, kept", [({}, ""), ({"cache_control": {"type": "ephemeral"}}, "5m"),
                                        ({"cache_control": {"ttl": "1h"}}, "1h")])  # fmt: skip
def test_how_long_input_may_be_kept(body: dict[str, Any], kept: str) -> None:
    assert cache_lifetime(json.dumps(body)) == kept
