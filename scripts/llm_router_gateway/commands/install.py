"""install systemd|container|grafana|alerts: prints the files that run the gateway, and those that watch it.

    llm-router-gateway install systemd --config router.toml > llm-router.service
    llm-router-gateway install container > Containerfile
    llm-router-gateway install grafana > dashboard.json
    llm-router-gateway install alerts > llm-router-alerts.yml

Unit and container give the gateway as few rights as it needs.

stdout: the file. stderr: what to do with it. Nothing is installed, written or started.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config.addresses import is_postgres
from ..config.config import ConfigError
from ..config.sources import OVERLAY_VARIABLE, Source
from . import install_cluster
from .dashboards import alerts, dashboard
from .program import Parser, program_name

PACKAGE = Path(__file__).absolute().parents[1]
NAME = "llm-router"
ENV_FILE = f"/etc/{NAME}/env"
STATE = f"/var/lib/{NAME}"
USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
PORT, DRAIN_S = 8000, 30.0  # of a configuration that is not there yet
STOP_S = 15  # after the drain: connections, the store
UID = 10001  # not used by any other user of the image
PYTHON = "3.13"  # the newest that the tests run under
LOW_PORT = 1024  # below it a capability is needed
HOMES = ("/home", "/root", "/run/user")  # what ProtectHome=yes hides
WATCHDOG_S = 60  # without a sign of life; a gateway that is only busy shows one within a second
WITHOUT_FILE = ("memory", "off")  # values of [server] store
EXIT_BAD_CONFIG = 2  # starting it again does not help then

EXPLAINED = """\
llm-router-gateway install systemd [--config FILE] [--user NAME]     prints a systemd unit
llm-router-gateway install container [--config FILE]                 prints a container file
llm-router-gateway install compose [--config FILE]                   prints a compose file: gateways, Redis, PostgreSQL
llm-router-gateway install kubernetes [--config FILE]                prints manifests of the same
llm-router-gateway install grafana                                   prints a Grafana dashboard
llm-router-gateway install alerts                                    prints Prometheus alert rules

The file goes to stdout, the steps that follow to stderr; nothing is installed or started.
"""


@dataclass(frozen=True, slots=True)
class Place:
    """What the files are made for."""

    python: str
    package: Path
    config: Path
    port: int = PORT
    drain_s: float = DRAIN_S
    user: str = ""  # "" = one that systemd makes for each run
    store: str = ""  # "postgresql", "memory" or "off", as configured; "" = a file, which the service has in its own folder

    @property
    def stop_s(self) -> int:
        return math.ceil(self.drain_s) + STOP_S


def place_of(config: str, user: str) -> tuple[Place, str]:
    """The place, and what is worth saying about its configuration."""
    path = Path(config or f"/etc/{NAME}/router.toml").absolute()
    python, note, port, drain_s, store = sys.executable or "/usr/bin/python3", "", PORT, DRAIN_S, ""
    try:
        server = Source(str(path), flags={}, env={**os.environ, "LLM_ROUTER_HOST": "127.0.0.1"}).load().server
        port, drain_s = server.port or PORT, server.drain_s
        store = "postgresql" if is_postgres(server.store) else server.store if server.store in WITHOUT_FILE else ""
    except ConfigError as error:
        note = f"{path} cannot be used yet ({error.problems[0].text}): "
        note += f"port {PORT}, a drain of {DRAIN_S:g} s and a store in a file are assumed"
    return Place(python, PACKAGE, path, port, drain_s, user, store), note


# ------------------------------------------------------------------------------------------------------------- systemd


def quote_word(text: str) -> str:
    """One word of ExecStart=: quoted, with % and $ doubled, for they stand for something there (systemd.service(5)).

    quote_word("/opt/my llm/50%") -> '"/opt/my llm/50%%"'
    """
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise ValueError(f"{text!r} holds a control character: no unit can name it")
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{text}"'


def home_rule(place: Place) -> str:
    """ProtectHome: yes, unless something that is needed lies in a home."""
    needed = (place.python, str(place.package), str(place.config))
    inside = any(text.startswith(f"{home}/") for text in needed for home in HOMES)
    return "read-only" if inside else "yes"


def identity(place: Place) -> str:
    if not place.user:
        return "# A user of its own, created for each run.\nDynamicUser=yes"
    return f"User={place.user}"


def hardening(place: Place) -> str:
    """What the service may not do."""
    capability = "CAP_NET_BIND_SERVICE" if place.port < LOW_PORT else ""
    ambient = f"\nAmbientCapabilities={capability}" if capability else ""
    return f"""\
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome={home_rule(place)}
PrivateTmp=yes
PrivateDevices=yes
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
CapabilityBoundingSet={capability}{ambient}"""


def store_line(place: Place) -> str:
    """Where calls are, or wait while PostgreSQL is away; a variable would take precedence over the configured store."""
    if place.store == "postgresql":
        return f"Environment=LLM_ROUTER_SPILL_FILE=%S/{NAME}/router.spill.db\n"
    return "" if place.store else f"Environment=LLM_ROUTER_STORE=%S/{NAME}/router.db\n"


def unit(place: Place) -> str:
    """The systemd unit."""
    command = " ".join(map(quote_word, (place.python, str(place.package), "--config", str(place.config))))
    return f"""\
