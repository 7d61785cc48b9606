"""overlay and sources: what the API changed is laid over the file, survives it, and never stops a start."""

from __future__ import annotations

import json
import os
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_router_gateway.config import overlay, sources
from llm_router_gateway.config.config import Config, ConfigError, parse
from llm_router_gateway.config.describe import config_text
from llm_router_gateway.config.overlay import (
    ADDED,
    CHANGED,
    REMOVED,
    Entry,
    change_entry,
    forget_entry,
    lay_over,
    merge,
    patch_fields,
    remove_entry,
)
from llm_router_gateway.config.sources import Source

IN_FILE = "of-" + "the-file"
FILE = f"""
[[providers]]
name = "openai"
api_key = "{IN_FILE}"
[providers.settings]
timeout = 5

[[providers]]
name = "office"
api = "openai"
base_url = "http://10.0.0.7:9000"

[[models]]
name = "big"
provider = "openai"
tags = ["coding"]
rate_limit = {{ max_requests = 5, per_seconds = 1 }}
[models.config]
context_window = "200k"
cost_per_1k_tokens = 0.002

[[office.models]]
name = "small"

[[groups]]
name = "all"
[[groups.members]]
model = "openai/big"
"""
DOCUMENT = tomllib.loads(FILE)


def with_it(**entries: Entry) -> Config:
    named = {name.replace("__", "/"): entry for name, entry in entries.items()}
    return parse(merge(DOCUMENT, named).document)


def model(config: Config, name: str) -> Any:
    return next(each for each in config.models if f"{each.provider}/{each.name}" == name)


# ------------------------------------------------------------------------------------------------------------ laying over


@pytest.mark.parametrize(
    ("fields", "patch", "after"),
    [
        ({}, {"is_active": False}, {"is_active": False}),
        ({"is_active": False}, {"is_active": None}, {}),
        ({"settings": {"timeout": 5}}, {"settings": {"proxy": ""}}, {"settings": {"timeout": 5, "proxy": ""}}),
        ({"settings": {"timeout": 5}}, {"settings": {"timeout": None}}, {}),
        ({"settings": {"timeout": 5}}, {"settings": None}, {}),
        ({"tags": ["a"]}, {"tags": ["b"]}, {"tags": ["b"]}),
        ({"default_params": {"a": 1}}, {"default_params": {"b": 2}}, {"default_params": {"b": 2}}),
        ({}, {"rewrite_body": {"user": None}}, {"rewrite_body": {"user": None}}),  # there null is a value
        ({"rate_limit": {"max_requests": 1}}, {"limits": {}}, {"limits": {}}),
        ({"rate_limit": {"max_requests": 1}}, {"limits": None}, {"rate_limit": {"max_requests": 1}}),
    ],
)
def test_a_patch_says_what_it_says_and_null_takes_back(fields: Any, patch: Any, after: Any) -> None:
    assert patch_fields(fields, patch) == after


def test_what_the_overlay_says_in_one_way_hides_what_the_file_says_in_another() -> None:
    config = with_it(
        openai__big=Entry(CHANGED, {"limits": {"max_requests": 9, "per_seconds": 2}, "config": {"input_usd_per_mtok": 7}}),
        openai=Entry(CHANGED, {"api_key": "mine"}),
    )
    assert (model(config, "openai/big").limit.max_requests, model(config, "openai/big").input_usd_per_mtok) == (9, 7)
    assert [key.reveal() for key in config.providers[0].keys] == ["mine"]
    assert lay_over({"api_key_file": "x"}, {"api_key": "y"}) == {"api_key": "y"}
    assert lay_over({"api_key_command": "x"}, {"api_key": "y"}) == {"api_key": "y"}
    assert lay_over({"region": "x", "project": "p"}, {"base_url": "y"}) == {"base_url": "y"}
    assert lay_over({"base_url": "y", "project": "p"}, {"region": "x"}) == {"region": "x", "project": "p"}
    assert lay_over({"limits": {"max_concurrent": 1}}, {"limits": {}}) == {"limits": {}}  # no limit any more


def test_tables_of_settings_are_laid_over_key_by_key() -> None:
    config = with_it(openai=Entry(CHANGED, {"settings": {"connect_timeout_s": 2}}))
    assert (config.providers[0].timeout_s, config.providers[0].connect_timeout_s) == (5, 2)


