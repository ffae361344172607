"""The contract, as its callers in other languages meet it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Callable

from ..claim import Claims
from ..lab import Lab
from .conformance import conformance
from .drivers import check_clients, python_steps
from .garbage import garbage
from .promises import promises
from .races import races
from .reconnecting import reconnecting
from .slow_reader import slow_reader
from .upload import upload
from .wire import Wire


def parts(lab: Lab, claims: Claims, repository: Path, quick: bool, seed: int) -> dict[str, Callable[[], None]]:
    """What is proven, by name, in the order in which it is."""
    wire = cache(lambda: Wire(lab, repository))
    return {
        "conformance": lambda: conformance(claims, repository, quick),
        "python": lambda: python_steps(lab, claims, wire()),
        "clients": lambda: check_clients(claims, repository, lab.binaries.parent / "ci"),
        "races": lambda: races(lab, claims, wire(), 100),
        "promises": lambda: promises(lab, claims, wire()),
        "slow-reader": lambda: slow_reader(lab, claims, wire(), 10 if quick else 60, 200 if quick else 1_000, not quick),
        "reconnecting": lambda: reconnecting(lab, claims, wire(), 100 if quick else 1_000, 4 if quick else 20, seed),
        "upload": lambda: upload(lab, claims, 100_000 if quick else 1_000_000, 10, seed),
        "garbage": lambda: garbage(lab, claims, seed),
    }
