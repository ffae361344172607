"""Chaos: what is promised, while everything goes wrong that can.

`plan` draws what is done, `run` does it, `check` judges what came of it, `planted` judges the judge.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..claim import Claims, but
from ..lab import Lab, Trouble
from ..tokyo.demo import list_codes
from .disk import may_mount
from .plan import STEPS, Plan, draw
from .planted import may_be_spoilt, spoil
from .run import FAKETIME, Result, Run
from .stall import Stalls

# Of the short form: a death at every step takes longer.
QUICK = ("killed", "steps", "controls", "steps", "cut", "steps", "errors")


class Suite:
    """Runs, and what they came to."""

    def __init__(self, lab: Lab, claims: Claims, repository: Path, quick: bool) -> None:
        self._lab, self._claims, self._quick = lab, claims, quick
        self._listed = list_codes(lab)
        self._points = repository / "server" / "src" / "failpoint.rs"
        self._skipped: dict[str, str] = {}
        self._stalls = Stalls()

    def runs(self, scenarios: list[str], count: int, seed: int, jobs: int, self_test: bool) -> int:
        """So many runs, the scenarios by turns. Answers with the kills."""
        if self._quick and self_test:
            scenarios, count = [name for name in QUICK if name in scenarios] or scenarios, min(count, len(QUICK))
        self._claims.part(f"{count} runs, seeds {seed} to {seed + count - 1}")
        self._look_around(scenarios)
        turns: dict[str, int] = {}
        plans = []
        for number in range(count):
            scenario = scenarios[number % len(scenarios)]
            nth = turns.get(scenario, seed if self._quick else 0)
            turns[scenario] = nth + 1
            if scenario not in self._skipped:
                plans.append(draw(scenario, seed + number, nth, self._quick))
        with ThreadPoolExecutor(max_workers=max(jobs, 1)) as pool:
            results = list(pool.map(self._run, plans))
        kills = sum(result.kills for result in results)
        well = sum(not result.faults for result in results)
        self._claims.check("every run is as promised", well == len(results), f"{well} of {len(results)}, {kills} kills")
        if self_test:
            good = [result.evidence for result in results
                    if not result.faults and result.evidence is not None and may_be_spoilt(result.evidence)]
            if not good:
                raise Trouble("no run came to a result that can be spoilt")
            spoil(self._claims, good[0], self._lab.place("planted"))
            known = re.search(r"const STEPS[^=]*= \[(.*?)\]", self._points.read_text(encoding="utf-8"), re.DOTALL)
            missing = set(re.findall(r'"([^"]+)"', known[1] if known else "")) ^ set(STEPS)
            self._claims.check("every fail point of the server has its turn", known is not None and not missing,
                               f"{len(STEPS)}{but(missing)}")
        return kills

    def _look_around(self, scenarios: list[str]) -> None:
        without_disk = may_mount(self._lab.folder / "try") if {"full", "readonly"} & set(scenarios) else ""
        for name in ("full", "readonly"):
            if without_disk and name in scenarios:
                self._skipped[name] = f"no disk can be mounted here ({without_disk}); run it as root"
        if "clock" in scenarios and not FAKETIME.exists():
            self._skipped["clock"] = f"{FAKETIME} is not there; install libfaketime"
        for name, why in self._skipped.items():
            print(f"SKIPPED  {name}: {why}", flush=True)

    def _run(self, plan: Plan) -> Result:
        name = f"{plan.scenario}-{plan.seed}"
        print(f"    {plan.scenario} seed {plan.seed}: {plan}", flush=True)
        result = Run(self._lab, plan, name, self._listed, self._stalls).carry_out()
        said = "; ".join(f"{check}: {found}" for check, found in result.faults)
        self._claims.check(f"{plan.scenario} seed {plan.seed}", not result.faults,
                           result.figures + (f" — {said}" if said else ""))
        return result
