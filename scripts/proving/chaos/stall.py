"""How long this machine keeps a process waiting that would run: what is measured beside it is late by as much."""

from __future__ import annotations

import threading
import time

TICK_S = 0.005


class Stalls(threading.Thread):
    """Sleeps for ticks, and notes which of them took longer."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._late: list[tuple[float, float]] = []
        self._closing = False
        self.start()

    def run(self) -> None:
        """Until closed."""
        before = time.monotonic()
        while not self._closing:
            time.sleep(TICK_S)
            now = time.monotonic()
            if now - before > 3 * TICK_S:
                self._late.append((time.time(), now - before - TICK_S))
            before = now

    def longest_s(self, since_s: float) -> float:
        """The longest one since then."""
        return max((late_s for at_s, late_s in self._late if at_s > since_s), default=0.0)

    def longer_than(self, seconds: float, since_s: float) -> int:
        """How many there were since then that took longer."""
        return sum(late_s > seconds for at_s, late_s in self._late if at_s > since_s)

    def close(self) -> None:
        """Measures no more."""
        self._closing = True
