"""Every decoder reads damaged input for so many seconds: it never panics, never hangs and never invents."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from ..claim import Claims

# What the tests call them.
DECODERS = ("chart", "list, .xls", "list, .xlsx", "list, CSV", "file, lines", "file, CSV", "file, NDJSON")
EXECUTIONS_MIN = 500
TOLD = re.compile(r"^fuzz (.+): (\d+) executions in ([\d.]+) s$", re.MULTILINE)


def fuzz(claims: Claims, repository: Path, seconds: int) -> None:
    """One claim for each decoder."""
    claims.part(f"Decoders read damaged input, {seconds} s each")
    command = ["cargo", "test", "--quiet", "--locked", "-p", "haul-server", "--lib", "--", "fuzz::", "--nocapture"]
    environment = {**os.environ, "HAUL_FUZZ_SECONDS": str(seconds)}
    ran = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=False)
    told = {name: (int(executions), took) for name, executions, took in TOLD.findall(ran.stderr)}
    for name in DECODERS:
        executions, took = told.get(name, (0, "0"))
        claims.check(f"{name}: nothing invented, no panic", executions >= EXECUTIONS_MIN,
                     f"{executions:,} executions in {took} s")
    last = " ".join((ran.stdout + ran.stderr).split())[-300:]
    claims.check("all of them ended well", ran.returncode == 0, f"status {ran.returncode}, {last!r}")
