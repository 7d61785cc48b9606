"""The command `doctor`: what is set, and whether the endpoint answers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from llm_router_client import (
    AUTO,
    CREDENTIALS_FILE,
    LLMRouterError,
    NetworkError,
    clean,
    is_dry,
    open_client,
    proxy_for,
    setting,
)

from .aliases import expand
from .config import user_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llm_router_client import Console, LLMRouterClient, Turns

LOOKS = ("endpoint", "proxy", "certificates", "key", "models")  # in this order: each builds on those before it


def looks(client: LLMRouterClient, args: Any) -> Iterator[str]:
    """The checks of `doctor`, in the order of LOOKS; raises at the first that fails."""
    yield client.base_url
    host, port, _ = proxy_for(client.endpoint)
    yield f"{host}:{port} by CONNECT" if host else "none"
    yield args.ca_file or os.getenv("SSL_CERT_FILE") or "the system's"
    key, path = client.key(), os.path.expanduser(CREDENTIALS_FILE)
    loose = key and key.source == CREDENTIALS_FILE and os.name == "posix" and os.stat(path).st_mode & 0o077
    found = f"{key!r} from {key.source}" if key else "none needed on this machine"
    yield found + (", which others can read: chmod 600 it" if loose else "")
    listed, usual = client.list_models(), expand(setting("LLM_ROUTER_MODEL"), user_config().get("aliases", {}))
    if listed.source != "live":
        raise NetworkError(f"the live list is not available: {listed.reason}")
    known = usual in ("", AUTO) or any(usual == model["id"] for model in listed)
    yield f"{len(listed)} listed" + ("" if known else f"; not {usual}, LLM_ROUTER_MODEL: another may answer to its name")


def add_arguments(parser: Any) -> None:
    """The command `doctor` takes no options of its own."""


def run(args: Any, console: Console) -> int:
    """The command `doctor`: each check with what it found, up to the first that fails."""
    client = open_client(args, console)
    if is_dry(args, console, client, {}):
        return 0
    checks: Turns = []
    failed: LLMRouterError | None = None
    try:
        for name, detail in zip(LOOKS, looks(client, args)):
            checks.append({"name": name, "ok": True, "detail": detail, "next_step": None})
    except LLMRouterError as error:
        failed = error
        checks.append({"name": LOOKS[len(checks)], "ok": False, "detail": error.message, "next_step": error.next_step})
    text = "".join(f"{'ok  ' if c['ok'] else 'FAIL'} {c['name']}: {c['detail']}\n" for c in checks)
    console.show({"checks": checks}, clean(text), failed.to_dict() if failed else None)
    if failed:
        console.note(f"next: {failed.next_step}")
    return failed.exit_code if failed else 0
