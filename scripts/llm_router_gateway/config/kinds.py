"""Kinds of value: how one value of the configuration is read, and what is said of one that is wrong.

    KINDS["size"][0]("128k") -> 128000          KINDS["size"][1] -> 'whole number or "128k"', as the reference page has it
    read_url("ftp://h")      -> ValueError("is not an http or https address without user, query and fragment")

Every text follows the name of a setting: "providers[0].base_url: is not ...". None repeats a value that may be a secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlsplit

from .key_command import read_command, read_label
from .misplaced import check_path, names_variable, read_variable
from .numbers import read_number, read_size, read_time, read_whole

NAME = re.compile(r"[A-Za-z0-9_.:+-]+")  # a provider's name is the part of a model name before the first slash
# Any name that a server lists: with slashes, spaces, brackets, in any script; not text that UTF-8 cannot encode.
MODEL_NAME = re.compile("(?!\\s)[^\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ud800-\\udfff]+(?<!\\s)")
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 5.6.2
HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
KEY = re.compile(r"[\x21-\x7e]+")  # characters that a header can hold without escaping
URL = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")
WEBHOOK = re.compile(r"https?://[^\s/?#@]+(/[!-~]*)?(?<!#)", re.A)
PROXY = re.compile(r"(https?|socks5h?)://([^\s/@]*@)?[^\s/?#@]+/?")
STATE_URL = re.compile(r"(rediss?(\+sentinel|\+cluster)?://([^\s/@]*@)?[^\s/?#@]+|unix://[^\s?#]+)(/[^\s?#]*)?(\?[^\s#]*)?")
LOOPBACK = re.compile(r"localhost|127(\.\d{1,3}){3}|::1")
OUR_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection"})  # the transport sets these


class Secret:
    """A key or token. Only `reveal` returns it, so that no log or error shows it by accident."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


def read_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("is not a text")
    if not value.strip():
        raise ValueError("is empty")
    if re.search(r"[\x00-\x1f\x7f]", value):
        raise ValueError("holds a control character")
    return value