def test_entries_are_added_changed_and_removed_wherever_the_file_has_them() -> None:
    config = with_it(
        new=Entry(ADDED, {"api": "openai", "base_url": "http://h:1"}), new__m=Entry(ADDED, {"tags": ["x"]}),
        office__small=Entry(CHANGED, {"is_active": False}), openai__other=Entry(ADDED),
    )  # fmt: skip
    assert [provider.name for provider in config.providers] == ["openai", "office", "new"]
    assert not model(config, "office/small").is_active
    assert (model(config, "new/m").tags, model(config, "openai/other").remote_id) == (("x",), "other")
    assert [each.name for each in with_it(office__small=Entry(REMOVED)).models] == ["big"]


def test_a_removed_provider_takes_its_models_with_it() -> None:
    config = with_it(office=Entry(REMOVED))
    assert [provider.name for provider in config.providers] == ["openai"]
    assert [each.name for each in config.models] == ["big"]
    entries = {"office": Entry(CHANGED, {"type": "vllm"}), "office/more": Entry(ADDED), "openai/x": Entry(ADDED)}
    assert remove_entry(entries, "office", in_file=True) == {"office": Entry(REMOVED), "openai/x": Entry(ADDED)}
    assert remove_entry(entries, "office", in_file=False) == {"openai/x": Entry(ADDED)}


def test_forgetting_is_as_the_file_says() -> None:
    entries = {"office": Entry(REMOVED), "mine": Entry(ADDED), "mine/m": Entry(ADDED)}
    assert forget_entry(entries, "office", in_file=True) == {"mine": Entry(ADDED), "mine/m": Entry(ADDED)}
    assert forget_entry(entries, "mine", in_file=False) == {"office": Entry(REMOVED)}
    assert change_entry({"office": Entry(CHANGED, {"is_active": False})}, "office", {"is_active": None}) == {}


def test_whether_a_provider_takes_any_name_is_the_files_to_say() -> None:
    document = {"providers": [{"name": "openai"}]}
    assert parse(merge(document, {"openai/gpt": Entry(ADDED)}).document).providers[0].any_model
    assert not parse(merge(DOCUMENT, {"office/small": Entry(REMOVED)}).document).providers[1].any_model
    shut = merge(document, {"openai/gpt": Entry(ADDED), "openai": Entry(CHANGED, {"any_model": False})})
    assert not parse(shut.document).providers[0].any_model


@pytest.mark.parametrize(
    ("entries", "paths"),
    [
        ({"new": Entry(ADDED, {"type": "openai", "settings": {"timeout": 0}})}, ["providers.new.settings.timeout"]),
        ({"office": Entry(CHANGED, {"base_url": "ftp://x"})}, ["providers.office.base_url"]),
        ({"openai/big": Entry(CHANGED, {"tags": "x"})}, ["models.openai/big.tags"]),
        ({"office/small": Entry(CHANGED, {"nope": 1})}, ["models.office/small.nope"]),
        ({"openai/big": Entry(REMOVED)}, ["groups[0].members[0].model"]),
        ({"new": Entry(ADDED, {"typ": "openai"})}, ["providers.new.typ", "providers.new.type"]),
    ],
)
def test_a_problem_says_whose_it_is(entries: Any, paths: list[str]) -> None:
    merged = merge(DOCUMENT, entries)
    with pytest.raises(ConfigError) as caught:
        parse(merged.document)
    assert [problem.path for problem in merged.problems(caught.value)] == paths


def test_a_problem_of_the_file_keeps_its_place_in_the_file() -> None:
    document = tomllib.loads(FILE.replace("http://10.0.0.7:9000", "ftp://x").replace("timeout = 5", "timeout = 5\nnope = 1"))
    merged = merge(document, {"openai": Entry(CHANGED, {"settings": {"proxy": ""}}), "office/small": Entry(REMOVED)})
    with pytest.raises(ConfigError) as caught:
        parse(merged.document)
    assert [each.path for each in merged.problems(caught.value)] == ["providers[0].settings.nope", "providers[1].base_url"]
    gone = merge(document, {"openai": Entry(REMOVED)})
    with pytest.raises(ConfigError) as caught:
        parse(gone.document)
    assert gone.problems(caught.value)[0].path == "providers[1].base_url"  # in the file, not after the removal


