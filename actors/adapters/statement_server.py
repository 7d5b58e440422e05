"""The statement server: who dials a node by its typed address learns its key statement here, on the node's
port + 1.

It answers strangers, so everything is bounded: the question line, the time of a connection, the connections
together and of one address, and the questions of one address. Whoever breaks a bound is hung up on and
counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter, OrderedDict

from actors.adapters.clock import SystemClock
from actors.adapters.statements import QUESTION, to_line, to_text
from protocol.limits import (
    STATEMENT_ADDRESSES_MAX,
    STATEMENT_ASKS_BURST_MAX,
    STATEMENT_ASKS_PER_S_MAX,
    STATEMENT_CLIENTS_MAX,
    STATEMENT_CLIENTS_PER_ADDRESS_MAX,
    STATEMENT_LIMIT_MS,
    STATEMENT_QUESTION_BYTES_MAX,
)
from protocol.rate import TokenBucket


class StatementServer:
    """Serves the newest statement on every address where it could bind. All methods run on one event loop."""

    def __init__(self) -> None:
        self.refused_clients = 0
        self._text = b""
        self._where: tuple[tuple[str, ...], int] = ((), 0)
        self._servers: list[asyncio.Server] = []
        self._clients: Counter[str] = Counter()
        self._asks: OrderedDict[str, TokenBucket] = OrderedDict()

    @property
    def serving(self) -> bool:
        """Whether it listens on at least one address."""
        return bool(self._servers)

    async def show(self, statement: bytes, interfaces: tuple[str, ...], port: int) -> list[str]:
        """Serve `statement` on `port` of each interface from now on. Returns one sentence for each that
        failed."""
        self._text = to_text(statement).encode("ascii")
        if (interfaces, port) == self._where:
            return []
        self.close()
        problems = []
        for address in interfaces:
            try:
                self._servers.append(
                    await asyncio.start_server(self._serve, address, port, limit=STATEMENT_QUESTION_BYTES_MAX)
                )
            except OSError as error:
                # asyncio's own text repeats the address
                cause = os.strerror(error.errno) if error.errno else str(error)
                problems.append(
                    f"The key cannot be shown on {address} port {port} ({cause}): "
                    "who is given this address by hand will not reach this node there."
                )
        if not problems:
            self._where = (interfaces, port)
        return problems

    def close(self) -> None:
        """Stop listening. Connections that are open end by themselves within their limit."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        self._where = ((), 0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = str(writer.get_extra_info("peername", ("",))[0])
        if not self._admit(address):
            self.refused_clients += 1
            writer.transport.abort()
            return
        self._clients[address] += 1
        try:
            async with asyncio.timeout(STATEMENT_LIMIT_MS / 1000):
                await self._converse(reader, writer)
        except (OSError, EOFError, asyncio.LimitOverrunError):  # TimeoutError is an OSError
            self.refused_clients += 1
        except asyncio.CancelledError:
            pass  # the process ends; passed on, Python 3.11 would log a traceback for each connection
        finally:
            writer.transport.abort()
            self._clients[address] -= 1
            self._clients += Counter()  # drops the zeros

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readuntil(b"\n") != QUESTION:
            self.refused_clients += 1
            return
        writer.write(to_line(self._text, SystemClock().now().wall_ms))
        writer.close()
        with contextlib.suppress(ConnectionError):  # they have what they wanted
            await writer.wait_closed()

    def _admit(self, address: str) -> bool:
        if self._clients.total() >= STATEMENT_CLIENTS_MAX:
            return False
        if self._clients[address] >= STATEMENT_CLIENTS_PER_ADDRESS_MAX:
            return False
        now_s = asyncio.get_running_loop().time()
        bucket = self._asks.get(address)
        if bucket is None:
            bucket = TokenBucket(per_s=STATEMENT_ASKS_PER_S_MAX, burst=STATEMENT_ASKS_BURST_MAX, now_s=now_s)
            self._asks[address] = bucket
        self._asks.move_to_end(address)
        if len(self._asks) > STATEMENT_ADDRESSES_MAX:
            self._asks.popitem(last=False)
        return bucket.take(now_s)
