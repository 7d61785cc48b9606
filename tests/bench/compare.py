"""`compare` of 8 models that each take at least 300 ms: the whole command's wall time, beside the openai SDK in 8 threads."""

from __future__ import annotations

import sys

from measure import Bench, Failed, Row, cpu_s, ms, report, wall_s

ROUNDS = 9
LIMIT_S = 0.450
MODELS = ",".join(f"demo-sleep-{wait_ms}" for wait_ms in range(300, 308))  # eight names; the slowest takes 307 ms
QUESTION = "What is 2+2?"
OPENAI = f"""
import os, sys
from concurrent.futures import ThreadPoolExecutor
from openai import OpenAI
client = OpenAI(base_url=sys.argv[1], api_key=os.environ["LLM_ROUTER_API_KEY"])
def ask(model):
    return client.chat.completions.create(model=model, messages=[{{"role": "user", "content": "{QUESTION}"}}])
with ThreadPoolExecutor(8) as pool:
    for answer in pool.map(ask, "{MODELS}".split(",")):
        print(answer.model, answer.choices[0].message.content)
"""


def main() -> int:
    """Measure, check that all answered, print."""
    with Bench() as bench:
        base_url = bench.mock_server()
        runs = bench.interleaved(
            {
                "ours": bench.client("compare", "--base-url", base_url, "--models", MODELS, "--message", QUESTION),
                "openai": [bench.python, "-c", OPENAI, base_url],
            },
            ROUNDS,
        )
    if any(run.out.count(QUESTION.encode()) != 8 for side in runs.values() for run in side):
        raise Failed("not all models answered")
    ours_s, peer_s = wall_s(runs["ours"]), wall_s(runs["openai"])
    ours_cpu_s, peer_cpu_s = cpu_s(runs["ours"]), cpu_s(runs["openai"])
    return report(
        [
            Row("`compare` of 8 models of 300 ms, wall; peer openai SDK in 8 threads", ms(ours_s), ms(peer_s), ours_s / peer_s,
                f"<= {ms(LIMIT_S)}", ours_s <= LIMIT_S),
            Row("the same, CPU", ms(ours_cpu_s), ms(peer_cpu_s), ours_cpu_s / peer_cpu_s),
        ]
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
