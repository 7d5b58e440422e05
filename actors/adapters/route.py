"""How an address is reached: directly, or by a tunnel through a proxy. Whoever dials is handed a `Route`."""

from __future__ import annotations

from typing import Any, Final, Protocol

from actors.adapters.curve_sockets import endpoint
from actors.adapters.statements import StatementAnswer, fetch_statement, statement_port
from protocol.errors import FlottaError, UnreachableError
from protocol.limits import PROXY_OPEN_LIMIT_MS, STATEMENT_LIMIT_MS


class Way(Protocol):
    """The way to one address, as long as it is not closed."""

    @property
    def endpoint(self) -> str:
        """What ZeroMQ connects to."""

    @property
    def socket_path(self) -> str:
        """The Unix socket that leads there; "" on the direct way."""

    def problem(self) -> FlottaError | None:
        """Why it could not be opened the last time it was tried; the direct way knows none."""

    def close(self) -> None: ...


class Route(Protocol):
    """Any thread. A way is closed by whoever has opened it."""

    @property
    def opening_ms(self) -> int:
        """So much longer than on the direct way a connection may take until its handshake begins."""

    @property
    def patience_ms(self) -> int:
        """So much longer than on the direct way a link stays at one of several addresses."""

    def way(self, address: str) -> Way:
        """Raises AddressError, UnreachableError(BUSY), and ConfigError(FOLDER_UNUSABLE)."""

    def values(self) -> dict[str, Any]:
        """What `status` shows of it."""

    def close(self) -> None: ...


class DirectWay:
    def __init__(self, address: str) -> None:
        self.endpoint = endpoint(address)
        self.socket_path = ""

    def problem(self) -> FlottaError | None:
        return None

    def close(self) -> None:
        pass


class DirectRoute:
    """No proxy."""

    opening_ms = 0
    patience_ms = 0

    def way(self, address: str) -> DirectWay:
        return DirectWay(address)

    def values(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        pass


DIRECT: Final[Route] = DirectRoute()


def fetch_by(route: Route, host: str, port: int) -> StatementAnswer:
    """As `fetch_statement`, by any route. What is wrong with the way itself is raised in place of its consequence."""
    way = route.way(f"{host}:{statement_port(port)}")
    try:
        limit_ms = STATEMENT_LIMIT_MS + (PROXY_OPEN_LIMIT_MS if way.socket_path else 0)
        return fetch_statement(host, port, limit_s=limit_ms / 1000, through=way.socket_path)
    except UnreachableError as error:
        raise (way.problem() or error) from None
    finally:
        way.close()
