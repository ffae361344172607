"""Another implementation of gRPC speaks the contract: Python's, with code generated from the project's proto."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from ..lab import Lab, Trouble
from ..python import installed

# Of PyPI.
PINNED = ("grpcio==1.85.1", "grpcio-tools==1.85.1", "protobuf==7.36.2", "googleapis-common-protos==1.76.0")


class Wire:
    """Runs `wire_driver.py`."""

    def __init__(self, lab: Lab, repository: Path) -> None:
        self._lab = lab
        self._python = installed(lab, PINNED)
        self._stubs = lab.place("stubs")
        proto = repository / "proto"
        files = sorted(str(path.relative_to(proto)) for path in proto.glob("haul/v1/*.proto"))
        made = [str(self._python), "-m", "grpc_tools.protoc", f"-I{proto}", f"--python_out={self._stubs}",
                f"--grpc_python_out={self._stubs}", *files]
        ran = subprocess.run(made, check=False, capture_output=True, text=True)
        if ran.returncode != 0:
            raise Trouble(f"protoc: {ran.stderr[-500:]}")

    def run(self, what: str, *arguments: Any, timeout_s: float = 300) -> Any:
        """Runs a driver to its end and answers with the JSON that it printed."""
        ran = self._lab.run(str(self._python), *self._command(what, arguments), timeout_s=timeout_s)
        if ran.status != 0:
            raise Trouble(f"{what}: status {ran.status}, {ran.said[-500:]}")
        return json.loads(ran.stdout)

    def begin(self, what: str, *arguments: Any) -> Begun:
        """Starts a driver that goes on."""
        out = self._lab.folder / f"{what}.json"
        log = self._lab.folder / f"{what}.txt"
        command = self._command(what, ("--out", out, *arguments))
        return Begun(what, self._lab.spawn(str(self._python), *command, log=log), out, log)

    def _command(self, what: str, arguments: tuple[Any, ...]) -> list[Any]:
        return [Path(__file__).with_name("wire_driver.py"), self._stubs, what, *arguments]


class Begun:
    """A driver at work."""

    def __init__(self, what: str, process: subprocess.Popen[bytes], out: Path, log: Path) -> None:
        self._what, self._process, self._out, self._log = what, process, out, log

    def ended(self, timeout_s: float) -> Any:
        """Waits for its end and answers with the JSON that it wrote."""
        try:
            status = self._process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise Trouble(f"{self._what} had not ended after {timeout_s:.0f} s") from None
        if status != 0:
            raise Trouble(f"{self._what}: status {status}, {self._log.read_text()[-500:]}")
        return json.loads(self._out.read_text())
