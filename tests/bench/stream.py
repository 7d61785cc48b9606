"""Streams: events per second, peak memory over 200 MB, and how soon the first piece of text is on stdout.

The server (fast_server.py) sends bytes made before and is shown not to be what limits: a reader that drops them comes first.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time

from fast_server import CLOSING, HEAD, OPENING, FastServer, chunk, send_events, text_event
from measure import Bench, Failed, Row, median, mib, ms, peak_bytes, report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List

EVENTS, EVENT_BYTES = 20_000, 200  # a word or two each, as models stream
RATE_ROUNDS = 7
RATE_LIMIT = 5.0
LONG_BYTES, SHORT_BYTES, BIG_EVENT_BYTES = 200_000_000, 20_000_000, 4_000
GROWTH_LIMIT_MIB = 2.0  # what the longer of two streams may add
FIRST_ROUNDS = 15
FIRST_LIMIT_S = 0.003
QUIET_S = 0.2  # between the request and the first text: the client is started, warm and waits

START = "import json, os, sys, time\nurl, key = sys.argv[1], os.environ['LLM_ROUTER_API_KEY']\n"
OURS = """
from llm_router_client import LLMRouterClient
client = LLMRouterClient(base_url=url)
def pieces(model):
    return client.chat_stream(model, [{"role": "user", "content": "Hi"}])
"""
OPENAI = """
from openai import OpenAI
client = OpenAI(base_url=url, api_key=key)
def pieces(model):
    for chunk in client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hi"}], stream=True):
        if chunk.choices and chunk.choices[0].delta.content:
            yield chunk.choices[0].delta.content
"""
RATE = f"""
assert sum(1 for _ in pieces("events-10-{EVENT_BYTES}")) == 10  # what is imported late is there now
cpu, wall = time.process_time(), time.perf_counter()
assert sum(1 for _ in pieces("events-{EVENTS}-{EVENT_BYTES}")) == {EVENTS}
print(json.dumps([time.process_time() - cpu, time.perf_counter() - wall]))
"""
PRINT = """
for piece in pieces(sys.argv[2]):
    print(piece, end="", flush=True)
