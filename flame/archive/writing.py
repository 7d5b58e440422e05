"""Writing the archive of a run, from its journals."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import h5py
import msgspec
import numpy as np

from flame.archive.columns import Survey, create, grow
from flame.archive.disk_file import DiskFile
from flame.archive.failures import named
from flame.archive.layout import FORMAT, IN, RUN
from flame.archive.reading import Archive
from flame.archive.writes import WritesColumn, write_authors
from flame.journal import JournalReader, Stored, StreamInfo
from flame.journal.salvage import SalvagingReader
from flame.journal.segments import sync_folder
from flame.limits import ARCHIVE_BLOCK_BYTES, ARCHIVE_BLOCK_ROWS, ATTRIBUTE_BYTES_MAX, SOURCE_BYTES_MAX
from flame.ports import OutputPort
from flame.run.run_folder import RunFolder
from flame.run.run_record import RunDocument, RunResult, to_json
from flame.run.whole_files import read_whole
from flame.values import decode
from protocol.errors import Code, StorageError
from protocol.eui import EUI

Check = Callable[[], None]  # raises what the disk has refused


class Source(Protocol):
    """Where values come from: a JournalReader, or one that passes over damage."""

    def streams(self) -> dict[str, StreamInfo]: ...

    def read(self, stream: str, first_seq: int, last_seq: int | None = None) -> Iterator[Stored]: ...


def write_archive(run: RunFolder, document: RunDocument, result: RunResult | None, *, salvage: bool = False) -> Path:
    """Write the permanent streams of a run and what is known of it to `run.archive`, and give that path.

    Whole or absent: written beside, counted against the journals, synced, renamed. May be repeated, also while the run
    goes on (`result` None): then it holds the values so far. `salvage`: pass over what is damaged; the attributes
    `missing` and `seq` of a stream say how many values are not there, and name the numbers of those that are.

    Raises StorageError: JOURNAL_DAMAGED, DISK_FULL, DATABASE_FAILED; an older archive stays as it is.
    """
    fresh = run.archive.with_name(f".{run.archive.name}.{os.getpid()}.part")
    try:
        with DiskFile(fresh) as disk:
            with h5py.File(disk, "w") as file:
                counts = _Writing(file, run, document, check=disk.check, salvage=salvage).write(result)
            disk.check()
        with Archive(fresh) as archive:
            _compare(counts, archive)
        _sync(fresh)
        fresh.replace(run.archive)
        sync_folder(run.archive.parent)
    except (OSError, RuntimeError) as error:  # what h5py raises, also for a full disk
        raise named(run.archive, error) from error
    finally:
        fresh.unlink(missing_ok=True)
    return run.archive


class _Writing:
    """One archive being written."""

    def __init__(self, file: h5py.File, run: RunFolder, document: RunDocument, *, check: Check, salvage: bool) -> None:
        self._file = file
        self._check = check
        self._run = run
        self._document = document
        self._salvage = salvage
        self._room = file.create_group(RUN)

    def write(self, result: RunResult | None) -> dict[str, int]:
        """Everything; how many values each stream should have."""
        self._write_facts(result)
        self._write_sources()
        counts: dict[str, int] = {}
        for node in self._document.graph.nodes:
            group = self._file.create_group(node.name)
            group.attrs.update({"type": node.schema.name, "description": _text(node.schema.description)})
            outputs = [output for output in node.schema.outputs if output.lifetime == "permanent"]
            journal = self._run.journal(node.name)
            with SalvagingReader(journal) if self._salvage else JournalReader(journal) as source:
                names = _Names(group, {output.name for output in outputs})
                for output in outputs:
                    eui = EUI(first=self._document.id, node=node.name, name=output.name)
                    counts[f"{node.name}/{output.name}"] = _write_stream(
                        group, names, source, output, str(eui), self._check
                    )
        return counts | self._write_written()

    def _write_written(self) -> dict[str, int]:
        """What was written to inputs while the run went on, below `in` of each flame node."""
        counts: dict[str, int] = {}
        if not self._run.writes.is_dir():
            return counts
        with SalvagingReader(self._run.writes) if self._salvage else JournalReader(self._run.writes) as journal:
            for stream in (name for name, info in journal.streams().items() if info.last_seq):
                node, _, name = stream.partition("/")
                source = WritesColumn(journal, stream, name)
                group = self._file.require_group(f"{node}/{IN}")
                names = _Names(group, set(source.names(node)))
                eui = EUI(first=self._document.id, node=node, room=IN, name=name)
                output = source.as_output(self._document.graph, node)
                counts[f"{node}/{IN}/{name}"] = _write_stream(group, names, source, output, str(eui), self._check)
                write_authors(group, name, names.beside, source)
        return counts

    def _write_facts(self, result: RunResult | None) -> None:
        document, provenance = self._document, self._document.provenance
        self._room["document"] = _text(to_json(document).decode())
        facts: dict[str, Any] = {
            "format": FORMAT,
            "id": document.id,
            "alias": document.alias,
            "name": document.graph.name,
            "description": document.graph.description,
            "started_ns": document.started_ns,
            "resumes": document.resumes,
            "parameters": _json(
                {node.name: {one.input: one for one in node.parameters} for node in document.graph.nodes}
            ),
            "commit": provenance.commit,
            "diff": provenance.diff,
            "host": provenance.host,
            "user": provenance.user,
            "sources": _json({source.name: source.sha256 for source in provenance.sources}),
            "versions": _json(provenance.versions),
        }
        if result is not None:
            self._room["result"] = _text(to_json(result).decode())
            facts |= {"ended_ns": result.ended_ns, "end": result.end, "reason": result.reason}
            facts["exits"] = _json(result.nodes)
            facts["written"] = _json(result.written)
        for name, fact in facts.items():
            self._file.attrs[name] = self._fitting(name, _text(fact)) if isinstance(fact, str) else fact

    def _fitting(self, name: str, text: str) -> str:
        """The text itself, or the place where it stands when it is too long for an attribute."""
        if len(text.encode()) <= ATTRIBUTE_BYTES_MAX:
            return text
        self._room[name] = text
        return f"/{RUN}/{name}"

    def _write_sources(self) -> None:
        room = self._room.create_group("sources")
        for source in self._document.provenance.sources:
            with contextlib.suppress(FileNotFoundError):  # its hash is among the attributes all the same
                data = read_whole(self._run.sources / source.name, SOURCE_BYTES_MAX)
                if hashlib.sha256(data).hexdigest() == source.sha256:  # else it is not what ran; a link, perhaps
                    room[source.name] = np.frombuffer(data, np.uint8)


class _Names:
    """Names of datasets beside that of an output, which no output of the group has nor gets."""

    def __init__(self, group: h5py.Group, outputs: set[str]) -> None:
        self._group = group
        self._outputs = outputs

    def beside(self, output: str, part: str) -> str:
        between = "_"
        while (name := f"{output}{between}{part}") in self._outputs or name in self._group:
            between += "_"
        return name


def _write_stream(group: h5py.Group, names: _Names, source: Source, output: OutputPort, eui: str, check: Check) -> int:
    """How many values were written."""

    def beside(part: str) -> str:
        return names.beside(output.name, part)

    first_seq, last_seq, _ = source.streams().get(output.name, StreamInfo(1, 0, 0))
    survey = Survey()
    for stored in source.read(output.name, first_seq, last_seq):
        survey.see(decode(stored.data))
    missing = last_seq - first_seq + 1 - survey.count
    column = survey.make(group, output.name, beside)
    times = create(group, beside("time"), np.dtype("i8"))
    times.attrs.update({"unit": "ns", "description": "time of each value, since 1970-01-01T00:00:00Z"})
    seqs = create(group, beside("seq"), np.dtype("i8")) if missing else None
    for block in _blocks(source.read(output.name, first_seq, last_seq)):
        check()
        column.append([decode(stored.data) for stored in block])
        grow(times, np.array([stored.time_ns for stored in block], "i8"))
        if seqs is not None:
            grow(seqs, np.array([stored.seq for stored in block], "i8"))
    attributes = {
        "unit": output.unit,
        "description": _text(output.doc),
        "dtype": output.type,
        "eui": eui,
        "lifetime": output.lifetime,
        "time": _own_name(times),
        "first_seq": first_seq,
    }
    if seqs is not None:
        attributes |= {"missing": missing, "seq": _own_name(seqs)}
    group[output.name].attrs.update(attributes)
    return survey.count


def _blocks(values: Iterator[Stored]) -> Iterator[list[Stored]]:
    block: list[Stored] = []
    size = 0
    for stored in values:
        block.append(stored)
        size += len(stored.data)
        if size >= ARCHIVE_BLOCK_BYTES or len(block) >= ARCHIVE_BLOCK_ROWS:
            yield block
            block, size = [], 0
    if block:
        yield block


def _compare(counts: dict[str, int], archive: Archive) -> None:
    seen = {stream: archive.count(stream) for stream in (*archive.streams(), *archive.written())}
    if seen != counts:
        raise StorageError(
            Code.DATABASE_FAILED,
            f"the archive would hold other numbers of values than the journals: {seen}, expected {counts}",
            next_step="look at the disk, then `flame archive`; the journals are as they were",
        )


def _sync(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _own_name(dataset: h5py.Dataset) -> str:
    return str(dataset.name.rpartition("/")[2])


def _json(record: Any) -> str:
    return msgspec.json.encode(record).decode()


def _text(text: str) -> str:
    """HDF5 ends a text at NUL."""
    return text.replace("\0", "\\0")
