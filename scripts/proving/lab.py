"""A fresh folder and the processes in it. All of them are gone when the lab is closed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, TypeVar

from .request_log import RequestLog
from .store import Store

T = TypeVar("T")
PATIENCE_S = 30.0


class Trouble(Exception):
    """A proof cannot go on."""


@dataclass(frozen=True)
class Ran:
    """A command that has ended."""

    status: int
    stdout: str
    stderr: str
    seconds: float
    ended_s: float

    @property
    def said(self) -> str:
        """What a user reads of an error, on one line."""
        return " ".join(self.stderr.split())


class Lab:
    """Where a proof takes place."""

    def __init__(self, binaries: Path, keep: bool) -> None:
        self.binaries = binaries
        self.folder = Path(tempfile.mkdtemp(prefix="haul-prove-"))
        self.keep = keep
        self._processes: list[subprocess.Popen[bytes]] = []
        # Settings of whoever calls must not reach what is proven.
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("HAUL_")}
        # The simulator is on this machine.
        self._environment["HAUL_ALLOW_TARGETS"] = '["127.0.0.1"]'

    @property
    def is_optimised(self) -> bool:
        """Its programs are, so that figures of time and memory are those that people meet."""
        return self.binaries.name == "release"

    def close(self) -> None:
        """Ends every process, and removes the folder unless it is to be kept."""
        for process in self._processes:
            kill(process)
        if not self.keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def place(self, name: str) -> Path:
        """A folder of that name, made if need be."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def write(self, name: str, text: str) -> Path:
        """A file of that name."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def spec(self, name: str, spec: dict[str, Any]) -> Path:
        """A spec file."""
        return self.write(f"{name}.json", json.dumps(spec, ensure_ascii=False, indent=1))

    def run(self, program: str, *arguments: Any, timeout_s: float = 120) -> Ran:
        """Runs a command to its end."""
        command = [str(self.binaries / program), *map(str, arguments)]
        began = time.monotonic()
        process = subprocess.Popen(
            command, cwd=self.folder, env=self._environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        self._processes.append(process)
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            kill(process)
            raise Trouble(f"{program} {arguments[0]} had not ended after {timeout_s:.0f} s") from None
        ended_s, seconds = time.time(), time.monotonic() - began
        return Ran(process.returncode, out.decode(), err.decode(), seconds, ended_s)

    def begin(self, program: str, *arguments: Any) -> subprocess.Popen[bytes]:
        """Starts a process whose standard output is read as it comes."""
        process = subprocess.Popen(
            [str(self.binaries / program), *map(str, arguments)], cwd=self.folder, env=self._environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )
        self._processes.append(process)
        return process

    def spawn(
        self, program: str, *arguments: Any, log: Path, said: Path | None = None, environment: dict[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Starts a process that goes on; what it says is appended to `log`, its standard output to `said` if there is
        one."""
        with log.open("ab") as sink, (said or log).open("ab") as output:
            process = subprocess.Popen(
                [str(self.binaries / program), *map(str, arguments)], cwd=self.folder,
                env=self._environment | (environment or {}), stdin=subprocess.DEVNULL, stdout=output, stderr=sink,
            )
        self._processes.append(process)
        return process

    def simulator(self, name: str, *flags: Any) -> Simulator:
        """Starts a simulator and waits until it listens."""
        folder = self.place(name)
        port_file, log = folder / "simulator.port", folder / "simulator.jsonl"
        process = self.spawn(
            "haul-sim", "serve", "--port-file", port_file, "--log", log, *flags, log=folder / "simulator.txt"
        )
        return Simulator(f"http://127.0.0.1:{_port(process, port_file)}", log, process)

    def server(self, name: str) -> Server:
        """A server that is not started yet, with a data folder of its own."""
        return Server(self, self.place(name))


@dataclass(frozen=True)
class Simulator:
    """A simulator that listens."""

    url: str
    log_file: Path
    _process: subprocess.Popen[bytes]

    @property
    def list_url(self) -> str:
        """Where its list is."""
        return f"{self.url}/markets/statistics-equities/misc/tvdivq0000001vg2-att/data_j.xls"

    def log(self) -> RequestLog:
        """What reached it so far."""
        return RequestLog.read(self.log_file)

    def refuse(self, how: str) -> None:
        """From now on its edge refuses like this; "none" lifts it."""
        query = urllib.parse.urlencode({"how": how})
        request = urllib.request.Request(f"{self.url}/_sim/refuse?{query}", method="POST")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10):
            pass

    def kill(self) -> None:
        """Its port is free again."""
        kill(self._process)


