#!/usr/bin/env python3
"""Many prompts at once, on top of llm_router_client.py, which lies beside this file.

Standard library only, Python 3.9 or newer.

  python3 llm_router_batch.py run --demo --input prompts.jsonl --output answers.jsonl
  python3 llm_router_batch.py run -m gpt-5.4 --input prompts.jsonl --output answers.jsonl --concurrency 16
  python3 llm_router_batch.py run -m gpt-5.4 --input prompts.jsonl --output answers.jsonl --retry-failed
  python3 llm_router_batch.py evaluate --models gpt-5.4,qwen-max --input prompts.jsonl --repeat 3 --markdown

One line of the input is one JSON object: {"id": "a", "message": "Hello"}, or `messages`, or the API's `body`; also `model`,
and `metadata`, which comes back as it is. Without `id` the line's number is used. The Batch API's `custom_id` is an `id`.

The output holds one line for each finished one: the client's --json object with `id` and `line`. It is also the only state:
killed at any moment and started again, the same command sends what the output lacks. Requests that were in progress are sent
again with the same Idempotency-Key. While failed lines are repeated, an id may occur twice until the command ends: the later
line counts.
"""

from __future__ import annotations

import hashlib
import os
import queue
import signal
import stat
import sys
import threading
import time
from argparse import Namespace
from array import array
from typing import IO, TYPE_CHECKING, Any, Dict, List, NamedTuple, Optional, Tuple

sys.path.append(os.path.dirname(os.path.abspath(__file__)))  # which python3 -I leaves out

import llm_router_client as c

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

JSON = Dict[str, Any]

# ---------------------------------------------------------------------------------------------------------- constants

CONCURRENCY = 8  # requests in progress
MAX_CONCURRENCY = 256  # each is a thread and a connection
PATIENCE_S = 3600.0  # without an answer because of rate limits; then the batch stops and can be continued
MAX_LINE_BYTES = c.MAX_TEXT_BYTES  # one line of the input
FIRST_WAIT_S = 1.0  # after a limit that names no time; doubled each time, up to MAX_WAIT_S
MAX_WAIT_S = 60.0
SYNC_S = 0.5  # answers reach the disk (fsync) this often; a killed process loses none, a power cut at most these
TICK_S = 0.5  # how often the progress line is drawn
RATE_WINDOW_S = 60.0  # what the rate and the time left are judged by
OUTAGES_IN_A_ROW = 20  # then the lines are not the cause
MAX_TOLD = 20  # bad lines reported one by one

STOPPING = frozenset({"missing_key", "key_malformed", "key_refused", "no_credit"})  # no other line would fare better
OUTAGES = frozenset({"network", "timeout", "server_error", "overloaded", "model_not_found"})
LIMITED = frozenset({"rate_limited", "overloaded"})
LINE_FIELDS = ("id", "message", "messages", "body", "model", "metadata", "custom_id", "method", "url")
FROM_LINES = ("message", "message_file", "messages", "messages_file")  # the client's options for what lines say here

OPEN, ANSWERED, FAILED = 0, 1, 2  # what the output says of a line

EXIT_TEXTS = {  # where a batch means something else than one question
    0: "every line answered",
    1: "the output could not be written, or the API refused every line",
    2: "usage error, or bad lines in the input (each is reported; the others were sent)",
    10: "some lines failed: each carries its error",
}


# ------------------------------------------------------------------------------------------------------- input lines


class Line(NamedTuple):
    """One good line of the input: its number from 1, id, what to ask (chat()'s arguments), metadata; both hashes."""

    number: int
    id: Any
    request: JSON
    metadata: Any
    key: int  # of the id
    digest: int  # of the question, without settings of the command line


def hashed(value: Any) -> int:
    """64 bits that tell JSON values apart, whatever the order of their keys; hashed(1) != hashed("1")."""
    import json

    return int.from_bytes(hashlib.sha256(json.dumps(value, sort_keys=True).encode("ascii")).digest()[:8], "big")


def numbered(file: IO[bytes]) -> Iterator[Tuple[int, bytes]]:
    """(number from 1, line) of a file; of a line over the limit only so much that this shows. Blank lines are left out."""
    number, raw = 0, file.readline(MAX_LINE_BYTES + 1)
    while raw:
        number += 1
        rest = raw
        while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
            rest = file.readline(MAX_LINE_BYTES + 1)
        if raw.strip() and raw != b"\xef\xbb\xbf":
            yield number, raw
        raw = file.readline(MAX_LINE_BYTES + 1)


