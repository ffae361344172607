"""Specs of this proof, and what every batch of it must have come to."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any, Iterable

from ..claim import Claims, but
from ..lab import Lab, Server, until
from ..store import Store

ENDS = ("COMPLETED", "FAILED", "STOPPED")
# Beside what is named. A spec that stores no bodies keeps none.
FETCH = {"requestsPerSecond": 100, "burst": 10, "workers": 16, "commitGroupSize": 50}


def discarding(template: str, **fetch: Any) -> dict[str, Any]:
    """Of a batch that reads bodies and keeps none."""
    body = {"placement": "PLACEMENT_DISCARD"}
    return {"httpFetch": {"urlTemplate": template, "body": body}, "fetch": FETCH | fetch}


def inline(keys: Iterable[str]) -> dict[str, Any]:
    """Items in the spec."""
    return {"inlineItems": {"items": [{"key": key} for key in keys]}}


def in_file(lab: Lab, name: str, keys: Iterable[str]) -> dict[str, Any]:
    """Items in a file; the server reads it with `--file-root` of its folder."""
    path = lab.write(f"{name}/files/keys.txt", "".join(f"{key}\n" for key in keys))
    return {"file": {"uri": f"file://{path}"}}


def row(store: Store, batch: str) -> sqlite3.Row:
    """Of the batch."""
    return store.rows("SELECT * FROM batch_executions WHERE name = ?", batch)[0]


def over(server: Server, batch: str, patience_s: float) -> sqlite3.Row:
    """The batch once it has ended."""
    def ended() -> sqlite3.Row | None:
        now = row(server.store, batch)
        return now if now["status"] in ENDS else None

    found = until(f"{batch} ends", ended, patience_s, pause_s=0.1)
    assert found is not None
    return found


def outcomes(store: Store, batch: str) -> dict[str, tuple[str, str | None]]:
    """Key → state and reason of each item."""
    return {found["key"]: (found["status"], found["reason"]) for found in store.rows(
        "SELECT d.item_key AS key, d.status AS status, d.error_reason AS reason FROM batch_execution_details d"
        " JOIN batch_executions b ON b.seq = d.batch_seq WHERE b.name = ?", batch)}


def final_once(claims: Claims, store: Store, batch: str, succeeded: int, failed: int = 0) -> None:
    """The order in which items became final names each of them once, and counters say what the items say."""
    found = row(store, batch)
    statuses = Counter({line[0]: line[1] for line in store.rows(
        "SELECT status, count(*) FROM batch_execution_details WHERE batch_seq = ? GROUP BY status", found["seq"])})
    ordered = store.value("SELECT coalesce(sum(item_count), 0) FROM item_results WHERE batch_seq = ?", found["seq"])
    wanted = {"SUCCEEDED": succeeded, "FAILED": failed}
    counted = (found["total_count"], found["successful_count"], found["failed_count"])
    claims.check(f"{batch}: every item is final, once",
                 {name: statuses[name] for name in wanted} == wanted and sum(statuses.values()) == succeeded + failed
                 and counted == (succeeded + failed, succeeded, failed) and ordered == succeeded + failed
                 and found["status"] == "COMPLETED",
                 f"{found['status']}, {statuses['SUCCEEDED']:,} succeeded, {statuses['FAILED']:,} failed, "
                 f"{ordered:,} in the order of results" + but(f"{status} {count}" for status, count in statuses.items()
                                                             if status not in wanted))


def logged(folder: Path, pattern: str) -> int:
    """Lines of the server's log in which this is found."""
    text = (folder / "server.jsonl").read_text(encoding="utf-8")
    return sum(bool(re.search(pattern, line)) for line in text.splitlines())
