"""The gateway beside its peers in one run: CPU per request and per streamed piece, memory, start, 2,000 slow streams.

    python3.11 tests/bench/gateway.py             peers go into a temporary directory, removed at the end
    python3.11 tests/bench/gateway.py DIRECTORY   peers stay there for the next run
    python3.11 tests/bench/gateway.py --cpu LiteLLM --rounds 3    only CPU, beside these peers ("" for none), in fewer rounds

Prints one table; exit code 1 where a limit is missed. CPU is user and system time of the gateway's process and its children,
nobody else's. The upstream and the callers are this process, see traffic.py; the peers are in sides.py. Linux only.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from pathlib import Path

from measure import Bench, Failed, Row, median, mib, report
from prepared import CHAT, RESPONSES
from sides import BARE, LITELLM, MESSAGES, NGINX, OURS, PORTKEY, Side, Sides, Skipped
from traffic import Traffic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Sequence, Tuple

ROUNDS = 5
CALLERS = 16
PIECES = 240  # of one stream
BURST = 8  # pieces that are there at once when a gateway has fallen behind
STARTS = 7
FIRST_REQUESTS = 100  # of each memory measurement, a quarter of each kind
SLOW_STREAMS = 2_000
SLOW_PIECES, SLOW_EVERY_S = 12, 1.0
FILES = 2 * SLOW_STREAMS + 100  # sockets of both ends of the traffic, and the rest
KIB = 1_024

SHARE = {PORTKEY: 5, LITELLM: 20}  # ours takes at most one so-many-th of its CPU
LIMIT_MEMORY = 40 * 1_048_576
LIMIT_READY_S = 0.4
LIMIT_STREAM_BYTES = 60 * KIB


class Claim:
    """One kind of traffic: a path, a model behind it, how many pieces are sent at once; 0: answers that are no streams."""

    def __init__(
        self, what: str, path: str, burst: int, limit_s: float = 0.0, model: str = "upstream", against: str = "",
        at_most: float = 0.0, **more: Any,
    ) -> None:  # fmt: skip
        """`limit_s`: of ours, 0 for none; `against`: another claim, of which ours takes `at_most` so much."""
        self.what, self.path, self.burst, self.limit_s, self.model, self.more = what, path, burst, limit_s, model, more
        self.against, self.at_most = against, at_most
        self.pieces = PIECES if burst else 0

    def requests(self, side: Side, count: int = CALLERS) -> List[bytes]:
        model = MODELS.get((side.name, self.path, self.model), f"{self.model}/bench")
        return [side.request(self.path, model, stream=bool(self.pieces), **self.more)] * count


def claims_of_streams(burst: int) -> Tuple[Claim, ...]:
    """Those of a streamed piece, chat and Responses side by side."""
    how = "each sent alone" if burst == 1 else f"{burst} at once"
    relayed, converted = (f"{kind} stream, CPU per piece, {how}" for kind in ("relayed", "converted"))
    responses = (f"Responses: {each}" for each in (relayed, converted))
    return (
        Claim(relayed, CHAT, burst, 20e-6),
        Claim(next(responses), RESPONSES, burst, model="responses", against=relayed, at_most=1.10, store=False),
        Claim(converted, MESSAGES, burst, 60e-6),
        Claim(next(responses), RESPONSES, burst, against=converted, at_most=1.3, store=False),
    )


RELAYED, CONVERTED = "relayed answer, CPU per request", "converted answer, CPU per request"
# In the order in which they are measured: what is compared is neighbours.
CLAIMS = (
    Claim(RELAYED, CHAT, 0, 250e-6),
    Claim(f"Responses: {RELAYED}", RESPONSES, 0, model="responses", against=RELAYED, at_most=1.10, store=False),
    Claim(f"Responses: {RELAYED}, kept", RESPONSES, 0, model="responses", against=RELAYED, at_most=1.25),
    Claim(CONVERTED, MESSAGES, 0, 400e-6),
    Claim(f"Responses: {CONVERTED}", RESPONSES, 0, against=CONVERTED, at_most=1.2, store=False),
    *claims_of_streams(1),
    *claims_of_streams(BURST),
)
KINDS = tuple(claim for claim in CLAIMS if claim.limit_s and claim.burst <= 1)  # one of each
MODELS = {(LITELLM, RESPONSES, "upstream"): "chat/bench"}  # where a side needs another model for the same traffic
# How many answers a side gives in one round, plain and streamed: about a second of its time.
ANSWERS = {OURS: (3_000, 64), PORTKEY: (1_000, 48), LITELLM: (96, 16), NGINX: (6_000, 96), BARE: (6_000, 96)}
CANNOT = {
    (PORTKEY, MESSAGES): "it takes Anthropic requests for providers that speak Anthropic's protocol only",
    (NGINX, MESSAGES): "it converts nothing",
    (BARE, MESSAGES): "it converts nothing",
    (PORTKEY, RESPONSES): "its Responses are those of its providers, and what it converts are chats",
    (NGINX, RESPONSES): "it passes bytes, whatever they are: see the relayed answers",
    (BARE, RESPONSES): "it passes bytes, whatever they are: see the relayed answers",
}


def us(seconds: float) -> str:
    """us(0.0000123) -> "12.3 us" """
    return f"{seconds * 1e6:,.1f} us" if seconds < 100e-6 else f"{seconds * 1e6:,.0f} us"


def cpu_of(traffic: Traffic, side: Side, claim: Claim) -> float:
    """CPU seconds of the side for one answer, or for one piece of a stream."""
    answers = ANSWERS[side.name][bool(claim.pieces)]
    before_s = side.cpu_s()
    done = traffic.run(side.address, claim.requests(side), answers, claim.pieces, claim.burst).checked()
    return (side.cpu_s() - before_s) / (done.pieces or done.answers)


def interleaved(traffic: Traffic, sides: Sequence[Side], rounds: int) -> Dict[str, Dict[str, List[float]]]:
    """Every side with every claim once a round; a first round, which warms them, is dropped. found[claim][side]"""
    found: Dict[str, Dict[str, List[float]]] = {claim.what: {side.name: [] for side in sides} for claim in CLAIMS}
    for number in range(rounds + 1):
        for claim in CLAIMS:
            for side in sides:
                if (side.name, claim.path) not in CANNOT:
                    seconds = cpu_of(traffic, side, claim)
                    found[claim.what][side.name] += [seconds] if number else []
        print(f"round {number} of {rounds}", file=sys.stderr, flush=True)
    return found


def own_row(claim: Claim, found: Dict[str, Dict[str, List[float]]]) -> Row:
    """Ours, and its limit: so many seconds, or so much of another claim of the same rounds."""
    ours = found[claim.what][OURS]
    if claim.limit_s:
        return Row(claim.what, us(median(ours)), limit=f"<= {us(claim.limit_s)}", ok=median(ours) <= claim.limit_s)
    other = found[claim.against][OURS]
    ratio = median([mine / theirs for mine, theirs in zip(ours, other)])
    what = f"{claim.what}; peer ours, {claim.against.partition(',')[0]}"
    return Row(what, us(median(ours)), us(median(other)), ratio, f"<= {claim.at_most} x", ratio <= claim.at_most)


def cpu_rows(found: Dict[str, Dict[str, List[float]]]) -> List[Row]:
    """For each claim its limit, and a row for each peer."""
    rows = []
    for claim in CLAIMS:
        ours_s = median(found[claim.what][OURS])
        rows.append(own_row(claim, found))
        for peer, seconds in found[claim.what].items():
            if peer == OURS or not seconds:
                continue
            ratio = ours_s / median(seconds)
            judged = (f"<= 1/{SHARE[peer]} x", ratio <= 1 / SHARE[peer]) if peer in SHARE else ("", None)
            rows.append(Row(f"the same; peer {peer}", us(ours_s), us(median(seconds)), ratio, *judged))
    return rows


def speed_row(traffic: Traffic, ours: Side) -> Row:
    """What the callers and the upstream can do when nobody is between them: it must be well above what we do."""
    claim, answers = CLAIMS[0], ANSWERS[OURS][0]
    through = traffic.run(ours.address, claim.requests(ours), answers).checked()
    straight = traffic.run(traffic.address, claim.requests(ours), answers).checked()
    ours_hz, straight_hz = answers / through.wall_s, answers / straight.wall_s
    what = "answers per second of wall, one process; peer callers and upstream with nothing between"
    return Row(what, f"{ours_hz:,.0f}", f"{straight_hz:,.0f}", ours_hz / straight_hz)


def check_log(sides: Sides, answers: int) -> None:
    """Failed unless ours wrote its line for each request."""
    lines = sum(b" POST " in line for line in sides.log(OURS).read_bytes().splitlines())
    if lines < answers:
        raise Failed(f"{lines} log lines of {answers} requests")


def warmed(traffic: Traffic, side: Side) -> None:
    """The first requests of a process, of all kinds."""
    for claim in KINDS:
        pieces = 10 if claim.pieces else 0
        traffic.run(side.address, claim.requests(side, 5), FIRST_REQUESTS // 4, pieces).checked()


def start_rows(traffic: Traffic, sides: Sides, peers: Sequence[Side], peers_idle: Dict[str, int]) -> List[Row]:
    """Seconds until the first answer and resident memory, of several starts; the peers' are of their one start."""
    ready_s: List[float] = []
    idle: List[int] = []
    used: List[int] = []
    for _ in range(STARTS + 1):
        side = sides.start(OURS)
        ready_s.append(side.ready_s)
        idle.append(side.rss_bytes())
        warmed(traffic, side)
        used.append(side.rss_bytes())
        sides.stop(side)
    seconds = median(ready_s[1:])  # the first start compiles
    rows = [Row("start to first answer", f"{seconds:.3f} s", limit=f"<= {LIMIT_READY_S} s", ok=seconds <= LIMIT_READY_S)]
    rows += [
        Row(f"the same; peer {peer.name}, once", f"{seconds:.3f} s", f"{peer.ready_s:.3f} s", seconds / peer.ready_s)
        for peer in peers
    ]
    for what, sizes in (("when ready", idle), (f"after {FIRST_REQUESTS} requests", used)):
        most = max(sizes[1:])
        rows.append(Row(f"memory {what}, largest of {STARTS}", mib(most), limit="< 40 MiB", ok=most < LIMIT_MEMORY))
    own = max(idle[1:])
    rows += [Row(f"memory when ready; peer {name}", mib(own), mib(size), own / size) for name, size in peers_idle.items()]
    return rows


