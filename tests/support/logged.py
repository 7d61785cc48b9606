"""Calls of all kinds, made from a seed, in a store as the gateway writes it; and a store to read them that has no threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Any

from llm_router_gateway.store.call import Call, texts
from llm_router_gateway.store.rollups import bodies_row
from llm_router_gateway.store.sqlite import file, rows

NOW_S = 1_792_567_680  # 2026-10-21T07:28:00Z
MODELS = (("openai", "gpt-x"), ("openai", "gpt-y"), ("claude", "claude-x"), ("office", "vendor/small"), ("", ""))
KEYS = (("", ""), ("k1", "Ann"), ("k2", "Ben"), ("config:ci", "ci"), ("k3", "Zo\u00eb"))
ERRORS = ("", "", "", "rate_limited", "upstream_failed", "client_gone")


def call(**values: Any) -> Call:
    """A plain success, but for what is given."""
    plain = Call(
        "id-1", NOW_S * 1_000, 80.0, 400.0, "chat", "openai", "openai", 1, "big", "openai/gpt-x", "openai", "gpt-x", 1, "[]",
        200, "", "", "complete", "stop", 10, 5, 2, 0, 1, 0.25, "prices", "k1", "Ann", "10.0.0.1", "[]",
    )  # fmt: skip
    return plain._replace(**values)


def any_call(rng: Random, started_ms: int) -> Call:
    """One of any kind."""
    (provider, model), (key_id, key_name), error = rng.choice(MODELS), rng.choice(KEYS), rng.choice(ERRORS)
    stream, knows = rng.random() < 0.5, rng.random() < 0.8
    duration_ms = round(rng.choice((0.0, 0.4, 1.0, rng.lognormvariate(6, 2))), 3)
    return call(
        request_id=f"{rng.getrandbits(64):016x}", started_ms=started_ms, duration_ms=duration_ms,
        first_ms=round(duration_ms * rng.random(), 3) if stream else None, kind=rng.choice(("chat", "chat", "chat", "count")),
        protocol=rng.choice(("openai", "anthropic", "gemini")), stream=int(stream), asked=rng.choice(("big", "50%_!", model)),
        served=f"{provider}/{model}" if model else "", provider=provider, model=model, attempts=rng.randrange(4),
        failed=texts(["openai/gpt-x 503"] if rng.random() < 0.1 else []),
        status=200 if not error else rng.choice((400, 429, 502)),
        error=error, message=error and f"{error}: \u00fcber", finish="" if error else "stop",
        ended="client_gone" if error == "client_gone" else "error" if error else "complete",
        input_tokens=rng.randrange(10_000) if knows else None, output_tokens=rng.randrange(3_000) if knows else None,
        cached_tokens=rng.randrange(100) if knows else None, reasoning_tokens=rng.randrange(50) if knows else None,
        cost_usd=rng.randrange(1_000_000) / 1_000_000 if rng.random() < 0.7 else None, key_id=key_id, key_name=key_name,
        client=rng.choice(("10.0.0.1", "10.0.0.22", "::1")),
    )  # fmt: skip


def random_calls(seed: int, count: int, length_s: int) -> list[Call]:
    """Calls until NOW_S, many of them at the borders of minutes, hours and days; some start out of order."""
    rng, made = Random(seed), []
    for _ in range(count):
        at_ms = (NOW_S - rng.randrange(length_s)) * 1_000 + rng.randrange(1_000)
        border = rng.choice((1, 1, 60_000, 3_600_000, 86_400_000))
        at_ms = max((NOW_S - length_s) * 1_000, at_ms // border * border - (border > 1 and rng.random() < 0.3))
        made.append(any_call(rng, at_ms))
    return made


class Shelf:
    """A store that reads where it stands. The batches are small, so that sums are added to sums."""

    db: Any

    def __init__(self, path: Path, calls: Iterable[Call] = (), batch: int = 97) -> None:
        self.db = file.open_writer(str(path / "calls.db"), NOW_S * 1_000)
        self._fill(calls, batch)

    def _fill(self, calls: Iterable[Call], batch: int) -> None:
        self.calls = list(calls)
        for at in range(0, len(self.calls), batch):
            self.add(self.calls[at : at + batch])

    def add(self, calls: Iterable[Call], bodies: Any = None) -> None:
        self.db.execute("BEGIN IMMEDIATE")
        rows.put(self.db, [(each, bodies) for each in calls])
        self.db.execute("COMMIT")

    def close(self) -> None:
        self.db.close()

    async def reading(self, function: Callable[[Any], Any]) -> Any:
        return function(self.db)

    def health(self) -> dict[str, Any]:
        return {"path": "x", "rows_waiting": 0, "written": len(self.calls), "dropped": 0, "last_error": "", "bytes": 1}


class PostgresShelf(Shelf):
    """The same in a database of PostgreSQL."""

    def __init__(self, address: str, calls: Iterable[Call] = (), batch: int = 97) -> None:
        from llm_router_gateway.store.postgres import driver, migrations
        from llm_router_gateway.store.postgres import rows as postgres_rows

        self._guard = driver.Guard()
        self._guard.__enter__()
        self.db = driver.connect(address, "shelf", self._guard)
        migrations.apply(self.db)
        for statement in postgres_rows.STAGING:
            self.db.execute(statement)
        self._ids, self._labels = postgres_rows.Ids(), postgres_rows.Labels()
        self._fill(calls, batch)

    def add(self, calls: Iterable[Call], bodies: Any = None) -> None:
        from llm_router_gateway.store.postgres import partitions, rows

        batch = list(calls)
        with self.db.raw.transaction():
            partitions.ensure(self.db, rows.days_of(batch))
            texts = [bodies_row(at, each, bodies) for at, each in enumerate(batch) if bodies]
            rows.put(self.db, self._ids, self._labels, batch, texts)

    def close(self) -> None:
        self.db.close()
        self._guard.__exit__()
