"""import: what is printed or written, what is listed beside it, and files that are not what they should be."""

import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

from llm_router_gateway.commands import imports

SECRET = "canary-" * 3  # pragma: allowlist secret
CHANNELS: dict[str, Any] = {"data": [{"type": 1, "name": "main", "key": SECRET, "models": "gpt-5"}]}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_file_is_printed_and_nothing_else_on_stdout(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "channels.json").write_text(json.dumps(CHANNELS))
    assert imports.run(["one-api", "channels.json"]) == 0
    out, err = capsys.readouterr()
    assert tomllib.loads(out)["providers"] == [{"name": "main", "type": "openai", "api_key": SECRET}] and not err


def test_a_file_is_written_for_its_owner_alone_and_replaces_none(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "channels.json").write_text(json.dumps(CHANNELS))
    assert imports.run(["one-api", "channels.json", "-o", "router.toml"]) == 0
    written = folder / "router.toml"
    assert "gpt-5" in written.read_text() and (os.name == "nt" or written.stat().st_mode & 0o077 == 0)
    assert imports.run(["one-api", "channels.json", "-o", "router.toml"]) == 2
    assert "router.toml cannot be written: File exists; name a new file" in capsys.readouterr().err


def test_what_the_new_file_lacks_is_listed_with_exit_code_1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    channel = {**CHANNELS["data"][0], "type": 3, "base_url": ""}  # Azure without a resource
    (folder / "channels.json").write_text(json.dumps([channel, CHANNELS["data"][0]]))
    code = imports.run(["one-api", "channels.json"])
    out, err = capsys.readouterr()
    assert (code, "to be corrected: " in err) == (1, True) and tomllib.loads(out)["providers"]


@pytest.mark.parametrize(
    ("kind", "name", "text", "said"),
    [
        ("litellm", "a.json", "[1,", "a.json: is not JSON: "),
        ("litellm", "a.json", "{}", "a.json: there is nothing to import: LiteLLM's config.yaml has models in model_list"),
        (
            "jq-server",
            "a.json",
            "{}",
            "a.json: there is nothing to import: the jq server's config.yaml has models in model_list",
        ),
        ("one-api", "a.json", '{"success": false, "message": "no"}', "an administrator's token"),
        ("one-api", "a.json", '[{"type": 1}, 7]', "a.json: the list of channels[1] is not a table"),
        ("litellm", "a.yaml", f"a: [1, 2\nkey: {SECRET}", "a.yaml: is not YAML: "),
        ("litellm", "a.yaml", f"a: {{api_key: {SECRET}: x}}", " at line 1, column "),
        ("litellm", "a.yaml", f"key: '{SECRET}", " at line 1, column "),
        ("litellm", "a.yaml", "a: &x [1]\nb: *y", "at line 2, column 4"),
    ],
)
def test_a_file_that_is_none_is_exit_code_2_and_shows_no_key(
    folder: Path, capsys: pytest.CaptureFixture[str], kind: str, name: str, text: str, said: str
) -> None:
    if name.endswith("yaml"):
        pytest.importorskip("yaml")
    (folder / name).write_text(text)
    assert imports.run([kind, name]) == 2
    out, err = capsys.readouterr()
    assert said in err and err.count(name) == 1 and SECRET not in err and not out


def test_a_file_that_cannot_be_read_is_named_once_with_where_its_path_starts(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "binary.json").write_bytes(b"\xff\xfe\x00")
    for name, said in ((".", "Is a directory"), ("missing.json", "No such file"), ("binary.json", "is not text in UTF-8")):
        assert imports.run(["litellm", name]) == 2
        err = capsys.readouterr().err
        assert said in err and (name == "binary.json" or f"check the path, which starts in {folder}" in err), err
