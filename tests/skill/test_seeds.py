"""The skill that this one replaces: its commands and snippets run as printed, in a shell, with the model names they have.

Its texts are not in the repository: LLM_ROUTER_SEEDS names the folder with skill-*.txt, and without it these tests are skipped.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest
from http_servers import serving

ROOT = Path(__file__).resolve().parents[2]
SEEDS = os.environ.get("LLM_ROUTER_SEEDS", "")
PAGES = sorted(Path(SEEDS).glob("skill-*.txt")) if SEEDS else []
pytestmark = pytest.mark.skipif(not PAGES, reason="LLM_ROUTER_SEEDS names no folder with the texts of the replaced skill")
USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12, "cost": 0.0025}


class AnyModel(BaseHTTPRequestHandler):
    """An OpenAI-compatible endpoint that has every model, plain and streamed: each says its own name."""

    protocol_version = "HTTP/1.1"

    def reply(self, content_type: str, data: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data.encode())

    def do_GET(self) -> None:
        self.reply("application/json", json.dumps({"object": "list", "data": [{"id": "gpt-4.1", "object": "model"}]}))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)  # type: ignore[attr-defined]
        facts = {"id": "chatcmpl-1", "created": 1, "model": body["model"]}
        said, usage = {"role": "assistant", "content": f"I am {body['model']}."}, {"usage": USAGE}
        if body.get("stream"):
            parts: List[Dict[str, Any]] = [{"delta": said, "finish_reason": None}, {"delta": {}, "finish_reason": "stop"}]
            chunks = [{**facts, "object": "chat.completion.chunk", "choices": [{"index": 0, **part}]} for part in parts]
            events = [*map(json.dumps, chunks), "[DONE]"]
            self.reply("text/event-stream", "".join(f"data: {event}\n\n" for event in events))
        else:
            choice = {"index": 0, "message": said, "finish_reason": "stop"}
            self.reply("application/json", json.dumps({**facts, "object": "chat.completion", "choices": [choice], **usage}))

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[Any]:
    """The server, listening: .bodies are what it was sent, .base_url its address."""
    with serving(AnyModel) as server:
        server.bodies, server.base_url = [], f"http://127.0.0.1:{server.server_port}/v1"
        yield server


@pytest.fixture
def env(cli: Any, endpoint: Any) -> Dict[str, str]:
    """A shell's environment: this endpoint, and a python3 that is the one of the tests."""
    python3 = cli.cwd / "bin" / "python3"
    python3.parent.mkdir()
    python3.symlink_to(sys.executable)
    path = f"{python3.parent}{os.pathsep}{cli.env.get('PATH', '')}"
    return {**cli.env, "PATH": path, "LLM_ROUTER_BASE_URL": endpoint.base_url, "PYTHONPATH": str(ROOT / "scripts")}


def commands_of(page: Path) -> List[str]:
    """The lines that start the client; {baseDir} is what agents put the skill's folder for."""
    lines = re.findall(r"(?m)^python3 \S*llm_router_client\.py .*$", page.read_text(encoding="utf-8"))
    return [line.replace("{baseDir}", str(ROOT)) for line in lines]


def longest_program(text: str) -> str:
    """The longest beginning of a text, in whole lines, that is Python: one of the texts has no fences."""
    lines = text.splitlines()
    for end in range(len(lines), 0, -1):
        try:
            compile("\n".join(lines[:end]), "snippet", "exec")
        except SyntaxError:
            continue
        return "\n".join(lines[:end])
    raise AssertionError("there is no program at the start of this text")


def programs_of(page: Path) -> List[str]:
    """The Python of a page that uses the client: its fences, or where it has none what begins as the snippets do."""
    text = page.read_text(encoding="utf-8")
    fenced = re.findall(r"(?ms)^```python[^\n]*\n(.*?)^```", text)
    found = [block for block in fenced if "from openai import" not in block]
    starts = re.compile(r"(?m)^(?:from llm_router_client import|def \w+\(message|results = client\.|MODEL_MAP = )")
    match = starts.search(text)
    while match and not fenced:
        found.append(longest_program(text[match.start() :]))
        match = starts.search(text, match.start() + len(found[-1]))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_runs_as_printed(endpoint: Any, env: Dict[str, str], page: Path) -> None:
    commands = commands_of(page)
    assert len(commands) == 7
    for command in commands:
        done = subprocess.run(["bash", "-c", command], capture_output=True, cwd=ROOT, env=env, timeout=30)
        assert (done.returncode, done.stderr) == (0, b"") and done.stdout, (command, done)
        for model in re.findall(r"--models? \"?([^ \"]+)", command):
            assert all(f"I am {name}.".encode() in done.stdout for name in model.split(",")), command
    assert len(endpoint.bodies) == 8


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_also_runs_dry(endpoint: Any, env: Dict[str, str], page: Path) -> None:
    for command in commands_of(page):
        done = subprocess.run(["bash", "-c", f"{command} --dry-run"], capture_output=True, cwd=ROOT, env=env, timeout=30)
        assert done.returncode == 0 and done.stdout, (command, done)
    assert not endpoint.bodies


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_snippet_runs_as_printed(endpoint: Any, env: Dict[str, str], tmp_path: Path, page: Path) -> None:
    blocks = programs_of(page)
    assert len(blocks) == 5 and "LLMRouterClient()" in blocks[0]
    code = "\n".join(blocks)
    defined = re.findall(r"(?m)^def (\w+)\(([^)]*)\)", code)
    assert {name for name, _ in defined} == {"smart_route", "chat_with_fallback", "route_by_task"}
    calls = [f"assert {name}({', '.join(['x'] * (1 + listed.count(',')))})" for name, listed in defined]
    script = tmp_path / "snippets.py"
    log = "def log_response(**facts): assert facts['cost'] == 0.0025 and facts['latency'] >= 0"
    program = [log, code, "x = 'code'", *calls]
    script.write_text("\n".join(program), encoding="utf-8")
    done = subprocess.run(["python3", str(script)], capture_output=True, timeout=30, env=env)
    assert (done.returncode, done.stderr) == (0, b"") and b"I am gpt-4o." in done.stdout, done
    assert len(endpoint.bodies) == 4 + 3 + 2 + 3
