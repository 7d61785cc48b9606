"""Environment variables of the gateway: which set a setting, which are another program's, which are misspelt. Pure.

from_outside(SERVER[1], {}, {"LLM_ROUTER_PORT": "8000"})  -> ("LLM_ROUTER_PORT", 8000)
list(misspelt_variables({"LLM_ROUTER_PROT": "8000"}))     -> ["LLM_ROUTER_PROT is not a variable of the gateway; ..."]
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from .settings import TABLES, Setting

OURS = "LLM_ROUTER_"
FILE_VARIABLE = f"{OURS}MODEL_CONFIG"
OVERLAY_VARIABLE = f"{OURS}OVERLAY"  # where the folder of the file cannot be written
NEAR_VARIABLE = 0.75  # similarity of the rest of the name: PROT is as near to PORT
VARIABLES = frozenset(
    {name for table in TABLES.values() for setting in table for name in setting.env if name.startswith(OURS)}
    | {FILE_VARIABLE, OVERLAY_VARIABLE}
)
# Variables of the client, which may be set for both.
OF_CLIENT = frozenset(OURS + name for name in ("API_KEY", "BASE_URL", "CACHE", "CONFIG", "MODEL", "SESSION", "USAGE_LOG"))


def misspelt_variables(env: Mapping[str, str]) -> Iterator[str]:
    """A note for each variable that is nearly one of ours."""
    odd = sorted(name for name in env if name.startswith(OURS) and name not in VARIABLES | OF_CLIENT)
    if not odd:
        return
    from difflib import get_close_matches  # 8 ms, only when something is wrong

    words = sorted(known.removeprefix(OURS) for known in VARIABLES)
    for name in odd:
        for near in get_close_matches(name.removeprefix(OURS), words, n=1, cutoff=NEAR_VARIABLE):
            yield f"{name} is not a variable of the gateway; did you mean {OURS}{near}?"


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
