"""The drivers of Redis and PostgreSQL: imported where they are configured and nowhere else, and what is said without them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import Process, command

pytestmark = pytest.mark.slow

PROVIDER = '[[providers]]\nname = "o"\napi = "openai"\nbase_url = "{url}/v1"\napi_key = "x"\nany_model = true\n'
STATE = '[state]\nurl = "redis://127.0.0.1:1/0"\n'
STORE = '[server]\nstore = "postgresql://u:pass-word@127.0.0.1:1/llm"\n'  # pragma: allowlist secret


def packages(folder: Path, text: str) -> str:
    """A folder in which both drivers are modules with this text."""
    for name in ("redis", "psycopg"):
        (folder / "packages" / name).mkdir(parents=True, exist_ok=True)
        (folder / "packages" / name / "__init__.py").write_text(text)
    return str(folder / "packages")


@pytest.mark.parametrize(
    "workers", [1, pytest.param(2, marks=pytest.mark.skipif(sys.platform == "win32", reason="no workers"))]
)
def test_what_is_not_configured_is_not_imported(
    workers: int, start: Callable[..., Process], mock_server: Any, tmp_path: Path
) -> None:
    path = packages(tmp_path, f"open({str(tmp_path / 'imported')!r}, 'a').write(__name__)\n")
    gateway = start(f"[server]\nworkers = {workers}\n" + PROVIDER.format(url=mock_server.url), env={"PYTHONPATH": path})
    assert gateway.chat("openai", "o/demo").status == 200
    assert gateway.get("/health/ready").status == 200 and gateway.get("/monitor/statistics?range=1h").status == 200
    assert gateway.end() == 0
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize("words", [[], ["--workers", "2"], ["--check"]])
@pytest.mark.parametrize(
    ("config", "text", "said"),
    [
        (STATE, "raise ImportError", "[state] url needs the package redis: "),
        (STORE, "raise ImportError", "a store in PostgreSQL needs psycopg, which is not installed here: "),
    ],
)
def test_a_driver_that_is_missing_is_named_with_its_command(
    config: str, text: str, said: str, words: list[str], tmp_path: Path
) -> None:
    (tmp_path / "router.toml").write_text(config + PROVIDER.format(url="http://127.0.0.1:9"))
    done = command(tmp_path, "-c", "router.toml", *words, PYTHONPATH=packages(tmp_path, text))
    output = (done.stdout + done.stderr).decode()
    assert said in output and "pip install" in output and "pass-word" not in output
    assert done.returncode == (1 if words == ["--check"] and config == STORE else 2), output


def test_a_driver_that_is_too_old_is_named_with_its_version(tmp_path: Path) -> None:
    text = "__version__ = '7.1.0'\n"
    path = packages(tmp_path, text)
    (tmp_path / "packages" / "redis" / "asyncio").mkdir()
    for name in ("__init__.py", "sentinel.py"):
        (tmp_path / "packages" / "redis" / "asyncio" / name).write_text("")
    (tmp_path / "router.toml").write_text(STATE + PROVIDER.format(url="http://127.0.0.1:9"))
    done = command(tmp_path, "-c", "router.toml", PYTHONPATH=path)
    assert done.returncode == 2 and b"needs redis 8 or newer, and 7.1.0 is installed" in done.stderr
