from __future__ import annotations
from pathlib import Path
from ..claim import Claims
from ..lab import Lab
from .bodies import bombs, endless, large
from .hosts import hosts
from .shares import shares
GIB = 1 << 30
def parts(lab, claims, repository, quick, seed):
    return {
        "large": lambda: large(lab, claims, 2 * GIB, 200 if quick else 400),
        "bombs": lambda: bombs(lab, claims, GIB if quick else 10 * GIB, 200 if quick else 400),
        "endless": lambda: endless(lab, claims, 600 if quick else 900),
        "hosts": lambda: hosts(lab, claims, 1_000 if quick else 10_000, False),
        "shares": lambda: shares(lab, claims, 6 if quick else 20, quick),
    }
