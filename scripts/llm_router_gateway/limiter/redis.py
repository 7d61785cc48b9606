"""Redis or Valkey as the engine of leases, and as the place where replicas leave each other notes. Through redis-py.

    engine = RedisEngine("redis://:secret@10.0.0.5:6379/0", prefix="llm-router", timeout_s=0.05)
    reply = await engine.exchange(ask)          one script there; EngineAway after timeout_s at the latest
    await engine.publish([note, ...])           notes for the other replicas
    await engine.notes()                        -> [(age_s, note), ...] since the last call

redis-py is imported here, when an engine is made, and nowhere else. Its own timeouts of seconds and its retries are switched
off: a request must not wait for an engine that is away. Messages of the same turn of the event loop go out as one pipeline.

    redis://HOST:PORT/DB  rediss://...            one server; `unix://` works as well
    redis+sentinel://H1:26379,H2:26379/NAME/DB    the server that the sentinels name; rediss+sentinel with TLS
    redis+cluster://HOST:PORT                     a cluster; rediss+cluster with TLS
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from importlib import import_module
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from .leases import (
    MICRO,
    Base,
    BeatAsk,
    BeatReply,
    BudgetAsk,
    BudgetReply,
    EngineAway,
    Pair,
    RatePart,
    TakeAsk,
    TakeReply,
)
from .redis_scripts import SCRIPTS

INSTALL = "python3 -m pip install 'redis>=8'"
MAX_NOTES = 10_000  # that are kept for replicas that begin later
NOTES_AT_ONCE = 1_000
CHECK_KEPT_S = 60
NEVER_EVICTS = "noeviction"
REFUSED_COMMAND = "can't run this command"  # what a script's user may not do has no class of its own
ADVICE = {  # name of an error of redis-py -> what to do
    "AuthenticationError": "check user and password in [state] url",
    "NoPermissionError": "give its user the rights that references/scaling.md names",
    "OutOfMemoryError": "it is full: raise its maxmemory",
    "ReadOnlyError": "it is a replica: name the primary, or use redis+sentinel://",
}
SHAS = {
    name: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest() for name, text in SCRIPTS.items()
}  # as EVALSHA has it


class NotInstalled(Exception):
    """redis-py is not there, or too old; the message says how to get it."""


def load_driver() -> Any:
    """The package redis, in a version that this module is written for."""
    try:
        redis = import_module("redis")
        import_module("redis.asyncio")
        import_module("redis.asyncio.sentinel")
    except ImportError:
        raise NotInstalled(f"[state] url needs the package redis: {INSTALL}") from None
    version = str(getattr(redis, "__version__", "0"))
    if not version.split(".")[0].isdigit() or int(version.split(".")[0]) < 8:
        raise NotInstalled(f"[state] url needs redis 8 or newer, and {version} is installed: {INSTALL}")
    return redis


def where(url: str) -> str:
    """An address as messages show it: without user, password and options.

    where("rediss://me:PASSWORD@10.0.0.5:6380/2?x=1") -> "rediss://10.0.0.5:6380/2"
    """
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class RedisEngine:
    """`leases.Engine`, in Redis or Valkey."""

    def __init__(self, url: str, *, prefix: str = "llm-router", timeout_s: float = 0.05) -> None:
        self._redis = load_driver()
        self.where, self._prefix, self._timeout_s = where(url), prefix, timeout_s
        self._is_cluster = "+cluster" in urlsplit(url).scheme
        self._url = url
        self._client: Any = None
        self._waiting: list[tuple[tuple[Any, ...], asyncio.Future[Any]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_note = "0"
        self._budgets = f"{{{prefix}:budgets}}"
        self._notes_key = f"{{{prefix}:notes}}"
        self.messages = 0

    # -- the connection

    def _connect(self) -> Any:
        """A client of redis-py; its first command connects."""
        if self._client is None:
            parts = urlsplit(self._url)
            scheme, _, kind = parts.scheme.partition("+")
            plain = urlunsplit((scheme, *parts[1:]))
            never = self._redis.asyncio.retry.Retry(self._redis.backoff.NoBackoff(), 0)
            options: dict[str, Any] = {"socket_timeout": self._timeout_s, "socket_connect_timeout": self._timeout_s}
            if kind == "cluster":
                self._client = self._redis.asyncio.RedisCluster.from_url(plain, retry=never, **options)
            elif kind == "sentinel":
                self._client = self._sentinel(parts, scheme, {**options, "retry": never})
            else:
                options |= {"retry": never, "retry_on_timeout": False, "health_check_interval": 0}
                self._client = self._redis.asyncio.Redis.from_url(plain, **options)
        return self._client

    def _sentinel(self, parts: Any, scheme: str, options: dict[str, Any]) -> Any:
        login, _, hosts = parts.netloc.rpartition("@")
        user, _, password = login.partition(":")
        name, _, database = parts.path.strip("/").partition("/")
        pairs = [(host.rpartition(":")[0] or host, int(host.rpartition(":")[2]) if ":" in host else 26_379)
                 for host in hosts.split(",")]  # fmt: skip
        if scheme == "rediss":
            options["ssl"] = True
        sentinels = {**options, "db": 0}
        options |= {"username": unquote(user) or None, "password": unquote(password) or None, "db": int(database or 0)}
        sentinel = self._redis.asyncio.sentinel.Sentinel(pairs, sentinel_kwargs=sentinels, **options)
        return sentinel.master_for(name, **options)

    async def close(self) -> None:
        client, self._client = self._client, None
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)
        if client is not None:
            await client.aclose()

    # -- messages

    async def _run(self, *command: Any) -> Any:
        """One command's answer. Commands of one turn of the event loop go out together."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._flush)
        self._waiting.append((command, future))
        self.messages += 1
        try:
            return await future
        except Exception as error:  # not all of redis-py's are RedisErrors: those of a cluster are not
            raise EngineAway(f"{self.where} {self._reason(error)}") from None

    def _reason(self, error: BaseException) -> str:
        """What an engine did that did not do what it was to: "does not answer: ..." or "refuses: ..."."""
        known = self._redis.exceptions
        if isinstance(error, (TimeoutError, known.TimeoutError)):
            return f"does not answer: nothing within {self._timeout_s * 1_000:.0f} ms"
        text = str(error).split("\n")[0].partition(" script: ")[0].rstrip(".")[:160]
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
        is_refusal = isinstance(error, (known.ResponseError, known.AuthenticationError))
        advice = next((what for name, what in ADVICE.items() if isinstance(error, getattr(known, name))), "")
        if not advice and REFUSED_COMMAND in text:
            advice = ADVICE["NoPermissionError"]
        return f"{'refuses' if is_refusal else 'does not answer'}: {text}{advice and '; '}{advice}"

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        task = asyncio.get_running_loop().create_task(self._send(waiting))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, waiting: list[tuple[tuple[Any, ...], asyncio.Future[Any]]]) -> None:
        commands = [command for command, _ in waiting]
        try:
            async with asyncio.timeout(self._timeout_s):
                answers = await self._answers(commands)
                if any(isinstance(answer, self._redis.exceptions.ConnectionError) for answer in answers):
                    # A kept connection that the other end has closed meanwhile: a new one, once, in the same time.
                    answers = await self._answers(commands)
                if any(isinstance(answer, self._redis.exceptions.ReadOnlyError) for answer in answers):
                    await self._let_go()
        except BaseException as error:  # a cancelled task, too: no caller may wait for an answer that will not come
            answers = [error if isinstance(error, Exception) else TimeoutError()] * len(commands)
        for (_, future), answer in zip(waiting, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, BaseException):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    async def _let_go(self) -> None:
        """After a fail-over the name may lead to another server; a kept connection leads to what was the primary."""
        pool = getattr(self._client, "connection_pool", None)  # a cluster's client follows it by itself
        if pool is not None:
            await pool.disconnect(inuse_connections=False)

    async def _answers(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """What the engine says to each; scripts that it does not know (any more) are loaded, and the rest sent again."""
        answers = await self._execute(commands)
        unknown = [at for at, answer in enumerate(answers) if isinstance(answer, self._redis.exceptions.NoScriptError)]
        if unknown:
            for text in {SCRIPTS[name] for name, sha in SHAS.items() if sha in {commands[at][1] for at in unknown}}:
                await self._connect().script_load(text)
            for at, answer in zip(unknown, await self._execute([commands[at] for at in unknown]), strict=True):
                answers[at] = answer
        return answers

    async def _execute(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        client = self._connect()
        if len(commands) > 1 and not self._is_cluster:
            pipeline = client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            try:
                answers: list[Any] = await pipeline.execute(raise_on_error=False)
            except self._redis.exceptions.ConnectionError as error:
                answers = [error] * len(commands)
            return answers
        return list(await asyncio.gather(*(client.execute_command(*each) for each in commands), return_exceptions=True))

    async def _script(self, name: str, keys: Sequence[str], arguments: Sequence[object]) -> list[str]:
        """The words of a script's answer."""
        return text_of(await self._run("EVALSHA", SHAS[name], len(keys), *keys, " ".join(map(str, arguments)))).split(" ")

    def _keys(self, *names: str) -> list[str]:
        return [f"{self._budgets}:{name}" for name in names]

    async def probe(self) -> str:
        """Sends what a gateway needs and what no other gateway notices; a warning, or "". EngineAway where it is refused."""
        limit = RatePart("check requests", MICRO, MICRO, MICRO, MICRO, 0, 0)
        await self.take(TakeAsk("check", (limit,), ()))
        note = f"{{{self._prefix}:check}}"
        await self._run("XADD", note, "MAXLEN", "~", 1, "*", "note", "check")
        await self._run("XRANGE", note, "-", "+", "COUNT", 1)
        await self._run("SET", f"{note}:secret", "check", "EX", CHECK_KEPT_S)
        await self._run("GET", f"{note}:secret")
        await self._run("EVALSHA", SHAS["leave"], 3, *(f"{note}:{each}" for each in ("epoch", "seen", "reported")), "check")
        info = await self._run("INFO", "memory")
        facts = info if isinstance(info, dict) and "maxmemory" in info else next(iter(info.values()), {}) if info else {}
        policy = str(facts.get("maxmemory_policy", NEVER_EVICTS))
        if facts.get("maxmemory") and policy != NEVER_EVICTS:
            return f"its maxmemory-policy is {policy}: when it is full, it would drop budgets in use. Set {NEVER_EVICTS}"
        return ""

    async def ping(self) -> str:
        """The engine's name and version: "Redis 7.0.15", "Valkey 9.1.2"."""
        info = await self._run("INFO", "server")
        if isinstance(info, dict):  # redis-py reads it
            first: Any = next(iter(info.values()), {})
            info = info if "redis_version" in info else first if isinstance(first, dict) else {}
            if "valkey_version" in info:
                return f"Valkey {info['valkey_version']}"
            return f"Redis {info.get('redis_version', '?')}"
        return "an engine that does not report its version"

    # -- budgets

    async def beat(self, ask: BeatAsk) -> BeatReply:
        keys = self._keys("epoch", "seen", "waits", "reported")
        known = [ask.holder, ask.epoch, ask.tick, int(ask.is_complete), ask.lost, *ask.known]
        words = await self._script("beat", keys, known)
        now_ms, epoch, tick, is_open, processes = map(int, words[:5])
        return BeatReply(now_ms, epoch, tick, bool(is_open), processes, tuple(sorted(words[5:])))

    async def exchange(self, ask: BudgetAsk) -> BudgetReply:
        keys = self._keys("epoch", "waits", "reported", *(f"account:{part.account}" for part in ask.parts))
        arguments = [*ask[:8], *(value for part in ask.parts for value in part[1:])]
        status, *words = await self._script("exchange", keys, arguments)
        now_ms, epoch, tick, *rest = map(int, words)
        if not rest:
            return BudgetReply(status, now_ms, epoch, tick)
        usd, tokens, at, *sums = rest
        states = tuple((sums[i], sums[i + 1], sums[i + 2], sums[i + 3]) for i in range(0, len(sums), 4))
        return BudgetReply(status, now_ms, epoch, tick, usd, tokens, at, states)

    async def seed(self, epoch: int, ledger: str, bases: Sequence[Base]) -> None:
        keys = self._keys("epoch", *(f"account:{base.account}" for base in bases))
        await self._script("seed", keys, [epoch, ledger, *(value for base in bases for value in base[1:])])

    async def leave(self, holder: str) -> None:
        await self._script("leave", self._keys("epoch", "seen", "reported"), [holder])

    async def stranded(self, account: str, epoch: int, ledger: str) -> tuple[Pair, tuple[tuple[str, int, int], ...]]:
        keys = self._keys("epoch", "seen", f"account:{account}")
        usd, tokens, *rest = await self._script("stranded", keys, [epoch, ledger])
        leases = [(rest[i], int(rest[i + 1]), int(rest[i + 2])) for i in range(0, len(rest), 3)]
        return (int(usd), int(tokens)), tuple(sorted(leases))

    async def write_off(self, account: str, epoch: int, holder: str, spent: Pair) -> None:
        await self._script("write_off", self._keys("seen", f"account:{account}"), [epoch, holder, *spent])

    # -- rates and slots

    def _scope(self, name: str) -> str:
        """A scope's keys share a slot of a cluster with those of its provider: both are taken in one step.

        "model:openai/gpt-4.1" and "provider:openai" -> "{llm-router:openai}:..."
        """
        kind, _, rest = name.partition(":")
        owner = rest.partition("/")[0].partition(" ")[0] if kind in ("model", "provider") else name.partition(" ")[0]
        return f"{{{self._prefix}:{owner.replace('{', '(').replace('}', ')')}}}:{name}"

    async def take(self, ask: TakeAsk) -> TakeReply:
        keys = [f"{self._scope(part.name)}{end}" for part in ask.rates for end in ("", ":takers")]
        keys += [f"{self._scope(part.name)}:slots{end}" for part in ask.slots for end in ("", ":until")]
        arguments = [ask.holder, len(ask.rates), *(value for part in ask.rates for value in part[1:]),
                     *(value for part in ask.slots for value in part[1:])]  # fmt: skip
        status, *words = await self._script("take", keys, arguments)
        now_us, wait_us, at, *granted = map(int, words)
        rates, slots = granted[: len(ask.rates)], granted[len(ask.rates) :]
        return TakeReply(status, now_us, wait_us, at, tuple(rates), tuple(slots))

    # -- notes

    async def publish(self, notes: Sequence[str]) -> None:
        for note in notes:
            await self._run("XADD", self._notes_key, "MAXLEN", "~", MAX_NOTES, "*", "note", note)

    async def notes(self, now_ms: int) -> list[tuple[float, str]]:
        """Those since the last call, the own ones too, with their age; `now_ms` is the engine's time."""
        found: list[tuple[float, str]] = []
        while True:
            rows = await self._run("XRANGE", self._notes_key, self._after(), "+", "COUNT", NOTES_AT_ONCE)
            for name, fields in rows or ():
                self._last_note = text_of(name)
                note = fields.get(b"note", fields.get("note", b"")) if isinstance(fields, dict) else fields[1]
                age_s = max(0.0, (now_ms - int(self._last_note.partition("-")[0])) / 1_000)
                found.append((age_s, text_of(note)))
            if len(rows or ()) < NOTES_AT_ONCE:
                return found

    def _after(self) -> str:
        return self._last_note if self._last_note == "0" else f"({self._last_note}"

    def reread_notes(self) -> None:
        """From the first one again: after the engine has lost its memory, names may repeat."""
        self._last_note = "0"

    async def common_secret(self, own: bytes) -> bytes:
        """A secret that all replicas share: the first one's that was set."""
        key = f"{{{self._prefix}:sessions}}"
        await self._run("SET", key, own.hex(), "NX")
        return bytes.fromhex(text_of(await self._run("GET", key)))


def text_of(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
