"""A cold start: what one command costs as a whole process, beside Python's own imports and two libraries that do the same.

User and system CPU from wait4, peak memory from the same call, the commands in turn. The limits are for medians; the rows
"fastest" have the least of all rounds, which what else the machine does can only lengthen.
"""

from __future__ import annotations

import sys

from measure import MIB, Bench, Failed, Row, cpu_s, mib, ms, peak_bytes, report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List

ROUNDS = 51  # with 21 the medians of two runs differed by a tenth on a busy machine
CHAT_LIMIT = 1.35  # times the import line
SDK_LIMIT = 1 / 8
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


def commands(bench: Bench, base_url: str) -> Dict[str, List[str]]:
    """Name -> argument vector of everything that is timed."""
    return {
        "import": [bench.python, "-c", IMPORT_LINE],
        "chat": bench.client("chat", "--base-url", base_url, "-m", "demo", "--message", QUESTION),
        "--help": bench.client("--help"),
        "chat --help": bench.client("chat", "--help"),
        "models --offline": bench.client("models", "--offline"),
        "requests": [bench.python, "-c", REQUESTS, base_url],
        "openai SDK": [bench.python, "-c", OPENAI, base_url],
    }


def rows_of(cpu: Dict[str, float], least: Dict[str, float], peak: Dict[str, float]) -> List[Row]:
    """The table from CPU seconds (medians, minima) and peak bytes by name."""

    def row(what: str, name: str, peer: str, limit: str = "", most: float = 0.0) -> Row:
        ratio = cpu[name] / cpu[peer]
        return Row(what, ms(cpu[name]), ms(cpu[peer]), ratio, limit, ratio <= most if limit else None)

    rows = [
        row(f"cold `chat`, CPU; peer `python3 -c '{IMPORT_LINE}'`", "chat", "import", f"<= {CHAT_LIMIT} x", CHAT_LIMIT),
        row("cold `chat`, CPU; peer openai SDK", "chat", "openai SDK", "<= 1/8 x", SDK_LIMIT),
        row("cold `chat`, CPU; peer requests", "chat", "requests"),
    ]
    for name in ("--help", "chat --help", "models --offline"):
        rows.append(row(f"`{name}`, CPU; peer the import line", name, "import", "below 1 x", 1.0))
    for name in ("chat", "--help", "chat --help", "models --offline"):
        what = f"{'cold ' if name == 'chat' else ''}`{name}`, CPU, fastest of {ROUNDS}; peer the import line"
        rows.append(Row(what, ms(least[name]), ms(least["import"]), least[name] / least["import"]))
    what, limit, ok = "cold `chat`, peak memory; peer", f"< {PEAK_LIMIT_MIB} MiB", peak["chat"] < PEAK_LIMIT_MIB * MIB
    for peer in ("openai SDK", "requests"):
        rows.append(Row(f"{what} {peer}", mib(peak["chat"]), mib(peak[peer]), peak["chat"] / peak[peer], limit, ok))
    return rows


def main() -> int:
    """Measure, check that all sides print the same answer, print."""
    with Bench() as bench:
        runs = bench.interleaved(commands(bench, bench.stand_in()), ROUNDS)
        chats = {name: runs[name] for name in ("chat", "openai SDK", "requests")}
        if len({run.out.strip() for found in chats.values() for run in found}) != 1:
            raise Failed("the sides did not print the same answer")
        cpu = {name: cpu_s(found) for name, found in runs.items()}
        least = {name: min(run.cpu_s for run in found) for name, found in runs.items()}
        return report(rows_of(cpu, least, {name: peak_bytes(found) for name, found in chats.items()}))


if __name__ == "__main__":
    sys.exit(main())
