"""The gate: who may say what over which connection, and what a frame leaves behind."""

from __future__ import annotations

import itertools
import sys
from typing import Any, get_args

import msgspec
import pytest

from protocol import kinds
from protocol.errors import Code
from protocol.ids import node_id
from protocol.limits import (
    BODY_BYTES_DOOR_MAX,
    BODY_BYTES_MANIFEST_MAX,
    CLOCK_TOLERANCE_MS,
    FRAME_TTL_MS,
    REPLAY_PEERS_MAX,
)
from protocol.machines.contract import Effects, Persist, Received, Refuse, Send
from protocol.machines.events import (
    CONTROL_SESSION,
    Arrived,
    ControlAnswer,
    Counted,
    DialDoor,
    HangUp,
    Outgoing,
    PeerAdmitted,
    SubmitterProved,
    Transmit,
)
from protocol.machines.gate import Gate
from protocol.plan.order import SignedOrder
from protocol.record import Record
from protocol.signing import SigningKey
from protocol.wire import door, jobs, peers
from protocol.wire.frame import BODY_OFFSET, Header, parse_header, seal
from protocol.wire.registry import MESSAGES, Connection, encode_message, type_of
from protocol.wiring import takers
from tests.protocol.builders import PROJECT, WALL_MS, news, node_key, now, writes

KEY, PEER_KEY, OTHER_KEY = node_key(1), node_key(2), node_key(3)
OWN, PEER = node_id(KEY.public_key), node_id(PEER_KEY.public_key)
COUNT = itertools.count(1)
MACHINES = {"gate", "enrolment", "membership", "scheduler", "worker", "catalogue", "poller"}
_ORDER = SignedOrder(envelope=b"e", proof=b"p")
_STATUS = jobs.JobStatus(
    job_id=b"j" * 32,
    project=b"p" * 16,
    submitter=b"s" * 32,
    state="running",
    epoch=1,
    submitted_ms=0,
    ended_ms=0,
    tasks_done=0,
    tasks_all=1,
    cancelling=False,
    scheduler=OWN,
    holder_names={},
    durable=True,
)
EXAMPLES: tuple[Record, ...] = (
    door.Hello(role="node", statement=b"", curve_key=b"c" * 32, nonce=b"n" * 16, versions=(1,)),
    door.Challenge(statement=b"", nonce=b"n" * 16, proof=b"", version=1),
    door.Proof(proof=b"p"),
    door.Welcome(),
    peers.Refused(code="busy", sentence="no"),
    door.Credential(statement=b"", proof=b"p", answer_wanted=True),
    door.Granted(token="t", name="n"),
    peers.Greeting(statement=b"", name="n", projects=(), sources=(), answer_wanted=False),
    peers.Heartbeat(),
    peers.Acknowledge(type=40, message_ids=()),
    peers.RollCall(envelope=b"e"),
    peers.Poll(number=1),
    peers.Polled(number=1, waiting=0),
    peers.Farewell(),
    jobs.Submit(order=_ORDER),
    jobs.AskJob(job_id=b"j" * 32),
    jobs.AskResult(job_id=b"j" * 32),
    jobs.AskCancel(job_id=b"j" * 32, cancel=b"c"),
    jobs.AskJobs(),
    jobs.AskResultChunk(job_id=b"j" * 32, digest=b"d" * 32),
    jobs.AskRemove(job_id=b"j" * 32),
    jobs.AskRemoveEnded(ended_ms_ago=1),
    _STATUS,
    jobs.JobResult(job_id=b"j" * 32, outcome=b"", product=b"", holder_names={}),
    jobs.JobList(jobs=(_STATUS,)),
    jobs.ResultChunk(job_id=b"j" * 32, digest=b"d" * 32, data=b"c"),
    jobs.JobRemoved(job_id=b"j" * 32, removed_ms=1, by="operator", freed_bytes=0, already=False),
    jobs.JobsRemoved(job_ids=(b"j" * 32,), freed_bytes=0, left=0),
    jobs.Tasks(job_id=b"j" * 32, order=_ORDER, plan=b"", tasks=()),
    jobs.Renewed(job_id=b"j" * 32, token=1),
    jobs.Stop(job_id=b"j" * 32),
    jobs.Results(job_id=b"j" * 32, results=()),
    jobs.Renew(job_id=b"j" * 32, indexes=(), token=1),
    jobs.AskChunk(job_id=b"j" * 32, index=0, digest=b"d" * 32),
    jobs.Chunk(job_id=b"j" * 32, index=0, digest=b"d" * 32, data=b"c"),
    peers.AskSources(project=b"p" * 16),
    peers.SourceList(sources=(), sources_all=0),
    peers.AskSchema(project=b"p" * 16, node=OWN, source="s"),
    peers.Schema(project=b"p" * 16, node=OWN, source="s"),
)

