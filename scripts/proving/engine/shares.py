"""Batches that send to one upstream: its one limit binds all of them, and each has its share."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from ..chaos.stall import Stalls
from ..claim import Claims
from ..lab import Lab, Trouble, until
from ..window import worst_excess
from .job import discarding, inline
from .upstream import Upstream

RATE_PER_S, BURST = 100.0, 20
# Of the share that priority gives, over the whole time and over any 2 s of it.
TOLERANCE, TOLERANCE_2_S = 0.03, 0.10
# By programs that are not optimised: they do not always have the next request ready.
DEBUG_TOLERANCE = 0.06
WINDOW_S = 2.0
# What lies between the server's clock and the upstream's.
DELAYED_S = 0.02


def shares(lab: Lab, claims: Claims, seconds: int, is_quick: bool) -> None:
    """Two at a time, long enough that neither ends."""
    claims.part(f"Two batches at one upstream, {RATE_PER_S:.0f} requests/s and a burst of {BURST} for both, {seconds} s each")
    cases = [(10, 0, 0, 0.0), (64, 0, 0, 0.0), (10, 20, 0, 0.0), (64, 20, 0, 0.0), (64, 40, -20, 0.0), (10, 0, 0, 0.3),
             (64, 20, 0, 0.3)]
    for workers, first, second, late in [cases[2], cases[6]] if is_quick else cases:
        _pair(lab, claims, seconds, workers, (first, second), late * seconds)


def _pair(lab: Lab, claims: Claims, seconds: int, workers: int, priorities: tuple[int, int], late_s: float) -> None:
    name = f"shares-{workers}-{priorities[0]}-{priorities[1]}" + ("-late" if late_s else "")
    server = lab.server(name).start()
    stalls = Stalls()
    items = int((seconds + late_s + 10) * RATE_PER_S + BURST)
    with Upstream(latency_s=0.02) as upstream:
        def begin(batch: str, priority: int) -> None:
            spec = inline(f"{n}" for n in range(items)) | {"priority": priority} | discarding(
                f"{upstream.url}/{batch}/{{{{ item.key }}}}", requestsPerSecond=RATE_PER_S, burst=BURST, workers=workers)
            server.begin_batch(lab.spec(f"{name}/{batch}", spec), batch)

        with ThreadPoolExecutor(2) as pool:
            began = [pool.submit(begin, "first", priorities[0])]
            if late_s:
                began[0].result()
                time.sleep(late_s)
            began.append(pool.submit(begin, "second", priorities[1]))
            for one in began:
                one.result()
        until("both are asked for", lambda: upstream.of("first") and upstream.of("second"), pause_s=0.05)
        time.sleep(seconds)
        if any(state != "RUNNING" for state, in server.store.rows("SELECT status FROM batch_executions")):
            raise Trouble(f"{name}: a batch ended before its time")
        asked = [(arrival.at_s, arrival.kind) for arrival in upstream.arrivals]
    server.kill()
    stalls.close()
    said = f"{workers} workers, priorities {priorities[0]} and {priorities[1]}"
    said += f", the second {late_s:g} s late" if late_s else ""
    worst, length_s = worst_excess([at_s for at_s, _ in asked], RATE_PER_S, BURST)
    # Late by what kept the server from sending and the upstream from looking.
    stalled_s = stalls.longest_s(0) + upstream.stalled_s
    delayed_s = DELAYED_S + stalled_s
    claims.check(f"{said}: never above the one limit", worst <= RATE_PER_S * delayed_s,
                 f"{len(asked):,} requests, {len(asked) * (len(asked) + 1) // 2:,} windows, fullest {worst:+.2f} requests "
                 f"from it, over {length_s:.2f} s; the machine made it late by up to {1000 * stalled_s:.0f} ms")
    # From where both wait for their turn.
    since = next(at_s for at_s, kind in asked if kind == "second") + 1.0
    until_s = since + seconds - 2.0
    both = [(at_s, kind) for at_s, kind in asked if since <= at_s < until_s]
    weights = [2.0 ** (priority / 20) for priority in priorities]
    wanted = weights[1] / sum(weights)
    share = sum(kind == "second" for _, kind in both) / len(both)
    windows = []
    for n in range(int((until_s - since) / WINDOW_S)):
        kinds = [kind for at_s, kind in both if since + n * WINDOW_S <= at_s < since + (n + 1) * WINDOW_S]
        windows.append(kinds.count("second") / max(len(kinds), 1))
    furthest = max(windows, key=lambda part: abs(part - wanted))
    claims.check(f"{said}: to each its share",
                 abs(share - wanted) <= (TOLERANCE if lab.is_optimised else DEBUG_TOLERANCE)
                 and abs(furthest - wanted) <= TOLERANCE_2_S,
                 f"{100 * share:.1f} % to the second, {100 * wanted:.1f} % by its weight; in {len(windows)} parts of "
                 f"{WINDOW_S:g} s at the furthest {100 * furthest:.1f} %")
    used = len(both) / (until_s - since) / RATE_PER_S
    claims.check(f"{said}: and all of it is used", used >= 0.95, f"{100 * used:.1f} % of {RATE_PER_S:.0f} requests/s")
