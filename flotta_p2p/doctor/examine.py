"""Runs the checks, each within a limit, and lets none of them break the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, TypeVar

from flotta_p2p.doctor import company, folder, machine, network, secrets, storage
from flotta_p2p.doctor.finding import Finding, failed, of_error
from flotta_p2p.doctor.patient import Patient, ask_node, read_patient
from protocol.errors import Code, FlottaError

Result = TypeVar("Result")
Check = Callable[[Patient], Iterable[Finding]]
CHECK_LIMIT_S: Final = 15.0  # of one check: three looks of the store and one wait of the disk
_LIMIT_STEP: Final = "look at the disk and the network of this machine, then try again"

CHECKS: Final[tuple[Check, ...]] = (
    folder.node,
    folder.work_directory,
    folder.disk,
    secrets.node_keys,
    secrets.person_key,
    secrets.projects,
    storage.database,
    storage.retention,
    company.sources,
    network.interfaces,
    network.ports,
    network.discovery,
    network.way_out,
    company.peers,
    company.strangers,
    company.joins,
    company.schedulers,
    machine.clock,
    company.messages,
    company.jobs,
    machine.open_files,
    machine.memory,
)


def examine(file: Path | None, workdir: Path | None, environ: Mapping[str, str]) -> list[Finding]:
    """Every finding, in the order of the checks. Raises nothing; takes CHECK_LIMIT_S for each check at most."""
    findings: list[Finding] = []
    read = _bounded("configuration", lambda: read_patient(file, workdir, environ), findings)
    patient = None
    if read is not None:
        findings.append(read[0])
        patient = read[1]
    if patient is not None:
        asked = patient
        patient = _bounded("node", lambda: ask_node(asked), findings) or patient
        for check in CHECKS:
            findings += _run(check, patient, findings)
    findings += _bounded("versions", lambda: list(machine.versions()), findings) or []
    return findings


def _run(check: Check, patient: Patient, findings: list[Finding]) -> list[Finding]:
    return _bounded(check.__name__.replace("_", " "), lambda: list(check(patient)), findings) or []


def _bounded(name: str, look: Callable[[], Result], findings: list[Finding]) -> Result | None:
    """What `look` returns within CHECK_LIMIT_S, else None and a finding: a disk that does not answer holds a thread
    for ever, and a mistake of ours in one check must not hide the others.
    """
    results: list[Result] = []
    faults: list[Exception] = []

    def run() -> None:
        try:
            results.append(look())
        except Exception as error:  # the outermost frame of this thread
            faults.append(error)

    thread = threading.Thread(target=run, name=f"doctor {name}", daemon=True)
    thread.start()
    thread.join(CHECK_LIMIT_S)
    if results:
        return results[0]
    match faults:
        case []:
            findings.append(failed(name, f"no answer within {CHECK_LIMIT_S:g} s", _LIMIT_STEP, Code.TIMED_OUT))
        case [FlottaError() as error]:
            findings.append(of_error(name, error))
        case [OSError() as error]:
            seen = f"this user may not look at it, or it cannot be read: {error}"
            findings.append(failed(name, seen, "run doctor as the user of the node", Code.FOLDER_UNUSABLE))
        case [error]:
            seen = f"a mistake in flotta-p2p itself: {type(error).__name__}: {error}"
            findings.append(failed(name, seen, "report it with this line", Code.INTERNAL))
    return None
