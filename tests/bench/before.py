"""The gateway beside an earlier build of it: CPU per answer and per streamed piece, which may grow by 3 % plus the noise.

    python3.11 tests/bench/before.py [--baseline DIRECTORY] [--rounds N]

The build is the commit BASELINE, out of this repository's history unless --baseline (or LLM_ROUTER_BASELINE) names a checkout
of it. It runs twice, so that it is also compared with itself: what these two differ by, in the middle of all rounds or from
round to round, is noise and is added to the limit. The three run in turn, in another order each round; ratios are those of
one round. See gateway.py for what is sent. Linux only.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from gateway import CALLERS, CLAIMS, MODELS, us
from large_bodies import BASELINE, checkout_of
from measure import SCRIPTS, Bench, Row, median, report
from sides import MESSAGES, OURS, Side, Sides
from traffic import Traffic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Sequence, Tuple

    from gateway import Claim

ROUNDS = 15
GROWTH = 0.03
BEFORE, AGAIN = BASELINE, f"{BASELINE} again"
ANSWERS = (1_000, 24)  # of one side in one round, plain and streamed
COMMON = tuple(claim for claim in CLAIMS if claim.limit_s or (not claim.against and claim.path == MESSAGES))  # both builds can
ROUTER_TOML = """
[[providers]]
name = "upstream"
api = "openai"
base_url = "{base_url}"
api_key_env = "BENCH_UPSTREAM_KEY"
"""


class Builds(Sides):
    """Sides that are builds of this gateway, each with a folder of its own for its configuration and its store."""

    def __init__(self, bench: Bench, traffic: Traffic, directory: Path, before: Path) -> None:
        super().__init__(bench, traffic, directory)
        self._scripts = {OURS: SCRIPTS, BEFORE: before, AGAIN: before}
        self._commands = {name: self._command(name) for name in self._scripts}

    def _command(self, name: str) -> Any:
        def command(port: int) -> Tuple[List[str], Dict[str, str], str]:
            folder = self._bench.scratch / name.replace(" ", "-")
            folder.mkdir()
            (folder / "router.toml").write_text(ROUTER_TOML.format(base_url=self._traffic.base_url))
            self._bench.env["PYTHONPATH"] = str(self._scripts[name])
            program = [sys.executable, str(Path(self._scripts[name]) / "llm_router_gateway")]
            words = [*program, "--config", str(folder / "router.toml"), "--port", str(port)]
            return words, {"Authorization": f"Bearer {self._token}"}, "/health"

        return command


def cpu_of(traffic: Traffic, side: Side, claim: Claim) -> float:
    """CPU seconds of the side for one answer, or for one piece of a stream."""
    model = MODELS.get((side.name, claim.path, claim.model), f"{claim.model}/bench")
    requests = [side.request(claim.path, model, stream=bool(claim.pieces), **claim.more)] * CALLERS
    before_s = side.cpu_s()
    done = traffic.run(side.address, requests, ANSWERS[bool(claim.pieces)], claim.pieces, claim.burst).checked()
    return (side.cpu_s() - before_s) / (done.pieces or done.answers)


def row_of(claim: Claim, found: Dict[str, List[float]]) -> List[Row]:
    """Ours beside the build before, and that beside itself."""

    def ratios(name: str) -> List[float]:
        return [mine / theirs for mine, theirs in zip(found[name], found[BEFORE])]

    noise, ours = ratios(AGAIN), median(ratios(OURS))
    middle = median(noise)
    spread = max(abs(middle - 1), median([abs(each - middle) for each in noise]))
    most = 1 + GROWTH + spread
    figures = {name: us(median(seconds)) for name, seconds in found.items()}
    return [
        Row(f"{claim.what}; peer {BEFORE}", figures[OURS], figures[BEFORE], ours, f"<= {most:.3f} x", ours <= most),
        Row(f"the same, {BEFORE} beside itself", figures[AGAIN], figures[BEFORE], middle),
    ]


def measured(before: Path, rounds: int, directory: Path) -> List[Row]:
    found: Dict[str, Dict[str, List[float]]] = {claim.what: {name: [] for name in (OURS, BEFORE, AGAIN)} for claim in COMMON}
    with Bench() as bench, Traffic() as traffic, Builds(bench, traffic, directory, before) as builds:
        sides = [builds.start(name) for name in (OURS, BEFORE, AGAIN)]
        for number in range(rounds + 1):  # the first warms them
            for claim in COMMON:
                for side in sides:
                    seconds = cpu_of(traffic, side, claim)
                    found[claim.what][side.name] += [seconds] if number else []
            sides = [*sides[1:], sides[0]]
            print(f"round {number} of {rounds}", file=sys.stderr, flush=True)
    return [row for claim in COMMON for row in row_of(claim, found[claim.what])]


def main(argv: Optional[Sequence[str]] = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    given = dict(zip(words[::2], words[1::2]))
    if len(words) % 2 or set(given) - {"--baseline", "--rounds"}:
        raise SystemExit("usage: before.py [--baseline DIRECTORY] [--rounds N]")
    with tempfile.TemporaryDirectory(prefix="llm-router-before-") as temporary:
        before = checkout_of(given.get("--baseline", os.getenv("LLM_ROUTER_BASELINE", "")), Path(temporary))
        return report(measured(before / "scripts", int(given.get("--rounds", ROUNDS)), Path(temporary)))


if __name__ == "__main__":
    sys.exit(main())
