"""Valid input of everything that a node or a command line reads from others, made by the product's own builders."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import msgspec

from actors import discovery
from actors.adapters.launcher_link import KillRequest, SpawnRequest
from actors.adapters.statements import to_text, to_txt
from protocol.columns import Column, schema_digest
from protocol.ids import format_id, format_job_id, node_id
from protocol.machines.contract import Received, StartTask
from protocol.machines.events import TaskFaulted, TaskProduced
from protocol.plan.artifact import Query, artifact_bytes, groups_artifact, summary_artifact
from protocol.plan.filters import AllOf, AnyOf, Compare, IsIn, IsNull, Not
from protocol.plan.operations import Bins, GroupParameters, SummaryParameters
from protocol.plan.order import Cancel, JobLimits, ParticipantRule
from protocol.plan.plan import Outcome, Participant, Plan
from protocol.plan.products import manifest_of
from protocol.plan.tasks import (
    Cells,
    ColumnMeasure,
    ColumnReport,
    ColumnSummary,
    Coverage,
    Fault,
    Group,
    GroupCoverage,
    GroupedSummary,
    GroupMeasure,
    GroupsOfSource,
    GroupSummary,
    Histogram,
    Inspection,
    Measure,
    Piece,
    PieceWanted,
    Product,
    SourceCoverage,
    Summary,
    TableReport,
    TaskRequest,
)
from protocol.roll_call import RollCallStatement, sign_roll_call
from protocol.signing import SigningKey
from protocol.wire import control, door, peers
from protocol.wire.codec import encode_record
from protocol.wire.jobs import (
    AskCancel,
    AskChunk,
    AskJob,
    AskJobs,
    AskRemove,
    AskRemoveEnded,
    AskResult,
    AskResultChunk,
    Chunk,
    JobResult,
    ResultChunk,
    Results,
    Submit,
    TaskResult,
)
from protocol.wire.registry import BY_RECORD, encode_message
from tests.protocol.builders import ARTIFACT, PROJECT, SUBMITTER, WALL_MS, cancel_of, node_key, order, signed, statement
from tests.protocol.fleet import Fleet, Node

WHERE = AllOf(
    terms=(
        Compare(column="age", relation=">=", value=40),
        AnyOf(terms=(IsIn(column="sex", values=("f", "m", 1, 2.5, True)), Not(term=IsNull(column="dose")))),
    )
)
STATISTICS = SummaryParameters(
    statistics=("count", "mean", "variance", "histogram"), bins={"age": Bins(low=0.0, high=100.0, count=4)}
)
LARGE_ARTIFACT = artifact_bytes(
    summary_artifact(PROJECT.project_id, Query(columns=("age", "dose"), where=WHERE), STATISTICS)
)
SMALL_ORDER = order()
LARGE_ORDER = order(
    artifact=LARGE_ARTIFACT,
    participants=ParticipantRule(rule="listed", nodes=(bytes(32), b"\x01" * 32), holders_min=2),
    schedulers=(node_id(node_key(0).public_key),),
    limits=JobLimits(lease_ms=2_000, deadline_ms=60_000),
)
MEASURE = Measure(
    rows=40,
    columns={
        "age": ColumnMeasure(
            present=40,
            missing=0,
            total=(1600.0, 1e-20),
            squares=(64_000.0,),
            cells=Cells(counts=(None, 20, 20, None), below=0, above=0),
        ),
        "dose": ColumnMeasure(present=30, missing=10, total=(3.5,), squares=(1.25,)),
    },
)
SUMMARY = Summary(
    rows=80,
    columns={
        "age": ColumnSummary(
            present=80,
            missing=0,
            sources=2,
            mean=40.0,
            variance=12.5,
            histogram=Histogram(edges=(0.0, 50.0, 100.0), counts=(40, 40), below=0, above=0, cells_withheld=1),
        ),
        "dose": ColumnSummary(present=60, missing=20, sources=2),
    },
    coverage=Coverage(
        sources=3,
        sources_counted=2,
        rows=80,
        cells_withheld=1,
        by_source=(
            SourceCoverage(source="n/s", rows=40, cells_withheld=1, columns_withheld=("dose",)),
            SourceCoverage(source="m/s", rows=None, cells_withheld=0, columns_withheld=(), withheld="too few"),
        ),
    ),
)

GROUPED_ARTIFACT = artifact_bytes(
    groups_artifact(
        PROJECT.project_id,
        Query(columns=("dose",), where=WHERE),
        GroupParameters(by=("sex", "age"), statistics=("mean",)),
    )
)
GROUP_MEASURE = GroupMeasure(
    groups=tuple(
        Group(
            key=(sex, 41.0),
            rows=rows,
            columns={"dose": ColumnMeasure(present=rows, missing=0, total=(3.5,))},
        )
        for sex, rows in (("f", 20), ("m", 30))
    ),
    groups_withheld=2,
    columns_withheld=(),
)
GROUPED = GroupedSummary(
    by=("sex", "age"),
    rows=60,
    groups=tuple(
        GroupSummary(
            key=key,
            rows=20,
            sources=1,
            columns={"dose": ColumnSummary(present=15, missing=5, sources=1, mean=1.5)},
        )
        for key in ((None, 41.0), ("f", 41.0), ("f", 42.5))
    ),
    coverage=GroupCoverage(
        sources=1,
        sources_counted=1,
        rows=60,
        groups_withheld=2,
        by_source=(GroupsOfSource(source="n/s", rows=60, groups=3, groups_withheld=2, columns_withheld=("dose",)),),
    ),
)


LARGE = manifest_of(b"large" * 100_000)


@cache
def messages() -> dict[type[Any], list[Any]]:
    """Real messages of every type, by record: of jobs that succeed, fail and are cancelled, of doors and of peers."""
    found: dict[type[Any], list[Any]] = {}
    for message in [*_job_messages(), *_other_messages()]:
        known = found.setdefault(type(message), [])
        if type(message) in BY_RECORD and message not in known and len(known) < 8:
            known.append(message)
    return found


def _job_messages() -> list[Any]:
    seen: list[Any] = []

    def heard(event: Received) -> Received:
        seen.append(event.message)
        return event

    fleet = Fleet(2, sources=2)
    fleet.alter = heard
    for number, compute in enumerate((_succeeds, _faults, _stays_at_work)):
        fleet.compute = compute
        signed_order, job_id = signed(order(nonce=bytes([number]) * 16))
        cancel = AskCancel(job_id=job_id, cancel=cancel_of(job_id))
        fleet.submit(signed_order)
        fleet.run_for(10_000)
        fleet.ask(cancel)
        fleet.end(job_id)
        fleet.ask(AskResult(job_id=job_id))
        seen += [AskJob(job_id=job_id), AskResult(job_id=job_id), cancel]
    seen += [AskJobs(newest=7), AskRemove(job_id=job_id), AskRemoveEnded(ended_ms_ago=0)]
    for question in seen[-3:]:
        fleet.ask(question)
    return [*seen, *fleet.told]


def _succeeds(_node: Node, start: StartTask) -> Any:
    return TaskProduced(key=start.key, product=encode_record(MEASURE if start.source else SUMMARY))


def _faults(node: Node, start: StartTask) -> Any:
    if not start.source:
        return _succeeds(node, start)
    return TaskFaulted(key=start.key, code="column-unknown", sentence="no column age", next_step="name another")


def _stays_at_work(node: Node, start: StartTask) -> Any:
    return None if start.source else _succeeds(node, start)


def _other_messages() -> list[Any]:
    says = statement(node_key(1)).data
    an_order, _job_id = signed(LARGE_ORDER)
    return [
        door.Hello(role="node", statement=says, curve_key=b"c" * 32, nonce=b"n" * 32, versions=(1, 2)),
        door.Hello(role="submitter", statement=b"", curve_key=b"c" * 32, nonce=b"n" * 32, versions=(1,)),
        door.Challenge(statement=says, nonce=b"n" * 32, proof=b"p" * 32, version=1),
        door.Proof(proof=b"p" * 32),
        door.Welcome(),
        door.Credential(statement=says, proof=b"p" * 32, answer_wanted=True),
        peers.Poll(number=3),
        peers.Polled(number=3, waiting=2),
        door.Hello(role="invited", statement=b"", curve_key=b"c" * 32, nonce=b"n" * 32, versions=(1,)),
        door.Granted(token="fp2p_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", name="heart"),
        peers.Farewell(),
        AskResultChunk(job_id=b"j" * 32, digest=b"d" * 32),
        ResultChunk(job_id=b"j" * 32, digest=b"d" * 32, data=b"c" * 100),
        AskChunk(job_id=b"j" * 32, index=3, digest=b"d" * 32),
        Chunk(job_id=b"j" * 32, index=3, digest=b"d" * 32, data=b"c" * 100),
        JobResult(job_id=b"j" * 32, outcome=b"o", product=LARGE, holder_names={"n": "North"}),
        Results(job_id=b"j" * 32, results=(TaskResult(outcome=b"o", product=LARGE),)),
        peers.Refused(code="busy", sentence="no", next_step="wait"),
        peers.Greeting(
            statement=says,
            name="peer",
            projects=(PROJECT.project_id,),
            sources=(peers.SourceOffer(name="table", project=PROJECT.project_id),),
            answer_wanted=True,
        ),
        peers.Greeting(
            statement=says,
            name="peer",
            projects=(PROJECT.project_id,),
            sources=(),
            answer_wanted=False,
            introductions=(statement(node_key(4)).data, says),
        ),
        peers.Heartbeat(chosen=True, crowded=True),
        peers.RollCall(envelope=sign_roll_call(_roll_call(node_key(3)), node_key(3))),
        peers.AskSchema(project=PROJECT.project_id, node=bytes(32), source="table"),
        peers.Schema(
            project=PROJECT.project_id,
            node=bytes(32),
            source="table",
            columns=(Column(name="age", type="number"), Column(name="sex", type="text", groups=False)),
            columns_all=2,
        ),
        peers.Schema(project=PROJECT.project_id, node=bytes(32), source="t", code="busy", problem="it is being read"),
        peers.AskSources(project=PROJECT.project_id),
        peers.SourceList(sources=(peers.ListedSource(node=bytes(32), name="peer", source="table"),), sources_all=1),
        peers.Acknowledge(type=40, message_ids=(b"m" * 16, b"n" * 16)),
        Submit(order=an_order),
    ]


def _roll_call(caller: SigningKey) -> RollCallStatement:
    return RollCallStatement(
        version=1,
        project=PROJECT.project_id,
        issued_ms=WALL_MS,
        nodes=(node_id(node_key(1).public_key), bytes(32)),
        statement=statement(caller).data,
    )


def bodies() -> list[tuple[int, bytes]]:
    """(number, body) of every message of the peer wire."""
    return [encode_message(message) for known in messages().values() for message in known]


def control_bodies() -> list[tuple[int, bytes]]:
    """(number, body) of every message of the control socket."""
    job_id = b"j" * 32
    own: list[Any] = [
        control.AskStatus(),
        control.AskPeers(),
        control.AskProof(project=PROJECT.project_id, job_id=job_id, submitter_key=b"s" * 32),
        control.ProofGiven(proof=b"p" * 32),
        control.WaitJob(job_id=job_id, known_state="running", known_done=1, wait_ms=1_000),
        control.ReloadProjects(),
        control.Invite(project=PROJECT.project_id, name="heart", valid_ms=60_000, nonce=b"n" * 16),
        control.Invited(invitation=b"i" * 16, text="fp2p-invite:x", expires_ms=WALL_MS, addresses=("lab:1456",)),
        control.AskInvitations(),
        control.RevokeInvitation(invitation=b"i" * 16),
        control.BanPeer(node=bytes(32), reason="lost laptop"),
        control.AcceptPeer(node=bytes(32)),
        control.TakeRun(run="j3x7", alias="j41", folder="/lab/flame_runs/j41", python="/lab/.venv/bin/python"),
        control.RunTaken(run="j3x7"),
        control.StopRun(run="j3x7"),
        control.RunStopping(run="j3x7", state="running"),
        control.Report(values={"node": {"name": "n", "peers": [{"id": "x", "ms": 1.5, "up": True}], "none": None}}),
    ]
    shared = [one for known in messages().values() for one in known if type(one) in control._RECORDS.values()]
    frames = [control.encode_control(message) for message in [*own, *shared]]
    return [(control.body_length(frame[: control.HEAD.size])[1], frame[control.HEAD.size :]) for frame in frames]


def payloads() -> dict[str, bytes]:
    """What stands in each signed statement."""
    job_id = b"j" * 32
    return {
        "order": encode_record(LARGE_ORDER),
        "plan": encode_record(
            Plan(
                version=1,
                job_id=job_id,
                epoch=3,
                participants=(Participant(node=bytes(32), source="s"), Participant(node=b"\x01" * 32, source="t")),
            )
        ),
        "outcome": encode_record(
            Outcome(
                version=1,
                job_id=job_id,
                index=1,
                attempt=1,
                epoch=3,
                state="succeeded",
                inputs=(b"d" * 32,),
                digest=b"e" * 32,
                size_bytes=10,
                sentence="why",
                started_ms=WALL_MS,
                ended_ms=WALL_MS + 5,
            )
        ),
        "cancel": encode_record(Cancel(version=1, job_id=job_id, issued_ms=WALL_MS, reason="enough")),
        "key statement": encode_record(statement(node_key(1)).statement),
        "roll call": encode_record(_roll_call(SUBMITTER)),
    }


def child_requests() -> list[bytes]:
    """Tasks without a source: artifact and inputs come from others, while files are named by the node alone."""
    merge = TaskRequest(
        operation="summary.merge",
        artifact=LARGE_ARTIFACT,
        source=None,
        inputs=(encode_record(MEASURE), encode_record(MEASURE)),
        labels=("n/s", "m/s"),
    )
    prepare = TaskRequest(operation="summary.prepare", artifact=LARGE_ARTIFACT, source=None, inputs=(), labels=())
    groups = msgspec.structs.replace(
        merge,
        operation="groups.merge",
        artifact=GROUPED_ARTIFACT,
        inputs=(encode_record(GROUP_MEASURE), encode_record(GROUP_MEASURE)),
    )
    large = msgspec.structs.replace(merge, inputs=(encode_record(MEASURE), LARGE))
    return [encode_record(one) for one in (merge, prepare, groups, large)]


def child_answers() -> list[bytes]:
    columns = (Column(name="age", type="number"), Column(name="sex", type="text", groups=False))
    seen = encode_record(Inspection(columns=columns, rows=3, schema=schema_digest(["age", "sex"])))
    report = TableReport(rows=3, columns=(ColumnReport(name="age", type="number", missing=1),), unnameable=0)
    return [
        encode_record(Product(data=seen)),
        encode_record(Product(data=b"", pieces=3)),
        encode_record(Piece(data=b"p" * 100)),
        encode_record(PieceWanted(digest=b"d" * 32)),
        encode_record(Fault(code="column-unknown", sentence="no column", next_step="name another")),
        seen,
        encode_record(report),
    ]


def artifacts() -> list[bytes]:
    return [ARTIFACT, LARGE_ARTIFACT, GROUPED_ARTIFACT]


def discovery_events() -> list[bytes]:
    says = statement(node_key(1)).data
    return [
        discovery.encode_event(event)
        for event in (
            discovery.Found(instance="n-1", statement=says, addresses=("10.0.0.2", "192.168.1.9"), port=1456),
            discovery.Lost(instance="n-1"),
            discovery.Fetched(ticket=3, statement=says),
            discovery.Fetched(ticket=4, problem="nobody answered"),
            discovery.DiscoveryReady(statement_port=1457),
            discovery.DiscoveryProblem(sentence="no interface", fatal=True),
            discovery.DiscoveryCounts(malformed_announcements=1, dropped_announcements=2, refused_clients=3),
        )
    ]


def discovery_commands() -> list[bytes]:
    says = statement(node_key(1)).data
    return [
        discovery.encode_command(command)
        for command in (
            discovery.Announce(instance_prefix="node", statement=says, interfaces=("127.0.0.1",), port=1456),
            discovery.Fetch(ticket=1, host="lab.example", port=1456),
            discovery.Stop(),
        )
    ]


def launcher_requests() -> list[bytes]:
    return [
        msgspec.json.encode(SpawnRequest(key="task:1-1", role="task", on_node_death="kill", rss_bytes_max=1 << 30)),
        msgspec.json.encode(KillRequest(key="task:1-1", reason="out-of-time")),
    ]


def launcher_events() -> list[bytes]:
    return [
        json.dumps(event).encode()
        for event in (
            {"event": "hello", "kept": {"discovery": 17}},
            {"event": "exited", "key": "task:1-1", "code": None, "signal": 9, "reason": "out-of-memory"},
        )
    ]


def statement_texts() -> list[bytes]:
    return [to_text(statement(node_key(1)).data).encode()]


def txt_records() -> list[dict[bytes, bytes | None]]:
    return [{key.encode(): piece.encode() for key, piece in to_txt(statement(node_key(1)).data).items()}]


def identifiers() -> list[bytes]:
    node = format_id(node_id(node_key(1).public_key))
    return [
        node.encode(),
        format_job_id(b"j" * 32).encode(),
        b"lab.example:1456",
        b"http://10.0.0.1:1456/",
        b"#scope/trace",
    ]
