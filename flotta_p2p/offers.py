"""What the holders of a project publish of their sources, asked over a channel to one node."""

from __future__ import annotations

from flotta_p2p.channels import Channel
from protocol.errors import FlottaError
from protocol.wire.peers import AskSchema, AskSources, ListedSource, Schema, SourceList


def offers(channel: Channel, project: bytes) -> list[tuple[ListedSource, Schema | FlottaError]]:
    """Each source that the node knows, with what its holder says of it or why it did not.

    Takes up to limits.SCHEMA_WAIT_MS for each holder that does not answer. Raises DeniedError, UnreachableError.
    """
    listed: SourceList = channel.request(AskSources(project=project))
    return [(source, _schema(channel, project, source)) for source in listed.sources]


def _schema(channel: Channel, project: bytes, source: ListedSource) -> Schema | FlottaError:
    try:
        schema: Schema = channel.request(AskSchema(project=project, node=source.node, source=source.source))
    except FlottaError as error:
        return error
    return schema
