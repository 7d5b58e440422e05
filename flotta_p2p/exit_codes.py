"""Exit codes of every command; documented in docs/commands.md."""

from __future__ import annotations

from typing import Final

from protocol.errors import (
    AddressError,
    Code,
    ConfigError,
    DataError,
    DeniedError,
    FlottaError,
    StorageError,
    UnreachableError,
    WorkflowError,
)

OK: Final = 0
JOB_FAILED: Final = 1  # the job ended, but did not succeed
USAGE: Final = 2  # the command line does not read
CONFIG: Final = 3  # the configuration, a key file, the port or the folder: the operator can mend it
UNREACHABLE: Final = 4  # no node runs, or nobody answers there
DENIED: Final = 5  # refused by a rule: signature, membership, policy, expiry
TIMED_OUT: Final = 6  # still running when the wait was over
STORAGE: Final = 7  # disk or database
DATA: Final = 8  # an artifact, an order or a table makes no sense
UNWELL: Final = 9  # `doctor` found something wrong
INTERNAL: Final = 70  # a bug of ours
INTERRUPTED: Final = 130  # Ctrl-C

# After these the launcher does not start the node again: it would end in the same way.
FINAL: Final = (OK, USAGE, CONFIG, STORAGE)


def exit_code(error: FlottaError) -> int:
    """The code of a command that ends with this error."""
    if error.code == Code.TIMED_OUT:
        return TIMED_OUT
    match error:
        case ConfigError():
            return CONFIG
        case UnreachableError():
            return UNREACHABLE
        case DeniedError():
            return DENIED
        case StorageError():
            return STORAGE
        case DataError() | WorkflowError() | AddressError():
            return DATA
    return INTERNAL
