"""Both ends of a gateway in one process of its own: the callers in front of it and the upstream behind it.

    with Traffic() as traffic:
        ...                                          # start a gateway whose upstream is traffic.base_url
        done = traffic.run(address, [request] * 16, total=1000)                 # 16 callers, 1000 plain answers
        done = traffic.run(address, [streamed] * 16, total=32, pieces=500)      # each piece sent alone, see below
        done = traffic.drip(address, [streamed] * 2000, pieces=20, every_s=0.5)  # 2000 slow streams at once

All it sends was made before. A streamed piece leaves the upstream when its caller has the one before it, so that no gateway
gets two in one read: that is how models send, and it is what costs most. With burst=8 eight leave at once, as a gateway finds
them that has fallen behind. Both ends being one process makes this possible; `epoll` and byte searches keep it cheap.
The upstream answers only while a run lasts. Linux only.
"""

from __future__ import annotations

import re
import select
import socket
import time

from measure import Failed
from prepared import CHAT, ID, PREPARED, RESPONSES, Prepared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Sequence, Tuple

MARK = b"quokka"  # in every text that the upstream sends, and in nothing else
DELTA = b'output_text.delta"'  # the same of a Responses stream, which says every text several times
CALLER = re.compile(rb"caller-(\d{4})")  # in every request's text: tells which caller an upstream request is from
STREAMED = re.compile(rb'"stream": ?true')
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked\r\n", re.IGNORECASE)
ENDS = (b"[DONE]", b"message_stop", b"response.completed")  # the last event of a stream in each protocol
LAST_BYTES = 600  # of a stream are looked at for its last events; a Responses stream's holds the whole answer
LAST_BYTES_RESPONSES = 16_384
READ_BYTES = 262_144
BACKLOG = 4_096
STALL_S = 0.2  # nothing moved: a gateway holds pieces back until the next one comes, so send that
TIME_OUT_S = 120.0  # nothing moved for this long, or the whole took ten times as long


def tuned(connection: socket.socket) -> socket.socket:
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


class Flow:
    """One answer being streamed by the upstream: a piece, or a burst of them, at each `go_on`, then the end."""

    __slots__ = ("_burst", "_connection", "_id", "_left", "_prepared", "sent")

    def __init__(self, connection: socket.socket, prepared: Prepared, id: bytes, pieces: int, burst: int) -> None:
        self._connection, self._prepared, self._id = connection, prepared, id
        self._left, self._burst, self.sent = pieces, burst, 0

    def begin(self) -> None:
        self.go_on(self._prepared.opening.replace(ID, self._id))

    def go_on(self, opening: bytes = b"") -> bool:
        """False when it is over."""
        if self._left <= 0:
            self._connection.send(self._prepared.closing.replace(ID, self._id))
            return False
        made = self._prepared.pieces
        now = [made[number % len(made)] for number in range(self.sent, self.sent + self._burst)]
        self._connection.send(opening + b"".join(now))
        self.sent += self._burst
        self._left -= self._burst
        return True


class Served:
    """A gateway's connection to the upstream."""

    def __init__(self, traffic: Traffic, connection: socket.socket) -> None:
        self._traffic, self._connection, self._bytes = traffic, connection, b""

    def ready(self) -> None:
        try:
            data = self._connection.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._traffic.close(self._connection)
            return
        self._bytes += data
        while self._bytes and (request := self._request()) is not None:
            self._answer(*request)

    def _request(self) -> Optional[Tuple[str, bytes]]:
        """Path and body of a request that is here whole."""
        end = self._bytes.find(b"\r\n\r\n") + 4
        if end < 4:
            return None
        head = self._bytes[:end]
        if CHUNKED.search(head):
            size = self._bytes.find(b"\r\n0\r\n\r\n", end - 2) + 7 - end
        else:
            length = LENGTH.search(head)
            size = int(length[1]) if length else 0
        if size < 0 or len(self._bytes) < end + size:
            return None
        body, self._bytes = self._bytes[end : end + size], self._bytes[end + size :]
        return head.split(b" ", 2)[1].decode(), body

    def _answer(self, path: str, body: bytes) -> None:
        caller, traffic = CALLER.search(body), self._traffic
        prepared = PREPARED.get(path, PREPARED[CHAT])
        traffic.answers += 1
        id = b"resp_%033d" % traffic.answers
        if caller is None or not STREAMED.search(body):
            self._connection.send(prepared.plain.replace(ID, id))
            return
        flow = Flow(self._connection, prepared, id, traffic.pieces, traffic.burst)
        traffic.flows[int(caller[1])] = flow
        flow.begin()