def read_bool(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is not true or false")
    return value


def read_texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise ValueError("is not a list of texts")
    return tuple(value)


def read_table(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("is not a table")
    return value


def read_tables(value: object) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ValueError("is not a list of tables ([[...]])")
    return tuple(value)


def read_headers(value: object) -> Mapping[str, str]:
    """{"X-Org": "a"}; names and values that could break a request apart are refused."""
    for name, text in read_table(value).items():
        if not HEADER_NAME.fullmatch(name) or name.lower() in OUR_HEADERS:
            raise ValueError(f"cannot set the header {name!r}")
        if not isinstance(text, str) or not HEADER_VALUE.fullmatch(text):
            raise ValueError(f"has no plain text for the header {name!r}")
        if names_variable(text) or names_variable(text.partition(" ")[2]):  # with or without a scheme in front
            raise ValueError(
                f"holds the name of a variable for the header {name!r}, which is not looked up: write the value itself"
            )
    return dict(read_table(value))


def read_secret_path(value: object) -> str:
    return check_path(read_text(value))


def read_keys(value: object) -> tuple[Secret, ...]:
    """A comma list, or a list of texts, of keys; never repeated in an error."""
    texts = value.split(",") if isinstance(value, str) else read_texts(value)
    keys = [text.strip() for text in texts if text.strip()]
    if any(map(names_variable, keys)):
        raise ValueError(
            "holds the name of a variable, which is not looked up: give the key itself, or that name as the setting in _env"
        )
    if not all(KEY.fullmatch(key) for key in keys):
        raise ValueError("holds a key with a space, a line end or a character outside ASCII")
    return tuple(map(Secret, keys))


def read_url(value: object) -> str:
    if "${" in str(value) or names_variable(str(value)):
        raise ValueError("holds the name of a variable, which is not looked up: write the address itself")
    if not URL.fullmatch(read_text(value)):
        raise ValueError("is not an http or https address without user, query and fragment")
    check_place(str(value))
    return str(value).rstrip("/")


def check_place(url: str) -> None:
    """ValueError for an address without a host, or with an impossible port."""
    try:
        parts = urlsplit(url)
        if not parts.hostname or parts.port == 0 or parts.netloc.endswith(":"):
            raise ValueError
    except ValueError:
        raise ValueError("has no host, or a port that is not a number from 1 to 65535") from None


def read_proxy(value: object) -> str:
    if value == "":
        return ""
    if not PROXY.fullmatch(read_text(value)):
        raise ValueError("is not http://host:port, https://host:port or socks5://host:port")
    check_place(str(value))
    return str(value)


def read_state_url(value: object) -> Secret:
    """An address with its password, which is never repeated in an error."""
    if not isinstance(value, str) or not STATE_URL.fullmatch(value):
        raise ValueError("is not an address such as redis://:PASSWORD@HOST:6379/0, rediss://..., "
                         "redis+sentinel://HOST,HOST/NAME or redis+cluster://HOST:6379")  # fmt: skip
    return Secret(value)


def read_params(value: object) -> Mapping[str, Any]:
    """A table of JSON values; TOML's dates are refused."""
    try:
        json.dumps(read_table(value), allow_nan=False)
    except (TypeError, ValueError) as wrong:
        raise ValueError(str(wrong) if "table" in str(wrong) else "holds a value that JSON does not have") from None
    return dict(read_table(value))


def read_patch(value: object) -> Mapping[str, Any]:
    """A table, or the same as a JSON text, which can hold null: '{"temperature": null}'."""
    if not isinstance(value, str):
        return read_params(value)
    try:
        return read_params(json.loads(value))
    except json.JSONDecodeError as wrong:
        raise ValueError(f"is not JSON: {wrong.msg} at character {wrong.pos}") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def read_header_patch(value: object) -> Mapping[str, str | None]:
    """{"x-org": "a", "x-old": None}, names in lower case; numbers as text, as JSON and TOML write them."""
    patch = {name.lower(): item if item is None or isinstance(item, str) else number_text(item, name)
             for name, item in read_patch(value).items()}  # fmt: skip
    read_headers({name: item or "" for name, item in patch.items()})
    return patch


def number_text(value: object, name: str) -> str:
    if isinstance(value, (int, float)):
        return json.dumps(value)
    raise ValueError(f"has no plain text for the header {name!r}")


def read_names(value: object) -> Mapping[str, str]:
    """{"asked": "theirs"}."""
    for name, text in read_table(value).items():
        if not isinstance(text, str) or not MODEL_NAME.fullmatch(name) or not MODEL_NAME.fullmatch(text):
            raise ValueError(f"has no model name for {name!r}")
    return dict(read_table(value))


def read_patterns(value: object) -> tuple[str, ...] | None:
    """["openai/*", "gpt-4.1"]; null = no restriction. An empty list is refused: it would allow nothing."""
    if value is None:
        return None
    texts = read_texts(value)
    if not texts:
        raise ValueError("is empty: leave it out to allow all, or switch the key off")
    if len(texts) > 200 or any(len(text) > 256 or not text.isprintable() for text in texts):
        raise ValueError("holds more than 200 patterns, or one of more than 256 characters")
    return texts


def read_webhook(value: object) -> Secret:
    """An address whose path or query may be a secret; it is never repeated."""
    if not isinstance(value, str) or not WEBHOOK.fullmatch(value):
        raise ValueError("is not an http or https address without user and fragment")
    return Secret(value)


def read_shares(value: object) -> tuple[float, ...]:
    """[0.8, 1.0], in order."""
    items = value if isinstance(value, list) else [value]
    if not items or not all(isinstance(each, (int, float)) and not isinstance(each, bool) and 0 < each <= 10 for each in items):
        raise ValueError("is not a list of fractions above 0 and up to 10: [0.8, 1.0] is 80 and 100 percent")
    return tuple(sorted({float(each) for each in items}))


def read_networks(value: object) -> tuple[str, ...]:
    """["10.0.0.0/8", "2001:db8::1"]"""
    found = []
    for text in read_texts(value):
        try:
            found.append(str(ip_network(text.strip(), strict=False)))
        except ValueError:
            raise ValueError(f'holds "{text}", which is not an address or network such as "10.0.0.0/8"') from None
    return tuple(found)


KINDS: Mapping[str, tuple[Callable[[object], object], str]] = {
    "text": (read_text, "text"),
    "whole": (read_whole, "whole number"),
    "number": (read_number, "number"),
    "bool": (read_bool, "true or false"),
    "texts": (read_texts, "list of texts"),
    "table": (read_table, "table"),
    "tables": (read_tables, "list of tables"),
    "headers": (read_headers, "table of texts"),
    "params": (read_params, "table"),
    "patch": (read_patch, "table, or JSON text"),
    "header patch": (read_header_patch, "table of texts, or JSON text"),
    "names": (read_names, "table of texts"),
    "secret": (read_keys, "secret, or comma list of them"),
    "variable": (read_variable, "text"),
    "secret path": (read_secret_path, "text"),
    "url": (read_url, "http(s) address"),
    "proxy": (read_proxy, "proxy address"),
    "state url": (read_state_url, "address of Redis or Valkey"),
    "size": (read_size, 'whole number or "128k"'),
    "time": (read_time, "date, or time (UTC where it names no zone)"),
    "patterns": (read_patterns, "list of texts with *"),
    "webhook": (read_webhook, "http(s) address, a secret"),
    "shares": (read_shares, "list of numbers"),
    "command": (read_command, "text, or list of texts"),
    "label": (read_label, "name"),
    "networks": (read_networks, "list of addresses and networks"),
}
