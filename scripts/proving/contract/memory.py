"""How much memory a process holds."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any


def resident_mib(pid: int) -> float:
    """Resident memory now."""
    return _field(pid, "VmRSS")


def peak_mib(pid: int) -> float:
    """The most that it ever held."""
    return _field(pid, "VmHWM")


def _field(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"{name} of {pid}")


class Sampler:
    """Notes a process's memory each second, in the background."""

    def __init__(self, pid: int) -> None:
        self.samples: list[float] = []
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(1.0):
            try:
                self.samples.append(resident_mib(self._pid))
            except (FileNotFoundError, ProcessLookupError, ValueError):
                return