@pytest.mark.parametrize(
    "value",
    [
        [], {}, {"format": 2}, {"format": 1, "providers": []}, {"format": 1, "providers": {"a b": {"state": "added"}}},
        {"format": 1, "models": {"p": {"state": "added"}}}, {"format": 1, "providers": {"p/m": {"state": "added"}}},
        {"format": 1, "providers": {"p": {"state": "lost"}}}, {"format": 1, "providers": {"p": []}},
        {"format": 1, "providers": {"p": {"state": "added", "fields": []}}},
        {"format": 1, "providers": {"p": {"state": "added", "fields": {"name": "q"}}}},
    ],
)  # fmt: skip
def test_what_is_no_overlay_is_reported(value: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        overlay.read_overlay(value)


def test_an_overlay_is_written_as_it_is_read() -> None:
    entries = {"p": Entry(ADDED, {"type": "openai"}), "p/m": Entry(CHANGED, {"tags": []}), "q": Entry(REMOVED)}
    assert overlay.read_overlay(json.loads(json.dumps(overlay.overlay_json(entries)))) == entries


@pytest.mark.parametrize("document", [{"providers": 5}, {"providers": [5]}, {"models": {"a": 1}}, {"office": {"models": 5}}])
def test_a_malformed_file_stays_so_for_the_checks(document: Any) -> None:
    with pytest.raises(ConfigError):
        parse(merge(document, {"p": Entry(ADDED, {"type": "openai"}), "p/m": Entry(ADDED)}).document)


# ---------------------------------------------------------------------------------------------------------------- files


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Source]:
    path = tmp_path / "router.toml"
    path.write_text(FILE)
    path.chmod(0o600)
    made = Source(str(path), flags={}, env={})
    made.load()
    yield made
    assert not list(tmp_path.glob(".*.tmp"))


def path_of(source: Source) -> Path:
    assert source.overlay_path is not None
    return source.overlay_path


OFF = {"office": Entry(CHANGED, {"is_active": False})}


def test_the_overlay_is_beside_the_file_and_its_owners_alone(source: Source) -> None:
    source.save(OFF)
    path = path_of(source)
    assert path.name == "router.overlay.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not source.has_changed()  # our own writing is no news
    assert not source.adopt(OFF).providers[1].is_active
    assert not source.load().providers[1].is_active
    assert not Source(str(source.path), flags={}, env={}).load().providers[1].is_active  # after a restart too


def test_a_variable_puts_it_elsewhere_and_without_a_file_it_is_in_memory(tmp_path: Path, monkeypatch: Any) -> None:
    elsewhere = str(tmp_path / "state.json")
    assert str(Source("r.toml", flags={}, env={sources.OVERLAY_VARIABLE: elsewhere}).overlay_path) == elsewhere
    monkeypatch.setattr(sources, "local_server_is_there", lambda: False)
    source = Source("", flags={}, env={}, document={"providers": [{"name": "openai"}]})
    source.load()
    made_up = {"openai": Entry(CHANGED, {"is_active": False})}
    source.save(made_up)
    assert not source.adopt(made_up).providers[0].is_active
    assert not source.load().providers[0].is_active
    assert source.overlay_path is None


def test_a_reload_of_the_file_keeps_the_overlay(source: Source) -> None:
    source.save(OFF)
    assert source.path
    source.path.write_text(FILE.replace("200k", "100k"))
    assert source.has_changed()
    config = source.load()
    assert (config.models[0].context_window, config.providers[1].is_active) == (100_000, False)


def test_a_change_by_another_hand_is_taken_over(source: Source) -> None:
    path_of(source).write_text(json.dumps(overlay.overlay_json(OFF)))
    path_of(source).chmod(0o600)
    assert source.has_changed()
    assert not source.load().providers[1].is_active
    path_of(source).unlink()
    assert source.has_changed()
    assert source.load().providers[1].is_active
    path_of(source).write_text(json.dumps(overlay.overlay_json(OFF)))
    assert "chmod 600" in source.load().notes[-1]


def test_an_entry_that_no_longer_fits_is_a_note_and_never_a_failed_start(source: Source) -> None:
    assert source.path
    source.save({
        **OFF, "office/more": Entry(ADDED), "openai/big": Entry(CHANGED, {"tags": ["x"]}),
        "new": Entry(ADDED, {"api": "openai", "base_url": "http://h:1"}), "new/m": Entry(ADDED),
    })  # fmt: skip
    source.path.write_text('[[providers]]\nname = "openai"\n[[groups]]\nname = "new/m"\nmembers = [{model = "openai/x"}]\n')
    config = Source(str(source.path), flags={}, env={}).load()
    assert [provider.name for provider in config.providers] == ["openai", "new"]
    assert not config.models
    told = "\n".join(config.notes)
    assert "office was changed through the API, and the file has no office" in told
    assert "office/more was added through the API, and the file has no office" in told
    assert "openai/big was changed through the API, and the file has no openai/big" in told
    assert 'new/m was changed through the API, which no longer fits the file: groups[0].name: "new/m"' in told
    source.path.write_text(FILE)  # it comes back with what it belongs to
    assert not source.load().providers[1].is_active