GREETING = next(one for one in EXAMPLES if isinstance(one, peers.Greeting))


def frame(message: Any, key: SigningKey = PEER_KEY, audience: bytes = OWN, **fields: Any) -> bytes:
    number, body = encode_message(message)
    header: dict[str, Any] = {
        "type": number,
        "sender_key": key.public_key,
        "audience": audience,
        "message_id": b"m" * 16,
        "boot_id": 1,
        "sequence": next(COUNT),
        "issued_ms": WALL_MS,
    }
    return seal(Header(**(header | fields)), body, key)


def new_gate(rows: dict[str, list[tuple[bytes, bytes]]] | None = None) -> Gate:
    gate = Gate(KEY, 7, rows or {})
    admitted = PeerAdmitted(
        node=PEER,
        node_key=PEER_KEY.public_key,
        curve_key=b"c" * 32,
        seal_key=b"s" * 32,
        addresses=(),
        projects=(PROJECT.project_id,),
        name="p",
    )
    gate.step(admitted, now())
    return gate


def over(connection: Connection, gate: Gate, raw: bytes) -> Arrived:
    """The frame as it arrives over this kind of connection, which is opened first."""
    if connection == "peer":
        return Arrived(raw=raw, node=PEER)
    if connection == "dialled":
        dial = DialDoor(
            session=b"d",
            node=PEER,
            node_key=PEER_KEY.public_key,
            server_curve=b"c" * 32,
            addresses=(),
            project=PROJECT.project_id,
        )
        gate.step(dial, now())
        return Arrived(raw=raw, session=b"d", dialled=True)
    if connection == "submitter":
        gate.step(Arrived(raw=frame(EXAMPLES[0]), session=b"s", project=PROJECT.project_id), now())
        gate.step(SubmitterProved(session=b"s", project=PROJECT.project_id), now())
    return Arrived(raw=raw, session=b"s", project=PROJECT.project_id)


def counted(effects: Effects) -> list[str]:
    return [one.code for one in news(effects, Counted)]


def admitted(effects: Effects) -> list[Received]:
    return news(effects, Received)


def refused(gate: Gate, event: Arrived, at_ms: int = 0) -> str:
    effects = gate.step(event, now(at_ms))
    gate.check()
    assert not admitted(effects) and not writes(effects)
    (code,) = counted(effects)
    assert gate.snapshot().refused[code] >= 1
    return code


def test_there_is_an_example_of_every_message() -> None:
    assert [type(one) for one in EXAMPLES] == [entry.record for entry in MESSAGES]


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
@pytest.mark.parametrize("connection", ["peer", "knocking", "submitter", "dialled"])
def test_only_what_the_registry_lists_is_admitted_over_a_connection(connection: Connection, message: Any) -> None:
    gate = new_gate()
    event = over(connection, gate, frame(message))
    if connection in type_of(message).connections:
        (got,) = admitted(gate.step(event, now()))
        assert (got.message, got.sender) == (message, PEER)
        assert set(takers(got)) <= MACHINES
    else:
        assert refused(gate, event) == Code.TYPE_NOT_ALLOWED


def test_what_a_node_lets_in_always_has_a_machine_that_takes_it() -> None:
    """An answer for a submission tool that came to a node would have none."""
    for entry in MESSAGES:
        if entry.connections != {"scheduler"}:
            assert entry.receiver in MACHINES | {"delivery"}, entry
    assert set(get_args(Connection)) == set().union(*(entry.connections for entry in MESSAGES))


@pytest.mark.parametrize("number", [*(entry.number for entry in MESSAGES), 0, 999])
def test_an_acknowledgement_reaches_only_machines_with_delivery(number: int) -> None:
    acknowledge = Received(message=peers.Acknowledge(type=number, message_ids=()), sender=PEER, message_id=b"m" * 16)
    assert set(takers(acknowledge)) <= {"scheduler", "worker"}


