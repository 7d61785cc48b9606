"""What every test shares: an environment without this user's keys, the mock server, the client's command line."""

from __future__ import annotations

import atexit
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple, Union

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAUNCHER = ROOT / "scripts" / "llm-router"  # starts four times as fast as the script, which is compiled anew each time
# All that a child process gets of this user's environment, and where it keeps bytecode.
PASSED_ON = ("PATH", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "PYTHONPYCACHEPREFIX")
PRIVATE = (
    "AISA_", "LLM_ROUTER_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_", "NO_COLOR", "XDG_CONFIG",
    "XDG_CACHE", "XDG_STATE", "OTEL_",
)  # fmt: skip
CHILD_TIMEOUT_S = 60.0  # a command that hangs is a failure with its output, not a test run that never ends

# What a shell or nohup lets its background jobs ignore, commands that tests start would ignore, too.
for each, default in (("SIGINT", signal.default_int_handler), ("SIGQUIT", signal.SIG_DFL), ("SIGHUP", signal.SIG_DFL)):
    if hasattr(signal, each) and signal.getsignal(getattr(signal, each)) == signal.SIG_IGN:
        signal.signal(getattr(signal, each), default)

# What tests start compiles its files once in a run, whatever this user has set, and leaves nothing in the checkout:
# without bytecode a gateway takes twice as long to start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ["PYTHONPYCACHEPREFIX"] = tempfile.mkdtemp(prefix="llm-router-bytecode-")
atexit.register(shutil.rmtree, os.environ["PYTHONPYCACHEPREFIX"], ignore_errors=True)

gc.disable()  # while tests are collected nothing is garbage, and looking for it takes a third of that time

SLOW_VARIABLE = "LLM_ROUTER_SLOW"  # 1: slow tests run, too; read at collection, since tests run without the user's variables
LEFT_OUT = pytest.StashKey[List[pytest.Item]]()  # the slow tests of this run that were not asked for

collect_ignore = [] if sys.version_info >= (3, 11) else ["gateway"]  # the gateway needs 3.11


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--slow`, beside `-m slow` (these alone) and LLM_ROUTER_SLOW=1."""
    parser.addoption("--slow", action="store_true", help=f"run the tests that are marked slow, too (or {SLOW_VARIABLE}=1)")


def pytest_collection_modifyitems(config: pytest.Config, items: List[pytest.Item]) -> None:
    """Deselects what is marked slow, unless it is asked for by option, variable, mark expression or the test's own name."""
    if config.getoption("slow") or os.environ.get(SLOW_VARIABLE) == "1" or "slow" in config.getoption("markexpr"):
        return
    named = tuple(Path(word.partition("[")[0]).name for word in config.args if "::" in word)  # test_x.py::test_name
    kept: List[pytest.Item] = []
    left_out: List[pytest.Item] = []
    for item in items:
        slow = item.get_closest_marker("slow") and not is_named(item, named)
        (left_out if slow else kept).append(item)
    items[:] = kept
    config.stash[LEFT_OUT] = left_out
    config.hook.pytest_deselected(items=left_out)


def pytest_collection_finish(session: pytest.Session) -> None:
    """What is here now stays: the garbage collector need not look through ten thousand tests in each of its rounds."""
    gc.collect()
    gc.freeze()
    gc.enable()


def is_named(item: pytest.Item, named: Tuple[str, ...]) -> bool:
    """Whether the command line names this test: test_x.py::test_name, with or without its parameters in brackets."""
    return f"{item.path.name}::{item.nodeid.partition('::')[2].partition('[')[0]}" in named


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> Iterator[None]:
    """One line about what was left out, and how to run it, just above the last."""
    yield
    left_out = config.stash.get(LEFT_OUT, [])
    if left_out:
        terminalreporter.write_line(f"{len(left_out)} slow tests were left out; the option --slow runs them, too")


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty home directory: no ~/.aisa/credentials of the person who runs the tests."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """No key, endpoint, proxy or certificate setting of this user reaches a test; LLM_ROUTER_LIVE_* stays."""
    for name in list(os.environ):
        if name.upper().startswith(PRIVATE) and not name.startswith("LLM_ROUTER_LIVE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))  # what Windows calls it


@pytest.fixture
def demo() -> Iterator[Any]:
    """A fresh mock server on a free port: demo.base_url, demo.requests."""
    from llm_router_demo import DemoServer

    with DemoServer(port=0) as server:
        yield server


@pytest.fixture
def serve() -> Iterator[Callable[..., Any]]:
    """serve(*replies) -> a RawServer, closed with the test."""
    from raw_server import RawServer

    servers: List[RawServer] = []

    def start(*replies: Any, hold: bool = False) -> RawServer:
        servers.append(RawServer(*replies, hold=hold))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def still() -> Any:
    """A transport without a clock: it sleeps by counting."""
    from raw_server import StillTransport

    return StillTransport()


class Ran(NamedTuple):
    """What a command left behind."""

    code: int
    out: bytes
    err: bytes

    @property
    def json(self) -> Any:
        """stdout as one JSON value."""
        return json.loads(self.out)

    @property
    def events(self) -> List[Any]:
        """stdout as one JSON value a line."""
        return [json.loads(line) for line in self.out.splitlines()]


class CommandLine:
    """The client's command line in a process of its own: cli("chat", "--demo", "--message", "Hi").code == 0."""

    def __init__(self, home: Path, cwd: Path) -> None:
        self.cwd = cwd
        self.env = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        self.env.update(HOME=str(home), USERPROFILE=str(home))

    def words(self, *arguments: Union[str, Path]) -> List[str]:
        """The argument vector, interpreter first."""
        return [sys.executable, str(LAUNCHER), *map(str, arguments)]

    def __call__(
        self,
        *arguments: Union[str, Path],
        stdin: bytes = b"",
        env: Optional[Dict[str, str]] = None,
        cwd: Optional[Path] = None,
        timeout_s: float = CHILD_TIMEOUT_S,
    ) -> Ran:
        """Runs to the end; `env` is added to the clean environment, `cwd` is the test's tmp_path unless given."""
        done = subprocess.run(
            self.words(*arguments),
            input=stdin,
            capture_output=True,
            env={**self.env, **(env or {})},
            cwd=cwd or self.cwd,
            timeout=timeout_s,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: Union[str, Path], env: Optional[Dict[str, str]] = None, **options: Any) -> Any:
        """The same as a running subprocess.Popen with pipes, for signals and half-read output; the caller ends it."""
        given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.Popen(self.words(*arguments), env={**self.env, **(env or {})}, cwd=self.cwd, **given)


@pytest.fixture
def cli(home: Path, tmp_path: Path) -> CommandLine:
    """Runs the client's command line with a clean environment, in tmp_path: returns code, out, err (bytes)."""
    return CommandLine(home, tmp_path)
