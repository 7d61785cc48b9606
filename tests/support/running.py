"""The gateway as a process, what its callers send and are sent in each protocol, and an upstream that does as it is told."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple

from listeners import stop_listening

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
GATEWAY = SCRIPTS / "llm_router_gateway"
SUPPORT = Path(__file__).resolve().parent  # what a test's own process imports these helpers from
PROTOCOLS = ("openai", "anthropic", "gemini", "responses")
ROOTS = {"openai": "/v1", "anthropic": "", "gemini": "/v1beta", "responses": "/v1"}  # what follows the host in a base_url
PAIRS = [(caller, upstream) for caller in PROTOCOLS for upstream in PROTOCOLS]
# All that a process gets of this user's environment, and where it keeps bytecode.
PASSED_ON = ("PATH", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "PYTHONPYCACHEPREFIX")
WAIT_S = 45.0  # for whatever must happen, on a very busy machine, too; reached only by a failure
POLL_S = 0.005
IMPATIENT = """\
import sys
sys.path.insert(0, sys.argv.pop(1))
from llm_router_gateway.commands import main
from llm_router_gateway.net import connection, server
server.Server.__init__.__kwdefaults__["timeouts"] = connection.ServerTimeouts(*map(float, sys.argv.pop(1).split(",")))
sys.exit(main.main(sys.argv[1:]))
"""
AT_ONCE = """\
import sys
sys.path.insert(0, sys.argv.pop(1))
from llm_router_gateway.commands import main
from llm_router_gateway.store import recorder, sql_conversations
recorder.GATHER_S, sql_conversations.AGAIN_S = 0.0, (0.0,)
sys.exit(main.main(sys.argv[1:]))
"""


def made_up(name: str) -> str:
    """A key of this run."""
    return f"{name}-{secrets.token_hex(12)}"


def until(happened: Callable[[], Any], what: str = "", limit_s: float = WAIT_S) -> Any:
    """What `happened` returns as soon as it is true; AssertionError when it is not within the limit."""
    give_up = time.monotonic() + limit_s
    while not (value := happened()):
        assert time.monotonic() < give_up, f"not within {limit_s} s: {what or happened}"
        time.sleep(POLL_S)
    return value


# ------------------------------------------------------------------------------------------- what callers send and get


class RoutingRequest(NamedTuple):
    path: str
    body: dict[str, Any]

    @property
    def data(self) -> bytes:
        return json.dumps(self.body).encode()


def ask(protocol: str, model: str, *, stream: bool = False, text: str = "hi", array: bool = False) -> RoutingRequest:
    """A chat request as a caller of `protocol` sends it."""
    if protocol == "gemini":
        action = ("streamGenerateContent" + ("" if array else "?alt=sse")) if stream else "generateContent"
        return RoutingRequest(f"/v1beta/models/{model}:{action}", {"contents": [{"role": "user", "parts": [{"text": text}]}]})
    if protocol == "responses":
        return RoutingRequest("/v1/responses", {"model": model, "input": text} | ({"stream": True} if stream else {}))
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": text}]}
    if protocol == "anthropic":
        body["max_tokens"] = 100
    if stream:
        body["stream"] = True
    return RoutingRequest("/v1/messages" if protocol == "anthropic" else "/v1/chat/completions", body)


def is_error(protocol: str, body: Any) -> bool:
    """Whether a JSON value is an error in the shape of `protocol`."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict) or not error.get("message"):
        return False
    if protocol == "anthropic":
        return body["type"] == "error" and isinstance(error["type"], str)
    if protocol == "gemini":
        return isinstance(error["code"], int) and isinstance(error["status"], str)
    return isinstance(error["type"], str) and "code" in error


def text_of(protocol: str, body: Any) -> str:
    """The words of a plain answer."""
    if protocol == "openai":
        return str(body["choices"][0]["message"]["content"])
    if protocol == "anthropic":
        return "".join(block.get("text", "") for block in body["content"])
    if protocol == "responses":
        return "".join(part.get("text", "") for item in body["output"] for part in item.get("content", ()))
    return "".join(part.get("text", "") for part in body["candidates"][0]["content"]["parts"])


def events_of(data: bytes) -> list[Any]:
    """The JSON values of a stream: of its events, or of Gemini's array; "[DONE]" stays text."""
    if data.lstrip().startswith(b"["):
        found: list[Any] = json.loads(data)
        return found
    from llm_router_client import SSEParser

    parser = SSEParser()
    events = [*parser.feed(data), *parser.close()]
    return [event.data if event.data == "[DONE]" else json.loads(event.data) for event in events]


