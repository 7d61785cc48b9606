"""The command line: flags, exit codes, and the life of the process from the first line to the drain.

    python3 scripts/llm_router_gateway --config router.toml      serves until SIGTERM or Ctrl-C
    python3 scripts/llm_router_gateway convert --from anthropic --to gemini < request.json
    python3 scripts/llm_router_gateway explain --model gpt_models < body.json

stdout: the result of --check, --print-config, convert and explain. stderr: everything else.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from . import __version__
from .config import Config, ConfigError
from .loading import Source
from .settings import SERVER

PROGRAM = "llm-router-gateway"
EXIT_CODES = {
    0: "served and stopped, or all was well",
    1: "--check: a model did not answer; convert: the request cannot be converted; explain: nobody would be asked; "
       "keys: it was not done",
    2: "wrong usage or configuration; every problem is listed",
    3: "the address cannot be listened on",
}
RELOAD_S = 1.0  # how often the files are looked at
FLUSH_S = 0.2   # how long a log line may wait
USED_S = 5.0    # how often it is noted when keys were used last
CLOSE_S = 10.0  # for the calls that wait to be written at the end
AT_START = ("host", "port", "log_file", "log_level", "max_connections", "store")  # what a reload cannot change
EXAMPLES = """\
  python3 scripts/llm_router_gateway --demo
  python3 scripts/llm_router_gateway --config router.toml --check
  KEY=$(python3 scripts/llm_router_gateway keys create --name laptop)
"""


def say(text: str) -> None:
    sys.stderr.write(text + "\n")


# --------------------------------------------------------------------------------------------------------- arguments


def parser() -> argparse.ArgumentParser:
    """The flags of [server] from the table of settings, then the commands."""
    codes = "".join(f"  {code}  {meaning}\n" for code, meaning in EXIT_CODES.items())
    made = argparse.ArgumentParser(
        PROGRAM, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="A router that OpenAI, Anthropic and Gemini clients can talk to, whatever the provider speaks.",
        epilog=f"examples:\n{EXAMPLES}\nexit codes:\n{codes}\n"
        "convert --help tells about the dry run of a conversion, explain --help about that of a choice, install "
        "prints a systemd unit or a container file, keys has callers' keys; "
        "references/gateway.md has everything.",
    )  # fmt: skip
    made.add_argument("-c", "--config", metavar="FILE", default="", help="router.toml; without one, providers whose "
                      "keys are in the environment are there")  # fmt: skip
    for setting in SERVER:
        if setting.flag:
            made.add_argument(
                *setting.flag.split("/"), dest=setting.name, metavar=setting.kind.upper(),
                help=setting.help.replace("%", "%%") + (f" ({setting.env[0]})" if setting.env else ""),
            )  # fmt: skip
    made.add_argument("--check", action="store_true", help="ask every model one short question, print a line each")
    made.add_argument("--print-config", action="store_true", help="print the effective configuration, secrets masked")
    made.add_argument("--demo", action="store_true", help="serve a stand-in that answers without a model or a key")
    made.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    return made


def flags_of(options: argparse.Namespace) -> dict[str, str]:
    """The settings that were given on the command line, as texts by name."""
    named = vars(options)
    return {setting.name: named[setting.name] for setting in SERVER if named.get(setting.name) is not None}


def loaded(source: Source) -> Config | None:
    """The Config, its notes said; None, every problem said, when it cannot be used."""
    try:
        config = source.load()
    except ConfigError as error:
        count = len(error.problems)
        say(f"{source.name}: {count} problem{'s' if count > 1 else ''}")
        for problem in error.problems:
            say(f"  {problem}")
        return None
    for note in config.notes:
        say(f"note: {note}")
    return config


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of one command line."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments[:1] == ["convert"]:
            from . import dryrun

            return dryrun.run(arguments[1:])
        if arguments[:1] == ["keys"]:
            from . import keycli

            return keycli.run(arguments[1:], store_path)
        if arguments[:1] == ["explain"]:
            from . import explain

            return explain.run(arguments[1:])
        if arguments[:1] == ["install"]:
            from . import install

            return install.run(arguments[1:])
        return run(parser().parse_args(arguments))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter's own flush complains
        return 1
    except KeyboardInterrupt:  # before the loop took the signal over
        return 0


def run(options: argparse.Namespace) -> int:
    if options.demo:
        return with_demo(options)
    source = Source(options.config, flags=flags_of(options), env=os.environ)
    return act(options, source)


def with_demo(options: argparse.Namespace) -> int:
    """As `run`, with the stand-in as the only provider."""
    from llm_router_demo import DemoServer

    with DemoServer(record=False) as demo:
        return act(options, Source("", flags=flags_of(options), env=os.environ, document=demo_document(demo.url)))


def demo_document(url: str) -> dict[str, Any]:
    """One provider for each protocol that the stand-in speaks; the bare name `demo` is the first of them."""
    providers: list[dict[str, Any]] = [
        {"name": "demo", "api": "openai", "base_url": f"{url}/v1", "any_model": True},
        {"name": "demo-anthropic", "api": "anthropic", "base_url": url, "any_model": True},
        {"name": "demo-gemini", "api": "gemini", "base_url": f"{url}/v1beta", "any_model": True},
    ]
    return {"providers": providers, "models": [{"name": "demo", "provider": "demo"}]}


def act(options: argparse.Namespace, source: Source) -> int:
    config = loaded(source)
    if config is None:
        return 2
    if options.print_config:
        from .describe import config_text

        sys.stdout.write(config_text(config))
        return 0
    if not any(provider.is_active for provider in config.providers):
        say(f"{source.name}: no provider. Write a router.toml (references/gateway.md), set a key such as "
            "OPENAI_API_KEY or ANTHROPIC_API_KEY, or try --demo")  # fmt: skip
        return 2
    if options.check:
        from . import check

        return asyncio.run(check.run(config, time.monotonic))
    return asyncio.run(serve(config, source, demo=options.demo))


# ------------------------------------------------------------------------------------------------------------ serving


def new_id() -> str:
    """An x-request-id for callers that send none."""
    return os.urandom(8).hex()


def more_files() -> None:
    """As many open files as this user may have: every caller and every upstream is one."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def on_signals(loop: asyncio.AbstractEventLoop, actions: dict[str, Callable[[], None]]) -> None:
    """Calls each action in the loop when its signal comes; signals that a system lacks are left out."""
    for name, action in actions.items():
        number = getattr(signal, name, None)
        if number is None:
            continue
        try:
            loop.add_signal_handler(number, action)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_, action=action: loop.call_soon_threadsafe(action))


