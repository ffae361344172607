"""The contract's own list of conformance tests: each by its name, with the tests that hold it, or why it is pending."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from ..claim import Claims, sample
from ..lab import Trouble
from .conformance_list import CONFORMANCE, Pending

PASSED = re.compile(r"^\s*PASS \[\s*[\d.]+s\] (?:\([^)]*\) )?(\S+) (\S+)")


def conformance(claims: Claims, repository: Path, quick: bool) -> None:
    """Runs the tests that the list names, once, and judges each name by its own. `quick`: they have run, and all of them
    passed; it is only seen that each name has its tests."""
    claims.part("Conformance tests of the contract, by name (docs/contract.md, section 17)"
                + (": that there are tests for each" if quick else ""))
    patterns = sorted({pattern for _, held in CONFORMANCE if not isinstance(held, Pending) for pattern in held})
    passed = _listed(repository) if quick else _run(repository, patterns)
    pending = 0
    for name, held in CONFORMANCE:
        if isinstance(held, Pending):
            pending += 1
            print(f"pending  {name}: {held.reason}", flush=True)
            continue
        # Like nextest's own filter: the name only, not the binary before it.
        by = {pattern: [test for test in passed if pattern in test.split(" ", 1)[-1]] for pattern in held}
        missing = [pattern for pattern, tests in by.items() if not tests]
        count = len({test for tests in by.values() for test in tests})
        claims.check(name, not missing, f"{count} tests" + (f", none of {sample(missing)}" if missing else ""))
    print(f"{pending} pending", flush=True)


def _listed(repository: Path) -> list[str]:
    """Names of all tests."""
    command = ["cargo", "nextest", "list", "--workspace", "--locked", "--message-format", "oneline", "--color", "never"]
    ran = subprocess.run(command, cwd=repository, check=False, capture_output=True, text=True)
    if ran.returncode != 0:
        raise Trouble(f"no list of tests: {ran.stderr[-500:]}")
    return ran.stdout.splitlines()


def _run(repository: Path, patterns: list[str]) -> list[str]:
    """Names of the tests that passed, among those that a pattern names."""
    expression = " + ".join(f"test({pattern})" for pattern in patterns)
    command = ["cargo", "nextest", "run", "--workspace", "--locked", "--no-fail-fast", "--status-level", "pass",
               "--color", "never", "-E", expression]
    environment = {**os.environ, "CARGO_TERM_PROGRESS_WHEN": "never", "NEXTEST_HIDE_PROGRESS_BAR": "1"}
    built = subprocess.run(["cargo", "build", "--workspace", "--bins", "--quiet", "--locked"], cwd=repository, check=False)
    if built.returncode != 0:
        raise Trouble("the build failed")
    ran = subprocess.run(command, cwd=repository, env=environment, check=False, capture_output=True, text=True)
    found = [match for line in ran.stderr.splitlines() if (match := PASSED.match(line))]
    if not found:
        raise Trouble(f"no test passed: {ran.stderr[-500:]}")
    return [f"{match[1]} {match[2]}" for match in found]
