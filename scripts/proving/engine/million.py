"""A million items: each asked once, each final once, in memory that does not grow with them."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ..claim import Claims
from ..contract.memory import peak_mib
from ..lab import Lab
from .job import discarding, final_once, in_file, over, row

# Items, and the peak that is allowed at that many.
SMALL, SMALL_MIB, LARGE_MIB = 50_000, 64.0, 96.0
RATIO_MAX = 1.5
# That a program which is not optimised has more of itself in memory.
DEBUG_MIB = 30.0
WORKERS, GROUP = 64, 500
_KEY = re.compile(rb'"path":"/api/item/(\d+)"')


@dataclass(frozen=True)
class Peak:
    """The most that a server ever held, and how long it took."""

    mib: float
    seconds: float


def million(lab: Lab, claims: Claims, items: int) -> None:
    """A file of keys, and the simulator as fast as it answers."""
    small = min(SMALL, items // 10)
    first = _run(lab, claims, small)
    last = _run(lab, claims, items)
    ratio = last.mib / first.mib
    figures = f"{first.mib:.0f} MiB at {small:,} items, {last.mib:.0f} MiB at {items:,}"
    built = "" if lab.is_optimised else ", debug build"
    # Less than that does not fill the store's caches, which is no growth.
    if small == SMALL:
        claims.check(f"memory does not grow with the items{built}", ratio <= RATIO_MAX, f"{figures}, {ratio:.2f} times")
    # What is not optimised is larger itself.
    beside_mib = 0 if lab.is_optimised else DEBUG_MIB
    claims.check(f"at most {SMALL_MIB + beside_mib:.0f} MiB at {small:,} items and {LARGE_MIB + beside_mib:.0f} at "
                 f"{items:,}{built}", first.mib <= SMALL_MIB + beside_mib and last.mib <= LARGE_MIB + beside_mib, figures)


def _run(lab: Lab, claims: Claims, items: int) -> Peak:
    name = f"items-{items}"
    claims.part(f"{items:,} items from a file")
    sim = lab.simulator(f"{name}/sim")
    source = in_file(lab, name, (str(n) for n in range(items)))
    server = lab.server(name).start("--file-root", lab.place(f"{name}/files"))
    spec = source | discarding(f"{sim.url}/api/item/{{{{ item.key }}}}", requestsPerSecond=100_000, burst=1_000,
                               workers=WORKERS, commitGroupSize=GROUP)
    server.begin_batch(lab.spec(f"{name}/spec", spec), name)
    over(server, name, 60 + items / 100)
    peak = peak_mib(server.pid)
    server.terminate()
    sim.kill()
    final_once(claims, server.store, name, items)
    batch = row(server.store, name)
    seconds = (batch["ended_at"] - batch["started_at"]) / 1e3
    asked = _asked(sim.log_file)
    claims.check(f"{name}: each is asked exactly once, as the upstream's log has it",
                 len(asked) == items and set(asked.values()) == {1} and batch["requests_count"] == items,
                 f"{sum(asked.values()):,} requests for {len(asked):,} keys, {batch['requests_count']:,} by the batch's "
                 f"counter; {seconds:.1f} s, {items / seconds:,.0f} items/s" + ("" if lab.is_optimised else ", debug build"))
    indexes = _ordered(server.store.path, batch["seq"])
    claims.check(f"{name}: the order of results names each item once", indexes == Counter(range(items)),
                 f"{sum(indexes.values()):,} places, {len(indexes):,} items")
    sim.log_file.unlink()
    return Peak(peak, seconds)


def _asked(log: Path) -> Counter[bytes]:
    asked: Counter[bytes] = Counter()
    with log.open("rb") as lines:
        for line in lines:
            found = _KEY.search(line)
            if found:
                asked[found[1]] += 1
    return asked


def _ordered(path: Path, batch: int) -> Counter[int]:
    places: Counter[int] = Counter()
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        for (items,) in connection.execute("SELECT items FROM item_results WHERE batch_seq = ?", (batch,)):
            places.update(json.loads(items))
    return places