def ready_lines(config: Config, port: int, demo: bool, is_open: bool) -> list[str]:
    """What to do next, once the address is open."""
    host = f"[{config.server.host}]" if ":" in config.server.host else config.server.host
    url = f"http://{host}:{port}"
    active = sum(provider.is_active for provider in config.providers)
    lines = [
        f"{PROGRAM} {__version__} listening on {url}: {active} providers, {len(config.models)} listed models",
        f"  OpenAI clients     OPENAI_BASE_URL={url}/v1",
        f"  Claude Code        ANTHROPIC_BASE_URL={url}",
        f"  Gemini CLI         GOOGLE_GEMINI_BASE_URL={url}",
    ]
    if is_open:
        lines.append("  no token is set: every program on this machine may call; any key will do for the clients")
    return [*lines, "  --demo: ask for the model `demo`"] if demo else lines


def store_path(named: str, config_path: str) -> str:
    """Where the store is: beside the configuration, in memory, or "" for nowhere.

    store_path("", "/etc/router.toml")        -> "/etc/router.db"
    store_path("calls.db", "/etc/router.toml") -> "/etc/calls.db"
    store_path("", "")                         -> ":memory:"   without a file there is no place for one
    """
    if named == "off":
        return ""
    if named == "memory" or not (named or config_path):
        return ":memory:"
    return os.path.join(os.path.dirname(config_path), named or f"{os.path.splitext(os.path.basename(config_path))[0]}.db")


def keep_of(config: Config) -> Any:
    """How long calls are kept, as `store` takes it."""
    from .retention import Keep

    return Keep(config.server.keep_days, config.server.keep_bodies_days, config.server.max_store_bytes)


