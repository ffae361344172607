"""A clock that jumps: a day forwards and an hour backwards, while items are asked for, wait and are held."""

from __future__ import annotations

import time
from collections import Counter

from ..chaos.stall import Stalls
from ..claim import Claims, but
from ..lab import Lab, until
from ..window import worst_excess
from .job import discarding, final_once, inline, over, row
from .shim import Shim
from .upstream import Arrival, Exchange, Upstream

RATE_PER_S, BURST = 60.0, 10
DAY_S, HOUR_S = 86_400, 3_600
# What the upstream asks for, and what may come on top of it: the way there, and a look once a second.
HOLD_S, HOLD_LATE_S = 4, 1.6
FAILING = 40


def clock(lab: Lab, claims: Claims, items: int) -> None:
    """The upstream's own clock does not jump."""
    claims.part(f"The clock jumps a day forwards, an hour back behind where it was, and both again while the gate is held; "
                f"{items:,} items")
    server = lab.server("clock")
    shim = Shim(lab, server)
    server.start()
    stalls = Stalls()
    pushed_back: list[Arrival] = []
    wants_to_push = False

    async def answer(exchange: Exchange) -> None:
        nonlocal wants_to_push
        if wants_to_push:
            wants_to_push = False
            pushed_back.append(exchange.arrival)
            await exchange.whole("429 Too Many Requests", headers=f"Retry-After: {HOLD_S}\r\n")
        elif exchange.arrival.kind == "failing" and first(exchange.arrival.key):
            await exchange.whole("503 Service Unavailable")
        else:
            await exchange.whole()

    failed: set[str] = set()

    def first(key: str) -> bool:
        is_new = key not in failed
        failed.add(key)
        return is_new

    with Upstream({"decent": answer, "failing": answer}, latency_s=0.02) as upstream:
        keys = [f"decent/{n}" for n in range(items - FAILING)]
        # So that some wait for their second attempt whenever the clock jumps.
        for n in range(FAILING):
            keys.insert(n * (items // FAILING) + 5, f"failing/{n}")
        spec = inline(keys) | discarding(upstream.url + "/{{ item.key | safe }}", requestsPerSecond=RATE_PER_S, burst=BURST,
                                         adaptivePace=False, initialBackoff="3s")
        began = time.monotonic()
        server.begin_batch(lab.spec("clock/spec", spec), "clock")

        def reached(share: float) -> None:
            until(f"{100 * share:.0f} % are done", lambda: row(server.store, "clock")["processed_count"] >= share * items, 60)

        jumps = [(0.15, DAY_S), (0.35, -HOUR_S)]
        for share, offset in jumps:
            reached(share)
            shim.move_clock(offset)
        for share, offset in ((0.55, DAY_S), (0.75, -2 * HOUR_S)):
            reached(share)
            wants_to_push, before = True, len(pushed_back)
            until("it pushes back", lambda: len(pushed_back) > before, pause_s=0.005)
            time.sleep(0.5)
            shim.move_clock(offset)
        over(server, "clock", 60 + items / RATE_PER_S)
        took_s = time.monotonic() - began
    arrivals = upstream.arrivals
    server.kill()
    final_once(claims, server.store, "clock", items)
    asked = upstream.by("kind")
    items_of = lambda these: Counter(f"{arrival.kind}/{arrival.key}" for arrival in these)  # noqa: E731
    due = Counter(keys) + Counter(key for key in keys if key.startswith("failing/")) + items_of(pushed_back)
    too_often = items_of(arrivals) - due
    repeats = len(arrivals) - items
    claims.check("nothing is asked twice but what failed or was pushed back",
                 repeats == FAILING + len(pushed_back) and not too_often,
                 f"{len(arrivals):,} requests for {items:,} items, {len(asked['failing'])} of them for {FAILING} that fail "
                 f"once, {len(pushed_back)} pushed back" + but(too_often))
    worst, length_s = worst_excess([arrival.at_s for arrival in arrivals], RATE_PER_S, BURST)
    stalled_s = stalls.longest_s(0) + upstream.stalled_s
    stalls.close()
    claims.check("never faster than the rate, by the upstream's clock", worst <= (0.02 + stalled_s) * RATE_PER_S,
                 f"fullest window {worst:+.2f} requests from it, over {length_s:.2f} s; the machine made it late by up to "
                 f"{1000 * stalled_s:.0f} ms")
    for at_s, what in zip((arrival.at_s for arrival in pushed_back), ("set forwards by a day", "set back by a day")):
        # Those on their way had left before.
        later = [arrival.at_s - at_s for arrival in arrivals if arrival.at_s > at_s + 0.3]
        claims.check(f"a hold of {HOLD_S} s is one of {HOLD_S} s, the clock {what} meanwhile",
                     HOLD_S - 0.1 <= min(later) <= HOLD_S + HOLD_LATE_S, f"the next request after {min(later):.2f} s")
    ideal_s = items / RATE_PER_S + len(pushed_back) * HOLD_S
    claims.check("nothing waits longer for it", took_s <= ideal_s + 12, f"{took_s:.1f} s, {ideal_s:.1f} s by rate and holds")