"""


def read_and_dropped_s(base_url: str) -> float:
    """Seconds in which a reader that does nothing else takes the same stream: what the server can do."""
    host, port = base_url.split("/")[2].split(":")
    body = json.dumps({"model": f"events-{EVENTS}-{EVENT_BYTES}"}).encode()
    with socket.create_connection((host, int(port))) as sock:
        began_s, tail = time.perf_counter(), b""
        sock.sendall(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        while not tail.endswith(b"0\r\n\r\n"):
            tail = tail[-8:] + sock.recv(65_536)
        return time.perf_counter() - began_s


def rate_rows(bench: Bench) -> List[Row]:
    """Events per second of the library, each side warmed up by a short stream in the same process."""
    sides = {"ours": OURS, "openai": OPENAI}
    found: Dict[str, List[List[float]]] = {name: [] for name in sides}
    with FastServer(send_events) as server:
        server_s = median(read_and_dropped_s(server.base_url) for _ in range(RATE_ROUNDS))
        for number in range(RATE_ROUNDS + 1):
            for name, code in sides.items():
                run = bench.run([bench.python, "-c", START + code + RATE, server.base_url])
                found[name] += [json.loads(run.out)] if number else []
    rows = []
    for of, what in enumerate(("CPU", "wall")):
        ours, peer = (EVENTS / median(each[of] for each in found[name]) for name in ("ours", "openai"))
        rows.append(Row(f"stream, events per second of {what}; peer openai SDK", f"{ours:,.0f}", f"{peer:,.0f}", ours / peer,
                        f">= {RATE_LIMIT:.0f} x", ours / peer >= RATE_LIMIT))  # fmt: skip
    rows.append(Row("the same stream read and dropped, events per second", f"{EVENTS / server_s:,.0f}"))
    return rows


def memory_rows(bench: Bench) -> List[Row]:
    """Peak memory of the command line over a long and a short stream; whatever is the same in both is no growth."""

    def peak(command: List[str], size_bytes: int, event_bytes: int = BIG_EVENT_BYTES) -> float:
        model = f"events-{size_bytes // event_bytes}-{event_bytes}"
        return peak_bytes([bench.run([word.replace("MODEL", model) for word in command], keep_output=False)])

    with FastServer(send_events) as server:
        ours = bench.client("chat", "--base-url", server.base_url, "-m", "MODEL", "--message", "Hi", "--stream")
        openai = [bench.python, "-c", START + OPENAI + PRINT, server.base_url, "MODEL"]
        short, long, peer = peak(ours, SHORT_BYTES), peak(ours, LONG_BYTES), peak(openai, LONG_BYTES)
        small = peak(ours, LONG_BYTES, EVENT_BYTES)
    grown = (long - short) / (1 << 20)
    what = f"`chat --stream`, peak memory over {LONG_BYTES // 1_000_000} MB"
    return [
        Row(f"{what}; peer openai SDK", mib(long), mib(peer), long / peer),
        Row(f"{what}; peer ourselves over {SHORT_BYTES // 1_000_000} MB", mib(long), mib(short), long / short,
            f"<= {GROWTH_LIMIT_MIB:.0f} MiB more", grown <= GROWTH_LIMIT_MIB),
        Row(f"{what} in events of {EVENT_BYTES} bytes", mib(small)),
    ]  # fmt: skip


class FirstText:
    """A server's answer that keeps quiet first and notes when it sent the first text.

    early: head and role event come at once; else they come together with the text, and all the client's reading is to do.
    """

    def __init__(self, early: bool) -> None:
        self.early, self.sent_s, self.read_on = early, 0.0, threading.Event()

    def __call__(self, connection: socket.socket, model: str) -> None:
        connection.sendall(HEAD + OPENING if self.early else b"")
        time.sleep(QUIET_S)
        data = chunk(text_event(EVENT_BYTES))
        data = data if self.early else HEAD + OPENING + data
        self.sent_s = time.perf_counter()
        connection.sendall(data)
        self.read_on.wait(10)  # nothing more until the text was seen
        connection.sendall(CLOSING)


def first_text_s(bench: Bench, command: List[str], server: FastServer, answer: FirstText) -> float:
    """Seconds from sending the first text to reading it from the command's stdout, a pipe."""
    answer.read_on.clear()
    reading, writing = os.pipe()
    pid = bench.start([word.replace("URL", server.base_url) for word in command], writing)
    os.close(writing)
    piece = os.read(reading, 65_536)
    taken_s = time.perf_counter() - answer.sent_s
    answer.read_on.set()
    while os.read(reading, 65_536):
        pass
    os.close(reading)
    if os.waitpid(pid, 0)[1] or not piece:
        raise Failed(f"no text from {command[:3]}")
    return taken_s


def first_rows(bench: Bench) -> List[Row]:
    """The command line and a script with the SDK, in turn."""
    ours = bench.client("chat", "--base-url", "URL", "-m", "demo", "--message", "Hi", "--stream")
    sides = {"ours": ours, "openai": [bench.python, "-c", START + OPENAI + PRINT, "URL", "demo"]}
    rows = []
    for early, what in ((True, "after head and role event"), (False, "arriving with head and role event")):
        found: Dict[str, List[float]] = {name: [] for name in sides}
        answer = FirstText(early)
        with FastServer(answer) as server:
            for _ in range(FIRST_ROUNDS):
                for name, command in sides.items():
                    found[name].append(first_text_s(bench, command, server, answer))
        mine_s, peer_s = median(found["ours"]), median(found["openai"])
        worst = {name: f"{ms(median(each))}, worst {ms(max(each))}" for name, each in found.items()}
        rows.append(Row(f"first text on stdout, {what}; peer openai SDK", worst["ours"], worst["openai"], mine_s / peer_s,
                        f"<= {ms(FIRST_LIMIT_S)}", mine_s <= FIRST_LIMIT_S))  # fmt: skip
    return rows


def main() -> int:
    """Memory first: it wants this process small."""
    with Bench() as bench:
        return report([*memory_rows(bench), *rate_rows(bench), *first_rows(bench)])


if __name__ == "__main__":
    sys.exit(main())
