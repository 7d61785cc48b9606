"""main: flags from the table, exit codes, and what is said before anything is served."""

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from llm_router_gateway.commands import check, models, serve
from llm_router_gateway.commands import main as cli
from llm_router_gateway.config import settings
from llm_router_gateway.config.config import Config, parse
from llm_router_gateway.config.sources import Source
from llm_router_gateway.errors import GatewayError

ROOT = Path(__file__).parents[3]
KEY = "k" + "ey-" * 4


def command(*words: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {"PATH": os.environ["PATH"], "HOME": str(cwd), **env}
    words = (sys.executable, str(ROOT / "scripts" / "llm_router_gateway"), *words)
    return subprocess.run(words, cwd=cwd, env=clean, capture_output=True, text=True, timeout=30, check=False)


def test_flags_are_those_of_the_table() -> None:
    options = cli.parser().parse_args(["-i", "::1", "-p", "9", "--proxy", "http://p:1", "-l", "warn"])
    assert cli.flags_of(options) == {"host": "::1", "port": "9", "proxy": "http://p:1", "log_level": "warn"}
    text = cli.parser().format_help()
    for setting in settings.SERVER:
        assert not setting.flag or setting.flag.rsplit("/", 1)[-1] in text
    for code in cli.EXIT_CODES:
        assert f"\n  {code}  " in text


def test_the_whole_configuration_is_printed_and_no_key_is(tmp_path: Path) -> None:
    (tmp_path / "router.toml").write_text("[[providers]]\nname = 'claude'\n")
    (tmp_path / ".env").write_text(f"ANTHROPIC_API_KEY={KEY}\n")
    done = command("--print-config", "-p", "9", cwd=tmp_path)
    assert done.returncode == 0
    assert "port = 9  # --port" in done.stdout
    assert "keys: 1 set" in done.stdout
    assert KEY not in done.stdout + done.stderr


def test_a_printed_configuration_has_its_notes_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "router.toml").write_text("[[providers]]\nname = 'claude'\napi_key_env = 'NOWHERE_SET'\n")
    assert cli.main(["--print-config"]) == 0
    out, err = capsys.readouterr()
    assert out.count("NOWHERE_SET is not set); its models answer 503") == 1 and "# note: claude: " in out and not err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cofnig", "canary"], "unknown argument '--cofnig'; did you mean --config? See "),
        (["--api-key=canary"], "unknown argument '--api-key'; see "),
        (["--api-key", "canary"], "unknown argument '--api-key'; see "),
        (["keys", "create", "--name", "x", "--admni"], "unknown argument '--admni'; did you mean --admin? See "),
        (["install", "contaner"], "choose from "),
        (["models", "refresh", "--port", "1"], "unknown argument '--port'"),
    ],
)
def test_wrong_usage_names_the_nearest_option_and_no_value_that_may_be_a_key(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    err = capsys.readouterr().err
    assert ended.value.code == 2 and said in err and "canary" not in err and " --help." in err.splitlines()[-1], err


@pytest.mark.parametrize("words", [["keys", "list"], ["store", "backup", "x"], ["models", "refresh"], ["explain", "-m", "x"]])
def test_every_command_lists_each_problem_on_a_line_of_its_own(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"model": "x"}')))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "router.toml").write_text("[server]\nport = 70000\n[[providers]]\nname = 'opnai'\n")
    assert cli.main(words) == 2
    first, *problems = capsys.readouterr().err.splitlines()
    assert first == "the configuration cannot be used:"
    assert problems[0] == "  server.port: 70000 is above 65535" and problems[1].startswith("  providers[0].type: ")


STEERING = "\x1b[31m\nforged line"  # a colour, and a line of its own


def output_of(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says on both streams: one line for each thing, and nothing that steers a terminal."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"model": "x"}')))
    cli.main(words)
    said = "".join(capsys.readouterr())
    assert "\x1b" not in said and not any(line.startswith("forged") for line in said.splitlines()), said
    assert "\\x1b[31m\\x0aforged line" in said
    return said


@pytest.mark.parametrize("words", [
    [], ["--check"], ["--print-config"], ["keys", "list"], ["explain", "-m", "x"], ["convert", "--from", "openai", "--to", "x"],
    ["models", "refresh"],
])  # fmt: skip
def test_a_name_from_the_file_cannot_steer_a_terminal(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "router.toml").write_text(f"{json.dumps(STEERING)} = 1\n")
    output_of(words, monkeypatch, capsys)


def test_a_note_cannot_steer_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    class SourceWithNote(Source):
        def load(self) -> Config:
            return replace(parse({}), notes=(STEERING,))

    assert cli.load(SourceWithNote("r.toml", flags={}, env={})) is not None
    assert capsys.readouterr().err == "note: \\x1b[31m\\x0aforged line\n"


@pytest.mark.parametrize("words", [["--check"], ["models", "refresh"]])
def test_the_words_of_a_provider_cannot_steer_a_terminal(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def refuse(*_: object) -> bytes:
        raise GatewayError(f"no {STEERING}", status=401)

    for module in (check, models):
        monkeypatch.setattr(module, "fetch", refuse)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "router.toml").write_text('[[providers]]\nname = "up"\napi = "openai"\nbase_url = "http://127.0.0.1:1/v1"\n')
    assert "up" in output_of(words, monkeypatch, capsys)


def test_a_configuration_that_is_not_there_says_where_its_path_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, why in (("no.toml", "No such file or directory"), (".", "Is a directory")):
        assert cli.main(["-c", name]) == 2
        assert f"cannot be read: {why}; check the path, which starts in {tmp_path}" in capsys.readouterr().err


@pytest.mark.slow
def test_every_problem_is_listed_and_the_exit_code_is_2(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text("[server]\nport = 70000\n[[providers]]\nname = 'opnai'\n")
    done = command("-c", "r.toml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "r.toml: 2 problems\n  server.port: 70000 is above 65535\n  providers[0].type:" in done.stderr


@pytest.mark.slow
def test_an_address_that_others_reach_needs_a_token(tmp_path: Path) -> None:
    done = command("-i", ".".join("0000"), cwd=tmp_path, OPENAI_API_KEY=KEY)
    assert done.returncode == 2
    assert "LLM_ROUTER_TOKEN or --token-file" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("words", [["--nope"], ["--por", "1"], ["convert"], ["convert", "--from", "x", "--to", "gemini"]])
def test_wrong_usage_is_exit_code_2(words: list[str], tmp_path: Path) -> None:
    assert command(*words, cwd=tmp_path).returncode == 2


@pytest.mark.slow
def test_help_and_version_need_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "router.toml").write_text("broken")
    assert command("--version", cwd=tmp_path).stdout.startswith("llm-router-gateway ")
    assert "exit codes:" in command("--help", cwd=tmp_path).stdout


def test_an_older_python_gets_a_sentence(tmp_path: Path) -> None:
    code = "import sys, runpy; sys.version_info = (3, 9, 18); runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    main = ROOT / "scripts" / "llm_router_gateway" / "__main__.py"
    done = subprocess.run([sys.executable, "-c", code, str(main)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "needs Python 3.11 or newer; this is 3.9" in done.stderr


def test_the_first_file_reads_as_any_python_3() -> None:
    import ast

    source = (ROOT / "scripts" / "llm_router_gateway" / "__main__.py").read_text()
    assert ast.parse(source, feature_version=(3, 4))


def test_what_to_do_next_is_said_once_the_address_is_open() -> None:
    lines = "\n".join(serve.ready_lines(parse({}, flags={"host": "::1"}), 9, demo=True, is_open=True))
    assert "http://[::1]:9/v1" in lines
    assert "no token" in lines
    closed = parse({}, env={"LLM_ROUTER_TOKEN": KEY})
    assert "no token" not in "\n".join(serve.ready_lines(closed, 9, demo=False, is_open=False))


def test_the_mock_server_is_one_provider_for_each_protocol() -> None:
    made = parse(cli.demo_document("http://127.0.0.1:1"))
    assert [provider.url("chat", "demo") for provider in made.providers] == [
        "http://127.0.0.1:1/v1/chat/completions", "http://127.0.0.1:1/v1/messages",
        "http://127.0.0.1:1/v1beta/models/demo:generateContent",
    ]  # fmt: skip


@pytest.mark.parametrize(("word", "hint"), [("key", "did you mean keys? "), ("zzz", "'zzz'. Commands: keys, ")])
def test_an_unknown_command_names_the_commands(word: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([word, "--help"]) == 2
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_of_the_help_text_exists(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([name, "--help"])
    assert end.value.code == 0
    assert f"gateway {name}" in capsys.readouterr().out


def test_a_conversion_without_a_model_says_how_to_name_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"messages": []}')))
    assert cli.main(["convert", "--from", "anthropic", "--to", "gemini"]) == 1
    assert "give --model" in capsys.readouterr().err
