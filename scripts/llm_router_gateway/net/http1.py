"""HTTP/1.1 as bytes, for both roles: bytes in, heads and pieces of bodies out. No I/O, a limit on every read.

    reader = RequestReader()                      # or ResponseReader(), with expect(method) before each answer
    reader.feed(b"POST /v1/x?a=1 HTTP/1.1\\r\\nhost: h\\r\\ncontent-length: 2\\r\\n\\r\\nhi")
    reader.next()  -> RequestHead("POST", "/v1/x", "a=1", [("host", "h"), ("content-length", "2")], ...)
    reader.next()  -> b"hi"
    reader.next()  -> END      the next call begins with the next message
    reader.next()  -> None     feed more

What comes out depends on the bytes, never on how the network cut them. Whatever two readers could understand in two
ways raises Malformed, after which the connection is to be closed (RFC 9112, with every "may be lenient" declined).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from ..errors import GatewayError

MAX_LINE_BYTES = 8_192  # a request line; RFC 9112 3 asks for 8,000 at least
MAX_HEAD_BYTES = 65_536  # all lines of a head, or of trailers
MAX_FIELDS = 128  # header lines; browsers send 20, what CDNs add makes 50
MAX_NAME = 256  # of a header's name: those that are remembered must not fill the memory
MAX_CHUNK_LINE = 256  # size and extensions; no server known to us sends an extension
MAX_INTERIM = 16  # 1xx answers before the real one
MAX_LENGTH_DIGITS = 15  # of a content-length: a petabyte
MAX_SIZE_DIGITS = 12  # of a chunk's size, in hex: 256 terabytes
KNOWN_NAMES = 512  # header names kept in their lower-case form
KNOWN_LINES = 64  # cached first lines and hosts

CHUNKED = -1  # a body's length: given chunk by chunk
UNTIL_CLOSE = -2  # a body's length: what comes until the connection ends; answers only

CRLF = b"\r\n"
LAST_CHUNK = b"0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
TCHARS = r"!#$%&'*+.^_`|~0-9A-Za-z-"  # RFC 9110 5.6.2
TEXT = bytes([9, *range(32, 127), *range(128, 256)])  # what may stand in a line of a head; RFC 9110 5.5

TOKEN = re.compile(rf"[{TCHARS}]+")
REQUEST_LINE = re.compile(rf"([{TCHARS}]+) ([!\"$-~]+) HTTP/([0-9])\.([0-9])")  # a target has no fragment
STATUS_LINE = re.compile(r"HTTP/1\.([0-9]) ([1-9][0-9][0-9])(?: .*)?")
ABSOLUTE = re.compile(r"https?://([^/?]*)", re.IGNORECASE)
HOST = re.compile(r"[A-Za-z0-9._~!$&'()*+;=%-]*(?::[0-9]*)?|\[[0-9A-Fa-f:.]+\](?::[0-9]*)?")  # RFC 3986 3.2.2
LENGTH = re.compile(rf"[0-9]{{1,{MAX_LENGTH_DIGITS}}}")
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,%d})(?:[ \t]*;[\t -~\x80-\xff]*)?\r" % MAX_SIZE_DIGITS)
NOT_PAIRED = re.compile(rb"\r[^\n]|(?<!\r)\n")  # a bare CR, whose next byte is here, or a bare LF
REQUEST_START = re.compile(rf"[{TCHARS}]".encode())
ONLY_ONCE = frozenset({"host", "content-length", "transfer-encoding", "expect"})

Headers = list[tuple[str, str]]


class Malformed(GatewayError, ValueError):
    """These bytes are no HTTP/1.1 that has one meaning; close the connection. 400, or what fits better."""

    status = 400
    code = "bad_request"


class CutShort(Malformed):
    """The bytes are well-formed as far as they go, and a message is not over."""


class End:
    """A message is over."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "END"


END: Final = End()


class Limits(NamedTuple):
    """Bytes of a first line, bytes of a head, number of its fields."""

    line_bytes: int = MAX_LINE_BYTES
    head_bytes: int = MAX_HEAD_BYTES
    fields: int = MAX_FIELDS


LIMITS = Limits()


class RequestHead(NamedTuple):
    """Header names in lower case, each once (repeated ones joined); the path as it came, still escaped."""

    method: str
    path: str
    query: str
    headers: Headers
    minor: int  # of HTTP/1.x
    length: int  # of the body, or CHUNKED
    keep_alive: bool
    expects: bool  # 100-continue, before it sends the body


