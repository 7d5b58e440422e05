"""What this machine says of itself: disks, memory, open files, and whether ports are free. Changes nothing.

Linux tells most of it under /proc and /sys; elsewhere the answer is None or empty. Any thread.
"""

from __future__ import annotations

import os
import resource
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from actors.adapters.descriptors import limit_to_come
from protocol.findings import Disk
from protocol.limits import KIB

MULTICAST_PORT: Final = 5353  # of mDNS, RFC 6762
_MULTICAST_FLAG: Final = 0x1000  # IFF_MULTICAST of <linux/if.h>


@dataclass(frozen=True)
class OpenFiles:
    """Descriptors of a process. `used` is None when they cannot be counted."""

    used: int | None
    limit: int


def disk_of(path: Path) -> Disk:
    """Of the nearest folder at or above `path` that exists. Raises OSError."""
    there = next(one for one in (path, *path.parents) if one.exists())
    return replace(volume_of(there), kind=_file_system(there.resolve()))


def volume_of(path: Path) -> Disk:
    """Of a folder that is there, without its kind. Waits as long as the disk does. Raises OSError."""
    facts = os.statvfs(path)
    return Disk(
        free_bytes=facts.f_bavail * facts.f_frsize,
        all_bytes=facts.f_blocks * facts.f_frsize,
        free_files=facts.f_favail if facts.f_files else 1 << 31,  # some file systems make inodes as they go
        read_only=bool(facts.f_flag & os.ST_RDONLY),
    )


def used_bytes(file: Path) -> int:
    """What a file takes of its disk, which of one with holes is less than its length; 0: it is not there."""
    try:
        return file.stat().st_blocks * 512  # POSIX: st_blocks counts 512 bytes each
    except OSError:
        return 0


def _file_system(path: Path) -> str:
    """The type of the innermost mount around `path`; of several on one point the last hides the others."""
    found, depth = "", -1
    with suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            before, _, after = line.partition(" - ")
            point = Path(before.split()[4].encode().decode("unicode_escape"))  # spaces stand as \040
            if path.is_relative_to(point) and len(point.parts) >= depth:
                found, depth = after.split()[0], len(point.parts)
    return found


def memory_available_bytes() -> int | None:
    """What programs can still take without swapping."""
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return int(value.split()[0]) * KIB
    return None


def open_files_of(pid: int) -> OpenFiles | None:
    """Of a running process; None: it is not there, or the system does not tell."""
    folder = Path("/proc") / str(pid)
    with suppress(OSError):
        for line in (folder / "limits").read_text().splitlines():
            if line.startswith("Max open files"):
                soft = line.split()[3]
                limit = int(soft) if soft.isdigit() else resource.RLIM_INFINITY
                return OpenFiles(used=_count(folder / "fd"), limit=limit)
    return None


def open_files_here() -> OpenFiles:
    """The limit under which a node would start from here."""
    return OpenFiles(used=None, limit=limit_to_come())


def _count(folder: Path) -> int | None:
    try:
        return len(list(folder.iterdir()))
    except OSError:
        return None


def multicast_interfaces(names: set[str]) -> set[str]:
    """Those of the network interfaces `names` that can do multicast."""
    able = set()
    for name in names:
        with suppress(OSError, ValueError):
            if int(Path(f"/sys/class/net/{name}/flags").read_text(), 16) & _MULTICAST_FLAG:
                able.add(name)
    return able


def accepts(host: str, port: int, *, limit_s: float) -> str:
    """Whether somebody accepts TCP connections there: "" or the reason why not."""
    try:
        socket.create_connection((host, port), timeout=limit_s).close()
    except TimeoutError:
        return f"no answer within {limit_s:g} s"
    except OSError as error:
        return error.strerror or str(error)
    return ""


def free_to_bind(host: str, port: int) -> str:
    """Whether a node could listen on this port: "" or the reason why not. Held for an instant, without listening."""
    return _bind(socket.SOCK_STREAM, (socket.SO_REUSEADDR,), host, port)


def free_for_multicast() -> str:
    """Whether one more program could use the port of mDNS, which programs share: "" or the reason why not."""
    return _bind(socket.SOCK_DGRAM, (socket.SO_REUSEADDR, socket.SO_REUSEPORT), "", MULTICAST_PORT)


def _bind(kind: socket.SocketKind, options: tuple[int, ...], host: str, port: int) -> str:
    with socket.socket(socket.AF_INET, kind) as probe:
        for option in options:
            probe.setsockopt(socket.SOL_SOCKET, option, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror or str(error)
    return ""
