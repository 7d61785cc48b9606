"""The credential in a request.

    credential({"x-api-key": "abc"}, {})          -> "abc"

Header names arrive in lower case. `authenticate` looks the credential up.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..wire.registry import KEY_HEADERS, KEY_QUERIES


def credential(headers: Mapping[str, str], query: Mapping[str, str]) -> str:
    """The caller's key, from Authorization: Bearer, x-api-key, x-goog-api-key or ?key=; "" if there is none.

    credential({"authorization": "bearer abc"}, {}) -> "abc"   (the scheme's case does not matter, RFC 9110 11.1)
    """
    scheme, _, value = headers.get("authorization", "").partition(" ")
    value = value.strip()
    if value and scheme.lower() == "bearer":
        return value
    for name in KEY_HEADERS:
        if headers.get(name, "").strip():
            return headers[name].strip()
    return next((value for name in KEY_QUERIES if (value := query.get(name, "").strip())), "")


def host_name(host: str) -> str:
    """The name in a Host header or an origin, without scheme and port.

    host_name("localhost:8000") -> "localhost"; host_name("http://[::1]:80") -> "::1"
    """
    name = host.rpartition("://")[2].lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.rpartition(":")[0] if name.count(":") == 1 else name
