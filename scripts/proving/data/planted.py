"""A decoder with real faults in it, built and run; then the good one puts its work right, without a request."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

from ..claim import Claims, but, sample
from ..lab import Lab, Server, Simulator, Trouble
from ..store import Store
from .job import Row, job, month_ends, table, these

PROGRAM = "hauld-planted"
CODE_COLUMN = 0

# Where the faults are put, in front of the decoder's own function. If it is not found the proof ends.
SIGNATURE = "history(asked: &Asked, symbol: &str, response: &Response) -> Result<PriceHistory, Fault> {"
FAULTS = """
    // Planted by a proof.
    if symbol == "{undecodable}.T" {
        return Err(undecodable("planted"));
    }
    let mut history = sound_history(asked, symbol, response)?;
    for price in &mut history.prices {
        price.volume = price.volume.map(|volume| volume * 10);
    }
    for event in &mut history.events {
        event.amount = event.amount.map(|amount| amount * 2.0);
    }
    let mut row = 0;
    history.prices.retain(|_| {
        row += 1;
        row % 7 != 0
    });
    if symbol == "{invented}.T" {
        let mut price = history.prices[0].clone();
        price.ts += 1_000;
        history.prices.insert(1, price);
    }
    Ok(history)
}

"""


def planted(lab: Lab, claims: Claims, repository: Path, listed: list[str], items: int, seed: int) -> None:
    """A clean run, a wrong one, and the wrong one's bodies decoded anew."""
    claims.part(f"Faults planted in the decoder: {items} codes, seed {seed}")
    undecodable, invented = listed[3], listed[5]
    program, seconds = _build(lab, repository, undecodable, invented)
    claims.check("a server with a wrong decoder is built", program.is_file(), f"{program.name}, {seconds:.0f} s")
    sim = lab.simulator("planted", "--seed", seed)
    spec = lab.spec("planted/spec", job(these(listed[:items]), sim.url, day=month_ends()[0]))

    good, wrong = lab.server("planted-clean").start(), lab.server("planted-wrong")
    clean = good.haul("start", "-f", spec, "--id", "clean", "--watch")
    good.kill()
    wrong.program = str(program)
    wrong.start()
    spoilt = wrong.haul("start", "-f", spec, "--id", "wrong", "--watch")
    wrong.kill()
    claims.check("the clean run ends with status 0, the wrong one with 3: an item failed",
                 (clean.status, spoilt.status) == (0, 3), f"{clean.status}, {spoilt.status}")
    expected = {name: table(good.store, name) for name in ("stock_prices", "stock_events")}
    _is_wrong(claims, wrong.store, expected, undecodable, invented)

    wrong.program = Server.program
    wrong.start()
    _put_right(claims, sim, wrong, expected, items)
    wrong.kill()


def _is_wrong(
    claims: Claims, store: Store, expected: dict[str, dict[Row, Any]], undecodable: str, invented: str
) -> None:
    prices, events = table(store, "stock_prices"), table(store, "stock_events")
    right = expected["stock_prices"]
    both = right.keys() & prices.keys()
    volumes = sum(right[key]["volume"] != prices[key]["volume"] for key in both)
    lost = {key for key in right.keys() - prices.keys() if key[CODE_COLUMN] != undecodable}
    made_up = prices.keys() - right.keys()
    amounts = sum(events[key] != row for key, row in expected["stock_events"].items() if key in events)
    failed = [(row[0], row[1]) for row in store.rows(
        "SELECT item_key, error_reason FROM batch_execution_details WHERE status <> 'SUCCEEDED'")]
    claims.check("what it stored is wrong in every planted way",
                 min(volumes, len(lost), amounts) > 0 and {key[CODE_COLUMN] for key in made_up} == {invented}
                 and failed == [(undecodable, "UNDECODABLE")],
                 f"of {len(right):,} bars {volumes:,} with another volume and {len(lost):,} lost, {len(made_up)} made "
                 f"up, {amounts:,} amounts doubled, failed: {sample(map(' '.join, failed))}")


