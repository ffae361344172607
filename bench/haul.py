#!/usr/bin/env python3
"""haul as a program that measure.py and limits.py can time: starts hauld on a fresh data folder, submits one batch, waits for its
end, prints one JSON line.

  haul.py --payload ledger|raw|rows|rows-kept --base URL --keys FILE --conc W --out DIR [--watchers N]
  haul.py --one N | --fanout N ...      what the control plane costs: one item, many watchers

wall: from the batch's creation (with --watchers from its start, for it waits for them) to its end, both as the store has them: the
commit that ends a batch is the last durable one.
cpu, rss_mb: user + sys from just before the submit to just after the end, and peak, of the server's process alone.
stored: rows that the store has afterwards, as proof. Programs: HAULD and HAUL, by default those of ../target/release.

ledger is an http_fetch whose body is discarded, raw one whose body is stored, rows the chart connector that keeps no body,
rows-kept the same with the body beside the rows, as by default. No check is off: gen.py makes each symbol its own reply, and
as_of is the day at which the replies end."""
import argparse, contextlib, json, os, shutil, signal, sqlite3, subprocess, sys, time

HERE = os.path.dirname(os.path.abspath(__file__))
RELEASE = os.path.join(HERE, "..", "target", "release")
HAULD = os.environ.get("HAULD", os.path.join(RELEASE, "hauld"))
HAUL = os.environ.get("HAUL", os.path.join(RELEASE, "haul"))
TICK = os.sysconf("SC_CLK_TCK")
# The day after the last bar of gen.py.
AS_OF = "2024-10-29"


def spec(a):
    fetch = dict(workers=a.conc, commitGroupSize=a.group, requestsPerSecond=a.rate, burst=a.burst)
    if a.payload in ("ledger", "raw"):
        url = a.base + "/v8/finance/chart/{{ item.key }}?range=" + a.range + "&interval=1d"
        placement = "PLACEMENT_DISCARD" if a.payload == "ledger" else "PLACEMENT_STORE"
        # The reply's row is the only one that may hold the body.
        fetch["keepBodies"] = "0s"
        connector = dict(httpFetch=dict(urlTemplate=url, body=dict(placement=placement)))
    else:
        connector = dict(yahooChart=dict(baseUrl=a.base, symbolSuffix="", range="1y"))
        if a.payload == "rows":
            fetch["keepBodies"] = "0s"
    return dict(displayName="bench", batchType="bench", asOf=dict(date=AS_OF, timeZone="America/New_York"),
                file=dict(uri="file://" + os.path.realpath(a.keys), format="FORMAT_LINES"), fetch=fetch, **connector)


def cpu(pid):
    """User + sys seconds of a process."""
    f = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(f[11]) + int(f[12])) / TICK


def status(pid, name):
    """A figure of /proc/PID/status, in MiB."""
    return int(next(l for l in open(f"/proc/{pid}/status") if l.startswith(name)).split()[1]) / 1024


