"""What was committed: every revision that the store ever held, written down by the database itself."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

from ..lab import Server
from ..store import Store

COLUMNS = "revision, status, total_count, successful_count, failed_count, skipped_count, canceled_count"
NOW_S = "(julianday('now') - 2440587.5) * 86400"


def log_commits(server: Server) -> None:
    """Has the store of a server that does not run note every revision. A rolled back one leaves no note."""
    values = ", ".join(f"new.{column}" for column in COLUMNS.split(", "))
    with closing(sqlite3.connect(server.store.path)) as connection, connection:
        connection.execute(f"CREATE TABLE proof_revisions AS SELECT seq, {COLUMNS}, 0.0 AS at_s FROM batch_executions")
        for event in ("INSERT", "UPDATE"):
            connection.execute(
                f"CREATE TRIGGER proof_{event} AFTER {event} ON batch_executions BEGIN"
                f" INSERT INTO proof_revisions VALUES (new.seq, {values}, {NOW_S}); END")


def committed(store: Store) -> set[tuple[Any, ...]]:
    """The states noted, as [`COLUMNS`]. One transaction may note several of one revision: the last one is the committed."""
    last = f"SELECT {COLUMNS} FROM proof_revisions WHERE rowid IN (SELECT max(rowid) FROM proof_revisions GROUP BY seq, revision)"
    return {tuple(row) for row in store.rows(last)}


def committed_at(store: Store) -> dict[int, float]:
    """When each revision was written, in seconds since the epoch, a moment before its commit."""
    return {row[0]: row[1] for row in store.rows("SELECT revision, max(at_s) FROM proof_revisions GROUP BY revision")}
