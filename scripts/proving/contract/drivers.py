"""Three clients in three languages, and buf by reflection, drive the same batch life."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from ..claim import Claims
from ..lab import Lab
from .wire import Wire


def python_steps(lab: Lab, claims: Claims, wire: Wire) -> None:
    """Python's gRPC, generated from the proto."""
    claims.part("Start, watch, pause, resume, stop, from Python")
    sim = lab.simulator("python")
    server = lab.server("python").start()
    told = wire.run("steps", "--address", server.address, "--upstream", sim.url)
    server.kill()
    watched = told.pop("watched")
    expected = {"start": "OUTCOME_STARTED", "pause": ("STATE_PAUSING", "STATE_PAUSED"),
                "resume": ("STATE_QUEUED", "STATE_RUNNING"), "stop": ("STATE_STOPPING", "STATE_STOPPED"),
                "refused": "FAILED_PRECONDITION BATCH_TERMINAL"}
    for step, words in expected.items():
        claims.check(f"{step} answers as the contract says", told[step] in ((words,) if isinstance(words, str) else words),
                     told[step])
    claims.check("the watch saw it run, pause and stop", watched[-1] == "STATE_STOPPED" and "STATE_PAUSED" in watched,
                 " ".join(watched))


def check_clients(claims: Claims, repository: Path, installed: Path) -> None:
    """The examples, as their READMEs say. `installed`: where the checks of a change put what they install."""
    claims.part("The example clients (Python, Node) and buf curl")
    found = sorted(installed.glob("buf-*/node_modules/.bin/buf")) or [Path(shutil.which("buf") or "buf")]
    ran = subprocess.run([str(repository / "scripts" / "clients"), "--buf", str(found[-1])], cwd=repository, check=False,
                         capture_output=True, text=True)
    for line in ran.stdout.splitlines():
        print(f"    {line}", flush=True)
    claims.check("scripts/clients ends with status 0", ran.returncode == 0,
                 str(ran.returncode) + (f": {ran.stderr[-300:]}" if ran.returncode else ""))
