"""A small disk of its own for a server's data."""

from __future__ import annotations

import subprocess
from pathlib import Path

from ..lab import Trouble

# The journal alone grows to 64.
SIZE_MIB = 128
# Those that are there now.
_mounted: list[Disk] = []
_PAGE = bytes(4_096)


class Disk:
    """Taken away when closed."""

    def __init__(self, at: Path) -> None:
        self.folder = at
        self._ballast = at / "ballast"
        at.mkdir(parents=True, exist_ok=True)
        _mount("-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tmpfs", str(at))
        _mounted.append(self)

    def fill(self) -> None:
        """Leaves no room at all."""
        with self._ballast.open("ab", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(_PAGE)
            except OSError:
                pass

    def make_room(self) -> None:
        """Gives it back."""
        self._ballast.unlink(missing_ok=True)

    def writable(self, is_so: bool) -> None:
        """From now on it can be written, or not. Nobody may have a file of it open for writing."""
        _mount("-o", f"remount,{'rw' if is_so else 'ro'}", str(self.folder))

    def close(self) -> None:
        """Lazily: a process that was just killed may be there for a moment more."""
        subprocess.run(["umount", "-l", str(self.folder)], check=False, capture_output=True)
        _mounted.remove(self)


def _mount(*arguments: str) -> None:
    ran = subprocess.run(["mount", *arguments], check=False, capture_output=True, text=True)
    if ran.returncode != 0:
        raise Trouble(f"mount {' '.join(arguments)}: {ran.stderr.strip()}")


def take_all_away() -> None:
    """Whatever is still in use."""
    for disk in list(_mounted):
        disk.close()


def may_mount(at: Path) -> str:
    """Why not, or nothing."""
    try:
        Disk(at).close()
    except (Trouble, OSError) as error:
        return str(error)
    return ""
