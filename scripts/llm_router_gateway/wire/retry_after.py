"""How long to wait before the next request, read from an upstream's headers."""

from __future__ import annotations

import re
from collections.abc import Mapping


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait before the next request; headers in lower case.

    {"retry-after-ms": "1500"} -> 1.5;  {"retry-after": "7"} -> 7.0;  a date counts from the answer's own `date`
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value):
            return float(value) / unit
    from email.utils import parsedate_to_datetime  # 20 ms at start, for what hardly ever comes

    try:
        then, now = (parsedate_to_datetime(headers.get(name, "")) for name in ("retry-after", "date"))
        return max(0.0, (then - now).total_seconds())
    except (ValueError, TypeError):
        return None
