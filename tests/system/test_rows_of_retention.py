"""Rows of retention and quota, as an operator meets them: commands, a real node, and what lies on its disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from actors.adapters.store import LocalStore
from actors.adapters.store_inspection import look_at_resources
from actors.failpoints import FOLDER_VARIABLE, Point
from actors.ports import AuditRow
from flotta_p2p.demo.fleet import free_ports
from flotta_p2p.tables.shares import penguin_shares
from protocol import kinds
from protocol.errors import Code, DeniedError, UnreachableError
from protocol.ids import format_job_id
from protocol.limits import MEASURE_BYTES_MAX, MIB, RECORD_BYTES_MAX
from protocol.machines.contract import Keep, Put, Release, Write
from protocol.machines.jobs import JobRow
from protocol.plan.products import (
    chunk_digest,
    chunks_of,
    is_large_result,
    manifest_of,
    product_digest,
    resource_of,
)
from protocol.wire.codec import decode_record, encode_record
from protocol.wire.jobs import JobStatus
from tests.flotta_p2p.commands.lines import Ran, run
from tests.protocol.machines.test_retention import ended_row
from tests.system.jobs import client, fresh_token, mean_of, new_order, submit_and_wait
from tests.system.nodes import RunningNode, running_node

pytestmark = pytest.mark.system

HOUR_MS: Final = 3_600_000
QUOTA_MB: Final = 16
SMALL_QUOTA: Final = f"  results:\n    quota_mb: {QUOTA_MB}\n"
AN_HOUR: Final = "  results:\n    keep_days: 0.0417\n"


@contextmanager
def node_with(folder: Path, token: str, port: int, settings: str, **more: Any) -> Iterator[RunningNode]:
    """A node that alone holds its project's table; `settings` stands in that section."""
    with running_node(
        folder,
        name="North",
        port=port,
        token=token,
        csv_text=next(iter(penguin_shares().values())),
        database=True,
        settings_yaml_lines=settings,
        **more,
    ) as node:
        node.wait_until(lambda one: all(source["state"] == "ready" for source in one.status()["sources"]))
        yield node


def line(node: RunningNode, *words: str) -> Ran:
    return run(node.folder, *words, "--workdir", str(node.workdir))


@contextmanager
def store_of(folder: Path) -> Iterator[LocalStore]:
    """The store of a node that is down."""
    store = LocalStore.open(folder / "work", metadata=Path("jobs.sqlite"))
    yield store
    store.close()


def results_on_disk(folder: Path) -> int:
    """How many LMDB holds, whatever the rows say."""
    return look_at_resources(folder / "work" / "resources", (), limit_s=5.0)[0]


def audited(folder: Path) -> list[AuditRow]:
    with store_of(folder) as store:
        assert store.verify_audit().ok
        return [row for row in store.audit_rows(0, 1_000) if row.event.startswith("job removed")]


def kept(product: bytes) -> list[Write]:
    """A result as the scheduler keeps it when the worker that made it has forgotten the job: the chunks of a large one
    stay with their manifest alone.
    """
    if not is_large_result(len(product)):
        return [Keep(digest=product_digest(product), data=product)]
    manifest = manifest_of(product)
    chunks = [Keep(digest=chunk_digest(chunk), data=chunk) for chunk in chunks_of(product)]
    whole = Keep(digest=product_digest(manifest), data=resource_of(manifest), parts=manifest.chunks)
    return [*chunks, whole, Release(digests=tuple(chunk.digest for chunk in chunks))]


def fill(folder: Path, left_bytes: int) -> list[bytes]:
    """Ended jobs with the largest results, until so much of the quota is left. Returns their ids."""
    with store_of(folder) as store:
        used = sum(
            row.resources[row.digest]
            for row in (
                decode_record(value, JobRow, bytes_max=RECORD_BYTES_MAX)
                for _, value in store.load([kinds.JOB])[kinds.JOB]
            )
        )
        rows, number = [], 0
        while (room := QUOTA_MB * MIB - used - left_bytes) > 0:
            number += 1
            product = hashlib.shake_128(number.to_bytes(4)).digest(min(room, MEASURE_BYTES_MAX))
            used += len(product)
            row = ended_row(number, 1_750_000_000_000, product)
            rows.append(row)
            writes = (*kept(product), Put(kind=kinds.JOB, key=row.job_id, value=encode_record(row)))
            assert store.commit([writes]) == [None]
    return [row.job_id for row in rows]


