"""Answers that are too large, that unpack to too much, or that never end: each is its item's own affair."""

from __future__ import annotations

import asyncio
import gzip
import time
from dataclasses import dataclass

from ..claim import Claims, but
from ..contract.memory import peak_mib
from ..lab import Lab, Server
from .bombs import brotli_bomb, gzip_bomb
from .job import discarding, final_once, inline, outcomes, over
from .upstream import BLOCK, SEND_BUFFER_BYTES, Answer, Arrival, Exchange, Upstream

GIB, MIB = 1 << 30, 1 << 20
# A body that goes into the dataset.
STORED_MAX = MIB
# What the system holds between the two: the buffers of both ends, at their largest.
IN_TRANSIT = 12 * MIB
# Of a body that is unpacked and hashed by programs that are not optimised; by others what a spec gets that does not say.
DEBUG_BODY_MAX, BODY_MAX = MIB, 16 * MIB
# What all of it may add to the memory of the server, however large the answers are.
GROWTH_MIB = 64.0
RATE_PER_S = 60.0
WORKERS = 16
ATTEMPT_S, TRIES = 3.0, 2
# Where nothing hangs.
AMPLE_S = 30.0
# Beside the time that the rate takes.
LATE_S, DEBUG_LATE_S = 2.0, 6.0


@dataclass
class Trap:
    """A kind of answer, and what must come of its items."""

    answer: Answer
    reasons: tuple[str, ...]
    # Requests of an item: what lies in its nature is not repeated.
    tries: int = 1
    # Bytes that the upstream may get rid of, for each request; 0: any number.
    sent_max: int = 0
    # Seconds after which the server hangs up, at the latest; 0: not judged.
    dropped_within_s: float = 0


