"""--check: every model is asked one short question, all at once, and gets one line.

    ok    openai/gpt-4.1        812 ms
    FAIL  claude/claude-x       401 unauthorized: invalid x-api-key; check the key
    ok    ollama                40 ms  takes any name; lists 3

A provider without listed models is asked for its list instead of a model.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass

from ..config.config import Config
from ..errors import GatewayError, UpstreamFailed, UpstreamTimeout
from ..net.client import Pool, Timeouts
from ..proxy import headers as forward
from ..proxy import model_list
from ..proxy.answers import check_key, parsed
from ..proxy.outgoing import quoted
from ..proxy.request import dumped
from ..proxy.upstream import MAX_ANSWER_BYTES
from ..routing.resolve import Candidate, routes_of
from ..wire import ir
from ..wire.registry import wire

AT_ONCE = 20      # questions on their way
LIMIT_S = 60.0    # for one answer; local servers may have to load the model first
MAX_TOKENS = 256  # enough for models that think before they speak
QUESTION = (ir.Message("user", (ir.Text("Reply with the word ok."),)),)
ADVICE = {  # code -> what to do
    "unauthorized": "check the key",
    "forbidden": "this key may not use this model",
    "no_credit": "the account has no credit",
    "model_not_found": "check remote_identifier against the provider's list",
    "not_found": "check base_url and the model's name",
    "rate_limited": "the provider limits this key: try again later",
    "upstream_timeout": "check that the server runs, and the proxy",
    "upstream_failed": "check base_url, proxy and connection",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    name: str
    seconds: float
    detail: str = ""
    error: GatewayError | None = None

    def line(self, width: int) -> str:
        if self.error is None:
            return f"ok    {self.name:{width}}  {self.seconds * 1000:.0f} ms  {self.detail}".rstrip()
        advice = ADVICE.get(self.error.code, "")
        told = f"{self.error.status} {self.error.code}: {self.error.message}"
        return f"FAIL  {self.name:{width}}  {told}{f'; {advice}' if advice else ''}"


async def ask(pool: Pool, candidate: Candidate) -> str:
    """"" when the model answered; GatewayError when not."""
    api = wire(candidate.provider.api)
    request = ir.Request(model=candidate.remote_id, messages=QUESTION, max_tokens=MAX_TOKENS)
    body = api.write_request(request, model=candidate.remote_id, quirks=candidate.provider.quirks, lost=[])
    data = await fetch(pool, "POST", candidate, candidate.url("chat", quoted(candidate.remote_id)), dumped(body))
    api.read_answer(parsed(data, candidate.name))
    return ""


async def ask_for_list(pool: Pool, candidate: Candidate) -> str:
    data = await fetch(pool, "GET", candidate, candidate.url("models"), b"")
    names = model_list.names_in(parsed(data, candidate.provider.name))
    return f"takes any name; lists {len(names)}"


async def fetch(pool: Pool, method: str, candidate: Candidate, url: str, body: bytes) -> bytes:
    check_key(candidate)
    provider = candidate.provider
    headers = forward.upstream_headers(candidate, (), "check", same=False)
    timeouts = Timeouts(provider.connect_timeout_s, LIMIT_S, LIMIT_S)
    response = await pool.request(method, url, headers, body, timeouts=timeouts, proxy=provider.proxy)
    try:
        data = forward.masked(await response.read(MAX_ANSWER_BYTES), candidate)
    finally:
        response.close()
    if 300 <= response.status < 400:
        raise UpstreamFailed(f"answered {response.status}; redirects are not followed")
    if response.status != 200:
        error: GatewayError = wire(provider.api).read_error(response.status, dict(response.headers), data)
        raise error
    return data


async def run(config: Config, clock: Callable[[], float]) -> int:
    """Prints a line for each model; 1 if any failed."""
    routes, pool = routes_of(config), Pool()
    asked = list(routes.full.values())
    asked += [Candidate(provider, "") for provider in routes.open.values()
              if not any(each.provider.name == provider.name for each in asked)]  # fmt: skip
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(candidate: Candidate) -> Outcome:
        name = candidate.name if candidate.model else candidate.provider.name
        async with gate:
            began = clock()
            try:
                async with asyncio.timeout(LIMIT_S):
                    detail = await (ask if candidate.model else ask_for_list)(pool, candidate)
            except TimeoutError:
                return Outcome(name, LIMIT_S, error=UpstreamTimeout(f"no answer within {LIMIT_S:g} s"))
            except GatewayError as error:
                return Outcome(name, clock() - began, error=error)
            return Outcome(name, clock() - began, detail)

    try:
        outcomes = await asyncio.gather(*map(one, asked))
    finally:
        await pool.close()
    width = max((len(outcome.name) for outcome in outcomes), default=0)
    for outcome in outcomes:
        sys.stdout.write(outcome.line(width) + "\n")
    failed = sum(outcome.error is not None for outcome in outcomes)
    sys.stderr.write(f"{len(outcomes) - failed} of {len(outcomes)} answered\n")
    return 1 if failed else 0
