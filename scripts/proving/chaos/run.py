"""One run: a batch, what happens to its server meanwhile, and what it came to."""

from __future__ import annotations

import json
import random
import re
import signal
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Callable

from ..contract.committed import log_commits
from ..lab import Lab, Ran, Simulator, Trouble, until
from ..request_log import RequestLog
from .check import Evidence, check
from .disk import Disk
from .keeper import Keeper, quiet_port
from .plan import Mishap, Plan
from .relay import Relay
from .stall import Stalls
from .witness import LABEL, Witness

TERMINAL = ("COMPLETED", "FAILED", "STOPPED")
FIRST, CHILD, ANEW = "first", "child", "anew"
SETTLE_S = 0.3
STUCK_S = 15.0
# What a server may take to end, and a second for the process itself.
END_S = 16.0
# What lies between the server and the log holds a request back for so long beyond what the server reckons with; and for
# as long again as the machine is seen to keep others waiting.
DELAYED_S = 0.05
# Outcomes that may be unanswered at a kill, beside one a worker.
GROUPS_UNANSWERED = 4
# Requests that an attempt may send: another one where the connection breaks.
TRIES_MAX = 2
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")


@dataclass
class Result:
    """What a run came to."""

    faults: list[tuple[str, str]]
    figures: str
    kills: int
    evidence: Evidence | None = None