class ResponseHead(NamedTuple):
    """Header names in lower case, each once (repeated ones joined)."""

    status: int
    headers: Headers
    minor: int
    length: int  # of the body, or CHUNKED, or UNTIL_CLOSE
    keep_alive: bool


Item = RequestHead | ResponseHead | bytes | End | None


# ------------------------------------------------------------------------------------------------- lines -> values (pure)


@lru_cache(maxsize=KNOWN_NAMES)
def field_name(name: str) -> str:
    """field_name("Content-Type") -> "content-type"; Malformed for what is no token: "a b", "", " folded"."""
    if not TOKEN.fullmatch(name):
        raise Malformed("a header's name contains an invalid character (or a line is folded)")
    if len(name) > MAX_NAME:
        raise Malformed(f"a header's name of more than {MAX_NAME} bytes", status=431)
    return name.lower()


def read_fields(lines: list[str], limit: int) -> dict[str, str]:
    """["A: 1", "b:2 ", "a: 3"] -> {"a": "1, 3", "b": "2"}."""
    if len(lines) > limit:
        raise Malformed(f"more than {limit} header lines", status=431)
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name = field_name(name)
        if not colon:
            raise Malformed("a header line has no colon")
        value = value.strip(" \t")
        if name in fields:
            value = join_values(name, fields[name], value)
        fields[name] = value
    return fields


def join_values(name: str, first: str, second: str) -> str:
    """A header that came twice, as one; Malformed for those where the second could overrule the first."""
    if name in ONLY_ONCE:
        raise Malformed(f"two {name} headers")
    return f"{first}; {second}" if name == "cookie" else f"{first}, {second}"


def body_length(fields: dict[str, str], minor: int, otherwise: int) -> int:
    """The body's length: a number, or CHUNKED; `otherwise` when the head has neither. RFC 9112 6.3."""
    length, coding = fields.get("content-length"), fields.get("transfer-encoding")
    if coding is not None:
        if length is not None:
            raise Malformed("content-length and transfer-encoding together")
        if minor == 0:
            raise Malformed("transfer-encoding in HTTP/1.0")
        if coding.lower() != "chunked":
            raise Malformed("a transfer-encoding other than chunked", status=501)
        return CHUNKED
    if length is None:
        return otherwise
    if not LENGTH.fullmatch(length):
        raise Malformed("content-length is not one number")
    return int(length)


def keep_alive_of(fields: dict[str, str], minor: int) -> bool:
    """Whether the connection may carry another message. RFC 9112 9.3."""
    if "connection" not in fields:
        return minor >= 1
    options = [option.strip().lower() for option in fields["connection"].split(",")]
    return "close" not in options and (minor >= 1 or "keep-alive" in options)


def read_target(method: str, target: str) -> tuple[str, str, str | None]:
    """ "/a?b" -> ("/a", "b", None); "http://h/a" -> ("/a", "", "h"); "*" -> ("*", "", None), for OPTIONS alone."""
    host = None
    if target[0] != "/" and (target != "*" or method != "OPTIONS"):
        absolute = ABSOLUTE.match(target)
        if not absolute:
            raise Malformed("the request's target is not a path")
        host, target = absolute[1], target[absolute.end() :]
        if not host:
            raise Malformed("the request's target names no host")
        target = target if target.startswith("/") else "/" + target
    path, _, query = target.partition("?")
    return path, query, host


@lru_cache(maxsize=KNOWN_LINES)
def is_host(text: str) -> bool:
    return HOST.fullmatch(text) is not None


def check_host(fields: dict[str, str], minor: int, from_target: str | None) -> None:
    """One readable Host, which a whole URL in the request line overrules. RFC 9112 3.2."""
    if "host" not in fields and minor >= 1:
        raise Malformed("no host header")
    if from_target is not None:
        fields["host"] = from_target
    if not is_host(fields.get("host", "")):
        raise Malformed("the host header is not a host")


def read_expect(expect: str, minor: int) -> bool:
    """Whether a caller with such a header waits for `100 Continue` before it sends the body."""
    if minor == 0:
        return False
    if expect.lower() != "100-continue":
        raise Malformed("an expectation other than 100-continue", status=417)
    return True


def read_line(line: str) -> tuple[str, str, str, str | None, int]:
    """read_line("GET /a?b HTTP/1.1") -> ("GET", "/a", "b", None, 1): method, path, query, host, minor version."""
    match = REQUEST_LINE.fullmatch(line)
    if not match:
        raise Malformed("the request line is not METHOD TARGET HTTP/1.1")
    method, target, major, minor = match.groups()
    if major != "1":
        raise Malformed("only HTTP/1.1 is supported", status=505)
    # A later 1.x is to be read as the highest that is known; RFC 9110 2.5.
    return method, *read_target(method, target), min(int(minor), 1)


