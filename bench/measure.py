#!/usr/bin/env python3
"""Times peers and floor programs from outside: wall, user+sys CPU, peak RSS (wait4: the child and the children it waited for).

  measure.py list
  measure.py [--runs 5] [--items 3800] [--conc 64] [--timeout 300] [--env K=V]... NAME [NAME ...]   (several names take turns: A B A B)
  measure.py [...] --cmd 'COMMAND'                                                                   (any other program)

Prints one JSON line a name: medians with [min, max], and the wall, CPU and peak RSS of each run. A program that prints its own JSON line with "wall" (floor, celery) has that
window used instead of the whole process. Upstream A must be up (up.sh); PORT_A and BENCH_RUN as there; PY names the Python with the peers."""
import argparse, json, os, shlex, shutil, statistics, subprocess, sys, time

def busy():
    """(busy seconds of all processors, the upstream's CPU seconds) so far; what is neither client nor upstream is foreign load."""
    v = [int(x) for x in open("/proc/stat").readline().split()[1:9]]
    t = os.sysconf("SC_CLK_TCK")
    up = 0.0
    try:
        p = open(os.path.join(run, "nginx.pid")).read().strip()
        for k in [p] + open(f"/proc/{p}/task/{p}/children").read().split():
            f = open(f"/proc/{k}/stat").read().rsplit(")", 1)[1].split()
            up += (int(f[11]) + int(f[12])) / t
    except (OSError, IndexError):
        pass
    return (sum(v) - v[3] - v[4]) / t, up


def quiet(limit=20.0, share=0.10):
    """Waits, at most limit seconds, for the machine to be idle."""
    t = time.monotonic()
    while time.monotonic() - t < limit:
        a = busy()[0]; time.sleep(0.4)
        if (busy()[0] - a) / 0.4 < share: return


here = os.path.dirname(os.path.abspath(__file__))
run = os.environ.get("BENCH_RUN", os.path.join(here, ".run"))
port = os.environ.get("PORT_A", "18080")
PY = os.environ.get("PY", sys.executable)
FLOOR = os.environ.get("FLOOR", os.path.join(here, "floor/target/release/fetch"))
PG = os.environ.get("PG", "postgres://postgres@127.0.0.1:18432/postgres")
P = os.path.join(here, "peers")


def peer(script, **env):
    return (f"{PY} {P}/{script}", env)


def fl(args):
    return (f"{FLOOR} base={{base}} keys={{keys}} n={{n}} conc={{conc}} {args}", {})


def product(payload, more=""):
    return (f"{sys.executable} {here}/haul.py --payload {payload} --base {{base}} --keys {{keys}} --conc {{conc}} --out {{out}} {more}", {})


# The best known way of each library to write haul's own rows: bench/README.md has the others.
PLANS = {"sqlx": "select,250,oneway,groupcheck,together50", "rusqlite": "select,250"}

