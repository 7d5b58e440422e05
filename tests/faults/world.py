"""Two nodes of this process under faults in handlers, and what makes messages of all kinds come by themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from actors.adapters.clock import SystemClock
from actors.adapters.entropy import SystemEntropy
from flotta_p2p.channels import DoorChannel
from flotta_p2p.demo.fleet import free_ports
from flotta_p2p.order_options import OrderOptions
from flotta_p2p.submission import JobClient, prepare_order
from protocol.errors import FlottaError
from protocol.plan.artifact import Query, summary_artifact
from protocol.plan.operations import SummaryParameters
from protocol.signing import SigningKey
from protocol.tokens import ProjectKey
from protocol.wire.control import ReloadProjects
from protocol.wire.jobs import AskJobs
from tests.faults.handler_list import Handler
from tests.faults.injection import Injected, injecting
from tests.flotta_p2p.nodes import ROWS, TOKEN, RunningNode, meet, running

RECOVERY_LIMIT_S: Final = 30.0  # then it is broken, however busy the machine is
RESTART_LIMIT_S: Final = 5.0
ACTIONS_S: Final = 0.5  # what an action causes comes within this
PROJECT: Final = ProjectKey.derive(TOKEN)
QUESTION: Final = summary_artifact(
    PROJECT.project_id, Query(columns=("value",)), SummaryParameters(statistics=("count", "mean"))
)


class World:
    """Two nodes of this process that know each other. Faults go into the first one, Anna."""

    def __init__(self, folder: Path, injected: list[Injected]) -> None:
        self._folder = folder
        self._injected = injected
        self._stack = ExitStack()
        self._bert = ExitStack()
        first, self._second = free_ports(2)
        self._address = f"127.0.0.1:{first}"
        self.anna = self._stack.enter_context(running(folder / "anna", name="Anna", port=first))
        self.faults = injected[0]
        self.start_bert()
        meet(self.anna, self.bert)
        self.actions: dict[str, Callable[[], Any]] = {
            "a look": self.look,
            "a job led here": lambda: self.anna.run_job(QUESTION, holders_min=2),
            "a job led there": lambda: self.bert.run_job(QUESTION, holders_min=2),
            "a cancelled job that is removed": self.cancel,
            "a job from the door": self.knock,
            "the projects read anew": lambda: self.anna.ask(ReloadProjects()),
            "the other node started again": self.restart_bert,
            "a start of all actors": self.crash_store,
        }
        self.causes: dict[Handler, str] = {}  # the first action that reaches it

    def close(self) -> None:
        self._bert.close()
        self._stack.close()

    def start_bert(self) -> None:
        self._bert = ExitStack()
        self.bert: RunningNode = self._bert.enter_context(
            running(self._folder / "bert", name="Bert", port=self._second, join=self._address)
        )

    def restart_bert(self) -> None:
        self._bert.close()
        self.start_bert()
        meet(self.anna, self.bert)

    def look(self) -> None:
        self.anna.status()
        self.anna.present()
        self.anna.ask(AskJobs())

    def cancel(self) -> None:
        key = SigningKey(SystemEntropy().bytes(32))
        with self.anna.control() as channel:
            jobs = JobClient(channel, SystemClock(), time.sleep)
            prepared = prepare_order(QUESTION, OrderOptions(), key, SystemClock(), SystemEntropy())
            jobs.submit(jobs.prove(prepared))
            jobs.cancel(prepared.job_id, key)
            jobs.wait(prepared.job_id, limit_s=10)
            jobs.remove(prepared.job_id)

    def knock(self) -> None:
        key = SigningKey(SystemEntropy().bytes(32))
        channel = DoorChannel(self._address, PROJECT, key)
        try:
            jobs = JobClient(channel, SystemClock(), time.sleep)
            prepared = prepare_order(QUESTION, OrderOptions(), key, SystemClock(), SystemEntropy())
            jobs.submit(jobs.prove(prepared))
            jobs.wait(prepared.job_id, limit_s=10)
        finally:
            channel.close()

    def crash_store(self) -> None:
        """Everything stands on the store, so that everything is started again."""
        handle = self.faults.tree["store"]
        before = handle.generation
        handle.tell("what no store takes")
        deadline_s = time.monotonic() + RESTART_LIMIT_S
        while handle.generation == before and time.monotonic() < deadline_s:
            time.sleep(0.01)
        recover(self.anna, time.monotonic())

    def observe(self, handlers: Sequence[Handler]) -> None:
        """Which action reaches which handler. Timers and pings come while it waits."""
        for name, action in self.actions.items():
            self.faults.seen.clear()
            action()
            time.sleep(ACTIONS_S)
            for handler in handlers:
                if self.faults.has_seen(handler):
                    self.causes.setdefault(handler, name)


@contextmanager
def world(folder: Path) -> Iterator[World]:
    with injecting() as injected:
        made = World(folder, injected)
        try:
            yield made
        finally:
            injected[0].disarm()
            made.close()


def recover(node: RunningNode, since_s: float) -> float:
    """Seconds until the node answers the operator, every actor answers, and a job succeeds."""
    said = ""
    while time.monotonic() - since_s < RECOVERY_LIMIT_S:
        try:
            silent = node.status()["silent"]
            if not silent:
                status, result = node.run_job(QUESTION)
                if result is not None and result.rows in (ROWS, 2 * ROWS):
                    return time.monotonic() - since_s
                silent = status
            said = str(silent)
        except FlottaError as error:
            said = str(error)
        time.sleep(0.01)
    raise AssertionError(f"not whole after {RECOVERY_LIMIT_S:g} s: {said}; {node.fatal}")
