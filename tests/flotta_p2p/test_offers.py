"""Asking the holders of a project what they publish."""

from __future__ import annotations

import threading
from typing import Any

from flotta_p2p.channels import REQUEST_LIMIT_S
from flotta_p2p.commands.data_results import network_lines, network_values
from flotta_p2p.offers import offers
from protocol.errors import Code, UnreachableError
from protocol.wire.peers import AskSchema, AskSources, ListedSource, Schema, SourceList

PROJECT = b"p" * 16
SOURCES = tuple(
    ListedSource(node=node * 32, name=node.decode(), source=source) for node in (b"a", b"b") for source in ("x", "y")
)


class Node:
    """A channel to a node that knows SOURCES and `more`; holder `b` is silent. `together` must be asked at once."""

    def __init__(self, more: int = 0, together: int = 1) -> None:
        self.more = more
        self.asked: list[tuple[bytes, str]] = []
        self._together = threading.Barrier(together)

    def request(self, message: Any, *, limit_s: float = REQUEST_LIMIT_S) -> Any:
        if isinstance(message, AskSources):
            return SourceList(sources=SOURCES, sources_all=len(SOURCES) + self.more)
        assert isinstance(message, AskSchema)
        self.asked.append((message.node[:1], message.source))
        if message.source == "x":
            self._together.wait(10)
        if message.node[:1] == b"b":
            raise UnreachableError(Code.TIMED_OUT, "the holder did not answer in 4 s")
        return Schema(project=PROJECT, node=message.node, source=message.source)

    def proof(self, project: bytes, job_id: bytes, submitter_key: bytes) -> bytes:
        raise AssertionError("nothing is submitted")

    def node(self) -> bytes:
        return b"n" * 32

    def close(self) -> None:
        pass


def test_each_source_has_an_answer_in_the_order_of_the_list_and_a_silent_holder_is_waited_for_once() -> None:
    node, counted = Node(), list[tuple[int, int]]()
    found = offers([node], PROJECT, lambda done, of: counted.append((done, of)))
    assert [source for source, _ in found.sources] == list(SOURCES)
    assert [type(told) for _, told in found.sources] == [Schema, Schema, UnreachableError, UnreachableError]
    assert sorted(node.asked) == [(b"a", "x"), (b"a", "y"), (b"b", "x")]
    assert counted == [(2, 4), (4, 4)]


def test_with_two_channels_two_holders_are_asked_at_once() -> None:
    node = Node(together=2)
    assert len(offers([node, node], PROJECT).sources) == len(SOURCES)


def test_sources_beyond_those_that_are_listed_are_counted_for_people_and_for_programs() -> None:
    found = offers([Node(more=37)], PROJECT)
    offered = [("heart", *one) for one in found.sources]
    assert found.more == 37
    assert list(network_lines(offered, {"heart": 37}))[-1].startswith("37 more sources of heart known and not shown")
    assert network_values(offered, {"heart": 37})["sources_not_shown"] == {"heart": 37}
    assert "not shown" not in "".join(network_lines(offered, {"heart": 0}))