class Caller:
    """One client on one kept connection: the same request again and again, its answer read to the end."""

    def __init__(self, traffic: Traffic, address: Tuple[str, int], number: int, request: bytes) -> None:
        self._traffic, self._address, self._number = traffic, address, number
        self._request = request.replace(b"caller-0000", b"caller-%04d" % number)
        is_repeated = request.startswith(f"POST {RESPONSES} ".encode()) and STREAMED.search(request) is not None
        self._mark, self._last = (DELTA, LAST_BYTES_RESPONSES) if is_repeated else (MARK, LAST_BYTES)
        self._connection: Optional[socket.socket] = None
        self._begin()

    def _begin(self) -> None:
        self._head, self._tail, self._size, self._marks, self._need = b"", b"", 0, 0, -1
        self._ended = self._is_error = False

    def call(self) -> None:
        """Send the request, on a new connection where there is none."""
        self._begin()
        if self._connection is None:
            self._connection = tuned(socket.create_connection(self._address))
            self._traffic.watch(self._connection, self)
        self._connection.send(self._request)

    def ready(self) -> None:
        assert self._connection is not None
        try:
            data = self._connection.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.hang_up()
            self._traffic.answered(self, "" if self._whole() else f"connection closed after {self._head[:200]!r}")
            return
        self._take(data)
        if self._whole():
            if b"connection: close" in self._head.lower():
                self.hang_up()
            self._traffic.answered(self, self._wrong())

    def _take(self, data: bytes) -> None:
        if self._need < 0:
            self._head += data
            end = self._head.find(b"\r\n\r\n") + 4
            if end < 4:
                return
            data, self._head = self._head[end:], self._head[:end]
            length = LENGTH.search(self._head)
            self._need = int(length[1]) if length else 0  # 0: chunked
            self._is_error = not self._head.startswith(b"HTTP/1.1 200 ")
        seen = self._tail + data
        self._size += len(data)
        marks = seen.count(self._mark) - self._tail.count(self._mark)
        self._tail = seen[-self._last :]
        if marks:
            self._marks += marks
            self._traffic.progress(self._number, self._marks)

    def _whole(self) -> bool:
        if self._need > 0:
            return self._size >= self._need
        return self._need == 0 and self._tail.endswith(b"0\r\n\r\n")

    def _wrong(self) -> str:
        """What is wrong with a whole answer; "" when nothing is."""
        wanted = max(self._traffic.pieces, 1)
        if self._is_error or self._marks != wanted:
            return f"{self._marks} of {wanted} pieces in {self._head[:60]!r} {self._tail[-400:]!r}"
        if self._traffic.pieces and not any(end in self._tail for end in ENDS):
            return f"no end in {self._tail[-300:]!r}"
        return ""

    def hang_up(self) -> None:
        if self._connection is not None:
            self._traffic.close(self._connection)
            self._connection = None


class Outcome:
    """What came of a run: answers, the pieces in them, what went wrong, stalls, seconds on the wall."""

    def __init__(self) -> None:
        self.answers = self.pieces = self.stalls = 0
        self.wall_s = 0.0
        self.errors: List[str] = []

    def checked(self) -> Outcome:
        """Itself; Failed when anything went wrong: its figures mean nothing then."""
        if self.errors:
            raise Failed(f"{len(self.errors)} of {self.answers} answers were wrong, the first: {self.errors[0]}")
        return self


