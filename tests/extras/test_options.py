"""Each option that a command's --help shows has an effect on it: on what is sent, printed or kept.

Every option of the commands that use an endpoint is tried: the command runs with and without it, in this process and with a
transport that answers without a socket or a clock, and something must differ.
"""

from __future__ import annotations

import io
import json
import re
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Sequence, Tuple

import pytest
from quick import slow

import llm_router_client as c

OUTSIDE = "outside"  # a folder beside the working directory
IMAGE = "https://images.example/a.png"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(32)
ASK = ("--message", "Hi")
TURNS = '[{"role": "user", "content": "Hi"}]'
FORMAT = '{"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}'
FILES = {
    "question.txt": "Hi", "turns.json": TURNS, "tools.json": '[{"type": "function", "function": {"name": "f"}}]',
    "functions.json": '[{"name": "f"}]', "schema.json": "{}", "body.json": '{"max_tokens": 9000}', "old.txt": "old",
}  # fmt: skip


class Probe(NamedTuple):
    """How an option shows its effect: the words that give it, those of both runs, and what the endpoint does."""

    words: Tuple[str, ...]
    with_words: Tuple[str, ...] = ASK  # for commands that take a question
    reply: str = "answer"
    fails: bool = False  # the effect is, or comes with, an error


PROBES: Dict[str, Probe] = {
    "--model": Probe(("--model", "other")),
    "--fallback": Probe(("--fallback", "other"), reply="busy unless other"),
    "--task": Probe(("--task", "code")),
    "--prefer": Probe(("--prefer", "quality")),
    "--message": Probe(ASK, ()),
    "--message-file": Probe(("--message-file", "question.txt"), ()),
    "--messages": Probe(("--messages", TURNS), ()),
    "--messages-file": Probe(("--messages-file", "turns.json"), ()),
    "--stdin": Probe(("--stdin",)),
    "--system": Probe(("--system", "Be brief.")),
    "--body-file": Probe(("--body-file", "body.json")),
    "--allow-path": Probe(("--allow-path", f"../{OUTSIDE}"), ("--message-file", f"../{OUTSIDE}/question.txt")),
    "--temperature": Probe(("--temperature", "0.5")),
    "--max-tokens": Probe(("--max-tokens", "9000")),
    "--top-p": Probe(("--top-p", "0.5")),
    "--frequency-penalty": Probe(("--frequency-penalty", "0.5")),
    "--presence-penalty": Probe(("--presence-penalty", "0.5")),
    "--functions": Probe(("--functions", "functions.json")),
    "--function-call": Probe(("--function-call", "auto"), (*ASK, "--functions", "functions.json")),
    "--tools": Probe(("--tools", "tools.json")),
    "--tool-choice": Probe(("--tool-choice", "auto"), (*ASK, "--tools", "tools.json")),
    "--stop": Probe(("--stop", "x")),
    "--response-format": Probe(("--response-format", FORMAT)),
    "--schema": Probe(("--schema", "schema.json")),
    "--cache": Probe(("--cache", "1h")),
    "--max-cost": Probe(("--max-cost", "1"), fails=True),  # no model has a price here
    "--usage-log": Probe(("--usage-log",)),
    "--session": Probe(("--session", "s"), (*ASK, "--usage-log")),
    "--base-url": Probe(("--base-url", "http://127.0.0.1:8/v1")),
    "--demo": Probe(("--demo",)),
    "--timeout": Probe(("--timeout", "7")),
    "--connect-timeout": Probe(("--connect-timeout", "7")),
    "--first-event-timeout": Probe(("--first-event-timeout", "7")),
    "--progress-timeout": Probe(("--progress-timeout", "7")),
    "--retries": Probe(("--retries", "0"), reply="busy", fails=True),
    "--retry-timeouts": Probe(("--retry-timeouts",), reply="timeout", fails=True),
    "--lenient-end": Probe(("--lenient-end",), reply="unfinished"),
    "--ca-file": Probe(("--ca-file", "ca.pem")),
    "--header": Probe(("--header", "X-Team: blue")),
    "--json": Probe(("--json",)),
    "--verbose": Probe(("--verbose",)),
    "--dry-run": Probe(("--dry-run",)),
    "--stream": Probe(("--stream",)),
    "--raw": Probe(("--raw",)),
    "--output": Probe(("--output", "new.txt")),
    "--force": Probe(("--force",), (*ASK, "--output", "old.txt")),
    "--strict": Probe(("--strict",), reply="length", fails=True),
    "--append": Probe(("--append",), (*ASK, "--messages-file", "turns.json")),
    "--continue": Probe(("--continue",)),
    "--new": Probe(("--new",), (*ASK, "--continue")),
    "--image": Probe(("--image", IMAGE + "?2")),
    "--prompt": Probe(("--prompt", "Hi"), ()),
    "--detail": Probe(("--detail", "low")),
    "--search": Probe(("--search", "qwen")),
    "--limit": Probe(("--limit", "1")),
    "--offline": Probe(("--offline",)),
    "--models": Probe(("--models", "other,third")),
    "--markdown": Probe(("--markdown",)),
    "--require-all": Probe(("--require-all",), reply="busy unless other", fails=True),
}