def object_in(raw: bytes) -> JSON:
    """A line's bytes -> its object; UsageError says what they are instead."""
    if len(raw) > MAX_LINE_BYTES:
        raise c.UsageError(f"is longer than {MAX_LINE_BYTES} bytes")
    try:
        value = c.parse_json(raw.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise c.UsageError("is not UTF-8 text") from None
    except ValueError as error:
        raise c.UsageError(f"is not JSON: {c.one_line(error, 80)}") from None
    if not isinstance(value, dict):
        raise c.UsageError("is JSON, but not an object")
    unknown = [name for name in value if name not in LINE_FIELDS]
    if unknown:
        raise c.UsageError(f"has an unknown field {unknown[0][:40]!r}; {c.near(unknown[0], LINE_FIELDS)}".rstrip("; "))
    return value


def id_in(value: JSON, number: int) -> Any:
    """A line's id; without one "line-NUMBER"."""
    found = value.get("id", value.get("custom_id", f"line-{number}"))
    if isinstance(found, bool) or not isinstance(found, (str, int)) or not 0 < len(str(found)) <= 512:
        raise c.UsageError("has an id that is neither a text of 1 to 512 characters nor a whole number")
    return found


def request_in(value: JSON, base: JSON) -> JSON:
    """What a line asks, over what the command line says: chat()'s arguments.

    request_in({"message": "Hi"}, {"model": "m", "messages": [SYSTEM], "temperature": 0})
      -> {"model": "m", "messages": [SYSTEM, {"role": "user", "content": "Hi"}], "temperature": 0}
    """
    body, text = value.get("body", {}), value.get("message")
    if not isinstance(body, dict):
        raise c.UsageError("has a body that is not an object")
    if any(name in body for name in c.NOT_IN_BODY):
        raise c.UsageError(f"has one of {', '.join(c.NOT_IN_BODY)} in its body; those cannot be fields of a request")
    if "url" in value and not str(value["url"]).endswith("/chat/completions"):
        raise c.UsageError("has a url that is not .../chat/completions")
    turns = value.get("messages", body.get("messages"))
    turns = c.check_messages(turns) if turns is not None else []
    if text is not None:
        if not isinstance(text, str) or not text.strip():
            raise c.UsageError("has a message that is not a text, or is empty")
        turns.append({"role": "user", "content": text})
    if all(turn["role"] == "system" for turn in turns):
        raise c.UsageError("has nothing to ask: give it a message, messages or a body with messages")
    model = value.get("model") or body.get("model") or base["model"]
    if not model:
        raise c.UsageError("names no model, and neither does the command: add -m")
    request = {**base, **body, "model": c.check_model(model), "messages": [*base["messages"], *turns]}
    request.pop("stream", None)
    return request


def line_of(number: int, raw: bytes, base: JSON) -> Line:
    """One line of the input, checked; UsageError for a bad one."""
    value = object_in(raw)
    asked = {name: value[name] for name in ("message", "messages", "body", "model") if name in value}
    found = id_in(value, number)
    return Line(number, found, request_in(value, base), value.get("metadata"), hashed(found), hashed(asked))


# -------------------------------------------------------------------------------------------------------------- pace


class Pace:
    """How many may ask at once and from when on, as the server's limits teach it: pure, `now` in seconds is given.

    A limit halves the width and closes the gate for as long as the server says (else 1 s, 2 s, 4 s ... 60 s); each answer
    widens it again by 1/width. What was sent before the gate closed, and is limited too, tells nothing new.
    """

    def __init__(self, most: int, now: float) -> None:
        self.most, self.width = most, float(most)
        self.opens_at = self.closed_at = self.answered_at = now
        self.strikes = 0  # limits without an answer between them

    def wait_s(self, now: float, underway: int) -> Optional[float]:
        """Seconds until one more may ask; 0.0 for now, None when an answer has to come first."""
        if now < self.opens_at:
            return self.opens_at - now
        return 0.0 if underway < max(1, int(self.width)) else None

    def limited(self, now: float, asked_at: float, retry_after_s: Optional[float], dice: float) -> float:
        """A limit came back for a request sent at `asked_at` -> seconds that the gate is closed; `dice` is in [0, 1)."""
        news = asked_at >= self.closed_at
        if news:
            self.strikes += 1
            self.width = max(1.0, self.width / 2.0)
            self.closed_at = now
        backoff = min(FIRST_WAIT_S * 2.0 ** (self.strikes - 1), MAX_WAIT_S) * (1.0 - 0.25 * dice)
        if retry_after_s is None:
            wait = backoff if news else 0.0
        else:  # no tight loop where a server always says 0
            wait = max(retry_after_s, backoff / 8.0 if self.strikes > 1 and news else 0.0)
        self.opens_at = max(self.opens_at, now + wait)
        return self.opens_at - now

    def answered(self, now: float) -> None:
        self.strikes, self.answered_at = 0, now
        self.width = min(float(self.most), self.width + 1.0 / self.width)


class Gate:
    """A Pace that threads wait at: enter() before a request, leave() after it."""

    def __init__(self, most: int, patience_s: float) -> None:
        self.pace, self.patience_s = Pace(most, time.monotonic()), patience_s
        self.underway, self.stopped = 0, False
        self._changed = threading.Condition()

    def enter(self) -> bool:
        """Wait until one more may ask; False when the batch stops."""
        with self._changed:
            while not self.stopped:
                wait = self.pace.wait_s(time.monotonic(), self.underway)
                if wait == 0.0:
                    self.underway += 1
                    return True
                self._changed.wait(wait)
            return False

    def leave(self, answered: bool) -> None:
        with self._changed:
            self.underway -= 1
            if answered:
                self.pace.answered(time.monotonic())
            self._changed.notify_all()

    def limited(self, asked_at: float, retry_after_s: Optional[float]) -> bool:
        """Slow all down; False when that would take longer than the patience."""
        with self._changed:
            now = time.monotonic()
            closed_s = self.pace.limited(now, asked_at, retry_after_s, c.Transport.rng())
            return round(max(closed_s, now - self.pace.answered_at), 3) <= self.patience_s  # an hour plus rounding is an hour

    def closed_s(self) -> float:
        """Seconds until it opens."""
        return max(0.0, self.pace.opens_at - time.monotonic())

    def stop(self) -> None:
        with self._changed:
            self.stopped = True
            self._changed.notify_all()


# ------------------------------------------------------------------------------------------------------------ output


class Ledger:
    """What is known of every id: about 200 bytes each, 2 MB for 10,000 lines."""

    def __init__(self) -> None:
        self.rows: Dict[int, int] = {}  # hash of an id -> its place in the arrays
        self.offsets, self.digests, self.lines = array("q"), array("Q"), array("Q")
        self.states, self.tries = bytearray(), bytearray()

    def row(self, key: int) -> int:
        """The row of an id; a new one, open and in no line, for an id that comes first."""
        found = self.rows.setdefault(key, len(self.rows))
        if found == len(self.states):
            for column, value in ((self.offsets, -1), (self.digests, 0), (self.lines, 0)):
                column.append(value)
            self.states.append(OPEN)
            self.tries.append(0)
        return found

    def note(self, row: int, offset: int, state: int, tries: int) -> None:
        self.offsets[row], self.states[row], self.tries[row] = offset, state, min(tries, 255)

    def in_order(self) -> List[int]:
        """Offsets of the records that count, by their line in the input; what the input does not have any more last."""
        held = [row for row, offset in enumerate(self.offsets) if offset >= 0]
        held.sort(key=lambda row: (self.lines[row] or sys.maxsize, self.offsets[row]))
        return [self.offsets[row] for row in held]


def lock_file(file: int) -> bool:
    """Whether an open file is this process's own now."""
    return bool(c.extra("files", "--output").lock_file(file))


def open_locked(path: str) -> int:
    """The output opened for us alone; SafetyError while another process writes it."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    while True:
        file = os.open(path, flags, 0o600)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise c.SafetyError(f"{path} is not a regular file")
            if not lock_file(file):
                step = "Wait for it to end, or name another --output."
                raise c.SafetyError(f"{path} is being written by another process", next_step=step)
            if os.path.samestat(os.fstat(file), os.stat(path)):
                return file
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # it was replaced between open() and lock(): the new one is meant


def sync_folder(path: str) -> None:
    """Bring a new or replaced file's name to the disk, where the system can."""
    try:
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(folder)
    except OSError:
        pass
    finally:
        os.close(folder)


class Output:
    """The output file: read at the start, then appended to. Its complete lines are the memory of the batch.

    run: the file's own name, the same in each of its records; superseded: records whose id has a later one; torn: bytes of
    a last line that was cut off by a crash, taken away (repair=False leaves all as it is, for --dry-run).
    """

    def __init__(self, path: str, ledger: Ledger, repair: bool = True) -> None:
        self.path, self.ledger = path, ledger
        self.run, self.size, self.superseded, self.torn = "", 0, 0, 0
        self.spent = 0.0  # USD, what its records say that they cost
        self._synced_at, self._dirty, self._repair = time.monotonic(), False, repair
        self.file = -1
        if repair:
            self.file = open_locked(path)
        elif os.path.exists(path):
            self.file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        try:
            if self.file >= 0:
                self._load()
        except BaseException:
            self.close()
            raise
        self.run = self.run or self._birth()

    def _load(self) -> None:
        with open(os.dup(self.file), "rb") as reader:
            reader.seek(0)
            for number, raw in enumerate(reader, 1):
                whole = raw.endswith(b"\n")
                record = self._record(raw)
                if record is None and (whole or not self._is_ours(raw)):
                    step = "Name another --output, or take that line out."
                    raise c.UsageError(f"{self.path}: line {number} is not an answer of this command", next_step=step)
                if record is None:
                    self.torn = len(raw)
                    if self._repair:
                        os.ftruncate(self.file, self.size)
                    break
                if not whole and self._repair:
                    os.write(self.file, b"\n")  # all but its end had been written
                self._take(record, len(raw) + (not whole))

    def _birth(self) -> str:
        """A name for a file that has no record yet: nothing was written to it, so that its time is that of its making."""
        facts = os.fstat(self.file) if self.file >= 0 else None
        return f"{hashed([facts.st_dev, facts.st_ino, facts.st_mtime_ns]):016x}" if facts else ""

    def _take(self, record: JSON, length: int) -> None:
        row = self.ledger.row(hashed(record["id"]))
        self.superseded += self.ledger.offsets[row] >= 0
        self.ledger.note(row, self.size, ANSWERED if record["ok"] else FAILED, record["tries"])
        self.ledger.digests[row] = int(record["request"], 16)
        self.run = record["run"]
        self.size += length
        self.spent += record["cost"] if c.is_amount(record.get("cost")) else 0.0

    @staticmethod
    def _record(raw: bytes) -> Optional[JSON]:
        """A record as append() writes them, None for anything else."""
        try:
            value = c.parse_json(raw)
            int(value["request"], 16)
            usable = isinstance(value["ok"], bool) and isinstance(value["tries"], int) and isinstance(value["run"], str)
            return value if usable and isinstance(value["id"], (str, int)) and "line" in value else None
        except (ValueError, KeyError, TypeError):
            return None

    @staticmethod
    def _is_ours(tail: bytes) -> bool:
        """Whether a last line without its end can be what a crash left: the start of a record, or a hole of zeros."""
        head = b'{"id": '
        return tail[: len(head)] == head[: len(tail)] or not tail.strip(b"\0")

    def append(self, records: Sequence[Tuple[int, int, int, bytes]]) -> None:
        """Add (row, state, tries, line) records with one write. OSError: none of them is in the file."""
        data = b"".join(record[3] for record in records)
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(self.file, left) :]
        except OSError:
            os.ftruncate(self.file, self.size)
            raise
        for row, state, tries, line in records:
            self.superseded += self.ledger.offsets[row] >= 0
            self.ledger.note(row, self.size, state, tries)
            self.size += len(line)
        self._dirty = True
        self.sync(SYNC_S)

    def sync(self, every_s: float = 0.0) -> None:
        """Bring what was written to the disk, at most every so often; SafetyError when the file is not there any more."""
        now = time.monotonic()
        if not self._dirty or now - self._synced_at < every_s:
            return
        os.fsync(self.file)
        self._synced_at, self._dirty = now, False
        if not os.path.exists(self.path) or not os.path.samestat(os.fstat(self.file), os.stat(self.path)):
            raise c.SafetyError(
                f"{self.path} was moved or replaced meanwhile", next_step="The answers are in the file that was moved."
            )

    def settle(self, ordered: bool) -> None:
        """Take superseded records out, and with `ordered` bring the rest into the input's order: a new file, moved here."""
        order = self.ledger.in_order() if ordered else sorted(offset for offset in self.ledger.offsets if offset >= 0)
        if not self.superseded and order == sorted(order):
            return
        part = f"{self.path}.rewriting"
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        new = os.open(part, flags, 0o600)
        try:
            lock_file(new)  # before it has the name: the output is never seen unlocked
            with open(os.dup(self.file), "rb") as reader, open(os.dup(new), "wb") as writer:
                for offset in order:
                    reader.seek(offset)
                    writer.write(reader.readline())
                writer.flush()
                os.fsync(new)
            if sys.platform == "win32":  # where open files cannot be moved or replaced
                os.close(new)
                self.close()
            os.replace(part, self.path)
        except BaseException:
            if os.path.exists(part):
                os.unlink(part)
            raise
        if sys.platform == "win32":
            new = open_locked(self.path)
        self.close()
        self.file, self.superseded = new, 0
        sync_folder(self.path)

    def close(self) -> None:
        if self.file >= 0:
            os.close(self.file)
            self.file = -1


