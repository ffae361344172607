"""Replies and lists of every vintage, read by the decoders: the project's own tests, and their figures."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from ..claim import Claims
from ..lab import Trouble

# Modules of the decoders' tests; damaged input is a part of its own.
DECODERS = ("connector::yahoo_chart", "source::jpx")
PASSED = re.compile(r"^test (\S+) \.\.\. ok$", re.MULTILINE)
ENDED = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed", re.MULTILINE)


def recordings(claims: Claims, repository: Path) -> None:
    """Those of others, if they are there, and the project's own always."""
    claims.part("Recordings of every vintage")
    shared = Path(os.environ.get("HAUL_SHARED_DATA", repository.parent / "shared" / "data"))
    charts, lists = _files(shared / "yahoo_chart"), _files(shared / "jpx")
    if not charts or not lists:
        print(f"    !!! NO RECORDINGS OF OTHERS at {shared}: only the project's own are read. "
              "HAUL_SHARED_DATA names another place.", flush=True)
    command = ["cargo", "test", "--locked", "-p", "haul-server", "--lib", "--", *DECODERS, "--skip", "fuzz",
               "--nocapture", "--test-threads", "1"]
    environment = dict(os.environ, CARGO_TERM_PROGRESS_WHEN="never", HAUL_SHARED_DATA=str(shared))
    ran = subprocess.run(command, cwd=repository, env=environment, check=False, capture_output=True, text=True)
    ended = ENDED.search(ran.stdout)
    if ended is None:
        raise Trouble(f"cargo test ended with status {ran.returncode}: {' '.join(ran.stderr.split())[-400:]}")
    passed, failed = int(ended[1]), int(ended[2])
    claims.check("every reply and list decodes, or has the fault that it should have",
                 ran.returncode == 0 and passed > 0, f"{passed} tests passed, {failed} failed")
    of_others = [name for name in PASSED.findall(ran.stdout) if "recorded" in name]
    skipped = ran.stderr.count("SKIPPED")
    if charts and lists:
        claims.check("the recordings of others were among them", bool(of_others) and not skipped,
                     f"{len(charts)} replies of charts, {len(lists)} lists, {len(of_others)} tests of them, "
                     f"{skipped} skipped")


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
