"""What no client would send."""

from __future__ import annotations

import http.client
import os
import random
import socket
import struct
import time

from ..claim import Claims
from ..lab import Lab
from .memory import resident_mib

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, HEADERS, RST_STREAM, PING, CONTINUATION = 4, 1, 3, 6, 9
PATH = "/haul.v1.HaulService/ListBatches"


def garbage(lab: Lab, claims: Claims, seed: int) -> None:
    """Each kind, and after each the server must still answer a client."""
    claims.part(f"Garbage at the port, seed {seed}")
    server = lab.server("garbage")
    server.start()
    port = int(server.address.rsplit(":", 1)[1])
    chance = random.Random(seed)
    before_mib = resident_mib(server.pid)

    def serves() -> bool:
        return server.haul("list", timeout_s=30).status == 0

    for what, act in (
        ("random bytes on 200 connections", lambda: _random_bytes(port, chance)),
        ("plain HTTP/1.1 requests", lambda: _plain(port)),
        ("wrong content types over HTTP/2 and HTTP/1.1", lambda: _content_types(port)),
        ("a header block of 8 MiB in CONTINUATION frames", lambda: _endless_headers(port)),
        ("HTTP/1.1 headers of 8 MiB", lambda: _huge_header(port)),
        ("20,000 streams opened and reset at once", lambda: _rapid_reset(port)),
        ("100,000 pings that nobody reads the answers of", lambda: _pings(port)),
        ("half a frame, and silence, on 200 connections", lambda: _half_frames(port, chance)),
    ):
        answer = act()
        claims.check(f"{what}: refused, and it serves on", serves(), answer)
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(1_000)]
    served = serves()
    for connection in idle:
        connection.close()
    claims.check("1,000 idle connections, and it serves on", served, f"{len(idle):,} open")
    after_mib = resident_mib(server.pid)
    claims.check("the server's memory did not run away", after_mib - before_mib < 128,
                 f"{before_mib:.0f} MiB before, {after_mib:.0f} after")
    panics = [line for line in (server.folder / "server.jsonl").read_text().splitlines() if "panicked" in line]
    claims.check("nothing panicked", not panics, panics[0][:200] if panics else "no line in its log")
    took_s = server.terminate()
    claims.check("SIGTERM ends it within 15 s", took_s <= 15, f"{took_s:.1f} s")


def _connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.settimeout(10)
    return connection


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _closed(connection: socket.socket) -> str:
    """What came before the other side closed, in short."""
    got = b""
    try:
        while data := connection.recv(1 << 16):
            got += data
            if len(got) > 1 << 20:
                break
    except socket.timeout:
        return f"still open after 10 s, {len(got):,} bytes came"
    except OSError as error:
        return f"{type(error).__name__}, {len(got):,} bytes came"
    finally:
        connection.close()
    return f"closed, {len(got):,} bytes came"


def _send(connection: socket.socket, data: bytes) -> None:
    try:
        connection.sendall(data)
    except OSError:
        pass


def _random_bytes(port: int, chance: random.Random) -> str:
    for n in range(200):
        connection = _connect(port)
        _send(connection, (PREFACE if n % 2 else b"") + chance.randbytes(chance.randint(1, 4_096)))
        connection.close()
    return "half of them behind a preface"


def _plain(port: int) -> str:
    said = []
    for method, path in (("GET", "/"), ("POST", PATH), ("GET", PATH), ("OPTIONS", "/")):
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        client.request(method, path, body=b"x" if method == "POST" else None)
        said.append(f"{method} {path.rsplit('/', 1)[0] or '/'} {client.getresponse().status}")
        client.close()
    return ", ".join(said)


def _literal(name: str, value: str) -> bytes:
    """A header without indexing (RFC 7541, 6.2.2); names and values below 127 bytes."""
    return b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def _head(content_type: str) -> bytes:
    headers = ((":method", "POST"), (":scheme", "http"), (":path", PATH), (":authority", "x"), ("content-type", content_type))
    return b"".join(_literal(*header) for header in headers)


def _content_types(port: int) -> str:
    for kind in ("text/plain", "application/json", "application/grpc+json", ""):
        connection = _connect(port)
        _send(connection, PREFACE + _frame(SETTINGS, 0, 0, b"") + _frame(HEADERS, 5, 1, _head(kind)))
        connection.recv(1 << 12)
        connection.close()
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    client.request("POST", PATH, body=b"{}", headers={"Content-Type": "application/json"})
    status = client.getresponse().status
    client.close()
    return f"HTTP/1.1 application/json: {status}"


def _endless_headers(port: int) -> str:
    connection = _connect(port)
    _send(connection, PREFACE + _frame(SETTINGS, 0, 0, b"") + _frame(HEADERS, 1, 1, _head("application/grpc")))
    filler = _literal("x-filler", "y" * 100) * 140
    for _ in range((8 << 20) // len(filler)):
        _send(connection, _frame(CONTINUATION, 0, 1, filler))
    return _closed(connection)


def _huge_header(port: int) -> str:
    connection = _connect(port)
    _send(connection, b"GET / HTTP/1.1\r\nHost: x\r\nX-Filler: " + b"y" * (8 << 20) + b"\r\n\r\n")
    return _closed(connection)


def _rapid_reset(port: int) -> str:
    connection = _connect(port)
    _send(connection, PREFACE + _frame(SETTINGS, 0, 0, b""))
    for n in range(20_000):
        stream = 2 * n + 1
        _send(connection, _frame(HEADERS, 5, stream, _head("application/grpc")) + _frame(RST_STREAM, 0, stream, b"\0\0\0\x08"))
    connection.settimeout(2)
    return _closed(connection)


def _pings(port: int) -> str:
    connection = _connect(port)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    _send(connection, PREFACE + _frame(SETTINGS, 0, 0, b""))
    connection.settimeout(5)
    ping = _frame(PING, 0, 0, os.urandom(8)) * 100
    sent = 0
    try:
        for _ in range(1_000):
            connection.sendall(ping)
            sent += 100
    except OSError:
        pass
    connection.close()
    return f"{sent:,} sent before it stopped reading or closed"


def _half_frames(port: int, chance: random.Random) -> str:
    connections = []
    for _ in range(200):
        connection = _connect(port)
        _send(connection, PREFACE + _frame(SETTINGS, 0, 0, b"")[: chance.randint(1, 8)])
        connections.append(connection)
    time.sleep(1)
    for connection in connections:
        connection.close()
    return "closed by us after 1 s"
