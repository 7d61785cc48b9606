"""The output file is the batch's memory: torn ends, foreign files, order, one writer."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any, Iterator, List

import pytest

import llm_router_batch as b
import llm_router_client as c


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Any]:
    """opened() -> an Output on tmp_path/out.jsonl; all are closed with the test."""
    made: List[b.Output] = []

    def start(repair: bool = True) -> b.Output:
        made.append(b.Output(str(tmp_path / "out.jsonl"), b.Ledger(), repair))
        return made[-1]

    yield start
    for output in made:
        output.close()


def record(name: Any, ok: bool = True, tries: int = 1, text: str = "caf\u00e9") -> bytes:
    value = {"id": name, "line": 1, "request": "00ff", "run": "r", "tries": tries, "ok": ok, "text": text}
    return c.dump_json(value).encode()


def add(output: b.Output, *names: Any, ok: bool = True) -> None:
    rows = [(output.ledger.row(b.hashed(name)), b.ANSWERED if ok else b.FAILED, 1, record(name, ok)) for name in names]
    output.append(rows)


def ids(path: Path) -> List[Any]:
    return [json.loads(line)["id"] for line in path.read_bytes().splitlines()]


def states(output: b.Output, *names: Any) -> List[int]:
    return [output.ledger.states[output.ledger.row(b.hashed(name))] for name in names]


def test_what_was_appended_is_known_after_opening_again(opened: Any) -> None:
    first = opened()
    add(first, "a", 2)
    add(first, "c", ok=False)
    first.close()
    again = opened()
    assert states(again, "a", 2, "c", "d") == [b.ANSWERED, b.ANSWERED, b.FAILED, b.OPEN]
    assert (again.run, again.size, again.torn) == ("r", os.path.getsize(again.path), 0)


def test_a_new_output_is_its_owner_s_alone(opened: Any) -> None:
    assert os.name != "posix" or os.stat(opened().path).st_mode & 0o777 == 0o600


def test_cut_anywhere_the_whole_records_stay_and_the_torn_one_goes(opened: Any, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    whole, last = record("a") + record("b"), record("c")
    for cut in range(len(last) + 1):
        path.write_bytes(whole + last[:cut])
        output = opened()
        complete = cut >= len(last) - 1  # all but the line's end is a whole record
        assert path.read_bytes() == whole + (last if complete else b""), cut
        assert output.torn == (0 if complete else cut)
        add(output, "d")
        output.close()
        assert ids(path) == ["a", "b", *(["c"] if complete else []), "d"]


def test_a_hole_of_zeros_at_the_end_goes_too(opened: Any, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(record("a") + bytes(4096))
    assert opened().torn == 4096 and ids(path) == ["a"]


FOREIGN = [
    b"notes\n", b"notes", b"{}\n", b'{"id": 1}\n', b'{"id": 1, "ok": true}\n', record("a") + b"notes", record("a") + b"\n",
    record("a")[:-9] + b"\n" + record("b"), b"\0\0\0\n" + record("b"), b"[1]\n", b'{"a": 1',
]  # fmt: skip


@pytest.mark.parametrize("data", FOREIGN)
def test_a_file_of_another_program_is_refused_and_left_as_it_is(opened: Any, tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(data)
    with pytest.raises(c.UsageError, match="is not an answer of this command"):
        opened()
    assert path.read_bytes() == data


def test_looking_without_repair_changes_nothing(opened: Any, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    opened(repair=False)
    assert not path.exists()
    path.write_bytes(record("a") + record("b")[:9])
    output = opened(repair=False)
    assert output.torn == 9 and states(output, "a", "b") == [b.ANSWERED, b.OPEN]
    assert path.read_bytes() == record("a") + record("b")[:9]


def test_a_second_writer_is_refused_also_while_the_file_is_replaced(opened: Any) -> None:
    first = opened()
    with pytest.raises(c.SafetyError, match="being written by another process"):
        opened()
    add(first, "a", ok=False)
    add(first, "a")
    first.settle(False)
    with pytest.raises(c.SafetyError, match="being written by another process"):
        opened()
    first.close()
    assert states(opened(), "a") == [b.ANSWERED]


def test_a_link_a_directory_and_a_device_are_no_output(opened: Any, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        opened()
    assert not (tmp_path / "elsewhere").exists()
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(c.SafetyError, match="not a regular file"):
        opened()


def test_settling_takes_superseded_records_out_and_keeps_or_makes_the_order(opened: Any, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    output = opened()
    add(output, "c", "a", "gone")
    add(output, "b", ok=False)
    add(output, "b")
    output.settle(False)
    assert ids(path) == ["c", "a", "gone", "b"] and [json.loads(x)["ok"] for x in path.read_bytes().splitlines()] == [True] * 4
    output.close()
    output = opened()
    for number, name in enumerate("abc", 1):
        output.ledger.lines[output.ledger.row(b.hashed(name))] = number
    output.settle(True)
    assert ids(path) == ["a", "b", "c", "gone"]
    assert sorted(os.listdir(tmp_path)) == ["out.jsonl"]


def test_a_settling_that_fails_leaves_the_file_as_it_was(opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = opened()
    add(output, "a", ok=False)
    add(output, "a")
    before = (tmp_path / "out.jsonl").read_bytes()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError):
        output.settle(False)
    assert (tmp_path / "out.jsonl").read_bytes() == before and sorted(os.listdir(tmp_path)) == ["out.jsonl"]


def test_a_write_that_fails_half_way_leaves_only_whole_records(
    opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, write = opened(), os.write
    add(output, "a")
    room = [50]

    def nearly_full(file: int, data: Any) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write(file, bytes(data)[: room[0]])
        room[0] -= written
        return written

    monkeypatch.setattr(os, "write", nearly_full)
    with pytest.raises(OSError):
        add(output, "b", "c")
    assert ids(tmp_path / "out.jsonl") == ["a"] and states(output, "a", "b") == [b.ANSWERED, b.OPEN]
    room[0] = 10_000
    add(output, "b")
    assert ids(tmp_path / "out.jsonl") == ["a", "b"]


def test_an_output_that_was_removed_is_reported(opened: Any, tmp_path: Path) -> None:
    output = opened()
    add(output, "a")
    os.rename(tmp_path / "out.jsonl", tmp_path / "moved.jsonl")
    add(output, "b")
    with pytest.raises(c.SafetyError, match="was moved"):
        output.sync()
    assert ids(tmp_path / "moved.jsonl") == ["a", "b"]


@pytest.mark.slow
def test_the_ledger_needs_few_bytes_for_each_id() -> None:
    import tracemalloc

    tracemalloc.start()
    ledger = b.Ledger()
    for number in range(20_000):
        ledger.row(b.hashed(number))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used / 20_000 < 200