def test_a_refusal_of_a_peer_is_counted_and_goes_no_further() -> None:
    gate = new_gate()
    (got,) = admitted(gate.step(Arrived(raw=frame(peers.Refused(code="x", sentence="y")), node=PEER), now()))
    assert takers(got) == ("gate",)
    assert counted(gate.step(got, now())) == [Code.REFUSED_BY_PEER]


# --- who says it -------------------------------------------------------------------------------------------------


def test_a_peer_cannot_speak_for_another() -> None:
    assert refused(new_gate(), Arrived(raw=frame(peers.Heartbeat(), OTHER_KEY), node=PEER)) == Code.SENDER_WRONG


def test_a_session_cannot_change_its_speaker() -> None:
    gate = new_gate()
    over("submitter", gate, b"")
    event = Arrived(raw=frame(jobs.AskJobs(), OTHER_KEY), session=b"s", project=PROJECT.project_id)
    assert refused(gate, event) == Code.SENDER_WRONG


def test_a_frame_for_another_node_is_refused() -> None:
    assert refused(new_gate(), Arrived(raw=frame(peers.Heartbeat(), audience=PEER), node=PEER)) == Code.AUDIENCE_WRONG


def test_a_connection_of_a_node_that_is_no_peer_is_refused() -> None:
    other = node_id(OTHER_KEY.public_key)
    assert refused(new_gate(), Arrived(raw=frame(peers.Heartbeat(), OTHER_KEY), node=other)) == Code.STRANGER


def test_an_answer_on_a_session_that_was_hung_up_is_refused() -> None:
    gate = new_gate()
    event = over("dialled", gate, frame(EXAMPLES[3]))
    gate.step(HangUp(session=b"d"), now())
    assert refused(gate, event) == Code.STRANGER


def test_a_project_that_was_not_proved_is_refused() -> None:
    gate = new_gate()
    raw = frame(peers.Heartbeat(), project=b"q" * 16)
    assert refused(gate, Arrived(raw=raw, node=PEER)) == Code.PROJECT_UNKNOWN
    event = Arrived(raw=frame(EXAMPLES[0], project=b"q" * 16), session=b"s", project=PROJECT.project_id)
    assert refused(gate, event) == Code.PROJECT_UNKNOWN
    assert admitted(gate.step(Arrived(raw=frame(peers.Heartbeat(), project=PROJECT.project_id), node=PEER), now()))


def test_each_byte_of_a_frame_altered_is_refused() -> None:
    gate = new_gate()
    raw = frame(peers.Heartbeat())
    for at in range(len(raw)):
        altered = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        refused(gate, Arrived(raw=altered, node=PEER))
    assert admitted(gate.step(Arrived(raw=raw, node=PEER), now()))


# --- time, replay and boots --------------------------------------------------------------------------------------


def test_a_frame_is_admitted_once() -> None:
    gate = new_gate()
    raw = frame(peers.Heartbeat())
    assert admitted(gate.step(Arrived(raw=raw, node=PEER), now()))
    assert refused(gate, Arrived(raw=raw, node=PEER)) == Code.REPLAYED


def test_a_wrong_clock_is_learned_from_the_greeting_and_allowed_for_afterwards() -> None:
    gate, ahead = new_gate(), 3 * CLOCK_TOLERANCE_MS
    early = frame(peers.Heartbeat(), issued_ms=WALL_MS + ahead)
    assert refused(gate, Arrived(raw=early, node=PEER)) == Code.TIME_OUTSIDE
    gate.step(Arrived(raw=frame(GREETING, issued_ms=WALL_MS + ahead), node=PEER), now())
    assert gate.snapshot().clock_offsets_ms == {PEER.hex(): ahead}
    assert admitted(gate.step(Arrived(raw=early, node=PEER), now()))
    right = frame(peers.Heartbeat())
    assert refused(gate, Arrived(raw=right, node=PEER), at_ms=FRAME_TTL_MS) == Code.TIME_OUTSIDE


