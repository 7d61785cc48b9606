"""A chat server that only sends bytes it made before, so that the client is what is measured.

    with FastServer(answer) as server: ...  # server.base_url; answer(connection, model) writes one whole response

Each event is an HTTP chunk of its own, as real model APIs send them; chunks leave in blocks of about 64 KiB.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from listeners import stop_listening

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

BLOCK_BYTES = 65_536
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
FULL_TEXT = "All work and no play makes Jack a dull boy. "


def event(delta: Any, finish: str = "null") -> bytes:
    """One streamed event of the chat completions API. event('{"content":"Hi"}') -> b'data: {...}\\n\\n'"""
    head = '{"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"bench",'
    return f'data: {head}"choices":[{{"index":0,"delta":{delta},"finish_reason":{finish}}}]}}\n\n'.encode()


def text_event(size_bytes: int) -> bytes:
    """An event of this size, most of it text. The least is about 170 bytes."""
    room = size_bytes - len(event('{"content":""}'))
    text = (FULL_TEXT * (room // len(FULL_TEXT) + 1))[: max(room, 5)]
    return event(json.dumps({"content": text}, separators=(",", ":")))


def chunk(data: bytes) -> bytes:
    """One chunk of the chunked transfer coding. chunk(b"Hi") -> b"2\\r\\nHi\\r\\n" """
    return b"%x\r\n%b\r\n" % (len(data), data)


OPENING = chunk(event('{"role":"assistant","content":""}'))
CLOSING = chunk(event("{}", '"stop"')) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


def send_events(connection: socket.socket, model: str) -> None:
    """The model's name says what comes: "events-N-BYTES" is N text events of BYTES each."""
    count, size_bytes = map(int, model.split("-")[1:])
    one = chunk(text_event(size_bytes))
    in_block = max(BLOCK_BYTES // len(one), 1)
    block = one * in_block
    connection.sendall(HEAD + OPENING)
    for _ in range(count // in_block):
        connection.sendall(block)
    connection.sendall(one * (count % in_block) + CLOSING)


class FastServer:
    """Listens on 127.0.0.1, keeps connections open, reads a request whole and calls answer(connection, model)."""

    def __init__(self, answer: Callable[[socket.socket, str], None]) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> FastServer:
        return self

    def __exit__(self, *_: object) -> None:
        stop_listening(self._listener)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as reading:
            try:
                while reading.readline():
                    size_bytes = 0
                    for line in iter(reading.readline, b"\r\n"):
                        name, _, value = line.partition(b":")
                        size_bytes = int(value) if name.lower() == b"content-length" else size_bytes
                    self._answer(connection, json.loads(reading.read(size_bytes))["model"])
            except OSError:
                pass  # the other side hung up
