"""A worker process: does the jobs of `large_jobs`, one after the other, until its input ends.

Request and answer are two lengths, a pickle, and bytes that are not pickled: the body, or what was made of it. Both ends are
one program and one pipe, so that nothing is read here that the gateway did not write.
"""

from __future__ import annotations

import gc
import os
import pickle  # nosec B403  # between a process and its child
import signal
import struct
import sys
from collections import OrderedDict
from contextlib import suppress
from typing import Any, BinaryIO

LENGTHS = struct.Struct("!QQ")  # of the pickle, of the bytes behind it
NICENESS = 10  # the gateway itself comes first
MAX_CACHED_BYTES = 67_108_864  # of the bodies that are kept read, as they came; read they take several times as much
JOBS_PER_COLLECTION = 200  # JSON has no circles: what is done with is gone at once, nearly always


def pack(value: object, data: bytes = b"") -> list[bytes]:
    """A message as the pieces that are sent one after the other."""
    head = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    return [LENGTHS.pack(len(head), len(data)) + head, data]


class Bodies:
    """The bodies that this worker has read, the latest last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, tuple[Any, int]] = OrderedDict()
        self._size = 0

    def add(self, key: int, data: bytes) -> None:
        from .large_jobs import Cached  # what it needs takes time, and is not needed by the gateway

        self._kept[key] = (Cached(data), len(data))
        self._size += len(data)
        while self._size > MAX_CACHED_BYTES and len(self._kept) > 1:
            self.drop(next(iter(self._kept)))

    def drop(self, key: int) -> None:
        _, size = self._kept.pop(key, (None, 0))
        self._size -= size

    def get(self, key: int) -> Any:
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]


def answer(bodies: Bodies, job: str, key: int, arguments: tuple[Any, ...]) -> list[bytes]:
    """("ok", value), ("missing",): send the body again, ("error", class, message, facts), or ("fault", where)."""
    from ..errors import GatewayError
    from . import large_answers, large_conversations, large_jobs
    from .faults import fault_location

    cached = bodies.get(key)
    if cached is None:
        return pack(("missing",))
    try:
        jobs = {**large_jobs.JOBS, **large_answers.JOBS, **large_conversations.JOBS}
        value, data = jobs[job](cached, *arguments)
        return pack(("ok", value), data)
    except GatewayError as error:
        facts = {"status": error.status, "code": error.code, "retry_after_s": error.retry_after_s, "details": error.details}
        return pack(("error", type(error), error.message, facts))
    except MemoryError:
        bodies.drop(key)
        return pack(("fault", "MemoryError"))
    except Exception as error:
        return pack(("fault", fault_location(error)))


def whole(source: BinaryIO, size: int) -> bytes:
    data = source.read(size)
    if len(data) < size:
        raise EOFError
    return data


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the gateway decides when it is over
    with suppress(AttributeError, OSError):
        os.nice(NICENESS)
    gc.disable()
    source, sink, bodies, jobs = sys.stdin.buffer, sys.stdout.buffer, Bodies(), 0
    with suppress(EOFError, BrokenPipeError):
        while True:
            head, size = LENGTHS.unpack(whole(source, LENGTHS.size))
            job, key, arguments, drops = pickle.loads(whole(source, head))  # nosec B301  # from the gateway itself
            for done in drops:
                bodies.drop(done)
            if size:
                bodies.add(key, whole(source, size))
            for piece in answer(bodies, job, key, arguments):
                sink.write(piece)
            sink.flush()
            jobs += 1
            if jobs % JOBS_PER_COLLECTION == 0:
                gc.collect()
