"""The programs that are proven, built from the tree as it is."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

PACKAGES = ("haul-server", "haul-client", "haul-sim")
PROGRAMS = ("hauld", "haul", "haul-sim")


def build(repository: Path, features: str = "") -> Path:
    """Builds them and answers with their folder. HAUL_PROVE_PROFILE=debug saves the optimised build. With features it is
    a folder of their own, so that nobody else meets a build that has them."""
    profile = os.environ.get("HAUL_PROVE_PROFILE", "release")
    if profile not in ("release", "debug"):
        raise SystemExit(f"prove: HAUL_PROVE_PROFILE is {profile!r}; it may be release or debug")
    command = ["cargo", "build", "--quiet", "--locked", "--bins"]
    for package in PACKAGES:
        command += ["-p", package]
    if profile == "release":
        command.append("--release")
    if features:
        command += ["--features", features]
    if subprocess.run(command, cwd=repository, check=False).returncode != 0:
        raise SystemExit("prove: the build failed")
    target = Path(os.environ.get("CARGO_TARGET_DIR", "target"))
    folder = repository / target / profile
    missing = [name for name in PROGRAMS if not (folder / name).exists()]
    if missing:
        raise SystemExit(f"prove: {folder} lacks {', '.join(missing)}")
    if not features:
        return folder
    own = folder / "with-features"
    own.mkdir(exist_ok=True)
    for name in PROGRAMS:
        (own / name).unlink(missing_ok=True)
        # The build links anew where it writes.
        os.link(folder / name, own / name)
    return own