@dataclass
class Run:
    """The stage of one run."""

    lab: Lab
    plan: Plan
    name: str
    listed: list[str]
    stalls: Stalls
    chance: random.Random = field(init=False)
    sim_logs: list[Path] = field(default_factory=list)
    quiet: list[tuple[float, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    resumes: int = 0
    clock_max_s: int = 0
    stuck: tuple[int, float] = (-1, 0.0)

    def carry_out(self) -> Result:
        """All of it. What cannot be carried through is a fault as well."""
        self.chance = random.Random(f"carried out {self.plan.seed}")
        self.folder, self.began_s = self.lab.place(self.name), time.time()
        self.disk = Disk(self.folder / "disk") if self.plan.disk else None
        self.relay: Relay | None = None
        self.keeper: Keeper | None = None
        try:
            return self._carry_out()
        except (Trouble, OSError, ValueError, sqlite3.Error) as error:
            kills = self.keeper.deaths if self.keeper else 0
            return Result([("carried out", f"{type(error).__name__}: {error}")], "", kills)
        finally:
            if self.keeper is not None:
                self.keeper.close()
                self.server.kill()
            self.sim.kill()
            if self.relay is not None:
                self.relay.close()
            if self.disk is not None:
                self.disk.close()

    def _carry_out(self) -> Result:
        plan = self.plan
        self.sim_port = quiet_port(self.chance)
        self._begin_sim()
        upstream = self.sim.url
        if plan.relay:
            self.relay = Relay(self.sim_port, self.chance)
            upstream = self.relay.url
        self.server = self.lab.server(self.name)
        self.server.port = quiet_port(self.chance)
        if self.disk is not None:
            self.server.data_dir = self.disk.folder / "data"
        if plan.clock:
            self.clock_file = self.lab.write(f"{self.name}/clock", "+0")
            self.server.environment |= {"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(self.clock_file),
                                        "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        self.server.start().kill()
        log_commits(self.server)
        flags = ["--file-root", self.folder] + (["--running-batches", plan.slots] if plan.slots else [])
        self.keeper = Keeper(self.server, plan.lives, [str(flag) for flag in flags], self.chance)
        self.keeper.start()
        until("the server listens", lambda: self.keeper is not None and any(life.listened for life in self.keeper.lives))
        witness = Witness(self.lab, self.server.address, self.folder)
        witness.watch()

        keys = [f"K{n:06}" for n in range(plan.items)] if plan.big else self.listed[: plan.items]
        spec = self._spec(keys, upstream)
        began_s = time.time()
        self._begin_batch(FIRST, spec, keys)
        batches = {FIRST: set(keys)}
        for number in range(1, plan.others + 1):
            others = self.listed[number * plan.items : (number + 1) * plan.items]
            self._begin_batch(f"other-{number}", self._spec(others, upstream), others)
            batches[f"other-{number}"] = set(others)
        witness.follow(FIRST)
        for number, mishap in enumerate(plan.mishaps):
            if number == len(plan.mishaps) // 2:
                witness.watch()
            self._wait_for(mishap, began_s)
            getattr(self, f"_{mishap.kind}")(mishap)
        if plan.big:
            self._read_whole()
        for batch in batches:
            self._ended(batch)
        if plan.stops:
            left = self._left(FIRST)
            if left:
                self._child(CHILD, "retry")
                batches[CHILD] = left
        if plan.redecodes:
            self._child(ANEW, "redecode")
            if plan.deletes:
                self._delete(ANEW)
            else:
                batches[ANEW] = set(keys)
        reports = {batch: self._report(batch) for batch in batches}
        results = witness.results()
        events = witness.events()
        self.keeper.close()
        ended_s = self.server.terminate()
        evidence = self._evidence(batches, reports, results, events)
        faults = check(evidence)
        if ended_s > END_S:
            faults.append(("carried out", f"the server took {ended_s:.1f} s to end"))
        lives = self.keeper.lives
        kills = sum(life.status == -signal.SIGKILL for life in lives)
        # A store that refuses its first write, as planned, or is locked for longer than is waited for, lets no server start.
        expected = (None, 0, -signal.SIGKILL, -signal.SIGTERM)
        locks = any(mishap.kind == "lock" for mishap in plan.mishaps)
        crashed = [life.status for life in lives if life.status not in expected
                   and not (life.status == 2 and not life.listened and (life.points or locks))]
        if crashed and not plan.disk:
            faults.append(("carried out", f"processes ended with {crashed}"))
        figures = (f"{sum(map(len, batches.values())):,} items, {len(evidence.requests):,} requests, {kills} kills"
                   + (f", {self.resumes} resumes after a system failure" if self.resumes else "")
                   + (f", {'; '.join(self.notes)}" if self.notes else "") + f", {time.time() - began_s:.0f} s")
        return Result(faults, figures, kills, evidence)

    # The stage.

    def _begin_sim(self) -> None:
        plan = self.plan
        flags: list[Any] = ["--listen", f"127.0.0.1:{self.sim_port}", "--seed", plan.seed % 1_000,
                            "--faults", plan.faults, "--permanent", plan.permanent, "--latency", f"{plan.latency_ms}ms", "--jitter",
                            f"{plan.latency_ms}ms", "--items", plan.items * (1 + plan.others), "--stall", "3s"]
        if plan.limit_per_s:
            flags += ["--rate", plan.limit_per_s, "--burst", 3]
        self.sim: Simulator = self.lab.simulator(f"{self.name}/sim-{len(self.sim_logs)}", *flags)
        self.sim_logs.append(self.sim.log_file)

    def _spec(self, keys: list[str], upstream: str) -> dict[str, Any]:
        plan = self.plan
        sources: dict[str, Callable[[], dict[str, Any]]] = {
            "list": lambda: {"jpxListing": {"uri": self.sim.list_url.replace(self.sim.url, upstream)}},
            "inline": lambda: {"inlineItems": {"items": [{"key": key} for key in keys]}},
            "file": lambda: {"file": {"uri": "file://" + str(self.lab.write(f"{self.name}/keys.txt", "\n".join(keys)))}},
            "upload": lambda: {"uploadedItems": {}},
        }
        return sources[plan.source]() | {
            "labels": {LABEL: "yes"},
            "yahooChart": {"baseUrl": upstream, "range": "1mo"},
            "fetch": {"requestsPerSecond": plan.rate_per_s, "burst": plan.burst, "workers": plan.workers,
                      "commitGroupSize": plan.group, "attemptTimeout": "5s", "initialBackoff": "1s", "maxAttempts": 8},
            "outage": {"probeInterval": "5s"},
        } | {"": {}, "budget": {"failure": {"maxFailedRatio": 0.2, "minProcessedItems": "20"}},
             "time": {"maxDuration": "2s"}}[plan.dooms]

    def _begin_batch(self, batch: str, spec: dict[str, Any], keys: list[str]) -> None:
        path = self.lab.spec(f"{self.name}/{batch}", spec)
        request = f"00000000-0000-4000-8000-{self.chance.randrange(1 << 48):012x}"
        self._insist("start", "-f", path, "--id", batch, "--request-id", request)
        if "uploadedItems" in spec:
            file = self.lab.write(f"{self.name}/upload.ndjson", "".join(json.dumps({"key": key}) + "\n" for key in keys))
            self._insist("upload", batch, file, "--upload-id", request)

    def _insist(self, command: str, *arguments: Any) -> Ran:
        """Until it is answered: a client that meets a dead server tries again, and what it asks for is done once."""
        def asked() -> Ran | None:
            ran = self.server.haul(command, *arguments, timeout_s=150)
            self._alive()
            if ran.status == 0 or "UNAVAILABLE" not in ran.said and "cannot reach" not in ran.said:
                return ran
            return None
        return until(f"haul {command} is answered", asked, patience_s=120, pause_s=0.1)

    def _alive(self) -> None:
        if self.keeper is not None and self.keeper.trouble:
            raise Trouble(self.keeper.trouble)

    def _row(self, batch: str) -> sqlite3.Row | None:
        try:
            rows = self.server.store.rows("SELECT * FROM batch_executions WHERE name = ?", batch)
        except sqlite3.OperationalError:
            # Being begun, or locked.
            return None
        return rows[0] if rows else None

    def _wait_for(self, mishap: Mishap, began_s: float) -> None:
        wanted = mishap.share * self.plan.items

        def due() -> bool:
            self._alive()
            self._tend(FIRST)
            row = self._row(FIRST)
            return row is not None and (row["processed_count"] >= wanted or row["status"] in TERMINAL)

        until(f"{100 * mishap.share:.0f} % are processed", due, patience_s=self._bound_s())
        time.sleep(mishap.after_s)

    def _bound_s(self) -> float:
        return 90 + 4 * self.plan.items / self.plan.rate_per_s

    def _ended(self, batch: str) -> None:
        def over() -> bool:
            self._alive()
            self._tend(batch)
            row = self._row(batch)
            return row is not None and row["status"] in TERMINAL

        until(f"{batch} ends", over, patience_s=self._bound_s(), pause_s=0.1)

    def _tend(self, batch: str) -> None:
        """The one thing that is left to people: a pause by a failure of the store ends by a resume."""
        row = self._row(batch)
        if row is not None and self.plan.clock:
            self._wait_for_the_clock(row["revision"])
        if row is not None and row["status"] == "PAUSED" and row["pause_cause"] == "SYSTEM_FAILURE":
            self.resumes += 1
            self.server.haul("resume", batch)

    # Mishaps.

    def _kill(self, _: Mishap) -> None:
        self.server.signal(signal.SIGKILL)

    def _terminate(self, _: Mishap) -> None:
        keeper = self.keeper
        assert keeper is not None
        life = keeper.lives[-1]
        self.server.signal(signal.SIGTERM)
        until("it ends", lambda: life.ended_s is not None, patience_s=END_S)

    def _freeze(self, mishap: Mishap) -> None:
        self.server.signal(signal.SIGSTOP)
        time.sleep(mishap.value)
        self.server.signal(signal.SIGCONT)

    def _lock(self, mishap: Mishap) -> None:
        with closing(sqlite3.connect(self.server.store.path, timeout=20, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(mishap.value)
            connection.execute("ROLLBACK")

    def _fill(self, mishap: Mishap) -> None:
        assert self.disk is not None
        self.disk.fill()

        def noticed() -> bool:
            row = self._row(FIRST)
            text = (self.folder / "server.jsonl").read_text(encoding="utf-8")
            return row is None or row["status"] in ("PAUSED", *TERMINAL) or "could not be recorded yet" in text

        until("the full disk is noticed", noticed, patience_s=30, pause_s=0.1)
        if mishap.value:
            self.server.signal(signal.SIGKILL)
            time.sleep(1)
        self.disk.make_room()

    def _readonly(self, mishap: Mishap) -> None:
        assert self.disk is not None and self.keeper is not None
        before = len(self.keeper.lives)
        with self.keeper.resting:
            self.server.signal(signal.SIGKILL)
            until("it is dead", lambda: not self.server.lives)
            until("nobody writes", self._made_readonly, patience_s=10)
        time.sleep(mishap.value)
        self.disk.writable(True)
        refused = self.keeper.lives[before:]
        self.notes.append(f"{sum(not life.listened for life in refused)} starts refused")

    def _made_readonly(self) -> bool:
        assert self.disk is not None
        try:
            self.disk.writable(False)
        except Trouble:
            return False
        return True

    def _cut(self, _: Mishap) -> None:
        assert self.relay is not None
        self.relay.cut()

    def _upstream(self, mishap: Mishap) -> None:
        self.sim.kill()
        time.sleep(mishap.value)
        self._begin_sim()

    def _clock(self, mishap: Mishap) -> None:
        offset = int(self.clock_file.read_text()) + int(mishap.value)
        beside = self.clock_file.with_suffix(".part")
        beside.write_text(f"{offset:+d}")
        beside.rename(self.clock_file)
        self.clock_max_s = max(self.clock_max_s, offset)

    def _wait_for_the_clock(self, revision: int) -> None:
        """Who waits for a time of day waits for it, though the clock was set back: nothing ends early. A gate is held for
        as long as it was when the process began, so it may take another process."""
        now = time.monotonic()
        if revision != self.stuck[0]:
            self.stuck = (revision, now)
        elif now - self.stuck[1] > STUCK_S:
            self.stuck = (revision, now)
            if self.clock_file.read_text() == f"{self.clock_max_s:+d}":
                self.notes.append("begun anew")
                self.server.signal(signal.SIGKILL)
            else:
                self.notes.append("waited for the clock")
                self.clock_file.write_text(f"{self.clock_max_s:+d}")

    def _pause(self, mishap: Mishap) -> None:
        paused = self._insist("pause", FIRST, *(["--abort"] if mishap.how == "ABORT" else []))
        if paused.status == 0:
            answered_s = paused.ended_s
            if self.chance.random() < 0.5:
                self.server.signal(signal.SIGKILL)
            time.sleep(mishap.value)
            self.quiet.append((answered_s, time.time()))
            self._insist("resume", FIRST)
        elif self._row(FIRST)["status"] not in TERMINAL:  # type: ignore[index]
            raise Trouble(f"haul pause: {paused.said}")

    def _stop(self, mishap: Mishap) -> None:
        stopped = self._insist("stop", FIRST, *(["--abort"] if mishap.how == "ABORT" else []))
        if self.chance.random() < 0.5:
            self.server.signal(signal.SIGKILL)
        self._ended(FIRST)
        if stopped.status == 0:
            self.quiet.append((stopped.ended_s, time.time() + 0.5))
            time.sleep(0.5)

    def _left(self, batch: str) -> set[str]:
        return {row[0] for row in self.server.store.rows(
            "SELECT stock_code FROM batch_items WHERE batch_name = ? AND status IN ('CANCELED', 'FAILED')"
            " AND coalesce(error_class, '') <> 'PERMANENT'", batch)}

    def _read_whole(self) -> None:
        def read() -> bool:
            self._alive()
            self._tend(FIRST)
            row = self._row(FIRST)
            return row is not None and bool(row["expanded"])

        until("all of it is read", read, patience_s=self._bound_s(), pause_s=0.1)
        self._stop(Mishap(1, 0, "stop"))

    def _delete(self, batch: str) -> None:
        for _ in range(2):
            ran = self._insist("delete", batch, "--yes", "--allow-missing")
            if ran.status != 0:
                raise Trouble(f"haul delete: {ran.said}")
            self.server.signal(signal.SIGKILL)
        told = self._insist("get", batch)
        shown = self.server.store.value("SELECT count(*) FROM batch_items WHERE batch_name = ?", batch)
        if "BATCH_PURGED" not in told.said or shown:
            raise Trouble(f"deleted, and {shown} items are shown: {told.said}")

    def _child(self, batch: str, command: str) -> None:
        """Made of the first batch, asked for twice with a death between."""
        request = f"00000000-0000-4000-8000-{self.chance.randrange(1 << 48):012x}"
        for _ in range(2):
            ran = self._insist(command, FIRST, "--id", batch, "--request-id", request)
            if ran.status != 0:
                raise Trouble(f"haul {command}: {ran.said}")
            self.server.signal(signal.SIGKILL)
        self._ended(batch)

    # What it came to.

    def _report(self, batch: str) -> dict[str, Any]:
        ran = self._insist("report", batch, "-o", "json")
        if ran.status != 0:
            raise Trouble(f"haul report: {ran.said}")
        report: dict[str, Any] = json.loads(ran.stdout)
        return report

    def _evidence(self, batches: dict[str, set[str]], reports: dict[str, dict[str, Any]], results: dict[str, list[str]],
                  events: list[list[dict[str, Any]]]) -> Evidence:
        plan, keeper = self.plan, self.keeper
        assert keeper is not None
        requests = sorted((request for log in self.sim_logs for request in RequestLog.read(log).requests),
                          key=lambda request: request.at_s)
        # SIGTERM kills who has not come to listen for it.
        dead = sum(life.status in (-signal.SIGKILL, -signal.SIGTERM) for life in keeper.lives)
        # A machine that stands still is one that was frozen.
        frozen = sum(mishap.kind == "freeze" for mishap in plan.mishaps) + self.stalls.longer_than(1.0, self.began_s)
        canaries = 0
        down = self._down()
        if down:
            canaries = sum(any(begin <= request.at_s <= end for begin, end in down) for request in requests)
        is_connected = not plan.relay and not any(mishap.kind == "upstream" for mishap in plan.mishaps)
        ends = {batch: {"COMPLETED"} for batch in batches}
        if plan.stops or plan.big:
            ends[FIRST] = {"STOPPED", "COMPLETED"}
        if plan.dooms:
            ends[FIRST] = {"FAILED"}
        mishaps = (dead + frozen + self.resumes) * (1 + plan.others)
        delayed_s = DELAYED_S * (2 if plan.relay else 1) + self.stalls.longest_s(self.began_s)
        return Evidence(
            store=self.server.store, requests=requests, rate_per_s=plan.rate_per_s, burst=plan.burst, keys=batches,
            ends=ends, events=events, results=results, reports=reports, quiet=self.quiet,
            uncounted_max=mishaps * TRIES_MAX * (plan.workers + GROUPS_UNANSWERED * plan.group) + canaries,
            unseen_max=0 if is_connected else len(requests), down=down, is_connected=is_connected,
            is_on_time=not plan.clock, delayed_max=plan.rate_per_s * delayed_s, frozen=frozen, is_whole=plan.big,
        )

    def _down(self) -> list[tuple[float, float]]:
        """When the breaker was not closed, as the server's log has it."""
        spans: list[tuple[float, float]] = []
        for line in (self.folder / "server.jsonl").read_text(encoding="utf-8").splitlines():
            found = re.search(r'"timestamp":"([^"]+)".*"message":"breaker (tripped|closed)', line)
            if not found:
                continue
            at_s = datetime.fromisoformat(found[1].replace("Z", "+00:00")).timestamp()
            if found[2] == "tripped":
                spans.append((at_s, float("inf")))
            elif spans:
                spans[-1] = (spans[-1][0], at_s + SETTLE_S)
        return spans
