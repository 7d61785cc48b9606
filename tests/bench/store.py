"""What a recorded call costs: on the thread that answers callers, and on the one that writes.

    python3 tests/bench/store.py [CALLS]      two figures in microseconds of CPU a call, and calls a second
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from llm_router_gateway.calls import Call, texts, tokens_of
from llm_router_gateway.ir import Usage
from llm_router_gateway.store import Store

BURST = 5_000  # calls between two waits for the thread that writes


def call(number: int, now_ms: int) -> Call:
    """One that is made as the gateway makes them; 7 models, 11 keys."""
    used = tokens_of(Usage(input=1_000 + number % 100, cache_read=50, text=300))
    model = f"model-{number % 7}"
    return Call(
        f"{number:016x}", now_ms + number, 210.5, 812.25 + number % 5_000, "chat", "openai", "anthropic", 1, model,
        f"up/{model}", "up", model, 1, texts(()), 200, "", "", "complete", "stop", *used, 0.0123, "prices",
        f"key-{number % 11}", "team", "127.0.0.1", texts(()),
    )  # fmt: skip


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    now_ms = int(time.time() * 1000) - count
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(f"{folder}/calls.db")
        began, all_cpu, adding = time.perf_counter(), time.process_time(), 0.0
        mine = time.thread_time()
        for first in range(0, count, BURST):
            at = time.thread_time()
            for number in range(first, min(count, first + BURST)):
                store.add(call(number, now_ms))
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