known_line = lru_cache(maxsize=KNOWN_LINES)(read_line)  # only for lines without a query, which may hold a caller's key


def read_request(block: str, limits: Limits = LIMITS) -> RequestHead:
    """The lines of a request's head, without the blank one -> RequestHead."""
    lines = block.split("\r\n")
    method, path, query, host, minor = (read_line if "?" in lines[0] else known_line)(lines[0])
    fields = read_fields(lines[1:], limits.fields)
    check_host(fields, minor, host)
    length = body_length(fields, minor, 0)
    expects = "expect" in fields and read_expect(fields["expect"], minor) and length != 0
    return RequestHead(method, path, query, list(fields.items()), minor, length, keep_alive_of(fields, minor), expects)


@lru_cache(maxsize=KNOWN_LINES)
def read_status(line: str) -> tuple[int, int]:
    """read_status("HTTP/1.1 200 OK") -> (1, 200): the minor version and the status."""
    match = STATUS_LINE.fullmatch(line)
    if not match:
        raise Malformed("the status line is not HTTP/1.1 STATUS")
    return min(int(match[1]), 1), int(match[2])


def read_response(block: str, method: str, limits: Limits = LIMITS) -> ResponseHead:
    """The lines of an answer's head -> ResponseHead. `method` is the request's: it decides whether a body follows."""
    lines = block.split("\r\n")
    minor, status = read_status(lines[0])
    fields = read_fields(lines[1:], limits.fields)
    length = body_length(fields, minor, UNTIL_CLOSE)
    if method == "HEAD" or status in (204, 304) or status < 200 or (method == "CONNECT" and status < 300):
        length = 0
    return ResponseHead(status, list(fields.items()), minor, length, keep_alive_of(fields, minor) and length != UNTIL_CLOSE)


@lru_cache(maxsize=KNOWN_NAMES)
def chunk_size(line: bytes) -> int:
    """chunk_size(b"1a;x=y\\r") -> 26; the line without its LF."""
    match = CHUNK_LINE.fullmatch(line)
    if not match:
        raise Malformed("a chunk's size is not a number")
    return int(match[1], 16)


def first_fault(data: bytes, limits: Limits, start: re.Pattern[bytes], since: int = 0) -> Malformed | None:
    """What is wrong with the beginning of a head, before it is whole: what shows after the fewest bytes.

    first_fault(b"GET / HTT", LIMITS, REQUEST_START)   -> None
    first_fault(b"GET /\nHost", LIMITS, REQUEST_START) -> Malformed, 400

    Bytes before `since` were looked at before.
    """
    faults: list[tuple[int, Malformed]] = []
    if data and not start.match(data[:5]):
        faults.append((1, Malformed("this is not HTTP")))
    if match := NOT_PAIRED.search(data, since):
        faults.append((match.end(), Malformed("a line ends with CR or LF alone")))
    if len(data) >= limits.line_bytes + 2 and data.find(CRLF, 0, limits.line_bytes + 2) < 0:
        error = Malformed(f"a first line of more than {limits.line_bytes} bytes", status=414)
        faults.append((limits.line_bytes + 2, error))
    if len(data) >= limits.head_bytes + 4:
        error = Malformed(f"headers of more than {limits.head_bytes} bytes", status=431)
        faults.append((limits.head_bytes + 4, error))
    return min(faults, key=lambda fault: fault[0])[1] if faults else None


def raise_fault(data: bytes, limits: Limits, start: re.Pattern[bytes], since: int = 0) -> None:
    fault = first_fault(data, limits, start, since)
    if fault is not None:
        raise fault


# ------------------------------------------------------------------------------------------------------ bytes -> messages


