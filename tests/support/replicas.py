"""Several gateways with one engine, as processes: what tests of [state] start.

    with Replicas(tmp_path, count=2) as group:
        group.first.chat(...); group.second.chat(...)
        group.server.freeze()                 the engine; see `engines.RedisServer`
        group.restart(0)                      kill -9 of a gateway, and a new one in its place

The upstream is one server for all. Each call costs what `cost_usd` says, in OpenAI's own field of usage.
"""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

from engines import RedisServer
from running import Answer, Process, Upstream, http, made_up, sends

PATIENT = "timeout_s = 5\n"  # for what a busy machine must not make slow; the default is a twentieth of a second


def answer_of(tokens: int = 10, cost_usd: float = 0.001) -> bytes:
    usage = {"prompt_tokens": tokens // 2, "completion_tokens": tokens - tokens // 2, "total_tokens": tokens, "cost": cost_usd}
    message = {"role": "assistant", "content": "yes"}
    body = {"id": "1", "object": "chat.completion", "model": "m", "usage": usage,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}  # fmt: skip
    return http(json.dumps(body).encode())


class Replicas:
    """The gateways, their engine and their upstream."""

    def __init__(
        self, folder: Path, *, count: int = 2, state: str = PATIENT, settings: str = "", key: str = "", models: str = "",
        options: Sequence[str] = (), program: str | None = None,
    ) -> None:  # fmt: skip
        """`key`: terms of the caller's key; `models`: TOML behind the provider's first model; `options` of redis-server."""
        self.folder, self.admin, self.caller = folder, made_up("admin"), made_up("caller")
        self.server = RedisServer.start(folder / "engine", *options, program=program)
        self.upstream = Upstream()
        self.upstream.does(sends(answer_of()))
        self.config = (
            f'[server]\nstore = "router.db"\n{settings}\n[state]\nurl = "{self.server.url}"\n{state}\n'
            f'[[providers]]\nname = "o"\napi = "openai"\nbase_url = "{self.upstream.url}/v1"\napi_key = "x"\n'
            f'[[o.models]]\nname = "m"\nconfig = {{ input_usd_per_mtok = 1, output_usd_per_mtok = 10 }}\n{models}\n'
            f'[[keys]]\nname = "caller"\nkey_env = "CALLER"\n{key}\n'
        )
        self.gateways: list[Process] = []
        try:
            for _ in range(count):
                self.add()
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def add(self) -> Process:
        return self._start(len(self.gateways), self.folder / f"replica-{len(self.gateways)}")

    def _start(self, place: int, folder: Path) -> Process:
        folder.mkdir(exist_ok=True)
        env = {"CALLER": self.caller, "LLM_ROUTER_ADMIN_TOKEN": self.admin}
        process = Process(folder, self.config, env=env)
        process.token = self.caller
        self.gateways[place : place + 1] = [process]
        return process

    def restart(self, place: int) -> Process:
        """kill -9, and another process with the same files."""
        self.gateways[place].signal(signal.SIGKILL)
        self.gateways[place].ended()
        return self._start(place, self.folder / f"replica-{place}")

    def outcomes(self, calls: int, **terms: int) -> Counter[int]:
        """The statuses of calls that go to all gateways at once, each over a connection of its own."""
        with ThreadPoolExecutor(8) as pool:
            return Counter(pool.map(lambda number: self.chat(number % len(self.gateways), **terms).status, range(calls)))

    @property
    def first(self) -> Process:
        return self.gateways[0]

    @property
    def second(self) -> Process:
        return self.gateways[1]

    def chat(self, place: int, *, max_tokens: int = 50) -> Answer:
        """One call of the caller's key."""
        body = {"model": "o/m", "max_tokens": max_tokens, "messages": [{"role": "user", "content": "hi"}]}
        return self.gateways[place].send("POST", "/v1/chat/completions", json.dumps(body).encode())

    def metrics(self, place: int) -> dict[str, float]:
        """Those without labels."""
        text = self.gateways[place].get("/metrics", authorization=f"Bearer {self.admin}").data.decode()
        pairs = (line.rsplit(" ", 1) for line in text.splitlines() if line and line[0] != "#" and "{" not in line)
        return {name: float(value) for name, value in pairs}

    def statistics(self, place: int) -> dict[str, Any]:
        """Those of the last hour."""
        found: dict[str, Any] = (
            self.gateways[place].get("/monitor/statistics?range=1h", authorization=f"Bearer {self.admin}").json
        )
        return found

    def shared(self, place: int) -> dict[str, Any]:
        """What the page says of the engine."""
        shared: dict[str, Any] = self.statistics(place)["shared"]
        return shared

    def is_up(self, place: int) -> bool:
        return self.metrics(place)["llm_router_state_engine_up"] == 1

    def __enter__(self) -> Replicas:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for process in self.gateways:
            process.end()
        self.upstream.__exit__()
        self.server.__exit__(kind, error, trace)
