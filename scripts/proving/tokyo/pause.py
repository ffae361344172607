"""Pause under load, resume, stop: judged by arrivals at the simulator."""

from __future__ import annotations

import time

from ..claim import Claims
from ..lab import Lab, until
from ..request_log import RequestLog
from ..store import Store

RATE_PER_S = 300
WORKERS = 64
LATENCY = "200ms"
QUIET_AFTER_S = 1.0
STAYS_QUIET_S = 3.0
RESUMED_WITHIN_S = 2.0
# Requests that make it a load.
LOADED = 500


def pause(lab: Lab, claims: Claims, items: int) -> None:
    """Pauses, resumes and stops one batch under load."""
    claims.part(f"Pause under load: {items:,} items, {RATE_PER_S} requests/s, {WORKERS} workers, latency {LATENCY}")
    sim = lab.simulator("pause", "--latency", LATENCY, "--items", items)
    server = lab.server("pause").start()
    spec = lab.spec("pause/spec", {
        "jpxListing": {"uri": sim.list_url},
        "yahooChart": {"baseUrl": sim.url, "range": "1mo"},
        "fetch": {"requestsPerSecond": RATE_PER_S, "burst": 60, "workers": WORKERS},
    })
    server.begin_batch(spec, "load")
    until("load", lambda: len(sim.log().charts) >= LOADED)

    paused = server.haul("pause", "load", "--reason", "proof")
    under_load = sum(paused.ended_s - 1 <= request.at_s <= paused.ended_s for request in sim.log().charts)
    until("PAUSED", lambda: server.batch("load")["state"] == "STATE_PAUSED", patience_s=10)
    paused_s = time.time()
    # This waiting is the measurement.
    time.sleep(STAYS_QUIET_S)
    log = sim.log()
    latest_s = max(request.at_s for request in log.charts) - paused.ended_s
    claims.check("haul pause ends with status 0", paused.status == 0,
                 f"{paused.status}, in {paused.seconds * 1e3:.0f} ms")
    claims.check("no request later than 1 s after the reply", latest_s <= QUIET_AFTER_S,
                 f"last one {latest_s * 1e3:+.0f} ms from it, {under_load} in the second before")
    late = log.arrivals_after(paused_s)
    claims.check("PAUSED, and nothing arrives for 3 s", not late,
                 f"PAUSED {(paused_s - paused.ended_s) * 1e3:.0f} ms after the reply, {len(late)} arrivals since")

    before = len(log.charts)
    resumed = server.haul("resume", "load")
    until("arrivals after resume", lambda: len(sim.log().charts) >= before + LOADED)
    first_s = sim.log().charts[before].at_s - resumed.ended_s
    claims.check("resume goes on within 2 s", resumed.status == 0 and first_s <= RESUMED_WITHIN_S,
                 f"status {resumed.status}, first arrival {first_s * 1e3:+.0f} ms from the reply")

    stopped = server.haul("stop", "load", "--reason", "proof")
    watched = server.haul("watch", "load")
    refused = server.haul("resume", "load")
    server.kill()
    claims.check("statuses: stop 0, watch of a stopped batch 4, resume of it 1",
                 (stopped.status, watched.status, refused.status) == (0, 4, 1),
                 f"{stopped.status}, {watched.status}, {refused.status}")
    _canceled(claims, server.store, sim.log(), items)


def _canceled(claims: Claims, store: Store, log: RequestLog, items: int) -> None:
    counted = {row[0]: row[1] for row in store.rows("SELECT status, count(*) FROM batch_items GROUP BY status")}
    canceled, succeeded = counted.get("CANCELED", 0), counted.get("SUCCEEDED", 0)
    claims.check("STOPPED, every open item CANCELED",
                 store.state == "STOPPED" and canceled > 0 and canceled + succeeded == items == sum(counted.values()),
                 f"{store.state}, " + ", ".join(f"{count:,} {status}" for status, count in sorted(counted.items())))
    claims.agree("counts of the stopped batch: counters = recount = views", {
        "batch_executions": store.counters(), "recount": store.recount(),
        "batch_progress": store.progress_view(), "batch_items": store.items_view(),
    })
    claims.agree("requests in flight at pause and stop were recorded: counter = log = successes and the list", {
        "batch_executions": store.requests, "log": len(log.requests), "successes": succeeded + 1,
    })