class Traffic:
    """The upstream on 127.0.0.1, and callers as they are asked for."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._ends: Dict[int, Any] = {}  # file descriptor -> Served, Caller
        self._sockets: Dict[int, socket.socket] = {}
        self._listener = tuned(socket.create_server(("127.0.0.1", 0), backlog=BACKLOG))
        self._epoll.register(self._listener, select.EPOLLIN)
        self.address: Tuple[str, int] = self._listener.getsockname()
        self.base_url = f"http://127.0.0.1:{self.address[1]}/v1"
        self.flows: Dict[int, Flow] = {}
        self.answers = 0  # that the upstream gave
        self.pieces, self.burst = 0, 1
        self._in_step = True
        self._outcome, self._left = Outcome(), 0

    def __enter__(self) -> Traffic:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in list(self._sockets.values()):
            self.close(connection)
        self._listener.close()
        self._epoll.close()

    # -- what the ends call

    def watch(self, connection: socket.socket, end: Any) -> None:
        self._ends[connection.fileno()] = end
        self._sockets[connection.fileno()] = connection
        self._epoll.register(connection, select.EPOLLIN)

    def close(self, connection: socket.socket) -> None:
        del self._ends[connection.fileno()], self._sockets[connection.fileno()]
        connection.close()

    def progress(self, number: int, marks: int) -> None:
        """A caller has so many pieces: the next one may go."""
        flow = self.flows.get(number)
        if self._in_step and flow is not None and marks >= flow.sent:
            self._go_on(number, flow)

    def answered(self, caller: Caller, wrong: str) -> None:
        self._outcome.answers += 1
        self._outcome.errors += [wrong] if wrong else []
        self._outcome.pieces += self.pieces
        if self._left:
            self._left -= 1
            caller.call()

    def _go_on(self, number: int, flow: Flow) -> None:
        try:
            more = flow.go_on()
        except OSError:
            more = False  # the gateway hung up; its caller will tell
        if not more:
            del self.flows[number]

    # -- runs

    def run(self, address: Tuple[str, int], requests: Sequence[bytes], total: int, pieces: int = 0, burst: int = 1) -> Outcome:
        """`total` answers to callers that each ask as soon as they are answered; `pieces` is a multiple of `burst`."""
        self.burst = burst
        callers = self._start(address, requests, total, pieces, in_step=True)
        self._turn(total, callers)
        return self._outcome

    def drip(self, address: Tuple[str, int], requests: Sequence[bytes], pieces: int, every_s: float, each: Any) -> Outcome:
        """One streamed answer to each caller, all at once, a piece every so often; `each()` is called as often."""
        self.burst = 1
        callers = self._start(address, requests, len(requests), pieces, in_step=False)
        self._turn(len(requests), callers, every_s, each)
        return self._outcome

    def _start(
        self, address: Tuple[str, int], requests: Sequence[bytes], total: int, pieces: int, in_step: bool
    ) -> List[Caller]:
        self._outcome, self._left = Outcome(), total - len(requests)
        self.pieces, self._in_step = pieces, in_step
        self.flows.clear()
        callers = [Caller(self, address, number, request) for number, request in enumerate(requests)]
        for caller in callers:
            caller.call()
            self._poll(0)  # the upstream must not be kept waiting while many callers connect
        return callers

    def _turn(self, total: int, callers: List[Caller], every_s: float = 0.0, each: Any = None) -> None:
        began_s = moved_s = time.perf_counter()
        next_s = began_s + every_s
        while self._outcome.answers < total:
            moved = self._poll(min(STALL_S, max(next_s - time.perf_counter(), 0)) if every_s else STALL_S)
            now_s = time.perf_counter()
            if every_s and now_s >= next_s:
                next_s += every_s
                each()
                self._all_go_on()
            elif not moved and not every_s:
                self._outcome.stalls += 1
                self._all_go_on()
            moved_s = now_s if moved else moved_s
            if now_s - moved_s > TIME_OUT_S or now_s - began_s > 10 * TIME_OUT_S:
                raise Failed(f"{total - self._outcome.answers} answers did not come; {self._outcome.errors[:1]}")
        self._outcome.wall_s = time.perf_counter() - began_s
        for caller in callers:
            caller.hang_up()

    def _all_go_on(self) -> None:
        for number, flow in list(self.flows.items()):
            self._go_on(number, flow)

    def _poll(self, wait_s: float) -> int:
        events = self._epoll.poll(wait_s, 512)
        for number, _ in events:
            end = self._ends.get(number)
            if end is not None:
                end.ready()
            elif number == self._listener.fileno():
                self._accept()
        return len(events)

    def _accept(self) -> None:
        while True:
            try:
                connection = tuned(self._listener.accept()[0])
            except BlockingIOError:
                return
            self.watch(connection, Served(self, connection))
