"""Callers of the contract, in another language: wire_driver.py STUBS WHAT ARGUMENT..., prints what it saw as JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
import uuid
from pathlib import Path
from typing import Any, AsyncIterator

sys.path.insert(0, sys.argv.pop(1))

import grpc  # noqa: E402
from google.rpc import error_details_pb2, status_pb2  # noqa: E402
from haul.v1 import batch_pb2, service_pb2, service_pb2_grpc, spec_pb2, watch_pb2  # noqa: E402

STREAMS_PER_CONNECTION = 100


def channel(address: str) -> grpc.aio.Channel:
    """A connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 500),
               ("grpc.initial_reconnect_backoff_ms", 100)]
    return grpc.aio.insecure_channel(address.removeprefix("http://"), options=options)


def stub(address: str) -> service_pb2_grpc.HaulServiceStub:
    """The service, over a connection of its own."""
    return service_pb2_grpc.HaulServiceStub(channel(address))


def reason(error: grpc.aio.AioRpcError) -> str:
    """What the error's ErrorInfo says; empty without one."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    return str(info.reason)
    return ""


def figures(batch: batch_pb2.Batch) -> list[Any]:
    """What a committed state is compared by."""
    p = batch.progress
    return [batch.revision, batch_pb2.Batch.State.Name(batch.state).removeprefix("STATE_"), p.total_items,
            p.succeeded_items, p.failed_items, p.skipped_items, p.canceled_items]


async def slow(asked: argparse.Namespace) -> Any:
    """Reads one message a second, however many there are, to the terminal event."""
    seen: list[Any] = []
    request = watch_pb2.WatchProgressRequest(name=f"batches/{asked.batch}")
    request.min_interval.FromMilliseconds(100)
    call = stub(asked.address).WatchProgress(request)
    started = time.monotonic()
    while True:
        message = await call.read()
        if message is grpc.aio.EOF:
            break
        kind = message.WhichOneof("event")
        if kind in ("snapshot", "update", "terminal"):
            seen.append([kind, time.monotonic() - started, message.conflated_count, *figures(getattr(message, kind))])
        if time.monotonic() - started < asked.seconds:
            await asyncio.sleep(1)
    return {"seen": seen, "code": (await call.code()).name}


class Watcher:
    """Watches one batch to its terminal event through every cut, and leaves at random."""

    def __init__(self, batch: str, chance: random.Random) -> None:
        self.name = f"batches/{batch}"
        self.chance = chance
        self.revision = 0
        self.backwards = 0
        self.events = 0
        self.opened = 0
        self.terminals = 0
        self.bare_ends = 0
        self.revisions: set[int] = set()
        self.reasons: dict[str, int] = {}

    async def run(self, service: service_pb2_grpc.HaulServiceStub, patience_s: float) -> None:
        deadline = time.monotonic() + patience_s
        while not self.terminals and time.monotonic() < deadline:
            self.opened += 1
            request = watch_pb2.WatchProgressRequest(name=self.name)
            if self.revision:
                request.known_revisions.add(name=self.name, revision=self.revision)
            request.min_interval.FromMilliseconds(1000)
            leaves_at = time.monotonic() + self.chance.uniform(2, 30)
            call = service.WatchProgress(request)
            try:
                async for message in call:
                    self.take(message)
                    if not self.terminals and time.monotonic() > leaves_at:
                        call.cancel()
                        break
                else:
                    if not self.terminals:
                        self.bare_ends += 1
            except grpc.aio.AioRpcError as error:
                word = f"{error.code().name} {reason(error)}".strip()
                self.reasons[word] = self.reasons.get(word, 0) + 1
            except asyncio.CancelledError:
                pass
            if not self.terminals:
                await asyncio.sleep(self.chance.uniform(0, 1))

    def take(self, message: watch_pb2.WatchProgressResponse) -> None:
        self.events += 1
        kind = message.WhichOneof("event")
        if kind not in ("snapshot", "update", "terminal"):
            return
        revision = getattr(message, kind).revision
        if revision < self.revision or (kind != "terminal" and revision == self.revision):
            self.backwards += 1
        self.revision = max(self.revision, revision)
        self.revisions.add(revision)
        if kind == "terminal":
            self.terminals += 1


async def watchers(asked: argparse.Namespace) -> Any:
    """Many of them at once."""
    chance = random.Random(asked.seed)
    connections = [stub(asked.address) for _ in range(-(-asked.count // STREAMS_PER_CONNECTION))]
    crowd = [Watcher(asked.batch, random.Random(chance.random())) for _ in range(asked.count)]
    await asyncio.gather(*(
        watcher.run(connections[n % len(connections)], asked.patience) for n, watcher in enumerate(crowd)))
    reasons: dict[str, int] = {}
    for watcher in crowd:
        for word, count in watcher.reasons.items():
            reasons[word] = reasons.get(word, 0) + count
    return {
        "backwards": sum(watcher.backwards for watcher in crowd),
        "opened": sum(watcher.opened for watcher in crowd),
        "events": sum(watcher.events for watcher in crowd),
        "terminals": sorted({watcher.terminals for watcher in crowd}),
        "bare_ends": sum(watcher.bare_ends for watcher in crowd),
        "revisions": sorted(set().union(*(watcher.revisions for watcher in crowd))),
        "reasons": reasons,
    }


def inline_spec(url: str, keys: list[str], overlap_key: str = "") -> spec_pb2.BatchSpec:
    """A slow batch of these keys."""
    spec = spec_pb2.BatchSpec(**({"overlap_key": overlap_key} if overlap_key else {}))
    spec.yahoo_chart.base_url = url
    spec.fetch.requests_per_second = 0.5
    for key in keys:
        spec.inline_items.items.add(key=key)
    return spec


async def arrivals(asked: argparse.Namespace) -> Any:
    """Watches one batch to its end, and notes when each revision came."""
    request = watch_pb2.WatchProgressRequest(name=f"batches/{asked.batch}")
    request.min_interval.FromMilliseconds(100)
    came: list[list[Any]] = []
    async for message in stub(asked.address).WatchProgress(request):
        kind = message.WhichOneof("event")
        if kind in ("update", "terminal"):
            batch = getattr(message, kind)
            came.append([batch.revision, batch_pb2.Batch.State.Name(batch.state), message.conflated_count, time.time()])
    return came


async def race(asked: argparse.Namespace) -> Any:
    """Many StartBatch at once: with one request id, or with one overlap key."""
    request_id = str(uuid.uuid4())
    services = [stub(asked.address) for _ in range(10)]

    async def start(n: int) -> list[str]:
        if asked.by == "request_id":
            spec = inline_spec(asked.upstream, ["1301", "1332"])
            request = service_pb2.StartBatchRequest(spec=spec, request_id=request_id)
        else:
            spec = inline_spec(asked.upstream, ["1301", "1332"], overlap_key="one")
            request = service_pb2.StartBatchRequest(spec=spec, request_id=str(uuid.uuid4()))
        try:
            answer = await services[n % len(services)].StartBatch(request, timeout=30)
            return [answer.batch.name, service_pb2.StartBatchResponse.Outcome.Name(answer.outcome)]
        except grpc.aio.AioRpcError as error:
            return ["", f"{error.code().name} {reason(error)}"]

    return await asyncio.gather(*(start(n) for n in range(asked.count)))


async def steps(asked: argparse.Namespace) -> Any:
    """Start, watch, pause, resume, stop: what each of them answered."""
    service = stub(asked.address)
    told: dict[str, Any] = {}
    keys = [f"{n:04}" for n in range(1301, 1401)]
    started = await service.StartBatch(service_pb2.StartBatchRequest(spec=inline_spec(asked.upstream, keys)))
    name = started.batch.name
    told["start"] = service_pb2.StartBatchResponse.Outcome.Name(started.outcome)
    states: list[str] = []

    async def watch() -> None:
        async for message in service.WatchProgress(watch_pb2.WatchProgressRequest(name=name)):
            kind = message.WhichOneof("event")
            if kind in ("snapshot", "update", "terminal"):
                state = batch_pb2.Batch.State.Name(getattr(message, kind).state)
                if not states or states[-1] != state:
                    states.append(state)

    watching = asyncio.create_task(watch())

    async def seen(state: str) -> None:
        while state not in states:
            await asyncio.sleep(0.02)

    await seen("STATE_RUNNING")
    paused = await service.Pause(service_pb2.PauseRequest(name=name, reason="proof"))
    told["pause"] = batch_pb2.Batch.State.Name(paused.batch.state)
    await seen("STATE_PAUSED")
    resumed = await service.Resume(service_pb2.ResumeRequest(name=name))
    told["resume"] = batch_pb2.Batch.State.Name(resumed.batch.state)
    stopped = await service.Stop(service_pb2.StopRequest(name=name, reason="proof"))
    told["stop"] = batch_pb2.Batch.State.Name(stopped.batch.state)
    await watching
    told["watched"] = states
    try:
        await service.Resume(service_pb2.ResumeRequest(name=name))
        told["refused"] = "OK"
    except grpc.aio.AioRpcError as error:
        told["refused"] = f"{error.code().name} {reason(error)}"
    return told


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("arrivals", "slow", "watchers", "race", "steps"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--address", required=True)
    parser.add_argument("--upstream", default="")
    parser.add_argument("--batch", default="")
    parser.add_argument("--by", default="request_id")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--patience", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    drivers = {"arrivals": arrivals, "slow": slow, "watchers": watchers, "race": race, "steps": steps}

    async def run() -> Any:
        return await asyncio.wait_for(drivers[asked.what](asked), asked.patience + 60)

    text = json.dumps(asyncio.run(run()))
    if asked.out:
        asked.out.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
