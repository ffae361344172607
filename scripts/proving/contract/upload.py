"""A million keys over connections that are cut."""

from __future__ import annotations

import random
import socket
import threading
from typing import Any

from ..claim import Claims
from ..lab import Lab, free_port
from .memory import peak_mib

KEY_BYTES = 60


def upload(lab: Lab, claims: Claims, count: int, cuts: int, seed: int) -> None:
    """`haul upload` through a proxy that cuts its connections."""
    claims.part(f"{count:,} keys of {KEY_BYTES} bytes uploaded, the connection cut {cuts} times, seed {seed}")
    server = lab.server("upload")
    server.start()
    spec = lab.spec("upload/spec", {
        "uploadedItems": {}, "yahooChart": {"baseUrl": "http://127.0.0.1:9"}, "notBefore": "2999-01-01T00:00:00Z",
    })
    server.begin_batch(spec, "upload")
    keys = [f"{n:0{KEY_BYTES}}" for n in range(count)]
    random.Random(seed).shuffle(keys)
    file = lab.write("upload/keys.txt", "".join(f"{key}\n" for key in keys))
    before_mib = peak_mib(server.pid)
    proxy = Cutting(int(server.address.rsplit(":", 1)[1]), sum(map(len, keys)), cuts, seed)
    try:
        ran = lab.run("haul", "upload", "--server", proxy.address, "upload", file, timeout_s=600)
    finally:
        proxy.close()
    peak = peak_mib(server.pid)
    batch = server.batch("upload")
    stored = server.store.value("SELECT count(*) FROM batch_execution_details")
    distinct = server.store.value("SELECT count(DISTINCT item_key) FROM batch_execution_details")
    in_order = server.store.rows(
        "SELECT item_key FROM batch_execution_details ORDER BY item_index LIMIT 1000 OFFSET ?", count // 2)
    server.kill()
    claims.check("haul upload ends with status 0", ran.status == 0,
                 f"{ran.status}, {proxy.cut} cuts, {ran.seconds:.1f} s, {count / ran.seconds:,.0f} keys/s"
                 + (f", {ran.said[-200:]}" if ran.status else ""))
    claims.check("every cut was made", proxy.cut == cuts, f"{proxy.cut}")
    claims.check("each key is there once", stored == distinct == count, f"{stored:,} rows, {distinct:,} keys")
    claims.check("in the order of the file", [row[0] for row in in_order] == keys[count // 2 : count // 2 + 1000],
                 "1,000 compared in the middle")
    claims.check("sealed, and waits for its time", batch["state"] == "STATE_QUEUED", batch["state"])
    claims.check("the server's memory is bounded", peak < 256, f"{peak:.0f} MiB at most, {before_mib:.0f} before")


class Cutting:
    """A TCP proxy that cuts what goes through it, each time after another share of all bytes."""

    def __init__(self, port: int, size: int, cuts: int, seed: int) -> None:
        self._port, self.cut, self._cuts = port, 0, cuts
        chance = random.Random(seed)
        self._shares = [chance.uniform(0.3, 0.9) * size / (cuts + 1) for _ in range(cuts)]
        self._listener = socket.create_server(("127.0.0.1", free_port()))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """No more connections."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._port))
            budget = self._shares[self.cut] if self.cut < self._cuts else float("inf")
            threading.Thread(target=self._forward, args=(client, server, budget, True), daemon=True).start()
            threading.Thread(target=self._forward, args=(server, client, float("inf"), False), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, budget: float, counts: bool) -> None:
        try:
            while data := source.recv(1 << 16):
                budget -= len(data)
                if counts and budget < 0:
                    self.cut += 1
                    break
                sink.sendall(data)
        except OSError:
            pass
        for side in (source, sink):
            _shut(side)


def _shut(side: Any) -> None:
    try:
        side.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    side.close()
