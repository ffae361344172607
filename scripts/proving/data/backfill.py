"""A past day is fetched with that day's list, and the same way each time."""

from __future__ import annotations

from collections import Counter
from datetime import date

from ..claim import Claims, but
from ..lab import Lab, Server, Simulator, Trouble
from ..request_log import Request
from .job import job, month_ends, whole_list

# Rows of the earlier and of the later list.
EARLIER, LATER = 120, 150


def backfill(lab: Lab, claims: Claims, listed: list[str]) -> None:
    """Two lists become versions as time goes on; then a day between them is fetched, twice."""
    end_of = month_ends()
    first, second, day = end_of[5], end_of[3], end_of[4]
    claims.part(f"Backfill of {day}, between a list of {first} with {EARLIER} codes and one of {second} with {LATER}")
    server = lab.server("backfill").start()
    earlier = lab.simulator("backfill-earlier", "--items", EARLIER, "--list-date", first)
    _run(lab, server, earlier, "early", None)
    earlier.kill()
    address = earlier.url.removeprefix("http://")
    later = lab.simulator("backfill-later", "--items", LATER, "--list-date", second, "--listen", address)
    _run(lab, server, later, "late", None)
    versions = [tuple(row) for row in server.store.rows(
        "SELECT list_date, issue_count FROM list_versions ORDER BY list_date")]
    claims.check("both lists are kept as versions", versions == [(str(first), EARLIER), (str(second), LATER)],
                 ", ".join(f"{day} with {count}" for day, count in versions))

    once, again = (_run(lab, server, later, name, day) for name in ("backfill-1", "backfill-2"))
    for name in ("backfill-1", "backfill-2"):
        keys = [row[0] for row in server.store.rows(
            "SELECT d.item_key FROM batch_execution_details d JOIN batch_executions b ON b.seq = d.batch_seq"
            " WHERE b.name = ? ORDER BY d.item_index", name)]
        used = server.store.value("SELECT list_date FROM batch_executions WHERE name = ?", name)
        claims.check(f"{name}: its items are exactly that day's list", keys == listed[:EARLIER] and used == str(first),
                     f"{len(keys)} items, list of {used}{but(set(keys) ^ set(listed[:EARLIER]))}")
    lists = [request for request in once + again if request.endpoint == "list"]
    claims.check("today's list is not asked for", not lists, f"{len(lists)} requests for a list")
    claims.check("both runs sent the same requests", bool(once) and _said(once) == _said(again),
                 f"{len(once)} and {len(again)} requests, {len(_said(once) - _said(again))} of them differ")
    newest = server.store.value(
        "SELECT max(session_date) FROM stock_prices p JOIN batch_executions b ON b.seq = p.batch_seq WHERE b.name = ?",
        "backfill-2")
    claims.check("no bar is later than the day", newest is not None and newest <= str(day),
                 f"newest bar is of {newest}")

    spec = lab.spec("backfill/before", job(whole_list(later), later.url, day=end_of[7]))
    ran = server.haul("start", "-f", spec, "--id", "before", "--watch")
    batch = server.batch("before")
    message = batch.get("endMessage", "")
    claims.check("a day before every list: FAILED, and the earliest there is is named",
                 ran.status == 4 and batch["endReason"] == "SOURCE_UNREADABLE" and str(first) in message,
                 f"status {ran.status}, {message!r}")
    server.kill()


def _run(lab: Lab, server: Server, sim: Simulator, name: str, day: date | None) -> list[Request]:
    """Runs a batch to its end and answers with what reached the upstream."""
    before = len(sim.log().requests)
    spec = lab.spec(f"backfill/{name}", job(whole_list(sim), sim.url, span="6mo", day=day))
    ran = server.haul("start", "-f", spec, "--id", name, "--watch")
    if ran.status != 0:
        raise Trouble(f"batch {name}: status {ran.status}, {ran.said[-300:]}")
    return sim.log().requests[before:]


def _said(requests: list[Request]) -> Counter[tuple[str, str, str]]:
    return Counter((request.method, request.path, request.query) for request in requests)

