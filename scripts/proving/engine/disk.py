"""A disk that is slow, that stands still, and a store that is away for a minute."""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from contextlib import closing
from itertools import groupby
from statistics import median
from typing import Callable

from ..claim import Claims
from ..contract.committed import log_commits
from ..lab import Lab, Server, Trouble, until
from .job import discarding, final_once, in_file, logged, over, row
from .shim import Shim
from .upstream import Upstream
from .follower import Follower

RATE_PER_S = 100.0
# Outcomes that may be unanswered are four groups, and one a worker.
WORKERS, GROUP, GONE_GROUP = 64, 200, 20
SYNC_S = 0.3
# A watcher is told within so long of whatever was committed; a sync and a commit's interval lie before that.
TOLD_S = 2.5


def slow_disk(lab: Lab, claims: Claims, items: int, still_s: float) -> None:
    """Each sync takes 0.3 s more; then one takes longer than a lease lasts."""
    claims.part(f"A slow disk: each sync takes {SYNC_S:g} s more, one {still_s:g} s; {items:,} items at {RATE_PER_S:.0f}/s")
    with Upstream() as upstream:
        server, shim = _server(lab, "slow-disk")
        groups: dict[str, float] = {}
        spent: dict[str, float] = {}
        for name, sync_s in (("fast", 0.0), ("slow", SYNC_S), ("still", 0.0)):
            shim.slow_sync(sync_s)
            _begin(lab, server, name, upstream, items)
            follower = Follower(lab, server, name)
            if name == "still":
                until("a third is done", lambda: row(server.store, name)["processed_count"] * 3 >= items, 60)
                shim.slow_sync(still_s)
                until("the disk stands still", lambda: _quiet(server, name, 1.0), 30)
                shim.slow_sync(0)
            ended = over(server, name, 120 + items / 20)
            told = follower.ended()
            final_once(claims, server.store, name, items)
            spent[name] = (ended["ended_at"] - ended["started_at"]) / 1e3
            sizes = _groups(server, name)
            groups[name] = median(sizes)
            longest_s = follower.longest_s()
            epochs = Counter(line[0] for line in server.store.rows(
                "SELECT epoch FROM batch_slices WHERE batch_seq = ?", ended["seq"]))
            lost = server.store.value("SELECT sum(lost_count) FROM batch_slices WHERE batch_seq = ?", ended["seq"])
            if name == "still":
                claims.check("still: whoever follows the results is told on as soon as the disk goes on",
                             longest_s <= still_s + TOLD_S,
                             f"{longest_s:.1f} s between two results at most")
                continue
            claims.check(f"{name}: whoever follows the results is told on", longest_s <= TOLD_S,
                         f"{len(told):,} results, {longest_s:.2f} s between two at most")
            claims.check(f"{name}: no lease is lost", set(epochs) == {1} and lost == 0,
                         f"{sum(epochs.values())} slices, each claimed once" if set(epochs) == {1} else str(dict(epochs)))
        claims.check("slow: work goes on at its rate", spent["slow"] <= 1.25 * spent["fast"] + 3,
                     f"{spent['slow']:.1f} s, {spent['fast']:.1f} s on a fast disk, {items / RATE_PER_S:.1f} s by the rate")
        claims.check("slow: groups grow", groups["slow"] >= 1.2 * groups["fast"],
                     f"{groups['slow']:.0f} items each, {groups['fast']:.0f} on a fast disk")
        claims.check("still: it goes on when the disk does", spent["still"] <= 1.25 * spent["fast"] + still_s + 5,
                     f"{spent['still']:.1f} s, {spent['fast']:.1f} s on a fast disk and {still_s:g} s of standing still")
        _once(claims, upstream, ("fast", "slow", "still"), items)
        server.kill()


def _quiet(server: Server, batch: str, seconds: float) -> bool:
    """Nothing was committed for so long."""
    before = row(server.store, batch)["revision"]
    time.sleep(seconds)
    return bool(row(server.store, batch)["revision"] == before)