def is_end(protocol: str, value: Any) -> bool:
    """Whether an event says that the answer is whole."""
    if protocol == "openai":
        return bool(value == "[DONE]")
    if protocol == "anthropic":
        return bool(value["type"] == "message_stop")
    if protocol == "responses":
        return value["type"] in ("response.completed", "response.incomplete")
    return any("finishReason" in candidate for candidate in value.get("candidates", ()))


def verdict(protocol: str, data: bytes) -> str:
    """How a stream of `protocol` ended: "whole", "error", or "cut". Neither may come twice, nor anything behind it."""
    ends = ["error" if is_error(protocol, value) else "whole" if is_end(protocol, value) else ""
            for value in events_of(data)]  # fmt: skip
    told = [end for end in ends if end]
    assert len(told) <= 1, f"more than one end: {data!r}"
    if told and protocol != "gemini":  # whose usage may follow
        assert ends[-1], f"something behind the end: {data!r}"
    if not told and any(is_last(value) for value in events_of(data)):
        return "whole"  # OpenAI's [DONE] adds nothing to that
    return told[0] if told else "cut"


def is_last(value: Any) -> bool:
    """Whether an event of OpenAI's names the reason for the end."""
    choices = value.get("choices") if isinstance(value, dict) else None
    return any(choice.get("finish_reason") for choice in choices or ())


def streamed_text(protocol: str, data: bytes) -> str:
    """The words of a stream, as far as they came."""
    out = []
    for value in events_of(data):
        if value == "[DONE]" or "error" in value:
            continue
        if protocol == "openai":
            out += [choice["delta"].get("content") or "" for choice in value["choices"]]
        elif protocol == "anthropic":
            out.append(value.get("delta", {}).get("text", ""))
        elif protocol == "responses":
            out.append(value["delta"] if value["type"] == "response.output_text.delta" else "")
        else:
            out += [part.get("text", "") for part in value["candidates"][0].get("content", {}).get("parts", ())]
    return "".join(out)


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    data: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.data)


def whole(response: HTTPResponse) -> Answer:
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())


# ------------------------------------------------------------------------------------------------------- the gateway


def environment(folder: Path, env: Mapping[str, str]) -> dict[str, str]:
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {**kept, "HOME": str(folder), **env}


def command(folder: Path, *words: str, stdin: bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]:
    """A command line of the gateway that ends by itself."""
    argv = [sys.executable, str(GATEWAY), *words]
    return subprocess.run(
        argv, cwd=folder, env=environment(folder, env), input=stdin, capture_output=True, timeout=WAIT_S, check=False
    )


