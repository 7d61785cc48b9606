"""What a recorded call costs: on the thread that answers callers, and on the one that writes.

python3 tests/bench/store.py [CALLS]      two figures in microseconds of CPU a call, and calls a second
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from llm_router_gateway.config.config import parse
from llm_router_gateway.net import caller
from llm_router_gateway.proxy import paths
from llm_router_gateway.proxy.recording import call_of
from llm_router_gateway.proxy.request import Record, RequestContext
from llm_router_gateway.routing.snapshot import snapshot_of
from llm_router_gateway.store.sqlite.database import Store
from llm_router_gateway.wire.ir import Usage

BURST = 5_000  # calls between two waits for the thread that writes
MODELS, KEYS = 7, 11


def contexts() -> list[RequestContext]:
    """Requests that have ended: 7 models, 11 keys, with tokens and prices."""
    models = [{"name": f"model-{number}", "provider": "up", "config": {"input_usd_per_mtok": 3, "output_usd_per_mtok": 15}}
              for number in range(MODELS)]  # fmt: skip
    provider = {"name": "up", "api": "anthropic", "base_url": "http://127.0.0.1:9"}
    state = snapshot_of(parse({"providers": [provider], "models": models}, env={}, flags={}, read_secret=str))
    made = []
    for number in range(MODELS * KEYS):
        name = f"up/model-{number % MODELS}"
        record = Record(f"{number:016x}", "POST", "/v1/chat/completions", "127.0.0.1", 0.0, "openai", name, name, True)
        record.status, record.seconds, record.first_output_s, record.attempts = 200, 0.8 + number % 50 / 10, 0.21, 1
        record.usage, record.finish = Usage(input=1_000 + number, cache_read=50, text=300), "stop"
        exchange: Any = None
        context = RequestContext(exchange, state, record, {}, {}, paths.Call("chat", "openai"))
        context.caller = caller.Caller(f"key-{number % KEYS}", "team")
        context.candidate = state.routes.full[name]
        made.append(context)
    return made


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    ended, now_s = contexts(), time.time() - count / 1_000
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(f"{folder}/calls.db")
        began, all_cpu, adding = time.perf_counter(), time.process_time(), 0.0
        mine = time.thread_time()
        for first in range(0, count, BURST):
            at = time.thread_time()
            for number in range(first, min(count, first + BURST)):
                store.add(call_of(ended[number % len(ended)], now_s + number / 1_000))
            adding += time.thread_time() - at
            store.flush(60.0)
        mine, all_cpu = time.thread_time() - mine, time.process_time() - all_cpu
        seconds = time.perf_counter() - began
        if store.written != count:
            raise SystemExit(f"{store.written} of {count} calls were written: {store.health()}")
        print(f"made and handed over: {adding / count * 1e6:.1f} us of CPU a call (goal: 10)")
        print(f"written:              {(all_cpu - mine) / count * 1e6:.1f} us of CPU a call (goal: 40)")
        print(f"{count / seconds:,.0f} calls a second; {store.health()['bytes'] / count:.0f} bytes a call")
        store.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
