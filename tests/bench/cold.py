"""A cold start: what one command costs as a whole process, beside the build it replaced and two libraries that do the same.

    python3 tests/bench/cold.py [--baseline DIRECTORY] [--rounds N]

User and system CPU from wait4, peak memory from the same call, the commands in turn. The build it replaced is the commit
BASELINE, whose client had an HTTP of its own and was written for compile time: taken out of this repository's history into a
temporary directory, unless --baseline (or LLM_ROUTER_BASELINE) names a checkout of it. It also runs against itself: what its
two series differ by is noise. The limits are for medians; what else the machine does can only lengthen a run, so the rows
"fastest" have the least of all rounds.
"""

from __future__ import annotations

import os
import site
import sys

from measure import MIB, SCRIPTS, Bench, Failed, Row, cpu_s, mib, ms, peak_bytes, report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Optional, Sequence, Tuple

BASELINE = "2098594"
ROUNDS = 51  # with 21 the medians of two runs differed by a tenth on a busy machine
SDK_LIMIT = 1 / 8
PEAK_LIMIT_MIB = 32
QUESTION = "Hello, world!"
OLD_CHAT, OLD_TLS = f"{BASELINE} chat", f"{BASELINE} chat, TLS"
LIMITS = {  # what is timed -> (its peer, the most it may cost in times of the peer)
    "launcher chat": (OLD_CHAT, 1.0),
    "launcher chat, TLS": (OLD_TLS, 0.95),
    "launcher --help": (f"{BASELINE} --help", 0.6),
    "launcher chat --help": (f"{BASELINE} chat --help", 0.6),
    "launcher chat --dry-run": (f"{BASELINE} chat --dry-run", 0.6),
    "script chat": (OLD_CHAT, 1.4),
}
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


def options(argv: Optional[Sequence[str]]) -> Tuple[str, int]:
    """(directory of the baseline or "", rounds) from the command line."""
    words = list(sys.argv[1:] if argv is None else argv)
    given = dict(zip(words[::2], words[1::2]))
    if len(words) % 2 or set(given) - {"--baseline", "--rounds"}:
        raise SystemExit("usage: cold.py [--baseline DIRECTORY] [--rounds N]")
    return given.get("--baseline", os.getenv("LLM_ROUTER_BASELINE", "")), int(given.get("--rounds", ROUNDS))


def check_interpreter() -> None:
    """Failed where .pth files run code at every start of this Python: they would be most of what is measured."""
    lines = [name for folder in site.getsitepackages() if os.path.isdir(folder) for name in os.listdir(folder)]
    if any(name.endswith(".pth") for name in lines):
        raise Failed("this Python has .pth files of other packages, which slow every start: use tests/bench/run.py cold")


def baseline_client(bench: Bench, directory: str) -> str:
    """The client file of BASELINE: below `directory`, else out of the history, unpacked in the scratch directory."""
    if not directory:
        directory = str(bench.scratch / "baseline")
        os.mkdir(directory)
        repository = str(SCRIPTS.parent)
        unpack = 'git -C "$1" archive "$2" scripts/llm_router_client.py | tar -x -C "$3"'
        bench.run(["/bin/sh", "-c", unpack, "sh", repository, BASELINE, directory])
    path = os.path.join(directory, "scripts", "llm_router_client.py")
    if not os.path.isfile(path):
        raise Failed(f"{path} is not there: the history does not reach back to {BASELINE}; name a checkout with --baseline")
    return path


def commands(bench: Bench, baseline: str) -> Dict[str, List[str]]:
    """Name -> argument vector of everything that is timed."""
    plain, tls = bench.mock_server(), bench.mock_server("--tls", *bench.certificate())
    chat = ["chat", "--base-url", plain, "-m", "demo", "--message", QUESTION]
    secure = ["chat", "--base-url", tls, "-m", "demo", "--message", QUESTION]
    ways = {"chat": chat, "chat, TLS": secure, "--help": ["--help"], "chat --help": ["chat", "--help"],
            "chat --dry-run": [*chat, "--dry-run"]}  # fmt: skip
    found: Dict[str, List[str]] = {}
    for way, words in ways.items():
        found[f"{BASELINE} {way}"] = [bench.python, baseline, *words]
        found[f"launcher {way}"] = bench.launcher(*words)
    return {
        **found,
        f"{OLD_CHAT} again": [bench.python, baseline, *chat],
        "script chat": bench.client(*chat),
        "requests": [bench.python, "-c", REQUESTS, plain],
        "openai SDK": [bench.python, "-c", OPENAI, plain],
    }


def rows_of(cpu: Dict[str, float], least: Dict[str, float], peak: Dict[str, float], rounds: int) -> List[Row]:
    """The table from CPU seconds (medians, minima) and peak bytes by name."""

    def row(what: str, peer: str, limit: str = "", most: float = 0.0) -> Row:
        ratio = cpu[what] / cpu[peer]
        return Row(f"{what}, CPU; peer {peer}", ms(cpu[what]), ms(cpu[peer]), ratio, limit, ratio <= most if limit else None)

    rows = [row(what, peer, f"<= {most} x", most) for what, (peer, most) in LIMITS.items()]
    rows.append(row(f"{OLD_CHAT} again", OLD_CHAT))
    rows += [row("launcher chat", "openai SDK", "<= 1/8 x", SDK_LIMIT), row("launcher chat", "requests")]
    for what, (peer, _) in LIMITS.items():
        name = f"{what}, CPU, fastest of {rounds}; peer {peer}"
        rows.append(Row(name, ms(least[what]), ms(least[peer]), least[what] / least[peer]))
    limit, ok = f"< {PEAK_LIMIT_MIB} MiB", peak["launcher chat"] < PEAK_LIMIT_MIB * MIB
    for peer in ("openai SDK", "requests", OLD_CHAT):
        facts = (mib(peak["launcher chat"]), mib(peak[peer]), peak["launcher chat"] / peak[peer])
        rows.append(Row(f"launcher chat, peak memory; peer {peer}", *facts, limit, ok))
    return rows


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Measure, check that all sides print the same answer, print."""
    directory, rounds = options(argv)
    check_interpreter()
    with Bench() as bench:
        runs = bench.interleaved(commands(bench, baseline_client(bench, directory)), rounds)
        chats = ("launcher chat", "launcher chat, TLS", OLD_CHAT, OLD_TLS, "script chat", "openai SDK", "requests")
        if len({run.out.strip() for name in chats for run in runs[name]}) != 1:
            raise Failed("the sides did not print the same answer")
        cpu = {name: cpu_s(found) for name, found in runs.items()}
        least = {name: min(run.cpu_s for run in found) for name, found in runs.items()}
        peak = {name: peak_bytes(runs[name]) for name in ("launcher chat", OLD_CHAT, "openai SDK", "requests")}
        return report(rows_of(cpu, least, peak, rounds))


if __name__ == "__main__":
    sys.exit(main())
