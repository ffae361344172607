"""The Tokyo job, end to end."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

from ..claim import Claims
from ..lab import Lab
from .bad_input import bad_input
from .demo import list_codes, with_faults, without_faults
from .kill import kill
from .pause import pause
from .rate import rate

FAULT_SEED = 7


def parts(lab: Lab, claims: Claims, repository: Path, quick: bool, seed: int) -> dict[str, Callable[[], None]]:
    """What is proven, by name, in the order in which it is."""
    listed = list_codes(lab)
    demo_items = 800 if quick else None
    return {
        "demo": lambda: without_faults(lab, claims, listed, demo_items),
        "faults": lambda: with_faults(lab, claims, listed, demo_items, FAULT_SEED),
        "rate": lambda: rate(lab, claims, listed),
        "pause": lambda: pause(lab, claims, 2_000 if quick else 2_400),
        "kill": lambda: kill(lab, claims, 800 if quick else 2_000, 4 if quick else 10, seed),
        "bad-input": lambda: bad_input(lab, claims, listed),
    }
