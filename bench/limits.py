#!/usr/bin/env python3
"""Rate-limit fidelity against upstream C (RATE, BURST as given to up.sh; defaults 50 and 20). Judged by the upstream's own log:
  used        time a perfect client needs for what was accepted, over the time taken (1.00 = the whole permit used)
  violations  requests that were answered 429
  limits.py [--n 1270] [NAME ...] [--cmd 'COMMAND']    --cmd: any program that fetches --n keys from upstream C, the product too"""
import argparse, json, os, shlex, shutil, subprocess, sys, time

here = os.path.dirname(os.path.abspath(__file__))
run = os.environ.get("BENCH_RUN", os.path.join(here, ".run"))
rate, burst = float(os.environ.get("RATE", "50")), float(os.environ.get("BURST", "20"))
base = f"http://127.0.0.1:{os.environ.get('PORT_C', '18082')}"
PY, P = os.environ.get("PY", sys.executable), os.path.join(here, "peers")
PACED = os.path.join(os.path.dirname(os.environ.get("FLOOR", os.path.join(here, "floor/target/release/fetch"))), "paced")
NAMES = {
    "floor-gcra-exact": (f"{PACED} base={base} n={{n}} rate={rate} burst={burst}", {}),
    "floor-gcra-burst-1": (f"{PACED} base={base} n={{n}} rate={rate} burst={burst - 1}", {}),
    "floor-gcra-burst-3": (f"{PACED} base={base} n={{n}} rate={rate} burst={burst - 3}", {}),
    "floor-gcra-99.5%-burst-3": (f"{PACED} base={base} n={{n}} rate={rate * .995} burst={burst - 3}", {}),
    "scrapy-delay": (f"{PY} {P}/spider.py", dict(DELAY=1 / rate, SINK="none")),
    "scrapy-autothrottle": (f"{PY} {P}/spider.py", dict(AUTOTHROTTLE=1, SINK="none")),
    "aiolimiter-burst": (f"{PY} {P}/aio.py", dict(LIMIT=f"{rate},{burst}", SINK="none")),
    "aiolimiter-smooth": (f"{PY} {P}/aio.py", dict(LIMIT=f"{rate},1", SINK="none")),
    "celery-rate_limit": (f"{PY} {P}/celery_run.py", dict(RATE_LIMIT=f"{rate:.0f}/s", PAYLOAD="ledger", POOL="prefork", CONC=4)),
    "celery-rate_limit-threads": (f"{PY} {P}/celery_run.py", dict(RATE_LIMIT=f"{rate:.0f}/s", PAYLOAD="ledger", POOL="threads", CONC=16)),
    "curl-rate": (f"curl -s --rate {rate:.0f}/s -K {{curlnull}}", {}),
}


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--n", type=int, default=1270); ap.add_argument("--cmd"); ap.add_argument("--timeout", type=float, default=60); ap.add_argument("names", nargs="*")
    a = ap.parse_args()
    f = lambda k: os.path.join(run, f"{k}-limit.txt")
    g = [sys.executable, os.path.join(here, "gen.py")]
    subprocess.run([*g, "keys", f("keys"), str(a.n)], check=True)
    subprocess.run([*g, "curl", f("curlnull"), str(a.n), base, "-"], check=True)
    for name, (cmd, env) in ([("cmd", (a.cmd, {}))] if a.cmd else [(n, NAMES[n]) for n in a.names or NAMES]):
        out, log = os.path.join(run, "out-limit"), os.path.join(run, "c.log")
        shutil.rmtree(out, ignore_errors=True); os.makedirs(out)
        time.sleep(burst / rate + 0.2)  # the bucket is empty again
        at = os.path.getsize(log)
        e = {**os.environ, "BASE": base, "N": str(a.n), "CONC": "64", "KEYS": f("keys"), "OUT": out, "LIMIT_S": str(a.timeout), **{k: str(v) for k, v in env.items()}}
        try:
            subprocess.run(shlex.split(cmd.format(n=a.n, keys=f("keys"), curlnull=f("curlnull"), out=out)), env=e, cwd=run, timeout=a.timeout + 15, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            pass
        time.sleep(0.2)
        with open(log) as h:
            h.seek(at)
            rec = [l.split()[:2] for l in h if l.strip()]
        t = [float(x) for x, _ in rec]
        ok = [float(x) for x, s in rec if s == "200"]
        bad = sum(s == "429" for _, s in rec)
        span = ok[-1] - t[0] if len(ok) > 1 else 0
        need = max(0.0, (len(ok) - burst - 1) / rate)
        print(json.dumps(dict(name=name, accepted=len(ok), violations=bad, span_s=round(span, 3), used=round(need / span, 4) if span else None)), flush=True)


if __name__ == "__main__":
    main()
