"""The decoders, driven with damaged input for a time."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

from ..claim import Claims
from ..lab import Lab
from .fuzz import fuzz


def parts(_lab: Lab, claims: Claims, repository: Path, quick: bool, _seed: int) -> dict[str, Callable[[], None]]:
    """What is proven, by name, in the order in which it is."""
    return {"fuzz": lambda: fuzz(claims, repository, 5 if quick else 20)}
