"""The node process: `python -m flotta_p2p.node_process [--config FILE] [--standalone]`, started by the launcher."""

from __future__ import annotations

import argparse
import faulthandler
import logging
import os
import resource
import signal
import sys
import threading
from pathlib import Path

from actors.adapters.descriptors import raise_limit
from actors.adapters.processes import LauncherSpawner
from actors.adapters.store import SAFETY_FILE
from actors.child_bootstrap import adopt_parent_death, parent_pid
from flotta_p2p import __version__, exit_codes
from flotta_p2p.commands.output import show_fault
from flotta_p2p.configuration.read import read_configuration
from flotta_p2p.node import Node
from flotta_p2p.reports import Facts
from protocol.errors import FlottaError, StorageError
from protocol.ids import format_id

_log = logging.getLogger("flotta-p2p")


class _StoppedEarly(BaseException):
    """A signal to stop came before the node was ready."""


def main(arguments: list[str]) -> int:
    """Runs until SIGTERM or SIGINT, or until a fault that the node cannot mend. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flotta_p2p.node_process")
    parser.add_argument("--config", type=Path, default=None)
    parser.add_argument("--standalone", action="store_true")
    parser.add_argument("--json", action="store_true", dest="as_json")
    options = parser.parse_args(arguments)
    adopt_parent_death(parent_pid())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the keys
    raise_limit()
    faulthandler.register(signal.SIGUSR1)
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
    )
    over = threading.Event()
    reasons: list[FlottaError] = []

    def end(reason: FlottaError) -> None:
        reasons.append(reason)
        over.set()

    def interrupt(number: int, frame: object) -> None:
        if node is None or node.facts is None:
            raise _StoppedEarly
        over.set()

    node: Node | None = None
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, interrupt)
    try:
        configuration = read_configuration(options.config, os.environ, standalone=options.standalone)
        node = Node(configuration, LauncherSpawner.of_this_process, end)
        facts = node.start()
    except _StoppedEarly:
        return exit_codes.OK
    except FlottaError as error:
        show_fault(error, as_json=options.as_json)
        return exit_codes.exit_code(error)
    _announce(facts)
    over.wait()
    _log.info("stopping%s", f": {reasons[0]}" if reasons else "")
    node.stop()
    if not reasons:
        return exit_codes.OK
    return exit_codes.STORAGE if isinstance(reasons[0], StorageError) else exit_codes.INTERNAL


def _announce(facts: Facts) -> None:
    """What the operator reads first."""
    _log.info("flotta-p2p %s, node %s, id %s", __version__, facts.name, format_id(facts.node))
    if facts.mode == "client":
        _log.info("listening on nothing: this node is a client and is reached through its schedulers alone")
    else:
        why = "" if facts.chosen_interface else " (loopback and private addresses, since node.interface is not set)"
        _log.info("listening on %s%s", ", ".join(facts.listening), why)
    if facts.database is None:
        _log.info("database in memory: jobs do not survive a restart; identities, peers and executed orders do")
    else:
        _log.info("database %s", facts.database)
        if (facts.workdir / SAFETY_FILE).exists():
            _log.warning(
                "%s of an earlier database in memory lies in the work directory; its peers, executed orders and audit "
                "are not used now. Next: keep it for its audit, or remove it",
                SAFETY_FILE,
            )
    names = ", ".join(sorted(facts.project_names.values())) or "none; add one with `flotta-p2p project add`"
    _log.info("projects: %s; sources: %s", names, ", ".join(facts.sources()) or "none")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
