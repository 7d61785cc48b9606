"""The gateway's pages: every command on them runs as pasted, with the page's own configuration and a mock provider."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import Shell, commands_of
from running import made_up

REFERENCES = Path(__file__).parents[3] / "references"
PAGES = [*sorted(REFERENCES.glob("gateway*.md")), REFERENCES / "scaling.md"]
ELSEWHERE = ("pip install", "store copy --from", "LLM_ROUTER_STATE_URL", "LLM_ROUTER_STORE")  # with servers: tests/scale
TWIN = "```yaml\n"  # what follows belongs to a configuration of its own
PROVIDERS = (
    '[[providers]]\nname = "openai"\n\n[[providers]]\nname = "office"\napi = "openai"\nbase_url = "http://10.0.0.7:9000"\n'
)
KEY_VARIABLES = ("OPENAI_API_KEY", "OPENAI_KEYS", "ANTHROPIC_API_KEY", "CI_KEY")
BODIES = {
    "body.json": '{"model": "by-need", "messages": [{"role": "user", "content": "Hello"}]}',
    "request.json": '{"model": "x", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}',
}


@pytest.fixture
def provider() -> Iterator[Any]:
    from llm_router_demo import DemoServer

    with DemoServer(any_model=True) as server:
        yield server


def configuration(page: str, provider: Any) -> str:
    """The TOML of a page as one file, its providers at the mock server; providers alone where it has none."""
    parts = re.findall(r"(?ms)^```toml\n(.*?)^```", page.partition(TWIN)[0])
    text = "\n".join(parts)
    text = text if "[[providers]]" in text else PROVIDERS + text
    for name, url in (("openai", provider.base_url), ("claude", provider.url)):
        text = text.replace(f'[[providers]]\nname = "{name}"', f'[[providers]]\nname = "{name}"\nbase_url = "{url}"')
    return text.replace("http://10.0.0.7:9000", provider.base_url)


@pytest.mark.slow
@pytest.mark.parametrize("name", [path.name for path in PAGES if commands_of(path.read_text(encoding="utf-8"))])
def test_every_command_runs_as_pasted(name: str, tmp_path: Path, provider: Any, start: Callable[..., Any]) -> None:
    page = (REFERENCES / name).read_text(encoding="utf-8")
    commands = commands_of(page)
    missing = [tool for tool in ("bash", "curl", "sqlite3", "openssl") if not shutil.which(tool) and tool in " ".join(commands)]
    if missing:
        pytest.skip(f"not on this machine: {', '.join(missing)}")
    env = {variable: made_up(variable) for variable in KEY_VARIABLES}
    shell = Shell(tmp_path, LLM_ROUTER_PORT="0", **env)
    for each, text in BODIES.items():
        (tmp_path / each).write_text(text)
    if "curl " in page:
        prepare(shell, page, provider, start)
    (tmp_path / "router.toml").write_text(configuration(page, provider))
    for command in commands:
        if not any(words in command for words in ELSEWHERE):
            shell.run(command)


def prepare(shell: Shell, page: str, provider: Any, start: Callable[..., Any]) -> None:
    """A gateway for the page's curl lines: with an administrators' token where the page has one, else open on loopback."""
    env = {name: shell.env[name] for name in KEY_VARIABLES}
    if "admin.txt" in page:
        env["LLM_ROUTER_ADMIN_TOKEN"] = made_up("admin")
        (shell.folder / "admin.txt").write_text(f"authorization: Bearer {env['LLM_ROUTER_ADMIN_TOKEN']}\n")
    speaks_of_demo = '"model": "demo"' in page
    gateway = start("", "--demo", folder=shell.folder, env=env) if speaks_of_demo else start(
        configuration(page, provider), folder=shell.folder, env=env
    )  # fmt: skip
    shell.connect(gateway.port)
    shell.env["LLM_ROUTER_BASE_URL"] = f"http://{gateway.host}:{gateway.port}/v1"


def test_a_command_that_fails_is_seen(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    for command in ("exit 3", "false | true", "python3 scripts/llm_router_gateway --no-such-flag"):
        with pytest.raises(AssertionError):
            shell.run(command)


def test_commands_are_the_lines_of_shell_blocks() -> None:
    page = "python3 x\n```bash\nA=1 b \\\n  -c\n\n# why\nd | e   # f\n```\n```toml\ng = 1\n```\n"
    assert commands_of(page) == ["A=1 b \\\n  -c", "d | e   # f"]
