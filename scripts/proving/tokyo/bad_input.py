"""Bad input and bad luck, as a user meets them: a sentence that names the thing, and an exit status."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from typing import Any

from ..claim import Claims
from ..lab import Lab, Ran, Server
from ..page import web_page

USAGE = 2
REFUSED = 1


def bad_input(lab: Lab, claims: Claims, listed: list[str]) -> None:
    """One claim for each."""
    claims.part("Bad input and bad luck")
    server = lab.server("bad").start()
    _addresses(lab, claims, server)
    _folders(lab, claims, server)
    _specs(lab, claims, server, listed)
    _no_spreadsheet(lab, claims, server)
    server.kill()


def _says(claims: Claims, claim: str, ran: Ran, status: int, *words: str) -> None:
    missing = [word for word in words if word.lower() not in ran.stderr.lower()]
    figure = f"status {ran.status}, {ran.said[:160]!r}" + (f", does not name {missing}" if missing else "")
    claims.check(f"{claim}: status {status} and a sentence", ran.status == status and not missing, figure)


def _serve(lab: Lab, *flags: Any) -> Ran:
    return lab.run("hauld", "serve", *flags, timeout_s=20)


def _addresses(lab: Lab, claims: Claims, server: Server) -> None:
    other = lab.place("bad-other")
    _says(claims, "an address others reach", _serve(lab, "--data-dir", other, "--listen", "0.0.0.0:0"),
          USAGE, "0.0.0.0:0", "--insecure-listen")
    taken = server.address.removeprefix("http://")
    _says(claims, "a taken port", _serve(lab, "--data-dir", other, "--listen", taken), USAGE, taken, "--listen")


def _folders(lab: Lab, claims: Claims, server: Server) -> None:
    port_0 = ("--listen", "127.0.0.1:0")
    _says(claims, "a second server on the same data folder", _serve(lab, "--data-dir", server.data_dir, *port_0),
          USAGE, str(server.data_dir), server.address.removeprefix("http://"))
    a_file = lab.write("a-file", "not a folder")
    _says(claims, "a data folder that is a file", _serve(lab, "--data-dir", a_file, *port_0), USAGE, str(a_file))

    newer = lab.place("newer")
    lab.run("hauld", "migrate", "--data-dir", newer)
    database = newer / "haul.db"
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time)"
            " SELECT 999, 'from the future', installed_on, success, checksum, execution_time"
            " FROM _sqlx_migrations LIMIT 1"
        )
    copy = shutil.copy(database, newer / "before.db")
    _says(claims, "a schema newer than the program", _serve(lab, "--data-dir", newer, *port_0),
          USAGE, str(database), "999", "newer")
    with closing(sqlite3.connect(database)) as after, closing(sqlite3.connect(copy)) as before:
        same = list(after.iterdump()) == list(before.iterdump())
        claims.check("the newer store is left as it was", same, "dumps compared")


def _specs(lab: Lab, claims: Claims, server: Server, listed: list[str]) -> None:
    def start(name: str, items: list[str], fetch: dict[str, Any], base_url: str = "http://127.0.0.1:9") -> Ran:
        spec = {
            "inlineItems": {"items": [{"key": key} for key in items]},
            "yahooChart": {"baseUrl": base_url},
            "fetch": fetch,
        }
        return server.haul("start", "-f", lab.spec(f"bad/{name}", spec), "--id", name, "--watch")

    one = listed[:1]
    _says(claims, "an unknown field", start("unknown", one, {"wokers": 3}), USAGE, "wokers", "workers")
    _says(claims, "a rate of zero", start("zero", one, {"requestsPerSecond": 0}), USAGE, "requestsPerSecond")
    _says(claims, "a negative rate", start("negative", one, {"requestsPerSecond": -5}), USAGE, "requestsPerSecond")
    _says(claims, "an empty key", start("empty", [one[0], ""], {}), USAGE, "items[1].key", "empty")
    both = start("all-at-once", [""], {"requestsPerSecond": 0, "workers": 0})
    _says(claims, "several faults are told at once", both, USAGE, "items[0].key", "requestsPerSecond", "workers")
    left = server.store.value("SELECT count(*) FROM batch_executions")
    claims.check("what was refused left no batch", left == 0, f"{left} batches")

    sim = lab.simulator("bad-sim")
    ran = start("doubles", [listed[0], listed[1], listed[0], listed[0]], {}, sim.url)
    total, duplicates = server.store.rows(
        "SELECT total_count, duplicate_count FROM batch_executions WHERE name = 'doubles'"
    )[0]
    claims.check("duplicate keys are counted and fetched once",
                 (ran.status, total, duplicates, len(sim.log().charts)) == (0, 2, 2, 2),
                 f"status {ran.status}, {total} items, {duplicates} duplicates, {len(sim.log().charts)} requests")


def _no_spreadsheet(lab: Lab, claims: Claims, server: Server) -> None:
    with web_page() as url:
        spec = {"jpxListing": {"uri": f"{url}/data_j.xls"}, "yahooChart": {"baseUrl": url}}
        ran = server.haul("start", "-f", lab.spec("bad/page", spec), "--id", "page", "--watch")
    batch = server.batch("page")
    state, reason, message = batch.get("state"), batch.get("endReason"), batch.get("endMessage", "")
    claims.check("a list that is no spreadsheet: status 4, FAILED, and why",
                 (ran.status, state, reason) == (4, "STATE_FAILED", "SOURCE_UNREADABLE") and "html" in message.lower(),
                 f"status {ran.status}, {state}, {reason}, {message!r}")