def test_many_that_do_not_fit_are_found_and_the_others_stay(source: Source) -> None:
    entries = {f"openai/m{place}": Entry(ADDED) for place in range(40)}
    source.save({**entries, "openai/m7": Entry(ADDED, {"tags": 5}), "openai/m31": Entry(ADDED, {"nope": 1})})
    config = source.load()
    assert len(config.models) == 2 + 38
    assert set(source.unfit) == {"openai/m7", "openai/m31"}


def test_a_file_that_is_wrong_by_itself_is_reported_with_all_its_problems(source: Source) -> None:
    assert source.path
    source.save(OFF)
    source.path.write_text(FILE + "[server]\nport = 70000\n")
    with pytest.raises(ConfigError, match=r"server\.port"):
        source.load()
    assert not source.adopt(OFF).providers[1].is_active  # what was in force is


def test_a_trial_changes_nothing(source: Source) -> None:
    assert not source.trial(OFF, {"office"}).providers[1].is_active
    assert source.adopt(source.overlay).providers[1].is_active
    with pytest.raises(ConfigError, match=r"models\.openai/big\.tags"):
        source.trial({"openai/big": Entry(CHANGED, {"tags": 1})}, {"openai/big"})


@pytest.mark.parametrize("data", [b"{", b"\xff", b"[]", b'{"format": 1, "providers": {"a": 1}}', b"[" * 100_000, b"NaN", b""])
def test_a_damaged_overlay_is_moved_aside_and_the_start_goes_on(source: Source, data: bytes) -> None:
    path_of(source).write_bytes(data)
    again = Source(str(source.path), flags={}, env={})
    assert "is damaged" in again.load().notes[-1]
    assert path_of(source).exists()  # --print-config and the like move nothing
    told = again.keep_overlay()
    assert "is damaged" in told
    assert "moved aside to" in told
    assert not path_of(source).exists()
    (aside,) = path_of(source).parent.glob("router.overlay.json.damaged-*")
    assert aside.read_bytes() == data
    assert not again.fault


def test_one_that_is_damaged_later_leaves_what_is_in_force(source: Source) -> None:
    source.keep_overlay()
    source.save(OFF)
    source.load()
    path_of(source).write_bytes(b"{")
    config = source.load()
    assert not config.providers[1].is_active
    assert "stay in effect and were saved again" in config.notes[-1]
    assert sources.overlay_in(path_of(source)) == OFF


def test_what_cannot_be_written_leaves_the_old_one(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    source.save(OFF)
    before = path_of(source).read_bytes()

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        source.save({"openai": Entry(REMOVED)})
    assert path_of(source).read_bytes() == before


def test_what_a_killed_process_left_is_cleared_away(source: Source) -> None:
    left = path_of(source).with_name(f".{path_of(source).name}.0123.tmp")
    left.touch()
    source.keep_overlay()
    assert not left.exists()


def test_the_printed_configuration_says_what_the_overlay_says_and_no_key(source: Source) -> None:
    source.save({
        "office": Entry(CHANGED, {"is_active": False, "settings": {"timeout": 9}}),
        "openai/big": Entry(CHANGED, {"tags": ["x"]}),
        "openai": Entry(CHANGED, {"api_key": "of-the-overlay"}), "office/small": Entry(REMOVED),
        "new": Entry(ADDED, {"api": "gemini", "base_url": "http://h:1"}),
    })  # fmt: skip
    text = config_text(source.load())
    assert "of-the-overlay" not in text
    assert IN_FILE not in text
    for line in ('is_active = false  # overlay', 'tags = ["x"]  # overlay', "# keys: 1 set  # overlay", "# overlay: added",
                 "# models.office/small: overlay: removed"):  # fmt: skip
        assert f"\n{line}\n" in text, line
    assert '\nbase_url = "http://10.0.0.7:9000/v1"\n' in text
