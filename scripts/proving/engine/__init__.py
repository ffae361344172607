"""What the engine must survive."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

from ..claim import Claims
from ..lab import Lab
from .bodies import bombs, endless, large
from .clock import clock
from .disk import slow_disk, store_gone
from .hosts import hosts
from .million import million
from .rows import chaos
from .shares import shares

GIB = 1 << 30


def parts(lab: Lab, claims: Claims, repository: Path, quick: bool, seed: int) -> dict[str, Callable[[], None]]:
    """What is proven, by name, in the order in which it is."""
    return {
        "shares": lambda: shares(lab, claims, 5 if quick else 20, quick),
        "large": lambda: large(lab, claims, 2 * GIB, 100 if quick else 300),
        "bombs": lambda: bombs(lab, claims, GIB if quick else 10 * GIB, 100 if quick else 300),
        "endless": lambda: endless(lab, claims, 600 if quick else 900),
        "clock": lambda: clock(lab, claims, 800 if quick else 1_800),
        "slow-disk": lambda: slow_disk(lab, claims, 600 if quick else 2_000, 11.0 if quick else 15.0),
        "store-gone": lambda: store_gone(lab, claims, 8 if quick else 60),
        "hosts": lambda: hosts(lab, claims, 500 if quick else 10_000),
        "million": lambda: million(lab, claims, 5_000 if quick else 1_000_000),
        "chaos": lambda: chaos(lab, claims, repository, 5 if quick else 300, quick, seed),
    }
