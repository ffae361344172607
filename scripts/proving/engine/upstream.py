"""An upstream of this proof's own, with a log of its own: it serves what no decent upstream does."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Awaitable, Callable

BLOCK = bytes(1 << 16)
# What the kernel holds of an answer before anybody has read it.
SEND_BUFFER_BYTES = 1 << 18
BEAT_S = 0.005


@dataclass
class Arrival:
    """One request. Times by this machine's clock that never jumps."""

    at_s: float
    host: str
    kind: str
    key: str
    headers: dict[str, str]
    # Bytes of the answer that the system has taken.
    sent: int = 0
    # When the other side went away, if it did before the answer was whole.
    dropped_s: float | None = None


@dataclass
class Exchange:
    """A request and the way to its answer."""

    arrival: Arrival
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        """Ends with ConnectionError once the other side is gone."""
        self.writer.write(data)
        await self.writer.drain()
        self.arrival.sent += len(data)

    async def whole(self, status: str = "200 OK", body: bytes = b"{}", headers: str = "") -> None:
        """A decent answer."""
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
        await self.send(head.encode() + body)

    async def gone(self) -> None:
        """Says nothing until the other side goes away."""
        while await self.reader.read(1024):
            pass
        raise ConnectionError


Answer = Callable[[Exchange], Awaitable[None]]


async def decent(exchange: Exchange) -> None:
    """What is asked for, at once."""
    await exchange.whole()


@dataclass
class Upstream:
    """Answers GET /KIND/KEY on all addresses of this machine, by kind; `/KIND` that it does not know decently. By host
    where `by_host` knows it."""

    kinds: dict[str, Answer] = field(default_factory=dict)
    by_host: dict[str, Answer] = field(default_factory=dict)
    latency_s: float = 0.0

    def __post_init__(self) -> None:
        self.arrivals: list[Arrival] = []
        # The longest that it was kept from looking at what had arrived.
        self.stalled_s = 0.0
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        started.wait()

    def __enter__(self) -> Upstream:
        return self

    def __exit__(self, *_: Any) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    @property
    def url(self) -> str:
        """Of this machine's first address."""
        return f"http://127.0.0.1:{self.port}"

    def of(self, kind: str) -> list[Arrival]:
        """Requests of a kind, in the order of their arrival."""
        return [arrival for arrival in self.arrivals if arrival.kind == kind]

    def by(self, name: str) -> dict[str, list[Arrival]]:
        """Requests by their host, kind or key."""
        found: dict[str, list[Arrival]] = defaultdict(list)
        for arrival in self.arrivals:
            found[getattr(arrival, name)].append(arrival)
        return dict(found)

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._connected, "0.0.0.0", 0, backlog=4096))
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        self._loop.create_task(self._beat())
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.05))
        self._loop.close()

    async def _beat(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(BEAT_S)
            self.stalled_s = max(self.stalled_s, time.monotonic() - before - BEAT_S)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # So that what is counted as sent is what the system has taken.
        writer.transport.set_write_buffer_limits(high=0)
        arrival = None
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                arrival = _arrival(head)
                self.arrivals.append(arrival)
                if self.latency_s:
                    await asyncio.sleep(self.latency_s)
                answer = self.by_host.get(arrival.host) or self.kinds.get(arrival.kind, decent)
                await answer(Exchange(arrival, reader, writer))
                arrival = None
        except (OSError, EOFError, asyncio.LimitOverrunError):
            if arrival is not None:
                arrival.dropped_s = time.monotonic()
        except asyncio.CancelledError:
            pass
        finally:
            writer.transport.abort()


def _arrival(head: list[str]) -> Arrival:
    path = head[0].split(" ")[1].split("?")[0]
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    host = headers.get("host", "").rsplit(":", 1)[0]
    kind, _, key = path.lstrip("/").partition("/")
    return Arrival(time.monotonic(), host, kind, key, headers)
