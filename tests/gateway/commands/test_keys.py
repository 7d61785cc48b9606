"""keys on the command line: what it prints where, its exit codes, and a store that is missing, damaged or somebody else's."""

from __future__ import annotations

import json
import re
import sqlite3
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from running import command
from storing import call

from llm_router_gateway.commands import keys as keycli
from llm_router_gateway.config.numbers import LAST_TIME
from llm_router_gateway.errors import GatewayError
from llm_router_gateway.store.sqlite.database import Store

CONFIG = '[[providers]]\nname = "ollama"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "router.toml").write_text(CONFIG)
    return tmp_path


def keys(folder: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[bytes]:
    done = command(folder, "keys", *words)
    assert done.returncode == code, done.stderr
    assert b"Traceback" not in done.stderr
    return done


def shown(folder: Path, *words: str) -> Any:
    return json.loads(keys(folder, *words, "--json").stdout)


def test_a_key_is_printed_once_and_alone(folder: Path) -> None:
    done = keys(folder, "create", "--name", "laptop", "--owner", "me")
    key = done.stdout.decode()
    assert key.startswith("llmr_") and key.count("\n") == 1
    assert b"laptop" in done.stderr and key.strip().encode() not in done.stderr
    stored = (folder / "router.db").read_bytes()
    assert key.strip().encode() not in stored and stat.S_IMODE((folder / "router.db").stat().st_mode) == 0o600
    assert key.strip().encode() not in keys(folder, "list", "--json").stdout


def test_every_command_that_describes_a_key_says_what_it_has_spent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, now = str(tmp_path / "router.db"), time.time()
    monkeypatch.setattr(time, "time", lambda: now)  # else a day may end between two commands

    def describe(*words: str) -> Any:
        assert keycli.run([*words, "--store", place, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        return found.get("item", found)

    key_id = describe("create", "--name", "a")["id"]
    store = Store.open(place, wall=lambda: now)
    store.add(call(key_id=key_id, started_ms=int(now * 1_000), cost_usd=0.25, input_tokens=5, output_tokens=7))
    store.close()
    spent = describe("show", "a")["spent"]
    assert (spent["usd_month"], spent["tokens_month"]) == (0.25, 12)
    for command_name in ("disable", "enable", "rotate"):
        assert describe(command_name, "a")["spent"] == spent, command_name


@pytest.mark.slow
def test_no_other_command_prints_a_key(folder: Path) -> None:
    key = keys(folder, "create", "--name", "laptop").stdout.strip()
    for words in (("list",), ("show", "laptop"), ("disable", "laptop"), ("enable", "laptop")):
        assert key not in keys(folder, *words).stdout


@pytest.mark.slow
def test_a_key_has_what_its_flags_say(folder: Path) -> None:
    made = shown(
        folder, "create", "--name", "ci", "--models", "ollama/*,gpt-4.1", "--groups", "fast", "--admin",
        "--expires", "2099-01-31",
        "--param", "max_tokens=1000", "--param", "temperature=0..0.7", "--requests", "60/60", "--tokens-per-minute", "10k",
        "--max-concurrent", "2", "--usd-per-day", "5", "--tokens-per-month", "1000000", "--network", "10.0.0.0/8",
    )  # fmt: skip
    item = shown(folder, "show", "ci")
    assert item == made["item"] and made["key"].startswith(item["hint"][:-3])
    assert item["allowed_models"] == ["ollama/*", "gpt-4.1"] and item["is_admin"] and item["networks"] == ["10.0.0.0/8"]
    assert item["parameter_limits"] == {"max_tokens": 1000, "temperature": {"min": 0, "max": 0.7}}
    limits = item["limits"]
    assert (limits["max_requests"], limits["tokens_per_minute"], limits["max_concurrent"]) == (60, 10_000, 2)
    assert (item["budget"]["usd_per_day"], item["budget"]["tokens_per_month"]) == (5, 1_000_000)
    assert item["expires_at"] == "2099-02-01T00:00:00Z"


@pytest.mark.slow
def test_a_key_is_switched_rotated_and_deleted_by_name_or_id(folder: Path) -> None:
    first = shown(folder, "create", "--name", "a")
    assert shown(folder, "disable", "a")["is_active"] is False
    assert b"disabled" in keys(folder, "list").stdout
    assert shown(folder, "enable", first["item"]["id"])["is_active"] is True
    second = shown(folder, "rotate", "a")
    assert second["key"] != first["key"] and second["item"]["id"] == first["item"]["id"]
    assert keys(folder, "rotate", "a").stdout.startswith(b"llmr_")
    assert shown(folder, "delete", "a") == {"deleted": first["item"]["id"]}
    assert shown(folder, "list") == {"items": []}


@pytest.mark.slow
def test_an_end_in_the_past_is_a_usage_error_with_the_date_of_today(folder: Path) -> None:
    for end in ("2025-01-31", "2025-01-31T18:00:00Z", "0d"):
        told = keys(folder, "create", "--name", "late", "--expires", end, code=2)
        today = time.strftime("%Y-%m-%d", time.gmtime())
        assert f"--expires {end} is in the past: it is {today}T".encode() in told.stderr and told.stdout == b""
    assert shown(folder, "list") == {"items": []}


@pytest.mark.slow
def test_a_pattern_that_nothing_fits_is_a_warning_beside_the_key(folder: Path) -> None:
    done = keys(folder, "create", "--name", "ci", "--models", "olama/*", "--groups", "fast")
    assert done.stdout.startswith(b"llmr_") and done.stdout.count(b"\n") == 1
    said = done.stderr.decode().splitlines()
    assert said[:2] == [
        'warning: the key "ci": allowed_models has "olama/*", which matches nothing in the configuration',
        'warning: the key "ci": allowed_groups has "fast", which matches nothing in the configuration',
    ]
    assert len(shown(folder, "create", "--name", "more", "--models", "olama/*")["warnings"]) == 1
    assert shown(folder, "create", "--name", "fine", "--models", "ollama/*")["warnings"] == []
    elsewhere = keys(folder, "create", "--name", "x", "--models", "olama/*", "--store", "router.db")
    assert b"warning" not in elsewhere.stderr, "without a configuration nothing is known of models"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("create", "--name", "taken"), 1, "already"), (("create", "--name", "a/b"), 1, "name"),
        (("create", "--name", "x", "--expires", "soon"), 1, "expires_at"),
        (("create", "--name", "x", "--param", "a=b"), 1, "--param"),
        (("create", "--name", "x", "--requests", "many"), 1, "--requests"),
        (("create", "--name", "x", "--models", ","), 1, "empty"),
        (("create", "--name", "x", "--network", "here"), 1, "networks"), (("show", "nobody"), 1, "nobody"),
        (("disable", "nobody"), 1, "nobody"), (("delete", "nobody"), 1, "nobody"), (("rotate", "nobody"), 1, "nobody"),
        (("create",), 2, "--name"), (("burn", "a"), 2, "burn"), ((), 2, "COMMAND"),
        (("list", "-c", "none.toml"), 2, "none.toml"),
        (("list", "--store", "none.db"), 1, "keys create"),
    ],
)  # fmt: skip
def test_what_was_not_done_has_a_reason_and_a_code(words: tuple[str, ...], code: int, told: str, folder: Path) -> None:
    keys(folder, "create", "--name", "taken")
    done = keys(folder, *words, code=code)
    assert told.encode() in done.stderr and done.stdout == b""


