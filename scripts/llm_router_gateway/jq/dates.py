"""Dates of the jq language without a clock or a time zone: broken-down times are arrays, all in UTC.

    gmtime(1425599507)                                  -> [2015, 2, 5, 23, 51, 47, 4, 63]
    mktime([2015, 2, 5, 23, 51, 47, 4, 63])             -> 1425599507
    strftime(1425599507, "%Y-%m-%dT%H:%M:%SZ")          -> "2015-03-05T23:51:47Z"
    strptime("2015-03-05T23:51:47Z", "%Y-%m-%dT%H:%M:%SZ") -> [2015, 2, 5, 23, 51, 47, 4, 63]

The directives are those that mean the same everywhere; others are refused.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable

from .values import NUMERIC, JqRefused, Value, double, fail, normalize

DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
EPOCH = datetime.datetime(1970, 1, 1)
# Two seconds before 1970 have no number: jq's own function returns it for these errors.
TAKEN = {-1: "invalid gmtime representation", -2: "mktime not supported on this platform"}
EXPANDED = {"T": "%H:%M:%S", "D": "%m/%d/%y", "F": "%Y-%m-%d", "R": "%H:%M", "c": "%a %b %e %H:%M:%S %Y", "h": "%b"}


def gmtime(value: Value) -> list[Value]:
    """Seconds since 1970 -> [year, month from 0, day, hour, minute, second with its fraction, weekday, day of the year]."""
    if type(value) not in NUMERIC:
        raise fail("gmtime() requires numeric inputs")
    seconds = double(value)
    if not -62135596800 <= seconds < 253402300800:  # the years 1 to 9999
        raise JqRefused("a date outside the years 1 to 9999")
    whole = math.trunc(seconds)
    when = EPOCH + datetime.timedelta(seconds=whole)
    day = when.timetuple()
    second = normalize(when.second + (seconds - math.floor(seconds)))
    return [when.year, when.month - 1, when.day, when.hour, when.minute, second, (day.tm_wday + 1) % 7, day.tm_yday - 1]


def mktime(value: Value) -> Value:
    """A broken-down time -> seconds since 1970; fields out of range carry over, those that are missing are 0."""
    if type(value) is not list:
        raise fail("mktime requires array inputs")
    year, month, day, hour, minute, second = fields(value, "mktime")
    seconds = seconds_of(year, month, day, hour, minute, second)
    if seconds in TAKEN:
        raise fail(TAKEN[seconds])
    return seconds


def fields(value: list[Value], name: str) -> list[int]:
    if any(type(each) not in NUMERIC for each in value):
        raise fail(f"{name} requires parsed datetime inputs")
    if any(not abs(double(each)) < 10**9 for each in value):
        raise JqRefused("a date outside the years 1 to 9999")
    read = [math.trunc(double(each)) for each in value[:6]]
    if read:
        read[0] = math.trunc(double(value[0]) - 1900) + 1900  # jq drops the fraction from the years since 1900
    return [*read, *[1900, 0, 0, 0, 0, 0][len(read) :]]


def seconds_of(year: int, month: int, day: int, hour: int, minute: int, second: int) -> int:
    year += month // 12
    if not 1 <= year <= 9999:
        raise JqRefused("a date outside the years 1 to 9999")
    days = datetime.date(year, month % 12 + 1, 1).toordinal() - 719163 + day - 1
    return days * 86400 + hour * 3600 + minute * 60 + second


def directive(letter: str, time: list[int]) -> str:
    year, month, day, hour, minute, second, weekday, of_year = time
    texts: dict[str, Callable[[], str]] = {
        "Y": lambda: str(year),
        "C": lambda: f"{year // 100:02d}",
        "y": lambda: f"{year % 100:02d}",
        "m": lambda: f"{month + 1:02d}",
        "d": lambda: f"{day:02d}",
        "e": lambda: f"{day:2d}",
        "H": lambda: f"{hour:02d}",
        "I": lambda: f"{(hour + 11) % 12 + 1:02d}",
        "M": lambda: f"{minute:02d}",
        "S": lambda: f"{second:02d}",
        "p": lambda: "AM" if hour < 12 else "PM",
        "j": lambda: f"{of_year + 1:03d}",
        "a": lambda: DAYS[weekday][:3],
        "A": lambda: DAYS[weekday],
        "b": lambda: MONTHS[month][:3],
        "B": lambda: MONTHS[month],
        "u": lambda: str(weekday or 7),
        "w": lambda: str(weekday),
        "Z": lambda: "GMT",
        "z": lambda: "+0000",
        "s": lambda: str(seconds_of(year, month, day, hour, minute, second)),
        "n": lambda: "\n",
        "t": lambda: "\t",
        "%": lambda: "%",
    }
    if letter not in texts:
        raise JqRefused(f"strftime: %{letter}")
    return texts[letter]()


def expand_form(form: str) -> str:
    return re.sub("%([TDFRch%])", lambda match: EXPANDED.get(match.group(1), match.group()), form)


def strftime(value: Value, form: Value) -> str:
    if type(value) is not list and type(value) not in NUMERIC:
        raise fail("strftime/1 requires parsed datetime inputs")
    time = gmtime(value) if type(value) is not list else []
    if type(form) is not str:
        raise fail("strftime/1 requires a string format")
    time = time or gmtime(seconds_of(*fields(value, "strftime/1")))
    if time[0] < 1000:
        raise JqRefused("strftime of a year before 1000")
    whole = [math.trunc(part) for part in time]
    return re.sub("%(.|$)", lambda match: directive(str(match.group(1)), whole), expand_form(form), flags=re.DOTALL)


# What a directive reads: a pattern, and the field it sets.
READS = {
    "Y": r"(?P<Y>[0-9]{1,4})",
    "m": r"(?P<m>1[0-2]|0?[1-9])",
    "d": r"(?P<d>3[01]|[12][0-9]|0?[1-9])",
    "e": r"(?P<d>3[01]|[12][0-9]|0?[1-9])",
    "H": r"(?P<H>2[0-3]|[01]?[0-9])",
    "M": r"(?P<M>[0-5]?[0-9])",
    "S": r"(?P<S>6[01]|[0-5]?[0-9])",
    "Z": r"(?:[A-Za-z]+)",
    "z": r"(?:Z|[+-][0-9]{2}:?[0-9]{2})",
    "b": r"(?P<b>" + "|".join([*MONTHS, *(name[:3] for name in MONTHS)]) + ")",
    "a": r"(?:" + "|".join([*DAYS, *(name[:3] for name in DAYS)]) + ")",
    "%": "%",
}
READS["B"], READS["A"] = READS["b"], READS["a"]


def reader_of(form: str) -> re.Pattern[str]:
    pattern: list[str] = []
    at = 0
    while at < len(form):
        letter = form[at]
        if letter == "%":
            name = form[at + 1 : at + 2]
            if name not in READS or not name:
                raise JqRefused(f"strptime: %{name}")
            lead = "" if name in "Z%" else r"\s*"
            pattern.append(lead + READS[name])
            at += 2
        else:
            pattern.append(r"\s*" if letter.isspace() else re.escape(letter))
            at += 1
    try:
        return re.compile("".join(pattern), re.IGNORECASE | re.ASCII)
    except re.error:
        raise JqRefused("strptime: a field twice") from None


def strptime(value: Value, form: Value) -> list[Value]:
    if type(value) is not str:
        raise fail("strptime/1 requires string inputs and arguments")
    if type(form) is not str:
        raise fail("strptime/1 requires string inputs and arguments")
    match = reader_of(expand_form(form)).fullmatch(value)
    if match is None:
        if value[-1:].isspace():
            raise JqRefused("strptime with text left over")
        raise fail(f'date "{value}" does not match format "{form}"')
    read = match.groupdict()
    if not {"Y", "d"} <= read.keys() or not {"m", "b"} & read.keys():
        raise JqRefused("strptime without year, month and day")
    month = int(read["m"]) if read.get("m") else 1 + [name[:3].lower() for name in MONTHS].index(read["b"][:3].lower())
    year, day = int(read["Y"]), int(read["d"])
    try:
        when = datetime.date(year, month, day).timetuple()
    except ValueError:
        raise JqRefused("a date that does not exist") from None
    clock = [int(read.get(name) or 0) for name in "HMS"]
    return [year, month - 1, day, *clock, (when.tm_wday + 1) % 7, when.tm_yday - 1]
