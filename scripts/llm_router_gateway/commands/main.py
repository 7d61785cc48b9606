"""The command line: flags, commands, exit codes.

    python3 scripts/llm_router_gateway --config router.toml      serves until SIGTERM or Ctrl-C
    python3 scripts/llm_router_gateway convert --from anthropic --to gemini < request.json
    python3 scripts/llm_router_gateway explain --model gpt_models < body.json

stdout: the result of --check, --print-config, convert and explain. stderr: everything else.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from .. import PROGRAM, __version__
from ..config.config import Config, ConfigError
from ..config.presets import USUAL_MODELS
from ..config.settings import SERVER
from ..config.sources import Source
from ..proxy.log import event_line
from .program import Parser, as_typed, program_name, say, write_utf8

EXIT_CODES = {
    0: "served and stopped, or success",
    1: "--check: a model did not answer; convert: the request cannot be converted; explain: no member would be tried; "
    "keys: the command failed",
    2: "usage or configuration error; every problem is listed",
    3: "the gateway cannot listen on the address",
}
EXAMPLES = """\
  python3 scripts/llm_router_gateway --demo
  python3 scripts/llm_router_gateway --config router.toml --check
  KEY=$(python3 scripts/llm_router_gateway keys create --name laptop -c router.toml)
"""
COMMANDS = {  # name: (module, what it does)
    "keys": ("keys", "create, list and change callers' keys"),
    "store": ("store", "back up, restore or copy the store"),
    "explain": ("explain", "show which model would answer a request, and why"),
    "convert": ("convert", "show a request as a provider would get it"),
    "models": ("models", "propose entries for the models that providers list"),
    "import": ("imports", "read the configuration of another router"),
    "install": ("install", "print a systemd unit, a container file, manifests, a dashboard or alert rules"),
}
METAVARS = {
    "host": "ADDRESS", "port": "PORT", "workers": "N", "log_level": "LEVEL", "log_file": "FILE", "proxy": "URL",
    "token": "TOKEN", "token_file": "FILE",  # nosec B105  # words of the help
}  # fmt: skip


# --------------------------------------------------------------------------------------------------------- arguments


def parser() -> argparse.ArgumentParser:
    """The flags of [server] from the table of settings, then the commands."""
    codes = "".join(f"  {code}  {meaning}\n" for code, meaning in EXIT_CODES.items())
    commands = "".join(f"  {name:<9}{text}\n" for name, (_, text) in COMMANDS.items())
    made = Parser(
        program_name(), f"{program_name()} [options]\n       {program_name()} COMMAND ...",
        allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="A router for OpenAI, Anthropic, Gemini and Ollama clients, whatever protocol the provider speaks.",
        epilog=f"commands (each has --help):\n{commands}\nexamples:\n{as_typed(EXAMPLES)}\nexit codes:\n{codes}\n"
        "Pages: references/gateway.md lists them.",
    )  # fmt: skip
    made.add_argument("-c", "--config", metavar="FILE", default="", help="router.toml, or a config.yaml of the jq server; "
                      "default: router.toml here, else every provider whose key is in the environment")  # fmt: skip
    for setting in SERVER:
        if setting.flag:
            made.add_argument(
                *setting.flag.split("/"), dest=setting.name, metavar=METAVARS[setting.name],
                help=": ".join([", ".join(setting.choices)] * bool(setting.choices) + [setting.help.replace("%", "%%")])
                + (f" ({setting.env[0]})" if setting.env else ""),
            )  # fmt: skip
    made.add_argument("--check", action="store_true", help="send every model one short request, print a line each")
    made.add_argument("--print-config", action="store_true", help="print the effective configuration, secrets masked")
    made.add_argument("--demo", action="store_true", help="serve a mock server that answers without a model or a key")
    made.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    return made


def unknown_command(word: str) -> str:
    """What to do about a first word that is not a command."""
    from difflib import get_close_matches

    near = get_close_matches(word, COMMANDS, n=1)
    hint = f"; did you mean {near[0]}?" if near else "."
    return f"unknown command {word[:40]!r}{hint} Commands: {', '.join(COMMANDS)}; without one the gateway starts. See --help."


def flags_of(options: argparse.Namespace) -> dict[str, str]:
    """The settings that were given on the command line, as texts by name."""
    named = vars(options)
    return {setting.name: named[setting.name] for setting in SERVER if named.get(setting.name) is not None}


def load(source: Source, *, serves: bool = False, is_printed: bool = False) -> Config | None:
    """The Config, its notes said; None, every problem said, when it cannot be used. What serves says it as its log does.

    A configuration that is printed has its notes at its end.
    """
    try:
        config = source.load()
    except ConfigError as error:
        if serves and source.log_format == "json":
            for problem in error.problems:
                sys.stderr.write(event_line("error", "problem", str(problem), source=source.name))
            return None
        count = len(error.problems)
        say(f"{source.name}: {count} problem{'s' if count > 1 else ''}")
        for problem in error.problems:
            say(f"  {problem}")
        return None
    is_json = serves and config.server.log_format == "json"
    for note in () if is_printed else config.notes:
        if is_json:
            sys.stderr.write(event_line("warn", "note", note))
        else:
            say(f"note: {note}")
    return config


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of one command line."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    write_utf8()
    try:
        if arguments and arguments[0] in COMMANDS:
            from importlib import import_module

            return int(import_module(f".{COMMANDS[arguments[0]][0]}", __package__).run(arguments[1:]))
        if arguments and not arguments[0].startswith("-"):
            say(unknown_command(arguments[0]))
            return 2
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
    return run_config(options, source)


def with_demo(options: argparse.Namespace) -> int:
    """As `run`, with the mock server as the only provider."""
    from llm_router_demo import DemoServer

    with DemoServer(record=False) as demo:
        return run_config(options, Source("", flags=flags_of(options), env=os.environ, document=demo_document(demo.url)))


def demo_document(url: str) -> dict[str, Any]:
    """One provider for each protocol of the mock server; the first answers to `demo` and to the names that clients ask for."""
    providers: list[dict[str, Any]] = [
        {
            "name": "demo",
            "api": "openai",
            "base_url": f"{url}/v1",
            "any_model": True,
            "rename": dict.fromkeys(USUAL_MODELS, "demo"),
        },
        {"name": "demo-anthropic", "api": "anthropic", "base_url": url, "any_model": True},
        {"name": "demo-gemini", "api": "gemini", "base_url": f"{url}/v1beta", "any_model": True},
    ]
    return {"providers": providers, "models": [{"name": "demo", "provider": "demo"}]}


def run_config(options: argparse.Namespace, source: Source) -> int:
    config = load(source, serves=not (options.check or options.print_config), is_printed=options.print_config)
    if config is None:
        return 2
    if options.print_config:
        from ..config.addresses import is_postgres
        from ..config.describe import config_text
        from ..store.sqlite.file import store_path
        from ..store.sqlite.keys import count_keys

        place = config.server.store
        stored = None if is_postgres(place) else count_keys(store_path(place, str(source.path or "")))
        sys.stdout.write(config_text(config, stored))
        return 0
    if not any(provider.is_active for provider in config.providers):
        wrong = (f"{source.name}: no provider. Write a router.toml (references/gateway-start.md), set a key such as "
                 "OPENAI_API_KEY or ANTHROPIC_API_KEY, or try --demo")  # fmt: skip
        if not options.check and config.server.log_format == "json":
            sys.stderr.write(event_line("error", "problem", wrong))
        else:
            say(wrong)
        return 2
    if config.state is not None:
        from ..limiter.redis import NotInstalled, load_driver

        try:
            load_driver()
        except NotInstalled as missing:
            say(f"{source.name}: {missing}")
            return 2
    if options.check:
        from . import check

        return asyncio.run(check.run(config, time.monotonic))
    if config.server.workers > 1:
        from . import workers

        return asyncio.run(workers.serve_with_workers(config, source, demo=options.demo))
    from . import serve

    return asyncio.run(serve.serve(config, source, demo=options.demo))
