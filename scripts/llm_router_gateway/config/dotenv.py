"""A .env: NAME=value lines, with or without `export`, quotes, `# comments`, CRLF and a byte order mark. Pure.

read_dotenv('export A="x y" # note')  -> {"A": "x y"}
unread_lines("A=1\\nB: 2")             -> 2
"""

from __future__ import annotations

import re
from collections.abc import Iterator

LINE = re.compile(r"""\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*('[^']*'|"(?:[^"\\]|\\.)*"|.*?)\s*(?:\s#.*)?""")


def lines_of(text: str) -> list[str]:
    return text.removeprefix("\ufeff").splitlines()


def read_dotenv(text: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for match in filter(None, map(LINE.fullmatch, lines_of(text))):
        value = match[2]
        values[match[1]] = value[1:-1] if value[:1] in ("'", '"') and value[-1:] == value[:1] else value
    return values


def unread_lines(text: str) -> Iterator[int]:
    """The numbers of the lines that have content but set no variable."""
    for number, line in enumerate(lines_of(text), 1):
        if line.strip() and not line.lstrip().startswith("#") and not LINE.fullmatch(line):
            yield number
