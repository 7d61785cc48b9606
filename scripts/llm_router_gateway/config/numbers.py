"""Numbers and times in settings and in the terms of keys: none is infinite, or more than what counts them can hold.

read_whole(8000) -> 8000        read_number(0.5) -> 0.5        read_number(1e400) -> ValueError("is too large; ...")
read_size("128k") -> 128000     read_time("2027-01-31") -> 1801526400.0
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, TypeVar

MAX_WHOLE = 2**53  # what a double, and with it JSON and Redis, counts exactly
MAX_NUMBER = 1e12  # in millionths, as budgets are counted, still within 64 bits
SIZE = re.compile(r"([0-9]{1,40})(?:\.([0-9]{1,40}))?\s*([kKmM]?)")
UNITS = {"": 1, "k": 1_000, "m": 1_000_000}
DAY_S = 86_400
LAST_TIME = 253_402_300_799.0  # 9999-12-31T23:59:59Z, the last second that a date can name
NO_TIME = 'is not a time such as "2027-01-31" or "2027-01-31T18:00:00Z"'

Number = TypeVar("Number", int, float)


def within_reach(value: Number, most: float) -> Number:
    """Infinity has no place in JSON, and larger numbers none in a database or in what processes count together."""
    if abs(value) > most:
        raise ValueError("is too large; where it is a limit, leave it out to have none")
    return value


def read_whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("is not a whole number")
    return within_reach(value, MAX_WHOLE)


def read_number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        raise ValueError("is not a number")
    return within_reach(value, MAX_NUMBER)


def read_size(value: object) -> int:
    """Tokens or bytes: 128000 or "128k" or "1M". "1.5k" is 1500, and "1.5" is none."""
    if not isinstance(value, str):
        return read_whole(value)
    match = SIZE.fullmatch(value)
    places = match[2] or "" if match else ""
    amount, rest = divmod(int(match[1] + places) * UNITS[match[3].lower()], 10 ** len(places)) if match else (0, 1)
    if rest:
        raise ValueError('is not a whole number, alone or with k or M behind it, as in "128k"')
    return read_whole(amount)


def read_time(value: object) -> float:
    """Unix seconds of an ISO 8601 time, in UTC unless it names a zone; a date without a time means the end of that day.

    What lies behind the year 9999, such as the end of its last day, is the last second of it: people write it for "never".
    """
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError(NO_TIME) from None
    if not isinstance(found, date):
        raise ValueError(NO_TIME)
    is_day = not isinstance(found, datetime) or (isinstance(value, str) and len(value) <= 10)
    at = found if isinstance(found, datetime) else datetime(found.year, found.month, found.day)
    seconds = at.replace(tzinfo=at.tzinfo or UTC).timestamp() + (DAY_S if is_day else 0)
    if seconds < 0:
        raise ValueError("is before 1970")
    return min(seconds, LAST_TIME)


def plain_value(value: object) -> Any:
    """As JSON has it: TOML's dates and times are texts, infinities are not there."""
    if isinstance(value, Mapping):
        return {str(key): plain_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_value(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)
