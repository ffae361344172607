"""A server whose clock can be moved and whose disk can be made slow, or go away: a library stands between it and the
system. It is compiled here with the C compiler that Rust links with."""

from __future__ import annotations

import mmap
import struct
import subprocess
from pathlib import Path

from ..lab import Lab, Server, Trouble

SOURCE = Path(__file__).with_name("shim.c")


class Shim:
    """Of one server, from its next start on."""

    def __init__(self, lab: Lab, server: Server) -> None:
        library = lab.folder / "shim.so"
        if not library.exists():
            command = ["cc", "-O2", "-shared", "-fPIC", "-Wall", "-o", str(library), str(SOURCE)]
            try:
                ran = subprocess.run(command, check=False, capture_output=True, text=True)
            except FileNotFoundError:
                raise Trouble("install a C compiler: cc") from None
            if ran.returncode != 0:
                raise Trouble(f"cc: {' '.join(ran.stderr.split())[:500]}")
        told = server.folder / "shim"
        told.write_bytes(bytes(24))
        with told.open("r+b") as file:
            self._told = mmap.mmap(file.fileno(), 24)
        server.environment |= {"LD_PRELOAD": str(library), "PROOF_SHIM": str(told)}

    def move_clock(self, seconds: float) -> None:
        """The time of day is off by so much from now on; what never jumps goes on."""
        self._tell(0, int(seconds * 1e6))

    def slow_sync(self, seconds: float) -> None:
        """Each sync takes so much longer from its next one on."""
        self._tell(1, int(seconds * 1e6))

    def break_disk(self, is_broken: bool) -> None:
        """Whatever is synced, or written at a place in a file, fails from now on, as on a disk that is gone. What was read
        before is still there: the system keeps it."""
        self._tell(2, int(is_broken))

    def _tell(self, place: int, value: int) -> None:
        struct.pack_into("=q", self._told, 8 * place, value)
