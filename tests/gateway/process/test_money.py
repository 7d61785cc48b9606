"""One price in every place that a real gateway tells it: the log, statistics, metrics, the key's account, /route/invoke."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from material import material, needs
from running import (
    PLAIN,
    STREAM,
    Process,
    Upstream,
    ask,
    begun_stream,
    chunked,
    close,
    data_event,
    hold,
    http,
    made_up,
    sends,
    until,
)
from storing import kept

from llm_router_gateway.store.call import Call

ADMIN = made_up("admin")
KEYS = {name: made_up(name) for name in ("plain", "held")}
PRICES = "input_usd_per_mtok = 5, output_usd_per_mtok = 25, cached_input_usd_per_mtok = 0.5"
CASES = material("LLM_ROUTER_CASES")
BYOK = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100, "cost": 0.0005, "is_byok": True,
        "cost_details": {"upstream_inference_cost": 0.01}}  # fmt: skip
KEPT_1H = {"input_tokens": 0, "output_tokens": 0, "cache_creation_input_tokens": 1_000_000, "cache_read_input_tokens": 0,
           "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 1_000_000}}  # fmt: skip


def config(url: str) -> str:
    """Providers o (openai), a (anthropic) with a model m each; two keys."""
    text = ""
    for name, api, base in (("o", "openai", f"{url}/v1"), ("a", "anthropic", url)):
        text += f'[[providers]]\nname = "{name}"\napi = "{api}"\nbase_url = "{base}"\napi_key = "x"\n'
        text += f'[[{name}.models]]\nname = "m"\nconfig = {{ {PRICES} }}\n'
    for name in KEYS:
        budget = "budget = { usd_per_day = 500 }\n" if name == "held" else ""
        text += f'[[keys]]\nname = "{name}"\nkey_env = "KEY_{name}"\n{budget}'
    return text


class Books:
    """What a gateway says everywhere of what its calls cost."""

    def __init__(self, process: Process) -> None:
        self.process, self.seen, self.asked = process, 0, 0
        process.token = ADMIN

    def next_call(self) -> Call:
        path = self.process.folder / "router.db"
        until(lambda: len(kept(path)) > self.seen, "a call in the store")
        self.seen += 1
        return kept(path)[self.seen - 1]

    def sums(self) -> dict[str, float]:
        """The same sum from every place; the store's once it has written what waits."""
        self.asked += 1  # another question each time: the same one is answered from memory for a moment
        statistics = self.process.get(f"/monitor/statistics?range=1h&limit={self.asked % 100 + 1}").json["overall"]["cost_usd"]
        lines = self.process.get("/metrics").data.decode()
        metrics = sum(map(float, re.findall(r"^llm_router_cost_usd_total\{.*\} (\S+)$", lines, re.MULTILINE)))
        by_key = sum(map(float, re.findall(r"^llm_router_key_cost_usd_total\{.*\} (\S+)$", lines, re.MULTILINE)))
        items = self.process.get("/api-keys").json["items"]
        spent = sum(item["spent"]["usd_day"] for item in items)
        rows = sum(call.cost_usd or 0.0 for call in kept(self.process.folder / "router.db"))
        return {"statistics": statistics, "metrics": metrics, "by key": by_key, "spent": spent, "rows": rows}

    def agree(self) -> None:
        until(lambda: len({round(each, 9) for each in self.sums().values()}) == 1, f"one sum: {self.sums()}")


@pytest.fixture(scope="module")
def books(module_start: Callable[..., Process], upstream: Upstream) -> Iterator[Books]:
    env = {"LLM_ROUTER_ADMIN_TOKEN": ADMIN, **{f"KEY_{name}": secret for name, secret in KEYS.items()}}
    made = Books(module_start(config(upstream.url), env=env, at_once=True))
    yield made
    made.agree()


