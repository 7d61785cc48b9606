"""psycopg, imported only where PostgreSQL is configured; connections that end in good time; errors without passwords.

    with Guard() as guard:                             ends what a frozen server would hold without end
        session = connect(address, "writer", guard)    Session: takes `?` for a parameter, as the statements for SQLite do
        with session.within(5.0):
            session.execute("SELECT 1 WHERE 1 = ?", (1,)).fetchone()

Every error of the server or the network is a psycopg.Error; `is_away` says whether trying again later may help.
"""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache, lru_cache
from importlib import import_module
from typing import Any

from ...config.addresses import mask_passwords, without_password
from ...errors import Unavailable
from ..histogram import COUNT_BITS, LAST_BIN, RATIO, number_of_counts
from ..queries import MAX_ROWS, TIMED, Dialect, Summed, count_rows
from ..query import DAY_S, Page
from ..recorder import StoreUnusable
from ..rollups import ALL

INSTALL = "python3 -m pip install 'psycopg[binary]>=3.2'"
CONNECT_S = 5  # for one host of the address
LOOK_S = 0.25  # how exactly a limit is kept
OLDEST = 130_000  # PostgreSQL 13
PREPARED = 3  # executions after which a statement is kept prepared

Row = Sequence[Any]


@cache
def psycopg() -> Any:
    """The driver; StoreUnusable with the command that installs it."""
    try:
        return import_module("psycopg")
    except ImportError:
        raise StoreUnusable(f"a store in PostgreSQL needs psycopg, which is not installed here: {INSTALL}") from None


