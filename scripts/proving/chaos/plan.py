"""What is done to a server in one run: drawn from a seed, and nothing of it from anywhere else."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Callable

# Step of the server's fail points → the passing at which it may die, at the latest. `source` names what it needs.
STEPS = {
    "store.begin": 40, "recover.written": 1, "create.written": 1, "create.done": 1, "upload.written": 3,
    "upload.done": 3, "batch.admitted": 1, "source.leased": 1, "source.fetched": 1, "source.written": 1,
    "source.stored": 1, "slice.claimed": 2, "request.before": 60, "outcome.before": 60, "commit.before": 12,
    "commit.written": 12, "commit.done": 12, "commit.published": 12, "gate.before": 4, "gate.held": 4,
    "change.written": 1, "command.written": 1, "command.done": 1, "batch.over": 1,
}


@dataclass(frozen=True)
class Mishap:
    """Something that is done once that share of the items is processed, and some time after that."""

    share: float
    after_s: float
    kind: str
    value: float = 0
    how: str = ""

    def __str__(self) -> str:
        value = f" {self.value:g}" if self.value else ""
        how = f" {self.how}" if self.how else ""
        return f"{self.kind}{how}{value} at {100 * self.share:.0f} %+{self.after_s:.2f} s"


@dataclass
class Plan:
    """All that is decided before a run."""

    scenario: str
    seed: int
    items: int
    source: str = "list"
    rate_per_s: float = 100
    burst: int = 20
    workers: int = 16
    group: int = 10
    faults: float = 0.05
    permanent: float = 0.02
    latency_ms: int = 20
    # Of the simulator; 0: none.
    limit_per_s: float = 0
    # Fail points of the server's lives, one after the other; after the last one none.
    lives: list[str] = field(default_factory=list)
    mishaps: list[Mishap] = field(default_factory=list)
    # The server's data is on a small disk of its own.
    disk: bool = False
    # Requests go through a relay.
    relay: bool = False
    # The server's clock can be moved.
    clock: bool = False
    # Stopped and deleted in the end, with a batch made of what is left.
    stops: bool = False
    # So many more batches of other items at the same upstream.
    others: int = 0
    # Batches that run at once; 0: any number.
    slots: int = 0
    # So many items that the reading of them takes its time; stopped once all are read.
    big: bool = False
    # It is to end FAILED: "budget", too many items failed, or "time", it took too long.
    dooms: str = ""
    # What was kept of it is decoded anew in the end.
    redecodes: bool = False
    # And what came of that is deleted.
    deletes: bool = False

    def __str__(self) -> str:
        parts = [f"{self.items} items from {self.source}", f"{self.rate_per_s:g}/s burst {self.burst}",
                 f"{self.workers} workers", f"groups of {self.group}"]
        parts += [f"lives [{'; '.join(self.lives)}]"] if self.lives else []
        parts += [str(mishap) for mishap in self.mishaps]
        return ", ".join(parts)


def draw(scenario: str, seed: int, nth: int, quick: bool) -> Plan:
    """The plan of a run. `nth`: which one of its scenario, so that every step has its turn."""
    chance = random.Random(f"{scenario} {seed}")
    items = chance.randrange(100, 160) if quick else chance.randrange(200, 500)
    plan = Plan(scenario, seed, items, source=chance.choice(["list", "inline", "file", "list"]),
                rate_per_s=chance.choice([60, 100, 150]), burst=chance.choice([10, 20]),
                workers=chance.choice([4, 16, 40]), group=chance.choice([1, 10, 50]),
                latency_ms=chance.choice([5, 20, 80]))
    SCENARIOS[scenario](plan, chance, nth, 1 if quick else 2)
    plan.mishaps.sort(key=lambda mishap: (mishap.share, mishap.after_s))
    return plan


def _times(chance: random.Random, count: int) -> list[tuple[float, float]]:
    return [(chance.uniform(0.02, 0.95), chance.uniform(0, 0.2)) for _ in range(count)]


def _kills(chance: random.Random, count: int) -> list[Mishap]:
    return [Mishap(*at, "kill") for at in _times(chance, count)]


def _killed(plan: Plan, chance: random.Random, nth: int, size: int) -> None:
    plan.mishaps = _kills(chance, 3 * size)
    # Some die while they start.
    plan.mishaps += [Mishap(mishap.share, mishap.after_s + chance.uniform(0.02, 0.4), "kill")
                     for mishap in plan.mishaps[:size]]


def _steps(plan: Plan, chance: random.Random, nth: int, size: int) -> None:
    names = list(STEPS)
    common = ["commit.before", "commit.written", "commit.done", "commit.published", "store.begin", "request.before",
              "outcome.before", "slice.claimed", "recover.written"]
    first = names[nth % len(names)]
    # So that there are as many commits as a step may have to wait for.
    plan.group = chance.choice([1, 5, 10])
    for step in [first, first, *chance.sample(common, size + 1)]:
        plan.lives.append(f"{step}=kill@{chance.randint(1, STEPS[step])}")
    family = first.split(".")[0]
    if family == "upload":
        plan.source = "upload"
    if family == "source":
        plan.source = chance.choice(["list", "file"])
    if family == "gate":
        plan.limit_per_s, plan.faults = 0.7 * plan.rate_per_s, 0
    if family == "command":
        hows = ("FINISH", "ABORT", "FINISH")
        plan.mishaps = [Mishap(*at, "pause", 0.5, how) for at, how in zip(_times(chance, 3), hows)]
    if first == "change.written":
        plan.lives[:2] = ["commit.written=fault@3,change.written=kill@1", "commit.written=full@2,change.written=kill@1"]


def _frozen(plan: Plan, chance: random.Random, nth: int, size: int) -> None:
    share, after_s = _times(chance, 1)[0]
    plan.mishaps = [Mishap(min(share, 0.7), after_s, "freeze", chance.uniform(11, 13)), *_kills(chance, 1)]


def _full(plan: Plan, chance: random.Random, nth: int, size: int) -> None:
    plan.disk = True
    plan.mishaps = [Mishap(chance.uniform(0.1, 0.5), 0, "fill"), Mishap(chance.uniform(0.6, 0.9), 0, "fill", 1)]


def _readonly(plan: Plan, chance: random.Random, nth: int, size: int) -> None:
    plan.disk = True
    plan.mishaps = [Mishap(chance.uniform(0.2, 0.7), 0, "readonly", 2)]


def _cut(plan: Plan, chance: random.Random, nth: int, size: int) -> None:
    plan.relay, plan.rate_per_s = True, 60
    plan.mishaps = [Mishap(*at, "cut") for at in _times(chance, 6 * size)] + _kills(chance, size)


def _upstream(plan: Plan, chance: random.Random, nth: int, size: int) -> None:
    plan.mishaps = [Mishap(chance.uniform(0.1, 0.4), 0, "upstream", chance.uniform(0.1, 1.5)),
                    Mishap(chance.uniform(0.5, 0.8), 0, "upstream", chance.uniform(2, 6)), *_kills(chance, size)]


def _clock(plan: Plan, chance: random.Random, nth: int, size: int) -> None:
    plan.clock = True
    jumps = chance.sample([3_600, -3_600, 172_800, -172_800], 2 * size)
    plan.mishaps = [Mishap(*at, "clock", jump) for at, jump in zip(_times(chance, len(jumps)), jumps)] + _kills(chance, 1)


def _locked(plan: Plan, chance: random.Random, nth: int, size: int) -> None:
    plan.mishaps = [Mishap(chance.uniform(0.1, 0.5), 0, "lock", chance.uniform(5.5, 9)),
                    Mishap(chance.uniform(0.5, 0.9), 0, "lock", chance.uniform(0.5, 14)), *_kills(chance, size)]


def _slow(plan: Plan, chance: random.Random, nth: int, size: int) -> None:
    plan.items //= 2
    stall = "commit.written=stall:200"
    plan.lives = [stall, f"{stall},commit.done=kill@{chance.randint(2, 12)}", stall, stall]
    plan.mishaps = _kills(chance, 2)


def _errors(plan: Plan, chance: random.Random, nth: int, size: int) -> None:
    def life() -> str:
        step = chance.choice(["commit.written", "store.begin", "source.written", "commit.written"])
        act = chance.choice(["busy", "full", "fault"])
        return f"{step}={act}@{chance.randint(1, 15)}+{chance.choice([1, 1, 3, 8])}"

    plan.lives = [life() for _ in range(3)]
    plan.mishaps = _kills(chance, size)


def _controls(plan: Plan, chance: random.Random, nth: int, size: int) -> None:
    for at in _times(chance, 2 * size):
        plan.mishaps.append(Mishap(*at, "pause", chance.uniform(0.1, 2.5), chance.choice(["FINISH", "ABORT"])))
    plan.mishaps += _kills(chance, 2 * size)
    plan.stops = nth % 2 == 0
    if plan.stops:
        plan.mishaps.append(Mishap(chance.uniform(0.5, 0.9), 0, "stop", 0, chance.choice(["FINISH", "ABORT"])))


def _queue(plan: Plan, chance: random.Random, nth: int, size: int) -> None:
    plan.others, plan.slots = size, 1
    plan.items, plan.source = min(plan.items, 150), "inline"
    plan.lives = [f"batch.admitted=kill@{chance.randint(1, 2)}", f"commit.done=kill@{chance.randint(1, 20)}",
                  "batch.over=kill@1"]
    plan.mishaps = _kills(chance, 2)


def _crowd(plan: Plan, chance: random.Random, nth: int, size: int) -> None:
    plan.others, plan.source, plan.rate_per_s = 3, "inline", 150
    plan.items = min(plan.items, 60 * size)
    plan.mishaps = _kills(chance, 2 * size)


def _pushback(plan: Plan, chance: random.Random, nth: int, size: int) -> None:
    plan.limit_per_s, plan.faults = 0.7 * plan.rate_per_s, 0
    plan.items //= 2
    plan.lives = [f"{chance.choice(['gate.before', 'gate.held'])}=kill@{chance.randint(1, 6)}" for _ in range(2)]
    plan.mishaps = _kills(chance, size)


def _ended(plan: Plan, chance: random.Random, nth: int, size: int) -> None:
    plan.mishaps = [Mishap(*at, "terminate") for at in _times(chance, 3 * size)]
    if nth % 2:
        plan.lives = ["", "commit.written=stall:300"]


def _big(plan: Plan, chance: random.Random, nth: int, size: int) -> None:
    plan.big, plan.source, plan.rate_per_s = True, ["file", "upload"][nth % 2], 60
    plan.items = chance.randrange(6_000, 14_000) * size
    steps = {"file": ("source.fetched", "source.written", "source.stored"), "upload": ("upload.written", "upload.done")}
    for _ in range(4):
        step = chance.choice([*steps[plan.source], "store.begin"])
        plan.lives.append(f"{step}=kill@{chance.randint(1, 4)}")


def _doomed(plan: Plan, chance: random.Random, nth: int, size: int) -> None:
    plan.dooms = ["budget", "time"][nth % 2]
    if plan.dooms == "budget":
        plan.permanent = 0.4
    plan.mishaps = [Mishap(0.3 * mishap.share, mishap.after_s, "kill") for mishap in _kills(chance, 2 * size)]
    plan.lives = [f"{chance.choice(['commit.written', 'commit.done', 'store.begin'])}=kill@{chance.randint(2, 12)}"]


def _redecoded(plan: Plan, chance: random.Random, nth: int, size: int) -> None:
    plan.redecodes, plan.deletes = True, nth % 2 == 1
    plan.mishaps = _kills(chance, size)


SCENARIOS: dict[str, Callable[[Plan, random.Random, int, int], None]] = {
    "killed": _killed, "steps": _steps, "frozen": _frozen, "full": _full, "readonly": _readonly, "cut": _cut,
    "upstream": _upstream, "clock": _clock, "locked": _locked, "slow": _slow, "errors": _errors,
    "controls": _controls, "queue": _queue, "crowd": _crowd, "pushback": _pushback, "ended": _ended, "big": _big, "doomed": _doomed,
    "redecoded": _redecoded,
}
