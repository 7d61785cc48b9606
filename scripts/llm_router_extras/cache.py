"""The cache: whole answers, as their bytes came, given again for the same request up to an age that the caller names."""

from __future__ import annotations

import os
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from llm_router_client import (
    VERSION,
    UsageError,
    clean,
    dump_json,
    encode_body,
    is_amount,
    own_file,
    setting,
)

from .collaborator import Collaborator
from .database import in_file, try_in_file
from .naming import CHOSEN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llm_router_client import Attempt, Console, LLMRouterClient

MAX_CACHED_BYTES = 4_194_304  # one answer as it came; a longer one is not kept
UNIT_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
CACHE_GET = "SELECT CAST(body AS BLOB), checksum FROM answers WHERE key = ? AND stored_at BETWEEN ? AND ?"
CACHE_PUT = "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)"
CACHE_TRIM = (  # above 240 MiB (pages of 4 KiB) the older half goes
    "DELETE FROM answers WHERE stored_at <= (SELECT AVG(stored_at) FROM answers) AND "
    "(SELECT page_count - freelist_count FROM pragma_page_count, pragma_freelist_count) > 61440"
)


def seconds_in(text: str, flag: str) -> float:
    """seconds_in("24h", "--cache") -> 86400.0"""
    number, unit = text[:-1], UNIT_S.get(text[-1:])
    if unit is None or not (number.isascii() and number.isdigit() and len(number) < 7 and int(number)):
        raise UsageError(f"{flag} takes a time like 30m, 24h or 7d, 1 to 999999 and a unit, not {text[:40]!r}")
    return float(int(number) * unit)


def cache_file() -> str:
    return own_file(setting("LLM_ROUTER_CACHE"), "XDG_CACHE_HOME", ".cache", "answers.sqlite")


def digest(data: bytes) -> bytes:
    return sha256(data).digest()


def cache_key(client: LLMRouterClient, path: str, body: bytes) -> bytes:
    """What an answer is kept under: a hash of all that may change it, whose key it was, and our version."""
    key = client.key()
    parts = [VERSION, client.base_url, path, key.value if key else "", sorted(client.headers.items())]
    return digest(dump_json(parts).encode() + body)


def checksum_of(body: bytes, chosen: bool) -> bytes:
    """Of a kept answer and of whether a group of the gateway chose its model: then a different name needs no warning."""
    return digest(body + b"\0" + CHOSEN.encode() if chosen else body)


class KeptResponse:
    """A kept body in the place of a response."""

    def __init__(self, body: bytes, chosen: bool) -> None:
        self._body, self.headers = body, {CHOSEN: ""} if chosen else {}

    def pieces(self) -> Iterator[bytes]:
        yield self._body

    def arm(self, *_: object) -> None:
        """No clock runs: it is all there."""

    def close(self) -> None:
        """There is no connection."""


class RecordedResponse:
    """A response that records its body while it is read, up to one byte more than the cache keeps."""

    def __init__(self, response: Any) -> None:
        self._response, self.body = response, bytearray()
        self.headers, self.arm, self.close = response.headers, response.arm, response.close

    def pieces(self) -> Iterator[bytes]:
        for piece in self._response.pieces():
            self.body += piece[: max(0, MAX_CACHED_BYTES + 1 - len(self.body))]
            yield piece


class AnswerCache(Collaborator):
    """Answers requests from the cache, and keeps whole answers. A damaged one causes a warning and a new request."""

    def __init__(self, ttl_s: float) -> None:
        if not (is_amount(ttl_s) and ttl_s > 0):
            raise UsageError("cache_ttl_s is a positive number of seconds")
        self.ttl_s, self._key = ttl_s, b""
        self._recorded: RecordedResponse | None = None

    def before(self, attempt: Attempt) -> None:
        call, client = attempt.call, attempt.call.client
        # Of the request as the caller made it: a correction round still answers the same question.
        key, before = cache_key(client, attempt.path, encode_body(attempt.original_body)), self._key
        self._key, self._recorded, attempt.opened = key, None, self._record
        if key == before:
            return  # looked up already, and there was nothing, or nothing usable
        now = client.transport.unix()
        for kept, checksum in try_in_file(call, cache_file(), CACHE_GET, key, now - self.ttl_s, now + 1.0):
            chosen = checksum == checksum_of(kept, True)
            if chosen or checksum == checksum_of(kept, False):
                attempt.response, attempt.kept = KeptResponse(kept, chosen), True
            else:
                self._warn(attempt)

    def _record(self, response: Any) -> Any:
        self._recorded = RecordedResponse(response)
        return self._recorded

    @staticmethod
    def _warn(attempt: Attempt) -> None:
        attempt.call.warnings.append("the cached answer was damaged and is requested again")

    def after(self, attempt: Attempt) -> None:
        answer = attempt.answer
        if attempt.kept and attempt.error:
            self._warn(attempt)
            attempt.again = True
        elif attempt.kept and answer is not None:
            answer.cached, answer.cost, answer.cost_source, answer.credits_remaining = True, 0.0, "cache", None
        elif self._recorded and answer is not None and not attempt.error and answer.finish_reason not in ("", "length"):
            self._keep(attempt, bytes(self._recorded.body), CHOSEN in self._recorded.headers)

    def _keep(self, attempt: Attempt, body: bytes, chosen: bool) -> None:
        if len(body) <= MAX_CACHED_BYTES:
            try_in_file(attempt.call, cache_file(), CACHE_TRIM)
            now = attempt.call.client.transport.unix()
            try_in_file(attempt.call, cache_file(), CACHE_PUT, self._key, now, body, checksum_of(body, chosen))


def add_arguments(parser: Any) -> None:
    """Options of the command `cache`, for an argparse parser."""
    parser.words = {"stats": "how much the cache holds", "clear": "remove all answers"}
    parser.add_argument("action", nargs="?", choices=parser.words, help="; ".join(map(": ".join, parser.words.items())))
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args: Any, console: Console) -> int:
    """The command `cache`: args.action is "stats", "clear", or None."""
    if args.action is None:
        raise UsageError("say what to do with the cache", next_step="Write `cache stats` or `cache clear`.")
    path, clear = cache_file(), args.action == "clear"
    facts = {"file": path, "answers": 0, "oldest": None, "newest": None, "cleared": clear, "bytes": 0}
    if os.path.exists(path):
        [row] = in_file(path, "SELECT COUNT(*), MIN(stored_at), MAX(stored_at) FROM answers")
        for sql in ("DELETE FROM answers", "VACUUM") if clear else ():  # from the disk, too
            in_file(path, sql)
        facts.update(zip(("answers", "oldest", "newest"), row), bytes=os.path.getsize(path))
    text = "{file}: {answers} answers{}, {bytes} bytes\n".format(" taken out" if clear else "", **facts)
    console.show(facts, clean(text))
    return 0
