#!/usr/bin/env python3
"""Writes the bench's inputs: chart-like JSON bodies and key lists. Deterministic (fixed seed).

  gen.py bodies DIR [COUNT]     DIR/1y/N.json (250 rows, ~18 KB) and DIR/1mo/N.json (22 rows, ~2 KB)
  gen.py symbols DIR N          DIR/1y/s/KEY.json of the first N keys: one of those bodies, as the reply about that symbol
  gen.py keys FILE N            N distinct ticker-like keys, one a line
  gen.py urls FILE N BASE       the same keys as full URLs (aria2c -i, wget2 -i)
  gen.py curl FILE N BASE OUT   the same as a curl -K config (OUT: a directory, or - to discard)
"""
import json, os, random, sys

SUFFIX = ["", ".L", ".DE", ".PA", ".T", ".HK", ".TO", ".AX"]


def key(i):
    s, j = "", i
    while j or len(s) < 4:
        s, j = chr(65 + j % 26) + s, j // 26
    return s + SUFFIX[i % len(SUFFIX)]


def url(base, i):
    return f"{base}/v8/finance/chart/{key(i)}?range=1y&interval=1d"


def body(rng, rows):
    t0, p = 1_700_000_000 - 1_700_000_000 % 86400 + 52200, rng.uniform(5, 900)
    ts, o, h, l, c, a, v = [], [], [], [], [], [], []
    for i in range(rows):
        d = i + 2 * (i // 5)
        p = max(1.0, p * (1 + rng.gauss(0, 0.015)))
        op = p * (1 + rng.gauss(0, 0.004))
        ts.append(t0 + d * 86400)
        o.append(round(op, 6)); c.append(round(p, 6))
        h.append(round(max(op, p) * 1.004, 6)); l.append(round(min(op, p) * 0.996, 6))
        a.append(round(p * 0.9971, 6)); v.append(rng.randrange(10_000, 90_000_000))
    meta = dict(currency="USD", symbol="BENCH", exchangeName="NMS", fullExchangeName="NasdaqGS", instrumentType="EQUITY",
                firstTradeDate=345479400, regularMarketTime=ts[-1], hasPrePostMarketData=True, gmtoffset=-18000, timezone="EST",
                exchangeTimezoneName="America/New_York", regularMarketPrice=c[-1], fiftyTwoWeekHigh=max(h), fiftyTwoWeekLow=min(l),
                regularMarketDayHigh=h[-1], regularMarketDayLow=l[-1], regularMarketVolume=v[-1], chartPreviousClose=c[0], priceHint=2,
                currentTradingPeriod={k: dict(timezone="EST", start=ts[-1], end=ts[-1] + 23400, gmtoffset=-18000) for k in ("pre", "regular", "post")},
                dataGranularity="1d", range="1y", validRanges=["1d", "5d", "1mo", "3mo", "6mo", "1y", "2y", "5y", "10y", "ytd", "max"])
    return {"chart": {"result": [{"meta": meta, "timestamp": ts, "indicators": {
        "quote": [{"low": l, "open": o, "volume": v, "high": h, "close": c}], "adjclose": [{"adjclose": a}]}}], "error": None}}


def main(a):
    if a[0] == "bodies":
        rng = random.Random(20260101)
        for name, rows in (("1y", 250), ("1mo", 22)):
            os.makedirs(os.path.join(a[1], name), exist_ok=True)
            for i in range(int(a[2]) if len(a) > 2 else 16):
                with open(os.path.join(a[1], name, f"{i}.json"), "w") as f:
                    json.dump(body(rng, rows), f, separators=(",", ":"))
        return
    n = int(a[2])
    if a[0] == "symbols":
        with_names = []
        for i in range(16):
            with open(os.path.join(a[1], "1y", f"{i}.json")) as f:
                with_names.append(f.read())
        folder = os.path.join(a[1], "1y", "s")
        os.makedirs(folder, exist_ok=True)
        there = set(os.listdir(folder))
        for i in range(n):
            name = key(i) + ".json"
            if name not in there:
                with open(os.path.join(folder, name), "w") as f:
                    f.write(with_names[i % 16].replace('"symbol":"BENCH"', f'"symbol":"{key(i)}"', 1))
        return
    with open(a[1], "w") as f:
        for i in range(n):
            if a[0] == "keys":
                f.write(key(i) + "\n")
            elif a[0] == "urls":
                f.write(url(a[3], i) + f"\n  out={i}.json\n" if len(a) > 4 else url(a[3], i) + "\n")
            elif a[0] == "curl":
                f.write(f'url = "{url(a[3], i)}"\noutput = "{"/dev/null" if a[4] == "-" else os.path.join(a[4], str(i) + ".json")}"\n')


main(sys.argv[1:])