@pytest.mark.slow
def test_a_store_that_is_damaged_or_of_another_program_is_left_as_it_is(folder: Path) -> None:
    (folder / "router.db").write_bytes(b"this is no database, but it is somebody's" * 100)
    other = sqlite3.connect(folder / "other.db")
    other.execute("CREATE TABLE mine (x)")
    other.close()
    for words in (("list",), ("create", "--name", "x"), ("list", "--store", "other.db"), ("list", "--store", str(folder))):
        done = keys(folder, *words, code=1)
        assert done.stdout == b"" and done.stderr
    assert (folder / "router.db").read_bytes().startswith(b"this is no")


@pytest.mark.slow
def test_without_a_file_of_a_store_it_says_what_to_do(tmp_path: Path) -> None:
    assert b"router.toml" in keys(tmp_path, "list", code=1).stderr
    (tmp_path / "router.toml").write_text('[server]\nstore = "off"\n' + CONFIG)
    assert b"store" in keys(tmp_path, "create", "--name", "x", code=1).stderr


@pytest.mark.slow
def test_names_from_the_store_cannot_steer_a_terminal(folder: Path) -> None:
    keys(folder, "create", "--name", "evil\u202egnp", "--note", "x")
    assert b"\xe2\x80\xae" not in keys(folder, "list").stdout + keys(folder, "show", "evil\u202egnp").stdout


