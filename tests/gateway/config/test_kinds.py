"""kinds: one value of each kind, read, or refused with a text that follows the name of its setting."""

from __future__ import annotations

import re
from typing import Any

import pytest

from llm_router_gateway.config.kinds import KINDS, Secret
from llm_router_gateway.config.settings import TABLES

CANARY = "canary" * 4

# kind -> values of it, each with what is read
VALUES: dict[str, list[tuple[Any, Any]]] = {
    "text": [("a b", "a b")],
    "whole": [(7, 7), (-1, -1)],
    "number": [(0.5, 0.5), (7, 7)],
    "bool": [(True, True), (False, False)],
    "texts": [(["a", "b"], ("a", "b")), ([], ())],
    "table": [({"a": 1}, {"a": 1})],
    "tables": [([{"a": 1}], ({"a": 1},))],
    "headers": [({"X-Org": "a b"}, {"X-Org": "a b"})],
    "params": [({"a": [1, {"b": 0.5}]}, {"a": [1, {"b": 0.5}]})],
    "patch": [({"a": 1}, {"a": 1}), ('{"a": null}', {"a": None})],
    "header patch": [({"X-Org": "a", "X-Number": 3}, {"x-org": "a", "x-number": "3"}), ('{"X-Org": null}', {"x-org": None})],
    "names": [({"big": "big:70b"}, {"big": "big:70b"})],
    "secret": [("a, b,", (Secret("a"), Secret("b"))), (["a"], (Secret("a"),)), ("", ())],
    "variable": [("OPENAI_API_KEY", "OPENAI_API_KEY")],
    "secret path": [("/run/secrets/key", "/run/secrets/key")],
    "url": [("https://h.example:8443/v1/", "https://h.example:8443/v1"), ("http://[::1]:1", "http://[::1]:1")],
    "proxy": [("socks5h://h:1080", "socks5h://h:1080"), ("", "")],
    "state url": [("redis://h:6379/0", Secret("redis://h:6379/0"))],
    "size": [("128k", 128_000), (7, 7)],
    "time": [("1970-01-02T00:00:00Z", 86_400.0), ("1970-01-01", 86_400.0)],
    "patterns": [(["openai/*"], ("openai/*",)), (None, None)],
    "webhook": [("https://h/x?a=b", Secret("https://h/x?a=b"))],
    "shares": [([1.0, 0.8, 1], (0.8, 1.0)), (0.5, (0.5,))],
    "command": [("op read 'a b'", ("op", "read", "a b")), (["op"], ("op",))],
    "label": [("eu-west-1", "eu-west-1")],
    "networks": [(["10.0.0.1/8", " ::1 "], ("10.0.0.0/8", "::1/128"))],
}

READ_AS: dict[str, tuple[type, ...]] = {  # kind of setting -> what a value of it is in Python
    **dict.fromkeys(("text", "url", "proxy", "label", "variable", "secret path"), (str,)),
    **dict.fromkeys(("whole", "size"), (int,)),
    **dict.fromkeys(("texts", "tables", "secret", "networks", "shares", "command"), (tuple,)),
    **dict.fromkeys(("table", "headers", "params", "patch", "header patch", "names"), (dict,)),
    "number": (int, float),
    "bool": (bool,),
    "webhook": (Secret,),
    "state url": (Secret,),
    "time": (float,),
    "patterns": (tuple, type(None)),
}


def test_every_kind_reads_its_values() -> None:
    assert VALUES.keys() == KINDS.keys() == READ_AS.keys()
    for kind, pairs in VALUES.items():
        for value, wanted in pairs:
            read = KINDS[kind][0](value)
            assert read == wanted and type(read) in READ_AS[kind], (kind, value)


@pytest.mark.parametrize("value", [None, 1, True, "x", [], [1], {}, {"a": []}, 1.5, "\x00", "é"])
def test_any_value_of_any_setting_gives_a_value_of_its_kind_or_a_problem_in_words(value: Any) -> None:
    for setting in [setting for table in TABLES.values() for setting in table]:
        try:
            read = setting.read(value)
        except ValueError as problem:
            assert re.match("(is|has|holds|cannot) ", str(problem)), (setting.name, str(problem))  # follows the setting's name
        else:
            assert type(read) in READ_AS[setting.kind], (setting.name, read)
            assert not setting.choices or read in setting.choices
            assert setting.low is None or read >= setting.low
            assert setting.high is None or read <= setting.high


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("text", " ", "is empty"), ("text", "a\tb", "holds a control character"),
        ("headers", {"Host": "h"}, "cannot set the header 'Host'"), ("headers", {"a b": "c"}, "cannot set the header 'a b'"),
        ("headers", {"a": "b\nc"}, "has no plain text for the header 'a'"),
        ("params", {"a": float("nan")}, "holds a value that JSON does not have"), ("params", [], "is not a table"),
        ("patch", "[1]", "is not a table"), ("patch", "{", "is not JSON: "), ("patch", "[" * 200_000, "is nested too deeply"),
        ("names", {"a": ""}, "has no model name for 'a'"), ("names", {"a": " b"}, "has no model name for 'a'"),
        ("url", "ftp://h", "is not an http or https address"), ("url", "https://h/?a", "is not an http or https address"),
        ("patterns", [], "is empty: leave it out"), ("patterns", ["a" * 257], "holds more than 200 patterns, or one of more"),
        ("patterns", ["a"] * 201, "holds more than 200 patterns"), ("networks", ["10.0.0.0/99"], 'holds "10.0.0.0/99",'),
        ("shares", [True], "is not a list of fractions"), ("label", "-a", "is not a name of letters, digits and hyphens"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_value_is_said_in_words(kind: str, value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(said)}"):
        KINDS[kind][0](value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("secret", f"{CANARY} {CANARY}"), ("secret", [CANARY, 1]), ("headers", {"authorization": f"Bearer {CANARY}\n"}),
        ("header patch", {"authorization": f"Bearer {CANARY}\n"}), ("url", "https://{}:{}@h".format("me", CANARY)),
        ("proxy", "ftp://{}:{}@h".format("me", CANARY)), ("state url", "http://{}:{}@h".format("me", CANARY)),
        ("webhook", f"ftp://h/{CANARY}"), ("command", f"./{CANARY}"), ("variable", f"sk-{CANARY}"),
        ("secret path", f"sk-{CANARY}"),
    ],
)  # fmt: skip
def test_what_may_be_a_secret_is_not_repeated(kind: str, value: Any) -> None:
    with pytest.raises(ValueError, match=r"^(is|has|holds|cannot) ") as wrong:
        KINDS[kind][0](value)
    assert CANARY not in str(wrong.value)
    assert CANARY not in repr(Secret(CANARY)) + f"{Secret(CANARY)} {[Secret(CANARY)]}"