class Reader:
    """The part that both roles share: buffered bytes, and the position in a message."""

    __slots__ = ("_at_end", "_data", "_left", "_limits", "_seen", "_step")

    start: re.Pattern[bytes]  # what a message's first bytes look like, as far as they are here

    def __init__(self, limits: Limits = LIMITS) -> None:
        self._limits = limits
        self._data = b""
        self._seen = 0  # bytes of an unfinished head that hold no end of it
        self._left = 0  # bytes of a body, or of a chunk and the CRLF behind it, still to come
        self._at_end = False
        self._step: Callable[[Any], Item] = type(self)._head  # a plain function: a bound one would be a cycle

    @property
    def buffered(self) -> int:
        """Bytes fed and not yet given out."""
        return len(self._data)

    def feed(self, data: bytes) -> None:
        self._data = self._data + data if self._data else data

    def lone_chunk(self, data: bytes) -> bytes | None:
        """What feed(data) and next() would give, when `data` is exactly one chunk; else None, and nothing happened.

        Most reads of a stream are one event in one chunk: this way costs a quarter of the general one.
        """
        if self._data or self._left or self._step != Reader._chunked:
            return None
        line_end = data.find(b"\n", 0, MAX_CHUNK_LINE)
        if line_end < 0 or not data.endswith(CRLF) or not CHUNK_LINE.fullmatch(data, 0, line_end):
            return None
        size = chunk_size(data[:line_end])
        return data[line_end + 1 : -2] if size and len(data) == line_end + size + 3 else None

    def whole_body(self) -> bytes | None:
        """What is left of a body, when its length is known and all of it is here: its message is over then.

        Else None, and nothing happened. Most bodies come so: this way costs a quarter of the general one.
        """
        data, left = self._data, self._left
        if self._step is not Reader._sized or len(data) < left:
            return None
        self._data, self._left, self._step = data[left:], 0, type(self)._head
        return data[:left]

    def feed_end(self) -> None:
        """The connection's other side sends nothing more."""
        self._at_end = True

    def next(self) -> Item:
        """A head, a piece of its body, END, or None: feed more. After Malformed no call makes sense any more."""
        item = self._step(self)
        if item is None and self._at_end and (self._data or self._step is not type(self)._head):
            raise CutShort("the connection ended in the middle of a message")
        return item

    def _head(self) -> Item:
        raise NotImplementedError

    def _block(self, start: re.Pattern[bytes], limits: Limits) -> str | None:
        """The lines up to a blank one, as text; None while they are not all here."""
        data = self._data
        end = data.find(b"\r\n\r\n", self._seen)
        if not 0 <= end <= limits.head_bytes:
            raise_fault(data, limits, start, self._seen)
            self._seen = max(0, len(data) - 3)
            return None
        block = data[:end]
        is_long = end > limits.line_bytes and not 0 <= block.find(CRLF) <= limits.line_bytes
        if is_long or block.translate(None, TEXT) != CRLF * block.count(CRLF):
            raise_fault(data[: end + 4], limits, start)
            raise Malformed("a control character in a header")
        self._data, self._seen = data[end + 4 :], 0
        return block.decode("latin-1")

    def _begin_body(self, length: int) -> None:
        if length >= 0:
            self._step, self._left = Reader._sized, length
        else:
            self._step = Reader._chunked if length == CHUNKED else Reader._until_close

    def _over(self) -> Item:
        self._step = type(self)._head
        return END

    def _sized(self) -> Item:
        data, left = self._data, self._left
        if not left:
            return self._over()
        if not data:
            return None
        if len(data) <= left:
            self._data = b""
        else:
            self._data, data = data[left:], data[:left]
        self._left = left - len(data)
        return data

    def _until_close(self) -> Item:
        data, self._data = self._data, b""
        return data or (self._over() if self._at_end else None)

    def _chunked(self) -> Item:
        """All of the body that is at hand, out of its chunks, as one piece."""
        data, at, out = self._data, 0, []
        while True:
            if self._left:
                piece, at = self._rest_of_chunk(data, at)
                if piece:
                    out.append(piece)
                if self._left:
                    break
            line_end = data.find(b"\n", at, at + MAX_CHUNK_LINE)
            if line_end < 0 or (out and not CHUNK_LINE.fullmatch(data, at, line_end)):
                break  # a bad line behind good bytes is found by the next call: first the bytes, then the fault
            self._left = chunk_size(data[at:line_end])
            at = line_end + 1
            if not self._left:
                self._step = type(self)._trailers
                break
            self._left += 2
        self._data = data[at:]
        return self._chunks_at_hand(out)

    def _chunks_at_hand(self, out: list[bytes]) -> Item:
        if out:
            return out[0] if len(out) == 1 else b"".join(out)
        if self._step == type(self)._trailers:
            return self._trailers()
        if not self._left and len(self._data) >= MAX_CHUNK_LINE:
            raise Malformed(f"a chunk's line of more than {MAX_CHUNK_LINE} bytes")
        return None

    def _rest_of_chunk(self, data: bytes, at: int) -> tuple[bytes, int]:
        """(what is here of the chunk, where it ends); `_left` counts the CRLF behind it too."""
        left = self._left
        if len(data) - at >= left:  # as most come: all of it
            end = at + left
            if data[end - 2 : end] == CRLF:
                self._left = 0
                return data[at : end - 2], end
        size = max(left - 2, 0)
        piece = data[at : at + size]
        tail = data[at + size : at + left]
        if piece or not tail:
            self._left = left - len(piece)
            return piece, at + len(piece)
        if not CRLF[2 - left :].startswith(tail):
            raise Malformed("a chunk is longer than its size")
        self._left = left - len(tail)
        return b"", at + len(tail)

    def _trailers(self) -> Item:
        """Fields after the last chunk: read for their faults, then dropped (RFC 9110 6.5.1 allows it)."""
        if self._data.startswith(CRLF):
            self._data = self._data[2:]
            return self._over()
        if len(self._data) < 2 and CRLF.startswith(self._data):
            return None
        limits = self._limits._replace(line_bytes=2 * self._limits.head_bytes)  # none is the first
        block = self._block(REQUEST_START, limits)  # a field's name begins as a method does
        if block is None:
            return None
        read_fields(block.split("\r\n"), self._limits.fields)
        return self._over()


