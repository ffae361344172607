"""As many hosts as there are items of a third of the batch: each has a limit of its own."""

from __future__ import annotations

import json
import time
from typing import Any, Iterator

from ..claim import Claims, sample
from ..contract.memory import Sampler, peak_mib
from ..lab import Lab, Server, until
from ..window import worst_excess
from .job import discarding, final_once, over, row
from .upstream import Exchange, Upstream

RATE_PER_S, BURST = 2.0, 1
EACH, ILL_ITEMS = 3, 20
# The limiter keeps some of its burst back for what lies between its clock and the upstream's; what is left is the machine's.
LATE = 0.5
# The second: that as many others may add, by the store's caches. What 10,000 gates take is more.
PEAK_MIB, AGAIN_MIB = 96.0, 16.0


def hosts(lab: Lab, claims: Claims, count: int) -> None:
    """Items of so many hosts, all of them on this machine, some of which are ill."""
    claims.part(f"{count:,} hosts with {EACH} items each, at {RATE_PER_S:g} requests/s to each host")
    is_well = False

    async def hangs(exchange: Exchange) -> None:
        await (exchange.whole() if is_well else exchange.gone())

    async def fails(exchange: Exchange) -> None:
        await exchange.whole(*(["200 OK"] if is_well else ["503 Service Unavailable"]))

    async def breaks(exchange: Exchange) -> None:
        if not is_well:
            raise ConnectionError
        await exchange.whole()

    ill = {"127.9.9.1": hangs, "127.9.9.2": fails, "127.9.9.3": breaks}
    server = lab.server("hosts")
    server.start("--file-root", lab.place("hosts/files"), "--allow-target", "127.0.0.0/8")
    before = peak_mib(server.pid)
    with Upstream(by_host=ill) as upstream, Sampler(server.pid) as memory:
        def run(name: str, net: int) -> float:
            keys = list(_keys(net, count))
            step = len(keys) // (ILL_ITEMS * len(ill))
            for n in range(ILL_ITEMS if net == 1 else 0):
                for nth, host in enumerate(ill):
                    keys.insert((n * len(ill) + nth) * (step + 1), f"{host}/{n}")
            lines = lab.write(f"hosts/files/{name}.ndjson", "".join(
                json.dumps({"key": key, "host": key.split("/")[0], "n": key.split("/")[1]}) + "\n" for key in keys))
            template = f"http://{{{{ item.host | safe }}}}:{upstream.port}/thing/{{{{ item.n }}}}"
            spec: dict[str, Any] = {"file": {"uri": f"file://{lines}"}} | discarding(
                template, requestsPerSecond=RATE_PER_S, burst=BURST, workers=64, attemptTimeout="2s", initialBackoff="1s",
                maxAttempts=20)
            spec["outage"] = {"probeInterval": "2s"}
            began = time.monotonic()
            server.begin_batch(lab.spec(f"hosts/{name}", spec), name)
            return began

        began = run("first", 1)
        decent = count * EACH
        patience_s = 60 + decent / 50
        until("all decent items are done", lambda: row(server.store, "first")["successful_count"] >= decent, patience_s,
              pause_s=0.2)
        took_s = time.monotonic() - began
        last_s = max(arrival.at_s for arrival in upstream.arrivals if arrival.host not in ill) - began
        left = row(server.store, "first")["total_count"] - row(server.store, "first")["processed_count"]
        claims.check("hosts that are ill hold up nobody else", left > 0,
                     f"{decent:,} items of the others done after {took_s:.1f} s, {decent / took_s:,.0f}/s, "
                     f"{left} of {ILL_ITEMS * len(ill)} items of {', '.join(ill)} left; the last request {last_s:.1f} s "
                     "after the start")
        first_peak = peak_mib(server.pid)
        is_well = True
        over(server, "first", 120)
        # Hosts that nobody has met yet.
        run("second", 2)
        over(server, "second", patience_s)
        second_peak = peak_mib(server.pid)
    final_once(claims, server.store, "first", decent + ILL_ITEMS * len(ill))
    final_once(claims, server.store, "second", decent)
    _judge(claims, upstream, count, set(ill))
    claims.check("the server's memory is bounded" + ("" if lab.is_optimised else ", debug build"),
                 first_peak - before <= PEAK_MIB and (first_peak <= PEAK_MIB or not lab.is_optimised),
                 f"{first_peak:.0f} MiB at most, {before:.0f} before")
    claims.check("hosts are forgotten: as many others add nothing", second_peak - first_peak <= AGAIN_MIB,
                 f"{second_peak:.0f} MiB after {count:,} more, {second_peak - first_peak:+.0f}; {len(memory.samples)} s in all")
    _known(claims, server, 2 * count + len(ill))
    server.kill()


def _keys(net: int, count: int) -> Iterator[str]:
    """By turns, so that each host has had time until it is asked again."""
    for n in range(EACH):
        for host in range(count):
            yield f"127.{net}.{host // 250}.{host % 250 + 1}/{n}"


def _judge(claims: Claims, upstream: Upstream, count: int, ill: set[str]) -> None:
    by_host = upstream.by("host")
    unlike = [host for host, asked in by_host.items() if host not in ill
              and sorted(arrival.key for arrival in asked) != [str(n) for n in range(EACH)]]
    claims.check("each host is asked for its items, each once", len(by_host) == 2 * count + len(ill) and not unlike,
                 f"{len(by_host):,} hosts, {len(upstream.arrivals):,} requests" + (f", not {sample(unlike)}" if unlike else ""))
    worst = {host: worst_excess([arrival.at_s for arrival in asked], RATE_PER_S, BURST) for host, asked in by_host.items()}
    fullest = max(worst, key=lambda host: worst[host][0])
    above = sum(excess > 0 for excess, _ in worst.values())
    claims.check("no host is asked faster than its limit", worst[fullest][0] <= LATE,
                 f"fullest window {worst[fullest][0]:+.2f} requests from it, over {worst[fullest][1]:.2f} s, at {fullest}; "
                 f"{above} hosts of {len(worst):,} above 0, by what their connections took")


def _known(claims: Claims, server: Server, wanted: int) -> None:
    known = server.store.value("SELECT count(*) FROM upstreams")
    claims.check("the store knows each of them", known == wanted, f"{known:,} upstreams")
