"""The coding agents behind one small vocabulary: how each is started without a terminal, and what its tools are called.

    agent = AGENTS["codex"]
    agent.configure(home, "http://127.0.0.1:8000", token, "agent-openai")  -> the variables of its environment
    agent.command("agent-openai", "Do the task.")                          -> ["codex", "exec", ...]
    agent.read("/folder/notes.txt")                                        -> ("exec_command", {"cmd": "cat ..."})

Every agent gets an empty home, a folder to work in, and nothing of this user's environment. Its telemetry, update checks
and title requests are off by the settings that its maker documents.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

Tool = tuple[str, Any]  # its name, and the arguments of a call

CODEX = """\
model = "{model}"
model_provider = "gateway"
check_for_update_on_startup = false

[model_providers.gateway]
name = "The gateway"
base_url = "{url}/v1"
env_key = "GATEWAY_KEY"
wire_api = "responses"

[analytics]
enabled = false
"""


class Agent(NamedTuple):
    """One agent: its npm package, and what differs from the others."""

    package: str
    program: str  # in node_modules/.bin
    configure: Callable[[Path, str, str, str], dict[str, str]]  # home, gateway's URL, token, model -> environment
    command: Callable[[str, str], list[str]]  # model, prompt -> arguments
    read: Callable[[str], Tool]  # path
    write: Callable[[str, str], Tool]  # path, text
    run: Callable[[str], Tool]  # shell command


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def configure_codex(home: Path, url: str, token: str, model: str) -> dict[str, str]:
    folder = home / ".codex"
    folder.mkdir()
    (folder / "config.toml").write_text(CODEX.format(model=model, url=url))
    return {"CODEX_HOME": str(folder), "GATEWAY_KEY": token}


def configure_claude(home: Path, url: str, token: str, model: str) -> dict[str, str]:
    return {
        "ANTHROPIC_BASE_URL": url, "ANTHROPIC_AUTH_TOKEN": token, "ANTHROPIC_MODEL": model,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1", "IS_SANDBOX": "1",
    }  # fmt: skip


def configure_gemini(home: Path, url: str, token: str, model: str) -> dict[str, str]:
    settings = {
        "security": {"auth": {"selectedType": "gemini-api-key"}},
        "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False},
        "privacy": {"usageStatisticsEnabled": False},
        "telemetry": {"enabled": False},
    }
    write_json(home / ".gemini" / "settings.json", settings)
    return {"GOOGLE_GEMINI_BASE_URL": url, "GEMINI_API_KEY": token}


def configure_opencode(home: Path, url: str, token: str, model: str) -> dict[str, str]:
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "The gateway",
        "options": {"baseURL": f"{url}/v1", "apiKey": "{env:GATEWAY_KEY}"},
        "models": {model: {"name": model, "limit": {"context": 128000, "output": 8000}}},
    }
    settings = {
        "autoupdate": False, "share": "disabled", "provider": {"gateway": provider}, "small_model": f"gateway/{model}",
        "permission": {"edit": "allow", "bash": "allow", "external_directory": "allow"},
    }  # fmt: skip
    write_json(home / ".config" / "opencode" / "opencode.json", settings)
    off = "AUTOUPDATE MODELS_FETCH LSP_DOWNLOAD DEFAULT_PLUGINS"
    return {"GATEWAY_KEY": token, **{f"OPENCODE_DISABLE_{name}": "1" for name in off.split()}}


def configure_qwen(home: Path, url: str, token: str, model: str) -> dict[str, str]:
    settings = {
        "security": {"auth": {"selectedType": "openai"}},
        "general": {"enableAutoUpdate": False},
        "privacy": {"usageStatisticsEnabled": False},
        "telemetry": {"enabled": False},
    }
    write_json(home / ".qwen" / "settings.json", settings)
    return {"OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": token, "OPENAI_MODEL": model}


AGENTS = {
    "codex": Agent(
        "@openai/codex", "codex", configure_codex,
        lambda model, prompt: ["exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", prompt],
        lambda path: ("exec_command", {"cmd": f"cat {path}"}),
        lambda path, text: ("exec_command", {"cmd": f"printf %s '{text}' > {path}"}),
        lambda command: ("exec_command", {"cmd": command}),
    ),
    "claude": Agent(
        "@anthropic-ai/claude-code", "claude", configure_claude,
        lambda model, prompt: ["--dangerously-skip-permissions", "--model", model, "-p", prompt],
        lambda path: ("Read", {"file_path": path}),
        lambda path, text: ("Write", {"file_path": path, "content": text}),
        lambda command: ("Bash", {"command": command, "description": "Runs it"}),
    ),
    "gemini": Agent(
        "@google/gemini-cli", "gemini", configure_gemini,
        lambda model, prompt: ["--yolo", "--skip-trust", "--model", model, "-p", prompt],
        lambda path: ("read_file", {"file_path": path}),
        lambda path, text: ("write_file", {"file_path": path, "content": text}),
        lambda command: ("run_shell_command", {"command": command, "description": "Runs it"}),
    ),
    "opencode": Agent(
        "opencode-ai", "opencode", configure_opencode,
        lambda model, prompt: ["run", "--model", f"gateway/{model}", "--title", "task", prompt],
        lambda path: ("read", {"filePath": path}),
        lambda path, text: ("write", {"filePath": path, "content": text}),
        lambda command: ("bash", {"command": command, "description": "Runs it"}),
    ),
    "qwen": Agent(
        "@qwen-code/qwen-code", "qwen", configure_qwen,
        lambda model, prompt: ["--yolo", "--model", model, prompt],
        lambda path: ("read_file", {"file_path": path}),
        lambda path, text: ("write_file", {"file_path": path, "content": text}),
        lambda command: ("run_shell_command", {"command": command, "description": "Runs it", "is_background": False}),
    ),
}  # fmt: skip
