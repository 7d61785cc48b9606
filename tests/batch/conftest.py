"""Fixtures of the batch's tests: its command line, files of prompts, a server that limits."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable, Iterator, List, Tuple, Union

import pytest

BATCH = Path(__file__).resolve().parents[2] / "scripts" / "llm_router_batch.py"


@pytest.fixture
def batch(cli: Any, demo: Any) -> Iterator[Any]:
    """As `cli`, for the batch script with the mock server as its endpoint: batch("run", "--input", ...) -> code, out, err."""

    started: List[Any] = []

    class Batch(type(cli)):  # type: ignore[misc]
        def words(self, *arguments: Union[str, Path]) -> List[str]:
            interpreter, _, *rest = super().words(*arguments)
            return [interpreter, str(BATCH), *rest]

        def start(self, *arguments: Union[str, Path], **options: Any) -> Any:
            started.append(super().start(*arguments, **options))
            return started[-1]

    made = Batch(Path(cli.env["HOME"]), cli.cwd)
    made.env["LLM_ROUTER_BASE_URL"] = demo.base_url
    yield made
    for running in started:
        if running.poll() is None:
            running.kill()
        running.communicate()


@pytest.fixture
def prompts(tmp_path: Path) -> Callable[..., Path]:
    """prompts(line, ...) -> in.jsonl with these lines; a number N stands for N good ones, bytes for themselves."""

    def write(*lines: Any, name: str = "in.jsonl") -> Path:
        data = b""
        for line in lines:
            if isinstance(line, int):
                for number in range(1, line + 1):
                    data += b'{"id": "a%d", "message": "Say %d."}\n' % (number, number)
            else:
                data += line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n"
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


@pytest.fixture
def answers(tmp_path: Path) -> Callable[..., List[Any]]:
    """answers() -> the records of out.jsonl, in its order."""

    def read(name: str = "out.jsonl") -> List[Any]:
        return [json.loads(line) for line in (tmp_path / name).read_bytes().splitlines()]

    return read


class LimitingServer:
    """Answers `most` requests, then none for `closed_s` from the next one on, and so on; refusals are 429 with the time left.

    It closes by count, so that as many limits are met on a slow machine as on a fast one.
    seen: (number of times it had closed, status, message, Idempotency-Key) of every request.
    """

    def __init__(self, most: int, closed_s: float, answer_s: float = 0.0) -> None:
        self.most, self.closed_s = most, closed_s
        self.seen: List[Tuple[int, int, str, str]] = []
        self.closings = self.answered = 0  # the latter since it last opened
        self.opens_at = 0.0
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, left_s = outer.judge(body["messages"][-1]["content"], self.headers["Idempotency-Key"])
                time.sleep(answer_s)
                choice = {"message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}
                data = json.dumps({"choices": [choice]} if status == 200 else {"error": {"message": "slower"}}).encode()
                self.send_response(status)
                if status == 429:
                    self.send_header("retry-after-ms", str(int(left_s * 1000) + 1))
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 128  # with the usual 5, a burst of connections waits a second for its SYN

        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def judge(self, message: str, key: str) -> Tuple[int, float]:
        with self.lock:
            now = time.monotonic()
            if self.opens_at and now >= self.opens_at:
                self.opens_at, self.answered = 0.0, 0
            elif not self.opens_at and self.answered == self.most:
                self.opens_at, self.closings = now + self.closed_s, self.closings + 1
            status = 429 if self.opens_at else 200
            self.answered += status == 200
            self.seen.append((self.closings, status, message, key))
            return status, self.opens_at - now

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def limiting() -> Iterator[Callable[..., LimitingServer]]:
    """limiting(most=5, closed_s=0.2) -> a LimitingServer, closed with the test."""
    servers: List[LimitingServer] = []

    def start(**options: Any) -> LimitingServer:
        servers.append(LimitingServer(**options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
