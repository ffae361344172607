#!/usr/bin/env python3
"""Whether the floors write what haul writes: 200 items by haul and by each floor-product-*, and then row by row. One JSON line a floor, with
what differs: {"table.column": [haul's, the floor's]} of the first item, times and names of runs left out."""
import json, os, shlex, sqlite3, subprocess, sys

import measure

TABLES = dict(batch_execution_details="item_index", responses="item_key", stock_prices="code, ts", kept_bodies="item_index", batch_slices="slice_no", item_results="first_no")
# Times, who wrote it, and how groups happened to be cut.
APART = {"first_attempt_at", "last_attempt_at", "updated_at", "last_attempt_end_at", "first_active_ms", "latency_ms", "fetched_at", "node", "batch_seq", "first_no", "item_count", "items"}
FIGURES = ("successful_count", "failed_count", "records_count", "records_changed", "bytes_received", "requests_count", "retried_attempts")


def rows(path):
    db = sqlite3.connect(path)
    db.row_factory = sqlite3.Row
    try:
        tables = {table: [dict(row) for row in db.execute(f"SELECT * FROM {table} ORDER BY {order}")] for table, order in TABLES.items()}
        ended = sorted(index for run in tables["item_results"] for index in json.loads(run["items"]))
        return {**tables, "item_results": [dict(ended=index) for index in ended], "batch_executions": [{k: dict(row)[k] for k in FIGURES} for row in db.execute("SELECT * FROM batch_executions")]}
    finally:
        db.close()


def differ(haul, floor):
    found = {}
    for table in haul:
        if len(haul[table]) != len(floor[table]):
            found[table] = [len(haul[table]), len(floor[table])]
        for a, b in zip(haul[table], floor[table]):
            for column in a:
                if column not in APART and a[column] != b[column]:
                    found.setdefault(f"{table}.{column}", [repr(a[column])[:60], repr(b[column])[:60]])
    return found


def main():
    out, keys = os.path.join(measure.run, "out-same"), os.path.join(measure.run, "keys-same.txt")
    subprocess.run([sys.executable, os.path.join(measure.here, "gen.py"), "keys", keys, "200"], check=True)
    os.makedirs(out, exist_ok=True)

    def run(name, more=""):
        cmd = measure.PEERS[name][0].format(base=f"http://127.0.0.1:{measure.port}", keys=keys, n=200, conc=64, out=out)
        subprocess.run(shlex.split(cmd + more), check=True, stdout=subprocess.DEVNULL)

    for payload in ("ledger", "raw", "rows", "rows-kept"):
        run(f"haul-{payload}", " --keep")
        haul = rows(os.path.join(out, "data", "haul.db"))
        for lib in ("sqlx", "rusqlite"):
            run(f"floor-product-{lib}-{payload}")
            print(json.dumps(dict(name=f"same-{lib}-{payload}", differ=differ(haul, rows(os.path.join(out, "floor.db"))))), flush=True)


main()