def test_times_may_be_relative_to_now() -> None:
    assert keycli.expiry("1d", 0.0) == "1970-01-02T00:00:00Z" and keycli.expiry("2027-01-31", 0.0) == "2027-01-31"
    assert keycli.expiry("36h", 0.0) == "1970-01-02T12:00:00Z" and keycli.expiry("d", 0.0) == "d"


@pytest.mark.slow
def test_a_reset_without_a_configuration_says_how_a_key_of_a_file_is_named(folder: Path) -> None:
    keys(folder, "create", "--name", "laptop")
    (folder / "router.toml").write_text(CONFIG + '[[keys]]\nname = "ci"\nkey = "a-key-of-the-file"\n')
    assert b"name that with -c FILE" in keys(folder, "reset", "ci", "--store", "router.db", code=1).stderr
    assert b"nobody" in keys(folder, "reset", "nobody", code=1).stderr
    assert b"reset ci (config:ci)" in keys(folder, "reset", "ci").stderr
    assert [each["name"] for each in shown(folder, "list")["items"]] == ["laptop"]


@pytest.mark.slow
def test_help_names_every_exit_code(folder: Path) -> None:
    text = keys(folder, "--help").stdout.decode()
    assert all(
        each in text for each in ("0 done", "1 no such key", "2 usage or configuration error", "create", "rotate", "KEY=$(")
    )


@pytest.mark.slow
def test_a_name_of_the_configuration_is_not_to_be_had(folder: Path) -> None:
    named = '[server]\ntoken = "a-token-of-ours"\n' + CONFIG + '[[keys]]\nname = "ours"\nkey = "a-key-of-the-file"\n'
    (folder / "router.toml").write_text(named)
    for name in ("ours", "token-1"):
        assert name.encode() in keys(folder, "create", "--name", name, code=1).stderr
    keys(folder, "create", "--name", "token-2")


@pytest.mark.slow
def test_print_config_counts_the_keys_of_the_store(folder: Path) -> None:
    def said() -> str:
        done = command(folder, "--print-config")
        return next(line for line in done.stdout.decode().splitlines() if line.startswith("# who may call"))

    assert "without a key" in said()
    keys(folder, "create", "--name", "laptop")
    assert said().endswith("callers with a key: 1 key of the store")
    (folder / "router.db").write_bytes(b"no database" * 100)
    assert said().endswith("keys of a store that cannot be read here")


@pytest.mark.slow
def test_a_key_for_monitoring(folder: Path) -> None:
    assert shown(folder, "create", "--name", "grafana", "--monitor")["item"]["is_monitor"]
    assert b" monitor " in keys(folder, "list").stdout
    assert b"is_monitor" in keys(folder, "create", "--name", "both", "--monitor", "--admin", code=1).stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--expires", "\u00b2d"], 'expires_at: "\u00b2d" is not a time'),
        (["--tokens-per-minute", "\u00b2"], "limits.tokens_per_minute: "),
        (["--requests", ""], "--requests : write N/SECONDS"),
        (["--param", "n=1", "--param", "n=2"], "--param n is given twice: write n=MIN..MAX for both ends"),
    ],
)
def test_a_value_that_cannot_be_is_said_in_a_line(words: list[str], said: str) -> None:
    options = keycli.parser().parse_args(["create", "--name", "x", *words])
    with pytest.raises((keycli.CommandFailed, GatewayError), match=re.escape(said)):
        keycli.described_key(options, 0.0)


def test_an_expiry_beyond_all_years_is_the_end_of_the_last() -> None:
    options = keycli.parser().parse_args(["create", "--name", "x", "--expires", "999999999999d"])
    assert keycli.described_key(options, 0.0).expires == LAST_TIME
