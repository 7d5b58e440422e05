"""What the holders of a project publish of their sources, asked over channels to one node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from queue import SimpleQueue

from flotta_p2p.channels import Channel
from protocol.errors import Code, FlottaError
from protocol.wire.peers import AskSchema, AskSources, ListedSource, Schema, SourceList

Told = Schema | FlottaError
Asked = Callable[[int, int], None]  # hears of how many sources of how many are asked, in any thread


@dataclass(frozen=True)
class Offered:
    """The sources that the node lists, each with what its holder says of it or why it did not, and how many more it
    knows.
    """

    sources: list[tuple[ListedSource, Told]]
    more: int


def offers(channels: Sequence[Channel], project: bytes, asked: Asked = lambda done, of: None) -> Offered:
    """As many holders at once as there are channels, each used by one thread at a time.

    Takes up to limits.SCHEMA_WAIT_MS for each holder that does not answer. Raises DeniedError, UnreachableError.
    """
    listed: SourceList = channels[0].request(AskSources(project=project))
    free: SimpleQueue[Channel] = SimpleQueue()
    for channel in channels:
        free.put(channel)
    holders = [list(sources) for _, sources in groupby(listed.sources, key=lambda one: one.node)]
    done = 0
    found: list[tuple[ListedSource, Told]] = []
    pool = ThreadPoolExecutor(len(channels), "holders")
    try:
        for told in pool.map(lambda sources: _ask(free, project, sources), holders):
            found += told
            done += len(told)
            asked(done, len(listed.sources))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # whoever interrupts waits for nobody
    return Offered(sources=found, more=listed.sources_all - len(listed.sources))


def _ask(free: SimpleQueue[Channel], project: bytes, sources: list[ListedSource]) -> list[tuple[ListedSource, Told]]:
    """The sources of one holder, in turn; one that was silent is waited for once."""
    channel = free.get()
    told: list[tuple[ListedSource, Told]] = []
    silence: FlottaError | None = None
    try:
        for source in sources:
            said = silence or _schema(channel, project, source)
            silence = said if isinstance(said, FlottaError) and said.code == Code.TIMED_OUT else None
            told.append((source, said))
    finally:
        free.put(channel)
    return told


def _schema(channel: Channel, project: bytes, source: ListedSource) -> Told:
    try:
        schema: Schema = channel.request(AskSchema(project=project, node=source.node, source=source.source))
    except FlottaError as error:
        return error
    return schema
