"""What is kept of a request's or an answer's text: no secrets, no pictures, no more than a limit. Pure; bytes in, bytes out.

    redact(b'{"key": "Bearer abcdefgh"...', 65_536, secrets)  -> (b'{"key": "Bearer ***"...', was_cut)

Headers never come here. Pictures and other base64 are replaced by their length; whatever is a configured key, or is written as
one, becomes ***. The order matters: pictures go first, then secrets, and only then is the rest cut, so that no half of a
secret is left at the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from ..wire.registry import KEY_HEADERS

MARGIN_BYTES = 8_192  # looked at behind the limit: a secret that lies across it is still found
MIN_SECRET = 8  # shorter ones would mask ordinary words
ENOUGH = 256  # base64 shorter than this is kept
STARS = b"***"
DATA_URL = re.compile(rb"data:[\w.+-]{1,80}/[\w.+-]{1,80}(?:;[\w.=+-]{1,80}){0,4};base64,", re.A)
DATA_FIELD = re.compile(rb'"(?:data|file_data)"\s{0,8}:\s{0,8}"', re.A)
BASE64 = re.compile(rb"[A-Za-z0-9+/=_\\-]{%d}" % ENOUGH)
WRITTEN_KEYS = re.compile(
    rb"""(\bbearer[ \t]+|\b(?:%b|api[_-]?key|(?:proxy-)?authorization)\b"""
    rb"""\\?["']?\s{0,4}[:=]\s{0,4}\\?["']?)"""
    rb"""(?!bearer\b|basic\b)([A-Za-z0-9._~+/=:-]{8,})""" % "|".join(KEY_HEADERS).encode(),
    re.I | re.A,
)
BASIC = re.compile(rb"(\bbasic[ \t]+)[A-Za-z0-9+/=_-]{16,}", re.I | re.A)


class Bodies(NamedTuple):
    """The texts of one call, as they passed; None where there was none."""

    request: bytes | None
    response: bytes | None
    limit: int  # bytes kept of each
    secrets: tuple[bytes, ...] = ()  # every configured key

    @property
    def size(self) -> int:
        return len(self.request or b"") + len(self.response or b"")


def redact(data: bytes, limit: int, secrets: Iterable[bytes] = ()) -> tuple[bytes, bool]:
    """The text to keep, and whether something of it was cut off."""
    short = without_pictures(data, limit + MARGIN_BYTES)
    for secret in secrets:
        if len(secret) >= MIN_SECRET and secret in short:
            short = short.replace(secret, STARS)
    short = BASIC.sub(rb"\1" + STARS, WRITTEN_KEYS.sub(rb"\1" + STARS, short))
    if len(short) <= limit:
        return short, False
    return whole_characters(short[:limit]), True


def whole_characters(data: bytes) -> bytes:
    """Without the first bytes of a character whose rest was cut off."""
    return data.decode("utf-8", "ignore").encode() if data[-1:] >= b"\x80" else data


def without_pictures(data: bytes, limit: int) -> bytes:
    """The first `limit` bytes of what is left when each picture is replaced by its length.

    without_pictures(b'"data:image/png;base64,iVBOR..."', 100) -> b'"data:image/png;base64,[48000 characters]"'

    Looks for marks with `find`, which is quick: a picture has millions of characters.
    """
    out: list[bytes] = []
    size = at = 0
    while at < len(data) and size < limit:
        begin, end = next_picture(data, at, at + limit - size)
        out.append(data[at:begin])
        size += begin - at
        if end > begin:
            out.append(b"[%d characters]" % (end - begin))
            size += len(out[-1])
        at = end
    return b"".join(out)[:limit]


def next_picture(data: bytes, at: int, last: int) -> tuple[int, int]:
    """Where the next one's characters begin and end; (last, last) when none begins before."""
    seen = at
    last = min(last, len(data))
    while True:
        url, field = data.find(b"data:", seen, last), next_field(data, seen, last)
        found = min((place for place in (url, field) if place >= 0), default=-1)
        if found < 0:
            return last, last
        match = (DATA_URL if found == url else DATA_FIELD).match(data, found)
        if match and BASE64.match(data, match.end()):
            end = data.find(b'"', match.end())
            return match.end(), len(data) if end < 0 else end
        seen = found + 5


def next_field(data: bytes, at: int, last: int) -> int:
    places = [place for name in (b'"data"', b'"file_data"') if (place := data.find(name, at, last)) >= 0]
    return min(places, default=-1)
