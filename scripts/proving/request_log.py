"""The simulator's request log: what reached the upstream, and when."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

# Answers that ask for patience: they charge no attempt.
PUSH_BACKS = frozenset({"rate_limited", "http_429"})


@dataclass(frozen=True)
class Request:
    """One request as the simulator saw it. `at_s` is its arrival, seconds since the epoch."""

    seq: int
    at_s: float
    method: str
    path: str
    query: str
    endpoint: str
    key: str | None
    status: int
    fault: str | None
    permanent: bool


class RequestLog:
    """All requests so far, in the order of their arrival."""

    def __init__(self, requests: list[Request]) -> None:
        self.requests = requests
        self.charts = [request for request in requests if request.endpoint == "chart"]
        by_key: dict[str, list[Request]] = defaultdict(list)
        for request in self.charts:
            by_key[str(request.key)].append(request)
        self.by_key = dict(by_key)

    @classmethod
    def read(cls, path: Path) -> RequestLog:
        """Reads the log as it is now. Its last line may still be on its way: then it is left out."""
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        complete = text[: text.rfind("\n") + 1]
        log = cls([_request(line) for line in complete.splitlines()])
        if [request.seq for request in log.requests] != list(range(1, len(log.requests) + 1)):
            raise ValueError(f"{path}: the numbers of its lines have gaps")
        return log

    @property
    def keys(self) -> set[str]:
        """Keys that were asked for."""
        return set(self.by_key)

    @property
    def permanent_keys(self) -> set[str]:
        """Keys that the simulator refuses for good."""
        return {key for key, requests in self.by_key.items() if any(request.permanent for request in requests)}

    def count(self, fault: str) -> int:
        """Requests that met this fault."""
        return Counter(request.fault for request in self.charts)[fault]

    def arrivals_after(self, at_s: float) -> list[Request]:
        """Chart requests that arrived later than that."""
        return [request for request in self.charts if request.at_s > at_s]


def _request(line: str) -> Request:
    raw = json.loads(line)
    return Request(
        seq=raw["seq"],
        at_s=raw["at_us"] / 1e6,
        method=raw["method"],
        path=raw["path"],
        query=raw["query"],
        endpoint=raw["endpoint"],
        key=raw.get("key"),
        status=raw["status"],
        fault=raw["fault"],
        permanent=raw["permanent"],
    )
