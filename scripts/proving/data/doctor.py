"""hauld doctor: what stands between a machine and a run, made to stand there."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
from typing import Any

from ..claim import Claims
from ..lab import Lab, Ran
from ..page import web_page
from .job import job, whole_list

OTHERS, MACHINE = 1, 2
# What may make a filesystem of its own: an administrator, or whoever may be one in a namespace.
NAMESPACES = (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"])


def doctor(lab: Lab, claims: Claims, listed: list[str]) -> None:
    """Nothing wrong, then one thing at a time."""
    claims.part("hauld doctor")
    sim = lab.simulator("doctor", "--items", 50)
    data = lab.place("doctor/data")
    data.chmod(stat.S_IRWXU)
    well = lab.spec("doctor/well", job(whole_list(sim), sim.url))

    def look(spec: Any = well, folder: Any = data) -> Ran:
        return lab.run("hauld", "doctor", "--data-dir", folder, "--spec", spec, "-o", "json")

    ran = look()
    statuses = {status: sum(check["status"] == status for check in _checks(ran)) for status in ("OK", "WARN", "FAIL")}
    claims.check("against a simulator that is well: status 0", ran.status == 0 and not statuses["FAIL"],
                 f"status {ran.status}, " + ", ".join(f"{count} {status}" for status, count in statuses.items())
                 + f", {len(sim.log().requests)} requests")
    claims.check("it asks once for the list and once for a chart", sorted(
        request.endpoint for request in sim.log().requests) == ["chart", "list"], f"{len(sim.log().requests)} requests")

    with web_page() as url:
        # The code to try is taken from the list, unless the spec names one.
        listing = {"jpxListing": {"uri": f"{url}/data_j.xls", "includeCodes": listed[:1]}}
        page = lab.spec("doctor/page", job(listing, sim.url))
        _finds(claims, "a list that is a web page", look(page), OTHERS, "list", "html")
    sim.refuse("all")
    _finds(claims, "an upstream that refuses", look(), OTHERS, "upstream", "429")
    sim.refuse("down:html")
    _finds(claims, "an upstream that shows a page of excuses", look(), OTHERS, "upstream", "html")
    sim.refuse("none")
    gone = lab.simulator("doctor-gone")
    gone.kill()
    nobody = lab.spec("doctor/nobody", job(whole_list(sim), gone.url))
    _finds(claims, "an upstream that is not there", look(nobody), OTHERS, "upstream", "connect")
    _finds(claims, "a data folder that is a file", look(folder=lab.write("doctor/file", "x")), MACHINE,
           "folders", "file")
    server = lab.server("doctor-running").start()
    ran = look(folder=server.data_dir)
    claims.check("a server that runs on the folder is no fault, and is named",
                 ran.status == 0 and server.address.removeprefix("http://") in ran.stdout,
                 f"status {ran.status}, {_told(ran, 'lock')}")
    server.kill()
    _filesystems(lab, claims, well)


def _filesystems(lab: Lab, claims: Claims, spec: Any) -> None:
    """Read-only, and too small: a filesystem in memory, seen by one process alone."""
    folder = lab.place("doctor/mounted")
    hauld = lab.binaries / "hauld"

    def mounted(options: str) -> list[str]:
        command = f'mount -t tmpfs -o {options} tmpfs "$1" && exec "$2" doctor --data-dir "$1" --spec "$3" -o json'
        return ["sh", "-c", command, "sh", str(folder), str(hauld), str(spec)]

    usable = [prefix for prefix in NAMESPACES if shutil.which(prefix[0]) and subprocess.run(
        [*prefix, "sh", "-c", 'mount -t tmpfs tmpfs "$1"', "sh", str(folder)], check=False, capture_output=True,
    ).returncode == 0]
    if not usable:
        print("    !!! NOT PROVEN HERE: this account may mount nothing, so no folder is read-only or full", flush=True)
        return
    for case, options, words in (
        ("a read-only folder", "ro,mode=700", ("data", "read-only")),
        ("little free space", "size=16m,mode=700", ("space", "free")),
    ):
        program, *arguments = [*usable[0], *mounted(options)]
        _finds(claims, case, lab.run(str(shutil.which(program)), *arguments), MACHINE, "folders", *words)


def _finds(claims: Claims, case: str, ran: Ran, status: int, group: str, *words: str) -> None:
    """What fails is of this group alone, says these words, and says what to do."""
    failed = [check for check in _checks(ran) if check["status"] == "FAIL"]
    said = " | ".join(f"{check['name']}: {check['message']} → {check['fix']}" for check in failed)
    holds = (ran.status == status and bool(failed) and {check["group"] for check in failed} == {group}
             and all(check["fix"] for check in failed) and all(word in said.lower() for word in words))
    claims.check(f"{case}: status {status}, and it is named with a way out", holds,
                 f"status {ran.status}, {said[:260]}")


def _told(ran: Ran, name: str) -> str:
    return " ".join(str(check["message"]) for check in _checks(ran) if check["name"] == name)


def _checks(ran: Ran) -> list[dict[str, Any]]:
    try:
        checks: list[dict[str, Any]] = json.loads(ran.stdout)["checks"]
    except (ValueError, KeyError, TypeError):
        return [{"group": "none", "name": "output", "status": "FAIL", "message": f"no findings: {ran.said[-200:]}",
                 "fix": ""}]
    return checks
