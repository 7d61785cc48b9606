"""sources: router.toml, the .env beside it and secret files, read again when they change."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from llm_router_gateway.config import sources
from llm_router_gateway.config.config import ConfigError
from llm_router_gateway.config.sources import Source

KEY = "k" + "ey-" * 4


def test_the_file_the_env_beside_it_and_a_secret_beside_it_make_the_config(tmp_path: Path) -> None:
    path = tmp_path / "router.toml"
    path.write_text('[server]\nport = 3\ntoken_file = "token"\n[[providers]]\nname = "openai"\napi_key_env = "MINE"\n')
    (tmp_path / ".env").write_text(f"MINE={KEY}\nLLM_ROUTER_PORT=4\n")
    (tmp_path / "token").write_text(KEY + "\n")
    config = Source(str(path), flags={}, env={}).load()
    assert (config.server.port, config.server.tokens[0].reveal(), config.providers[0].keys[0].reveal()) == (4, KEY, KEY)
    assert Source(str(path), flags={}, env={"LLM_ROUTER_PORT": "5"}).load().server.port == 5


def test_a_line_of_the_env_that_sets_nothing_is_named_by_its_number_alone(tmp_path: Path) -> None:
    (tmp_path / "router.toml").write_text("[[providers]]\nname = 'ollama'\n")
    env = tmp_path / ".env"
    env.write_text("# names\n\nexport A='b' # c\nOPENAI_API_KEY: canary\nset B=canary\ncanary\nC=\ncanary 2\n")
    env.chmod(0o600)
    notes = Source(str(tmp_path / "router.toml"), flags={}, env={}).load().notes
    assert notes == tuple(f"{env}: line {number} is not NAME=value and is ignored" for number in (4, 5, 6))


def test_notes_of_loads_that_failed_are_not_those_of_the_next(tmp_path: Path) -> None:
    path = tmp_path / "router.toml"
    (tmp_path / ".env").write_text("odd\n")
    (tmp_path / ".env").chmod(0o600)
    source = Source(str(path), flags={}, env={})
    for text in ("[", "[[none]]", "[[providers]]\nname = 'opnai'\n"):
        path.write_text(text)
        with pytest.raises(ConfigError):
            source.load()
    path.write_text("[[providers]]\nname = 'ollama'\n")
    assert len(source.load().notes) == 1


def test_a_change_of_any_of_the_files_is_seen_once(tmp_path: Path) -> None:
    path, token = tmp_path / "router.toml", tmp_path / "token"
    path.write_text('[server]\ntoken_file = "token"\n')
    token.write_text("one")
    source = Source(str(path), flags={}, env={})
    source.load()
    assert not source.has_changed()
    for file, text in ((path, '[server]\nport = 5\ntoken_file = "token"\n'), (token, "other"), (tmp_path / ".env", "A=1")):
        file.write_text(text)
        assert source.has_changed()
        assert not source.has_changed()
        source.load()
    path.unlink()
    assert source.has_changed()


@pytest.mark.parametrize("name", ["router.toml", ".env", "token"])
def test_what_is_written_while_it_is_read_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for file, text in (("router.toml", '[server]\ntoken_file = "token"\n'), (".env", "A=1"), ("token", "half")):
        (tmp_path / file).write_text(text)
    source = Source(str(tmp_path / "router.toml"), flags={}, env={})
    take = source._take

    def take_and_write_the_rest(*given: Any) -> Any:
        made = take(*given)
        with (tmp_path / name).open("a") as file:
            file.write("#")
        return made

    monkeypatch.setattr(source, "_take", take_and_write_the_rest)
    source.load()
    assert source.has_changed()
    assert not source.has_changed()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("port = ", "is not TOML: Invalid value (at end of document)"),
        ("[server]\nport = 0x\n", "line 2"),
        ("\udcff", "TOML"),
        (f"a = {'[' * 5000}{']' * 5000}", "is nested too deeply"),
    ],
)
def test_a_file_that_is_no_toml_is_a_problem_with_its_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "router.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError) as caught:
        Source(str(path), flags={}, env={}).load()
    assert message in str(caught.value)


def test_a_file_that_was_named_and_is_not_there_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        Source(str(tmp_path / "none.toml"), flags={}, env={}).load()


def test_without_a_file_the_environment_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sources, "local_server_is_there", lambda: True)
    (tmp_path / ".env").write_text(f"GEMINI_API_KEY={KEY}\n")  # not beside a file of ours: anybody's
    source = Source("", flags={}, env={"OPENAI_API_KEY": KEY})
    assert [provider.name for provider in source.load().providers] == ["openai", "ollama"]
    (tmp_path / "router.toml").write_text("[[providers]]\nname = 'claude'\n")
    assert [provider.name for provider in Source("", flags={}, env={}).load().providers] == ["claude"]
    assert Source("", flags={}, env={sources.FILE_VARIABLE: "router.toml"}).name == "router.toml"


def test_an_ollama_is_looked_for_and_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert sources.local_server_is_there(server.getsockname())
        port = server.getsockname()[1]
    assert not sources.local_server_is_there(("127.0.0.1", port))


@pytest.mark.skipif(os.getuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "router.toml"
    path.touch(0o000)
    with pytest.raises(ConfigError, match="Permission"):
        Source(str(path), flags={}, env={}).load()


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
@pytest.mark.parametrize(("text", "is_named"), [
    (f"[[providers]]\nname = 'openai'\napi_key = '{KEY}'\n", True),
    (f"[[providers]]\nname = 'openai'\n[providers.settings.headers]\nX-Api-Token = '{KEY}'\n", True),
    (f"[server]\ntoken = '{KEY}'\n[[providers]]\nname = 'ollama'\n", True),
    (f"[server]\nadmin_token = '{KEY}'\n[[providers]]\nname = 'ollama'\n", True),
    (f"[[providers]]\nname = 'ollama'\n[[keys]]\nname = 'k'\nkey = '{KEY}'\n", True),
    ("[[providers]]\nname = 'openai'\napi_key_env = 'OPENAI_API_KEY'\n", False),
])  # fmt: skip
def test_a_file_with_keys_that_everybody_can_read_is_named(tmp_path: Path, text: str, is_named: bool) -> None:
    path = tmp_path / "router.toml"
    path.write_text(text)
    for mode, is_open in ((0o644, True), (0o640, False), (0o600, False)):
        path.chmod(mode)
        notes = [note for note in Source(str(path), flags={}, env={"OPENAI_API_KEY": KEY}).load().notes if "chmod" in note]
        assert bool(notes) == (is_named and is_open), mode
        assert all(str(path) in note and KEY not in note for note in notes)


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_variables_and_key_files_that_everybody_can_read_are_named_too(tmp_path: Path) -> None:
    path = tmp_path / "router.toml"
    path.write_text("[[providers]]\nname = 'openai'\napi_key_file = 'secret'\n")
    for name in (".env", "secret"):
        (tmp_path / name).write_text(KEY)
    for name in (".env", "secret"):
        (tmp_path / ".env").chmod(0o600)
        (tmp_path / "secret").chmod(0o600)
        (tmp_path / name).chmod(0o644)
        [note] = [note for note in Source(str(path), flags={}, env={}).load().notes if "chmod" in note]
        assert str(tmp_path / name) in note and KEY not in note
