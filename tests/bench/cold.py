"""A cold start: what one command costs as a whole process, beside Python's own imports and two libraries that do the same.

User and system CPU from wait4, peak memory from the same call, the commands in turn, medians.
"""

from __future__ import annotations

import sys

from measure import MIB, Bench, Row, cpu_s, mib, ms, peak_bytes, report

ROUNDS = 21
CHAT_LIMIT = 1.35  # times the import line
OPENAI_LIMIT = 1 / 8
PEAK_LIMIT_MIB = 32
IMPORT_LINE = "import json, argparse, urllib.request"
QUESTION = "Hello, world!"
OPENAI = f"""
import os, sys
from openai import OpenAI
client = OpenAI(base_url=sys.argv[1], api_key=os.environ["LLM_ROUTER_API_KEY"])
answer = client.chat.completions.create(model="demo", messages=[{{"role": "user", "content": "{QUESTION}"}}])
print(answer.choices[0].message.content)
"""
REQUESTS = f"""
import os, sys, requests
body = {{"model": "demo", "messages": [{{"role": "user", "content": "{QUESTION}"}}]}}
key = os.environ["LLM_ROUTER_API_KEY"]
answer = requests.post(sys.argv[1] + "/chat/completions", json=body, headers={{"Authorization": "Bearer " + key}}, timeout=60)
print(answer.json()["choices"][0]["message"]["content"])
"""


def main() -> int:
    with Bench() as bench:
        base_url = bench.stand_in()
        runs = bench.interleaved(
            {
                "import": [bench.python, "-c", IMPORT_LINE],
                "chat": bench.client("chat", "--base-url", base_url, "-m", "demo", "--message", QUESTION),
                "--help": bench.client("--help"),
                "chat --help": bench.client("chat", "--help"),
                "models --offline": bench.client("models", "--offline"),
                "requests": [bench.python, "-c", REQUESTS, base_url],
                "openai": [bench.python, "-c", OPENAI, base_url],
            },
            ROUNDS,
        )
        if not runs["chat"][0].out.strip() == runs["openai"][0].out.strip() == runs["requests"][0].out.strip():
            raise SystemExit("the two sides did not print the same answer")
        cpu = {name: cpu_s(found) for name, found in runs.items()}
        peak = {name: peak_bytes(runs[name]) for name in ("chat", "openai", "requests")}
    ratio = {name: cpu["chat"] / cpu[name] for name in ("import", "openai", "requests")}
    line = f"`python3 -c \"{IMPORT_LINE}\"`"
    rows = [
        Row(f"cold `chat`, CPU; peer {line}", ms(cpu["chat"]), ms(cpu["import"]), ratio["import"],
            f"<= {CHAT_LIMIT} x", ratio["import"] <= CHAT_LIMIT),
        Row("cold `chat`, CPU; peer openai SDK", ms(cpu["chat"]), ms(cpu["openai"]), ratio["openai"],
            "<= 1/8", ratio["openai"] <= OPENAI_LIMIT),
        Row("cold `chat`, CPU; peer requests", ms(cpu["chat"]), ms(cpu["requests"]), ratio["requests"]),
    ]  # fmt: skip
    for name in ("--help", "chat --help", "models --offline"):
        part = cpu[name] / cpu["import"]
        rows.append(Row(f"`{name}`, CPU; peer the import line", ms(cpu[name]), ms(cpu["import"]), part, "< 1", part < 1))
    for name in ("openai", "requests"):
        rows.append(Row(f"cold `chat`, peak memory; peer {name}", mib(peak["chat"]), mib(peak[name]), peak["chat"] / peak[name],
                        f"< {PEAK_LIMIT_MIB} MiB", peak["chat"] < PEAK_LIMIT_MIB * MIB))  # fmt: skip
    return report(rows)


if __name__ == "__main__":
    sys.exit(main())
