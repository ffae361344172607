"""Never faster than allowed, and as fast as allowed: judged by arrivals at the simulator."""

from __future__ import annotations

from ..claim import Claims
from ..lab import Lab
from ..window import worst_excess

RATE_PER_S = 5.0
BURST = 20
ITEMS = 150
USED_MIN = 0.98


def rate(lab: Lab, claims: Claims, listed: list[str]) -> None:
    """150 inline items at 5 requests/s with a burst of 20."""
    claims.part(f"{ITEMS} items at {RATE_PER_S:.0f} requests/s, burst {BURST}")
    sim = lab.simulator("rate")
    server = lab.server("rate").start()
    spec = lab.spec("rate/spec", {
        "inlineItems": {"items": [{"key": key} for key in listed[:ITEMS]]},
        "yahooChart": {"baseUrl": sim.url, "range": "1mo"},
        "fetch": {"requestsPerSecond": RATE_PER_S, "burst": BURST},
    })
    ran = server.haul("start", "-f", spec, "--id", "rate", "--watch")
    server.kill()
    claims.check("haul start --watch ends with status 0", ran.status == 0, str(ran.status))

    arrivals = [request.at_s for request in sim.log().charts]
    claims.check("each item asked once", len(arrivals) == ITEMS, f"{len(arrivals)} requests")
    worst, length_s = worst_excess(arrivals, RATE_PER_S, BURST)
    claims.check(
        "no window above rate·t + burst", worst <= 0,
        f"{len(arrivals) * (len(arrivals) + 1) // 2:,} windows, "
        f"fullest {worst:+.2f} requests from it, over {length_s:.2f} s",
    )
    span_s = arrivals[-1] - arrivals[0]
    shortest_s = (len(arrivals) - BURST) / RATE_PER_S
    used = shortest_s / span_s
    claims.check(
        "at least 98 % of the permitted rate used", used >= USED_MIN,
        f"{100 * used:.2f} %, {span_s:.2f} s where {shortest_s:.2f} s is the shortest possible",
    )
