"""Messages between peers, in both directions."""

from __future__ import annotations

from protocol.record import Record


class SourceOffer(Record, frozen=True):
    """A data source as a peer of the project sees it."""

    name: str
    project: bytes


class Greeting(Record, frozen=True):
    """First word of a connection and after every change: who this is and what it offers to the receiver's projects."""

    statement: bytes
    name: str
    projects: tuple[bytes, ...]  # those that sender and receiver have proved to each other and the sender still holds
    sources: tuple[SourceOffer, ...]
    answer_wanted: bool


class Heartbeat(Record, frozen=True):
    """Sent at HEARTBEAT_INTERVAL_MS: the sender is alive."""


class Acknowledge(Record, frozen=True):
    """The receiver has committed these messages of one type; the sender need not repeat them."""

    type: int
    message_ids: tuple[bytes, ...]


class Refused(Record, frozen=True):
    """The receiver refused a message, with the code and a sentence for people."""

    code: str
    sentence: str
    next_step: str = ""
