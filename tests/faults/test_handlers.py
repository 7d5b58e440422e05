"""Faults in handlers: the list of handlers is whole, and of each actor one is tried; the proof tries all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from actors.base import Begin, Ping, SupervisedActor
from actors.flame_executor import FlameExecutorActor
from flotta_p2p.demo.fleet import free_ports
from tests.faults import hanging_node
from tests.faults.handler_list import Handler, actor_classes, handlers_of, news_without_handler
from tests.faults.handlers import Tally, crash_all, hang_all
from tests.faults.injection import injecting
from tests.faults.world import world
from tests.flotta_p2p.nodes import running
from tests.system.jobs import fresh_token
from tests.system.nodes import running_node

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("own_runtime")]

Tree = dict[str, type[SupervisedActor]]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """The actors of a running node, by name."""
    with injecting() as injected, running(tmp_path_factory.mktemp("tree"), name="Anna", port=free_ports(1)[0]):
        return dict(injected[0].classes)


def one_of_each(handlers: Sequence[Handler]) -> list[Handler]:
    """Of each actor the first handler that is its own."""
    own = [handler for handler in handlers if handler.message not in (Begin, Ping)]
    return list({handler.actor: handler for handler in reversed(own)}.values())


def test_every_class_of_actor_runs_in_a_node_and_takes_the_news_that_it_is_given(tree: Tree) -> None:
    assert set(tree.values()) == actor_classes() - {FlameExecutorActor}  # of a run, in whatever process
    assert news_without_handler(tree) == []


def test_every_actor_has_handlers_of_its_own(tree: Tree) -> None:
    assert {handler.actor for handler in one_of_each(handlers_of(tree))} == set(tree)


@pytest.mark.timeout(300)
def test_a_crash_after_the_work_of_a_handler_of_any_actor_is_recovered_from(tmp_path: Path, tree: Tree) -> None:
    tally, handlers = Tally(), one_of_each(handlers_of(tree))
    with world(tmp_path) as made:
        crash_all(made, handlers, 1, tally, moments=("after",))
    assert tally.failures == []
    assert tally.crashed == {str(handler) for handler in handlers}


@pytest.mark.timeout(300)
def test_a_hang_in_a_handler_of_any_actor_ends_the_node_naming_the_actor(tmp_path: Path, tree: Tree) -> None:
    tally, handlers = Tally(), one_of_each(handlers_of(tree))
    hang_all(tmp_path, handlers, len(handlers) // 2, tally)
    assert tally.failures == []
    assert tally.hung == {str(handler) for handler in handlers}


@pytest.mark.parametrize("actor", ["store", "journal"])
def test_a_node_of_which_an_actor_hangs_is_started_again_by_its_launcher(tmp_path: Path, actor: str) -> None:
    file = tmp_path / "hang"
    file.touch()
    with running_node(
        tmp_path,
        name="Anna",
        port=free_ports(1)[0],
        token=fresh_token(),
        csv_text="value\n1\n",
        wrap=lambda product: hanging_node.launcher_argv_of(product, actor, file),
    ) as node:
        node.wait_until(lambda one: "started again" in one.log_text())
        node.wait_until(lambda one: one.status()["silent"] == [])
        assert f"Actor {actor} has given no sign of life" in node.log_text()
        assert node.stop() == 0
