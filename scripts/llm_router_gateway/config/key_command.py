"""A command that prints a provider's key: how the file spells it, and what it printed. Pure.

    read_command("gcloud auth print-access-token")                 -> ("gcloud", "auth", "print-access-token")
    read_command(["op", "read", "op://team/claude/key"])           -> the same list
    printed_key(b"ya29.a0Af...", wall)                             -> PrintedKey("ya29.a0Af...", None)
    printed_key(b'{"accessToken": "ey...", "expires_on": 1893456000}', wall)  -> PrintedKey("ey...", 3599.0)

No shell runs it. What it printed is a credential: no error of this module repeats any of it.
"""

from __future__ import annotations

import json
import re
import shlex
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from .misplaced import looks_like_key

SHELL_WORDS = frozenset({"|", "||", "&", "&&", ";", ">", ">>", "<", "2>", "2>/dev/null", "2>&1"})
KEY = re.compile(r"[\x21-\x7e]+")  # what a header can hold
ABSOLUTE = re.compile(r"/|~/|[A-Za-z]:[\\/]|\\\\")
LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")  # of a host's name, RFC 1035 2.3.1
JWT = re.compile(r"[\w-]+\.([\w-]+)\.[\w-]*", re.ASCII)
# Where programs put the token: OAuth servers, gcloud, az, ExecCredential of Kubernetes, helpers of one's own.
TOKEN_NAMES = ("token", "access_token", "accessToken", "api_key", "apiKey", "key", "id_token", "idToken")
LIFETIME_NAMES = ("expires_in", "expiresIn")  # seconds from now
TIME_NAMES = (
    "expires_on", "expires_at", "expiresAt", "expiresOn", "expiry", "expiration", "expirationTimestamp", "token_expiry",
    "expireTime", "exp",
)  # fmt: skip
INSIDE = ("credential", "status")  # of gcloud's config-helper; of an ExecCredential
LATEST_S = 100_000_000_000  # Unix seconds far beyond any expiry: larger numbers are milliseconds


@dataclass(frozen=True, slots=True)
class KeyCommand:
    """A command and its limits. Arguments may be secrets, so `repr` leaves them out."""

    argv: tuple[str, ...] = field(repr=False)
    ttl_s: float = 300.0  # how long a key is used whose expiry is not known
    timeout_s: float = 30.0  # for one run

    @property
    def program(self) -> str:
        """For messages: its name without folder and arguments."""
        return re.split(r"[/\\]", self.argv[0])[-1]


class PrintedKey(NamedTuple):
    """A key, and the seconds until it expires; None where the command did not say."""

    key: str
    lifetime_s: float | None


def read_command(value: object) -> tuple[str, ...]:
    """The program and its arguments; ValueError, without the text, when it cannot be run as it is."""
    if isinstance(value, str):
        try:
            words = shlex.split(value)
        except ValueError as wrong:
            raise ValueError(f"cannot be split into words: {str(wrong).lower()}") from None
        shell = next((word for word in words if word in SHELL_WORDS), "")
        if shell:
            raise ValueError(
                f'holds "{shell}", which only a shell understands: put the line into a script, or write ["sh", "-c", "..."]'
            )
    elif isinstance(value, list) and all(isinstance(word, str) for word in value):
        words = value
    else:
        raise ValueError("is not a command: a text, or a list of texts")
    if any("\0" in word for word in words):
        raise ValueError("holds a NUL character, which an argument cannot")
    if not words or not words[0]:
        raise ValueError("has no program")
    if looks_like_key(words[0]):
        raise ValueError("is apparently a key: give the program that prints it")
    if re.search(r"[/\\]", words[0]) and not ABSOLUTE.match(words[0]):
        raise ValueError("has a relative path for its program: write the whole path, or a name that is on the PATH")
    return tuple(words)


def read_label(value: object) -> str:
    """A name that becomes part of a host or path: "my-resource", "eu-west-1"."""
    if not isinstance(value, str) or not LABEL.fullmatch(value):
        raise ValueError("is not a name of letters, digits and hyphens")
    return value


# ------------------------------------------------------------------------------------------------------ what it printed


def printed_key(data: bytes, wall: float) -> PrintedKey:
    """The key in a command's output: plain text, a JSON text, or a JSON object. ValueError repeats nothing of it."""
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ValueError("printed something that is not text") from None
    if not text:
        raise ValueError("printed nothing")
    found: PrintedKey
    if text[0] in '{"':
        found = key_in_json(text, wall)
    else:
        if len(text.splitlines()) > 1:
            raise ValueError(f"printed {len(text.splitlines())} lines: a key is one line, or a JSON object with a token")
        found = PrintedKey(text, None)
    key = found.key.removeprefix("Bearer ").strip()
    if not KEY.fullmatch(key):
        raise ValueError("printed a key with a space, a line end or a character outside ASCII")
    lifetime_s = lifetime_of_jwt(key, wall) if found.lifetime_s is None else found.lifetime_s
    if lifetime_s is not None and lifetime_s <= 0:
        raise ValueError("printed a key that has expired already")
    return PrintedKey(key, lifetime_s)


def key_in_json(text: str, wall: float) -> PrintedKey:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("printed JSON that cannot be read") from None
    if isinstance(value, str):
        return PrintedKey(value, None)
    tables = [value, *(value[name] for name in INSIDE if isinstance(value.get(name), dict))]
    for table in tables:
        key = next((table[name] for name in TOKEN_NAMES if isinstance(table.get(name), str) and table[name]), None)
        if key is not None:
            return PrintedKey(key, lifetime_in(table, wall))
    raise ValueError(f"printed a JSON object without a token under {', '.join(TOKEN_NAMES)}")


def lifetime_in(table: Mapping[str, Any], wall: float) -> float | None:
    """Seconds from now until a token expires, by the first of its fields that says so."""
    for name in LIFETIME_NAMES:
        seconds = number_of(table.get(name))
        if seconds is not None:
            return seconds
    for name in TIME_NAMES:
        at = unix_s(table.get(name))
        if at is not None:
            return at - wall
    return None


def number_of(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):  # a whole number of 400 digits
        return None
    return number if abs(number) < LATEST_S * 1_000 else None


def unix_s(value: object) -> float | None:
    """unix_s(1893456000), unix_s("1893456000000") and unix_s("2030-01-01T00:00:00Z") -> 1893456000.0

    A time without a zone is this machine's, as the older field of `az account get-access-token` is.
    """
    number = number_of(value)
    if number is not None:
        return number / 1_000 if number > LATEST_S else number
    try:
        return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else None
    except (ValueError, OverflowError, OSError):
        return None


def lifetime_of_jwt(key: str, wall: float) -> float | None:
    """What a JSON Web Token says of its end (RFC 7519 4.1.4); None for any other key. Nothing is verified."""
    match = JWT.fullmatch(key)
    if match is None:
        return None
    try:
        claims = json.loads(urlsafe_b64decode(match[1] + "=" * (-len(match[1]) % 4)))
    except (ValueError, RecursionError):
        return None
    at = unix_s(claims.get("exp")) if isinstance(claims, dict) else None
    return None if at is None else at - wall
