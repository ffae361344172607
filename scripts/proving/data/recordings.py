"""Real replies of every vintage, and broken ones by the thousand, read by the decoders: the project's own tests, and their
figures."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from ..claim import Claims
from ..lab import Trouble

# Parts of the names of the tests concerned.
RECORDED = ("recorded", "recording", "observed", "vintage", "golden")
FUZZ = ("fuzz",)
ENDED = re.compile(r"^test result: (\w+)\. (\d+) passed; (\d+) failed", re.MULTILINE)
NAMED = re.compile(r"^test (\S+) \.\.\. (\w+)", re.MULTILINE)


def recordings(claims: Claims, repository: Path, fuzz_seconds: int) -> None:
    """Runs them and counts."""
    claims.part(f"Recordings of every vintage, and fuzzing for {fuzz_seconds} s each")
    shared = Path(os.environ.get("HAUL_SHARED_DATA", repository.parent / "shared" / "data"))
    charts, lists = _files(shared / "yahoo_chart"), _files(shared / "jpx")
    if charts:
        print(f"    recordings of others: {len(charts)} of charts, {len(lists)} lists of issues", flush=True)
    else:
        print(f"    !!! NO RECORDINGS OF OTHERS at {shared}: only the project's own are read. Name another place in "
              f"HAUL_SHARED_DATA.", flush=True)
    own = [path for path in repository.glob("server/**/fixture*/**/*") if path.is_file()]
    print(f"    recordings of the project's own: {len(own)}", flush=True)

    said = _run(claims, repository, "every recording decodes, or has the fault that it should have", RECORDED, {})
    skipped = [line for line in said.splitlines() if line.startswith("SKIPPED")]
    claims.check("none of them was skipped, if the recordings are there", not (charts and skipped),
                 f"{len(skipped)} skipped, {len(charts)} files of charts, {len(lists)} lists")
    said = _run(claims, repository, "no broken body ends the program or makes a row of nothing", FUZZ,
                {"HAUL_FUZZ_SECONDS": str(fuzz_seconds)})
    executions = [line.strip() for line in said.splitlines() if "executions" in line]
    for line in executions:
        print(f"    {line}", flush=True)
    claims.check("every fuzz test says how often it ran", bool(executions), f"{len(executions)} tell")


def _run(claims: Claims, repository: Path, claim: str, names: tuple[str, ...], settings: dict[str, str]) -> str:
    command = ["cargo", "test", "--quiet", "--locked", "--workspace", "--lib", "--", "--format", "pretty", "--nocapture",
               *names]
    environment = dict(os.environ, CARGO_TERM_PROGRESS_WHEN="never", **settings)
    ran = subprocess.run(command, cwd=repository, env=environment, check=False, capture_output=True, text=True)
    said = ran.stdout + "\n" + ran.stderr
    results = ENDED.findall(said)
    if not results:
        raise Trouble(f"cargo test ended with status {ran.returncode}: {' '.join(ran.stderr.split())[-400:]}")
    passed, failed = (sum(int(result[number]) for result in results) for number in (1, 2))
    broken = [name for name, result in NAMED.findall(said) if result == "FAILED"]
    claims.check(claim, ran.returncode == 0 and passed > 0,
                 f"{passed} tests passed, {failed} failed" + (f": {', '.join(broken)}" if broken else ""))
    return said


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
