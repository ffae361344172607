"""A relay between the server and its upstream that breaks connections."""

from __future__ import annotations

import random
import socket
import struct
import threading


class Relay:
    """Passes bytes on. Some connections break by themselves in the middle of an answer, all of them when told to."""

    def __init__(self, port: int, chance: random.Random) -> None:
        self._port, self._chance = port, chance
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._closing = False
        self.broken = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Breaks what is open now."""
        with self._lock:
            pairs, self._open = self._open, []
        self.broken += len(pairs) // 2
        for end in pairs:
            _reset(end)

    def close(self) -> None:
        """Breaks everything and accepts no more."""
        self._closing = True
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while not self._closing:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._port), timeout=5)
            except OSError:
                _reset(near)
                continue
            far.settimeout(None)
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # One in eight breaks after so many bytes of answers.
            left = self._chance.randrange(100, 30_000) if self._chance.random() < 0.125 else 1 << 60
            with self._lock:
                self._open += [near, far]
            threading.Thread(target=self._pass, args=(near, far, 1 << 60), daemon=True).start()
            threading.Thread(target=self._pass, args=(far, near, left), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, left: int) -> None:
        try:
            while data := source.recv(min(65_536, max(left, 1))):
                sink.sendall(data)
                left -= len(data)
                if left <= 0:
                    self.broken += 1
                    break
        except OSError:
            pass
        with self._lock:
            self._open = [end for end in self._open if end not in (source, sink)]
        for end in (source, sink):
            _reset(end) if left <= 0 else _close(end)


def _close(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    end.close()


def _reset(end: socket.socket) -> None:
    try:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass
    _close(end)