def test_a_forged_frame_teaches_no_clock() -> None:
    gate = new_gate()
    raw = bytearray(frame(GREETING, issued_ms=WALL_MS + 10**9))
    raw[BODY_OFFSET - 1] ^= 1
    assert refused(gate, Arrived(raw=bytes(raw), node=PEER)) == Code.SIGNATURE_WRONG
    assert gate.snapshot().clock_offsets_ms == {PEER.hex(): 0}


def test_a_higher_boot_is_committed_before_its_first_frame_is_acted_on() -> None:
    gate = new_gate()
    effects = gate.step(Arrived(raw=frame(peers.Heartbeat(), boot_id=5), node=PEER), now())
    assert isinstance(effects[0], Persist) and admitted(effects[1:])
    (put,) = writes(effects)
    assert not writes(gate.step(Arrived(raw=frame(peers.Heartbeat(), boot_id=5), node=PEER), now()))
    restarted = new_gate({kinds.SEEN_BOOT: [(put.key, put.value)]})  # type: ignore[union-attr]
    assert refused(restarted, Arrived(raw=frame(peers.Heartbeat(), boot_id=4), node=PEER)) == Code.REPLAYED
    assert admitted(restarted.step(Arrived(raw=frame(peers.Heartbeat(), boot_id=5), node=PEER), now()))


# --- what is kept --------------------------------------------------------------------------------------------------


def deep_size(thing: Any, seen: set[int]) -> int:
    if id(thing) in seen or isinstance(thing, type):
        return 0
    seen.add(id(thing))
    parts = list(thing.items()) if isinstance(thing, dict) else []
    inner = [*itertools.chain.from_iterable(parts), *getattr(thing, "__dict__", {}).values()]
    return sys.getsizeof(thing) + sum(deep_size(one, seen) for one in inner)


def test_garbage_leaves_nothing_behind() -> None:
    gate = new_gate()
    forged = bytearray(frame(EXAMPLES[0], OTHER_KEY))
    forged[BODY_OFFSET - 1] ^= 1
    events = [Arrived(raw=bytes(size), session=b"x", project=PROJECT.project_id) for size in range(0, 400, 7)]
    sizes = []
    for round_ in range(3):
        for event in events:
            refused(gate, event)
        for number in range(300):
            session = round_.to_bytes(2) + number.to_bytes(4)
            refused(gate, Arrived(raw=bytes(forged), session=session, project=PROJECT.project_id))
        sizes.append(deep_size(gate, set()))
    assert gate.snapshot().sessions == 0
    assert sizes[1] == sizes[2]


def test_sessions_are_bounded_and_the_oldest_leaves_first() -> None:
    gate = new_gate()
    dial = DialDoor(
        session=b"",
        node=PEER,
        node_key=PEER_KEY.public_key,
        server_curve=b"c" * 32,
        addresses=(),
        project=PROJECT.project_id,
    )
    for number in range(REPLAY_PEERS_MAX + 3):
        gate.step(msgspec.structs.replace(dial, session=number.to_bytes(4)), now())
    gate.check()
    assert gate.snapshot().sessions == REPLAY_PEERS_MAX
    welcome = frame(EXAMPLES[3])
    assert refused(gate, Arrived(raw=welcome, session=(2).to_bytes(4), dialled=True)) == Code.STRANGER
    assert admitted(gate.step(Arrived(raw=welcome, session=(3).to_bytes(4), dialled=True), now()))


# --- outward -----------------------------------------------------------------------------------------------------


def test_what_one_gate_seals_the_other_opens() -> None:
    gate = new_gate()
    send = Send(message=peers.Heartbeat(), to=PEER, project=PROJECT.project_id, fence=9, message_id=b"i" * 16)
    (out,) = news(gate.step(Outgoing(send=send), now()), Transmit)
    header = parse_header(out.raw)
    assert (header.boot_id, header.fence, header.message_id, header.audience) == (7, 9, b"i" * 16, PEER)
    other = Gate(PEER_KEY, 1, {})
    other.step(
        PeerAdmitted(
            node=OWN,
            node_key=KEY.public_key,
            curve_key=b"c" * 32,
            seal_key=b"s" * 32,
            addresses=(),
            projects=(PROJECT.project_id,),
            name="o",
        ),
        now(),
    )
    (got,) = admitted(other.step(Arrived(raw=out.raw, node=OWN), now()))
    assert (got.message, got.sender, got.fence, got.project) == (peers.Heartbeat(), OWN, 9, PROJECT.project_id)