# ------------------------------------------------------------------------------------------------------------- asking


class Task(NamedTuple):
    """One question: the line's number and id, its row in the ledger, chat()'s arguments, how often it was sent before."""

    number: int
    id: Any
    row: int
    request: JSON
    metadata: Any
    tries: int
    salt: str  # what makes the Idempotency-Key this task's own


class Done(NamedTuple):
    """A task and what came of it: an answer, or an error."""

    task: Task
    answer: Optional[c.Answer]
    error: Optional[c.LLMRouterError]


class BatchTransport(c.Transport):
    """The client's transport with two changes: keys that survive a restart, and limits left to the gate.

    The Idempotency-Key is made of the task and the body, so that a server which knows such keys answers what was underway
    when the batch was killed without billing it twice. A limit is not retried by the call that met it: all have to wait.
    """

    def __init__(self, ca_file: Optional[str], gated: bool) -> None:
        super().__init__(ca_file)
        self.task, self._gated = threading.local(), gated

    def send(self, method: str, endpoint: c.Endpoint, path: str, headers: Dict[str, str], body: bytes, **clocks: Any) -> Any:
        if "Idempotency-Key" in headers:
            digest = hashlib.sha256(f"{self.task.salt} {path} ".encode() + body)
            headers = {**headers, "Idempotency-Key": digest.hexdigest()[:32]}
        response = super().send(method, endpoint, path, headers, body, **clocks)
        if self._gated and (response.status in (429, 529) or (response.status == 503 and "retry-after" in response.headers)):
            response.headers["x-should-retry"] = "false"
        return response


