"""The keys of the node and of the person, and the project tokens."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from actors.adapters.key_files import load_signing_key
from actors.adapters.token_files import list_projects
from flotta_p2p.doctor.finding import Finding, failed, of_error, ok, warning
from flotta_p2p.doctor.patient import Patient
from flotta_p2p.identity import Projects, read_identity
from flotta_p2p.user_folders import default_key_file
from protocol.errors import Code, ConfigError
from protocol.ids import format_id, format_project_id, node_id
from protocol.signing import SigningKey
from protocol.tokens import ProjectKey

KEY_VARIABLE: Final = "FLOTTA_KEY"
_KEYS: Final = ("node.key", "transport.key")


def node_keys(patient: Patient) -> Iterator[Finding]:
    """Both keys are there, closed to others, readable, and those of the node that holds the folder."""
    name, folder = "keys", patient.keys
    missing = [key for key in _KEYS if not (folder / key).exists()]
    if len(missing) == len(_KEYS) and not (patient.database and patient.database.exists()):
        yield warning(name, "none yet", "nothing: the first start makes them")
        return
    if missing:
        seen = f"{' and '.join(missing)} of {folder} {'are' if missing[1:] else 'is'} missing: the next start makes "
        seen += "a new identity, and peers meet a new node" if "node.key" in missing else "a new one"
        yield failed(name, seen, f"put {' and '.join(missing)} back from a backup, if there is one", None)
        return
    try:
        own = format_id(read_identity(folder).node)
    except ConfigError as error:
        yield of_error(name, error)
        return
    running = patient.status["node"] if patient.status is not None else patient.holder.node if patient.holder else ""
    if running and running != own:
        seen = f"the keys are those of node {own}, but the node {running} runs with this folder"
        yield failed(name, seen, "put back the keys of that node, or start the node again to take these", None)
        return
    yield ok(name, f"node {own}")


def person_key(patient: Patient) -> Iterator[Finding]:
    """The key that signs orders: needed by who submits, not by the node."""
    name = "your key"
    given = os.environ.get(KEY_VARIABLE)
    path = Path(given) if given else default_key_file()
    if not given and not path.exists():
        yield warning(name, "none yet: only who submits jobs needs one", "flotta-p2p key new")
        return
    try:
        yield ok(name, f"person {format_id(node_id(SigningKey(load_signing_key(path)).public_key))}")
    except ConfigError as error:
        yield of_error(name, error)


def projects(patient: Patient) -> Iterator[Finding]:
    """The tokens are readable, closed to others, strong, and known to the running node."""
    name = "projects"
    try:
        if patient.configuration is not None:
            held = Projects(patient.configuration)
            ids = [key.project_id for key in held.read()]
            names = {project: held.names.get(project, "") for project in ids}
        else:
            names = {ProjectKey.derive(t.reveal()).project_id: one for one, t in list_projects(patient.workdir)}
    except ConfigError as error:
        yield of_error(name, error)
        return
    if not names:
        yield warning(name, "none: the node can meet nobody", "flotta-p2p project new NAME, or project add NAME")
        return
    shown = [f"{called or 'of a source'} ({format_project_id(project)})" for project, called in names.items()]
    known = {one["id"] for one in patient.status["projects"]} if patient.status is not None else None
    unknown = [
        called
        for project, called in names.items()
        if known is not None and called and format_project_id(project) not in known
    ]
    if unknown:
        seen = f"{', '.join(unknown)} is not known to the running node"
        yield warning(name, seen, "start the node again", Code.PROJECT_UNKNOWN)
        return
    yield ok(name, ", ".join(shown))