def options_of(address: str, role: str) -> Mapping[str, Any]:
    """The parameters of a connection: the address's own take precedence over ours."""
    driver = psycopg()
    try:
        given = driver.conninfo.conninfo_to_dict(address)
    except driver.Error:  # its text repeats parts of the address
        raise StoreUnusable(
            f"{without_password(address)} is not the address of a PostgreSQL database: write "
            "postgresql://USER:PASSWORD@HOST:5432/NAME, with %40 for an @ in the password"
        ) from None
    ours = {"connect_timeout": CONNECT_S, "application_name": f"llm-router {role}", "keepalives_idle": 10,
            "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 10_000}  # fmt: skip
    return {**ours, **given}


@lru_cache(1_000)
def translate(sql: str) -> str:
    """translate("SELECT a % 2 FROM t WHERE b = ?") -> "SELECT a %% 2 FROM t WHERE b = %s" """
    return sql.replace("%", "%%").replace("?", "%s")


# ------------------------------------------------------------------------------------------------------------- errors


def reason(wrong: BaseException, address: str) -> str:
    """What went wrong, in one line without a password."""
    text = " ".join(mask_passwords(str(wrong), address).split())
    code = getattr(wrong, "sqlstate", None)
    return f"{text or type(wrong).__name__}{f' ({code})' if code else ''}"


def is_away(wrong: BaseException) -> bool:
    """Whether the server is what failed, not the statement: it is down, starting, full, a standby, or not there."""
    driver = psycopg()
    if not isinstance(wrong, driver.Error):
        return isinstance(wrong, OSError)
    code = getattr(wrong, "sqlstate", None)
    if code is None:
        return isinstance(wrong, (driver.OperationalError, driver.InterfaceError))
    if code == "57014":  # a statement that took too long
        return False
    # Connections, resources, operators, system, serialization; 25006 is a standby, 28 and 3D are mended by an operator.
    return code[:2] in ("08", "53", "57", "58", "40") or code in ("25006", "55P03", "28P01", "28000", "3D000")


def is_unfit(wrong: BaseException) -> bool:
    """Whether no batch can be stored, whatever is in it: the server is away, or rights, tables or whole files are missing."""
    code = getattr(wrong, "sqlstate", None) if isinstance(wrong, psycopg().Error) else None
    return is_away(wrong) or (code or "")[:2] in ("42", "3F", "XX")


# -------------------------------------------------------------------------------------------------------- connections


class Guard:
    """A thread that shuts the socket of overdue operations: libpq itself waits without a limit."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._limits: dict[int, tuple[float, Any]] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="store-guard", daemon=True)

    def __enter__(self) -> Guard:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def begin(self, raw: Any, seconds: float) -> None:
        with self._lock:
            self._limits[id(raw)] = self._clock() + seconds, raw

    def end(self, raw: Any) -> None:
        with self._lock:
            self._limits.pop(id(raw), None)

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            now = self._clock()
            with self._lock:
                late = [raw for at, raw in self._limits.values() if at < now]
                for raw in late:
                    del self._limits[id(raw)]
                    shut(raw)


def shut(raw: Any) -> None:
    """Ends a connection under the thread that waits for it."""
    # It may just have ended by itself.
    with suppress(Exception), socket.socket(fileno=os.dup(raw.fileno())) as twin:
        twin.shutdown(socket.SHUT_RDWR)


class Session:
    """A connection that takes the same statements as SQLite's, with a `dialect` for the rest."""

    dialect: Dialect

    def __init__(self, raw: Any, guard: Guard) -> None:
        self.raw, self._guard = raw, guard

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Any:
        return self.raw.execute(translate(sql), values)

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        with self.raw.cursor() as cursor:
            cursor.executemany(translate(sql), rows)

    @contextmanager
    def within(self, seconds: float) -> Iterator[Session]:
        """What is executed inside ends with an error when it takes longer."""
        self._guard.begin(self.raw, seconds)
        try:
            yield self
        finally:
            self._guard.end(self.raw)

    def close(self) -> None:
        with suppress(Exception):
            self.raw.close()


def connect(address: str, role: str, guard: Guard, *, reads: bool = False, statement_s: float = 0.0) -> Session:
    """A connection in autocommit mode; psycopg.Error, StoreUnusable. The text of either is for `reason`."""
    options = dict(options_of(address, role))
    if not reads:
        options.setdefault("target_session_attrs", "read-write")  # of several hosts the one that is no standby
    raw = psycopg().connect(**options, autocommit=True, prepare_threshold=PREPARED)
    session = Session(raw, guard)
    try:
        if raw.info.server_version < OLDEST:
            raise StoreUnusable(
                f"{without_password(address)} is PostgreSQL {raw.info.server_version // 10_000}: 13 is the oldest"
            )
        if reads:
            raw.execute("SET default_transaction_read_only = on")
            raw.execute("SET jit = off")  # compiling costs more than the statements here take
        elif raw.execute("SHOW synchronous_commit").fetchone()[0] == "off":
            raw.execute("SET synchronous_commit = on")  # what was spent must not be forgotten
        if statement_s:
            raw.execute(f"SET statement_timeout = {int(statement_s * 1_000)}")
    except BaseException:
        session.close()
        raise
    return session


def unreadable(wrong: BaseException, address: str) -> Unavailable:
    return Unavailable(f"the store cannot be read: {reason(wrong, address)}", code="store_unreadable")


# ------------------------------------------------------------------------------------------------------------ queries

# A model and a key together have sums of hours, and no histograms: there may be as many pairs as calls, and each would have
# dozens of rows. Their percentiles are those of their newest calls.
PAIR_STEP_S = 3_600


def bin_of(db: Any, column: str) -> str:
    """histogram.bin_of in SQL."""
    growth = math.log(RATIO)
    return f"CASE WHEN {column} > 1.0 THEN least({LAST_BIN}, floor(ln({column}) / {growth!r}::float8 + 1e-9)::int) ELSE 0 END"


def spreads(db: Any, summed: Summed) -> Iterator[tuple[str, int, int, int]]:
    """See `queries.Dialect`: of pairs those of their calls, of all else those that are kept."""
    if summed.table == "rollups":
        yield from spreads_of_calls(db, summed)
        return
    sql = f"SELECT {summed.by}, {summed.at}, duration_bins, first_bins FROM {summed.table} WHERE {summed.bounded}"  # nosec B608
    for named, at_s, durations, firsts in db.execute(sql, summed.bounds):
        yield named, at_s, number_of_counts(durations), number_of_counts(firsts)


def spreads_of_calls(db: Any, summed: Summed) -> Iterator[tuple[str, int, int, int]]:
    part = summed.part
    at = f"started_ms / {1_000 * part.step_s} * {part.step_s}" if summed.each_step else "0"
    newest = (f"SELECT * FROM calls WHERE started_ms >= ? AND started_ms < ? AND {TIMED} AND {summed.condition} "  # nosec B608
              "ORDER BY started_ms DESC LIMIT ?")  # fmt: skip
    values = (*part.bounds_ms, *summed.values, MAX_ROWS)
    for is_first, column in ((False, "duration_ms"), (True, "first_ms")):
        sql = (f"SELECT {summed.by}, {at}, {bin_of(db, column)}, count(*) FROM ({newest}) AS newest "  # nosec B608
               f"WHERE {column} IS NOT NULL GROUP BY 1, 2, 3")  # fmt: skip
        for named, at_s, number, count in db.execute(sql, values):
            spread = count << (COUNT_BITS * number)
            yield (named, at_s, 0, spread) if is_first else (named, at_s, spread, 0)


def count(db: Any, page: Page) -> int:
    """The calls within a page's bounds: whole days from their sums, which are there as long as their calls."""
    oldest = db.execute("SELECT started_ms FROM calls ORDER BY started_ms LIMIT 1").fetchone()
    if oldest is None:
        return 0
    low, high = oldest[0] // DAY_MS, None if page.to_ms is None else page.to_ms // DAY_MS
    if page.from_ms is not None:
        low = max(low, -(-page.from_ms // DAY_MS))
    if high is not None and high <= low:
        return count_rows(db, page)
    bounds, days = "at_s >= ?", [low * DAY_S]
    if high is not None:
        bounds, days = bounds + " AND at_s < ?", [*days, high * DAY_S]
    found = int(db.execute(f"{COUNTED} AND {bounds}", (DAY_S, *days)).fetchone()[0])
    if page.from_ms is not None:
        found += count_rows(db, Page(from_ms=page.from_ms, to_ms=low * DAY_MS))
    if high is not None:
        found += count_rows(db, Page(from_ms=high * DAY_MS, to_ms=page.to_ms))
    return found


DAY_MS = 1_000 * DAY_S
COUNTED = ("SELECT coalesce(sum(calls), 0) FROM totals WHERE step_s = ? "  # nosec B608  # of constants
           f"AND provider = '{ALL}' AND model = '{ALL}' AND key_id = '{ALL}'")  # fmt: skip
TAGS = "LATERAL (SELECT value FROM jsonb_array_elements_text(calls.tags::jsonb) AS each (value))"
Session.dialect = Dialect(bin_of, spreads, "ILIKE", (PAIR_STEP_S,), has_key_index=True, tags=TAGS, count=count)