def _put_right(claims: Claims, sim: Simulator, server: Server, expected: dict[str, dict[Row, Any]], items: int) -> None:
    bodies_until = server.store.value("SELECT max(fetched_at) FROM kept_bodies")
    before = len(sim.log_file.read_bytes())
    began = time.monotonic()
    ran = server.haul("redecode", "wrong", "--watch")
    seconds = time.monotonic() - began
    claims.check("haul redecode --watch ends with status 0", ran.status == 0,
                 f"{ran.status}, {seconds:.1f} s" + (f", {ran.said[-200:]}" if ran.status else ""))
    children = server.store.rows(
        "SELECT name, status, requests_count, successful_count, total_count FROM batch_executions"
        " WHERE kind = 'REDECODE'")
    if not children:
        raise Trouble("there is no child")
    child = children[0]
    kind = server.batch(child["name"]).get("kind")
    claims.check("its child decoded every kept body anew",
                 (kind, child["status"], child["successful_count"], child["total_count"])
                 == ("KIND_REDECODE", "COMPLETED", items, items),
                 f"{kind}, {child['status']}, {child['successful_count']} of {child['total_count']} items")
    for name, right in expected.items():
        now = table(server.store, name)
        unlike = {key for key in right.keys() | now.keys() if right.get(key) != now.get(key)}
        claims.check(f"{name}: every row as after a clean run", not unlike and bool(right),
                     f"{len(now):,} rows, {len(unlike)} differ{but(map(str, unlike))}")
    late = server.store.value("SELECT count(*) FROM stock_prices WHERE fetched_at > ?", bodies_until)
    claims.check("rows keep the time at which their body was fetched", late == 0, f"{late} rows are later")
    grown = len(sim.log_file.read_bytes()) - before
    claims.check("without a single request", grown == 0 and child["requests_count"] == 0,
                 f"the upstream's log grew by {grown} bytes, the child counts {child['requests_count']} requests")


def _build(lab: Lab, repository: Path, undecodable: str, invented: str) -> tuple[Path, float]:
    """A copy of the source with the faults in it, built beside the good programs. It has a version and a program name
    of its own, so the two share what they depend on and nothing else."""
    began = time.monotonic()
    target = lab.binaries.parent
    copy = target / "prove" / "planted"
    versions = re.findall(r'^version = "(.+)"$', (repository / "Cargo.toml").read_text(), re.MULTILINE)
    if len(versions) != 1:
        raise Trouble(f"Cargo.toml names {len(versions)} versions, not one")
    faults = FAULTS.replace("{undecodable}", undecodable).replace("{invented}", invented)
    changes = {
        "server/src/connector/yahoo_chart/decode.rs": [
            (f"pub(super) fn {SIGNATURE}", f"pub(super) fn {SIGNATURE}{faults}fn sound_{SIGNATURE}")],
        "server/Cargo.toml": [('name = "hauld"', f'name = "{PROGRAM}"'), ('default-run = "hauld"\n', "")],
        "Cargo.toml": [(f'\nversion = "{versions[0]}"\n', f'\nversion = "{versions[0]}-planted"\n')],
    }
    _copy(repository, copy, changes)
    command = ["cargo", "build", "--quiet", "--offline", "-p", "haul-server", "-p", "haul-client", "-p", "haul-sim",
               "--bin", PROGRAM]
    if lab.binaries.name == "release":
        command.append("--release")
    # The copy's versions are its own, so its lock file is written anew: from the same one, without a look elsewhere.
    environment = dict(os.environ, CARGO_TARGET_DIR=str(target))
    ran = subprocess.run(command, cwd=copy, env=environment, check=False, capture_output=True, text=True)
    if ran.returncode != 0:
        raise Trouble(f"the build with planted faults failed: {' '.join(ran.stderr.split())[-600:]}")
    return lab.binaries / PROGRAM, time.monotonic() - began


def _copy(repository: Path, copy: Path, changes: dict[str, list[tuple[str, str]]]) -> None:
    """Files that stay the same are not written again, so that an earlier copy's build still counts."""
    listing = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
                             cwd=repository, check=True, capture_output=True)
    names = {name for name in listing.stdout.decode().split("\0") if name and (repository / name).is_file()}
    for name in names:
        content = (repository / name).read_bytes()
        for old, new in changes.get(name, []):
            found = content.decode().count(old)
            if found != 1:
                raise Trouble(f"{name} has {found} times {old!r}: say anew where the fault is planted")
            content = content.decode().replace(old, new).encode()
        path = copy / name
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    unknown = sorted(changes.keys() - names)
    if unknown:
        raise Trouble(f"{', '.join(unknown)}: no such file to plant a fault in")
    for path in copy.rglob("*"):
        if path.is_file() and str(path.relative_to(copy)) not in names:
            path.unlink()
