"""scripts/llm-router: the client's command line from compiled bytecode, from wherever it is linked to."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any, List

import pytest
from quick import every

import llm_router_client as c

LAUNCHER = Path(c.__file__).with_name("llm-router")
ANSWERED = b"This is the mock server, not a model. You said: Hello\n"
pytestmark = pytest.mark.skipif(os.name != "posix", reason="links, signals and the first line of a script as POSIX has them")


@pytest.fixture
def launcher(cli: Any) -> Any:
    """cli(...) through the launcher, which PATH's python3 runs."""
    interpreter = cli.cwd.parent / f"{cli.cwd.name}-bin"
    interpreter.mkdir()
    (interpreter / "python3").symlink_to(sys.executable)
    cli.env["PATH"] = f"{interpreter}{os.pathsep}{cli.env.get('PATH', '')}"
    cli.words = lambda *words: [str(LAUNCHER), *map(str, words)]
    return cli


def test_it_is_executable_and_short() -> None:
    assert LAUNCHER.stat().st_mode & stat.S_IXUSR
    assert len(LAUNCHER.read_text(encoding="utf-8").splitlines()) <= 12


@pytest.mark.parametrize(
    "how", every(2, ["by its path", "by a link elsewhere", "by a link to a link", "from PATH", "in isolated mode"])
)
def test_it_finds_the_client_from_everywhere(launcher: Any, how: str, tmp_path: Path) -> None:
    links = tmp_path / "links"
    links.mkdir()
    (links / "first").symlink_to(LAUNCHER)
    (links / "second").symlink_to("first")
    launcher.env["PATH"] = f"{links}{os.pathsep}{launcher.env['PATH']}"
    program = {
        "by its path": [str(LAUNCHER)],
        "by a link elsewhere": [str(links / "first")],
        "by a link to a link": [str(links / "second")],
        "from PATH": ["first"],
        "in isolated mode": [sys.executable, "-I", str(links / "second")],
    }[how]
    words: List[str] = [*program, "chat", "--demo", "--message", "Hello"]
    done = subprocess.run(words, capture_output=True, env=launcher.env, cwd="/", timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, ANSWERED, b"")


@pytest.mark.slow
@pytest.mark.parametrize("words, code", [
    (["--version"], 0), (["chat", "--help"], 0), (["shat"], 2), (["chat", "-m", "a", "--message", "Hello"], 3),
    (["chat", "--demo", "-m", "fail-402", "--message", "Hi"], 4), (["chat", "--demo", "-m", "fail-404", "--message", "Hi"], 5),
])  # fmt: skip
def test_output_and_exit_code_are_those_of_the_client(launcher: Any, words: List[str], code: int) -> None:
    ran = launcher(*words)
    command = [sys.executable, c.__file__, *words]
    script = subprocess.run(command, capture_output=True, env=launcher.env, cwd=launcher.cwd, timeout=30)
    assert (ran.code, script.returncode, ran.err) == (code, code, script.stderr)
    assert as_typed(ran.out) == as_typed(script.stdout)


def as_typed(out: bytes) -> List[bytes]:
    """The lines of an output but for the program's name, which is the one that was typed."""
    return [re.sub(rb"\S*llm-router\b|python3 \S*llm_router_client\.py", b"PROGRAM", line) for line in out.splitlines()]


def test_ctrl_c_is_130_and_the_text_so_far_is_there(launcher: Any, demo: Any) -> None:
    running = launcher.start("chat", "-m", "demo-slow-200", "--message", "Hello", "--stream", "--base-url", demo.base_url)
    out = os.read(running.stdout.fileno(), 65536)
    running.send_signal(signal.SIGINT)
    rest, err = running.communicate(timeout=20)
    assert running.returncode == 130 and (out + rest).startswith(b"This ") and b"Traceback" not in err


def test_a_closed_pipe_is_141(launcher: Any, demo: Any) -> None:
    words = ["chat", "-m", "demo-words-100000", "--message", "Hello", "--stream", "--base-url", demo.base_url]
    running = launcher.start(*words)
    os.read(running.stdout.fileno(), 65536)
    running.stdout.close()
    assert running.stderr.read() == b"" and running.wait(20) == 141
    running.stderr.close()


@pytest.mark.slow
@pytest.mark.parametrize("writable", [True, False])
def test_bytecode_is_kept_where_the_folder_can_hold_it(launcher: Any, tmp_path: Path, writable: bool) -> None:
    folder = tmp_path / "scripts"
    folder.mkdir()
    for path in (LAUNCHER, Path(c.__file__)):
        shutil.copy(path, folder)
    if not writable:
        (folder / "__pycache__").write_text("a file: Python can make no folder here, whoever runs it")
    env = {name: value for name, value in launcher.env.items() if name != "PYTHONPYCACHEPREFIX"}
    for _ in range(2):
        done = subprocess.run([folder / "llm-router", "--version"], capture_output=True, env=env, timeout=30)
        assert done.stdout == f"llm-router {c.VERSION}\n".encode() and done.returncode == 0
    assert [path.suffix for path in folder.glob("__pycache__/llm_router_client.*")] == ([".pyc"] if writable else [])
