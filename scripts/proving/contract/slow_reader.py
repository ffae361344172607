"""A reader of one message a second against as many updates as the engine makes."""

from __future__ import annotations

from ..claim import Claims
from ..lab import Lab
from .committed import committed, log_commits
from .memory import Sampler
from .wire import Wire

UPDATES_PER_S = 1_000
# Updates a second that are many for a reader of one.
OUTRUN = 50
# Memory that a minute may add, beside the caches that fill at first.
GROWTH_MIB = 24.0


def slow_reader(lab: Lab, claims: Claims, wire: Wire, seconds: int, updates_per_s: int, is_timed: bool) -> None:
    """Every item is a commit of its own, so each is a revision. Where the programs are not `is_timed`, as they are not
    optimised or the machine is busy, it is enough that the updates outrun the reader many times."""
    items = seconds * updates_per_s
    claims.part(f"A reader of 1 message/s, {items:,} commits of one item each, about {seconds} s")
    sim = lab.simulator("slow", "--latency", "0ms")
    server = lab.server("slow")
    server.start().kill()
    log_commits(server)
    keys = lab.write("slow/files/keys.txt", "".join(f"K{n:07}\n" for n in range(items)))
    server.start("--file-root", keys.parent)
    spec = lab.spec("slow/spec", {
        "file": {"uri": f"file://{keys}"},
        "yahooChart": {"baseUrl": sim.url, "range": "1mo"},
        "fetch": {"requestsPerSecond": updates_per_s * 1.02, "burst": 20, "workers": 16, "commitGroupSize": 1, "commitGroupInterval": "0s",
                  "keepBodies": "0s"},
    })
    server.begin_batch(spec, "slow")
    reading = wire.begin("slow", "--address", server.address, "--batch", "slow", "--seconds", seconds, "--patience", 600)
    with Sampler(server.pid) as memory:
        told = reading.ended(timeout_s=700)
    states = committed(server.store)
    took_s = server.store.value("SELECT (ended_at - started_at) / 1000.0 FROM batch_executions")
    server.kill()
    seen = told["seen"]
    revisions = [event[3] for event in seen]
    last = max(revision for revision, *_ in states)
    rate = last / took_s
    strange = [event[3] for event in seen if tuple(event[3:]) not in states]
    quarter = max(len(memory.samples) // 4, 1)
    early, late = max(memory.samples[:quarter]), max(memory.samples[-quarter:])
    claims.check("as many updates a second as asked for" if is_timed else "many times the updates that are read",
                 rate >= (updates_per_s * 0.9 if is_timed else OUTRUN),
                 f"{last:,} revisions in {took_s:.1f} s, {rate:,.0f}/s; {len(seen)} of them read")
    claims.check("every revision it saw is a committed state of the database", not strange and len(seen) > 2,
                 f"{len(seen)} compared, {len(strange)} strange")
    claims.check("revisions only grow", all(a < b for a, b in zip(revisions, revisions[1:])), f"{revisions[0]} to {revisions[-1]}")
    skipped = sum(event[2] for event in seen if event[0] != "snapshot")
    expected = revisions[-1] - revisions[0] - (len(seen) - 1)
    claims.check("what it did not see is counted as conflated", skipped == expected, f"{skipped:,} told, {expected:,} missing")
    claims.check("the terminal event came last, then OK", seen[-1][0] == "terminal" and told["code"] == "OK",
                 f"{seen[-1][0]}, {told['code']}")
    claims.check("the server's memory stays flat", late - early <= GROWTH_MIB,
                 f"{early:.0f} MiB at most in the first quarter, {late:.0f} in the last")
