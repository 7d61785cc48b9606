"""The bundle through ClawHub's own publisher, with a registry on this machine: its dry run, and a publication to the end.

The program comes from npm, exactly this version, or from the node_modules of the folder that LLM_ROUTER_AGENTS names.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Dict, Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from http_servers import serving

import llm_router_client as client

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "clawhub@0.23.3"
READY = os.environ.get("LLM_ROUTER_AGENTS", "")  # read now: tests run without the user's variables
INSTALL_TIMEOUT_S, RUN_TIMEOUT_S = 600, 120
pytestmark = [pytest.mark.slow]


@pytest.fixture(scope="module")
def clawhub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    npm = shutil.which("npm")
    if not npm or not shutil.which("node"):
        pytest.skip("npm is not on this machine")
    program = Path("node_modules", "clawhub", "bin", "clawdhub.js")
    if READY and (Path(READY) / program).is_file():
        return Path(READY) / program
    home = tmp_path_factory.mktemp("clawhub")
    command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(home), PACKAGE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, cwd=home)
    except subprocess.TimeoutExpired:
        pytest.skip("npm did not end in time")
    if done.returncode:
        pytest.skip(f"it cannot be had: {done.stderr.strip()[-200:]}")
    return home / program


class Registry(BaseHTTPRequestHandler):
    """What a publisher calls; it has no skill yet. `server.files` has what was uploaded, by its ticket."""

    def answer(self, value: Dict[str, Any], status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        place = urlsplit(self.path)
        if place.path == "/api/v1/resolve":
            self.server.asked_for.append(parse_qs(place.query)["slug"])  # type: ignore[attr-defined]
            self.answer({"error": "Skill not found"}, 404)
        elif place.path == "/api/v1/whoami":
            self.answer({"user": {"handle": "somebody"}})
        else:
            self.answer({"error": "not here"}, 404)

    def do_POST(self) -> None:
        server: Any = self.server
        data = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["Authorization"] == "Bearer made-up-token"
        if self.path == "/api/v1/skills/-/upload-url":
            ticket = str(len(server.tickets))
            server.tickets[ticket] = json.loads(data)
            self.answer({"uploadUrl": f"{server.url}/upload/{ticket}", "uploadTicket": ticket})
        elif self.path.startswith("/upload/"):
            server.files[self.path.rpartition("/")[2]] = data
            self.answer({"storageId": f"stored-{self.path.rpartition('/')[2]}"})
        else:
            assert self.path == "/api/v1/skills"
            server.published.append(json.loads(data))
            self.answer({"ok": True, "skillId": "s", "versionId": "v", "publicationStatus": "pending"})

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def registry() -> Iterator[Any]:
    with serving(Registry) as server:
        server.url = f"http://127.0.0.1:{server.server_port}"
        server.asked_for, server.tickets, server.files, server.published = [], {}, {}, []
        yield server


@pytest.fixture
def bundle(tmp_path: Path, cli: Any) -> Path:
    words = [sys.executable, str(ROOT / "scripts" / "llm_router_client.py"), "skill", "export", str(tmp_path)]
    subprocess.run(words, check=True, capture_output=True, timeout=30, env=cli.env)
    return tmp_path / "llm-router"


def publish(clawhub: Path, registry: Any, bundle: Path, *words: str, token: str = "") -> Dict[str, Any]:
    """What it prints as JSON."""
    home = bundle.parent / "home"
    (home / "clawhub").mkdir(parents=True)
    config = {"registry": registry.url, **({"token": token} if token else {})}
    (home / "clawhub" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    argv = [shutil.which("node") or "node", str(clawhub), "--no-input", "--registry", registry.url]
    argv += ["publish", str(bundle), "--version", client.VERSION, "--json", *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=RUN_TIMEOUT_S, env=env, cwd=bundle.parent)
    assert done.returncode == 0, done
    found: Dict[str, Any] = json.loads(done.stdout)
    return found


def files_of(bundle: Path) -> Dict[str, bytes]:
    return {path.relative_to(bundle).as_posix(): path.read_bytes() for path in bundle.rglob("*") if path.is_file()}


def test_a_dry_run_takes_the_whole_bundle_and_sends_nothing(clawhub: Path, registry: Any, bundle: Path) -> None:
    found = publish(clawhub, registry, bundle, "--dry-run")
    assert (found["status"], found["slug"], found["version"]) == ("would-publish", "llm-router", client.VERSION)
    assert found["fileCount"] == len(files_of(bundle))
    assert registry.asked_for == [["llm-router"]]
    assert not registry.tickets and not registry.published


def test_a_publication_sends_every_file_as_it_is(clawhub: Path, registry: Any, bundle: Path) -> None:
    found = publish(clawhub, registry, bundle, token="made-up-token")
    assert found["status"] == "pending-publication"
    sent = {registry.tickets[ticket]["path"]: data for ticket, data in registry.files.items()}
    assert sent == files_of(bundle)
    (form,) = registry.published
    assert (form["slug"], form["version"], form["ownerHandle"]) == ("llm-router", client.VERSION, "somebody")
    assert {file["path"]: file["sha256"] for file in form["files"]} == {
        name: hashlib.sha256(data).hexdigest() for name, data in files_of(bundle).items()
    }
