"""The demo at full size: report, tables and the simulator's log tell the same story."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..claim import Claims, but
from ..issue_list import codes
from ..lab import Lab, Ran, Trouble
from ..request_log import PUSH_BACKS, RequestLog
from ..store import FINAL, Figures, Item, Store

MEMBERS = {
    "state", "total", "succeeded", "failed", "skipped", "canceled", "records", "requests", "elapsed_s", "store",
}
SECONDS_MAX = 60.0


@dataclass(frozen=True)
class Demo:
    """One run of the demo and its witnesses."""

    ran: Ran
    result: dict[str, Any]
    store: Store
    log: RequestLog
    listed: list[str]
    items: list[Item]

    @property
    def told(self) -> Figures:
        """What the JSON object says."""
        names = ("total", "succeeded", "failed", "skipped", "canceled", "records")
        return Figures(*(self.result[name] for name in names))


def without_faults(lab: Lab, claims: Claims, listed: list[str], items: int | None) -> None:
    """Every request succeeds."""
    claims.part("Demo, 500 requests/s, no faults")
    demo = _run(lab, claims, "demo", listed, items, "--rate", 500, "--faults", 0)
    seconds = demo.ran.seconds
    claims.check("exit status 0", demo.ran.status == 0, str(demo.ran.status))
    claims.check("ends in under a minute", seconds < SECONDS_MAX, f"{seconds:.1f} s")
    _ends_and_agrees(claims, demo)
    twice = {key for key, requests in demo.log.by_key.items() if len(requests) != 1}
    claims.check("each key asked exactly once", not twice, f"{len(demo.log.by_key):,} keys{but(twice)}")


def with_faults(lab: Lab, claims: Claims, listed: list[str], items: int | None, seed: int) -> None:
    """A twentieth of the requests fails in passing, a hundredth of the codes for good."""
    claims.part(f"Demo, 500 requests/s, faults 0.05, seed {seed}")
    demo = _run(lab, claims, "demo-faults", listed, items, "--rate", 500, "--faults", 0.05, "--seed", seed)
    claims.check("exit status 0", demo.ran.status == 0, f"{demo.ran.status}, after {demo.ran.seconds:.1f} s")
    _ends_and_agrees(claims, demo)

    failed = {item.key for item in demo.items if item.status == "FAILED"}
    permanent = demo.log.permanent_keys
    claims.check(
        "failed items are exactly those the simulator made permanent", failed == permanent and len(permanent) > 0,
        f"{len(failed)} failed, {len(permanent)} permanent{but(failed ^ permanent)}",
    )
    others = {item.key for item in demo.items if item.status not in ("SUCCEEDED", "FAILED")}
    claims.check("every other item succeeded", not others, f"{len(demo.items) - len(failed):,} items{but(others)}")
    _attempts(claims, demo)


def _run(lab: Lab, claims: Claims, name: str, listed: list[str], items: int | None, *flags: Any) -> Demo:
    data = lab.place(name) / "data"
    size = [] if items is None else ["--items", items]
    ran = lab.run("hauld", "demo", *size, *flags, "-o", "json", "--data-dir", data, timeout_s=300)
    try:
        result = json.loads(ran.stdout)
        whole = isinstance(result, dict) and MEMBERS <= result.keys()
    except ValueError:
        raise Trouble(f"standard output is no JSON object, status {ran.status}: {ran.said[-300:]}") from None
    claims.check("standard output is one JSON object", whole, f"{len(result)} members")
    path = Path(result["store"].removeprefix("sqlite:"))
    store, log = Store(path), RequestLog.read(data / "simulator.jsonl")
    return Demo(ran, result, store, log, listed[:items], store.items())


def _ends_and_agrees(claims: Claims, demo: Demo) -> None:
    open_items = [item.key for item in demo.items if item.status not in FINAL]
    faults = demo.store.slice_faults()
    ended = demo.result["state"] == demo.store.state == "COMPLETED" and not open_items and not faults
    claims.check("every item final, every slice done", ended,
                 f"{len(demo.items):,} items{but(open_items + faults)}")

    claims.agree("counts: report = counters = recount = views", {
        "report": demo.told,
        "batch_executions": demo.store.counters(),
        "recount": demo.store.recount(),
        "batch_progress": demo.store.progress_view(),
        "batch_items": demo.store.items_view(),
    })
    misfits = demo.store.misfits()
    claims.check("rows of each code = records of its item", not misfits,
                 f"{demo.store.dataset_rows():,} rows{but(misfits)}")
    claims.agree("requests: report = counter = lines of the log", {
        "report": demo.result["requests"], "batch_executions": demo.store.requests, "log": len(demo.log.requests),
    })
    claims.agree("keys: list = items = asked for", {
        "list": set(demo.listed), "items": {item.key for item in demo.items}, "log": demo.log.keys,
    })


def _attempts(claims: Claims, demo: Demo) -> None:
    unlike, above, causeless = set(), set(), set()
    attempts_max = demo.store.attempts_max
    for item in demo.items:
        requests = demo.log.by_key.get(item.key, [])
        faults = [request.fault for request in requests if request.fault]
        broken = faults.count("reset")
        told = item.attempt_requests
        if "SUCCEEDED" not in item.attempt_outcomes and item.status == "SUCCEEDED":
            # A first-try success leaves no row of its own, nor does its quick try.
            told += 1 + (broken if not item.attempt_outcomes else 0)
        if told != len(requests):
            unlike.add(item.key)
        if len(requests) > attempts_max + broken + sum(fault in PUSH_BACKS for fault in faults):
            above.add(item.key)
        if len(requests) != len(faults) + 1:
            causeless.add(item.key)
    told_rows = sum(len(item.attempt_outcomes) for item in demo.items)
    claims.check("attempts told = requests in the log, key by key", not unlike,
                 f"{told_rows:,} attempts told{but(unlike)}")
    longest = max(map(len, demo.log.by_key.values()))
    claims.check("no key asked more often than its policy allows", not above,
                 f"{longest} times at most{but(above)}")
    claims.check("asked again only after a fault, and once for each", not causeless,
                 f"{len(demo.log.charts) - len(demo.log.by_key):,} repeats{but(causeless)}")


def list_codes(lab: Lab) -> list[str]:
    """Codes of the list that the simulator serves."""
    path = lab.folder / "data_j.xls"
    made = lab.run("haul-sim", "list", "--out", path, "--seed", 1, "--date", "2026-10-31")
    if made.status != 0:
        raise Trouble(f"haul-sim list: {made.said}")
    return codes(path)