def call(number: int, name: str, **arguments: Any) -> str:
    params = {"name": name, "arguments": arguments}
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}) + "\n"


CALLS = call(1, "chat", message="Hi") + "".join(
    call(at, "vision", images=[each]) for at, each in enumerate((IMAGE, f"../{OUTSIDE}/a.png"), 2)
)
INPUTS = {"talk": f"/image {IMAGE}\nHi\n/image ../{OUTSIDE}/a.png\nHi\n", "mcp": CALLS}
BASES = {"vision": ("--image", IMAGE), "compare": ("--models", "m,other")}
COMMANDS = [name for name in c.COMMANDS if "--base-url" in c.parser_of(name).options]


class Reply:
    """A response without a socket, which records its clocks."""

    def __init__(self, status: int, pieces: List[bytes], log: List[Any]) -> None:
        self.status, self.headers, self._pieces, self._log = status, {}, pieces, log  # type: int, Dict[str, str], List[bytes], List[Any]

    def pieces(self) -> Iterator[bytes]:
        yield from self._pieces

    def arm(self, waiting: str, seconds: Any) -> None:
        self._log.append(("arm", waiting, seconds))

    def close(self) -> None:
        pass


def answer_to(body: Dict[str, Any], reply: str) -> List[bytes]:
    """The pieces of an answer "1", which fits any schema, in the form that was asked for."""
    finish = {"unfinished": None, "length": "length"}.get(reply, "stop")
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    if not body.get("stream"):
        choice = {"index": 0, "message": {"role": "assistant", "content": "1"}, "finish_reason": finish}
        return [json.dumps({"model": body["model"], "choices": [choice], "usage": usage}).encode()]
    choices = ({"index": 0, "delta": {"content": "1"}}, {"index": 0, "delta": {}, "finish_reason": finish})
    chunks = ({"model": body["model"], "choices": [choice], "usage": usage} for choice in choices)
    return [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks]


def sender(log: List[Any], reply: str) -> Callable[..., Reply]:
    """Transport.send() by a script."""

    def send(self: Any, method: str, endpoint: Any, path: str, headers: Any, body: bytes, **clocks: Any) -> Reply:
        log.append((method, endpoint.url, path, sorted(headers.items()), body, sorted(map(str, clocks.items())), self._ca_file))
        sent = json.loads(body) if body else {}
        if reply == "timeout":
            raise c.RequestTimeout("timed out waiting for the answer", maybe_billed=True)
        if reply == "no list" and method == "GET":
            return Reply(404, [b"not found"], log)
        if reply == "busy" or (reply == "busy unless other" and sent.get("model") != "other"):
            return Reply(500, [], log)
        listed = {"data": [{"id": name} for name in c.BUILTIN_MODELS]}
        return Reply(200, [json.dumps(listed).encode()] if method == "GET" else answer_to(sent, reply), log)

    return send


