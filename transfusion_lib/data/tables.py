"""Rows of the csv files that people have: any delimiter, byte-order marks, bad bytes, ragged rows, blank labels."""

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from transfusion_lib.data.archive import Files
from transfusion_lib.data.catalogue import Problems
from transfusion_lib.errors import DataError, did_you_mean

DELIMITERS = ",;\t"
UNDECODED = re.compile("[\udc80-\udcff]")  # what the error handler surrogateescape makes of a bad byte


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its cells by lower-case column name, stripped."""

    cells: list[str]
    columns: dict[str, int]
    where: str
    """The file and the row, for messages; the header is row 1."""

    def __getitem__(self, column: str) -> str:
        """Return a cell."""
        return self.cells[self.columns[column]].strip()


@dataclass(frozen=True)
class Table:
    """A csv file whose header has been read."""

    location: str
    header: tuple[str, ...]
    columns: dict[str, int]
    text: str
    delimiter: str

    def require(self, *columns: str) -> None:
        """Raise a ``DataError`` for the first of ``columns`` (lower case) that is missing."""
        for column in columns:
            if column not in self.columns:
                raise DataError(
                    f'{self.location} row 1: no column "{column}"{did_you_mean(column, self.columns)} '
                    f"Found: {', '.join(self.header)}; add it or rename one"
                )

    def choose(self, columns: Sequence[str]) -> str | None:
        """Return the first of ``columns`` that the table has, or None: "patient_id" is also "Patient ID"."""
        own = {plain(column): column for column in reversed(self.columns)}
        return next((own[column] for column in columns if column in own), None)

    def rows(self, problems: Problems) -> Iterator[Row]:
        """Yield the rows that are whole and readable; the others are problems."""
        doubtful = UNDECODED.search(self.text) is not None
        reader = csv.reader(io.StringIO(self.text, newline=""), delimiter=self.delimiter)
        try:
            for cells in reader:
                where = f"{self.location} row {reader.line_num}"
                if reader.line_num == 1 or not any(cells):
                    continue
                bad = UNDECODED.search("".join(cells)) if doubtful else None
                if bad is not None:
                    problems.add(f"{where}: byte 0x{ord(bad[0]) - 0xDC00:02x} is not UTF-8; save the table as UTF-8")
                elif len(cells) != len(self.header):
                    problems.add(f"{where}: {len(cells)} cells under {len(self.header)} columns; quote or fill them")
                else:
                    yield Row(cells, self.columns, where)
        except csv.Error as error:
            raise DataError(f"{self.location} row {reader.line_num}: {error}; save it as a plain csv") from None


def plain(column: str) -> str:
    """Return a column's name in lower case, with one underscore for whatever lies between its words."""
    return re.sub(r"[\W_]+", "_", column.lower()).strip("_")


def read_table(files: Files, name: str) -> Table:
    """Return the table in a csv file; a ``DataError`` for one that is empty, UTF-16 or without a sound header."""
    location, data = files.location(name), files.read(name)
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(f"{location}: UTF-16; save the table as UTF-8")
    text = data.decode("utf-8-sig", errors="surrogateescape")
    first = text.splitlines()[0] if text.strip() else ""
    if not first.strip():
        raise DataError(f"{location} row 1: no header; write the names of the columns there")
    delimiter = max(DELIMITERS, key=first.count)
    header = tuple(cell.strip() for cell in next(csv.reader([first], delimiter=delimiter)))
    columns: dict[str, int] = {}
    for index, column in enumerate(header):
        if column and columns.setdefault(column.lower(), index) != index:
            raise DataError(f'{location} row 1: two columns are called "{column}"; remove one')
    return Table(location, header, columns, text, delimiter)


def whole_number(row: Row, column: str, *, below: int, problems: Problems) -> int | None:
    """Return a cell that holds 0 to ``below`` - 1; anything else is a problem, and None."""
    text = row[column]
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if value.is_integer() and 0 <= value < below:
        return int(value)
    what = f'is "{text}"' if text else "is blank"
    problems.add(f"{row.where}: {column} {what}; it must be 0 to {below - 1}")
    return None


def one_of(
    row: Row, column: str, known: Sequence[str], *, problems: Problems, written: Callable[[str], str] = str
) -> int | None:
    """Return the position of a cell's text, as ``written``, in ``known`` (lower case); else a problem, and None."""
    text = written(row[column]).lower()
    if text in known:
        return known.index(text)
    what = f'is "{row[column]}"' if text else "is blank"
    problems.add(f"{row.where}: {column} {what}; it must be one of {', '.join(known)}")
    return None


def file_of(row: Row, name: str, files: Files, *, problems: Problems, within: str = "") -> str | None:
    """Return the image that a row names; a missing one is a problem, and None."""
    found = files.find(name, within=within) if name else None
    if found is None:
        what = f"image {name} is not in {files.path}" if name else "names no image"
        problems.add(f"{row.where}: {what}; add the file or remove the row")
    return found
