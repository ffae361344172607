"""Many starts at once that may make one batch only."""

from __future__ import annotations

from collections import Counter

from ..claim import Claims
from ..lab import Lab
from .wire import Wire


def races(lab: Lab, claims: Claims, wire: Wire, count: int) -> None:
    """Over ten connections."""
    claims.part(f"{count} StartBatch at once")
    sim = lab.simulator("races")
    server = lab.server("races").start()
    for by, others in (("request_id", "OUTCOME_REPLAYED"), ("overlap_key", "OUTCOME_SKIPPED")):
        before = server.store.value("SELECT count(*) FROM batch_executions")
        told = wire.run("race", "--address", server.address, "--upstream", sim.url, "--by", by, "--count", count)
        made = server.store.value("SELECT count(*) FROM batch_executions") - before
        names = {name for name, _ in told}
        outcomes = Counter(outcome for _, outcome in told)
        claims.check(f"one {by.replace('_', ' ')}: one batch, and everybody is told which",
                     made == 1 and len(names) == 1 and outcomes == {"OUTCOME_STARTED": 1, others: count - 1},
                     f"{made} made, {len(names)} told, " + ", ".join(f"{times} {word}" for word, times in outcomes.items()))
    server.kill()
