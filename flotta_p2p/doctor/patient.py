"""What the checks look at: the configuration, and what the running node says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from actors.adapters.control_client import ControlClient
from actors.adapters.folder_lock import LockHolder, lock_holder
from actors.adapters.store import SAFETY_FILE
from flotta_p2p.configuration.read import read_configuration, read_home
from flotta_p2p.configuration.schema import Configuration, key_folder
from flotta_p2p.doctor.finding import Finding, failed, of_error, ok, warning
from protocol.errors import Code, ConfigError, FlottaError
from protocol.wire.control import AskPeers, AskStatus
from protocol.wire.jobs import AskJobs, JobList, JobStatus

ANSWER_LIMIT_S: Final = 4.0  # a report waits up to limits.REPORT_LIMIT_MS for its actors
# Faults of token files that come up while the configuration is read; the check of the projects tells them.
_OF_TOKEN_FILES: Final = (Code.KEY_FILE_UNSAFE, Code.KEY_FILE_MALFORMED, Code.FOLDER_UNUSABLE)


@dataclass(frozen=True)
class Patient:
    """`configuration` None: it does not read. `status` and `peers` None: no node runs, or it did not answer, and then
    `silence` says why.
    """

    workdir: Path
    configuration: Configuration | None
    holder: LockHolder | None = None
    status: dict[str, Any] | None = None
    peers: dict[str, Any] | None = None
    jobs: tuple[JobStatus, ...] = ()
    silence: FlottaError | None = None

    @property
    def in_use(self) -> bool:
        """Whether a node holds the work directory, also one that does not answer."""
        return self.status is not None or self.holder is not None

    @property
    def has_left(self) -> bool:
        """Whether the node that runs is out of its projects, as its operator wanted."""
        return self.status is not None and bool(self.status["left"])

    @property
    def is_standalone(self) -> bool:
        """As it runs, and else as it is configured."""
        if self.status is not None:
            return bool(self.status["mode"] == "standalone")
        return self.configuration is not None and self.configuration.mode == "standalone"

    @property
    def keys(self) -> Path:
        """The folder of the node's key files."""
        return key_folder(self.workdir) if self.configuration is None else self.configuration.keys

    @property
    def database(self) -> Path | None:
        """The file that holds what must survive a restart; None when nobody knows where it is."""
        if self.status is not None:
            told = self.status["database"]
            return self.workdir / SAFETY_FILE if told == "memory" else Path(told)
        if self.configuration is None:
            return None
        return self.configuration.database_file or self.workdir / SAFETY_FILE

    @property
    def resources(self) -> Path:
        database = self.database
        in_memory = database is not None and database == self.workdir / SAFETY_FILE
        return self.workdir / ("resources-memory" if in_memory else "resources")


def read_patient(file: Path | None, workdir: Path | None, environ: Mapping[str, str]) -> tuple[Finding, Patient | None]:
    """Reads the configuration; no patient when not even the work directory is known. Options as of the commands."""
    name = "configuration"
    try:
        configuration = read_configuration(file, environ)
    except ConfigError as error:
        finding = of_error(name, error)
        if error.code in _OF_TOKEN_FILES:
            finding = warning(
                name, f"{file} could not be read to its end: the project tokens cannot be read, see below"
            )
        try:
            home = workdir or read_home(file, environ).workdir
        except ConfigError:
            step = error.next_step.rstrip(".") or "mend the file"
            return failed(
                name, finding.seen, f"{step}; the rest can be checked then, or with --workdir", error.code
            ), None
        return finding, Patient(home, None)
    if workdir is not None:
        configuration = replace(configuration, workdir=workdir)
    seen = f"{file} reads" if file is not None else "no file is named: a node with the defaults is meant"
    notes = "; ".join(one.rstrip(".") for one in configuration.notes)
    finding = warning(name, f"{seen}; {notes}") if notes else ok(name, seen)
    return finding, Patient(configuration.workdir, configuration)


def ask_node(patient: Patient) -> Patient:
    """The patient with what its running node says."""
    holder = lock_holder(patient.workdir)
    try:
        client = ControlClient(patient.workdir, limit_s=ANSWER_LIMIT_S)
    except FlottaError as error:
        return _with(patient, holder=holder, silence=error)
    try:
        status = client.request(AskStatus()).values
        peers = client.request(AskPeers()).values
        listed = client.request(AskJobs())
    except FlottaError as error:
        return _with(patient, holder=holder, silence=error)
    finally:
        client.close()
    jobs = listed.jobs if isinstance(listed, JobList) else ()
    return _with(patient, holder=holder, status=status, peers=peers, jobs=jobs)


def _with(patient: Patient, **more: Any) -> Patient:
    return Patient(patient.workdir, patient.configuration, **more)
