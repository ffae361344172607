"""kill -9 at random instants of one run: every item ends once, nothing completed is fetched again."""

from __future__ import annotations

import random
import time

from ..claim import Claims, but
from ..lab import Lab, until
from ..request_log import RequestLog
from ..store import Item, Store
from ..window import worst_excess

WORKERS = 16
RATE_PER_S = 80.0
BURST = 20
COMMIT_GROUP = 10
# A process lives so long before it is killed, counted from its start: some die while they start.
LIVES_S = (0.05, 2.2)
# Clocks of simulator and server are read at slightly different places.
CLOCKS_S = 0.005


def kill(lab: Lab, claims: Claims, items: int, kills: int, seed: int) -> None:
    """Kills the server again and again while it works on one batch."""
    claims.part(f"kill -9 {kills} times during one run of {items:,} items, seed {seed}")
    chance = random.Random(seed)
    sim = lab.simulator("kill", "--items", items, "--latency", "20ms", "--jitter", "30ms")
    server = lab.server("kill").start()
    spec = lab.spec("kill/spec", {
        "jpxListing": {"uri": sim.list_url},
        "yahooChart": {"baseUrl": sim.url, "range": "3mo"},
        "fetch": {"requestsPerSecond": RATE_PER_S, "burst": BURST, "workers": WORKERS,
                  "commitGroupSize": COMMIT_GROUP},
    })
    server.begin_batch(spec, "mortal")

    killed_at: list[int] = []
    for _ in range(kills):
        # This waiting is the randomness of the proof.
        time.sleep(chance.uniform(*LIVES_S))
        server.kill()
        killed_at.append(_processed(server.store))
        server.begin()
    server.listening()
    in_time = sum(count < items for count in killed_at)
    claims.check("killed in mid-batch each time", in_time == kills,
                 f"{in_time} of {kills}, at " + ", ".join(f"{count:,}" for count in killed_at) + " items done")
    until("COMPLETED", lambda: server.store.state == "COMPLETED", patience_s=items / RATE_PER_S + 60, pause_s=0.2)
    watched = server.haul("watch", "mortal")
    server.kill()
    store, log = server.store, sim.log()
    claims.check("goes on by itself to COMPLETED, haul watch ends with status 0", watched.status == 0,
                 str(watched.status))
    _exactly_once(claims, store, items)
    _not_again(claims, store.items(), log, kills)


def _processed(store: Store) -> int:
    rows = store.rows("SELECT processed_count FROM batch_executions")
    return int(rows[0][0])


def _exactly_once(claims: Claims, store: Store, items: int) -> None:
    rows = store.items()
    unlike = [item.key for item in rows if item.status != "SUCCEEDED"]
    faults = store.slice_faults()
    claims.check("every item final once, every slice done",
                 not unlike and not faults and len(rows) == items == len({item.key for item in rows}),
                 f"{len(rows):,} items{but(unlike + faults)}")
    claims.agree("counts: counters = recount = views", {
        "batch_executions": store.counters(), "recount": store.recount(),
        "batch_progress": store.progress_view(), "batch_items": store.items_view(),
    })
    doubled, misfits = store.doubled_rows(), store.misfits()
    claims.check("rows of each code = distinct keys = records of its item", doubled == 0 and not misfits,
                 f"{store.dataset_rows():,} rows, {doubled} doubled{but(misfits)}")


def _not_again(claims: Claims, items: list[Item], log: RequestLog, kills: int) -> None:
    again = {
        item.key
        for item in items
        if item.updated_s is not None
        and any(request.at_s > item.updated_s + CLOCKS_S for request in log.by_key.get(item.key, []))
    }
    claims.check("nothing completed is fetched again", not again, f"{len(log.charts):,} requests{but(again)}")
    twice = sum(len(requests) > 1 for requests in log.by_key.values())
    # At a kill one group may be on its way into the store, and another one in the making.
    most = kills * (WORKERS + 2 * COMMIT_GROUP)
    claims.check("asked twice: what was in flight or not committed at a kill, no more",
                 twice <= most and len(log.by_key) == len(items),
                 f"{twice} keys of {len(log.by_key):,}, at most {most} = "
                 f"{kills} kills × ({WORKERS} workers + 2 groups of {COMMIT_GROUP})")
    worst, length_s = worst_excess([request.at_s for request in log.charts], RATE_PER_S, BURST)
    claims.check("no window above rate·t + burst, over all kills", worst <= 0,
                 f"fullest {worst:+.2f} requests from it, over {length_s:.2f} s")
