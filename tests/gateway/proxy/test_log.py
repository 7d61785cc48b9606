"""log: lines collected, written together, one per request, nothing that breaks a line or a terminal."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from llm_router_gateway.proxy import log as log_module
from llm_router_gateway.proxy.log import Log
from llm_router_gateway.proxy.request import Record
from llm_router_gateway.wire import ir


def test_lines_have_a_stamp_and_a_level_and_wait_for_the_flush(tmp_path: Path) -> None:
    path = tmp_path / "r.log"
    log = Log("info", stream=-1, path=str(path), wall=lambda: 1_792_567_680.1239)
    log.info("hello")
    log.debug("not wanted")
    assert path.read_text() == ""
    log.flush()
    assert path.read_text() == "2026-10-21T07:28:00.123Z info  hello\n"
    log.close()


def test_an_error_is_written_at_once(tmp_path: Path) -> None:
    log = Log(stream=-1, path=str(tmp_path / "r.log"))
    log.error("x")
    assert (tmp_path / "r.log").read_text().endswith("error x\n")
    log.close()


@pytest.mark.parametrize("text", ["a\nb", "a\r\x1b[2Jb", "a\x9b\u202eb", "a\u2028b"])
def test_a_line_stays_one_line_and_commands_no_terminal(text: str, tmp_path: Path) -> None:
    log = Log(stream=-1, path=str(tmp_path / "r.log"))
    log.info(text)
    log.close()
    written = (tmp_path / "r.log").read_text()
    assert written.count("\n") == 1
    assert not log_module.UNSAFE.search(written.rstrip("\n"))


def test_the_file_is_turned_over_and_one_old_one_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "MAX_FILE_BYTES", 100)
    path = tmp_path / "r.log"
    log = Log(stream=-1, path=str(path))
    for index in range(10):
        log.info(f"{index} " + "x" * 60)
        log.flush()
    log.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["r.log", "r.log.1"]
    assert "8 xxx" in (tmp_path / "r.log.1").read_text() + path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_closed_stream_loses_lines_and_raises_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    log = Log(stream=writing)
    log.info("x")
    log.close()
    os.close(writing)


def test_a_pipe_that_is_not_read_does_not_stop_us() -> None:
    reading, writing = os.pipe()
    log = Log(stream=writing)
    for _ in range(200):
        log.info("x" * 1_000)
        log.flush()
    log.close()
    os.close(reading)
    os.close(writing)


# -- as JSON

AT = 1_792_567_680.1239


def record(**values: Any) -> Record:
    made = Record("id-1", "POST", "/v1/messages", "10.0.0.9", 1.0, "anthropic", "claude-x", "openai/gpt-x")
    made.status, made.seconds = 200, 0.8124
    for name, value in values.items():
        setattr(made, name, value)
    return made


def lines_of(path: Path, write: Any, **how: Any) -> list[str]:
    log = Log(stream=-1, path=str(path), wall=lambda: AT, **how)
    write(log)
    log.close()
    return path.read_text().splitlines()


def test_a_requests_line_of_text_is_the_records_own(tmp_path: Path) -> None:
    one = record(usage=ir.Usage(input=12, text=34), failed=["a/b 503"], attempts=2, lost=["top_k"])
    (line,) = lines_of(tmp_path / "r.log", lambda log: log.request(one, cost_usd=0.1))
    assert line == "2026-10-21T07:28:00.123Z info  " + one.line()
    assert "in=12 out=34" in line


def test_a_requests_line_of_json_has_what_is_known_and_nothing_empty(tmp_path: Path) -> None:
    one = record(usage=ir.Usage(input=12, text=34), first_output_s=0.32, stream=True)
    (line,) = lines_of(tmp_path / "r.log", lambda log: log.request(one, cost_usd=0.1, key_id=""), as_json=True)
    assert json.loads(line) == {
        "at": "2026-10-21T07:28:00.123Z", "level": "info", "event": "request", "request_id": "id-1", "method": "POST",
        "path": "/v1/messages", "status": 200, "duration_ms": 812.4, "first_output_ms": 320.0, "protocol": "anthropic",
        "stream": True, "asked": "claude-x", "served": "openai/gpt-x", "attempts": 0, "input_tokens": 12,
        "output_tokens": 34, "client": "10.0.0.9", "cost_usd": 0.1,
    }  # fmt: skip


def test_other_lines_are_json_too_and_keep_their_level(tmp_path: Path) -> None:
    lines = lines_of(tmp_path / "r.log", lambda log: (log.warn("a"), log.debug("b")), as_json=True)
    assert [json.loads(line) for line in lines] == [
        {"at": "2026-10-21T07:28:00.123Z", "level": "warn", "event": "note", "message": "a"}
    ]
    assert lines_of(tmp_path / "q.log", lambda log: log.request(record()), as_json=True, level="warn") == []


@pytest.mark.parametrize("text", ["a\nb", "a\r\x1b[2Jb", "a\x9b\x7f\u202eb", "a\u2028b", 'a"b\\', "\ud800", "caf\u00e9"])
def test_a_line_of_json_is_one_object_in_ascii_that_says_the_text_unchanged(text: str, tmp_path: Path) -> None:
    one = record(asked=text, message=text, error="x", lost=[text])
    (line,) = lines_of(tmp_path / "r.log", lambda log: log.request(one), as_json=True)
    assert line.isascii() and line.isprintable()
    found = json.loads(line)
    assert (found["asked"], found["message"], found["lost"]) == (text, text, [text])


def test_a_line_of_json_is_never_endless_and_always_json(tmp_path: Path) -> None:
    one = record(message="x" * 99_999, lost=["y" * 99_999] * 999, asked="z" * 99_999)
    (line,) = lines_of(tmp_path / "r.log", lambda log: log.request(one, cost_usd=float("inf"), x=float("nan")), as_json=True)
    assert len(line) < 100_000

    def refused(name: str) -> None:
        raise AssertionError(name)

    assert json.loads(line, parse_constant=refused)["cost_usd"] == "inf"


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_in_the_place_of_the_file_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, path = tmp_path / "theirs", tmp_path / "r.log"
    theirs.write_text("precious")
    path.symlink_to(theirs)
    with pytest.raises(OSError):
        Log(stream=-1, path=str(path))
    path.unlink()
    monkeypatch.setattr(log_module, "MAX_FILE_BYTES", 1)
    log = Log(stream=-1, path=str(path))
    (tmp_path / "r.log.1").symlink_to(theirs)
    log.error("turned over")
    log.close()
    assert theirs.read_text() == "precious" and "turned over" in (tmp_path / "r.log.1").read_text()


@pytest.mark.skipif(not Path("/dev/stdout").is_symlink(), reason="/dev/stdout is no link here")
def test_the_systems_own_links_are_followed_and_never_turned_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "MAX_FILE_BYTES", 0)
    log = Log(stream=-1, path="/dev/stdout")
    log.flush()
    log.write("error", "one line")
    log.close()
    assert Path("/dev/stdout").is_symlink()
