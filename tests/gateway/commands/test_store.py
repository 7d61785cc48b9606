"""store: backup and restore on the command line, beside a gateway that runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from quick import every
from running import Process, command, until
from storing import kept

CONFIG = '[[providers]]\nname = "up"\napi = "openai"\nbase_url = "{}/v1"\nany_model = true\n'


@pytest.mark.slow
def test_a_backup_beside_a_gateway_that_runs_and_its_restore(start: Callable[..., Process], mock_server: Any) -> None:
    gateway = start(CONFIG.format(mock_server.url))
    folder = gateway.folder
    assert gateway.chat("openai", "up/demo").status == 200
    until(lambda: len(kept(folder / "router.db")) == 1, "the row")
    made = command(folder, "keys", "create", "--name", "laptop", "--admin")
    assert made.returncode == 0
    done = command(folder, "store", "backup", "copy.db", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["calls"], told["keys"], told["file"]) == (0, 1, 1, "copy.db")
    refused = command(folder, "store", "restore", "copy.db")
    assert refused.returncode == 1 and b"stop it first" in refused.stderr
    assert command(folder, "keys", "delete", "laptop").returncode == 0
    assert gateway.end() == 0
    done = command(folder, "store", "restore", "copy.db", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 0 and Path(folder / told["kept_as"]).exists()
    assert b"laptop" in command(folder, "keys", "list").stdout


@pytest.mark.parametrize(
    "text, why",
    every(3, [
        ('store = "memory"', b"no store in a file"),
        ('store = "off"', b"no store in a file"),
        ('store = "postgresql://h/d"', b"pg_dump"),
        ("", b"there is no store router.db"),
    ]),
)  # fmt: skip
def test_what_has_no_file_says_so(tmp_path: Path, text: str, why: bytes) -> None:
    (tmp_path / "router.toml").write_text(f"[server]\n{text}\n")
    done = command(tmp_path, "store", "backup", "copy.db")
    assert (done.returncode, done.stdout) == (1, b"") and why in done.stderr


@pytest.mark.slow
def test_wrong_usage_and_a_wrong_configuration_are_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "router.toml").write_text("[server]\nport = 'x'\n")
    assert command(tmp_path, "store").returncode == 2
    assert command(tmp_path, "store", "backup", "copy.db").returncode == 2
