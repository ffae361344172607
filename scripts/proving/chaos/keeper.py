"""Keeps a server up: whenever its process is gone, another one is begun."""

from __future__ import annotations

import random
import socket
import threading
import time
from dataclasses import dataclass

from ..lab import Server, Trouble

RETRIES_MAX = 60


@dataclass
class Life:
    """One process of the server."""

    points: str
    began_s: float
    ended_s: float | None = None
    status: int | None = None
    listened: bool = False


class Keeper(threading.Thread):
    """Begins the server's lives, one after the other. Each has its fail points, until these are used up."""

    def __init__(self, server: Server, points: list[str], flags: list[str], chance: random.Random) -> None:
        super().__init__(daemon=True)
        self._server, self._points, self._flags, self._chance = server, list(points), flags, chance
        self._wanted = threading.Event()
        self._closing = False
        # Whoever holds it may stop the server without another one being begun.
        self.resting = threading.Lock()
        self.lives: list[Life] = []
        self.trouble = ""
        self._wanted.set()

    @property
    def deaths(self) -> int:
        """Processes that did not end in good order."""
        return sum(life.status not in (None, 0) for life in self.lives)

    def run(self) -> None:
        """Until closed."""
        failed = 0
        while not self._closing and failed < RETRIES_MAX:
            with self.resting:
                if self._closing:
                    return
                life = self._begin()
            while self._server.lives and not self._closing:
                time.sleep(0.005)
            if self._closing:
                return
            life.ended_s, life.status = time.time(), self._server.status
            failed = 0 if life.listened or life.points else failed + 1
            if failed:
                time.sleep(0.2)
            time.sleep(self._chance.choice([0, 0, 0.1, 0.4]))
        if not self._closing:
            self.trouble = f"the server does not start any more: status {self.lives[-1].status}"

    def _begin(self) -> Life:
        points = self._points.pop(0) if self._points else ""
        self._server.environment["HAUL_FAIL_POINTS"] = points
        life = Life(points, time.time())
        self.lives.append(life)
        self._server.begin(*self._flags)
        try:
            self._server.listening()
            life.listened = True
        except Trouble:
            pass
        return life

    def close(self) -> None:
        """No more lives after this one."""
        self._closing = True
        self.join(timeout=60)


def quiet_port(chance: random.Random) -> int:
    """A port that nobody listens on, and that the system gives to no connection either."""
    while True:
        port = chance.randrange(12_000, 30_000)
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
