"""log: lines collected, written together, one per request, nothing that breaks a line or a terminal."""

import os
from pathlib import Path

import pytest

from llm_router_gateway import log as log_module
from llm_router_gateway.log import Log


def test_lines_have_a_stamp_and_a_level_and_wait_for_the_flush(tmp_path: Path) -> None:
    path = tmp_path / "r.log"
    log = Log("info", stream=-1, path=str(path), wall=lambda: 1_792_567_680.1239)
    log.info("hello")
    log.debug("not wanted")
    assert path.read_text() == ""
    log.flush()
    assert path.read_text() == "2026-10-21T07:28:00.123Z info  hello\n"
    assert not log.wants("debug")
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


def test_a_pipe_that_nobody_reads_does_not_stop_us() -> None:
    reading, writing = os.pipe()
    log = Log(stream=writing)
    for _ in range(200):
        log.info("x" * 1_000)
        log.flush()
    log.close()
    os.close(reading)
    os.close(writing)
