"""The judge is judged: a good result is spoilt in one way after another, and each must be found by the check that is
there for it."""

from __future__ import annotations

import copy
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Callable

from ..claim import Claims
from ..store import Store
from .check import Evidence, check

Spoil = Callable[[Evidence], None]


def may_be_spoilt(evidence: Evidence) -> bool:
    """Nothing that would excuse what is planted has happened in it."""
    return evidence.is_connected and evidence.is_on_time and not evidence.down and set(evidence.keys) == {"first"}


def spoil(claims: Claims, good: Evidence, folder: Path) -> None:
    """`good` is left as it is."""
    claims.part("The checks themselves: a good result, spoilt")
    for name, (wanted, plant) in PLANTED.items():
        copied = folder / "spoilt.db"
        _copy(good.store.path, copied)
        evidence = copy.deepcopy(replace(good, store=Store(copied)))
        plant(evidence)
        found = {check_name for check_name, _ in check(evidence)}
        claims.check(f"{name} is found", wanted in found, f"by {', '.join(sorted(found)) or 'nobody'}")
    left = check(good)
    claims.check("and the good one is as it was", not left, f"{len(left)} faults")


def _copy(source: Path, to: Path) -> None:
    to.unlink(missing_ok=True)
    with closing(sqlite3.connect(source)) as whole, closing(sqlite3.connect(to)) as part:
        whole.backup(part)


def _sql(*statements: str) -> Spoil:
    def spoil(evidence: Evidence) -> None:
        with closing(sqlite3.connect(evidence.store.path)) as connection, connection:
            # The tables refuse much of it by themselves.
            connection.execute("PRAGMA ignore_check_constraints = ON")
            for statement in statements:
                connection.execute(statement)

    return spoil


def _asked_again(evidence: Evidence) -> None:
    first = next(request for request in evidence.charts if request.status == 200 and request.fault is None)
    evidence.requests.append(replace(first, at_s=evidence.requests[-1].at_s + 5))


def _burst(evidence: Evidence) -> None:
    first = evidence.requests[0]
    evidence.requests[:0] = [first] * (evidence.burst + int(evidence.delayed_max) + 1)


def _uncounted(evidence: Evidence) -> None:
    evidence.uncounted_max = 0
    extra = replace(evidence.requests[0], at_s=evidence.requests[0].at_s - 60)
    evidence.requests[:0] = [extra] * 400


def _unquiet(evidence: Evidence) -> None:
    at_s = evidence.requests[len(evidence.requests) // 2].at_s
    evidence.quiet = [(at_s - 1.5, at_s + 0.5)]


def _back(evidence: Evidence) -> None:
    evidence.events[0].append(copy.deepcopy(evidence.events[0][0]))


def _uncommitted(evidence: Evidence) -> None:
    event = next(event for event in evidence.events[0] if "terminal" in event)
    batch = next(iter(event.values()))
    batch["progress"]["succeededItems"] = str(int(batch["progress"].get("succeededItems", 0)) + 1)


def _unended_once(evidence: Evidence) -> None:
    evidence.events[0] = [event for event in evidence.events[0] if "terminal" not in event]


def _unended(evidence: Evidence) -> None:
    evidence.events = [[event for event in events if "terminal" not in event] for events in evidence.events]


def _told_twice(evidence: Evidence) -> None:
    told = next(iter(evidence.results.values()))
    told.append(told[0])


def _damaged(evidence: Evidence) -> None:
    page = 4_096
    with evidence.store.path.open("r+b") as file:
        size = file.seek(0, 2)
        for at in range(size // page // 2 * page, size, 5 * page):
            file.seek(at + 8)
            file.write(b"\xff" * 64)


ITEM = "(SELECT item_index FROM batch_execution_details WHERE batch_seq = 1 AND status = 'SUCCEEDED' LIMIT 1)"
KEY = "(SELECT item_key FROM batch_execution_details WHERE batch_seq = 1 AND status = 'SUCCEEDED' LIMIT 1)"
OF_ITEM = f"WHERE batch_seq = 1 AND item_index = {ITEM}"

# What is spoilt → the check that must say so, and how.
PLANTED: dict[str, tuple[str, Spoil]] = {
    "an item that is lost": ("complete", _sql(f"DELETE FROM batch_execution_details {OF_ITEM}")),
    "an item of nobody's": ("complete", _sql(f"UPDATE batch_execution_details SET item_key = 'NOBODY' {OF_ITEM}")),
    "an item that is open": ("final", _sql(f"UPDATE batch_execution_details SET status = 'PENDING' {OF_ITEM}")),
    "a slice that is still leased": ("final", _sql(
        "UPDATE batch_slices SET status = 'LEASED', owner = 'x', lease_until_at = 1"
        " WHERE batch_seq = 1 AND slice_no = 0")),
    "a batch that did not end": ("state", _sql("UPDATE batch_executions SET status = 'RUNNING' WHERE seq = 1")),
    "an item that is final twice": ("order", _sql(
        "UPDATE item_results SET items = json_insert(items, '$[#]', json_extract(items, '$[0]')),"
        " item_count = item_count + 1 WHERE first_no = (SELECT max(first_no) FROM item_results WHERE items IS NOT NULL)")),
    "a gap in the order": ("order", _sql(
        "UPDATE item_results SET first_no = first_no + 1"
        " WHERE first_no = (SELECT max(first_no) FROM item_results WHERE batch_seq = 1)")),
    "a result that is told twice": ("order", _told_twice),
    "a counter that is one off": ("counters", _sql(
        "UPDATE batch_executions SET successful_count = successful_count - 1 WHERE seq = 1")),
    "a record too many in the counter": ("counters", _sql(
        "UPDATE batch_executions SET records_count = records_count + 1 WHERE seq = 1")),
    "a row that is lost": ("rows", _sql(
        f"DELETE FROM stock_prices WHERE code = {KEY}"
        f" AND ts = (SELECT max(ts) FROM stock_prices WHERE code = {KEY})")),
    "a row that is there twice": ("rows", _sql(
        f"INSERT INTO stock_prices SELECT code, interval, ts + 1, session_date, symbol, open, high, low, close,"
        f" adj_close, volume, currency, provisional, batch_seq, fetched_at FROM stock_prices WHERE code = {KEY} LIMIT 1")),
    "a request for what was done": ("again", _asked_again),
    "an item charged for a crash": ("again", _sql(
        f"UPDATE batch_execution_details SET attempts = attempts + 9 {OF_ITEM}")),
    "an item that failed for nothing": ("again", _sql(
        f"UPDATE batch_execution_details SET status = 'FAILED' {OF_ITEM}")),
    "requests that are not counted": ("requests", _uncounted),
    "a request too many in the counter": ("requests", _sql(
        "UPDATE batch_executions SET requests_count = requests_count + 1000 WHERE seq = 1")),
    "a burst above the limit": ("rate", _burst),
    "a request in a pause": ("quiet", _unquiet),
    "a revision that goes back": ("watched", _back),
    "a figure that was never committed": ("watched", _uncommitted),
    "an end that nobody was told": ("watched", _unended),
    "an end that one was not told": ("watched", _unended_once),
    "a figure that falls": ("history", _sql(
        "UPDATE proof_revisions SET successful_count = 0"
        " WHERE rowid = (SELECT max(rowid) FROM proof_revisions WHERE seq = 1)")),
    "an attempt that is missing": ("attempts", _sql(
        f"UPDATE batch_execution_details SET recorded_attempts = recorded_attempts + 1 {OF_ITEM}")),
    "a damaged file": ("file", _damaged),
}
