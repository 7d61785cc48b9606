"""http1: what comes out depends on the bytes, never on how the network cut them; nothing ambiguous is accepted."""

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from llm_router_gateway.net import http1
from llm_router_gateway.net.http1 import (
    END,
    Limits,
    Malformed,
    Reader,
    RequestHead,
    RequestReader,
    ResponseHead,
    ResponseReader,
)

CORPUS = Path(__file__).parents[2] / "corpus" / "http1"
CASES = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(CORPUS.glob("*.json"))}
SMALL = Limits(line_bytes=40, head_bytes=120, fields=4)

assert CASES, "tests/corpus/http1 is empty"


def reader_of(case: dict[str, Any], limits: Limits = http1.LIMITS) -> Reader:
    if case["role"] == "request":
        return RequestReader(limits)
    reader = ResponseReader(limits)
    reader.expect(case.get("method", "GET"))
    return reader


def plain(item: RequestHead | ResponseHead | bytes | http1.End) -> Any:
    """An item as the corpus writes it."""
    if isinstance(item, bytes):
        return item.decode("latin-1")
    if isinstance(item, http1.End):
        return "END"
    return {**item._asdict(), "headers": [list(pair) for pair in item.headers]}


def transcript(reader: Reader, cuts: Iterable[bytes], ended: bool = False) -> list[Any]:
    """All that comes out; pieces of one body as one text, the status of a fault last."""
    out: list[Any] = []

    def drain() -> None:
        while (item := reader.next()) is not None:
            assert item != b""
            text = plain(item)
            if isinstance(item, bytes) and out and isinstance(out[-1], str) and out[-1] != "END":
                out[-1] += text
            else:
                out.append(text)

    try:
        for data in cuts:
            reader.feed(data)
            drain()
        if ended:
            reader.feed_end()
            drain()
    except Malformed as error:
        out.append(error.status)
    return out


def every_cut(data: bytes) -> Iterable[list[bytes]]:
    yield [data]
    yield [data[at : at + 1] for at in range(len(data))]
    for at in range(len(data) + 1):
        yield [data[:at], data[at:]]


@pytest.mark.parametrize("name", CASES)
def test_the_corpus_whole_byte_by_byte_and_cut_at_every_position(name: str) -> None:
    case, data = CASES[name], (CORPUS / name).read_bytes()
    wanted = case["items"] + ([case["error"]] if "error" in case else [])
    for cuts in every_cut(data):
        assert transcript(reader_of(case), cuts, case.get("connection_ends", False)) == wanted, cuts


@pytest.mark.parametrize("name", CASES)
def test_three_pieces_and_small_limits_change_nothing_by_the_cut(name: str) -> None:
    case, data = CASES[name], (CORPUS / name).read_bytes()
    rng = random.Random(name)
    wanted = transcript(reader_of(case, SMALL), [data])
    for _ in range(60):
        first, second = sorted((rng.randint(0, len(data)), rng.randint(0, len(data))))
        cuts = [data[:first], data[first:second], data[second:]]
        assert transcript(reader_of(case, SMALL), cuts) == wanted, cuts


def request(*, line: int = 0, field: int = 0, fields: int = 0) -> bytes:
    """A request with a path, a value or a number of fields of that size."""
    head = b"GET /" + b"a" * line + b" HTTP/1.1\r\nhost: h\r\n"
    return head + (b"x: " + b"b" * field + b"\r\n" if field else b"") + b"y: z\r\n" * fields + b"\r\n"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request(line=40 - 14), None),
        (request(line=40 - 14 + 1), 414),
        (request(line=5_000), 414),
        (request(field=120 - 28), None),
        (request(field=120 - 28 + 1), 431),
        (request(field=5_000), 431),
        (request(fields=3), None),
        (request(fields=4), 431),
        (b"G" * 500, 414),
        (b"GET / HTTP/1.1\r\n" + b"a" * 500, 431),
        (b"GET / HTTP/1.1\r\nhost: h\r\n\r\n"[:-1], None),
        (request()[:-2] + b"transfer-encoding: chunked\r\n\r\n0\r\n" + b"t" * 500, 431),
        (request()[:-2] + b"transfer-encoding: chunked\r\n\r\n1;" + b"t" * 500, 400),
        (request()[:-2] + b"transfer-encoding: chunked\r\n\r\n" + b"0" * 500, 400),
    ],
)
def test_every_read_has_a_limit_and_its_own_status(data: bytes, status: int | None) -> None:
    for cuts in every_cut(data) if len(data) < 700 else [[data], [data[at : at + 1] for at in range(len(data))]]:
        seen = transcript(RequestReader(SMALL), cuts)
        assert (seen[-1] if seen and isinstance(seen[-1], int) else None) == status, cuts


