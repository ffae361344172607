"""Whether a run came to what is promised. Knows the tables and the upstream's log, and nothing of the server's code."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, Callable, Iterator

from ..claim import sample
from ..request_log import Request
from ..store import Store
from ..window import worst_excess

# Clocks of simulator and server are read at slightly different places.
CLOCKS_S = 0.005
QUIET_AFTER_S = 1.0
OPEN = "PENDING"


@dataclass
class Evidence:
    """What a run left behind. All times in seconds since the epoch."""

    store: Store
    # Everything that reached the upstream, by time.
    requests: list[Request]
    rate_per_s: float
    burst: int
    # Name of a batch → the keys that its source has, the state that it may end in.
    keys: dict[str, set[str]] = field(default_factory=dict)
    ends: dict[str, set[str]] = field(default_factory=dict)
    # What watchers were told, one list each; what followers of results were told, by batch.
    events: list[list[dict[str, Any]]] = field(default_factory=list)
    results: dict[str, list[str]] = field(default_factory=dict)
    reports: dict[str, dict[str, Any]] = field(default_factory=dict)
    # When a pause or stop was answered, and when it was lifted.
    quiet: list[tuple[float, float]] = field(default_factory=list)
    # Requests that may have been sent without being counted, and counted without having arrived.
    uncounted_max: int = 0
    unseen_max: int = 0
    # When the breaker was not closed: probes may ask again for what succeeded.
    down: list[tuple[float, float]] = field(default_factory=list)
    # The network between server and upstream is whole.
    is_connected: bool = True
    # The server's clock is the upstream's.
    is_on_time: bool = True
    # By how many requests what lies between server and upstream may make a window fuller.
    delayed_max: float = 0
    # How often the server stood still: what was in flight then timed out.
    frozen: int = 0
    # Its source was read to the end, however the batch ended.
    is_whole: bool = False

    @property
    def charts(self) -> list[Request]:
        """Requests for items."""
        return [request for request in self.requests if request.endpoint == "chart"]


Fault = tuple[str, str]


def check(evidence: Evidence) -> list[Fault]:
    """All that is wrong: the name of the check, and what it found."""
    faults = []
    for name, look in CHECKS.items():
        try:
            faults += [(name, said) for said in look(evidence)]
        except sqlite3.DatabaseError as error:
            faults.append(("file", f"{name}: {error}"))
    return faults


def _batches(evidence: Evidence) -> Iterator[sqlite3.Row]:
    for name in evidence.keys:
        found = evidence.store.rows("SELECT * FROM batch_executions WHERE name = ?", name)
        if found:
            yield found[0]


def _state(evidence: Evidence) -> Iterator[str]:
    rows = {row["name"]: row for row in _batches(evidence)}
    for name, ends in evidence.ends.items():
        row = rows.get(name)
        if row is None:
            yield f"{name} is not there"
        elif row["status"] not in ends or row["ended_at"] is None or row["end_reason"] is None:
            yield f"{name} is {row['status']}, not {' or '.join(sorted(ends))}"
        elif row["pause_cause"] or row["drain_mode"] and row["status"] != "STOPPED":
            yield f"{name} is {row['status']} with pause_cause {row['pause_cause']}"


def _complete(evidence: Evidence) -> Iterator[str]:
    """Each key of the source is an item once."""
    for batch in _batches(evidence):
        held = Counter(row[0] for row in evidence.store.rows(
            "SELECT item_key FROM batch_execution_details WHERE batch_seq = ?", batch["seq"]))
        doubled = [key for key, times in held.items() if times > 1]
        missing, strange = evidence.keys[batch["name"]] - set(held), set(held) - evidence.keys[batch["name"]]
        may_lack = batch["status"] in ("STOPPED", "FAILED") and not evidence.is_whole
        if strange or doubled or missing and not may_lack:
            yield f"{batch['name']}: lacks {sample(missing)}, has {sample(strange)} besides, twice {sample(doubled)}"
        indexes = [row[0] for row in evidence.store.rows(
            "SELECT item_index FROM batch_execution_details WHERE batch_seq = ? ORDER BY 1", batch["seq"])]
        if indexes != list(range(len(indexes))):
            yield f"{batch['name']}: indexes have gaps"


def _final(evidence: Evidence) -> Iterator[str]:
    """No item is open but in a canceled slice; no slice is leased; slices cover the items without a gap."""
    for batch in _batches(evidence):
        open_items: dict[int, int] = defaultdict(int)
        for row in evidence.store.rows(
                "SELECT slice_no, count(*) FROM batch_execution_details WHERE batch_seq = ? AND status = ? GROUP BY 1",
                batch["seq"], OPEN):
            open_items[row[0]] = row[1]
        end = 0
        # A slice that was halved has its second half under a later number.
        for piece in evidence.store.rows(
                "SELECT * FROM batch_slices WHERE batch_seq = ? ORDER BY first_index", batch["seq"]):
            where = f"{batch['name']} slice {piece['slice_no']}"
            if piece["first_index"] != end:
                yield f"{where} begins at {piece['first_index']}, not {end}"
            end = piece["end_index"]
            is_canceled = piece["status"] == "CANCELED" and batch["status"] in ("STOPPED", "FAILED")
            if piece["status"] != "DONE" and not is_canceled:
                yield f"{where} is {piece['status']}"
            if piece["open_count"] != open_items[piece["slice_no"]] or (piece["open_count"] and not is_canceled):
                yield f"{where} has {open_items[piece['slice_no']]} open items, counts {piece['open_count']}"
            if piece["owner"] is not None or piece["lease_until_at"] is not None:
                yield f"{where} is owned"
        if end != batch["total_count"]:
            yield f"{batch['name']}: slices end at {end} of {batch['total_count']}"


def _order(evidence: Evidence) -> Iterator[str]:
    """Each item became final once, in one order without gaps, and each follower was told it so."""
    for batch in _batches(evidence):
        told: list[int] = []
        for run in evidence.store.rows("SELECT * FROM item_results WHERE batch_seq = ? ORDER BY first_no", batch["seq"]):
            if run["first_no"] != len(told) + 1:
                yield f"{batch['name']}: number {run['first_no']} follows {len(told)}"
            items = json.loads(run["items"]) if run["items"] else [row[0] for row in evidence.store.rows(
                "SELECT item_index FROM batch_execution_details WHERE batch_seq = ? AND slice_no = ? AND status = ?"
                " ORDER BY 1", batch["seq"], run["slice_no"], OPEN)]
            if run["item_count"] != len(items):
                yield f"{batch['name']}: run {run['first_no']} has {len(items)} items, counts {run['item_count']}"
            told += items
        if sorted(told) != list(range(batch["total_count"])):
            twice = [index for index, times in Counter(told).items() if times > 1]
            yield (f"{batch['name']}: {len(set(told))} of {batch['total_count']} items are in the order,"
                   f" twice {sample(twice)}")
        keys = {row[0]: row[1] for row in evidence.store.rows(
            "SELECT item_index, item_key FROM batch_execution_details WHERE batch_seq = ?", batch["seq"])}
        followed = evidence.results.get(batch["name"])
        if followed is not None and followed != [keys.get(index) for index in told]:
            yield f"{batch['name']}: a follower was told {len(followed)} items, or in another order"


COUNTS = ("total_count", "successful_count", "failed_count", "skipped_count", "canceled_count", "records_count")


def _counters(evidence: Evidence) -> Iterator[str]:
    """Counters, view, report and a recount are one."""
    for batch in _batches(evidence):
        seq = batch["seq"]
        rows = evidence.store.rows(
            "SELECT d.status, s.status AS slice, count(*) AS n, sum(d.records_inserted) AS records,"
            "   sum(d.records_changed) AS changed, sum(max(d.attempts - 1, 0)) AS retried"
            " FROM batch_execution_details d JOIN batch_slices s USING (batch_seq, slice_no)"
            " WHERE batch_seq = ? GROUP BY 1, 2", seq)
        count: Counter[str] = Counter()
        for row in rows:
            open_too = row["status"] == OPEN
            count[("CANCELED" if row["slice"] == "CANCELED" else OPEN) if open_too else row["status"]] += row["n"]
        recount = (sum(row["n"] for row in rows), count["SUCCEEDED"], count["FAILED"], count["SKIPPED"],
                   count["CANCELED"], sum(row["records"] or 0 for row in rows))
        told = {"counters": tuple(batch[name] for name in COUNTS)}
        told["batch_progress"] = tuple(evidence.store.rows(
            f"SELECT {', '.join(COUNTS)} FROM batch_progress WHERE name = ?", batch["name"])[0])
        report = evidence.reports.get(batch["name"])
        if report is not None:
            progress = report["progress"]
            told["report"] = tuple(int(progress.get(name, 0)) for name in (
                "totalItems", "succeededItems", "failedItems", "skippedItems", "canceledItems", "recordsWritten"))
            if int(report.get("requestsSent", 0)) != batch["requests_count"]:
                yield (f"{batch['name']}: the report has {report.get('requestsSent')} requests,"
                       f" the counter {batch['requests_count']}")
        for who, figures in told.items():
            if figures != recount:
                yield f"{batch['name']}: {who} {figures}, recount {recount}"
        sums = {"records_changed": sum(row["changed"] or 0 for row in rows),
                "retried_attempts": sum(row["retried"] or 0 for row in rows)}
        for name, value in sums.items():
            if batch[name] != value:
                yield f"{batch['name']}: {name} {batch[name]}, recount {value}"


def _rows(evidence: Evidence) -> Iterator[str]:
    """Rows of a code = distinct natural keys = records of the items that wrote them."""
    doubled = evidence.store.doubled_rows()
    if doubled:
        yield f"{doubled} rows say again what another one says"
    for row in evidence.store.rows(
            "WITH held (code, n) AS (SELECT code, count(*) FROM"
            "   (SELECT code FROM stock_prices UNION ALL SELECT code FROM stock_events) GROUP BY code),"
            " told (code, n) AS (SELECT item_key, max(records_inserted) FROM batch_execution_details GROUP BY item_key)"
            " SELECT coalesce(told.code, held.code), held.n, told.n FROM told FULL JOIN held USING (code)"
            " WHERE coalesce(held.n, 0) <> coalesce(told.n, 0) LIMIT 5"):
        yield f"{row[0]} has {row[1]} rows, its item tells {row[2]}"


def _finals(evidence: Evidence) -> dict[str, list[tuple[int, str, float, int]]]:
    """Key → its final outcomes: batch, status, when, attempts."""
    found: dict[str, list[tuple[int, str, float, int]]] = defaultdict(list)
    for batch in _batches(evidence):
        for row in evidence.store.rows(
                "SELECT item_key, status, updated_at, attempts FROM batch_execution_details"
                " WHERE batch_seq = ? AND status <> ? ORDER BY batch_seq", batch["seq"], OPEN):
            if row["updated_at"] is not None:
                found[row["item_key"]].append((batch["seq"], row["status"], row["updated_at"] / 1e3, row["attempts"]))
    return found


def _again(evidence: Evidence) -> Iterator[str]:
    """Nothing completed is asked for again, whatever died; and nothing is told of an item that did not happen to it."""
    by_key: dict[str, list[Request]] = defaultdict(list)
    for request in evidence.charts:
        by_key[str(request.key)].append(request)
    again, invented, charged = [], [], []
    for key, finals in _finals(evidence).items():
        requests = by_key[key]
        done_s = next((at_s for _, status, at_s, _ in finals if status == "SUCCEEDED"), finals[-1][2])
        late = [request for request in requests if request.at_s > done_s + CLOCKS_S
                and not any(begin <= request.at_s <= end for begin, end in evidence.down)]
        if late and evidence.is_on_time:
            again.append(key)
        for _, status, _, attempts in finals:
            answered = any(request.status == 200 and request.fault is None for request in requests)
            refused = any(request.permanent or request.status == 404 for request in requests)
            if status == "SUCCEEDED" and not answered or status == "FAILED" and evidence.is_connected and not refused:
                invented.append(f"{key} {status}")
            faults = sum(request.fault is not None for request in requests)
            if evidence.is_connected and attempts > 1 + faults + evidence.frozen:
                charged.append(f"{key}: {attempts} attempts, {faults} faults")
    if again:
        yield f"{len(again)} completed and asked for again: {sample(again)}"
    if invented:
        yield f"{len(invented)} have no such outcome at the upstream: {sample(invented)}"
    if charged:
        yield f"{len(charged)} were charged for what was no fault of theirs: {sample(charged)}"


def _requests(evidence: Evidence) -> Iterator[str]:
    """Every request is counted but those that were lost with their process."""
    counted = sum(batch["requests_count"] for batch in _batches(evidence))
    seen = len(evidence.requests)
    if not seen - evidence.uncounted_max <= counted <= seen + evidence.unseen_max:
        yield (f"{counted} requests are counted, {seen} arrived; {evidence.uncounted_max} may be uncounted,"
               f" {evidence.unseen_max} unseen")


def _rate(evidence: Evidence) -> Iterator[str]:
    """No window has more than the rate and the burst allow, restarts or not."""
    worst, length_s = worst_excess([request.at_s for request in evidence.requests], evidence.rate_per_s, evidence.burst)
    if worst > evidence.delayed_max:
        yield f"{worst:+.2f} requests above what is allowed, over {length_s:.2f} s"


def _quiet(evidence: Evidence) -> Iterator[str]:
    """A pause that was answered is quiet after a second, until it is lifted."""
    for answered_s, lifted_s in evidence.quiet:
        late = [request.at_s - answered_s for request in evidence.requests
                if answered_s + QUIET_AFTER_S < request.at_s < lifted_s]
        if late:
            yield f"{len(late)} requests after a pause, the last one {late[-1]:.2f} s after its answer"


def _watched(evidence: Evidence) -> Iterator[str]:
    """Revisions only rise, each was committed, the end is told once and is the last that is told."""
    states = defaultdict(set)
    seqs = {batch["name"]: batch["seq"] for batch in _batches(evidence)}
    for seq, revision, *figures in _committed(evidence.store):
        states[seq].add((revision, *figures))
    ended = set()
    for number, events in enumerate(evidence.events):
        last: dict[str, int] = {}
        over: set[str] = set()
        for event in events:
            kinds = ("snapshot", "update", "terminal")
            kind, batch = next(((kind, event[kind]) for kind in kinds if kind in event), ("", {}))
            if not kind:
                # Deleted: a batch that is gone says no more.
                over.add(event.get("removed", "").removeprefix("batches/"))
                continue
            name, revision = batch["name"].removeprefix("batches/"), int(batch["revision"])
            if revision <= last.get(name, 0):
                yield f"watcher {number}: {name} revision {revision} after {last[name]}"
            if name in over:
                yield f"watcher {number}: {name} {kind} after its end"
            last[name] = revision
            progress = batch.get("progress", {})
            figures = tuple(int(progress.get(field, 0)) for field in (
                "totalItems", "succeededItems", "failedItems", "skippedItems", "canceledItems"))
            told = (revision, batch["state"].removeprefix("STATE_"), *figures)
            if name in seqs and told not in states[seqs[name]]:
                yield f"watcher {number}: {name} {told} was never committed"
            if kind == "terminal":
                over.add(name)
        if set(last) - over:
            yield f"watcher {number}: was never told the end of {sample(set(last) - over)}"
        ended |= over - {""}
    silent = set(evidence.ends) - ended if evidence.events else set()
    if silent:
        yield f"nobody was told the end of {sample(silent)}"


def _committed(store: Store) -> list[tuple[Any, ...]]:
    """What the database noted of itself, in that order. A transaction that writes a row more than once notes what lies
    between as well, some of it under the revision before."""
    return [tuple(row) for row in store.rows(
        "SELECT seq, revision, status, total_count, successful_count, failed_count, skipped_count, canceled_count"
        " FROM proof_revisions ORDER BY rowid")]


def _history(evidence: Evidence) -> Iterator[str]:
    """What was committed, revision by revision: figures never fall, an end is an end."""
    last: dict[int, tuple[Any, ...]] = {}
    for state in _committed(evidence.store):
        seq, revision, status, *figures = state
        if seq in last:
            _, known, before, *had = last[seq]
            if revision < known:
                yield f"batch {seq} revision {revision} after {known}"
            if any(now < then for now, then in zip(figures, had)):
                yield f"batch {seq} revision {revision}: {figures} after {had}"
            if before in ("COMPLETED", "FAILED", "STOPPED") and status != before:
                yield f"batch {seq} revision {revision}: {status} after {before}"
        last[seq] = state


def _attempts(evidence: Evidence) -> Iterator[str]:
    """Attempts are numbered without gaps, and as many as their item tells."""
    for row in evidence.store.rows(
            "SELECT d.item_key, d.recorded_attempts, count(a.number), max(a.number), sum(a.charged), d.attempts"
            " FROM batch_execution_details d LEFT JOIN item_attempts a USING (batch_seq, item_index)"
            " GROUP BY d.batch_seq, d.item_index"
            " HAVING count(a.number) <> d.recorded_attempts OR coalesce(max(a.number), 0) <> count(a.number)"
            "   OR coalesce(sum(a.charged), 0) > d.attempts LIMIT 5"):
        yield (f"{row[0]}: {row[2]} attempts up to number {row[3]}, {row[4]} charged;"
               f" the item tells {row[1]}, {row[5]} charged")


def _file(evidence: Evidence) -> Iterator[str]:
    """The database itself is whole."""
    for pragma in ("integrity_check", "foreign_key_check"):
        said = [tuple(row) for row in evidence.store.rows(f"PRAGMA {pragma}")]
        if said not in ([("ok",)], []):
            yield f"{pragma}: {said[:3]}"


CHECKS: dict[str, Callable[[Evidence], Iterator[str]]] = {
    "state": _state, "complete": _complete, "final": _final, "order": _order, "counters": _counters, "rows": _rows,
    "again": _again, "requests": _requests, "rate": _rate, "quiet": _quiet, "watched": _watched, "history": _history,
    "attempts": _attempts, "file": _file,
}
