"""Secrets and addresses of [server], from flags, environment, files and the document. What reads files is handed in. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from .kinds import Secret, read_keys
from .misplaced import check_path
from .reader import Reading

if TYPE_CHECKING:
    from .config import Server
    from .keys import Key


def read_tokens(table: Mapping[str, Any], flags: Mapping[str, str], reading: Reading) -> tuple[Secret, ...]:
    """The tokens of the first place that names any: flags, environment, file."""
    if "token" in flags:
        reading.notes.append("--token is visible in the list of processes: use LLM_ROUTER_TOKEN or --token-file instead")
    names = ("LLM_ROUTER_TOKEN", "LLM_ROUTER_API_KEYS")
    of_env = next(filter(reading.env.get, names), names[0])
    places: tuple[tuple[str, Mapping[str, Any]], ...] = (
        ("--token", flags),
        (of_env, {"token": ",".join(filter(None, map(reading.env.get, names))),
                  "token_file": reading.env.get("LLM_ROUTER_TOKEN_FILE", "")}),
        ("server.token", table),
    )  # fmt: skip
    for path, place in places:
        if is_named(place, "token"):
            tokens = read_secret(place, "token", path, reading)
            check_named(place, "token", path, tokens, reading)
            return tokens
    return ()


def read_admin_tokens(table: Mapping[str, Any], reading: Reading) -> tuple[Secret, ...]:
    """Those of the environment, else those of the file."""
    for name in ("LLM_ROUTER_ADMIN_TOKEN", "LLM_ROUTER_ADMIN_KEY"):
        if reading.env.get(name, "").strip():
            return read_secret({"admin_token": reading.env[name]}, "admin_token", name, reading)
    tokens = read_secret(table, "admin_token", "server.admin_token", reading)
    check_named(table, "admin_token", "server.admin_token", tokens, reading)
    return tokens


def is_named(table: Mapping[str, Any], name: str) -> bool:
    return any(table.get(each) for each in (name, f"{name}_env", f"{name}_file"))


def check_named(table: Mapping[str, Any], name: str, path: str, secrets: Sequence[Secret], reading: Reading) -> None:
    """A secret that is configured but missing is a problem: without it, anyone could call."""
    if secrets or not is_named(table, name) or any(problem.path.startswith(path) for problem in reading.problems):
        return
    variable = str(table.get(f"{name}_env") or "")
    if variable and not reading.env.get(variable, "").strip():
        reading.bad(f"{path}_env", f"the variable {variable} that it names is not set")
    else:
        reading.bad(path, "is set but holds no token")


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


# What a browser or a client sends, in its exact form: no other form would ever match.
HOST_NAME = re.compile(r"[^\sA-Z/*:]+|[0-9a-f:]+:[0-9a-f:.]*")
ORIGIN = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[^\sA-Z/*]+")


def check_names(server: Server, reading: Reading) -> None:
    """Report names in [server] that no request could ever match."""
    for index, text in enumerate(server.allowed_hosts):
        if not HOST_NAME.fullmatch(text):
            reading.bad(f"server.allowed_hosts[{index}]", f'"{text}" is not a lower-case host name without scheme and port, '
                        'such as "llm.example"')  # fmt: skip
    for index, text in enumerate(server.cors_origins):
        if not ORIGIN.fullmatch(text):
            reading.bad(f"server.cors_origins[{index}]", f'"{text}" is not an origin in lower case, such as '
                        '"https://app.example" or "https://app.example:8443", nor "*"')  # fmt: skip


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
