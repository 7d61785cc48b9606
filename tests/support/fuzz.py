"""Any bytes give values or our own errors: http1 in both roles, the wires' readers and writers, the stream machines.

    python3 tests/support/fuzz.py                              1,000 rounds of every target, another seed each time
    python3 tests/support/fuzz.py --rounds 100000 --seed 7 http1-request stream-gemini

Inputs are those of tests/corpus, damaged. A finding is printed with the command line that brings it back; the exit code is 1.

What every round demands, beside that nothing but a GatewayError is raised:
    http1     what comes out does not depend on how the bytes were cut
    request   what is read can be written in every protocol, as JSON; a changed body is JSON still
    answer    what is read can be written in every protocol, as JSON; a refusal in any bytes is an error
    stream    the caller's bytes do not depend on the cuts; there is an end or an error, and one of them
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "scripts"))

from llm_router_gateway.errors import GatewayError  # noqa: E402
from llm_router_gateway.json_body import read_body  # noqa: E402
from llm_router_gateway.net import http1  # noqa: E402  # the script finds its package first
from llm_router_gateway.proxy.answers import is_error, parse_or_none  # noqa: E402
from llm_router_gateway.proxy.request import dump_json  # noqa: E402
from llm_router_gateway.wire import ir  # noqa: E402
from llm_router_gateway.wire.pipes import Array, ConvertPipe, RelayPipe  # noqa: E402
from llm_router_gateway.wire.registry import wire  # noqa: E402

CORPUS = ROOT / "tests" / "corpus"
WIRES = ("openai", "anthropic", "gemini", "responses")
MODELS = {"openai": "gpt-5", "anthropic": "claude-sonnet-4-5", "gemini": "gemini-3-pro", "responses": "gpt-5.5"}
SLOW_S = 2.0  # for one input of a few kilobytes: then something is quadratic, or worse
DEEP = 3_000

# What is put into bytes.
PIECES: list[bytes] = [
    b"", b"\0", b"\n", b"\r", b"\r\n", b"\r\n\r\n", b"\n\n", b" ", b"\t", b":", b",", b'"', b"\\", b"{", b"}", b"[", b"]",
    b"-", b"0", b"9" * 400, b"9" * 5_000, b"1e999", b"-1", b"1.5", b"NaN", b"null", b"true", b"{}", b"[]", b'""',
    b'"\\ud800"', b'"\\u0000"', b"\xff", b"\xc3", b"\xe2\x80\xa8", b"\xef\xbb\xbf",
    b"data: ", b"data: {}\n\n", b"data: [DONE]\n\n", b"event: error\n", b": x\n\n", b"id: 1\n", b"retry: 5\n",
    b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"0\r\n\r\n",
    b"1\r\nx\r\n", b"ffffffffffff", b"[" * DEEP, b'{"a":' * DEEP,
]  # fmt: skip
# What takes the place of a JSON value.
VALUES: list[Any] = [
    None, True, False, 0, -1, 1.5, 1e300, 10**30, 2**70, float("inf"), float("nan"), "", "x", "\ud800", "\0", "\U0001f600",
    "\u2028", "a" * 5_000, "data:", "data:image/png;base64,!", "stop", "tool_use", "text",
    "1e999s", "nan", "[9]", "$.a[9999999]",
    [], {}, [None], [[]], [5], ["x"], [{}], {"type": "text"}, {"type": None}, {"text": 5}, {"": None}, {"error": None},
    {"error": {"message": "m"}}, {"type": "error", "error": {}}, {"role": 5}, {"content": {}}, {"index": "x"}, {"index": -1},
]  # fmt: skip


class Finding(Exception):
    """A demand that does not hold."""


def refused(name: str) -> None:
    raise Finding(f"{name} was written, and is no JSON")


def strictly(data: bytes | str) -> Any:
    """As everybody else's JSON readers do it."""
    return json.loads(data, parse_constant=refused)


def nested(depth: int, name: str = "") -> Any:
    """nested(2) -> [[0]]; nested(2, "a") -> {"a": {"a": 0}}"""
    value: Any = 0
    for _ in range(depth):
        value = {name: value} if name else [value]
    return value


NESTED = [nested(depth, name) for depth in (50, 150, 300) for name in ("", "properties", "items", "content", "a")]


def demand(holds: bool, what: str) -> None:
    if not holds:
        raise Finding(what)