def test_a_full_node_refuses_jobs_until_results_are_removed_and_then_works_again(tmp_path: Path) -> None:
    token, [port] = fresh_token(), free_ports(1)
    question, other = mean_of(token, "body_mass_g"), mean_of(token, "bill_length_mm")  # equal results are stored once
    with node_with(tmp_path, token, port, SMALL_QUOTA) as node:
        first = submit_and_wait(node, question)
        assert first.state == "succeeded"
    filling = fill(tmp_path, MEASURE_BYTES_MAX)
    with node_with(tmp_path, token, port, SMALL_QUOTA + "    keep_days: forever\n") as node:
        last = submit_and_wait(node, other)
        assert last.state == "succeeded", "its room was just enough"
        with client(node) as jobs, pytest.raises(DeniedError, match="quota_mb") as refused:
            jobs.submit(jobs.prove(new_order(question)))
        assert refused.value.code == Code.QUOTA_REACHED
        results = node.status()["results"]
        assert results["used_bytes"] + MEASURE_BYTES_MAX > results["quota_bytes"] == QUOTA_MB * MIB
        assert "12.0 MiB of 16.0 MiB, kept for ever" in line(node, "status").out
        found = {
            one["check"]: one for one in run(tmp_path, "doctor", "-c", str(node.config), "--json").values["findings"]
        }
        assert (found["quota"]["verdict"], found["quota"]["code"]) == ("failed", Code.QUOTA_REACHED)

        removed = line(node, "job", "remove", format_job_id(filling[0]), format_job_id(first.job_id), "--json").values
        assert [one["by"] for one in removed["removed"]] == ["operator"] * 2
        assert removed["freed_bytes"] >= MEASURE_BYTES_MAX
        assert submit_and_wait(node, question).state == "succeeded"

        emptied = line(node, "job", "remove", "--ended-before", "1d")
        assert emptied.out.startswith(f"Removed {len(filling) - 1} jobs; ")
        listed = line(node, "jobs", "--json").values["jobs"]
        assert len(listed) == 2
        assert line(node, "job", "result", format_job_id(last.job_id)).code == 0
        again = line(node, "job", "remove", format_job_id(first.job_id))
        assert (again.code, "was removed before" in again.out) == (0, True)
        assert "[job-removed]" in line(node, "job", "result", format_job_id(first.job_id)).refused(5)
    assert results_on_disk(tmp_path) == len({one["job"] for one in listed})
    assert [row.actor for row in audited(tmp_path)] == ["operator"] * (len(filling) + 1)


def test_a_job_whose_time_is_over_is_gone_at_the_next_start_and_the_audit_says_so(tmp_path: Path) -> None:
    token, [port] = fresh_token(), free_ports(1)
    with node_with(tmp_path, token, port, AN_HOUR) as node:
        old = submit_and_wait(node, mean_of(token, "body_mass_g"))
        young = submit_and_wait(node, mean_of(token, "bill_length_mm"))
    with store_of(tmp_path) as store:
        rows = dict(store.load([kinds.JOB])[kinds.JOB])
        row = decode_record(rows[old.job_id], JobRow, bytes_max=RECORD_BYTES_MAX)
        aged = msgspec.structs.replace(row, ended_ms=row.ended_ms - 2 * HOUR_MS)
        assert store.commit([(Put(kind=kinds.JOB, key=old.job_id, value=encode_record(aged)),)]) == [None]
        assert store.job_events(old.job_id)
    with node_with(tmp_path, token, port, AN_HOUR) as node:
        node.wait_until(lambda one: one.status()["results"]["jobs"] == 1)
        told = line(node, "job", "result", format_job_id(old.job_id)).refused(5)
        assert "settings.results.keep_days" in told
        assert line(node, "job", "result", format_job_id(young.job_id)).code == 0
    (removed,) = audited(tmp_path)
    assert (removed.actor, removed.detail) == ("scheduler", old.job_id)
    assert removed.event.endswith("of results: kept for 1.0008 hours")
    assert results_on_disk(tmp_path) == 1
    with store_of(tmp_path) as store:
        assert store.job_events(old.job_id) == []
        assert store.job_events(young.job_id)


def test_a_node_that_is_killed_between_the_rows_and_the_result_leaves_nothing(tmp_path: Path) -> None:
    token, [port] = fresh_token(), free_ports(1)
    armed = tmp_path / "failpoints"
    armed.mkdir(mode=0o700)
    with node_with(tmp_path, token, port, "", environment={FOLDER_VARIABLE: str(armed)}) as node:
        job: JobStatus = submit_and_wait(node, mean_of(token, "body_mass_g"))
        (armed / Point.RELEASE_BEFORE).touch()
        with client(node) as jobs, pytest.raises(UnreachableError):
            jobs.remove(job.job_id)
        assert not (armed / Point.RELEASE_BEFORE).exists()
        node.wait_until(lambda one: one.status(), 60.0)  # its launcher starts it again
        with client(node) as jobs:
            assert jobs.remove(job.job_id).already
    assert results_on_disk(tmp_path) == 0
    assert len(audited(tmp_path)) == 1