def slow_row(traffic: Traffic, sides: Sides, claim: Claim) -> Row:
    """Many streams at once, each a piece a second: errors, and what each takes of memory at the most."""
    side = sides.start(OURS)
    warmed(traffic, side)
    before = side.rss_bytes()
    sizes: List[int] = []
    at_once = [0]

    def look() -> None:
        sizes.append(side.rss_bytes())
        at_once[0] = max(at_once[0], len(traffic.flows))

    requests = claim.requests(side, SLOW_STREAMS)
    done = traffic.drip(side.address, requests, SLOW_PIECES, SLOW_EVERY_S, look)
    sides.stop(side)
    if done.errors:
        print(f"{claim.what}: the first error: {done.errors[0]}", file=sys.stderr)
    if at_once[0] < SLOW_STREAMS and not done.errors:
        raise Failed(f"only {at_once[0]} streams were open at once")
    each = (max(sizes) - before) / SLOW_STREAMS
    kind = claim.what.split()[0]
    what = f"{SLOW_STREAMS:,} slow {kind} streams at once: errors, memory of each"
    ok = not done.errors and each <= LIMIT_STREAM_BYTES
    return Row(what, f"{len(done.errors)}, {each / KIB:.1f} KiB", limit=f"0, <= {LIMIT_STREAM_BYTES // KIB} KiB", ok=ok)


