"""The client, extras, batch and mock server where POSIX is not there: all imports, and the usual calls work.

Simulated by tests/support/without_posix.py. Real Windows and macOS are in .github/workflows/ci.yml.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, List

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(
    ".".join(path.relative_to(ROOT / "scripts").with_suffix("").parts)
    for path in (ROOT / "scripts").rglob("*.py")
    if "llm_router_gateway" not in path.parts and path.name != "__init__.py"
)
PROGRAM = "import sys; import without_posix; without_posix.strip(); sys.path.insert(0, {scripts!r}); {rest}"


def run(folder: Path, env: Any, rest: str, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    program = PROGRAM.format(scripts=str(ROOT / "scripts"), rest=rest)
    env = {**env, "PYTHONPATH": str(ROOT / "tests" / "support")}
    argv: List[str] = [sys.executable, "-c", program, *words]
    return subprocess.run(argv, cwd=folder, env=env, input=stdin, capture_output=True, timeout=60)


def test_everything_is_imported(tmp_path: Path, cli: Any) -> None:
    assert len(MODULES) > 25
    rest = f"import importlib; [importlib.import_module(name) for name in {MODULES!r}]"
    done = run(tmp_path, cli.env, rest)
    assert (done.returncode, done.stderr) == (0, b"")


CLIENT = "import llm_router_client as c; sys.exit(c.main(sys.argv[1:]))"
BATCH = "import llm_router_batch as b; sys.exit(b.main(sys.argv[1:]))"
HELLO = ("--demo", "--message", "Hello")


@pytest.mark.slow
def test_the_usual_calls_work(tmp_path: Path, cli: Any) -> None:
    (tmp_path / "prompts.jsonl").write_text('{"message": "one"}\n{"message": "two"}\n')
    talk = ("chat", *HELLO, "--messages-file", "talk.json", "--append")
    calls = [
        (CLIENT, ("chat", *HELLO)), (CLIENT, ("chat", *HELLO, "--stream")), (CLIENT, ("chat", *HELLO, "--output", "a.txt")),
        (CLIENT, ("chat", *HELLO, "--output", "a.txt", "--force")), (CLIENT, talk), (CLIENT, talk),
        (CLIENT, ("chat", *HELLO, "--cache", "1h", "--usage-log")), (CLIENT, ("chat", *HELLO, "--continue")),
        (CLIENT, ("compare", "--demo", "--models", "a,b", "--message", "x")), (CLIENT, ("doctor", "--demo")),
        (CLIENT, ("models", "--demo")), (BATCH, ("run", "--demo", "--input", "prompts.jsonl", "--output", "answers.jsonl")),
    ]  # fmt: skip
    for program, words in calls:
        done = run(tmp_path, cli.env, program, *words)
        assert done.returncode == 0, (words, done)
    assert "Hello" in (tmp_path / "a.txt").read_text()
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 2
    assert len(json.loads((tmp_path / "talk.json").read_text())) == 4
    spoken = run(tmp_path, cli.env, CLIENT, "talk", "--demo", stdin=b"Hello\n")
    assert (spoken.returncode, b"Hello" in spoken.stdout) == (0, True), spoken


def test_a_file_gets_its_name_where_there_are_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """exFAT, some network drives and phones."""
    from llm_router_extras import files

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(files.os, "link", refuse)
    (tmp_path / "part").write_text("new")
    files.move_new(str(tmp_path / "part"), str(tmp_path / "name"))
    assert [path.name for path in tmp_path.iterdir()] == ["name"]
    (tmp_path / "part").write_text("newer")
    with pytest.raises(FileExistsError):
        files.move_new(str(tmp_path / "part"), str(tmp_path / "name"))
    assert (tmp_path / "name").read_text() == "new"