class Process:
    """`python3 scripts/llm_router_gateway -c router.toml -p 0 FLAGS` on a free port, until end().

    `timeouts` are the seconds of connection.ServerTimeouts, shorter than the defaults; `files` is its limit of open files;
    `gateway` is the package to run. `at_once`: a call is stored as soon as it is over, for tests that look for each,
    and what is not in the store is not looked for again a little later.
    """

    def __init__(
        self, folder: Path, config: str, *words: str, env: Mapping[str, str] | None = None, timeouts: str = "",
        files: int = 0, gateway: Path = GATEWAY, at_once: bool = False,
    ) -> None:  # fmt: skip
        self.folder = folder
        self.token = ""
        argv = [sys.executable, str(gateway)]
        if timeouts:
            argv = [sys.executable, "-c", IMPATIENT, str(SCRIPTS), timeouts]
        if at_once:
            argv = [sys.executable, "-c", AT_ONCE, str(SCRIPTS)]
        if files:
            argv = ["/bin/sh", "-c", f'ulimit -n {files}; exec "$@"', "sh", *argv]
        if config:
            self.write(config)
            argv += ["-c", "router.toml"]
        if "-p" not in words and "--port" not in words:
            argv += ["-p", "0"]
        self._out, self._err = folder / "stdout", folder / "stderr"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            quiet, clean = subprocess.DEVNULL, environment(folder, env or {})
            self._process = subprocess.Popen([*argv, *words], cwd=folder, env=clean, stdin=quiet, stdout=out, stderr=err)
        until(lambda: "listening on" in self.log or self._process.poll() is not None, "the gateway is ready")
        match = re.search(r"listening on http://(\S+):(\d+): ", self.log)
        assert match, f"the gateway did not start: {self.log}"
        self.host, self.port = match[1], int(match[2])

    def write(self, config: str) -> None:
        """The configuration, put in place whole."""
        new = self.folder / "router.toml.new"
        new.write_text(config)
        new.replace(self.folder / "router.toml")

    # -- what it says

    @property
    def log(self) -> str:
        return self._err.read_text("utf-8", "replace")

    @property
    def out(self) -> str:
        return self._out.read_text("utf-8", "replace")

    def faults(self) -> list[str]:
        return [
            line
            for line in self.log.splitlines()
            if re.search("Please report this line|Traceback|never retrieved|Error:", line)
        ]

    def logged(self, text: str) -> None:
        until(lambda: text in self.log, f"{text!r} in the log:\n{self.log}")

    # -- what it is asked

    def connect(self) -> socket.socket:
        sock = socket.create_connection((self.host.strip("[]"), self.port), WAIT_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    @contextmanager
    def opened(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Iterator[HTTPResponse]:
        """An answer whose body was not read yet; headers are named with _ for -."""
        connection = HTTPConnection(self.host.strip("[]"), self.port, timeout=WAIT_S)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token and "authorization" not in given:
            given["authorization"] = f"Bearer {self.token}"
        try:
            connection.request(method, path, body, given)
            yield connection.getresponse()
        finally:
            connection.close()

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        with self.opened(method, path, body, **headers) as response:
            return whole(response)

    def get(self, path: str, **headers: str) -> Answer:
        return self.send("GET", path, **headers)

    def chat(self, protocol: str, model: str, *, stream: bool = False, text: str = "hi", array: bool = False) -> Answer:
        asked = ask(protocol, model, stream=stream, text=text, array=array)
        return self.send("POST", asked.path, asked.data)

    def streaming(self, protocol: str, model: str, *, text: str = "hi", array: bool = False) -> Any:
        """A stream that is open: `with gateway.streaming(...) as response`."""
        asked = ask(protocol, model, stream=True, text=text, array=array)
        return self.opened("POST", asked.path, asked.data)

    # -- what it has

    @property
    def pid(self) -> int:
        return self._process.pid

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self._process.pid}/fd"))

    def peak_kib(self) -> int:
        """The most memory that it ever had."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])  # type: ignore[index]  # Linux has the line

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    # -- how it ends

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def ended(self, limit_s: float = WAIT_S) -> int:
        """Its exit code, waited for. Popen.wait() with a limit looks only every 50 ms."""
        until(lambda: not self.is_running, "the gateway ends", limit_s)
        return int(self._process.returncode)

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def end(self) -> int:
        """Its exit code after SIGTERM, twice if need be."""
        for wait_s in (3.0, WAIT_S):
            if self.is_running:
                self.signal(signal.SIGTERM)
            with suppress(AssertionError):
                return self.ended(wait_s)
        self._process.kill()
        return self._process.wait(WAIT_S)


# ------------------------------------------------------------------------------------------------------ the upstream


class Asked(NamedTuple):
    """A request as it reached the upstream."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Act = Callable[[socket.socket, Asked], Any]


class Upstream:
    """A server on loopback. `act(sock, asked)` is what it does with each request; true: the connection stays for another."""

    def __init__(self) -> None:
        self.act: Act = sends(b"")
        self.requests: list[Asked] = []
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self._listening.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Upstream:
        return self

    def __exit__(self, *_: object) -> None:
        stop_listening(self._listening)
        with self._lock:
            for sock in self._open:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    @property
    def open(self) -> int:
        """Connections that the gateway has open to here."""
        with self._lock:
            return len(self._open)

    def does(self, act: Act) -> None:
        """From the next request on, with none kept of those before."""
        self.act = act
        self.requests.clear()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while (asked := read_request(sock)) is not None:
                self.requests.append(asked)
                if not self.act(sock, asked):
                    break
        except OSError:
            pass
        finally:
            with self._lock:
                self._open.discard(sock)
            sock.close()


def read_request(sock: socket.socket) -> Asked | None:
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(65536)
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        more = sock.recv(65536)
        if not more:
            return None
        body += more
    return Asked(line, headers, body)


def hold(sock: socket.socket) -> None:
    """Nothing more, until the gateway closes."""
    with suppress(OSError):
        while sock.recv(65536):
            pass


def reset(sock: socket.socket) -> None:
    """Breaks the connection off: the other side sees a reset, not an end."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def half_close(sock: socket.socket) -> None:
    """Says that nothing more comes, and goes on listening."""
    sock.shutdown(socket.SHUT_WR)
    hold(sock)


def close(sock: socket.socket) -> None:
    """The end of the connection, as the server makes it when `act` is over."""


def sends(data: bytes, then: Callable[[socket.socket], Any] = close) -> Act:
    def act(sock: socket.socket, _: Asked) -> None:
        if data:
            sock.sendall(data)
        then(sock)

    return act


def drips(data: bytes, pause_s: float) -> Act:
    """A byte at a time."""

    def act(sock: socket.socket, _: Asked) -> None:
        for at in range(len(data)):
            sock.sendall(data[at : at + 1])
            time.sleep(pause_s)

    return act


# ------------------------------------------------------------------------------------------- what an upstream answers


def http(data: bytes, *, status: str = "200 OK", kind: str = "application/json", **headers: str) -> bytes:
    """A whole answer with its length."""
    lines = [f"HTTP/1.1 {status}", f"content-type: {kind}", f"content-length: {len(data)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + data


def chunked(*pieces: bytes, kind: str = "text/event-stream") -> bytes:
    """A whole answer in chunks."""
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    return head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


PLAIN: dict[str, dict[str, Any]] = {
    "openai": {"id": "c", "choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"},
                                       "finish_reason": "stop"}]},
    "anthropic": {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": "yes"}],
                  "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}},
    "gemini": {"candidates": [{"content": {"role": "model", "parts": [{"text": "yes"}]}, "finishReason": "STOP"}]},
    "responses": {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "m", "error": None,
                  "incomplete_details": None, "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "usage": None,
                  "output": [{"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                              "content": [{"type": "output_text", "text": "yes", "annotations": []}]}]},
}  # fmt: skip


def data_event(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def named_event(value: Any) -> bytes:
    return f"event: {value['type']}\n".encode() + data_event(value)


def openai_event(text: str, finish: str | None = None) -> bytes:
    return data_event({"id": "c", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]})


def gemini_event(text: str, **more: str) -> bytes:
    return data_event({"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, **more}]})


def anthropic_text(text: str) -> bytes:
    return named_event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})


ANTHROPIC_START = [
    named_event({"type": "message_start", "message": {**PLAIN["anthropic"], "content": [], "stop_reason": None}}),
    named_event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
]
ANTHROPIC_END = [
    named_event({"type": "content_block_stop", "index": 0}),
    named_event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}}),
    named_event({"type": "message_stop"}),
]
RESPONSES_WHOLE = PLAIN["responses"]
RESPONSES_ITEM = {**RESPONSES_WHOLE["output"][0], "status": "in_progress", "content": []}
RESPONSES_PLACE = {"item_id": "msg_1", "output_index": 0, "content_index": 0}


def responses_event(number: int, kind: str, **fields: Any) -> bytes:
    return named_event({"type": f"response.{kind}", "sequence_number": number, **fields})


def responses_text(number: int, text: str) -> bytes:
    return responses_event(number, "output_text.delta", **RESPONSES_PLACE, delta=text, logprobs=[])


RESPONSES_PART = {"type": "output_text", "text": "", "annotations": []}
RESPONSES_START = [
    responses_event(0, "created", response={**RESPONSES_WHOLE, "status": "in_progress", "output": []}),
    responses_event(1, "output_item.added", output_index=0, item=RESPONSES_ITEM),
    responses_event(2, "content_part.added", **RESPONSES_PLACE, part=RESPONSES_PART),
]
RESPONSES_END = [
    responses_event(5, "output_text.done", **RESPONSES_PLACE, text="yes", logprobs=[]),
    responses_event(6, "content_part.done", **RESPONSES_PLACE, part={**RESPONSES_PART, "text": "yes"}),
    responses_event(7, "output_item.done", output_index=0, item=RESPONSES_WHOLE["output"][0]),
    responses_event(8, "completed", response=RESPONSES_WHOLE),
]
# What says "yes" in two pieces: everything up to the first word, the second word, the end.
STREAM: dict[str, tuple[list[bytes], list[bytes], list[bytes]]] = {
    "openai": ([openai_event("y")], [openai_event("es")], [openai_event("", "stop"), b"data: [DONE]\n\n"]),
    "anthropic": ([*ANTHROPIC_START, anthropic_text("y")], [anthropic_text("es")], ANTHROPIC_END),
    "gemini": ([gemini_event("y")], [gemini_event("es", finishReason="STOP")], []),
    "responses": ([*RESPONSES_START, responses_text(3, "y")], [responses_text(4, "es")], RESPONSES_END),
}


def whole_stream(protocol: str) -> bytes:
    first, second, last = STREAM[protocol]
    return chunked(*first, *second, *last)


def begun_stream(protocol: str) -> bytes:
    """A stream up to its first word."""
    return chunked(*STREAM[protocol][0]).removesuffix(b"0\r\n\r\n")
