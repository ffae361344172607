"""Who looks on from beginning to end, through every restart."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

from ..lab import PATIENCE_S, Lab, Trouble, kill

LABEL = "chaos"
# Who has not ended by then is connected, or waits for an answer.
CONNECTED_S = 0.5


class Witness:
    """Watchers of all batches of the label, and a follower of one batch's results."""

    def __init__(self, lab: Lab, address: str, folder: Path) -> None:
        self._lab, self._address, self._folder = lab, address, folder
        self._watchers: list[subprocess.Popen[bytes]] = []
        self._followers: dict[str, subprocess.Popen[bytes]] = {}

    def watch(self) -> None:
        """Begins another watcher."""
        name = f"watch-{len(self._watchers)}"
        self._watchers.append(self._begun(name, "watch", "--filter", f"labels.{LABEL}:yes", "-o", "json"))

    def follow(self, batch: str) -> None:
        """Follows the results of a batch."""
        self._followers[batch] = self._begun(f"results-{batch}", "results", batch, "--follow")

    def _begun(self, name: str, command: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Who meets a dead server at the very first is told so and ends; once it was connected it stays."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            process = self._lab.spawn("haul", command, "--server", self._address, *arguments,
                                      log=self._folder / f"{name}.txt", said=self._folder / f"{name}.jsonl")
            try:
                status = process.wait(timeout=CONNECTED_S)
            except subprocess.TimeoutExpired:
                return process
            if status == 0:
                return process
            if time.monotonic() > deadline:
                raise Trouble(f"haul {command} ended with status {status}")

    def events(self) -> list[list[dict[str, Any]]]:
        """What the watchers were told, once each was told the end of every batch that it was told of; or not, and then
        that is for others to judge."""
        paths = [self._folder / f"watch-{number}.jsonl" for number in range(len(self._watchers))]
        deadline = time.monotonic() + PATIENCE_S
        while not all(_all_over(_lines(path)) for path in paths) and time.monotonic() < deadline:
            time.sleep(0.1)
        for watcher in self._watchers:
            if watcher.poll() is not None:
                raise Trouble(f"haul watch ended with status {watcher.returncode}")
            kill(watcher)
        return [_lines(path) for path in paths]

    def results(self) -> dict[str, list[str]]:
        """Keys in the order in which the followers were told, each to its end."""
        told = {}
        for batch, follower in self._followers.items():
            try:
                status = follower.wait(timeout=30)
            except subprocess.TimeoutExpired:
                raise Trouble(f"haul results {batch} --follow goes on 30 s after the end") from None
            if status != 0:
                raise Trouble(f"haul results {batch} ended with status {status}")
            told[batch] = [item["spec"]["key"] for item in _lines(self._folder / f"results-{batch}.jsonl")]
        return told


def _all_over(events: list[dict[str, Any]]) -> bool:
    told = {batch["name"] if isinstance(batch, dict) else batch: kind
            for event in events for kind, batch in event.items()}
    return all(kind in ("terminal", "removed") for kind in told.values())


def _lines(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
