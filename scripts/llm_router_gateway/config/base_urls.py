"""A provider's address: what the file says, else its preset's, with the parts that only its user knows put in. Pure.

[[providers]] type = "bedrock", region = "eu-west-1"  -> https://bedrock-runtime.eu-west-1.amazonaws.com/openai/v1
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ..wire.registry import UPSTREAMS
from .key_command import read_label
from .presets import PARTS, Preset
from .reader import Reading


def base_url_of(values: Mapping[str, Any], preset: Preset, api: str, path: str, reading: Reading) -> str:
    """The address with a scheme and, when it is only a host, the root of its protocol."""
    is_given = values["base_url"] or reading.has(f"{path}.base_url")
    own = preset_url(values, preset, path, reading) if api == preset.api and not is_given else ""
    url: str = values["base_url"] or own
    given = [name for name in PARTS if values[name] and (values["base_url"] or name not in preset.parts)]
    for name in given:
        why = (
            "base_url is the whole address"
            if values["base_url"]
            else f"the address of {values['type'] or values['name']} has none"
        )
        reading.bad(f"{path}.{name}", f"is not used: {why}")
    if not url and not reading.has(f"{path}.base_url", *(f"{path}.{name}" for name in PARTS)):
        reading.bad(f"{path}.base_url", "is missing, and its type has no default")
    return url + UPSTREAMS[api].root if url.count("/") == 2 else url


def preset_url(values: Mapping[str, Any], preset: Preset, path: str, reading: Reading) -> str:
    """The preset's address, complete; "" with the problems noted where a part of it is missing."""
    found: dict[str, str] = {}
    for name in preset.parts:
        said = ((each, reading.env.get(each, "").strip()) for each in preset.parts[name])
        where, value = next((pair for pair in said if pair[1]), (name, ""))
        if values[name]:
            found[name] = values[name]
        elif value:
            try:
                found[name] = read_label(value)
            except ValueError as wrong:
                reading.bad(f"{path}.{name}", f"{where} {wrong}")
        else:
            variables = " or ".join(preset.parts[name])
            reading.bad_once(f"{path}.{name}", f"is missing: {PARTS[name]}; or set {variables}, or give base_url")
    if len(found) < len(preset.parts):
        return ""
    url = preset.base_url
    for host, other in preset.hosts.get(found.get("region", ""), {}).items():
        url = url.replace(host, other)
    return url.format(**found) if found else url


HERE = ("localhost", "127.0.0.1")  # the same to every caller; what listens on ::1 may be another server
EVERYWHERE = ("0.0.0.0", "::", "")  # nosec B104  # compared, not bound


def host_and_port(url: str) -> tuple[str, int]:
    """host_and_port("https://api.openai.com/v1") -> ("api.openai.com", 443); ValueError if its port is not valid."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def is_address_of(url: str, host: str, port: int) -> bool:
    """Whether a request to this address would reach a server that listens on this host and port.

    is_address_of("http://localhost:8000/v1", "127.0.0.1", 8000) -> True
    """
    try:
        its_host, its_port = host_and_port(url)
    except ValueError:
        return False
    same = its_host == host or (its_host in HERE and host in (*HERE, *EVERYWHERE))
    return same and its_port == port


def has_parts(preset: Preset, env: Mapping[str, str]) -> bool:
    """Whether the environment has every part of the address."""
    return all(any(env.get(name, "").strip() for name in names) for names in preset.parts.values())