class Running:
    """The process while it serves: what signals, changed files and the timer do to it."""

    def __init__(self, config: Config, source: Source, *, demo: bool = False) -> None:
        from .desk import Desk
        from .gateway import Gateway
        from .keydesk import KeyDesk
        from .keyring import Keyring
        from .log import Log
        from .server import Server
        from .store import Store
        from .upstream import Pool

        loop = asyncio.get_running_loop()
        self.config, self.source = config, source
        self.log = Log(config.server.log_level, path=config.server.log_file)
        self.pool = Pool()
        self.ring = Keyring(config)
        self.gateway = Gateway(
            config, self.pool, self.log, clock=time.monotonic, call_later=loop.call_later, new_id=new_id,
            keyring=self.ring,
        )  # fmt: skip
        place = store_path(config.server.store, str(source.path or ""))
        self.store = Store.open(place, keep=keep_of(config)) if place else None
        if self.store is not None:
            self.gateway.on_call = self.store.add
        self.watch = self.watch_keys(loop)
        self.used_at = time.monotonic()
        self.gateway.desk = Desk(KeyDesk(self.ring, self.store, time.time, demo=demo).routes())
        self.server = Server(self.gateway, max_connections=config.server.max_connections)
        self.stop = asyncio.Event()

    def watch_keys(self, loop: asyncio.AbstractEventLoop) -> Any:
        """The keys of the store: known before anybody may call, and looked at from then on."""
        if self.store is None or self.store.path == ":memory:":
            return None  # nobody else can change those
        from .keywatch import KeyWatch

        watch = KeyWatch(self.ring, self.store.path, deliver=loop.call_soon_threadsafe, wall=time.time)
        watch.load(keys_lost=self.store.keys_lost)
        watch.start()
        return watch

    def tell_used(self, *, now: bool = False) -> None:
        """When keys were used last, every few seconds, to the store."""
        if self.store is None or not (now or time.monotonic() >= self.used_at + USED_S):
            return
        self.used_at = time.monotonic()
        used = self.ring.take_used()
        if used:
            from .keyrows import mark_used

            self.store.write(lambda db: mark_used(db, used))

    def reload(self) -> None:
        """A new Config, whole, or none: a bad file changes nothing and every problem is in the log."""
        try:
            config = self.source.load()
        except ConfigError as error:
            for problem in error.problems:
                self.log.error(f"{self.source.name} not taken over: {problem}")
            return
        self.gateway.swap(config)
        if self.store is not None:
            self.store.keeps(keep_of(config))
        old, new = self.config.server, config.server
        late = ", ".join(name for name in AT_START if getattr(old, name) != getattr(new, name))
        self.config = config
        for note in config.notes:
            self.log.warn(f"note: {note}")
        count = f"{len(config.providers)} providers, {len(config.models)} listed models"
        self.log.info(f"{self.source.name} taken over: {count}{late and f'; at the next start: {late}'}")

    async def look_after(self) -> None:
        """Changed files and waiting log lines, for as long as we serve."""
        next_look = time.monotonic() + RELOAD_S
        while True:
            await asyncio.sleep(FLUSH_S)
            self.tell_of_store()
            self.tell_used()
            self.log.flush()
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + RELOAD_S
                if self.source.changed():
                    self.reload()

    def tell_of_store(self) -> None:
        for note in self.store.take_notes() if self.store is not None else ():
            self.log.warn(note)

    def close_store(self, limit_s: float) -> None:
        if self.store is not None:
            self.tell_used(now=True)
            if self.watch is not None:
                self.watch.close()
            self.store.close(limit_s)
            self.tell_of_store()

    async def drain(self) -> None:
        """No new requests; open ones may end until the limit, then their streams get an error event."""
        from .errors import Unavailable

        self.log.info(f"stopping: {self.gateway.open} open requests have {self.config.server.drain_s:g} s")
        limit = asyncio.get_running_loop().call_later(
            self.config.server.drain_s, self.gateway.end_all, Unavailable("the gateway is going down")
        )
        await self.server.drain(self.config.server.drain_s + 1)
        limit.cancel()

    def end_now(self) -> None:
        """Without the drain; but what happened is told and kept."""
        self.close_store(FLUSH_S)
        self.log.close()
        os._exit(0)


async def serve(config: Config, source: Source, *, demo: bool = False) -> int:
    """Until a signal; then the drain. 3 when the address cannot be had."""
    more_files()
    running = Running(config, source, demo=demo)
    try:
        port = await running.server.start(config.server.host, config.server.port)
    except OSError as wrong:
        running.close_store(CLOSE_S)
        say(f"cannot listen on {config.server.host}:{config.server.port}: {wrong.strerror or wrong}")
        return 3
    gc.freeze()  # what is here now stays: the collector need not look at it again
    loop = asyncio.get_running_loop()
    on_signals(loop, {"SIGTERM": running.stop.set, "SIGINT": running.stop.set, "SIGHUP": running.reload})
    for line in ready_lines(config, port, demo, running.ring.is_open):
        say(line)
    care = asyncio.create_task(running.look_after())
    await running.stop.wait()
    on_signals(loop, {"SIGTERM": running.end_now, "SIGINT": running.end_now})  # asked twice: at once
    await running.drain()
    care.cancel()
    await running.pool.close()
    running.close_store(CLOSE_S)
    running.log.close()
    return 0
