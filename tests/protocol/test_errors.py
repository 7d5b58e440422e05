"""An error that another process told is an error here, with its code, its sentence and its next step."""

from __future__ import annotations

import pytest

from protocol.errors import Code, DeniedError, FlottaError, StorageError, UnreachableError, WorkflowError, error_of


@pytest.mark.parametrize(
    ("told", "code", "kind"),
    [
        ("write-refused", Code.WRITE_REFUSED, DeniedError),
        ("busy", Code.BUSY, UnreachableError),
        ("disk-full", Code.DISK_FULL, StorageError),
        ("database-failed", Code.DATABASE_FAILED, StorageError),
        ("value-wrong", Code.VALUE_WRONG, WorkflowError),
        ("of-a-newer-program", Code.WRITE_REFUSED, DeniedError),
        ("", Code.WRITE_REFUSED, DeniedError),
    ],
)
def test_it_has_the_code_that_was_told_or_another_where_that_is_not_known(
    told: str, code: Code, kind: type[FlottaError]
) -> None:
    error = error_of(told, "it is so", "do this", otherwise=Code.WRITE_REFUSED)
    assert type(error) is kind
    assert (error.code, error.sentence, error.next_step) == (code, "it is so", "do this")
