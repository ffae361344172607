#!/usr/bin/env python3
"""How far the told end of a batch is from its end: eta.py [--runs 3] [--items 1000] [NAME ...]; one JSON line a name and run.

  steady   50 requests a second, and nothing happens
  hold     the same; at 40 % the upstream answers 429 with Retry-After: 6 to all that is sent within a second
  retries  the same; 4 % of the requests fail in passing (5xx, 429, cut bodies, stalls of a second) and are repeated

haul-sim is the upstream and has the list of issues. Each name has a server and an upstream of its own and they run side by side,
for the rate keeps each of them at some per cent of a core. Twice a second the batch is asked for; error is |told - end| by the time that
was left, of samples between 10 % and 90 % of the run. missing: samples in it that told no end. HAULD, HAUL and HAUL_SIM are the programs."""
import argparse, concurrent.futures, datetime, json, os, shutil, statistics, subprocess, sys, time, urllib.request

from haul import RELEASE, Server, started

HERE = os.path.dirname(os.path.abspath(__file__))
RUN = os.environ.get("BENCH_RUN", os.path.join(HERE, ".run"))
SIM = os.environ.get("HAUL_SIM", os.path.join(RELEASE, "haul-sim"))
LIST = "/markets/statistics-equities/misc/tvdivq0000001vg2-att/data_j.xls"
NAMES = {"steady": (), "hold": (), "retries": ("--faults", "0.04", "--stall", "1s")}


class Sim:
    """haul-sim with so many issues."""

    def __init__(self, out, items, *args):
        port_file, day = os.path.join(out, "sim-port"), datetime.date.today() - datetime.timedelta(7)
        self.log = open(os.path.join(out, "sim.log"), "wb")
        self.process = subprocess.Popen([SIM, "serve", "--port-file", port_file, "--items", str(items), "--list-date", str(day), *args], stdout=self.log, stderr=self.log)
        limit = time.monotonic() + 20
        while not (os.path.exists(port_file) and open(port_file).read().strip()):
            if self.process.poll() is not None or time.monotonic() > limit:
                raise SystemExit(f"haul-sim did not start; see {self.log.name}")
            time.sleep(0.01)
        self.base = "http://127.0.0.1:" + open(port_file).read().strip()

    def refuse(self, how):
        urllib.request.urlopen(urllib.request.Request(f"{self.base}/_sim/refuse?how={how}", method="POST"), timeout=10).close()

    def stop(self):
        self.process.terminate()
        self.process.wait()


def seconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def follow(server, sim, name, batch):
    """What was told, [(when, the end that was told)], and the batch as it ended."""
    told, refused = [], None
    while True:
        began = time.time()
        out, err = server.haul("get", batch, "-o", "json").communicate()
        now = (began + time.time()) / 2
        if not out:
            raise SystemExit(err.decode())
        got = json.loads(out)
        got = got.get("batch", got)
        if got["state"] in ("STATE_COMPLETED", "STATE_FAILED", "STATE_STOPPED"):
            return told, got
        progress = got.get("progress", {})
        end = progress.get("estimatedCompletionTime")
        told.append((now, end and seconds(end)))
        done, total = int(progress.get("processedItems", 0)), int(progress.get("totalItems", 0))
        if name == "hold":
            if refused is None and total and done >= 0.4 * total:
                sim.refuse("all,6")
                refused = now
            elif refused and now - refused > 1:
                sim.refuse("none")
                refused = float("inf")
        time.sleep(max(0, 0.5 - (time.time() - began)))


def run(name, items):
    out = os.path.join(RUN, f"out-eta-{name}")
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out)
    sim = Sim(out, items, *NAMES[name])
    try:
        server = Server(out, os.path.join(out, "none"))
        try:
            batch = started(server, json.dumps(dict(
                displayName="bench", batchType="bench", asOf=dict(timeZone="Asia/Tokyo"), jpxListing=dict(uri=sim.base + LIST),
                yahooChart=dict(baseUrl=sim.base, range="1mo"), fetch=dict(workers=32, requestsPerSecond=50, burst=20))))
            told, batch = follow(server, sim, name, batch)
        finally:
            server.stop()
    finally:
        sim.stop()
    shutil.rmtree(out, ignore_errors=True)
    began, ended = seconds(batch["startTime"]), seconds(batch["endTime"])
    within = [(at, end) for at, end in told if 0.1 <= (at - began) / (ended - began) <= 0.9]
    errors = sorted(abs(end - ended) / (ended - at) for at, end in within if end)
    median = statistics.median(errors) if errors else None
    return dict(name=f"eta-{name}", state=batch["state"], wall=round(ended - began, 2), retried=int(batch["progress"].get("retriedAttempts", 0)), missing=len(within) - len(errors),
                median=median and round(median, 4), p90=errors[int((len(errors) - 1) * 0.9)] if errors else None, errors=[round(e, 4) for e in errors])


def main():
    ap = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
    ap.add_argument("--runs", type=int, default=3)
    ap.add_argument("--items", type=int, default=750)
    ap.add_argument("names", nargs="*")
    a = ap.parse_args()
    for _ in range(a.runs):
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for line in pool.map(lambda name: run(name, a.items), a.names or NAMES):
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
