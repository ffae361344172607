"""A crowd of watchers that come and go while the server is killed and started again."""

from __future__ import annotations

import random
import time

from ..claim import Claims
from ..lab import Lab, free_port
from .committed import committed, log_commits
from .wire import Wire


def reconnecting(lab: Lab, claims: Claims, wire: Wire, count: int, restarts: int, seed: int) -> None:
    """Half of the restarts are kills, half are in good order."""
    claims.part(f"{count:,} watchers reconnecting at random through {restarts} restarts of the server, seed {seed}")
    chance = random.Random(seed)
    sim = lab.simulator("crowd", "--latency", "5ms")
    server = lab.server("crowd")
    server.port = free_port()
    server.start().kill()
    log_commits(server)
    server.start()
    # Work for longer than the restarts take; the rest is stopped.
    spec = lab.spec("crowd/spec", {
        "jpxListing": {"uri": sim.list_url},
        "yahooChart": {"baseUrl": sim.url, "range": "5d"},
        "fetch": {"requestsPerSecond": 20, "burst": 5, "workers": 8},
    })
    server.begin_batch(spec, "crowd")
    crowd = wire.begin("watchers", "--address", server.address, "--batch", "crowd", "--count", count, "--seed", seed,
                       "--patience", 600)
    orders = 0
    for _ in range(restarts):
        time.sleep(chance.uniform(1, 4))
        if chance.random() < 0.5:
            server.kill()
        else:
            orders += 1
            server.terminate()
        server.start()
    server.haul("stop", "crowd")
    told = crowd.ended(timeout_s=700)
    states = committed(server.store)
    server.kill()
    known = {state[0] for state in states}
    strange = [revision for revision in told["revisions"] if revision not in known]
    claims.check("no revision ever goes back, for any of them", told["backwards"] == 0,
                 f"{told['backwards']} in {told['events']:,} events of {told['opened']:,} streams, "
                 f"{restarts - orders} kills and {orders} ends in good order")
    claims.check("each sees the terminal event once", told["terminals"] == [1], f"{told['terminals']} a watcher")
    claims.check("no stream ends with OK before it", told["bare_ends"] == 0, f"{told['bare_ends']}")
    claims.check("every revision seen was committed", not strange and len(told["revisions"]) > restarts,
                 f"{len(told['revisions'])} revisions, {len(strange)} strange")
    words = ", ".join(f"{word} {times:,}" for word, times in sorted(told["reasons"].items()))
    drained = told["reasons"].get("UNAVAILABLE SERVER_DRAINING", 0)
    claims.check("an end in good order is told as one", orders == 0 or drained > 0, words or "none")
