"""Payloads of large arrays in shared memory: who may write where, and for how long a program may keep an array."""

from __future__ import annotations

import errno
import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from flame import values
from flame.edges import message
from flame.edges.receiving import ReceivingEnd
from flame.edges.sending import SendingEnd
from flame.edges.shared_arrays import SharedOutput
from flame.edges.wired_outputs import WiredOutput
from flame.limits import ARRAY_INLINE_BYTES_MAX
from flame.ports import OutputPort
from tests.flame.ends import LIMIT_S, Ends, crash, ends

LARGE = ARRAY_INLINE_BYTES_MAX // 8


class Camera:
    """One output with one edge."""

    def __init__(self, edge: Ends) -> None:
        self.edge = edge
        self.sink: ReceivingEnd = edge.receiving()
        self.source: SendingEnd = edge.sending()
        shared = SharedOutput(edge.folder, "source/v", [self.source], 0)
        self._output = WiredOutput(OutputPort("v"), [self.source], shared, journalled=False, next_seq=1)

    def set(self, value: object) -> None:
        self._output.send_alone(value, 1)

    def take(self) -> np.ndarray:
        record = self.sink.take(LIMIT_S)
        assert record is not None
        value: np.ndarray = record.value
        return value

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in self.edge.folder.glob("source.v.*"))


@pytest.fixture
def camera() -> Iterator[Camera]:
    with ends("block", 10) as edge:
        yield Camera(edge)


def test_a_large_array_is_a_read_only_view_of_what_was_set(camera: Camera) -> None:
    picture = np.arange(2.0 * LARGE).reshape(2, -1)
    camera.set(picture)
    before = picture.copy()
    picture[:] = 0  # the program goes on with its own
    seen = camera.take()
    assert np.array_equal(seen, before) and not seen.flags.writeable and camera.files == ["source.v.0.1"]
    with pytest.raises(ValueError, match="read-only"):
        seen[0] = 1


def test_small_arrays_travel_in_the_message_and_belong_to_the_program(camera: Camera) -> None:
    camera.set(np.arange(8.0))
    seen = camera.take()
    assert seen.tolist() == list(range(8)) and seen.flags.writeable and camera.files == []


def test_a_slot_is_taken_again_when_the_program_has_let_the_array_go(camera: Camera) -> None:
    for number in range(5):
        camera.set(np.full(LARGE, float(number)))
        assert camera.take()[0] == number
        gc.collect()
    assert len(camera.files) <= 2


def test_an_array_that_is_kept_never_changes(camera: Camera) -> None:
    kept = []
    for number in range(20):
        camera.set(np.full(LARGE, float(number)))
        kept.append(camera.take()[1:3])
    assert [array.tolist() for array in kept] == [[number, number] for number in range(20)]


def test_what_waits_in_the_queue_is_not_written_over(camera: Camera) -> None:
    for number in range(10):
        camera.set([np.full(LARGE, float(number)), {"deep": np.full(LARGE, -float(number))}])
    for number in range(10):
        record = camera.sink.take(LIMIT_S)
        assert record is not None
        first, second = record.value
        assert first[0] == number and second["deep"][-1] == -number


def test_without_room_an_array_travels_in_the_message(camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flame.edges.shared_arrays.SHARED_BYTES_MAX", 2 * 1024 * 1024)
    kept = []
    for number in range(5):
        camera.set(np.full(LARGE, float(number)))
        kept.append(camera.take())
    assert len(camera.files) == 2 and [array[0] for array in kept] == [0, 1, 2, 3, 4]


def test_where_the_disk_or_memory_has_no_room_an_array_travels_in_the_message(
    camera: Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.posix_fallocate", full)
    camera.set(np.ones(LARGE))
    assert camera.take().sum() == LARGE and camera.files == []


@pytest.mark.parametrize("wait_s", [None, LIMIT_S])
def test_memory_that_the_system_cleared_costs_what_was_on_its_way_and_is_counted(
    tmp_path: Path, wait_s: float | None
) -> None:
    with ends("block", 10) as edge:
        edge.folder = tmp_path / "memory"
        edge.folder.mkdir()
        camera = Camera(edge)
        camera.set(np.zeros(LARGE))
        shutil.rmtree(edge.folder)
        camera.set(np.ones(16 * LARGE))
        record = camera.sink.take(wait_s)
        assert record is not None and record.value.sum() == 16 * LARGE
        camera.set(np.full(LARGE, 2.0))  # would fit into the slot whose file is gone
        record = camera.sink.take(wait_s)
        assert record is not None and record.value.sum() == 2 * LARGE
        assert camera.sink.count.dropped == 1


def test_files_of_an_earlier_life_are_removed_when_all_that_it_sent_was_taken(camera: Camera) -> None:
    camera.set(np.zeros(LARGE))
    again = SharedOutput(camera.edge.folder, "source/v", [camera.source], 1)
    again.begin(2)
    again.place(memoryview(bytes(LARGE)))
    assert camera.files == ["source.v.0.1", f"source.v.0.{(1 << 20) + 1}"]  # the first one may still be looked into
    seen = camera.take()
    again.begin(3)
    again.place(memoryview(bytes(LARGE)))
    assert "source.v.0.1" not in camera.files and not seen.any()


def test_a_slot_grows_with_the_arrays(camera: Camera) -> None:
    camera.set(np.zeros(LARGE))
    assert camera.take().size == LARGE
    gc.collect()
    camera.set(np.ones(64 * LARGE))
    assert camera.take().sum() == 64 * LARGE


def test_large_values_on_their_way_are_bounded_in_bytes(camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flame.edges.sending.EDGE_BYTES_MAX", 2 * ARRAY_INLINE_BYTES_MAX)
    for _ in range(2):
        camera.set(np.zeros(LARGE))
    camera.edge.stop.set("it would wait")
    with pytest.raises(SystemExit):
        camera.set(np.zeros(LARGE))


def test_a_consumer_started_anew_never_looks_into_a_slot_of_before(camera: Camera) -> None:
    camera.set(np.zeros(LARGE))
    for end in (camera.sink, camera.source):  # between two new sockets nothing is lost
        camera.edge.made.remove(end)
        crash(end)
    anew = Camera(camera.edge)
    late = message.encode_value(1, 1, values.encode(np.zeros(LARGE), lambda _: b"a slot of before"))
    anew.source.send(1, late, 0)  # it was still on its way
    anew.set(np.ones(LARGE))
    assert anew.take()[0] == 1 and anew.sink.count.dropped == 1


def test_the_files_lie_in_the_folder_of_the_run(camera: Camera) -> None:
    camera.set(np.zeros(LARGE))
    assert [path.stat().st_mode & 0o777 for path in Path(camera.edge.folder).glob("source.v.*")] == [0o600]
