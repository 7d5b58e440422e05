"""The file of a source: checks its bytes and its shape, so that whoever reads its cells later finds plain,
whole rows of one state of the file.

No sentence of these faults holds a path, a cell or the name of a column that is not open: they travel to the person
who submitted the job.
"""

from __future__ import annotations

import codecs
import csv
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from protocol.columns import is_nameable, schema_digest
from protocol.errors import Code, DataError
from protocol.limits import COLUMNS_MAX, MIB, SOURCE_BYTES_MAX
from protocol.plan.tasks import SourceFile

_SEPARATORS: Final = {"csv": ",", "tsv": "\t"}
_CHUNK_BYTES: Final = MIB
# Two changes within one tick of the kernel's clock leave the same time of change; a tick is 10 ms at most.
_TICK_NS: Final = 20_000_000

Stamp = tuple[int, int, int, int, int]  # device, inode, bytes, times of the last writing and of the last change


@dataclass(frozen=True, slots=True)
class TableFile:
    """A checked file.

    `columns`: the open columns that a query can name, in the order of the file, each with its position; nothing else
    of the header is known to whoever reads the cells. `width`: the number of all columns. `plain`: every row is one
    line that splits at the separators alone (no quotes, no bare returns).
    """

    source: SourceFile
    columns: dict[str, int]
    width: int
    plain: bool
    stamp: Stamp

    @property
    def separator(self) -> str:
        return _SEPARATORS[self.source.type]

    def fault(self, code: Code, what: str, next_step: str) -> DataError:
        return _fault(self.source, code, what, next_step)

    def check_unchanged(self) -> None:
        """Raises DataError(SOURCE_CHANGED) when the file is not the one that was opened."""
        with _readable(self.source):
            if _stamp(self.source) == self.stamp:
                return
        raise _changed(self.source)

    def count_rows(self) -> int:
        """Blank lines at the end do not count. Raises DataError: SOURCE_RAGGED, SOURCE_CHANGED."""
        return self.count_plain_rows() if self.plain else sum(1 for _ in self.quoted_rows())

    def lines_of(self, rows: frozenset[int]) -> dict[int, int]:
        """The lines in which these rows end, the first row being 0. Raises DataError as `count_rows`."""
        if self.plain or not rows:
            return {row: row + 2 for row in rows}
        return {row: line for row, (line, _) in enumerate(self.quoted_rows()) if row in rows}

    def count_plain_rows(self) -> int:
        """The rows of a plain file. Raises DataError: SOURCE_RAGGED, SOURCE_CHANGED."""
        separators, separator = self.width - 1, self.separator.encode()
        rows, blank = 0, 0
        with _readable(self.source), Path(self.source.path).open("rb") as file:
            file.readline()
            for number, ended in enumerate(file, 2):
                line = ended.rstrip(b"\r\n")
                if not line:
                    blank = blank or number
                    continue
                if blank:
                    raise self._blank(blank)
                if line.count(separator) != separators:
                    raise self._ragged(number, line.count(separator) + 1)
                rows += 1
        return rows

    def quoted_rows(self) -> Iterator[tuple[int, list[str]]]:
        """The rows of any file, by the csv module, each with the line in which it ends.

        Raises DataError: SOURCE_RAGGED, SOURCE_CHANGED.
        """
        blank = 0
        with _readable(self.source), _text(self.source) as file:
            reader = csv.reader(file, delimiter=self.separator, strict=True)
            try:
                next(reader)
                for row in reader:
                    if not row:
                        blank = blank or reader.line_num
                        continue
                    if blank:
                        raise self._blank(blank)
                    if len(row) != self.width:
                        raise self._ragged(reader.line_num, len(row))
                    yield reader.line_num, row
            except csv.Error as error:
                self.check_unchanged()
                raise _unreadable_row(self.source, reader.line_num, error) from error

    def _ragged(self, line: int, fields: int) -> DataError:
        self.check_unchanged()  # the rest of a line may still be on its way
        # The difference alone: how many columns there are is the holder's to tell.
        difference = abs(fields - self.width)
        fields_word = "field" if difference == 1 else "fields"
        what = f"has {difference} {fields_word} too {'few' if fields < self.width else 'many'} in line {line}"
        return self.fault(Code.SOURCE_RAGGED, what, "give every row one field per column; a missing value stays empty")

    def _blank(self, line: int) -> DataError:
        self.check_unchanged()
        what = f"has a blank line {line} between its rows"
        return self.fault(Code.SOURCE_RAGGED, what, "remove it, or write NA where a value is missing")