class Job:
    """Threads that work off tasks, and the queue of what they finished.

    for done in job.results(): a list of Done, empty at a tick. After it: interrupted (a signal came), error (why the job
    stopped before its tasks were through, or None).
    """

    def __init__(self, client: c.LLMRouterClient, tasks: Iterator[Task], args: Namespace) -> None:
        self.client, self.stream = client, bool(args.stream)
        self.fallback = c.model_names(args.fallback)
        self.transport = client.transport = BatchTransport(args.ca_file, not self.fallback)
        self.concurrency = CONCURRENCY if args.concurrency is None else args.concurrency
        self.gate = Gate(self.concurrency, PATIENCE_S if args.patience is None else args.patience)
        self.interrupted = False
        self.error: Optional[c.LLMRouterError] = None
        self._tasks, self._taking = tasks, threading.Lock()
        self._finished: queue.SimpleQueue[Any] = queue.SimpleQueue()  # Done, an exception, or None from a thread that ends
        self._room = threading.Semaphore(2 * self.concurrency)  # sent and not yet written: a slow disk slows the sending down

    def stop(self, error: Optional[c.LLMRouterError]) -> None:
        """Send nothing more; requests in progress come to their end. The first reason counts."""
        self.error = self.error or error
        self.gate.stop()

    def results(self) -> Iterator[List[Done]]:
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self.concurrency)]
        before = self._catch_signals()
        try:
            for thread in threads:
                thread.start()
            running, broken = len(threads), None
            while running and not self.interrupted:
                items = self._drain()
                running -= items.count(None)
                finished = [item for item in items if isinstance(item, Done)]
                yield finished
                if finished:
                    self._room.release(len(finished))  # only now: what they tell may have stopped the job
                broken = next((item for item in items if isinstance(item, BaseException)), broken)
            yield [item for item in self._drain(0.0) if isinstance(item, Done)]
            if broken is not None:
                raise broken  # only now: what the others had finished is kept
        finally:
            self.gate.stop()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _catch_signals(self) -> Dict[int, Any]:
        """Ctrl-C and SIGTERM end the batch between two writes, never inside of one."""

        def interrupt(*_: object) -> None:
            self.interrupted = True
            self._finished.put("interrupted")  # reentrant, unlike the put() of other queues

        try:
            return {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:
            return {}  # not the main thread: signals are its caller's

    def _drain(self, wait_s: float = TICK_S) -> List[Any]:
        """All that is finished; waits for a first one."""
        items: List[Any] = []
        try:
            items.append(self._finished.get(timeout=wait_s) if wait_s else self._finished.get_nowait())
            while len(items) < 1000:
                items.append(self._finished.get_nowait())
        except queue.Empty:
            pass
        return items

    def _work(self) -> None:
        try:
            while not self.gate.stopped:
                with self._taking:
                    task = next(self._tasks, None)
                if task is None:
                    break
                self._room.acquire()
                done = self._ask(task)
                if done is None:
                    break
                self._finished.put(done)
        except BaseException as error:
            self.stop(None)
            self._finished.put(error)
        finally:
            self._finished.put(None)

    def _ask(self, task: Task) -> Optional[Done]:
        """Ask until there is an answer or an error that is not a limit; None when the batch stops before that."""
        while self.gate.enter():
            asked_at, done = time.monotonic(), Done(task, None, None)
            self.transport.task.salt = task.salt
            try:
                done = Done(task, self._call(task.request), None)
            except c.LLMRouterError as error:
                done = Done(task, None, error)
                told_s = error.retry_after_s
                if error.code in LIMITED or (error.status == 503 and told_s is not None):
                    if not self.gate.limited(asked_at, told_s):  # before leave(), which lets the next one in
                        error.next_step = "Start the same command again later: it continues where it stopped."
                        self.stop(error)
                    continue
            finally:
                self.gate.leave(done.answer is not None)
            return done
        return None

    def _call(self, request: JSON) -> c.Answer:
        answer = self.client.chat(**request, fallback=self.fallback, stream=self.stream)
        return answer.answer() if self.stream else answer  # type: ignore[no-any-return]


# ----------------------------------------------------------------------------------------------------------- progress


def span(seconds: float) -> str:
    """span(75) -> "1:15"; span(3700) -> "1:01:40"."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


class Tally:
    """What this run has done so far, and the line that shows it on a terminal."""

    def __init__(self, total: int, before: int, console: c.Console) -> None:
        self.total, self.before, self.console = total, before, console
        self.answered = self.failed = self.tokens = 0
        self.cost: Optional[float] = None  # unknown until an endpoint tells
        self.codes: Dict[str, int] = {}
        self.started = time.monotonic()
        self._marks: List[Tuple[float, int]] = [(self.started, 0)]  # (when, how many were done), the last minute
        self._drawn_at, self._drawn = 0.0, 0
        self._terminal = sys.stderr is not None and sys.stderr.isatty()

    def count(self, done: Done) -> None:
        answer = done.answer if done.error is None else done.error.response
        if done.error is not None:
            self.failed += 1
            self.codes[done.error.code] = self.codes.get(done.error.code, 0) + 1
        else:
            self.answered += 1
        if answer is not None and isinstance(answer.cost, (int, float)):
            self.cost = (self.cost or 0.0) + answer.cost
        if answer is not None and isinstance(answer.tokens, int):
            self.tokens += answer.tokens

    def line(self, now: float, gate: Gate) -> str:
        """12/100, 1 failed, 3.4/s, $0.0120 (about $0.1000 in all), 0:26 left, 8 at once"""
        done = self.answered + self.failed
        while len(self._marks) > 2 and now - self._marks[0][0] > RATE_WINDOW_S:
            self._marks.pop(0)
        self._marks.append((now, done))
        rate = (done - self._marks[0][1]) / max(now - self._marks[0][0], 1e-9)
        left = self.total - self.before - done
        parts = [f"{self.before + done}/{self.total}", *([f"{self.failed} failed"] if self.failed else []), f"{rate:.1f}/s"]
        if self.cost is not None:
            whole = self.cost * (done + left) / max(done, 1)
            parts.append(f"${self.cost:.4f} (about ${whole:.4f} in all)")
        parts += [f"{span(left / rate)} left"] if rate else []
        waiting = gate.closed_s()
        parts.append(f"limited: waiting {span(waiting)}" if waiting else f"{gate.underway} at once")
        return ", ".join(parts)

    def show(self, gate: Gate) -> None:
        """Draw the line, where stderr is a terminal, at most every TICK_S."""
        now = time.monotonic()
        if self._terminal and now - self._drawn_at >= TICK_S:
            text = self.line(now, gate)
            self._draw("\r" + text.ljust(self._drawn))  # no control sequence: older consoles of Windows show it
            self._drawn_at, self._drawn = now, max(self._drawn, len(text))

    def clear(self) -> None:
        """Take the line away, so that notes stand alone."""
        if self._drawn:
            self._draw("\r" + " " * self._drawn + "\r")
            self._drawn, self._drawn_at = 0, 0.0

    @staticmethod
    def _draw(text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:
            pass  # the terminal is gone


# --------------------------------------------------------------------------------------------- settings of a command


def base_of(args: Namespace) -> JSON:
    """What the command line says for every line: chat()'s arguments, `messages` those before the line's, `model` or ""."""
    args.message = "the line's"
    request = c.request_of(args)
    return {**request, "messages": request["messages"][:-1], "model": request.get("model") or ""}


def check_numbers(args: Namespace) -> None:
    for name, most in (("concurrency", MAX_CONCURRENCY), ("repeat", 1000)):
        given = getattr(args, name)
        if given is not None and not 1 <= given <= most:
            raise c.UsageError(f"--{name} is a number from 1 to {most}")
    if args.patience is not None and not 0 <= args.patience < 1e7:
        raise c.UsageError("--patience is a number of seconds from 0 to less than 10,000,000")


def check_budget(client: c.LLMRouterClient, models: List[str], spent: float) -> None:
    """Under --max-cost: SafetyError for a model without a price, raised before any request; what the output cost counts."""
    if client.budget:
        for model in models:
            c.extra("pricing", "--max-cost").price_of(client, model)
        client.budget.spent = spent


def output_path(args: Namespace) -> str:
    """The resolved --output path; unlike the client's it may exist, when it holds answers of this command."""
    if not args.output:
        raise c.UsageError("no output named", next_step="Give --output FILE: answers are kept there as they come.")
    setattr(args, "force", True)  # noqa: B010
    return str(c.extra("output", "--output").check_output(args))


def open_input(args: Namespace, output: str = "") -> IO[bytes]:
    """The input, opened: a regular file inside the working directory or an --allow-path, and not the output."""
    if not args.input:
        raise c.UsageError("no input named", next_step="Give --input FILE with one JSON object a line.")
    real = os.path.realpath(args.input)
    c.check_inside(args.input, real, args.allow_path or ())
    try:
        if not stat.S_ISREG(os.stat(real).st_mode):  # before open(): opening a named pipe would wait for its writer
            kind = "a directory" if os.path.isdir(real) else "not a regular file; it is read twice"
            raise c.SafetyError(f"{args.input} is {kind}")
        if output and os.path.exists(output) and os.path.samefile(real, output):
            raise c.UsageError("--input and --output are the same file")
        return open(real, "rb")
    except OSError as error:
        step = f"Check the path; a relative one starts in {os.getcwd()}."
        raise c.UsageError(f"cannot read {args.input}: {error.strerror or error}", next_step=step) from None


# ---------------------------------------------------------------------------------------------------------------- run


class Survey:
    """The input read once before anything is sent: which lines are good, bad, changed, and still to be sent.

    wanted has a byte for each physical line: 1 where it is to be sent. bad: (number, why), the first MAX_TOLD; changed:
    numbers of lines whose id was answered for another request.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.total = self.bad_count = self.answered = self.failed = 0
        self.bad: List[Tuple[int, str]] = []
        self.changed: List[int] = []
        self.wanted = bytearray(1)
        self.first: Optional[Line] = None  # the first to be sent

    def read(self, file: IO[bytes], base: JSON, retry_failed: bool) -> None:
        for number, raw in numbered(file):
            self.wanted.extend(bytes(number + 1 - len(self.wanted)))
            try:
                line = line_of(number, raw, base)
                self._place(line, retry_failed)
            except c.LLMRouterError as error:
                self.bad_count += 1
                if len(self.bad) < MAX_TOLD:
                    self.bad.append((number, error.message))

    def _place(self, line: Line, retry_failed: bool) -> None:
        ledger, row = self.ledger, self.ledger.row(line.key)
        if ledger.lines[row]:
            raise c.UsageError(f"has the id {str(line.id)[:60]!r} of line {ledger.lines[row]}")
        ledger.lines[row] = line.number
        self.total += 1
        state, changed = ledger.states[row], ledger.digests[row] != line.digest
        ledger.digests[row] = line.digest
        if state == ANSWERED and changed:
            self.changed.append(line.number)
        elif state == ANSWERED:
            self.answered += 1
        elif state == FAILED and not changed and not retry_failed:
            self.failed += 1
        else:  # a failed line that was corrected is sent again in any case
            self.wanted[line.number] = 1
            self.first = self.first or line

    def left(self) -> int:
        return self.wanted.count(1)


def changed_error(numbers: List[int], path: str) -> c.UsageError:
    listed = ", ".join(map(str, numbers[:MAX_TOLD])) + (", ..." if len(numbers) > MAX_TOLD else "")
    step = "Give changed lines new ids, or name another --output. Nothing was sent."
    return c.UsageError(f"{path} holds answers to other questions under the ids of lines {listed}", next_step=step)


def tasks_of(file: IO[bytes], base: JSON, survey: Survey, run: str) -> Iterator[Task]:
    """The lines to be sent, read as they are needed. UsageError when the file was changed since the survey."""
    ledger, begun = survey.ledger, os.fstat(file.fileno())
    file.seek(0)
    for number, raw in numbered(file):
        now = os.fstat(file.fileno())
        if (now.st_size, now.st_mtime_ns) != (begun.st_size, begun.st_mtime_ns):
            raise c.UsageError("the input was changed while it was read", next_step="Start again: finished lines are kept.")
        if number < len(survey.wanted) and survey.wanted[number]:
            line = line_of(number, raw, base)
            row = ledger.row(line.key)
            tries = ledger.tries[row]
            salt = f"{run} {line.key:x} {tries}"
            yield Task(number, line.id, row, line.request, line.metadata, tries + 1, salt)


def hidden(value: Any, hide: Callable[[str], str]) -> Any:
    """A JSON value with the key taken out of its texts: not out of its names or its JSON, which a short key may look like."""
    if isinstance(value, dict):
        return {name: hidden(each, hide) for name, each in value.items()}
    if isinstance(value, list):
        return [hidden(each, hide) for each in value]
    return hide(value) if isinstance(value, str) else value


class Run:
    """One `run`: its parts, and what they have come to."""

    def __init__(self, args: Namespace, console: c.Console, client: c.LLMRouterClient, output: Output, survey: Survey) -> None:
        self.args, self.console, self.client, self.output, self.survey = args, console, client, output, survey
        self.tally = Tally(survey.total, survey.answered + survey.failed, console)
        self.first_failure: Optional[c.LLMRouterError] = None
        self._outages = 0

    def work(self, job: Job) -> None:
        """Write what the job finishes, until it ends. OSError: the output cannot be written."""
        try:
            for finished in job.results():
                if finished:
                    self._write(finished, job)
                self.output.sync(SYNC_S)
                self.tally.show(job.gate)
            self.output.sync()
        finally:
            self.tally.clear()

    def _write(self, finished: List[Done], job: Job) -> None:
        rows = []
        for each in finished:
            code = each.error.code if each.error else ""
            if code == "over_budget" or (code in STOPPING and not self.args.keep_going):
                job.stop(each.error)  # the line stays open: it is sent when key, credit and budget are right
                continue
            record, done = self._record(each)
            rows.append((done.task.row, FAILED if done.error else ANSWERED, done.task.tries, c.dump_json(record).encode()))
            self._judge(done, job)
        try:
            self.output.append(rows)
        except OSError:
            job.gate.stop()
            self.tally.clear()
            self.console.out(b"".join(row[3] for row in rows))  # they were paid for
            raise

    def _record(self, done: Done) -> Tuple[JSON, Done]:
        """One line of the output, the client's envelope with the line's own fields; and `done` as --strict sees it."""
        task, answer, error = done
        if error is None and self.args.strict and answer is not None and answer.finish_reason == "length":
            error = c.IncompleteError("the answer was cut at the token limit", code="length")
            error.attempts, error.warnings, error.response = answer.attempts, answer.warnings, answer
        digest = self.survey.ledger.digests[task.row]
        own = {"id": task.id, "line": task.number, "request": f"{digest:016x}", "run": self.output.run, "tries": task.tries}
        own.update({"metadata": task.metadata} if task.metadata is not None else {})
        found = c.envelope(error.response if error else answer, error, task.request["model"])
        return {**own, **hidden(found, self.client.hide)}, Done(task, answer, error)

    def _judge(self, done: Done, job: Job) -> None:
        self.tally.count(done)
        error = done.error
        self._outages = self._outages + 1 if error and error.code in OUTAGES else 0
        if error is None:
            return
        self.first_failure = self.first_failure or error
        if self.args.verbose:
            self.tally.clear()
            self.console.note(f"line {done.task.number} ({str(done.task.id)[:60]}): {error} [{error.code}]")
        if self._outages >= OUTAGES_IN_A_ROW and not self.args.keep_going:
            error.next_step = f"{error.next_step} Then start again with --retry-failed; --keep-going does not stop here."
            job.stop(error)

    def summary(self, error: Optional[JSON]) -> JSON:
        """The object of --json: the state of the whole output, and what this run did and cost."""
        survey, tally = self.survey, self.tally
        answered, failed = survey.answered + tally.answered, survey.failed + tally.failed
        return {
            "ok": error is None and not failed and not survey.bad_count, "output": self.output.path, "total": survey.total,
            "answered": answered, "failed": failed, "bad_lines": survey.bad_count, "left": survey.total - answered - failed,
            "asked": tally.answered + tally.failed, "failures": tally.codes, "tokens": tally.tokens, "cost": tally.cost,
            "seconds": round(time.monotonic() - tally.started, 3), "error": error,
        }  # fmt: skip

    def report(self, error: Optional[JSON]) -> JSON:
        """Print the summary."""
        result = self.summary(error)
        if self.args.json:
            self.console.result(result)
        else:
            names = ("answered", "failed", "bad_lines", "left")
            counts = ", ".join(f"{result[name]} {name.replace('_', ' ')}" for name in names)
            cost = "" if result["cost"] is None else f", cost ${result['cost']:.6f}"
            self.console.out(f"{self.output.path}: {counts} of {result['total']}{cost}\n")
        return result


def told_bad(survey: Survey, path: str) -> List[str]:
    """A note for each bad line, and one for those over MAX_TOLD."""
    more = survey.bad_count - len(survey.bad)
    notes = [f"{path}: line {number} {why}" for number, why in survey.bad]
    return notes + ([f"{path}: and {more} more bad lines"] if more else [])


def finish_run(run: Run, job: Job, args: Namespace, console: c.Console) -> int:
    """The end of a run that could write: order, summary, exit code."""
    if job.interrupted:
        error: Optional[c.LLMRouterError] = c.LLMRouterError("interrupted", next_step="Run it again: it continues from here.")
    else:
        error = job.error
        run.output.settle(bool(args.ordered))
    result = run.report(error.to_dict() if error else None)
    for name, count in result["failures"].items():
        console.note(f"{count} failed with {name}; next: {c.ERRORS[name][1]}")
    if result["failed"]:
        console.note("failed lines carry their error; send them again with --retry-failed")
    if result["bad_lines"]:
        console.note(f"bad lines that were not sent: {result['bad_lines']}; correct them and start again")
    if error is not None:
        console.note(f"error: {error} [{error.code}]")
        console.note(f"next: {error.next_step}")
        return error.exit_code
    if result["failed"]:
        only = run.first_failure.exit_code if run.first_failure else 10
        return only if not result["answered"] else 10
    return 2 if result["bad_lines"] else 0


def show_plan(run: Run) -> int:
    """What a run would do, and its first request with the key masked; nothing is sent or written."""
    survey = run.survey
    plan = {name: value for name, value in run.summary(None).items() if name in ("output", "total", "answered", "failed")}
    first = run.client.preview(**survey.first.request, stream=bool(run.args.stream)) if survey.first else None
    run.console.out(c.dump_json({**plan, "bad_lines": survey.bad_count, "to_ask": survey.left(), "first": first}, indent=2))
    return 2 if survey.bad_count else 0


def prepared(args: Namespace, console: c.Console, client: c.LLMRouterClient, file: IO[bytes], base: JSON, path: str) -> Run:
    """Output and input read: what is to be done. Every problem with them is reported here, before anything is sent."""
    output = Output(path, Ledger(), repair=not args.dry_run)
    console.closers.append(output.close)
    if output.torn:
        console.note(f"{path}: the last line was cut off ({output.torn} bytes); it is sent again")
    survey = Survey(output.ledger)
    survey.read(file, base, bool(args.retry_failed))
    for text in told_bad(survey, args.input):
        console.note(text)
    if survey.changed:
        raise changed_error(survey.changed, path)
    return Run(args, console, client, output, survey)


def run_run(args: Namespace, console: c.Console) -> int:
    check_numbers(args)
    base, path = base_of(args), output_path(args)
    client = c.open_client(args, console)
    with open_input(args, path) as file:
        if not args.dry_run:
            client.key()  # a missing key is reported before the output is created
        try:
            run = prepared(args, console, client, file, base, path)
            if args.dry_run:
                return show_plan(run)
            job = Job(client, tasks_of(file, base, run.survey, run.output.run), args)
            check_budget(client, [base["model"]] * bool(base["model"]) + job.fallback, run.output.spent)
            run.work(job)
            return finish_run(run, job, args, console)
        except BrokenPipeError:
            raise
        except OSError as error:
            console.note(f"error: {path} could not be written: {error.strerror or error}; what was written before is kept")
            console.note("next: Make room, then start the same command again: it continues where it stopped.")
            return 1


# ----------------------------------------------------------------------------------------------------------- evaluate


def quantile(values: Sequence[float], share: float) -> Optional[float]:
    """The smallest value that `share` of all do not exceed (nearest rank); quantile([1, 2, 3], 0.5) -> 2; None for none."""
    from math import ceil

    ranked = sorted(values)
    return round(ranked[max(0, ceil(share * len(ranked)) - 1)], 3) if ranked else None


def mean(values: Sequence[float], digits: int) -> Optional[float]:
    return round(sum(values) / len(values), digits) if values else None


class Figures:
    """What one model's answers add up to."""

    def __init__(self, model: str) -> None:
        self.model, self.asked = model, 0
        self.latencies, self.firsts, self.costs = array("d"), array("d"), array("d")
        self.tokens, self.answer_tokens = array("d"), array("d")
        self.codes: Dict[str, int] = {}
        self.estimated = False  # some of the cost, by our prices

    def take(self, done: Done) -> None:
        self.asked += 1
        answer = done.answer
        if answer is None:
            code = done.error.code if done.error else ""
            self.codes[code] = self.codes.get(code, 0) + 1
            return
        self.latencies.append(answer.latency_s)
        self.estimated = self.estimated or answer.cost_source == "estimated"
        given = answer.usage.get("completion_tokens", answer.usage.get("output_tokens"))
        columns = (self.firsts, self.tokens, self.answer_tokens, self.costs)
        for column, value in zip(columns, (answer.first_s, answer.tokens, given, answer.cost)):
            if isinstance(value, (int, float)):
                column.append(value)

    def row(self) -> JSON:
        """The figures by name; None where nothing is known."""
        answered = len(self.latencies)
        return {
            "model": self.model, "asked": self.asked, "answered": answered,
            "success_rate": round(answered / self.asked, 4) if self.asked else None,
            "latency_median_s": quantile(self.latencies, 0.5), "latency_p95_s": quantile(self.latencies, 0.95),
            "first_median_s": quantile(self.firsts, 0.5), "first_p95_s": quantile(self.firsts, 0.95),
            "tokens": mean(self.tokens, 1), "answer_tokens": mean(self.answer_tokens, 1),
            "cost_per_answer": mean(self.costs, 8), "cost": round(sum(self.costs), 8) if self.costs else None,
            "cost_estimated": self.estimated, "failures": self.codes,
        }  # fmt: skip


def cell(value: Any) -> str:
    """A figure as a table shows it: cell(None) -> "", cell({"timeout": 2}) -> "timeout 2"."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {count}" for name, count in value.items())
    return "" if value is None else c.usd(value)


COLUMNS = (  # head of the table, field
    ("model", "model"), ("asked", "asked"), ("success", "success_rate"), ("median s", "latency_median_s"),
    ("p95 s", "latency_p95_s"), ("first s", "first_median_s"), ("tokens", "tokens"), ("USD/answer", "cost_per_answer"),
    ("failures", "failures"),
)  # fmt: skip


def as_markdown(rows: List[JSON]) -> str:
    lines = [[head for head, _ in COLUMNS], ["---", *["---:"] * (len(COLUMNS) - 2), "---"]]
    lines += [[cell(row[name]) for _, name in COLUMNS] for row in rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def as_text(rows: List[JSON]) -> str:
    lines = [[head for head, _ in COLUMNS], *([cell(row[name]) or "-" for _, name in COLUMNS] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    aligned = [[lines_cell.ljust(w) if n in (0, len(COLUMNS) - 1) else lines_cell.rjust(w)
                for n, (lines_cell, w) in enumerate(zip(line, widths))] for line in lines]  # fmt: skip
    return "".join("  ".join(line).rstrip() + "\n" for line in aligned)


def as_csv(rows: List[JSON]) -> str:
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows[0])
    writer.writerows([cell(value) for value in row.values()] for row in rows)
    return text.getvalue()


def questions(file: IO[bytes], base: JSON, survey: Survey, models: List[str], repeat: int) -> Iterator[Task]:
    """Every line with every model, `repeat` times; models take turns, so that a slow minute hits all alike."""
    run = os.urandom(8).hex()
    for turn in range(repeat):
        for task in tasks_of(file, base, survey, f"{run} {turn}"):
            for number, model in enumerate(models):
                yield task._replace(row=number, request={**task.request, "model": model}, salt=f"{task.salt} {model}")


def show_figures(rows: List[JSON], args: Namespace, console: c.Console, ok: bool, error: Optional[JSON]) -> None:
    if args.json:
        console.result({"ok": ok, "results": rows, "error": error})
    else:
        console.out((as_csv if args.csv else as_markdown if args.markdown else as_text)(rows))


def measure(job: Job, figures: List[Figures], tally: Tally) -> Optional[c.LLMRouterError]:
    """Work the job off into figures; the first failure."""
    first: Optional[c.LLMRouterError] = None
    for finished in job.results():
        for done in finished:
            if done.error and done.error.code == "over_budget":
                job.stop(done.error)
                continue
            figures[done.task.row].take(done)
            tally.count(done)
            if done.error and done.error.code in STOPPING and not tally.answered:
                job.stop(done.error)
            first = first or done.error
        tally.show(job.gate)
    tally.clear()
    return first


def finish_evaluate(
    figures: List[Figures], job: Job, first: Optional[c.LLMRouterError], args: Namespace, console: c.Console, bad: int
) -> int:
    """Print the figures; exit 0 when every model answered at all."""
    error = c.LLMRouterError("interrupted") if job.interrupted else job.error
    silent = [each.model for each in figures if not len(each.latencies)]
    error = error or (first if silent else None)
    if error:
        error.next_step = console.advice(error.next_step)
    show_figures([each.row() for each in figures], args, console, error is None, error.to_dict() if error else None)
    if error is None:
        return 2 if bad else 0
    for text in ([f"no answer from {', '.join(silent)}"] if silent else []) + [f"error: {error} [{error.code}]"]:
        console.note(text)
    console.note(f"next: {error.next_step}")
    return error.exit_code


def run_evaluate(args: Namespace, console: c.Console) -> int:
    check_numbers(args)
    models = c.model_names(args.models)
    if not models or len(set(models)) < len(models) or len(models) > c.MAX_COMPARE_MODELS:
        raise c.UsageError(f"name 1 to {c.MAX_COMPARE_MODELS} models, each once", next_step="Name them with --models A,B.")
    if bool(args.json) + bool(args.csv) + bool(args.markdown) > 1:
        raise c.UsageError("--json, --csv and --markdown cannot be combined")
    args.model, args.stream = models[0], True
    base, repeat = base_of(args), 1 if args.repeat is None else args.repeat
    client = c.open_client(args, console)
    with open_input(args) as file:
        survey = Survey(Ledger())
        survey.read(file, base, False)
        for text in told_bad(survey, args.input):
            console.note(text)
        if survey.first is None:
            raise c.UsageError(f"{args.input} has no lines to send", next_step='Each line is like {"message": "Hello"}.')
        if args.dry_run:
            requests = [client.preview(**{**survey.first.request, "model": model}, stream=True) for model in models]
            console.out(c.dump_json({"questions": survey.total * len(models) * repeat, "first": requests}, indent=2))
            return 2 if survey.bad_count else 0
        client.key()
        check_budget(client, [*models, *c.model_names(args.fallback)], 0.0)
        figures = [Figures(model) for model in models]
        job = Job(client, questions(file, base, survey, models, repeat), args)
        first = measure(job, figures, Tally(survey.total * len(models) * repeat, 0, console))
    return finish_evaluate(figures, job, first, args, console, survey.bad_count)


# ------------------------------------------------------------------------------------------------------- command line


def add_pace(parser: c.Parser) -> None:
    parser.add_argument("--concurrency", metavar="N", type=int, help="parallel requests (8); fewer after rate limits")
    parser.add_argument("--patience", metavar="X", type=float, help="longest wait without an answer (3600 s)")


def add_run(parser: c.Parser) -> None:
    parser.add_argument("--input", metavar="FILE", action=c.Once, help="JSON Lines: a message, messages or body each")
    parser.add_argument("--output", metavar="FILE", action=c.Once, help="answers, one a line; an existing file is continued")
    parser.add_argument("--ordered", action="store_true", help="sort answers by input order at the end")
    parser.add_argument("--retry-failed", action="store_true", help="send failed lines again")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at a refused key, no credit, an outage")
    parser.add_argument("--strict", action="store_true", help="count an answer cut at the token limit as failed")
    parser.add_argument("--stream", action="store_true", help="request streams, to notice stalls sooner")
    parser.add_argument("--json", action="store_true", help="print the outcome as one JSON object")
    parser.add_argument("-v", "--verbose", action="store_true", help="report each failed line at once")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and the first request; send nothing")
    add_pace(parser)
    parser.take("model", "context", "API parameters", "calls", "endpoint", but=["--task", "--prefer"])
    parser.set_defaults(**dict.fromkeys(FROM_LINES), repeat=None)


def add_evaluate(parser: c.Parser) -> None:
    parser.add_argument("--input", metavar="FILE", action=c.Once, help="JSON Lines: a message, messages or body each")
    parser.add_argument("--models", metavar="A,B", help="at most 8, each once")
    parser.add_argument("--repeat", metavar="N", type=int, help="send every line N times (1)")
    parser.add_argument("--json", action="store_true", help="figures as one JSON object")
    parser.add_argument("--csv", action="store_true", help="figures as CSV")
    parser.add_argument("--markdown", action="store_true", help="figures as a table")
    parser.add_argument("--dry-run", action="store_true", help="print the number of requests and the first; send nothing")
    add_pace(parser)
    parser.take("context", "API parameters", "calls", "endpoint", but=["--cache"])
    parser.set_defaults(**dict.fromkeys(FROM_LINES), fallback=None, keep_going=False, strict=False, verbose=False)


# name -> (what it does, its options, what runs it, two examples)
COMMANDS: Dict[str, Tuple[str, Callable[[c.Parser], None], Callable[[Namespace, c.Console], int], Tuple[str, str]]] = {
    "run": ("send every line of a file to a model, resumable", add_run, run_run,
            ("--demo --input prompts.jsonl --output answers.jsonl",
             "-m gpt-5.4 --input prompts.jsonl --output answers.jsonl --retry-failed")),
    "evaluate": ("measure models on the lines of a file", add_evaluate, run_evaluate,
                 ("--demo --models demo,demo-reasoning --input prompts.jsonl --repeat 3",
                  "--models gpt-5.4,qwen-max --input prompts.jsonl --markdown")),
}  # fmt: skip


def endings(command: str = "") -> str:
    """Examples and exit codes for --help."""
    names = [command] if command else list(COMMANDS)
    typed = c.typed_name("llm_router_batch.py")
    examples = [f"  {typed} {name} {example}\n" for name in names for example in COMMANDS[name][3]]
    codes = "".join(f"  {code:<4} {EXIT_TEXTS.get(code, text)}\n" for code, text in c.EXIT_CODES.items())
    return f"examples:\n{''.join(examples)}\nexit codes:\n{codes}"


def parser_of(command: str) -> c.Parser:
    """The parser of one command; options that the client has, too, are the client's own."""
    parser = c.Parser(f"{c.typed_name('llm_router_batch.py')} {command}", COMMANDS[command][0], endings(command))
    parser.free = "--input"
    COMMANDS[command][1](parser)
    return parser


def help_text() -> str:
    rows = "".join(f"  {name:<9}{entry[0]}\n" for name, entry in COMMANDS.items())
    typed = c.typed_name("llm_router_batch.py")
    usage = f"usage: {typed} COMMAND [options]\n\nMany prompts at once, through one endpoint and one key."
    return f"{usage}\n\ncommands (each has --help):\n{rows}\n{endings()}"


def run(words: List[str], console: c.Console) -> int:
    """One command line: its words -> its exit code. Everything that goes wrong is raised."""
    command = words[0] if words else ""
    if command in ("--version", "-V"):
        console.out(f"llm-router-batch {c.VERSION}\n")
    elif command in ("--help", "-h", "help"):
        console.out(help_text())
    elif command not in COMMANDS:
        what = f"unknown command {command[:40]!r}" if command else "no command given"
        raise c.UsageError(what, next_step=f"{c.near(command, list(COMMANDS))}Commands: {', '.join(COMMANDS)}; see --help.")
    elif "--help" in words or "-h" in words:
        console.out(parser_of(command).format_help())
    else:
        c.stop_on_sigterm()
        parser = parser_of(command)
        args = parser.parse(words[1:])
        console.advice = parser.advice
        return COMMANDS[command][2](args, console)
    return 0


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command line: words -> exit code, as the client's."""
    return c.main(argv, run)


# -------------------------------------------------------------------------------------------------------------- guard

if __name__ == "__main__":
    sys.exit(main())
