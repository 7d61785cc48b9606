"""What callers do in a soak of a whole deployment, and what upstream and callers count of it.

    load = Load(port, keys, seed=7, place_at=site.place_at)      callers begin
    load.stop()
    load.calls                     every call: its id, key, model, when it began and ended, how
    load.upstream.paid             id of a call -> US dollars, as often as the upstream answered it

A call's id is its x-request-id: the caller makes it, the upstream sees it, the call log has it. It begins with the key's name.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse
from random import Random

from running import Asked, Upstream, data_event, http, openai_event

COST_USD = 0.0004  # of each answer; a hold is larger: MAX_TOKENS at the price of the model
TOKENS, MAX_TOKENS = 40, 50
HANG_S = 40.0  # no call of the load may take so long: answers come within a second
SLOW_S, PIECES = 0.5, 5  # how long a slow answer takes, in pieces where it streams
PAUSE_S, CALLERS = 0.03, 8
REFUSED_S = 0.15  # the pause after a call without an answer: refusals take no time
USAGE = {"prompt_tokens": 10, "completion_tokens": TOKENS - 10, "total_tokens": TOKENS, "cost": COST_USD}
# Model, stream, the caller leaves in the middle; by weight.
DEEDS: tuple[tuple[int, str, bool, bool], ...] = (
    (40, "good", False, False), (25, "good", True, False), (8, "slow", True, False), (5, "slow", False, False),
    (4, "slow", True, True), (3, "bad", False, False), (3, "cut", True, False), (8, "pair", False, False),
)  # fmt: skip
# Which keys the load uses, by weight.
KEYS = {"free": 6, "stored": 4, "rated": 3, "slots": 4, "small": 5, "middle": 6, "large": 4, "tokens": 4}


@dataclass(slots=True)
class Made:
    """One call, as its caller saw it."""

    id: str
    key: str
    model: str
    began: float
    ended: float = 0.0
    status: int = 0
    place: int = -1  # the gateway that answered
    # whole, refused, cut: answered by a gateway; left: by the caller's wish; gone: there was no answer; hung: within HANG_S
    how: str = "gone"
    code: str = ""  # of an error

    @property
    def is_answered(self) -> bool:
        return self.how in ("whole", "refused")


class Answers:
    """The upstream: it answers by the model, counts what it is owed, and how many calls of the key `slots` it has at once."""

    def __init__(self) -> None:
        self.server = Upstream()
        self.server.act = self.act
        self.paid: Counter[str] = Counter()  # id -> answers
        self.crowds: list[tuple[float, int]] = []  # when calls of `slots` began, and how many there were then
        self._in_slots = 0
        self._lock = threading.Lock()

    def act(self, sock: socket.socket, asked: Asked) -> bool:
        self.server.requests.clear()
        body = asked.json
        call = asked.headers["x-request-id"]
        present = [call] if call.startswith("slots-") else []
        if present:
            with self._lock:
                self._in_slots += 1
                self.crowds.append((time.monotonic(), self._in_slots))

        def leave() -> None:
            """Before the last byte: the gateway may send the next call when it has that."""
            with self._lock:
                self._in_slots -= len(present)
                present.clear()

        try:
            return self._answer(sock, str(body["model"]), bool(body.get("stream")), call, leave)
        finally:
            leave()

    def _answer(self, sock: socket.socket, model: str, stream: bool, call: str, leave: Callable[[], None]) -> bool:
        if model == "bad":
            leave()
            sock.sendall(http(b'{"error": {"message": "no", "type": "server_error", "code": "no"}}', status="500 No"))
            return True
        if not stream:
            if model == "slow":
                time.sleep(SLOW_S)
            with self._lock:
                self.paid[call] += 1
            leave()
            sock.sendall(http(json.dumps(plain_answer()).encode()))
            return True
        with self._lock:
            self.paid[call] += 1
        sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(PIECES):
            sock.sendall(chunk(openai_event("word ")))
            if model == "slow":
                time.sleep(SLOW_S / PIECES)
        if model == "cut":
            return False
        leave()
        end = data_event({"id": "c", "choices": [], "usage": USAGE}) + b"data: [DONE]\n\n"
        sock.sendall(chunk(openai_event("", "stop")) + chunk(end) + b"0\r\n\r\n")
        return True

    def close(self) -> None:
        self.server.__exit__()


def plain_answer() -> dict[str, object]:
    message = {"role": "assistant", "content": "a word"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "c", "object": "chat.completion", "model": "m", "usage": USAGE, "choices": [choice]}


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@dataclass
class Load:
    """Callers that go on until they are stopped."""

    port: int
    secrets: Mapping[str, str]  # of each key, by its name
    place_at: Callable[[str], int]
    seed: int = 0
    callers: int = CALLERS
    keys: Mapping[str, int] = field(default_factory=lambda: KEYS)  # which are used, by weight
    calls: list[Made] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        for number in range(self.callers):
            self._threads.append(threading.Thread(target=self._run, args=(number,), daemon=True))
            self._threads[-1].start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(2 * HANG_S)
        assert not any(thread.is_alive() for thread in self._threads), "a caller hangs"

    def _run(self, number: int) -> None:
        rng = Random(f"{self.seed} {number}")
        count = 0
        while not self._stop.is_set():
            count += 1
            key = rng.choices(list(self.keys), list(self.keys.values()))[0]
            _, model, stream, leaves = rng.choices(DEEDS, [deed[0] for deed in DEEDS])[0]
            leaves = leaves and key != "slots"  # the gateway frees a slot before the upstream sees that it is left
            made = self.call(f"{key}-{number}-{count}", model, stream=stream, leaves=leaves)
            self._stop.wait(PAUSE_S if made.how == "whole" else REFUSED_S)

    def call(self, name: str, model: str, *, stream: bool = False, leaves: bool = False) -> Made:
        """One call; it is in `calls` when it is over."""
        made = Made(name, name.partition("-")[0], model, time.monotonic())
        connection = HTTPConnection("127.0.0.1", self.port, timeout=HANG_S)
        try:
            self._send(connection, made, stream=stream)
            self._read(connection.getresponse(), made, stream=stream, leaves=leaves)
        except TimeoutError:
            made.how = "hung"
        except (OSError, HTTPException):
            made.how = "cut" if made.status == 200 else "gone"
        finally:
            connection.close()
        made.ended = time.monotonic()
        self.calls.append(made)
        return made

    def _send(self, connection: HTTPConnection, made: Made, *, stream: bool) -> None:
        name = made.model if made.model == "pair" else f"o/{made.model}"
        body = {"model": name, "max_tokens": MAX_TOKENS, "messages": [{"role": "user", "content": "hi"}]}
        headers = {"authorization": f"Bearer {self.secrets[made.key]}", "x-request-id": made.id,
                   "content-type": "application/json"}  # fmt: skip
        connection.request("POST", "/v1/chat/completions", json.dumps(body | ({"stream": True} if stream else {})), headers)

    def _read(self, response: HTTPResponse, made: Made, *, stream: bool, leaves: bool) -> None:
        if response.getheader("x-request-id") != made.id:  # nginx's own page: no gateway answered
            response.read()
            return
        made.status, made.place = response.status, self.place_at(response.getheader("x-served-by") or "")
        if leaves and response.status == 200:
            response.read(20)
            made.how = "left"
            return
        data = response.read()
        if response.status != 200:
            made.how = "refused"
            with suppress(ValueError, KeyError, TypeError):
                made.code = str(json.loads(data)["error"]["code"])
            return
        made.how = "whole" if not stream or data.endswith(b"data: [DONE]\n\n") else "cut"
