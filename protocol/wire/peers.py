"""Messages between peers, in both directions."""

from __future__ import annotations

from protocol.record import Record


class SourceOffer(Record, frozen=True):
    """A data source as a peer of the project sees it."""

    name: str
    project: bytes


class Greeting(Record, frozen=True):
    """First word of a connection and after every change: who this is and what it offers to the receiver's projects.

    `seeks`: so many further peers the sender looks for; an answer introduces some, by their key statements.
    """

    statement: bytes
    name: str
    projects: tuple[bytes, ...]  # those that sender and receiver have proved to each other and the sender still holds
    sources: tuple[SourceOffer, ...]
    answer_wanted: bool
    seeks: int = 0
    introductions: tuple[bytes, ...] = ()


class Heartbeat(Record, frozen=True):
    """Sent at HEARTBEAT_INTERVAL_MS: the sender is alive. `chosen`: it keeps in touch with the receiver and wants to be
    answered; `crowded`: so many do with the sender that the receiver should prefer others.
    """

    chosen: bool = False
    crowded: bool = False


class RollCall(Record, frozen=True):
    """A signed call for the holders of a project, passed on from neighbour to neighbour."""

    envelope: bytes


class Acknowledge(Record, frozen=True):
    """The receiver has committed these messages of one type; the sender need not repeat them."""

    type: int
    message_ids: tuple[bytes, ...]


class Refused(Record, frozen=True):
    """The receiver refused a message, with the code and a sentence for people."""

    code: str
    sentence: str
    next_step: str = ""


class Farewell(Record, frozen=True):
    """The sender leaves the projects that it has in common with the receiver. It may come back, and greets then."""