# {NAME}.service: printed by `llm-router-gateway install systemd`
[Unit]
Description=llm-router gateway: any model, through one endpoint
After=network-online.target
Wants=network-online.target

[Service]
# systemd counts the service as started when callers can reach it.
Type=notify
NotifyAccess=main
ExecStart={command}
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=2
# It shows twice as often that it goes on; one that hangs is ended and started again.
WatchdogSec={WATCHDOG_S}
# An invalid configuration is reported once, not every two seconds.
RestartPreventExitStatus={EXIT_BAD_CONFIG}
# Open requests have {place.drain_s:g} s ([server] drain_s); then the store is written.
TimeoutStopSec={place.stop_s}

{identity(place)}
# {STATE}: calls, keys and changes made through the API.
StateDirectory={NAME}
StateDirectoryMode=0700
WorkingDirectory=%S/{NAME}
UMask=0077
{store_line(place)}Environment={OVERLAY_VARIABLE}=%S/{NAME}/router.overlay.json
Environment=PYTHONDONTWRITEBYTECODE=1
# Keys, one NAME=value a line: OPENAI_API_KEY=..., LLM_ROUTER_TOKEN=..., LLM_ROUTER_ADMIN_TOKEN=... Root's, mode 0600.
EnvironmentFile=-{ENV_FILE}
# Or as files that only this service can read:
#LoadCredential=token:/etc/{NAME}/token
#Environment=LLM_ROUTER_TOKEN_FILE=%d/token

{hardening(place)}
LimitNOFILE=65536

[Install]
WantedBy=multi-user.target
"""


def unit_steps(place: Place) -> list[str]:
    """What to do with the unit."""
    config, python, package = (shlex.quote(str(each)) for each in (place.config, place.python, place.package))
    keys = f"sudo {python} {package} keys create --name NAME"
    create = {
        "": f"callers' keys, once it runs: {keys} --store {STATE}/router.db    # the store is there, not beside {config}",
        "postgresql": f"callers' keys: {keys} --config {config}    # they are in PostgreSQL",
    }.get(place.store)
    steps = [f"put it into /etc/systemd/system/{NAME}.service"]
    if home_rule(place) == "read-only":
        steps.append("a part of the program lies in a home directory, which the service's user must be able to enter; "
                     "/opt and /etc are better places")  # fmt: skip
    if str(place.config).startswith(("/tmp/", "/var/tmp/")):  # nosec B108  # compared, not used
        steps.append(f"{config} lies in a temporary folder, which the service does not see: move it")
    return [
        *steps,
        f"let the service read {config}; write no keys into it, they belong in {ENV_FILE}",
        f"sudo install -D -m 600 /dev/null {ENV_FILE}    # then write the keys into it",
        f"sudo systemctl daemon-reload && sudo systemctl enable --now {NAME}",
        f"journalctl -u {NAME} -f    # and: systemctl reload {NAME}, after a change of the file",
        *([create] if create else []),
    ]


# ----------------------------------------------------------------------------------------------------------- container

DRIVERS = """\
# The drivers of Redis and PostgreSQL; nothing else is needed.
RUN pip install --no-cache-dir 'redis>=8' 'psycopg[binary]>=3.2'
"""
HEALTH = (
    "import os, urllib.request as r; r.build_opener(r.ProxyHandler({})).open("
    "'http://127.0.0.1:' + os.environ['LLM_ROUTER_PORT'] + '/health/ready', timeout=3)"
)


def container(place: Place, *, cluster: bool = False) -> str:
    """The container file; its context is the folder that holds the package. `cluster`: with the drivers that several need."""
    drivers = DRIVERS if cluster else "# Nothing to install: the standard library is enough.\n"
    health = json.dumps(["python3", "-c", HEALTH])
    return f"""\
# Containerfile: printed by `llm-router-gateway install container`
FROM docker.io/library/python:{PYTHON}-slim

{drivers}WORKDIR /opt/{NAME}
COPY llm_router_client.py llm_router_demo.py llm_router_demo_protocols.py ./
COPY llm_router_extras ./llm_router_extras
COPY llm_router_gateway ./llm_router_gateway
RUN python3 -m compileall -q . && mkdir -p -m 0700 {STATE} && chown {UID}:{UID} {STATE}

# It listens on every address of the container, so it needs LLM_ROUTER_TOKEN; administrators need LLM_ROUTER_ADMIN_TOKEN.
ENV PYTHONDONTWRITEBYTECODE=1 \\
    LLM_ROUTER_HOST={".".join("0000")} \\
    LLM_ROUTER_PORT={place.port} \\
    {container_store(place)} \\
    {OVERLAY_VARIABLE}={STATE}/router.overlay.json

