"""Every row of the chaos suite, and so many kills in all."""

from __future__ import annotations

import math
from pathlib import Path

from ..build import build
from ..chaos import Suite
from ..chaos.plan import SCENARIOS
from ..claim import Claims
from ..lab import Lab

# Two at a time, as scripts/chaos does.
JOBS = 2
# Scenarios of which a run has the most kills: they are repeated until there are as many as are wanted.
DEADLIEST, KILLS_A_RUN = ("killed", "steps"), 5
QUICK = ("killed", "controls")


def chaos(lab: Lab, claims: Claims, repository: Path, kills: int, quick: bool, seed: int) -> None:
    """Runs with the build that can be told where to die; the other one is put back."""
    ground = Lab(build(repository, "haul-server/failpoints"), lab.keep)
    try:
        suite = Suite(ground, claims, repository, quick)
        names = list(QUICK if quick else SCENARIOS)
        made = suite.runs(names, len(names), seed, JOBS, False)
        while made < kills:
            # Far from the seeds of the runs before.
            seed += 1_000
            made += suite.runs(list(DEADLIEST), math.ceil((kills - made) / KILLS_A_RUN), seed, JOBS, False)
    finally:
        ground.close()
        build(repository)
    claims.check(f"at least {kills} kills in all", made >= kills, f"{made}")
