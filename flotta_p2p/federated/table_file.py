"""The file of a source: checks its bytes and its shape, so that whoever reads its cells later finds plain,
whole rows.

No sentence of these faults holds a path or a cell: they travel to the person who submitted the job.
"""

from __future__ import annotations

import codecs
import csv
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Final, TextIO

from protocol.errors import Code, DataError
from protocol.limits import COLUMNS_MAX, MIB, SOURCE_BYTES_MAX
from protocol.plan.tasks import SourceFile

_SEPARATORS: Final = {"csv": ",", "tsv": "\t"}
_CHUNK_BYTES: Final = MIB
_NAMES_SHOWN_MAX: Final = 20

Stamp = tuple[int, int, int, int]  # device, inode, bytes, time of the last change


@dataclass(frozen=True, slots=True)
class TableFile:
    """A checked file.

    `plain`: every row is one line that splits at the separators alone (no quotes, no bare returns).
    """

    source: SourceFile
    header: tuple[str, ...]
    plain: bool
    stamp: Stamp

    @property
    def separator(self) -> str:
        return _SEPARATORS[self.source.type]

    def fault(self, code: Code, what: str, next_step: str) -> DataError:
        return _fault(self.source, code, what, next_step)

    def is_open(self, name: str) -> bool:
        """Whether a fault may name this column: its sentence travels to the person who submitted the job."""
        return self.source.rules.columns is None or name in self.source.rules.columns

    def index_of(self, name: str) -> int:
        """The position of a column. Raises DataError(COLUMN_UNKNOWN) naming the nearest ones."""
        if name in self.header:
            return self.header.index(name)
        folded = {known.casefold(): known for known in self.header if known and self.is_open(known)}
        near = [folded[found] for found in get_close_matches(name.casefold(), folded, n=3)]
        shown = ", ".join(list(folded.values())[:_NAMES_SHOWN_MAX]) or "not open"
        more = ", …" if len(folded) > _NAMES_SHOWN_MAX else ""
        step = f"did you mean {' or '.join(near)}?" if near else f"its columns are {shown}{more}"
        raise self.fault(Code.COLUMN_UNKNOWN, f'has no column "{name[:64]}"', step)

    def check_unchanged(self) -> None:
        """Raises DataError(SOURCE_CHANGED) when the file is not the one that was opened."""
        with _readable(self.source):
            if _stamp(self.source) == self.stamp:
                return
        raise self.fault(
            Code.SOURCE_CHANGED, "changed while it was read", "submit the job again once the file is at rest"
        )

    def count_plain_rows(self) -> int:
        """The rows of a plain file; blank lines at its end do not count. Raises DataError(SOURCE_RAGGED)."""
        separators, separator = len(self.header) - 1, self.separator.encode()
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

    def quoted_rows(self) -> Iterator[list[str]]:
        """The rows of any file, by the csv module. Raises DataError(SOURCE_RAGGED)."""
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
                    if len(row) != len(self.header):
                        raise self._ragged(reader.line_num, len(row))
                    yield row
            except csv.Error as error:
                raise _quotes_wrong(self.source, reader.line_num) from error

    def _ragged(self, line: int, fields: int) -> DataError:
        what = f"has {fields} fields in line {line}, but {len(self.header)} columns"
        return self.fault(Code.SOURCE_RAGGED, what, "give every row one field per column; a missing value stays empty")

    def _blank(self, line: int) -> DataError:
        what = f"has a blank line {line} between its rows"
        return self.fault(Code.SOURCE_RAGGED, what, "remove it, or write NA where a value is missing")


def open_table(source: SourceFile) -> TableFile:
    """Check the bytes and the header of a source.

    Raises DataError: SOURCE_MISSING, SOURCE_UNREADABLE (folder, permission, disk), SOURCE_TOO_LARGE,
    SOURCE_EMPTY, SOURCE_ENCODING (not UTF-8, NUL bytes), SOURCE_RAGGED (quotes of the header),
    COLUMN_DUPLICATE.
    """
    with _readable(source):
        stamp = _stamp(source)
        plain = _check_bytes(source)
        header = _read_header(source)
    return TableFile(source=source, header=header, plain=plain, stamp=stamp)


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
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


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
            raise _quotes_wrong(source, reader.line_num) from error
    if not any(names):
        raise _fault(source, Code.SOURCE_EMPTY, "has no header in its first line", "the first line names the columns")
    if len(names) > COLUMNS_MAX:
        what = f"has {len(names)} columns; at most {COLUMNS_MAX} are read"
        raise _fault(source, Code.SOURCE_TOO_LARGE, what, "the holder splits the file into several sources")
    seen: set[str] = set()
    for name in names:
        if name and name in seen:
            what = f'has two columns named "{name[:64]}"'
            raise _fault(source, Code.COLUMN_DUPLICATE, what, "the holder renames one of them")
        seen.add(name)
    return names


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
        raise _fault(source, Code.SOURCE_CHANGED, "changed while it was read", "submit the job again") from None
    except OSError as error:
        step = "the holder checks the disk and the path"
        raise _fault(source, Code.SOURCE_UNREADABLE, f"could not be read: {error.strerror}", step) from None


def _not_text(source: SourceFile, line: int, what: str) -> DataError:
    step = "the holder saves the file as UTF-8; it may be Latin-1, UTF-16, a spreadsheet or compressed"
    return _fault(source, Code.SOURCE_ENCODING, f"{what} in line {line}", step)


def _quotes_wrong(source: SourceFile, line: int) -> DataError:
    step = "a quoted field begins and ends with one quote, and a quote inside it is written twice"
    return _fault(source, Code.SOURCE_RAGGED, f"has quotes that do not match, found up to line {line}", step)


def _fault(source: SourceFile, code: Code, what: str, next_step: str) -> DataError:
    return DataError(code, f'the table of the source "{source.name}" {what}', next_step=next_step)