class Bench:
    """Runs commands in this process, each in a folder of its own, and keeps all that can be seen of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._patch, self._folder, self._runs = monkeypatch, folder, 0
        for name, value in (("monotonic", 100.0), ("unix", 1e9), ("rng", 0.5), ("token", "t"), ("sleep", None)):
            monkeypatch.setattr(c.Transport, name, staticmethod(lambda *_, value=value: value))
        monkeypatch.setattr(c, "stop_on_sigterm", lambda: None)
        monkeypatch.setenv("LLM_ROUTER_BASE_URL", "http://127.0.0.1:9/v1")
        monkeypatch.setenv("LLM_ROUTER_MODEL", "m")

    def _fill(self) -> Path:
        """A new working directory with files, and a folder beside it."""
        self._runs += 1
        home = self._folder / str(self._runs)
        for name in ("work", OUTSIDE):
            (home / name).mkdir(parents=True)
            for file, text in FILES.items():
                (home / name / file).write_text(text)
            (home / name / "a.png").write_bytes(PNG)
        for variable in (
            "HOME",
            "USERPROFILE",
            "XDG_STATE_HOME",
            "XDG_CACHE_HOME",
            "XDG_CONFIG_HOME",
            "LOCALAPPDATA",
            "APPDATA",
        ):
            self._patch.setenv(variable, str(home / "home"))
        self._patch.chdir(home / "work")
        return home

    def seen(self, command: str, words: Sequence[str], reply: str) -> Tuple[Any, ...]:
        """(exit codes, what was printed, sent, written, logged) of a command that is run twice in the same folder."""
        home, log, codes = self._fill(), [], []  # type: Path, List[Any], List[int]
        self._patch.setattr(c.Transport, "send", sender(log, reply))
        printed: List[str] = []
        for _ in range(2):
            streams = {"stdin": io.TextIOWrapper(io.BytesIO(INPUTS.get(command, "piped " * 300).encode()))}
            streams.update((name, io.TextIOWrapper(io.BytesIO())) for name in ("stdout", "stderr"))
            for name, stream in streams.items():
                self._patch.setattr(sys, name, stream)
            codes.append(c.main([command, *words]))
            printed += [streams[name].buffer.getvalue().decode().replace(str(home), "HOME") for name in ("stdout", "stderr")]  # type: ignore[attr-defined]
        lines = sorted("".join(printed).splitlines()) if command == "mcp" else printed  # its calls run side by side
        written = {path.name: path.read_bytes() for path in home.rglob("*") if path.is_file() and path.suffix != ".sqlite"}
        return codes, lines, sorted(map(str, log)), written, sessions(home)


def sessions(home: Path) -> List[Any]:
    """The sessions of the calls in the usage log."""
    rows: List[Any] = []
    for path in home.rglob("usage.sqlite"):
        with closing(sqlite3.connect(path)) as database:
            rows += database.execute("SELECT model, session FROM calls ORDER BY 1, 2")
    return rows


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Bench]:
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        yield Bench(patch, tmp_path)
    signal.signal(signal.SIGTERM, before)


def words_of(command: str, probe: Probe) -> List[str]:
    """What both runs of a probe have in common, as far as the command has it."""
    options, words = c.parser_of(command).options, list(probe.with_words)
    words = words if "--message" in options else [word for word in words if word in ("--usage-log", "--continue")]
    return [*BASES.get(command, ()), *words]


QUICK = ("models", "doctor")
# `route` takes the words of a `chat`, to say what that would choose; these change nothing about it.
ACCEPTED = {"route": [
    "--system", "--temperature", "--top-p", "--frequency-penalty", "--presence-penalty", "--function-call", "--stop",
    "--tool-choice",
]}  # fmt: skip


@pytest.mark.parametrize("command", [*QUICK, *slow(*(name for name in COMMANDS if name not in QUICK))])
def test_every_option_has_an_effect(bench: Bench, command: str) -> None:
    without: List[str] = []
    for option in dict.fromkeys(c.parser_of(command).options.values()):
        flag = option.option_strings[-1]
        probe = PROBES[flag]
        words = words_of(command, probe)
        if flag == "--image":
            words = [word for word in words if word not in BASES[command]]
        before = bench.seen(command, words, probe.reply)
        after = bench.seen(command, [*words, *probe.words], probe.reply)
        assert before == bench.seen(command, words, probe.reply), (flag, "two equal runs differ")
        assert probe.fails or (after[0][0] == 0 and "llm-router: error: " not in after[1][1]), (flag, after)
        without += [flag] if before == after else []
    assert sorted(without) == sorted(ACCEPTED.get(command, [])), ", ".join(without)


NAMED = {
    "talk": "/model other\nHi\n",
    "mcp": call(1, "chat", message="Hi", model="other") + call(2, "compare", message="Hi", models=["m", "other"]),
}


@pytest.mark.parametrize("command", NAMED)
def test_a_model_that_is_named_later_takes_the_place_of_the_choice(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setitem(INPUTS, command, NAMED[command])
    codes, printed, sent, *_ = bench.seen(command, ["--task", "code"], "answer")
    shown = "\n".join(printed)
    assert codes == [0, 0] and '"model":"other"' in str(sent) and "error" not in shown.replace('"isError": false', ""), shown
    assert bench.seen(command, ["--task", "code", "-m", "other"], "answer")[0] == [2, 2]


STEPS = [*(step for _, step in c.ERRORS.values()), "Wait 3 s, or add --fallback with other models."]


def is_usable(step: str, command: str) -> bool:
    """Whether a next step names no option that the command lacks, and not the command itself."""
    named = set(re.findall(r"--[a-z][\w-]*", re.sub("`.*?`", "", step))) - {"--help"}
    return bool(step) and named <= set(c.parser_of(command).options) and f"`{command}" not in step


@pytest.mark.parametrize("command", COMMANDS)
def test_advice_names_no_option_that_the_command_lacks(command: str) -> None:
    parser = c.parser_of(command)
    asks_a_model = "--max-cost" in parser.options
    for step in (step for step in STEPS if asks_a_model or "--max-" not in step):
        said = parser.advice(step)
        assert is_usable(said, command), (step, said)
        assert said[:1].isupper() and said.endswith(".") and (said == step or not is_usable(step, command))


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("command", ["compare", "models", "doctor", "route"])
def test_an_error_advises_what_its_command_can_do(bench: Bench, command: str, as_json: bool) -> None:
    words = words_of(command, Probe(()))
    codes, printed, *_ = bench.seen(command, [*words, "--retries", "0", *(["--json"] if as_json else [])], "busy")
    steps = re.findall(r'next: (.+)|"next_step": "([^"]+)"', "".join(printed))
    assert codes == [6, 6] and steps and all(is_usable("".join(step), command) for step in steps), printed


def test_a_streamed_comparison_shows_the_time_to_the_first_text(bench: Bench) -> None:
    words = words_of("compare", Probe(()))
    text, table = (bench.seen("compare", [*words, *more], "answer")[1][0] for more in ([], ["--markdown"]))
    assert "== m (0.0 s, 2 tokens, stop)\n1\n" in text and "first text" not in table
    text, table = (bench.seen("compare", [*words, "--stream", *more], "answer")[1][0] for more in ([], ["--markdown"]))
    assert "== m (0.0 s, 0.0 s to the first text, 2 tokens, stop)\n1\n" in text
    assert table.startswith("| model | latency s | first text s | tokens |") and "| m | 0.0 | 0.0 | 2 |  | stop | 1 |" in table


@pytest.mark.parametrize("command", ["models", "doctor"])
def test_an_endpoint_without_a_list_is_no_reason_to_search_it(bench: Bench, command: str) -> None:
    codes, printed, *_ = bench.seen(command, [], "no list")
    assert codes == [5, 5] and printed[1].endswith("next: Check --base-url.\n"), printed


@pytest.mark.parametrize(("words", "said"), [
    (["--search", "nothing"], "0 of 24 models match 'nothing', 0 shown; without --search all are listed"),
    (["--search", "gpt", "--limit", "1"], "7 of 24 models match 'gpt', 1 shown; --limit 0 shows all, --search narrows"),
    (["--search", "gpt"], ""),
])  # fmt: skip
def test_models_says_how_to_see_more(bench: Bench, words: List[str], said: str) -> None:
    assert bench.seen("models", words, "answer")[1][1] == (f"llm-router: {said}\n" if said else "")
