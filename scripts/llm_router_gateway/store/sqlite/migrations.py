"""The tables of the store, made and changed by name, each step once and whole.

    apply(db, now_ms)  -> ["m001_calls"]   the steps that were new to this file; [] when it has them all
    unknown_steps(db)        -> ["m009_x"]       steps of a newer program: this one must not write to the file

A released step never changes: what it should have said is the next step. Steps run in this order, one transaction each.

Times are Unix milliseconds (`*_ms`) or seconds (`*_s`), UTC. `rollups` has a row for each step of a minute, an hour and a day
(`step_s` 60, 3600, 86400; `at_s` is its beginning) in which a model of a provider was called with a key. Minutes are kept for
`MINUTES_KEPT_S`, the others as long as calls are by age. A row counts what
`call.counts_of` says; histograms are `histogram`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

APPLICATION_ID = 0x4C4C4D52  # "LLMR" in the file's header: it is a store

# Of the tables of sums, in the steps that made them.
SUMMED = """(
    step_s INTEGER NOT NULL, at_s INTEGER NOT NULL,
    provider TEXT NOT NULL, model TEXT NOT NULL, key_id TEXT NOT NULL,
    calls INTEGER NOT NULL, success INTEGER NOT NULL, errors INTEGER NOT NULL, client_gone INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL,
    cost_usd REAL NOT NULL, unpriced INTEGER NOT NULL,
    timed INTEGER NOT NULL, duration_ms REAL NOT NULL, firsts INTEGER NOT NULL, first_ms REAL NOT NULL,
    duration_bins BLOB NOT NULL, first_bins BLOB NOT NULL,
    PRIMARY KEY (step_s, at_s, provider, model, key_id)) WITHOUT ROWID"""

# name -> its statements. Steps of other parts (keys, ...) follow here, each with a name of its own.
MIGRATIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("m001_calls", (
        """CREATE TABLE calls (
            id INTEGER PRIMARY KEY,
            request_id TEXT NOT NULL, started_ms INTEGER NOT NULL, first_ms REAL, duration_ms REAL NOT NULL,
            kind TEXT NOT NULL, protocol TEXT NOT NULL, upstream_protocol TEXT NOT NULL, stream INTEGER NOT NULL,
            asked TEXT NOT NULL, served TEXT NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL,
            attempts INTEGER NOT NULL, failed TEXT NOT NULL,
            status INTEGER NOT NULL, error TEXT NOT NULL, message TEXT NOT NULL, ended TEXT NOT NULL, finish TEXT NOT NULL,
            input_tokens INTEGER, output_tokens INTEGER, cached_tokens INTEGER, cache_write_tokens INTEGER,
            reasoning_tokens INTEGER, cost_usd REAL, cost_source TEXT NOT NULL,
            key_id TEXT NOT NULL, key_name TEXT NOT NULL, client TEXT NOT NULL, lost TEXT NOT NULL)""",
        "CREATE INDEX calls_started ON calls (started_ms)",
        "CREATE INDEX calls_request ON calls (request_id)",
        "CREATE INDEX calls_errors ON calls (started_ms, error, provider, model, key_id) WHERE error <> ''",
        """CREATE TABLE bodies (
            call_id INTEGER PRIMARY KEY, started_ms INTEGER NOT NULL,
            request BLOB, response BLOB, request_cut INTEGER NOT NULL, response_cut INTEGER NOT NULL)""",
        "CREATE INDEX bodies_started ON bodies (started_ms)",
        f"CREATE TABLE rollups {SUMMED}",
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    )),
    # `digest` is the key's SHA-256, `terms` JSON of all that `keys.terms_json` says. A change of a row, by any
    # program, raises the generation, which every gateway on this file looks at.
    ("m002_keys", (
        """CREATE TABLE api_keys (
            id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, digest BLOB NOT NULL UNIQUE, hint TEXT NOT NULL,
            created_s REAL NOT NULL, terms TEXT NOT NULL, last_used_s REAL) WITHOUT ROWID""",
        "INSERT OR IGNORE INTO meta (name, value) VALUES ('keys_generation', '0')",
        """CREATE TRIGGER api_keys_inserted AFTER INSERT ON api_keys BEGIN
            UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE name = 'keys_generation'; END""",
        """CREATE TRIGGER api_keys_updated AFTER UPDATE OF name, digest, hint, created_s, terms ON api_keys BEGIN
            UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE name = 'keys_generation'; END""",
        """CREATE TRIGGER api_keys_deleted AFTER DELETE ON api_keys BEGIN
            UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE name = 'keys_generation'; END""",
    )),
    # The same sums as `rollups` has, of all calls (*, *, *), of each model (provider, model, *), of each key (*, *, key_id):
    # a chart reads one row for a step, not one for every model with every key.
    ("m003_totals", (
        f"CREATE TABLE totals {SUMMED}",
        """CREATE TRIGGER rollups_forgotten AFTER DELETE ON rollups BEGIN
            DELETE FROM totals WHERE step_s = OLD.step_s AND at_s = OLD.at_s; END""",
    )),
    # Kept conversations: `value` is JSON, squeezed by zlib where it is long. `turn_items` leads from an item's id to its turn.
    ("m004_conversations", (
        """CREATE TABLE turns (
            id TEXT PRIMARY KEY, owner TEXT NOT NULL, previous TEXT NOT NULL, created_s REAL NOT NULL,
            member TEXT NOT NULL, key TEXT NOT NULL, bytes INTEGER NOT NULL, value BLOB NOT NULL)""",
        "CREATE INDEX turns_created ON turns (created_s, bytes)",
        """CREATE TABLE turn_items (
            owner TEXT NOT NULL, item_id TEXT NOT NULL, turn_id TEXT NOT NULL,
            PRIMARY KEY (owner, item_id)) WITHOUT ROWID""",
        "CREATE INDEX turn_items_turn ON turn_items (turn_id)",
        """CREATE TRIGGER turns_forgotten AFTER DELETE ON turns BEGIN
            DELETE FROM turn_items WHERE turn_id = OLD.id; END""",
    )),
    # What callers say about a call: `tags` is a JSON list of texts. `label_sums` has the sums of each tag and each end user, in
    # steps of an hour and a day; a call with two tags is in both of their rows. `provider` is the kind of label ("tag" or
    # "user") there, `model` the label, `key_id` is empty.
    ("m005_labels", (
        "ALTER TABLE calls ADD COLUMN tags TEXT NOT NULL DEFAULT '[]'",
        "ALTER TABLE calls ADD COLUMN end_user TEXT NOT NULL DEFAULT ''",
        f"CREATE TABLE label_sums {SUMMED}",
    )),
    # Which of the errors are the callers' own; those from before are not told apart.
    ("m006_caller_errors", tuple(
        f"ALTER TABLE {table} ADD COLUMN caller_errors INTEGER NOT NULL DEFAULT 0"
        for table in ("rollups", "totals", "label_sums")
    )),
    # Whose the files and batches at providers are: `key` is the mark of the provider's key, `value` the object as JSON.
    ("m007_owned", (
        """CREATE TABLE owned (
            owner TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL, created_s REAL NOT NULL,
            provider TEXT NOT NULL, key TEXT NOT NULL, label TEXT NOT NULL, value TEXT NOT NULL,
            PRIMARY KEY (owner, kind, id)) WITHOUT ROWID""",
        "CREATE INDEX owned_listed ON owned (owner, kind, created_s, id)",
        "CREATE INDEX owned_created ON owned (created_s)",
        "CREATE INDEX owned_named ON owned (id)",
    )),
    # All that the page counts of errors is in the index: no call is read for it.
    ("m008_failed_calls", (
        "DROP INDEX IF EXISTS calls_errors",
        """CREATE INDEX calls_failed ON calls (started_ms, error, ended, status, attempts, provider, model, key_id)
            WHERE error <> ''""",
    )),
)  # fmt: skip


def applied_steps(db: Any) -> set[str]:
    """The names of the steps that a file has."""
    if not db.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'migrations'").fetchone():
        return set()
    return {name for (name,) in db.execute("SELECT name FROM migrations")}


def unknown_steps(db: Any) -> list[str]:
    """Steps that this program does not know, in order: a newer one made them."""
    return sorted(applied_steps(db) - {name for name, _ in MIGRATIONS})


def apply(db: Any, now_ms: int, step: Callable[[str], None] = lambda name: None) -> list[str]:
    """Brings a file up to date; the names of what was done. `db` is in autocommit mode. `step` is called before each.

    A step that fails leaves no trace, and the steps before it stay.
    """
    db.execute("CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, applied_ms INTEGER NOT NULL) WITHOUT ROWID")
    done = []
    for name, statements in MIGRATIONS:
        if db.execute("SELECT 1 FROM migrations WHERE name = ?", (name,)).fetchone():
            continue
        step(name)
        db.execute("BEGIN IMMEDIATE")
        try:
            if not db.execute("SELECT 1 FROM migrations WHERE name = ?", (name,)).fetchone():  # another process was first
                for statement in statements:
                    db.execute(statement)
                db.execute("INSERT INTO migrations (name, applied_ms) VALUES (?, ?)", (name, now_ms))
                done.append(name)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
    return done
