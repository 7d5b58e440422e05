"""What the machine says of itself, without being changed."""

from __future__ import annotations

import os
import resource
import socket
from pathlib import Path

import pytest

from actors.adapters import machine
from actors.adapters.descriptors import limit_to_come

HERE = "127.0.0.1"


def test_a_disk_is_that_of_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    found = machine.disk_of(tmp_path / "not" / "made")
    assert 0 < found.free_bytes <= found.all_bytes
    assert found.free_files > 0
    assert not found.read_only
    assert not (tmp_path / "not").exists()


@pytest.mark.skipif(not Path("/proc/self/mountinfo").exists(), reason="only Linux lists its mounts there")
def test_the_innermost_mount_tells_the_type_of_the_file_system() -> None:
    assert machine.disk_of(Path("/proc/self")).kind == "proc"
    assert machine.disk_of(Path("/sys/class/net")).kind == "sysfs"


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="only Linux tells this of processes")
def test_open_files_and_memory_are_counted() -> None:
    before = machine.open_files_of(os.getpid())
    assert before is not None and before.used is not None
    assert before.limit == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert machine.open_files_here().limit == limit_to_come()
    with Path(__file__).open():
        after = machine.open_files_of(os.getpid())
    assert after is not None and after.used == before.used + 1
    assert (machine.memory_available_bytes() or 0) > 0
    assert machine.open_files_of(1 << 30) is None


def test_a_port_is_free_or_the_reason_is_told_and_nothing_stays_bound() -> None:
    with socket.create_server((HERE, 0)) as server:
        port = server.getsockname()[1]
        assert "in use" in machine.free_to_bind(HERE, port)
        assert machine.accepts(HERE, port, limit_s=1) == ""
    for _ in range(2):
        assert machine.free_to_bind(HERE, port) == ""
    assert "refused" in machine.accepts(HERE, port, limit_s=1)
    assert machine.free_to_bind("203.0.113.9", port) != ""


def test_an_interface_does_multicast_when_its_flags_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = {"/sys/class/net/eth0/flags": "0x1003", "/sys/class/net/lo/flags": "0x9"}
    monkeypatch.setattr(Path, "read_text", lambda path: flags[str(path)])
    assert machine.multicast_interfaces({"eth0", "lo"}) == {"eth0"}
