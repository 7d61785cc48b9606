"""The completion scripts in the shells that they are for: installed as the page says, and used by pressing Tab."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Dict, List

import pytest

from llm_router_extras import completion

LIMIT_S = 30.0  # reached only by a failure
MARK = "typed:"  # before what the program was called with
PROMPT = "ready%"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")]


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not shutil.which(shell), reason=f"{shell} is not on this machine")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A user's home with a program of the name that prints what it is called with, and files to complete."""
    program = tmp_path / "bin" / completion.PROGRAM
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nprintf "{MARK}"; printf "<%s>" "$@"; echo\n')
    program.chmod(0o755)
    for name in ("my question.txt", "docs/page.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def environment(home: Path) -> Dict[str, str]:
    path = f"{home / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    return {"PATH": path, "HOME": str(home), "ZDOTDIR": str(home), "TERM": "dumb", "PS1": PROMPT, "LC_ALL": "C"}


def pressed(home: Path, shell: List[str], *lines: str) -> List[str]:
    """What the program was called with, for each line with its Tabs; the shell is at its prompt before each."""
    import pty

    leader, follower = pty.openpty()
    process = subprocess.Popen(
        shell, stdin=follower, stdout=follower, stderr=follower, cwd=home, env=environment(home), start_new_session=True
    )
    os.close(follower)
    shown = ""

    def until(words: str, since: int = 0) -> None:
        nonlocal shown
        ends = time.monotonic() + LIMIT_S
        while words not in shown[since:]:
            assert time.monotonic() < ends and select.select([leader], [], [], LIMIT_S)[0], (words, shown)
            shown += os.read(leader, 65_536).decode("utf-8", "replace")

    found = []
    try:
        until(PROMPT)
        for line in lines:
            since = len(shown)
            os.write(leader, f"{completion.PROGRAM} {line}\n".encode())
            until(MARK, since)
            until("\n", shown.index(MARK, since))
            found.append(shown[shown.index(MARK, since) + len(MARK) :].splitlines()[0].strip())
            until(PROMPT, shown.index(MARK, since))
    finally:
        process.kill()
        process.wait()
        os.close(leader)
    return found


TYPED = {  # with its Tabs -> what the program gets
    "cha\t--body\tmy\t": "<chat><--body-file><my question.txt>",
    "skill inst\t--ag\tcod\t": "<skill><install><--agent><codex>",
    "help tal\t": "<help><talk>",
    "chat models --dry\t": "<chat><models><--dry-run>",
}


@needs("bash")
def test_bash_completes_what_is_typed(home: Path) -> None:
    (home / "rc").write_text(f"bind 'set enable-bracketed-paste off'\nPS1='{PROMPT}'\n{completion.bash()}")
    lines = {**TYPED, "docs\t": "<docs>", "chat --body-file=my\t": "<chat><--body-file=my question.txt>"}
    assert pressed(home, ["bash", "--noprofile", "--rcfile", str(home / "rc"), "-i"], *lines) == list(lines.values())


@needs("zsh")
def test_zsh_completes_what_is_typed(home: Path) -> None:
    (home / "functions").mkdir()
    (home / "functions" / f"_{completion.PROGRAM}").write_text(completion.zsh())
    rc = f"fpath=({home}/functions $fpath)\nunsetopt prompt_cr zle_bracketed_paste\nPS1='{PROMPT}%'\nPROMPT_EOL_MARK=\n"
    (home / ".zshrc").write_text(f"{rc}autoload -U compinit && compinit -u -D\n")
    lines = {**TYPED, "docs\t": "<docs>"}
    assert pressed(home, ["zsh", "-d", "-i"], *lines) == list(lines.values())


@needs("fish")
def test_fish_completes_what_is_typed(home: Path) -> None:
    folder = home / ".config" / "fish" / "completions"
    folder.mkdir(parents=True)
    (folder / f"{completion.PROGRAM}.fish").write_text(completion.fish())

    def offered(line: str) -> List[str]:
        words = ["fish", "-c", f"complete -C {completion.quote(f'{completion.PROGRAM} {line}')}"]
        done = subprocess.run(words, cwd=home, env=environment(home), capture_output=True, text=True, timeout=LIMIT_S)
        assert done.returncode == 0 and not done.stderr, done
        return sorted(row.partition("\t")[0] for row in done.stdout.splitlines())

    assert offered("cha") == ["chat"] and offered("help tal") == ["talk"] and offered("doct") == ["doctor"]
    assert offered("skill ") == ["check", "export", "install"] and offered("skill install --agent co") == ["codex"]
    assert offered("chat --message-f") == ["--message-file"] and offered("chat --message-file my") == ["my question.txt"]
    assert offered("chat models --dry") == ["--dry-run"] and offered("chat models --off") == []