def open_table(source: SourceFile) -> TableFile:
    """Check the bytes and the header of a source.

    Raises DataError: SOURCE_MISSING, SOURCE_UNREADABLE (folder, permission, disk), SOURCE_TOO_LARGE,
    SOURCE_EMPTY, SOURCE_ENCODING (not UTF-8, NUL bytes), SOURCE_RAGGED (quotes of the header),
    COLUMN_DUPLICATE (of open columns; others cannot be asked for), SOURCE_POLICY_UNFIT, SOURCE_SCHEMA_CHANGED.
    """
    with _readable(source):
        stamp = _stamp_at_rest(source)
        try:
            plain = _check_bytes(source)
            header = _read_header(source)
            columns = _open_columns(source, header)
        except DataError as error:
            if _stamp(source) != stamp:  # what is wrong may be that it is not whole yet
                raise _changed(source) from error
            raise
    return TableFile(source=source, columns=columns, width=len(header), plain=plain, stamp=stamp)


def _stamp_at_rest(source: SourceFile) -> Stamp:
    """A stamp that every later change of the file makes another one: it is older than one tick of the clock."""
    stamp = _stamp(source)
    if 0 <= time.time_ns() - stamp[-1] < _TICK_NS:
        time.sleep(_TICK_NS / 1e9)
        if _stamp(source) != stamp:
            raise _changed(source)
    return stamp