def store_gone(lab: Lab, claims: Claims, seconds: float) -> None:
    """Locked by another process; and a disk that takes nothing."""
    claims.part(f"The store is gone for {seconds:.0f} s, in mid-batch, and comes back")
    for name, how in (("locked", _locked), ("failing", _failing)):
        with Upstream() as upstream:
            server, shim = _server(lab, f"store-{name}")
            items = int((seconds + 6) * RATE_PER_S)
            _begin(lab, server, name, upstream, items, GONE_GROUP)
            follower = Follower(lab, server, name)
            until("a tenth is done", lambda: row(server.store, name)["processed_count"] * 10 >= items, 60)
            pid, at_s = server.pid, time.monotonic()
            how(server, shim, lambda: time.sleep(seconds))
            back_s = time.monotonic()
            during = [one.at_s - at_s for one in upstream.arrivals if at_s + 1.0 < one.at_s < back_s]
            said = logged(server.folder, "a commit is repeated|out of reach|could not be|store unavailable")
            if not server.lives or server.pid != pid:
                raise Trouble(f"the server ended with status {server.status}")
            found = until("it goes on", lambda: _moved(follower, back_s), 60)
            meanwhile = sum(at_s + 1.0 < when < back_s for when, _ in follower.told)
            claims.check(f"{name}: it goes on by itself", found <= 15.0 and meanwhile == 0,
                         f"{meanwhile} results while it was gone, the next one {found:.2f} s after it was back")
            over(server, name, 120 + items / 20)
            told = [key for _, key in follower.ended()]
            states = [state for state, _ in groupby(line[0] for line in server.store.rows(
                "SELECT status FROM proof_revisions ORDER BY rowid"))]
            claims.check(f"{name}: nothing is sent on and on whose outcome nobody can store",
                         len(during) <= WORKERS + 4 * GONE_GROUP,
                         f"{len(during)} requests from a second after it was gone until it was back")
            claims.check(f"{name}: whoever follows the results is told each item once", len(told) == len(set(told)) == items,
                         f"{len(told):,} results")
            claims.check(f"{name}: it is told", said > 0, f"{said} lines in the server's log; states {', '.join(states)}")
            final_once(claims, server.store, name, items)
            lost = Counter(len(asked) for asked in upstream.by("key").values())
            claims.check(f"{name}: nothing is lost, and nothing is asked twice", lost == {1: items},
                         ", ".join(f"{count:,} items asked {times} times" for times, count in sorted(lost.items())))
            whole = server.store.rows("PRAGMA integrity_check")
            claims.check(f"{name}: the file is whole", [line[0] for line in whole] == ["ok"], f"integrity_check {whole[0][0]}")
            server.kill()


def _server(lab: Lab, name: str) -> tuple[Server, Shim]:
    server = lab.server(name)
    server.start().kill()
    log_commits(server)
    shim = Shim(lab, server)
    return server.start("--file-root", lab.place(f"{name}/files")), shim


def _begin(
    lab: Lab, server: Server, name: str, upstream: Upstream, items: int, group: int = GROUP,
) -> None:
    spec = in_file(lab, server.folder.name, (f"{n}" for n in range(items))) | discarding(
        f"{upstream.url}/{name}/{{{{ item.key }}}}", requestsPerSecond=RATE_PER_S, workers=WORKERS, commitGroupSize=group)
    server.begin_batch(lab.spec(f"{server.folder.name}/{name}", spec), name)


def _locked(server: Server, _: Shim, pause: Callable[[], None]) -> None:
    with closing(sqlite3.connect(server.store.path, timeout=60, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        pause()
        connection.execute("ROLLBACK")


def _failing(_: Server, shim: Shim, pause: Callable[[], None]) -> None:
    shim.break_disk(True)
    pause()
    shim.break_disk(False)


def _moved(follower: Follower, since_s: float) -> float | None:
    """Seconds until it was told something new."""
    return next((at_s - since_s for at_s, _ in follower.told if at_s > since_s), None)


def _groups(server: Server, batch: str) -> list[int]:
    """How many items each commit settled, as the database noted of itself."""
    seq = row(server.store, batch)["seq"]
    counts = [line[0] for line in server.store.rows(
        "SELECT max(successful_count) FROM proof_revisions WHERE seq = ? GROUP BY revision ORDER BY revision", seq)]
    return [b - a for a, b in zip(counts, counts[1:]) if b > a]


def _once(claims: Claims, upstream: Upstream, names: tuple[str, ...], items: int) -> None:
    asked = {name: Counter(arrival.key for arrival in upstream.of(name)) for name in names}
    twice = {name: sum(times > 1 for times in counts.values()) for name, counts in asked.items()}
    claims.check("each item is asked once", all(len(counts) == items for counts in asked.values()) and not any(twice.values()),
                 ", ".join(f"{name} {sum(counts.values()):,} requests" for name, counts in asked.items())
                 + (f", twice {json.dumps(twice)}" if any(twice.values()) else ""))