class Server:
    """hauld on a data folder of its own."""

    def __init__(self, out, keys, log="info"):
        self.data, port_file = os.path.join(out, "data"), os.path.join(out, "port")
        # What a run that was cut off has left.
        shutil.rmtree(self.data, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            os.remove(port_file)
        self.log = open(os.path.join(out, "hauld.log"), "wb")
        env = {k: v for k, v in os.environ.items() if not k.startswith("HAUL_")}
        self.process = subprocess.Popen(
            [HAULD, "serve", "--listen", "127.0.0.1:0", "--port-file", port_file, "--data-dir", self.data, "--log", log,
             "--file-root", os.path.dirname(os.path.realpath(keys)), "--allow-target", "127.0.0.1"],
            env=env, stdout=self.log, stderr=self.log)
        limit = time.monotonic() + 20
        while not (os.path.exists(port_file) and open(port_file).read().strip()):
            if self.process.poll() is not None or time.monotonic() > limit:
                raise SystemExit(f"hauld did not start; see {self.log.name}")
            time.sleep(0.01)
        self.address = "127.0.0.1:" + open(port_file).read().strip()
        self.pid = self.process.pid

    def haul(self, *args, **more):
        return subprocess.Popen([HAUL, "--server", "http://" + self.address, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)

    def submit(self, text, *args):
        """Starts a batch; answers with the process that follows it."""
        p = self.haul("start", "-f", "-", "-o", "json", *args, stdin=subprocess.PIPE)
        p.stdin.write(text.encode())
        p.stdin.close()
        p.stdin = None
        return p

    def query(self, sql, *args):
        with contextlib.closing(sqlite3.connect(f"file:{self.data}/haul.db?mode=ro", uri=True)) as db:
            return db.execute(sql, args).fetchall()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


STORED = {"rows": "SELECT count(*) FROM stock_prices", "rows-kept": "SELECT count(*) FROM stock_prices",
          "raw": "SELECT count(*) FROM responses WHERE body IS NOT NULL", "ledger": "SELECT count(*) FROM batch_execution_details WHERE status = 'SUCCEEDED'"}


def beside(name):
    """A program of floor/."""
    return os.path.join(os.path.dirname(os.environ.get("FLOOR", os.path.join(HERE, "floor", "target", "release", "fetch"))), name)


def started(server, text):
    """Starts a batch and answers with its name."""
    out, err = server.submit(text).communicate()
    if not out:
        raise SystemExit(err.decode())
    return json.loads(out)["batch"]["name"]


def one(server, a):
    subprocess.run([beside("one"), f"addr={server.address}", f"base={a.base}", f"n={a.one}", f"date={AS_OF}"], check=True)


def fanout(server, a):
    a.rate, a.burst, a.group, a.conc, a.payload = a.hz, 1, 1, 1, "rows"
    name = started(server, json.dumps(spec(a)))
    subprocess.run([beside("fanout"), "watch", f"addr={server.address}", f"subs={a.fanout}", f"conns={a.conns}", f"secs={a.secs}", f"pid={server.pid}",
                    f"haul={name}", f"db={server.data}/haul.db"], check=True, timeout=a.secs + 120)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--payload", default="rows", choices=STORED)
    ap.add_argument("--base", required=True)
    ap.add_argument("--keys", required=True)
    ap.add_argument("--conc", type=int, default=64)
    ap.add_argument("--out", required=True)
    ap.add_argument("--range", default="1y", choices=("1y", "1mo"), help="length of the replies, ledger and raw")
    ap.add_argument("--group", type=int, default=50)
    ap.add_argument("--rate", type=float, default=1_000_000)
    ap.add_argument("--burst", type=int, default=100_000)
    ap.add_argument("--batches", type=int, default=1, help="batches over the same keys, side by side")
    ap.add_argument("--log", default="info")
    ap.add_argument("--watchers", type=int, default=0, help="streams that follow the batch by the client of floor/, 10 updates a second at most")
    ap.add_argument("--one", type=int, default=0, help="so many batches of one item instead, one after the other: milliseconds from submit to told end")
    ap.add_argument("--fanout", type=int, default=0, help="instead, so many streams on a batch that commits --hz items a second: latency from the commit")
    ap.add_argument("--hz", type=float, default=9.0)
    ap.add_argument("--secs", type=int, default=8)
    ap.add_argument("--conns", type=int, default=4)
    ap.add_argument("--keep", action="store_true", help="leave the data folder")
    a = ap.parse_args()
    os.makedirs(a.out, exist_ok=True)
    server = Server(a.out, a.keys, a.log)
    if a.one or a.fanout:
        try:
            return (one if a.one else fanout)(server, a)
        finally:
            server.stop()
            shutil.rmtree(server.data, ignore_errors=True)
    try:
        text, c0 = json.dumps(spec(a)), cpu(server.pid)
        if a.watchers:
            # It waits until all of them are there.
            soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 5))
            first = started(server, json.dumps(dict(spec(a), notBefore=soon)))
            streams = subprocess.Popen([beside("fanout"), "watch", f"addr={server.address}", f"subs={a.watchers}", "conns=4", "secs=0", f"pid={server.pid}", f"haul={first}"], stdout=subprocess.DEVNULL)
            followers = [server.haul("watch", first)]
        else:
            streams, followers = None, [server.submit(text, "--watch") for _ in range(a.batches)]
        failed = [err.decode() for err in (f.communicate()[1] for f in followers) if err]
        if streams:
            streams.wait(60)
        c1, peak = cpu(server.pid), status(server.pid, "VmHWM")
        rows = server.query("SELECT status, successful_count, iif(not_before_at IS NULL, created_at, started_at), ended_at FROM batch_executions")
        if len(rows) != a.batches or any(row[0] != "COMPLETED" for row in rows):
            raise SystemExit(f"no batch, or one that did not complete: {rows} {failed}")
        ok = sum(row[1] for row in rows)
        wall = (max(row[3] for row in rows) - min(row[2] for row in rows)) / 1000
        stored = server.query(STORED[a.payload])[0][0]
    finally:
        server.stop()
        if not a.keep:
            shutil.rmtree(server.data, ignore_errors=True)
    print(json.dumps(dict(ok=ok, stored=stored, wall=wall, items_s=round(ok / wall), cpu=c1 - c0, cpu_per_k=(c1 - c0) * 1000 / max(ok, 1), rss_mb=peak)))


if __name__ == "__main__":
    main()