def large(lab: Lab, claims: Claims, size: int, decent: int) -> None:
    """Told in advance, in chunks, and up to the end of the connection; read and counted, and for the dataset."""
    claims.part(f"An answer of {size / GIB:g} GiB, among {decent} decent items")

    async def told(exchange: Exchange) -> None:
        await exchange.send(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        await _blocks(exchange, size)

    async def chunked(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(size // len(BLOCK)):
            await exchange.send(b"%x\r\n%s\r\n" % (len(BLOCK), BLOCK))
        await exchange.send(b"0\r\n\r\n")

    async def to_the_end(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        await _blocks(exchange, size)
        raise ConnectionError

    for name, most, placement in (("counted", _body_max(lab), "PLACEMENT_DISCARD"), ("stored", STORED_MAX, "PLACEMENT_STORE")):
        early = most + IN_TRANSIT
        traps = {"told": Trap(told, ("BODY_TOO_LARGE",), 1, IN_TRANSIT),
                 "chunked": Trap(chunked, ("BODY_TOO_LARGE",), 1, early),
                 "to-the-end": Trap(to_the_end, ("BODY_TOO_LARGE",), 1, early)}
        _spring(lab, claims, f"large-{name}", traps, decent, 4, placement, AMPLE_S)


def _body_max(lab: Lab) -> int:
    return BODY_MAX if lab.is_optimised else DEBUG_BODY_MAX


async def _blocks(exchange: Exchange, size: int) -> None:
    for _ in range(size // len(BLOCK)):
        await exchange.send(BLOCK)


def bombs(lab: Lab, claims: Claims, size: int, decent: int) -> None:
    """gzip and brotli, which the server says that it takes; one in another, and what it never asked for."""
    packed = gzip_bomb(size)
    brotli = brotli_bomb(size)
    claims.part(f"Bombs: {len(packed):,} bytes of gzip and {len(brotli):,} of brotli that become {size / GIB:g} GiB, "
                f"among {decent} decent items")
    nested = gzip_bomb(16 * MIB)

    def encoded(coding: str, body: bytes) -> Answer:
        async def answer(exchange: Exchange) -> None:
            await exchange.whole(body=body, headers=f"Content-Encoding: {coding}\r\n")
        return answer

    traps = {"gzip": Trap(encoded("gzip", packed), ("BODY_TOO_LARGE",)),
             "brotli": Trap(encoded("br", brotli), ("BODY_TOO_LARGE",)),
             # What is inside is the item's data: it is unpacked once, and counted as what it is.
             "nested": Trap(encoded("gzip", gzip.compress(nested)), ()),
             # Nobody asked for these, so they are taken as they come, packed.
             "twice": Trap(encoded("gzip, gzip", gzip.compress(nested)), ()), "zstd": Trap(encoded("zstd", nested), ())}
    asked = _spring(lab, claims, "bombs", traps, decent, 4, "PLACEMENT_DISCARD", AMPLE_S)
    codings = {arrival.headers.get("accept-encoding") for arrival in asked}
    claims.check("nothing else is asked for than what is unpacked", codings == {"gzip, br"} or codings == {"gzip,br"},
                 ", ".join(map(str, codings)))


def endless(lab: Lab, claims: Claims, decent: int) -> None:
    """Whatever never ends: fast, a byte a second, before the body, and not even begun."""
    claims.part(f"What never ends, among {decent} decent items; an attempt has {ATTEMPT_S:g} s, an item {TRIES} of them")

    def begun(head: bytes, more: bytes, pause_s: float) -> Answer:
        async def answer(exchange: Exchange) -> None:
            await exchange.send(head)
            while True:
                await exchange.send(more)
                if pause_s:
                    await asyncio.sleep(pause_s)
        return answer

    ok, chunked = b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    block = b"%x\r\n%s\r\n" % (len(BLOCK), BLOCK)
    late, cut = ("ATTEMPT_TIMEOUT",), ("TRUNCATED_BODY", "CONNECTION_BROKEN")
    # Whoever says a byte a second finds out with the second one after.
    hung = ATTEMPT_S + 3.0
    head_max = IN_TRANSIT + MIB
    traps = {
        "fast": Trap(begun(chunked, block, 0), ("BODY_TOO_LARGE",), 1, _body_max(lab) + IN_TRANSIT),
        "slow": Trap(begun(chunked, b"1\r\nx\r\n", 1.0), late, TRIES, 0, hung),
        "slow-length": Trap(begun(ok + b"Content-Length: 1000000\r\n\r\n", b"x", 1.0), late, TRIES, 0, hung),
        "slow-head": Trap(begun(ok, b"X", 0.1), late, TRIES, 0, hung),
        "fast-head": Trap(begun(ok, b"X-More: %s\r\n" % (b"x" * 4_000), 0), cut, TRIES, head_max, hung),
        "hints": Trap(begun(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", 0.02), late, TRIES, 0, hung),
        "chunk-head": Trap(begun(chunked + b"1", b";" + b"x" * 4_000, 0), cut, TRIES, head_max, hung),
        "silent": Trap(Exchange.gone, late, TRIES, 0, hung),
    }
    _spring(lab, claims, "endless", traps, decent, 2, "PLACEMENT_DISCARD", ATTEMPT_S)


def _spring(
    lab: Lab, claims: Claims, name: str, traps: dict[str, Trap], decent: int, each: int, placement: str,
    attempt_s: float,
) -> list[Arrival]:
    """One batch of decent items with so many of each trap between the first third of them: where nothing but traps is
    left, the upstream counts as down."""
    keys = [f"decent/{n}" for n in range(decent)]
    bad = [f"{kind}/{n}" for n in range(each) for kind in traps]
    step = max(decent // 3 // len(bad), 1)
    for place, key in enumerate(bad):
        keys.insert((place + 1) * (step + 1), key)
    server = lab.server(name).start()
    before = peak_mib(server.pid)
    with Upstream({kind: trap.answer for kind, trap in traps.items()}) as upstream:
        spec = discarding(upstream.url + "/{{ item.key | safe }}", requestsPerSecond=RATE_PER_S, workers=WORKERS,
                          attemptTimeout=f"{attempt_s:g}s", maxAttempts=TRIES, initialBackoff="0.5s",
                          maxBodyBytes=_body_max(lab))
        spec["httpFetch"]["body"]["placement"] = placement
        began = time.monotonic()
        server.begin_batch(lab.spec(f"{name}/spec", inline(keys) | spec), name)
        over(server, name, 120)
        took_s = time.monotonic() - began
        peak = peak_mib(server.pid)
        # Who sends now and then finds out the next time.
        judged = [arrival for kind, trap in traps.items() if trap.dropped_within_s for arrival in upstream.of(kind)]
        deadline = time.monotonic() + 3.0
        while any(arrival.dropped_s is None for arrival in judged) and time.monotonic() < deadline:
            time.sleep(0.05)
    _judge(lab, claims, server, name, traps, upstream, decent, each)
    server.kill()
    claims.check(f"{name}: the server's memory is bounded", peak - before <= GROWTH_MIB,
                 f"{peak:.0f} MiB at most, {before:.0f} before it began; {took_s:.1f} s")
    return upstream.arrivals


def _judge(
    lab: Lab, claims: Claims, server: Server, name: str, traps: dict[str, Trap], upstream: Upstream, decent: int, each: int,
) -> None:
    ended = outcomes(server.store, name)
    failing = sum(bool(trap.reasons) for trap in traps.values())
    final_once(claims, server.store, name, decent + each * (len(traps) - failing), each * failing)
    for kind, trap in traps.items():
        asked = upstream.of(kind)
        mine = [ended[f"{kind}/{n}"] for n in range(each)]
        unlike = {f"{state} {reason}" for state, reason in mine
                  if (state, reason in trap.reasons) != ("FAILED", True) and (state, trap.reasons) != ("SUCCEEDED", ())}
        sent = max(arrival.sent for arrival in asked)
        held_s = max((arrival.dropped_s or float("inf")) - arrival.at_s for arrival in asked)
        in_time = not trap.dropped_within_s or held_s <= trap.dropped_within_s
        figure = f"{mine[0][0]} {mine[0][1] or ''}".strip() + f", asked {len(asked)} times, at most {sent:,} bytes taken"
        figure += f" and {held_s:.1f} s held" if trap.dropped_within_s else ""
        claims.check(f"{name}, {kind}", not unlike and len(asked) == each * trap.tries and in_time
                     and (not trap.sent_max or sent <= trap.sent_max + SEND_BUFFER_BYTES), figure + but(unlike))
    good = upstream.of("decent")
    keys = {arrival.key for arrival in good}
    span_s = good[-1].at_s - good[0].at_s
    longest_s = max(b.at_s - a.at_s for a, b in zip(good, good[1:]))
    ideal_s, late_s = decent / RATE_PER_S, LATE_S if lab.is_optimised else DEBUG_LATE_S
    claims.check(f"{name}: the others are asked once each, and none waits for these",
                 len(good) == len(keys) == decent and span_s <= ideal_s + late_s and longest_s <= late_s,
                 f"{len(good)} requests of {len(keys)} items within {span_s:.1f} s, {ideal_s:.1f} s by the rate, "
                 f"{longest_s:.2f} s between two at most")