PEERS = {
    "floor-reqwest": fl("client=reqwest"), "floor-reqwest-ct": fl("client=reqwest rt=0"),
    "floor-hyper": fl("client=hyper"), "floor-hyper-ct": fl("client=hyper rt=0"), "floor-parse": fl("sink=parse"),
    **{f"floor-{s}-{p}-b{b}-{y}": fl(f"sink={s} payload={p} batch={b} sync={y} ins={'multi' if s == 'sqlx' else 'row'} db={{out}}/floor.db")
       for s in ("sqlx", "rusqlite") for p in ("ledger", "raw", "rows") for b in (1, 10, 50, 200) for y in ("NORMAL", "FULL")},
    **{f"floor-{s}-rows-{i}-b50": fl(f"sink={s} payload=rows batch=50 ins={i} db={{out}}/floor.db") for s in ("sqlx", "rusqlite") for i in ("row", "multi", "json")},
    **{f"floor-pg-{p}-{i}-b{b}-w{w}": fl(f"sink=pg payload={p} batch={b} ins={i} writers={w} db={PG}") for p in ("raw", "rows") for i in ("row", "unnest", "copy") for b in (1, 10, 50, 200) for w in (1, 2, 4)},
    **{f"floor-product-{s}-{p}": fl(f"sink=product-{s} payload={p} batch=50 sync=FULL plan={w} db={{out}}/floor.db")
       for s, w in PLANS.items() for p in ("ledger", "raw", "rows", "rows-kept")},
    **{f"floor-product-{s}-{p}-NORMAL": fl(f"sink=product-{s} payload={p} batch=50 sync=NORMAL plan={w} db={{out}}/floor.db")
       for s, w in PLANS.items() for p in ("ledger", "raw", "rows")},
    **{f"haul-{p}": product(p) for p in ("ledger", "raw", "rows", "rows-kept")},
    **{f"haul-rows-watched-{n}": product("rows", f"--watchers {n}") for n in (100, 1000)},
    "haul-rows-log-warn": product("rows", "--log warn"), "haul-ledger-log-warn": product("ledger", "--log warn"), "haul-ledger-1mo": product("ledger", "--range 1mo"),
    "scrapy-nosink": peer("spider.py", SINK="none"),
    **{f"scrapy-{p}-b{b}": peer("spider.py", PAYLOAD=p, BATCH=b) for p in ("raw", "rows") for b in (1, 50)},
    "aiohttp-nosink": peer("aio.py", SINK="none"), "httpx-nosink": peer("aio.py", CLIENT="httpx", SINK="none"),
    **{f"aiohttp-{p}-b{b}": peer("aio.py", PAYLOAD=p, BATCH=b) for p in ("raw", "rows") for b in (1, 50)},
    **{f"httpx-{p}-b{b}": peer("aio.py", CLIENT="httpx", PAYLOAD=p, BATCH=b) for p in ("raw", "rows") for b in (1, 50)},
    "celery-prefork-raw": peer("celery_run.py", PAYLOAD="raw"), "celery-prefork-rows": peer("celery_run.py", PAYLOAD="rows"),
    "celery-threads-raw": peer("celery_run.py", PAYLOAD="raw", POOL="threads"), "celery-threads-rows": peer("celery_run.py", PAYLOAD="rows", POOL="threads"),
    "yfinance-warm": peer("yf.py", TZ_CACHE="warm"), "yfinance-cold": peer("yf.py", TZ_CACHE="cold"), "yfinance-warm-sqlite": peer("yf.py", TZ_CACHE="warm", SINK="sqlite"),
    "aria2-file": ("aria2c -q -i {urls} -d {out} -j{conc} -x1 --file-allocation=none --max-download-result=0", {}),
    "aria2-rpc": peer("aria2_rpc.py"),
    "curl-parallel-null": ("curl -s --parallel --parallel-immediate --parallel-max {conc} -K {curlnull}", {}),
    "curl-parallel-files": ("curl -s --parallel --parallel-immediate --parallel-max {conc} -K {curl}", {}),
    "wget2-files": ("wget2 -q --no-robots -i {urlsplain} --max-threads={conc} -P {out}", {}),
}


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--runs", type=int, default=5); ap.add_argument("--items", type=int, default=3800); ap.add_argument("--conc", type=int, default=64)
    ap.add_argument("--timeout", type=float, default=300); ap.add_argument("--warmup", type=int, default=1); ap.add_argument("--env", action="append", default=[])
    ap.add_argument("--quiet", type=float, default=20); ap.add_argument("--symbols", type=int, default=50000, help="keys with a reply of their own; the chart connector needs one for each")
    ap.add_argument("--cmd"); ap.add_argument("--base", default=f"http://127.0.0.1:{port}"); ap.add_argument("--keep", action="store_true"); ap.add_argument("names", nargs="*")
    a = ap.parse_args()
    if a.names == ["list"]:
        print("\n".join(PEERS)); return
    out, keys = os.path.join(run, "out"), os.path.join(run, f"keys-{a.items}.txt")
    gen = lambda *x: subprocess.run([sys.executable, os.path.join(here, "gen.py"), *map(str, x)], check=True)
    f = dict(keys=keys, urls=f"{run}/urls-{a.items}.txt", urlsplain=f"{run}/plain-{a.items}.txt", curl=f"{run}/curl-{a.items}.txt", curlnull=f"{run}/curlnull-{a.items}.txt")
    sub = dict(f, base=a.base, n=a.items, conc=a.conc, out=out)
    todo = [(n, *PEERS[n]) for n in a.names] + ([("cmd", a.cmd, {})] if a.cmd else [])
    inputs = dict(urls=("urls", a.base, "out"), urlsplain=("urls", a.base), curl=("curl", a.base, out), curlnull=("curl", a.base, "-"))
    gen("symbols", os.path.join(run, "bodies"), min(a.items, a.symbols)); gen("keys", keys, a.items)
    for name, (kind, *more) in inputs.items():
        if any("{%s}" % name in cmd for _, cmd, _ in todo): gen(kind, f[name], a.items, *more)
    res = {n: [] for n, *_ in todo}
    for i in range(-a.warmup, a.runs):
        for name, cmd, env in todo:
            shutil.rmtree(out, ignore_errors=True); os.makedirs(out)
            e = {**os.environ, "BASE": a.base, "N": str(a.items), "CONC": str(a.conc), "KEYS": keys, "OUT": out, **{k: str(v) for k, v in env.items()}, **dict(x.split("=", 1) for x in a.env)}
            log = open(os.path.join(run, "last.err"), "wb")
            quiet(a.quiet)
            b0, t0 = busy(), time.monotonic()
            p = subprocess.Popen(shlex.split(cmd.format(**sub)), env=e, stdout=subprocess.PIPE, stderr=log, cwd=run)
            import threading
            k = threading.Timer(a.timeout, p.kill); k.start()
            o = p.stdout.read()
            _, st, ru = os.wait4(p.pid, 0)
            p.returncode = st
            k.cancel()
            el, b1 = time.monotonic() - t0, busy()
            r = dict(wall=time.monotonic() - t0, cpu=ru.ru_utime + ru.ru_stime, rss_mb=ru.ru_maxrss / 1024, rc=st)
            r["up_per_k"] = (b1[1] - b0[1]) * 1000 / a.items
            r["foreign"] = max(0.0, (b1[0] - b0[0]) - (b1[1] - b0[1]) - r["cpu"]) / el
            try:
                own = json.loads(o.decode().strip().splitlines()[-1])
                if "wall" in own: r.update({k: own[k] for k in ("wall", "cpu", "rss_mb", "ok", "stored", "broker_cpu_per_k") if k in own})
            except (ValueError, IndexError):
                pass
            files = sum(len(x) for _, _, x in os.walk(out))
            if files > 10: r["stored"] = files
            db = os.path.join(out, "items.db")
            if os.path.exists(db):
                import sqlite3
                d = sqlite3.connect(db)
                try: r["stored"] = d.execute("select count(*) from item").fetchone()[0]
                except sqlite3.Error: r["stored"] = d.execute("select count(*) from price").fetchone()[0]
                d.close()
            if i >= 0: res[name].append(r)
    shutil.rmtree(out, ignore_errors=True)
    for name, rs in res.items():
        def mm(v, d): v = list(v); return [round(statistics.median(v), d), round(min(v), d), round(max(v), d)]
        line = dict(name=name, items=a.items, conc=a.conc, runs=len(rs), items_s=mm((a.items / r["wall"] for r in rs), 0), wall=mm((r["wall"] for r in rs), 3),
                    cpu_per_k=mm((r["cpu"] * 1000 / a.items for r in rs), 3), rss_mb=mm((r["rss_mb"] for r in rs), 1),
                    upstream_cpu_per_k=mm((r["up_per_k"] for r in rs), 3), foreign_cpu=mm((r["foreign"] for r in rs), 2), runs_wall=[r["wall"] for r in rs], runs_cpu=[r["cpu"] for r in rs], runs_rss_mb=[round(r["rss_mb"], 1) for r in rs], rc=[r["rc"] for r in rs if r["rc"]], stored=sorted({r.get("stored") for r in rs if "stored" in r}))
        first = next(iter(res))
        if name != first:  # paired by round, so drift of the machine cancels
            line["rate_vs_" + first] = mm((x["wall"] and y["wall"] / x["wall"] for x, y in zip(rs, res[first])), 3)
            line["cpu_vs_" + first] = mm((x["cpu"] / y["cpu"] for x, y in zip(rs, res[first]) if y["cpu"]), 2)
        if "broker_cpu_per_k" in rs[0]: line["broker_cpu_per_k"] = mm((r["broker_cpu_per_k"] for r in rs), 3)
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
