"""The demo from its first line to its last."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from actors.adapters.entropy import SystemEntropy
from actors.adapters.key_files import create_signing_key
from flotta_p2p import exit_codes
from flotta_p2p.commands.output import show, show_error
from flotta_p2p.demo import question
from flotta_p2p.demo.breaking import Attempt, attempts
from flotta_p2p.demo.fleet import Fleet
from flotta_p2p.demo.interrupts import Interrupts
from flotta_p2p.demo.meeting import Member, await_meeting, await_members
from flotta_p2p.demo.narration import Narrator
from flotta_p2p.demo.submitter import Submitter
from flotta_p2p.federated.pooled import pooled_summary
from protocol.ids import format_id, format_job_id, short_job_id
from protocol.plan.order import SignedOrder
from protocol.plan.tasks import Summary
from protocol.record import Record
from protocol.signing import SigningKey
from protocol.tokens import TOKEN_ENTROPY_BYTES, ProjectKey, new_token
from protocol.wire.jobs import JobStatus


class Left(Record, frozen=True):
    """What stayed at a holder, and what left it for the job. A number is a count, an exact sum or a histogram cell."""

    name: str
    cells_kept: int
    numbers_left: int
    bytes_left: int


class Answered(Record, frozen=True):
    """The job of the demo, from its order to what left each holder."""

    order: SignedOrder
    status: JobStatus
    seconds: float
    answer: Summary
    truth: Summary
    left: tuple[Left, ...]

    @property
    def equal(self) -> bool:
        return self.answer == self.truth


def run_demo(*, breaking: bool, as_json: bool, keep: Path | None) -> int:
    """Three nodes start here, meet, answer a signed question and are taken away; `breaking` then tries to cheat them.

    Writes to standard output: a story for people, or one JSON document. Returns 0 when all was as promised, 1 when
    not, 130 after Ctrl-C. Raises FlottaError when the demo cannot be run; then too nothing is left behind, except
    the folders in `keep`. Main thread only, since it takes the signals.
    """
    narrator = Narrator(quiet=as_json)
    try:
        with Interrupts() as interrupts:
            document, promised = _demo(breaking, keep, interrupts, narrator)
    except KeyboardInterrupt:
        rest = "nothing is left behind" if keep is None else f"their folders are in {keep}"
        sentence = f"interrupted: the nodes of the demo are stopped, {rest}"
        show_error("interrupted", sentence, next_step="flotta-p2p demo", as_json=as_json)
        return exit_codes.INTERRUPTED
    _farewell(narrator, breaking, keep)
    if as_json:
        show({**document, "seconds": round(narrator.seconds, 3)}, (), as_json=True)
    return exit_codes.OK if promised else exit_codes.JOB_FAILED


def _demo(breaking: bool, keep: Path | None, interrupts: Interrupts, narrator: Narrator) -> tuple[dict[str, Any], bool]:
    narrator.headline("Three holders of data answer one question together, and none gives its table away.")
    narrator.step("Three nodes start: each a process of its own, with its own folder, key and table")
    narrator.say(
        "They listen on 127.0.0.1 only, so nothing goes to a network. They share one secret: a project's token."
    )
    token = new_token(SystemEntropy().bytes(TOKEN_ENTROPY_BYTES))
    with Fleet(token, keep, interrupts) as fleet, ExitStack() as channels:
        project = ProjectKey.derive(token)
        assert fleet.folder is not None
        key = SigningKey(create_signing_key(fleet.folder / "person.key", SystemEntropy()))
        with narrator.waiting("waiting for the nodes"):
            members = await_members(fleet, channels, narrator)
        narrator.step("They find each other, and prove that they belong together")
        with narrator.waiting("waiting for them to meet"):
            await_meeting(fleet, members, narrator)
        met_s = narrator.seconds
        answered = _question(members, project, key, narrator)
        _show_answer(answered, narrator, brief=breaking)
        tried = attempts(fleet, members, project, key, answered.order, narrator) if breaking else ()
        narrator.step("Everything is taken away again")
    return _document(members, met_s, answered, tried), _as_promised(answered, tried)


def _question(members: list[Member], project: ProjectKey, key: SigningKey, narrator: Narrator) -> Answered:
    narrator.step(f"A person signs one question and hands it to {members[0].name}")
    narrator.say(f"The question: {question.IN_WORDS}")
    narrator.say("One signature covers all of it. Every node checks it, and what it may answer, itself.")
    artifact = question.ask(project.project_id)
    submitter = Submitter(members[0], key)
    released = [_released(member) for member in members]
    started_s = time.monotonic()
    order = submitter.sign(artifact)
    status, answer = submitter.answer(order, lambda now: narrator.event(_progress(now)))
    seconds = time.monotonic() - started_s
    left = tuple(_left(member, answer, before) for member, before in zip(members, released, strict=True))
    truth = pooled_summary(artifact, [(member.label, member.source) for member in members])
    return Answered(order=order, status=status, seconds=seconds, answer=answer, truth=truth, left=left)


def _released(member: Member) -> int:
    """Bytes that this node has let out of its sources since its start, by its own count."""
    released: int = member.status()["work"]["bytes_released"]
    return released


def _left(member: Member, answer: Summary, released_before: int) -> Left:
    coverage = next(one for one in answer.coverage.by_source if one.source == member.label)
    return Left(
        name=member.name,
        cells_kept=member.holder.rows * member.holder.columns,
        numbers_left=question.numbers_left(coverage),
        bytes_left=_released(member) - released_before,
    )


def _progress(status: JobStatus) -> str:
    return f"job {short_job_id(status.job_id)} {status.state}: {status.tasks_done} of {status.tasks_all} tasks done"


def _show_answer(answered: Answered, narrator: Narrator, *, brief: bool) -> None:
    narrator.step("The answer, next to the truth: all tables in one place, other code, the same rule for small groups")
    if not brief:
        narrator.table(("", "from the nodes", "pooled truth"), question.comparison(answered.answer, answered.truth))
    narrator.verdict(answered.equal, f"equal: {'yes, to the last digit' if answered.equal else 'NO'}")
    coverage = answered.answer.coverage
    narrator.say(
        f"coverage: {coverage.sources_counted} of {coverage.sources} sources, {coverage.rows} rows; "
        f"{coverage.cells_withheld} histogram cells were withheld by their holders, since they count too few penguins"
    )
    if brief:
        return
    narrator.step("What left each node")
    narrator.table(
        ("node", "table cells that stayed", "numbers that left", "bytes that left"),
        [(one.name, str(one.cells_kept), str(one.numbers_left), str(one.bytes_left)) for one in answered.left],
    )
    narrator.say("The numbers are counts and sums over many penguins; no row of any table is among them.")


def _farewell(narrator: Narrator, breaking: bool, keep: Path | None) -> None:
    if keep is None:
        narrator.say(f"No process, folder or socket is left. The whole took {narrator.seconds:.1f} s.")
    else:
        narrator.say(
            f"No process is left. The folders, with their keys and token, stay in {keep}; remove them yourself."
        )
    narrator.gap()
    project = "`flotta-p2p project new NAME` and `flotta-p2p up`, to join machines of your own"
    narrator.headline(f"Try next: {project}." if breaking else f"Try next: `flotta-p2p demo --break`, then {project}.")


def _as_promised(answered: Answered, tried: tuple[Attempt, ...]) -> bool:
    return answered.equal and all(attempt.as_promised for attempt in tried)


def _document(members: list[Member], met_s: float, answered: Answered, tried: tuple[Attempt, ...]) -> dict[str, Any]:
    status = answered.status
    return {
        "nodes": [
            {
                "name": member.name,
                "node": member.id_text,
                "address": member.holder.address,
                "rows": member.holder.rows,
                "columns": member.holder.columns,
            }
            for member in members
        ],
        "met_seconds": round(met_s, 3),
        "question": question.IN_WORDS,
        "job": {
            "id": format_job_id(status.job_id),
            "state": status.state,
            "scheduler": format_id(status.scheduler),
            "submitter": format_id(status.submitter),
            "seconds": round(answered.seconds, 3),
        },
        "result": msgspec.to_builtins(answered.answer),
        "truth": msgspec.to_builtins(answered.truth),
        "equal": answered.equal,
        "left": msgspec.to_builtins(answered.left),
        "attempts": msgspec.to_builtins(tried),
        "as_promised": _as_promised(answered, tried),
    }