USER {UID}:{UID}
# Calls, keys and changes made through the API; everything else may be read-only.
VOLUME {STATE}
EXPOSE {place.port}
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 CMD {health}
ENTRYPOINT ["python3", "/opt/{NAME}/llm_router_gateway"]
CMD ["--config", "/etc/{NAME}/router.toml"]
"""


def container_store(place: Place) -> str:
    if place.store == "postgresql":
        return f"LLM_ROUTER_SPILL_FILE={STATE}/router.spill.db"
    return f"LLM_ROUTER_STORE={place.store or f'{STATE}/router.db'}"


def container_steps(place: Place) -> list[str]:
    """How to build and run it."""
    context = shlex.quote(str(place.package.parent))
    mount = shlex.quote(f"type=bind,source={place.config},target=/etc/{NAME}/router.toml,readonly")
    return [
        f"docker build -t {NAME} -f Containerfile {context}    # or podman",
        "put the keys into a file `env` of your own, mode 600: LLM_ROUTER_TOKEN=..., OPENAI_API_KEY=...",
        " ".join(
            [
                f"docker run -d --name {NAME} --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges",
                f"--stop-timeout {place.stop_s} --env-file env --mount {mount} -v {NAME}:{STATE}",
                f"-p 127.0.0.1:{place.port}:{place.port} {NAME}",
            ]
        ),
        f"docker kill -s HUP {NAME}    # after a change of the file; a mounted file is seen when it is written in place",
        f"callers' keys: docker exec {NAME} python3 /opt/{NAME}/llm_router_gateway keys create --name NAME",
    ]


# ------------------------------------------------------------------------------------------------------------ watching

SCRAPE = "let Prometheus scrape http://HOST:8000/metrics with a key of `keys create --monitor` (credentials_file)"
WATCHING: Mapping[str, tuple[Callable[[], str], Sequence[str]]] = {
    "grafana": (dashboard, (SCRAPE, "in Grafana: Dashboards, New, Import; choose the data source at the top of the page")),
    "alerts": (alerts, (SCRAPE, "check the thresholds, then name the file in rule_files of prometheus.yml",
                        "promtool check rules llm-router-alerts.yml")),
}  # fmt: skip


def compose(place: Place) -> str:
    return install_cluster.compose(place, container(place, cluster=True), str(place.package.parent), str(place.config), STATE)


# What is made for a place, and what to do with it; the flag is --cluster.
PLACED: Mapping[str, Callable[[Place, bool], tuple[str, list[str]]]] = {
    "systemd": lambda place, _: (unit(place), unit_steps(place)),
    "container": lambda place, cluster: (container(place, cluster=cluster), container_steps(place)),
    "compose": lambda place, _: (compose(place), install_cluster.compose_steps(place)),
    "kubernetes": lambda place, _: (
        install_cluster.kubernetes(place, UID, STATE),
        install_cluster.kubernetes_steps(place, str(place.package.parent), str(place.config)),
    ),
}  # fmt: skip

# -------------------------------------------------------------------------------------------------------- command line


def parser() -> argparse.ArgumentParser:
    made = Parser(
        f"{program_name()} install", allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
        description=EXPLAINED, epilog="exit codes:\n  0  printed\n  2  usage error",
    )  # fmt: skip
    made.add_argument("what", nargs="?", choices=(*PLACED, *WATCHING), help="what to print")
    made.add_argument("-c", "--config", metavar="FILE", default="", help=f"router.toml; /etc/{NAME}/router.toml if not given")
    made.add_argument("--user", metavar="NAME", default="", help="systemd: run as this existing user")
    made.add_argument("--cluster", action="store_true", help="container: with the drivers of Redis and PostgreSQL")
    return made


def run(arguments: Sequence[str]) -> int:
    """The exit code of `install ...`."""
    options = parser().parse_args(arguments)
    if options.what is None:
        sys.stdout.write(EXPLAINED)
        return 0
    if options.user and not USER.fullmatch(options.user):
        sys.stderr.write(f"{options.user!r} is not a user name; use a-z, 0-9, _ and -, at most 31 characters\n")
        return 2
    if options.what in WATCHING:
        make, what_to_do = WATCHING[options.what]
        return print_file(make(), what_to_do)
    place, note = place_of(options.config, options.user)
    try:
        text, steps = PLACED[options.what](place, options.cluster)
    except ValueError as wrong:
        sys.stderr.write(f"{wrong}\n")
        return 2
    if note:
        sys.stderr.write(f"note: {note}\n")
    return print_file(text, steps)


def print_file(text: str, steps: Sequence[str]) -> int:
    """The file, and what to do with it."""
    sys.stdout.write(text)
    for number, step in enumerate(steps, 1):
        sys.stderr.write(f"{number}. {step}\n")
    return 0
