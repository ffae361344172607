"""The same replies, read by another program: yfinance, the parser that most people use."""

from __future__ import annotations

import json
import random
import urllib.parse
from collections import Counter
from pathlib import Path
from typing import Any

from ..claim import Claims, sample
from ..lab import Lab, Ran, Simulator, Trouble
from ..python import installed
from ..store import Store
from .job import job, month_ends, these

# Of PyPI. What reads and computes in it is pinned too.
PINNED = ("yfinance==1.7.0", "curl_cffi==0.16.3", "numpy==2.4.6", "pandas==3.1.1")
COLUMNS = ("open", "high", "low", "close", "adj_close", "volume")
# Codes among which those with splits and dividends are looked for.
POOL = 400
SPAN = "6y"

Bars = dict[tuple[str, str], list[float | None]]
Events = dict[tuple[str, str, str], float]


def peer(lab: Lab, claims: Claims, listed: list[str], count: int, seed: int) -> None:
    """Row by row, to the last digit."""
    claims.part(f"A peer's parser: {PINNED[0]} reads {count} codes, {SPAN} of days, seed {seed}")
    python = installed(lab, PINNED)
    pool = random.Random(seed).sample(listed, POOL)
    sim = lab.simulator("peer", "--seed", seed)
    server = lab.server("peer").start()
    spec = job(these(pool), sim.url, span=SPAN, day=month_ends()[0])
    ran = server.haul("start", "-f", lab.spec("peer/spec", spec), "--id", "peer", "--watch", timeout_s=300)
    server.kill()
    if ran.status != 0:
        raise Trouble(f"haul start --watch: status {ran.status}, {ran.said[-300:]}")
    codes = _chosen(server.store, count)
    window = _window(sim)
    before = len(sim.log().requests)
    ran = lab.run(str(python), Path(__file__).with_name("peer_driver.py"), sim.url, lab.place("peer") / "cache",
                  *window, *codes, timeout_s=300)
    if ran.status != 0:
        raise Trouble(f"the peer ended with status {ran.status}: {ran.said[-500:]}")
    _asked_alike(claims, sim, before, window)
    peer_bars, peer_events = _told(ran)
    own_bars, own_events = _stored(server.store, codes)
    _bars(claims, own_bars, peer_bars, peer_events)
    _events(claims, own_events, peer_events)


def _chosen(store: Store, count: int) -> list[str]:
    """Codes with splits first, then with dividends: both kinds of event, and as many of them as there are."""
    rows = store.rows(
        "SELECT code, sum(kind = 'SPLIT') AS splits, sum(kind = 'DIVIDEND') AS dividends FROM stock_events"
        " GROUP BY code ORDER BY splits DESC, dividends DESC, code LIMIT ?", count)
    splits, dividends = (sum(row[kind] for row in rows) for kind in ("splits", "dividends"))
    if len(rows) < count or not splits or not dividends:
        raise Trouble(f"{len(rows)} of {POOL} codes have events, {splits} splits and {dividends} dividends; {count} codes "
                      "are needed, with some of both")
    return [row["code"] for row in rows]


def _window(sim: Simulator) -> tuple[str, str]:
    query = dict(urllib.parse.parse_qsl(sim.log().charts[0].query))
    return query["period1"], query["period2"]


def _asked_alike(claims: Claims, sim: Simulator, before: int, window: tuple[str, str]) -> None:
    requests = sim.log().requests[before:]
    endpoints = Counter(request.endpoint for request in requests)
    # It first asks for one day of each symbol, for its time zone.
    queries = [dict(urllib.parse.parse_qsl(request.query)) for request in requests if request.endpoint == "chart"]
    histories = [query for query in queries if "period1" in query]
    same = all((query["period1"], query["period2"]) == window for query in histories)
    crumbs = {query.get("crumb") for query in queries}
    claims.check("the peer came with cookie and crumb, and asked for the same window",
                 bool(histories) and same and endpoints["crumb"] > 0 and None not in crumbs,
                 ", ".join(f"{count} {endpoint}" for endpoint, count in sorted(endpoints.items()))
                 + f", crumb {sample(map(str, crumbs))}, window {' to '.join(window)}")


def _told(ran: Ran) -> tuple[Bars, Events]:
    bars: Bars = {}
    events: Events = {}
    for line in ran.stdout.splitlines():
        told = json.loads(line)
        bars |= {(told["code"], day): row for day, row in told["bars"].items()}
        events |= {(told["code"], kind, day): value for kind, day, value in told["events"]}
    return bars, events


def _stored(store: Store, codes: list[str]) -> tuple[Bars, Events]:
    marks = ", ".join("?" * len(codes))
    bars = store.rows(f"SELECT * FROM stock_prices WHERE code IN ({marks})", *codes)
    events = store.rows(f"SELECT * FROM stock_events WHERE code IN ({marks})", *codes)
    return (
        {(row["code"], row["session_date"]): [row[column] for column in COLUMNS] for row in bars},
        {(row["code"], row["kind"], row["date"]): _value(row) for row in events},
    )


def _value(row: Any) -> float:
    """The peer tells a split as one number."""
    return float(row["numerator"] / row["denominator"] if row["kind"] == "SPLIT" else row["amount"])


def _bars(claims: Claims, own: Bars, peer_bars: Bars, events: Events) -> None:
    both = own.keys() & peer_bars.keys()
    unlike: dict[str, list[str]] = {column: [] for column in COLUMNS}
    for key in both:
        for column, mine, theirs in zip(COLUMNS, own[key], peer_bars[key]):
            if mine != theirs:
                unlike[column].append(f"{' '.join(key)}: {mine} here, {theirs} there")
    cells = len(both) * len(COLUMNS)
    for column, differences in unlike.items():
        but_some = f", {len(differences)} differ: {sample(differences)}" if differences else ""
        claims.check(f"{column} is the same", not differences, f"{len(both):,} bars{but_some}")
    # A row that is null in all four prices says nothing about a price, and haul does not store it. The peer drops
    # such a row too, unless an event falls on its day: then it keeps it to tell the event.
    days = {(code, day) for code, _, day in events}
    explained = {key for key in peer_bars.keys() - own.keys()
                 if key in days and all(price is None for price in peer_bars[key][:5])}
    only_there = peer_bars.keys() - own.keys() - explained
    only_here = own.keys() - peer_bars.keys()
    claims.check("the same bars are there", bool(both) and not only_there and not only_here,
                 f"{len(both):,} on both sides, {cells:,} values; {len(explained)} more there, null rows that it keeps "
                 f"for the event on their day; unexplained: {len(only_there)} there, {len(only_here)} here"
                 + (f" ({sample(only_there | only_here)})" if only_there or only_here else ""))


def _events(claims: Claims, own: Events, peer_events: Events) -> None:
    kinds = Counter(kind for _, kind, _ in own)
    differences = {key for key in own.keys() | peer_events.keys() if own.get(key) != peer_events.get(key)}
    shown = [f"{' '.join(key)}: {own.get(key)} here, {peer_events.get(key)} there" for key in differences]
    claims.check("dividends and splits are the same", not differences and {"DIVIDEND", "SPLIT"} <= kinds.keys(),
                 ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items()))
                 + (f"; {len(differences)} differ: {sample(shown)}" if differences else ""))