class Server:
    """`hauld serve` on one data folder, started and killed at will."""

    # Another build may take its place.
    program = "hauld"
    # Where it listens; 0: on a port of the system's choice, another one after each start.
    port = 0

    def __init__(self, lab: Lab, folder: Path) -> None:
        self._lab = lab
        self.folder = folder
        self.data_dir = folder / "data"
        self._port_file = folder / "server.port"
        self._log = folder / "server.jsonl"
        # What earlier processes said: so many bytes.
        self._said_before = 0
        self._process: subprocess.Popen[bytes] | None = None
        self.address = ""
        # Beside that of all processes.
        self.environment: dict[str, str] = {}

    @property
    def store(self) -> Store:
        """Its store."""
        return Store(self.data_dir / "haul.db")

    def begin(self, *flags: Any) -> None:
        """Starts a process and does not wait for it."""
        self._port_file.unlink(missing_ok=True)
        self._said_before = self._log.stat().st_size if self._log.exists() else 0
        self._process = self._lab.spawn(
            self.program, "serve", "--data-dir", self.data_dir, "--listen", f"127.0.0.1:{self.port}",
            "--port-file", self._port_file, "--log-format", "json", *flags, log=self._log,
            environment=self.environment,
        )

    def listening(self) -> None:
        """Waits until it says that it listens. It writes its port earlier, while it may yet fail to start."""
        process = self._process
        assert process is not None

        def told() -> bool:
            is_over = process.poll() is not None
            with self._log.open("rb") as log:
                log.seek(self._said_before)
                if b'"message":"listening"' in log.read():
                    return True
            if is_over:
                raise Trouble(f"status {process.returncode} before it listened")
            return False

        until("the server listens", told)
        self.address = f"http://127.0.0.1:{int(self._port_file.read_text())}"

    def start(self, *flags: Any) -> Server:
        """Starts a process and waits until it listens."""
        self.begin(*flags)
        self.listening()
        return self

    def kill(self) -> None:
        """SIGKILL, at once."""
        if self._process is not None:
            kill(self._process)
            self._process = None

    def terminate(self, patience_s: float = PATIENCE_S) -> float:
        """SIGTERM, and waits for its end: how many seconds that took."""
        assert self._process is not None
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=patience_s)
        except subprocess.TimeoutExpired:
            raise Trouble(f"{self.program} goes on {patience_s:.0f} s after SIGTERM") from None
        self._process = None
        return time.monotonic() - began

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self._process is not None
        return self._process.pid

    @property
    def lives(self) -> bool:
        """Its process has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def status(self) -> int | None:
        """How its process ended, if it has."""
        return None if self._process is None else self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to its process, if it is there."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def haul(self, command: str, *arguments: Any, timeout_s: float = 120) -> Ran:
        """Runs a command of the client against it."""
        return self._lab.run("haul", command, "--server", self.address, *arguments, timeout_s=timeout_s)

    def begin_batch(self, spec: Path, batch_id: str) -> None:
        """Starts a batch, which must be accepted."""
        ran = self.haul("start", "-f", spec, "--id", batch_id)
        if ran.status != 0:
            raise Trouble(f"haul start: {ran.said}")

    def batch(self, batch_id: str) -> dict[str, Any]:
        """The batch as the client prints it."""
        ran = self.haul("get", batch_id, "-o", "json")
        if ran.status != 0:
            raise Trouble(f"haul get: {ran.said}")
        found: dict[str, Any] = json.loads(ran.stdout)
        return found


def until(what: str, probe: Callable[[], T], patience_s: float = PATIENCE_S, pause_s: float = 0.02) -> T:
    """Asks again and again until the answer is truthy."""
    deadline = time.monotonic() + patience_s
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise Trouble(f"{what}: not so after {patience_s:.0f} s")
        time.sleep(pause_s)


def free_port() -> int:
    """A port that nobody listens on, for a server that is to come back where it was."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL, and waits until it is gone."""
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait()


def _port(process: subprocess.Popen[bytes], port_file: Path) -> int:
    def told() -> int:
        if process.poll() is not None:
            raise Trouble(f"status {process.returncode} before {port_file.name} was written")
        return int(port_file.read_text()) if port_file.exists() else 0

    return until(f"{port_file.name} is written", told)
