"""The discovery process: `python -m actors.discovery_process`, started by the launcher.

It parses what strangers send and answers them, so it is a process of its own: it knows no secret, its memory is
limited, and the node runs without it. It talks to its node over the socket that is its standard input, as
`actors.discovery` describes, and ends when the node closes that socket. Exit codes: 0 the node closed the socket or
said stop, 1 the node's commands make no sense, 2 there is no such socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import socket
import sys
import threading
from typing import Final

from actors.adapters.neighbourhood import Neighbourhood
from actors.adapters.statement_server import StatementServer
from actors.adapters.statements import fetch_statement, statement_port
from actors.child_bootstrap import adopt_parent_death, parent_pid
from actors.discovery import (
    Announce,
    Command,
    DiscoveryCounts,
    DiscoveryProblem,
    DiscoveryReady,
    Event,
    Fetch,
    Fetched,
    Stop,
    decode_command,
    encode_event,
)
from actors.failpoints import Point, reached
from actors.framing import Unframer, to_frame
from protocol.errors import FlottaError, RemoteProtocolError
from protocol.limits import (
    DISCOVERY_FETCHES_MAX,
    DISCOVERY_FRAME_BYTES_MAX,
    DISCOVERY_MEMORY_BYTES_MAX,
    DISCOVERY_STOP_MS,
    KIB,
    PROXY_OPEN_LIMIT_MS,
    STATEMENT_LIMIT_MS,
)

THREAD_STACK_BYTES: Final = 512 * KIB  # instead of 8 MiB: a fetch takes two threads that hardly use theirs
COUNTS_INTERVAL_S: Final = 1.0  # people look at them, nothing waits for them


class Discovery:
    """Carries out the node's commands, one after the other, and reports. Everything runs on one event loop,
    except that each fetch blocks in a thread of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._server = StatementServer()
        self._neighbourhood = Neighbourhood(self._report)
        self._fetches: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Serve until the node closes the socket, says stop or sends nonsense. Returns the exit code."""
        helpers = [asyncio.create_task(self._neighbourhood.watch()), asyncio.create_task(self._count())]
        commands = asyncio.create_task(self._obey())
        try:
            done, _ = await asyncio.wait([commands, *helpers], return_when=asyncio.FIRST_COMPLETED)
            return next(iter(done)).result() or 0
        except ConnectionError:
            return 0
        finally:
            for task in [commands, *helpers]:
                task.cancel()
            self._server.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DISCOVERY_STOP_MS / 1000):
                    await self._neighbourhood.close()

    async def _obey(self) -> int:
        frames = Unframer()
        try:
            while data := await self._reader.read(DISCOVERY_FRAME_BYTES_MAX):
                frames.push(data)
                while (message := frames.pop()) is not None:
                    command = decode_command(message)
                    if isinstance(command, Stop):
                        return 0
                    await self._carry_out(command)
        except RemoteProtocolError as error:
            await self._report(DiscoveryProblem(sentence=f"Discovery ends: {error}.", fatal=True))
            return 1
        return 0

    async def _carry_out(self, command: Command) -> None:
        match command:
            case Announce():
                await self._announce(command)
            case Fetch():
                await self._fetch(command)
            case Stop():
                raise AssertionError("stop ends the loop that calls this")

    async def _announce(self, announce: Announce) -> None:
        reached(Point.ANNOUNCE_BEFORE)
        port = statement_port(announce.port)
        problems = await self._server.show(announce.statement, announce.interfaces, port)
        try:
            if announce.zeroconf:
                problems += await self._neighbourhood.show(announce)
            else:
                await self._neighbourhood.close()
        except OSError as error:
            problems.append(
                f"Nodes on this network do not find each other by themselves ({error.strerror or error}): "
                "give their addresses by hand."
            )
        for sentence in problems:
            await self._report(DiscoveryProblem(sentence=sentence))
        await self._report(DiscoveryReady(statement_port=port if self._server.serving else 0))

    async def _fetch(self, fetch: Fetch) -> None:
        if len(self._fetches) >= DISCOVERY_FETCHES_MAX:
            problem = f"Discovery already asks {DISCOVERY_FETCHES_MAX} nodes for their keys: ask again later."
            await self._report(Fetched(ticket=fetch.ticket, problem=problem))
            return
        task = asyncio.create_task(self._answer(fetch))
        self._fetches.add(task)
        task.add_done_callback(self._fetches.discard)

    async def _answer(self, fetch: Fetch) -> None:
        """Fetch in a daemon thread: those of the loop's own pool would hold up the end of the process."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Fetched] = loop.create_future()

        def ask() -> None:
            fetched = _fetched(fetch)
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(answer.set_result, fetched)

        threading.Thread(target=ask, name="fetch", daemon=True).start()
        fetched = await answer
        with contextlib.suppress(ConnectionError):  # noticed by who reads commands
            await self._report(fetched)

    async def _count(self) -> None:
        told = DiscoveryCounts(malformed_announcements=0, dropped_announcements=0, refused_clients=0)
        while True:
            await asyncio.sleep(COUNTS_INTERVAL_S)
            counts = DiscoveryCounts(
                malformed_announcements=self._neighbourhood.malformed,
                dropped_announcements=self._neighbourhood.dropped,
                refused_clients=self._server.refused_clients,
            )
            if counts != told:
                await self._report(counts)
                told = counts

    async def _report(self, event: Event) -> None:
        self._writer.write(to_frame(encode_event(event)))
        await self._writer.drain()


def _fetched(fetch: Fetch) -> Fetched:
    limit_ms = STATEMENT_LIMIT_MS + (PROXY_OPEN_LIMIT_MS if fetch.through else 0)
    try:
        answer = fetch_statement(fetch.host, fetch.port, limit_s=limit_ms / 1000, through=fetch.through)
        return Fetched(ticket=fetch.ticket, statement=answer.statement)
    except FlottaError as error:
        return Fetched(ticket=fetch.ticket, problem=str(error))


async def _serve(link: socket.socket) -> int:
    reader, writer = await asyncio.open_connection(sock=link)
    return await Discovery(reader, writer).run()


def limit_memory() -> None:
    """Bound the writable memory of this process and the stacks of its threads.

    Not the address space: there malloc reserves 64 MiB for each thread that it hardly uses.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = DISCOVERY_MEMORY_BYTES_MAX if hard == resource.RLIM_INFINITY else min(hard, DISCOVERY_MEMORY_BYTES_MAX)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    threading.stack_size(THREAD_STACK_BYTES)


def main() -> int:
    """Limit the memory, take the socket and serve. Returns the exit code."""
    limit_memory()
    logging.getLogger("zeroconf").disabled = True  # strangers could fill a log with it
    adopt_parent_death(parent_pid())
    try:
        link = socket.socket(fileno=os.dup(sys.stdin.fileno()))
        link.getpeername()
    except OSError as error:
        print(f"A node starts this program, with a socket as standard input; seen: {error}.", file=sys.stderr)
        return 2
    return asyncio.run(_serve(link))


if __name__ == "__main__":
    sys.exit(main())
