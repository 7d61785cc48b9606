"""Addresses of servers that the gateway's state lives on. Pure; no password leaves this module but inside the address itself.

is_postgres("postgresql://gateway:PASSWORD@db:5432/llm")    -> True; False for a path
without_password("postgresql://gateway:PASSWORD@db/llm")    -> "postgresql://gateway@db/llm"
passwords_in("postgresql://gateway:PASS%40WORD@db/llm")     -> ("PASS%40WORD", "PASS@WORD")
"""

from __future__ import annotations

import re
from urllib.parse import unquote

POSTGRES = ("postgresql://", "postgres://")
ADDRESS = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?:(?P<user>[^@/?#]*)@)?(?P<place>[^?#]*)(?:\?(?P<options>.*))?", re.S)
SECRET_OPTION = re.compile(r"(?:^|&)(?:password|sslpassword)=([^&]*)", re.I)


def is_postgres(text: str) -> bool:
    return text.startswith(POSTGRES)


def passwords_in(address: str) -> tuple[str, ...]:
    """Every password of an address, as it is written there and as it is meant."""
    found = ADDRESS.fullmatch(address)
    if found is None:
        return ()
    _, _, password = (found["user"] or "").partition(":")
    written = [password, *SECRET_OPTION.findall(found["options"] or "")]
    return tuple(dict.fromkeys(text for each in written if each for text in (each, unquote(each))))


def without_password(address: str) -> str:
    """The address for people: user, host, port and name, no options. A text that is not an address is not repeated."""
    found = ADDRESS.fullmatch(address)
    if found is None:
        return "***"
    user = (found["user"] or "").partition(":")[0]
    return f"{found['scheme']}://{user + '@' if user else ''}{found['place']}"


def mask_passwords(text: str, address: str) -> str:
    """A text of another program without the passwords of an address."""
    for password in passwords_in(address):
        text = text.replace(password, "***")
    return text