# ------------------------------------------------------------------------------------------------------------- damage


def damaged(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """One to four wounds in bytes."""
    made = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at, end = sorted((rng.randint(0, len(made)), rng.randint(0, len(made))))
        deed = rng.randrange(7)
        if deed == 0 and made:
            made[rng.randrange(len(made))] = rng.randrange(256)
        elif deed == 1:
            del made[at : min(end, at + rng.randint(1, 40))]
        elif deed == 2:
            made[at:at] = made[at : min(end, at + 200)]
        elif deed == 3:
            made[at:at] = rng.choice(PIECES)
        elif deed == 4:
            other = rng.choice(others)
            made[at:] = other[rng.randint(0, len(other)) :]
        elif deed == 5:
            del made[at:]
        elif made:
            made[rng.randrange(len(made))] ^= 1 << rng.randrange(8)
    return bytes(made)


def copied(value: Any) -> Any:
    """A copy of a JSON value; null for one that is nested more deeply than copies can be."""
    try:
        return deepcopy(value)
    except RecursionError:
        return None


def damaged_value(value: Any, rng: random.Random) -> Any:
    """A JSON value in which one to three things are replaced, left out, doubled or moved."""
    made = copied(value)
    for _ in range(rng.randint(1, 3)):
        places = list(places_in(made))
        if not places:
            return deepcopy(rng.choice(VALUES))
        container, key = rng.choice(places)
        deed = rng.randrange(5)
        if deed == 0:
            del container[key]
        elif deed == 1 and isinstance(container, list):
            container.insert(key, container[key])
        elif deed == 2:
            other, place = rng.choice(places)
            if place in other if isinstance(other, dict) else place < len(other):
                container[key] = copied(other[place])
        else:
            container[key] = deepcopy(rng.choice(VALUES)) if rng.random() < 0.98 else deepcopy(rng.choice(NESTED))
    return made


def places_in(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) in a JSON value."""
    pairs = list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    for key, inner in pairs:
        yield value, key
        yield from places_in(inner)


def damaged_json(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Damage that leaves JSON, mostly."""
    if rng.random() < 0.2:
        return damaged(data, others, rng)
    return json.dumps(damaged_value(json.loads(data), rng), ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")


def damaged_stream(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Damage to the bytes of a stream, to the order of its events, or to the JSON in one of them."""
    if rng.random() < 0.4:
        return damaged(data, others, rng)
    events = data.replace(b"\r\n", b"\n").split(b"\n\n")
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(events))
        deed = rng.randrange(6)
        if deed == 0 and len(events) > 1:
            del events[at]
        elif deed == 1:
            events.insert(rng.randrange(len(events)), events[at])
        elif deed == 2:
            events[at : at + 1] = rng.choice(others).split(b"\n\n")
        else:
            events[at] = damaged_event(events[at], rng)
    return rng.choice([b"\n\n", b"\n\n", b"\r\n\r\n", b"\r\r"]).join(events)


def damaged_event(event: bytes, rng: random.Random) -> bytes:
    head, mark, text = event.partition(b"data: ")
    try:
        value = damaged_value(json.loads(text), rng)
    except ValueError:
        return event[: rng.randint(0, len(event))]
    return head + mark + json.dumps(value).encode()


def cuts(data: bytes, rng: random.Random) -> list[bytes]:
    """The same bytes as a network may bring them: in one, in a few, or one by one."""
    if rng.random() < 0.1:
        return [data[at : at + 1] for at in range(len(data))]
    marks = sorted({0, len(data), *(rng.randint(0, len(data)) for _ in range(rng.randint(0, 6)))})
    return [data[start:end] for start, end in pairwise(marks)]


# -------------------------------------------------------------------------------------------------------------- corpus


@cache
def corpus(folder: str, start: str = "", end: str = "") -> list[bytes]:
    """The inputs of tests/corpus/FOLDER; none is a mistake of the test."""
    found = [path.read_bytes() for path in sorted((CORPUS / folder).iterdir())
             if path.suffix != ".json" and path.name.startswith(start) and path.name.endswith(end)]  # fmt: skip
    assert found, f"no {start}*{end} in {CORPUS / folder}"
    return found


@cache
def requests(protocol: str) -> list[bytes]:
    """Request bodies: Anthropic's of the corpus, as this protocol writes them."""
    found = []
    for data in corpus("wire/anthropic", "request-"):
        try:
            request = wire("anthropic").read_request(json.loads(data), model="m")
            found.append(dump_json(wire(protocol).write_request(request, model=MODELS[protocol], quirks={}, lost=[])))
        except (GatewayError, ValueError):
            continue
    return found + (corpus("wire/anthropic", "refused-") if protocol == "anthropic" else [])


@cache
def answers(protocol: str) -> list[bytes]:
    """Answers: Anthropic's of the corpus, as this protocol writes them."""
    found = []
    for data in corpus("wire/anthropic", "answer-"):
        answer = wire("anthropic").read_answer(json.loads(data))
        found.append(dump_json(wire(protocol).write_answer(answer, asked(protocol), [])))
    return found


@cache
def streams(protocol: str) -> list[bytes]:
    return corpus(f"wire/{protocol}", "stream-") if protocol == "anthropic" else corpus(f"wire/{protocol}", end=".sse")


@cache
def asked(protocol: str) -> ir.Request:
    """What a caller of this protocol asked, with tools and a wish for everything that can be shown."""
    tools = (ir.Tool("f", "d", {"type": "object", "properties": {"a": {"type": "integer"}}}),)
    words = (ir.Message("user", (ir.Text("hi"),)),)
    return ir.Request("m", words, tools=tools, stream=True, reasoning=ir.Reasoning(shown=True))


# ------------------------------------------------------------------------------------------------------------- targets


def transcript(reader: http1.Reader, pieces: list[bytes], ends: bool) -> list[Any]:
    """All that comes out; a body as one text, a fault as its status."""
    out: list[Any] = []

    def drain() -> None:
        while (item := reader.next()) is not None:
            if isinstance(item, bytes) and out and isinstance(out[-1], bytes):
                out[-1] += item
            else:
                out.append(item)

    try:
        for piece in pieces:
            reader.feed(piece)
            drain()
        if ends:
            reader.feed_end()
            drain()
    except http1.Malformed as error:
        out.append(error.status)
    return out


def http1_target(role: str) -> Callable[[random.Random], None]:
    def target(rng: random.Random) -> None:
        seeds = corpus("http1", role)
        data = damaged(rng.choice(seeds), seeds, rng)
        limits = http1.Limits(40, 120, 4) if rng.random() < 0.3 else http1.LIMITS
        method, ends = rng.choice(["GET", "POST", "HEAD", "CONNECT"]), rng.random() < 0.5

        def read(pieces: list[bytes]) -> list[Any]:
            if role == "request":
                return transcript(http1.RequestReader(limits), pieces, ends)
            reader = http1.ResponseReader(limits)
            reader.expect(method)
            return transcript(reader, pieces, ends)

        one, other = read([data]), read(cuts(data, rng))
        demand(one == other, f"depends on the cuts: {data!r}\n{one}\n{other}")

    return target


def request_target(protocol: str) -> Callable[[random.Random], None]:
    def target(rng: random.Random) -> None:
        seeds = requests(protocol)
        body = read_body(damaged_json(rng.choice(seeds), seeds, rng))
        changed = body.edit({"model": "m2"}, {"temperature": 1, "generationConfig": {"topK": 1}})
        demand(strictly(changed)["model"] == "m2", "the changed body has another model")
        request = wire(protocol).read_request(body.fields, model="m", stream=rng.choice([True, False, None]))
        for other in WIRES:
            lost: list[str] = []
            try:
                strictly(dump_json(wire(other).write_request(request, model=MODELS[other], quirks={}, lost=lost)))
            except GatewayError:
                continue
            demand(all(isinstance(each, str) for each in lost), f"lost is no list of texts: {lost}")

    return target


def answer_target(protocol: str) -> Callable[[random.Random], None]:
    def target(rng: random.Random) -> None:
        seeds = answers(protocol)
        data = damaged_json(rng.choice(seeds), seeds, rng)
        headers = {"retry-after": rng.choice(["5", "x", "", "Wed, 21 Oct 2026 07:28:00 GMT"])}
        refusal = wire(protocol).read_error(rng.choice([400, 401, 429, 500, 503, 529, 599]), headers, data)
        demand(isinstance(refusal, GatewayError), "a refusal that is no error of ours")
        for other in WIRES:
            status, _, told = wire(other).write_error(refusal, "r")
            demand(400 <= status <= 599 and "error" in told, f"no refusal: {status} {told}")
            wire(other).error_event(refusal, "r")
        answer = parse_or_none(data)
        if answer is None or is_error(answer):
            return
        wire(protocol).usage_in(answer)
        result = wire(protocol).read_answer(answer)
        for other in WIRES:
            strictly(dump_json(wire(other).write_answer(result, asked(other), [])))

    return target


def piped(pipe: Any, pieces: list[bytes]) -> tuple[bytes, str]:
    """(the caller's bytes, the error that ends them)."""
    out = []
    try:
        for piece in pieces:
            out.append(pipe.feed(piece))
            if pipe.error is not None:
                return b"".join(out), type(pipe.error).__name__
        out.append(pipe.close())
    except GatewayError as error:
        return b"".join(out), type(error).__name__
    demand(pipe.done or pipe.error is not None, "neither an end nor an error")
    return b"".join(out), "" if pipe.error is None else type(pipe.error).__name__


def stream_target(protocol: str) -> Callable[[random.Random], None]:
    def target(rng: random.Random) -> None:
        seeds = streams(protocol)
        data = damaged_stream(rng.choice(seeds), seeds, rng)
        pieces = cuts(data, rng)
        wraps = (None, Array()) if protocol == "gemini" else (None,)
        for wrap in wraps:
            made, error = piped(RelayPipe(wire(protocol).Scanner(), wrap), pieces)
            if wrap is not None and not error:
                json.loads(made)
        for caller in WIRES:
            for array in (False, True) if caller == "gemini" else (False,):
                one = piped(converting(protocol, caller, array), [data])
                other = piped(converting(protocol, caller, array), pieces)
                demand(one == other, f"{caller}: depends on the cuts: {data!r}\n{one}\n{other}")
                demand(bool(one[1]) or ends_in(caller, array, one[0]) == 1, f"{caller}: not one end: {one[0]!r}")

    return target


def converting(protocol: str, caller: str, array: bool) -> ConvertPipe:
    writer = wire(caller).StreamWriter(asked(caller), lost=[], array=array)
    return ConvertPipe(wire(protocol).StreamReader(), writer)


def ends_in(caller: str, array: bool, data: bytes) -> int:
    """How often a stream says that it is over."""
    if array:
        return int(isinstance(strictly(data), list))
    if caller == "gemini":
        return int(b'"finishReason"' in data)
    if caller == "responses":
        return data.count(b"event: response.completed\n") + data.count(b"event: response.incomplete\n")
    return data.count(b"data: [DONE]\n\n" if caller == "openai" else b"event: message_stop\n")


TARGETS: dict[str, Callable[[random.Random], None]] = {
    "http1-request": http1_target("request"),
    "http1-response": http1_target("response"),
    **{f"request-{protocol}": request_target(protocol) for protocol in WIRES},
    **{f"answer-{protocol}": answer_target(protocol) for protocol in WIRES},
    **{f"stream-{protocol}": stream_target(protocol) for protocol in WIRES},
}


# ------------------------------------------------------------------------------------------------------------- running


def one_round(name: str, seed: int) -> str:
    """ "" or what was found."""
    began = time.process_time()
    try:
        TARGETS[name](random.Random(f"{name} {seed}"))
    except GatewayError:
        pass
    except Exception:
        return traceback.format_exc()
    took = time.process_time() - began
    return f"took {took:.1f} s" if took > SLOW_S else ""


def run(name: str, rounds: int, seed: int) -> Iterator[tuple[int, str]]:
    """(seed, what was found) for every round that found something; round n has the seed `seed` + n."""
    for number in range(seed, seed + rounds):
        found = one_round(name, number)
        if found:
            yield number, found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1_000, help="of each target")
    parser.add_argument("--seed", type=int, default=time.time_ns() // 1_000_000, help="of the first round; the next add one")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    options = parser.parse_args()
    if wrong := set(options.targets) - TARGETS.keys():
        parser.error(f"no such target: {', '.join(sorted(wrong))}")
    count = 0
    for name in options.targets or TARGETS:
        began = time.monotonic()
        for seed, found in run(name, options.rounds, options.seed):
            count += 1
            print(f"{found.rstrip()}\n  again: fuzz.py --rounds 1 --seed {seed} {name}\n")
        print(f"{name}: {options.rounds} rounds from seed {options.seed} in {time.monotonic() - began:.1f} s", file=sys.stderr)
    print(f"{count} findings", file=sys.stderr)
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
