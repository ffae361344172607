"""An upstream that is not there, or refuses: the batch pauses before its list is burnt, and goes on by itself."""

from __future__ import annotations

import socket
import time

from ..claim import Claims
from ..lab import Lab, Server, Simulator, until
from .job import job, whole_list

# The start probe runs so many items; a connection that breaks is tried once more at once.
PROBE_ITEMS = 3
REQUESTS_MAX = PROBE_ITEMS + 2
PAUSED_WITHIN_S = 10.0
OUTAGE = {"hold": "300s", "autoResume": True, "probeInterval": "1s"}


def refused(lab: Lab, claims: Claims, items: int, how: str) -> None:
    """429 to everything, until it is lifted. Without a time named in it the server waits for a minute and longer."""
    claims.part(f"Refused at once: {items:,} items, 429 to everything ({how})")
    sim = lab.simulator("refused", "--items", items, "--refuse", how)
    server = lab.server("refused").start()
    server.begin_batch(lab.spec("refused/spec", job(whole_list(sim), sim.url, outage=OUTAGE)), "refused")
    _paused(claims, server, "refused", "RATE_LIMITED")
    asked = len(sim.log().charts)
    claims.check("the list is not burnt", 0 < asked <= REQUESTS_MAX,
                 f"{asked} requests by then, at most {REQUESTS_MAX}")
    _untouched(claims, server, items)
    _says_what_to_do(claims, server, "refused")

    # Probes go on, one at a time; this waiting is the measurement.
    time.sleep(5)
    probes = len(sim.log().charts) - asked
    claims.check("while it lasts there are probes and nothing else", probes <= 6,
                 f"{probes} requests within 5 s")
    sim.refuse("none")
    _goes_on(claims, server, "refused", items)
    repeats = sum(len(requests) - 1 for requests in sim.log().by_key.values())
    claims.check("no item is asked again but those that were refused", len(sim.log().by_key) == items
                 and repeats <= len([request for request in sim.log().charts if request.status == 429]) + 1,
                 f"{len(sim.log().by_key):,} keys asked, {repeats} repeats")
    server.kill()


def unreachable(lab: Lab, claims: Claims, items: int) -> None:
    """Nothing listens there, until something does."""
    claims.part(f"Unreachable: {items:,} items, connections refused")
    lists = lab.simulator("unreachable-list", "--items", items)
    address = _free_address()
    server = lab.server("unreachable").start()
    spec = job(whole_list(lists), f"http://{address}", outage=OUTAGE)
    server.begin_batch(lab.spec("unreachable/spec", spec), "unreachable")
    _paused(claims, server, "unreachable", "UPSTREAM_UNREACHABLE")
    _untouched(claims, server, items)
    _says_what_to_do(claims, server, "unreachable")
    sim = lab.simulator("unreachable", "--items", items, "--listen", address)
    _goes_on(claims, server, "unreachable", items)
    _asked_once(claims, sim, items)
    server.kill()


def _paused(claims: Claims, server: Server, name: str, reason: str) -> None:
    until("PAUSED", lambda: server.store.state == "PAUSED", patience_s=60, pause_s=0.1)
    created_at, since_at = server.store.rows("SELECT created_at, state_since_at FROM batch_executions")[0]
    seconds = (since_at - created_at) / 1e3
    batch = server.batch(name)
    told = (batch.get("pauseCause"), batch.get("pauseReason"))
    claims.check(f"PAUSED within {PAUSED_WITHIN_S:.0f} s, by an outage, {reason}",
                 told == ("PAUSE_CAUSE_UPSTREAM_OUTAGE", reason) and seconds <= PAUSED_WITHIN_S,
                 f"{told[0]}, {told[1]}, after {seconds:.2f} s")


def _untouched(claims: Claims, server: Server, items: int) -> None:
    # A long list is read on only while the batch runs.
    read, charged, ended = server.store.rows(
        "SELECT count(*), coalesce(sum(attempts > 0), 0), coalesce(sum(status <> 'PENDING'), 0)"
        " FROM batch_execution_details")[0]
    claims.check("no item is charged, none has failed", read > 0 and (charged, ended) == (0, 0),
                 f"{read:,} of {items:,} items read, {charged} charged, {ended} ended")


def _says_what_to_do(claims: Claims, server: Server, name: str) -> None:
    for command, claim, wanted in (
        ("get", "why it waits", ("paused", "so the others were not sent")),
        ("report", "what to do", ("goes on by itself", f"haul resume {name}")),
    ):
        ran = server.haul(command, name)
        said = " ".join(ran.stdout.split()).lower()
        missing = [words for words in wanted if words not in said]
        at = max(min(said.find(words) for words in wanted) - 60, 0)
        claims.check(f"haul {command} says {claim}", ran.status == 0 and not missing,
                     f"{said[at : at + 200]!r}" + (f", does not say {missing}" if missing else ""))


def _goes_on(claims: Claims, server: Server, name: str, items: int) -> None:
    began = time.monotonic()
    until("COMPLETED", lambda: server.store.state == "COMPLETED", patience_s=items / 100 + 150, pause_s=0.2)
    counts = server.store.counters()
    claims.check("once it is over the batch goes on by itself to COMPLETED with every item",
                 counts.succeeded == counts.total == items, f"{counts}, {time.monotonic() - began:.1f} s later")


def _asked_once(claims: Claims, sim: Simulator, items: int) -> None:
    log = sim.log()
    # A probe may have asked for an item that was then asked for itself.
    claims.check("each item is asked once, but for probes", len(log.by_key) == items and len(log.charts) <= items + 3,
                 f"{len(log.by_key):,} keys, {len(log.charts):,} requests")


def _free_address() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"
