"""--check: sends every model one short request, all at once, and prints one line each.

    ok    openai/gpt-4.1        812 ms
    FAIL  claude/claude-x       401 unauthorized: invalid x-api-key; check the key
    ok    ollama                40 ms  takes any name; lists 3
    ok    telemetry             12 ms  a test span went to http://127.0.0.1:4318/v1/traces (http/protobuf)

For a provider without listed models its model list is fetched instead.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from .. import PROGRAM, __version__
from ..config.addresses import is_postgres, without_password
from ..config.config import Config, State
from ..config.telemetry import Telemetry
from ..errors import GatewayError, Unavailable, UpstreamFailed, UpstreamTimeout
from ..net.client import Pool, Timeouts
from ..proxy import model_list
from ..proxy.answers import check_key, parse_answer
from ..proxy.headers import mask_secrets, upstream_headers
from ..proxy.key_commands import KeyCommands
from ..proxy.log import escape
from ..proxy.outgoing import quote_id
from ..proxy.request import dump_json
from ..proxy.upstream import MAX_ANSWER_BYTES
from ..routing.resolve import Candidate, routes_of
from ..store.recorder import StoreUnusable
from ..telemetry.exporter import Exporter
from ..telemetry.otlp import CLIENT, Span
from ..wire import ir
from ..wire.registry import wire
from .program import say
from .stores import UNSHARED

AT_ONCE = 20  # questions on their way
STATE_LIMIT_S = 5.0  # for the engine of [state]: longer than any request waits for it
LIMIT_S = 60.0  # for one answer; local servers may have to load the model first
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
        text = f"{self.error.status} {self.error.code}: {self.error.message}"
        return f"FAIL  {self.name:{width}}  {text}{f'; {advice}' if advice else ''}"


async def probe(pool: Pool, keys: KeyCommands, candidate: Candidate) -> str:
    """ "" when the model answered; GatewayError when not."""
    api = wire(candidate.provider.api)
    request = ir.Request(model=candidate.remote_id, messages=QUESTION, max_tokens=MAX_TOKENS)
    body = api.write_request(request, model=candidate.remote_id, quirks=candidate.provider.quirks, lost=[])
    data = await fetch(pool, keys, "POST", candidate, candidate.url("chat", quote_id(candidate.remote_id)), dump_json(body))
    api.read_answer(parse_answer(data, candidate.name))
    return ""


async def probe_list(pool: Pool, keys: KeyCommands, candidate: Candidate) -> str:
    if not candidate.url("models"):
        check_key(await keys.with_key(candidate))
        return "accepts any name and has no list of models: add a [[models]] entry to check one"
    data = await fetch(pool, keys, "GET", candidate, candidate.url("models"), b"")
    names = model_list.names_in(parse_answer(data, candidate.provider.name))
    return f"accepts any name; lists {len(names)}"


async def fetch(pool: Pool, keys: KeyCommands, method: str, candidate: Candidate, url: str, body: bytes) -> bytes:
    candidate = await keys.with_key(candidate)
    check_key(candidate)
    provider = candidate.provider
    headers = upstream_headers(candidate, (), "check", same=False)
    timeouts = Timeouts(provider.connect_timeout_s, LIMIT_S, LIMIT_S)
    response = await pool.request(method, url, headers, body, timeouts=timeouts, proxy=provider.proxy)
    try:
        data = mask_secrets(await response.read(MAX_ANSWER_BYTES), candidate)
    finally:
        response.close()
    if 300 <= response.status < 400:
        raise UpstreamFailed(f"answered {response.status}; redirects are not followed")
    if response.status != 200:
        error: GatewayError = wire(provider.api).read_error(response.status, dict(response.headers), data)
        raise error
    return data


def say_nothing(text: str) -> None:
    """The line of the outcome says it."""


async def probe_collector(telemetry: Telemetry, clock: Callable[[], float]) -> Outcome:
    """Sends a test span to where traces go."""
    pool, began, now_ns = Pool(), clock(), time.time_ns()
    exporter = Exporter(telemetry, pool, version=__version__, warn=say_nothing, info=say_nothing)
    attributes = {"llm_router.test": True}
    span = Span(os.urandom(16).hex(), os.urandom(8).hex(), "", "", f"{PROGRAM} --check", CLIENT, now_ns, now_ns, attributes)
    try:
        wrong = await exporter.send_now([span])
    finally:
        await pool.close()
    if wrong:
        error = GatewayError(f"{telemetry.traces_url}: {wrong}", status=502, code="telemetry_failed")
        return Outcome("telemetry", clock() - began, error=error)
    return Outcome("telemetry", clock() - began, f"a test span went to {telemetry.traces_url} ({telemetry.protocol})")


async def check_state(state: State, store: str, clock: Callable[[], float]) -> Outcome:
    """Whether the engine of [state] answers, how fast, and takes what gateways write; what budgets need is said as a note."""
    from ..limiter.leases import EngineAway
    from ..limiter.redis import RedisEngine

    engine = RedisEngine(state.url.reveal(), prefix=state.prefix, timeout_s=max(state.timeout_s, STATE_LIMIT_S))
    try:
        version = await engine.ping()  # connects as well
        began = clock()
        await engine.ping()
        seconds = clock() - began
        warning = await engine.probe()
    except EngineAway as error:
        advice = "" if "; " in str(error) else "; check [state] url, and that the server runs"
        return Outcome(engine.where, 0.0, error=Unavailable(f"{error}{advice}"))
    finally:
        await engine.close()
    if seconds > state.timeout_s:
        text = f"answers after {seconds * 1_000:.0f} ms: more than [state] timeout_s, {state.timeout_s * 1_000:.0f} ms"
        return Outcome(engine.where, seconds, error=Unavailable(f"{text}; move it nearer, or raise timeout_s"))
    if warning:
        say(f"note: {engine.where}: {warning}")
    if not is_postgres(store):
        say(
            "note: each gateway keeps a call log of its own. Limits, health and budgets are shared, but when the engine of "
            "[state] loses its memory, the spending of gateways that no longer run is forgotten. Budgets across several "
            'gateways need a common log: [server] store = "postgresql://..."'
        )
    return Outcome(engine.where, seconds, version)


def check_store(address: str, clock: Callable[[], float]) -> Outcome:
    """Whether the database can be used, its version, and what a gateway would make or meets there."""
    from ..store.postgres import migrations
    from ..store.postgres.session import CommandSession

    place, began = without_password(address), clock()
    try:
        with CommandSession(address, creates=False, is_new=True) as found:
            version = found.session.raw.info.server_version
            missing, unknown = migrations.missing_steps(found.session), migrations.unknown_steps(found.session)
            with found.errors():
                lacking = migrations.missing_rights(found.session)
    except StoreUnusable as wrong:
        return Outcome(place, clock() - began, error=Unavailable(str(wrong)))
    if lacking:
        return Outcome(place, clock() - began, error=Unavailable(f"{place}: {lacking}"))
    facts = [f"PostgreSQL {version // 10_000}.{version % 10_000}", f"{len(migrations.MIGRATIONS) - len(missing)} steps"]
    facts += [f"{', '.join(missing)} will be made by the first gateway"] if missing else []
    facts += [f"steps of a newer version: {', '.join(unknown)}"] if unknown else []
    return Outcome(place, clock() - began, "; ".join(facts))


async def run(config: Config, clock: Callable[[], float]) -> int:
    """Prints a line for each model, and for the engine of [state]; 1 if any failed."""
    routes, pool, keys = routes_of(config), Pool(), KeyCommands()
    probed = list(routes.full.values())
    probed += [Candidate(provider, "") for provider in routes.open.values()
              if not any(each.provider.name == provider.name for each in probed)]  # fmt: skip
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(candidate: Candidate) -> Outcome:
        name = candidate.name if candidate.model else candidate.provider.name
        async with gate:
            began = clock()
            try:
                async with asyncio.timeout(LIMIT_S):
                    detail = await (probe if candidate.model else probe_list)(pool, keys, candidate)
            except TimeoutError:
                return Outcome(name, LIMIT_S, error=UpstreamTimeout(f"no answer within {LIMIT_S:g} s"))
            except GatewayError as error:
                return Outcome(name, clock() - began, error=error)
            return Outcome(name, clock() - began, detail)

    try:
        state = [check_state(config.state, config.server.store, clock)] if config.state is not None else []
        outcomes = list(await asyncio.gather(*map(one, probed), *state))
    finally:
        await keys.close()
        await pool.close()
    if is_postgres(config.server.store):
        outcomes.append(await asyncio.to_thread(check_store, config.server.store, clock))
        if config.state is None:
            say(f"note: {UNSHARED}")
    if config.telemetry is not None and config.telemetry.traces:
        outcomes.append(await probe_collector(config.telemetry, clock))
    width = max((len(outcome.name) for outcome in outcomes), default=0)
    for outcome in outcomes:
        sys.stdout.write(escape(outcome.line(width)) + "\n")  # a provider's words are in it
    failed = sum(outcome.error is not None for outcome in outcomes)
    say(f"{len(outcomes) - failed} of {len(outcomes)} answered")
    return 1 if failed else 0