def post(books: Books, key: str, protocol: str, model: str, *, stream: bool = False) -> bytes:
    asked = ask(protocol, model, stream=stream)
    return books.process.send("POST", asked.path, asked.data, authorization=f"Bearer {KEYS[key]}").data


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("protocol, model, usage, usd, source", [
    ("openai", "a/m", KEPT_1H, 10.0, "prices"), ("openai", "o/m", BYOK, 0.0105, "upstream"),
    pytest.param("anthropic", "a/m", KEPT_1H, 10.0, "prices", marks=pytest.mark.slow),
    pytest.param("openai", "o/m", {**BYOK, "cost": -100}, 0.0075, "prices", marks=pytest.mark.slow),
    pytest.param("openai", "o/m", {**BYOK, "is_byok": False}, 0.0005, "upstream", marks=pytest.mark.slow),
    pytest.param("openai", "o/m", {**BYOK, "cost": 1e308}, 0.0075, "prices", marks=pytest.mark.slow),
])  # fmt: skip
def test_a_call_costs_the_same_everywhere(
    books: Books, upstream: Upstream, key: str, protocol: str, model: str, usage: dict[str, Any], usd: float, source: str
) -> None:
    answer = PLAIN["anthropic" if model == "a/m" else "openai"]
    upstream.does(sends(http(json.dumps({**answer, "usage": usage}).encode())))
    post(books, key, protocol, model)
    call = books.next_call()
    assert (call.cost_usd, call.cost_source) == (pytest.approx(usd), source)
    wish = json.dumps({"model": model, "request": {"prompt": "hi"}}).encode()
    told = books.process.send("POST", "/route/invoke", wish, authorization=f"Bearer {KEYS[key]}").json
    assert (told["cost"], told["cost_source"]) == (books.next_call().cost_usd, source)
    books.agree()


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("then", [close, hold], ids=["cut", "the caller leaves"])
def test_a_stream_that_does_not_end_is_paid_for_what_came(books: Books, upstream: Upstream, key: str, then: Any) -> None:
    upstream.does(sends(begun_stream("openai"), then))
    asked = ask("openai", "o/m", stream=True)
    with books.process.opened("POST", asked.path, asked.data, authorization=f"Bearer {KEYS[key]}") as response:
        response.read1(10) if then is hold else response.read()
    call = books.next_call()
    assert call.cost_source == "estimated" and call.input_tokens and call.output_tokens and call.cost_usd
    books.agree()


@pytest.mark.slow
@pytest.mark.parametrize("key", KEYS)
def test_what_a_status_refuses_costs_nothing(books: Books, upstream: Upstream, key: str) -> None:
    error = json.dumps({"error": {"message": "no", "type": "invalid_request_error", "code": "bad"}}).encode()
    upstream.does(sends(http(error, status="429 Too Many Requests")))
    post(books, key, "openai", "o/m")
    assert books.next_call().cost_usd is None
    upstream.does(sends(chunked(data_event({"error": {"message": "overloaded", "code": 529}}))))
    post(books, key, "openai", "o/m", stream=True)
    assert books.next_call().cost_usd is None
    books.agree()


def test_a_stream_costs_what_its_end_says(books: Books, upstream: Upstream) -> None:
    end = data_event({"id": "c", "choices": [], "usage": BYOK})
    upstream.does(sends(chunked(*STREAM["openai"][0], data_event({"id": "c", "choices": [{"index": 0, "delta": {},
                                "finish_reason": "stop"}]}), end, b"data: [DONE]\n\n")))  # fmt: skip
    post(books, "held", "openai", "o/m", stream=True)
    call = books.next_call()
    assert (call.cost_usd, call.cost_source) == (pytest.approx(0.0105), "upstream")
    books.agree()


@pytest.mark.slow
@needs("LLM_ROUTER_CASES")
@pytest.mark.parametrize("name, usd", [("040-cache-write-1h-cost", 10.0), ("042-openrouter-byok-cost", 0.0105)])
def test_the_cases_that_went_wrong_elsewhere(books: Books, upstream: Upstream, name: str, usd: float) -> None:
    assert CASES is not None
    request, answer = (json.loads((CASES / name / f"{part}.json").read_text()) for part in ("request", "upstream"))
    upstream.does(sends(http(json.dumps(answer["body"]).encode())))
    body = json.dumps(request["body"]).encode()
    books.process.send("POST", request["path"], body, authorization=f"Bearer {KEYS['held']}", **request.get("headers", {}))
    assert books.next_call().cost_usd == pytest.approx(usd)
    books.agree()
