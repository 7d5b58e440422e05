"""A standalone node in one process, in the work directory of a node that had peers: it dials none, and loses none."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.adapters.joining_files import keep_join
from flotta_p2p.demo.fleet import free_ports
from protocol.errors import Code, DeniedError
from protocol.ids import parse_id
from protocol.machines.events import KeptJoin
from protocol.wire.control import AcceptPeer, AskPeers, ReloadProjects
from tests.flotta_p2p.nodes import ROWS, meet, running
from tests.flotta_p2p.test_node import ARTIFACT
from tests.system.processes import wait_until

pytestmark = pytest.mark.system


@pytest.fixture(autouse=True)
def runtime_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))


@pytest.mark.timeout(120)
def test_peers_of_another_mode_are_neither_dialled_nor_let_in_and_are_peers_again_afterwards(tmp_path: Path) -> None:
    first, second = free_ports(2)
    with running(tmp_path / "b", name="Bert", port=second, join=f"127.0.0.1:{first}") as bert:
        with running(tmp_path / "a", name="Anna", port=first) as anna:
            meet(anna, bert)
        wait_until(lambda: bert.present() == [], 20)
        port = f"  port: {first}\n"
        with running(tmp_path / "a", name="Anna", port=first, mode="standalone", node_lines=port) as anna:
            status, result = anna.run_job(ARTIFACT)
            assert status.state == "succeeded" and result is not None and result.rows == ROWS
            known = anna.ask(AskPeers()).values
            assert known["peers"] == [] and bert.present() == []
            with pytest.raises(DeniedError) as refused:
                anna.ask(AcceptPeer(node=parse_id(bert.status()["node"])))
            assert refused.value.code == Code.NODE_ALONE
        with running(tmp_path / "a", name="Anna", port=first) as anna:
            meet(anna, bert)


def test_a_join_address_that_comes_into_its_folder_while_it_runs_is_not_joined(tmp_path: Path) -> None:
    first, second = free_ports(2)
    port = f"  port: {first}\n"
    with (
        running(tmp_path / "b", name="Bert", port=second) as bert,
        running(tmp_path / "a", name="Anna", port=first, mode="standalone", node_lines=port) as anna,
    ):
        keep_join(anna.workdir, KeptJoin(address=f"127.0.0.1:{second}"))
        anna.ask(ReloadProjects())
        assert anna.run_job(ARTIFACT)[0].state == "succeeded"
        assert anna.ask(AskPeers()).values["joins"] == [] and bert.present() == []