def _stamp(source: SourceFile) -> Stamp:
    found = Path(source.path).stat()
    if not stat.S_ISREG(found.st_mode):
        what = "is a folder" if stat.S_ISDIR(found.st_mode) else "is no ordinary file"
        raise _fault(
            source,
            Code.SOURCE_UNREADABLE,
            what,
            f"the holder names a {source.type.upper()} file in its configuration",
        )
    if found.st_size > SOURCE_BYTES_MAX:
        what = f"has {found.st_size:,} bytes; at most {SOURCE_BYTES_MAX:,} are read"
        raise _fault(source, Code.SOURCE_TOO_LARGE, what, "the holder splits the file into several sources")
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _check_bytes(source: SourceFile) -> bool:
    """Whether the file is plain. Raises DataError(SOURCE_ENCODING)."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    line, returns, line_ends, before = 1, 0, 0, b""
    plain = True
    with Path(source.path).open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            if b"\0" in chunk:
                raise _not_text(source, line + chunk[: chunk.index(b"\0")].count(b"\n"), "holds a NUL byte")
            _decode(source, decoder, chunk, line)
            # Polars takes a file that begins like a zlib stream, as "x^2,y" does, for a compressed one.
            plain = plain and b'"' not in chunk and not (line == 1 and chunk.startswith(b"x"))
            line += chunk.count(b"\n")
            returns += chunk.count(b"\r")
            line_ends += (before + chunk).count(b"\r\n")
            before = b"\r" if chunk.endswith(b"\r") else b""
    _decode(source, decoder, b"", line)
    return plain and returns == line_ends


def _decode(source: SourceFile, decoder: codecs.IncrementalDecoder, chunk: bytes, line: int) -> None:
    try:
        decoder.decode(chunk, final=not chunk)
    except UnicodeDecodeError as error:
        raise _not_text(source, line + error.object[: error.start].count(b"\n"), "is not UTF-8") from None


def _read_header(source: SourceFile) -> tuple[str, ...]:
    with _text(source) as file:
        reader = csv.reader(file, delimiter=_SEPARATORS[source.type], strict=True)
        try:
            names = tuple(name.strip() for name in next(reader, ()))
        except csv.Error as error:
            raise _unreadable_row(source, reader.line_num, error) from error
    if not any(names):
        raise _fault(source, Code.SOURCE_EMPTY, "has no header in its first line", "the first line names the columns")
    if len(names) > COLUMNS_MAX:
        what = f"has more than {COLUMNS_MAX:,} columns"
        raise _fault(source, Code.SOURCE_TOO_LARGE, what, "the holder splits the file into several sources")
    return names


def _open_columns(source: SourceFile, header: tuple[str, ...]) -> dict[str, int]:
    rules = source.rules.columns
    if rules.missing_in(header):
        step = f"the holder runs `flotta-p2p data check {source.name}`, which names the columns"
        what = "lacks a column that its policy hides or restricts, so nothing of it is opened"
        raise _fault(source, Code.SOURCE_POLICY_UNFIT, what, step)
    columns: dict[str, int] = {}
    for at, name in enumerate(header):
        if not is_nameable(name) or not rules.is_open(name):
            continue
        if name in columns:  # words for numbers alone are not seen, and so are not named
            what = "has two columns of one name" if rules.is_numeric_only(name) else f'has two columns named "{name}"'
            raise _fault(source, Code.COLUMN_DUPLICATE, what, "the holder renames one of them")
        columns[name] = at
    if source.schema and schema_digest(columns) != source.schema:
        what = "has other columns than when the node opened it"
        step = "the holder puts the former columns back, or starts the node again to open the new ones"
        raise _fault(source, Code.SOURCE_SCHEMA_CHANGED, what, step)
    return columns


def _text(source: SourceFile) -> TextIO:
    return Path(source.path).open(encoding="utf-8-sig", newline="")


@contextmanager
def _readable(source: SourceFile) -> Iterator[None]:
    """Turns what the operating system says into DataError."""
    try:
        yield
    except FileNotFoundError:
        step = "the holder corrects the path in its configuration, or puts the file back"
        raise _fault(source, Code.SOURCE_MISSING, "is missing: there is no such file", step) from None
    except PermissionError:
        step = "the holder lets the user that runs the node read the file"
        raise _fault(source, Code.SOURCE_UNREADABLE, "may not be read: no permission", step) from None
    except UnicodeDecodeError:  # it was UTF-8 when it was checked
        raise _changed(source) from None
    except OSError as error:
        step = "the holder checks the disk and the path"
        raise _fault(source, Code.SOURCE_UNREADABLE, f"could not be read: {error.strerror}", step) from None


def _changed(source: SourceFile) -> DataError:
    step = "submit the job again once the file is at rest"
    return _fault(source, Code.SOURCE_CHANGED, "changed while it was read", step)


def _not_text(source: SourceFile, line: int, what: str) -> DataError:
    step = "the holder saves the file as UTF-8; it may be Latin-1, UTF-16, a spreadsheet or compressed"
    return _fault(source, Code.SOURCE_ENCODING, f"{what} in line {line}", step)


def _unreadable_row(source: SourceFile, line: int, error: csv.Error) -> DataError:
    if "field limit" in str(error):
        what = f"has a field of more than {csv.field_size_limit():,} characters, found up to line {line}"
        step = "shorten it; if no field is so long, a quote is not closed before that line"
        return _fault(source, Code.SOURCE_RAGGED, what, step)
    step = "a quoted field begins and ends with one quote, and a quote inside it is written twice"
    return _fault(source, Code.SOURCE_RAGGED, f"has quotes that do not match, found up to line {line}", step)


def _fault(source: SourceFile, code: Code, what: str, next_step: str) -> DataError:
    return DataError(code, f'the table of the source "{source.name}" {what}', next_step=next_step)
