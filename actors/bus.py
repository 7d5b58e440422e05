"""The bus: hands what one machine publishes to the actors that take it, as `protocol/wiring.py` says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actors.base import ActorHandle
from actors.messages import FetchResource
from protocol.machines.events import ResourceWanted
from protocol.wiring import takers


class Bus:
    """Any thread may publish. An actor that is down misses the news: those that matter are told again after its
    restart.
    """

    def __init__(self) -> None:
        self._handles: Mapping[str, ActorHandle] = {}

    def connect(self, handles: Mapping[str, ActorHandle]) -> None:
        """The handles of all actors, by name; called once, before the first actor starts."""
        self._handles = handles

    def publish(self, event: Any) -> None:
        if isinstance(event, ResourceWanted):
            answer_to = self._handles[event.taker]
            self._handles["store"].tell(FetchResource(ticket=event.ticket, digest=event.digest, reply_to=answer_to))
            return
        for name in takers(event):
            if name in self._handles:  # a poller runs in client mode alone
                self._handles[name].tell(event)
