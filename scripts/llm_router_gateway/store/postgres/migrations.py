"""The tables in PostgreSQL, made and changed by name, each step once and whole, by one gateway at a time.

    apply(session)     -> Applied(["m001_calls"], [])   what was done now; steps of a newer version that are there already

A released step never changes, and a step only adds: while a new version is rolled out the old one goes on writing to the same
tables. So a column that is added has a default, and nothing is renamed or dropped that the version before reads or writes.
Steps that this version does not know are left alone.

Times are Unix milliseconds (`*_ms`) or seconds (`*_s`), UTC. `calls` and `bodies` have a partition for each UTC day, made by
`partitions`. `totals` has the sums of all calls, of each model and of each key, in steps of a minute, an hour and a day;
`rollups` those of a model and a key together, in hours; `label_sums` those of each tag and each end user, in days (`provider`
is the kind of label there, `model` the label). Histograms are arrays of the counts of bins from the first one on. `shard` keeps
gateways that write at the same moment from waiting for each other: reading sums over it.
"""

from __future__ import annotations

from typing import NamedTuple

from .driver import Session

LOCK = 0x4C4C4D52  # of the migrations: "LLMR"
CHANNEL = "llm_router"  # NOTIFY: "keys" when a key changed, "overlay" when providers or models did
TABLES = ("api_keys", "bodies", "calls", "copied", "label_sums", "ledgers", "meta", "migrations", "owned", "replicas",
          "rollups", "totals", "turn_items", "turns", "writers")  # fmt: skip
ID_BLOCK = 1_024  # ids that a writer takes at once

# Of the tables of sums. A third of each page is left free, so that rows are changed in place.
KEYED = """
    step_s integer NOT NULL, at_s bigint NOT NULL,
    provider text NOT NULL, model text NOT NULL, key_id text NOT NULL, shard smallint NOT NULL"""
SUMMED = f"""({KEYED},
    calls bigint NOT NULL, success bigint NOT NULL, errors bigint NOT NULL, client_gone bigint NOT NULL,
    input_tokens bigint NOT NULL, output_tokens bigint NOT NULL, cached_tokens bigint NOT NULL,
    cache_write_tokens bigint NOT NULL, reasoning_tokens bigint NOT NULL,
    cost_usd float8 NOT NULL, unpriced bigint NOT NULL,
    timed bigint NOT NULL, duration_ms float8 NOT NULL, firsts bigint NOT NULL, first_ms float8 NOT NULL,
    PRIMARY KEY (step_s, at_s, provider, model, key_id, shard)) WITH (fillfactor = 65)"""
SPREAD = f"""({KEYED},
    is_first boolean NOT NULL, bin smallint NOT NULL, n bigint NOT NULL,
    PRIMARY KEY (step_s, at_s, provider, model, key_id, shard, is_first, bin)) WITH (fillfactor = 65)"""

MIGRATIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("m001_calls", (
        f"CREATE SEQUENCE call_ids INCREMENT BY {ID_BLOCK}",
        """CREATE TABLE calls (
            id bigint NOT NULL,
            request_id text NOT NULL, started_ms bigint NOT NULL, first_ms float8, duration_ms float8 NOT NULL,
            kind text NOT NULL, protocol text NOT NULL, upstream_protocol text NOT NULL, stream smallint NOT NULL,
            asked text NOT NULL, served text NOT NULL, provider text NOT NULL, model text NOT NULL,
            attempts integer NOT NULL, failed text NOT NULL,
            status integer NOT NULL, error text NOT NULL, message text NOT NULL, ended text NOT NULL, finish text NOT NULL,
            input_tokens bigint, output_tokens bigint, cached_tokens bigint, cache_write_tokens bigint,
            reasoning_tokens bigint, cost_usd float8, cost_source text NOT NULL,
            key_id text NOT NULL, key_name text NOT NULL, client text NOT NULL, lost text NOT NULL,
            tags text NOT NULL DEFAULT '[]', end_user text NOT NULL DEFAULT '',
            PRIMARY KEY (started_ms, id)) PARTITION BY RANGE (started_ms)""",
        "CREATE INDEX calls_id ON calls (id)",
        "CREATE INDEX calls_request ON calls (request_id)",
        "CREATE INDEX calls_key ON calls (key_id, started_ms)",
        "CREATE INDEX calls_errors ON calls (started_ms, error, provider, model, key_id) WHERE error <> ''",
        """CREATE TABLE bodies (
            call_id bigint NOT NULL, started_ms bigint NOT NULL,
            request bytea, response bytea, request_cut smallint NOT NULL, response_cut smallint NOT NULL
            ) PARTITION BY RANGE (started_ms)""",
        "CREATE INDEX bodies_call ON bodies (call_id)",
        f"CREATE TABLE totals {SUMMED}", f"CREATE TABLE rollups {SUMMED}",
        f"CREATE TABLE totals_spread {SPREAD}",
        # `last`: the highest number of its batches that is stored; a batch that comes again is known by it.
        """CREATE TABLE writers (
            id text PRIMARY KEY, last bigint NOT NULL, at timestamptz NOT NULL DEFAULT now()) WITH (fillfactor = 50)""",
        "CREATE TABLE meta (name text PRIMARY KEY, value text NOT NULL)",
        "INSERT INTO meta (name, value) VALUES ('store_id', gen_random_uuid()::text), ('overlay_version', '0')",
        """CREATE AGGREGATE total(float8) (
            SFUNC = float8pl, STYPE = float8, INITCOND = '0', COMBINEFUNC = float8pl, PARALLEL = SAFE)""",
    )),
    # As in SQLite: a change of a key, by any program, raises the generation and notifies all listeners.
    ("m002_keys", (
        """CREATE TABLE api_keys (
            id text PRIMARY KEY, name text NOT NULL UNIQUE, digest bytea NOT NULL UNIQUE, hint text NOT NULL,
            created_s float8 NOT NULL, terms text NOT NULL, last_used_s float8)""",
        "INSERT INTO meta (name, value) VALUES ('keys_generation', '0')",
        f"""CREATE FUNCTION keys_changed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            UPDATE meta SET value = (value::bigint + 1)::text WHERE name = 'keys_generation';
            PERFORM pg_notify('{CHANNEL}', 'keys');
            RETURN NULL; END $$""",  # nosec B608  # of a constant
        """CREATE TRIGGER api_keys_changed AFTER INSERT OR DELETE OR UPDATE OF name, digest, hint, created_s, terms
            ON api_keys FOR EACH STATEMENT EXECUTE FUNCTION keys_changed()""",
        # What each key has spent in a day ("2026-11-29"), written with the calls themselves.
        """CREATE TABLE ledgers (
            day text NOT NULL, key_id text NOT NULL, shard smallint NOT NULL, usd float8 NOT NULL, tokens bigint NOT NULL,
            PRIMARY KEY (day, key_id, shard)) WITH (fillfactor = 65)""",
    )),
    ("m003_conversations", (
        """CREATE TABLE turns (
            id text PRIMARY KEY, owner text NOT NULL, previous text NOT NULL, created_s float8 NOT NULL,
            member text NOT NULL, key text NOT NULL, bytes bigint NOT NULL, value bytea NOT NULL)""",
        "ALTER TABLE turns ALTER COLUMN value SET STORAGE EXTERNAL",
        "CREATE INDEX turns_created ON turns (created_s)",
        """CREATE TABLE turn_items (
            owner text NOT NULL, item_id text NOT NULL, turn_id text NOT NULL REFERENCES turns (id) ON DELETE CASCADE,
            PRIMARY KEY (owner, item_id))""",
        "CREATE INDEX turn_items_turn ON turn_items (turn_id)",
    )),
    # What replicas say of themselves; lost with a crash of the server, and said again a second later.
    ("m004_replicas", (
        """CREATE UNLOGGED TABLE replicas (
            id text PRIMARY KEY, seen timestamptz NOT NULL, report text NOT NULL) WITH (fillfactor = 50)""",
    )),
    # Where calls that were copied from another store are, to be counted again.
    ("m005_copies", (
        """CREATE TABLE copied (
            source text NOT NULL, first_id bigint NOT NULL, last_id bigint NOT NULL, from_ms bigint NOT NULL,
            to_ms bigint NOT NULL, PRIMARY KEY (source, first_id))""",
    )),
    # A histogram is one value of its row, not a row for each bin: there are a hundred times fewer rows to write and to read.
    # `totals_spread` is not used any more.
    ("m006_bins", (
        """ALTER TABLE totals ADD COLUMN duration_bins integer[] NOT NULL DEFAULT '{}',
            ADD COLUMN first_bins integer[] NOT NULL DEFAULT '{}'""",
        """CREATE FUNCTION bins_add(one integer[], other integer[]) RETURNS integer[] LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
            FOR bin IN 1 .. cardinality(other) LOOP one[bin] := coalesce(one[bin], 0) + other[bin]; END LOOP;
            RETURN one; END $$""",
    )),
    ("m007_labels", (
        f"CREATE TABLE label_sums {SUMMED}",
        "ALTER TABLE label_sums ADD COLUMN duration_bins integer[] NOT NULL, ADD COLUMN first_bins integer[] NOT NULL",
    )),
    # Which of the errors are the callers' own; those from before are not told apart. May be null: the version before stages its
    # sums in a table that is LIKE this one, without its default.
    ("m008_caller_errors", tuple(
        f"ALTER TABLE IF EXISTS {table} ADD COLUMN caller_errors bigint DEFAULT 0"
        for table in ("totals", "rollups", "label_sums")
    )),
    ("m009_owned", (
        """CREATE TABLE owned (
            owner text NOT NULL, kind text NOT NULL, id text NOT NULL, created_s float8 NOT NULL,
            provider text NOT NULL, key text NOT NULL, label text NOT NULL, value text NOT NULL,
            PRIMARY KEY (owner, kind, id))""",
        "CREATE INDEX owned_listed ON owned (owner, kind, created_s, id)",
        "CREATE INDEX owned_created ON owned (created_s)",
        "CREATE INDEX owned_named ON owned (id)",
    )),
    # All that the page counts of errors is in the index: no call is read for it.
    ("m010_failed_calls", (
        "DROP INDEX IF EXISTS calls_errors",
        """CREATE INDEX calls_failed ON calls (started_ms, error, ended, status, attempts, provider, model, key_id)
            WHERE error <> ''""",
    )),
)  # fmt: skip


