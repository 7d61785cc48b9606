"""The gateway where POSIX is not there: it is imported, serves, reloads and stops; what it cannot do there it says.

Simulated by tests/support/without_posix.py. Real Windows and macOS are in .github/workflows/ci.yml.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import GATEWAY, Process, environment, until

from llm_router_gateway.proxy import log as log_module
from llm_router_gateway.proxy.log import Log

SCRIPTS, SUPPORT = GATEWAY.parent, Path(__file__).parents[2] / "support"
MODULES = sorted(
    ".".join(path.relative_to(SCRIPTS).with_suffix("").parts)
    for path in GATEWAY.rglob("*.py")
    if path.name not in ("__init__.py", "__main__.py")
)
BEFORE = f"import sys; sys.path[:0] = [{str(SCRIPTS)!r}, {str(SUPPORT)!r}]; import without_posix; without_posix.strip(); "
START = BEFORE + "from llm_router_gateway.__main__ import main; sys.exit(main())"


def run(folder: Path, program: str, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", program, *words]
    return subprocess.run(argv, cwd=folder, env=environment(folder, {}), capture_output=True, text=True, timeout=60)


@pytest.mark.slow
def test_everything_is_imported(tmp_path: Path) -> None:
    assert len(MODULES) > 150
    optional = "('redis', 'psycopg')"  # of the extra `cluster`, which may not be there
    program = f"""{BEFORE}
import importlib
for name in {MODULES!r}:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name.partition('.')[0] not in {optional}:
            raise
"""
    done = run(tmp_path, program)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_it_serves_reloads_and_stops(tmp_path: Path) -> None:
    (tmp_path / "gateway.py").write_text(START)
    config = "[server]\nlog_file = 'router.log'\n"
    provider = '[[providers]]\nname = "x"\napi = "openai"\nbase_url = "http://127.0.0.1:1"\n'
    gateway = Process(tmp_path, config + provider, gateway=tmp_path / "gateway.py")
    try:
        assert gateway.get("/health/ready").status == 200
        assert gateway.chat("openai", "x/m").status == 502
        gateway.write(config + provider + provider.replace('"x"', '"y"'))
        gateway.logged("reloaded: 2 providers")  # a changed file is seen without SIGHUP
        gateway.signal(signal.SIGTERM)
        assert gateway.ended() == 0
        assert "reloaded: 2 providers" in (tmp_path / "router.log").read_text()
        assert not gateway.faults(), gateway.log
    finally:
        gateway.end()


@pytest.mark.slow
def test_several_workers_are_refused_with_a_reason(tmp_path: Path) -> None:
    done = run(tmp_path, START, "--demo", "--workers", "2", "-p", "0")
    assert done.returncode == 2
    assert "workers: this system has no Unix sockets that processes can share; leave it at 1" in done.stderr


@pytest.mark.slow
def test_keys_and_backups_work(tmp_path: Path) -> None:
    (tmp_path / "router.toml").write_text('[[providers]]\nname = "ollama"\n')
    for words in (("keys", "create", "--name", "a"), ("keys", "list"), ("store", "backup", "copy.db"), ("--print-config",)):
        done = run(tmp_path, START, *words)
        assert done.returncode == 0, (words, done)


@pytest.mark.slow
def test_the_command_of_a_key_runs(tmp_path: Path) -> None:
    program = f"""{BEFORE}
import asyncio
from llm_router_gateway.config.key_command import KeyCommand
from llm_router_gateway.proxy.key_commands import CommandFailed, run_command
print(asyncio.run(run_command(KeyCommand((sys.executable, "-c", "print(1)")))))
try:
    asyncio.run(run_command(KeyCommand((sys.executable, "-c", "import time; time.sleep(600)"), timeout_s=0.05)))
except CommandFailed as failed:
    print(failed)
"""
    done = run(tmp_path, program)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout.startswith("b'1\\n'\n")
    assert "did not end within 0.05 s" in done.stdout


# -- what Windows does otherwise


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(log_module, "WINDOWS", True)
    yield


def test_log_lines_reach_a_stream_that_is_no_socket(windows: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(10038, "not a socket")

    monkeypatch.setattr(log_module.select, "select", refuse)
    reading, writing = os.pipe()
    log = Log(stream=writing)
    log.info("hello")
    log.close()
    os.close(writing)
    with os.fdopen(reading) as pipe:
        assert pipe.read().endswith(" info  hello\n")


def test_the_log_is_closed_before_it_is_renamed(windows: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "MAX_FILE_BYTES", 100)
    path, replace = tmp_path / "r.log", os.replace
    log = Log(stream=-1, path=str(path))

    def of_closed_files(old: str, new: str) -> None:
        assert log._file == -1, "an open file cannot be renamed there"
        replace(old, new)

    monkeypatch.setattr(log_module.os, "replace", of_closed_files)
    for index in range(4):
        log.info(f"{index} " + "x" * 60)
        log.flush()
    log.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["r.log", "r.log.1"]


def test_a_log_that_another_program_holds_open_grows_on(windows: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "in use")

    monkeypatch.setattr(log_module, "MAX_FILE_BYTES", 1)
    monkeypatch.setattr(log_module.os, "replace", refuse)
    log = Log(stream=-1, path=str(tmp_path / "r.log"))
    for word in ("one", "two"):
        log.info(word)
        log.flush()
    log.close()
    assert (tmp_path / "r.log").read_text().count("\n") == 2


def test_files_that_an_editor_of_windows_wrote_are_read(tmp_path: Path) -> None:
    from llm_router_gateway.config.sources import Source

    path = tmp_path / "router.toml"
    path.write_bytes(b'\xef\xbb\xbf[[providers]]\r\nname = "claude"\r\napi_key_file = "key"\r\n')
    (tmp_path / "key").write_bytes(b"\xef\xbb\xbfmade-up-key\r\n")
    config = Source(str(path), flags={}, env={}).load()
    assert [key.reveal() for key in config.providers[0].keys] == ["made-up-key"]


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_what_is_printed_into_a_file_is_utf_8_on_every_system(tmp_path: Path, encoding: str) -> None:
    """The code page of Windows lacks most of what a name may hold."""
    text = '[[providers]]\nname = "ollama"\n[[models]]\nname = "m"\nprovider = "ollama"\ndisplay_name = "\u6a21\u578b"\n'
    (tmp_path / "router.toml").write_text(text, "utf-8")
    argv = [sys.executable, str(GATEWAY), "--print-config"]
    env = environment(tmp_path, {"PYTHONIOENCODING": encoding})
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, timeout=60)
    assert done.returncode == 0, done
    assert 'display_name = "\u6a21\u578b"'.encode() in done.stdout
    assert b"\r" not in done.stdout


def test_an_overlay_is_written_without_other_line_ends(tmp_path: Path) -> None:
    from llm_router_gateway.config import sources

    sources.put(tmp_path / "overlay", json.dumps({"a": 1}, indent=1).encode())
    assert b"\r" not in (tmp_path / "overlay").read_bytes()


@pytest.mark.slow
def test_the_first_signal_of_a_system_without_handlers_in_its_loop_still_stops(tmp_path: Path) -> None:
    (tmp_path / "gateway.py").write_text(START)
    gateway = Process(tmp_path, "", "--demo", gateway=tmp_path / "gateway.py")
    until(lambda: gateway.get("/health/live").status == 200)
    assert gateway.end() == 0
