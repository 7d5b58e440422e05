"""Messages between peers, in both directions."""

from __future__ import annotations

from protocol.columns import Column
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


class Poll(Record, frozen=True):
    """A client asks its scheduler for whatever waits for it. `number` rises with every poll of a life of the client."""

    number: int


class Polled(Record, frozen=True):
    """The answer to a poll: so many messages wait, and are on their way."""

    number: int
    waiting: int


class AskSchema(Record, frozen=True):
    """Which columns does a source have? A submitter asks about any holder's source, a node only the holder itself."""

    project: bytes
    node: bytes  # the holder
    source: str


class Schema(Record, frozen=True):
    """What the members of a project see of a source: its columns, the first COLUMNS_PUBLISHED_MAX of `columns_all`, or
    the problem for which it cannot be read now.
    """

    project: bytes
    node: bytes
    source: str
    columns: tuple[Column, ...] = ()
    columns_all: int = 0
    code: str = ""
    problem: str = ""


class AskSources(Record, frozen=True):
    """Which sources of a project are known? Answered by SourceList."""

    project: bytes


class ListedSource(Record, frozen=True):
    """A source and its holder, with the name that this one gives itself."""

    node: bytes
    name: str
    source: str


class SourceList(Record, frozen=True):
    """The sources of a project that a node knows: the first PARTICIPANTS_MAX of `sources_all`."""

    sources: tuple[ListedSource, ...]
    sources_all: int


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
