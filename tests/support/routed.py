"""A gateway between fakes, with several upstreams that each have their own script. No socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Coroutine
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

from fakes import ANSWER, DONE, FIRST, LAST, STREAM, TEXT, Exchange, Upstream
from loops import JumpingLoop

from llm_router_gateway.config import config
from llm_router_gateway.proxy.gateway import Gateway
from llm_router_gateway.proxy.log import Log
from llm_router_gateway.store.conversations import Conversations, Turn, Unkept

Headers = list[tuple[str, str]]
Script = list[Any]  # Upstream, an exception, or a function of the request that gives one


def ok(text: str = "hi") -> Upstream:
    return Upstream(200, ANSWER.replace(b'"content":"hi"', f'"content":"{text}"'.encode()))


def refusal(status: int, code: str = "broken", **headers: str) -> Upstream:
    body = {"error": {"message": f"no luck {status}", "type": "t", "code": code}}
    return Upstream(status, json.dumps(body).encode(), **headers)


def streamed(*pieces: bytes | None) -> Upstream:
    return Upstream(200, list(pieces) or [FIRST, TEXT, LAST, DONE], **STREAM)


class Hosts:
    """A pool whose upstreams are told apart by the first part of their host's name; a script's last entry repeats."""

    def __init__(self, **scripts: Script | Any) -> None:
        self.scripts = {name: script if isinstance(script, list) else [script] for name, script in scripts.items()}
        self.sent: list[dict[str, Any]] = []
        self.given: list[Upstream] = []

    async def request(self, method: str, url: str, headers: Headers, body: bytes, **how: Any) -> Upstream:
        host = (urlsplit(url).hostname or "").partition(".")[0]
        sent = {"host": host, "method": method, "url": url, "headers": dict(headers), "body": body, **how}
        self.sent.append(sent)
        script = self.scripts[host]
        answer = script.pop(0) if len(script) > 1 else script[0]
        if callable(answer):
            answer = answer(sent)
        if asyncio.iscoroutine(answer):
            answer = await answer
        if isinstance(answer, Exception):
            raise answer
        again = Upstream(answer.status, answer.pieces_)  # a script's last entry may be read many times
        again.headers = answer.headers
        self.given.append(again)
        return again

    @property
    def hosts(self) -> list[str]:
        return [sent["host"] for sent in self.sent]

    @property
    def keys(self) -> list[str]:
        return [sent["headers"].get("authorization", "").removeprefix("Bearer ") for sent in self.sent]


class Shelf(Unkept):
    """Kept turns, in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.turns: dict[str, Turn] = {}

    def append(self, turn: Turn) -> None:
        self.turns[turn.id] = turn

    async def find(self, owner: str, turn_id: str) -> Turn | None:
        return self.turns.get(turn_id)

    async def chain(self, owner: str, turn_id: str) -> list[Turn]:
        found = []
        while turn_id:
            assert len(found) < len(self.turns)
            found.append(self.turns[turn_id])
            turn_id = found[-1].previous
        return found[::-1]

    async def holding(self, owner: str, items: Collection[str]) -> list[Turn]:
        return [turn for turn in self.turns.values() if set(items) & set(turn.items)]


class Ways:
    """A gateway over Hosts."""

    def __init__(
        self, document: dict[str, Any], hosts: Hosts, folder: Path, kept: Conversations | None = None, **seams: Any
    ) -> None:  # fmt: skip
        self.hosts, self.path = hosts, folder / "log"
        self.log = Log("debug", stream=-1, path=str(self.path))
        loop = asyncio.get_running_loop()
        self.skipped = 0.0
        self.gateway = Gateway(
            config.parse(document), hosts, self.log, clock=lambda: loop.time() + self.skipped,  # type: ignore[arg-type]
            call_later=loop.call_later, new_id=lambda: "made", rng=Random(7), kept=kept, **seams,
        )  # fmt: skip

    def skip(self, seconds: float) -> None:
        """As if that time had gone by."""
        self.skipped += seconds

    async def ask(self, exchange: Exchange) -> Exchange:
        await self.gateway(exchange)  # type: ignore[arg-type]
        return exchange

    async def get(self, path: str) -> Any:
        return (await self.ask(Exchange("GET", path))).json

    async def post(self, path: str, body: object, headers: Headers | None = None) -> Exchange:
        return await self.ask(Exchange("POST", path, json.dumps(body).encode(), headers))

    @property
    def lines(self) -> str:
        self.log.flush()
        return self.path.read_text()


Story = Callable[[Ways], Coroutine[Any, Any, None]]


SOON_S = 0.001


def provider(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "api": "openai", "base_url": f"http://{name}.example/v1", "api_key": f"key-{name}", **more}


def model(owner: str, **more: Any) -> dict[str, Any]:
    return {"name": "m", "provider": owner, **more}


def group(*members: str | dict[str, Any], **more: Any) -> dict[str, Any]:
    tables = [{"model": each} if isinstance(each, str) else each for each in members]
    return {"name": "g", "strategy": "priority", "members": tables, **more}


def trio(**more: Any) -> dict[str, Any]:
    """Three providers with a model each, and a group `g` that tries a first, then b, then c. The pause before a lone model is
    tried again is short, if the document does not say otherwise."""
    names = ("a", "b", "c")
    members = [{"model": f"{name}/m", "priority": 3 - place} for place, name in enumerate(names)]
    document = {"providers": list(map(provider, names)), "models": list(map(model, names)), "groups": [group(*members)]}
    server = {"retry_alone_s": SOON_S, **more.pop("server", {})}
    return {"server": server, **document, **more}


def play(
    story: Story, document: dict[str, Any], hosts: Hosts, folder: Path, kept: Conversations | None = None, *,
    jumps: bool = False, **seams: Any,
) -> Ways:  # fmt: skip
    """Runs one story; afterwards nothing is open and nothing is counted as under way. `jumps`: in a JumpingLoop."""

    async def all_of_it() -> Ways:
        ways = Ways(document, hosts, folder, kept, **seams)
        await story(ways)
        assert ways.gateway.open == 0
        for entry in ways.gateway.routing_state.report(ways.gateway.state.table, ways.gateway._clock()):
            assert entry["active"] == 0, entry
        return ways

    with asyncio.Runner(loop_factory=JumpingLoop if jumps else None) as runner:
        ways = runner.run(all_of_it())
    ways.log.close()
    assert all(answer.closed for answer in hosts.given)
    assert "Please report this line" not in ways.path.read_text()
    return ways


def chat(name: str = "g", extra: str = "", headers: Headers | None = None) -> Exchange:
    body = f'{{"messages":[{{"role":"user","content":"hi"}}],"model":"{name}"{extra}}}'
    return Exchange("POST", "/v1/chat/completions", body.encode(), headers)


def stream(name: str = "g", extra: str = "", headers: Headers | None = None) -> Exchange:
    return chat(name, f', "stream": true{extra}', headers)