def test_sequence_numbers_only_rise() -> None:
    gate = new_gate()
    send = Outgoing(send=Send(message=peers.Heartbeat(), to=PEER))
    raws = [news(gate.step(send, now()), Transmit)[0].raw for _ in range(5)]
    sequences = [parse_header(raw).sequence for raw in raws]
    assert sequences == sorted(set(sequences))


def test_a_message_to_itself_never_reaches_the_wire() -> None:
    effects = new_gate().step(Outgoing(send=Send(message=EXAMPLES[20], to=OWN)), now())
    assert [one.sender for one in admitted(effects)] == [OWN] and not news(effects, Transmit)


def test_the_control_socket_gets_its_answer_unsealed() -> None:
    send = Send(message=_STATUS, session=CONTROL_SESSION + b"1")
    assert news(new_gate().step(Outgoing(send=send), now())) == [ControlAnswer(session=send.session, message=_STATUS)]


def test_an_answer_for_a_session_that_has_gone_is_dropped() -> None:
    assert new_gate().step(Outgoing(send=Send(message=_STATUS, session=b"gone")), now()) == ()


def test_a_message_for_a_node_that_is_no_peer_is_counted() -> None:
    effects = new_gate().step(Outgoing(send=Send(message=peers.Heartbeat(), to=b"?" * 32)), now())
    assert counted(effects) == [Code.STRANGER]


@pytest.mark.parametrize("text", ["short", "x" * 5_000, "ü" * 5_000, "\U0001f600" * 5_000])
def test_a_refusal_that_quotes_what_came_in_always_fits_into_its_frame(text: str) -> None:
    gate = new_gate()
    effects = gate.step(Refuse(code=Code.BUSY, sentence=text, next_step=text, to=PEER), now())
    assert counted(effects) == [Code.BUSY]
    (out,) = news(effects, Transmit)
    assert len(out.raw) <= BODY_OFFSET + BODY_BYTES_DOOR_MAX


@pytest.mark.parametrize("size", [0, 31, 33, 100_000])
def test_a_job_id_of_another_size_comes_no_further_than_the_gate(size: int) -> None:
    """It would be stored, signed and sent on: a message that no frame can carry stopped the node at every start."""
    gate = new_gate()
    for message in (
        jobs.Results(job_id=b"j" * size, results=()),
        jobs.Tasks(job_id=b"j" * size, order=_ORDER, plan=b"", tasks=()),
    ):
        assert refused(gate, Arrived(raw=frame(message), node=PEER)) == Code.BODY_MALFORMED


def test_a_message_that_outgrew_its_type_is_counted_and_not_sent() -> None:
    gate = new_gate()
    stop = jobs.Stop(job_id=b"j" * 32, cancel=bytes(BODY_BYTES_DOOR_MAX))
    effects = gate.step(Outgoing(send=Send(message=stop, to=PEER)), now())
    assert counted(effects) == [Code.FRAME_TOO_LARGE] and not news(effects, Transmit)


def test_who_asks_for_an_answer_that_is_too_large_is_told_so() -> None:
    gate = new_gate()
    over("submitter", gate, b"")
    result = jobs.JobResult(job_id=b"j" * 32, outcome=b"", product=bytes(BODY_BYTES_MANIFEST_MAX), holder_names={})
    effects = gate.step(Outgoing(send=Send(message=result, session=b"s", to=b"", reply_to=b"r" * 16)), now())
    (out,) = news(effects, Transmit)
    header = parse_header(out.raw)
    assert (header.type, header.reply_to) == (5, b"r" * 16)


def test_sessions_that_proved_nothing_do_not_push_out_those_that_did() -> None:
    gate = new_gate()
    over("submitter", gate, b"")
    for number in range(REPLAY_PEERS_MAX + 3):
        knock = Arrived(raw=frame(EXAMPLES[0]), session=number.to_bytes(4), project=PROJECT.project_id)
        assert admitted(gate.step(knock, now()))
    gate.check()
    ask = Arrived(raw=frame(jobs.AskJobs()), session=b"s", project=PROJECT.project_id)
    assert admitted(gate.step(ask, now()))
