"""[state]: the address of what several gateways share, its password out of sight, and the driver only where it is needed."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
from configs import parse, problems

from llm_router_gateway.commands import main
from llm_router_gateway.config.describe import config_text
from llm_router_gateway.limiter import redis as redis_engine

URL = "redis://me:pass-word@10.0.0.5:6379/0"  # pragma: allowlist secret


def test_without_it_nothing_is_shared() -> None:
    assert parse().state is None


@pytest.mark.parametrize(
    "url",
    [URL, "rediss://h", "redis://h:1", "unix:///run/redis.sock", "redis+sentinel://a:26379,b:26379/main/0", "rediss+cluster://h:1",
     "redis://[::1]:6379/0?protocol=3"],
)  # fmt: skip
def test_addresses(url: str) -> None:
    state = parse(f'[state]\nurl = "{url}"').state
    assert state is not None and state.url.reveal() == url
    assert (state.prefix, state.timeout_s) == ("llm-router", 0.05)


def test_the_environment_comes_before_the_file() -> None:
    state = parse('[state]\nurl = "redis://file"\nprefix = "blue"', LLM_ROUTER_STATE_URL="redis://env").state
    assert state is not None and (state.url.reveal(), state.prefix) == ("redis://env", "blue")
    assert parse(LLM_ROUTER_STATE_URL="redis://env").state is not None


@pytest.mark.parametrize("url", ["http://h", "redis://", "redis:/h", "redis://a b", "memcached://h"])
def test_a_wrong_address_is_named_and_its_password_is_not(url: str) -> None:
    found = problems(f'[state]\nurl = "{url.replace("//", "//u:pass-word@")}"')
    assert list(found) == ["state.url"] and "redis://:PASSWORD@HOST" in found["state.url"]
    assert "pass-word" not in found["state.url"]


def test_what_is_missing_or_unknown_is_said() -> None:
    assert "is missing" in problems('[state]\nprefix = "x"')["state.url"]
    assert 'did you mean "url"' in problems('[state]\nurls = "redis://h"')["state.urls"]


def test_the_printed_configuration_has_no_password() -> None:
    text = config_text(parse(f'[state]\nurl = "{URL}"'))
    assert 'url = "redis://***@10.0.0.5:6379/0"' in text and "pass-word" not in text
    assert "pass-word" not in repr(parse(f'[state]\nurl = "{URL}"'))


def test_messages_show_where_the_engine_is_and_no_password() -> None:
    assert redis_engine.where("rediss://me:PASSWORD@h:1/2?x=1") == "rediss://h:1/2"
    several = "redis+sentinel://u:pass-word@a:1,b:2/main"  # pragma: allowlist secret
    assert redis_engine.where(several) == "redis+sentinel://a:1,b:2/main"


@pytest.mark.parametrize("installed", ["nothing", "7.4.0"])
def test_a_missing_driver_is_named_with_the_command_that_installs_it(
    installed: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = ModuleType("redis")
    old.__version__ = installed  # type: ignore[attr-defined]

    def find(name: str) -> ModuleType:
        if installed == "nothing":
            raise ImportError(name)
        return old

    monkeypatch.setattr(redis_engine, "import_module", find)
    file = tmp_path / "router.toml"
    file.write_text(
        f'[state]\nurl = "{URL}"\n[[providers]]\nname = "o"\napi = "openai"\nbase_url = "http://127.0.0.1:1/v1"\napi_key = "x"'
    )
    assert main.main(["-c", str(file), "--check"]) == 2
    said = capsys.readouterr().err
    assert "pip install 'redis>=8'" in said and "pass-word" not in said and (installed in said or installed == "nothing")


def test_nothing_of_it_is_imported_where_nothing_is_shared() -> None:
    for name in ("commands.serve", "commands.main"):
        text = Path(importlib.import_module(f"llm_router_gateway.{name}").__file__ or "").read_text()
        head = text.partition("\ndef ")[0].partition("\nclass ")[0]
        assert "limiter.redis" not in head and "limiter.leased" not in head
    assert "redis" not in sys.modules or importlib.util.find_spec("redis") is not None
