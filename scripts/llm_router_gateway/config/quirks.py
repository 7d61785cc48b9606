"""`quirks` of a provider against what the protocols say of them. Pure.

    read_quirks({"max_stop": 2}, ["openai"], "providers[0].settings.quirks", reading)   -> the same
    read_quirks({"max_stop": "x"}, ...)     reading.problems: '"x" is not a whole number'

Of a name that means different things in several protocols, those that the provider speaks count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..wire.registry import UPSTREAMS
from ..wire.spec import Quirk
from .kinds import KINDS
from .reader import Reading, closest, value_text

ALL = frozenset(name for upstream in UPSTREAMS.values() for name in upstream.quirks)


def fault_of(quirk: Quirk, value: object) -> str:
    """fault_of(Quirk("bool", ...), 1) -> "is not true or false"; "" for a value that fits."""
    if isinstance(quirk.values, tuple):
        return "" if value in quirk.values else f"is not one of {', '.join(quirk.values)}"
    if quirk.values == "text":
        return "" if isinstance(value, str) else "is not a text"  # which may be empty
    try:
        read = KINDS[quirk.values][0](value)
    except ValueError as wrong:
        return str(wrong)
    return "is below 0" if isinstance(read, int) and read < 0 else ""


def read_quirks(table: Mapping[str, Any], protocols: Iterable[str], path: str, reading: Reading) -> Mapping[str, Any]:
    """The table, every name that no protocol knows and every value that does not fit noted."""
    own = [UPSTREAMS[name].quirks for name in protocols]
    for name, value in table.items():
        if name not in ALL:
            reading.bad(f"{path}.{name}", "unknown quirk" + closest(name, ALL))
            continue
        of_others = [upstream.quirks for upstream in UPSTREAMS.values()]
        known = [quirks[name] for quirks in own if name in quirks] or [each[name] for each in of_others if name in each]
        faults = [fault_of(quirk, value) for quirk in known]
        if all(faults):
            reading.bad(f"{path}.{name}", f"{value_text(value)} {faults[0]}")
    return table


def values_text(quirk: Quirk) -> str:
    return f"one of {', '.join(quirk.values)}" if isinstance(quirk.values, tuple) else KINDS[quirk.values][1]


def quirks_reference() -> str:
    """The Markdown table of references/gateway-configuration.md."""
    head = "### `[providers.settings.quirks]`\n\n| Key | What it is | Protocol | Meaning |\n| --- | --- | --- | --- |\n"
    rows = [
        f"| `{key}` | {values_text(quirk)} | {name} | {quirk.help} |\n"
        for name, upstream in UPSTREAMS.items()
        for key, quirk in upstream.quirks.items()
    ]
    return head + "".join(rows)