class RequestReader(Reader):
    """A server's side: requests, one after the other."""

    __slots__ = ("_skipped",)

    start = REQUEST_START

    def __init__(self, limits: Limits = LIMITS) -> None:
        super().__init__(limits)
        self._skipped = False

    def _head(self) -> Item:
        data = self._data
        if not data or (data == b"\r" and not self._skipped):
            return None
        if data.startswith(CRLF) and not self._skipped:  # one blank line before a request; RFC 9112 2.2
            self._skipped, self._data = True, data[2:]
            return self._head()
        block = self._block(self.start, self._limits)
        if block is None:
            return None
        head = read_request(block, self._limits)
        self._skipped = False
        self._begin_body(head.length)
        return head


class ResponseReader(Reader):
    """A client's side: answers. Interim ones (1xx) are passed over."""

    __slots__ = ("_interim", "_method")

    start = re.compile(rb"HTTP/|HTTP\Z|HTT\Z|HT\Z|H\Z")

    def __init__(self, limits: Limits = LIMITS) -> None:
        super().__init__(limits)
        self._method = "GET"
        self._interim = 0

    def expect(self, method: str) -> None:
        """The next answer is to a request of this method: HEAD has no body."""
        self._method = method
        self._interim = 0

    @property
    def has_begun(self) -> bool:
        """Whether a byte of the next answer came, or an interim answer: then the request was received."""
        return bool(self._data) or self._interim > 0

    def _head(self) -> Item:
        while self._data:
            block = self._block(self.start, self._limits)
            if block is None:
                return None
            head = read_response(block, self._method, self._limits)
            if head.status >= 200:
                self._begin_body(head.length)
                return head
            self._interim += 1
            if head.status == 101 or self._interim > MAX_INTERIM:
                raise Malformed("another protocol, or endless interim answers")
        return None


# -------------------------------------------------------------------------------------------------------- values -> bytes


def fields_text(headers: Iterable[tuple[str, str]]) -> str:
    """[("a", "1")] -> "a: 1\\r\\n". ValueError for what would end a line or is no name: no header can be injected."""
    lines = [f"{field_name(name)}: {value}\r\n" for name, value in headers]
    text = "".join(lines)
    if text.count("\n") != len(lines) or text.count("\r") != len(lines) or "\0" in text:
        raise ValueError("a header's value holds a line end")
    return text


@cache
def status_line(status: int) -> str:
    """status_line(404) -> "HTTP/1.1 404 Not Found\\r\\n"."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Status"
    return f"HTTP/1.1 {status} {phrase}\r\n"


def request_line(method: str, target: str) -> str:
    """request_line("GET", "/a") -> "GET /a HTTP/1.1\\r\\n". ValueError for a target that cannot be sent."""
    line = f"{method} {target} HTTP/1.1"
    if not REQUEST_LINE.fullmatch(line):
        raise ValueError("the path contains what a request line must not contain")
    return line + "\r\n"


def request_head(method: str, target: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """The bytes up to and with the blank line. ValueError for a target or header that cannot be sent."""
    return f"{request_line(method, target)}{fields_text(headers)}\r\n".encode("latin-1")


def response_head(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    """The bytes up to and with the blank line. ValueError for a header that cannot be sent."""
    return f"{status_line(status)}{fields_text(headers)}\r\n".encode("latin-1")


def chunk(data: bytes) -> bytes:
    """chunk(b"hi") -> b"2\\r\\nhi\\r\\n". Never of nothing: that would be the end."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def has_body(method: str, status: int) -> bool:
    """Whether an answer carries bytes behind its head. RFC 9112 6.3."""
    return method != "HEAD" and status not in (204, 304)
