"""A server that sends exactly the bytes a test wants, and a transport whose clock stands still."""

from __future__ import annotations

import json
import re
import socket
import threading
from typing import Any, Callable, Dict, List, Optional, Union

from listeners import stop_listening

import llm_router_client as client_module

Reply = Union[bytes, Callable[[Dict[str, Any]], bytes]]


def http(body: Union[bytes, Dict[str, Any]], status: str = "200 OK", **headers: str) -> bytes:
    """A whole HTTP/1.1 response with Content-Length; a dict becomes JSON."""
    data = json.dumps(body).encode() if isinstance(body, dict) else body
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(data)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + data


def completion(text: Optional[str] = "hello", finish: Optional[str] = "stop", **message: Any) -> Dict[str, Any]:
    """A chat completion as the API sends it."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}
    head = {"id": "c1", "object": "chat.completion", "model": "m-2026"}
    return {**head, "choices": [choice], "usage": {"total_tokens": 3, "cost": 0.5}}


def delta(text: Optional[str] = None, finish: Optional[str] = None, **more: Any) -> bytes:
    """One streamed chunk as an event."""
    change = {"content": text, **more} if text is not None else more
    chunk = {"id": "c1", "choices": [{"index": 0, "delta": change, "finish_reason": finish}]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def stream(*events: bytes, head: bytes = b"") -> bytes:
    """A streamed response that ends with the connection."""
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + head + b"\r\n" + b"".join(events)


def is_whole(reply: bytes) -> bool:
    """Whether a response says where it ends, and ends there (or later)."""
    head, _, body = reply.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)^content-length: *(\d+)\r?$", head, re.M)
    return len(body) >= int(length[1]) if length else b"transfer-encoding:" in head.lower() and body.endswith(b"\r\n\r\n")


class RawServer:
    """A server on loopback that answers each request with the next of its replies, byte for byte, the last one for ever.

    After a reply the connection is closed, unless the reply is whole by its Content-Length or last chunk. `requests` are dicts:
    head (lines), headers (lower-case), body (bytes), connection (a number). hold=True keeps silent connections open.
    """

    def __init__(self, *replies: Reply, hold: bool = False) -> None:
        self.replies, self.hold = list(replies), hold
        self.requests: List[Dict[str, Any]] = []
        self._stop = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        self._open: List[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        number = 0
        while not self._stop.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            number += 1
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection, number), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        try:
            while self._answer(connection, number):
                pass
        except OSError:
            pass
        finally:
            connection.close()

    def _answer(self, connection: socket.socket, number: int) -> bool:
        data = b""
        while b"\r\n\r\n" not in data:
            more = connection.recv(65536)
            if not more:
                return False
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        while len(body) < int(headers.get("content-length", 0)):
            body += connection.recv(65536)
        request = {"line": first, "headers": headers, "body": body, "connection": number}
        self.requests.append(request)
        reply = self.replies[0] if len(self.replies) == 1 else self.replies.pop(0)
        sent = reply(request) if callable(reply) else reply
        connection.sendall(sent)
        if self.hold:
            self._stop.wait(10)
        return is_whole(sent)

    def bodies(self) -> List[Dict[str, Any]]:
        return [json.loads(request["body"]) for request in self.requests]

    def close(self) -> None:
        self._stop.set()
        stop_listening(self._socket)
        for connection in self._open:
            connection.close()


class StillTransport(client_module.Transport):
    """The real transport with a clock that only sleep() moves, and an rng that always gives 0."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: List[float] = []
        self._tokens = iter(range(1000))

    def sleep(self, seconds: float) -> None:  # type: ignore[override]
        self.slept.append(seconds)

    def rng(self) -> float:  # type: ignore[override]
        return 0.0

    def token(self) -> str:  # type: ignore[override]
        return f"token-{next(self._tokens)}"