class Applied(NamedTuple):
    """The steps that were new to the database, and those of a newer version that it has."""

    done: list[str]
    unknown: list[str]


def applied_steps(session: Session) -> set[str]:
    """The names of the steps that a database has."""
    if session.execute("SELECT to_regclass('migrations')").fetchone()[0] is None:
        return set()
    return {name for (name,) in session.execute("SELECT name FROM migrations")}


def missing_steps(session: Session) -> list[str]:
    have = applied_steps(session)
    return [name for name, _ in MIGRATIONS if name not in have]


def unknown_steps(session: Session) -> list[str]:
    """Steps that this program does not know, in order: a newer one made them."""
    return sorted(applied_steps(session) - {name for name, _ in MIGRATIONS})


def missing_rights(session: Session) -> str:
    """What this user may not do and a gateway must, with what to do; "" where it may. Only an owner makes parts of a table."""
    user, schema = session.execute("SELECT current_user, current_schema()").fetchone()
    may_create = schema and session.execute("SELECT has_schema_privilege(?, 'CREATE')", (schema,)).fetchone()[0]
    if not may_create:
        return f"{user} may not create tables{f' in the schema {schema}' if schema else ''}: make it the database's owner"
    others = session.execute("""SELECT relname, pg_get_userbyid(relowner) FROM pg_class WHERE relkind IN ('r', 'p')
        AND relnamespace = current_schema()::regnamespace AND NOT pg_has_role(relowner, 'USAGE')
        AND relname = ANY(?) ORDER BY relname""", (list(TABLES),)).fetchall()  # fmt: skip
    if others:
        names = ", ".join(name for name, _ in others)
        return f"{user} does not own {names}: ALTER TABLE ... OWNER TO {user}, or connect as {others[0][1]}"
    return ""


def apply(session: Session) -> Applied:
    """Brings a database up to date. A step that fails leaves no trace, and the steps before it stay."""
    done = []
    for name in missing_steps(session):
        with session.raw.transaction():
            session.execute("SELECT pg_advisory_xact_lock(?)", (LOCK,))  # until the commit: replicas start together
            session.execute("CREATE TABLE IF NOT EXISTS migrations (name text PRIMARY KEY, applied timestamptz NOT NULL)")
            if name in applied_steps(session):
                continue
            for statement in dict(MIGRATIONS)[name]:
                session.execute(statement)
            session.execute("INSERT INTO migrations (name, applied) VALUES (?, now())", (name,))
            done.append(name)
    return Applied(done, unknown_steps(session))
