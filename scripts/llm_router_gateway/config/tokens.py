"""Secrets and addresses of [server], from flags, environment, files and the document. What reads files is handed in. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from .misplaced import check_path
from .reader import Reading
from .settings import Secret, Setting, read_keys

if TYPE_CHECKING:
    from .config import Server
    from .keys import Key


# What Kubernetes puts into every pod's environment for a Service named llm-router: LLM_ROUTER_PORT=tcp://10.0.0.1:8000.
SERVICE_LINK_NOTE = (
    "Kubernetes sets it for a Service of this name; it is not used. enableServiceLinks: false in the pod avoids it"
)
SERVICE_LINK = re.compile(r"(?:tcp|udp|sctp)://\S+")


def is_service_link(name: str, text: str) -> bool:
    return name.endswith("_PORT") and SERVICE_LINK.fullmatch(text.strip()) is not None


def from_outside(setting: Setting, flags: Mapping[str, str], env: Mapping[str, str]) -> tuple[str, object] | None:
    """Where a flag or an environment variable sets it, and to what; None if neither does."""
    if setting.name in flags:
        return setting.flag.rsplit("/", 1)[-1], setting.from_text(flags[setting.name])
    for name in setting.env:
        if env.get(name, "").strip() and not is_service_link(name, env[name]):
            return name, setting.from_text(env[name])
    return None


def read_tokens(table: Mapping[str, Any], flags: Mapping[str, str], reading: Reading) -> tuple[Secret, ...]:
    """The tokens of the first place that names any: flags, environment, file."""
    if "token" in flags:
        reading.notes.append("--token is visible in the list of processes: use LLM_ROUTER_TOKEN or --token-file instead")
    places: tuple[tuple[str, Mapping[str, Any], str], ...] = (
        ("--", flags, ""),
        ("", {"token": ",".join(filter(None, map(reading.env.get, ("LLM_ROUTER_TOKEN", "LLM_ROUTER_API_KEYS")))),
              "token_file": reading.env.get("LLM_ROUTER_TOKEN_FILE", "")}, "LLM_ROUTER_TOKEN"),
        ("server.", table, ""),
    )  # fmt: skip
    for prefix, place, path in places:
        named = any(place.get(name) for name in ("token", "token_env", "token_file"))
        tokens = read_secret(place, "token", path or f"{prefix}token", reading) if named else ()
        if named and not tokens and not reading.problems:
            variable = str(place.get("token_env") or "")
            unset = f"the variable {variable} that it names is not set" if variable and not reading.env.get(variable) else ""
            reading.bad(path or f"{prefix}{'token_env' if unset else 'token'}", unset or "is set but holds no token")
        if named:
            return tokens
    return ()


def read_admin_tokens(table: Mapping[str, Any], reading: Reading) -> tuple[Secret, ...]:
    """Those of the environment, else those of the file."""
    for name in ("LLM_ROUTER_ADMIN_TOKEN", "LLM_ROUTER_ADMIN_KEY"):
        if reading.env.get(name, "").strip():
            return read_secret({"admin_token_env": name}, "admin_token", name, reading)
    return read_secret(table, "admin_token", "server.admin_token", reading)


def check_secrets(server: Server, keys: Iterable[tuple[Key, Sequence[Secret]]], reading: Reading) -> None:
    """One secret identifies one caller: two of them may not share it."""
    seen = dict.fromkeys(server.admin_tokens, "the admin token")
    named = [("the token", server.tokens), *((f'the key "{key.name}"', secrets) for key, secrets in keys)]
    for owner, secrets in named:
        for secret in secrets:
            if seen.setdefault(secret, owner) != owner:
                reading.bad("keys" if "key" in owner else "server.token", f"{owner} and {seen[secret]} are the same secret")


def check_networks(texts: Iterable[str], path: str, reading: Reading) -> None:
    for index, text in enumerate(texts):
        try:
            ip_network(text, strict=False)
        except ValueError:
            reading.bad(f"{path}[{index}]", f'"{text}" is not an address or a network such as "10.0.0.0/8"')


def read_secret(table: Mapping[str, Any], name: str, path: str, reading: Reading) -> tuple[Secret, ...]:
    """The keys that `name`, `name`_env and `name`_file give together: the first of them that is set.

    What `read_settings` has reported of these settings already is not reported again.
    """
    value, where = table.get(name), path
    if not value and table.get(f"{name}_env"):
        where = f"{path}_env"
        value = reading.env.get(str(table[f"{name}_env"]), "")
    if not value and table.get(f"{name}_file"):
        where = beside(path, "file")
        value = read_secret_file(str(table[f"{name}_file"]), where, reading)
    try:
        return read_keys(value or "")
    except ValueError as wrong:
        reading.bad_once(where, str(wrong))
        return ()


def beside(path: str, ending: str) -> str:
    """The setting, flag or variable for the same by file: "--token" -> "--token-file"."""
    return f"{path}-{ending}" if path.startswith("-") else f"{path}_{ending.upper() if path.isupper() else ending}"


def read_secret_file(path: str, where: str, reading: Reading) -> str:
    """What a file holds, as a comma list."""
    try:
        text = reading.read_secret(check_path(path)).replace("\n", ",")
    except (OSError, UnicodeError) as wrong:
        reading.bad_once(where, f"cannot be read: {wrong}")
        return ""
    except ValueError as wrong:
        reading.bad_once(where, str(wrong))
        return ""
    if not text.strip(", \t\r"):
        reading.bad_once(where, "holds no key: the file is empty")
    return text
