"""explain: every candidate, its weight, health, selector result, and why it is taken or not."""

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llm_router_gateway.commands import main

CONFIG = """\
[[providers]]
name = "a"
api = "openai"
base_url = "http://a.example"
[[providers]]
name = "b"
type = "claude"
[[models]]
name = "m"
provider = "a"
tags = ["coding"]
[[models]]
name = "n"
provider = "a"
is_active = false
[[models]]
name = "x"
provider = "b"
[[groups]]
name = "g"
strategy = "roundrobin"
[[groups.members]]
model = "a/m"
weight = 30
selector = '.tools | length == 0'
[[groups.members]]
model = "b/x"
weight = 70
[[groups.members]]
model = "a/n"
"""


class Run:
    """One command line: what it printed and its exit code."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self._patch, self._capsys, self._folder = monkeypatch, capsys, folder
        (folder / "router.toml").write_text(CONFIG)

    def __call__(self, *words: str, body: object = None, is_terminal: bool = False) -> tuple[int, str, str]:
        return self.command("explain", *words, body=body, is_terminal=is_terminal)

    def command(self, name: str, *words: str, body: object, is_terminal: bool = False) -> tuple[int, str, str]:
        data = b"" if body is None else json.dumps(body).encode()
        self._patch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: is_terminal))
        code = main.main([name, "-c", str(self._folder / "router.toml"), *words])
        told = self._capsys.readouterr()
        return code, told.out, told.err


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    return Run(monkeypatch, capsys, tmp_path)


def test_a_terminal_shows_that_input_is_awaited(run: Run) -> None:
    assert "Ctrl-D" in run("--model", "g", body={"messages": []}, is_terminal=True)[2]
    assert not run("--model", "g", body={"messages": []})[2]


def test_every_candidate_has_its_line(run: Run) -> None:
    code, out, _ = run("--model", "g", body={"messages": []})
    lines = out.splitlines()
    assert (code, lines[0]) == (0, "g (roundrobin): a/m would be tried first")
    assert [line.split()[:2] for line in lines[1:]] == [["take", "a/m"], ["-", "b/x"], ["-", "a/n"]]
    assert "weight 30, 100 % of requests" in lines[1]
    assert "weight 70, 0 % of requests" in lines[2]
    assert "no key" in lines[2]
    assert "off" in lines[3]


def test_a_selector_that_is_not_true_says_so_and_none_is_exit_code_1(run: Run) -> None:
    code, out, _ = run("--model", "g", body={"tools": [1]})
    assert code == 1
    assert "no member would be tried" in out
    assert "selector" in out.splitlines()[1]


def test_as_json_it_is_what_route_tells(run: Run) -> None:
    code, out, _ = run("--model", "tag:coding", "--json", body={})
    told: dict[str, Any] = json.loads(out)
    assert (code, told["chosen"]) == (0, "a/m")
    assert told["candidates"][0]["state"] == "ok"


def test_the_request_may_name_its_model_whose_weight_decides_nothing(run: Run) -> None:
    assert run(body={"model": "a/m"})[1] == "a/m: a/m would be tried first\ntake  a/m  ok  chosen\n"
    code, _, err = run(body={})
    assert code == 1
    assert "model is missing" in err


@pytest.mark.parametrize(("words", "told"), [(["--model", "tag:none"], "coding"), (["--model", "a/none"], "a/none")])
def test_what_there_is_not_is_reported_as_a_caller_would_be(run: Run, words: list[str], told: str) -> None:
    code, out, err = run(*words)
    assert (code, out) == (1, "")
    assert err.startswith("404 ")
    assert told in err


def test_a_file_that_cannot_be_used_is_exit_code_2(run: Run) -> None:
    assert run("-c", "/nowhere/router.toml", "--model", "g")[0] == 2


def test_headers_of_the_request_are_seen(run: Run) -> None:
    assert run("--model", "g", "-H", "X-Team: red", body={})[0] == 0


@pytest.mark.parametrize("header", ["canary", ":canary", "a b: canary"])
def test_a_header_that_is_none_is_a_usage_error_that_does_not_repeat_it(
    run: Run, header: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run("--model", "g", "-H", header, body={})
    err = capsys.readouterr().err
    assert ended.value.code == 2 and "argument -H/--header: it is not NAME:VALUE" in err and "canary" not in err


def test_a_group_cannot_be_converted_to_and_its_members_are_named(run: Run) -> None:
    code, _, err = run.command("convert", "--from", "openai", "--to", "g", body={"model": "x", "messages": []})
    assert code == 1
    assert "g is a group: give one of its members as --to: a/m, b/x, a/n; explain shows" in err


def test_terminal_codes_in_a_name_are_printed_as_text(run: Run) -> None:
    _, out, err = run("--model", "tag:\x1b[31mred")
    assert "\x1b" not in out + err


def test_a_key_of_the_file_may_be_tried(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEAM_KEY", "k" * 20)
    file = run._folder / "router.toml"
    file.write_text(CONFIG.replace("[[models]]\nname = \"x\"", '[[keys]]\nname = "team"\nkey_env = "TEAM_KEY"\n'
                                   'allowed_providers = ["a"]\n[[models]]\nname = "x"'))  # fmt: skip
    code, out, _ = run("--model", "g", "--key", "team", body={"messages": []})
    assert code == 0 and "not allowed for this key" in out.splitlines()[2]
    assert run("--model", "b/x", "--key", "team")[2].startswith("403 not_allowed")
    assert "team" in run("--model", "g", "--key", "nobody")[2]