def enough_files() -> None:
    """As many open files as this user may have. Failed when they are too few."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < FILES:
        raise Failed(f"{SLOW_STREAMS} streams need {FILES} open files; this user may have {hard} (ulimit -Hn)")


def start_all(sides: Sides, names: Sequence[str], reasons: List[str]) -> List[Side]:
    """Those of these names that can be had; why not, for the others."""
    running = []
    for name in names:
        try:
            running.append(sides.start(name))
        except Skipped as reason:
            reasons.append(f"{name} was skipped: {reason}")
    return running


def measured(directory: Path, names: Sequence[str], rounds: int, is_cpu_only: bool, reasons: List[str]) -> List[Row]:
    """All rows."""
    enough_files()
    with Bench() as bench, Traffic() as traffic, Sides(bench, traffic, directory) as sides:
        running = start_all(sides, names, reasons)
        peers = [side for side in running if side.name not in (OURS, BARE)]
        peers_idle = {side.name: side.rss_bytes() for side in peers}
        rows = cpu_rows(interleaved(traffic, running, rounds))
        rows.append(speed_row(traffic, running[0]))
        check_log(sides, (rounds + 2) * ANSWERS[OURS][0])
        for side in running:
            sides.stop(side)
        if not is_cpu_only:
            rows += start_rows(traffic, sides, peers, peers_idle)
            rows += [slow_row(traffic, sides, claim) for claim in KINDS if claim.burst == 1]
        reasons += [f"{name} is not in the rows of {path}: {why}." for (name, path), why in CANNOT.items() if name in names]
        reasons.insert(0, f"{', '.join(sides.versions.values())}.")
        return rows


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Measure, print the table and what was left out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", help="where the peers are installed, and stay")
    parser.add_argument("--cpu", metavar="PEERS", help="only the rows of CPU, beside these peers, with commas")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args(argv)
    names = [*ANSWERS] if given.cpu is None else [OURS, *(name for name in given.cpu.split(",") if name)]
    notes: List[str] = []
    with tempfile.TemporaryDirectory(prefix="llm-router-peers-") as temporary:
        directory = Path(given.directory or temporary).absolute()
        missed = report(measured(directory, names, given.rounds, given.cpu is not None, notes))
    print("", *notes, sep="\n")
    return missed


if __name__ == "__main__":
    sys.exit(main())
