"""That the data is right, and what happens when something in front of it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

from ..claim import Claims
from ..lab import Lab
from ..tokyo.demo import list_codes
from .backfill import backfill
from .doctor import doctor
from .fuzz import fuzz
from .peer import peer
from .planted import planted
from .recordings import recordings
from .refused import refused, unreachable


def parts(lab: Lab, claims: Claims, repository: Path, quick: bool, seed: int) -> dict[str, Callable[[], None]]:
    """What is proven, by name, in the order in which it is."""
    listed = list_codes(lab)
    return {
        "recordings": lambda: recordings(claims, repository),
        "fuzz": lambda: fuzz(claims, repository, 3 if quick else 20),
        "planted": lambda: planted(lab, claims, repository, listed, 120 if quick else 300, seed),
        "peer": lambda: peer(lab, claims, listed, 40, seed),
        "backfill": lambda: backfill(lab, claims, listed),
        "refused": lambda: refused(lab, claims, 300 if quick else len(listed), "all,1" if quick else "all"),
        "unreachable": lambda: unreachable(lab, claims, 100 if quick else 1_000),
        "doctor": lambda: doctor(lab, claims, listed),
    }
