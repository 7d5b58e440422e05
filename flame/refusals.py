"""What the system refuses a file or a folder, as words for a person: the one place that looks at its error numbers."""

from __future__ import annotations

import errno
import os
import re
from typing import Final, NamedTuple

from protocol.errors import Code

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_CLOSED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_WITHIN_TEXT: Final = re.compile(r"errno = ([0-9]+)")  # as h5py tells it, now and then


class Refusal(NamedTuple):
    """`code`: DISK_FULL, FOLDER_UNUSABLE when this user may not, else DATABASE_FAILED. `why`: in a few words.
    `next_step`: what to do about it before anything else.
    """

    code: Code
    why: str
    next_step: str

    @property
    def is_full(self) -> bool:
        return self.code is Code.DISK_FULL


def refusal(error: Exception) -> Refusal:
    """Of an OSError, or of what a library makes of one."""
    number = error.errno if isinstance(error, OSError) and error.errno else None
    if number is None and (told := _WITHIN_TEXT.search(str(error))):
        number = int(told[1])
    if number in _FULL:
        whose = "the quota of this user is used up" if number == errno.EDQUOT else "the disk is full"
        return Refusal(Code.DISK_FULL, whose, "make room on that disk")
    if number in _CLOSED:
        step = "change its owner or mode, or use a folder of this user"
        return Refusal(Code.FOLDER_UNUSABLE, os.strerror(number or 0), step)
    why = str(error) if number is None else os.strerror(number)
    return Refusal(Code.DATABASE_FAILED, why, "look at the disk")
