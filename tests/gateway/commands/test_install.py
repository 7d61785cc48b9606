"""install: a unit and a container file that do what they say, whatever the paths are called."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from quick import slow
from running import GATEWAY, SCRIPTS, Process, command, environment

from llm_router_gateway.commands import install, process
from llm_router_gateway.commands.install import Place, container, quote_word, unit

PLACE = Place("/usr/bin/python3", Path("/opt/llm-router/llm_router_gateway"), Path("/etc/llm-router/router.toml"))


def value(text: str, name: str) -> str:
    found: list[str] = re.findall(rf"^{name}=(.*)$", text, re.MULTILINE)
    assert len(found) == 1, (name, found)
    return found[0]


def test_alone_it_explains(tmp_path: Path) -> None:
    done = command(tmp_path, "install")
    assert done.returncode == 0
    assert b"install systemd" in done.stdout
    assert b"install container" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["windows"], ["systemd", "--user", "a b"], ["systemd", "--usr", "x"], ["systemd", "-c", "a\nb"]]
)
def test_wrong_usage_is_exit_code_2_and_prints_no_file(words: list[str], tmp_path: Path) -> None:
    done = command(tmp_path, "install", *words)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr


@pytest.mark.slow
def test_the_unit_runs_this_gateway_with_absolute_paths(tmp_path: Path) -> None:
    (tmp_path / "router.toml").write_text("[server]\nport = 81\ndrain_s = 7.5\n")
    done = command(tmp_path, "install", "systemd", "--config", "router.toml", "--user", "llm")
    text = done.stdout.decode()
    assert shlex.split(value(text, "ExecStart")) == [sys.executable, str(GATEWAY), "--config", str(tmp_path / "router.toml")]
    assert value(text, "User") == "llm"
    assert "DynamicUser" not in text
    assert int(value(text, "TimeoutStopSec")) > 7.5
    assert value(text, "AmbientCapabilities") == "CAP_NET_BIND_SERVICE"  # its port needs it
    assert b"systemctl" in done.stderr
    assert b"note:" not in done.stderr


def test_the_unit_has_no_more_rights_than_it_needs() -> None:
    text = unit(PLACE)
    for name, wanted in {
        "DynamicUser": "yes", "NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes",
        "StateDirectory": "llm-router", "CapabilityBoundingSet": "", "Restart": "on-failure", "RestartPreventExitStatus": "2",
        "EnvironmentFile": "-/etc/llm-router/env", "ExecReload": "/bin/kill -HUP $MAINPID", "TimeoutStopSec": "45",
    }.items():  # fmt: skip
        assert value(text, name) == wanted
    assert "#LoadCredential=" in text
    assert "ProtectHome=read-only" in unit(Place("/home/me/venv/bin/python3", PLACE.package, PLACE.config))


def test_what_means_something_to_systemd_is_escaped() -> None:
    assert quote_word('/o "p"/50%/$x/\\y z') == '"/o \\"p\\"/50%%/$$x/\\\\y z"'
    with pytest.raises(ValueError, match="control"):
        quote_word("a\nExecStartPre=/bin/sh")


@pytest.mark.parametrize("folder", ["plain", "a b", "50%", "it's", "$HOME", "ümlaut"])
def test_systemd_takes_the_unit(folder: str, tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    home = tmp_path / folder
    home.mkdir()
    path = tmp_path / "llm-router.service"
    path.write_text(unit(Place(sys.executable, home / "llm_router_gateway", home / "router.toml")))
    argv = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=environment(tmp_path, {}))
    if "Failed to" in done.stderr and "llm-router.service" not in done.stderr:
        pytest.skip(f"systemd-analyze does not work here: {done.stderr.strip()[:200]}")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_a_configuration_that_is_not_there_yet_is_said(tmp_path: Path) -> None:
    done = command(tmp_path, "install", "container", "--config", "none.toml")
    assert done.returncode == 0
    assert b"cannot be used yet" in done.stderr
    assert b"EXPOSE 8000" in done.stdout


def instructions(text: str) -> dict[str, list[str]]:
    """What a container file says, by instruction."""
    found: dict[str, list[str]] = {}
    for line in text.replace("\\\n", " ").splitlines():
        if line and not line.startswith("#"):
            name, _, rest = line.partition(" ")
            found.setdefault(name, []).append(" ".join(rest.split()))
    return found


def test_the_container_runs_as_a_plain_user_with_a_volume_a_health_check_and_a_proper_stop() -> None:
    said = instructions(container(PLACE))
    assert next(iter(said)) == "FROM"
    assert said["FROM"][0].endswith("-slim")
    assert said["USER"] == [f"{install.UID}:{install.UID}"]
    assert said["VOLUME"] == [install.STATE]
    assert said["STOPSIGNAL"] == ["SIGTERM"]
    assert said["EXPOSE"] == ["8000"]
    assert all(install.STATE in line for line in re.findall(r"\S+(?:STORE|OVERLAY)=\S+", said["ENV"][0]))
    assert "pip" not in said["RUN"][0]
    assert json.loads(said["CMD"][0]) == ["--config", "/etc/llm-router/router.toml"]
    check = json.loads(said["HEALTHCHECK"][0].partition(" CMD ")[2])
    assert check[:2] == ["python3", "-c"] and "/health/ready" in check[2]


@pytest.mark.slow
def test_what_the_container_copies_is_all_that_it_takes_to_run(tmp_path: Path) -> None:
    for line in instructions(container(PLACE))["COPY"]:
        *names, target = shlex.split(line)
        for name in names:
            place = tmp_path / target
            copy = shutil.copytree if (SCRIPTS / name).is_dir() else shutil.copy
            copy(SCRIPTS / name, place)
    argv = [sys.executable, "-B", str(tmp_path / "llm_router_gateway"), "--print-config"]
    env = environment(tmp_path, {"OPENAI_API_KEY": "k" + "ey-" * 4})
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_the_health_check_of_the_container_goes_by_readiness(start: Callable[..., Process], mock_server: Any) -> None:
    usable = f'[[providers]]\nname = "up"\napi = "openai"\nbase_url = "{mock_server.url}/v1"\nany_model = true\n'
    gateway = start(usable)
    check = json.loads(instructions(container(PLACE))["HEALTHCHECK"][0].partition(" CMD ")[2])
    argv = [sys.executable, *check[1:]]

    def code(port: int) -> int:
        env = environment(gateway.folder, {"LLM_ROUTER_PORT": str(port)})
        return subprocess.run(argv, env=env, capture_output=True, timeout=60, check=False).returncode

    assert code(gateway.port) == 0
    gateway.write('[[providers]]\nname = "openai"\n')
    gateway.logged("reloaded")
    assert gateway.get("/health/ready").status == 503
    assert code(gateway.port) == 1


def test_the_demo_runs_in_what_the_container_copies(tmp_path: Path) -> None:
    copied = {name for line in instructions(container(PLACE))["COPY"] for name in shlex.split(line)[:-1]}
    left_out = {"llm_router_batch.py", "llm_router_client.egg-info"}  # the latter is left by an installation in place
    shipped = {path.name for path in SCRIPTS.glob("llm_router_*")} - left_out
    assert copied == shipped


@pytest.mark.slow
@pytest.mark.parametrize("abstract", [False, *slow(True)])
def test_the_supervisor_is_notified_when_callers_can_reach_the_gateway(
    start: Callable[..., Process], mock_server: Any, tmp_path: Path, abstract: bool
) -> None:
    assert value(unit(PLACE), "Type") == "notify"
    name = f"@llm-router-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind("\0" + name[1:] if abstract else name)
        told.settimeout(30)
        gateway = start("", "--demo", env={"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "400000"})
        heard = [told.recv(100) for _ in range(4)]
        assert heard.count(b"READY=1") == 1 and heard.count(b"WATCHDOG=1") == 3, "it goes on"
        gateway.signal(signal.SIGSTOP)
        told.settimeout(1)
        with pytest.raises(TimeoutError):
            while told.recv(100):
                """What was said before."""
        gateway.signal(signal.SIGCONT)
        gateway.end()
        told.settimeout(30)
        while told.recv(100) != b"STOPPING=1":
            """Signs of life."""


def test_only_what_is_watched_shows_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(process, "notify", said.append)
    now = [0.0]
    for env, most in (
        ({}, 0), ({"WATCHDOG_USEC": "0"}, 0), ({"WATCHDOG_USEC": "x"}, 0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "8"}, 0), ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "7"}, 3),
    ):  # fmt: skip
        said.clear()
        watchdog = process.Watchdog(env, 7, lambda: now[0])
        for _ in range(100):
            now[0] += 1
            watchdog.beat()
        assert said == ["WATCHDOG=1"] * most and not env
    assert value(unit(PLACE), "WatchdogSec") == "60"


@pytest.mark.parametrize(
    ("store", "has", "has_not"),
    [
        ("", "LLM_ROUTER_STORE=%S/llm-router/router.db", "SPILL"),
        ("/var/calls.db", "LLM_ROUTER_STORE=%S/llm-router/router.db", "SPILL"),  # elsewhere the service may not write
        (
            "postgresql://u:pass-word@db/llm",  # pragma: allowlist secret
            "LLM_ROUTER_SPILL_FILE=%S/llm-router/router.spill.db",
            "LLM_ROUTER_STORE=",
        ),
        ("memory", "LLM_ROUTER_OVERLAY", "LLM_ROUTER_STORE="),
        ("off", "LLM_ROUTER_OVERLAY", "LLM_ROUTER_STORE="),
    ],
)
def test_a_store_that_is_no_file_stays_the_one_that_is_configured(store: str, has: str, has_not: str, tmp_path: Path) -> None:
    """A variable of the unit or the image would win over the file."""
    path = tmp_path / "router.toml"
    provider = '[[providers]]\nname = "o"\napi = "openai"\nbase_url = "http://127.0.0.1:9/v1"\napi_key = "x"\n'
    path.write_text((f'[server]\nstore = "{store}"\n' if store else "") + provider)
    place, _ = install.place_of(str(path), "")
    text, steps = unit(place), "\n".join(install.unit_steps(place))
    assert f"Environment={has}" in text and has_not not in text
    assert "pass-word" not in text + steps + container(place)
    if store.startswith("postgresql"):
        assert f"keys create --name NAME --config {path}" in steps and "--store" not in steps
        assert "LLM_ROUTER_SPILL_FILE=/var/lib/llm-router/router.spill.db" in container(place)
        assert "LLM_ROUTER_STORE" not in container(place)
    elif store in install.WITHOUT_FILE:
        assert "keys create" not in steps and f"LLM_ROUTER_STORE={store}" in container(place)


def test_paths_in_the_steps_can_be_pasted() -> None:
    place = Place("/usr/bin/python3", Path("/my apps/llm_router_gateway"), Path("/my 'conf'/router.toml"))
    steps = "\n".join(install.container_steps(place))
    words = [shlex.split(line.partition("    #")[0]) for line in steps.splitlines() if line.startswith("docker")]
    assert words[0][-1] == "/my apps"
    assert f"type=bind,source={place.config},target=/etc/llm-router/router.toml,readonly" in words[1]
    assert shlex.quote(str(place.config)) in "\n".join(install.unit_steps(place))


def test_the_steps_say_where_callers_keys_are_created() -> None:
    """Beside the configuration they would be in a store that the service does not read."""
    store = value(unit(PLACE), "Environment=LLM_ROUTER_STORE").replace("%S", "/var/lib")
    assert f"keys create --name NAME --store {store}" in "\n".join(install.unit_steps(PLACE))
    assert "exec llm-router python3 /opt/llm-router/llm_router_gateway keys create" in "\n".join(install.container_steps(PLACE))
