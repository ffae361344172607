"""The contract's promises of time (docs/contract.md, section 14), measured."""

from __future__ import annotations

import time

from ..claim import Claims
from ..lab import Lab, Server, Simulator, until
from .committed import committed_at, log_commits
from .wire import Wire

LATENCY_S = 6.0
ATTEMPT_TIMEOUT_S = 8


def promises(lab: Lab, claims: Claims, wire: Wire) -> None:
    """Pauses and stops of a batch whose requests take 6 s, and news of one whose requests take none."""
    claims.part(f"Promises of time: requests that take {LATENCY_S:.0f} s, attempt_timeout {ATTEMPT_TIMEOUT_S} s")
    sim = lab.simulator("promises", "--latency", f"{LATENCY_S * 1000:.0f}ms")
    server = lab.server("promises").start()
    for command, mode, state, within_s in (
        ("pause", "finish", "STATE_PAUSED", ATTEMPT_TIMEOUT_S + 1), ("pause", "abort", "STATE_PAUSED", 2.0),
        ("stop", "finish", "STATE_STOPPED", ATTEMPT_TIMEOUT_S + 1), ("stop", "abort", "STATE_STOPPED", 2.0),
    ):
        _steered(lab, claims, server, sim, command, mode, state, within_s)
    server.kill()
    _news(lab, claims, wire)


def _steered(lab: Lab, claims: Claims, server: Server, sim: Simulator, command: str, mode: str, state: str,
             within_s: float) -> None:
    name = f"{command}-{mode}"
    spec = lab.spec(f"promises/{name}", {
        "jpxListing": {"uri": sim.list_url}, "yahooChart": {"baseUrl": sim.url, "range": "1mo"},
        "fetch": {"requestsPerSecond": 20, "burst": 4, "workers": 60, "attemptTimeout": f"{ATTEMPT_TIMEOUT_S}s",
                  "probeItems": 10_000},
    })
    before = len(sim.log().charts)
    server.begin_batch(spec, name)
    # Requests of three seconds are in flight, and none of them has been answered.
    until("requests in flight", lambda: len(sim.log().charts) >= before + 60)
    answered = server.haul(command, name, *(["--abort"] if mode == "abort" else []))
    until(state, lambda: server.batch(name)["state"] == state, patience_s=60)
    reached_s = time.time() - answered.ended_s
    latest_s = max(request.at_s for request in sim.log().charts) - answered.ended_s
    claims.check(f"{command}, {mode.upper()}: {state.removeprefix('STATE_')} within {within_s:.0f} s of the answer",
                 answered.status == 0 and reached_s <= within_s, f"{reached_s:.2f} s")
    claims.check(f"{command}, {mode.upper()}: no request later than 1 s after the answer", latest_s <= 1,
                 f"the last one {latest_s * 1e3:+.0f} ms from it")
    if command == "pause":
        server.haul("stop", name, "--abort", "--wait")


def _news(lab: Lab, claims: Claims, wire: Wire) -> None:
    sim = lab.simulator("news", "--latency", "20ms")
    server = lab.server("news")
    server.start().kill()
    log_commits(server)
    server.start()
    spec = lab.spec("news/spec", {
        "jpxListing": {"uri": sim.list_url}, "yahooChart": {"baseUrl": sim.url, "range": "5d"},
        "fetch": {"requestsPerSecond": 30, "burst": 5, "workers": 8},
    })
    server.begin_batch(spec, "news")
    watching = wire.begin("arrivals", "--address", server.address, "--batch", "news")
    time.sleep(8)
    for command in ("pause", "resume", "stop"):
        server.haul(command, "news", *([] if command == "resume" else ["--wait"]))
        time.sleep(1)
    came = watching.ended(timeout_s=60)
    written = committed_at(server.store)
    server.kill()
    # A figure may have waited for the interval of 100 ms; a revision that others were passed over for came later still.
    late = sorted(at_s - written[revision] for revision, _, _, at_s in came if revision in written)
    worst = late[-1]
    claims.check("a committed change is told within 250 ms and the interval of 100 ms", len(late) > 20 and worst <= 0.35,
                 f"{len(late)} told, p50 {late[len(late) // 2] * 1e3:.0f} ms, p99 {late[int(len(late) * 0.99)] * 1e3:.0f} ms, "
                 f"worst {worst * 1e3:.0f} ms")
