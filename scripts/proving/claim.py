"""Claims and what came of them: a line each."""

from __future__ import annotations

from typing import Any, Iterable, Mapping


class Claims:
    """Counts claims and prints a line for each as it is decided."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0

    def part(self, title: str) -> None:
        """Says what the next claims are about."""
        print(f"\n{title}", flush=True)

    def check(self, claim: str, holds: bool, figure: str) -> None:
        """Decides one claim. `figure` is what was measured, whether it holds or not."""
        if holds:
            self.passed += 1
        else:
            self.failed += 1
        word = "ok" if holds else "FALLS SHORT"
        print(f"{word}  {claim}: {figure}", flush=True)

    def agree(self, claim: str, told: Mapping[str, Any]) -> None:
        """One value told by several witnesses, each with its name: all must say the same."""
        values = list(told.values())
        holds = all(value == values[0] for value in values)
        if holds:
            figure = f"{amount(values[0])} ({', '.join(told)})"
        else:
            figure = ", ".join(f"{name} {amount(value)}" for name, value in told.items())
        self.check(claim, holds, figure)

    def broken(self, part: str, error: BaseException) -> None:
        """A part that could not be carried through counts as one claim that falls short."""
        self.check(part, False, f"could not be carried through: {error}")

    def closing(self) -> str:
        """The last line."""
        return f"{self.passed} passed, {self.failed} failed"


def amount(value: Any) -> str:
    """A value as people read it."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, (set, frozenset)):
        return f"{len(value):,} keys"
    return str(value)


def sample(keys: Iterable[Any], most: int = 5) -> str:
    """Some of the keys, for a figure."""
    ordered = sorted(keys)
    shown = ", ".join(str(key) for key in ordered[:most])
    return f"{shown}, …" if len(ordered) > most else shown or "none"


def but(keys: Iterable[Any]) -> str:
    """The keys of which a claim does not hold, at the end of a figure; nothing where there are none."""
    found = list(keys)
    return f", but not {sample(found)}" if found else ""
