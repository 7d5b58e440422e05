"""Every handler of every actor of a node, read from the code: a new actor, message or news is in the list by itself.

A handler is an actor and the type of a message that it takes. What a machine takes is told by the union that its
module exports, what it takes from the wire by the registry of messages, and what any other actor takes by the cases of
its `handle`.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, get_args

import actors
from actors.base import Begin, ChildEvent, Ping, SupervisedActor
from actors.machine_shell import MachineActor
from protocol.machines.contract import Received
from protocol.wire.peers import Acknowledge
from protocol.wire.registry import MESSAGES
from protocol.wiring import NEWS

_EVERY_ACTOR: Final = (Begin, Ping)
_BUS: Final = "store"  # takes the news ResourceWanted as a message of its own, see actors/bus.py


class Handler(NamedTuple):
    """`body` is the message of the wire inside a `Received`, None for all others."""

    actor: str
    message: type[Any]
    body: type[Any] | None = None

    def __str__(self) -> str:
        return f"{self.actor}/{(self.body or self.message).__name__}"

    def takes(self, actor: str, message: object) -> bool:
        return (
            actor == self.actor
            and type(message) is self.message
            and (self.body is None or type(getattr(message, "message", None)) is self.body)
        )


def handlers_of(tree: Mapping[str, type[SupervisedActor]]) -> list[Handler]:
    """All handlers of a tree, given by name and class of its actors."""
    return [handler for name, actor in tree.items() for handler in _of_actor(name, actor)]


def actor_classes() -> set[type[SupervisedActor]]:
    """All classes of actors that the product has."""
    for module in pkgutil.walk_packages(actors.__path__, "actors."):
        importlib.import_module(module.name)
    found: list[type[SupervisedActor]] = [SupervisedActor]
    for one in found:
        found += one.__subclasses__()
    return {one for one in found[1:] if one.__module__.startswith("actors.")}


_CLIENTS_ALONE: Final = "poller"


def news_without_handler(tree: Mapping[str, type[SupervisedActor]]) -> list[str]:
    """News that `protocol/wiring.py` gives to an actor which has no case for them."""
    known = {(handler.actor, handler.message) for handler in handlers_of(tree)}
    pairs = [(name, event) for event, takers in NEWS.items() for name in takers if name not in (_BUS, _CLIENTS_ALONE)]
    return [f"{name}/{event.__name__}" for name, event in pairs if (name, event) not in known]


def _of_actor(name: str, actor: type[SupervisedActor]) -> Iterator[Handler]:
    messages: set[type[Any]] = {*_EVERY_ACTOR, *_cases(actor)}
    if issubclass(actor, MachineActor):
        messages |= set(_machine_events(name))
    for message in sorted(messages, key=lambda one: one.__name__):
        if message is Received:
            yield from (Handler(name, Received, body) for body in _bodies(name))
        elif message is ChildEvent:
            yield from (Handler(name, kind) for kind in ChildEvent.__subclasses__())
        else:
            yield Handler(name, message)


def _cases(actor: type[SupervisedActor]) -> Iterator[type[Any]]:
    """The classes that the cases of `handle` name, its own and those of the actors that it builds on."""
    for one in actor.__mro__:
        if "handle" in vars(one) and one is not SupervisedActor:
            yield from _cases_of(one)


def _cases_of(actor: type[Any]) -> Iterator[type[Any]]:
    source = ast.parse(textwrap.dedent(inspect.getsource(actor.handle)))
    names = vars(inspect.getmodule(actor))
    match = next(node for node in ast.walk(source) if isinstance(node, ast.Match))
    for case in match.cases:
        patterns = case.pattern.patterns if isinstance(case.pattern, ast.MatchOr) else [case.pattern]
        for pattern in patterns:
            inner = pattern.pattern if isinstance(pattern, ast.MatchAs) else pattern
            if isinstance(inner, ast.MatchClass) and isinstance(inner.cls, ast.Name):
                yield names[inner.cls.id]


def _machine_events(name: str) -> tuple[type[Any], ...]:
    module = importlib.import_module(f"protocol.machines.{name}")
    return get_args(getattr(module, f"{name.title()}Event"))


def _bodies(name: str) -> list[type[Any]]:
    """What the machine `name` takes from the wire; acknowledgements come to whoever sends what is acknowledged."""
    bodies: list[type[Any]] = [entry.record for entry in MESSAGES if entry.receiver == name]
    return bodies + [Acknowledge] * any(entry.durable and entry.sender == name for entry in MESSAGES)