def test_the_first_fault_counts_wherever_the_bytes_are_cut() -> None:
    for data in (
        b"GET / HTTP/1.1\r\nhost: h\r\nx: a\nb" + b"c" * 200 + b"\r\n\r\n",
        b"GET /" + b"a" * 60 + b" HTTP/1.1\r\nhost: h\nx\r\n\r\n",
        b"\x16" + b"a" * 300,
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 30 + b"\n",
    ):
        wanted = transcript(RequestReader(SMALL), [data])
        assert all(transcript(RequestReader(SMALL), cuts) == wanted for cuts in every_cut(data)), data


def test_nothing_is_kept_of_a_message_that_is_over() -> None:
    reader = RequestReader()
    for _ in range(1_000):
        reader.feed(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabc")
        assert [type(reader.next()).__name__ for _ in range(3)] == ["RequestHead", "bytes", "End"]
        assert reader.buffered == 0


def test_a_body_of_many_reads_comes_as_it_is_read() -> None:
    reader = ResponseReader()
    reader.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n")
    reader.next()
    for _ in range(3):
        reader.feed(b"x" * 100_000)
        assert reader.next() == b"x" * 100_000
    assert reader.next() is END


def test_all_chunks_at_hand_come_as_one_piece() -> None:
    reader = ResponseReader()
    reader.feed(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n5\r\nfg")
    reader.next()
    assert reader.next() == b"abcdefg"
    assert reader.next() is None


def test_the_short_way_for_one_chunk_gives_what_the_long_one_gives() -> None:
    for data in (b"3\r\nabc\r\n", b"3;x\r\na\r\n\r\n", b"0\r\n\r\n", b"2\r\nabc\r\n", b"4\r\nabc\r\n", b"x\r\nabc\r\n",
                 b"3\nabc\r\n", b"3\r\nabc\r\n0\r\n\r\n", b"3\r\nabc", b"\r\n", b"", b"3\r\nabc\r\r"):  # fmt: skip
        short, long = ResponseReader(), ResponseReader()
        for reader in (short, long):
            reader.feed(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            reader.next()
        piece = short.lone_chunk(data)
        wanted = transcript(long, [data + b"2\r\nhi\r\n"])
        if piece is None:
            assert transcript(short, [data + b"2\r\nhi\r\n"]) == wanted
        else:
            assert [piece.decode() + transcript(short, [b"2\r\nhi\r\n"])[0]] == wanted
    assert ResponseReader().lone_chunk(b"3\r\nabc\r\n") is None


def test_the_short_way_for_a_whole_body_gives_what_the_long_one_gives() -> None:
    head = b"POST / HTTP/1.1\r\nhost: h\r\n"
    heads = [head + line + b"\r\n" for line in (b"content-length: 5\r\n", b"", b"transfer-encoding: chunked\r\n")]
    for data in (start + rest for start in heads for rest in (b"", b"hel", b"hello", b"hello" + heads[1], b"0\r\n\r\n")):
        short, long = RequestReader(), RequestReader()
        for reader in (short, long):
            reader.feed(data)
            reader.next()
        body = short.whole_body()
        items = [each for each in (body,) if each] + ([END] if body is not None else [])
        assert [long.next() for _ in items] == items
        assert short.buffered == long.buffered
        assert transcript(short, [b"tail"]) == transcript(long, [b"tail"])
    assert RequestReader().whole_body() is None


# ------------------------------------------------------------------------------------------------------------ any bytes

WORDS = [
    b"GET", b"POST", b" ", b"/", b"/a?b", b" HTTP/1.1", b"HTTP/1.1 200 OK", b"HTTP/1.1 100 x", b"\r\n", b"\r\n\r\n", b"\n",
    b"\r", b"host: h", b"content-length: ", b"transfer-encoding: chunked", b"0", b"5", b"5\r\n", b"hello", b"a;b", b": ",
    b",", b"\x00", b"\xff", b"connection: close", b"expect: 100-continue", b"\t", b"0\r\n\r\n", b"x: y\r\n",
]  # fmt: skip
SEEDS = [(CORPUS / name).read_bytes() for name in CASES]


def words(rng: random.Random) -> bytes:
    return b"".join(rng.choices(WORDS, k=rng.randint(1, 30)))


def noise(rng: random.Random) -> bytes:
    return rng.randbytes(rng.randint(0, 60))


def changed(rng: random.Random) -> bytes:
    """A case of the corpus with some bytes replaced, dropped or doubled."""
    data = bytearray(rng.choice(SEEDS))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        data[at : at + rng.randint(0, 3)] = rng.choice([b"", rng.randbytes(1), rng.choice(WORDS)])
    return bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize("make", [words, noise, changed])
@pytest.mark.parametrize("role", ["request", "response"])
def test_any_bytes_give_values_or_our_own_error_the_same_for_every_cut(
    make: Callable[[random.Random], bytes], role: str
) -> None:
    rng = random.Random(f"{make.__name__} {role}")
    for _ in range(1_500):
        data = make(rng)
        limits = rng.choice([SMALL, http1.LIMITS])
        wanted = transcript(reader_of({"role": role}, limits), [data], True)
        at = rng.randint(0, len(data))
        for cuts in ([data[:at], data[at:]], [data[i : i + 1] for i in range(len(data))]):
            assert transcript(reader_of({"role": role}, limits), cuts, True) == wanted, data


# ------------------------------------------------------------------------------------------------------------- writing


def test_what_is_written_reads_the_same() -> None:
    data = http1.request_head("POST", "/a?b", [("Host", "h"), ("X-Y", "caf\u00e9"), ("content-length", "0")])
    head = {"method": "POST", "path": "/a", "query": "b", "headers": [["host", "h"], ["x-y", "caf\u00e9"],
            ["content-length", "0"]], "minor": 1, "length": 0, "keep_alive": True, "expects": False}  # fmt: skip
    assert transcript(RequestReader(), [data]) == [head, "END"]
    data = http1.response_head(429, [("retry-after", "7"), ("transfer-encoding", "chunked")])
    data += http1.chunk(b"x" * 31) + http1.chunk(b"y") + http1.LAST_CHUNK
    assert data.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    assert transcript(ResponseReader(), [data])[1:] == ["x" * 31 + "y", "END"]


def test_a_name_of_a_header_has_a_limit_and_a_longer_one_is_not_remembered() -> None:
    name = "X-" + "a" * http1.MAX_NAME
    assert http1.read_request(f"GET / HTTP/1.1\r\nhost: h\r\n{name[:-2]}: 1").headers[1] == (name[:-2].lower(), "1")
    kept = http1.field_name.cache_info().currsize
    with pytest.raises(http1.Malformed, match="name of more than 256") as caught:
        http1.read_request(f"GET / HTTP/1.1\r\nhost: h\r\n{name}: 1")
    assert caught.value.status == 431 and http1.field_name.cache_info().currsize == kept


def test_a_line_with_a_query_is_not_remembered() -> None:
    before = http1.known_line.cache_info()
    assert http1.read_request("GET /a?key=secret HTTP/1.1\r\nhost: h").query == "key=secret"
    assert http1.known_line.cache_info() == before
    first = http1.read_request("GET /remembered HTTP/1.1\r\nhost: h")
    assert http1.read_request("GET /remembered HTTP/1.1\r\nhost: h") == first
    assert http1.known_line.cache_info().hits == before.hits + 1


def test_a_status_without_a_name_is_written_all_the_same() -> None:
    assert http1.response_head(529, []) == b"HTTP/1.1 529 Status\r\n\r\n"


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\rb", "a\0b", "\u20ac", "\n", "\r"])
def test_no_value_slips_a_header_in(value: str) -> None:
    with pytest.raises(ValueError):
        http1.response_head(200, [("x", value)])
    with pytest.raises(ValueError):
        http1.request_head("GET", "/", [("x", value)])


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\nb", "\u00e9", " a"])
def test_no_name_that_is_none_is_written(name: str) -> None:
    with pytest.raises(ValueError):
        http1.response_head(200, [(name, "x")])


@pytest.mark.parametrize("target", ["", "/a b", "/a\r\nx: y", "/\u00e9", "/a#b", "/\x00"])
def test_no_target_that_is_none_is_written(target: str) -> None:
    with pytest.raises(ValueError):
        http1.request_head("GET", target, [])
