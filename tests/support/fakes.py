"""Both rims of a gateway as lists of bytes: an exchange with a caller, an upstream that answers as scripted. No socket."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

Headers = list[tuple[str, str]]


class Upstream:
    """One scripted answer: status, headers, pieces; None among the pieces waits for ever, an exception breaks it off."""

    def __init__(self, status: int = 200, pieces: list[bytes | Exception | None] | bytes = b"{}", **headers: str) -> None:
        self.status, self.pieces_ = status, [pieces] if isinstance(pieces, bytes) else pieces
        kind = {"content_type": "application/json", **headers}
        self.headers = [(name.replace("_", "-"), value) for name, value in kind.items()]
        self.closed = False

    def header(self, name: str, default: str = "") -> str:
        return dict(self.headers).get(name, default)

    async def pieces(self) -> AsyncIterator[bytes]:
        for piece in self.pieces_:
            if piece is None:
                await asyncio.Event().wait()
            elif isinstance(piece, Exception):
                raise piece
            else:
                await asyncio.sleep(0)
                yield piece

    async def read(self, limit: int) -> bytes:
        return b"".join([piece async for piece in self.pieces()])

    def close(self) -> None:
        self.closed = True


class Pool:
    """Hands out scripted answers and keeps what was sent."""

    def __init__(self, *answers: Upstream | Exception) -> None:
        self.answers, self.sent = list(answers), []  # type: list[Upstream | Exception], list[dict[str, Any]]

    async def request(self, method: str, url: str, headers: Headers, body: bytes, **how: Any) -> Upstream:
        assert len({name for name, _ in headers}) == len(headers)
        self.sent.append({"method": method, "url": url, "headers": dict(headers), "body": body, **how})
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Exchange:
    """One request, and what came back."""

    def __init__(self, method: str, target: str, body: bytes = b"", headers: Headers | None = None) -> None:
        self.method, self.client, self.body_in = method, "127.0.0.1", body
        self.path, _, self.query = target.partition("?")
        self.headers = [("host", "127.0.0.1:8000"), *(headers or [])]
        self.status, self.out_headers, self.out, self.ended = 0, {}, b"", False  # type: int, dict[str, str], bytes, bool
        self.aborted = False

    @property
    def started(self) -> bool:
        return self.status != 0

    async def read_body(self, limit: int) -> bytes:
        return self.body_in

    async def respond(self, status: int, headers: Headers, body: bytes) -> None:
        self.start(status, headers)
        self.out, self.ended = body, True

    def start(self, status: int, headers: Headers) -> None:
        assert not self.started
        assert len({name for name, _ in headers}) == len(headers), headers
        self.status, self.out_headers = status, dict(headers)

    async def send(self, data: bytes) -> None:
        self.out += data

    is_free = True

    def write(self, data: bytes) -> None:
        self.out += data

    async def end(self) -> None:
        self.ended = True

    def abort(self) -> None:
        self.aborted = True

    @property
    def json(self) -> Any:
        return json.loads(self.out)


ANSWER = b'{"id":"1","object":"chat.completion", "choices":[{"index":0,"message":{"role":"assistant","content":"hi"},\
"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":4,"cost":0.1},"odd":1.0e0}'


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "1", "object": "chat.completion.chunk", "choices": [choice]}).encode() + b"\n\n"


FIRST, TEXT, LAST, DONE = (
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "hi"}),
    chunk({}, "stop"),
    b"data: [DONE]\n\n",
)
STREAM = {"content_type": "text/event-stream; charset=utf-8"}
