"""A Python with packages of PyPI, for what proves and is no part of haul."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Sequence

from .lab import Lab, Trouble


def installed(lab: Lab, pinned: Sequence[str]) -> Path:
    """The interpreter, with these packages installed once below the target folder. The first one names the folder."""
    folder = lab.binaries.parent / "prove" / pinned[0].replace("==", "-")
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists() or done.read_text() != " ".join(pinned):
        probe = [sys.executable, "-c", "import ensurepip, venv"]
        if subprocess.run(probe, check=False, capture_output=True).returncode:
            _venv_package()
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *pinned]
        for command in ([sys.executable, "-m", "venv", "--clear", str(folder)], pip):
            ran = subprocess.run(command, check=False, capture_output=True, text=True)
            if ran.returncode != 0:
                raise Trouble(f"{pinned[0]} could not be installed from PyPI, so nothing is proven of it: "
                              f"{' '.join(ran.stderr.split())[-300:]}")
        done.write_text(" ".join(pinned))
    return python


def _venv_package() -> None:
    install = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", "python3-venv"]
    commands = [["apt-get", "update", "-qq"], install]
    if os.geteuid() != 0 or any(subprocess.run(command, check=False, capture_output=True).returncode
                                for command in commands):
        raise Trouble("install first: python3-venv")
