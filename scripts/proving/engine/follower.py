"""What somebody who looks on was told, and when by a clock that does not jump."""

from __future__ import annotations

import json
import subprocess
import threading
import time

from ..lab import Lab, Server, Trouble


class Follower(threading.Thread):
    """`haul results --follow` of one batch, to its end."""

    def __init__(self, lab: Lab, server: Server, batch: str) -> None:
        super().__init__(daemon=True)
        # When each item came, and its key.
        self.told: list[tuple[float, str]] = []
        self._process = lab.begin("haul", "results", batch, "--follow", "--server", server.address)
        self.start()

    def run(self) -> None:
        """Line by line, as they come."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.told.append((time.monotonic(), json.loads(line)["spec"]["key"]))

    def longest_s(self) -> float:
        """Between two items."""
        times = [at_s for at_s, _ in self.told]
        return max(b - a for a, b in zip(times, times[1:]))

    def ended(self) -> list[tuple[float, str]]:
        """All of it, once the batch is over."""
        try:
            status = self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            raise Trouble("haul results --follow goes on 30 s after the end") from None
        self.join()
        if status != 0:
            raise Trouble(f"haul results ended with status {status}")
        return self.told
